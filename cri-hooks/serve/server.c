#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "notify.h"
#include "server.h"

#define BYPASS_SUFFIX ".bypass" /* as cli/node/bypass.h has it */

/* Returns a connected socket, or a negative errno. A unix socket connects at once or not at all. */
static int connect_to(const char *path) {
        _cleanup_close_ int fd = -EBADF;
        struct sockaddr_un address;
        int r;

        r = unixsocket_address(path, &address);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int make_parents(const char *path) {
        char copy[sizeof(((struct sockaddr_un *) NULL)->sun_path)];
        size_t n = strlen(path);

        if (n >= sizeof(copy))
                return -ENAMETOOLONG;
        memcpy(copy, path, n + 1);
        for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
                *p = 0;
                if (mkdir(copy, 0755) < 0 && errno != EEXIST)
                        return -errno;
                *p = '/';
        }
        return 0;
}

/* Removes a socket that nobody answers on. */
static int remove_stale(const char *path) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode))
                return -EEXIST;

        fd = connect_to(path);
        if (fd >= 0 || fd == -EAGAIN)
                return -EADDRINUSE;
        if (fd != -ECONNREFUSED)
                return fd;
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Where the socket is to be: beside @path while somebody has put a link to the runtime there (podspan bypass on). */
static int find_place(const char *path, struct sockaddr_un *ret) {
        struct sockaddr_un address;
        struct stat st;
        int r;

        r = unixsocket_address(path, ret);
        if (r < 0 || lstat(path, &st) < 0 || !S_ISLNK(st.st_mode))
                return r;
        address = *ret;
        if (strlen(path) + strlen(BYPASS_SUFFIX) >= sizeof(address.sun_path))
                return 0;
        memcpy(address.sun_path + strlen(path), BYPASS_SUFFIX, sizeof(BYPASS_SUFFIX));
        if (lstat(address.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
                *ret = address;
        return 0;
}

static int open_listener(Server *server, const char *path) {
        struct sockaddr_un address;
        int r;

        r = find_place(path, &address);
        if (r < 0)
                return r;
        r = make_parents(path);
        if (r < 0)
                return r;
        r = remove_stale(address.sun_path);
        if (r < 0)
                return r;

        r = unixsocket_listen(&address, SOCK_STREAM, SERVER_BACKLOG);
        if (r < 0)
                return r;

        server->listen_fd = r;
        server->listen_path = path;
        (void) unixsocket_file(address.sun_path, &server->listen_file);
        return 0;
}

/* The socket's mode keeps others out; where that went wrong, whoever could talk to the runtime through us is asked. */
static bool may_connect(Server *server, int client) {
        static LogRatelimit limit = LOG_RATELIMIT(60, 3);
        struct ucred peer = { .uid = (uid_t) -1 };
        socklen_t size = sizeof(peer);

        if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == geteuid()))
                return true;

        counters_add(server->calls->counters, COUNTERS_CRI, COUNTERS_CRI_REFUSED, 1);
        if (log_ratelimit(&limit))
                log_warning("Refused a connection of uid %d, process %d", (int) peer.uid, (int) peer.pid);
        return false;
}

static int accept_one(Server *server) {
        static LogRatelimit limit = LOG_RATELIMIT(60, 3);
        _cleanup_close_ int client = -EBADF, runtime = -EBADF;
        int r;

        client = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client < 0)
                return -errno;
        if (!may_connect(server, client))
                return 0;

        runtime = connect_to(server->runtime_path);
        if (runtime < 0) {
                if (runtime == -EMFILE || runtime == -ENFILE || runtime == -ENOMEM || runtime == -ENOBUFS) {
                        counters_add(server->calls->counters, COUNTERS_CRI, COUNTERS_CRI_CLOSED, 1);
                        return runtime;
                }
                /* A runtime that does not accept: the client would have waited where we must not. */
                if (runtime == -EAGAIN)
                        counters_add(server->calls->counters, COUNTERS_CRI, COUNTERS_CRI_CLOSED, 1);
                if (log_ratelimit(&limit))
                        (void) log_warning_errno(runtime, "Cannot connect to the runtime at %s: %m",
                                                 server->runtime_path);
                /* Closed before a byte of HTTP/2: UNAVAILABLE, and the client's own back-off, as without us. */
                return 0;
        }

        counters_add(server->calls->counters, COUNTERS_CRI, COUNTERS_CRI_CONNECTIONS, 1);
        r = conn_new(&server->owner, TAKE_FD(client), TAKE_FD(runtime));
        if (r < 0) {
                counters_add(server->calls->counters, COUNTERS_CRI, COUNTERS_CRI_CLOSED, 1);
                if (log_ratelimit(&limit))
                        (void) log_warning_errno(r, "Cannot forward a connection: %m");
        }
        return 0;
}

