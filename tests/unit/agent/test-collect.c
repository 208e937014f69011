#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "clk.h"
#include "collect.h"
#include "statedir.h"

#define A "1-00000000000000000001-1-1.otlp"
#define B "1-00000000000000000002-1-1.otlp"
#define C "1-00000000000000000003-1-1.otlp"

static uint64_t later_ns;

static Clk clock_of_test(void) {
        struct timespec t;

        assert_int_equal(clock_gettime(CLOCK_REALTIME, &t), 0);
        return (Clk){ .realtime_ns = (uint64_t) t.tv_sec * NSEC_PER_SEC + later_ns, .monotonic_ns = later_ns + 1 };
}

typedef struct Rig {
        char dir[64];
        int state_fd;
        Loop *loop;
        Collect collect;
        char path[512];
} Rig;

static unsigned n_changes;

static int on_change(Collect *collect _unused_) {
        n_changes++;
        return 0;
}

static int setup(void **state) {
        Rig *rig = calloc(1, sizeof(*rig));

        assert_non_null(rig);
        n_changes = 0;
        later_ns = 0;
        clk_override(clock_of_test);
        (void) strcpy(rig->dir, "/tmp/podspan-test-collect-XXXXXX");
        assert_non_null(mkdtemp(rig->dir));
        rig->state_fd = open(rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(loop_new(&rig->loop), 0);
        rig->collect = (Collect) COLLECT_NULL;
        *state = rig;
        return 0;
}

static int teardown(void **state) {
        Rig *rig = *state;

        collect_deinit(&rig->collect);
        loop_free(rig->loop);
        close_fd(rig->state_fd);
        clk_override(NULL);
        (void) snprintf(rig->path, sizeof(rig->path), "rm -rf -- '%s'", rig->dir);
        assert_int_equal(system(rig->path), 0);
        free(rig);
        return 0;
}

static const char *path_of(Rig *rig, const char *name) {
        (void) snprintf(rig->path, sizeof(rig->path), "%s/spool/%s", rig->dir, name);
        return rig->path;
}

static void put(Rig *rig, const char *name, const char *text) {
        int fd = open(path_of(rig, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close_fd(fd);
}

static bool there(Rig *rig, const char *name) {
        struct stat st;

        return lstat(path_of(rig, name), &st) == 0;
}

static unsigned n_entries(Rig *rig, const char *prefix) {
        struct dirent *entry;
        unsigned n = 0;
        DIR *dir = opendir(path_of(rig, ""));

        assert_non_null(dir);
        while ((entry = readdir(dir)))
                n += entry->d_name[0] != '.' || strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
        (void) closedir(dir);
        return n;
}

static void begin(Rig *rig) {
        assert_int_equal(collect_init(&rig->collect, rig->loop, rig->state_fd, on_change), 0);
}

/* Files are given the oldest first, each once a scan; that something came is told. */
static void in_order(void **state) {
        Rig *rig = *state;
        _cleanup_free_ uint8_t *data = NULL;
        size_t size;

        begin(rig);
        assert_true(collect_empty(&rig->collect));
        put(rig, ".new", "two");
        assert_int_equal(loop_turn(rig->loop, 0), 0);
        assert_int_equal(n_changes, 0);
        {
                char from[512];

                (void) snprintf(from, sizeof(from), "%s", path_of(rig, ".new"));
                assert_int_equal(rename(from, path_of(rig, B)), 0);
        }
        assert_int_equal(loop_turn(rig->loop, 1000), 0);
        assert_int_equal(n_changes, 1);
        put(rig, C, "three");
        put(rig, A, "one");

        assert_int_equal(collect_scan(&rig->collect), 0);
        assert_false(collect_empty(&rig->collect));
        assert_string_equal(collect_next(&rig->collect), A);
        assert_string_equal(collect_next(&rig->collect), B);
        collect_back(&rig->collect);
        assert_string_equal(collect_next(&rig->collect), B);
        assert_int_equal(collect_read(&rig->collect, B, &data, &size), 0);
        assert_int_equal(size, 3);
        assert_memory_equal(data, "two", 3);
        assert_int_equal(collect_remove(&rig->collect, B), 0);
        assert_false(there(rig, B));
        assert_int_equal(collect_remove(&rig->collect, B), 0);
        assert_string_equal(collect_next(&rig->collect), C);
        assert_true(collect_empty(&rig->collect));
        assert_null(collect_next(&rig->collect));

        assert_int_equal(collect_scan(&rig->collect), 0);
        assert_string_equal(collect_next(&rig->collect), A);
        assert_string_equal(collect_next(&rig->collect), C);
        assert_null(collect_next(&rig->collect));
        assert_int_equal(collect_take_foreign(&rig->collect), 0);
}

/* More than one allocation's worth, sorted, and again after the list was given back. */
static void many(void **state) {
        enum { N = 1100 };
        Rig *rig = *state;
        char name[64];

        begin(rig);
        for (unsigned i = N; i > 0; i--) {
                (void) snprintf(name, sizeof(name), "1-%020u-1-1.otlp", i);
                put(rig, name, "");
        }
        for (unsigned round = 0; round < 2; round++) {
                assert_int_equal(collect_scan(&rig->collect), 0);
                for (unsigned i = 1; i <= N; i++) {
                        (void) snprintf(name, sizeof(name), "1-%020u-1-1.otlp", i);
                        assert_string_equal(collect_next(&rig->collect), name);
                }
                assert_null(collect_next(&rig->collect));
        }
}

/* Dot files are somebody's for an hour; what was set aside stays a day. */
static void dot_files(void **state) {
        Rig *rig = *state;

        begin(rig);
        put(rig, ".writing", "");
        put(rig, COLLECT_ASIDE "x", "");
        assert_int_equal(mkdir(path_of(rig, ".dir"), 0700), 0);
        later_ns = COLLECT_STALE_NS - 5 * NSEC_PER_SEC;
        assert_int_equal(collect_scan(&rig->collect), 0);
        assert_null(collect_next(&rig->collect));
        assert_true(there(rig, ".writing"));
        assert_true(there(rig, ".dir"));
        later_ns = COLLECT_STALE_NS + 60 * NSEC_PER_SEC;
        assert_int_equal(collect_scan(&rig->collect), 0);
        assert_false(there(rig, ".writing"));
        assert_false(there(rig, ".dir"));
        assert_true(there(rig, COLLECT_ASIDE "x"));
        later_ns = COLLECT_ASIDE_NS - 5 * NSEC_PER_SEC;
        assert_int_equal(collect_scan(&rig->collect), 0);
        assert_true(there(rig, COLLECT_ASIDE "x"));
        later_ns = COLLECT_ASIDE_NS + 60 * NSEC_PER_SEC;
        assert_int_equal(collect_scan(&rig->collect), 0);
        assert_false(there(rig, COLLECT_ASIDE "x"));
        assert_int_equal(collect_take_foreign(&rig->collect), 0);
}

/* A clock that was set back makes no file old. */
static void clock_set_back(void **state) {
        Rig *rig = *state;

        begin(rig);
        put(rig, ".writing", "");
        later_ns = -(uint64_t) (10 * COLLECT_STALE_NS);
        assert_int_equal(collect_scan(&rig->collect), 0);
        assert_true(there(rig, ".writing"));
}

/* What is no spool file's name is removed and counted; another version's files are left alone while they are young. */
static void foreign_names(void **state) {
        static const struct {
                const char *name;
                bool stays;
        } cases[] = {
                { "hello", false },
                { "2-anything.otlp", true },
                { "0-x.otlp", true },
                { "12-00000000000000000003-1-1.otlp", true },
                { "1-notanumber.otlp", false },
                { "2-.otlp", true },
                { "2.otlp", false },
                { "2-x.txt", false },
                { "-x.otlp", false },
                { "1-00000000000000000003-1-1.otl", false },
        };
        Rig *rig = *state;
        unsigned n = 0;

        begin(rig);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                put(rig, cases[i].name, "");
                n += !cases[i].stays;
        }
        assert_int_equal(mkdir(path_of(rig, "empty"), 0700), 0);
        assert_int_equal(mkdir(path_of(rig, "full"), 0700), 0);
        assert_int_equal(mkdir(path_of(rig, "full/x"), 0700), 0);
        assert_int_equal(symlink("/", path_of(rig, "link")), 0);
        assert_int_equal(collect_scan(&rig->collect), 0);
        assert_null(collect_next(&rig->collect));
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                if (there(rig, cases[i].name) != cases[i].stays)
                        fail_msg("%s", cases[i].name);
        assert_false(there(rig, "empty"));
        assert_false(there(rig, "full"));
        assert_false(there(rig, "link"));
        assert_true(there(rig, COLLECT_ASIDE "full/x"));
        assert_int_equal(collect_take_foreign(&rig->collect), n + 3);
        assert_int_equal(collect_take_foreign(&rig->collect), 0);

        later_ns = COLLECT_STALE_NS + 60 * NSEC_PER_SEC;
        assert_int_equal(collect_scan(&rig->collect), 0);
        assert_int_equal(collect_take_foreign(&rig->collect), ARRAY_SIZE(cases) - n);
        assert_int_equal(n_entries(rig, COLLECT_ASIDE), 1);
}

/* A directory with the longest name there can be gets out of the way, too. */
static void long_name(void **state) {
        Rig *rig = *state;
        char name[256], inside[300];

        begin(rig);
        memset(name, 'x', 255);
        name[255] = 0;
        (void) snprintf(inside, sizeof(inside), "%s/y", name);
        assert_int_equal(mkdir(path_of(rig, name), 0700), 0);
        assert_int_equal(mkdir(path_of(rig, inside), 0700), 0);
        assert_int_equal(collect_scan(&rig->collect), 0);
        assert_false(there(rig, name));
        assert_int_equal(collect_take_foreign(&rig->collect), 1);
        assert_int_equal(n_entries(rig, COLLECT_ASIDE), 1);
}

/* What cannot be a spool file is said to be none; a directory in its place gets out of the way. */
static void bad_files(void **state) {
        Rig *rig = *state;
        uint8_t *data = NULL;
        size_t size = 7;
        int fd;

        begin(rig);
        assert_int_equal(mkdir(path_of(rig, A), 0700), 0);
        assert_int_equal(symlink("/etc/passwd", path_of(rig, B)), 0);
        put(rig, C, "");
        fd = open(path_of(rig, C), O_WRONLY | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, (off_t) SPOOL_FILE_MAX + 1), 0);
        close_fd(fd);
        assert_int_equal(collect_read(&rig->collect, A, &data, &size), -EBADMSG);
        assert_int_equal(collect_read(&rig->collect, B, &data, &size), -EBADMSG);
        assert_int_equal(collect_read(&rig->collect, C, &data, &size), -EBADMSG);
        assert_int_equal(collect_read(&rig->collect, "none", &data, &size), -ENOENT);
        assert_null(data);
        assert_int_equal(size, 7);

        assert_int_equal(mkdir(path_of(rig, A "/x"), 0700), 0);
        assert_int_equal(collect_remove(&rig->collect, A), 0);
        assert_false(there(rig, A));
        assert_true(there(rig, COLLECT_ASIDE A "/x"));
        assert_int_equal(collect_remove(&rig->collect, B), 0);
        assert_false(there(rig, B));
        assert_int_equal(access("/etc/passwd", F_OK), 0);
}

/* Few are set aside; the next ones are removed. */
static void set_aside(void **state) {
        Rig *rig = *state;
        char name[64];

        begin(rig);
        assert_int_equal(collect_scan(&rig->collect), 0);
        for (unsigned i = 0; i < COLLECT_ASIDE_MAX + 2; i++) {
                (void) snprintf(name, sizeof(name), "1-%020u-1-1.otlp", i);
                put(rig, name, "");
                assert_int_equal(collect_set_aside(&rig->collect, name), 0);
                assert_false(there(rig, name));
                assert_int_equal(n_entries(rig, COLLECT_ASIDE), i < COLLECT_ASIDE_MAX ? i + 1 : COLLECT_ASIDE_MAX);
                /* As a podspand that begins anew counts them. */
                assert_int_equal(collect_scan(&rig->collect), 0);
        }
}

/* One that can be neither removed nor renamed is not given again. */
static void cannot_be_removed(void **state) {
        Rig *rig = *state;

        if (geteuid() != 0)
                skip();
        begin(rig);
        put(rig, A, "");
        put(rig, B, "");
        assert_int_equal(chown(path_of(rig, ""), 65534, (gid_t) -1), 0);
        assert_int_equal(chmod(path_of(rig, ""), 01755), 0);
        assert_int_equal(seteuid(65533), 0);
        assert_true(collect_remove(&rig->collect, A) < 0);
        assert_int_equal(seteuid(0), 0);
        assert_int_equal(collect_scan(&rig->collect), 0);
        assert_string_equal(collect_next(&rig->collect), B);
        assert_null(collect_next(&rig->collect));
}

/* One collects it at a time; another directory in its place is noticed. */
static void one_at_a_time(void **state) {
        Rig *rig = *state;
        Collect other = COLLECT_NULL;
        char path[512];

        assert_false(collect_current(&rig->collect));
        begin(rig);
        assert_true(collect_current(&rig->collect));
        assert_int_equal(collect_init(&other, rig->loop, rig->state_fd, on_change), -EBUSY);
        collect_deinit(&other);

        (void) snprintf(path, sizeof(path), "%s/old", rig->dir);
        assert_int_equal(rename(path_of(rig, ""), path), 0);
        assert_false(collect_current(&rig->collect));
        assert_int_equal(mkdir(path_of(rig, ""), 0755), 0);
        assert_false(collect_current(&rig->collect));
        collect_deinit(&rig->collect);
        begin(rig);
        assert_true(collect_current(&rig->collect));
        collect_deinit(&rig->collect);

        /* Others than its group may not write there. */
        assert_int_equal(chmod(path_of(rig, ""), 0777), 0);
        assert_int_equal(collect_init(&other, rig->loop, rig->state_fd, on_change), -EPERM);
        collect_deinit(&other);
}

/* STATE is made where it is missing, with its counters and spool, and noticed when it is another. */
static void state_directory(void **state) {
        Rig *rig = *state;
        StateDir dir;
        struct stat st;
        char path[256], moved[128];
        mode_t mask = umask(077);
        int fd;

        (void) snprintf(path, sizeof(path), "%s/made", rig->dir);
        (void) snprintf(moved, sizeof(moved), "%s/moved", rig->dir);
        assert_int_equal(statedir_open(&dir, path, rig->loop, on_change), 0);
        (void) umask(mask);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0755);
        assert_true(counters_shared(dir.counters));
        assert_true(statedir_current(&dir));
        assert_int_equal(rename(path, moved), 0);
        assert_false(statedir_current(&dir));
        assert_int_equal(mkdir(path, 0755), 0);
        assert_false(statedir_current(&dir));
        statedir_close(&dir);
        assert_false(statedir_current(&dir));
        assert_int_equal(statedir_open(&dir, path, rig->loop, on_change), 0);
        assert_true(statedir_current(&dir));
        statedir_close(&dir);

        /* One that is there keeps its mode. */
        assert_int_equal(chmod(path, 0700), 0);
        assert_int_equal(statedir_make(path, 02750, &fd), 0);
        close_fd(fd);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        (void) snprintf(path, sizeof(path), "%s/none/below", rig->dir);
        assert_int_equal(statedir_make(path, 0755, &fd), -ENOENT);
        assert_int_equal(statedir_open(&dir, path, rig->loop, on_change), -ENOENT);
        statedir_close(&dir);

        (void) snprintf(path, sizeof(path), "%s/spool", moved);
        assert_int_equal(chmod(path, 0777), 0);
        assert_int_equal(statedir_open(&dir, moved, rig->loop, on_change), -EPERM);
        assert_int_equal(counters_get(dir.counters, COUNTERS_AGENT, COUNTERS_UNTRUSTED), 1);
        statedir_close(&dir);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(in_order, setup, teardown),
                cmocka_unit_test_setup_teardown(many, setup, teardown),
                cmocka_unit_test_setup_teardown(dot_files, setup, teardown),
                cmocka_unit_test_setup_teardown(clock_set_back, setup, teardown),
                cmocka_unit_test_setup_teardown(foreign_names, setup, teardown),
                cmocka_unit_test_setup_teardown(long_name, setup, teardown),
                cmocka_unit_test_setup_teardown(bad_files, setup, teardown),
                cmocka_unit_test_setup_teardown(set_aside, setup, teardown),
                cmocka_unit_test_setup_teardown(cannot_be_removed, setup, teardown),
                cmocka_unit_test_setup_teardown(one_at_a_time, setup, teardown),
                cmocka_unit_test_setup_teardown(state_directory, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
