#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "answer.h"

void answer_deinit(Answer *answer) {
        free(answer->pod_uid);
        free(answer->pod_name);
        free(answer->pod_namespace);
        free(answer->sandbox_id);
        free(answer->container_name);
        free(answer->container_id);
        free(answer->call);
        free(answer->reason);
        free(answer->failure);
        (void) spanfind_free(answer->span);
        for (size_t i = 0; i < answer->n_items; i++) {
                free(answer->items[i].what);
                free(answer->items[i].value);
                free(answer->items[i].source);
        }
        free(answer->items);
        for (size_t i = 0; i < answer->n_unknown; i++)
                free(answer->unknown[i]);
        free(answer->unknown);
        *answer = (Answer) ANSWER_NULL;
}

static int copy(const char *s, char **ret) {
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

typedef struct Names {
        const char *pod_uid, *pod_name, *pod_namespace, *sandbox_id, *container_name, *container_id;
} Names;

static int copy_names(Answer *answer, const Names *names) {
        int r;

        r = copy(names->pod_uid, &answer->pod_uid);
        if (r >= 0)
                r = copy(names->pod_name, &answer->pod_name);
        if (r >= 0)
                r = copy(names->pod_namespace, &answer->pod_namespace);
        if (r >= 0)
                r = copy(names->sandbox_id, &answer->sandbox_id);
        if (r >= 0)
                r = copy(names->container_name, &answer->container_name);
        if (r >= 0)
                r = copy(names->container_id, &answer->container_id);
        return r;
}

int answer_from_death(const Death *death, Answer *ret) {
        _cleanup_answer_ Answer answer = {
                .start_ns = death->start_ns,
                .end_ns = death->end_ns,
                .n_times = 1,
                .first_ns = death->end_ns,
                .batch = death->batch,
                .attempt = -1,
                .emitted = death->emitted,
                .facts = VERDICT_FACTS_NONE,
        };
        int r;

        r = copy_names(&answer, &(Names){ death->pod_uid, death->pod_name, death->pod_namespace, death->sandbox_id,
                                          death->container_name, death->container_id });
        if (r < 0)
                return r;
        memcpy(answer.trace_id, death->trace_id, sizeof(answer.trace_id));
        memcpy(answer.span_id, death->span_id, sizeof(answer.span_id));
        answer.facts.ended_ns = death->end_ns;
        *ret = answer;
        answer = (Answer) ANSWER_NULL;
        return 0;
}

const char *answer_start_call(const char *name) {
        static const char *const methods[] = { "RunPodSandbox", "PullImage", "CreateContainer", "StartContainer" };
        const char *slash = strrchr(name, '/');

        if (strncmp(name, "runtime.v1", strlen("runtime.v1")) != 0 || !slash)
                return NULL;
        for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
                if (strcmp(slash + 1, methods[i]) == 0)
                        return methods[i];
        return NULL;
}

int answer_from_call(const DeathCall *call, Answer *ret) {
        _cleanup_answer_ Answer answer = {
                .start_ns = call->start_ns,
                .end_ns = call->end_ns,
                .n_times = 1,
                .first_ns = call->start_ns,
                .batch = call->batch,
                .attempt = -1,
                .facts = VERDICT_FACTS_NONE,
        };
        const char *method = answer_start_call(call->name);
        int r;

        r = copy_names(&answer, &(Names){ call->pod_uid, call->pod_name, call->pod_namespace, call->sandbox_id,
                                          call->container_name, call->container_id });
        if (r >= 0)
                r = copy(method ?: call->name, &answer.call);
        if (r >= 0)
                r = copy(call->why, &answer.failure);
        if (r < 0)
                return r;
        memcpy(answer.trace_id, call->trace_id, sizeof(answer.trace_id));
        memcpy(answer.span_id, call->span_id, sizeof(answer.span_id));
        answer.facts.ended_ns = call->end_ns;
        answer.facts.start_failure = answer.failure;
        *ret = answer;
        answer = (Answer) ANSWER_NULL;
        return 0;
}

static int on_batch(const uint8_t *traces, size_t size, void *userdata) {
        Answer *answer = userdata;

        return spanfind(traces, size, answer->trace_id, answer->span_id, &answer->span);
}

static void on_stop(VerdictStop stop, uint64_t began_ns, int64_t grace_ms, void *userdata) {
        Answer *answer = userdata;

        verdict_add_stop(&answer->facts, stop, began_ns, grace_ms);
}

static bool ends(const char *s, const char *suffix) {
        size_t n = strlen(s), n_suffix = strlen(suffix);

        return n >= n_suffix && strcmp(s + n - n_suffix, suffix) == 0;
}

/* A command executed in the container: kubelet's call, or the runtime's `exec` that it led to. */
static bool is_exec(const DeathCall *call) {
        return ends(call->name, "/ExecSync") || ends(call->name, " exec");
}

/*
 * A command that ends with a code is a CRI call that went well: what failed then is the runtime's `exec`. Calls that
 * went well and fast are in no store, so only a failure shortly before the stop can be meant.
 */
static int on_exec(const DeathCall *call, void *userdata) {
        Answer *answer = userdata;
        uint64_t stop_ns = answer->facts.stop_asked_ns;

        if (!is_exec(call) || call->outcome == OUTCOME_OK || call->end_ns > stop_ns)
                return 0;
        answer->facts.execsync_failed = stop_ns - call->end_ns <= ANSWER_PROBE_NS;
        return 1;
}

typedef struct Next {
        const Answer *answer;
        uint64_t began_ns;
} Next;

static int on_next(const DeathCall *call, void *userdata) {
        Next *next = userdata;

        if (!ends(call->name, "/CreateContainer") || !*call->sandbox_id ||
            strcmp(call->container_name, next->answer->container_name) != 0 ||
            strcmp(call->sandbox_id, next->answer->sandbox_id) != 0)
                return 0;
        next->began_ns = call->start_ns;
        return 1;
}

static int read_next(StoreDb *db, Answer *answer) {
        Next next = { .answer = answer };
        uint64_t sandbox_ns = 0;
        int r;

        if (!*answer->pod_uid || !*answer->container_name)
                return 0;
        r = deathdb_pod_spans(db, answer->pod_uid, answer->end_ns, INT64_MAX, /* newest_first= */ false, on_next,
                              &next);
        if (r < 0)
                return r;
        r = deathdb_sandbox_stop(db, answer->sandbox_id, answer->start_ns, &sandbox_ns);
        if (r < 0)
                return r;
        answer->facts.next_attempt = next.began_ns > 0;
        answer->facts.sandbox_stopped = sandbox_ns > 0 && (next.began_ns == 0 || sandbox_ns < next.began_ns);
        return 0;
}

/* The container was created and its program never ran. */
static int on_start(const DeathCall *call, void *userdata) {
        Answer *answer = userdata;

        if (!ends(call->name, "/StartContainer") || call->outcome != OUTCOME_FAILED)
                return 0;
        answer->failure = strdup(call->why);
        if (!answer->failure)
                return -ENOMEM;
        answer->facts.start_failure = answer->failure;
        return 1;
}

int answer_facts(StoreDb *db, Answer *answer) {
        Verdict emitted;
        int r;

        r = deathdb_batch(db, answer->batch, on_batch, answer);
        /* Retention, or a batch that nobody can read: the tables still say something. */
        if (r < 0 && r != -ENOENT && r != -EBADMSG && r != -EFBIG)
                return r;
        if (answer->span)
                answer->attempt = spanfind_number(answer->span, "k8s.container.restart_count", -1);
        if (answer->call)
                return 0;

        if (answer->span) {
                verdict_read(answer->span, &answer->facts, &emitted);
                answer->emitted = emitted;
                answer->facts.ended_ns = answer->end_ns;
        }
        answer->facts.in_pod = *answer->pod_uid != '\0';
        r = deathdb_stops(db, answer->container_id, answer->sandbox_id, answer->end_ns, on_stop, answer);
        if (r >= 0 && answer->facts.stop == VERDICT_STOP_CONTAINER && answer->facts.stop_asked_ns > 0)
                r = deathdb_container_spans(db, answer->container_id, answer->start_ns, answer->facts.stop_asked_ns,
                                            on_exec, answer);
        if (r >= 0 && answer->emitted == VERDICT_UNKNOWN && !answer->facts.start_failure)
                r = deathdb_container_spans(db, answer->container_id, 0, answer->end_ns, on_start, answer);
        if (r >= 0)
                r = read_next(db, answer);
        return MIN(r, 0);
}

int answer_kubelet(Answer *answer, const char *reason, bool probe) {
        if (reason && !answer->facts.stop_reason) {
                char *owned = strdup(reason);

                if (!owned)
                        return -ENOMEM;
                free(answer->reason);
                answer->reason = owned;
                answer->facts.stop_reason = owned;
        }
        answer->facts.kubelet_probe |= probe;
        return 0;
}

void answer_settle(Answer *answer) {
        answer->decision = verdict_settle(&answer->facts, answer->emitted, &answer->disagrees);
}

_printf_(1, 0) static char *format_new(const char *format, va_list args) {
        char *s;

        return vasprintf(&s, format, args) < 0 ? NULL : s;
}

int answer_add(Answer *answer, const char *what, const char *source, const uint8_t *span_id, const char *format, ...) {
        AnswerItem item = {}, *more;
        va_list args;

        if (answer->n_items == ANSWER_ITEMS_MAX)
                return 0;
        more = reallocarray(answer->items, answer->n_items + 1, sizeof(*more));
        if (!more)
                return -ENOMEM;
        answer->items = more;

        item.what = strdup(what);
        item.source = source ? strdup(source) : NULL;
        va_start(args, format);
        item.value = format_new(format, args);
        va_end(args);
        if (!source) {
                memcpy(item.span_id, span_id ?: answer->span_id, sizeof(item.span_id));
                item.has_span = true;
        }
        answer->items[answer->n_items++] = item;
        return item.what && item.value && (!source || item.source) ? 0 : -ENOMEM;
}

int answer_add_unknown(Answer *answer, const char *format, ...) {
        va_list args;
        char **more;

        if (answer->n_unknown == ANSWER_ITEMS_MAX)
                return 0;
        more = reallocarray(answer->unknown, answer->n_unknown + 1, sizeof(*more));
        if (!more)
                return -ENOMEM;
        answer->unknown = more;
        va_start(args, format);
        answer->unknown[answer->n_unknown] = format_new(format, args);
        va_end(args);
        if (!answer->unknown[answer->n_unknown])
                return -ENOMEM;
        answer->n_unknown++;
        return 0;
}
