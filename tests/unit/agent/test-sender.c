#include "fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <sqlite3.h>
#include "clk.h"
#include "exporter.h"
#include "exportwire.h"
#include "fdpass.h"
#include "retry.h"
#include "sender.h"
#include "storeschema.h"

#define SIZE_MAX_REQUEST (64U * 1024)

static uint64_t later_ns;
static bool frozen; /* only later_ns makes time pass */

static Clk clock_of_test(void) {
        static Clk begin;
        struct timespec t;

        if (begin.monotonic_ns == 0)
                begin.realtime_ns = FIXTURE_START;
        assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
        if (!frozen)
                begin.monotonic_ns = (uint64_t) t.tv_sec * NSEC_PER_SEC + (uint64_t) t.tv_nsec;
        return (Clk){ .realtime_ns = FIXTURE_START + later_ns, .monotonic_ns = begin.monotonic_ns + later_ns };
}

/* podspand's export, with this test in the place of the spawner and of podspan-export. */
typedef struct Rig {
        char dir[64];
        int state_fd;
        Config config;
        Loop *loop;
        Store *store;
        Counters *counters;
        Sender *sender;
        int spawner[2];
        unsigned n_started;
        int spawn_error; /* what the spawner says, 0: it starts something */
        pid_t pid;       /* of the process that stands for the newest podspan-export */
        int worker;      /* its end of the pair */
        ExportwireSetup setup;
        uint8_t *setup_data;
        uint64_t timeout_ns; /* of the newest request */
        uint8_t *request;    /* its bytes */
        size_t n_request;
        int failed_with;
} Rig;

static int on_fail(Sender *sender _unused_, int error, void *userdata) {
        ((Rig *) userdata)->failed_with = error;
        return error;
}

static int setup(void **state) {
        static const StoreLimits limits = { .max_size = 64U * 1024 * 1024, .max_age_ns = 3600 * NSEC_PER_SEC };
        _cleanup_free_ char *aside = NULL, *message = NULL;
        Rig *rig = calloc(1, sizeof(*rig));

        assert_non_null(rig);
        later_ns = 0;
        frozen = false;
        clk_override(clock_of_test);
        (void) strcpy(rig->dir, "/tmp/podspan-test-sender-XXXXXX");
        assert_non_null(mkdtemp(rig->dir));
        rig->state_fd = open(rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(rig->state_fd >= 0);
        assert_int_equal(config_defaults(&rig->config), 0);
        rig->config.tracing_batch_size = SIZE_MAX_REQUEST;
        assert_int_equal(loop_new(&rig->loop), 0);
        assert_int_equal(store_open(rig->dir, &limits, &rig->store, &aside), STOREFILE_CREATED);
        rig->counters = counters_open(rig->state_fd, true);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, rig->spawner), 0);
        rig->worker = -EBADF;
        assert_int_equal(sender_new(rig->loop, rig->spawner[0], &rig->config, on_fail, rig, &rig->sender, &message), 0);
        sender_set_counters(rig->sender, rig->counters);
        sender_set_store(rig->sender, rig->store);
        *state = rig;
        return 0;
}

static void end_worker(Rig *rig) {
        int status;

        rig->worker = close_fd(rig->worker);
        if (rig->pid > 0) {
                (void) kill(rig->pid, SIGKILL);
                (void) waitpid(rig->pid, &status, 0);
                rig->pid = 0;
        }
}

static int teardown(void **state) {
        Rig *rig = *state;
        char command[128];

        sender_free(rig->sender);
        end_worker(rig);
        store_free(rig->store);
        counters_free(rig->counters);
        close_fd(rig->spawner[0]);
        close_fd(rig->spawner[1]);
        loop_free(rig->loop);
        config_deinit(&rig->config);
        free(rig->setup_data);
        free(rig->request);
        clk_override(NULL);
        close_fd(rig->state_fd);
        (void) snprintf(command, sizeof(command), "rm -r -- '%s'", rig->dir);
        assert_int_equal(system(command), 0);
        free(rig);
        return 0;
}

/* ---- the other side ---- */

static uint8_t *read_memfd(int fd, size_t size) {
        uint8_t *data = malloc(size);
        struct stat st;

        assert_non_null(data);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, size);
        assert_int_equal(pread(fd, data, size, 0), size);
        close_fd(fd);
        return data;
}

