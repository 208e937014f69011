#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "callpack.h"
#include "calls.h"
#include "otlp.pb-c.h"
#include "tappack.h"
#include "verdict.h"
#include "wire.h"

#define R "/runtime.v1.RuntimeService/"
#define I "/runtime.v1.ImageService/"

#define UID      "11111111-2222-3333-4444-555555555555"
#define SANDBOX  "5a0dbc"
#define CALLERS  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define CALLERS0 "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
#define ELSE     "00-ffffffffffffffffffffffffffffffff-eeeeeeeeeeeeeeee-01"

static Clk now;

static Clk clock_of_test(void) {
        return now;
}

static void pass(uint64_t ns) {
        now.realtime_ns += ns;
        now.monotonic_ns += ns;
}

/* A podspan-cri without its sockets. */
typedef struct Rig {
        char dir[64];
        int state_fd;
        Config config;
        Calls calls;
        Tap tap;
        Wire wire;
        uint32_t stream;
        unsigned n_played;
        Bytes out;
        char text[16384];
} Rig;

static void rig_open(Rig *rig) {
        assert_int_equal(calls_init(&rig->calls, &rig->config, "/run/rt.sock", rig->state_fd, NULL), 0);
        tap_init(&rig->tap, &calls_tap_ops, &rig->calls, calls_may_inject(&rig->calls));
        wire_init(&rig->wire);
        wire_preface(&rig->wire, NULL, NULL);
        rig->stream = 1;
        rig->n_played = 0;
}

static void rig_close(Rig *rig, TapEnd how) {
        calls_set_now(&rig->calls);
        tap_deinit(&rig->tap, how);
        calls_deinit(&rig->calls);
        wire_deinit(&rig->wire);
        bytes_free(&rig->out);
}

