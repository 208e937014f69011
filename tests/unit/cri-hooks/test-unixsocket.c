#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "unixsocket.h"
#include "util.h"

typedef struct Fixture {
        char dir[sizeof("/tmp/test-unixsocket.XXXXXX")];
        char path[64], other[64];
        struct sockaddr_un address;
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        (void) strcpy(f->dir, "/tmp/test-unixsocket.XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        (void) snprintf(f->path, sizeof(f->path), "%s/socket", f->dir);
        (void) snprintf(f->other, sizeof(f->other), "%s/other", f->dir);
        assert_int_equal(unixsocket_address(f->path, &f->address), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        (void) unlink(f->path);
        (void) unlink(f->other);
        assert_int_equal(rmdir(f->dir), 0);
        free(f);
        return 0;
}

static bool exists(const char *path) {
        struct stat st;

        return lstat(path, &st) == 0;
}

static void make_file(const char *path) {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        (void) close_fd(fd);
}

/* The longest path that leaves room for its NUL, and one character more. */
static void addresses(void **state) {
        char path[sizeof(((struct sockaddr_un *) NULL)->sun_path) + 1] = {};
        struct sockaddr_un address, before;

        (void) state;

        memset(path, 'p', sizeof(path) - 2);
        memset(&address, 0xa5, sizeof(address));
        assert_int_equal(unixsocket_address(path, &address), 0);
        assert_int_equal(address.sun_family, AF_UNIX);
        assert_string_equal(address.sun_path, path);

        before = address;
        path[sizeof(path) - 2] = 'p';
        assert_int_equal(unixsocket_address(path, &address), -ENAMETOOLONG);
        assert_memory_equal(&address, &before, sizeof(address));
}

static void listens(void **state) {
        static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };
        Fixture *f = *state;

        for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
                _cleanup_close_ int fd = -EBADF, client = -EBADF, accepted = -EBADF;
                mode_t mask = umask(0);
                struct stat st;

                fd = unixsocket_listen(&f->address, types[i], 1);
                assert_int_equal(umask(mask), 0); /* as it was before */
                assert_true(fd >= 0);
                assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
                assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
                assert_int_equal(lstat(f->path, &st), 0);
                assert_int_equal(st.st_mode, S_IFSOCK | 0600);

                client = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);
                assert_int_equal(connect(client, (struct sockaddr *) &f->address, sizeof(f->address)), 0);
                accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
                assert_true(accepted >= 0);

                assert_int_equal(unixsocket_listen(&f->address, types[i], 1), -EADDRINUSE);
                assert_int_equal(unlink(f->path), 0);
        }
}

static void fails_without_a_socket(void **state) {
        struct sockaddr_un address;
        mode_t mask = umask(022);

        (void) state;

        assert_int_equal(unixsocket_address("/nowhere/there/socket", &address), 0);
        assert_int_equal(unixsocket_listen(&address, SOCK_STREAM, 1), -ENOENT);
        assert_int_equal(umask(mask), 022);
}

static void removes_its_own(void **state) {
        _cleanup_close_ int fd = -EBADF, fd2 = -EBADF;
        UnixSocketFile file = {}, before = {};
        Fixture *f = *state;

        assert_int_equal(unixsocket_file(f->path, &file), -ENOENT);
        assert_memory_equal(&file, &before, sizeof(file));

        fd = unixsocket_listen(&f->address, SOCK_STREAM, 1);
        assert_true(fd >= 0);
        assert_int_equal(unixsocket_file(f->path, &file), 0);

        /* Somebody else's socket has the name now; ours is still there, so that its number is not used again. */
        assert_int_equal(rename(f->path, f->other), 0);
        fd2 = unixsocket_listen(&f->address, SOCK_STREAM, 1);
        assert_true(fd2 >= 0);
        unixsocket_remove(f->path, &file);
        assert_true(exists(f->path));

        /* A link to ours is not ours. */
        assert_int_equal(unlink(f->path), 0);
        assert_int_equal(symlink(f->other, f->path), 0);
        unixsocket_remove(f->path, &file);
        assert_true(exists(f->path));
        assert_int_equal(unlink(f->path), 0);

        assert_int_equal(rename(f->other, f->path), 0);
        unixsocket_remove(f->path, &file);
        assert_false(exists(f->path));
        unixsocket_remove(f->path, &file);
}

/* A number may be used again, for a file of another kind. */
static void removes_sockets_only(void **state) {
        UnixSocketFile file;
        Fixture *f = *state;

        make_file(f->path);
        assert_int_equal(unixsocket_file(f->path, &file), 0);
        unixsocket_remove(f->path, &file);
        assert_true(exists(f->path));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(addresses),
                cmocka_unit_test_setup_teardown(listens, setup, teardown),
                cmocka_unit_test(fails_without_a_socket),
                cmocka_unit_test_setup_teardown(removes_its_own, setup, teardown),
                cmocka_unit_test_setup_teardown(removes_sockets_only, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
