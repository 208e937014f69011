/* Recorded event streams, as they were, reordered, with gaps and with pids used again, and what the story makes of
 * them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "recording.h"
#include "story.h"
#include "told.h"

#define RUNC_MAIN "42eb5fbb5a97659ff87299828784875f9a8f94553e23107f50a3cf179bae9913"
#define CRUN_MAIN "0d6bc79648f4ee5dbb0032b3e298d929995e390e3ad6520dc3d712725ef86b71"
#define SLOW_NS   NSEC_PER_SEC
#define WINDOW_NS (15 * 60 * NSEC_PER_SEC)

static const char *recordings;

static Told told;
static Recording recording;
static char hook_paths[3][BUNDLE_HOOK_PATH_MAX + 1]; /* fast, slow, stop */

static int find(void *userdata, const Command *command, uint64_t time_ns, StoryOrigin *ret) {
        static Bundle bundle;

        (void) userdata;
        (void) time_ns;
        bundle = (Bundle){ .n_hooks = 3 };
        for (size_t i = 0; i < 3; i++) {
                bundle.hooks[i].stage = i < 2 ? BUNDLE_CREATE_RUNTIME : BUNDLE_POSTSTOP;
                memcpy(bundle.hooks[i].path, hook_paths[i], sizeof(hook_paths[i]));
        }
        return told_origin(command, MANAGER_CONTAINERD, &bundle, ret);
}

static const StoryHost host = {
        .find = find, .root = told_root, .emit = told_emit, .counted = told_counted, .userdata = &told
};

/* Feeds the event from a buffer of its exact size. */
static void feed(Story *story, const Recorded *recorded) {
        const Clk now = { .realtime_ns = UINT64_C(1700000000) * NSEC_PER_SEC + recorded->event.time_ns,
                          .monotonic_ns = recorded->event.time_ns };
        char *data = malloc(recorded->size + 1);
        int r;

        assert_non_null(data);
        if (recorded->size > 0)
                memcpy(data, recorded->data, recorded->size);
        data = realloc(data, recorded->size > 0 ? recorded->size : 1);
        r = story_event(story, &recorded->event, data, recorded->size, &now);
        free(data);
        assert_true(r == 0);
}

static Story *new_story(void) {
        Story *story;

        assert_int_equal(story_new(&host, SLOW_NS, WINDOW_NS, &story), 0);
        return story;
}

static void read_recording(const char *name) {
        static const char *const hooks[] = { "/fast-hook", "/slow-hook", "/stop-hook" };
        char path[512];

        recording_free(&recording);
        (void) snprintf(path, sizeof(path), "%s/%s", recordings, name);
        assert_int_equal(recording_read(path, &recording), 0);
        assert_true(recording.n > 100);

        for (size_t i = 0; i < recording.n; i++)
                for (size_t k = 0; k < 3 && recording.events[i].event.type == EVENT_EXEC; k++) {
                        const Recorded *recorded = &recording.events[i];
                        size_t len = recorded->event.file_size, tail = strlen(hooks[k]) + 1;

                        if (len > tail && strcmp(recorded->data + len - tail, hooks[k]) == 0)
                                memcpy(hook_paths[k], recorded->data, len);
                }
}

/* What must be true of any stream whatever: nobody's span is under somebody else's. */
static void check_parents(void) {
        for (size_t i = 0; i < told.n; i++) {
                const Span *span = told.spans[i], *parent = told_parent(&told, span);

                assert_true(span->start_ns <= span->end_ns);
                assert_true(*told_text(span, "container.id") != '\0');
                if (parent) {
                        assert_string_equal(told_text(parent, "container.id"), told_text(span, "container.id"));
                        assert_memory_equal(parent->context.trace_id, span->context.trace_id, 16);
                        assert_true(parent->start_ns <= span->start_ns);
                }
        }
}

static const Span *find_span(const char *id, const char *name, const char *parent) {
        for (size_t i = 0; i < told.n; i++) {
                const Span *above = told_parent(&told, told.spans[i]);

                if (strcmp(told_text(told.spans[i], "container.id"), id) == 0 &&
                    strcmp(told_name(told.spans[i]), name) == 0 &&
                    (above && parent ? strcmp(told_name(above), parent) == 0 : !above && !parent))
                        return told.spans[i];
        }
        return NULL;
}

typedef struct Expected {
        const char *name, *parent, *stage;
        uint64_t min_ms, max_ms; /* as the recording has it, from exec to exit */
} Expected;

