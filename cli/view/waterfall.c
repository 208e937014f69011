#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "semconv.h"
#include "text.h"
#include "waterfall.h"

#define NAME_COLUMNS_MAX    44 /* of tree and name, on a terminal */
#define WHERE_COLUMNS_MAX   28
#define SERVICE_COLUMNS_MAX 18
#define BAR_COLUMNS_MIN     12
#define BAR_COLUMNS_NARROW  8 /* on a terminal below NARROW columns */
#define NARROW              60
#define BAR_COLUMNS_MAX     48
#define BAR_COLUMNS_PLAIN   32 /* where nothing bounds the width */
#define DEPTH_MAX           16 /* deeper spans are not indented further */
#define SAFE_MAX            1024
#define GAP_SHARE           0.04 /* of the busy time: what an idle stretch takes, if it is longer */
#define SERIES_MAX          64

typedef struct Stretch {
        uint64_t start_ns;
        uint64_t end_ns;
        double at; /* where it starts, in drawn nanoseconds */
        bool gap;
        double drawn; /* its drawn length */
} Stretch;

struct WaterfallAxis {
        Stretch *stretches; /* busy and idle in turn, without holes */
        size_t n;
        size_t n_gaps; /* idle ones drawn short */
        double total;
};

WaterfallAxis *waterfall_axis_free(WaterfallAxis *axis) {
        if (!axis)
                return NULL;
        free(axis->stretches);
        free(axis);
        return NULL;
}

static void push(WaterfallAxis *axis, uint64_t start_ns, uint64_t end_ns, bool idle) {
        axis->stretches[axis->n++] = (Stretch){ .start_ns = start_ns, .end_ns = end_ns, .gap = idle };
}

WaterfallAxis *waterfall_axis_new(const Trace *trace) {
        _cleanup_(waterfall_axis_freep) WaterfallAxis *axis = calloc(1, sizeof(*axis));
        uint64_t busy_end = 0;
        double busy = 0;
        bool any = false;

        if (!axis)
                return NULL;
        axis->stretches = calloc(2 * (size_t) trace->n_spans + 3, sizeof(*axis->stretches));
        if (!axis->stretches)
                return NULL;

        /* Spans are sorted by start, so what is busy can be merged on the way. */
        for (uint32_t i = 0; i < trace->n_spans; i++) {
                const TraceSpan *span = &trace->spans[i];

                if (semconv_long_lived(span->name))
                        continue;
                if (!any) {
                        if (span->start_ns > trace->start_ns)
                                push(axis, trace->start_ns, span->start_ns, true);
                        push(axis, span->start_ns, span->end_ns, false);
                        any = true;
                } else if (span->start_ns > busy_end) {
                        push(axis, busy_end, span->start_ns, true);
                        push(axis, span->start_ns, span->end_ns, false);
                } else
                        axis->stretches[axis->n - 1].end_ns = MAX(busy_end, span->end_ns);
                busy_end = axis->stretches[axis->n - 1].end_ns;
        }
        if (!any)
                push(axis, trace->start_ns, trace->end_ns, false);
        else if (trace->end_ns > busy_end)
                push(axis, busy_end, trace->end_ns, true);

        for (size_t i = 0; i < axis->n; i++)
                if (!axis->stretches[i].gap)
                        busy += (double) (axis->stretches[i].end_ns - axis->stretches[i].start_ns);
        for (size_t i = 0; i < axis->n; i++) {
                Stretch *stretch = &axis->stretches[i];
                double length = (double) (stretch->end_ns - stretch->start_ns);

                /* A pause as long as the work itself is still worth being seen as long as it is. */
                stretch->gap = stretch->gap && busy > 0 && length > busy;
                stretch->drawn = stretch->gap ? MAX(busy * GAP_SHARE, 1.0) : length;
                stretch->at = axis->total;
                axis->total += stretch->drawn;
                axis->n_gaps += stretch->gap;
        }
        return TAKE_PTR(axis);
}

