#include "fixture.h"
#include "ingest.h"

static const IngestSettings settings = {
        .host_name = "host-1",
        .node_name = "node-1",
        .service_name = "",
        .resource_attributes = "",
        .chunk_max = INGEST_CHUNK_MAX,
};

static Ingest *make(const IngestSettings *with) {
        Ingest *ingest = NULL;

        assert_int_equal(ingest_new(with, &ingest), 0);
        return ingest;
}

/* What came out, unpacked. */
typedef struct Chunks {
        Podspan__Otlp__TracesData *data[FIXTURE_SPANS_MAX];
        size_t n_rows[FIXTURE_SPANS_MAX];
        size_t sizes[FIXTURE_SPANS_MAX];
        size_t n;
} Chunks;

static int on_chunk(IngestTarget target, const uint8_t *data, size_t size, const IngestRow *rows, size_t n_rows,
                    void *userdata) {
        Chunks *chunks = userdata;

        assert_true(n_rows > 0);
        for (size_t i = 0; i < n_rows; i++)
                assert_int_equal(rows[i].target, target);
        chunks->data[chunks->n] = podspan__otlp__traces_data__unpack(NULL, size, data);
        assert_non_null(chunks->data[chunks->n]);
        chunks->n_rows[chunks->n] = n_rows;
        chunks->sizes[chunks->n++] = size;
        return 0;
}

static void chunks_deinit(Chunks *chunks) {
        for (size_t i = 0; i < chunks->n; i++)
                podspan__otlp__traces_data__free_unpacked(chunks->data[i], NULL);
}

static void rows(void **state) {
        static const Fixture fixtures[] = {
                { .trace = 1, .span = 2, .name = "first", .flags = 1, .duration_ns = 5, .parent_size = 8 },
                { .trace = 1, .span = 3, .flags = 2, .status = 2 },
        };
        _cleanup_(ingest_freep) Ingest *ingest = make(&settings);
        _cleanup_free_ uint8_t *data = NULL;
        size_t size, n, n_invalid;
        IngestRow *got;

        (void) state;

        data = fixture_pack(fixtures, 2, &size);
        assert_int_equal(ingest_parse(ingest, data, size, &got, &n, &n_invalid), 0);
        assert_int_equal(n, 2);
        assert_int_equal(n_invalid, 0);
        assert_int_equal(got[0].trace_id[15], 1);
        assert_int_equal(got[0].span_id[7], 2);
        assert_true(got[0].has_parent);
        assert_int_equal(got[0].parent_id[0], 0x77);
        assert_string_equal(got[0].name, "first");
        assert_string_equal(got[0].service, "podspan-test");
        assert_string_equal(got[0].pod_uid, "uid-1");
        assert_null(got[0].pod_name);
        assert_int_equal(got[0].end_ns - got[0].start_ns, 5);
        assert_int_equal(got[0].target, INGEST_EXPORT);
        assert_false(got[1].has_parent);
        assert_int_equal(got[1].status, 2);
        assert_int_equal(got[1].target, INGEST_LOCAL);
}

static void invalid_spans(void **state) {
        static const struct {
                const char *what;
                Fixture fixture;
                bool valid;
        } cases[] = {
                { "good", { .trace = 1, .span = 1 }, true },
                { "trace id of zeros", { .trace = 0, .span = 1 }, false },
                { "span id of zeros", { .trace = 1, .span = 0 }, false },
                { "trace id of 15", { .trace = 1, .span = 1, .trace_size = 15 }, false },
                { "trace id of 17", { .trace = 1, .span = 1, .trace_size = 17 }, false },
                { "span id of 7", { .trace = 1, .span = 1, .span_size = 7 }, false },
                { "parent id of 7", { .trace = 1, .span = 1, .parent_size = 7 }, false },
                { "parent id of 8", { .trace = 1, .span = 1, .parent_size = 8 }, true },
                { "end before start", { .trace = 1, .span = 1, .duration_ns = (uint64_t) -1 }, false },
                { "end beyond 63 bits", { .trace = 1, .span = 1, .duration_ns = INT64_MAX }, false },
        };
        _cleanup_(ingest_freep) Ingest *ingest = make(&settings);

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const Fixture fixtures[] = { { .trace = 9, .span = 1 }, cases[i].fixture, { .trace = 9, .span = 2 } };
                _cleanup_free_ uint8_t *data = NULL;
                size_t size, n, n_invalid;
                IngestRow *got;

                data = fixture_pack(fixtures, 3, &size);
                assert_int_equal(ingest_parse(ingest, data, size, &got, &n, &n_invalid), 0);
                if (n != (cases[i].valid ? 3 : 2) || n + n_invalid != 3)
                        fail_msg("%s: %zu rows, %zu invalid", cases[i].what, n, n_invalid);
        }
}

