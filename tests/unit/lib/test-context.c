#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include "clk.h"
#include "contextfile.h"
#include "contextsweep.h"

#define C1   "c111111111111111111111111111111111111111111111111111111111111111"
#define C2   "c222222222222222222222222222222222222222222222222222222222222222"
#define S1   "5111111111111111111111111111111111111111111111111111111111111111"
#define S2   "5222222222222222222222222222222222222222222222222222222222222222"
#define U1   "11111111-0000-0000-0000-000000000000"
#define WALL (UINT64_C(1795257500) * NSEC_PER_SEC)
#define U2   "22222222-0000-0000-0000-000000000000"

typedef struct Fixture {
        char path[32];
        int fd;
        Counters *counters;
        Context context;
} Fixture;

static int setup(void **state) {
        static Fixture fixture;

        strcpy(fixture.path, "/tmp/test-context-XXXXXX");
        assert_non_null(mkdtemp(fixture.path));
        fixture.fd = open(fixture.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fixture.fd >= 0);
        fixture.counters = counters_open(-EBADF, false);
        assert_int_equal(context_init(&fixture.context, fixture.fd, true, COUNTERS_CRI, fixture.counters), 0);
        *state = &fixture;
        return 0;
}

static int teardown(void **state) {
        Fixture *fixture = *state;
        char command[64];

        clk_override(NULL);
        context_deinit(&fixture->context);
        counters_free(fixture->counters);
        close_fd(fixture->fd);
        (void) snprintf(command, sizeof(command), "rm -rf %s", fixture->path);
        assert_int_equal(system(command), 0);
        return 0;
}

static uint64_t counted(const Fixture *fixture, CountersId id) {
        return counters_get(fixture->counters, COUNTERS_CRI, id);
}

static ContextRecord call(const char *operation, const Identity *identity) {
        ContextRecord record = { .identity = *identity, .start_ns = 1000 };

        strcpy(record.operation, operation);
        assert_int_equal(tracecontext_new_root(&record.trace), 0);
        return record;
}

static ContextHandle publish(Fixture *fixture, ContextRecord *record) {
        ContextHandle handle;

        assert_int_equal(context_publish(&fixture->context, record, &handle), 0);
        return handle;
}

/* Writes @text as the live file @name, whatever it is. */
static void forge(const Fixture *fixture, ContextKind kind, const char *name, const void *text, size_t len) {
        int fd = openat(fixture->context.kind_fd[kind], name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, len), len);
        close_fd(fd);
}

/* What asks saw something at @time_ns; 0: now. */
static ContextMatch find_at(const Fixture *fixture, const Identity *identity, const char *operation, uint64_t time_ns) {
        const char *const operations[] = { "NoSuchOperation", operation, NULL };
        const ContextQuery query = { .identity = identity, .operations = operations, .time_ns = time_ns };
        ContextMatch match;

        memset(&match, 0xa5, sizeof(match));
        assert_int_equal(context_find(&fixture->context, &query, &match), 0);
        return match;
}

static ContextMatch find(const Fixture *fixture, const Identity *identity, const char *operation) {
        return find_at(fixture, identity, operation, 0);
}

static int count_names(const char *name, const ContextRecord *record, void *userdata) {
        (void) record;
        assert_int_equal(name[0], '1');
        ++*(unsigned *) userdata;
        return 0;
}

static unsigned count(const Fixture *fixture, ContextKind kind) {
        unsigned n = 0;

        assert_int_equal(context_list(&fixture->context, kind, count_names, &n), 0);
        return n;
}

/* What has been seen before a call began was not caused by it. */
static void began_later(void **state) {
        Fixture *fixture = *state;
        const Identity identity = { .container_id = C1 };
        ContextRecord first = call("ExecSync", &identity), second = first;

        first.start_ns = 1000;
        second.start_ns = 2000;
        (void) publish(fixture, &first);
        (void) publish(fixture, &second);
        assert_int_equal(find_at(fixture, &identity, "ExecSync", 999).found, CONTEXT_FOUND_NONE);
        assert_int_equal(find_at(fixture, &identity, "ExecSync", 1000).found, CONTEXT_FOUND_PARENT);
        assert_int_equal(find_at(fixture, &identity, "ExecSync", 1999).record.start_ns, 1000);
        assert_int_equal(find_at(fixture, &identity, "ExecSync", 2000).found, CONTEXT_FOUND_CANDIDATES);
        assert_int_equal(find(fixture, &identity, "ExecSync").found, CONTEXT_FOUND_CANDIDATES);
}

