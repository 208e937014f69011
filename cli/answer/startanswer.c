#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "answerjson.h"
#include "chainview.h"
#include "deathdb.h"
#include "spanfind.h"
#include "startanswer.h"
#include "startdb.h"
#include "text.h"

#define SANDBOX   "runtime.v1.RuntimeService/RunPodSandbox"
#define CONTAINER "runtime.v1.RuntimeService/StartContainer"
#define PULL      "runtime.v1.ImageService/PullImage"

#define KIND_SERVER    2    /* OTLP's SPAN_KIND_SERVER */
#define LOOKUPS_MAX    256  /* spans whose attributes are read */
#define OTHERS_MAX     2048 /* starts that are compared */
#define PERCENT_SHOWN  3    /* of the start: a smaller part is not in the sentence */
#define SENTENCE_PARTS 4
#define LINE_WIDTH     80

void startanswer_deinit(StartAnswer *answer) {
        free(answer->pod_uid);
        free(answer->pod_name);
        free(answer->pod_namespace);
        free(answer->failure);
        free(answer->failed_method);
        *answer = (StartAnswer) STARTANSWER_NULL;
}

/* ---- reading ---- */

typedef struct Load {
        StoreDb *db;
        const char *uid;
        StartSpan *spans;
        uint8_t (*trace_ids)[16];
        int64_t *batches;
        size_t n;
        StartPull *pulls;
        size_t n_pulls;
        uint64_t until_ns;
} Load;

static void load_deinit(Load *load) {
        for (size_t i = 0; i < load->n; i++) {
                StartSpan *span = &load->spans[i];

                free((char *) span->name);
                free((char *) span->service);
                free((char *) span->container_name);
                free((char *) span->container_id);
                free((char *) span->image);
                free((char *) span->hook_stage);
                free((char *) span->why);
        }
        for (size_t i = 0; i < load->n_pulls; i++)
                free((char *) load->pulls[i].pod);
        free(load->spans);
        free(load->trace_ids);
        free(load->batches);
        free(load->pulls);
}

static int load_row(const StartRow *row, void *userdata) {
        Load *load = userdata;
        StartSpan *span = &load->spans[load->n];

        assert(load->n < STARTPART_SPANS_MAX);
        *span = (StartSpan){
                .has_parent = row->has_parent,
                .is_call = row->kind == KIND_SERVER && strncmp(row->name, "runtime.v1", strlen("runtime.v1")) == 0,
                .start_ns = row->start_ns,
                .end_ns = row->end_ns,
                .outcome = row->outcome,
                .name = strdup(row->name),
                .service = strdup(row->service),
                .container_name = strdup(row->container_name),
                .container_id = strdup(row->container_id),
                .image = strdup(""),
                .hook_stage = strdup(""),
                .why = strdup(row->why),
        };
        memcpy(span->span_id, row->span_id, sizeof(span->span_id));
        memcpy(span->parent_id, row->parent_id, sizeof(span->parent_id));
        memcpy(load->trace_ids[load->n], row->trace_id, sizeof(row->trace_id));
        load->batches[load->n++] = row->batch;
        return span->name && span->service && span->container_name && span->container_id && span->image &&
                               span->hook_stage && span->why
                       ? 0
                       : -ENOMEM;
}

static bool ends_with(const char *name, const char *method) {
        const char *slash = strrchr(name, '/');

        return strcmp(slash ? slash + 1 : name, method) == 0;
}

typedef struct Lookup {
        const Load *load;
        size_t at;
        Podspan__Otlp__Span *found;
} Lookup;

static int on_batch(const uint8_t *traces, size_t size, void *userdata) {
        Lookup *lookup = userdata;

        /* A span that cannot be read says nothing more than its row. */
        (void) spanfind(traces, size, lookup->load->trace_ids[lookup->at], lookup->load->spans[lookup->at].span_id,
                        &lookup->found);
        return 0;
}

static int set_text(const char **where, const char *value) {
        char *copy;

        if (!value)
                return 0;
        copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        free((char *) *where);
        *where = copy;
        return 0;
}