/* What of a span goes into the tables `death` and `stop`. */
static void deaths_and_stops(void **state) {
        static const struct {
                const char *what;
                Fixture fixture;
                bool death;
                Verdict verdict;
                VerdictStop method;
                int64_t grace_ms;
        } cases[] = {
                { "a verdict",
                  { .name = "wait_for_exit_code",
                    .attributes = { { "container.id", "c" }, { VERDICT_ATTR_VERDICT, "oom-pod" } } },
                  true,
                  VERDICT_OOM_POD,
                  VERDICT_STOP_UNSEEN,
                  -1 },
                { "a verdict of a podspan to come",
                  { .name = "wait_for_exit_code",
                    .attributes = { { "container.id", "c" }, { VERDICT_ATTR_VERDICT, "bored" } } },
                  true,
                  VERDICT_UNKNOWN,
                  VERDICT_STOP_UNSEEN,
                  -1 },
                { "a start that failed",
                  { .name = "crun create",
                    .status = 2,
                    .attributes = { { "container.id", "c" }, { VERDICT_ATTR_VERDICT, "start-failed" } } },
                  true,
                  VERDICT_START_FAILED,
                  VERDICT_STOP_UNSEEN,
                  -1 },
                { "the end of an exec",
                  { .name = "wait_for_exit_code", .attributes = { { "container.id", "c" } } },
                  false,
                  VERDICT_UNKNOWN,
                  VERDICT_STOP_UNSEEN,
                  -1 },
                { "the hook's",
                  { .name = "container", .attributes = { { "container.id", "c" } } },
                  true,
                  VERDICT_UNKNOWN,
                  VERDICT_STOP_UNSEEN,
                  -1 },
                { "of no container",
                  { .name = "container", .attributes = { { VERDICT_ATTR_VERDICT, "exited" } } },
                  false,
                  VERDICT_UNKNOWN,
                  VERDICT_STOP_UNSEEN,
                  -1 },
                { "another span",
                  { .name = "x", .attributes = { { "container.id", "c" } } },
                  false,
                  VERDICT_UNKNOWN,
                  VERDICT_STOP_UNSEEN,
                  -1 },
                { "a stop with a grace period",
                  { .name = "runtime.v1.RuntimeService/StopContainer",
                    .attributes = { { "container.id", "c" }, { VERDICT_ATTR_STOP_GRACE, NULL, 30000 } } },
                  false,
                  VERDICT_UNKNOWN,
                  VERDICT_STOP_CONTAINER,
                  30000 },
                { "a grace period of 0",
                  { .name = "runtime.v1alpha2.RuntimeService/StopContainer",
                    .attributes = { { "container.id", "c" }, { VERDICT_ATTR_STOP_GRACE, NULL, 0 } } },
                  false,
                  VERDICT_UNKNOWN,
                  VERDICT_STOP_CONTAINER,
                  0 },
                { "a negative grace period",
                  { .name = "runtime.v1.RuntimeService/StopContainer",
                    .attributes = { { "container.id", "c" }, { VERDICT_ATTR_STOP_GRACE, NULL, INT64_MIN } } },
                  false,
                  VERDICT_UNKNOWN,
                  VERDICT_STOP_CONTAINER,
                  -1 },
                { "a grace period that is text",
                  { .name = "runtime.v1.RuntimeService/StopPodSandbox",
                    .attributes = { { "podspan.sandbox.id", "s" }, { VERDICT_ATTR_STOP_GRACE, "30000" } } },
                  false,
                  VERDICT_UNKNOWN,
                  VERDICT_STOP_SANDBOX,
                  -1 },
                { "an engine's",
                  { .name = "crun kill", .attributes = { { "container.id", "c" } } },
                  false,
                  VERDICT_UNKNOWN,
                  VERDICT_STOP_ENGINE,
                  -1 },
        };
        _cleanup_(ingest_freep) Ingest *ingest = make(&settings);

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_free_ uint8_t *data = NULL;
                Fixture fixture = cases[i].fixture;
                size_t size, n, n_invalid;
                IngestRow *got;

                fixture.trace = fixture.span = 1;
                data = fixture_pack(&fixture, 1, &size);
                assert_int_equal(ingest_parse(ingest, data, size, &got, &n, &n_invalid), 0);
                assert_int_equal(n, 1);
                if (got->death != cases[i].death || got->verdict != cases[i].verdict ||
                    got->stop_method != cases[i].method || got->grace_ms != cases[i].grace_ms)
                        fail_msg("%s: %d %d %d %ld", cases[i].what, got->death, got->verdict, got->stop_method,
                                 (long) got->grace_ms);
        }
}

