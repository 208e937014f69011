/*
 * Made-up streams of one container each, by the kinds of monitors and runtimes there are: who of them is told of, by
 * whom, and below what; work and waits; what is found running.
 */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "report.h"
#include "story.h"
#include "told.h"

#define ID      "c0ffee"
#define MS      NSEC_PER_MSEC
#define WALL    (UINT64_C(1700000000) * NSEC_PER_SEC)
#define TRACE   "0af7651916cd43dd8448eb211c80319c"
#define PARENT  "b7ad6b7169203331"
#define CONTEXT "TRACEPARENT=00-" TRACE "-" PARENT "-01~"
#define MONITOR "-c~" ID "~-b~/b~-r~/bin/runc~"
#define CREATE  "create~--bundle~/b~" ID "~"

/* Step @i happens at (i + 1) ms; strings with NULs as '~'. */
typedef struct Step {
        EventType type;
        uint32_t pid, by; /* work: length in ms */
        uint32_t flags;
        int status;
        const char *file, *args, *env; /* of a rename the name is @file */
        uint32_t uid;
} Step;

static Told told;

static const Clk now = { .realtime_ns = WALL, .monotonic_ns = 0 };

static int find(void *userdata, const Command *command, uint64_t time_ns, StoryOrigin *ret) {
        int r;

        (void) userdata;
        (void) time_ns;
        r = told_origin(command, MANAGER_CRIO, NULL, ret);
        if (r < 0)
                return r;
        ret->live = true;
        ret->call = ret->parent;
        memset(ret->call.span_id, 0x22, sizeof(ret->call.span_id));
        ret->parent = command->has_traceparent && command->uid == 0 ? command->traceparent : ret->call;
        return 0;
}

static int find_without_call(void *userdata, const Command *command, uint64_t time_ns, StoryOrigin *ret) {
        int r = find(userdata, command, time_ns, ret);

        ret->live = false;
        return r;
}

static int cgroup(void *userdata, uint32_t pid, uint64_t start_ns, char **ret) {
        (void) userdata;
        assert_int_equal(start_ns, pid * NSEC_PER_SEC);
        *ret = strdup("/events");
        return *ret ? 0 : -ENOMEM;
}

static bool oom_killed(void *userdata, const char *path) {
        (void) userdata;
        assert_string_equal(path, "/events");
        return true;
}

static const StoryHost host = {
        .find = find, .root = told_root, .emit = told_emit, .counted = told_counted, .userdata = &told
};
static const StoryHost host_oom = { .find = find,
                                    .root = told_root,
                                    .emit = told_emit,
                                    .counted = told_counted,
                                    .cgroup = cgroup,
                                    .oom_killed = oom_killed,
                                    .userdata = &told };

static size_t put(char *to, const char *from) {
        size_t n = 0;

        for (; from && from[n]; n++)
                to[n] = from[n] == '~' ? '\0' : from[n];
        return n;
}

static void feed(Story *story, const Step *step, uint64_t time_ns) {
        Event event = { .type = step->type,
                        .time_ns = time_ns,
                        .start_ns = step->pid * NSEC_PER_SEC,
                        .parent_start_ns = step->by * NSEC_PER_SEC,
                        .pid = step->pid,
                        .parent = step->by,
                        .flags = step->flags,
                        .status = step->status,
                        .uid = step->uid };
        char data[1024];
        size_t size = 0;

        if (step->type == EVENT_WORK) {
                event.length_ns = step->by * MS;
        } else if (step->type == EVENT_RENAME) {
                (void) snprintf(event.comm, sizeof(event.comm), "%s", step->file);
        } else if (step->type == EVENT_EXEC && !(step->flags & EVENT_ENTRYPOINT)) {
                size = put(data, step->file);
                data[size++] = '\0';
                event.file_size = (uint16_t) size;
                event.args_size = (uint16_t) put(data + size, step->args);
                size += event.args_size;
                event.env_size = (uint16_t) put(data + size, step->env);
                size += event.env_size;
                event.age_ns = event.flags & EVENT_FOUND ? MS : 0;
        }
        assert_int_equal(story_event(story, &event, data, size, &now), 0);
}

static Story *play(const StoryHost *with, const Step *steps, size_t n) {
        Story *story;

        assert_int_equal(story_new(with, NSEC_PER_SEC, 900 * NSEC_PER_SEC, &story), 0);
        for (size_t i = 0; i < n; i++)
                feed(story, &steps[i], (i + 1) * MS);
        return story;
}

#define PLAY(steps) play(&host, (steps), ARRAY_SIZE(steps))

static void forget(Story *story) {
        story_free(story);
        told_forget(&told);
}

static size_t count(const char *name) {
        size_t n = 0;

        for (size_t i = 0; i < told.n; i++)
                n += strcmp(told_name(told.spans[i]), name) == 0;
        return n;
}

static const Span *the(const char *name) {
        if (count(name) != 1) {
                for (size_t i = 0; i < told.n; i++)
                        print_message("%s\n", told_name(told.spans[i]));
                fail_msg("%zu spans called %s", count(name), name);
        }
        for (size_t i = 0; i < told.n; i++)
                if (strcmp(told_name(told.spans[i]), name) == 0)
                        return told.spans[i];
        return NULL;
}

static void assert_below(const char *name, const uint8_t span_id[static 8]) {
        assert_memory_equal(the(name)->parent_id, span_id, 8);
}

