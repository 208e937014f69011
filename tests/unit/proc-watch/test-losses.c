/*
 * Made-up nodes: an engine with many pods at a time, their processes in random order, few pids that are used again at
 * once, and random losses: single ones, whole stretches, all events of one type for a while, whatever finds the
 * reader's queue full. The reader is late: it learns of a loss when it reads what came before, and looks for what runs
 * while events wait. Whatever is lost, a span's parent is the right one or none, and its container is its own.
 */

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "story.h"
#include "told.h"

#define PODS       24   /* at a time */
#define STEPS_MAX  128  /* of a pod */
#define PROCS_MAX  48   /* of a pod */
#define PIDS       240  /* of all; the pods at a time need a little less */
#define TRUTHS_MAX 8192 /* commands of a run */
#define RUNS       150
#define BATCH_MAX  24 /* events between two losses at most, where many are lost */
#define QUEUE_MAX  96 /* events that wait for the reader */

/* xorshift64: the same on every machine. */
static uint64_t seed;

static uint32_t draw(uint32_t below) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (uint32_t) (seed >> 33) % below;
}

/* What is to happen to process @proc of a pod; @by forks it. */
typedef struct Step {
        EventType type;
        uint32_t flags;
        int proc, by;
        int status;
        const char *file, *args, *env; /* NULs as '~'; '%' is the container's id */
} Step;

