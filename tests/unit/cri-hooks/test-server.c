#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "server.h"

/* A podspan-cri that serves, and the runtime it is in front of. */
typedef struct Rig {
        char dir[64];
        char path[128];
        char runtime_path[128];
        int state_fd;
        int runtime_fd;
        Config config;
        Calls calls;
        Server server;
        unsigned n_reloads;
} Rig;

static void on_reload(Server *server) {
        container_of(server, Rig, server)->n_reloads++;
}

static int listen_at(const char *path) {
        struct sockaddr_un address;
        int fd;

        assert_int_equal(unixsocket_address(path, &address), 0);
        fd = unixsocket_listen(&address, SOCK_STREAM, 16);
        assert_true(fd >= 0);
        return fd;
}

static int setup(void **state) {
        Rig *rig = calloc(1, sizeof(*rig));
        char path[128];

        assert_non_null(rig);
        (void) strcpy(rig->dir, "/tmp/podspan-test-server-XXXXXX");
        assert_non_null(mkdtemp(rig->dir));
        (void) snprintf(rig->path, sizeof(rig->path), "%s/a/b/cri.sock", rig->dir);
        (void) snprintf(rig->runtime_path, sizeof(rig->runtime_path), "%s/rt.sock", rig->dir);
        (void) snprintf(path, sizeof(path), "%s/state", rig->dir);
        assert_int_equal(mkdir(path, 0755), 0);
        rig->state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(rig->state_fd >= 0);
        rig->runtime_fd = listen_at(rig->runtime_path);
        assert_int_equal(config_defaults(&rig->config), 0);
        assert_int_equal(calls_init(&rig->calls, &rig->config, rig->runtime_path, rig->state_fd, NULL), 0);
        rig->server = (Server) SERVER_NULL;
        rig->server.reload = on_reload;
        assert_int_equal(server_init(&rig->server, &rig->calls, true, rig->runtime_path), 0);
        *state = rig;
        return 0;
}

static int teardown(void **state) {
        Rig *rig = *state;
        char command[128];

        server_deinit(&rig->server);
        calls_deinit(&rig->calls);
        config_deinit(&rig->config);
        close_fd(rig->runtime_fd);
        close_fd(rig->state_fd);
        (void) snprintf(command, sizeof(command), "rm -rf %s", rig->dir);
        assert_int_equal(system(command), 0);
        free(rig);
        return 0;
}

static int connect_to(const char *path) {
        struct sockaddr_un address;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_int_equal(unixsocket_address(path, &address), 0);
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0) {
                close_fd(fd);
                return -errno;
        }
        return fd;
}

static void turns(Rig *rig) {
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(loop_turn(rig->server.loop, 0), 0);
}

static uint64_t counted(const Rig *rig, CountersId id) {
        return counters_get(rig->calls.counters, COUNTERS_CRI, id);
}

static bool readable(int fd) {
        return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) == 1;
}

/* The socket is where it was asked for, for nobody else, and each connection is one to the runtime. */
static void forwards(void **state) {
        Rig *rig = *state;
        int client, runtime;
        struct stat st;
        char buf[8];

        assert_int_equal(server_listen(&rig->server, rig->path, -EBADF), 0);
        assert_int_equal(stat(rig->path, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 0777, 0600);

        client = connect_to(rig->path);
        assert_true(client >= 0);
        turns(rig);
        runtime = accept(rig->runtime_fd, NULL, NULL);
        assert_true(runtime >= 0);
        assert_int_equal(counted(rig, COUNTERS_CRI_CONNECTIONS), 1);
        assert_int_equal(rig->server.owner.n_conns, 1);

        assert_int_equal(send(client, "abc", 3, MSG_NOSIGNAL), 3);
        turns(rig);
        assert_int_equal(recv(runtime, buf, sizeof(buf), MSG_DONTWAIT), 3);
        assert_memory_equal(buf, "abc", 3);
        assert_int_equal(send(runtime, "defg", 4, MSG_NOSIGNAL), 4);
        turns(rig);
        assert_int_equal(recv(client, buf, sizeof(buf), MSG_DONTWAIT), 4);
        assert_memory_equal(buf, "defg", 4);

        close_fd(client);
        turns(rig);
        assert_int_equal(recv(runtime, buf, sizeof(buf), MSG_DONTWAIT), 0);
        close_fd(runtime);
        turns(rig);
        assert_int_equal(rig->server.owner.n_conns, 0);
        assert_int_equal(counted(rig, COUNTERS_CRI_REFUSED), 0);
        assert_int_equal(counted(rig, COUNTERS_CRI_CLOSED), 0);

        server_deinit(&rig->server);
        assert_int_equal(access(rig->path, F_OK), -1);
}

/* Somebody else's user is let in by a wrong mode: the runtime hears nothing of him. */
static void strangers_are_refused(void **state) {
        Rig *rig = *state;
        int status, wait_for[2];
        pid_t pid;
        char path[192], byte;

        if (geteuid() != 0)
                skip();
        assert_int_equal(server_listen(&rig->server, rig->path, -EBADF), 0);
        assert_int_equal(chmod(rig->path, 0666), 0);
        assert_int_equal(chmod(rig->dir, 0755), 0);
        for (const char *part = "/a\0/a/b\0"; *part; part += strlen(part) + 1) {
                (void) snprintf(path, sizeof(path), "%s%s", rig->dir, part);
                assert_int_equal(chmod(path, 0755), 0);
        }
        assert_int_equal(pipe2(wait_for, O_CLOEXEC), 0);

        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                int fd;

                if (setuid(65534) < 0)
                        _exit(1);
                fd = connect_to(rig->path);
                if (fd < 0 || write(wait_for[1], "c", 1) != 1)
                        _exit(2);
                /* The end, not a byte. */
                _exit(recv(fd, &byte, 1, 0) == 0 ? 0 : 3);
        }
        assert_int_equal(read(wait_for[0], &byte, 1), 1);
        turns(rig);
        assert_int_equal(counted(rig, COUNTERS_CRI_REFUSED), 1);
        assert_int_equal(counted(rig, COUNTERS_CRI_CONNECTIONS), 0);
        assert_int_equal(rig->server.owner.n_conns, 0);
        assert_false(readable(rig->runtime_fd));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        close_fd(wait_for[0]);
        close_fd(wait_for[1]);
}

