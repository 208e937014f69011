/* How a container's process died: records of the kernel side in, facts and the verdict out. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "death.h"
#include "util.h"

#define UID  "1a2b3c4d-0000-1111-2222-333344445555"
#define UID_ "1a2b3c4d_0000_1111_2222_333344445555"
#define ID   "0d6bc79648f4ee5dbb0032b3e298d929995e390e3ad6520dc3d712725ef86b71"
#define POD  "ad6bc79648f4ee5dbb0032b3e298d929995e390e3ad6520dc3d712725ef86b71"
#define END  (100 * NSEC_PER_SEC)
#define WALL (UINT64_C(1700000000) * NSEC_PER_SEC)

static void none(EventDeath *ret) {
        assert_int_equal(death_parse(NULL, 0, ret), 0);
        ret->flags = EVENT_DEATH_SIGNALS | EVENT_DEATH_VICTIMS;
}

/* At each size but the right one there is nothing; strings end. */
static void parse(void **state) {
        EventDeath death;
        EventVictim victim;

        (void) state;
        assert_int_equal(death_parse(NULL, 0, &death), 0);
        assert_int_equal(death.flags, 0);
        assert_int_equal(death.memory[EVENT_MEMORY_KILL], -1);
        assert_int_equal(death.throttled_ns, -1);
        assert_int_equal(death_parse_victim(NULL, 0, &victim), -EBADMSG);
        for (size_t size = 1; size <= sizeof(death) + 1; size++) {
                char *data = malloc(size);

                assert_non_null(data);
                memset(data, 0xff, size);
                assert_int_equal(death_parse(data, size, &death), size == sizeof(death) ? 0 : -EBADMSG);
                assert_int_equal(death_parse_victim(data, size, &victim), size == sizeof(victim) ? 0 : -EBADMSG);
                if (size == sizeof(death)) {
                        assert_int_equal(death.fatal.sender, EVENT_SENDER_NONE);
                        assert_int_equal(strlen(death.fatal.comm), EVENT_COMM_SIZE - 1);
                        assert_int_equal(strlen(death.asked.group), EVENT_GROUP_MAX - 1);
                        assert_int_equal(strlen(death.parent_comm), EVENT_COMM_SIZE - 1);
                }
                if (size == sizeof(victim))
                        assert_int_equal(strlen(victim.group), EVENT_GROUP_MAX - 1);
                free(data);
        }
}

static void scopes(void **state) {
        static const struct {
                int container, limit;
                const char *group, *uid;
                VerdictScope scope;
        } cases[] = {
                { 0, 0, ID, UID, VERDICT_SCOPE_CONTAINER },
                { 2, 0, "app.service", UID, VERDICT_SCOPE_CONTAINER }, /* a limit that the container has made itself */
                { 0, 1, "libpod-" ID ".scope", "", VERDICT_SCOPE_CONTAINER },
                { 0, 1, "pod" UID, UID, VERDICT_SCOPE_POD },
                { 0, 1, "kubepods-burstable-pod" UID_ ".slice", UID, VERDICT_SCOPE_POD },
                { -1, 1, "pod" UID, UID, VERDICT_SCOPE_POD },
                { 0, 1, "pod" UID, "", VERDICT_SCOPE_POD },
                { 0, 1, "machine-libpod_pod_" POD ".slice", "", VERDICT_SCOPE_POD },
                { 0, 1, POD, "", VERDICT_SCOPE_POD },
                { 0, 2, "burstable", UID, VERDICT_SCOPE_GROUP },
                { 0, 1, "pod" ID, UID, VERDICT_SCOPE_CONTAINER },
                { 0, 1, "podother", UID, VERDICT_SCOPE_GROUP },
                { 0, 1, "machine.slice", "", VERDICT_SCOPE_GROUP },
                { 0, 3, "", "", VERDICT_SCOPE_GROUP },
                { 0, EVENT_LEVEL_NONE, "", UID, VERDICT_SCOPE_NODE },
                { 0, EVENT_LEVEL_UNKNOWN, "", UID, VERDICT_SCOPE_UNKNOWN },
                { 0, INT32_MIN, "", UID, VERDICT_SCOPE_UNKNOWN },
                { -1, 0, "machine.slice", "", VERDICT_SCOPE_UNKNOWN }, /* the container has no cgroup of its own */
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                EventVictim victim = { .container_level = cases[i].container, .limit_level = cases[i].limit };

                util_copy_bounded(victim.group, sizeof(victim.group), cases[i].group, strlen(cases[i].group));
                if (death_scope(&victim, ID, cases[i].uid) != cases[i].scope)
                        fail_msg("case %zu: %d", i, death_scope(&victim, ID, cases[i].uid));
        }
}