static int update_listening(Server *server) {
        if (!server->listen_source.loop)
                return 0;
        return loop_source_set(&server->listen_source, server->full || server->paused ? 0 : EPOLLIN);
}

static int on_listen(LoopSource *source, uint32_t events _unused_) {
        static LogRatelimit limit = LOG_RATELIMIT(60, 3);
        Server *server = container_of(source, Server, listen_source);

        for (unsigned i = 0; i < SERVER_ACCEPT_MAX; i++) {
                int r;

                if (server->owner.n_conns >= server->max_conns) {
                        if (log_ratelimit(&limit))
                                log_warning("%zu connections are open, others wait until one ends",
                                            server->owner.n_conns);
                        server->full = true;
                        return update_listening(server);
                }

                r = accept_one(server);
                switch (r) {
                case 0:
                case -EINTR:
                case -ECONNABORTED:
                        continue;
                case -EAGAIN:
                        return 0;
                default:
                        /* No descriptors, no memory: the kernel would report this socket for ever. */
                        if (log_ratelimit(&limit))
                                (void) log_warning_errno(r, "Cannot accept a connection: %m");
                        loop_source_set(source, 0);
                        return loop_timer_set(&server->retry_timer, SERVER_RETRY_NS, 0);
                }
        }
        return 0;
}

static int on_retry(LoopTimer *timer) {
        Server *server = container_of(timer, Server, retry_timer);

        return update_listening(server);
}

static void on_closed(ConnOwner *owner) {
        Server *server = container_of(owner, Server, owner);

        if (!server->full || server->listen_fd < 0)
                return;
        server->full = false;
        (void) update_listening(server);
}

static int on_flush(LoopTimer *timer) {
        calls_flush(container_of(timer, Server, flush_timer)->calls);
        return 0;
}

static int on_ended(LoopTimer *timer) {
        calls_settle(container_of(timer, Server, ended_timer)->calls);
        return 0;
}

static int on_wait(LoopTimer *timer) {
        uint64_t next_ns = conn_release_due(&container_of(timer, Server, wait_timer)->owner);

        return next_ns > 0 ? loop_timer_set(timer, next_ns, 0) : 0;
}

static int on_young(LoopTimer *timer) {
        uint64_t next_ns = calls_show(container_of(timer, Server, young_timer)->calls, /* all= */ false);

        return next_ns > 0 ? loop_timer_set(timer, next_ns, 0) : 0;
}

static int on_tick(LoopTimer *timer) {
        Server *server = container_of(timer, Server, tick_timer);

        conn_tick_all(&server->owner);
        calls_tick(server->calls);
        return 0;
}

static int on_watchdog(LoopTimer *timer _unused_) {
        notify_send(NOTIFY_ALIVE);
        return 0;
}

static int on_signal(LoopSignal *source, const struct signalfd_siginfo *info) {
        Server *server = container_of(source, Server, signals);

        if (info->ssi_signo != SIGHUP) {
                /* What is another's already is not to be closed; that ends by itself, in a second at most. */
                if (server->handover.phase != HANDOVER_COMMITTED)
                        loop_exit(server->loop, 0);
        } else if (server->reload)
                server->reload(server);
        return 0;
}

static void on_pause(Handover *handover, bool paused) {
        Server *server = container_of(handover, Server, handover);

        server->paused = paused;
        (void) update_listening(server);
}

static void on_handed_over(Handover *handover) {
        Server *server = container_of(handover, Server, handover);

        /* The name is the other's to remove. */
        server->listen_path = NULL;
        server->gone = true;
        loop_exit(server->loop, 0);
}

void server_wake(Server *server, CallsWork work) {
        switch (work) {
        case CALLS_SPANS:
                (void) loop_timer_set(&server->flush_timer, SERVER_FLUSH_NS, 0);
                break;
        case CALLS_ENDED:
                (void) loop_timer_set(&server->ended_timer, SERVER_ENDED_NS, 0);
                break;
        case CALLS_YOUNG:
                (void) loop_timer_set(&server->young_timer, CALLS_YOUNG_NS, 0);
                break;
        }
}

static void wait_soon(ConnOwner *owner) {
        Server *server = container_of(owner, Server, owner);

        (void) loop_timer_set(&server->wait_timer, CONN_WAIT_NS, 0);
}

/* Two descriptors a connection, as many as the administrator allows, but for those without which nothing is traced. */
static size_t raise_limit(void) {
        struct rlimit limit;
        rlim_t n;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return SERVER_CONNS_MAX;
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return SERVER_CONNS_MAX;

        n = (limit.rlim_cur - MIN(limit.rlim_cur / 2, (rlim_t) SERVER_FDS_KEPT)) / 2;
        return n < 1 ? 1 : MIN((size_t) n, (size_t) SERVER_CONNS_MAX);
}