static void publishes_and_retracts(void **state) {
        Fixture *fixture = *state;
        const Identity identity = { .container_id = C1, .sandbox_id = S1, .container_name = "web", .pod_uid = U1 };
        ContextRecord record = call("StartContainer", &identity);
        ContextHandle handle = publish(fixture, &record);
        struct stat st;
        ContextMatch match;

        assert_int_equal(record.pid, getpid());
        assert_true(record.pid_start > 0);
        assert_true(record.seq > 0);
        assert_int_equal(fstatat(fixture->fd, "context/live", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 02750);
        assert_int_equal(fstatat(fixture->context.kind_fd[CONTEXT_LIVE], handle.name, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_int_equal(counted(fixture, COUNTERS_CONTEXT_WRITTEN), 1);

        match = find(fixture, &identity, "StartContainer");
        assert_int_equal(match.found, CONTEXT_FOUND_PARENT);
        assert_memory_equal(&match.record.trace, &record.trace, sizeof(record.trace));
        assert_string_equal(match.record.identity.container_name, "web");
        assert_int_equal(match.record.seq, record.seq);

        context_retract(&fixture->context, &handle);
        assert_int_equal(handle.name[0], '\0');
        context_retract(&fixture->context, &handle);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_NONE);
        assert_int_equal(count(fixture, CONTEXT_LIVE), 0);
        assert_int_equal(fixture->context.n_live, 0);
}

/* The rules of docs/context.md, one call against one asker. */
static const struct {
        const char *what;
        const char *operation;
        Identity call;
        const char *asked;
        Identity asker;
        bool parent;
} rules[] = {
        { "container id", "StartContainer", { .container_id = C1 }, "StartContainer", { .container_id = C1 }, true },
        { "another container id",
          "StartContainer",
          { .container_id = C1 },
          "StartContainer",
          { .container_id = C2 },
          false },
        { "another operation",
          "StopContainer",
          { .container_id = C1 },
          "StartContainer",
          { .container_id = C1 },
          false },
        { "same container, other pod",
          "StartContainer",
          { .container_id = C1, .pod_uid = U1 },
          "StartContainer",
          { .container_id = C1, .pod_uid = U2 },
          false },
        { "same container, other attempt",
          "StartContainer",
          { .container_id = C1, .container_attempt = 1, .container_attempt_known = true },
          "StartContainer",
          { .container_id = C1, .container_attempt = 2, .container_attempt_known = true },
          false },
        { "image spelled otherwise",
          "StartContainer",
          { .container_id = C1, .image = "nginx" },
          "StartContainer",
          { .container_id = C1, .image = "docker.io/library/nginx:latest" },
          true },
        { "other container of the sandbox, by id",
          "StartContainer",
          { .container_id = C2, .sandbox_id = S1 },
          "StartContainer",
          { .container_id = C1, .sandbox_id = S1 },
          false },
        { "other container of the sandbox, by name",
          "CreateContainer",
          { .sandbox_id = S1, .container_name = "web" },
          "CreateContainer",
          { .sandbox_id = S1, .container_id = C1, .container_name = "side" },
          false },
        { "container of the sandbox, by name",
          "CreateContainer",
          { .sandbox_id = S1, .container_name = "web" },
          "CreateContainer",
          { .sandbox_id = S1, .container_id = C1, .container_name = "web" },
          true },
        { "container by name against one by id only",
          "CreateContainer",
          { .sandbox_id = S1, .container_name = "web" },
          "CreateContainer",
          { .sandbox_id = S1, .container_id = C1 },
          false },
        { "container by id against one by name only",
          "StartContainer",
          { .sandbox_id = S1, .container_id = C1 },
          "StartContainer",
          { .sandbox_id = S1, .container_name = "web" },
          false },
        { "asker names no container",
          "CreateContainer",
          { .sandbox_id = S1, .container_name = "web" },
          "CreateContainer",
          { .sandbox_id = S1 },
          true },
        { "the sandbox itself against a container's call",
          "CreateContainer",
          { .sandbox_id = S1, .container_name = "web" },
          "CreateContainer",
          { .sandbox_id = S1, .container_id = S1 },
          false },
        { "the sandbox itself against a container's call, by id",
          "StartContainer",
          { .sandbox_id = S1, .container_id = C1 },
          "StartContainer",
          { .sandbox_id = S1, .container_id = S1 },
          false },
        { "the sandbox itself against a container's call, by UID",
          "CreateContainer",
          { .pod_uid = U1, .container_name = "web" },
          "CreateContainer",
          { .pod_uid = U1, .sandbox_id = S1, .container_id = S1 },
          false },
        { "the sandbox's call, containers included",
          "StopPodSandbox",
          { .sandbox_id = S1 },
          "StopPodSandbox",
          { .sandbox_id = S1, .container_id = C1, .container_name = "web" },
          true },
        { "another sandbox", "StopPodSandbox", { .sandbox_id = S2 }, "StopPodSandbox", { .sandbox_id = S1 }, false },
        { "UID, sandbox itself",
          "RunPodSandbox",
          { .pod_uid = U1, .pod_name = "web-0" },
          "RunPodSandbox",
          { .pod_uid = U1, .pod_name = "web-0", .sandbox_id = S1, .container_id = S1 },
          true },
        { "UID, CNI plugin",
          "RunPodSandbox",
          { .pod_uid = U1 },
          "RunPodSandbox",
          { .pod_uid = U1, .sandbox_id = S1 },
          true },
        { "UID, another pod",
          "RunPodSandbox",
          { .pod_uid = U1 },
          "RunPodSandbox",
          { .pod_uid = U2, .sandbox_id = S1 },
          false },
        { "UID, another attempt",
          "RunPodSandbox",
          { .pod_uid = U1, .sandbox_attempt = 0, .sandbox_attempt_known = true },
          "RunPodSandbox",
          { .pod_uid = U1, .sandbox_attempt = 1, .sandbox_attempt_known = true },
          false },
        { "UID, sandbox call against a container",
          "RunPodSandbox",
          { .pod_uid = U1 },
          "RunPodSandbox",
          { .pod_uid = U1, .container_name = "web", .container_id = C1 },
          false },
        { "UID and name",
          "CreateContainer",
          { .pod_uid = U1, .container_name = "web" },
          "CreateContainer",
          { .pod_uid = U1, .container_name = "web", .container_id = C1 },
          true },
        { "UID and another name",
          "CreateContainer",
          { .pod_uid = U1, .container_name = "web" },
          "CreateContainer",
          { .pod_uid = U1, .container_name = "side", .container_id = C1 },
          false },
        { "UID, name not known",
          "StartContainer",
          { .pod_uid = U1, .container_id = C2 },
          "StartContainer",
          { .pod_uid = U1, .sandbox_id = S1 },
          false },
        { "nothing known", "RemoveImage", {}, "RemoveImage", {}, false },
};

static void rules_hold(void **state) {
        Fixture *fixture = *state;

        for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
                ContextRecord record = call(rules[i].operation, &rules[i].call);
                ContextHandle handle = publish(fixture, &record);
                ContextMatch match = find(fixture, &rules[i].asker, rules[i].asked);

                if (match.found != (rules[i].parent ? CONTEXT_FOUND_PARENT : CONTEXT_FOUND_NONE))
                        fail_msg("%s: found %d", rules[i].what, (int) match.found);
                if (rules[i].parent)
                        assert_memory_equal(&match.record.trace, &record.trace, sizeof(record.trace));
                context_retract(&fixture->context, &handle);
        }
}

static void best_level_decides(void **state) {
        Fixture *fixture = *state;
        const Identity asker = { .container_id = C1, .sandbox_id = S1, .pod_uid = U1, .container_name = "web" };
        const Identity levels[] = {
                { .pod_uid = U1, .container_name = "web" },
                { .sandbox_id = S1, .container_name = "web" },
                { .container_id = C1 },
        };

        /* From the worst to the best: each new one is the parent, however many of the level below there are. */
        for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
                ContextRecord record = call("StartContainer", &levels[i]), second = call("StartContainer", &levels[i]);
                ContextMatch match;

                (void) publish(fixture, &record);
                match = find(fixture, &asker, "StartContainer");
                assert_int_equal(match.found, CONTEXT_FOUND_PARENT);
                assert_memory_equal(&match.record.trace, &record.trace, sizeof(record.trace));

                (void) publish(fixture, &second);
                match = find(fixture, &asker, "StartContainer");
                assert_int_equal(match.found, CONTEXT_FOUND_CANDIDATES);
                assert_int_equal(match.n_candidates, 2);
        }
}