/* Root may, whoever we are. */
static void root_and_we_are_let_in(void **state) {
        Rig *rig = *state;
        int ours, roots;
        bool is_root = geteuid() == 0;

        assert_int_equal(server_listen(&rig->server, rig->path, -EBADF), 0);
        roots = connect_to(rig->path);
        assert_true(roots >= 0);
        if (is_root) {
                assert_int_equal(chmod(rig->runtime_path, 0666), 0);
                assert_int_equal(chmod(rig->dir, 0755), 0);
                assert_int_equal(seteuid(65534), 0);
        }
        turns(rig);
        if (is_root)
                assert_int_equal(seteuid(0), 0);
        assert_int_equal(counted(rig, COUNTERS_CRI_REFUSED), 0);
        assert_int_equal(rig->server.owner.n_conns, 1);
        close_fd(roots);

        if (is_root) {
                char path[192];

                assert_int_equal(chmod(rig->path, 0666), 0);
                (void) snprintf(path, sizeof(path), "%s/a", rig->dir);
                assert_int_equal(chmod(path, 0755), 0);
                (void) snprintf(path, sizeof(path), "%s/a/b", rig->dir);
                assert_int_equal(chmod(path, 0755), 0);
                assert_int_equal(seteuid(65534), 0);
                ours = connect_to(rig->path);
                turns(rig);
                assert_int_equal(seteuid(0), 0);
                assert_true(ours >= 0);
                assert_int_equal(counted(rig, COUNTERS_CRI_REFUSED), 0);
                assert_int_equal(counted(rig, COUNTERS_CRI_CONNECTIONS), 2);
                close_fd(ours);
        }
}

/* Without the runtime a client is closed at once, and let in when the runtime is back. */
static void without_runtime(void **state) {
        Rig *rig = *state;
        char byte;
        int client;

        assert_int_equal(server_listen(&rig->server, rig->path, -EBADF), 0);
        close_fd(rig->runtime_fd);
        client = connect_to(rig->path);
        turns(rig);
        assert_int_equal(recv(client, &byte, 1, MSG_DONTWAIT), 0);
        close_fd(client);
        assert_int_equal(rig->server.owner.n_conns, 0);
        assert_int_equal(counted(rig, COUNTERS_CRI_CONNECTIONS), 0);

        assert_int_equal(unlink(rig->runtime_path), 0);
        rig->runtime_fd = listen_at(rig->runtime_path);
        client = connect_to(rig->path);
        turns(rig);
        assert_int_equal(rig->server.owner.n_conns, 1);
        close_fd(client);
}

/* What is at the name decides whether we take it. */
static void place(void **state) {
        Rig *rig = *state;
        char path[256], beside[272];
        int other, fd;

        /* Somebody answers there. */
        assert_int_equal(server_listen(&rig->server, rig->runtime_path, -EBADF), -EADDRINUSE);
        assert_int_equal(access(rig->runtime_path, F_OK), 0);

        /* No socket. */
        (void) snprintf(path, sizeof(path), "%s/file", rig->dir);
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        close_fd(fd);
        assert_int_equal(server_listen(&rig->server, path, -EBADF), -EEXIST);
        assert_int_equal(access(path, F_OK), 0);

        memset(path, 'x', sizeof(path) - 1);
        memcpy(path, rig->dir, strlen(rig->dir));
        path[strlen(rig->dir)] = '/';
        path[sizeof(path) - 1] = 0;
        assert_int_equal(server_listen(&rig->server, path, -EBADF), -ENAMETOOLONG);

        /* A parent that is a file. */
        (void) snprintf(path, sizeof(path), "%s/file/x.sock", rig->dir);
        assert_int_equal(server_listen(&rig->server, path, -EBADF), -ENOTDIR);

        /* A dead socket is replaced; a link is not followed unless the socket beside it is there. */
        (void) snprintf(path, sizeof(path), "%s/dead.sock", rig->dir);
        (void) snprintf(beside, sizeof(beside), "%s.bypass", path);
        assert_int_equal(symlink(rig->runtime_path, path), 0);
        assert_int_equal(server_listen(&rig->server, path, -EBADF), -EEXIST);
        close_fd(listen_at(beside));
        assert_int_equal(server_listen(&rig->server, path, -EBADF), 0);
        other = connect_to(beside);
        assert_true(other >= 0);
        turns(rig);
        assert_int_equal(rig->server.owner.n_conns, 1);
        close_fd(other);
        assert_int_equal(readlink(path, &(char){ 0 }, 1), 1);
}

