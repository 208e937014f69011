#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "counters.h"

#define SIZE (64 + 8 * COUNTERS_PRODUCER_SLOTS * COUNTERS_ID_SLOTS)

typedef struct Fixture {
        char path[32];
        int fd;
} Fixture;

static int setup(void **state) {
        static Fixture fixture;

        strcpy(fixture.path, "/tmp/test-counters-XXXXXX");
        assert_non_null(mkdtemp(fixture.path));
        fixture.fd = open(fixture.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fixture.fd >= 0);
        *state = &fixture;
        return 0;
}

static int teardown(void **state) {
        Fixture *fixture = *state;

        (void) unlinkat(fixture->fd, "counters", 0);
        close_fd(fixture->fd);
        /* fails if a temporary name was left */
        assert_int_equal(rmdir(fixture->path), 0);
        return 0;
}

static void shares(void **state) {
        Fixture *fixture = *state;
        Counters *writer, *reader;
        struct stat st;

        writer = counters_open(fixture->fd, false);
        assert_non_null(writer);
        assert_false(counters_shared(writer));
        counters_free(writer);

        writer = counters_open(fixture->fd, true);
        reader = counters_open(fixture->fd, false);
        assert_true(counters_shared(writer));
        assert_true(counters_shared(reader));
        assert_int_equal(fstatat(fixture->fd, "counters", &st, 0), 0);
        assert_int_equal(st.st_size, SIZE);
        assert_int_equal(st.st_mode & 07777, 0640);

        counters_add(writer, COUNTERS_HOOK, COUNTERS_SPANS_WRITTEN, 3);
        counters_add(reader, COUNTERS_HOOK, COUNTERS_SPANS_WRITTEN, UINT64_C(1) << 40);
        assert_int_equal(counters_get(reader, COUNTERS_HOOK, COUNTERS_SPANS_WRITTEN), (UINT64_C(1) << 40) + 3);
        assert_int_equal(counters_get(writer, COUNTERS_CRI, COUNTERS_SPANS_WRITTEN), 0);
        assert_int_equal(counters_get(writer, COUNTERS_HOOK, COUNTERS_DROP_NO_SPACE), 0);

        /* Creating again keeps what is there. */
        counters_free(writer);
        writer = counters_open(fixture->fd, true);
        assert_int_equal(counters_get(writer, COUNTERS_HOOK, COUNTERS_SPANS_WRITTEN), (UINT64_C(1) << 40) + 3);
        counters_free(writer);
        counters_free(reader);
}

static void layout(void **state) {
        Fixture *fixture = *state;
        Counters *counters = counters_open(fixture->fd, true);
        uint8_t header[64] = "podspan-counters";
        uint8_t raw[SIZE];
        const uint32_t numbers[] = { 1, 16, 64 };
        uint64_t value;
        int fd;

        memcpy(header + 16, numbers, sizeof(numbers));
        counters_add(counters, COUNTERS_PROBE, COUNTERS_AGENT_TIMEOUTS, 77);
        counters_free(counters);

        fd = openat(fixture->fd, "counters", O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(fd, raw, sizeof(raw)), SIZE);
        close_fd(fd);
        assert_memory_equal(raw, header, sizeof(header));
        memcpy(&value, raw + 64 + 8 * (6 * 64 + 25), sizeof(value));
        assert_int_equal(value, 77);
}