/* Takes an order from the worker's socket: false where there is none. */
static bool take_order(Rig *rig, uint32_t type) {
        int fds[FDPASS_MAX];
        ExportwireOrder order;
        size_t n_fds;
        ssize_t n;

        if (rig->worker < 0)
                return false;
        n = fdpass_recv(rig->worker, &order, sizeof(order), fds, &n_fds);
        if (n == -EAGAIN || n == -ECONNRESET)
                return false;
        assert_int_equal(n, sizeof(order));
        assert_int_equal(exportwire_order_parse(&order, sizeof(order), &order), 0);
        assert_int_equal(n_fds, 1);
        assert_int_equal(order.type, type);
        if (type == EXPORTWIRE_SETUP) {
                free(rig->setup_data);
                rig->setup_data = read_memfd(fds[0], order.size);
                assert_int_equal(exportwire_setup_parse(rig->setup_data, order.size, &rig->setup), 0);
                return true;
        }
        free(rig->request);
        rig->request = read_memfd(fds[0], order.size);
        rig->n_request = order.size;
        rig->timeout_ns = order.timeout_ns;
        return true;
}

/* The spawner's part: starts a process that stands for podspan-export. */
static void spawn(Rig *rig) {
        struct {
                uint32_t serial;
                int32_t error;
                int32_t pid;
        } reply = {};
        int fds[FDPASS_MAX], pidfd = -EBADF;
        uint32_t serial;
        size_t n_fds;

        if (fdpass_recv(rig->spawner[1], &serial, sizeof(serial), fds, &n_fds) != sizeof(serial))
                return;
        assert_int_equal(n_fds, 1);
        end_worker(rig);
        rig->n_started++;
        reply.serial = serial;
        reply.error = rig->spawn_error;
        if (reply.error == 0) {
                rig->pid = fork();
                assert_true(rig->pid >= 0);
                if (rig->pid == 0) {
                        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                        for (;;)
                                (void) pause();
                }
                rig->worker = fds[0];
                reply.pid = rig->pid;
                pidfd = pidfd_open(rig->pid, 0);
                assert_true(pidfd >= 0);
        } else
                close_fd(fds[0]);
        assert_int_equal(fdpass_send(rig->spawner[1], &reply, sizeof(reply), &pidfd, reply.error == 0), 0);
        close_fd(pidfd);
        if (reply.error == 0)
                assert_true(take_order(rig, EXPORTWIRE_SETUP));
}

static void turn(Rig *rig) {
        assert_int_equal(loop_turn(rig->loop, 10), 0);
        spawn(rig);
}

/* Waits for a request. */
static void expect_request(Rig *rig) {
        for (unsigned i = 0; i < 2000; i++) {
                turn(rig);
                if (take_order(rig, EXPORTWIRE_START))
                        return;
        }
        fail_msg("no request came");
}

static void expect_none(Rig *rig) {
        for (unsigned i = 0; i < 5; i++) {
                turn(rig);
                assert_false(take_order(rig, EXPORTWIRE_START));
        }
}

static void reply(Rig *rig, ExportwireAnswer answer) {
        answer.type = EXPORTWIRE_ANSWER;
        assert_int_equal(send(rig->worker, &answer, sizeof(answer), MSG_NOSIGNAL), sizeof(answer));
        /* Until it was read. */
        for (int left = 1, i = 0; left > 0 && rig->worker >= 0 && i < 1000; i++) {
                turn(rig);
                assert_true(rig->worker < 0 || ioctl(rig->worker, SIOCOUTQ, &left) == 0);
        }
}

static void reply_code(Rig *rig, GrpcStatus code, const char *message) {
        ExportwireAnswer answer = { .code = code };

        exportwire_set_text(answer.message, message, strlen(message));
        reply(rig, answer);
}

/* ---- the store ---- */

/* Adds a pending batch of @n spans, received at @received_ns, with @pad bytes in each. */
static int64_t add_batch(Rig *rig, uint64_t received_ns, size_t n, size_t pad) {
        _cleanup_free_ char *text = malloc(pad + 1);
        _cleanup_free_ uint8_t *data = NULL;
        Fixture spans[FIXTURE_SPANS_MAX] = {};
        StoreBatch batch = { .received_ns = received_ns, .n_spans = n };

        assert_non_null(text);
        memset(text, 'x', pad);
        text[pad] = 0;
        assert_int_equal(store_begin(rig->store), 0);
        batch.id = store_batch_next(rig->store);
        for (size_t i = 0; i < n; i++)
                spans[i] = (Fixture){ .trace = (uint8_t) batch.id, .span = (uint8_t) (i + 1), .pad = text };
        data = fixture_pack(spans, n, &batch.size);
        assert_int_equal(store_batch_add(rig->store, &batch, STORESCHEMA_STATE_PENDING, data), 0);
        assert_int_equal(store_commit(rig->store), 0);
        return batch.id;
}