/* One pod; process 0 is the engine. A comment names who is who. */
static const Step script[] = {
        /* 1: bridge, 2: host-local below it */
        { EVENT_FORK, 0, 1, 0, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 1, 0, 0, "/cni/bridge", "bridge~",
          "CNI_COMMAND=ADD~CNI_CONTAINERID=%~CNI_ARGS=K8S_POD_UID=uid~" },
        { EVENT_FORK, 0, 2, 1, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 2, 0, 0, "/cni/host-local", "host-local~",
          "CNI_COMMAND=ADD~CNI_CONTAINERID=%~CNI_ARGS=K8S_POD_UID=uid~" },
        { EVENT_EXIT, 0, 2, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 1, 0, 0, NULL, NULL, NULL },
        /* 3: shim start, 4: the shim */
        { EVENT_FORK, 0, 3, 0, 0, NULL, NULL, NULL },
        { EVENT_EXEC, EVENT_NAMED, 3, 0, 0, "/bin/containerd-shim-runc-v2", "shim~-id~%~start~", "" },
        { EVENT_FORK, 0, 4, 3, 0, NULL, NULL, NULL },
        { EVENT_EXEC, EVENT_NAMED, 4, 0, 0, "/bin/containerd-shim-runc-v2", "shim~-id~%~", "" },
        { EVENT_EXIT, 0, 3, 0, 0, NULL, NULL, NULL },
        /* 5: runc create, 6: runc init, 7: the container's first process */
        { EVENT_FORK, 0, 5, 4, 0, NULL, NULL, NULL },
        { EVENT_EXEC, EVENT_NAMED, 5, 0, 0, "/bin/runc", "runc~create~--bundle~/b~%~", "" },
        { EVENT_EXEC, 0, 5, 0, 0, "/dev/fd/7", "runc~create~--bundle~/b~%~", "" },
        { EVENT_FORK, 0, 6, 5, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 6, 0, 0, "/proc/self/exe", "runc~init~", "" },
        { EVENT_FORK, 0, 7, 6, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 6, 0, 0, NULL, NULL, NULL },
        /* 8: a hook that is a script, 9 to 11 below it; 12: another one, which becomes another program */
        { EVENT_FORK, 0, 8, 5, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 8, 0, 0, "/hook", "/bin/sh~/hook~", "" },
        { EVENT_FORK, 0, 9, 8, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 9, 0, 0, "/bin/sleep", "sleep~1~", "" },
        { EVENT_FORK, 0, 10, 8, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 10, 0, 0, "/bin/mount", "mount~", "" },
        { EVENT_FORK, 0, 11, 10, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 11, 0, 0, "/sbin/mount.nfs", "mount.nfs~", "" },
        /* 24: a subshell, 25: what it runs */
        { EVENT_FORK, 0, 24, 8, 0, NULL, NULL, NULL },
        { EVENT_FORK, 0, 25, 24, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 25, 0, 0, "/bin/cat", "cat~", "" },
        { EVENT_EXIT, 0, 25, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 24, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 9, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 11, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 10, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 8, 0, 0, NULL, NULL, NULL },
        { EVENT_FORK, 0, 12, 5, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 12, 0, 0, "/wrapper", "wrapper~", "" },
        { EVENT_EXEC, EVENT_NAMED, 12, 0, 0, "/bin/crun", "crun~update~%~", "" },
        { EVENT_FORK, 0, 13, 12, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 13, 0, 0, "/bin/true", "true~", "" },
        { EVENT_EXIT, 0, 13, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 12, 0, 256, NULL, NULL, NULL },
        /* 21: a hook that runs a container of its own: 22: crun, 23: that container's first process */
        { EVENT_FORK, 0, 21, 5, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 21, 0, 0, "/nesting", "nesting~", "" },
        { EVENT_FORK, 0, 22, 21, 0, NULL, NULL, NULL },
        { EVENT_EXEC, EVENT_NAMED, 22, 0, 0, "/bin/crun", "crun~run~--bundle~/n~inner-%~", "" },
        { EVENT_FORK, 0, 23, 22, 0, NULL, NULL, NULL },
        { EVENT_EXEC, EVENT_ENTRYPOINT, 23, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, EVENT_CONTAINER, 23, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 22, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 21, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 5, 0, 0, NULL, NULL, NULL },
        /* 14: runc start */
        { EVENT_FORK, 0, 14, 4, 0, NULL, NULL, NULL },
        { EVENT_EXEC, EVENT_NAMED, 14, 0, 0, "/bin/runc", "runc~start~%~", "" },
        { EVENT_EXEC, EVENT_ENTRYPOINT, 7, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 14, 0, 0, NULL, NULL, NULL },
        /* 15: a monitor of another kind, 16: crun below it, 17: its hook */
        { EVENT_FORK, 0, 15, 0, 0, NULL, NULL, NULL },
        { EVENT_EXEC, EVENT_NAMED, 15, 0, 0, "/bin/conmon", "conmon~-c~%~-b~/b~", "" },
        { EVENT_FORK, 0, 16, 15, 0, NULL, NULL, NULL },
        { EVENT_EXEC, EVENT_NAMED, 16, 0, 0, "/bin/crun", "crun~create~--bundle~/b~%~", "" },
        { EVENT_FORK, 0, 17, 16, 0, NULL, NULL, NULL },
        { EVENT_EXEC, 0, 17, 0, 0, "/hook", "hook~", "" },
        { EVENT_EXIT, 0, 17, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 16, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 15, 0, 0, NULL, NULL, NULL },
        /* 18: a probe that fails, 19: its process */
        { EVENT_FORK, 0, 18, 4, 0, NULL, NULL, NULL },
        { EVENT_EXEC, EVENT_NAMED, 18, 0, 0, "/bin/runc", "runc~exec~%~", "" },
        { EVENT_FORK, 0, 19, 18, 0, NULL, NULL, NULL },
        { EVENT_EXEC, EVENT_ENTRYPOINT, 19, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, EVENT_CONTAINER, 19, 0, 256, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 18, 0, 256, NULL, NULL, NULL },
        { EVENT_EXIT, EVENT_CONTAINER, 7, 0, 9, NULL, NULL, NULL },
        /* 20: runc delete */
        { EVENT_FORK, 0, 20, 4, 0, NULL, NULL, NULL },
        { EVENT_EXEC, EVENT_NAMED, 20, 0, 0, "/bin/runc", "runc~delete~%~", "" },
        { EVENT_EXIT, 0, 20, 0, 0, NULL, NULL, NULL },
        { EVENT_EXIT, 0, 4, 0, 0, NULL, NULL, NULL },
};

/* Who of the script is below whom, where that one has a span; 0: nobody. */
static const int above[PROCS_MAX] = {
        [2] = 1, [8] = 5, [9] = 8, [10] = 8, [11] = 10, [12] = 5, [13] = 12, [16] = 15, [17] = 16, [21] = 5, [25] = 8
};

static bool is_inner(int proc) {
        return proc == 22 || proc == 23;
}