static void resource(void **state) {
        static const struct {
                const char *attributes, *service_name;
                const char *key, *value;
        } cases[] = {
                { "", "", "host.name", "host-1" },
                { "", "", "k8s.node.name", "node-1" },
                { "", "", "telemetry.sdk.name", "podspan" },
                { "", "", "telemetry.sdk.language", "c" },
                { "", "", "telemetry.sdk.version", PODSPAN_VERSION },
                { "", "", "service.name", "podspan-test" },
                { "", "mine", "service.name", "mine" },
                { "service.name=theirs", "", "service.name", "theirs" },
                { "service.name=theirs", "mine", "service.name", "mine" },
                { "host.name=other", "", "host.name", "other" },
                { "k8s.pod.uid=forged", "", "k8s.pod.uid", "uid-1" },
                { "a=1,b=t%20est", "", "b", "t est" },
                { "a=1,a=2", "", "a", "2" },
        };
        static const Fixture fixture = { .trace = 1, .span = 1, .flags = 1 };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                IngestSettings with = settings;
                _cleanup_(ingest_freep) Ingest *ingest = NULL;
                _cleanup_free_ uint8_t *data = NULL;
                size_t size, n, n_invalid, n_too_large;
                Chunks chunks = {};
                IngestRow *got;

                with.resource_attributes = cases[i].attributes;
                with.service_name = cases[i].service_name;
                ingest = make(&with);
                data = fixture_pack(&fixture, 1, &size);
                assert_int_equal(ingest_parse(ingest, data, size, &got, &n, &n_invalid), 0);
                assert_int_equal(ingest_encode(ingest, INGEST_EXPORT, on_chunk, &chunks, &n_too_large), 0);
                assert_int_equal(chunks.n, 1);
                assert_string_equal(fixture_resource(chunks.data[0], cases[i].key), cases[i].value);
                chunks_deinit(&chunks);
        }
}

static void bad_resource_attributes(void **state) {
        IngestSettings with = settings;
        Ingest *ingest = NULL;

        (void) state;

        with.resource_attributes = "no equals sign";
        assert_int_equal(ingest_new(&with, &ingest), -EINVAL);
        assert_null(ingest);
}

static void split_by_target(void **state) {
        static const Fixture fixtures[] = {
                { .trace = 1, .span = 1, .name = "a", .flags = 1 },
                { .trace = 1, .span = 2, .name = "b" },
                { .trace = 1, .span = 3, .name = "c", .flags = 1 },
                { .trace = 1, .span = 4, .name = "d" },
                { .trace = 1, .span = 5, .name = "e" },
        };
        _cleanup_(ingest_freep) Ingest *ingest = make(&settings);
        _cleanup_free_ uint8_t *data = NULL;
        size_t size, n, n_invalid, n_too_large;
        Chunks export = {}, local = {};
        Podspan__Otlp__Span **spans;
        IngestRow *got;

        (void) state;

        data = fixture_pack(fixtures, ARRAY_SIZE(fixtures), &size);
        assert_int_equal(ingest_parse(ingest, data, size, &got, &n, &n_invalid), 0);
        got[1].target = INGEST_EXPORT;
        got[1].kept = "error";
        got[4].target = INGEST_SKIP;
        assert_int_equal(ingest_encode(ingest, INGEST_EXPORT, on_chunk, &export, &n_too_large), 0);
        assert_int_equal(ingest_encode(ingest, INGEST_LOCAL, on_chunk, &local, &n_too_large), 0);

        assert_int_equal(export.n, 1);
        assert_int_equal(export.n_rows[0], 3);
        spans = export.data[0]->resource_spans[0]->scope_spans[0]->spans;
        assert_string_equal(spans[0]->name, "a");
        assert_int_equal(spans[0]->n_attributes, 0);
        assert_string_equal(spans[1]->name, "b");
        assert_int_equal(spans[1]->n_attributes, 1);
        assert_string_equal(spans[1]->attributes[0]->key, "podspan.kept");
        assert_string_equal(spans[1]->attributes[0]->value->string_value, "error");
        assert_string_equal(spans[2]->name, "c");
        assert_int_equal(local.n, 1);
        assert_int_equal(local.n_rows[0], 1);
        assert_string_equal(local.data[0]->resource_spans[0]->scope_spans[0]->spans[0]->name, "d");
        chunks_deinit(&export);
        chunks_deinit(&local);
}