static void parallel_probes(void **state) {
        Fixture *fixture = *state;
        const Identity identity = { .container_id = C1 };
        TraceContext traces[12];
        ContextMatch match;

        for (size_t i = 0; i < ARRAY_SIZE(traces); i++) {
                ContextRecord record = call("ExecSync", &identity);

                record.start_ns = i < 6 ? i : 6; /* the later ones differ in their number only */
                (void) publish(fixture, &record);
                traces[i] = record.trace;
        }

        match = find(fixture, &identity, "ExecSync");
        assert_int_equal(match.found, CONTEXT_FOUND_CANDIDATES);
        assert_int_equal(match.n_candidates, CONTEXT_CANDIDATES_MAX);
        for (size_t i = 0; i < CONTEXT_CANDIDATES_MAX; i++)
                assert_memory_equal(&match.candidates[i], &traces[ARRAY_SIZE(traces) - 1 - i], sizeof(traces[0]));
        assert_memory_equal(&match.record.trace, &traces[ARRAY_SIZE(traces) - 1], sizeof(traces[0]));
}

static void start_is_a_link(void **state) {
        Fixture *fixture = *state;
        const Identity container = { .container_id = C1, .sandbox_id = S1 }, sandbox = { .sandbox_id = S1 };
        ContextRecord start = call("StartContainer", &container), run = call("RunPodSandbox", &sandbox), out;
        ContextMatch match;

        assert_int_equal(context_put(&fixture->context, CONTEXT_START, S1, &run), 0);
        match = find(fixture, &container, "StopContainer");
        assert_int_equal(match.found, CONTEXT_FOUND_START);
        assert_string_equal(match.record.operation, "RunPodSandbox");

        assert_int_equal(context_put(&fixture->context, CONTEXT_START, C1, &start), 0);
        match = find(fixture, &container, "StopContainer");
        assert_int_equal(match.found, CONTEXT_FOUND_START);
        assert_int_equal(match.n_candidates, 0);
        assert_memory_equal(&match.record.trace, &start.trace, sizeof(start.trace));

        /* replaced, read back, removed */
        strcpy(start.operation, "CreateContainer");
        assert_int_equal(context_put(&fixture->context, CONTEXT_START, C1, &start), 0);
        assert_int_equal(context_get(&fixture->context, CONTEXT_START, C1, &out), 0);
        assert_string_equal(out.operation, "CreateContainer");
        assert_int_equal(context_get(&fixture->context, CONTEXT_HOOK, C1, &out), -ENOENT);
        assert_int_equal(context_remove(&fixture->context, CONTEXT_START, C1), 0);
        assert_int_equal(context_remove(&fixture->context, CONTEXT_START, C1), -ENOENT);
        assert_int_equal(context_get(&fixture->context, CONTEXT_START, C1, &out), -ENOENT);
        assert_int_equal(count(fixture, CONTEXT_START), 1);
}

/* The file of what had this id before, and went unseen, is nobody's start. */
static void start_of_another(void **state) {
        static const struct {
                Identity asker;
                ContextFound found;
        } cases[] = {
                { { .sandbox_id = S1, .pod_uid = "u1", .pod_name = "p" }, CONTEXT_FOUND_START },
                { { .sandbox_id = S1, .container_id = C1 }, CONTEXT_FOUND_START },
                { { .sandbox_id = S1, .pod_uid = "u2" }, CONTEXT_FOUND_NONE },
                { { .sandbox_id = S1, .container_id = C1, .pod_uid = "u2" }, CONTEXT_FOUND_NONE },
                { { .sandbox_id = S1, .pod_name = "q" }, CONTEXT_FOUND_NONE },
                { { .sandbox_id = S1, .pod_namespace = "other" }, CONTEXT_FOUND_NONE },
                { { .sandbox_id = S1, .sandbox_attempt = 1, .sandbox_attempt_known = true }, CONTEXT_FOUND_NONE },
        };
        Fixture *fixture = *state;
        const Identity gone = {
                .sandbox_id = S1, .pod_uid = "u1", .pod_name = "p", .pod_namespace = "n", .sandbox_attempt_known = true
        };
        ContextRecord run = call("RunPodSandbox", &gone), out;

        assert_int_equal(context_put(&fixture->context, CONTEXT_START, S1, &run), 0);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                bool found = cases[i].found == CONTEXT_FOUND_START;

                assert_int_equal(find(fixture, &cases[i].asker, "StopContainer").found, cases[i].found);
                assert_int_equal(context_get_start(&fixture->context, S1, &cases[i].asker, &out), found ? 0 : -ENOENT);
        }
}

static void ids_that_are_no_names(void **state) {
        static const char *const ids[] = { "", ".", "..", "../x", "a/b", "-a", ".a", "a b", "a\n", "\xc3\xa4" };
        Fixture *fixture = *state;
        const Identity identity = {};
        ContextRecord record = call("StartContainer", &identity);

        for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
                assert_int_equal(context_put(&fixture->context, CONTEXT_START, ids[i], &record), -EINVAL);
                assert_int_equal(context_get(&fixture->context, CONTEXT_HOOK, ids[i], &record), -EINVAL);
                assert_int_equal(context_remove(&fixture->context, CONTEXT_HOOK, ids[i]), -EINVAL);
        }
        assert_int_equal(counted(fixture, COUNTERS_CONTEXT_FAILED), ARRAY_SIZE(ids));
        assert_int_equal(count(fixture, CONTEXT_START), 0);
}

static void operations_that_are_no_names(void **state) {
        static const char *const operations[] = { "", "../X", "a-b", "a.b", "a b" };
        Fixture *fixture = *state;
        const Identity identity = { .container_id = C1 };
        ContextHandle handle;

        for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
                ContextRecord record = call(operations[i], &identity);

                assert_int_equal(context_publish(&fixture->context, &record, &handle), -EINVAL);
        }
        assert_int_equal(counted(fixture, COUNTERS_CONTEXT_FAILED), ARRAY_SIZE(operations));
}

