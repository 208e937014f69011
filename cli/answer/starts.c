#include <string.h>
#include "starts.h"

void starts_deinit(Starts *starts) {
        for (size_t i = 0; i < starts->n; i++)
                answer_deinit(starts->answers + i);
        free(starts->answers);
        *starts = (Starts) STARTS_NULL;
}

typedef struct Loading {
        Starts starts;
        const DeathFilter *filter;
        unsigned n_calls;
} Loading;

static bool begins(const char *s, const char *prefix) {
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* As the query of deaths: NAME, NAMESPACE/NAME, UID, or the begin of the sandbox's id. */
static bool is_pod(const DeathCall *call, const char *pod) {
        const char *slash = strchr(pod, '/');

        if (slash)
                return strlen(call->pod_namespace) == (size_t) (slash - pod) && begins(pod, call->pod_namespace) &&
                       strcmp(call->pod_name, slash + 1) == 0;
        return strcmp(call->pod_name, pod) == 0 || strcmp(call->pod_uid, pod) == 0 ||
               (strlen(pod) >= 4 && begins(call->sandbox_id, pod));
}

static bool is_container(const DeathCall *call, const char *container) {
        return strcmp(call->container_name, container) == 0 ||
               (strlen(container) >= 4 && begins(call->container_id, container));
}

static bool passes(const DeathFilter *filter, const DeathCall *call) {
        return (!filter->pod_uid || strcmp(call->pod_uid, filter->pod_uid) == 0) &&
               (!filter->pod || is_pod(call, filter->pod)) &&
               (!filter->container || is_container(call, filter->container)) &&
               (!filter->any || is_pod(call, filter->any) || is_container(call, filter->any)) &&
               call->end_ns >= filter->since_ns && (filter->until_ns == 0 || call->end_ns <= filter->until_ns);
}

static bool is_same(const Answer *answer, const DeathCall *call, const char *method) {
        return strcmp(answer->call, method) == 0 && strcmp(answer->container_name, call->container_name) == 0 &&
               strcmp(answer->pod_uid, call->pod_uid) == 0 && strcmp(answer->pod_name, call->pod_name) == 0;
}

static int on_call(const DeathCall *call, void *userdata) {
        const char *method = answer_start_call(call->name);
        Loading *loading = userdata;
        Starts *starts = &loading->starts;
        Answer *more;
        int r;

        if (++loading->n_calls > STARTS_CALLS_MAX)
                return 1;
        if (!method || call->outcome != OUTCOME_FAILED || !passes(loading->filter, call))
                return 0;
        for (size_t i = 0; i < starts->n; i++)
                if (is_same(starts->answers + i, call, method)) {
                        starts->answers[i].n_times++;
                        starts->answers[i].first_ns = call->start_ns;
                        return 0;
                }
        if (starts->n == STARTS_MAX)
                return 0;
        more = reallocarray(starts->answers, starts->n + 1, sizeof(*more));
        if (!more)
                return -ENOMEM;
        starts->answers = more;
        r = answer_from_call(call, starts->answers + starts->n);
        if (r < 0)
                return r;
        answer_settle(starts->answers + starts->n);
        starts->n++;
        return 0;
}

int starts_load(StoreDb *db, const DeathFilter *filter, Starts *ret) {
        _cleanup_(starts_deinit) Starts owned = STARTS_NULL;
        Loading loading = { .filter = filter };
        uint64_t until_ns = filter->until_ns > 0 ? filter->until_ns : INT64_MAX;
        int r;

        if (filter->pod_uid)
                r = deathdb_pod_spans(db, filter->pod_uid, filter->since_ns, until_ns, /* newest_first= */ true,
                                      on_call, &loading);
        else
                r = deathdb_failed_spans(db, filter->since_ns, until_ns, on_call, &loading);
        owned = loading.starts;
        if (r < 0)
                return r;
        *ret = owned;
        owned = (Starts) STARTS_NULL;
        return 0;
}