/* What is lost. */
typedef enum Loss {
        LOSS_SINGLE,
        LOSS_STRETCH,
        LOSS_FORKS, /* of a stretch */
        LOSS_EXECS,
        LOSS_EXITS,
        LOSS_FULL, /* what finds the queue full, and nothing else */
        _LOSS_MAX,
} Loss;

typedef struct Waiting {
        Event event;
        char *data; /* of exactly its size */
        size_t size;
} Waiting;

typedef struct Proc {
        uint32_t pid;
        uint64_t start_ns;
        uint64_t command_ns; /* the exec that made it what it is */
        bool ended;
} Proc;

typedef struct Pod {
        char id[24];
        size_t next; /* step */
        Proc procs[PROCS_MAX];
} Pod;

/* A command that has really been: which span it may have, and which parent. */
typedef struct Truth {
        uint32_t pid, parent_pid;
        uint64_t begin_ns, parent_ns; /* wall clock, of the execs */
        char id[32];
} Truth;

static struct {
        Pod pods[PODS];
        bool pid_used[PIDS];
        uint32_t last_pid;
        uint64_t now_ns;
        unsigned serial;
        Proc engine;
        Truth truths[TRUTHS_MAX];
        size_t n_truths;
        Waiting queue[QUEUE_MAX];
        size_t n_queue;
        size_t n_incomplete;
        uint32_t n_lost, n_noticed;
} node;

static Told told;
static const Clk offset = { .realtime_ns = UINT64_C(1700000000) * NSEC_PER_SEC, .monotonic_ns = 0 };

static int find(void *userdata, const Command *command, uint64_t time_ns, StoryOrigin *ret) {
        (void) userdata;
        (void) time_ns;
        return told_origin(command, MANAGER_CONTAINERD, NULL, ret);
}

static const StoryHost host = {
        .find = find, .root = told_root, .emit = told_emit, .counted = told_counted, .userdata = &told
};

static Proc new_proc(void) {
        uint32_t pid = node.last_pid;

        do
                pid = (pid + 1 + draw(3)) % PIDS;
        while (pid == 0 || node.pid_used[pid]);
        node.pid_used[pid] = true;
        node.last_pid = pid;
        return (Proc){ pid + 1000, node.now_ns };
}

static size_t put(char *to, const char *from, const char *id) {
        char *at = to;

        for (; from && *from; from++)
                if (*from == '%')
                        at = stpcpy(at, id);
                else
                        *at++ = *from == '~' ? '\0' : *from;
        return (size_t) (at - to);
}

static void note_truth(Pod *pod, const Step *step, const Event *event) {
        Truth *truth;

        /* A runtime that executes itself again is what it was. */
        if (step->type != EVENT_EXEC || (step->file && (strstr(step->file, "/fd/") || strstr(step->file, "/self/"))))
                return;
        pod->procs[step->proc].command_ns = offset.realtime_ns + event->time_ns;
        assert_true(node.n_truths < TRUTHS_MAX);
        truth = &node.truths[node.n_truths++];
        *truth = (Truth){ .pid = event->pid, .begin_ns = offset.realtime_ns + event->time_ns };
        memcpy(stpcpy(truth->id, is_inner(step->proc) ? "inner-" : ""), pod->id, sizeof(pod->id));
        if (above[step->proc] != 0) {
                truth->parent_pid = pod->procs[above[step->proc]].pid;
                truth->parent_ns = pod->procs[above[step->proc]].command_ns;
        }
}

/* The next event of a pod that is drawn, into an exact-size buffer of the caller's. */
static char *next_event(Event *ret, size_t *ret_size) {
        static char data[4096];
        Pod *pod = &node.pods[draw(PODS)];
        const Step *step;
        Proc *proc;
        size_t size = 0;
        char *exact;

        if (!*pod->id || pod->next == ARRAY_SIZE(script)) {
                *pod = (Pod){};
                (void) snprintf(pod->id, sizeof(pod->id), "container%u", node.serial++);
                pod->procs[0] = node.engine;
        }
        step = &script[pod->next++];
        proc = &pod->procs[step->proc];
        node.now_ns += 1000 + draw(100000);

        *ret = (Event){ .type = step->type, .flags = step->flags, .time_ns = node.now_ns, .status = step->status };
        if (step->type == EVENT_FORK) {
                *proc = new_proc();
                ret->parent = pod->procs[step->by].pid;
                ret->parent_start_ns = pod->procs[step->by].start_ns;
        }
        ret->pid = proc->pid;
        ret->start_ns = proc->start_ns;
        if (step->type == EVENT_EXEC) {
                size = put(data, step->file, pod->id);
                if (step->file)
                        data[size++] = '\0';
                ret->file_size = (uint16_t) size;
                ret->args_size = (uint16_t) put(data + size, step->args, pod->id);
                ret->env_size = (uint16_t) put(data + size + ret->args_size, step->env, pod->id);
                size += ret->args_size + ret->env_size;
        }
        note_truth(pod, step, ret);
        if (step->type == EVENT_EXIT) {
                node.pid_used[proc->pid - 1000] = false;
                proc->ended = true;
        }

        exact = malloc(size > 0 ? size : 1);
        assert_non_null(exact);
        memcpy(exact, data, size);
        *ret_size = size;
        return exact;
}

