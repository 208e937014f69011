#include <assert.h>
#include <errno.h>
#include <string.h>
#include "report.h"

static Span *remove_item(Reports *reports, size_t i) {
        Span *span = reports->items[i].span;

        reports->n--;
        memmove(&reports->items[i], &reports->items[i + 1], (reports->n - i) * sizeof(*reports->items));
        return span;
}

static void expire(Reports *reports, uint64_t time_ns) {
        for (size_t i = 0; i < reports->n;)
                if (reports->items[i].until_ns < time_ns)
                        (void) span_free(remove_item(reports, i));
                else
                        i++;
}

static bool is_of(const ReportsItem *item, Reporter reporter) {
        return item->reporter.pid == reporter.pid && item->reporter.start_ns == reporter.start_ns;
}

int reports_hold(Reports *reports, Reporter reporter, uint64_t time_ns, uint64_t limit_ns, Span *consume_span) {
        _cleanup_(span_freep) Span *span = consume_span;

        assert(reports);
        assert(span);

        if (!reports->items)
                reports->items = calloc(REPORTS_MAX, sizeof(*reports->items));
        if (!reports->items)
                return -ENOMEM;
        expire(reports, time_ns);
        if (reports->n == REPORTS_MAX)
                return -ENOBUFS;
        reports->items[reports->n++] = (ReportsItem){
                .reporter = reporter,
                .until_ns = time_ns + limit_ns,
                .span = TAKE_PTR(span),
        };
        return 0;
}

Span *reports_take(Reports *reports, Reporter reporter, uint64_t time_ns) {
        assert(reports);

        expire(reports, time_ns);
        for (size_t i = 0; i < reports->n; i++)
                if (is_of(&reports->items[i], reporter))
                        return remove_item(reports, i);
        return NULL;
}

void reports_drop(Reports *reports, Reporter reporter) {
        assert(reports);

        for (size_t i = 0; i < reports->n;)
                if (is_of(&reports->items[i], reporter))
                        (void) span_free(remove_item(reports, i));
                else
                        i++;
}

void reports_deinit(Reports *reports) {
        while (reports->n > 0)
                (void) span_free(reports->items[--reports->n].span);
        free(reports->items);
        *reports = (Reports){};
}
