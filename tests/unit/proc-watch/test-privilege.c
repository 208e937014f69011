/* What is left after privilege_drop(): each case in a process of its own, as there is no way back. */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "privilege.h"
#include "util.h"

#define EXIT_NOT_DROPPED 255
#define PERMITTED        "CapPrm:\t"

static char folder[] = "/tmp/test-privilege-XXXXXX";
static int state_fd = -EBADF;
static pid_t parent;

static int open_path(const char *path, int flags) {
        _cleanup_close_ int fd = open(path, flags | O_CLOEXEC, 0600);

        return fd < 0 ? -errno : 0;
}

static int open_below(const char *name, int flags) {
        char path[128];

        (void) snprintf(path, sizeof(path), "%s/%s", folder, name);
        return open_path(path, flags);
}

static int read_bundle(void) {
        return open_below("bundles/config.json", O_RDONLY);
}

static int write_bundle(void) {
        return open_below("bundles/config.json", O_WRONLY);
}

static int read_near_a_missing_root(void) {
        return open_below("apart/config.json", O_RDONLY);
}

static int read_elsewhere(void) {
        return open_below("secret", O_RDONLY);
}

static int write_elsewhere(void) {
        return open_below("new", O_WRONLY | O_CREAT);
}

static int write_state(void) {
        _cleanup_close_ int fd = openat(state_fd, ".span", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

        if (fd < 0 || mkdirat(state_fd, "spool", 0750) < 0 || renameat(state_fd, ".span", state_fd, "span") < 0 ||
            unlinkat(state_fd, "span", 0) < 0)
                return -errno;
        return 0;
}

static int read_command_line(void) {
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/cmdline", parent);
        return open_path(path, O_RDONLY);
}

/* Landlock's doing, no rule of ours: whoever relies on it here gets nothing. */
static int read_program(void) {
        char path[64], target[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/exe", parent);
        return readlink(path, target, sizeof(target)) < 0 ? -errno : 0;
}

static int open_network(void) {
        return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0 ? -errno : 0;
}

static int open_local(void) {
        return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) < 0 ? -errno : 0;
}

static int execute(void) {
        (void) execl("/bin/true", "true", NULL);
        return -errno;
}

static int signal_another(void) {
        return kill(parent, 0) < 0 ? -errno : 0;
}

static int count_capabilities(void) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
        const uint64_t may = UINT64_C(1) << CAP_BPF | UINT64_C(1) << CAP_DAC_READ_SEARCH;
        const char *line;
        size_t size;

        if (fd < 0 || util_read_fd(fd, 65536, &text, &size) < 0 || !(line = strstr(text, PERMITTED)))
                return -EIO;
        return strtoull(line + strlen(PERMITTED), NULL, 16) & ~may ? -EPERM : 0;
}

static const struct {
        const char *what;
        int (*fn)(void);
        int expected;
        bool landlock; /* without it nothing stops this */
} cases[] = {
        { "read below a bundle root", read_bundle, 0, false },
        { "write there", write_bundle, EACCES, true },
        { "read where a root will be made", read_near_a_missing_root, 0, false },
        { "read elsewhere", read_elsewhere, EACCES, true },
        { "write elsewhere", write_elsewhere, EACCES, true },
        { "write below the state directory", write_state, 0, false },
        { "read a command line", read_command_line, 0, false },
        { "read where a program lies", read_program, EACCES, true },
        { "open a network socket", open_network, EPERM, false },
        { "open a local socket", open_local, 0, false },
        { "execute", execute, EPERM, false },
        { "signal another process", signal_another, EPERM, false },
        { "keep capabilities", count_capabilities, 0, false },
};

static int drop(bool kill) {
        char bundles[64], missing[64];
        const char *const readable[] = { bundles, missing, "/proc", "/no/such/folder", "relative/path" };
        const PrivilegePaths paths = { readable, ARRAY_SIZE(readable), state_fd };

        (void) snprintf(bundles, sizeof(bundles), "%s/bundles", folder);
        (void) snprintf(missing, sizeof(missing), "%s/apart/later/still", folder);
        return privilege_drop(&paths, kill);
}

/* At _exit() a sanitizer makes system calls that are not allowed any more. */
static void leave(int code) {
        (void) syscall(SYS_exit_group, code);
}

/* How a child of ours ends that gives up its privileges and then calls @fn. */
static int status_of(int (*fn)(void), bool kill) {
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                leave(drop(kill) < 0 ? EXIT_NOT_DROPPED : -fn());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

static bool has_landlock(void) {
        return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 0;
}

static void what_is_left(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                int status;

                if (cases[i].landlock && !has_landlock())
                        continue;
                print_message("%s\n", cases[i].what);
                status = status_of(cases[i].fn, false);
                assert_true(WIFEXITED(status));
                assert_int_equal(WEXITSTATUS(status), cases[i].expected);
        }
}

static void killed_for_a_call(void **state) {
        int status;

        (void) state;
        status = status_of(execute, true);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void outcome(void **state) {
        int status;
        pid_t pid;

        (void) state;
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                leave(drop(false));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WEXITSTATUS(status), has_landlock() ? PRIVILEGE_DROPPED : PRIVILEGE_NO_LANDLOCK);
}

static void make(const char *name, bool is_folder) {
        char path[128];

        (void) snprintf(path, sizeof(path), "%s/%s", folder, name);
        assert_int_equal(is_folder ? mkdir(path, 0700) : open_path(path, O_WRONLY | O_CREAT), 0);
}

static int set_up(void **state) {
        char path[128];

        (void) state;
        parent = getpid();
        assert_non_null(mkdtemp(folder));
        make("state", true);
        make("bundles", true);
        make("bundles/config.json", false);
        make("apart", true);
        make("apart/config.json", false);
        make("secret", false);
        (void) snprintf(path, sizeof(path), "%s/state", folder);
        state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(state_fd >= 0);
        return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) st;
        (void) type;
        (void) ftw;
        return remove(path);
}

static int tear_down(void **state) {
        (void) state;
        state_fd = close_fd(state_fd);
        return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_left),
                cmocka_unit_test(killed_for_a_call),
                cmocka_unit_test(outcome),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
