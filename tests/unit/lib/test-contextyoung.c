/* The file of the young calls: what is whole is read, while it is written too. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "contextyoung.h"
#include "util.h"

#define MARK1 "00000000000000ab\n"
#define MARK2 "00000000000000ac\n"

typedef struct Rig {
        char dir[64];
        int fd;
} Rig;

static int setup(void **state) {
        Rig *rig = calloc(1, sizeof(*rig));

        assert_non_null(rig);
        (void) strcpy(rig->dir, "/tmp/podspan-test-young-XXXXXX");
        assert_non_null(mkdtemp(rig->dir));
        rig->fd = open(rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(rig->fd >= 0);
        *state = rig;
        return 0;
}

static int teardown(void **state) {
        Rig *rig = *state;

        (void) unlinkat(rig->fd, CONTEXTYOUNG_NAME, 0);
        close_fd(rig->fd);
        assert_int_equal(rmdir(rig->dir), 0);
        free(rig);
        return 0;
}

/* In a buffer of exactly its size. */
static const char *text_of(const char *bytes, size_t size, size_t *ret_len) {
        static char found[1024];
        _cleanup_free_ char *exact = malloc(size ? size : 1);
        const char *text;

        assert_non_null(exact);
        memcpy(exact, bytes, size);
        text = contextyoung_text(exact, size, ret_len);
        if (!text)
                return NULL;
        memcpy(found, text, *ret_len);
        found[*ret_len] = '\0';
        return found;
}

static void whole_or_nothing(void **state) {
        static const struct {
                const char *bytes;
                size_t size;
                const char *text; /* NULL: none */
        } cases[] = {
                { "", 0, NULL },
                { "\0\0\0", 3, NULL },
                { MARK1 "text\n" MARK1, 39, "text\n" },
                { MARK1 "text\n" MARK1 "\0\0\0", 42, "text\n" },
                { MARK1 "text\n" MARK1 "\0left", 44, "text\n" },
                { MARK1 MARK1, 34, "" },
                { MARK1, 17, NULL },
                { MARK1 "text\n" MARK2, 39, NULL },
                { MARK1 "te\0t\n" MARK1, 39, NULL },
                { "00000000000000ab-text\n00000000000000ab-", 39, NULL },
                { "\0" MARK1 "text\n" MARK1, 40, NULL },
        };
        size_t len;

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const char *text = text_of(cases[i].bytes, cases[i].size, &len);

                if (cases[i].text) {
                        assert_non_null(text);
                        assert_string_equal(text, cases[i].text);
                } else
                        assert_null(text);
        }
        for (size_t size = 0; size < 39; size++)
                assert_null(text_of(MARK1 "text\n" MARK1, size, &len));
}

typedef struct Seen {
        unsigned n;
        int slot;
        char text[CONTEXTYOUNG_TEXT_MAX + 1];
} Seen;

static int see(int slot, const char *text, size_t len, void *userdata) {
        Seen *seen = userdata;

        seen->n++;
        seen->slot = slot;
        assert_true(len < sizeof(seen->text));
        memcpy(seen->text, text, len);
        seen->text[len] = '\0';
        return 0;
}

static int stop(int slot, const char *text, size_t len, void *userdata) {
        (void) slot;
        (void) text;
        (void) len;
        ++*(unsigned *) userdata;
        return -ECANCELED;
}