static int setup(void **state) {
        Rig *rig = calloc(1, sizeof(*rig));

        assert_non_null(rig);
        now = (Clk){ .realtime_ns = UINT64_C(1795257500) * NSEC_PER_SEC, .monotonic_ns = 1000 * NSEC_PER_SEC };
        clk_override(clock_of_test);
        (void) strcpy(rig->dir, "/tmp/podspan-test-calls-XXXXXX");
        assert_non_null(mkdtemp(rig->dir));
        rig->state_fd = open(rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(rig->state_fd >= 0);
        assert_int_equal(mkdirat(rig->state_fd, "spool", 0700), 0);
        assert_int_equal(config_defaults(&rig->config), 0);
        rig->config.tracing_sampling_rate_per_million = 1000000;
        *state = rig;
        return 0;
}

static int teardown(void **state) {
        Rig *rig = *state;
        char command[128];

        config_deinit(&rig->config);
        close_fd(rig->state_fd);
        (void) snprintf(command, sizeof(command), "rm -rf %s", rig->dir);
        assert_int_equal(system(command), 0);
        clk_override(NULL);
        free(rig);
        return 0;
}

/* Every test is run a second time, with calls going from one process to another wherever they can. */
static bool moving;

static void drop(Tap *tap _unused_, TapStream *stream, TapEnd how _unused_, const TapHeaders *headers _unused_,
                 uint32_t error _unused_) {
        callpack_drop(stream);
}

static void adopt(TapStream *stream, void *userdata _unused_) {
        callpack_adopt(stream);
}

static void move(Rig *rig) {
        static const TapOps gone = { .end = drop };
        _cleanup_(pack_deinit) Pack pack = PACK_NULL;
        _cleanup_free_ uint8_t *exact = NULL;
        Unpack unpack;
        Tap other;

        if (!moving || rig->tap.plain || !tappack_ready(&rig->tap))
                return;
        calls_settle(&rig->calls);
        (void) calls_show(&rig->calls, /* all= */ true);
        callpack_write_calls(&rig->calls, &pack);
        tappack_write(&rig->tap, &pack, callpack_write);
        assert_false(pack.failed);
        exact = malloc(pack.n);
        assert_non_null(exact);
        memcpy(exact, pack.p, pack.n);
        unpack = unpack_make(exact, pack.n);

        assert_int_equal(callpack_read_calls(&rig->calls, &unpack), 0);
        tap_init(&other, &calls_tap_ops, &rig->calls, false);
        assert_int_equal(tappack_read(&other, &unpack, rig->tap.hold.p, hold_kept(&rig->tap.hold), callpack_read), 0);
        assert_int_equal(unpack.n, 0);
        rig->tap.ops = &gone;
        tap_deinit(&rig->tap, TAP_END_UNTRACKED);
        rig->tap = other;
        tap_each(&rig->tap, adopt, NULL);
}

static void rig_bytes(Rig *rig, const uint8_t *p, size_t n) {
        struct iovec iov[HOLD_IOV];

        tap_request(&rig->tap, p, n, iov);
        for (unsigned i = 0; i < HOLD_IOV; i++)
                bytes_add(&rig->out, iov[i].iov_base, iov[i].iov_len);
        tap_request_done(&rig->tap);
}

/* Plays the turns that were added. */
static void rig_play(Rig *rig) {
        for (; rig->n_played < rig->wire.n_turns; rig->n_played++) {
                const WireTurn *turn = &rig->wire.turns[rig->n_played];
                size_t piece = moving ? 61 : turn->bytes.n;

                calls_set_now(&rig->calls);
                for (size_t at = 0; at < turn->bytes.n; at += piece) {
                        size_t n = MIN(piece, turn->bytes.n - at);

                        if (turn->runtime)
                                tap_reply(&rig->tap, turn->bytes.p + at, n);
                        else
                                rig_bytes(rig, turn->bytes.p + at, n);
                        move(rig);
                }
        }
        /* What follows is a turn of its own. */
        assert_true(rig->wire.n_turns < WIRE_TURNS_MAX);
        rig->wire.turns[rig->wire.n_turns].runtime =
                rig->wire.n_turns > 0 && !rig->wire.turns[rig->wire.n_turns - 1].runtime;
        rig->wire.n_turns++;
}

static void rig_request(Rig *rig, const char *path, Bytes *message, const char *traceparent, const char *timeout) {
        Bytes m = grpc_wrap(message, false);

        wire_headers(&rig->wire, false, rig->stream, 0,
                     traceparent ? WIRE_FIELDS(WIRE_REQUEST(path), "grpc-timeout", timeout, "traceparent", traceparent)
                                 : WIRE_FIELDS(WIRE_REQUEST(path), "grpc-timeout", timeout));
        wire_data(&rig->wire, false, rig->stream, WIRE_END_STREAM, m.p, m.n);
        bytes_free(&m);
        rig_play(rig);
}

static void rig_reply(Rig *rig, Bytes *message, const char *status) {
        Bytes m = grpc_wrap(message, false);

        wire_reply(&rig->wire, rig->stream, m.p, m.n, status);
        bytes_free(&m);
        rig_play(rig);
        rig->stream += 2;
}

static void rig_call(Rig *rig, const char *path, Bytes request, Bytes reply, const char *status,
                     const char *traceparent) {
        rig_request(rig, path, &request, traceparent, "240S");
        pass(10 * NSEC_PER_MSEC);
        rig_reply(rig, &reply, status);
        pass(NSEC_PER_MSEC);
}

static Bytes none(void) {
        return (Bytes){};
}

static Bytes id_message(const char *id) {
        Bytes m = {};

        pb_string(&m, 1, id);
        return m;
}

static Bytes sandbox_config(const char *link) {
        Bytes m = {};

        pb_pod(&m, 1, "web-0", UID, "prod", 0);
        pb_map(&m, 7, "kubernetes.io/config.seen", "2026-11-21T10:38:17.5Z");
        pb_map(&m, 7, "kubernetes.io/config.source", "api");
        if (link)
                pb_map(&m, 7, "tracing.k8s.io/traceparent", link);
        return m;
}

static Bytes run_request(const char *link) {
        Bytes m = {}, config = sandbox_config(link);

        pb_message(&m, 1, &config);
        pb_string(&m, 2, "kata");
        return m;
}

static Bytes pull_request(void) {
        Bytes m = {}, image = id_message("app:1"), config = sandbox_config(NULL), auth = {};

        pb_message(&m, 1, &image);
        pb_string(&auth, 1, "user");
        pb_string(&auth, 2, "SECRET");
        pb_message(&m, 2, &auth);
        pb_message(&m, 3, &config);
        return m;
}

static Bytes create_request(unsigned attempt) {
        Bytes m = {}, config = {}, image = id_message("app:1"), sandbox = sandbox_config(NULL), env = {};

        pb_string(&m, 1, SANDBOX);
        pb_container(&config, 1, "main", attempt);
        pb_message(&config, 2, &image);
        pb_string(&env, 1, "PASSWORD");
        pb_string(&env, 2, "SECRET");
        pb_message(&config, 6, &env);
        pb_message(&m, 2, &config);
        pb_message(&m, 3, &sandbox);
        return m;
}

/* Names for ids, in the order in which they appear: "t1", "s1" … */
typedef struct Names {
        char prefix;
        unsigned n;
        struct {
                uint8_t id[16];
                char text[24];
        } known[64];
} Names;

static const char *name_of(Names *names, ProtobufCBinaryData id) {
        uint8_t key[16] = {};

        if (id.len == 0)
                return "-";
        assert_true(id.len <= sizeof(key));
        memcpy(key, id.data, id.len);
        for (unsigned i = 0; i < names->n; i++)
                if (memcmp(names->known[i].id, key, sizeof(key)) == 0)
                        return names->known[i].text;
        assert_true(names->n < ARRAY_SIZE(names->known));
        memcpy(names->known[names->n].id, key, sizeof(key));
        (void) snprintf(names->known[names->n].text, sizeof(names->known[0].text), "%c%u", names->prefix, names->n + 1);
        return names->known[names->n++].text;
}

static void put(Rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(Rig *rig, const char *format, ...) {
        size_t n = strlen(rig->text);
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(rig->text + n, sizeof(rig->text) - n, format, ap);
        va_end(ap);
}

static void put_span(Rig *rig, Names *traces, Names *spans, const Podspan__Otlp__Span *s, const char *attr) {
        /* In this order, whatever order arguments are evaluated in. */
        const char *trace = name_of(traces, s->trace_id), *span = name_of(spans, s->span_id),
                   *parent = name_of(spans, s->parent_span_id);

        put(rig, "%s %s %s<%s f%u", strrchr(s->name, '/') + 1, trace, span, parent, s->flags & 1);
        if (s->trace_state[0])
                put(rig, " [%s]", s->trace_state);
        for (size_t i = 0; i < s->n_attributes; i++) {
                const Podspan__Otlp__KeyValue *kv = s->attributes[i];

                if (!attr || !strstr(attr, kv->key))
                        continue;
                if (kv->value->value_case == PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE)
                        put(rig, " %s", kv->value->string_value);
                else
                        put(rig, " %" PRId64, kv->value->int_value);
        }
        for (size_t i = 0; i < s->n_links; i++) {
                trace = name_of(traces, s->links[i]->trace_id);
                span = name_of(spans, s->links[i]->span_id);
                put(rig, " %s=%s/%s", s->links[i]->attributes[0]->value->string_value, trace, span);
        }
        if (s->status && s->status->code)
                put(rig, " status=%d:%s", s->status->code, s->status->message);
        put(rig, "\n");
}

/* What is in the spool, a line a span, with the values of the attributes named in @attr; and no secret in it. */
static const char *rig_spans(Rig *rig, const char *attr) {
        static Names traces, spans;
        struct dirent **files;
        int n;
        char path[512];

        traces = (Names){ .prefix = 't' };
        spans = (Names){ .prefix = 's' };
        rig->text[0] = 0;
        calls_settle(&rig->calls);
        calls_flush(&rig->calls);
        (void) snprintf(path, sizeof(path), "%s/spool", rig->dir);
        n = scandir(path, &files, NULL, alphasort);
        assert_true(n >= 0);
        for (int i = 0; i < n; i++) {
                Podspan__Otlp__TracesData *data;
                _cleanup_free_ char *raw = NULL;
                size_t size;
                int fd;

                if (files[i]->d_name[0] == '.') {
                        free(files[i]);
                        continue;
                }
                (void) snprintf(path, sizeof(path), "spool/%s", files[i]->d_name);
                free(files[i]);
                fd = openat(rig->state_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_int_equal(util_read_file_at(fd, path, 1 << 20, &raw, &size), 0);
                close_fd(fd);
                assert_int_equal(unlinkat(rig->state_fd, path, 0), 0);
                assert_null(memmem(raw, size, "SECRET", 6));
                data = podspan__otlp__traces_data__unpack(NULL, size, (uint8_t *) raw);
                assert_non_null(data);
                for (size_t r = 0; r < data->n_resource_spans; r++)
                        for (size_t s = 0; s < data->resource_spans[r]->scope_spans[0]->n_spans; s++)
                                put_span(rig, &traces, &spans, data->resource_spans[r]->scope_spans[0]->spans[s], attr);
                podspan__otlp__traces_data__free_unpacked(data, NULL);
        }
        free(files);
        return rig->text;
}

static int count_record(const char *name _unused_, const ContextRecord *record _unused_, void *userdata) {
        (*(unsigned *) userdata)++;
        return 0;
}

static unsigned n_files(Rig *rig, ContextKind kind) {
        unsigned n = 0;

        calls_settle(&rig->calls);
        assert_int_equal(context_list(&rig->calls.context, kind, count_record, &n), 0);
        return n;
}

/* Counts the traceparents the runtime got. */
static unsigned n_injected(Rig *rig) {
        return (unsigned) counters_get(rig->calls.counters, COUNTERS_CRI, COUNTERS_CRI_INJECTED);
}

#define IDENTITY "container.id k8s.container.name podspan.sandbox.id"

static void start_is_one_trace(void **state) {
        Rig *rig = *state;
        Identity asked = { .container_id = "c1" };
        const char *operations[] = { "StartContainer", NULL };
        ContextMatch match;
        ContextRecord record;
        Bytes m;

        rig_open(rig);
        rig_call(rig, R "RunPodSandbox", run_request(ELSE), id_message(SANDBOX), "0", NULL);
        rig_call(rig, I "PullImage", pull_request(), id_message("sha256:1"), "0", NULL);
        rig_call(rig, R "CreateContainer", create_request(0), id_message("c1"), "0", NULL);
        assert_int_equal(n_files(rig, CONTEXT_START), 2);
        assert_int_equal(context_get(&rig->calls.context, CONTEXT_START, SANDBOX, &record), 0);
        assert_string_equal(record.operation, "RunPodSandbox");
        assert_string_equal(record.identity.pod_uid, UID);
        assert_int_equal(context_get(&rig->calls.context, CONTEXT_START, "c1", &record), 0);
        assert_string_equal(record.operation, "CreateContainer");
        assert_string_equal(record.identity.container_name, "main");

        /* While it is in flight, who sees its effect finds it, by any of the three keys. */
        m = id_message("c1");
        rig_request(rig, R "StartContainer", &m, NULL, "5S");
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 1);
        assert_int_equal(context_find(&rig->calls.context,
                                      &(const ContextQuery){ .identity = &asked, .operations = operations }, &match),
                         0);
        assert_int_equal(match.found, CONTEXT_FOUND_PARENT);
        assert_string_equal(match.record.identity.sandbox_id, SANDBOX);
        assert_string_equal(match.record.identity.pod_name, "web-0");
        assert_int_equal(match.record.deadline_ns - match.record.start_ns, 5 * NSEC_PER_SEC);
        m = none();
        rig_reply(rig, &m, "0");
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 0);
        calls_settle(&rig->calls);
        assert_int_equal(context_get(&rig->calls.context, CONTEXT_START, "c1", &record), 0);
        assert_string_equal(record.operation, "StartContainer");

        rig_call(rig, R "StartContainer", id_message("c1"), none(), "2", NULL);
        rig_call(rig, R "CreateContainer", create_request(1), id_message("c2"), "0", NULL);
        rig_call(rig, R "StopContainer", id_message("c2"), none(), "0", NULL);
        rig_call(rig, R "RemoveContainer", id_message("c2"), none(), "0", NULL);
        assert_int_equal(n_files(rig, CONTEXT_START), 2);
        rig_call(rig, R "RemovePodSandbox", id_message(SANDBOX), none(), "0", NULL);
        assert_int_equal(n_files(rig, CONTEXT_START), 0);
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 0);
        calls_settle(&rig->calls);
        assert_int_equal(podmap_size(rig->calls.podmap), 0);
        assert_int_equal(n_injected(rig), 9);

        assert_string_equal(rig_spans(rig, IDENTITY),
                            "RunPodSandbox t1 s1<- f1 " SANDBOX " annotation=t2/s2\n"
                            "PullImage t1 s3<s1 f1 " SANDBOX "\n"
                            "CreateContainer t1 s4<s1 f1 c1 main " SANDBOX "\n"
                            "StartContainer t1 s5<s1 f1 c1 main " SANDBOX "\n"
                            "StartContainer t3 s6<- f1 c1 main " SANDBOX " start=t1/s5 status=2:\n"
                            "CreateContainer t4 s7<- f1 c2 main " SANDBOX " start=t1/s1\n"
                            "StopContainer t5 s8<- f1 c2 main " SANDBOX " start=t4/s7\n"
                            "RemoveContainer t6 s9<- f1 c2 main " SANDBOX " start=t4/s7\n"
                            "RemovePodSandbox t7 s10<- f1 " SANDBOX " start=t1/s1\n");
        rig_close(rig, TAP_END_CONNECTION_CLIENT);
}

