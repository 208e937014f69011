#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "atomicfile.h"
#include "console.h"
#include "../exact.h"
#include "inherited.h"
#include "runtimeargs.h"
#include "util.h"

static void test_atomicfile(_unused_ void **userdata) {
        char dir[] = "/tmp/atomicfile-XXXXXX", path[64], text[16] = "";
        pid_t pid = 0;
        int fd;

        assert_non_null(mkdtemp(dir));
        (void) snprintf(path, sizeof(path), "%s/pid", dir);
        assert_int_equal(atomicfile_write_path(path, "12345", 5), 0);
        assert_int_equal(atomicfile_write(dir, "pid", "67", 2), 0);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(fd, text, sizeof(text)), 2);
        assert_memory_equal(text, "67", 2);
        (void) close(fd);
        assert_int_equal(atomicfile_read_pid(path, &pid), 0);
        assert_int_equal(pid, 67);

        /* Nothing else is left behind, also where it fails. */
        assert_int_equal(atomicfile_write(dir, "pid/x", "1", 1), -ENOENT);
        assert_int_equal(atomicfile_write("/nonexistent", "x", "1", 1), -ENOENT);
        assert_int_equal(atomicfile_read_pid("/nonexistent", &pid), -ENOENT);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(dir), 0);
}

static const struct {
        const char *in;
        int r;
        pid_t pid;
} pids[] = {
        { "1", 0, 1 },           { "4194304\n", 0, 4194304 },   { "2147483647", 0, 2147483647 },
        { "7 \r\n", 0, 7 },      { "", -EBADMSG, 0 },           { "\n", -EBADMSG, 0 },
        { "0", -EBADMSG, 0 },    { "-1", -EBADMSG, 0 },         { "1x", -EBADMSG, 0 },
        { "1\n2", -EBADMSG, 0 }, { "2147483648", -EBADMSG, 0 }, { " 1", -EBADMSG, 0 },
        { "0x1", -EBADMSG, 0 },
};

static void test_pids(_unused_ void **userdata) {
        for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
                _cleanup_free_ char *in = exact(pids[i].in, strlen(pids[i].in));
                pid_t pid = 0;

                if (atomicfile_parse_pid(in, strlen(pids[i].in), &pid) != pids[i].r || pid != pids[i].pid)
                        fail_msg("%s: %d", pids[i].in, pid);
        }
}

static void assert_argv(char **argv, const char *expected) {
        char text[1024] = "";
        size_t n = 0;

        for (size_t i = 0; argv[i]; i++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, "%s%s", i > 0 ? " " : "", argv[i]);
        assert_string_equal(text, expected);
        free(argv);
}

static void test_runtimeargs(_unused_ void **userdata) {
        static const char *const globals[] = { "--root=/r", "--log", "/l" };
        static const char *const options[] = { "--preserve-fds", "2" };
        RuntimeArgs args = { .runtime = "/runc", .id = "ID", .bundle = "/b", .pid_file = "/p" };
        char **argv;

        assert_int_equal(runtimeargs_build(&args, NULL, &argv), 0);
        assert_argv(argv, "/runc create --bundle /b --pid-file /p ID");

        args.globals = globals;
        args.n_globals = ARRAY_SIZE(globals);
        args.options = options;
        args.n_options = ARRAY_SIZE(options);
        args.systemd_cgroup = args.no_pivot = args.no_new_keyring = true;
        assert_int_equal(runtimeargs_build(&args, "/c", &argv), 0);
        assert_argv(argv, "/runc --systemd-cgroup --root=/r --log /l create --bundle /b --pid-file /p --no-pivot "
                          "--no-new-keyring --preserve-fds 2 --console-socket /c ID");

        args.verb = RUNTIME_RESTORE;
        args.checkpoint = "/cp";
        assert_int_equal(runtimeargs_build(&args, "/c", &argv), 0);
        assert_argv(argv, "/runc --systemd-cgroup --root=/r --log /l restore --bundle /b --pid-file /p --no-pivot "
                          "--no-new-keyring --detach --image-path /cp --work-path /b --preserve-fds 2 "
                          "--console-socket /c ID");

        args.verb = RUNTIME_EXEC;
        args.process_spec = "/s";
        assert_int_equal(runtimeargs_build(&args, NULL, &argv), 0);
        assert_argv(argv, "/runc --root=/r --log /l exec --pid-file /p --process /s --detach --preserve-fds 2 ID");
        assert_int_equal(runtimeargs_build(&args, "/c", &argv), 0);
        assert_argv(argv, "/runc --root=/r --log /l exec --pid-file /p --process /s --detach --tty --preserve-fds 2 "
                          "--console-socket /c ID");
}

static bool is_open(int fd) {
        return fcntl(fd, F_GETFD) >= 0;
}

static void test_inherited(_unused_ void **userdata) {
        Inherited inherited;
        int fds[40], later;

        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
                assert_true((fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
        assert_int_equal(inherited_init(&inherited), 0);
        assert_true(inherited.n >= ARRAY_SIZE(fds));

        /* One that was closed, and whose number now is another file's. */
        inherited_forget(&inherited, fds[5]);
        (void) close(fds[5]);
        later = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_int_equal(later, fds[5]);

        inherited_close(&inherited, fds[7]);
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
                assert_int_equal(is_open(fds[i]), i == 5 || i == 7);
        assert_true(is_open(STDERR_FILENO));
        assert_int_equal(inherited.n, 0);
        (void) close(fds[5]);
        (void) close(fds[7]);
}

/* Sends @n descriptors and receives the message as a console does, with room for @room. */
static int pass(size_t n, size_t room) {
        union {
                char bytes[CMSG_SPACE(4 * sizeof(int))];
                struct cmsghdr align;
        } out = {}, in = {};
        struct iovec iov = { .iov_base = (char[8]){ 'x' }, .iov_len = 1 };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        int pair[2], fd;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        if (n > 0) {
                struct cmsghdr *c;

                message.msg_control = out.bytes;
                message.msg_controllen = CMSG_SPACE(n * sizeof(int));
                c = CMSG_FIRSTHDR(&message);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(n * sizeof(int));
                for (size_t i = 0; i < n; i++)
                        memcpy(CMSG_DATA(c) + i * sizeof(int), &(int){ STDERR_FILENO }, sizeof(int));
        }
        assert_int_equal(sendmsg(pair[0], &message, 0), 1);

        message = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1, .msg_control = in.bytes };
        message.msg_controllen = room > 0 ? CMSG_SPACE(room * sizeof(int)) : 0;
        assert_int_equal(recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC), 1);
        fd = console_take_fd(&message);
        (void) close(pair[0]);
        (void) close(pair[1]);
        return fd;
}

static void test_console_message(_unused_ void **userdata) {
        int before = open("/dev/null", O_RDONLY | O_CLOEXEC), fd;

        fd = pass(1, 4);
        assert_true(fd >= 0);
        (void) close(fd);
        assert_int_equal(pass(0, 4), -EBADMSG);
        assert_int_equal(pass(2, 4), -EBADMSG);
        assert_int_equal(pass(3, 4), -EBADMSG);
        assert_int_equal(pass(1, 0), -EBADMSG);

        /* None of them is left open. */
        (void) close(before);
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_int_equal(fd, before);
        (void) close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_atomicfile),      cmocka_unit_test(test_pids),
                cmocka_unit_test(test_runtimeargs),     cmocka_unit_test(test_inherited),
                cmocka_unit_test(test_console_message),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
