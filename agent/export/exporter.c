#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include "clk.h"
#include "configvalue.h"
#include "exporter.h"
#include "fdpass.h"
#include "log.h"
#include "retry.h"
#include "spawner.h"

/* A process, from the request for it until it has been waited for. */
typedef struct Worker {
        Exporter *exporter;
        struct Worker *next;
        uint32_t serial;
        LoopSource wire; /* our end of the pair */
        int fd;
        LoopSource end; /* its pidfd */
        int pidfd;
        clockid_t clock; /* its processor time */
        bool known;      /* the spawner has answered: pidfd and clock are set */
        bool killed;
} Worker;

struct Exporter {
        Loop *loop;
        LoopSource spawner;
        LoopTimer watch;
        ExporterFn on_answer;
        void *userdata;

        int setup_fd; /* memfd; -EBADF: nothing is exported */
        uint32_t setup_size;

        int request_fd; /* memfd of what was added */
        size_t request_size;
        int request_error;

        Worker *workers; /* all there are, the current one too */
        Worker *worker;  /* the one that gets requests */
        uint32_t last_serial;
        bool busy;
        bool stale; /* the configuration has changed since the current one was set up */
        uint64_t deadline_ns;
        uint64_t cpu_ns;          /* processor time of the current one when its request or its idleness began */
        uint64_t cpu_max_ns;      /* what it may use on top of that */
        uint64_t linger_until_ns; /* while idle */
        uint64_t no_linger_until_ns;
};

static int on_spawner(LoopSource *source, uint32_t events);
static int on_wire(LoopSource *source, uint32_t events);
static int on_end(LoopSource *source, uint32_t events);
static int on_watch(LoopTimer *timer);

/* ---- where to send ---- */

static int read_pem(const char *path, char **ret, char **reterr_message) {
        size_t size;
        int r;

        if (path[0] == '\0')
                return 0;

        r = util_read_file_at(AT_FDCWD, path, EXPORTWIRE_PEM_MAX, ret, &size);
        if (r == -ELOOP) {
                /* Certificates are often links (Kubernetes secrets always are): the administrator named it. */
                _cleanup_free_ char *real = realpath(path, NULL);

                r = real ? util_read_file_at(AT_FDCWD, real, EXPORTWIRE_PEM_MAX, ret, &size) : -errno;
        }
        if (r < 0 && asprintf(reterr_message, "%s: %s", path, strerror(-r)) < 0)
                *reterr_message = NULL;
        return r;
}

static int make_memfd(const char *name, int *ret) {
        int fd = memfd_create(name, MFD_CLOEXEC);

        if (fd < 0)
                return -errno;
        *ret = fd;
        return 0;
}

/* The set-up as a memfd, with its certificates read now: podspan-export opens none of these files. */
static int make_setup(const Config *config, int *ret_fd, uint32_t *ret_size, char **reterr_message) {
        _cleanup_free_ char *roots = NULL, *certificate = NULL, *key = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_close_ int fd = -EBADF;
        char target[CONFIGVALUE_HOST_MAX + 32];
        ConfigEndpoint endpoint;
        ExportwireSetup setup;
        const char *reason;
        size_t size;
        int r;

        r = configvalue_endpoint(config->tracing_endpoint, config->tracing_insecure, &endpoint, &reason);
        if (r < 0) {
                if (asprintf(reterr_message, "tracing_endpoint: %s", reason) < 0)
                        *reterr_message = NULL;
                return r;
        }
        if (endpoint.local)
                (void) snprintf(target, sizeof(target), "unix:%s", endpoint.path);
        else
                (void) snprintf(target, sizeof(target), strchr(endpoint.host, ':') ? "dns:///[%s]:%u" : "dns:///%s:%u",
                                endpoint.host, endpoint.port);

        if (endpoint.tls) {
                r = read_pem(config->tracing_certificate, &roots, reterr_message);
                if (r == 0)
                        r = read_pem(config->tracing_client_certificate, &certificate, reterr_message);
                if (r == 0)
                        r = read_pem(config->tracing_client_key, &key, reterr_message);
                if (r < 0)
                        return r;
        }

        setup = (ExportwireSetup){
                .target = target,
                .tls = endpoint.tls,
                .gzip = config->tracing_compression == CONFIG_COMPRESSION_GZIP,
                .roots = roots,
                .certificate = key ? certificate : NULL,
                .key = certificate ? key : NULL,
        };
        for (unsigned i = 0; i < config->n_tracing_headers; i++)
                setup.headers[setup.n_headers++] = (ExportwireHeader){
                        .name = config->tracing_headers[i].name,
                        .value = config->tracing_headers[i].value,
                };

        r = exportwire_setup_pack(&setup, &data, &size);
        if (r == 0)
                r = make_memfd("podspan-setup", &fd);
        if (r == 0)
                r = util_write_all(fd, data, size);
        if (r < 0)
                return r;

        *ret_fd = TAKE_FD(fd);
        *ret_size = (uint32_t) size;
        return 0;
}