/* What only the span's attributes say: image, hook's stage, time before the first call. */
static int load_attributes(Load *load) {
        unsigned n_lookups = 0;

        for (size_t i = 0; i < load->n && n_lookups < LOOKUPS_MAX; i++) {
                _cleanup_(spanfind_freep) Podspan__Otlp__Span *found = NULL;
                StartSpan *span = &load->spans[i];
                Lookup lookup = { .load = load, .at = i };
                int64_t wait_ms;
                int r;

                if (span->is_call ? !ends_with(span->name, "RunPodSandbox") && !ends_with(span->name, "PullImage")
                                  : strchr(span->name, ' ') != NULL)
                        continue; /* no hook's span has a space in its name */
                n_lookups++;
                r = deathdb_batch(load->db, load->batches[i], on_batch, &lookup);
                if (r < 0 && r != -ENOENT)
                        return r;
                found = lookup.found;
                if (!found)
                        continue;
                r = set_text(&span->image, spanfind_string(found, "container.image.name"));
                if (r == 0)
                        r = set_text(&span->hook_stage, spanfind_string(found, "oci.hook.stage"));
                if (r < 0)
                        return r;
                wait_ms = spanfind_number(found, "podspan.pod.wait_ms", 0);
                if (wait_ms > 0 && (uint64_t) wait_ms <= UINT64_MAX / NSEC_PER_MSEC)
                        span->wait_ns = (uint64_t) wait_ms * NSEC_PER_MSEC;
        }
        return 0;
}

static int load_pull(const StartCall *call, void *userdata) {
        Load *load = userdata;
        char *pod;

        if (load->n_pulls == STARTPART_PULLS_MAX)
                return 1;
        if (strcmp(call->pod_uid, load->uid) == 0 || !*call->pod_name)
                return 0;
        if (asprintf(&pod, "%s%s%s", call->pod_namespace, *call->pod_namespace ? "/" : "", call->pod_name) < 0)
                return -ENOMEM;
        load->pulls[load->n_pulls++] = (StartPull){ call->start_ns, call->end_ns, pod };
        return 0;
}

/* ---- comparing ---- */

static int compare_u64(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

typedef struct Other {
        char uid[64];
        uint64_t begin_ns;
        uint64_t end_ns;
} Other;

typedef struct Others {
        const char *uid; /* of the pod that is asked about */
        Other *pods;     /* by when their sandbox was made, the newest first */
        size_t n;
} Others;

static int other_sandbox(const StartCall *call, void *userdata) {
        Others *others = userdata;

        if (others->n == OTHERS_MAX)
                return 1;
        if (call->outcome != OUTCOME_OK || !*call->pod_uid || strlen(call->pod_uid) >= sizeof(others->pods->uid) ||
            strcmp(call->pod_uid, others->uid) == 0)
                return 0;
        for (size_t i = 0; i < sizeof(others->pods->uid); i++) {
                others->pods[others->n].uid[i] = call->pod_uid[i];
                if (!call->pod_uid[i])
                        break;
        }
        others->pods[others->n].begin_ns = call->start_ns;
        others->pods[others->n++].end_ns = 0;
        return 0;
}

static int compare_other(const void *a, const void *b) {
        const Other *x = a, *y = b;
        int order = strcmp(x->uid, y->uid);

        return order != 0 ? order : x->begin_ns < y->begin_ns ? -1 : x->begin_ns > y->begin_ns;
}

/* The newest sandbox of the pod that was there when the container started. */
static Other *other_find(Others *others, const char *uid, uint64_t at_ns) {
        size_t low = 0, high = others->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int order = strcmp(others->pods[middle].uid, uid);

                if (order < 0 || (order == 0 && others->pods[middle].begin_ns <= at_ns))
                        low = middle + 1;
                else
                        high = middle;
        }
        return low > 0 && strcmp(others->pods[low - 1].uid, uid) == 0 ? &others->pods[low - 1] : NULL;
}

/*
 * The first start of a container. Init containers and restarts cannot be told apart here without the whole story of
 * each pod, so the first StartContainer of a pod ends what is compared.
 */
static int other_container(const StartCall *call, void *userdata) {
        Others *others = userdata;
        Other *other;

        if (call->outcome != OUTCOME_OK)
                return 0;
        other = other_find(others, call->pod_uid, call->start_ns);
        /* The newest comes first: what comes last counts. */
        if (other)
                other->end_ns = call->end_ns;
        return 0;
}