/* A monitor, called @program, that makes a container with runc: @env is in runc's environment. */
#define LIFE(program, env_, uid_)                                                                          \
        {                                                                                                  \
                { EVENT_EXEC, 1, 0, EVENT_NAMED, 0, "/bin/crio", "crio~", "", 0 },                         \
                        { EVENT_FORK, 2, 1, 0, 0, NULL, NULL, NULL, 0 },                                   \
                        { EVENT_EXEC, 2, 0, EVENT_NAMED, 0, "/bin/" program, program "~" MONITOR, "", 0 }, \
                        { EVENT_FORK, 3, 2, 0, 0, NULL, NULL, NULL, 0 },                                   \
                        { EVENT_EXIT, 2, 0, 0, 0, NULL, NULL, NULL, 0 },                                   \
                        { EVENT_FORK, 4, 3, 0, 0, NULL, NULL, NULL, 0 },                                   \
                        { EVENT_EXEC, 4, 0, EVENT_NAMED, 0, "/bin/runc", "runc~" CREATE, env_, uid_ },     \
                        { EVENT_FORK, 5, 4, 0, 0, NULL, NULL, NULL, 0 },                                   \
                        { EVENT_RENAME, 5, 0, 0, 0, "runc:[2:INIT]", NULL, NULL, 0 },                      \
                        { EVENT_FORK, 6, 4, 0, 0, NULL, NULL, NULL, 0 },                                   \
                        { EVENT_EXEC, 6, 0, 0, 0, "/hook", "hook~", "", 0 },                               \
                        { EVENT_EXIT, 6, 0, 0, 0, NULL, NULL, NULL, 0 },                                   \
                        { EVENT_EXIT, 4, 0, 0, 0, NULL, NULL, NULL, 0 },                                   \
                        { EVENT_EXEC, 5, 0, EVENT_ENTRYPOINT, 0, NULL, NULL, NULL, 0 },                    \
                        { EVENT_EXIT, 5, 0, EVENT_CONTAINER, 0x300, NULL, NULL, NULL, 0 },                 \
                        { EVENT_EXIT, 3, 0, 0, 0, NULL, NULL, NULL, 0 },                                   \
        }

/* A monitor of ours that hands on its context tells of the call and the end: only what is inside is told here. */
static void our_monitor(void **state) {
        static const uint8_t parent[] = { 0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31 };
        static const uint8_t call[] = { 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22 };
        static const Step steps[] = LIFE("podspan-conmon", CONTEXT, 0);
        Story *story = PLAY(steps);

        (void) state;
        assert_int_equal(count("runc create"), 0);
        assert_int_equal(count("podspan-conmon"), 0);
        assert_int_equal(count("wait_for_exit_code"), 0);
        assert_below("start-up", parent);
        assert_below("namespaces", parent);
        assert_below("hook", parent);
        assert_below("state saved", parent);
        assert_below("entrypoint", call); /* which outlasts the runtime's call */
        assert_int_equal(told.n, 6);      /* and "mounts" */
        forget(story);
}

/* One that hands on nothing tells nothing. */
static void our_silent_monitor(void **state) {
        static const Step steps[] = LIFE("podspan-conmon", "", 0);
        Story *story = PLAY(steps);

        (void) state;
        assert_below("hook", the("runc create")->context.span_id);
        assert_int_equal(told_number(the("wait_for_exit_code"), "process.exit.code"), 3);
        assert_int_equal(count("podspan-conmon"), 0);
        forget(story);
}

/* Of what nobody saw end, no exit code is told: not of a runtime whose exit was lost, nor of a monitor that lives on.
 */
static void unseen_ends(void **state) {
        static const Step steps[] = LIFE("conmon", "", 0);
        const Event reused = { .type = EVENT_EXIT, .time_ns = 13 * MS, .start_ns = 99 * NSEC_PER_SEC, .pid = 4 };
        Story *story = play(&host, steps, 12);

        (void) state;
        /* Instead of the runtime's exit there is that of another process which has its pid. */
        assert_int_equal(story_event(story, &reused, NULL, 0, &now), 0);
        for (size_t i = 13; i < ARRAY_SIZE(steps); i++)
                feed(story, &steps[i], (i + 1) * MS);
        assert_int_equal(told_number(the("runc create"), "process.exit.code"), -1);
        assert_int_equal(the("runc create")->status, SPAN_STATUS_UNSET);
        forget(story);

        story = PLAY(steps);
        assert_int_equal(told_number(the("runc create"), "process.exit.code"), 0);
        assert_int_equal(told_number(the("conmon"), "process.exit.code"), -1);
        forget(story);
}

/* What a user says of a context is not believed. */
static void not_roots_monitor(void **state) {
        static const Step steps[] = LIFE("podspan-conmon", CONTEXT, 1000);
        Story *story = PLAY(steps);

        (void) state;
        assert_below("hook", the("runc create")->context.span_id);
        (void) the("wait_for_exit_code");
        forget(story);
}

/* conmon has a span of its own, and a context in its runtime's environment is somebody else's. */
static void conmon(void **state) {
        static const Step steps[] = LIFE("conmon", CONTEXT, 0);
        Story *story = PLAY(steps);

        (void) state;
        assert_below("runc create", the("conmon")->context.span_id);
        (void) the("wait_for_exit_code");
        forget(story);
}

