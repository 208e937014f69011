/* Which call a command is taken to belong to, with context files as podspan-cri writes them. */

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "link.h"

#define WINDOW_NS (15 * 60 * NSEC_PER_SEC)

typedef struct Fixture {
        char folder[64];
        int state_fd;
        Counters *counters;
        Context context;
        Link link;
} Fixture;

static int set_up(void **state) {
        Fixture *fixture = calloc(1, sizeof(*fixture));

        assert_non_null(fixture);
        strcpy(fixture->folder, "/tmp/podspan-link-XXXXXX");
        assert_non_null(mkdtemp(fixture->folder));
        fixture->state_fd = open(fixture->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(context_init(&fixture->context, fixture->state_fd, true, COUNTERS_WATCH, NULL), 0);
        fixture->counters = counters_open(fixture->state_fd, true);
        assert_non_null(fixture->counters);
        assert_int_equal(link_init(&fixture->link, &fixture->context, fixture->counters, 0, WINDOW_NS), 0);
        assert_int_equal(link_add_root(&fixture->link, fixture->folder), 0);
        *state = fixture;
        return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) st;
        (void) type;
        (void) ftw;
        return remove(path);
}

static int tear_down(void **state) {
        Fixture *fixture = *state;

        link_deinit(&fixture->link);
        context_deinit(&fixture->context);
        fixture->counters = counters_free(fixture->counters);
        close_fd(fixture->state_fd);
        (void) nftw(fixture->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        free(fixture);
        return 0;
}

#define SET(to, s) ((void) snprintf((to), sizeof(to), "%s", (s)))

static void publish(Fixture *fixture, const char *operation, const char *uid, const char *container, uint8_t span) {
        ContextRecord record = { .start_ns = NSEC_PER_SEC };
        ContextHandle handle;

        SET(record.operation, operation);
        SET(record.identity.pod_uid, uid);
        SET(record.identity.pod_name, "web");
        SET(record.identity.container_id, container);
        if (*container)
                SET(record.identity.container_name, "main");
        record.trace.trace_id[0] = record.trace.span_id[0] = span;
        assert_int_equal(context_publish(&fixture->context, &record, &handle), 0);
}

static Command runtime(const char *verb, const char *id) {
        Command command = { .kind = COMMAND_RUNTIME, .name = "runc" };

        SET(command.verb, verb);
        SET(command.id, id);
        return command;
}

/* A bundle that cannot be read is counted and named; the name that CRI-O gives a monitor tells the pod. */
static void unreadable_bundle(void **state) {
        static const struct {
                const char *id, *container, *operation;
                bool of_crio;
                uint32_t uid;
                uint8_t span;
        } cases[] = {
                { "s1", "POD", "RunPodSandbox", true, 0, 7 },
                { "c1", "main", "CreateContainer", true, 0, 8 },
                { "c2", "main", "CreateContainer", false, 0, 0 },
        };
        Fixture *fixture = *state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Command command = { .kind = COMMAND_MONITOR, .name = "conmon", .of_crio = cases[i].of_crio };
                bool sandbox = strcmp(cases[i].container, "POD") == 0;
                ContextRecord record = { .start_ns = NSEC_PER_SEC };
                ContextHandle handle;
                StoryOrigin origin;
                Identity identity;

                SET(command.id, cases[i].id);
                SET(command.bundle, "/nowhere/overlay-containers/x/userdata");
                SET(command.pod_uid, "u-1");
                SET(command.pod_name, "web");
                SET(command.pod_namespace, "shop");
                SET(command.container_name, cases[i].container);
                SET(record.operation, cases[i].operation);
                SET(record.identity.pod_uid, "u-1");
                SET(record.identity.pod_name, "web");
                if (!sandbox)
                        SET(record.identity.container_name, "main");
                record.trace.trace_id[0] = record.trace.span_id[0] = cases[i].span;
                if (cases[i].span != 0)
                        assert_int_equal(context_publish(&fixture->context, &record, &handle), 0);

                fixture->link.unreadable.error = 0;
                assert_int_equal(link_find(&fixture->link, &command, 2 * NSEC_PER_SEC, &origin), 0);
                assert_int_equal(fixture->link.unreadable.error, -EACCES);
                assert_string_equal(fixture->link.unreadable.path, command.bundle);
                owner_identity(origin.owner, &identity);
                assert_int_equal(origin.parent.span_id[0], cases[i].span);
                assert_string_equal(identity.pod_uid, cases[i].of_crio ? "u-1" : "");
                assert_string_equal(identity.pod_namespace, cases[i].of_crio ? "shop" : "");
                assert_string_equal(identity.sandbox_id, sandbox ? "s1" : "");
                assert_string_equal(identity.container_name, cases[i].span == 8 ? "main" : "");
                owner_unref(origin.owner);
                if (cases[i].span != 0)
                        context_retract(&fixture->context, &handle);
        }
}