/* ---- processes ---- */

static void forget_worker(Worker *worker) {
        Worker **p = &worker->exporter->workers;

        while (*p != worker)
                p = &(*p)->next;
        *p = worker->next;

        loop_source_remove(&worker->wire);
        loop_source_remove(&worker->end);
        close_fd(worker->fd);
        close_fd(worker->pidfd);
        free(worker);
}

/* The rest happens in on_end(), or once the spawner has said which process it is. */
static void kill_worker(Worker *worker) {
        Exporter *exporter = worker->exporter;

        if (exporter->worker == worker) {
                exporter->worker = NULL;
                (void) loop_timer_stop(&exporter->watch);
        }
        worker->killed = true;
        loop_source_remove(&worker->wire);
        worker->fd = close_fd(worker->fd);
        if (worker->pidfd >= 0)
                (void) pidfd_send_signal(worker->pidfd, SIGKILL, NULL, 0);
}

static uint64_t cpu_of(const Worker *worker) {
        struct timespec now;

        if (!worker->known || clock_gettime(worker->clock, &now) < 0)
                return 0;
        return (uint64_t) now.tv_sec * NSEC_PER_SEC + (uint64_t) now.tv_nsec;
}

static int start_worker(Exporter *exporter) {
        const ExportwireOrder order = { .type = EXPORTWIRE_SETUP, .size = exporter->setup_size };
        _cleanup_close_ int theirs = -EBADF;
        Worker *worker;
        int fds[2], r;

        worker = malloc(sizeof(*worker));
        if (!worker)
                return -ENOMEM;
        *worker = (Worker){
                .exporter = exporter,
                .next = exporter->workers,
                .serial = ++exporter->last_serial,
                .wire = LOOP_SOURCE_NULL,
                .fd = -EBADF,
                .end = LOOP_SOURCE_NULL,
                .pidfd = -EBADF,
        };
        exporter->workers = worker;

        r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0 ? -errno : 0;
        if (r == 0) {
                worker->fd = fds[0];
                theirs = fds[1];
                r = loop_source_add(&worker->wire, exporter->loop, worker->fd, EPOLLIN, on_wire);
        }
        if (r == 0)
                r = fdpass_send(worker->fd, &order, sizeof(order), &exporter->setup_fd, 1);
        if (r == 0)
                r = spawner_request(exporter->spawner.fd, worker->serial, theirs);
        if (r < 0) {
                forget_worker(worker);
                return r;
        }

        exporter->worker = worker;
        exporter->stale = false;
        exporter->cpu_ns = 0;
        return 0;
}

/* Hands out the answer; the caller only returns after this, as all may be different. */
static int finish(Exporter *exporter, const ExporterAnswer *answer) {
        uint64_t now_ns = clk_monotonic();
        Worker *worker = exporter->worker;

        exporter->busy = false;
        if (worker && (exporter->stale || now_ns < exporter->no_linger_until_ns)) {
                kill_worker(worker);
        } else if (worker) {
                exporter->cpu_ns = cpu_of(worker);
                exporter->cpu_max_ns = EXPORTER_CPU_IDLE;
                exporter->linger_until_ns = now_ns + EXPORTER_LINGER_NS;
        }
        return exporter->on_answer(exporter, answer, exporter->userdata);
}

/* The answer that the process cannot give any more. */
static int finish_with(Exporter *exporter, GrpcStatus code, bool costly, const char *message) {
        ExporterAnswer answer = {
                .wire = { .type = EXPORTWIRE_ANSWER, .code = code, .local = 1 },
                .costly = costly,
        };

        if (exporter->worker)
                kill_worker(exporter->worker);
        exportwire_set_text(answer.wire.message, message, strlen(message));
        return finish(exporter, &answer);
}