/* What a stop asks for. */
static void stops(void **state) {
        static const struct {
                const char *method;
                bool has_timeout;
                uint64_t timeout_s;
                const char *expect;
        } cases[] = {
                { "StopContainer", true, 30, " StopContainer 30000" },
                { "StopContainer", false, 0, " StopContainer 0" }, /* as 0 is written */
                { "StopContainer", true, 0, " StopContainer 0" },
                { "StopContainer", true, (uint64_t) -1, " StopContainer" },
                { "StopContainer", true, 9223372036, " StopContainer 9223372036000" },
                { "StopContainer", true, 9223372037, " StopContainer" },
                { "StopContainer", true, INT64_MAX, " StopContainer" },
                { "StopContainer", true, (uint64_t) INT64_MIN, " StopContainer" },
                { "RemoveContainer", false, 0, " RemoveContainer" },
                { "StopPodSandbox", false, 0, " StopPodSandbox" },
                { "RemovePodSandbox", false, 0, " RemovePodSandbox" },
                { "CheckpointContainer", true, 7, "" },
                { "StartContainer", false, 0, "" },
        };
        Rig *rig = *state;

        rig_open(rig);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Bytes m = id_message("c1");
                char path[64], expect[128];

                if (cases[i].has_timeout)
                        pb_number(&m, strcmp(cases[i].method, "StopContainer") == 0 ? 2 : 3, cases[i].timeout_s);
                (void) snprintf(path, sizeof(path), R "%s", cases[i].method);
                rig_call(rig, path, m, none(), "0", NULL);
                (void) snprintf(expect, sizeof(expect), "%s t1 s1<- f1%s\n", cases[i].method, cases[i].expect);
                assert_string_equal(rig_spans(rig, VERDICT_ATTR_STOP_METHOD " " VERDICT_ATTR_STOP_GRACE), expect);
        }
        rig_close(rig, TAP_END_SHUTDOWN);
}