/* What the process of @span was executed as at @at_ns. */
static const Truth *truth_of(const Span *span, uint64_t at_ns) {
        for (size_t i = 0; i < node.n_truths; i++)
                if (node.truths[i].pid == told_number(span, "process.pid") && node.truths[i].begin_ns == at_ns)
                        return &node.truths[i];
        return NULL;
}

/* Checks every span, and returns how many of the commands have their parent. */
static size_t check_spans(void) {
        size_t n_nested = 0;

        for (size_t i = 0; i < told.n; i++) {
                const Span *span = told.spans[i], *parent = told_parent(&told, span);
                const char *id = told_text(span, "container.id"), *name = told_name(span);

                node.n_incomplete += told_number(span, "podspan.incomplete") == 1;

                assert_true(*id != '\0');
                if (parent)
                        assert_string_equal(told_text(parent, "container.id"), id);
                if (strcmp(name, "entrypoint") == 0 || strcmp(name, "wait_for_exit_code") == 0) {
                        const Truth *truth = truth_of(span, *name == 'e' ? span->end_ns : span->start_ns);

                        if (!truth || strcmp(truth->id, id) != 0)
                                fail_msg("%s of %s is of %s", name, id, truth ? truth->id : "nobody");
                }
                if (*told_text(span, "process.executable.name")) {
                        const Truth *truth = truth_of(span, span->start_ns);

                        if (!truth)
                                fail_msg("%s has never been", name);
                        if (strcmp(truth->id, id) != 0)
                                fail_msg("%s of %s is of %s", name, id, truth->id);
                        if (parent && (told_number(parent, "process.pid") != truth->parent_pid ||
                                       parent->start_ns != truth->parent_ns))
                                fail_msg("%s is below %s, process %" PRId64 " instead of %u", name, told_name(parent),
                                         told_number(parent, "process.pid"), truth->parent_pid);
                        n_nested += parent != NULL;
                }
        }
        return n_nested;
}

/* Takes all that waits, as the source does: what has been lost by then is noticed at the end. */
static void drain(Story *story) {
        for (size_t i = 0; i < node.n_queue; i++) {
                const Waiting *waiting = &node.queue[i];

                assert_int_equal(story_event(story, &waiting->event, waiting->data, waiting->size, &offset), 0);
                free(waiting->data);
        }
        node.n_queue = 0;
        if (node.n_lost != node.n_noticed)
                story_lost(story);
        node.n_noticed = node.n_lost;
        assert_true(story_stats(story).n_processes <= PIDS);
}

static bool is_lost(Loss loss, const Event *event, uint32_t permille, uint32_t *stretch) {
        if (node.n_queue == QUEUE_MAX)
                return true;
        if (loss == LOSS_FULL)
                return false;
        if (*stretch == 0 && draw(1000) < permille)
                *stretch = loss == LOSS_SINGLE ? 1 : loss == LOSS_STRETCH ? 1 + draw(BATCH_MAX) : 4 * BATCH_MAX;
        if (*stretch == 0)
                return false;
        --*stretch;
        return (loss != LOSS_FORKS || event->type == EVENT_FORK) && (loss != LOSS_EXECS || event->type == EVENT_EXEC) &&
               (loss != LOSS_EXITS || event->type == EVENT_EXIT);
}

