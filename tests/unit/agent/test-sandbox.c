#include "fixture.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include "../child.h"
#include "sandbox.h"

static char outside[] = "/tmp/podspan-sandbox-XXXXXX";

static bool refused(int fd) {
        return fd == -1 && (errno == EPERM || errno == EACCES);
}

static int child_confined(void) {
        int fd;

        if (sandbox_load(false) < 0)
                return 10;

        /* refused: any file but the system's, writing wherever, executing, other sockets */
        if (!refused(open(outside, O_RDONLY | O_CLOEXEC)))
                return 11;
        if (!refused(open(outside, O_WRONLY | O_CLOEXEC)) || !refused(open("/tmp/podspan-new", O_RDWR | O_CREAT, 0600)))
                return 12;
        if (!refused(open("/etc/hosts", O_RDWR | O_CLOEXEC)))
                return 13;
        if (execl("/bin/true", "true", NULL) != -1 || errno != EPERM)
                return 14;
        if (!refused(socket(AF_PACKET, SOCK_RAW, 0)))
                return 15;
        if (unlink(outside) != -1 || errno != EPERM)
                return 16;
        /* allowed: the resolver's and the system's files, the network */
        fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return 17;
        (void) close(fd);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0)
                return 18;
        (void) close(fd);
        return 0;
}

static int child_killed(void) {
        if (sandbox_load(true) < 0)
                return 20;
        (void) execl("/bin/true", "true", NULL);
        return 21;
}

static void confined(void **state) {
        int fd = mkstemp(outside), status;

        (void) state;

        assert_true(fd >= 0);
        (void) close(fd);
        status = child_run(child_confined);
        assert_int_equal(unlink(outside), 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void killed(void **state) {
        int status = child_run(child_killed);

        (void) state;
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(confined),
                cmocka_unit_test(killed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