double waterfall_axis_at(const WaterfallAxis *axis, uint64_t ns) {
        size_t low = 0, high = axis->n;
        const Stretch *stretch;
        uint64_t length;

        if (axis->total <= 0)
                return 0;

        /* The last stretch that starts at or before @ns. */
        while (high - low > 1) {
                size_t middle = low + (high - low) / 2;

                if (axis->stretches[middle].start_ns <= ns)
                        low = middle;
                else
                        high = middle;
        }
        stretch = &axis->stretches[low];
        length = stretch->end_ns - stretch->start_ns;
        if (ns <= stretch->start_ns || length == 0)
                return stretch->at / axis->total;
        if (ns >= stretch->end_ns)
                return (stretch->at + stretch->drawn) / axis->total;
        return (stretch->at + stretch->drawn * ((double) (ns - stretch->start_ns) / (double) length)) / axis->total;
}

size_t waterfall_axis_gaps(const WaterfallAxis *axis) {
        return axis->n_gaps;
}

double waterfall_axis_gap(const WaterfallAxis *axis, size_t i, uint64_t *ret_ns) {
        for (size_t s = 0; s < axis->n; s++)
                if (axis->stretches[s].gap && i-- == 0) {
                        *ret_ns = axis->stretches[s].end_ns - axis->stretches[s].start_ns;
                        return (axis->stretches[s].at + axis->stretches[s].drawn / 2) / axis->total;
                }
        *ret_ns = 0;
        return 0;
}

/* What one print needs to know. */
typedef struct Waterfall {
        FILE *out;
        const Screen *screen;
        const Trace *trace;
        const WaterfallAxis *axis;
        const TraceSpan *pod;             /* the span that says which pod the trace is about; NULL if none does */
        size_t bar, name, service, where; /* columns; notes take the rest */
        size_t rest;
        size_t pending;                 /* blanks, not printed at the end of a line */
        const char *series[SERIES_MAX]; /* services in the order of their first span, for colours */
        size_t n_series;
        char *gap_columns; /* which columns of the bar are an idle stretch */
} Waterfall;

static void safe(const Waterfall *waterfall, const char *s, char ret[static SAFE_MAX]) {
        text_safe(ret, SAFE_MAX, s, strlen(s), waterfall->screen->utf8);
}

static void flush_blanks(Waterfall *waterfall) {
        fprintf(waterfall->out, "%*s", (int) waterfall->pending, "");
        waterfall->pending = 0;
}

static void end_line(Waterfall *waterfall) {
        waterfall->pending = 0;
        fputc('\n', waterfall->out);
}

/* Prints the safe string @s in exactly @columns, and two blanks after it. */
static void cell(Waterfall *waterfall, const char *s, size_t columns, ScreenStyle style, bool right) {
        char fit[SAFE_MAX];
        size_t width;

        text_fit(fit, sizeof(fit), s, columns, waterfall->screen->utf8);
        width = text_width(fit);
        if (right)
                waterfall->pending += columns - width;
        if (*fit) {
                flush_blanks(waterfall);
                if (style != SCREEN_PLAIN)
                        fputs(screen_style(waterfall->screen, style), waterfall->out);
                fputs(fit, waterfall->out);
                if (style != SCREEN_PLAIN)
                        fputs(screen_style(waterfall->screen, SCREEN_PLAIN), waterfall->out);
        }
        if (!right)
                waterfall->pending += columns - width;
        waterfall->pending += 2;
}

static ScreenStyle series_style(Waterfall *waterfall, const char *service) {
        for (size_t i = 0; i < waterfall->n_series; i++)
                if (strcmp(waterfall->series[i], service) == 0)
                        return SCREEN_SERIES + i % SCREEN_N_SERIES;
        if (waterfall->n_series == SERIES_MAX)
                return SCREEN_SERIES;
        waterfall->series[waterfall->n_series++] = service;
        return SCREEN_SERIES + (waterfall->n_series - 1) % SCREEN_N_SERIES;
}