/* conmonrs serves many containers and may export spans itself: told is of the runtime alone. */
static void conmonrs(void **state) {
        static const Step steps[] = {
                { EVENT_EXEC, 3, 0, EVENT_NAMED, 0, "/bin/conmonrs",
                  "conmonrs~--runtime~/bin/runc~--runtime-dir~/r~--cgroup-manager~systemd~", "", 0 },
                { EVENT_FORK, 4, 3, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXEC, 4, 0, EVENT_NAMED, 0, "/bin/runc", "runc~" CREATE, "", 0 },
                { EVENT_FORK, 5, 4, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_RENAME, 5, 0, 0, 0, "runc:[2:INIT]", NULL, NULL, 0 },
                { EVENT_EXIT, 4, 0, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXEC, 5, 0, EVENT_ENTRYPOINT, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXIT, 5, 0, EVENT_CONTAINER, 9, NULL, NULL, NULL, 0 },
                { EVENT_EXIT, 3, 0, 0, 0, NULL, NULL, NULL, 0 },
        };
        Story *story = PLAY(steps);

        (void) state;
        assert_below("namespaces", the("runc create")->context.span_id);
        (void) the("entrypoint");
        (void) the("wait_for_exit_code");
        assert_int_equal(count("conmonrs"), 0);
        forget(story);
}

/* youki shows two stages, of which the second is the container's. */
static void youki(void **state) {
        static const Step steps[] = {
                { EVENT_EXEC, 3, 0, EVENT_NAMED, 0, "/bin/conmon", "conmon~" MONITOR, "", 0 },
                { EVENT_FORK, 4, 3, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXEC, 4, 0, EVENT_NAMED, 0, "/bin/youki",
                  "youki~--root~/r~--log~/l~create~--bundle~/b~--pid-file~/p~" ID "~", "", 0 },
                { EVENT_FORK, 5, 4, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_RENAME, 5, 0, 0, 0, "youki:[1:INTER]", NULL, NULL, 0 },
                { EVENT_FORK, 6, 5, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_RENAME, 6, 0, 0, 0, "youki:[2:INIT]", NULL, NULL, 0 },
                { EVENT_EXIT, 5, 0, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXIT, 4, 0, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_FORK, 7, 3, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXEC, 7, 0, EVENT_NAMED, 0, "/bin/youki", "youki~start~" ID "~", "", 0 },
                { EVENT_EXEC, 6, 0, EVENT_ENTRYPOINT, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXIT, 7, 0, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXIT, 6, 0, EVENT_CONTAINER, 0, NULL, NULL, NULL, 0 },
        };
        Story *story = PLAY(steps);

        (void) state;
        assert_below("namespaces", the("youki create")->context.span_id);
        (void) the("youki start");
        (void) the("entrypoint");
        assert_int_equal(told_number(the("wait_for_exit_code"), "process.exit.code"), 0);
        forget(story);
}

/* The kernel did not say so, but the cgroup's file does. */
static void second_source(void **state) {
        static const Step steps[] = LIFE("conmon", "", 0);
        Step changed[ARRAY_SIZE(steps)];
        Story *story = play(&host_oom, steps, ARRAY_SIZE(steps));

        (void) state;
        /* It exited by itself: the victim was another process, at a time that nobody knows. */
        assert_int_equal(told_number(the("wait_for_exit_code"), "podspan.oom_killed"), 0);
        assert_int_equal(told_number(the("wait_for_exit_code"), "podspan.oom_kill_counted"), 1);
        assert_int_equal(the("wait_for_exit_code")->n_events, 0);
        forget(story);

        /* It was killed, but not by whom is known. */
        memcpy(changed, steps, sizeof(steps));
        changed[14].status = SIGKILL;
        story = play(&host_oom, changed, ARRAY_SIZE(changed));
        assert_int_equal(told_number(the("wait_for_exit_code"), "podspan.oom_killed"), -1);
        assert_int_equal(told_number(the("wait_for_exit_code"), "podspan.oom_kill_counted"), 1);
        forget(story);

        story = PLAY(steps);
        assert_int_equal(told_number(the("wait_for_exit_code"), "podspan.oom_killed"), 0);
        assert_int_equal(told_number(the("wait_for_exit_code"), "podspan.oom_kill_counted"), -1);
        forget(story);
}

/* The end is the OOM killer's only if the first process was its victim; another victim is an event with its time. */
static void oom_victims(void **state) {
        static const Step steps[] = LIFE("conmon", "", 0);
        static const struct {
                uint16_t flags;
                int status;
                uint64_t oom_ns;
                bool killed, event;
        } cases[] = {
                { EVENT_OOM, SIGKILL, 100 * MS, true, false },
                { 0, 0x300, 100 * MS, false, true },
                { 0, SIGKILL, 100 * MS, false, true }, /* it was killed by another, later */
                { 0, 0, 14 * MS - 1, false, false },   /* before it began: of a container that had the cgroup before */
                { 0, 0, 0, false, false },
                { EVENT_OOM, SIGKILL, 0, true, false }, /* Linux before 6.8 */
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const Event end = { .type = EVENT_EXIT,
                                    .flags = EVENT_CONTAINER | cases[i].flags,
                                    .time_ns = 200 * MS,
                                    .start_ns = 5 * NSEC_PER_SEC,
                                    .pid = 5,
                                    .oom_ns = cases[i].oom_ns,
                                    .status = cases[i].status };
                Story *story = play(&host, steps, 14);
                const Span *span;

                assert_int_equal(story_event(story, &end, NULL, 0, &now), 0);
                span = the("wait_for_exit_code");
                assert_int_equal(told_number(span, "podspan.oom_killed"), cases[i].killed);
                assert_int_equal(span->n_events, cases[i].event);
                if (cases[i].event) {
                        assert_string_equal(span->events[0].name, "oom_kill");
                        assert_int_equal(span->events[0].time_ns, WALL + 100 * MS);
                }
                forget(story);
        }
}

