#pragma once

/*
 * Reports
 *
 * Spans that podspan-watch could emit, but that another program of podspan reports as well: they are held back until
 * that program, the *reporter*, has reported. If the reporter is killed first, the caller takes them and emits them.
 *
 * Bounds: REPORTS_MAX spans at a time, each for a time that the caller gives. A reporter that still runs after that
 * time has reported. No I/O.
 */

#include "clk.h"
#include "span.h"

#define REPORTS_MAX     256                 /* spans held back at a time, of all reporters together */
#define REPORTS_CALL_NS (1 * NSEC_PER_SEC)  /* a monitor reports the runtime's call within this … */
#define REPORTS_END_NS  (10 * NSEC_PER_SEC) /* … and any reporter the end of a container or hook within this */

/* A process: the pid, and when the process began. */
typedef struct Reporter {
        uint32_t pid;
        uint64_t start_ns;
} Reporter;

typedef struct ReportsItem {
        Reporter reporter;
        uint64_t until_ns; /* CLOCK_MONOTONIC */
        Span *span;
} ReportsItem;

typedef struct Reports {
        ReportsItem *items; /* REPORTS_MAX; NULL: none was ever held back */
        size_t n;
} Reports;

/*
 * Holds back @consume_span, which @reporter reports until @time_ns + @limit_ns. Frees the spans whose time is over.
 * Returns 0, -ENOBUFS above REPORTS_MAX, or -ENOMEM; the span is freed then, too.
 */
int reports_hold(Reports *reports, Reporter reporter, uint64_t time_ns, uint64_t limit_ns, Span *consume_span);

/*
 * Takes one of the spans that @reporter had not reported at @time_ns, in the order in which they were held back.
 * Returns NULL if there is none left; the span is the caller's.
 */
Span *reports_take(Reports *reports, Reporter reporter, uint64_t time_ns);

/* @reporter has reported: frees its spans. */
void reports_drop(Reports *reports, Reporter reporter);

/* Frees all. */
void reports_deinit(Reports *reports);