static void put(int dir_fd, const void *data, size_t size) {
        int fd = openat(dir_fd, "counters", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
        close_fd(fd);
}

static void must_be_private(int dir_fd) {
        Counters *counters = counters_open(dir_fd, true);

        assert_non_null(counters);
        assert_false(counters_shared(counters));
        counters_add(counters, COUNTERS_CRI, COUNTERS_DROP_IO, 5);
        assert_int_equal(counters_get(counters, COUNTERS_CRI, COUNTERS_DROP_IO), 5);
        counters_free(counters);
}

static void hostile_file(void **state) {
        Fixture *fixture = *state;
        static uint8_t good[SIZE + 1];
        Counters *counters = counters_open(fixture->fd, true);
        int fd;

        counters_free(counters);
        fd = openat(fixture->fd, "counters", O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(fd, good, SIZE), SIZE);
        close_fd(fd);

        for (size_t at = 0; at < 28; at++) {
                good[at] ^= 0x40;
                put(fixture->fd, good, SIZE);
                must_be_private(fixture->fd);
                good[at] ^= 0x40;
        }
        for (size_t size = 0; size < SIZE; size += 61) {
                put(fixture->fd, good, size);
                must_be_private(fixture->fd);
        }
        put(fixture->fd, good, SIZE + 1);
        must_be_private(fixture->fd);

        must_be_private(-EBADF);
}

/* Takes what stands at the name, and looks at what stands there then. */
static void must_be_replaced(int dir_fd) {
        Counters *counters = counters_open(dir_fd, true);
        struct stat st;

        assert_non_null(counters);
        assert_true(counters_shared(counters));
        counters_free(counters);
        assert_int_equal(fstatat(dir_fd, "counters", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(S_ISREG(st.st_mode));
        assert_int_equal(st.st_size, SIZE);
        assert_int_equal(unlinkat(dir_fd, "counters", 0), 0);
}

/* Removes the directory that was moved out of the way, with what is in it. */
static void remove_aside(int dir_fd) {
        int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fdopendir(fd);
        const struct dirent *entry;
        char name[300];
        unsigned n = 0;

        assert_non_null(dir);
        while ((entry = readdir(dir)))
                if (strncmp(entry->d_name, ".counters-", 10) == 0) {
                        (void) snprintf(name, sizeof(name), "%s/something", entry->d_name);
                        assert_int_equal(unlinkat(dir_fd, name, 0), 0);
                        assert_int_equal(unlinkat(dir_fd, entry->d_name, AT_REMOVEDIR), 0);
                        n++;
                }
        (void) closedir(dir);
        assert_int_equal(n, 1);
}

/* A name that somebody else took first is taken back, wherever a link leads. */
static void no_file(void **state) {
        Fixture *fixture = *state;
        struct stat st;
        int fd;

        assert_int_equal(symlinkat("/dev/zero", fixture->fd, "counters"), 0);
        must_be_replaced(fixture->fd);
        assert_int_equal(symlinkat("target", fixture->fd, "counters"), 0);
        must_be_replaced(fixture->fd);
        assert_int_equal(fstatat(fixture->fd, "target", &st, 0), -1);
        assert_int_equal(mkfifoat(fixture->fd, "counters", 0600), 0);
        must_be_replaced(fixture->fd);
        assert_int_equal(mkdirat(fixture->fd, "counters", 0700), 0);
        must_be_replaced(fixture->fd);

        assert_int_equal(mkdirat(fixture->fd, "counters", 0700), 0);
        fd = openat(fixture->fd, "counters/something", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close_fd(fd);
        must_be_replaced(fixture->fd);
        remove_aside(fixture->fd);
}

/* A file that somebody else may write could be cut short under us: it is replaced, and meanwhile not mapped. */
static void writable_by_others(void **state) {
        Fixture *fixture = *state;

        for (unsigned i = 0; i < 2; i++) {
                Counters *counters = counters_open(fixture->fd, true);
                struct stat st;

                assert_true(counters_shared(counters));
                counters_free(counters);
                assert_int_equal(fchmodat(fixture->fd, "counters", i == 0 ? 0660 : 0602, 0), 0);

                counters = counters_open(fixture->fd, true);
                assert_true(counters_shared(counters));
                assert_int_equal(fstatat(fixture->fd, "counters", &st, 0), 0);
                assert_int_equal(st.st_mode & 07777, 0640);

                /* The one that was there before is not the one that is mapped. */
                counters_add(counters, COUNTERS_CRI, COUNTERS_DROP_IO, 1);
                assert_int_equal(counters_get(counters, COUNTERS_CRI, COUNTERS_DROP_IO), 1);
                counters_free(counters);
                assert_int_equal(unlinkat(fixture->fd, "counters", 0), 0);
        }
}

/* As in /run/podspan: the directory is root's, and podspand's user may make files in it. */
static int as_nobody(Fixture *fixture) {
        Counters *counters;
        int fd;

        if (setresuid(65534, 65534, 65534) < 0)
                return 1;
        /* Nobody who is not the owner has a descriptor by which the file can be cut short. */
        fd = openat(fixture->fd, "counters", O_WRONLY | O_CLOEXEC);
        if (fd >= 0)
                return 2;
        counters = counters_open(fixture->fd, true);
        if (!counters_shared(counters))
                return 3;
        counters_add(counters, COUNTERS_AGENT, COUNTERS_AGENT_SPANS, 7);
        counters_add(counters, COUNTERS_CRI, COUNTERS_SPANS_WRITTEN, 1000);
        if (counters_get(counters, COUNTERS_AGENT, COUNTERS_AGENT_SPANS) != 7)
                return 4;
        counters_free(counters);
        return 0;
}

static void other_user(void **state) {
        Fixture *fixture = *state;
        Counters *counters, *reader;
        int status, fd;
        pid_t pid;

        if (geteuid() != 0)
                skip();

        assert_int_equal(fchmod(fixture->fd, 03777), 0);
        counters = counters_open(fixture->fd, true);
        counters_add(counters, COUNTERS_CRI, COUNTERS_SPANS_WRITTEN, 5);
        counters_add(counters, COUNTERS_AGENT, COUNTERS_AGENT_SPANS, 1);

        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(as_nobody(fixture));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);

        /* A producer sees what it counted; a reader all, but of another user's file only what that may speak of. */
        assert_int_equal(counters_get(counters, COUNTERS_AGENT, COUNTERS_AGENT_SPANS), 1);
        reader = counters_open(fixture->fd, false);
        assert_true(counters_shared(reader));
        assert_int_equal(counters_get(reader, COUNTERS_AGENT, COUNTERS_AGENT_SPANS), 8);
        assert_int_equal(counters_get(reader, COUNTERS_CRI, COUNTERS_SPANS_WRITTEN), 5);
        counters_free(reader);

        /* Cut short by its owner, which is who it hurts. */
        fd = openat(fixture->fd, "counters-65534", O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_true(fd >= 0);
        close_fd(fd);
        reader = counters_open(fixture->fd, false);
        assert_int_equal(counters_get(reader, COUNTERS_AGENT, COUNTERS_AGENT_SPANS), 1);
        counters_free(reader);
        counters_free(counters);

        /* One that pretends to be the directory owner's is neither mapped nor read; a producer of the owner's replaces
         * it. */
        assert_int_equal(unlinkat(fixture->fd, "counters", 0), 0);
        assert_int_equal(renameat(fixture->fd, "counters-65534", fixture->fd, "counters"), 0);
        counters = counters_open(fixture->fd, false);
        assert_false(counters_shared(counters));
        counters_free(counters);
        counters = counters_open(fixture->fd, true);
        assert_true(counters_shared(counters));
        counters_free(counters);
}

/* Eight processes make and fill it at once: nothing is lost. */
static void raced(void **state) {
        Fixture *fixture = *state;
        Counters *counters;

        for (unsigned i = 0; i < 8; i++) {
                pid_t pid = fork();

                assert_true(pid >= 0);
                if (pid > 0)
                        continue;

                counters = counters_open(fixture->fd, true);
                for (unsigned j = 0; j < 10000; j++)
                        counters_add(counters, COUNTERS_AGENT, COUNTERS_AGENT_SPANS, 1);
                _exit(counters_shared(counters) ? 0 : 1);
        }
        for (unsigned i = 0; i < 8; i++) {
                int status;

                assert_true(wait(&status) > 0);
                assert_int_equal(status, 0);
        }

        counters = counters_open(fixture->fd, false);
        assert_int_equal(counters_get(counters, COUNTERS_AGENT, COUNTERS_AGENT_SPANS), 80000);
        counters_free(counters);
}

static void none(void **state) {
        (void) state;

        counters_add(NULL, COUNTERS_CRI, COUNTERS_DROP_IO, 1);
        assert_int_equal(counters_get(NULL, COUNTERS_CRI, COUNTERS_DROP_IO), 0);
        assert_false(counters_shared(NULL));
        assert_null(counters_free(NULL));
}

static void names(void **state) {
        (void) state;

        for (unsigned i = 0; i < _COUNTERS_PRODUCER_MAX; i++)
                assert_non_null(counters_producer_name(i));
        for (unsigned i = 0; i < _COUNTERS_ID_MAX; i++) {
                assert_non_null(counters_id_name(i));
                for (unsigned j = 0; j < i; j++)
                        assert_string_not_equal(counters_id_name(i), counters_id_name(j));
        }
        assert_string_equal(counters_producer_name(COUNTERS_CRI), "podspan-cri");
        assert_string_equal(counters_id_name(COUNTERS_DROP_NO_SPACE), "drop_no_space");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(shares, setup, teardown),
                cmocka_unit_test_setup_teardown(layout, setup, teardown),
                cmocka_unit_test_setup_teardown(hostile_file, setup, teardown),
                cmocka_unit_test_setup_teardown(no_file, setup, teardown),
                cmocka_unit_test_setup_teardown(writable_by_others, setup, teardown),
                cmocka_unit_test_setup_teardown(other_user, setup, teardown),
                cmocka_unit_test_setup_teardown(raced, setup, teardown),
                cmocka_unit_test(none),
                cmocka_unit_test(names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
