#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "exitfacts.h"
#include "util.h"

static void stat_lines(void **state) {
        static const struct {
                const char *s;
                bool never_ran;
        } cases[] = {
                { "", false },
                { "12 (runc:[2:INIT]) Z 1 1 1 0 -1 4194372 7 0", true }, /* 0x400044 */
                { "12 (sh) Z 1 1 1 0 -1 4194308 7 0", false },
                { "12 (a) b) 64 64 (64) Z 1 1 1 0 -1 64 7 0", true },
                { "12 () Z 1 1 1 0 -1 64 ", true },
                { "12 (x) Z 1 1 1 0 -1 64", false }, /* cut short */
                { "12 (x) Z 1 1 1 0 -1", false },
                { "12 (x) Z 1 1 1 0 -1 ", false },
                { "12 (x) Z 1 1 1 0 -1 sixty-four 7", false },
                { "12 (x)", false },
                { "12 (x) ", false },
                { "12 (x)Z 1 1 1 0 -1 64 7", false },
                { ")", false },
                { "no parenthesis 64 64 64 64 64 64 64 64", false },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t len = strlen(cases[i].s);
                _cleanup_free_ char *exact = malloc(len + 1);

                memcpy(exact, cases[i].s, len);
                if (exitfacts_parse_stat(exact, len) != cases[i].never_ran)
                        fail_msg("%s", cases[i].s);
        }
}

/* A child of ours that has ended and is not reaped yet. */
static bool ask(bool execute) {
        siginfo_t info;
        bool never_ran;
        pid_t pid;

        pid = fork();
        if (pid == 0) {
                if (execute)
                        (void) execlp("true", "true", NULL);
                _exit(1);
        }
        assert_int_equal(waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT), 0);
        never_ran = exitfacts_never_ran(pid);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_false(exitfacts_never_ran(pid));
        return never_ran;
}

static void real_processes(void **state) {
        (void) state;

        assert_true(ask(/* execute= */ false));
        assert_false(ask(/* execute= */ true));
}

/* A folder that looks like a cgroup with two above it. */
typedef struct Place {
        char root[64];
        char pod[96];
        char container[128];
        int fd;
} Place;

