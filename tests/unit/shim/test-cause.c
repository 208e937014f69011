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
#include "cause.h"
#include "clk.h"

#define ID      "4ce2dac38220fd6a"
#define SANDBOX "eada9831d136d687"

#define BEFORE                                                                                  \
        "{\"ociVersion\":\"1.0.2\",\"process\":{\"env\":[\"id=x\"]},\"annotations\":{"          \
        "\"io.container.manager\":\"cri-o\",\"io.kubernetes.cri-o.SandboxID\":\"" SANDBOX "\"," \
        "\"io.kubernetes.pod.uid\":\"uid-1\",\"io.kubernetes.pod.name\":\"pod\","               \
        "\"io.kubernetes.pod.namespace\":\"ns\",\"io.kubernetes.container.name\":\""
#define AFTER "\"},\"linux\":broken from here on"

typedef struct Fixture {
        Session session;
        uint64_t now_ns;
        char dir[64];
        char bundle[192];
} Fixture;

static char *const no_env[] = { NULL };

static int remove_one(const char *path, _unused_ const struct stat *st, _unused_ int type, _unused_ struct FTW *ftw) {
        return remove(path);
}

/* Writes @before, @value and @after. */
static void write_file(const char *dir, const char *name, const char *before, const char *value, const char *after) {
        char path[300];
        int fd;

        (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_true(dprintf(fd, "%s%s%s", before, value, after) >= 0);
        (void) close_fd(fd);
}

static int setup(void **userdata) {
        Fixture *f = calloc(1, sizeof(*f));
        char path[128];
        int fd;

        assert_non_null(f);
        (void) snprintf(f->dir, sizeof(f->dir), "/tmp/test-cause-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        write_file(f->dir, "podspan.conf", "[podspan]\ntracing_sampling_rate_per_million = ", "1000000", "\n");
        (void) snprintf(path, sizeof(path), "%s/podspan.conf", f->dir);

        fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(spool_create(fd), 0);
        (void) close_fd(fd);

        assert_int_equal(session_init(&f->session, COUNTERS_CONMON, "podspan-conmon", path, f->dir), 1);
        context_deinit(&f->session.context);
        assert_int_equal(
                context_init(&f->session.context, f->session.state_fd, true, COUNTERS_CONMON, f->session.counters), 0);

        /* As containers/storage has it, which is what CRI-O's are told by. */
        (void) snprintf(f->bundle, sizeof(f->bundle), "%s/vfs-containers", f->dir);
        assert_int_equal(mkdir(f->bundle, 0755), 0);
        (void) snprintf(f->bundle, sizeof(f->bundle), "%s/vfs-containers/" ID, f->dir);
        assert_int_equal(mkdir(f->bundle, 0755), 0);
        (void) snprintf(f->bundle, sizeof(f->bundle), "%s/vfs-containers/" ID "/userdata", f->dir);
        assert_int_equal(mkdir(f->bundle, 0755), 0);
        write_file(f->bundle, "config.json", BEFORE, "main", AFTER);

        f->now_ns = clk_realtime();
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

static ContextRecord make_record(const char *operation, uint64_t start_ns) {
        ContextRecord record = { .start_ns = start_ns };

        (void) snprintf(record.operation, sizeof(record.operation), "%s", operation);
        assert_int_equal(tracecontext_new_root(&record.trace), 0);
        return record;
}

/* A call in flight about the container called @name of the pod, or about container @id. */
static TraceContext publish(Fixture *f, const char *operation, const char *name, const char *id) {
        ContextRecord record = make_record(operation, f->now_ns);
        ContextHandle handle;

        if (name) {
                (void) snprintf(record.identity.pod_uid, sizeof(record.identity.pod_uid), "uid-1");
                (void) snprintf(record.identity.container_name, sizeof(record.identity.container_name), "%s", name);
        }
        if (id)
                (void) snprintf(record.identity.container_id, sizeof(record.identity.container_id), "%s", id);
        assert_int_equal(context_publish(&f->session.context, &record, &handle), 0);
        return record.trace;
}

static TraceContext put_start(Fixture *f, uint64_t start_ns) {
        ContextRecord record = make_record("CreateContainer", start_ns);

        (void) snprintf(record.identity.container_id, sizeof(record.identity.container_id), ID);
        (void) snprintf(record.identity.image, sizeof(record.identity.image), "image:1");
        assert_int_equal(context_put(&f->session.context, CONTEXT_START, ID, &record), 0);
        return record.trace;
}

static Cause find(Fixture *f, RuntimeVerb verb, char *const *envp) {
        Cause cause;

        assert_int_equal(
                cause_find(&f->session, verb, ID, verb == RUNTIME_EXEC ? NULL : f->bundle, envp, f->now_ns, &cause), 0);
        return cause;
}

static void assert_parent(const Cause *cause, CauseSource source, const TraceContext *parent) {
        assert_int_equal(cause->source, source);
        assert_memory_equal(cause->parent.trace_id, parent->trace_id, sizeof(parent->trace_id));
        assert_memory_equal(cause->parent.span_id, parent->span_id, sizeof(parent->span_id));
}

static void assert_root(const Cause *cause, CauseSource source) {
        static const uint8_t none[TRACECONTEXT_SPAN_ID_SIZE];

        assert_int_equal(cause->source, source);
        assert_memory_equal(cause->parent.span_id, none, sizeof(none));
        assert_int_equal(cause->parent.flags & TRACECONTEXT_SAMPLED, TRACECONTEXT_SAMPLED);
}

static void test_create(void **userdata) {
        Fixture *f = *userdata;
        TraceContext call;
        Cause cause;

        (void) publish(f, "CreateContainer", "other", NULL);
        (void) publish(f, "StartContainer", "main", NULL);
        call = publish(f, "CreateContainer", "main", NULL);
        cause = find(f, RUNTIME_CREATE, no_env);
        assert_parent(&cause, CAUSE_CALL, &call);
        assert_string_equal(cause.identity.container_id, ID);
        assert_string_equal(cause.identity.sandbox_id, SANDBOX);
        assert_string_equal(cause.identity.pod_name, "pod");
        assert_string_equal(cause.identity.container_name, "main");
        assert_string_equal(cause.manager, "cri-o");
        assert_false(cause.sandbox);
}

static void test_sandbox(void **userdata) {
        Fixture *f = *userdata;
        ContextRecord record = make_record("RunPodSandbox", f->now_ns);
        ContextHandle handle;
        Cause cause;

        write_file(f->bundle, "config.json", BEFORE, "POD", AFTER);
        (void) snprintf(record.identity.pod_uid, sizeof(record.identity.pod_uid), "uid-1");
        assert_int_equal(context_publish(&f->session.context, &record, &handle), 0);
        (void) publish(f, "CreateContainer", "main", NULL);

        cause = find(f, RUNTIME_CREATE, no_env);
        assert_true(cause.sandbox);
        assert_parent(&cause, CAUSE_CALL, &record.trace);
        assert_string_equal(cause.identity.sandbox_id, ID);
        assert_string_equal(cause.identity.container_id, "");
        assert_string_equal(cause.identity.container_name, "");
}

static void test_derived(void **userdata) {
        Fixture *f = *userdata;
        TraceContext derived;
        Cause cause;

        cause = find(f, RUNTIME_CREATE, no_env);
        assert_root(&cause, CAUSE_DERIVED);
        tracecontext_derive(SANDBOX, strlen(SANDBOX), &derived);
        assert_memory_equal(cause.parent.trace_id, derived.trace_id, sizeof(derived.trace_id));

        /* Without a configuration that can be read, the container is all there is. */
        write_file(f->bundle, "config.json", "nothing", " of the", " kind");
        cause = find(f, RUNTIME_CREATE, no_env);
        tracecontext_derive(ID, strlen(ID), &derived);
        assert_memory_equal(cause.parent.trace_id, derived.trace_id, sizeof(derived.trace_id));
        assert_string_equal(cause.identity.container_id, ID);
}

static void test_environment(void **userdata) {
        char *const environment[] = { (char *) "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                      (char *) "TRACESTATE=a=b", NULL };
        Fixture *f = *userdata;
        Cause cause;

        (void) publish(f, "CreateContainer", "main", NULL);
        (void) put_start(f, f->now_ns);
        cause = find(f, RUNTIME_CREATE, environment);
        assert_int_equal(cause.source, CAUSE_ENVIRONMENT);
        assert_int_equal(cause.parent.trace_id[0], 0x0a);
        assert_int_equal(cause.parent.span_id[7], 0x31);
        assert_string_equal(cause.tracestate, "a=b");
        assert_string_equal(cause.identity.pod_name, "pod");
}

static void test_start(void **userdata) {
        Fixture *f = *userdata;
        TraceContext start;
        Cause cause;

        start = put_start(f, f->now_ns);
        cause = find(f, RUNTIME_CREATE, no_env);
        assert_parent(&cause, CAUSE_START, &start);

        /* Too long ago: a trace of its own, linked. */
        start = put_start(f, f->now_ns - f->session.config.start_window_ns - 1);
        cause = find(f, RUNTIME_CREATE, no_env);
        assert_root(&cause, CAUSE_ROOT);
        assert_int_equal(cause.links.n, 1);
        assert_memory_equal(cause.links.at[0].to.span_id, start.span_id, sizeof(start.span_id));
        assert_string_equal(cause.links.at[0].why, "start");
}

static void test_exec(void **userdata) {
        Fixture *f = *userdata;
        TraceContext start, call;
        Cause cause;

        /* Never part of the start's trace, however recent that is. */
        start = put_start(f, f->now_ns);
        cause = find(f, RUNTIME_EXEC, no_env);
        assert_root(&cause, CAUSE_ROOT);
        assert_int_equal(cause.links.n, 1);
        assert_memory_equal(cause.links.at[0].to.span_id, start.span_id, sizeof(start.span_id));
        assert_string_equal(cause.identity.image, "image:1");

        call = publish(f, "ExecSync", NULL, ID);
        cause = find(f, RUNTIME_EXEC, no_env);
        assert_parent(&cause, CAUSE_CALL, &call);
        assert_int_equal(cause.links.n, 1);
        assert_string_equal(cause.identity.image, "image:1");

        /* Two of the same: neither is the parent. */
        (void) publish(f, "ExecSync", NULL, ID);
        cause = find(f, RUNTIME_EXEC, no_env);
        assert_root(&cause, CAUSE_ROOT);
        assert_int_equal(cause.links.n, 3);
        assert_string_equal(cause.links.at[1].why, "candidate");
}

static void test_end(void **userdata) {
        Fixture *f = *userdata;
        ContextRecord found;
        TraceContext call;
        Cause cause;

        cause = find(f, RUNTIME_CREATE, no_env);
        assert_false(cause_find_end(&f->session, &cause, &found));
        (void) publish(f, "CreateContainer", "main", NULL);
        assert_false(cause_find_end(&f->session, &cause, &found));
        call = publish(f, "StopContainer", NULL, ID);
        assert_true(cause_find_end(&f->session, &cause, &found));
        assert_memory_equal(found.trace.span_id, call.span_id, sizeof(call.span_id));
        assert_string_equal(found.operation, "StopContainer");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_create, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sandbox, setup, teardown),
                cmocka_unit_test_setup_teardown(test_derived, setup, teardown),
                cmocka_unit_test_setup_teardown(test_environment, setup, teardown),
                cmocka_unit_test_setup_teardown(test_start, setup, teardown),
                cmocka_unit_test_setup_teardown(test_exec, setup, teardown),
                cmocka_unit_test_setup_teardown(test_end, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