/* Of what ran before, only the end is told: once a container, and not where a monitor of ours does. */
static void found(void **state) {
#define FOUND(monitor)                                                                                           \
        {                                                                                                        \
                { EVENT_EXEC, 2, 0, EVENT_NAMED | EVENT_FOUND, 0, "/bin/" monitor, monitor "~" MONITOR, "", 0 }, \
                        { EVENT_EXEC, 5, 2, EVENT_CONTAINER | EVENT_FOUND, 0, "crio-" ID ".scope", "", "", 0 },  \
                        { EVENT_EXEC, 6, 2, EVENT_CONTAINER | EVENT_FOUND, 0, "crio-" ID ".scope", "", "", 0 },  \
                        { EVENT_EXEC, 7, 99, EVENT_CONTAINER | EVENT_FOUND, 0, "crio-" ID ".scope", "", "", 0 }, \
                        { EVENT_EXIT, 6, 0, EVENT_CONTAINER, 0x100, NULL, NULL, NULL, 0 },                       \
                        { EVENT_EXIT, 5, 0, EVENT_CONTAINER, 0x300, NULL, NULL, NULL, 0 },                       \
                        { EVENT_EXIT, 2, 0, 0, 0, NULL, NULL, NULL, 0 },                                         \
        }
        static const Step with_conmon[] = FOUND("conmon"), with_shim[] = FOUND("containerd-shim-runc-v2"),
                          with_ours[] = FOUND("podspan-conmon");
        static const struct {
                const Step *steps;
                size_t n;
        } cases[] = { { with_conmon, 1 }, { with_shim, 1 }, { with_ours, 0 } };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Story *story = play(&host, cases[i].steps, ARRAY_SIZE(with_conmon));

                assert_int_equal(told.n, cases[i].n);
                if (cases[i].n > 0) {
                        const Span *end = the("wait_for_exit_code");

                        assert_int_equal(told_number(end, "process.exit.code"), 3);
                        assert_int_equal(end->start_ns, WALL + MS); /* it was a millisecond old at 2 ms */
                        assert_int_equal(end->end_ns, WALL + 6 * MS);
                }
                forget(story);
        }
}

/* A user's `start` of the same id is of another container. */
static void users_start(void **state) {
        static const Step steps[] = {
                { EVENT_EXEC, 1, 0, EVENT_NAMED, 0, "/bin/crio", "crio~", "", 0 },
                { EVENT_FORK, 4, 1, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXEC, 4, 0, EVENT_NAMED, 0, "/bin/runc", "runc~" CREATE, "", 0 },
                { EVENT_FORK, 5, 4, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_RENAME, 5, 0, 0, 0, "runc:[2:INIT]", NULL, NULL, 0 },
                { EVENT_EXIT, 4, 0, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXEC, 8, 0, EVENT_NAMED, 0, "/bin/runc", "runc~start~" ID "~", "", 0 },
                { EVENT_EXEC, 5, 0, EVENT_ENTRYPOINT, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXIT, 8, 0, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXIT, 5, 0, EVENT_CONTAINER, 0, NULL, NULL, NULL, 0 },
        };

        (void) state;
        for (uint32_t uid = 0; uid <= 1000; uid += 1000) {
                Step changed[ARRAY_SIZE(steps)];
                Story *story;

                memcpy(changed, steps, sizeof(steps));
                changed[6].uid = uid;
                story = PLAY(changed);
                assert_int_equal(count("starting"), uid == 0);
                forget(story);
        }
}

/* The exec of the container's command was lost: it is found later, and its end is told. */
static void found_after_loss(void **state) {
        static const Step life[] = LIFE("conmon", "", 0);
        Step steps[ARRAY_SIZE(life)];
        Story *story;

        (void) state;
        memcpy(steps, life, sizeof(steps));
        assert_true(steps[13].flags & EVENT_ENTRYPOINT);
        steps[13].by = 3;
        steps[13].flags = EVENT_CONTAINER | EVENT_FOUND;
        steps[13].file = "crio-" ID ".scope";
        story = PLAY(steps);
        assert_int_equal(told_number(the("wait_for_exit_code"), "process.exit.code"), 3);
        assert_int_equal(the("wait_for_exit_code")->start_ns, WALL + 13 * MS);
        forget(story);
}

/* What a runtime does is below its phases, and cuts them; what it waits for is said of them. */
static void work(void **state) {
        static const Step steps[] = {
                { EVENT_EXEC, 4, 0, EVENT_NAMED, 0, "/bin/runc", "runc~" CREATE, "", 0 }, /* 1 ms */
                { EVENT_FORK, 5, 4, 0, 0, NULL, NULL, NULL, 0 },                          /* 2 */
                { EVENT_WORK, 5, 1, 0, EVENT_WORK_NAMESPACE, NULL, NULL, NULL, 0 },       /* until 3 */
                { EVENT_RENAME, 5, 0, 0, 0, "runc:[2:INIT]", NULL, NULL, 0 },             /* 4 */
                { EVENT_WORK, 4, 1, 0, EVENT_WAIT_CPU, NULL, NULL, NULL, 0 },             /* until 5 */
                { EVENT_WORK, 5, 1, 0, EVENT_WORK_MOUNT, NULL, NULL, NULL, 0 },           /* until 6 */
                { EVENT_WORK, 5, 1, 0, EVENT_WORK_MOUNT, NULL, NULL, NULL, 0 },           /* until 7 */
                { EVENT_WORK, 4, 5, 0, EVENT_WAIT_PEER, NULL, NULL, NULL, 0 },            /* from 3 until 8 */
                { EVENT_EXIT, 4, 0, 0, 0, NULL, NULL, NULL, 0 },
        };
        const Span *create, *mounts, *init;
        Story *story = PLAY(steps);

        (void) state;
        create = the("runc create");
        assert_int_equal(told_number(create, "podspan.peer.wait_ns"), 5 * MS);
        assert_below("join namespaces", the("namespaces")->context.span_id);
        init = the("init start-up");
        assert_int_equal(init->end_ns, WALL + 5 * MS);
        assert_int_equal(told_number(init, "podspan.cpu.wait_ns"), MS);
        assert_int_equal(count("wait for a CPU"), 0); /* too short for a span */
        assert_int_equal(count("wait for a peer"), 0);
        mounts = the("mounts");
        assert_int_equal(mounts->start_ns, WALL + 5 * MS);
        assert_int_equal(mounts->end_ns, WALL + 7 * MS);
        assert_int_equal(told_number(mounts, "podspan.mount_ns"), 2 * MS);
        assert_int_equal(told_number(mounts, "podspan.cpu.wait_ns"), -1);
        assert_below("mount", mounts->context.span_id);
        assert_int_equal(told_number(the("mount"), "podspan.work.calls"), 2);
        assert_int_equal(the("state saved")->end_ns, WALL + 9 * MS);
        forget(story);
}