static int64_t ask(Rig *rig, const char *sql, int64_t id) {
        sqlite3_stmt *stmt;
        char path[128];
        sqlite3 *db;
        int64_t n = -1;

        (void) snprintf(path, sizeof(path), "%s/" STORESCHEMA_FILE, rig->dir);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
        (void) sqlite3_bind_int64(stmt, 1, id);
        if (sqlite3_step(stmt) == SQLITE_ROW)
                n = sqlite3_column_int64(stmt, 0);
        (void) sqlite3_finalize(stmt);
        (void) sqlite3_close(db);
        return n;
}

static int64_t state_of(Rig *rig, int64_t id) {
        return ask(rig, "SELECT state FROM batch WHERE id = ?1", id);
}

static int64_t ledger(Rig *rig, const char *key) {
        char sql[128];
        int64_t n;

        (void) snprintf(sql, sizeof(sql), "SELECT n FROM ledger WHERE key = '%s'", key);
        n = ask(rig, sql, 0);
        return n < 0 ? 0 : n;
}

static bool meta_is(Rig *rig, const char *key, const char *value) {
        char sql[256];

        (void) snprintf(sql, sizeof(sql), "SELECT value = '%s' FROM meta WHERE key = '%s'", value, key);
        return ask(rig, sql, 0) == 1;
}

static uint64_t counted(const Rig *rig, CountersId id) {
        return counters_get(rig->counters, COUNTERS_AGENT, id);
}

/* Spans of the newest request, and of which batches: the trace ids' bytes. */
static size_t request_spans(const Rig *rig, char *ret_traces) {
        Podspan__Otlp__TracesData *data = podspan__otlp__traces_data__unpack(NULL, rig->n_request, rig->request);
        size_t n = 0;

        assert_non_null(data);
        for (size_t r = 0; r < data->n_resource_spans; r++)
                for (size_t s = 0; s < data->resource_spans[r]->n_scope_spans; s++)
                        for (size_t i = 0; i < data->resource_spans[r]->scope_spans[s]->n_spans; i++)
                                ret_traces[n++] =
                                        (char) ('0' +
                                                data->resource_spans[r]->scope_spans[s]->spans[i]->trace_id.data[0]);
        ret_traces[n] = 0;
        podspan__otlp__traces_data__free_unpacked(data, NULL);
        return n;
}

static void assert_request(const Rig *rig, const char *traces) {
        char got[512];

        (void) request_spans(rig, got);
        assert_string_equal(got, traces);
}

/* Pending batches go together, the newest first, and leave the queue when the collector has them. */
static void sends(void **state) {
        Rig *rig = *state;
        const int64_t *flight;
        size_t n;

        (void) add_batch(rig, FIXTURE_START, 1, 10);
        (void) add_batch(rig, FIXTURE_START, 2, 10);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        (void) sender_in_flight(rig->sender, &n);
        assert_int_equal(n, 0);
        expect_request(rig);
        assert_request(rig, "221");
        assert_int_equal(rig->timeout_ns, rig->config.tracing_timeout_ns);
        assert_string_equal(rig->setup.target, "dns:///localhost:4317");
        assert_true(rig->setup.gzip);
        assert_false(rig->setup.tls);
        flight = sender_in_flight(rig->sender, &n);
        assert_int_equal(n, 2);
        assert_int_equal(flight[0], 2);
        assert_int_equal(flight[1], 1);

        /* What comes meanwhile waits for its turn. */
        (void) add_batch(rig, FIXTURE_START, 1, 10);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_none(rig);
        assert_int_equal(state_of(rig, 1), STORESCHEMA_STATE_PENDING);
        reply_code(rig, GRPC_OK, "");
        assert_int_equal(state_of(rig, 1), STORESCHEMA_STATE_EXPORTED);
        assert_int_equal(state_of(rig, 2), STORESCHEMA_STATE_EXPORTED);
        assert_int_equal(state_of(rig, 3), STORESCHEMA_STATE_PENDING);
        assert_int_equal(counted(rig, COUNTERS_AGENT_EXPORTED), 3);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_EXPORTED), 3);
        assert_true(meta_is(rig, "last_export_ok_endpoint", rig->config.tracing_endpoint));
        assert_false(meta_is(rig, "last_export_error_endpoint", rig->config.tracing_endpoint));
        (void) sender_in_flight(rig->sender, &n);
        assert_int_equal(n, 0);

        /* By the same process. */
        if (!take_order(rig, EXPORTWIRE_START))
                expect_request(rig);
        assert_request(rig, "3");
        reply_code(rig, GRPC_OK, "");
        assert_int_equal(rig->n_started, 1);
        assert_int_equal(counted(rig, COUNTERS_AGENT_RETRIES), 0);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_REJECTED), 0);
}

