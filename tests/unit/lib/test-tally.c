#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "tally.h"

#define MINUTE (60 * NSEC_PER_SEC)
#define NOW    (1000000 * MINUTE)

static char dir[32];
static int dir_fd = -EBADF;

typedef struct Result {
        unsigned n;
        char method[TALLY_METHOD_MAX + 1];
        TallyCell sum;
        uint64_t n_calls;
} Result;

static int on_method(const char *method, const TallyCell *sum, void *userdata) {
        Result *result = userdata;

        result->n++;
        (void) snprintf(result->method, sizeof(result->method), "%s", method);
        result->sum = *sum;
        result->n_calls += sum->n;
        return 0;
}

static Result list(const Tally *tally, uint64_t now_ns, unsigned minutes) {
        Result result = {};

        assert_int_equal(tally_list(tally, now_ns, minutes, on_method, &result), 0);
        return result;
}

static int setup(void **state) {
        (void) state;

        strcpy(dir, "/tmp/test-tally-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir_fd < 0 ? -1 : 0;
}

static int teardown(void **state) {
        (void) state;

        (void) unlinkat(dir_fd, "tally", 0);
        (void) unlinkat(dir_fd, "victim", 0);
        dir_fd = close_fd(dir_fd);
        return rmdir(dir);
}

static void test_count(void **state) {
        _cleanup_(tally_freep) Tally *tally = NULL, *reader = NULL;
        struct stat st;
        Result result;

        (void) state;

        assert_null(tally_open(dir_fd, false));
        (void) umask(022);
        tally = tally_open(dir_fd, true);
        assert_non_null(tally);
        assert_int_equal(fstatat(dir_fd, "tally", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_true(st.st_blocks * 512 >= st.st_size);
        assert_int_equal(list(tally, NOW, 60).n, 0);

        tally_add(tally, "a/List", NOW - 2 * MINUTE, 30, true, false);
        tally_add(tally, "a/List", NOW, 10, false, false);
        tally_add(tally, "a/List", NOW, 50, false, true);

        /* The writer dies; what it counted is there. */
        tally = tally_free(tally);
        reader = tally_open(dir_fd, false);
        assert_non_null(reader);
        result = list(reader, NOW, 60);
        assert_int_equal(result.n, 1);
        assert_string_equal(result.method, "a/List");
        assert_int_equal(result.sum.n, 3);
        assert_int_equal(result.sum.n_failed, 1);
        assert_int_equal(result.sum.n_slow, 1);
        assert_int_equal(result.sum.sum_ns, 90);
        assert_int_equal(result.sum.max_ns, 50);
        assert_true(result.sum.minute == NOW / MINUTE);

        assert_int_equal(list(reader, NOW, 2).sum.n, 2);
        assert_int_equal(list(reader, NOW, 3).sum.n, 3);
        assert_int_equal(list(reader, NOW, 0).n, 0);
        assert_int_equal(list(reader, NOW + 57 * MINUTE, 60).sum.n, 3);
        assert_int_equal(list(reader, NOW + 58 * MINUTE, 60).sum.n, 2);
        assert_int_equal(list(reader, NOW + 60 * MINUTE, 1000).n, 0);

        /* A new writer goes on. */
        tally = tally_open(dir_fd, true);
        tally_add(tally, "a/List", NOW, 1, false, false);
        assert_int_equal(list(tally, NOW, 1).sum.n, 3);
}

static void test_ring(void **state) {
        _cleanup_(tally_freep) Tally *tally = NULL;

        (void) state;

        tally = tally_open(dir_fd, true);
        assert_non_null(tally);
        for (unsigned i = 0; i < 100; i++)
                tally_add(tally, "m", NOW + i * MINUTE, 1, false, false);
        assert_int_equal(list(tally, NOW + 99 * MINUTE, 60).sum.n, 60);
}

static void test_bounds(void **state) {
        _cleanup_(tally_freep) Tally *tally = NULL;
        char name[200];
        Result result;

        (void) state;

        tally = tally_open(dir_fd, true);
        assert_non_null(tally);
        for (unsigned i = 0; i < 200; i++) {
                (void) snprintf(name, sizeof(name), "method-%u", i);
                tally_add(tally, name, NOW, 1, false, false);
        }
        result = list(tally, NOW, 60);
        assert_int_equal(result.n, TALLY_METHODS);
        assert_string_equal(result.method, "_OTHER");
        assert_int_equal(result.sum.n, 200 - (TALLY_METHODS - 1));
        assert_int_equal(result.n_calls, 200);
}

static void test_long_name(void **state) {
        _cleanup_(tally_freep) Tally *tally = NULL;
        char name[200];
        Result result;

        (void) state;

        memset(name, 'x', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        tally = tally_open(dir_fd, true);
        tally_add(tally, name, NOW, 1, false, false);
        tally_add(tally, name, NOW, 1, false, false);
        result = list(tally, NOW, 60);
        assert_int_equal(result.n, 1);
        assert_int_equal(strlen(result.method), TALLY_METHOD_MAX);
        assert_int_equal(result.sum.n, 2);
}

static void write_at(const void *data, size_t size, off_t offset) {
        int fd = openat(dir_fd, "tally", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, data, size, offset), size);
        (void) close(fd);
}

/* Whatever stands in its place is replaced by the writer and refused by the reader. */
static void test_hostile_file(void **state) {
        _cleanup_(tally_freep) Tally *tally = NULL, *old = NULL;
        struct stat st;
        char c;
        int fd;

        (void) state;

        write_at("short", 5, 0);
        assert_null(tally_open(dir_fd, false));
        tally = tally_open(dir_fd, true);
        assert_non_null(tally);
        tally_add(tally, "m", NOW, 1, false, false);
        tally = tally_free(tally);

        /* Each byte of the header counts. */
        fd = openat(dir_fd, "tally", O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        for (off_t i = 0; i < 32; i++) {
                assert_int_equal(pread(fd, &c, 1, i), 1);
                c ^= 0x20;
                assert_int_equal(pwrite(fd, &c, 1, i), 1);
                assert_null(tally_open(dir_fd, false));
                c ^= 0x20;
                assert_int_equal(pwrite(fd, &c, 1, i), 1);
        }
        old = tally_open(dir_fd, false);
        assert_non_null(old);
        (void) close(fd);

        /* Cut off. */
        assert_int_equal(fstatat(dir_fd, "tally", &st, 0), 0);
        fd = openat(dir_fd, "tally", O_RDWR | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
        (void) close(fd);
        assert_null(tally_open(dir_fd, false));
        tally = tally_open(dir_fd, true);
        assert_non_null(tally);
        assert_int_equal(list(tally, NOW, 60).n, 0);
        /* The copy a reader took is its own. */
        assert_int_equal(list(old, NOW, 60).n, 1);
        tally = tally_free(tally);

        /* Full of ones after the header: nothing to find, nothing to crash on. */
        {
                _cleanup_free_ char *ones = malloc((size_t) st.st_size - 32);

                assert_non_null(ones);
                memset(ones, 0xff, (size_t) st.st_size - 32);
                write_at(ones, (size_t) st.st_size - 32, 32);
        }
        tally = tally_open(dir_fd, true);
        assert_non_null(tally);
        tally_add(tally, "m", NOW, 1, false, false);
        assert_int_equal(list(tally, NOW, 60).n, 0);
        tally = tally_free(tally);

        /* A link leads nowhere. */
        assert_int_equal(unlinkat(dir_fd, "tally", 0), 0);
        fd = openat(dir_fd, "victim", O_WRONLY | O_CREAT | O_EXCL, 0600);
        assert_true(fd >= 0);
        (void) close(fd);
        assert_int_equal(symlinkat("victim", dir_fd, "tally"), 0);
        assert_null(tally_open(dir_fd, false));
        tally = tally_open(dir_fd, true);
        assert_non_null(tally);
        assert_int_equal(fstatat(dir_fd, "victim", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(st.st_size, 0);
        assert_int_equal(fstatat(dir_fd, "tally", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(S_ISREG(st.st_mode));
}

static int on_stop(const char *method, const TallyCell *sum, void *userdata) {
        (void) method;
        (void) sum;

        ++*(unsigned *) userdata;
        return -ECANCELED;
}

/* A writer is seen while it lives, several are one, and asking takes nothing from them. */
/* A file that somebody else could cut short is not mapped but replaced. */
static void test_writable_by_others(void **state) {
        struct stat st;
        Tally *tally;

        (void) state;

        tally = tally_open(dir_fd, true);
        tally_add(tally, "a", NOW, 1, false, false);
        assert_null(tally_free(tally));
        assert_int_equal(fchmodat(dir_fd, "tally", 0660, 0), 0);
        tally = tally_open(dir_fd, true);
        assert_non_null(tally);
        assert_int_equal(list(tally, NOW, TALLY_MINUTES).n, 0);
        assert_int_equal(fstatat(dir_fd, "tally", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_null(tally_free(tally));
}

static void test_writer(void **state) {
        Tally *first, *second;

        (void) state;

        assert_false(tally_has_writer(dir_fd));
        first = tally_open(dir_fd, true);
        assert_non_null(first);
        assert_true(tally_has_writer(dir_fd));
        assert_true(tally_has_writer(dir_fd));

        second = tally_open(dir_fd, true);
        first = tally_free(first);
        assert_true(tally_has_writer(dir_fd));
        second = tally_free(second);
        assert_false(tally_has_writer(dir_fd));
        first = tally_open(dir_fd, false);
        assert_non_null(first);
        assert_false(tally_has_writer(dir_fd));
        tally_free(first);
}

/* A member of STATE's group can lock what it may read, and can make a file where there is none. */
static void test_reader_is_no_writer(void **state) {
        struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
        Tally *tally;
        int fd;

        (void) state;

        tally = tally_free(tally_open(dir_fd, true));
        fd = openat(dir_fd, "tally", O_RDONLY | O_CLOEXEC);
        assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
        assert_false(tally_has_writer(dir_fd));
        (void) close(fd);

        tally = tally_open(dir_fd, true);
        tally_add(tally, "a", NOW, 1, false, false);
        assert_true(tally_has_writer(dir_fd));
        assert_int_equal(fchmodat(dir_fd, "tally", 0660, 0), 0);
        assert_false(tally_has_writer(dir_fd));
        assert_null(tally_open(dir_fd, false));
        assert_int_equal(fchmodat(dir_fd, "tally", 0640, 0), 0);
        if (geteuid() == 0) {
                assert_int_equal(fchownat(dir_fd, "tally", 1, -1, 0), 0);
                assert_false(tally_has_writer(dir_fd));
                assert_null(tally_open(dir_fd, false));
        }
        tally_free(tally);
}

static void test_stop(void **state) {
        _cleanup_(tally_freep) Tally *tally = NULL;
        unsigned n = 0;

        (void) state;

        tally = tally_open(dir_fd, true);
        tally_add(tally, "a", NOW, 1, false, false);
        tally_add(tally, "b", NOW, 1, false, false);
        assert_int_equal(tally_list(tally, NOW, 60, on_stop, &n), -ECANCELED);
        assert_int_equal(n, 1);

        tally_add(NULL, "a", NOW, 1, false, false);
        assert_int_equal(tally_list(NULL, NOW, 60, on_stop, &n), 0);
        assert_null(tally_free(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_count, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ring, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
                cmocka_unit_test_setup_teardown(test_long_name, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hostile_file, setup, teardown),
                cmocka_unit_test_setup_teardown(test_writable_by_others, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
                cmocka_unit_test_setup_teardown(test_writer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_reader_is_no_writer, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