/* An engine's own work belongs to the call that alone was in flight, once calls are known to be its. */
static void engine(void **state) {
        static const Step steps[] = {
                { EVENT_EXEC, 1, 0, EVENT_NAMED, 0, "/bin/crio", "crio~", "", 0 },
                { EVENT_WORK, 1, 1, 0, EVENT_WORK_SYNC, NULL, NULL, NULL, 0 },   /* 1 to 2 ms: before the call */
                { EVENT_WORK, 1, 1, 0, EVENT_WORK_MOUNT, NULL, NULL, NULL, 0 },  /* 2 to 3 */
                { EVENT_WORK, 1, 1, 0, EVENT_WORK_CREATE, NULL, NULL, NULL, 0 }, /* 3 to 4 */
                { EVENT_WORK, 1, 1, 0, EVENT_WORK_SYNC, NULL, NULL, NULL, 0 },   /* 4 to 5 */
                { EVENT_FORK, 2, 1, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_WORK, 2, 1, 0, EVENT_WORK_SYNC, NULL, NULL, NULL, 0 },    /* of a child on its way */
                { EVENT_WORK, 1, 1, 0, EVENT_WORK_CGROUP, NULL, NULL, NULL, 0 },  /* 7 to 8: beside another call */
                { EVENT_WORK, 1, 1, 0, EVENT_WORK_UNMOUNT, NULL, NULL, NULL, 0 }, /* 8 to 9: after the call */
        };
        static const Step child[] = {
                { EVENT_EXEC, 2, 0, EVENT_NAMED, 0, "/bin/runc", "runc~start~" ID "~", "", 0 },
        };
        const StoryInterval other = { 7 * MS + 1, 7 * MS + 2 };
        Identity identity = { .pod_uid = "uid" };
        StoryCall call = { .owner = owner_new(&identity, MANAGER_UNKNOWN, NULL),
                           .clk = now,
                           .time = { 2 * MS, 8 * MS + MS / 2 },
                           .others = &other,
                           .n_others = 1 };
        Story *story = PLAY(steps);

        (void) state;
        assert_int_equal(tracecontext_new_root(&call.context), 0);
        story_call(story, &call);
        assert_int_equal(told.n, 0); /* nobody knows whose engine this is */

        assert_false(story_busy(story, 10 * MS));
        feed(story, &child[0], 10 * MS);
        assert_true(story_busy(story, 10 * MS + STORY_BUSY_NS - 1));
        assert_false(story_busy(story, 10 * MS + STORY_BUSY_NS));
        story_call(story, &call);
        assert_below("crio: mount", call.context.span_id);
        assert_below("crio: files", call.context.span_id);
        assert_below("crio: create files", the("crio: files")->context.span_id);
        assert_below("crio: fsync", the("crio: files")->context.span_id);
        assert_int_equal(told.n, 4);
        assert_int_equal(the("crio: files")->start_ns, WALL + 3 * MS);
        assert_int_equal(the("crio: files")->end_ns, WALL + 5 * MS);

        story_forget_work(story, 9 * MS);
        story_call(story, &call);
        assert_int_equal(told.n, 4);
        owner_unref(call.owner);
        forget(story);
}

/* That an engine is on a CPU is told where nothing else tells what for, as far as the call goes. */
static void engine_computes(void **state) {
        static const Step steps[] = {
                { EVENT_EXEC, 1, 0, EVENT_NAMED, 0, "/bin/crio", "crio~", "", 0 },
                { EVENT_FORK, 2, 1, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXEC, 2, 0, EVENT_NAMED, 0, "/bin/runc", "runc~start~" ID "~", "", 0 },
                { EVENT_WORK, 1, 1, 0, EVENT_WORK_RUN, NULL, NULL, NULL, 0 },    /* 3 to 4 ms */
                { EVENT_WORK, 1, 1, 0, EVENT_WORK_CREATE, NULL, NULL, NULL, 0 }, /* 4 to 5 */
                { EVENT_WORK, 1, 2, 0, EVENT_WORK_RUN, NULL, NULL, NULL, 0 },    /* 4 to 6 */
                { EVENT_WORK, 2, 1, 0, EVENT_WORK_RUN, NULL, NULL, NULL, 0 },    /* 6 to 7: no engine's */
                { EVENT_WORK, 1, 1, 0, EVENT_WORK_RUN, NULL, NULL, NULL, 0 },    /* 7 to 8: beside another call */
                { EVENT_WORK, 1, 1, 0, EVENT_WORK_CREATE, NULL, NULL, NULL, 0 }, /* 8 to 9 */
                { EVENT_WORK, 1, 1, 0, EVENT_WORK_RUN, NULL, NULL, NULL, 0 },    /* 9 to 10 */
        };
        const StoryInterval other = { 7 * MS + 1, 7 * MS + 2 };
        Identity identity = { .pod_uid = "uid" };
        StoryCall call = { .owner = owner_new(&identity, MANAGER_UNKNOWN, NULL),
                           .clk = now,
                           .time = { 3 * MS + MS / 4, 9 * MS + MS / 4 },
                           .others = &other,
                           .n_others = 1 };
        Story *story = PLAY(steps);
        size_t n_computing = 0;

        (void) state;
        assert_int_equal(tracecontext_new_root(&call.context), 0);
        story_call(story, &call);

        for (size_t i = 0; i < told.n; i++) {
                const Span *span = told.spans[i];

                if (strcmp(span_text(span, span->name), "crio: computing") != 0)
                        continue;
                assert_memory_equal(span->parent_id, call.context.span_id, sizeof(call.context.span_id));
                assert_int_equal(told_number(span, "podspan.work.calls"), -1);
                assert_int_equal(span->start_ns, n_computing == 0 ? WALL + 3 * MS + MS / 4 : WALL + 5 * MS);
                assert_int_equal(span->end_ns, n_computing == 0 ? WALL + 4 * MS : WALL + 6 * MS);
                n_computing++;
        }
        assert_int_equal(n_computing, 2); /* of the last piece, the call has less than is worth telling */

        owner_unref(call.owner);
        forget(story);
}