/* As other_container(), of the pod that is asked about. */
static int compare_starts(StoreDb *db, const Load *load, StartAnswer *answer) {
        _cleanup_free_ Other *pods = calloc(OTHERS_MAX, sizeof(*pods));
        Others others = { .uid = load->uid, .pods = pods };
        uint64_t begin_ns = 0, end_ns = 0;
        int r;

        if (!pods)
                return -ENOMEM;
        for (size_t i = 0; i < load->n && end_ns == 0; i++) {
                const StartSpan *span = &load->spans[i];

                if (!span->is_call || span->outcome != OUTCOME_OK)
                        continue;
                if (ends_with(span->name, "RunPodSandbox"))
                        begin_ns = span->start_ns;
                else if (ends_with(span->name, "StartContainer") && begin_ns > 0)
                        end_ns = span->end_ns;
        }
        if (end_ns <= begin_ns)
                return 0;

        r = startdb_calls(db, SANDBOX, load->until_ns, other_sandbox, &others);
        if (r < 0)
                return r;
        qsort(pods, others.n, sizeof(*pods), compare_other);
        r = startdb_calls(db, CONTAINER, load->until_ns, other_container, &others);
        if (r < 0)
                return r;
        for (size_t i = 0; i < others.n; i++) {
                if (pods[i].end_ns <= pods[i].begin_ns)
                        continue;
                answer->n_others++;
                answer->n_faster += pods[i].end_ns - pods[i].begin_ns < end_ns - begin_ns;
        }
        return 0;
}

typedef struct Durations {
        const char *uid;
        uint64_t *ns;
        size_t n;
} Durations;

static int add_duration(const StartCall *call, void *userdata) {
        Durations *durations = userdata;

        if (call->outcome == OUTCOME_OK && strcmp(call->pod_uid, durations->uid) != 0 && call->end_ns > call->start_ns)
                durations->ns[durations->n++] = call->end_ns - call->start_ns;
        return 0;
}

/* A call is unusual if it took longer than 95 of 100 others, and twice their median. */
static int compare_calls(StoreDb *db, const Load *load, StartAnswer *answer) {
        static const char *const methods[] = { SANDBOX, "runtime.v1.RuntimeService/CreateContainer", CONTAINER, PULL };
        _cleanup_free_ uint64_t *ns = calloc(STARTDB_CALLS_MAX, sizeof(*ns));
        int r;

        if (!ns)
                return -ENOMEM;
        for (size_t m = 0; m < ARRAY_SIZE(methods); m++) {
                Durations durations = { .uid = load->uid, .ns = ns };
                uint64_t median_ns, most_ns = 0;

                for (size_t i = 0; i < load->n; i++) {
                        const StartSpan *span = &load->spans[i];

                        if (span->is_call && strcmp(span->name, methods[m]) == 0 && span->end_ns > span->start_ns &&
                            span->start_ns >= answer->start.begin_ns && span->end_ns <= answer->start.end_ns)
                                most_ns = MAX(most_ns, span->end_ns - span->start_ns);
                }
                if (most_ns == 0)
                        continue;
                r = startdb_calls(db, methods[m], load->until_ns, add_duration, &durations);
                if (r < 0)
                        return r;
                if (durations.n < STARTANSWER_RANK_MIN)
                        continue;
                qsort(ns, durations.n, sizeof(*ns), compare_u64);
                median_ns = ns[durations.n / 2];
                if (most_ns < 2 * median_ns || most_ns <= ns[durations.n - 1 - durations.n / 20])
                        continue;
                answer->unusual[answer->n_unusual] =
                        (StartUnusual){ .ns = most_ns, .median_ns = median_ns, .n_others = (unsigned) durations.n };
                (void) snprintf(answer->unusual[answer->n_unusual].method, sizeof(answer->unusual->method), "%s",
                                strrchr(methods[m], '/') + 1);
                answer->n_unusual++;
        }
        return 0;
}

static int find_failure(const Load *load, StartAnswer *answer) {
        for (size_t i = load->n; i-- > 0;) {
                const StartSpan *span = &load->spans[i];
                const char *slash = strrchr(span->name, '/');

                if (!span->is_call || span->outcome != OUTCOME_FAILED || span->end_ns > answer->start.end_ns)
                        continue;
                answer->failure = strdup(span->why);
                answer->failed_method = strdup(slash ? slash + 1 : span->name);
                return answer->failure && answer->failed_method ? 0 : -ENOMEM;
        }
        return 0;
}