static void by_call(void **state) {
        static const struct {
                const char *verb, *operation;
                uint8_t span;
        } cases[] = {
                { "create", "StartContainer", 1 },
                { "start", "StartContainer", 1 },
                { "kill", "StopContainer", 2 },
                { "exec", "ExecSync", 3 },
                { "update", "UpdateContainerResources", 4 },
        };
        Fixture *fixture = *state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char id[] = { 'c', (char) ('0' + i), '\0' };
                Command command = runtime(cases[i].verb, id);
                StoryOrigin origin;
                Identity identity;

                publish(fixture, cases[i].operation, "u-1", id, cases[i].span);
                assert_int_equal(link_find(&fixture->link, &command, 2 * NSEC_PER_SEC, &origin), 0);
                assert_int_equal(origin.parent.span_id[0], cases[i].span);
                owner_identity(origin.owner, &identity);
                assert_string_equal(identity.pod_name, "web");
                assert_string_equal(identity.container_name, "main");
                owner_unref(origin.owner);
        }
}

static void cni_of_the_pod(void **state) {
        Fixture *fixture = *state;
        Command command = { .kind = COMMAND_CNI, .name = "bridge", .verb = "ADD", .id = "sb1", .pod_uid = "u-1" };
        StoryOrigin origin;

        publish(fixture, "RunPodSandbox", "u-1", "", 7);
        publish(fixture, "RunPodSandbox", "u-2", "", 8);
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), 0);
        assert_int_equal(origin.parent.span_id[0], 7);
        owner_unref(origin.owner);

        /* pinns names nobody: with two candidates it is nobody's. */
        command = (Command){ .kind = COMMAND_PINNS, .name = "pinns" };
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), -ENOENT);
}

static void environment_first(void **state) {
        Fixture *fixture = *state;
        Command command = runtime("create", "c1");
        StoryOrigin origin;

        publish(fixture, "StartContainer", "u-1", "c1", 1);
        command.has_traceparent = true;
        command.traceparent = (TraceContext){ .trace_id = { 9 }, .span_id = { 9 } };
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), 0);
        assert_int_equal(origin.parent.span_id[0], 9);
        owner_unref(origin.owner);
}

/* Without any call all of a container share the derived trace; a probe has its own. */
static void derived(void **state) {
        Fixture *fixture = *state;
        Command create = runtime("create", "c9"), start = runtime("start", "c9"), exec = runtime("exec", "c9");
        StoryOrigin a, b, c;
        TraceContext expected;

        tracecontext_derive("c9", 2, &expected);
        assert_int_equal(link_find(&fixture->link, &create, 0, &a), 0);
        assert_int_equal(link_find(&fixture->link, &start, 0, &b), 0);
        assert_int_equal(link_find(&fixture->link, &exec, 0, &c), 0);
        assert_memory_equal(a.parent.trace_id, expected.trace_id, 16);
        assert_memory_equal(b.parent.trace_id, expected.trace_id, 16);
        assert_memory_not_equal(c.parent.trace_id, expected.trace_id, 16);
        assert_int_equal(a.parent.span_id[0], 0);
        /* Not a hook's: that is podspan-hook's to count. */
        assert_int_equal(counters_get(fixture->counters, COUNTERS_WATCH, COUNTERS_HOOK_UNLINKED), 0);
        assert_true(counters_get(fixture->counters, COUNTERS_WATCH, COUNTERS_WATCH_UNLINKED) > 0);
        owner_unref(a.owner);
        owner_unref(b.owner);
        owner_unref(c.owner);
}