/* A name that promises another container's call does not make it so. */
static void forged_collision(void **state) {
        Fixture *fixture = *state;
        const Identity one = { .container_id = C1 }, two = { .container_id = C2 };
        ContextRecord record = call("StartContainer", &one), other = call("StartContainer", &two);
        ContextHandle handle = publish(fixture, &record);
        char text[CONTEXT_FILE_MAX + 1];
        int len;

        other.pid = record.pid;
        len = context_format(&other, text, sizeof(text));
        forge(fixture, CONTEXT_LIVE, handle.name, text, (size_t) len);
        assert_int_equal(find(fixture, &one, "StartContainer").found, CONTEXT_FOUND_NONE);

        /* nor does one that promises the operation */
        other = call("StopContainer", &one);
        len = context_format(&other, text, sizeof(text));
        forge(fixture, CONTEXT_LIVE, handle.name, text, (size_t) len);
        assert_int_equal(find(fixture, &one, "StartContainer").found, CONTEXT_FOUND_NONE);
}

static void hostile_contents(void **state) {
        Fixture *fixture = *state;
        const Identity identity = { .container_id = C1, .pod_uid = U1 };
        ContextRecord record = call("StartContainer", &identity);
        ContextHandle handle = publish(fixture, &record);
        int live = fixture->context.kind_fd[CONTEXT_LIVE], len;
        char text[CONTEXT_FILE_MAX + 1], large[3 * CONTEXT_FILE_MAX];
        uint64_t bad;

        len = context_format(&record, text, sizeof(text));
        for (size_t i = 0; i < (size_t) len; i++) {
                ContextFound found;

                forge(fixture, CONTEXT_LIVE, handle.name, text, i);
                found = find(fixture, &identity, "StartContainer").found;
                assert_true(found == CONTEXT_FOUND_NONE || (found == CONTEXT_FOUND_PARENT && text[i - 1] == '\n'));
        }

        bad = counted(fixture, COUNTERS_INPUT_BAD);
        assert_true(bad > 0);
        memset(large, '\n', sizeof(large));
        memcpy(large, text, (size_t) len);
        forge(fixture, CONTEXT_LIVE, handle.name, large, sizeof(large));
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_NONE);
        assert_int_equal(counted(fixture, COUNTERS_INPUT_BAD), bad + 1);

        /* what is no file is not followed, waited for or read */
        assert_int_equal(unlinkat(live, handle.name, 0), 0);
        forge(fixture, CONTEXT_START, "1-elsewhere", text, (size_t) len);
        assert_int_equal(symlinkat("../start/1-elsewhere", live, handle.name), 0);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_NONE);
        assert_int_equal(unlinkat(live, handle.name, 0), 0);
        assert_int_equal(mkfifoat(live, handle.name, 0640), 0);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_NONE);
        assert_int_equal(unlinkat(live, handle.name, 0), 0);
        assert_int_equal(mkdirat(live, handle.name, 0750), 0);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_NONE);
        assert_int_equal(count(fixture, CONTEXT_LIVE), 0);

        /* and the good one at the real place is still found */
        record = call("StartContainer", &identity);
        (void) publish(fixture, &record);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_PARENT);
}

static void names_of_others(void **state) {
        static const char *const names[] = {
                ".1-StartContainer-x-x-x-1-1", "2-StartContainer-x-x-x-1-1", "1",       "1-",     "1-StartContainer",
                "1-StartContainer-",           "1-StartContainer-x",         "1------", "README",
        };
        Fixture *fixture = *state;
        const Identity identity = { .container_id = C1 };
        ContextRecord record = call("StartContainer", &identity);
        char text[CONTEXT_FILE_MAX + 1];
        int len;

        len = context_format(&record, text, sizeof(text));
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                forge(fixture, CONTEXT_LIVE, names[i], text, (size_t) len);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_NONE);
        assert_int_equal(contextsweep_all(&fixture->context), 0);
        assert_int_equal(faccessat(fixture->context.kind_fd[CONTEXT_LIVE], "2-StartContainer-x-x-x-1-1", F_OK, 0), 0);
}

/* The pid and start time of a process that is certainly gone. */
static void dead_writer(ContextRecord *record) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        record->pid = (uint32_t) pid;
        record->pid_start = 1;
}

static void writer_dead(void **state) {
        Fixture *fixture = *state;
        const Identity identity = { .container_id = C1 };
        ContextRecord record = call("StartContainer", &identity), alive;
        ContextHandle handle = publish(fixture, &record);
        char text[CONTEXT_FILE_MAX + 1];
        int len;

        assert_true(context_writer_alive(&record));
        record.pid_start = 0;
        assert_true(context_writer_alive(&record));

        /* another process with the same pid */
        record.pid_start = 1;
        assert_false(context_writer_alive(&record));
        len = context_format(&record, text, sizeof(text));
        forge(fixture, CONTEXT_LIVE, handle.name, text, (size_t) len);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_NONE);

        /* none at all */
        dead_writer(&record);
        assert_false(context_writer_alive(&record));
        len = context_format(&record, text, sizeof(text));
        forge(fixture, CONTEXT_LIVE, handle.name, text, (size_t) len);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_NONE);

        alive = call("StartContainer", &identity);
        (void) publish(fixture, &alive);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_PARENT);

        assert_int_equal(contextsweep_all(&fixture->context), 0);
        assert_int_equal(count(fixture, CONTEXT_LIVE), 1);
        assert_int_equal(counted(fixture, COUNTERS_CONTEXT_SWEPT), 1);

        /* whoever does not say who wrote cannot be called dead */
        record.pid = 0;
        assert_true(context_writer_alive(&record));
}

/* A process whose name is made to look like the rest of its stat line, alive and then a zombie. */
static void writer_with_a_name(void **state) {
        static const char name[] = "x) Z 1 1 1) 7";
        ContextRecord record = {};
        int to_child[2], to_parent[2];
        siginfo_t info;
        pid_t pid;
        char c = 0;

        (void) state;

        assert_int_equal(pipe(to_child), 0);
        assert_int_equal(pipe(to_parent), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                int fd = open("/proc/self/comm", O_WRONLY | O_CLOEXEC);

                close(to_child[1]);
                if (write(fd, name, strlen(name)) < 0 || write(to_parent[1], &c, 1) < 0 || read(to_child[0], &c, 1) < 0)
                        _exit(1);
                _exit(0);
        }
        assert_int_equal(read(to_parent[0], &c, 1), 1);
        record.pid = (uint32_t) pid;
        assert_true(context_writer_alive(&record));

        close(to_child[1]);
        assert_int_equal(waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT), 0);
        assert_false(context_writer_alive(&record));
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        close(to_child[0]);
        close(to_parent[0]);
        close(to_parent[1]);
}