static void chunk_size(void **state) {
        static char pad[4000], huge[2000];
        Fixture fixtures[20];
        IngestSettings with = settings;
        _cleanup_(ingest_freep) Ingest *ingest = NULL;
        _cleanup_free_ uint8_t *data = NULL;
        size_t size, n, n_invalid, n_too_large, n_spans = 0;
        Chunks chunks = {};
        IngestRow *got;

        (void) state;

        memset(pad, 'x', sizeof(pad) - 1);
        memset(huge, 'y', sizeof(huge) - 1);
        for (size_t i = 0; i < ARRAY_SIZE(fixtures); i++)
                fixtures[i] = (Fixture){
                        .trace = 1, .span = (uint8_t) (i + 1), .flags = 1, .pad = i == 7 ? pad : huge + 1600
                };
        with.chunk_max = 3000;
        ingest = make(&with);
        data = fixture_pack(fixtures, ARRAY_SIZE(fixtures), &size);
        assert_int_equal(ingest_parse(ingest, data, size, &got, &n, &n_invalid), 0);
        assert_int_equal(ingest_encode(ingest, INGEST_EXPORT, on_chunk, &chunks, &n_too_large), 0);
        assert_int_equal(n_too_large, 0);
        for (size_t i = 0; i < chunks.n; i++) {
                n_spans += chunks.n_rows[i];
                /* alone, a span may be larger */
                assert_true(chunks.sizes[i] <= 3000 || chunks.n_rows[i] == 1);
                assert_non_null(fixture_resource(chunks.data[i], "host.name"));
        }
        assert_int_equal(n_spans, ARRAY_SIZE(fixtures));
        assert_true(chunks.n > 2);
        chunks_deinit(&chunks);
}

static void text_is_repaired(void **state) {
        static const Fixture fixture = { .trace = 1, .span = 1, .flags = 1, .name = "bad \xff name", .pad = "\xc3(" };
        _cleanup_(ingest_freep) Ingest *ingest = make(&settings);
        _cleanup_free_ uint8_t *data = NULL;
        size_t size, n, n_invalid, n_too_large;
        Podspan__Otlp__Span *span;
        Chunks chunks = {};
        IngestRow *got;

        (void) state;

        data = fixture_pack(&fixture, 1, &size);
        assert_int_equal(ingest_parse(ingest, data, size, &got, &n, &n_invalid), 0);
        assert_int_equal(ingest_encode(ingest, INGEST_EXPORT, on_chunk, &chunks, &n_too_large), 0);
        span = chunks.data[0]->resource_spans[0]->scope_spans[0]->spans[0];
        assert_string_equal(span->name, "bad ? name");
        assert_string_equal(span->attributes[0]->value->string_value, "?(");
        chunks_deinit(&chunks);
}

static void truncated_anywhere(void **state) {
        static const Fixture fixtures[] = {
                { .trace = 1, .span = 2, .flags = 1, .status = 2, .pad = "pad", .parent_size = 8 },
                { .trace = 1, .span = 3 },
        };
        _cleanup_(ingest_freep) Ingest *ingest = make(&settings);
        _cleanup_free_ uint8_t *data = NULL;
        size_t size, n, n_invalid;
        IngestRow *got;

        (void) state;

        data = fixture_pack(fixtures, 2, &size);
        for (size_t len = 0; len < size; len++) {
                _cleanup_free_ uint8_t *exact = malloc(len ?: 1);

                assert_non_null(exact);
                memcpy(exact, data, len);
                /* one message with one field: every shorter one is cut in it, but for none at all */
                assert_int_equal(ingest_parse(ingest, exact, len, &got, &n, &n_invalid), len == 0 ? 0 : -EBADMSG);
        }
        assert_int_equal(ingest_parse(ingest, data, size, &got, &n, &n_invalid), 0);
        assert_int_equal(n, 2);
}