static int setup(void **state) {
        Place *place = calloc(1, sizeof(*place));

        assert_non_null(place);
        (void) strcpy(place->root, "/tmp/podspan-test-exitfacts-XXXXXX");
        assert_non_null(mkdtemp(place->root));
        (void) snprintf(place->pod, sizeof(place->pod), "%s/pod", place->root);
        (void) snprintf(place->container, sizeof(place->container), "%s/c", place->pod);
        assert_int_equal(mkdir(place->pod, 0700) | mkdir(place->container, 0700), 0);
        place->fd = open(place->container, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_true(place->fd >= 0);
        *state = place;
        return 0;
}

static int teardown(void **state) {
        Place *place = *state;
        char command[128];
        int r;

        close_fd(place->fd);
        (void) snprintf(command, sizeof(command), "rm -r -- '%s'", place->root);
        r = system(command);
        free(place);
        return r;
}

static void put(const char *dir, const char *name, const char *text) {
        char path[256];
        FILE *file;

        (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
        if (!text) {
                (void) unlink(path);
                return;
        }
        file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void counts(void **state) {
        Place *place = *state;
        VerdictFacts facts = VERDICT_FACTS_NONE, none = VERDICT_FACTS_NONE;

        exitfacts_read_counts(-1, -1, true, &facts);
        exitfacts_read_counts(place->fd, place->fd, true, &facts);
        exitfacts_read_counts(place->fd, place->fd, false, &facts);
        assert_memory_equal(&facts, &none, sizeof(facts));

        put(place->container, "memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\n");
        put(place->container, "cpu.stat",
            "usage_usec 7\nnr_periods 10\nnr_throttled 3\nthrottled_usec 18446744073709551615\n");
        exitfacts_read_counts(place->fd, place->fd, true, &facts);
        assert_int_equal(facts.memory_low, 1);
        assert_int_equal(facts.memory_high, 2);
        assert_int_equal(facts.memory_max, 3);
        assert_int_equal(facts.memory_oom, 4);
        assert_int_equal(facts.memory_oom_kill, 5);
        assert_int_equal(facts.memory_oom_group_kill, -1);
        assert_int_equal(facts.periods, 10);
        assert_int_equal(facts.throttled_periods, 3);
        assert_int_equal(facts.throttled_ns, -1);
        put(place->container, "cpu.stat", "nr_periods 10\nnr_throttled 3\nthrottled_usec 9223372036854775807\n");
        exitfacts_read_counts(place->fd, place->fd, true, &facts);
        assert_int_equal(facts.throttled_ns, -1);
        put(place->container, "cpu.stat", "nr_periods 10\nnr_throttled 3\nthrottled_usec 2\n");
        exitfacts_read_counts(place->fd, place->fd, true, &facts);
        assert_int_equal(facts.throttled_ns, 2000);

        facts = none;
        put(place->container, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        put(place->container, "cpu.stat", "nr_periods 10\nnr_throttled 3\nthrottled_time 2\n");
        exitfacts_read_counts(place->fd, place->fd, false, &facts);
        assert_int_equal(facts.memory_oom_kill, 2);
        assert_int_equal(facts.memory_oom, -1);
        assert_int_equal(facts.throttled_ns, 2);
}

static void whose_limit(void **state) {
        static const struct {
                const char *what;
                const char *container, *pod; /* memory.events.local */
                const char *max;
                VerdictScope scope;
                int64_t limit;
        } cases[] = {
                { "its own", "oom 1\noom_kill 1\n", "oom 0\noom_kill 0\n", "20971520\n", VERDICT_SCOPE_CONTAINER,
                  20971520 },
                { "right below the root", "oom 1\noom_kill 1\n", NULL, "20971520\n", VERDICT_SCOPE_CONTAINER,
                  20971520 },
                { "without a file of the limit", "oom 1\noom_kill 1\n", "oom 0\n", NULL, VERDICT_SCOPE_CONTAINER, 0 },
                { "no number", "oom 1\noom_kill 1\n", "oom 0\n", "max\n", VERDICT_SCOPE_CONTAINER, 0 },
                { "somebody else's", "oom 0\noom_kill 1\n", "oom 1\n", "1\n", VERDICT_SCOPE_UNKNOWN, 0 },
                { "two levels", "oom 1\noom_kill 1\n", "oom 1\n", "1\n", VERDICT_SCOPE_UNKNOWN, 0 },
                { "not the first kill", "oom 2\noom_kill 2\n", "oom 0\n", "1\n", VERDICT_SCOPE_UNKNOWN, 0 },
                { "all at once", "oom 1\noom_kill 3\noom_group_kill 1\n", "oom 0\n", "4096\n", VERDICT_SCOPE_CONTAINER,
                  4096 },
                { "a kill before all at once", "oom 2\noom_kill 3\noom_group_kill 1\n", "oom 0\n", "1\n",
                  VERDICT_SCOPE_UNKNOWN, 0 },
                { "the level above cannot be read", "oom 1\noom_kill 1\n", "", "1\n", VERDICT_SCOPE_UNKNOWN, 0 },
                { "an old kernel", NULL, "oom 0\n", "1\n", VERDICT_SCOPE_UNKNOWN, 0 },
        };
        Place *place = *state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                VerdictFacts facts = VERDICT_FACTS_NONE;

                put(place->container, "memory.events.local", cases[i].container);
                put(place->pod, "memory.events.local", cases[i].pod);
                put(place->container, "memory.max", cases[i].max);
                exitfacts_read_scope(place->fd, true, &facts);
                if (facts.oom_scope != cases[i].scope || facts.oom_limit_bytes != cases[i].limit)
                        fail_msg("%s: %s, %ld", cases[i].what, verdict_scope_word(facts.oom_scope),
                                 (long) facts.oom_limit_bytes);
                exitfacts_read_scope(place->fd, false, &facts);
                assert_int_equal(facts.oom_scope, VERDICT_SCOPE_UNKNOWN);
                exitfacts_read_scope(-1, true, &facts);
                assert_int_equal(facts.oom_scope, VERDICT_SCOPE_UNKNOWN);
        }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(stat_lines),
                cmocka_unit_test(real_processes),
                TEST(counts),
                TEST(whose_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