static void callers_tracestate_is_kept(void **state) {
        static const char *const cases[][2] = {
                { " a=1 , b=2 ", " [a=1,b=2]" },
                { "not a list", "" },
        };
        Rig *rig = *state;
        char expect[128];

        rig_open(rig);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Bytes m = id_message("c1"), reply = none();

                wire_headers(&rig->wire, false, rig->stream, 0,
                             WIRE_FIELDS(WIRE_REQUEST(R "StopContainer"), "traceparent", CALLERS, "tracestate",
                                         cases[i][0]));
                wire_data(&rig->wire, false, rig->stream, WIRE_END_STREAM, m.p, m.n);
                bytes_free(&m);
                rig_play(rig);
                rig_reply(rig, &reply, "0");
                (void) snprintf(expect, sizeof(expect), "StopContainer t1 s1<s2 f1%s\n", cases[i][1]);
                assert_string_equal(rig_spans(rig, NULL), expect);
        }
        rig_close(rig, TAP_END_SHUTDOWN);
}

static void callers_trace_is_followed(void **state) {
        Rig *rig = *state;
        Bytes in, m;

        rig_open(rig);
        rig_call(rig, R "RunPodSandbox", run_request(NULL), id_message(SANDBOX), "0", CALLERS);
        rig_call(rig, R "CreateContainer", create_request(0), id_message("c1"), "0", CALLERS0);
        rig_call(rig, R "Version", none(), none(), "0", CALLERS);
        assert_int_equal(n_injected(rig), 0);
        in = wire_all(&rig->wire, false);
        assert_int_equal(in.n, rig->out.n);
        assert_memory_equal(in.p, rig->out.p, in.n);
        bytes_free(&in);
        assert_string_equal(rig_spans(rig, NULL), "RunPodSandbox t1 s1<s2 f1\nCreateContainer t1 s3<s2 f0\n");

        /* A call without one is part of the start, whoever began it. */
        m = id_message("c1");
        rig_request(rig, R "StartContainer", &m, NULL, "1S");
        m = none();
        rig_reply(rig, &m, "0");
        assert_string_equal(rig_spans(rig, NULL), "StartContainer t1 s1<s2 f1\n");
        rig_close(rig, TAP_END_SHUTDOWN);
}

static void rate_zero_changes_nothing(void **state) {
        Rig *rig = *state;
        Bytes in;

        rig->config.tracing_sampling_rate_per_million = 0;
        rig_open(rig);
        rig_call(rig, R "RunPodSandbox", run_request(NULL), id_message(SANDBOX), "0", NULL);
        rig_call(rig, R "RunPodSandbox", run_request(NULL), id_message("other"), "0", CALLERS);
        in = wire_all(&rig->wire, false);
        assert_int_equal(in.n, rig->out.n);
        assert_memory_equal(in.p, rig->out.p, in.n);
        bytes_free(&in);
        assert_string_equal(rig_spans(rig, NULL), "RunPodSandbox t1 s1<- f0\nRunPodSandbox t2 s2<s3 f1\n");
        rig_close(rig, TAP_END_SHUTDOWN);
}

static int on_tally(const char *method, const TallyCell *sum, void *userdata) {
        put(userdata, "%s %u/%u/%u\n", method_short(method), sum->n, sum->n_failed, sum->n_slow);
        return 0;
}

static void polls_are_counted(void **state) {
        Rig *rig = *state;

        rig_open(rig);
        rig_call(rig, R "Version", none(), none(), "0", NULL);
        rig_call(rig, R "Version", none(), none(), "0", NULL);
        rig_call(rig, R "ContainerStatus", id_message("c1"), none(), "5", NULL);
        rig_call(rig, R "ContainerStatus", id_message("c1"), none(), "2", NULL);
        rig_call(rig, R "RuntimeConfig", none(), none(), "12", NULL);
        rig_call(rig, R "ExecSync", id_message("c1"), none(), "0", NULL);
        rig_call(rig, R "FutureStats", none(), none(), "0", NULL);
        rig_call(rig, R "FutureThing", none(), none(), "0", NULL);
        rig_call(rig, R "ExecSync", id_message("c1"), none(), "4", NULL);
        /* A runtime that cancels by itself. */
        rig_call(rig, R "ExecSync", id_message("c1"), none(), "1", NULL);
        assert_string_equal(rig_spans(rig, "container.id error.type"),
                            "ContainerStatus t1 s1<- f1 c1 UNKNOWN status=2:\n"
                            "FutureThing t2 s2<- f1\n"
                            "ExecSync t3 s3<- f1 c1 DEADLINE_EXCEEDED status=2:\n"
                            "ExecSync t4 s4<- f1 c1 CANCELLED\n");
        assert_int_equal(n_injected(rig), 0);

        /* Slow ones are spans, streams never are. */
        {
                Bytes m = none();

                rig_request(rig, R "Status", &m, NULL, "60S");
                pass(2 * NSEC_PER_SEC);
                rig_reply(rig, &m, "0");
                rig_request(rig, R "GetContainerEvents", &m, NULL, "60S");
                pass(20 * NSEC_PER_SEC);
                rig_reply(rig, &m, "0");
        }
        assert_string_equal(rig_spans(rig, NULL), "Status t1 s1<- f1\n");

        rig->text[0] = 0;
        tally_free(rig->calls.tally);
        rig->calls.tally = NULL;
        {
                _cleanup_(tally_freep) Tally *tally = tally_open(rig->state_fd, false);

                assert_int_equal(tally_list(tally, now.realtime_ns, 60, on_tally, rig), 0);
        }
        assert_non_null(strstr(rig->text, "Version 2/0/0\n"));
        assert_non_null(strstr(rig->text, "ContainerStatus 2/1/0\n"));
        assert_non_null(strstr(rig->text, "ExecSync 3/2/0\n"));
        assert_non_null(strstr(rig->text, "FutureStats 1/0/0\n"));
        assert_non_null(strstr(rig->text, "\nStatus 1/0/1\n"));
        assert_non_null(strstr(rig->text, "GetContainerEvents 1/0/0\n"));
        assert_null(strstr(rig->text, "FutureThing"));
        rig_close(rig, TAP_END_SHUTDOWN);
}