#define LIFE_ENTRY 13 /* steps of LIFE: the container's command begins, … */
#define LIFE_END   14 /* … the container ends, … */
#define LIFE_GONE  15 /* … and its monitor */
#define KILLED     9

/* The life with podspan-conmon until the step @n; from there on the test goes on by itself. */
static Story *begin_life(size_t n) {
        static const Step steps[] = LIFE("podspan-conmon", CONTEXT, 0);

        return play(&host, steps, n);
}

static void go_on(Story *story, size_t i, uint64_t time_ns, int status) {
        static const Step steps[] = LIFE("podspan-conmon", CONTEXT, 0);
        Step step = steps[i];

        if (i == LIFE_GONE)
                step.status = status;
        feed(story, &step, time_ns);
}

static void assert_killed_monitor(void) {
        const Span *monitor = the("podspan-conmon");

        assert_int_equal(monitor->status, SPAN_STATUS_ERROR);
        assert_string_equal(told_text(monitor, "error.type"), "SIGKILL");
        assert_int_equal(told_number(monitor, "process.pid"), 3);
        assert_string_equal(told_text(monitor, "container.id"), ID);
        assert_int_equal(monitor->start_ns, WALL + 3 * MS);
}

/* The monitor is killed while the container runs: the call if it was just now, and the end, however late it comes. */
static void monitor_killed(void **state) {
        static const uint8_t parent[] = { 0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31 };
        static const struct {
                uint64_t killed_ns, end_ns;
                bool call;
        } cases[] = {
                { 100 * MS, 200 * MS, true },
                { 100 * MS, 500 * NSEC_PER_SEC, true },
                { 13 * MS + REPORTS_CALL_NS + 1, 60 * NSEC_PER_SEC, false }, /* it has reported the call */
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Story *story = begin_life(LIFE_END);
                const Span *end;

                go_on(story, LIFE_GONE, cases[i].killed_ns, KILLED);
                assert_killed_monitor();
                assert_int_equal(the("podspan-conmon")->end_ns, WALL + cases[i].killed_ns);
                assert_int_equal(count("runc create"), cases[i].call);
                if (cases[i].call) {
                        assert_memory_equal(the("runc create")->context.span_id, parent, sizeof(parent));
                        assert_int_equal(told_number(the("runc create"), "process.exit.code"), 0);
                }
                assert_int_equal(count("wait_for_exit_code"), 0);
                go_on(story, LIFE_END, cases[i].end_ns, 0);
                end = the("wait_for_exit_code");
                assert_int_equal(told_number(end, "process.exit.code"), 3);
                assert_int_equal(end->end_ns, WALL + cases[i].end_ns);
                forget(story);
        }
}

/* It is killed when the container has ended: the end is emitted unless there was time enough to report it. */
static void monitor_killed_after_the_end(void **state) {
        const uint64_t end_ns = 20 * NSEC_PER_SEC;

        (void) state;
        for (int in_time = 0; in_time <= 1; in_time++) {
                Story *story = begin_life(LIFE_END);

                go_on(story, LIFE_END, end_ns, 0);
                assert_int_equal(count("wait_for_exit_code"), 0);
                go_on(story, LIFE_GONE, end_ns + REPORTS_END_NS + !in_time, KILLED);
                assert_killed_monitor();
                assert_int_equal(count("wait_for_exit_code"), in_time);
                assert_int_equal(count("runc create"), 0);
                forget(story);
        }
}

/* One that ends by itself has reported what ended with it; of what ends long after it, it cannot. */
static void monitor_left(void **state) {
        static const int statuses[] = { 0, 0x100 };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
                for (int late = 0; late <= 1; late++) {
                        Story *story = begin_life(LIFE_END);

                        go_on(story, LIFE_GONE, NSEC_PER_SEC, statuses[i]);
                        go_on(story, LIFE_END, NSEC_PER_SEC + REPORTS_END_NS + (uint64_t) late, 0);
                        assert_int_equal(count("podspan-conmon"), 0);
                        assert_int_equal(count("wait_for_exit_code"), late);
                        forget(story);
                }
}