static void parallel_probes(void **state) {
        Fixture *fixture = *state;
        Command command = runtime("exec", "c1");
        StoryOrigin origin;

        publish(fixture, "ExecSync", "u-1", "c1", 1);
        publish(fixture, "ExecSync", "u-1", "c1", 2);
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), 0);
        assert_int_equal(origin.parent.span_id[0], 0);
        assert_int_equal(origin.n_links, 2);
        assert_string_equal(origin.why[0], "candidate");
        owner_unref(origin.owner);
}

/* A process that has ended, and been reaped. */
static uint32_t gone_pid(void) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        return (uint32_t) pid;
}

/* Read late: the call in flight is the next one, that which caused the command is over. */
static void late(void **state) {
        Fixture *fixture = *state;
        Command command = runtime("exec", "c1"), pinns = { .kind = COMMAND_PINNS, .name = "pinns" };
        const uint64_t before = NSEC_PER_SEC - 1, after = NSEC_PER_SEC + 1, unchanged = UINT64_MAX;
        StoryOrigin origin;

        publish(fixture, "ExecSync", "u-1", "c1", 1);
        publish(fixture, "RunPodSandbox", "u-1", "", 2);

        /* It began after the command. */
        assert_int_equal(link_find(&fixture->link, &command, before, &origin), 0);
        assert_int_equal(origin.parent.span_id[0], 0);
        assert_int_equal(origin.n_links, 0);
        owner_unref(origin.owner);
        assert_int_equal(link_find(&fixture->link, &pinns, before, &origin), -ENOENT);

        /* It began before, and the command has ended, perhaps with another call that was in flight then. */
        command.pid = pinns.pid = gone_pid();
        assert_int_equal(link_find(&fixture->link, &command, after, &origin), 0);
        assert_int_equal(origin.parent.span_id[0], 0);
        assert_int_equal(origin.n_links, 1);
        assert_string_equal(origin.why[0], "candidate");
        owner_unref(origin.owner);
        assert_int_equal(link_find(&fixture->link, &pinns, after, &origin), -ENOENT);

        /* No call has begun or ended since. */
        assert_int_equal(link_find(&fixture->link, &command, unchanged, &origin), 0);
        assert_int_equal(origin.parent.span_id[0], 1);
        owner_unref(origin.owner);
        assert_int_equal(link_find(&fixture->link, &pinns, unchanged, &origin), 0);
        assert_int_equal(origin.parent.span_id[0], 2);
        owner_unref(origin.owner);

        /* The command still runs, and with it the call. */
        command.pid = pinns.pid = 0;
        assert_int_equal(link_find(&fixture->link, &command, after, &origin), 0);
        assert_int_equal(origin.parent.span_id[0], 1);
        owner_unref(origin.owner);
        assert_int_equal(link_find(&fixture->link, &pinns, after, &origin), 0);
        assert_int_equal(origin.parent.span_id[0], 2);
        owner_unref(origin.owner);
}

static void start_is_remembered(void **state) {
        static const struct {
                uint64_t after_ns;
                bool parent;
        } cases[] = { { NSEC_PER_SEC, true }, { WINDOW_NS + NSEC_PER_SEC, false } };
        Fixture *fixture = *state;
        ContextRecord record = { .start_ns = NSEC_PER_SEC, .trace = { .trace_id = { 5 }, .span_id = { 5 } } };

        SET(record.operation, "StartContainer");
        SET(record.identity.container_id, "c1");
        assert_int_equal(context_put(&fixture->context, CONTEXT_START, "c1", &record), 0);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Command command = runtime("delete", "c1");
                StoryOrigin origin;

                assert_int_equal(link_find(&fixture->link, &command, record.start_ns + cases[i].after_ns, &origin), 0);
                assert_int_equal(origin.parent.span_id[0], cases[i].parent ? 5 : 0);
                assert_int_equal(origin.n_links, cases[i].parent ? 0 : 1);
                owner_unref(origin.owner);
        }
}