/* A probe that answers with an exit code is what kubelet acts on. */
static void probes_that_fail(void **state) {
        static const struct {
                uint64_t exit_code;
                const char *expect;
        } cases[] = {
                { 0, "" },
                { 3, "ExecSync t1 s1<- f1 c1 3\n" },
                { (uint64_t) -1, "ExecSync t1 s1<- f1 c1 -1\n" },
                { UINT32_MAX + UINT64_C(1), "" }, /* as protobuf cuts it */
        };
        Rig *rig = *state;

        rig_open(rig);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Bytes reply = {};

                pb_string(&reply, 1, "stdout");
                pb_string(&reply, 2, "stderr");
                if (cases[i].exit_code != 0)
                        pb_number(&reply, 3, cases[i].exit_code);
                rig_call(rig, R "ExecSync", id_message("c1"), reply, "0", NULL);
                assert_string_equal(rig_spans(rig, "container.id process.exit.code error.type"), cases[i].expect);
        }
        rig_close(rig, TAP_END_SHUTDOWN);
}

static void ends_of_every_kind(void **state) {
        Rig *rig = *state;
        Bytes m;

        rig_open(rig);
        m = id_message("c1");
        rig_request(rig, R "StopContainer", &m, NULL, "30S");
        wire_frame(&rig->wire, false, H2FRAME_RST_STREAM, 0, rig->stream, "\0\0\0\x08", 4);
        rig_play(rig);
        rig->stream += 2;

        m = id_message("c1");
        rig_request(rig, R "StopContainer", &m, NULL, "30S");
        pass(30 * NSEC_PER_SEC);
        wire_frame(&rig->wire, false, H2FRAME_RST_STREAM, 0, rig->stream, "\0\0\0\x08", 4);
        rig_play(rig);
        rig->stream += 2;

        m = id_message("c1");
        rig_request(rig, R "StopContainer", &m, NULL, "30S");
        wire_frame(&rig->wire, true, H2FRAME_RST_STREAM, 0, rig->stream, "\0\0\0\x07", 4);
        rig_play(rig);
        rig->stream += 2;

        m = id_message("c1");
        rig_request(rig, R "StopContainer", &m, NULL, "30S");
        wire_headers(&rig->wire, true, rig->stream, WIRE_END_STREAM,
                     WIRE_FIELDS(":status", "200", "grpc-status", "2", "grpc-message", "no%20such%C3%A9"));
        rig_play(rig);
        rig->stream += 2;

        /* No Error by OpenTelemetry's convention; the runtime's words are kept. */
        m = id_message("c1");
        rig_request(rig, R "StopContainer", &m, NULL, "30S");
        wire_headers(&rig->wire, true, rig->stream, WIRE_END_STREAM,
                     WIRE_FIELDS(":status", "200", "grpc-status", "9", "grpc-message", "name%20is%20reserved"));
        rig_play(rig);
        rig->stream += 2;

        m = id_message("c1");
        rig_request(rig, R "StopContainer", &m, NULL, "30S");
        wire_frame(&rig->wire, true, H2FRAME_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
        rig_play(rig);
        rig->stream += 2;

        m = id_message("c1");
        rig_request(rig, R "StopContainer", &m, NULL, "30S");
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 1);
        calls_set_now(&rig->calls);
        tap_deinit(&rig->tap, TAP_END_CONNECTION_RUNTIME);
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 0);
        assert_string_equal(rig_spans(rig, "podspan.rpc.end error.type podspan.rpc.message"),
                            "StopContainer t1 s1<- f1 reset_by_client CANCELLED\n"
                            "StopContainer t2 s2<- f1 reset_by_client DEADLINE_EXCEEDED status=2:\n"
                            "StopContainer t3 s3<- f1 reset_by_runtime UNAVAILABLE status=2:\n"
                            "StopContainer t4 s4<- f1 trailers UNKNOWN status=2:no such\xc3\xa9\n"
                            "StopContainer t5 s5<- f1 trailers FAILED_PRECONDITION name is reserved\n"
                            "StopContainer t6 s6<- f1 goaway UNAVAILABLE status=2:\n"
                            "StopContainer t7 s7<- f1 connection_by_runtime UNAVAILABLE status=2:\n");
        rig_close(rig, TAP_END_SHUTDOWN);
}

/* A podspan-cri that begins anew knows from start files and List replies whose an id is. */
static void identity_survives(void **state) {
        Rig *rig = *state;
        Bytes list = {}, item = {};

        rig_open(rig);
        rig_call(rig, R "RunPodSandbox", run_request(NULL), id_message(SANDBOX), "0", NULL);
        rig_call(rig, R "CreateContainer", create_request(0), id_message("c1"), "0", NULL);
        (void) rig_spans(rig, NULL);
        rig_close(rig, TAP_END_SHUTDOWN);

        rig_open(rig);
        rig_call(rig, R "StopContainer", id_message("c1"), none(), "0", NULL);
        assert_string_equal(rig_spans(rig, IDENTITY), "StopContainer t1 s1<- f1 c1 main " SANDBOX " start=t2/s2\n");

        /* Ids from before podspan came. */
        pb_string(&item, 1, "old-sandbox");
        pb_pod(&item, 2, "db-0", "u-2", "prod", 4);
        pb_message(&list, 1, &item);
        rig_call(rig, R "ListPodSandbox", none(), list, "0", NULL);
        list = none();
        pb_string(&item, 1, "old-container");
        pb_string(&item, 2, "old-sandbox");
        pb_container(&item, 3, "db", 1);
        pb_message(&list, 1, &item);
        rig_call(rig, R "ListContainers", none(), list, "0", NULL);
        rig_call(rig, R "StopContainer", id_message("old-container"), none(), "0", NULL);
        assert_string_equal(rig_spans(rig, IDENTITY " podspan.sandbox.attempt k8s.container.restart_count"),
                            "StopContainer t1 s1<- f1 old-container db 1 old-sandbox 4\n");

        /* One that nobody knows makes the next list worth reading. */
        assert_false(rig->calls.containers.wanted);
        rig_call(rig, R "StopContainer", id_message("stranger"), none(), "5", NULL);
        assert_true(rig->calls.containers.wanted && rig->calls.sandboxes.wanted);
        rig_close(rig, TAP_END_SHUTDOWN);
}