static void thousand_entries(void **state) {
        Fixture *fixture = *state;
        static ContextHandle handles[1000];
        static TraceContext traces[1000];

        for (unsigned i = 0; i < ARRAY_SIZE(handles); i++) {
                Identity identity = { .sandbox_id = S1, .pod_uid = U1 };
                ContextRecord record;

                (void) snprintf(identity.container_id, sizeof(identity.container_id), "c%u", i);
                record = call("StartContainer", &identity);
                handles[i] = publish(fixture, &record);
                traces[i] = record.trace;
        }
        assert_int_equal(fixture->context.n_live, ARRAY_SIZE(handles));

        for (unsigned i = 0; i < ARRAY_SIZE(handles); i += 37) {
                Identity asker = { .sandbox_id = S1, .pod_uid = U1 };
                ContextMatch match;

                (void) snprintf(asker.container_id, sizeof(asker.container_id), "c%u", i);
                match = find(fixture, &asker, "StartContainer");
                assert_int_equal(match.found, CONTEXT_FOUND_PARENT);
                assert_memory_equal(&match.record.trace, &traces[i], sizeof(traces[i]));
        }

        for (unsigned i = 0; i < ARRAY_SIZE(handles); i++)
                context_retract(&fixture->context, &handles[i]);
        assert_int_equal(count(fixture, CONTEXT_LIVE), 0);
        assert_int_equal(fixture->context.n_live, 0);
}

static void live_is_bounded(void **state) {
        Fixture *fixture = *state;
        const Identity identity = { .container_id = C1 };
        ContextHandle first, last = {};
        uint64_t swept;

        for (unsigned i = 0; i < 3 * CONTEXT_LIVE_MAX; i++) {
                ContextRecord record = call("ExecSync", &identity);

                last = publish(fixture, &record);
                if (i == 0)
                        first = last;
                assert_true(fixture->context.n_live <= CONTEXT_LIVE_MAX);
        }
        swept = counted(fixture, COUNTERS_CONTEXT_SWEPT);
        assert_int_equal(fixture->context.n_live + swept, 3 * CONTEXT_LIVE_MAX);
        assert_int_equal(count(fixture, CONTEXT_LIVE), fixture->context.n_live);

        /* the oldest went, the newest stayed; taking away what was swept does no harm */
        assert_int_equal(faccessat(fixture->context.kind_fd[CONTEXT_LIVE], first.name, F_OK, 0), -1);
        assert_int_equal(faccessat(fixture->context.kind_fd[CONTEXT_LIVE], last.name, F_OK, 0), 0);
        swept = fixture->context.n_live;
        context_retract(&fixture->context, &first);
        assert_int_equal(fixture->context.n_live, swept);
        context_retract(&fixture->context, &last);
        assert_int_equal(fixture->context.n_live, swept - 1);
}

static void start_is_bounded(void **state) {
        Fixture *fixture = *state;
        const Identity identity = {};
        ContextRecord record = call("StartContainer", &identity), out;
        char id[16];

        for (unsigned i = 0; i < CONTEXT_START_MAX + 10; i++) {
                struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1000 + i } };
                char name[20];

                (void) snprintf(id, sizeof(id), "c%u", i);
                assert_int_equal(context_put(&fixture->context, CONTEXT_START, id, &record), 0);
                (void) snprintf(name, sizeof(name), "1-%s", id);
                assert_int_equal(utimensat(fixture->context.kind_fd[CONTEXT_START], name, times, 0), 0);
        }
        assert_int_equal(contextsweep_all(&fixture->context), 0);
        assert_int_equal(counted(fixture, COUNTERS_CONTEXT_SWEPT), 10);
        assert_int_equal(count(fixture, CONTEXT_START), CONTEXT_START_MAX);
        assert_int_equal(context_get(&fixture->context, CONTEXT_START, "c9", &out), -ENOENT);
        assert_int_equal(context_get(&fixture->context, CONTEXT_START, "c10", &out), 0);
        assert_int_equal(context_get(&fixture->context, CONTEXT_START, id, &out), 0);
}

static void leftovers(void **state) {
        Fixture *fixture = *state;
        int live = fixture->context.kind_fd[CONTEXT_LIVE];
        const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1000 } };
        const Identity identity = { .container_id = C1 };
        ContextRecord record = call("StartContainer", &identity);
        char dot_name[CONTEXT_NAME_MAX + 48];
        ContextHandle handle;

        forge(fixture, CONTEXT_LIVE, ".old", "", 0);
        forge(fixture, CONTEXT_LIVE, ".new", "", 0);
        assert_int_equal(utimensat(live, ".old", times, 0), 0);
        assert_int_equal(contextsweep_all(&fixture->context), 0);
        assert_int_equal(faccessat(live, ".old", F_OK, 0), -1);
        assert_int_equal(faccessat(live, ".new", F_OK, 0), 0);

        /* what a process with our pid left under our next name is no obstacle */
        handle = publish(fixture, &record);
        (void) snprintf(dot_name, sizeof(dot_name), ".%s.%u.%llx", handle.name, record.pid,
                        (unsigned long long) record.seq);
        context_retract(&fixture->context, &handle);
        fixture->context.seq--;
        forge(fixture, CONTEXT_LIVE, dot_name, "", 0);
        handle = publish(fixture, &record);
        assert_int_equal(faccessat(live, dot_name, F_OK, 0), -1);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_PARENT);
}

static int64_t step_ns;

static Clk stepped_clock(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_REALTIME, &ts);
        return (Clk){
                .realtime_ns = (uint64_t) ((int64_t) ts.tv_sec * (int64_t) NSEC_PER_SEC + ts.tv_nsec + step_ns),
                .monotonic_ns = NSEC_PER_SEC,
        };
}