/* Many empty spans: two bytes each on the wire, some hundred in memory. */
static void memory_is_bounded(void **state) {
        enum { N = 1000000 };
        _cleanup_(ingest_freep) Ingest *ingest = make(&settings);
        _cleanup_free_ uint8_t *data = malloc(2 * N + 16);
        size_t n, n_invalid, at = 0;
        IngestRow *got;

        (void) state;

        assert_non_null(data);
        /* ResourceSpans { ScopeSpans { Span {} … } }: 2 * N + 5 and 2 * N bytes, in varints of four bytes */
        data[at++] = 1 << 3 | 2;
        for (size_t v = 2 * N + 5, i = 0; i < 4; i++, v >>= 7)
                data[at++] = (uint8_t) ((v & 0x7f) | (i < 3 ? 0x80 : 0));
        data[at++] = 2 << 3 | 2;
        for (size_t v = 2 * N, i = 0; i < 4; i++, v >>= 7)
                data[at++] = (uint8_t) ((v & 0x7f) | (i < 3 ? 0x80 : 0));
        for (size_t i = 0; i < N; i++) {
                data[at++] = 2 << 3 | 2;
                data[at++] = 0;
        }
        assert_int_equal(ingest_parse(ingest, data, at, &got, &n, &n_invalid), -E2BIG);

        /* and it goes on working */
        assert_int_equal(ingest_parse(ingest, NULL, 0, &got, &n, &n_invalid), 0);
        assert_int_equal(n, 0);
}

typedef struct Sum {
        size_t made;
        size_t n_chunks;
        size_t n_rows;
        size_t max;
} Sum;

static int on_sum(IngestTarget target, const uint8_t *data, size_t size, const IngestRow *chunk_rows, size_t n_rows,
                  void *userdata) {
        Sum *sum = userdata;

        (void) target;
        (void) data;
        (void) chunk_rows;
        sum->made += size;
        sum->n_chunks++;
        sum->n_rows += n_rows;
        sum->max = MAX(sum->max, size);
        /* A test that fails shall not take a minute for it. */
        return sum->made > (size_t) 256 * 1024 * 1024 ? -EFBIG : 0;
}

/* Packs @n_spans small spans below a resource with @n_pairs attributes of @len bytes, or one scope's version that long.
 */
static uint8_t *pack_envelope(size_t n_spans, size_t n_pairs, size_t len, bool in_scope, size_t *ret_size) {
        static uint8_t trace_id[16] = { 1 }, span_id[8] = { 2 };
        Podspan__Otlp__Resource of_resource = PODSPAN__OTLP__RESOURCE__INIT;
        Podspan__Otlp__InstrumentationScope scope = PODSPAN__OTLP__INSTRUMENTATION_SCOPE__INIT;
        Podspan__Otlp__ScopeSpans scope_spans = PODSPAN__OTLP__SCOPE_SPANS__INIT, *scopes[] = { &scope_spans };
        Podspan__Otlp__ResourceSpans resource_spans = PODSPAN__OTLP__RESOURCE_SPANS__INIT, *all[] = { &resource_spans };
        Podspan__Otlp__TracesData traces = PODSPAN__OTLP__TRACES_DATA__INIT;
        Podspan__Otlp__Span span = PODSPAN__OTLP__SPAN__INIT;
        _cleanup_free_ Podspan__Otlp__KeyValue *pairs = calloc(n_pairs + 1, sizeof(*pairs));
        _cleanup_free_ Podspan__Otlp__KeyValue **pair_list = calloc(n_pairs + 1, sizeof(*pair_list));
        _cleanup_free_ Podspan__Otlp__AnyValue *values = calloc(n_pairs + 1, sizeof(*values));
        _cleanup_free_ Podspan__Otlp__Span **list = calloc(n_spans, sizeof(*list));
        _cleanup_free_ char *text = malloc(len + 1);
        uint8_t *packed;

        assert_true(pairs && pair_list && values && list && text);
        memset(text, 'x', len);
        text[len] = '\0';
        for (size_t i = 0; i < n_pairs; i++) {
                fixture_attribute(pairs + i, values + i, "k", text);
                pair_list[i] = pairs + i;
        }
        if (in_scope)
                scope.version = text;
        span.trace_id = (ProtobufCBinaryData){ sizeof(trace_id), trace_id };
        span.span_id = (ProtobufCBinaryData){ sizeof(span_id), span_id };
        span.start_time_unix_nano = FIXTURE_START;
        span.end_time_unix_nano = FIXTURE_START;
        span.flags = 1;
        for (size_t i = 0; i < n_spans; i++)
                list[i] = &span;
        of_resource.attributes = pair_list;
        of_resource.n_attributes = n_pairs;
        scope_spans.scope = &scope;
        scope_spans.spans = list;
        scope_spans.n_spans = n_spans;
        resource_spans.resource = &of_resource;
        resource_spans.scope_spans = scopes;
        resource_spans.n_scope_spans = 1;
        traces.resource_spans = all;
        traces.n_resource_spans = 1;

        *ret_size = podspan__otlp__traces_data__get_packed_size(&traces);
        packed = malloc(*ret_size);
        assert_non_null(packed);
        assert_int_equal(podspan__otlp__traces_data__pack(&traces, packed), *ret_size);
        return packed;
}

