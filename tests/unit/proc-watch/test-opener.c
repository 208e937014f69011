/* The process that opens bundles: what it believes, what it opens, and what becomes of it. */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "opener.h"
#include "util.h"

typedef struct Fixture {
        char folder[64];
        Opener opener;
} Fixture;

static char *below(const Fixture *fixture, const char *name) {
        static char paths[4][256];
        static unsigned n;
        char *path = paths[n++ % ARRAY_SIZE(paths)];

        (void) snprintf(path, sizeof(paths[0]), "%s/%s", fixture->folder, name);
        return path;
}

static void write_file(const Fixture *fixture, const char *name, const char *text) {
        _cleanup_close_ int fd = open(below(fixture, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void make_bundle(const Fixture *fixture, const char *root) {
        char name[128];

        assert_int_equal(mkdir(below(fixture, root), 0700), 0);
        (void) snprintf(name, sizeof(name), "%s/c1", root);
        assert_int_equal(mkdir(below(fixture, name), 0700), 0);
        (void) snprintf(name, sizeof(name), "%s/c1/config.json", root);
        write_file(fixture, name, root);
}

static int set_up(void **state) {
        Fixture *fixture = calloc(1, sizeof(*fixture));

        assert_non_null(fixture);
        fixture->opener = (Opener) OPENER_NULL;
        strcpy(fixture->folder, "/tmp/podspan-opener-XXXXXX");
        assert_non_null(mkdtemp(fixture->folder));
        assert_int_equal(opener_init(&fixture->opener, true), 0);
        *state = fixture;
        return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) st;
        (void) type;
        (void) ftw;
        return remove(path);
}

static int tear_down(void **state) {
        Fixture *fixture = *state;

        opener_deinit(&fixture->opener);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
        (void) nftw(fixture->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        free(fixture);
        return 0;
}

#define SET(to, s) ((void) snprintf((to), sizeof(to), "%s", (s)))

/* An engine whose every file is one of ours, so that what this machine has does not count. */
static Command engine(const Fixture *fixture, const char *name) {
        Command command = { .kind = COMMAND_ENGINE };

        SET(command.name, name);
        SET(command.folders.config, below(fixture, "engine.conf"));
        SET(command.folders.config_dir, below(fixture, "conf.d"));
        return command;
}

/* What config.json of the bundle c1 below @root says; a negative errno. */
static int open_bundle(Fixture *fixture, const char *root, char ret[static 64]) {
        _cleanup_close_ int fd = -EBADF;
        char name[128];
        ssize_t n;

        (void) snprintf(name, sizeof(name), "%s/c1", root);
        fd = opener_open(&fixture->opener, below(fixture, name));
        if (fd < 0)
                return fd;
        n = read(fd, ret, 63);
        assert_true(n >= 0);
        ret[n] = '\0';
        assert_int_equal(write(fd, "x", 1), -1);
        return 0;
}

static void folders_of_engines(void **state) {
        Fixture *fixture = *state;
        Command crio = engine(fixture, "crio"), containerd = engine(fixture, "containerd");
        char text[512], read[64];
        OpenerFolders folders;

        make_bundle(fixture, "root");
        make_bundle(fixture, "runroot");
        make_bundle(fixture, "dropped");
        make_bundle(fixture, "option");
        make_bundle(fixture, "state");
        assert_int_equal(open_bundle(fixture, "root", read), -EACCES);

        (void) snprintf(text, sizeof(text), "[crio]\nroot = \"%s\"\nrunroot = \"%s\"\n", below(fixture, "root"),
                        below(fixture, "runroot"));
        write_file(fixture, "engine.conf", text);
        assert_int_equal(mkdir(below(fixture, "conf.d"), 0700), 0);
        (void) snprintf(text, sizeof(text), "[crio]\nroot = \"%s\"\n", below(fixture, "dropped"));
        write_file(fixture, "conf.d/10-root.conf", text);
        SET(crio.folders.root, below(fixture, "option"));
        assert_int_equal(opener_add_engine(&fixture->opener, &crio, &folders), 0);
        assert_true(folders.n_new >= 4);
        assert_int_equal(opener_add_engine(&fixture->opener, &crio, &folders), 0);
        assert_int_equal(folders.n_new, 0);
        for (size_t i = 0; i < 4; i++) {
                static const char *const names[] = { "root", "runroot", "dropped", "option" };

                assert_int_equal(open_bundle(fixture, names[i], read), 0);
                assert_string_equal(read, names[i]);
        }
        assert_int_equal(open_bundle(fixture, "state", read), -EACCES);

        /* The configuration may name it by a symbolic link, a shim its bundle without. */
        assert_int_equal(symlink(below(fixture, "state"), below(fixture, "link")), 0);
        (void) snprintf(text, sizeof(text), "state = \"%s\"\n", below(fixture, "link"));
        write_file(fixture, "engine.conf", text);
        assert_int_equal(opener_add_engine(&fixture->opener, &containerd, &folders), 0);
        assert_int_equal(folders.n_new, 1);
        assert_int_equal(open_bundle(fixture, "state", read), 0);
        assert_int_equal(open_bundle(fixture, "link", read), 0);
}

static void what_others_may_write(void **state) {
        Fixture *fixture = *state;
        Command command = engine(fixture, "containerd");
        OpenerFolders folders;
        char text[512], read[64];

        if (geteuid() != 0)
                skip();
        make_bundle(fixture, "root");
        (void) snprintf(text, sizeof(text), "state = \"%s\"\n", below(fixture, "root"));
        write_file(fixture, "engine.conf", text);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(i == 0 ? chmod(below(fixture, "engine.conf"), 0666)
                                        : chown(below(fixture, "engine.conf"), 1, 1),
                                 0);
                assert_int_equal(opener_add_engine(&fixture->opener, &command, &folders), 0);
                assert_int_equal(folders.n_new, 0);
                assert_int_equal(folders.n_unreadable, 1);
                assert_int_equal(folders.error, -EPERM);
                assert_string_equal(folders.unreadable, below(fixture, "engine.conf"));
                assert_int_equal(open_bundle(fixture, "root", read), -EACCES);
        }

        assert_int_equal(chown(below(fixture, "engine.conf"), 0, 0), 0);
        assert_int_equal(chmod(below(fixture, "engine.conf"), 0644), 0);
        assert_int_equal(opener_add_engine(&fixture->opener, &command, &folders), 0);
        assert_int_equal(folders.n_new, 1);
        assert_int_equal(open_bundle(fixture, "root", read), 0);
        assert_int_equal(chmod(below(fixture, "root"), 0777), 0);
        assert_int_equal(open_bundle(fixture, "root", read), -EPERM);
}

static void bundles_that_are_none(void **state) {
        Fixture *fixture = *state;
        Command command = engine(fixture, "containerd");
        OpenerFolders folders;
        char read[64];

        make_bundle(fixture, "root");
        write_file(fixture, "config.json", "outside");
        SET(command.folders.run_root, below(fixture, "root"));
        assert_int_equal(opener_add_engine(&fixture->opener, &command, &folders), 0);
        assert_int_equal(open_bundle(fixture, "root", read), 0);
        assert_int_equal(opener_open(&fixture->opener, below(fixture, "root/..")), -EXDEV);
        assert_int_equal(opener_open(&fixture->opener, below(fixture, "root/none")), -ENOENT);
        assert_int_equal(symlink(fixture->folder, below(fixture, "root/linked")), 0);
        assert_int_equal(opener_open(&fixture->opener, below(fixture, "root/linked")), -ELOOP);
        assert_int_equal(unlink(below(fixture, "root/c1/config.json")), 0);
        assert_int_equal(mkfifo(below(fixture, "root/c1/config.json"), 0600), 0);
        assert_int_equal(open_bundle(fixture, "root", read), -EINVAL);
        assert_int_equal(open_bundle(fixture, "rootless", read), -EACCES);
}

/* Nobody waits for one that is gone. */
static void gone(void **state) {
        Opener opener = OPENER_NULL;
        Command command = { .name = "crio" };
        OpenerFolders folders;

        (void) state;
        assert_int_equal(opener_open(&opener, "/x"), -EPIPE);
        assert_int_equal(opener_add_engine(&opener, &command, &folders), -EPIPE);
        opener_deinit(&opener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(folders_of_engines),
                TEST(what_others_may_write),
                TEST(bundles_that_are_none),
                TEST(gone),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