static void victims(void **state) {
        DeathVictims *list = NULL;
        Event event = { .time_ns = 5, .pid = 7, .start_ns = 70, .comm = "eater" }, other = event;
        const EventVictim victim = { .rss_pages = 3, .limit_pages = 4 },
                          huge = { .rss_pages = -12, .limit_pages = UINT64_MAX };

        (void) state;
        other.start_ns++;
        assert_null(death_find(list, &event));
        assert_int_equal(death_note(&list, &event, &victim, VERDICT_SCOPE_POD), 0);
        assert_ptr_equal(death_find(list, &event), &list->items[0]);
        assert_null(death_find(list, &other));
        assert_string_equal(list->items[0].program, "eater");
        assert_int_equal(list->items[0].rss_bytes, 3 * sysconf(_SC_PAGESIZE));
        assert_int_equal(list->items[0].limit_bytes, 4 * sysconf(_SC_PAGESIZE));
        assert_int_equal(death_note(&list, &other, &huge, VERDICT_SCOPE_POD), 0);
        assert_int_equal(list->items[1].rss_bytes, 0);
        assert_int_equal(list->items[1].limit_bytes, 0);
        for (size_t i = 2; i < DEATH_VICTIMS_MAX + 3; i++)
                assert_int_equal(death_note(&list, &event, &victim, VERDICT_SCOPE_POD), 0);
        assert_int_equal(list->n, DEATH_VICTIMS_MAX);
        assert_int_equal(list->n_dropped, 3);
        free(list);
}

typedef struct Case {
        const char *what;
        int status;
        EventSignal fatal, core, asked;
        uint32_t ignored;
        uint16_t flags;
        VerdictScope scope;
        bool in_pod, lost, unseen;
        Verdict verdict;
        uint32_t missing;
        int signal; /* of the decision */
} Case;