/* Between the end of a call and the writing of its start file, what was seen of the start itself counts. */
static void own_memory(void **state) {
        Fixture *fixture = *state;
        ContextRecord record = { .operation = "StartContainer",
                                 .identity = { .container_id = "c1" },
                                 .trace = { .trace_id = { 6 }, .span_id = { 6 } },
                                 .start_ns = 1 };
        static const struct {
                const char *verb;
                uint64_t time_ns;
                uint8_t span;
        } cases[] = { { "create", NSEC_PER_SEC, 6 },
                      { "start", 2 * NSEC_PER_SEC, 6 },
                      { "start", WINDOW_NS + 3 * NSEC_PER_SEC, 0 } };
        ContextHandle handle;

        assert_int_equal(context_publish(&fixture->context, &record, &handle), 0);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Command command = runtime(cases[i].verb, "c1");
                StoryOrigin origin;

                assert_int_equal(link_find(&fixture->link, &command, cases[i].time_ns, &origin), 0);
                assert_int_equal(origin.parent.span_id[0], cases[i].span);
                owner_unref(origin.owner);
                context_retract(&fixture->context, &handle);
        }
}

/* A bundle is read below a known root, and through no symbolic link. */
static void bundles(void **state) {
        static const char config[] = "{\"hooks\":{\"poststop\":[{\"path\":\"/h\"}]}}";
        Fixture *fixture = *state;
        static const struct {
                const char *name;
                bool read;
        } cases[] = { { "real", true }, { "link", false } };

        assert_int_equal(mkdirat(fixture->state_fd, "real", 0700), 0);
        assert_int_equal(symlinkat("real", fixture->state_fd, "link"), 0);
        {
                _cleanup_close_ int fd = openat(fixture->state_fd, "real/config.json", O_WRONLY | O_CREAT, 0600);

                assert_int_equal(util_write_all(fd, config, sizeof(config) - 1), 0);
        }
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Command command = runtime("create", cases[i].name);
                StoryOrigin origin;
                uint32_t used = 0;

                (void) snprintf(command.bundle, sizeof(command.bundle), "%s/%s", fixture->folder, cases[i].name);
                assert_int_equal(link_find(&fixture->link, &command, 0, &origin), 0);
                assert_int_equal(owner_hook_stage(origin.owner, "/h", BUNDLE_PRESTART, BUNDLE_POSTSTOP, &used) != NULL,
                                 cases[i].read);
                owner_unref(origin.owner);
        }
}

static void write_bundle(Fixture *fixture, const char *name, const char *text) {
        char path[256];
        FILE *file;

        (void) snprintf(path, sizeof(path), "%s/%s", fixture->folder, name);
        assert_int_equal(mkdir(path, 0755), 0);
        (void) snprintf(path, sizeof(path), "%s/%s/config.json", fixture->folder, name);
        file = fopen(path, "we");
        assert_non_null(file);
        (void) fputs(text, file);
        assert_int_equal(fclose(file), 0);
}

#define HOOKED "{\"hooks\": {\"prestart\": [{\"path\": \"/h\"}]}}"

static bool bundle_read(Fixture *fixture, const char *bundle, uint32_t uid) {
        static unsigned n;
        StoryOrigin origin = {};
        uint32_t used = 0;
        char id[16];
        Command command;
        bool read;

        (void) snprintf(id, sizeof(id), "fresh%u", n++);
        command = runtime("create", id);
        command.uid = uid;
        (void) snprintf(command.bundle, sizeof(command.bundle), "%s", bundle);
        if (link_find(&fixture->link, &command, 0, &origin) < 0)
                return false;
        read = owner_hook_stage(origin.owner, "/h", BUNDLE_PRESTART, BUNDLE_POSTSTOP, &used) != NULL;
        owner_unref(origin.owner);
        return read;
}