/* The lines of the tree in front of a span's name. */
static void tree_prefix(const Waterfall *waterfall, const TraceSpan *span, char ret[static SAFE_MAX]) {
        const TraceSpan *path[DEPTH_MAX];
        bool utf8 = waterfall->screen->utf8;
        size_t n = 0;
        char *p = ret;

        ret[0] = '\0';
        if (span->parent == TRACE_NONE) {
                if (span->orphan)
                        (void) strcpy(ret, utf8 ? "┄ " : "~ ");
                return;
        }
        /* The ancestors below the root, nearest first; beyond the limit the outermost are left out. */
        for (const TraceSpan *s = span; s->parent != TRACE_NONE && n < DEPTH_MAX;
             s = &waterfall->trace->spans[s->parent])
                path[n++] = s;
        while (n-- > 1)
                p = stpcpy(p, path[n]->last ? "   " : utf8 ? "│  " : "|  ");
        (void) strcpy(p, utf8 ? (span->last ? "└─ " : "├─ ") : (span->last ? "`- " : "|- "));
}

static void span_label(const Waterfall *waterfall, const TraceSpan *span, char ret[static SAFE_MAX]) {
        char prefix[SAFE_MAX], name[SAFE_MAX];

        tree_prefix(waterfall, span, prefix);
        safe(waterfall, text_span_name(span->name), name);
        if (!*name)
                (void) strcpy(name, "(no name)");
        /* Neither comes near half of it, so that no character is cut. */
        (void) snprintf(ret, SAFE_MAX, "%.400s%.600s", prefix, name);
}

static bool same_pod(const TraceSpan *a, const TraceSpan *b) {
        return strcmp(a->pod_name, b->pod_name) == 0 && strcmp(a->pod_namespace, b->pod_namespace) == 0;
}

/* The span that says which pod the trace is about: the first that names one. */
static const TraceSpan *pod_span(const Trace *trace) {
        const TraceSpan *uid_only = NULL;

        for (uint32_t i = 0; i < trace->n_spans; i++) {
                if (*trace->spans[i].pod_name)
                        return &trace->spans[i];
                if (*trace->spans[i].pod_uid && !uid_only)
                        uid_only = &trace->spans[i];
        }
        return uid_only;
}

/* Container, and the pod where it is not the one in the header. */
static void span_where(const Waterfall *waterfall, const TraceSpan *span, char ret[static SAFE_MAX]) {
        char buf[SAFE_MAX] = "";

        if (*span->pod_name && waterfall->pod && !same_pod(span, waterfall->pod))
                (void) snprintf(buf, sizeof(buf), "%s/%s%s%s", span->pod_namespace, span->pod_name,
                                *span->container_name ? "/" : "", span->container_name);
        else if (*span->container_name)
                (void) snprintf(buf, sizeof(buf), "%s", span->container_name);
        else if (*span->container_id)
                (void) snprintf(buf, sizeof(buf), "%.12s", span->container_id);
        safe(waterfall, buf, ret);
}

static void print_bar(Waterfall *waterfall, const TraceSpan *span) {
        static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
        const Screen *screen = waterfall->screen;
        double left = waterfall_axis_at(waterfall->axis, span->start_ns) * (double) waterfall->bar;
        double right = waterfall_axis_at(waterfall->axis, span->end_ns) * (double) waterfall->bar;
        size_t first, units, column = 0;
        ScreenStyle style = span->verdict == STOREDB_FAILED ? SCREEN_ERROR : series_style(waterfall, span->service);

        flush_blanks(waterfall);
        first = MIN((size_t) left, waterfall->bar - 1);
        /* In eighths of a column from the left edge of the first; never nothing. */
        units = (size_t) ((right - (double) first) * 8 + 0.5);
        units = MIN(units, (waterfall->bar - first) * 8);
        units = MAX(units, (size_t) 1);
        if (!screen->utf8)
                units = (units + 7) / 8 * 8;

        for (; column < first; column++)
                fputs(waterfall->gap_columns[column] ? (screen->utf8 ? "┊" : ":") : " ", waterfall->out);

        fputs(screen_style(screen, style), waterfall->out);
        /* What starts late in its first column is drawn with the column's right half. */
        if (screen->utf8 && left - (double) first >= 0.5 && units > 4) {
                fputs("▐", waterfall->out);
                units = units > 8 ? units - 8 : 0;
                column++;
        }
        for (; units >= 8; units -= 8, column++)
                fputs(!screen->utf8                    ? (span->verdict == STOREDB_FAILED ? "!" : "=")
                      : semconv_long_lived(span->name) ? "━"
                                                       : "█",
                      waterfall->out);
        if (units > 0) {
                fputs(eighths[units], waterfall->out);
                column++;
        }
        fputs(screen_style(screen, SCREEN_PLAIN), waterfall->out);

        for (; column < waterfall->bar; column++)
                fputs(waterfall->gap_columns[column] ? (screen->utf8 ? "┊" : ":") : " ", waterfall->out);
        waterfall->pending = 2;
}