static void dead_socket_is_replaced(void **state) {
        Rig *rig = *state;
        char path[160];
        int client;

        (void) snprintf(path, sizeof(path), "%s/dead.sock", rig->dir);
        close_fd(listen_at(path));
        assert_int_equal(connect_to(path), -ECONNREFUSED);
        assert_int_equal(server_listen(&rig->server, path, -EBADF), 0);
        client = connect_to(path);
        assert_true(client >= 0);
        close_fd(client);
}

/* Who comes when all places are taken waits, and is served when one leaves. */
static void bounded(void **state) {
        Rig *rig = *state;
        int clients[4];

        rig->server.max_conns = 2;
        assert_int_equal(server_listen(&rig->server, rig->path, -EBADF), 0);
        for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
                clients[i] = connect_to(rig->path);
                assert_true(clients[i] >= 0);
        }
        turns(rig);
        assert_int_equal(rig->server.owner.n_conns, 2);
        assert_int_equal(counted(rig, COUNTERS_CRI_CONNECTIONS), 2);

        for (unsigned i = 0; i < 2; i++) {
                int runtime = accept(rig->runtime_fd, NULL, NULL);

                close_fd(clients[i]);
                close_fd(runtime);
                turns(rig);
                assert_int_equal(rig->server.owner.n_conns, 2);
                assert_int_equal(counted(rig, COUNTERS_CRI_CONNECTIONS), 3 + i);
        }
        close_fd(clients[2]);
        close_fd(clients[3]);
}

/* A socket that was passed to us is served and stays. */
static void passed(void **state) {
        Rig *rig = *state;
        char path[160];
        int client;

        (void) snprintf(path, sizeof(path), "%s/passed.sock", rig->dir);
        assert_int_equal(server_listen(&rig->server, path, listen_at(path)), 0);
        client = connect_to(path);
        turns(rig);
        assert_int_equal(rig->server.owner.n_conns, 1);
        close_fd(client);
        server_deinit(&rig->server);
        assert_int_equal(access(path, F_OK), 0);
}

/* Signals end it, one re-reads the configuration. */
static void signals(void **state) {
        static const int ends[] = { SIGTERM, SIGINT };
        Rig *rig = *state;

        assert_int_equal(server_listen(&rig->server, rig->path, -EBADF), 0);
        assert_int_equal(raise(SIGHUP), 0);
        turns(rig);
        assert_int_equal(rig->n_reloads, 1);
        for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
                assert_int_equal(raise(ends[i]), 0);
                assert_int_equal(server_run(&rig->server), 0);
        }
        assert_int_equal(rig->n_reloads, 1);
        assert_false(rig->server.gone);
}

/* Connections are no reason to run out of descriptors, and where there are few at least one is let in. */
static void descriptors(void **state) {
        Rig *rig = *state;
        struct rlimit before, small = { 16, 16 };
        pid_t pid;
        int status;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        assert_in_range(rig->server.max_conns, 1, SERVER_CONNS_MAX);
        assert_true(before.rlim_cur < 1024 || rig->server.max_conns >= (1024 - SERVER_FDS_KEPT) / 2);
        /* The limit is lowered in a child: it cannot be raised again. */
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                static const struct {
                        rlim_t limit;
                        size_t conns;
                } cases[] = {
                        { 20000, SERVER_CONNS_MAX }, { 1024, 352 }, { 640, 160 }, { 64, 16 }, { 1, 1 }, { 0, 1 }
                };

                for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                        Server server = SERVER_NULL;

                        small.rlim_cur = small.rlim_max = cases[i].limit;
                        if (cases[i].limit > before.rlim_max)
                                continue;
                        if (setrlimit(RLIMIT_NOFILE, &small) < 0)
                                _exit(100);
                        (void) server_init(&server, &rig->calls, false, "");
                        if (server.max_conns != cases[i].conns)
                                _exit((int) i + 1);
                        server_deinit(&server);
                }
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(forwards, setup, teardown),
                cmocka_unit_test_setup_teardown(strangers_are_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(root_and_we_are_let_in, setup, teardown),
                cmocka_unit_test_setup_teardown(without_runtime, setup, teardown),
                cmocka_unit_test_setup_teardown(place, setup, teardown),
                cmocka_unit_test_setup_teardown(dead_socket_is_replaced, setup, teardown),
                cmocka_unit_test_setup_teardown(bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(passed, setup, teardown),
                cmocka_unit_test_setup_teardown(signals, setup, teardown),
                cmocka_unit_test_setup_teardown(descriptors, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