/* What the kernel says about the end of @worker's process, for a message. */
static void describe_end(Worker *worker, char *ret, size_t size) {
        siginfo_t info = {};

        if (waitid(P_PIDFD, (id_t) worker->pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
                (void) snprintf(ret, size, SPAWNER_PROGRAM " ended");
        else if (info.si_code == CLD_EXITED && info.si_status == 127)
                (void) snprintf(ret, size, SPAWNER_PROGRAM " cannot be executed");
        else if (info.si_code == CLD_EXITED)
                (void) snprintf(ret, size, SPAWNER_PROGRAM " ended with exit code %d", info.si_status);
        else
                (void) snprintf(ret, size, SPAWNER_PROGRAM " ended by signal %d%s", info.si_status,
                                info.si_status == SIGABRT ? " (out of its bounded memory?)" : "");
}

static int on_end(LoopSource *source, uint32_t events) {
        Worker *worker = container_of(source, Worker, end);
        Exporter *exporter = worker->exporter;
        bool current = exporter->worker == worker;
        char message[128];

        (void) events;

        describe_end(worker, message, sizeof(message));
        if (current)
                kill_worker(worker);
        forget_worker(worker);
        return current && exporter->busy ? finish_with(exporter, GRPC_UNAVAILABLE, false, message) : 0;
}

static int on_spawned(Exporter *exporter, Spawned *spawned) {
        Worker *worker = exporter->workers;
        char message[128];
        bool current;
        int r;

        while (worker && worker->serial != spawned->serial)
                worker = worker->next;
        if (!worker || worker->known) {
                close_fd(spawned->pidfd);
                return 0;
        }

        if (spawned->error == 0) {
                worker->pidfd = spawned->pidfd;
                worker->known = clock_getcpuclockid(spawned->pid, &worker->clock) == 0;
                r = loop_source_add(&worker->end, exporter->loop, worker->pidfd, EPOLLIN, on_end);
                if (r < 0)
                        return r;
                if (worker->killed)
                        (void) pidfd_send_signal(worker->pidfd, SIGKILL, NULL, 0);
                return 0;
        }

        current = exporter->worker == worker;
        if (current)
                kill_worker(worker);
        forget_worker(worker);
        (void) snprintf(message, sizeof(message), SPAWNER_PROGRAM " cannot be started: %s", strerror(-spawned->error));
        return current && exporter->busy ? finish_with(exporter, GRPC_UNAVAILABLE, false, message) : 0;
}

static int on_spawner(LoopSource *source, uint32_t events) {
        Exporter *exporter = container_of(source, Exporter, spawner);
        Spawned spawned;
        int r;

        (void) events;

        r = spawner_take(exporter->spawner.fd, &spawned);
        if (r < 0)
                /* Nothing can be exported any more: the service manager starts us anew. */
                return log_error_errno(r, "export: the process that starts " SPAWNER_PROGRAM " is gone: %m");
        return r > 0 ? on_spawned(exporter, &spawned) : 0;
}

static int on_wire(LoopSource *source, uint32_t events) {
        Worker *worker = container_of(source, Worker, wire);
        Exporter *exporter = worker->exporter;
        char buf[sizeof(ExportwireAnswer) + 1];
        ExporterAnswer answer = {};
        ssize_t n;

        (void) events;

        n = recv(worker->fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0) {
                /* It is about to end: on_end() knows how. A process that only closed this is killed by on_watch(). */
                loop_source_remove(&worker->wire);
                return 0;
        }
        if (worker != exporter->worker)
                return 0;
        if (!exporter->busy || exportwire_answer_parse(buf, (size_t) n, &answer.wire) < 0) {
                if (exporter->busy)
                        return finish_with(exporter, GRPC_UNAVAILABLE, false,
                                           SPAWNER_PROGRAM " sent something that is no answer");
                kill_worker(worker);
                return 0;
        }
        return finish(exporter, &answer);
}

static int on_watch(LoopTimer *timer) {
        Exporter *exporter = container_of(timer, Exporter, watch);
        uint64_t now_ns = clk_monotonic(), cpu_ns;
        Worker *worker = exporter->worker;
        bool costly;

        if (!worker) {
                (void) loop_timer_stop(timer);
                return 0;
        }

        cpu_ns = cpu_of(worker);
        costly = cpu_ns > exporter->cpu_ns && cpu_ns - exporter->cpu_ns > exporter->cpu_max_ns;
        if (!exporter->busy) {
                if (costly)
                        exporter->no_linger_until_ns = now_ns + EXPORTER_NO_LINGER;
                if (costly || now_ns >= exporter->linger_until_ns)
                        kill_worker(worker);
                return 0;
        }
        if (costly)
                return finish_with(exporter, GRPC_UNAVAILABLE, true,
                                   "the collector costs more processor time than a request is worth");
        if (now_ns >= exporter->deadline_ns)
                return finish_with(exporter, GRPC_DEADLINE_EXCEEDED, false, SPAWNER_PROGRAM " does not answer");
        return 0;
}

/* ---- requests ---- */

int exporter_new(Loop *loop, int spawner_fd, const Config *config, ExporterFn on_answer, void *userdata, Exporter **ret,
                 char **reterr_message) {
        _cleanup_(exporter_freep) Exporter *exporter = NULL;
        int r;

        *reterr_message = NULL;

        exporter = malloc(sizeof(*exporter));
        if (!exporter)
                return -ENOMEM;
        *exporter = (Exporter){
                .loop = loop,
                .spawner = LOOP_SOURCE_NULL,
                .watch = LOOP_TIMER_NULL,
                .on_answer = on_answer,
                .userdata = userdata,
                .setup_fd = -EBADF,
                .request_fd = -EBADF,
        };

        r = exporter_reload(exporter, config, reterr_message);
        if (r == 0)
                r = loop_source_add(&exporter->spawner, loop, spawner_fd, EPOLLIN, on_spawner);
        if (r == 0)
                r = loop_timer_add(&exporter->watch, loop, on_watch);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(exporter);
        return 0;
}

int exporter_reload(Exporter *exporter, const Config *config, char **reterr_message) {
        uint32_t size = 0;
        int fd = -EBADF, r;

        *reterr_message = NULL;

        if (config_exports(config)) {
                r = make_setup(config, &fd, &size, reterr_message);
                if (r < 0)
                        return r;
        }
        close_fd(exporter->setup_fd);
        exporter->setup_fd = fd;
        exporter->setup_size = size;
        exporter->no_linger_until_ns = 0;
        exporter->stale = true;
        exporter_drop(exporter);
        return 0;
}

Exporter *exporter_free(Exporter *exporter) {
        if (!exporter)
                return NULL;

        while (exporter->workers) {
                kill_worker(exporter->workers);
                forget_worker(exporter->workers);
        }
        loop_timer_remove(&exporter->watch);
        loop_source_remove(&exporter->spawner);
        exporter_discard(exporter);
        close_fd(exporter->setup_fd);
        free(exporter);
        return NULL;
}

void exporter_add(Exporter *exporter, const uint8_t *data, size_t size) {
        if (exporter->request_error == 0 && exporter->request_fd < 0)
                exporter->request_error = make_memfd("podspan-request", &exporter->request_fd);
        if (exporter->request_error == 0 && size > EXPORTWIRE_REQUEST_MAX - exporter->request_size)
                exporter->request_error = -E2BIG;
        if (exporter->request_error == 0)
                exporter->request_error = util_write_all(exporter->request_fd, data, size);
        if (exporter->request_error == 0)
                exporter->request_size += size;
}

void exporter_discard(Exporter *exporter) {
        exporter->request_fd = close_fd(exporter->request_fd);
        exporter->request_size = 0;
        exporter->request_error = 0;
}

bool exporter_busy(const Exporter *exporter) {
        return exporter->busy;
}

int exporter_start(Exporter *exporter, uint64_t timeout_ns) {
        const ExportwireOrder order = { .type = EXPORTWIRE_START,
                                        .size = (uint32_t) exporter->request_size,
                                        .timeout_ns = timeout_ns };
        int r = exporter->request_error;

        assert(exporter->setup_fd >= 0);

        if (r == 0 && exporter->busy)
                r = -EBUSY;
        if (r == 0 && exporter->request_size == 0)
                r = -ENODATA;
        if (r == 0 && !exporter->worker)
                r = start_worker(exporter);
        if (r == 0)
                r = fdpass_send(exporter->worker->fd, &order, sizeof(order), &exporter->request_fd, 1);
        if (r == -EPIPE || r == -ECONNRESET) {
                /* The idle one has ended, unnoticed so far. */
                exporter_drop(exporter);
                r = start_worker(exporter);
                if (r == 0)
                        r = fdpass_send(exporter->worker->fd, &order, sizeof(order), &exporter->request_fd, 1);
        }
        if (r == 0)
                r = loop_timer_set(&exporter->watch, EXPORTER_WATCH_NS, EXPORTER_WATCH_NS);
        if (r < 0) {
                exporter_drop(exporter);
                exporter_discard(exporter);
                return r;
        }

        exporter->busy = true;
        exporter->cpu_ns = cpu_of(exporter->worker);
        exporter->cpu_max_ns = EXPORTER_CPU_NS + (exporter->request_size >> 10) * (EXPORTER_CPU_MIB >> 10);
        exporter->deadline_ns = clk_monotonic() + timeout_ns + EXPORTER_GRACE_NS;
        exporter_discard(exporter);
        return 0;
}

void exporter_drop(Exporter *exporter) {
        if (exporter->worker && !exporter->busy)
                kill_worker(exporter->worker);
}