/* A wall clock that is stepped makes nothing of ours look left behind: what is in use is found as before. */
static void stepped_clocks(void **state) {
        static const int64_t steps_sec[] = { 3601, -3601, 10 * 365 * 86400, -20 * 365 * 86400 };
        Fixture *fixture = *state;
        const Identity identity = { .container_id = C1 };
        ContextRecord record = call("StartContainer", &identity);
        ContextHandle handle = publish(fixture, &record);

        assert_int_equal(context_put(&fixture->context, CONTEXT_START, C1, &record), 0);
        clk_override(stepped_clock);
        for (size_t i = 0; i < ARRAY_SIZE(steps_sec); i++) {
                step_ns = steps_sec[i] * (int64_t) NSEC_PER_SEC;
                assert_int_equal(contextsweep_all(&fixture->context), 0);
                assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_PARENT);
                assert_int_equal(count(fixture, CONTEXT_LIVE), 1);
                assert_int_equal(count(fixture, CONTEXT_START), 1);
        }
        clk_override(NULL);
        assert_int_equal(counted(fixture, COUNTERS_CONTEXT_SWEPT), 0);
        context_retract(&fixture->context, &handle);
        assert_int_equal(count(fixture, CONTEXT_LIVE), 0);
}

/* Identity at its longest costs image and handler, never the file. */
static void longest_identity(void **state) {
        Fixture *fixture = *state;
        Identity identity;
        ContextRecord record;
        ContextMatch match;

        memset(&identity, 0, sizeof(identity));
#define FILL(field) memset(identity.field, 0xff, sizeof(identity.field) - 1)
        FILL(pod_uid);
        FILL(pod_name);
        FILL(pod_namespace);
        FILL(sandbox_id);
        FILL(container_id);
        FILL(container_name);
        FILL(image);
        FILL(runtime_handler);
#undef FILL
        identity.sandbox_attempt = identity.container_attempt = UINT32_MAX;
        identity.sandbox_attempt_known = identity.container_attempt_known = true;
        record = call("aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg", &identity);
        record.start_ns = record.deadline_ns = UINT64_MAX;
        fixture->context.seq = UINT64_MAX - 1;

        (void) publish(fixture, &record);
        match = find(fixture, &identity, record.operation);
        assert_int_equal(match.found, CONTEXT_FOUND_PARENT);
        assert_string_equal(match.record.identity.image, "");
        assert_memory_equal(match.record.identity.container_name, identity.container_name,
                            sizeof(identity.container_name));
}

static void no_directories(void **state) {
        Fixture *fixture = *state;
        const Identity identity = { .container_id = C1 };
        ContextRecord record = call("StartContainer", &identity);
        ContextHandle handle = {};
        const char *const operations[] = { "StartContainer", NULL };
        const ContextQuery query = { .identity = &identity, .operations = operations };
        ContextMatch match;
        Context context;
        unsigned n = 0;

        assert_int_equal(
                context_init(&context, fixture->context.kind_fd[CONTEXT_HOOK], false, COUNTERS_HOOK, fixture->counters),
                0);
        assert_int_equal(context_publish(&context, &record, &handle), -ENOENT);
        assert_int_equal(counters_get(fixture->counters, COUNTERS_HOOK, COUNTERS_CONTEXT_FAILED), 1);
        assert_int_equal(context_put(&context, CONTEXT_HOOK, C1, &record), -ENOENT);
        assert_int_equal(context_get(&context, CONTEXT_HOOK, C1, &record), -ENOENT);
        assert_int_equal(context_remove(&context, CONTEXT_HOOK, C1), -ENOENT);
        assert_int_equal(context_find(&context, &query, &match), 0);
        assert_int_equal(match.found, CONTEXT_FOUND_NONE);
        assert_int_equal(context_list(&context, CONTEXT_LIVE, count_names, &n), 0);
        assert_int_equal(n, 0);
        assert_int_equal(contextsweep_all(&context), 0);
        context_retract(&context, &handle);
        context_deinit(&context);
        context_deinit(NULL);
}

static int stop(const char *name, const ContextRecord *record, void *userdata) {
        (void) name;
        (void) record;
        ++*(unsigned *) userdata;
        return -ECANCELED;
}

static void list_stops(void **state) {
        Fixture *fixture = *state;
        const Identity identity = { .container_id = C1 };
        unsigned n = 0;

        for (unsigned i = 0; i < 3; i++) {
                ContextRecord record = call("StartContainer", &identity);

                (void) publish(fixture, &record);
        }
        assert_int_equal(count(fixture, CONTEXT_LIVE), 3);
        assert_int_equal(context_list(&fixture->context, CONTEXT_LIVE, stop, &n), -ECANCELED);
        assert_int_equal(n, 1);
}

/* Calls that have no file yet */

static uint64_t passed_ns;

static Clk later(void) {
        return (Clk){ .realtime_ns = WALL + passed_ns, .monotonic_ns = NSEC_PER_SEC + passed_ns };
}

/* From now on time stands still; it is a second later than it was. */
static void a_second_later(void) {
        passed_ns += NSEC_PER_SEC + 1;
        clk_override(later);
}

static ContextHandle announce(Fixture *fixture, ContextRecord *record) {
        ContextHandle handle;

        assert_int_equal(context_announce(&fixture->context, record, &handle), 0);
        return handle;
}

typedef struct Seen {
        unsigned n, n_nameless;
        char name[CONTEXT_NAME_MAX + 1]; /* the last one */
        ContextRecord record;
} Seen;

static int see(const char *name, const ContextRecord *record, void *userdata) {
        Seen *seen = userdata;

        seen->n++;
        seen->n_nameless += name == NULL;
        if (name)
                strcpy(seen->name, name);
        seen->record = *record;
        return 0;
}

static Seen list(const Fixture *fixture) {
        Seen seen = {};

        assert_int_equal(context_list(&fixture->context, CONTEXT_LIVE, see, &seen), 0);
        return seen;
}

static Seen list_young(const Fixture *fixture) {
        Seen seen = {};

        assert_int_equal(context_list_young(&fixture->context, see, &seen), 0);
        return seen;
}

static bool exists(const Fixture *fixture, const char *name) {
        return faccessat(fixture->context.kind_fd[CONTEXT_LIVE], name, F_OK, 0) == 0;
}