/* What a bundle's path can lead to besides a bundle: nothing of it is read, nothing blocks. */
static void hostile_bundles(void **state) {
        static const char *const names[] = {
                "link", "fifo", "big", "folder", "good/../good", "good/../../etc", "deep"
        };
        Fixture *fixture = *state;
        char path[256], good[256];

        write_bundle(fixture, "good", HOOKED);
        (void) snprintf(good, sizeof(good), "%s/good", fixture->folder);
        assert_true(bundle_read(fixture, good, 0));

        (void) snprintf(path, sizeof(path), "%s/link", fixture->folder);
        assert_int_equal(symlink("good", path), 0);
        (void) snprintf(path, sizeof(path), "%s/deep", fixture->folder);
        assert_int_equal(mkdir(path, 0755), 0);
        (void) snprintf(path, sizeof(path), "%s/deep/config.json", fixture->folder);
        assert_int_equal(symlink("../good/config.json", path), 0);
        (void) snprintf(path, sizeof(path), "%s/fifo", fixture->folder);
        assert_int_equal(mkdir(path, 0755), 0);
        (void) snprintf(path, sizeof(path), "%s/fifo/config.json", fixture->folder);
        assert_int_equal(mkfifo(path, 0644), 0);
        (void) snprintf(path, sizeof(path), "%s/folder", fixture->folder);
        assert_int_equal(mkdir(path, 0755), 0);
        (void) snprintf(path, sizeof(path), "%s/folder/config.json", fixture->folder);
        assert_int_equal(mkdir(path, 0755), 0);
        write_bundle(fixture, "big", HOOKED);
        (void) snprintf(path, sizeof(path), "%s/big/config.json", fixture->folder);
        assert_int_equal(truncate(path, 100 << 20), 0);

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                (void) snprintf(path, sizeof(path), "%s/%s", fixture->folder, names[i]);
                /* ".." that stays below the root is no harm. */
                assert_int_equal(bundle_read(fixture, path, 0), strcmp(names[i], "good/../good") == 0);
        }
        (void) snprintf(path, sizeof(path), "%sx/good", fixture->folder);
        assert_false(bundle_read(fixture, path, 0));
        assert_false(bundle_read(fixture, "/etc", 0));
        assert_false(bundle_read(fixture, "relative", 0));
}

/* What runs as a user is believed in what is the user's own, and never to be a pod's. */
static void users_commands(void **state) {
        Fixture *fixture = *state;
        const uint32_t uid = 12345;
        Command command = runtime("create", "c1");
        char path[256];
        StoryOrigin origin;
        Identity identity;

        write_bundle(fixture, "bundle", "{\"annotations\": {\"io.kubernetes.cri.sandbox-uid\": \"u-1\"}}");
        publish(fixture, "StartContainer", "u-1", "c1", 1);
        (void) snprintf(command.bundle, sizeof(command.bundle), "%s/bundle", fixture->folder);

        /* Root's container, known or not. */
        command.uid = uid;
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), -ENOENT);
        command.uid = 0;
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), 0);
        assert_int_equal(origin.parent.span_id[0], 1);
        owner_unref(origin.owner);
        command.uid = uid;
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), -ENOENT);

        /* The user's own: no pod, no call, and what the environment says is a link. */
        (void) snprintf(path, sizeof(path), "%s/bundle/config.json", fixture->folder);
        if (chown(path, uid, uid) < 0)
                skip();
        command.has_traceparent = true;
        command.traceparent = (TraceContext){ .trace_id = { 9 }, .span_id = { 9 } };
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), 0);
        owner_identity(origin.owner, &identity);
        assert_string_equal(identity.pod_uid, "");
        assert_string_equal(identity.container_id, "c1");
        assert_int_equal(origin.parent.span_id[0], 0);
        assert_int_equal(origin.n_links, 1);
        assert_int_equal(origin.links[0].span_id[0], 9);
        owner_unref(origin.owner);

        /* From then on by id alone. */
        command = runtime("kill", "c1");
        command.uid = uid;
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), 0);
        owner_unref(origin.owner);
        command.uid = uid + 1;
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), -ENOENT);

        command = (Command){ .kind = COMMAND_CNI, .verb = "ADD", .id = "c1", .pod_uid = "u-1", .uid = uid };
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), -ENOENT);
        command = (Command){ .kind = COMMAND_PINNS, .uid = uid };
        assert_int_equal(link_find(&fixture->link, &command, 0, &origin), -ENOENT);
}

static void replaced_when_full(void **state) {
        Fixture *fixture = *state;

        for (int i = 0; i < LINK_OWNERS_MAX + 100; i++) {
                char id[16];
                Command command;
                StoryOrigin origin;

                (void) snprintf(id, sizeof(id), "c%d", i);
                command = runtime("create", id);
                assert_int_equal(link_find(&fixture->link, &command, 0, &origin), 0);
                assert_string_equal(owner_id(origin.owner), id);
                owner_unref(origin.owner);
        }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(unreadable_bundle),
                TEST(by_call),
                TEST(cni_of_the_pod),
                TEST(environment_first),
                TEST(derived),
                TEST(own_memory),
                TEST(parallel_probes),
                TEST(start_is_remembered),
                TEST(bundles),
                TEST(hostile_bundles),
                TEST(users_commands),
                TEST(replaced_when_full),
                TEST(late),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