static const Expected runc_spans[] = {
        { "runc create", NULL, "", 132, 133 },
        { "start-up", "runc create", "", 10, 11 },
        { "cgroup set-up", "runc create", "", 0, 30 },
        { "init bootstrap", "runc create", "", 0, 13 },
        { "namespaces", "runc create", "", 0, 1 },
        { "mounts", "runc create", "", 60, 62 },
        { "fast-hook", "runc create", "createRuntime", 2, 3 },
        { "slow-hook", "runc create", "createRuntime", 33, 34 },
        { "sleep", "slow-hook", "", 31, 32 },
        { "state saved", "runc create", "", 10, 11 },
        { "entrypoint", NULL, "", 20, 21 },
        { "created", "entrypoint", "", 12, 13 },
        { "starting", "entrypoint", "", 8, 9 },
        { "runc start", NULL, "", 8, 9 },
        { "wait_for_exit_code", NULL, "", 64, 65 },
        { "runc kill", NULL, "", 7, 14 },
        { "runc delete", NULL, "", 10, 11 },
        { "stop-hook", "runc delete", "poststop", 0, 1 },
        {},
};

static const Expected crun_spans[] = {
        { "conmon", NULL, "", 96, 98 },
        { "start-up", "conmon", "", 12, 13 },
        { "monitor set-up", "conmon", "", 6, 7 },
        { "crun create", "conmon", "", 77, 78 },
        { "fast-hook", "crun create", "createRuntime", 0, 1 },
        { "slow-hook", "crun create", "createRuntime", 32, 33 },
        { "sleep", "slow-hook", "", 30, 31 },
        { "state saved", "crun create", "", 1, 2 },
        { "entrypoint", NULL, "", 15, 16 },
        { "crun start", NULL, "", 5, 6 },
        { "wait_for_exit_code", NULL, "", 70, 71 },
        { "crun kill", NULL, "", 4, 8 },
        { "crun delete", NULL, "", 9, 10 },
        { "stop-hook", "crun delete", "poststop", 0, 1 },
        {},
};

static const struct {
        const char *file, *id;
        const Expected *spans;
} recorded_runs[] = {
        { "containerd-runc.txt", RUNC_MAIN, runc_spans },
        { "crio-crun.txt", CRUN_MAIN, crun_spans },
};

static void check_spans(const char *id, const Expected *expected) {
        for (; expected->name; expected++) {
                const Span *span = find_span(id, expected->name, expected->parent);
                uint64_t ms;

                if (!span)
                        fail_msg("no %s under %s", expected->name, expected->parent ? expected->parent : "nothing");
                ms = (span->end_ns - span->start_ns) / NSEC_PER_MSEC;
                if (ms < expected->min_ms || ms > expected->max_ms)
                        fail_msg("%s took %" PRIu64 " ms", expected->name, ms);
                assert_string_equal(told_text(span, "oci.hook.stage"), expected->stage);
        }
}

static void as_recorded(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(recorded_runs); i++) {
                Story *story = new_story();

                read_recording(recorded_runs[i].file);
                for (size_t k = 0; k < recording.n; k++)
                        feed(story, &recording.events[k]);
                check_spans(recorded_runs[i].id, recorded_runs[i].spans);
                check_parents();

                /* A probe that went well and quickly is counted; the entrypoint's end is told by signal. */
                assert_true(told.n_counted >= 1);
                assert_null(find_span(recorded_runs[i].id, i == 0 ? "runc exec" : "crun exec", NULL));
                assert_int_equal(
                        told_number(find_span(recorded_runs[i].id, "wait_for_exit_code", NULL), "process.exit.code"),
                        137);
                story_free(story);
                told_forget(&told);
        }
}

/* Feeds all events but number @gap (and @gap2), with number @swapped and its successor exchanged; SIZE_MAX: none. */
static void run_with(Story *story, size_t gap, size_t gap2, size_t swapped) {
        for (size_t k = 0; k < recording.n; k++) {
                size_t from = k == swapped && k + 1 < recording.n ? k + 1 : k == swapped + 1 && k > 0 ? swapped : k;

                if (from != gap && from != gap2)
                        feed(story, &recording.events[from]);
        }
}

static void reordered(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(recorded_runs); i++) {
                read_recording(recorded_runs[i].file);
                for (size_t k = 0; k + 1 < recording.n; k++) {
                        Story *story = new_story();

                        run_with(story, SIZE_MAX, SIZE_MAX, k);
                        check_parents();
                        story_free(story);
                        told_forget(&told);
                }
        }
}