/* Has the process ended, and been reaped at once? */
static bool is_gone(void *userdata, uint32_t pid, uint64_t start_ns) {
        (void) userdata;
        if (pid == node.engine.pid)
                return false;
        for (size_t i = 0; i < PODS; i++)
                for (size_t k = 1; k < PROCS_MAX; k++)
                        if (node.pods[i].procs[k].pid == pid && node.pods[i].procs[k].start_ns == start_ns)
                                return node.pods[i].procs[k].ended;
        return true;
}

/* What is looked for after losses, while events wait; the shims, which the kernel has found, come in at last. */
static void resync(Story *story) {
        static const char shim[] = "/bin/containerd-shim-runc-v2\0shim\0-id\0x\0";

        story_note_gone(story, is_gone, NULL);
        drain(story);
        story_forget_gone(story);
        for (size_t i = 0; i < PODS; i++) {
                const Proc *proc = &node.pods[i].procs[4];
                const Event event = { .type = EVENT_EXEC,
                                      .flags = EVENT_NAMED | EVENT_FOUND,
                                      .n_lost = node.n_lost,
                                      .pid = proc->pid,
                                      .start_ns = proc->start_ns,
                                      .time_ns = node.now_ns,
                                      .file_size = 29,
                                      .args_size = sizeof(shim) - 1 - 29 };

                if (proc->command_ns != 0 && !proc->ended && !story_knows(story, &event))
                        assert_int_equal(story_event(story, &event, shim, sizeof(shim) - 1, &offset), 0);
        }
}

/* One node's life of @n events, of which @loss takes some where it is so drawn. Returns how many spans there were. */
static size_t run(size_t n, Loss loss, uint32_t permille, bool resyncs, size_t *ret_nested) {
        uint32_t stretch = 0;
        Story *story;
        size_t n_told;

        memset(&node, 0, sizeof(node));
        node.now_ns = NSEC_PER_SEC;
        assert_int_equal(story_new(&host, 0, UINT64_MAX, &story), 0);

        node.engine = new_proc();
        {
                static const char engine[] = "/bin/containerd\0containerd";
                const Event event = { .type = EVENT_EXEC,
                                      .flags = EVENT_NAMED,
                                      .pid = node.engine.pid,
                                      .start_ns = node.engine.start_ns,
                                      .time_ns = node.now_ns,
                                      .file_size = 16,
                                      .args_size = 11 };

                assert_int_equal(story_event(story, &event, engine, sizeof(engine), &offset), 0);
        }
        for (size_t i = 0; i < n; i++) {
                size_t size;
                Event event;
                char *data = next_event(&event, &size);

                event.n_lost = node.n_lost;
                if (is_lost(loss, &event, permille, &stretch)) {
                        node.n_lost++;
                        free(data);
                } else {
                        node.queue[node.n_queue++] = (Waiting){ event, data, size };
                }
                if (draw(loss == LOSS_FULL ? 2 * QUEUE_MAX : QUEUE_MAX / 4) == 0 ||
                    (loss != LOSS_FULL && node.n_queue == QUEUE_MAX))
                        drain(story);
                if (resyncs && draw(200) == 0)
                        resync(story);
        }
        drain(story);
        story_free(story);
        *ret_nested = check_spans();
        n_told = told.n;
        told_forget(&told);
        return n_told;
}

static void nothing_lost(void **state) {
        (void) state;
        for (uint64_t i = 1; i <= 10; i++) {
                size_t n_nested;

                seed = i;
                (void) run(3000, LOSS_SINGLE, 0, i & 1, &n_nested);
                /* Ten commands of the script are below another. */
                assert_true(n_nested > 10 * 3000 / ARRAY_SIZE(script) / 2);
                assert_int_equal(node.n_incomplete, 0);
        }
}

static void losses(void **state) {
        static const uint32_t rates[] = { 2, 20, 100, 300 };

        (void) state;
        for (uint64_t i = 1; i <= RUNS; i++) {
                size_t n_nested;

                seed = i * UINT64_C(0x9e3779b97f4a7c15);
                assert_true(run(1500, i % _LOSS_MAX, rates[i / _LOSS_MAX % ARRAY_SIZE(rates)], true, &n_nested) > 0);
                assert_true(node.n_incomplete > 0 || node.n_lost == 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nothing_lost),
                cmocka_unit_test(losses),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
