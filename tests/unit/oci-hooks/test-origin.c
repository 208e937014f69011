#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "clk.h"
#include "origin.h"

#define ID      "4ce2dac38220fd6a"
#define SANDBOX "eada9831d136d687"
#define BUNDLE  "/run/containerd/io.containerd.runtime.v2.task/k8s.io/" ID

#define START_WINDOW_NS (15 * 60 * NSEC_PER_SEC) /* the default */

typedef struct Fixture {
        char dir[64];
        Session session;
        State state;
        uint64_t now_ns;
} Fixture;

static char *const no_env[] = { NULL };

static int remove_one(const char *path, _unused_ const struct stat *st, _unused_ int type, _unused_ struct FTW *ftw) {
        return remove(path);
}

static int setup(void **userdata) {
        Fixture *f = calloc(1, sizeof(*f));
        char path[128];
        int fd;

        assert_non_null(f);
        (void) snprintf(f->dir, sizeof(f->dir), "/tmp/test-origin-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        (void) snprintf(path, sizeof(path), "%s/podspan.conf", f->dir);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_true(dprintf(fd, "[podspan]\ntracing_sampling_rate_per_million = 1000000\n") > 0);
        close_fd(fd);

        fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(spool_create(fd), 0);
        close_fd(fd);

        assert_int_equal(session_init(&f->session, COUNTERS_HOOK, "podspan-hook", path, f->dir), 1);
        context_deinit(&f->session.context);
        assert_int_equal(
                context_init(&f->session.context, f->session.state_fd, true, COUNTERS_HOOK, f->session.counters), 0);

        f->now_ns = clk_realtime();
        strcpy(f->state.id, ID);
        strcpy(f->state.bundle, BUNDLE);
        strcpy(f->state.annotations.containerd_type, "container");
        strcpy(f->state.annotations.containerd_sandbox_id, SANDBOX);
        strcpy(f->state.annotations.containerd_uid, "uid-1");
        strcpy(f->state.annotations.containerd_container, "main");
        *userdata = f;
        return 0;
}

static int teardown(void **userdata) {
        Fixture *f = *userdata;

        session_deinit(&f->session);
        assert_int_equal(nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
        free(f);
        return 0;
}

static ContextRecord make_record(const char *operation, const char *container_id, uint64_t start_ns) {
        ContextRecord record = { .start_ns = start_ns };

        (void) snprintf(record.operation, sizeof(record.operation), "%s", operation);
        (void) snprintf(record.identity.container_id, sizeof(record.identity.container_id), "%s", container_id);
        assert_int_equal(tracecontext_new_root(&record.trace), 0);
        return record;
}

static TraceContext publish(Fixture *f, const char *operation, const char *container_id, const char *pod_name) {
        ContextRecord record = make_record(operation, container_id, f->now_ns);
        ContextHandle handle;

        (void) snprintf(record.identity.pod_name, sizeof(record.identity.pod_name), "%s", pod_name);
        assert_int_equal(context_publish(&f->session.context, &record, &handle), 0);
        return record.trace;
}

static TraceContext put(Fixture *f, ContextKind kind, const char *operation, uint64_t start_ns) {
        ContextRecord record = make_record(operation, ID, start_ns);

        strcpy(record.identity.sandbox_id, SANDBOX);
        assert_int_equal(context_put(&f->session.context, kind, ID, &record), 0);
        return record.trace;
}

static Origin find(Fixture *f, Stage stage, char *const *envp) {
        Origin origin;

        assert_int_equal(origin_find(&f->session, &f->state, stage, envp, f->now_ns, &origin), 0);
        return origin;
}

static void assert_same_trace(const Origin *origin, const TraceContext *trace) {
        assert_memory_equal(origin->parent.trace_id, trace->trace_id, sizeof(trace->trace_id));
}

static void assert_parent(const Origin *origin, OriginSource source, const TraceContext *parent) {
        assert_int_equal(origin->source, source);
        assert_same_trace(origin, parent);
        assert_memory_equal(origin->parent.span_id, parent->span_id, sizeof(parent->span_id));
        assert_int_equal(origin->parent.flags, parent->flags);
}

static void assert_derived(const Origin *origin, const char *id) {
        static const uint8_t none[TRACECONTEXT_SPAN_ID_SIZE];
        TraceContext derived;

        tracecontext_derive(id, strlen(id), &derived);
        assert_same_trace(origin, &derived);
        assert_memory_equal(origin->parent.span_id, none, sizeof(none));
        assert_int_equal(origin->parent.flags & TRACECONTEXT_SAMPLED, TRACECONTEXT_SAMPLED);
}

static void test_environment(void **userdata) {
        char *const envp[] = { (char *) "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", NULL };
        char *const bad[] = { (char *) "TRACEPARENT=00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", NULL };
        Fixture *f = *userdata;
        TraceContext environment, call;
        Origin origin;

        call = publish(f, "StartContainer", ID, "pod-1");
        assert_int_equal(tracecontext_parse(envp[0] + 12, 55, &environment), 0);

        origin = find(f, STAGE_CREATE_RUNTIME, envp);
        assert_parent(&origin, ORIGIN_ENVIRONMENT, &environment);
        assert_string_equal(origin.identity.pod_name, "pod-1");

        origin = find(f, STAGE_CREATE_RUNTIME, bad);
        assert_parent(&origin, ORIGIN_CALL, &call);
}

static void test_call(void **userdata) {
        Fixture *f = *userdata;
        TraceContext call;
        Origin origin;

        (void) publish(f, "CreateContainer", ID, "wrong");
        call = publish(f, "StartContainer", ID, "pod-1");
        (void) publish(f, "StartContainer", "another", "wrong");

        origin = find(f, STAGE_CREATE_RUNTIME, no_env);
        assert_parent(&origin, ORIGIN_CALL, &call);
        assert_int_equal(origin.links.n, 0);
        assert_string_equal(origin.identity.pod_name, "pod-1");
        assert_string_equal(origin.identity.pod_uid, "uid-1");
        assert_string_equal(origin.identity.container_name, "main");
        assert_string_equal(origin.identity.sandbox_id, SANDBOX);
}

/* What podspan-cri knows about this very container comes before an annotation. */
static void test_known_before_annotation(void **userdata) {
        Fixture *f = *userdata;
        ContextRecord record = make_record("StartContainer", ID, f->now_ns);
        Origin origin;

        strcpy(record.identity.image, "image:known");
        strcpy(f->state.annotations.containerd_image, "image:annotation");
        assert_int_equal(context_put(&f->session.context, CONTEXT_START, ID, &record), 0);
        origin = find(f, STAGE_CREATE_RUNTIME, no_env);
        assert_string_equal(origin.identity.image, "image:known");
        assert_string_equal(origin.identity.container_name, "main");
}

static void test_candidates(void **userdata) {
        Fixture *f = *userdata;
        Origin origin;

        (void) publish(f, "StartContainer", ID, "");
        (void) publish(f, "StartContainer", ID, "");
        origin = find(f, STAGE_CREATE_RUNTIME, no_env);
        assert_int_equal(origin.source, ORIGIN_DERIVED);
        assert_derived(&origin, SANDBOX);
        assert_int_equal(origin.links.n, 2);
        assert_string_equal(origin.links.at[0].why, "candidate");
}

static void test_start(void **userdata) {
        Fixture *f = *userdata;
        TraceContext start;
        Origin origin;

        start = put(f, CONTEXT_START, "StartContainer", f->now_ns - START_WINDOW_NS);
        origin = find(f, STAGE_POSTSTOP, no_env);
        assert_parent(&origin, ORIGIN_START, &start);

        /* A nanosecond later it is a trace of its own. */
        start = put(f, CONTEXT_START, "StartContainer", f->now_ns - START_WINDOW_NS - 1);
        origin = find(f, STAGE_POSTSTOP, no_env);
        assert_int_equal(origin.source, ORIGIN_ROOT);
        assert_memory_not_equal(origin.parent.trace_id, start.trace_id, sizeof(start.trace_id));
        assert_int_equal(origin.links.n, 1);
        assert_memory_equal(&origin.links.at[0].to, &start, sizeof(start));
}

/* The end that was asked for belongs to the call, and leads back to the start. */
static void test_stop(void **userdata) {
        Fixture *f = *userdata;
        TraceContext start, stop;
        Origin origin;

        start = put(f, CONTEXT_START, "StartContainer", f->now_ns);
        stop = publish(f, "StopContainer", ID, "pod-1");
        origin = find(f, STAGE_POSTSTOP, no_env);
        assert_parent(&origin, ORIGIN_CALL, &stop);
        assert_int_equal(origin.links.n, 1);
        assert_memory_equal(&origin.links.at[0].to, &start, sizeof(start));
        assert_string_equal(origin.links.at[0].why, "start");
}

static void test_record(void **userdata) {
        Fixture *f = *userdata;
        TraceContext record;
        Origin origin;

        record = put(f, CONTEXT_HOOK, "createRuntime", f->now_ns - 1);
        origin = find(f, STAGE_POSTSTART, no_env);
        assert_parent(&origin, ORIGIN_RECORD, &record);

        record = put(f, CONTEXT_HOOK, "createRuntime", f->now_ns - START_WINDOW_NS - 1);
        origin = find(f, STAGE_POSTSTOP, no_env);
        assert_int_equal(origin.source, ORIGIN_ROOT);
        assert_int_equal(origin.links.n, 1);
        assert_memory_equal(&origin.links.at[0].to, &record, sizeof(record));
}

/* Without an interceptor a sandbox's spans share a trace, however long it lives. */
static void test_derived_record(void **userdata) {
        Fixture *f = *userdata;
        ContextRecord record = make_record("createRuntime", ID, f->now_ns - 2 * START_WINDOW_NS);
        Origin origin;

        strcpy(record.identity.sandbox_id, SANDBOX);
        tracecontext_derive(SANDBOX, strlen(SANDBOX), &record.trace);
        record.trace.flags = TRACECONTEXT_SAMPLED;
        record.trace.span_id[0] = 1;
        assert_int_equal(context_put(&f->session.context, CONTEXT_HOOK, ID, &record), 0);

        origin = find(f, STAGE_POSTSTOP, no_env);
        assert_int_equal(origin.source, ORIGIN_RECORD);
        assert_derived(&origin, SANDBOX);
}

static void test_derived(void **userdata) {
        Fixture *f = *userdata;
        Origin origin;

        origin = find(f, STAGE_CREATE_RUNTIME, no_env);
        assert_int_equal(origin.source, ORIGIN_DERIVED);
        assert_derived(&origin, SANDBOX);
        assert_int_equal(counters_get(f->session.counters, COUNTERS_HOOK, COUNTERS_HOOK_UNLINKED), 1);

        /* No sandbox is known of a bundle made by hand. */
        strcpy(f->state.bundle, "/tmp/bundle");
        origin = find(f, STAGE_CREATE_RUNTIME, no_env);
        assert_derived(&origin, ID);
}

static void test_annotation(void **userdata) {
        Fixture *f = *userdata;
        Origin origin;

        assert_int_equal(tracecontext_new_root(&f->state.links[0]), 0);
        f->state.links[0].flags = TRACECONTEXT_SAMPLED;
        f->state.n_links = 1;
        origin = find(f, STAGE_CREATE_RUNTIME, no_env);
        assert_int_equal(origin.source, ORIGIN_DERIVED);
        assert_int_equal(origin.links.n, 1);
        assert_string_equal(origin.links.at[0].why, "annotation");
}

static void test_sandbox(void **userdata) {
        Fixture *f = *userdata;
        TraceContext call;
        ContextRecord record = make_record("RunPodSandbox", "", f->now_ns);
        ContextHandle handle;
        Origin origin;

        strcpy(f->state.annotations.containerd_type, "sandbox");
        strcpy(record.identity.pod_uid, "uid-1");
        assert_int_equal(context_publish(&f->session.context, &record, &handle), 0);
        call = record.trace;
        (void) publish(f, "StartContainer", "another", "");

        origin = find(f, STAGE_CREATE_RUNTIME, no_env);
        assert_parent(&origin, ORIGIN_CALL, &call);
        assert_true(origin.sandbox);
        assert_string_equal(origin.identity.sandbox_id, ID);
        assert_string_equal(origin.identity.container_id, "");
        assert_string_equal(origin.identity.container_name, "");
}

static void test_no_state(void **userdata) {
        Fixture *f = *userdata;
        Origin origin;

        assert_int_equal(origin_find(&f->session, NULL, STAGE_UNKNOWN, no_env, f->now_ns, &origin), 0);
        assert_int_equal(origin.source, ORIGIN_ROOT);
}

/* Where nobody collects there is nothing to do. */
static void test_not_wanted(void **userdata) {
        Fixture *f = *userdata;
        Session session;
        char path[128];

        assert_int_equal(session_init(&session, COUNTERS_HOOK, "podspan-hook", NULL, "/nonexistent"), 0);
        session_deinit(&session);

        (void) snprintf(path, sizeof(path), "%s/empty", f->dir);
        assert_int_equal(mkdir(path, 0755), 0);
        assert_int_equal(session_init(&session, COUNTERS_HOOK, "podspan-hook", NULL, path), 0);
        session_deinit(&session);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(environment), TEST(call),           TEST(known_before_annotation),
                TEST(candidates),  TEST(start),          TEST(stop),
                TEST(record),      TEST(derived_record), TEST(derived),
                TEST(annotation),  TEST(sandbox),        TEST(no_state),
                TEST(not_wanted),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