static void gaps(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(recorded_runs); i++) {
                read_recording(recorded_runs[i].file);
                for (size_t k = 0; k < recording.n; k++) {
                        Story *story = new_story();

                        run_with(story, k, (k * 7919 + 13) % recording.n, SIZE_MAX);
                        check_parents();
                        story_free(story);
                        told_forget(&told);
                }
        }
}

/* The same pids again, 20 seconds later, and not one exit of the first time was seen. */
static void pids_used_again(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(recorded_runs); i++) {
                Story *story = new_story();

                read_recording(recorded_runs[i].file);
                for (size_t k = 0; k < recording.n; k++)
                        if (recording.events[k].event.type != EVENT_EXIT)
                                feed(story, &recording.events[k]);
                told_forget(&told);
                for (size_t k = 0; k < recording.n; k++) {
                        recording.events[k].event.start_ns += 20 * NSEC_PER_SEC;
                        recording.events[k].event.time_ns += 20 * NSEC_PER_SEC;
                        feed(story, &recording.events[k]);
                }
                for (const Expected *expected = recorded_runs[i].spans; expected->name; expected++)
                        assert_non_null(find_span(recorded_runs[i].id, expected->name, expected->parent));
                check_parents();
                story_free(story);
                told_forget(&told);
        }
}

static void losses_are_marked(void **state) {
        Story *story = new_story();
        const Span *create;

        (void) state;
        read_recording("containerd-runc.txt");
        for (size_t k = 0; k < recording.n; k++) {
                const Recorded *recorded = &recording.events[k];

                feed(story, recorded);
                if (recorded->event.type == EVENT_EXEC && recorded->event.file_size > 10 &&
                    strcmp(recorded->data, hook_paths[0]) == 0)
                        story_lost(story);
        }
        create = find_span(RUNC_MAIN, "runc create", NULL);
        assert_non_null(create);
        assert_int_equal(told_number(create, "podspan.incomplete"), 1);
        assert_int_equal(told_number(find_span(RUNC_MAIN, "runc start", NULL), "podspan.incomplete"), -1);
        story_free(story);
        told_forget(&told);
}

/* A command whose processes were not all followed says so; one that is let go has no end, and no span. */
static void crowded(void **state) {
        static const struct {
                uint16_t flags;
                bool told, incomplete;
        } cases[] = { { 0, true, false }, { EVENT_CROWDED, true, true }, { EVENT_LET_GO, false, false } };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Story *story = new_story();
                const Span *create;

                read_recording("containerd-runc.txt");
                for (size_t k = 0; k < recording.n; k++) {
                        if (recording.events[k].event.pid == 21017 && recording.events[k].event.type == EVENT_EXIT)
                                recording.events[k].event.flags |= cases[i].flags;
                        feed(story, &recording.events[k]);
                }
                create = find_span(RUNC_MAIN, "runc create", NULL);
                assert_int_equal(create != NULL, cases[i].told);
                if (create)
                        assert_int_equal(told_number(create, "podspan.incomplete"), cases[i].incomplete ? 1 : -1);
                assert_non_null(find_span(RUNC_MAIN, "runc start", NULL));
                check_parents();
                story_free(story);
                told_forget(&told);
        }
}

/* An exit long after the start has a trace of its own, which leads back. */
static void late_exit(void **state) {
        Story *story = new_story();
        const Span *wait, *create;

        (void) state;
        read_recording("containerd-runc.txt");
        for (size_t k = 0; k < recording.n; k++) {
                if (recording.events[k].event.pid == 21030 && recording.events[k].event.type == EVENT_EXIT)
                        recording.events[k].event.time_ns += WINDOW_NS + NSEC_PER_SEC;
                feed(story, &recording.events[k]);
        }
        wait = find_span(RUNC_MAIN, "wait_for_exit_code", NULL);
        create = find_span(RUNC_MAIN, "runc create", NULL);
        assert_non_null(wait);
        assert_memory_not_equal(wait->context.trace_id, create->context.trace_id, 16);
        assert_int_equal(wait->n_links, 1);
        assert_memory_equal(wait->links[0].to.span_id, create->context.span_id, 8);
        story_free(story);
        told_forget(&told);
}