static void print_note(Waterfall *waterfall, ScreenStyle style, size_t *rest, const char *s) {
        char fit[SAFE_MAX];

        if (waterfall->screen->width > 0) {
                if (*rest < 4)
                        return;
                text_fit(fit, sizeof(fit), s, *rest - 2, waterfall->screen->utf8);
                *rest -= text_width(fit) + 2;
                s = fit;
        }
        flush_blanks(waterfall);
        fprintf(waterfall->out, "%s%s%s", screen_style(waterfall->screen, style), s,
                screen_style(waterfall->screen, SCREEN_PLAIN));
        waterfall->pending = 2;
}

static void print_notes(Waterfall *waterfall, const TraceSpan *span) {
        bool utf8 = waterfall->screen->utf8;
        char text[SAFE_MAX], message[SAFE_MAX];
        size_t rest = waterfall->rest;

        if (span->verdict != STOREDB_OK) {
                static const struct {
                        const char *mark, *ascii, *behind;
                        ScreenStyle style;
                } marks[] = {
                        [STOREDB_FAILED] = { "✗ ", "ERROR: ", "", SCREEN_ERROR },
                        [STOREDB_STOPPED] = { "■ stopped: ", "stopped: ", "", SCREEN_DIM },
                        [STOREDB_UNDECIDED] = { "? ", "? ", " (stopped or not: its call may not have ended yet)",
                                                SCREEN_DIM },
                        [STOREDB_UNKNOWN] = { "? ", "? ", "", SCREEN_WARNING },
                };

                safe(waterfall, *span->why ? span->why : "the store does not say why", message);
                (void) snprintf(text, sizeof(text), "%s%.*s%s",
                                utf8 ? marks[span->verdict].mark : marks[span->verdict].ascii, SAFE_MAX - 96, message,
                                marks[span->verdict].behind);
                print_note(waterfall, marks[span->verdict].style, &rest, text);
        }
        for (unsigned i = 0; i < span->n_links; i++) {
                char id[33];

                if (memcmp(span->links[i].trace_id, waterfall->trace->trace_id, 16) == 0)
                        (void) strcpy(id, "this trace");
                else
                        util_hex_encode(span->links[i].trace_id, 16, id);
                safe(waterfall, span->links[i].why ? span->links[i].why : "", message);
                (void) snprintf(text, sizeof(text), "%s linked to %s%s%.200s%s", utf8 ? "→" : "->", id,
                                *message ? " (" : "", message, *message ? ")" : "");
                print_note(waterfall, SCREEN_DIM, &rest, text);
        }
        /* Where no span is sampled the header says so, once. */
        if (trace_span_unsampled(span) && waterfall->trace->n_unsampled < waterfall->trace->n_spans)
                print_note(waterfall, SCREEN_DIM, &rest, utf8 ? "○ not sampled" : "(not sampled)");
}

static void print_span(Waterfall *waterfall, const TraceSpan *span) {
        char offset[TEXT_DURATION_MAX], duration[TEXT_DURATION_MAX], text[SAFE_MAX];

        text_duration(span->start_ns - waterfall->trace->start_ns, offset);
        text_duration(span->end_ns - span->start_ns, duration);
        cell(waterfall, span->start_ns == waterfall->trace->start_ns ? "0" : offset, 8, SCREEN_DIM, true);
        cell(waterfall, duration, 8, SCREEN_PLAIN, true);
        print_bar(waterfall, span);

        span_label(waterfall, span, text);
        cell(waterfall, text, waterfall->name, span->verdict == STOREDB_FAILED ? SCREEN_ERROR : SCREEN_PLAIN, false);
        if (waterfall->service > 0) {
                safe(waterfall, span->service, text);
                cell(waterfall, text, waterfall->service, series_style(waterfall, span->service), false);
        }
        if (waterfall->where > 0) {
                span_where(waterfall, span, text);
                cell(waterfall, text, waterfall->where, SCREEN_PLAIN, false);
        }
        print_notes(waterfall, span);
        end_line(waterfall);
}

