#pragma once

/*
 * Clocks
 *
 * The two clocks podspan uses, in nanoseconds. Both can be replaced in tests, so that a stepped wall clock is tested
 * without stepping the machine's. A span takes its start from the wall clock and its length from the monotonic one:
 * a stepped clock moves a span, it never stretches it.
 */

#include <stdint.h>

typedef struct Clk {
        uint64_t realtime_ns;
        uint64_t monotonic_ns;
} Clk;

/* Both clocks at the same moment: were the reader interrupted between them, a span would be shifted by that. */
Clk clk_now(void);

/* CLOCK_REALTIME and CLOCK_MONOTONIC in nanoseconds. */
uint64_t clk_realtime(void);
uint64_t clk_monotonic(void);

/* The wall-clock time of something that began at @start and ends at monotonic time @monotonic_ns. */
uint64_t clk_end(const Clk *start, uint64_t monotonic_ns);

/* For tests: from now on read the clocks with @fn; NULL gives the real ones back. Not for use with threads running. */
void clk_override(Clk (*fn)(void));