static void puts_and_clears(void **state) {
        Rig *rig = *state;
        ContextYoung *young;
        char big[CONTEXTYOUNG_TEXT_MAX + 1];
        Seen seen = {};
        struct stat st;
        unsigned n = 0;

        assert_int_equal(contextyoung_each(rig->fd, see, &seen), 0);
        assert_int_equal(contextyoung_open(rig->fd, &young), 0);
        assert_int_equal(fstatat(rig->fd, CONTEXTYOUNG_NAME, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_int_equal(st.st_size, 0);

        assert_int_equal(contextyoung_put(young, 1, "one\n", 4), 0);
        assert_int_equal(contextyoung_put(young, UINT64_MAX, "two\n", 4), 1);
        assert_int_equal(contextyoung_each(rig->fd, see, &seen), 0);
        assert_int_equal(seen.n, 2);
        assert_string_equal(seen.text, "two\n");
        assert_int_equal(contextyoung_each(rig->fd, stop, &n), -ECANCELED);
        assert_int_equal(n, 1);

        contextyoung_clear(young, 0);
        seen.n = 0;
        assert_int_equal(contextyoung_each(rig->fd, see, &seen), 0);
        assert_true(seen.n == 1 && seen.slot == 1);

        /* As long as can be, then short again. */
        memset(big, 'b', sizeof(big));
        assert_int_equal(contextyoung_put(young, 3, big, sizeof(big)), -E2BIG);
        assert_int_equal(contextyoung_put(young, 3, big, sizeof(big) - 1), 0);
        contextyoung_clear(young, 1);
        seen.n = 0;
        assert_int_equal(contextyoung_each(rig->fd, see, &seen), 0);
        assert_true(seen.n == 1 && seen.slot == 0 && strlen(seen.text) == CONTEXTYOUNG_TEXT_MAX);
        contextyoung_clear(young, 0);
        assert_int_equal(contextyoung_put(young, 4, "four\n", 5), 0);
        seen.n = 0;
        assert_int_equal(contextyoung_each(rig->fd, see, &seen), 0);
        assert_int_equal(seen.n, 1);
        assert_string_equal(seen.text, "four\n");

        assert_false(contextyoung_removed(young));
        assert_null(contextyoung_close(young));
        seen.n = 0;
        assert_int_equal(contextyoung_each(rig->fd, see, &seen), 0);
        assert_int_equal(seen.n, 0);
        assert_int_equal(faccessat(rig->fd, CONTEXTYOUNG_NAME, F_OK, 0), -1);
        assert_null(contextyoung_close(NULL));
}

/* Where the next slot does not fit into the file system. */
static void no_space(void **state) {
        Rig *rig = *state;
        pid_t pid;
        int status;

        /* A limit of this process only: it would be that of the others' results, too. */
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                ContextYoung *young;
                char text[CONTEXTYOUNG_TEXT_MAX];
                Seen seen = {};
                int good;

                memset(text, 't', sizeof(text));
                (void) signal(SIGXFSZ, SIG_IGN);
                good = contextyoung_open(rig->fd, &young) == 0 &&
                       setrlimit(RLIMIT_FSIZE, &(const struct rlimit){ 1200, 1200 }) == 0 &&
                       contextyoung_put(young, 1, text, sizeof(text)) == 0 &&
                       contextyoung_put(young, 2, text, sizeof(text)) == -ENOSPC &&
                       contextyoung_each(rig->fd, see, &seen) == 0 && seen.n == 1 && seen.slot == 0;
                _exit(good ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static int check_one(int slot, const char *text, size_t len, void *userdata) {
        (void) slot;
        ++*(unsigned *) userdata;
        assert_true(len >= 10);
        for (size_t i = 0; i < len; i++)
                assert_int_equal(text[i], text[0]);
        return 0;
}

/* Records of one letter each, of any length, put and cleared as fast as can be: none is read that is two. */
static void read_while_written(void **state) {
        Rig *rig = *state;
        unsigned n = 0;
        int status, pipe_fds[2];
        char byte;
        pid_t pid;

        assert_int_equal(pipe(pipe_fds), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                ContextYoung *young;
                char text[CONTEXTYOUNG_TEXT_MAX];

                if (contextyoung_open(rig->fd, &young) < 0)
                        _exit(1);
                (void) !write(pipe_fds[1], "x", 1);
                for (uint64_t seq = 1;; seq++) {
                        size_t len = 10 + (size_t) (seq * 7919 % (sizeof(text) - 10));
                        int slot;

                        memset(text, (char) ('a' + seq % 26), len);
                        slot = contextyoung_put(young, seq, text, len);
                        if (slot != 0)
                                _exit(1);
                        contextyoung_clear(young, slot);
                }
        }
        assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
        for (unsigned i = 0; i < 20000 || (n == 0 && i < 2000000); i++)
                assert_int_equal(contextyoung_each(rig->fd, check_one, &n), 0);
        assert_true(n > 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        close_fd(pipe_fds[0]);
        close_fd(pipe_fds[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whole_or_nothing),
                TEST(puts_and_clears),
                TEST(no_space),
                TEST(read_while_written),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