static void print_header(Waterfall *waterfall) {
        const Trace *trace = waterfall->trace;
        const Screen *screen = waterfall->screen;
        const TraceSpan *pod = waterfall->pod;
        const char *dot = screen->utf8 ? " · " : " - ";
        char id[33], text[SAFE_MAX], time[TEXT_TIME_MAX], duration[TEXT_DURATION_MAX];

        util_hex_encode(trace->trace_id, 16, id);
        fprintf(waterfall->out, "%sTrace %s%s", screen_style(screen, SCREEN_BOLD), id,
                screen_style(screen, SCREEN_PLAIN));
        if (pod) {
                fputs(dot, waterfall->out);
                fputs("pod ", waterfall->out);
                fputs(screen_style(screen, SCREEN_BOLD), waterfall->out);
                if (*pod->pod_namespace) {
                        safe(waterfall, pod->pod_namespace, text);
                        fprintf(waterfall->out, "%s/", text);
                }
                safe(waterfall, *pod->pod_name ? pod->pod_name : pod->pod_uid, text);
                fprintf(waterfall->out, "%s%s", text, screen_style(screen, SCREEN_PLAIN));
        }
        if (trace->node) {
                safe(waterfall, trace->node, text);
                fprintf(waterfall->out, "%snode %s", dot, text);
        }
        fputc('\n', waterfall->out);

        text_time(trace->start_ns, true, time);
        text_duration(trace->end_ns - trace->start_ns, duration);
        fprintf(waterfall->out, "Started %s%stotal %s%s%" PRIu64 " span%s", time, dot, duration, dot, trace->n_total,
                trace->n_total == 1 ? "" : "s");
        if (trace->n_errors > 0)
                fprintf(waterfall->out, "%s%s%u failed%s", dot, screen_style(screen, SCREEN_ERROR), trace->n_errors,
                        screen_style(screen, SCREEN_PLAIN));
        if (trace->n_unsampled == trace->n_spans)
                fprintf(waterfall->out, "%snot sampled (kept on this node only)", dot);
        fputs("\n\n", waterfall->out);

        cell(waterfall, "offset", 8, SCREEN_DIM, true);
        cell(waterfall, "duration", 8, SCREEN_DIM, true);
        waterfall->pending += waterfall->bar + 2;
        cell(waterfall, "span", waterfall->name, SCREEN_DIM, false);
        if (waterfall->service > 0)
                cell(waterfall, "service", waterfall->service, SCREEN_DIM, false);
        if (waterfall->where > 0)
                cell(waterfall, "container", waterfall->where, SCREEN_DIM, false);
        end_line(waterfall);
}

static void print_footer(const Waterfall *waterfall) {
        const Trace *trace = waterfall->trace;
        const Screen *screen = waterfall->screen;
        bool empty = true;

        for (size_t i = 0; i < waterfall_axis_gaps(waterfall->axis) && i < 8; i++) {
                char duration[TEXT_DURATION_MAX];
                uint64_t ns;

                (void) waterfall_axis_gap(waterfall->axis, i, &ns);
                text_duration(ns, duration);
                fprintf(waterfall->out, "%s%s%s %s without work is drawn short%s\n", empty ? "\n" : "",
                        screen_style(screen, SCREEN_DIM), screen->utf8 ? "┊" : ":", duration,
                        screen_style(screen, SCREEN_PLAIN));
                empty = false;
        }
        if (trace->n_orphans > 0) {
                fprintf(waterfall->out, "%s%s%s the parent span is not in this store%s\n", empty ? "\n" : "",
                        screen_style(screen, SCREEN_DIM), screen->utf8 ? "┄" : "~", screen_style(screen, SCREEN_PLAIN));
                empty = false;
        }
        if (trace->n_total > trace->n_spans)
                fprintf(waterfall->out, "%sThe first %" PRIu32 " of %" PRIu64 " spans are shown; --json prints all.\n",
                        empty ? "\n" : "", trace->n_spans, trace->n_total);
}