static void rpc_attributes(void **state) {
        static const struct {
                ConfigSemconv semconv;
        } cases[] = {
                { CONFIG_SEMCONV_NEW },
                { CONFIG_SEMCONV_OLD },
                { CONFIG_SEMCONV_BOTH },
        };
        static const char *const parts[] = { "grpc", "OK", "RunPodSandbox", "2500", "kata", "/run/rt.sock", "api" };
        Rig *rig = *state;

        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
                const char *text;

                now.realtime_ns = UINT64_C(1795257500) * NSEC_PER_SEC;
                rig->config.semconv = cases[i].semconv;
                rig_open(rig);
                rig_call(rig, R "RunPodSandbox", run_request(NULL), id_message(SANDBOX), "0", NULL);
                text = rig_spans(rig, "rpc.system rpc.system.name rpc.service rpc.method rpc.grpc.status_code "
                                      "rpc.response.status_code server.address podspan.pod.wait_ms "
                                      "podspan.pod.config_source podspan.runtime.handler");
                for (unsigned j = 0; j < ARRAY_SIZE(parts); j++)
                        if (!(cases[i].semconv == CONFIG_SEMCONV_OLD && j == 1))
                                assert_non_null(strstr(text, parts[j]));
                assert_int_equal(strstr(text, " OK") != NULL, cases[i].semconv != CONFIG_SEMCONV_OLD);
                assert_int_equal(strstr(text, " runtime.v1.RuntimeService ") != NULL,
                                 cases[i].semconv != CONFIG_SEMCONV_NEW);
                assert_int_equal(strstr(text, " runtime.v1.RuntimeService/RunPodSandbox") != NULL,
                                 cases[i].semconv != CONFIG_SEMCONV_OLD);
                rig_close(rig, TAP_END_SHUTDOWN);
        }
}

/* Nobody collects: context files all the same, no spans. */
static void without_a_spool(void **state) {
        Rig *rig = *state;
        Bytes m;

        assert_int_equal(unlinkat(rig->state_fd, "spool", AT_REMOVEDIR), 0);
        rig_open(rig);
        m = run_request(NULL);
        rig_request(rig, R "RunPodSandbox", &m, NULL, "1S");
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 1);
        m = id_message(SANDBOX);
        rig_reply(rig, &m, "0");
        assert_int_equal(rig->calls.n_spans, 0);
        assert_int_equal(mkdirat(rig->state_fd, "spool", 0700), 0);
        rig_close(rig, TAP_END_SHUTDOWN);
}

/* A compressed message is not read, and counted. */
static void compressed(void **state) {
        Rig *rig = *state;
        Bytes m = run_request(NULL), wrapped = grpc_wrap(&m, true);

        rig_open(rig);
        wire_headers(&rig->wire, false, 1, 0, WIRE_FIELDS(WIRE_REQUEST(R "RunPodSandbox")));
        wire_data(&rig->wire, false, 1, WIRE_END_STREAM, wrapped.p, wrapped.n);
        rig_play(rig);
        bytes_free(&wrapped);
        m = id_message(SANDBOX);
        rig_reply(rig, &m, "0");
        assert_string_equal(rig_spans(rig, "podspan.sandbox.id k8s.pod.uid"), "RunPodSandbox t1 s1<- f1 " SANDBOX "\n");
        assert_int_equal(counters_get(rig->calls.counters, COUNTERS_CRI, COUNTERS_CRI_COMPRESSED), 1);
        rig_close(rig, TAP_END_SHUTDOWN);
}

#define CRASHED(operation) "runtime.v1.RuntimeService/" operation " crash podspan-cri.crash status=2:\n"

/* What a podspan-cri that died leaves behind becomes spans, once, and is gone. */
static void crash(void **state) {
        static const char run_first[] = "RunPodSandbox t1 s1<s2 f1 " CRASHED(
                "RunPodSandbox") "StopContainer t2 s3<- f1 " CRASHED("StopContainer");
        static const char stop_first[] = "StopContainer t1 s1<- f1 " CRASHED(
                "StopContainer") "RunPodSandbox t2 s2<s3 f1 " CRASHED("RunPodSandbox");
        Rig *rig = *state;
        int status;
        pid_t pid;
        Bytes m;

        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                rig_open(rig);
                m = run_request(NULL);
                rig_request(rig, R "RunPodSandbox", &m, CALLERS, "600S");
                rig->stream += 2;
                m = id_message("c1");
                rig_request(rig, R "StopContainer", &m, NULL, "2S");
                rig->stream += 2;
                rig_request(rig, R "Version", &(Bytes){}, NULL, "2S");
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);

        pass(10 * NSEC_PER_SEC);
        rig_open(rig);
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 0);
        assert_int_equal(counters_get(rig->calls.counters, COUNTERS_CRI, COUNTERS_CRI_CRASHED), 2);
        assert_non_null(rig_spans(rig, "rpc.method podspan.rpc.end error.type"));
        /* As the directory has them. */
        assert_string_equal(rig->text, strncmp(rig->text, "Run", 3) == 0 ? run_first : stop_first);
        calls_tick(&rig->calls);
        assert_string_equal(rig_spans(rig, "error.type"), "");
        rig_close(rig, TAP_END_SHUTDOWN);
}

static unsigned n_woken;

static void on_wake(Calls *calls, CallsWork work) {
        (void) calls;
        n_woken += work == CALLS_YOUNG;
}

static int count_young(const char *name, const ContextRecord *record _unused_, void *userdata) {
        *(unsigned *) userdata += name == NULL;
        return 0;
}

