#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "oomvictim.h"
#include "util.h"

static void test_stat(void **state) {
        static const struct {
                const char *text;
                bool dying;
        } cases[] = {
                { "7 (sh) S 1 7 7 0 -1 4194560 99 0\n", false },
                { "7 (sh) S 1 7 7 0 -1 4194564 99 0\n", true }, /* PF_EXITING */
                { "7 (sh) Z 1 7 7 0 -1 4194560 99 0\n", true },
                { "7 (sh) X 1 7 7 0 -1 0 0 0\n", true },
                { "7 (a) Z 1 7 7 0 -1 4 (b) S 1 7 7 0 -1 0 0\n", false }, /* a name of its own choice */
                { "7 (sh) S 1 7 7 0 -1 4", true },
                { "7 (sh) S 1 7 7 0 4 4\n", false }, /* no flags there */
                { "7 (sh) S", false },
                { "7 (sh)", false },
                { "", false },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_int_equal(oomvictim_parse_stat(cases[i].text, strlen(cases[i].text)), cases[i].dying);
}

static void test_status(void **state) {
        static const struct {
                const char *text;
                bool dying;
        } cases[] = {
                { "Name:\tsh\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\nSigBlk:\t0\n", true },
                { "Name:\tsh\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n", true },
                { "Name:\tsh\nSigPnd:\t0000000000004200\nShdPnd:\t0000000000000001\nSigBlk:\t0000000000000100\n",
                  false },
                { "Name:\tShdPnd:\t100\nSigPnd:\t0\nShdPnd:\t0\n", false },
                { "Name:\tsh\nShdPnd:\tx00\n", false },
                { "", false },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_int_equal(oomvictim_parse_status(cases[i].text, strlen(cases[i].text)), cases[i].dying);
}

typedef struct Fixture {
        Loop *loop;
        OomVictim victim;
        pid_t pid;
} Fixture;

static int setup(void **state) {
        static Fixture f;

        f = (Fixture){ .victim = OOMVICTIM_NULL, .pid = fork() };
        if (f.pid == 0)
                for (;;)
                        (void) pause();
        assert_true(f.pid > 0);
        assert_int_equal(loop_new(&f.loop), 0);
        assert_int_equal(oomvictim_init(&f.victim, f.loop, f.pid), 0);
        *state = &f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        (void) kill(f->pid, SIGKILL);
        (void) waitpid(f->pid, NULL, 0);
        oomvictim_deinit(&f->victim);
        f->loop = loop_free(f->loop);
        return 0;
}

static void kill_at(Fixture *f, uint64_t ns) {
        const Clk at = { .realtime_ns = ns, .monotonic_ns = ns };

        oomvictim_kill(&f->victim, &at);
}

static void die(const Fixture *f) {
        siginfo_t info;

        assert_int_equal(kill(f->pid, SIGKILL), 0);
        assert_int_equal(waitid(P_PID, (id_t) f->pid, &info, WEXITED | WNOWAIT), 0);
}

/* It is killed soon after: it was the victim. It ends in another way: it was not. */
static void test_end(void **state) {
        static const int signals[] = { SIGKILL, SIGTERM, 0 };
        Fixture *f = *state;

        for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
                f->victim.n_others = 0;
                kill_at(f, 7);
                assert_int_equal(oomvictim_end(&f->victim, signals[i]), signals[i] == SIGKILL);
                assert_int_equal(f->victim.n_others, signals[i] != SIGKILL);
        }
        assert_false(oomvictim_end(&f->victim, SIGKILL)); /* no kill, no victim */
        assert_int_equal(f->victim.others[0].monotonic_ns, 7);
}

/* It goes on after the kill, and is killed by somebody else later. */
static void test_survives(void **state) {
        Fixture *f = *state;

        kill_at(f, 7);
        while (f->victim.n_others == 0)
                assert_int_equal(loop_turn(f->loop, 5000), 0);
        die(f);
        assert_false(oomvictim_end(&f->victim, SIGKILL));
        assert_int_equal(f->victim.n_others, 1);
}

/* It takes its time to die. */
static void test_dies_slowly(void **state) {
        Fixture *f = *state;

        kill_at(f, 7);
        die(f); /* and nobody has waited for it */
        assert_int_equal(loop_turn(f->loop, 5000), 0);
        assert_int_equal(f->victim.n_others, 0);
        assert_true(oomvictim_end(&f->victim, SIGKILL));
}

/* One kill after the other: all but the last are others', up to the bound. */
static void test_many(void **state) {
        Fixture *f = *state;

        for (uint64_t i = 0; i < OOMVICTIM_OTHERS_MAX + 3; i++)
                kill_at(f, i);
        die(f);
        assert_true(oomvictim_end(&f->victim, SIGKILL));
        assert_int_equal(f->victim.n_others, OOMVICTIM_OTHERS_MAX);
        assert_int_equal(f->victim.others[OOMVICTIM_OTHERS_MAX - 1].monotonic_ns, OOMVICTIM_OTHERS_MAX - 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_stat),
                cmocka_unit_test(test_status),
                cmocka_unit_test_setup_teardown(test_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_survives, setup, teardown),
                cmocka_unit_test_setup_teardown(test_dies_slowly, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