#define SIGNAL(nr, from, name) \
        { .time_ns = END, .signal = (nr), .sender = EVENT_SENDER_##from, .comm = (name), .pid = 40, .uid = 1000 }
#define ASKED(nr, name, ago_s, is_ignored)                                                                           \
        {                                                                                                            \
                .time_ns = END - (ago_s) *NSEC_PER_SEC, .signal = (nr), .sender = EVENT_SENDER_HOST, .comm = (name), \
                .ignored = (is_ignored)                                                                              \
        }

static const Case cases[] = {
        { "exit 0", 0, .verdict = VERDICT_COMPLETED },
        { "exit 7", 7 << 8, .verdict = VERDICT_EXITED },
        { "exit 137 is no signal", 137 << 8, .verdict = VERDICT_EXITED },
        { "exit 0, signals not seen for long enough", 0, .unseen = true, .missing = VERDICT_MISSING_STOP },
        { "a host process", SIGKILL, .fatal = SIGNAL(SIGKILL, HOST, "bash"), .verdict = VERDICT_KILLED,
          .signal = SIGKILL },
        { "another container", SIGKILL, .fatal = SIGNAL(SIGKILL, CONTAINER, "runc"), .verdict = VERDICT_KILLED,
          .signal = SIGKILL },
        { "itself", SIGUSR1, .fatal = SIGNAL(SIGUSR1, SELF, "sh"), .verdict = VERDICT_KILLED, .signal = SIGUSR1 },
        { "its parent's death", SIGTERM, .fatal = SIGNAL(SIGTERM, PARENT, "runc"), .verdict = VERDICT_KILLED,
          .signal = SIGTERM },
        { "a fault", SIGSEGV | 0x80, .core = SIGNAL(SIGSEGV, KERNEL, ""), .verdict = VERDICT_CRASHED,
          .signal = SIGSEGV },
        { "abort", SIGABRT, .core = SIGNAL(SIGABRT, SELF, "sh"), .verdict = VERDICT_CRASHED, .signal = SIGABRT },
        { "abort by process 1", SIGSEGV, .core = SIGNAL(SIGSEGV, KERNEL, ""), .ignored = SIGABRT,
          .verdict = VERDICT_CRASHED, .signal = SIGABRT },
        { "SEGV by a person", SIGSEGV, .core = SIGNAL(SIGSEGV, HOST, "bash"), .verdict = VERDICT_KILLED,
          .signal = SIGSEGV },
        { "a blocked QUIT, then KILL", SIGKILL, .fatal = SIGNAL(SIGKILL, HOST, "bash"),
          .core = SIGNAL(SIGQUIT, CONTAINER, "sh"), .verdict = VERDICT_KILLED, .signal = SIGKILL },
        { "seccomp", SIGKILL, .missing = VERDICT_MISSING_SENDER },
        { "TERM honoured", 0, .asked = ASKED(SIGTERM, "runc", 2, false), .verdict = VERDICT_STOPPED,
          .missing = VERDICT_MISSING_CLIENT },
        { "TERM honoured, kubelet's", 0, .asked = ASKED(SIGTERM, "runc", 2, false), .in_pod = true,
          .missing = VERDICT_MISSING_STOP_REASON },
        { "TERM by a person is no stop", 0, .asked = ASKED(SIGTERM, "bash", 2, false), .verdict = VERDICT_COMPLETED },
        { "an ignored TERM does not end it", 0, .asked = ASKED(SIGTERM, "runc", 2, true),
          .verdict = VERDICT_COMPLETED },
        { "TERM ignored, then KILL", SIGKILL, .fatal = SIGNAL(SIGKILL, HOST, "crun"),
          .asked = ASKED(SIGTERM, "crun", 10, true), .ignored = SIGTERM, .verdict = VERDICT_STOP_TIMEOUT,
          .missing = VERDICT_MISSING_CLIENT, .signal = SIGKILL },
        { "TERM ignored, then KILL by a person", SIGKILL, .fatal = SIGNAL(SIGKILL, HOST, "bash"),
          .asked = ASKED(SIGTERM, "crun", 10, true), .verdict = VERDICT_KILLED, .signal = SIGKILL },
        { "KILL by the runtime", SIGKILL, .fatal = SIGNAL(SIGKILL, HOST, "runc"), .verdict = VERDICT_STOPPED,
          .missing = VERDICT_MISSING_CLIENT },
        { "the image's own signal", 0, .asked = ASKED(SIGUSR1, "runc", 59, false), .verdict = VERDICT_STOPPED,
          .missing = VERDICT_MISSING_CLIENT },
        { "a reload, a minute before", 0, .asked = ASKED(SIGHUP, "runc", 61, false), .verdict = VERDICT_COMPLETED },
        { "the OOM killer", SIGKILL, .fatal = SIGNAL(SIGKILL, KERNEL, ""), .flags = EVENT_OOM,
          .scope = VERDICT_SCOPE_CONTAINER, .verdict = VERDICT_OOM_CONTAINER, .signal = SIGKILL },
        { "the OOM killer, whose limit is not known", SIGKILL, .fatal = SIGNAL(SIGKILL, KERNEL, ""), .flags = EVENT_OOM,
          .missing = VERDICT_MISSING_OOM_SCOPE },
        { "a group above", SIGKILL, .fatal = SIGNAL(SIGKILL, KERNEL, ""), .flags = EVENT_OOM,
          .scope = VERDICT_SCOPE_GROUP, .verdict = VERDICT_OOM_NODE, .signal = SIGKILL },
        { "chosen when it died already", SIGKILL, .fatal = SIGNAL(SIGKILL, HOST, "bash"), .flags = EVENT_OOM,
          .scope = VERDICT_SCOPE_CONTAINER, .verdict = VERDICT_KILLED, .signal = SIGKILL },
        { "the shim died first", SIGKILL, .fatal = SIGNAL(SIGKILL, HOST, "runc"), .lost = true, .in_pod = true,
          .verdict = VERDICT_LOST },
        { "the namespace's first process", SIGKILL, .fatal = SIGNAL(SIGKILL, NAMESPACE, "sh"),
          .missing = VERDICT_MISSING_NAMESPACE },
        { "the kernel, nobody knows why", SIGKILL, .fatal = SIGNAL(SIGKILL, KERNEL, ""),
          .missing = VERDICT_MISSING_KERNEL },
};

static void decide(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const Case *now = &cases[i];
                const Event event = { .time_ns = END, .flags = now->flags, .status = now->status };
                const DeathVictim victim = { .scope = now->scope, .pid = 4, .program = "eater", .rss_bytes = 3 };
                VerdictDecision decision;
                VerdictFacts facts;
                EventDeath death;

                none(&death);
                death.fatal = now->fatal;
                death.core = now->core;
                death.asked = now->asked;
                death.ignored = now->ignored;
                death_facts(&death, now->scope != VERDICT_SCOPE_NONE ? &victim : NULL, &event, WALL,
                            now->unseen ? END - 1 : 0, "c2", &facts);
                facts.in_pod = now->in_pod;
                facts.lost = now->lost;
                decision = verdict_decide(&facts);
                if (decision.verdict != now->verdict || decision.missing != now->missing ||
                    decision.signal != now->signal)
                        fail_msg("%s: %s, missing %x, signal %d", now->what, verdict_word(decision.verdict),
                                 decision.missing, decision.signal);
                assert_int_equal(facts.ended_ns, WALL);
        }
}