/* A request has at most so many bytes; the rest follows at once. */
static void bounded(void **state) {
        Rig *rig = *state;

        for (unsigned i = 0; i < 3; i++)
                (void) add_batch(rig, FIXTURE_START, 1, SIZE_MAX_REQUEST / 5 * 2);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        assert_request(rig, "32");
        assert_in_range(rig->n_request, 1, SIZE_MAX_REQUEST);
        reply_code(rig, GRPC_OK, "");
        if (!take_order(rig, EXPORTWIRE_START))
                expect_request(rig);
        assert_request(rig, "1");
        reply_code(rig, GRPC_OK, "");
        assert_int_equal(counted(rig, COUNTERS_AGENT_EXPORTED), 3);
}

/* Of what the collector accepted it may reject some. */
static void partial(void **state) {
        Rig *rig = *state;
        ExportwireAnswer answer = { .code = GRPC_OK, .n_rejected = 2, .partial = "too old" };

        (void) add_batch(rig, FIXTURE_START, 5, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        reply(rig, answer);
        assert_int_equal(state_of(rig, 1), STORESCHEMA_STATE_EXPORTED);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_EXPORTED), 3);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_REJECTED), 2);
        assert_int_equal(counted(rig, COUNTERS_AGENT_EXPORTED), 3);
        assert_int_equal(counted(rig, COUNTERS_AGENT_REJECTED), 2);

        /* No more than there were. */
        (void) add_batch(rig, FIXTURE_START, 1, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        answer.n_rejected = 1000;
        reply(rig, answer);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_EXPORTED), 3);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_REJECTED), 3);
        assert_int_equal(counted(rig, COUNTERS_AGENT_EXPORTED), 3);
}

/* What the collector will never take is dropped, counted and said. */
static void refused(void **state) {
        Rig *rig = *state;

        (void) add_batch(rig, FIXTURE_START, 4, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        reply_code(rig, GRPC_INVALID_ARGUMENT, "no such tenant");
        assert_int_equal(state_of(rig, 1), STORESCHEMA_STATE_REFUSED);
        assert_int_equal(counted(rig, COUNTERS_AGENT_DROP_REFUSED), 4);
        assert_int_equal(counted(rig, COUNTERS_AGENT_EXPORTED), 0);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_REFUSED), 4);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_EXPORTED), 0);
        assert_true(meta_is(rig, "last_export_error", "INVALID_ARGUMENT: no such tenant"));
        assert_true(meta_is(rig, "last_export_error_endpoint", rig->config.tracing_endpoint));

        /* It is no outage: the next goes at once. */
        (void) add_batch(rig, FIXTURE_START, 1, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        assert_request(rig, "2");
        reply_code(rig, GRPC_OK, "");
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_EXPORTED), 1);
}

