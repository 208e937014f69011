#pragma once

/*
 * Pressure
 *
 * The node's pressure stall information (/proc/pressure), read once a second from files that stay open. What is read
 * waits in memory and goes into the store with the next transaction, since the node's disk may be etcd's. No commit is
 * made for it alone more often than every PRESSURE_WAIT_NS. Seconds in which next to nothing waited share a row.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "clk.h"
#include "util.h"

#define PRESSURE_DIR       "/proc/pressure"
#define PRESSURE_PERIOD_NS NSEC_PER_SEC
#define PRESSURE_FILE_MAX  512                  /* bytes of a file */
#define PRESSURE_ROWS_MAX  300                  /* that wait; the oldest go */
#define PRESSURE_WAIT_NS   (300 * NSEC_PER_SEC) /* a row waits for a transaction at most this long */
#define PRESSURE_QUIET_US  1000                 /* a second with less of everything is quiet */
#define PRESSURE_QUIET_MAX 60                   /* seconds of one row */

typedef enum PressureKind {
        PRESSURE_CPU_SOME,
        PRESSURE_CPU_FULL,
        PRESSURE_IO_SOME,
        PRESSURE_IO_FULL,
        PRESSURE_MEMORY_SOME,
        PRESSURE_MEMORY_FULL,
        _PRESSURE_MAX,
} PressureKind;

typedef struct PressureRow {
        uint64_t at_ns; /* wall clock, of the reading */
        uint32_t seconds;
        int32_t us[_PRESSURE_MAX]; /* negative: not known */
} PressureRow;

typedef struct Pressure {
        int fds[_PRESSURE_MAX / 2]; /* cpu, io, memory; negative: not there */
        int64_t totals[_PRESSURE_MAX];
        uint64_t last_ns; /* monotonic, of the last reading; 0: none yet */
        PressureRow rows[PRESSURE_ROWS_MAX];
        size_t n_rows;
} Pressure;

#define PRESSURE_NULL                             \
        {                                         \
                .fds = { -EBADF, -EBADF, -EBADF } \
        }

/* Opens what of @dir can be read: without PSI nothing, which is no error. */
void pressure_open(Pressure *pressure, const char *dir);
void pressure_close(Pressure *pressure);

/* Is there anything to read? */
bool pressure_is_on(const Pressure *pressure);
/* "cpu,io,memory" as far as it can be read, "off" where nothing can. */
const char *pressure_words(const Pressure *pressure, char ret[static 16]);

/* Reads, and adds a row but for the first time. */
void pressure_take(Pressure *pressure, const Clk *now);

/* Must a row be stored now, without other cause? */
bool pressure_due(const Pressure *pressure, uint64_t now_ns);
/* The rows are stored. */
void pressure_clear(Pressure *pressure);

/* The `total=` of a file's lines `some` and `full`; -1 each where it is not there, or no number. */
void pressure_parse(const char *s, size_t len, int64_t *ret_some, int64_t *ret_full);
