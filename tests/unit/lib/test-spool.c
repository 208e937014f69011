#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "clk.h"
#include "otlp.pb-c.h"
#include "spool.h"

typedef struct Fixture {
        char path[32];
        int fd;
        Counters *counters;
        Span *span;
} Fixture;

static int setup(void **state) {
        static Fixture fixture;
        TraceContext context;

        strcpy(fixture.path, "/tmp/test-spool-XXXXXX");
        assert_non_null(mkdtemp(fixture.path));
        fixture.fd = open(fixture.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fixture.fd >= 0);
        fixture.counters = counters_open(-EBADF, false);
        assert_int_equal(tracecontext_new_root(&context), 0);
        assert_int_equal(span_new("span", SPAN_KIND_INTERNAL, &context, NULL, &fixture.span), 0);
        *state = &fixture;
        return 0;
}

/* Calls @fn for every file of the spool, dot files included; returns their number. */
static unsigned each_file(const Fixture *fixture, void (*fn)(int dir_fd, const char *name)) {
        int fd = openat(fixture->fd, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dirent *entry;
        unsigned n = 0;
        DIR *dir;

        if (fd < 0)
                return 0;
        dir = fdopendir(fd);
        assert_non_null(dir);
        while ((entry = readdir(dir))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                n++;
                if (fn)
                        fn(fd, entry->d_name);
        }
        closedir(dir);
        return n;
}

static void remove_file(int dir_fd, const char *name) {
        assert_int_equal(unlinkat(dir_fd, name, 0), 0);
}

static void remove_spool(const Fixture *fixture) {
        (void) each_file(fixture, remove_file);
        assert_int_equal(unlinkat(fixture->fd, "spool", AT_REMOVEDIR), 0);
}

static int teardown(void **state) {
        Fixture *fixture = *state;
        char path[64];

        (void) snprintf(path, sizeof(path), "%s/spool", fixture->path);
        (void) umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
        if (faccessat(fixture->fd, "spool", F_OK, 0) == 0)
                remove_spool(fixture);
        close_fd(fixture->fd);
        assert_int_equal(rmdir(fixture->path), 0);
        counters_free(fixture->counters);
        span_free(fixture->span);
        return 0;
}

static uint64_t counted(const Fixture *fixture, CountersId id) {
        return counters_get(fixture->counters, COUNTERS_HOOK, id);
}

static unsigned n_decoded;

static void check_file(int dir_fd, const char *name) {
        Podspan__Otlp__TracesData *traces;
        uint8_t data[4096];
        struct stat st;
        ssize_t size;
        int fd;

        assert_true(spool_name_valid(name));
        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        size = read(fd, data, sizeof(data));
        assert_true(size > 0);
        close_fd(fd);

        traces = podspan__otlp__traces_data__unpack(NULL, (size_t) size, data);
        assert_non_null(traces);
        assert_int_equal(traces->n_resource_spans, 1);
        n_decoded += (unsigned) traces->resource_spans[0]->scope_spans[0]->n_spans;
        podspan__otlp__traces_data__free_unpacked(traces, NULL);
}

static void writes(void **state) {
        Fixture *fixture = *state;
        Span *const spans[] = { fixture->span, fixture->span };
        struct stat st;
        Spool spool;

        assert_int_equal(spool_create(fixture->fd), 0);
        assert_int_equal(spool_create(fixture->fd), 0);
        assert_int_equal(fstatat(fixture->fd, "spool", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 02770);

        assert_int_equal(spool_init(&spool, fixture->fd, COUNTERS_HOOK, fixture->counters), 0);
        assert_true(spool_wanted(&spool, fixture->fd));
        assert_false(spool.own_fs);
        assert_int_equal(spool_write(&spool, "podspan-test", spans, 2), 0);
        assert_int_equal(spool_write(&spool, "podspan-test", spans, 1), 0);
        assert_int_equal(spool_write(&spool, "podspan-test", spans, 0), 0);
        assert_int_equal(counted(fixture, COUNTERS_SPANS_WRITTEN), 3);

        n_decoded = 0;
        assert_int_equal(each_file(fixture, check_file), 2);
        assert_int_equal(n_decoded, 3);
        spool_deinit(&spool);
        spool_deinit(&spool);
}

static Clk later(void) {
        return (Clk){ .realtime_ns = UINT64_C(1) << 60, .monotonic_ns = UINT64_C(1) << 60 };
}

static void wanted_later(void **state) {
        Fixture *fixture = *state;
        Spool spool;

        assert_int_equal(spool_init(&spool, fixture->fd, COUNTERS_HOOK, fixture->counters), 0);
        assert_false(spool_wanted(&spool, fixture->fd));
        assert_int_equal(spool_write(&spool, "podspan-test", &fixture->span, 1), 0);
        assert_int_equal(counted(fixture, COUNTERS_SPANS_WRITTEN), 0);

        /* Not asked again within the second, then found. */
        assert_int_equal(spool_create(fixture->fd), 0);
        assert_false(spool_wanted(&spool, fixture->fd));
        clk_override(later);
        assert_true(spool_wanted(&spool, fixture->fd));
        clk_override(NULL);
        assert_int_equal(spool_write(&spool, "podspan-test", &fixture->span, 1), 0);
        assert_int_equal(each_file(fixture, NULL), 1);
        spool_deinit(&spool);
}

static void removed_under_us(void **state) {
        Fixture *fixture = *state;
        Spool spool;

        assert_int_equal(spool_create(fixture->fd), 0);
        assert_int_equal(spool_init(&spool, fixture->fd, COUNTERS_HOOK, fixture->counters), 0);

        remove_spool(fixture);
        assert_int_equal(spool_create(fixture->fd), 0);
        assert_int_equal(spool_write(&spool, "podspan-test", &fixture->span, 1), 0);
        assert_int_equal(each_file(fixture, NULL), 1);
        assert_int_equal(counted(fixture, COUNTERS_SPANS_WRITTEN), 1);

        /* Gone for good: counted once, then nobody wants spans. */
        remove_spool(fixture);
        assert_int_equal(spool_write(&spool, "podspan-test", &fixture->span, 1), -ENOENT);
        assert_int_equal(counted(fixture, COUNTERS_DROP_IO), 1);
        assert_false(spool_wanted(&spool, fixture->fd));
        assert_int_equal(spool_write(&spool, "podspan-test", &fixture->span, 1), 0);
        assert_int_equal(counted(fixture, COUNTERS_DROP_IO), 1);
        spool_deinit(&spool);
}

static void not_a_directory(void **state) {
        Fixture *fixture = *state;
        Spool spool;

        assert_int_equal(symlinkat("/tmp", fixture->fd, "spool"), 0);
        assert_true(spool_init(&spool, fixture->fd, COUNTERS_HOOK, fixture->counters) < 0);
        assert_false(spool_wanted(&spool, fixture->fd));
        spool_deinit(&spool);
        assert_int_equal(unlinkat(fixture->fd, "spool", 0), 0);
}

/* A file that cannot be made leaves nothing behind and is counted. */
static void failing_write(void **state) {
        Fixture *fixture = *state;
        struct rlimit limit, before;
        Spool spool;
        int r;

        assert_int_equal(spool_create(fixture->fd), 0);
        assert_int_equal(spool_init(&spool, fixture->fd, COUNTERS_HOOK, fixture->counters), 0);

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        limit = before;
        limit.rlim_cur = (rlim_t) spool.dir_fd + 1;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        r = spool_write(&spool, "podspan-test", &fixture->span, 1);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(r, -EMFILE);
        assert_int_equal(counted(fixture, COUNTERS_DROP_IO), 1);
        assert_int_equal(each_file(fixture, NULL), 0);
        spool_deinit(&spool);
}

static Span *big_span(void) {
        static char keys[SPAN_ATTRS_MAX][8];
        char value[SPAN_VALUE_MAX + 1];
        TraceContext context;
        Span *span;

        memset(value, 'v', sizeof(value) - 1);
        value[sizeof(value) - 1] = '\0';
        assert_int_equal(tracecontext_new_root(&context), 0);
        assert_int_equal(span_new("big", SPAN_KIND_INTERNAL, &context, NULL, &span), 0);
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                (void) snprintf(keys[i], sizeof(keys[i]), "k%zu", i);
                span_attr_str(span, keys[i], value);
        }
        return span;
}

static void check_size(int dir_fd, const char *name) {
        struct stat st;

        assert_int_equal(fstatat(dir_fd, name, &st, 0), 0);
        assert_in_range(st.st_size, 1, SPOOL_FILE_MAX);
}

static void too_much_for_one_file(void **state) {
        Fixture *fixture = *state;
        Span *big = big_span(), *spans[100];
        Spool spool;

        for (size_t i = 0; i < ARRAY_SIZE(spans); i++)
                spans[i] = big;

        assert_int_equal(spool_create(fixture->fd), 0);
        assert_int_equal(spool_init(&spool, fixture->fd, COUNTERS_HOOK, fixture->counters), 0);
        assert_int_equal(spool_write(&spool, "podspan-test", spans, ARRAY_SIZE(spans)), 0);
        assert_int_equal(counted(fixture, COUNTERS_SPANS_WRITTEN), ARRAY_SIZE(spans));
        assert_int_equal(each_file(fixture, check_size), 2);
        spool_deinit(&spool);
        span_free(big);
}

/* A small tmpfs of its own, filled to the brim: written until the kernel refuses. */
static void full_tmpfs(void **state) {
        Fixture *fixture = *state;
        char path[64];
        unsigned n = 0;
        Spool spool;
        int r;

        if (geteuid() != 0)
                skip();

        assert_int_equal(spool_create(fixture->fd), 0);
        (void) snprintf(path, sizeof(path), "%s/spool", fixture->path);
        if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=2770") < 0)
                skip();

        assert_int_equal(spool_init(&spool, fixture->fd, COUNTERS_HOOK, fixture->counters), 0);
        assert_true(spool.own_fs);
        while ((r = spool_write(&spool, "podspan-test", &fixture->span, 1)) == 0)
                n++;
        assert_int_equal(r, -ENOSPC);
        assert_true(n >= 15);
        assert_int_equal(counted(fixture, COUNTERS_SPANS_WRITTEN), n);
        assert_int_equal(counted(fixture, COUNTERS_DROP_NO_SPACE), 1);
        n_decoded = 0;
        assert_int_equal(each_file(fixture, check_file), n);
        assert_int_equal(n_decoded, n);

        /* In a plain directory of the same size nine tenths are the limit. */
        (void) each_file(fixture, remove_file);
        spool.own_fs = false;
        for (n = 0; (r = spool_write(&spool, "podspan-test", &fixture->span, 1)) == 0;)
                n++;
        assert_int_equal(r, -ENOSPC);
        assert_int_equal(n, 15); /* of 16 pages */

        spool_deinit(&spool);
}

/* A tmpfs without a free inode. */
static void no_inodes(void **state) {
        Fixture *fixture = *state;
        char path[64];
        Spool spool;

        if (geteuid() != 0)
                skip();

        assert_int_equal(spool_create(fixture->fd), 0);
        (void) snprintf(path, sizeof(path), "%s/spool", fixture->path);
        if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=3,mode=2770") < 0)
                skip();

        assert_int_equal(spool_init(&spool, fixture->fd, COUNTERS_HOOK, fixture->counters), 0);
        assert_int_equal(spool_write(&spool, "podspan-test", &fixture->span, 1), 0);
        assert_int_equal(spool_write(&spool, "podspan-test", &fixture->span, 1), 0);
        assert_int_equal(spool_write(&spool, "podspan-test", &fixture->span, 1), -ENOSPC);
        assert_int_equal(counted(fixture, COUNTERS_DROP_NO_SPACE), 1);
        spool_deinit(&spool);
}

static void names(void **state) {
        static const char *const good[] = {
                "1-01795256731505233631-32072-0.otlp",
                "1-00000000000000000000-1-ffffffffffffffff.otlp",
        };
        static const char *const bad[] = {
                "",
                ".",
                "1",
                "1-",
                ".1-01795256731505233631-32072-0.otlp",
                "2-01795256731505233631-32072-0.otlp",
                "1-1795256731505233631-32072-0.otlp",
                "1-017952567315052336310-32072-0.otlp",
                "1-01795256731505233631--0.otlp",
                "1-01795256731505233631-32072-.otlp",
                "1-01795256731505233631-32072-G.otlp",
                "1-01795256731505233631-32072-A.otlp",
                "1-01795256731505233631-32072-0",
                "1-01795256731505233631-32072-0.otlp~",
                "1-01795256731505233631-32072-0.tmp",
                "1-01795256731505233631-32072-00000000000000000.otlp",
                "1-01795256731505233631-32072-0/.otlp",
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                assert_true(spool_name_valid(good[i]));
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                if (spool_name_valid(bad[i]))
                        fail_msg("'%s' is no name", bad[i]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(writes, setup, teardown),
                cmocka_unit_test_setup_teardown(wanted_later, setup, teardown),
                cmocka_unit_test_setup_teardown(removed_under_us, setup, teardown),
                cmocka_unit_test_setup_teardown(not_a_directory, setup, teardown),
                cmocka_unit_test_setup_teardown(failing_write, setup, teardown),
                cmocka_unit_test_setup_teardown(too_much_for_one_file, setup, teardown),
                cmocka_unit_test_setup_teardown(full_tmpfs, setup, teardown),
                cmocka_unit_test_setup_teardown(no_inodes, setup, teardown),
                cmocka_unit_test(names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