/* A collector that is away is asked again, by a new process, and nothing is dropped. */
static void postponed(void **state) {
        Rig *rig = *state;
        uint64_t begin_ns;

        (void) add_batch(rig, FIXTURE_START, 2, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        begin_ns = clk_monotonic();
        reply_code(rig, GRPC_UNAVAILABLE, "no route");
        assert_int_equal(state_of(rig, 1), STORESCHEMA_STATE_PENDING);
        assert_int_equal(counted(rig, COUNTERS_AGENT_RETRIES), 1);
        assert_int_equal(counted(rig, COUNTERS_AGENT_TIMEOUTS), 0);
        assert_true(meta_is(rig, "last_export_error", "UNAVAILABLE: no route"));
        assert_int_equal(ask(rig, "SELECT value FROM meta WHERE key = 'export_failing_since_ns'", 0), FIXTURE_START);

        /* New spans do not make it come earlier. */
        (void) add_batch(rig, FIXTURE_START, 1, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        assert_true(clk_monotonic() - begin_ns >= RETRY_DELAY_MIN_NS / 4 * 3);
        assert_request(rig, "211");
        assert_int_equal(rig->n_started, 2);
        reply_code(rig, GRPC_OK, "");
        assert_int_equal(counted(rig, COUNTERS_AGENT_EXPORTED), 3);
        assert_int_equal(ask(rig, "SELECT value FROM meta WHERE key = 'export_failing_since_ns'", 0), 0);
}

/* A request that is too large is halved: batches, then a batch's spans, of which one alone is dropped. */
static void halved(void **state) {
        Rig *rig = *state;
        char traces[512];
        unsigned n_requests = 0, n_taken = 0;

        (void) add_batch(rig, FIXTURE_START, 7, 100);
        (void) add_batch(rig, FIXTURE_START, 3, 100);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        while (n_taken < 10 && n_requests < 100) {
                size_t n;

                expect_request(rig);
                n = request_spans(rig, traces);
                n_requests++;
                if (n_requests == 1)
                        assert_string_equal(traces, "2221111111");
                /* Takes two spans at most. */
                if (n > 2) {
                        reply_code(rig, GRPC_RESOURCE_EXHAUSTED, "too much");
                        continue;
                }
                n_taken += (unsigned) n;
                reply_code(rig, GRPC_OK, "");
                assert_int_equal(state_of(rig, 1),
                                 n_taken == 10 ? STORESCHEMA_STATE_EXPORTED : STORESCHEMA_STATE_PENDING);
        }
        assert_int_equal(n_taken, 10);
        assert_true(n_requests < 20);
        assert_int_equal(state_of(rig, 2), STORESCHEMA_STATE_EXPORTED);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_EXPORTED), 10);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_REFUSED), 0);
        assert_int_equal(counted(rig, COUNTERS_AGENT_EXPORTED), 10);
        assert_int_equal(counted(rig, COUNTERS_AGENT_DROP_REFUSED), 0);
}

/* One span of a batch that no collector takes, the others with a partial success. */
static void one_span_is_dropped(void **state) {
        Rig *rig = *state;
        char traces[512];
        unsigned n_requests = 0;

        (void) add_batch(rig, FIXTURE_START, 4, 100);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        for (bool refused_one = false; state_of(rig, 1) == STORESCHEMA_STATE_PENDING && n_requests < 50; n_requests++) {
                expect_request(rig);
                if (request_spans(rig, traces) > 1 || !refused_one) {
                        refused_one = request_spans(rig, traces) == 1;
                        reply_code(rig, GRPC_RESOURCE_EXHAUSTED, "");
                } else
                        reply(rig, (ExportwireAnswer){ .code = GRPC_OK, .n_rejected = n_requests == 3 });
        }
        assert_int_equal(state_of(rig, 1), STORESCHEMA_STATE_EXPORTED);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_REFUSED), 1);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_REJECTED), 1);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_EXPORTED), 2);
        assert_int_equal(counted(rig, COUNTERS_AGENT_DROP_REFUSED), 1);
        assert_true(meta_is(rig, "last_export_error", "RESOURCE_EXHAUSTED"));
}