static unsigned n_young(Rig *rig) {
        unsigned n = 0;

        assert_int_equal(context_list(&rig->calls.context, CONTEXT_LIVE, count_young, &n), 0);
        return n;
}

/* A call is found from its request's last byte on; it gets a file only if it lasts. */
static void young_first(void **state) {
        Rig *rig = *state;
        Bytes run = run_request(NULL), create = create_request(0), id = id_message(SANDBOX);

        rig_open(rig);
        rig->calls.wake = on_wake;
        n_woken = 0;

        rig_request(rig, R "RunPodSandbox", &run, NULL, "240S");
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 1);
        if (moving) {
                /* Another's by now. */
                assert_int_equal(n_young(rig), 0);
                rig_reply(rig, &id, "0");
                assert_int_equal(n_files(rig, CONTEXT_LIVE), 0);
                rig_close(rig, TAP_END_SHUTDOWN);
                bytes_free(&create);
                return;
        }
        assert_int_equal(n_woken, 1);
        assert_int_equal(n_young(rig), 1);
        rig_reply(rig, &id, "0");
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 0);

        /* Nobody is there any more when it is time; the next call wakes again, and only the first of several does. */
        pass(CALLS_YOUNG_NS);
        assert_int_equal(calls_show(&rig->calls, false), 0);
        rig_request(rig, R "CreateContainer", &create, NULL, "240S");
        assert_int_equal(n_woken, 2);
        pass(CALLS_YOUNG_NS / 4);
        rig->stream += 2;
        run = run_request(NULL);
        rig_request(rig, R "RunPodSandbox", &run, NULL, "240S");
        assert_int_equal(n_woken, 2);
        assert_int_equal(n_young(rig), 2);

        assert_int_equal(calls_show(&rig->calls, false), CALLS_YOUNG_NS - CALLS_YOUNG_NS / 4);
        assert_int_equal(n_young(rig), 2);
        pass(CALLS_YOUNG_NS - CALLS_YOUNG_NS / 4);
        assert_int_equal(calls_show(&rig->calls, false), CALLS_YOUNG_NS / 4);
        assert_int_equal(n_young(rig), 1);
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 2);
        assert_int_equal(calls_show(&rig->calls, true), 0);
        assert_int_equal(n_young(rig), 0);
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 2);

        id = id_message("c1");
        rig_reply(rig, &id, "0");
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 1);

        /* A connection that ends while a call is young. */
        run = run_request(NULL);
        rig_request(rig, R "RunPodSandbox", &run, NULL, "240S");
        assert_int_equal(n_young(rig), 1);
        calls_set_now(&rig->calls);
        tap_degrade(&rig->tap, -EPROTO);
        assert_int_equal(n_files(rig, CONTEXT_LIVE), 0);
        pass(CALLS_YOUNG_NS);
        assert_int_equal(calls_show(&rig->calls, false), 0);
        rig_close(rig, TAP_END_SHUTDOWN);
}

/* A start is over a while after its last call, however often that moved; what comes then is a trace of its own. */
static void start_ends(void **state) {
        static const struct {
                uint64_t ns;
                const char *trace;
        } cases[] = {
                { 0, "t1" },
                { CALLS_JOIN_NS - 12 * NSEC_PER_MSEC, "t1" },
                { CALLS_JOIN_NS - 1 * NSEC_PER_MSEC, "t1" },
                { CALLS_JOIN_NS - 1 * NSEC_PER_MSEC + 1, "t2" },
                { 2 * CALLS_JOIN_NS, "t2" },
        };
        Rig *rig = *state;
        char expect[64];

        rig_open(rig);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const char *text;

                rig_call(rig, R "RunPodSandbox", run_request(NULL), id_message(SANDBOX), "0", NULL);
                pass(cases[i].ns);
                rig_call(rig, R "CreateContainer", create_request(0), id_message("c1"), "0", NULL);
                text = rig_spans(rig, NULL);
                (void) snprintf(expect, sizeof(expect), "\nCreateContainer %s ", cases[i].trace);
                assert_non_null(strstr(text, "RunPodSandbox t1 "));
                if (!strstr(text, expect))
                        fail_msg("%zu: %s", i, text);
        }

        /* Each call that joins keeps it open. */
        rig_call(rig, R "RunPodSandbox", run_request(NULL), id_message(SANDBOX), "0", NULL);
        pass(CALLS_JOIN_NS / 4 * 3);
        rig_call(rig, I "PullImage", pull_request(), id_message("sha256:1"), "0", NULL);
        pass(CALLS_JOIN_NS / 4 * 3);
        rig_call(rig, R "CreateContainer", create_request(0), id_message("c2"), "0", NULL);
        assert_non_null(strstr(rig_spans(rig, NULL), "\nCreateContainer t1 "));

        /* A clock that was set back says nothing about how long ago it was. */
        rig_call(rig, R "RunPodSandbox", run_request(NULL), id_message(SANDBOX), "0", NULL);
        now.realtime_ns -= 3 * CALLS_JOIN_NS;
        rig_call(rig, R "CreateContainer", create_request(0), id_message("c3"), "0", NULL);
        assert_non_null(strstr(rig_spans(rig, NULL), "\nCreateContainer t1 "));
        rig_close(rig, TAP_END_SHUTDOWN);
}

/* What belongs to another attempt of a sandbox or container is no part of its start. */
static void other_attempts(void **state) {
        Rig *rig = *state;
        Bytes m = {}, image, config = {};

        rig_open(rig);
        rig_call(rig, R "RunPodSandbox", run_request(NULL), id_message(SANDBOX), "0", NULL);
        image = id_message("app:1");
        pb_message(&m, 1, &image);
        pb_pod(&config, 1, "web-0", UID, "prod", 1);
        pb_message(&m, 3, &config);
        rig_call(rig, I "PullImage", m, id_message("sha256:1"), "0", NULL);
        rig_call(rig, I "PullImage", pull_request(), id_message("sha256:1"), "0", NULL);
        rig_call(rig, R "CreateContainer", create_request(1), id_message("c2"), "0", NULL);
        rig_call(rig, R "StartContainer", id_message("c2"), none(), "0", NULL);
        rig_call(rig, R "CreateContainer", create_request(0), id_message("c1"), "0", NULL);
        rig_call(rig, R "StartContainer", id_message("c1"), none(), "0", NULL);
        rig_call(rig, R "StartContainer", id_message("c1"), none(), "0", NULL);
        /* A sandbox is no container. */
        rig_call(rig, R "StartContainer", id_message(SANDBOX), none(), "0", NULL);
        assert_string_equal(rig_spans(rig, NULL), "RunPodSandbox t1 s1<- f1\n"
                                                  "PullImage t2 s2<- f1 start=t1/s1\n"
                                                  "PullImage t1 s3<s1 f1\n"
                                                  "CreateContainer t3 s4<- f1 start=t1/s1\n"
                                                  "StartContainer t4 s5<- f1 start=t3/s4\n"
                                                  "CreateContainer t1 s6<s1 f1\n"
                                                  "StartContainer t1 s7<s1 f1\n"
                                                  "StartContainer t5 s8<- f1 start=t1/s7\n"
                                                  "StartContainer t6 s9<- f1 start=t1/s1\n");
        rig_close(rig, TAP_END_SHUTDOWN);
}

