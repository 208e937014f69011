#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "contextpool.h"

typedef struct Rig {
        char dir[64];
        int fd;
} Rig;

static int setup(void **state) {
        Rig *rig = calloc(1, sizeof(*rig));

        assert_non_null(rig);
        (void) strcpy(rig->dir, "/tmp/podspan-test-pool-XXXXXX");
        assert_non_null(mkdtemp(rig->dir));
        rig->fd = open(rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(rig->fd >= 0);
        *state = rig;
        return 0;
}

/* Every test leaves the directory empty. */
static int teardown(void **state) {
        Rig *rig = *state;

        close_fd(rig->fd);
        assert_int_equal(rmdir(rig->dir), 0);
        free(rig);
        return 0;
}

static void check(int fd, const char *name, const char *text) {
        _cleanup_free_ char *found = NULL;
        size_t size;

        assert_int_equal(util_read_file_at(fd, name, 4096, &found, &size), 0);
        assert_string_equal(found, text);
        assert_int_equal(size, strlen(text));
}

static void shows_and_shows_again(void **state) {
        Rig *rig = *state;
        _cleanup_(contextpool_freep) ContextPool *pool = contextpool_new(rig->fd, 42);
        int a, b;
        struct stat st;

        assert_non_null(pool);
        a = contextpool_show(pool, "1-a", "a long text of the first", 24);
        b = contextpool_show(pool, "1-b", "second", 6);
        assert_true(a > 0 && b > 0 && a != b);
        check(rig->fd, "1-a", "a long text of the first");
        check(rig->fd, "1-b", "second");
        assert_int_equal(fstatat(rig->fd, "1-a", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0640);

        /* What was used last is used again, and nothing is left of the longer text. */
        assert_int_equal(unlinkat(rig->fd, "1-a", 0), 0);
        contextpool_rest(pool, a);
        assert_int_equal(unlinkat(rig->fd, "1-b", 0), 0);
        contextpool_rest(pool, b);
        assert_int_equal(contextpool_show(pool, "1-c", "third", 5), b);
        assert_int_equal(contextpool_show(pool, "1-d", "fourth", 6), a);
        check(rig->fd, "1-c", "third");
        check(rig->fd, "1-d", "fourth");

        /* A name that is taken: no file, and the next one works. */
        assert_true(contextpool_show(pool, "1-d", "fifth", 5) < 0);
        check(rig->fd, "1-d", "fourth");
        assert_true(contextpool_show(pool, "1-e", "sixth", 5) > 0);

        for (const char *p = "cde"; *p; p++) {
                char name[] = { '1', '-', *p, 0 };

                assert_int_equal(unlinkat(rig->fd, name, 0), 0);
        }
}

/* Somebody has swept the dot names. */
static void survives_a_sweep(void **state) {
        Rig *rig = *state;
        _cleanup_(contextpool_freep) ContextPool *pool = contextpool_new(rig->fd, 42);
        int a;

        a = contextpool_show(pool, "1-a", "a", 1);
        assert_int_equal(unlinkat(rig->fd, "1-a", 0), 0);
        assert_int_equal(unlinkat(rig->fd, ".pool.42.1", 0), 0);
        contextpool_rest(pool, a);
        assert_true(contextpool_show(pool, "1-b", "b", 1) < 0);
        assert_int_equal(contextpool_show(pool, "1-b", "b", 1), a);
        check(rig->fd, "1-b", "b");
        assert_int_equal(unlinkat(rig->fd, "1-b", 0), 0);
}

static void bounded(void **state) {
        Rig *rig = *state;
        _cleanup_(contextpool_freep) ContextPool *pool = contextpool_new(rig->fd, 42);
        char name[32];

        for (int i = 1; i <= CONTEXTPOOL_FILES_MAX; i++) {
                (void) snprintf(name, sizeof(name), "1-%d", i);
                assert_int_equal(contextpool_show(pool, name, "x", 1), i);
        }
        assert_int_equal(contextpool_show(pool, "1-more", "x", 1), -EBUSY);
        for (int i = 1; i <= CONTEXTPOOL_FILES_MAX; i++) {
                (void) snprintf(name, sizeof(name), "1-%d", i);
                assert_int_equal(unlinkat(rig->fd, name, 0), 0);
                contextpool_rest(pool, i);
        }
        assert_int_equal(contextpool_show(pool, "1-more", "x", 1), CONTEXTPOOL_FILES_MAX);
        assert_int_equal(unlinkat(rig->fd, "1-more", 0), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(shows_and_shows_again, setup, teardown),
                cmocka_unit_test_setup_teardown(survives_a_sweep, setup, teardown),
                cmocka_unit_test_setup_teardown(bounded, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