static void announced_then_shown(void **state) {
        const Identity identity = { .container_id = C1, .pod_uid = U1 };
        Fixture *fixture = *state;
        ContextRecord record = call("StartContainer", &identity);
        ContextHandle handle;
        ContextMatch match;
        Seen seen;

        context_use_young(&fixture->context);
        handle = announce(fixture, &record);
        assert_true(handle.young > 0);
        assert_string_equal(handle.name, "");
        assert_int_equal(counted(fixture, COUNTERS_CONTEXT_WRITTEN), 1);

        /* Found like any other, but it has no file. */
        match = find(fixture, &identity, "StartContainer");
        assert_int_equal(match.found, CONTEXT_FOUND_PARENT);
        assert_memory_equal(&match.record.trace, &record.trace, sizeof(record.trace));
        assert_int_equal(match.record.seq, record.seq);
        assert_int_equal(find(fixture, &identity, "StopContainer").found, CONTEXT_FOUND_NONE);
        assert_int_equal(find_at(fixture, &identity, "StartContainer", 999).found, CONTEXT_FOUND_NONE);
        seen = list(fixture);
        assert_true(seen.n == 1 && seen.n_nameless == 1);
        seen = list_young(fixture);
        assert_true(seen.n == 1 && seen.n_nameless == 0);
        assert_false(exists(fixture, seen.name));
        assert_int_equal(context_read_live(&fixture->context, seen.name, &match.record), -ENOENT);

        /* Its file has the name that was foretold, and it is one call still. */
        assert_int_equal(context_show(&fixture->context, &handle), 0);
        assert_int_equal(handle.young, 0);
        assert_string_equal(handle.name, seen.name);
        assert_true(exists(fixture, handle.name));
        assert_int_equal(fixture->context.n_live, 1);
        assert_int_equal(counted(fixture, COUNTERS_CONTEXT_WRITTEN), 1);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_PARENT);
        seen = list(fixture);
        assert_true(seen.n == 1 && seen.n_nameless == 0);
        assert_int_equal(list_young(fixture).n, 0);

        context_retract(&fixture->context, &handle);
        assert_false(exists(fixture, seen.name));
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_NONE);
        assert_int_equal(list(fixture).n, 0);
        assert_int_equal(fixture->context.n_live, 0);
}

/* A call that is over before it has lasted: nothing of it is left, not even its text. */
static void young_and_over(void **state) {
        const Identity identity = { .container_id = C1, .pod_uid = U1 };
        _cleanup_free_ char *bytes = NULL;
        Fixture *fixture = *state;
        ContextRecord record = call("StartContainer", &identity);
        ContextHandle first, second;
        uint64_t changed_ns;
        size_t size;

        context_use_young(&fixture->context);
        first = announce(fixture, &record);
        second = announce(fixture, &record);
        assert_int_equal(list(fixture).n, 2);
        context_retract(&fixture->context, &first);
        assert_int_equal(list(fixture).n, 1);
        changed_ns = context_changed_ns(&fixture->context);
        assert_true(changed_ns > 0 && changed_ns <= clk_realtime());
        context_retract(&fixture->context, &second);
        context_retract(&fixture->context, &second);
        assert_int_equal(list(fixture).n, 0);
        assert_true(context_changed_ns(&fixture->context) >= changed_ns);

        assert_int_equal(
                util_read_file_at(fixture->context.kind_fd[CONTEXT_LIVE], CONTEXTYOUNG_NAME, 1 << 20, &bytes, &size),
                0);
        for (size_t i = 0; i < size; i++)
                assert_int_equal(bytes[i], 0);
}

/* While a call gets its file, and where its writer died then, it is in both places. */
static void twice_is_once(void **state) {
        const Identity identity = { .container_id = C1 };
        Fixture *fixture = *state;
        ContextRecord record = call("ExecSync", &identity);
        char text[CONTEXT_FILE_MAX + 1];
        ContextMatch match;
        Seen seen;
        int len;

        context_use_young(&fixture->context);
        (void) announce(fixture, &record);
        seen = list_young(fixture);
        len = context_format(&record, text, sizeof(text));
        assert_true(len > 0);
        forge(fixture, CONTEXT_LIVE, seen.name, text, (size_t) len);

        assert_int_equal(list(fixture).n, 1);
        match = find(fixture, &identity, "ExecSync");
        assert_int_equal(match.found, CONTEXT_FOUND_PARENT);

        /* Another one at the same time is another one. */
        assert_int_equal(tracecontext_new_root(&record.trace), 0);
        (void) announce(fixture, &record);
        assert_int_equal(list(fixture).n, 2);
        assert_int_equal(find(fixture, &identity, "ExecSync").found, CONTEXT_FOUND_CANDIDATES);
}

/* No slot, or no room in one: a file, at once. */
static void young_are_bounded(void **state) {
        Identity identity = { .container_id = C1 };
        Fixture *fixture = *state;
        ContextRecord record = call("StartContainer", &identity);
        ContextHandle handles[CONTEXTYOUNG_SLOTS + 1], again;

        context_use_young(&fixture->context);
        for (size_t i = 0; i <= CONTEXTYOUNG_SLOTS; i++) {
                assert_int_equal(tracecontext_new_root(&record.trace), 0);
                handles[i] = announce(fixture, &record);
                assert_int_equal(handles[i].young > 0, i < CONTEXTYOUNG_SLOTS);
                assert_int_equal(handles[i].name[0] != '\0', i == CONTEXTYOUNG_SLOTS);
        }
        assert_int_equal(list(fixture).n, CONTEXTYOUNG_SLOTS + 1);
        assert_int_equal(list(fixture).n_nameless, CONTEXTYOUNG_SLOTS);

        /* The one that becomes free is used again. */
        context_retract(&fixture->context, &handles[7]);
        memset(record.identity.image, '%', sizeof(record.identity.image) - 1);
        again = announce(fixture, &record);
        assert_int_equal(again.young, 0);
        record.identity.image[0] = '\0';
        again = announce(fixture, &record);
        assert_int_equal(again.young, 8);
}