int server_init(Server *server, Calls *calls, bool tracing, const char *runtime_path) {
        sigset_t signals;
        int r;

        server->calls = calls;
        server->runtime_path = runtime_path;
        server->max_conns = raise_limit();

        r = loop_new(&server->loop);
        if (r < 0)
                return r;
        server->owner.loop = server->loop;
        server->owner.calls = calls;
        server->owner.tracing = tracing;
        server->owner.wait = wait_soon;
        server->owner.closed = on_closed;

        (void) sigemptyset(&signals);
        (void) sigaddset(&signals, SIGTERM);
        (void) sigaddset(&signals, SIGINT);
        (void) sigaddset(&signals, SIGHUP);
        r = loop_signal_add(&server->signals, server->loop, &signals, on_signal);
        if (r < 0)
                return r;

        if ((r = loop_timer_add(&server->flush_timer, server->loop, on_flush)) < 0 ||
            (r = loop_timer_add(&server->ended_timer, server->loop, on_ended)) < 0 ||
            (r = loop_timer_add(&server->young_timer, server->loop, on_young)) < 0 ||
            (r = loop_timer_add(&server->wait_timer, server->loop, on_wait)) < 0 ||
            (r = loop_timer_add(&server->tick_timer, server->loop, on_tick)) < 0 ||
            (r = loop_timer_add(&server->retry_timer, server->loop, on_retry)) < 0 ||
            (r = loop_timer_add(&server->watchdog_timer, server->loop, on_watchdog)) < 0)
                return r;
        return loop_timer_set(&server->tick_timer, SERVER_TICK_NS, SERVER_TICK_NS);
}

/* The socket is there: serve, and offer to hand over. */
static int begin(Server *server, const char *path, int consume_control_fd) {
        Handover *handover = &server->handover;
        int r;

        r = loop_source_add(&server->listen_source, server->loop, server->listen_fd, EPOLLIN, on_listen);
        if (r < 0) {
                (void) close_fd(consume_control_fd);
                return r;
        }
        if (server->watchdog_usec > 0) {
                uint64_t half_ns = server->watchdog_usec * NSEC_PER_USEC / 2;

                r = loop_timer_set(&server->watchdog_timer, half_ns, half_ns);
                if (r < 0)
                        return r;
        }

        handover->owner = &server->owner;
        handover->listen_fd = server->listen_fd;
        handover->owns_path = server->listen_path != NULL;
        handover->listen_file = server->listen_file;
        handover->info.watchdog_usec = server->watchdog_usec;
        handover->pause = on_pause;
        handover->done = on_handed_over;
        r = handover_init(handover, path, consume_control_fd);
        if (r < 0)
                (void) log_full(LOG_LEVEL_NOTICE, r, "No other process will be able to take over: %m");
        return 0;
}

int server_listen(Server *server, const char *path, int consume_listen_fd) {
        int r;

        server->listen_fd = consume_listen_fd;
        if (server->listen_fd < 0) {
                r = open_listener(server, path);
                if (r < 0)
                        return r;
        }
        return begin(server, path, -EBADF);
}

int server_take_over(Server *server, Takeover *takeover, const char *path, int consume_listen_fd) {
        int r;

        server->listen_fd = consume_listen_fd;
        r = takeover_receive(takeover, &server->owner);
        if (r == 0)
                r = takeover_commit(takeover, &server->owner);
        if (r < 0) {
                /* They are the other's still. */
                while (server->owner.conns)
                        conn_drop(server->owner.conns);
                return r;
        }

        if (server->listen_fd < 0) {
                server->listen_fd = TAKE_FD(takeover->listen_fd);
                if (takeover->state.owns_path) {
                        server->listen_path = path;
                        server->listen_file = (UnixSocketFile){ takeover->state.dev, takeover->state.ino };
                }
        }
        return begin(server, path, TAKE_FD(takeover->control_fd));
}

int server_run(Server *server) {
        return loop_run(server->loop);
}

void server_deinit(Server *server) {
        handover_deinit(&server->handover);
        loop_source_remove(&server->listen_source);
        server->listen_fd = close_fd(server->listen_fd);
        if (server->listen_path)
                unixsocket_remove(server->listen_path, &server->listen_file);

        while (server->owner.conns)
                conn_close(server->owner.conns, TAP_END_SHUTDOWN);

        loop_timer_remove(&server->flush_timer);
        loop_timer_remove(&server->ended_timer);
        loop_timer_remove(&server->young_timer);
        loop_timer_remove(&server->wait_timer);
        loop_timer_remove(&server->tick_timer);
        loop_timer_remove(&server->retry_timer);
        loop_timer_remove(&server->watchdog_timer);
        loop_signal_remove(&server->signals);
        server->loop = loop_free(server->loop);
}