static int find_pressure(StoreDb *db, StartAnswer *answer) {
        DeathPressure pressure;
        int r = deathdb_pressure(db, answer->start.begin_ns, answer->start.end_ns, &pressure);

        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        answer->has_pressure = pressure.seconds > 0;
        answer->pressure_seconds = pressure.seconds;
        answer->cpu_us = pressure.cpu_some_us;
        answer->io_us = pressure.io_some_us;
        answer->memory_us = pressure.memory_some_us;
        return 0;
}

/* ---- the sentence ---- */

static uint64_t duration_of(const StartAnswer *answer) {
        return answer->start.end_ns - answer->start.begin_ns;
}

static void append(StartAnswer *answer, const char *format, ...) _printf_(2, 3);
static void append(StartAnswer *answer, const char *format, ...) {
        size_t at = strlen(answer->sentence);
        va_list args;

        va_start(args, format);
        (void) vsnprintf(answer->sentence + at, sizeof(answer->sentence) - at, format, args);
        va_end(args);
}

static void make_sentence(StartAnswer *answer) {
        const Start *start = &answer->start;
        char duration[TEXT_DURATION_MAX];
        size_t n = 0;

        text_duration(duration_of(answer), duration);
        append(answer, start->complete ? "Started in %s" : "Not started after %s", duration);
        if (!start->complete && answer->failed_method)
                append(answer, ", %s failed", answer->failed_method);
        for (size_t i = 0; i < start->n_parts && n < SENTENCE_PARTS; i++) {
                const StartPart *part = &start->parts[i];
                char text[STARTPART_TEXT_MAX];

                if (part->ns < duration_of(answer) / 100 * PERCENT_SHOWN)
                        break;
                startpart_text(part, text);
                text_duration(part->ns, duration);
                append(answer, "%s%s %.80s", n == 0 ? ": " : "; ", duration, text);
                if (*part->detail && part->detail_ns >= part->ns / 2) {
                        text_duration(part->detail_ns, duration);
                        append(answer, " (%.32s %s)", part->detail, duration);
                }
                n++;
        }
        append(answer, ".");
        if (answer->n_others >= STARTANSWER_RANK_MIN)
                append(answer, " Slower than %u %% of this node's %u starts.",
                       (unsigned) ((uint64_t) answer->n_faster * 100 / answer->n_others), answer->n_others);
}

int startanswer_load(StoreDb *db, const char *uid, StartAnswer *ret) {
        _cleanup_(startanswer_deinit) StartAnswer answer = STARTANSWER_NULL;
        _cleanup_(load_deinit) Load load = { .db = db, .uid = uid };
        uint64_t first_ns;
        int r;

        r = startdb_sandbox(db, uid, &first_ns, &answer.pod_name, &answer.pod_namespace);
        if (r < 0)
                return r;
        answer.pod_uid = strdup(uid);
        load.spans = calloc(STARTPART_SPANS_MAX, sizeof(*load.spans));
        load.trace_ids = calloc(STARTPART_SPANS_MAX, sizeof(*load.trace_ids));
        load.batches = calloc(STARTPART_SPANS_MAX, sizeof(*load.batches));
        load.pulls = calloc(STARTPART_PULLS_MAX, sizeof(*load.pulls));
        if (!answer.pod_uid || !load.spans || !load.trace_ids || !load.batches || !load.pulls)
                return -ENOMEM;

        load.until_ns = first_ns + STARTDB_SPAN_NS;
        r = startdb_rows(db, uid, first_ns, load.until_ns, STARTPART_SPANS_MAX, load_row, &load);
        if (r < 0)
                return r;
        r = load_attributes(&load);
        if (r < 0)
                return r;
        r = startdb_calls(db, PULL, load.until_ns, load_pull, &load);
        if (r < 0)
                return r;

        /* The rows are in the order of their start; dividing keeps that, of equals the order may change. */
        r = startpart_divide(load.spans, load.n, load.pulls, load.n_pulls, &answer.start);
        if (r < 0)
                return r;
        if (!answer.start.complete) {
                r = find_failure(&load, &answer);
                if (r < 0)
                        return r;
        }
        r = compare_starts(db, &load, &answer);
        if (r == 0)
                r = compare_calls(db, &load, &answer);
        if (r == 0)
                r = find_pressure(db, &answer);
        if (r < 0)
                return r;
        make_sentence(&answer);

        *ret = answer;
        answer = (StartAnswer) STARTANSWER_NULL;
        return 0;
}