/* A probe that fails, and one that is slow, has its spans: the first as a root, for its call has none. */
static void probes(void **state) {
        static const struct {
                int status;
                uint64_t later_ns;
                bool told;
        } cases[] = {
                { 0, 0, false },
                { 1 << 8, 0, true },
                { 0, SLOW_NS, true },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Story *story = new_story();
                const Span *exec;

                read_recording("containerd-runc.txt");
                for (size_t k = 0; k < recording.n; k++) {
                        Event *event = &recording.events[k].event;

                        if (event->pid == 21093 && event->type == EVENT_EXIT) {
                                event->status = cases[i].status;
                                event->time_ns += cases[i].later_ns;
                        }
                        feed(story, &recording.events[k]);
                }
                exec = find_span(RUNC_MAIN, "runc exec", NULL);
                assert_int_equal(exec != NULL, cases[i].told);
                if (exec) {
                        /* The host knew of no start: it leads back to what has been seen. */
                        assert_int_equal(exec->n_links, 1);
                        assert_memory_equal(exec->links[0].to.span_id,
                                            find_span(RUNC_MAIN, "runc create", NULL)->context.span_id, 8);
                }
                check_parents();
                story_free(story);
                told_forget(&told);
        }
}

static void bounded(void **state) {
        Story *story = new_story();
        Recorded shim;

        (void) state;
        read_recording("containerd-runc.txt");
        for (size_t k = 0; k < recording.n; k++) {
                shim = recording.events[k];
                if (shim.event.type == EVENT_EXEC && strncmp(shim.event.comm, "containerd-shim", 15) == 0)
                        break;
        }
        feed(story, &shim);
        for (uint32_t i = 0; i < 3 * STORY_PROCESSES_MAX; i++) {
                Recorded fork = { .event = { .type = EVENT_FORK,
                                             .pid = (UINT32_C(4) << 20) - 1 - i,
                                             .parent = shim.event.pid,
                                             .start_ns = i * NSEC_PER_SEC,
                                             .time_ns = shim.event.time_ns + i } };

                feed(story, &fork);
        }
        assert_true(story_stats(story).n_processes <= STORY_PROCESSES_MAX);
        assert_true(story_stats(story).n_dropped > 0);
        story_free(story);
        told_forget(&told);
}

/* One command with ever more children: its spans are bounded. */
static void bounded_children(void **state) {
        Story *story = new_story();
        Recorded create = {};

        (void) state;
        read_recording("containerd-runc.txt");
        for (size_t k = 0; k < recording.n; k++)
                if (recording.events[k].event.pid == 21017 && recording.events[k].event.type == EVENT_EXEC)
                        create = recording.events[k];
        feed(story, &create);
        for (uint32_t i = 0; i < 3 * STORY_CHILDREN_MAX; i++) {
                Event event = {
                        .pid = 1000000 + i, .parent = 21017, .start_ns = i, .time_ns = create.event.time_ns + i
                };
                char file[] = "/bin/true";

                for (EventType type = EVENT_FORK; type <= EVENT_EXIT; type++) {
                        event.type = type;
                        event.file_size = type == EVENT_EXEC ? sizeof(file) : 0;
                        feed(story, &(Recorded){ event, file, event.file_size });
                }
        }
        assert_int_equal(told.n, STORY_CHILDREN_MAX);
        story_free(story);
        told_forget(&told);
}

static bool all_gone(void *userdata, uint32_t pid, uint64_t start_ns) {
        (void) userdata;
        (void) pid;
        (void) start_ns;
        return true;
}

static void pruned(void **state) {
        Story *story = new_story();

        (void) state;
        read_recording("crio-crun.txt");
        for (size_t k = 0; k < recording.n / 2; k++)
                feed(story, &recording.events[k]);
        assert_true(story_stats(story).n_processes > 0);
        story_note_gone(story, all_gone, NULL);
        story_forget_gone(story);
        assert_int_equal(story_stats(story).n_processes, 0);
        check_parents();
        story_free(story);
        told_forget(&told);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(as_recorded),
                cmocka_unit_test(reordered),
                cmocka_unit_test(gaps),
                cmocka_unit_test(pids_used_again),
                cmocka_unit_test(losses_are_marked),
                cmocka_unit_test(crowded),
                cmocka_unit_test(late_exit),
                cmocka_unit_test(probes),
                cmocka_unit_test(bounded),
                cmocka_unit_test(bounded_children),
                cmocka_unit_test(pruned),
        };
        int r;

        if (argc != 2) {
                (void) fprintf(stderr, "usage: %s RECORDINGS\n", argv[0]);
                return 2;
        }
        recordings = argv[1];
        r = cmocka_run_group_tests(tests, NULL, NULL);
        recording_free(&recording);
        return r;
}
