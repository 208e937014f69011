#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "dirowner.h"
#include "util.h"

#define OTHER 12345

typedef struct Bench {
        char dir[64];
        int fd;
} Bench;

static int setup(void **state) {
        Bench *bench = calloc(1, sizeof(*bench));

        assert_non_null(bench);
        (void) strcpy(bench->dir, "/tmp/podspan-test-dirowner-XXXXXX");
        assert_non_null(mkdtemp(bench->dir));
        bench->fd = open(bench->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(bench->fd >= 0);
        *state = bench;
        return 0;
}

static int teardown(void **state) {
        Bench *bench = *state;
        char command[128];
        int r;

        close_fd(bench->fd);
        (void) snprintf(command, sizeof(command), "rm -r -- '%s'", bench->dir);
        r = system(command);
        free(bench);
        return r;
}

static void rules(void **state) {
        static const struct {
                bool other;
                gid_t group;
                mode_t mode;
                int private, sticky, group_of_0;
        } cases[] = {
                { false, 0, 0755, 0, 0, 0 },
                { false, 0, 02750, 0, 0, 0 },
                { false, 0, 02770, -EPERM, -EPERM, 0 },
                { false, 0, 03770, -EPERM, 0, 0 },
                { false, OTHER, 02770, -EPERM, -EPERM, 0 },
                { false, 0, 0777, -EPERM, -EPERM, -EPERM },
                { false, 0, 01777, -EPERM, 0, -EPERM },
                { true, 0, 02770, -EPERM, -EPERM, 0 },
                { true, 0, 0750, -EPERM, -EPERM, 0 },
                { true, OTHER, 02770, -EPERM, -EPERM, -EPERM },
                { true, OTHER, 0700, -EPERM, -EPERM, -EPERM },
                { true, 0, 01777, -EPERM, -EPERM, -EPERM },
        };
        Bench *bench = *state;

        if (geteuid() != 0)
                skip();
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                assert_int_equal(fchown(bench->fd, cases[i].other ? OTHER : 0, cases[i].group), 0);
                assert_int_equal(fchmod(bench->fd, cases[i].mode), 0);
                assert_int_equal(dirowner_check(bench->fd, DIROWNER_PRIVATE, 0), cases[i].private);
                assert_int_equal(dirowner_check(bench->fd, DIROWNER_STICKY, 0), cases[i].sticky);
                assert_int_equal(dirowner_check(bench->fd, DIROWNER_GROUP, 0), cases[i].group_of_0);
        }
        assert_int_equal(dirowner_check(-1, DIROWNER_PRIVATE, 0), -EBADF);
}

static void parents(void **state) {
        Bench *bench = *state;
        char path[128], bad[256] = "", a[128], b[160];

        (void) snprintf(path, sizeof(path), "%s/a/b/run.sock", bench->dir);
        (void) snprintf(a, sizeof(a), "%s/a", bench->dir);
        (void) snprintf(b, sizeof(b), "%s/b", a);

        /* What is not there yet cannot be wrong. */
        assert_int_equal(dirowner_check_parents(path, bad, sizeof(bad)), 0);
        assert_int_equal(mkdir(a, 0755), 0);
        assert_int_equal(mkdir(b, 0755), 0);
        assert_int_equal(dirowner_check_parents(path, bad, sizeof(bad)), 0);

        assert_int_equal(chmod(a, 0777), 0);
        assert_int_equal(dirowner_check_parents(path, bad, sizeof(bad)), -EPERM);
        assert_string_equal(bad, a);
        assert_int_equal(chmod(a, 01777), 0);
        assert_int_equal(dirowner_check_parents(path, bad, sizeof(bad)), 0);
        assert_int_equal(chmod(b, 0770), 0);
        assert_int_equal(dirowner_check_parents(path, bad, sizeof(bad)), -EPERM);
        assert_string_equal(bad, b);
        assert_int_equal(dirowner_check_parents("/run.sock", bad, sizeof(bad)), 0);
}

/* A link is asked for its owner, and where it leads for everything. */
static void links(void **state) {
        Bench *bench = *state;
        char path[160], bad[256] = "", target[128], link[128], inner[160];

        (void) snprintf(target, sizeof(target), "%s/target", bench->dir);
        (void) snprintf(inner, sizeof(inner), "%s/inner", target);
        (void) snprintf(link, sizeof(link), "%s/link", bench->dir);
        (void) snprintf(path, sizeof(path), "%s/run.sock", link);
        assert_int_equal(mkdir(target, 0755), 0);
        assert_int_equal(mkdir(inner, 0755), 0);
        assert_int_equal(symlink("target/inner", link), 0);
        assert_int_equal(dirowner_check_parents(path, bad, sizeof(bad)), 0);

        assert_int_equal(chmod(target, 0777), 0);
        assert_int_equal(dirowner_check_parents(path, bad, sizeof(bad)), -EPERM);
        assert_string_equal(bad, target);
        assert_int_equal(chmod(target, 0755), 0);
        assert_int_equal(chmod(inner, 0777), 0);
        assert_int_equal(dirowner_check_parents(path, bad, sizeof(bad)), -EPERM);
        assert_string_equal(bad, inner);
        assert_int_equal(chmod(inner, 0755), 0);

        if (geteuid() != 0)
                return;
        assert_int_equal(lchown(link, OTHER, 0), 0);
        assert_int_equal(dirowner_check_parents(path, bad, sizeof(bad)), -EPERM);
        assert_string_equal(bad, link);
}

static void text(void **state) {
        Bench *bench = *state;
        char said[DIROWNER_TEXT_MAX], expected[128];

        assert_int_equal(mkdirat(bench->fd, "x", 0700), 0);
        assert_int_equal(fchmodat(bench->fd, "x", 0777, 0), 0);
        dirowner_text(bench->fd, "x", said);
        (void) snprintf(expected, sizeof(expected), "%s/x (uid %u", bench->dir, (unsigned) geteuid());
        assert_memory_equal(said, expected, strlen(expected));
        assert_non_null(strstr(said, "mode 0777"));
        dirowner_text(AT_FDCWD, bench->dir, said);
        assert_memory_equal(said, bench->dir, strlen(bench->dir));
        dirowner_text(bench->fd, "none", said);
        assert_non_null(strstr(said, "No such file"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(rules, setup, teardown),
                cmocka_unit_test_setup_teardown(parents, setup, teardown),
                cmocka_unit_test_setup_teardown(links, setup, teardown),
                cmocka_unit_test_setup_teardown(text, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