/* How many columns each part gets. */
static void lay_out(Waterfall *waterfall) {
        const Screen *screen = waterfall->screen;
        const Trace *trace = waterfall->trace;
        size_t fixed = 8 + 2 + 8 + 2 + 2, used, bar_min;
        char text[SAFE_MAX];

        waterfall->name = strlen("span");
        for (uint32_t i = 0; i < trace->n_spans; i++) {
                span_label(waterfall, &trace->spans[i], text);
                waterfall->name = MAX(waterfall->name, text_width(text));
                safe(waterfall, trace->spans[i].service, text);
                waterfall->service = MAX(waterfall->service, text_width(text));
                span_where(waterfall, &trace->spans[i], text);
                waterfall->where = MAX(waterfall->where, text_width(text));
        }
        if (waterfall->service > 0)
                waterfall->service = MAX(waterfall->service, strlen("service"));
        if (waterfall->where > 0)
                waterfall->where = MAX(waterfall->where, strlen("container"));

        waterfall->bar = BAR_COLUMNS_PLAIN;
        if (screen->width == 0)
                return;

        /* A narrow terminal first loses the container, then the service; the name and a small bar always stay. */
        waterfall->name = MIN(waterfall->name, (size_t) NAME_COLUMNS_MAX);
        waterfall->service = MIN(waterfall->service, (size_t) SERVICE_COLUMNS_MAX);
        waterfall->where = MIN(waterfall->where, (size_t) WHERE_COLUMNS_MAX);
        bar_min = screen->width < NARROW ? BAR_COLUMNS_NARROW : BAR_COLUMNS_MIN;
        fixed += bar_min;
        if (fixed + waterfall->name + 2 + waterfall->service + 2 + waterfall->where > screen->width)
                waterfall->where = 0;
        if (fixed + waterfall->name + 2 + waterfall->service > screen->width)
                waterfall->service = 0;
        if (fixed + waterfall->name > screen->width)
                waterfall->name = screen->width - fixed;

        used = fixed + waterfall->name + (waterfall->service > 0 ? 2 + waterfall->service : 0) +
               (waterfall->where > 0 ? 2 + waterfall->where : 0);
        waterfall->bar = bar_min;
        if (screen->width > used) {
                /* Errors and links want some of what is left, the bar the more. */
                bool notes = trace->n_errors > 0 || (trace->n_unsampled > 0 && trace->n_unsampled < trace->n_spans);

                for (uint32_t i = 0; i < trace->n_spans && !notes; i++)
                        notes = trace->spans[i].n_links > 0;
                waterfall->bar += MIN((screen->width - used) * (notes ? 1 : 2) / 2, BAR_COLUMNS_MAX - bar_min);
                waterfall->rest = screen->width - used - (waterfall->bar - bar_min);
        }
}

int waterfall_print(FILE *out, const Screen *screen, const Trace *trace) {
        _cleanup_(waterfall_axis_freep) WaterfallAxis *axis = waterfall_axis_new(trace);
        _cleanup_free_ char *gap_columns = NULL;
        Waterfall waterfall = { .out = out, .screen = screen, .trace = trace, .axis = axis, .pod = pod_span(trace) };

        assert(trace->n_spans > 0);
        if (!axis)
                return -ENOMEM;

        lay_out(&waterfall);
        gap_columns = calloc(waterfall.bar, 1);
        if (!gap_columns)
                return -ENOMEM;
        waterfall.gap_columns = gap_columns;
        for (size_t i = 0; i < waterfall_axis_gaps(axis); i++) {
                uint64_t ns;
                double at = waterfall_axis_gap(axis, i, &ns) * (double) waterfall.bar;

                gap_columns[MIN((size_t) at, waterfall.bar - 1)] = 1;
        }

        print_header(&waterfall);
        for (uint32_t i = 0; i < trace->n_spans; i++)
                print_span(&waterfall, &trace->spans[trace->order[i]]);
        print_footer(&waterfall);
        return 0;
}