/* A runtime that fails before the container's program runs: with a monitor of ours, that one says it. */
static void failed_start(void **state) {
        static const Step theirs[] = LIFE("conmon", "", 0), ours[] = LIFE("podspan-conmon", CONTEXT, 0);
        const Event end = {
                .type = EVENT_EXIT, .time_ns = 12 * MS, .start_ns = 4 * NSEC_PER_SEC, .pid = 4, .status = 0x100
        };
        StoryHost alone = host;
        Story *story;

        (void) state;
        alone.find = find_without_call;
        story = play(&alone, theirs, 12);
        assert_int_equal(story_event(story, &end, NULL, 0, &now), 0);
        assert_string_equal(told_text(the("runc create"), "podspan.exit.verdict"), "start-failed");
        assert_string_equal(span_text(the("runc create"), the("runc create")->message),
                            "runc create failed with exit code 1");
        forget(story);

        /* A CRI call says it in the runtime's words. */
        story = play(&host, theirs, 12);
        assert_int_equal(story_event(story, &end, NULL, 0, &now), 0);
        assert_string_equal(told_text(the("runc create"), "podspan.exit.verdict"), "");
        forget(story);

        story = play(&alone, ours, 12);
        assert_int_equal(story_event(story, &end, NULL, 0, &now), 0);
        assert_int_equal(count("runc create"), 0);
        forget(story);
}

/* Beside a monitor's report of an end by a signal goes what the kernel side alone knows. */
static void monitor_does_not_know(void **state) {
        static const struct {
                int status, n;
                const char *verdict;
        } cases[] = { { SIGKILL, 1, "killed" }, { SIGTERM, 0, "" }, { 0x300, 0, "" } };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Story *story = begin_life(LIFE_END);
                EventDeath death = { .fatal = { .signal = SIGKILL,
                                                .sender = EVENT_SENDER_HOST,
                                                .pid = 77,
                                                .comm = "bash",
                                                .time_ns = NSEC_PER_SEC } };
                const Event end = { .type = EVENT_EXIT,
                                    .flags = EVENT_CONTAINER,
                                    .time_ns = NSEC_PER_SEC,
                                    .start_ns = 5 * NSEC_PER_SEC,
                                    .pid = 5,
                                    .status = cases[i].status };

                assert_int_equal(story_event(story, &end, (const char *) &death, sizeof(death), &now), 0);
                assert_int_equal(count("wait_for_exit_code"), 0);
                assert_int_equal(count("death"), cases[i].n);
                if (cases[i].n > 0) {
                        assert_string_equal(told_text(the("death"), "podspan.exit.verdict"), cases[i].verdict);
                        assert_string_equal(told_text(the("death"), "podspan.kill.program"), "bash");
                        assert_int_equal(told_number(the("death"), "podspan.kill.pid"), 77);
                        assert_int_equal(the("death")->end_ns, WALL + NSEC_PER_SEC);
                }
                forget(story);
        }
}

/* Another process of the monitor's that a signal ends is not the monitor. */
static void monitors_child_killed(void **state) {
        static const Step child[] = { { EVENT_FORK, 9, 3, 0, 0, NULL, NULL, NULL, 0 },
                                      { EVENT_EXIT, 9, 0, 0, KILLED, NULL, NULL, NULL, 0 } };
        Story *story = begin_life(LIFE_END);

        (void) state;
        feed(story, &child[0], 20 * MS);
        feed(story, &child[1], 21 * MS);
        go_on(story, LIFE_END, 22 * MS, 0);
        go_on(story, LIFE_GONE, 23 * MS, 0);
        assert_int_equal(count("podspan-conmon") + count("wait_for_exit_code") + count("runc create"), 0);
        forget(story);
}

/* One that ran before podspan-watch did: its container's end is emitted if it is killed. */
static void found_monitor_killed(void **state) {
        static const Step steps[] = {
                { EVENT_EXEC, 2, 0, EVENT_NAMED | EVENT_FOUND, 0, "/bin/podspan-conmon", "podspan-conmon~" MONITOR, "",
                  0 },
                { EVENT_EXEC, 5, 2, EVENT_CONTAINER | EVENT_FOUND, 0, "crio-" ID ".scope", "", "", 0 },
                { EVENT_EXIT, 2, 0, 0, KILLED, NULL, NULL, NULL, 0 },
                { EVENT_EXIT, 5, 0, EVENT_CONTAINER, 0x300, NULL, NULL, NULL, 0 },
        };
        static const Step of_exec[] = {
                { EVENT_EXEC, 2, 0, EVENT_NAMED | EVENT_FOUND, 0, "/bin/podspan-conmon", "podspan-conmon~-e~" MONITOR,
                  "", 0 },
                { EVENT_EXEC, 5, 2, EVENT_CONTAINER | EVENT_FOUND, 0, "crio-" ID ".scope", "", "", 0 },
                { EVENT_EXIT, 2, 0, 0, KILLED, NULL, NULL, NULL, 0 },
                { EVENT_EXIT, 5, 0, EVENT_CONTAINER, 0x300, NULL, NULL, NULL, 0 },
        };
        Story *story = PLAY(steps);

        (void) state;
        assert_int_equal(told_number(the("wait_for_exit_code"), "process.exit.code"), 3);
        assert_string_equal(told_text(the("podspan-conmon"), "error.type"), "SIGKILL");
        assert_string_equal(told_text(the("podspan-conmon"), "container.id"), ID);
        assert_int_equal(told.n, 2);
        forget(story);

        story = PLAY(of_exec);
        assert_int_equal(told.n, 0); /* its process is not the container's first */
        forget(story);
}