/* A collector that takes no span at all, whatever its size, is not asked for each of them. */
static void all_singles_are_refused(void **state) {
        Rig *rig = *state;
        unsigned n_requests = 0;

        (void) add_batch(rig, FIXTURE_START, 60, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        for (; state_of(rig, 1) == STORESCHEMA_STATE_PENDING && n_requests < 200; n_requests++) {
                expect_request(rig);
                reply_code(rig, GRPC_RESOURCE_EXHAUSTED, "");
        }
        assert_in_range(n_requests, SENDER_SINGLES_MAX, 6 + SENDER_SINGLES_MAX);
        assert_int_equal(state_of(rig, 1), STORESCHEMA_STATE_REFUSED);
        assert_int_equal(ledger(rig, STORESCHEMA_LEDGER_REFUSED), 60);
        assert_int_equal(counted(rig, COUNTERS_AGENT_DROP_REFUSED), 60);
}

/* What is old goes no faster than it may, what is fresh does not wait for it. */
static void backlog(void **state) {
        Rig *rig = *state;
        uint64_t old_ns = FIXTURE_START - 60 * NSEC_PER_SEC;

        frozen = true;
        rig->config.tracing_export_rate_bytes = 1000;
        (void) sender_free(rig->sender);
        {
                _cleanup_free_ char *message = NULL;

                assert_int_equal(
                        sender_new(rig->loop, rig->spawner[0], &rig->config, on_fail, rig, &rig->sender, &message), 0);
        }
        sender_set_store(rig->sender, rig->store);
        for (unsigned i = 0; i < 4; i++)
                (void) add_batch(rig, old_ns, 1, 600);
        (void) add_batch(rig, FIXTURE_START - SENDER_FRESH_NS, 1, 600);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        /* The fresh one, and of the others what a second's worth is begun with. */
        assert_request(rig, "543");
        reply_code(rig, GRPC_OK, "");
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_none(rig);
        (void) add_batch(rig, FIXTURE_START, 1, 10);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        assert_request(rig, "6");
        reply_code(rig, GRPC_OK, "");

        /* A second later there is room again; much later not for more than a second's worth. */
        later_ns += 3600 * NSEC_PER_SEC;
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        assert_request(rig, "21");
        reply_code(rig, GRPC_OK, "");
}

/* A process that ends, cannot be started, or says nonsense makes the request one that comes again. */
static void failing_process(void **state) {
        Rig *rig = *state;
        static const struct {
                const char *how;
                const char *error;
        } cases[] = {
                { "signal", "UNAVAILABLE: podspan-export ended by signal 15" },
                { "nonsense", "UNAVAILABLE: podspan-export sent something that is no answer" },
                { "short", "UNAVAILABLE: podspan-export sent something that is no answer" },
                { "silence", "DEADLINE_EXCEEDED: podspan-export does not answer" },
                { "start", "UNAVAILABLE: podspan-export cannot be started: No such file or directory" },
        };

        (void) add_batch(rig, FIXTURE_START, 1, 1);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_free_ char *message = NULL;
                const char *how = cases[i].how;

                /* What failed before is forgotten: no wait. */
                assert_int_equal(sender_reload(rig->sender, &message), 0);
                if (strcmp(how, "start") == 0)
                        rig->spawn_error = -ENOENT;
                else
                        expect_request(rig);
                if (strcmp(how, "signal") == 0)
                        assert_int_equal(kill(rig->pid, SIGTERM), 0);
                else if (strcmp(how, "nonsense") == 0)
                        reply(rig, (ExportwireAnswer){ .code = 1000 });
                else if (strcmp(how, "short") == 0)
                        assert_int_equal(send(rig->worker, "x", 1, 0), 1);
                else if (strcmp(how, "silence") == 0)
                        later_ns += rig->config.tracing_timeout_ns + EXPORTER_GRACE_NS;
                for (unsigned k = 0; k < 1000 && counted(rig, COUNTERS_AGENT_RETRIES) <= i; k++)
                        turn(rig);
                if (!meta_is(rig, "last_export_error", cases[i].error))
                        fail_msg("%s", cases[i].error);
                assert_int_equal(state_of(rig, 1), STORESCHEMA_STATE_PENDING);
                assert_int_equal(counted(rig, COUNTERS_AGENT_RETRIES), i + 1);
        }
        assert_int_equal(counted(rig, COUNTERS_AGENT_TIMEOUTS), 1);
        assert_int_equal(rig->n_started, ARRAY_SIZE(cases));
}

/* The process is gone, and our end of its socket with it. */
static void expect_end(Rig *rig) {
        for (unsigned i = 0; i < 1000 && poll(&(struct pollfd){ .fd = rig->worker, .events = POLLIN }, 1, 0) == 0; i++)
                turn(rig);
        assert_int_equal(recv(rig->worker, &(char){ 0 }, 1, MSG_DONTWAIT), 0);
}