/* ---- writing ---- */

static void print_part(const Cli *cli, const StartAnswer *answer, const StartPart *part) {
        char text[STARTPART_TEXT_MAX + STARTPART_WHAT_MAX + 64], duration[TEXT_DURATION_MAX], inner[TEXT_DURATION_MAX];
        char safe[4 * sizeof(text)], fitted[4 * sizeof(text)];
        uint64_t total_ns = MAX(duration_of(answer), UINT64_C(1));

        startpart_text(part, text);
        if (*part->detail) {
                size_t at = strlen(text);

                text_duration(part->detail_ns, inner);
                (void) snprintf(text + at, sizeof(text) - at, " (%s %s)", part->detail, inner);
        }
        (void) text_safe(safe, sizeof(safe), text, strlen(text), cli->screen.utf8);
        text_fit(fitted, sizeof(fitted), safe, cli->screen.width > 24 ? cli->screen.width - 24 : SIZE_MAX / 2,
                 cli->screen.utf8);
        text_duration(part->ns, duration);
        printf("  %9s  %5.1f %%  %s\n", duration, (double) part->ns * 100 / (double) total_ns, fitted);
}

static void print_pressure(const StartAnswer *answer) {
        const struct {
                const char *name;
                int64_t us;
        } kinds[] = { { "CPU", answer->cpu_us }, { "I/O", answer->io_us }, { "memory", answer->memory_us } };
        bool any = false;

        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                double percent = (double) kinds[i].us / 1e4 / (double) answer->pressure_seconds;

                if (kinds[i].us < 0 || percent < 5)
                        continue;
                printf("%s%s %.0f %%", any ? ", " : "Pressure meanwhile (some process waited): ", kinds[i].name,
                       MIN(percent, 100.0));
                any = true;
        }
        if (any)
                putchar('\n');
}

/* Calls @fn for each thing that is not known. */
static void for_unknown(const StartAnswer *answer, void (*fn)(const char *text, void *userdata), void *userdata) {
        const Start *start = &answer->start;
        bool before = false;

        for (size_t i = 0; i < start->n_parts; i++)
                before = before || start->parts[i].kind == START_BEFORE;
        if (!start->watched)
                fn("what the calls spent their time on: podspan-watch reported nothing for this pod", userdata);
        if (!before)
                fn("the time before the first call: kubelet did not say when it got the pod", userdata);
        if (!answer->has_pressure)
                fn("pressure: podspand has no figures of that time", userdata);
        if (answer->n_others < STARTANSWER_RANK_MIN)
                fn("how this compares: the store has too few other starts", userdata);
}

static void print_unknown(const char *text, void *userdata) {
        (void) userdata;
        printf("Unknown: %s\n", text);
}

void startanswer_print(const Cli *cli, const StartAnswer *answer) {
        Screen narrow = cli->screen;

        narrow.width = narrow.width > 0 ? MIN(narrow.width, (unsigned) LINE_WIDTH) : LINE_WIDTH;
        chainview_wrap(&narrow, "", answer->sentence, SCREEN_BOLD);
        if (answer->failure && *answer->failure) {
                char safe[4 * OUTCOME_WHY_MAX + 1];

                (void) text_safe(safe, sizeof(safe), answer->failure, strlen(answer->failure), cli->screen.utf8);
                printf("%s: %s\n", answer->failed_method, safe);
        }
        putchar('\n');
        for (size_t i = 0; i < answer->start.n_parts; i++)
                print_part(cli, answer, &answer->start.parts[i]);
        putchar('\n');
        if (answer->start.n_attempts > 1)
                printf("Attempts: %u sandboxes were tried.\n", answer->start.n_attempts);
        for (size_t i = 0; i < answer->n_unusual; i++) {
                const StartUnusual *unusual = &answer->unusual[i];
                char ns[TEXT_DURATION_MAX], median[TEXT_DURATION_MAX];

                text_duration(unusual->ns, ns);
                text_duration(unusual->median_ns, median);
                printf("Unusual: %s took %s; the median of %u others is %s.\n", unusual->method, ns, unusual->n_others,
                       median);
        }
        if (answer->has_pressure)
                print_pressure(answer);
        for_unknown(answer, print_unknown, NULL);
}