static void young_have_one_writer(void **state) {
        const Identity identity = { .container_id = C1 };
        _cleanup_(context_deinit) Context other = CONTEXT_NULL;
        Fixture *fixture = *state;
        ContextRecord record = call("StartContainer", &identity);
        ContextHandle handle;

        context_use_young(&fixture->context);
        (void) announce(fixture, &record);
        assert_int_equal(context_init(&other, fixture->fd, false, COUNTERS_CRI, NULL), 0);
        context_use_young(&other);
        assert_int_equal(context_announce(&other, &record, &handle), 0);
        assert_true(handle.young == 0 && handle.name[0]);
        context_retract(&other, &handle);

        /* What it had announced goes with it. */
        context_deinit(&fixture->context);
        assert_int_equal(context_init(&fixture->context, fixture->fd, false, COUNTERS_CRI, NULL), 0);
        assert_int_equal(list(fixture).n, 0);
        assert_int_equal(context_announce(&other, &record, &handle), 0);
        assert_int_equal(handle.young, 0);
        a_second_later();
        assert_int_equal(context_announce(&other, &record, &handle), 0);
        assert_int_equal(handle.young, 1);
        assert_int_equal(list(fixture).n, 2);
}

static void count_reaped(const ContextRecord *record, void *userdata) {
        assert_string_equal(record->operation, "StartContainer");
        ++*(unsigned *) userdata;
}

/* Its writer died: whoever comes after it is told, once, and has the slots. */
static void young_of_the_dead(void **state) {
        const Identity identity = { .container_id = C1 };
        Fixture *fixture = *state;
        ContextRecord record = call("StartContainer", &identity);
        unsigned n = 0;
        pid_t pid;
        int status, fd;

        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                Context context = CONTEXT_NULL;
                ContextHandle handle;
                bool good = context_init(&context, fixture->fd, false, COUNTERS_CRI, NULL) == 0;

                context_use_young(&context);
                for (unsigned i = 0; good && i < 3; i++)
                        good = tracecontext_new_root(&record.trace) == 0 &&
                               context_announce(&context, &record, &handle) == 0 && handle.young > 0;
                /* The last had its file already, and was not taken away from the young ones. */
                if (good) {
                        Context files = CONTEXT_NULL;
                        char name[CONTEXT_NAME_MAX + 1];

                        contextmatch_live_name(&record, name);
                        good = context_init(&files, fixture->fd, false, COUNTERS_CRI, NULL) == 0 &&
                               contextfile_write(&files, CONTEXT_LIVE, name, &record) == 0;
                }
                _exit(good ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);

        /* Nobody takes the dead for a cause. */
        assert_int_equal(list(fixture).n, 3);
        assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_NONE);

        /* Without the file of the young ones only what has a name can be taken away. */
        fd = openat(fixture->context.kind_fd[CONTEXT_LIVE], CONTEXTYOUNG_NAME, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, "garbage that was left", 21, 5 * 1024), 21);
        close_fd(fd);
        context_use_young(&fixture->context);
        assert_int_equal(contextsweep_reap(&fixture->context, count_reaped, &n), 0);
        assert_int_equal(n, 3);
        assert_int_equal(list(fixture).n, 0);
        assert_false(exists(fixture, CONTEXTYOUNG_NAME));
        assert_int_equal(contextsweep_reap(&fixture->context, count_reaped, &n), 0);
        assert_int_equal(n, 3);
        for (unsigned i = 0; i < CONTEXTYOUNG_SLOTS; i++)
                assert_int_equal(announce(fixture, &record).young, i + 1);
}

/* Whatever is in the file, readers find what is whole in it, and the writer writes. */
static void young_hostile(void **state) {
        static const char *const texts[] = { "", "x", "0000000000000001\n", "0000000000000001\n0000000000000001\n",
                                             "0000000000000001\npodspan-context 1\n0000000000000001\n" };
        const Identity identity = { .container_id = C1 };
        Fixture *fixture = *state;
        ContextRecord record = call("StartContainer", &identity);
        char big[40 * 1024];
        ContextHandle young, handle;

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                forge(fixture, CONTEXT_LIVE, CONTEXTYOUNG_NAME, texts[i], strlen(texts[i]));
                assert_int_equal(list(fixture).n, 0);
                assert_int_equal(find(fixture, &identity, "StartContainer").found, CONTEXT_FOUND_NONE);
        }
        memset(big, 'A', sizeof(big));
        forge(fixture, CONTEXT_LIVE, CONTEXTYOUNG_NAME, big, sizeof(big));
        assert_int_equal(list(fixture).n, 0);
        context_use_young(&fixture->context);
        assert_int_equal(announce(fixture, &record).young, 0);
        assert_int_equal(contextsweep_reap(&fixture->context, count_reaped, NULL), 0);
        young = announce(fixture, &record);
        assert_true(young.young > 0);
        assert_int_equal(contextsweep_all(&fixture->context), 0);
        assert_int_equal(list(fixture).n, 2);

        /* One that was removed is made anew. */
        assert_int_equal(unlinkat(fixture->context.kind_fd[CONTEXT_LIVE], CONTEXTYOUNG_NAME, 0), 0);
        assert_int_equal(list(fixture).n, 1);
        a_second_later();
        handle = announce(fixture, &record);
        assert_int_equal(handle.young, 1);
        context_retract(&fixture->context, &young); /* of the old file */
        assert_int_equal(list(fixture).n, 2);

        /* One that is no file is left alone. */
        context_deinit(&fixture->context);
        assert_int_equal(context_init(&fixture->context, fixture->fd, false, COUNTERS_CRI, NULL), 0);
        assert_int_equal(mkfifoat(fixture->context.kind_fd[CONTEXT_LIVE], CONTEXTYOUNG_NAME, 0640), 0);
        context_use_young(&fixture->context);
        (void) context_list_young(&fixture->context, see, &(Seen){});
        assert_int_equal(announce(fixture, &record).young, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(publishes_and_retracts),
                TEST(began_later),
                TEST(rules_hold),
                TEST(best_level_decides),
                TEST(parallel_probes),
                TEST(start_is_a_link),
                TEST(start_of_another),
                TEST(ids_that_are_no_names),
                TEST(operations_that_are_no_names),
                TEST(forged_collision),
                TEST(hostile_contents),
                TEST(names_of_others),
                TEST(writer_dead),
                TEST(writer_with_a_name),
                TEST(thousand_entries),
                TEST(live_is_bounded),
                TEST(start_is_bounded),
                TEST(leftovers),
                TEST(stepped_clocks),
                TEST(longest_identity),
                TEST(no_directories),
                TEST(list_stops),
                TEST(announced_then_shown),
                TEST(young_and_over),
                TEST(twice_is_once),
                TEST(young_are_bounded),
                TEST(young_have_one_writer),
                TEST(young_of_the_dead),
                TEST(young_hostile),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