/* The process is killed when it has idled long enough, and when the configuration has changed. */
static void idle_process_ends(void **state) {
        Rig *rig = *state;
        _cleanup_free_ char *message = NULL;

        (void) add_batch(rig, FIXTURE_START, 1, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        reply_code(rig, GRPC_OK, "");
        assert_true(poll(&(struct pollfd){ .fd = rig->worker, .events = POLLIN }, 1, 0) == 0);
        later_ns += EXPORTER_LINGER_NS;
        expect_end(rig);
        (void) add_batch(rig, FIXTURE_START + later_ns, 1, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        assert_int_equal(rig->n_started, 2);
        reply_code(rig, GRPC_OK, "");
        free(rig->config.tracing_endpoint);
        rig->config.tracing_endpoint = strdup("https://[::1]:55");
        assert_non_null(rig->config.tracing_endpoint);
        assert_int_equal(sender_reload(rig->sender, &message), 0);
        expect_end(rig);
        (void) add_batch(rig, FIXTURE_START + later_ns, 1, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        assert_int_equal(rig->n_started, 3);
        assert_string_equal(rig->setup.target, "dns:///[::1]:55");
        assert_true(rig->setup.tls);

        /* Under way it is not disturbed; the next has a process of its own. */
        free(rig->config.tracing_endpoint);
        rig->config.tracing_endpoint = strdup("unix:/run/c.sock");
        assert_int_equal(sender_reload(rig->sender, &message), 0);
        (void) add_batch(rig, FIXTURE_START + later_ns, 1, 1);
        reply_code(rig, GRPC_OK, "");
        assert_int_equal(state_of(rig, 3), STORESCHEMA_STATE_EXPORTED);
        assert_true(meta_is(rig, "last_export_ok_endpoint", "https://[::1]:55"));
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        assert_int_equal(rig->n_started, 4);
        assert_string_equal(rig->setup.target, "unix:/run/c.sock");
        reply_code(rig, GRPC_OK, "");

        /* Nothing is exported any more. */
        free(rig->config.tracing_endpoint);
        rig->config.tracing_endpoint = strdup("none");
        assert_int_equal(sender_reload(rig->sender, &message), 0);
        (void) add_batch(rig, FIXTURE_START + later_ns, 1, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_none(rig);
        assert_int_equal(state_of(rig, 5), STORESCHEMA_STATE_PENDING);
}

/* The last try: what is under way, then once what is pending; without an answer not for long. */
static void finish(void **state) {
        Rig *rig = *state;

        (void) add_batch(rig, FIXTURE_START, 1, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        (void) add_batch(rig, FIXTURE_START, 1, 1);
        assert_int_equal(sender_finish(rig->sender, 60 * NSEC_PER_SEC), 0);
        reply_code(rig, GRPC_OK, "");
        assert_true(take_order(rig, EXPORTWIRE_START));
        assert_request(rig, "2");
        assert_int_equal(rig->timeout_ns, SENDER_LAST_NS);
        (void) add_batch(rig, FIXTURE_START, 1, 1);
        reply_code(rig, GRPC_OK, "");
        assert_int_equal(loop_run(rig->loop), 0);
        assert_int_equal(state_of(rig, 2), STORESCHEMA_STATE_EXPORTED);
        assert_int_equal(state_of(rig, 3), STORESCHEMA_STATE_PENDING);
        assert_false(take_order(rig, EXPORTWIRE_START));
}

static void finish_without_answer(void **state) {
        Rig *rig = *state;

        /* Nothing to do. */
        assert_int_equal(sender_finish(rig->sender, 3600 * NSEC_PER_SEC), 0);
        assert_int_equal(loop_run(rig->loop), 0);

        (void) add_batch(rig, FIXTURE_START, 1, 1);
        assert_int_equal(sender_finish(rig->sender, 50 * NSEC_PER_MSEC), 0);
        assert_int_equal(loop_run(rig->loop), 0);
        assert_int_equal(state_of(rig, 1), STORESCHEMA_STATE_PENDING);
}

/* Another store: what was under way is none of its batches. */
static void other_store(void **state) {
        static const StoreLimits limits = { .max_size = 64U * 1024 * 1024, .max_age_ns = 3600 * NSEC_PER_SEC };
        Rig *rig = *state;
        _cleanup_free_ char *aside = NULL;
        Store *first = rig->store;
        char dir[128];
        size_t n;

        (void) add_batch(rig, FIXTURE_START, 1, 1);
        assert_int_equal(sender_notify(rig->sender, SENDER_SOON_BYTES), 0);
        expect_request(rig);
        (void) snprintf(dir, sizeof(dir), "%s/other", rig->dir);
        assert_int_equal(mkdir(dir, 0700), 0);
        assert_int_equal(store_open(dir, &limits, &rig->store, &aside), STOREFILE_CREATED);
        sender_set_store(rig->sender, rig->store);
        (void) sender_in_flight(rig->sender, &n);
        assert_int_equal(n, 0);
        (void) add_batch(rig, FIXTURE_START, 2, 1);
        reply_code(rig, GRPC_OK, "");
        assert_int_equal(state_of(rig, 1), STORESCHEMA_STATE_PENDING);
        assert_int_equal(counted(rig, COUNTERS_AGENT_EXPORTED), 0);
        if (!take_order(rig, EXPORTWIRE_START))
                expect_request(rig);
        assert_request(rig, "11");
        sender_set_store(rig->sender, NULL);
        reply_code(rig, GRPC_OK, "");
        expect_none(rig);
        store_free(first);
}

/* The set-up's certificates are read when it is made; what cannot be used is said. */
static void certificates(void **state) {
        Rig *rig = *state;
        _cleanup_free_ char *message = NULL, *missing = NULL, *bad = NULL;
        char path[128], link[128], text[64] = "-----BEGIN CERTIFICATE-----";
        int fd;

        (void) snprintf(path, sizeof(path), "%s/ca.pem", rig->dir);
        (void) snprintf(link, sizeof(link), "%s/link.pem", rig->dir);
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close_fd(fd);
        assert_int_equal(symlink(path, link), 0);
        free(rig->config.tracing_endpoint);
        free(rig->config.tracing_certificate);
        free(rig->config.tracing_client_certificate);
        rig->config.tracing_endpoint = strdup("https://collector:4317");
        rig->config.tracing_certificate = strdup(link);
        rig->config.tracing_client_certificate = strdup(path);
        rig->config.tracing_compression = CONFIG_COMPRESSION_NONE;
        rig->config.n_tracing_headers = 1;
        rig->config.tracing_headers[0] = (ConfigHeader){ .name = strdup("tenant"), .value = strdup("a b") };
        assert_int_equal(sender_reload(rig->sender, &message), 0);
        (void) add_batch(rig, FIXTURE_START, 1, 1);
        expect_request(rig);
        assert_string_equal(rig->setup.target, "dns:///collector:4317");
        assert_string_equal(rig->setup.roots, text);
        /* A certificate without its key is none. */
        assert_null(rig->setup.certificate);
        assert_null(rig->setup.key);
        assert_false(rig->setup.gzip);
        assert_int_equal(rig->setup.n_headers, 1);
        assert_string_equal(rig->setup.headers[0].name, "tenant");
        assert_string_equal(rig->setup.headers[0].value, "a b");

        free(rig->config.tracing_client_key);
        rig->config.tracing_client_key = strdup(path);
        assert_int_equal(sender_reload(rig->sender, &message), 0);
        reply_code(rig, GRPC_UNAVAILABLE, "");
        expect_request(rig);
        assert_string_equal(rig->setup.certificate, text);
        assert_string_equal(rig->setup.key, text);

        free(rig->config.tracing_client_key);
        rig->config.tracing_client_key = strdup("/nonexistent/key.pem");
        assert_int_equal(sender_reload(rig->sender, &missing), -ENOENT);
        assert_non_null(strstr(missing, "/nonexistent/key.pem: "));
        free(rig->config.tracing_endpoint);
        rig->config.tracing_endpoint = strdup("ftp://x");
        assert_true(sender_reload(rig->sender, &bad) < 0);
        assert_non_null(strstr(bad, "tracing_endpoint: "));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(sends, setup, teardown),
                cmocka_unit_test_setup_teardown(bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(partial, setup, teardown),
                cmocka_unit_test_setup_teardown(refused, setup, teardown),
                cmocka_unit_test_setup_teardown(postponed, setup, teardown),
                cmocka_unit_test_setup_teardown(halved, setup, teardown),
                cmocka_unit_test_setup_teardown(one_span_is_dropped, setup, teardown),
                cmocka_unit_test_setup_teardown(all_singles_are_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(backlog, setup, teardown),
                cmocka_unit_test_setup_teardown(failing_process, setup, teardown),
                cmocka_unit_test_setup_teardown(idle_process_ends, setup, teardown),
                cmocka_unit_test_setup_teardown(finish, setup, teardown),
                cmocka_unit_test_setup_teardown(finish_without_answer, setup, teardown),
                cmocka_unit_test_setup_teardown(other_store, setup, teardown),
                cmocka_unit_test_setup_teardown(certificates, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