static void json_unknown(const char *text, void *userdata) {
        json_str(userdata, text);
}

static void json_part(Json *json, const StartPart *part) {
        json_map(json);
        json_pair_str(json, "kind", startpart_kind_word(part->kind));
        json_pair_known(json, "what", part->what);
        json_pair_u64(json, "duration_ns", part->ns);
        json_time(json, "first", part->first_ns);
        if (*part->detail) {
                json_key(json, "detail");
                json_map(json);
                json_pair_str(json, "what", part->detail);
                json_pair_u64(json, "duration_ns", part->detail_ns);
                json_map_end(json);
        }
        if (part->has_span) {
                json_key(json, "span_id");
                json_hex(json, part->span_id, sizeof(part->span_id));
        }
        json_map_end(json);
}

static void json_pressure(Json *json, const StartAnswer *answer) {
        json_key(json, "pressure");
        json_map(json);
        json_pair_u64(json, "seconds", answer->pressure_seconds);
        if (answer->cpu_us >= 0)
                json_pair_u64(json, "cpu_some_us", (uint64_t) answer->cpu_us);
        if (answer->io_us >= 0)
                json_pair_u64(json, "io_some_us", (uint64_t) answer->io_us);
        if (answer->memory_us >= 0)
                json_pair_u64(json, "memory_some_us", (uint64_t) answer->memory_us);
        json_map_end(json);
}

void startanswer_json(Json *json, const StartAnswer *answer) {
        json_map(json);
        json_pair_u64(json, "schema", 1);
        json_pair_str(json, "question", "start");
        answerjson_pod(json, answer->pod_uid, answer->pod_name, answer->pod_namespace, NULL);
        json_pair_str(json, "sentence", answer->sentence);
        json_pair_bool(json, "complete", answer->start.complete);
        json_pair_known(json, "failed", answer->failed_method);
        json_pair_known(json, "why", answer->failure);
        json_time(json, "begin", answer->start.begin_ns);
        json_time(json, "end", answer->start.end_ns);
        json_pair_u64(json, "duration_ns", duration_of(answer));
        json_pair_u64(json, "attempts", answer->start.n_attempts);
        json_key(json, "parts");
        json_array(json);
        for (size_t i = 0; i < answer->start.n_parts; i++)
                json_part(json, &answer->start.parts[i]);
        json_array_end(json);
        json_key(json, "unusual");
        json_array(json);
        for (size_t i = 0; i < answer->n_unusual; i++) {
                json_map(json);
                json_pair_str(json, "method", answer->unusual[i].method);
                json_pair_u64(json, "duration_ns", answer->unusual[i].ns);
                json_pair_u64(json, "median_ns", answer->unusual[i].median_ns);
                json_pair_u64(json, "others", answer->unusual[i].n_others);
                json_map_end(json);
        }
        json_array_end(json);
        if (answer->n_others >= STARTANSWER_RANK_MIN) {
                json_key(json, "rank");
                json_map(json);
                json_pair_u64(json, "starts", answer->n_others);
                json_pair_u64(json, "faster", answer->n_faster);
                json_map_end(json);
        }
        if (answer->has_pressure)
                json_pressure(json, answer);
        json_key(json, "unknown");
        json_array(json);
        for_unknown(answer, json_unknown, json);
        json_array_end(json);
        json_map_end(json);
}

int startanswer_ask(Cli *cli, StoreDb *db, const char *what, CliExit *ret_code) {
        _cleanup_(startanswer_deinit) StartAnswer answer = STARTANSWER_NULL;
        _cleanup_(json_freep) Json *json = NULL;
        _cleanup_free_ char *uid = NULL;
        int r;

        r = startdb_pod(db, what, &uid);
        if (r == 0)
                r = startanswer_load(db, uid, &answer);
        if (r < 0)
                return r;
        if (cli->json) {
                json = json_new(stdout);
                if (!json)
                        return -ENOMEM;
                startanswer_json(json, &answer);
        } else {
                startanswer_print(cli, &answer);
        }
        *ret_code = cli_finish(json, CLI_OK);
        return 0;
}