static void sets_facts(void **state) {
        const DeathVictim victim = {
                .scope = VERDICT_SCOPE_POD, .pid = 4, .program = "eater", .rss_bytes = 3, .limit_bytes = 9
        };
        Event event = { .time_ns = END, .status = SIGKILL };
        VerdictFacts facts;
        EventDeath death;

        (void) state;
        none(&death);
        death.fatal = (EventSignal) SIGNAL(SIGKILL, CONTAINER, "killer");
        death.asked = (EventSignal) ASKED(SIGTERM, "runc", 3, true);
        for (int i = 0; i < _EVENT_MEMORY_MAX; i++)
                death.memory[i] = i;
        death.periods = 20;
        death.throttled_periods = 21;
        death.throttled_ns = 22;
        death_facts(&death, &victim, &event, WALL, 0, "c2", &facts);
        assert_int_equal(facts.exit_code, 137);
        assert_int_equal(facts.signal, SIGKILL);
        assert_true(facts.exact);
        assert_int_equal(facts.origin, VERDICT_ORIGIN_CONTAINER);
        assert_string_equal(facts.kill_program, "killer");
        assert_string_equal(facts.kill_container, "c2");
        assert_int_equal(facts.kill_pid, 40);
        assert_int_equal(facts.kill_uid, 1000);
        assert_int_equal(facts.stop, VERDICT_STOP_ENGINE);
        assert_int_equal(facts.stop_asked_ns, WALL - 3 * NSEC_PER_SEC);
        assert_int_equal(facts.stop_grace_ms, -1);
        assert_int_equal(facts.memory_low, EVENT_MEMORY_LOW);
        assert_int_equal(facts.memory_high, EVENT_MEMORY_HIGH);
        assert_int_equal(facts.memory_max, EVENT_MEMORY_LIMIT);
        assert_int_equal(facts.memory_oom, EVENT_MEMORY_OOM);
        assert_int_equal(facts.memory_oom_kill, EVENT_MEMORY_KILL);
        assert_int_equal(facts.memory_oom_group_kill, EVENT_MEMORY_GROUP_KILL);
        assert_int_equal(facts.periods, 20);
        assert_int_equal(facts.throttled_periods, 21);
        assert_int_equal(facts.throttled_ns, 22);
        assert_false(facts.oom_ended);
        assert_null(facts.oom_program);

        event.flags = EVENT_OOM;
        death.fatal = (EventSignal) SIGNAL(SIGKILL, KERNEL, "innocent");
        death_facts(&death, &victim, &event, WALL, 0, "c2", &facts);
        assert_true(facts.oom_ended);
        assert_null(facts.kill_program);
        assert_null(facts.kill_container);
        assert_int_equal(facts.kill_pid, 0);
        assert_int_equal(facts.kill_uid, -1);
        assert_int_equal(facts.oom_scope, VERDICT_SCOPE_POD);
        assert_string_equal(facts.oom_program, "eater");
        assert_int_equal(facts.oom_pid, 4);
        assert_int_equal(facts.oom_rss_bytes, 3);
        assert_int_equal(facts.oom_limit_bytes, 9);

        /* Of a kernel that lets nothing be seen. */
        assert_int_equal(death_parse(NULL, 0, &death), 0);
        death_facts(&death, NULL, &event, WALL, 0, NULL, &facts);
        assert_int_equal(facts.origin, VERDICT_ORIGIN_NONE);
        assert_int_equal(facts.stop, VERDICT_STOP_UNSEEN);
        assert_int_equal(facts.memory_oom, -1);
        event.status = -1;
        death_facts(&death, NULL, &event, WALL, 0, NULL, &facts);
        assert_int_equal(facts.exit_code, -1);
        assert_int_equal(facts.signal, 0);
}

static void orphans(void **state) {
        static const struct {
                const char *parent;
                bool orphaned;
        } parents[] = {
                { "systemd", true },   { "init", true },      { "containerd", true }, { "containerd-shim", false },
                { "conmon", false },   { "conmonrs", false }, { "runc", false },      { "podspan-conmon", false },
                { "my-conmon", true }, { "", true },
        };
        EventDeath death;

        (void) state;
        none(&death);
        assert_false(death_orphaned(&death)); /* nothing is known of the parent */
        death.parent = 1;
        for (size_t i = 0; i < ARRAY_SIZE(parents); i++) {
                (void) snprintf(death.parent_comm, sizeof(death.parent_comm), "%s", parents[i].parent);
                assert_int_equal(death_orphaned(&death), parents[i].orphaned);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parse),  cmocka_unit_test(scopes),     cmocka_unit_test(victims),
                cmocka_unit_test(decide), cmocka_unit_test(sets_facts), cmocka_unit_test(orphans),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