/* A hook below `podspan-hook wrap` ends with @hook at @hook_ms, its wrapper with @wrapper at @wrapper_ms. */
static Story *play_wrap(int hook, uint64_t hook_ms, int wrapper, uint64_t wrapper_ms) {
        static const Step steps[] = {
                { EVENT_EXEC, 4, 0, EVENT_NAMED, 0, "/bin/runc", "runc~" CREATE, "", 0 },
                { EVENT_FORK, 6, 4, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXEC, 6, 0, EVENT_NAMED, 0, "/bin/podspan-hook", "podspan-hook~wrap~--~/bin/slow-hook~", "",
                  0 },
                { EVENT_FORK, 7, 6, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXEC, 7, 0, 0, 0, "/bin/slow-hook", "slow-hook~", "", 0 }, /* 5 ms */
                { EVENT_FORK, 8, 7, 0, 0, NULL, NULL, NULL, 0 },
                { EVENT_EXEC, 8, 0, 0, 0, "/bin/sleep", "sleep~9~", "", 0 },
        };
        const Step hook_ends = { EVENT_EXIT, 7, 0, 0, hook, NULL, NULL, NULL, 0 },
                   wrapper_ends = { EVENT_EXIT, 6, 0, 0, wrapper, NULL, NULL, NULL, 0 },
                   create_ends = { EVENT_EXIT, 4, 0, 0, 0x100, NULL, NULL, NULL, 0 };
        Story *story = PLAY(steps);

        if (hook_ms < wrapper_ms)
                feed(story, &hook_ends, hook_ms * MS);
        feed(story, &wrapper_ends, wrapper_ms * MS);
        if (hook_ms > wrapper_ms)
                feed(story, &hook_ends, hook_ms * MS);
        feed(story, &create_ends, MAX(hook_ms, wrapper_ms) * MS + MS);
        return story;
}

/* The runtime kills the wrapper, and the kernel the hook with it: both have failed, and the wrapper cannot say so. */
static void wrapper_killed(void **state) {
        Story *story = play_wrap(KILLED, 1002, KILLED, 1000);
        const Span *wrapper = the("podspan-hook"), *hook = the("slow-hook");

        (void) state;
        assert_string_equal(told_text(wrapper, "error.type"), "SIGKILL");
        assert_int_equal(wrapper->end_ns, WALL + 1000 * MS);
        assert_memory_equal(wrapper->parent_id, the("runc create")->context.span_id, 8);
        assert_string_equal(told_text(wrapper, "container.id"), ID);
        assert_memory_equal(hook->parent_id, wrapper->context.span_id, 8);
        assert_string_equal(told_text(hook, "error.type"), "SIGKILL");
        assert_int_equal(hook->start_ns, WALL + 5 * MS);
        assert_int_equal(hook->end_ns, WALL + 1002 * MS);
        assert_int_equal(count("sleep"), 0);
        forget(story);

        /* The hook had ended when the wrapper was killed over its report. */
        story = play_wrap(0x300, 999, KILLED, 1000);
        assert_int_equal(told_number(the("slow-hook"), "process.exit.code"), 3);
        (void) the("podspan-hook");
        forget(story);
}

/* It has reported, also where it ends by the hook's signal. */
static void wrapper_reports(void **state) {
        static const int ends[] = { 0, 0x300, KILLED, 15, 11 | 0x80 };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
                Story *story = play_wrap(ends[i], 999, ends[i] & 0x7f, 1000);

                assert_int_equal(count("podspan-hook") + count("slow-hook"), 0);
                (void) the("runc create");
                forget(story);
        }
}

/* What is held back has a bound, and its time. */
static void reports_are_bounded(void **state) {
        const Reporter reporter = { 3, 4 }, other = { 3, 5 };
        TraceContext context;
        Reports reports = {};
        Span *span;

        (void) state;
        assert_int_equal(tracecontext_new_root(&context), 0);
        for (size_t i = 0; i <= REPORTS_MAX; i++) {
                assert_int_equal(span_new("span", SPAN_KIND_INTERNAL, &context, NULL, &span), 0);
                assert_int_equal(reports_hold(&reports, reporter, 0, i < 2 ? MS : 2 * MS, span),
                                 i < REPORTS_MAX ? 0 : -ENOBUFS);
        }
        assert_null(reports_take(&reports, other, 0));
        assert_int_equal(span_new("new", SPAN_KIND_INTERNAL, &context, NULL, &span), 0);
        assert_int_equal(reports_hold(&reports, other, MS + 1, MS, span), 0); /* there is room again */
        assert_int_equal(reports.n, REPORTS_MAX - 2 + 1);
        reports_drop(&reports, reporter);
        assert_int_equal(reports.n, 1);
        span = reports_take(&reports, other, 2 * MS + 1);
        assert_string_equal(told_name(span), "new");
        span_free(span);
        assert_null(reports_take(&reports, other, 2 * MS + 1));
        reports_deinit(&reports);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(our_monitor),
                cmocka_unit_test(unseen_ends),
                cmocka_unit_test(our_silent_monitor),
                cmocka_unit_test(not_roots_monitor),
                cmocka_unit_test(conmon),
                cmocka_unit_test(conmonrs),
                cmocka_unit_test(youki),
                cmocka_unit_test(second_source),
                cmocka_unit_test(oom_victims),
                cmocka_unit_test(found),
                cmocka_unit_test(found_after_loss),
                cmocka_unit_test(users_start),
                cmocka_unit_test(work),
                cmocka_unit_test(engine),
                cmocka_unit_test(engine_computes),
                cmocka_unit_test(monitor_killed),
                cmocka_unit_test(monitor_killed_after_the_end),
                cmocka_unit_test(monitor_left),
                cmocka_unit_test(failed_start),
                cmocka_unit_test(monitor_does_not_know),
                cmocka_unit_test(monitors_child_killed),
                cmocka_unit_test(found_monitor_killed),
                cmocka_unit_test(wrapper_killed),
                cmocka_unit_test(wrapper_reports),
                cmocka_unit_test(reports_are_bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