/* A client that gives up about when its time is up has not lost interest. */
static void deadlines(void **state) {
        static const struct {
                const char *timeout;
                uint64_t ns;
                const char *status;
        } cases[] = {
                { "2S", 0, "CANCELLED" },
                { "2S", 2 * NSEC_PER_SEC - CALLS_DEADLINE_NS - 1, "CANCELLED" },
                { "2S", 2 * NSEC_PER_SEC - CALLS_DEADLINE_NS, "DEADLINE_EXCEEDED" },
                { "2S", 3 * NSEC_PER_SEC, "DEADLINE_EXCEEDED" },
                { "0S", 3 * NSEC_PER_SEC, "CANCELLED" },
                { "1m", 0, "DEADLINE_EXCEEDED" },
        };
        Rig *rig = *state;
        char expect[32];

        rig_open(rig);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Bytes m = id_message("c1");

                rig_request(rig, R "StopContainer", &m, NULL, cases[i].timeout);
                pass(cases[i].ns);
                wire_frame(&rig->wire, false, H2FRAME_RST_STREAM, 0, rig->stream, "\0\0\0\x08", 4);
                rig_play(rig);
                rig->stream += 2;
                (void) snprintf(expect, sizeof(expect), " f1 %s", cases[i].status);
                if (!strstr(rig_spans(rig, "error.type"), expect))
                        fail_msg("%zu: %s", i, rig->text);
        }
        rig_close(rig, TAP_END_SHUTDOWN);
}

/* The runtime's own statuses, where it answered with HTTP only or not at all. */
static void statuses(void **state) {
        static const struct {
                const char *http;
                const char *grpc;
                const char *status;
        } cases[] = {
                { "200", "3", "INVALID_ARGUMENT" }, { "503", "3", "INVALID_ARGUMENT" },
                { "404", NULL, "UNIMPLEMENTED" },   { "503", NULL, "UNAVAILABLE" },
                { "200", NULL, "UNKNOWN" },
        };
        Rig *rig = *state;
        char expect[40];

        rig_open(rig);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Bytes m = id_message("c1");

                rig_request(rig, R "StopContainer", &m, NULL, "5S");
                wire_headers(&rig->wire, true, rig->stream, WIRE_END_STREAM,
                             cases[i].grpc ? WIRE_FIELDS(":status", cases[i].http, "grpc-status", cases[i].grpc)
                                           : WIRE_FIELDS(":status", cases[i].http));
                rig_play(rig);
                rig->stream += 2;
                (void) snprintf(expect, sizeof(expect), " f1 %s", cases[i].status);
                if (!strstr(rig_spans(rig, "error.type"), expect))
                        fail_msg("%zu: %s", i, rig->text);
        }
        rig_close(rig, TAP_END_SHUTDOWN);
}

/* Many at once: start files and spans are written when their queues are full, none is lost. */
static void many(void **state) {
        enum { N = CALLS_STARTS_MAX + CALLS_SPANS_MAX + 9 };
        Rig *rig = *state;
        unsigned n = 0;
        char id[16];

        rig_open(rig);
        for (unsigned i = 0; i < N; i++) {
                (void) snprintf(id, sizeof(id), "sandbox%u", i);
                rig_call(rig, R "RunPodSandbox", run_request(NULL), id_message(id), "0", NULL);
                assert_true(rig->calls.n_spans <= CALLS_SPANS_MAX && rig->calls.n_starts <= CALLS_STARTS_MAX);
        }
        assert_int_equal(n_files(rig, CONTEXT_START), N);
        (void) rig_spans(rig, NULL);
        for (const char *line = rig->text; (line = strstr(line, "RunPodSandbox ")); line++)
                n++;
        assert_int_equal(n, N);
        rig_close(rig, TAP_END_SHUTDOWN);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(start_is_one_trace, setup, teardown),
                cmocka_unit_test_setup_teardown(callers_trace_is_followed, setup, teardown),
                cmocka_unit_test_setup_teardown(callers_tracestate_is_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(stops, setup, teardown),
                cmocka_unit_test_setup_teardown(rate_zero_changes_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(polls_are_counted, setup, teardown),
                cmocka_unit_test_setup_teardown(probes_that_fail, setup, teardown),
                cmocka_unit_test_setup_teardown(ends_of_every_kind, setup, teardown),
                cmocka_unit_test_setup_teardown(identity_survives, setup, teardown),
                cmocka_unit_test_setup_teardown(rpc_attributes, setup, teardown),
                cmocka_unit_test_setup_teardown(without_a_spool, setup, teardown),
                cmocka_unit_test_setup_teardown(compressed, setup, teardown),
                cmocka_unit_test_setup_teardown(crash, setup, teardown),
                cmocka_unit_test_setup_teardown(young_first, setup, teardown),
                cmocka_unit_test_setup_teardown(start_ends, setup, teardown),
                cmocka_unit_test_setup_teardown(other_attempts, setup, teardown),
                cmocka_unit_test_setup_teardown(deadlines, setup, teardown),
                cmocka_unit_test_setup_teardown(statuses, setup, teardown),
                cmocka_unit_test_setup_teardown(many, setup, teardown),
        };
        int r;

        r = cmocka_run_group_tests(tests, NULL, NULL);
        moving = true;
        return r + cmocka_run_group_tests_name("moving", tests, NULL, NULL);
}