/* What a file is made into is a small multiple of the file, however its bytes are spread over values, however small the
 * chunks shall be. */
static void what_is_made_is_bounded(void **state) {
        static const struct {
                size_t n_spans, n_pairs, len;
                bool in_scope;
        } cases[] = {
                { 12000, 1, 3300 * 1024, false }, /* one large value */
                { 12000, 128, 25 * 1024, false }, /* many smaller ones */
                { 12000, 128, 1000, false },      /* each within its bound */
                { 12000, 4000, 800, false },      /* more than are kept */
                { 12000, 0, 3300 * 1024, true },  /* in the scope */
                { 16384, 1, 16, false },
        };
        static const size_t chunk_maxes[] = { 1024, 16 * 1024, 512 * 1024, INGEST_CHUNK_MAX };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_free_ uint8_t *data = NULL;
                size_t size;

                data = pack_envelope(cases[i].n_spans, cases[i].n_pairs, cases[i].len, cases[i].in_scope, &size);
                assert_true(size <= 4U * 1024 * 1024);
                for (size_t k = 0; k < ARRAY_SIZE(chunk_maxes); k++) {
                        IngestSettings with = settings;
                        _cleanup_(ingest_freep) Ingest *ingest = NULL;
                        size_t n, n_invalid, n_too_large;
                        Sum sum = {};
                        IngestRow *got;

                        with.chunk_max = chunk_maxes[k];
                        ingest = make(&with);
                        assert_int_equal(ingest_parse(ingest, data, size, &got, &n, &n_invalid), 0);
                        assert_int_equal(n, cases[i].n_spans);
                        assert_int_equal(ingest_encode(ingest, INGEST_EXPORT, on_sum, &sum, &n_too_large), 0);
                        assert_int_equal(n_too_large, 0);
                        assert_int_equal(sum.n_rows, n);
                        assert_true(sum.made <= 3 * size + 64U * 1024);
                        assert_true(sum.max <= MAX(chunk_maxes[k], (size_t) 576 * 1024));
                }
        }
}

/* A value that is too long is cut between two characters; a list that is too large is dropped and counted. */
static void values_are_bounded(void **state) {
        static char pad[INGEST_VALUE_MAX + 10];
        static const Fixture fixture = { .trace = 1, .span = 1, .flags = 1, .name = pad, .pad = pad };
        _cleanup_(ingest_freep) Ingest *ingest = make(&settings);
        _cleanup_free_ uint8_t *data = NULL;
        size_t size, n, n_invalid, n_too_large;
        Podspan__Otlp__Span *span;
        Chunks chunks = {};
        IngestRow *got;

        (void) state;

        memset(pad, 'x', sizeof(pad) - 1);
        memcpy(pad + INGEST_VALUE_MAX - 2, "\xf0\x9f\x98\x80", 4);
        data = fixture_pack(&fixture, 1, &size);
        assert_int_equal(ingest_parse(ingest, data, size, &got, &n, &n_invalid), 0);
        assert_int_equal(ingest_encode(ingest, INGEST_EXPORT, on_chunk, &chunks, &n_too_large), 0);
        span = chunks.data[0]->resource_spans[0]->scope_spans[0]->spans[0];
        assert_int_equal(strlen(span->name), INGEST_VALUE_MAX - 2);
        assert_int_equal(strlen(span->attributes[0]->value->string_value), INGEST_VALUE_MAX - 2);
        assert_int_equal(span->dropped_attributes_count, 0);
        chunks_deinit(&chunks);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rows),
                cmocka_unit_test(invalid_spans),
                cmocka_unit_test(deaths_and_stops),
                cmocka_unit_test(resource),
                cmocka_unit_test(bad_resource_attributes),
                cmocka_unit_test(split_by_target),
                cmocka_unit_test(chunk_size),
                cmocka_unit_test(text_is_repaired),
                cmocka_unit_test(truncated_anywhere),
                cmocka_unit_test(memory_is_bounded),
                cmocka_unit_test(what_is_made_is_bounded),
                cmocka_unit_test(values_are_bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
