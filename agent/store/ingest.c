/*
 * The decoded messages are the ones that are encoded again: a chunk is made by pointing the repeated fields of the
 * ResourceSpans and ScopeSpans that it touches at the spans that it holds, and packing. So whatever else stands in
 * these messages, unknown fields included, stands in every chunk, and nothing is copied for it.
 */

#include <assert.h>
#include <string.h>
#include "arena.h"
#include "configvalue.h"
#include "ingest.h"
#include "otlp.pb-c.h"
#include "wiredepth.h"

typedef Podspan__Otlp__AnyValue AnyValue;
typedef Podspan__Otlp__KeyValue KeyValue;
typedef Podspan__Otlp__Resource Resource;
typedef Podspan__Otlp__ResourceSpans ResourceSpans;
typedef Podspan__Otlp__ScopeSpans ScopeSpans;
typedef Podspan__Otlp__Span OtlpSpan;
typedef Podspan__Otlp__TracesData TracesData;

/* Where a row's span stood in its file. */
typedef struct IngestPlace {
        ResourceSpans *resource_spans;
        ScopeSpans *scope_spans;
        OtlpSpan *span;
} IngestPlace;

/* A resource attribute of ours, built once and pointed to by every resource that lacks it. */
typedef struct Attribute {
        KeyValue pair;
        AnyValue value;
        bool replaces; /* a value that is already there */
} Attribute;

#define ENVELOPES_PER_CHUNK 4
#define UTF8_MAX            4 /* bytes of a sequence */
#define OWN_ATTRIBUTES_MAX  6 /* host.name, k8s.node.name, telemetry.sdk.*, service.name */

struct Ingest {
        Arena arena;
        size_t chunk_max;
        Attribute attributes[INGEST_PAIRS_MAX + OWN_ATTRIBUTES_MAX];
        size_t n_attributes;

        /* of the current file */
        TracesData *data;
        IngestRow *rows;
        size_t n_rows;
        size_t envelope; /* bytes of the largest resource with its largest scope, without spans */
        size_t n_made;   /* bytes of chunks */

        /* scratch for one chunk: as many as rows */
        OtlpSpan **spans;
        ScopeSpans **scopes;
        ResourceSpans **resources;

        uint8_t *packed; /* the chunk's bytes */
        size_t packed_size;
};

static Attribute *find_own(Ingest *ingest, const char *key) {
        for (size_t i = 0; i < ingest->n_attributes; i++)
                if (strcmp(ingest->attributes[i].pair.key, key) == 0)
                        return ingest->attributes + i;
        return NULL;
}

/* The first one of a key stays, but a repeated name in OTEL_RESOURCE_ATTRIBUTES takes the last value. */
static int add_own(Ingest *ingest, const char *key, const char *value, bool override, bool replaces) {
        Attribute *own = find_own(ingest, key);
        _cleanup_free_ char *key_copy = NULL, *value_copy = NULL;

        if (value[0] == '\0' || (own && !override))
                return 0;
        if (!own && ingest->n_attributes == ARRAY_SIZE(ingest->attributes))
                return -EINVAL;

        value_copy = strdup(value);
        if (!value_copy)
                return -ENOMEM;
        if (own) {
                free(own->value.string_value);
                own->value.string_value = TAKE_PTR(value_copy);
                own->replaces |= replaces;
                return 0;
        }

        key_copy = strdup(key);
        if (!key_copy)
                return -ENOMEM;

        own = ingest->attributes + ingest->n_attributes++;
        *own = (Attribute){
                .pair = PODSPAN__OTLP__KEY_VALUE__INIT,
                .value = PODSPAN__OTLP__ANY_VALUE__INIT,
                .replaces = replaces,
        };
        own->pair.key = TAKE_PTR(key_copy);
        own->pair.value = &own->value;
        own->value.value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        own->value.string_value = TAKE_PTR(value_copy);
        return 0;
}

static int on_pair(const char *name, const char *value, void *userdata) {
        Ingest *ingest = userdata;

        if (ingest->n_attributes >= INGEST_PAIRS_MAX)
                return -EINVAL;
        /* service.name is what the user calls the service, whatever the producer calls itself. */
        return add_own(ingest, name, value, /* override= */ true, strcmp(name, "service.name") == 0);
}

int ingest_new(const IngestSettings *settings, Ingest **ret) {
        _cleanup_(ingest_freep) Ingest *ingest = NULL;
        const char *reason;
        int r;

        assert(settings);
        assert(ret);

        ingest = calloc(1, sizeof(*ingest));
        if (!ingest)
                return -ENOMEM;
        arena_init(&ingest->arena, INGEST_MEMORY_MAX);
        ingest->chunk_max = MIN(settings->chunk_max, (size_t) INGEST_CHUNK_MAX);

        /* What the user says goes before what podspan finds out; the SDK's own attributes belong to the SDK. */
        r = configvalue_pairs(settings->resource_attributes, on_pair, ingest, &reason);
        if (r == 0)
                r = add_own(ingest, "service.name", settings->service_name, /* override= */ true, /* replaces= */ true);
        if (r == 0)
                r = add_own(ingest, "host.name", settings->host_name, false, false);
        if (r == 0)
                r = add_own(ingest, "k8s.node.name", settings->node_name, false, false);
        if (r == 0)
                r = add_own(ingest, "telemetry.sdk.name", "podspan", true, false);
        if (r == 0)
                r = add_own(ingest, "telemetry.sdk.language", "c", true, false);
        if (r == 0)
                r = add_own(ingest, "telemetry.sdk.version", PODSPAN_VERSION, true, false);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(ingest);
        return 0;
}

Ingest *ingest_free(Ingest *ingest) {
        if (!ingest)
                return NULL;

        for (size_t i = 0; i < ingest->n_attributes; i++) {
                free(ingest->attributes[i].pair.key);
                free(ingest->attributes[i].value.string_value);
        }
        arena_deinit(&ingest->arena);
        free(ingest->packed);
        free(ingest);
        return NULL;
}

/* Cuts @s, at the start of a UTF-8 sequence, and replaces what is no UTF-8. */
static void repair(char *s) {
        size_t len = strlen(s);

        if (len > INGEST_VALUE_MAX) {
                len = INGEST_VALUE_MAX;
                for (int i = 0; i < UTF8_MAX - 1 && ((uint8_t) s[len] & 0xc0) == 0x80; i++)
                        len--;
                s[len] = '\0';
        }
        if (util_utf8_valid(s, len))
                return;
        for (; *s; s++)
                if ((uint8_t) *s >= 0x80)
                        *s = '?';
}

/* The depth was checked before it was unpacked. */
static void repair_value(AnyValue *value) {
        if (!value)
                return;

        switch (value->value_case) {
        case PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE:
                repair(value->string_value);
                break;
        case PODSPAN__OTLP__ANY_VALUE__VALUE_BYTES_VALUE:
                value->bytes_value.len = MIN(value->bytes_value.len, (size_t) INGEST_VALUE_MAX);
                break;
        case PODSPAN__OTLP__ANY_VALUE__VALUE_ARRAY_VALUE:
                for (size_t i = 0; i < value->array_value->n_values; i++)
                        repair_value(value->array_value->values[i]);
                break;
        case PODSPAN__OTLP__ANY_VALUE__VALUE_KVLIST_VALUE:
                for (size_t i = 0; i < value->kvlist_value->n_values; i++) {
                        repair(value->kvlist_value->values[i]->key);
                        repair_value(value->kvlist_value->values[i]->value);
                }
                break;
        default:
                break;
        }
}

/* Cuts a list to INGEST_ITEMS_MAX and says how much is gone. */
static size_t cut(size_t n, uint32_t *n_dropped) {
        if (n <= INGEST_ITEMS_MAX)
                return n;
        *n_dropped += (uint32_t) (n - INGEST_ITEMS_MAX);
        return INGEST_ITEMS_MAX;
}

/* A list of strings, each within its bound, may still be as large as the file. */
static bool too_large(const AnyValue *value) {
        return value && podspan__otlp__any_value__get_packed_size(value) > 2 * (size_t) INGEST_VALUE_MAX;
}

/* Repairs, and drops what is too many or too large. */
static size_t tidy_attributes(KeyValue **attributes, size_t n, uint32_t *n_dropped) {
        size_t n_kept = 0;

        n = cut(n, n_dropped);
        for (size_t i = 0; i < n; i++) {
                repair(attributes[i]->key);
                repair_value(attributes[i]->value);
                if (too_large(attributes[i]->value))
                        (*n_dropped)++;
                else
                        attributes[n_kept++] = attributes[i];
        }
        return n_kept;
}

static void tidy_span(OtlpSpan *span) {
        repair(span->name);
        repair(span->trace_state);
        if (span->status)
                repair(span->status->message);

        span->n_attributes = tidy_attributes(span->attributes, span->n_attributes, &span->dropped_attributes_count);

        span->n_events = cut(span->n_events, &span->dropped_events_count);
        for (size_t i = 0; i < span->n_events; i++) {
                Podspan__Otlp__Event *event = span->events[i];

                repair(event->name);
                event->n_attributes =
                        tidy_attributes(event->attributes, event->n_attributes, &event->dropped_attributes_count);
        }

        span->n_links = cut(span->n_links, &span->dropped_links_count);
        for (size_t i = 0; i < span->n_links; i++) {
                Podspan__Otlp__Link *link = span->links[i];

                repair(link->trace_state);
                link->n_attributes =
                        tidy_attributes(link->attributes, link->n_attributes, &link->dropped_attributes_count);
        }
}

static bool is_id(const ProtobufCBinaryData *id, size_t size) {
        static const uint8_t zeros[TRACECONTEXT_TRACE_ID_SIZE];

        return id->len == size && memcmp(id->data, zeros, size) != 0;
}

static const char *get_string(KeyValue *const *attributes, size_t n, const char *key) {
        for (size_t i = 0; i < n; i++) {
                const AnyValue *value = attributes[i]->value;

                if (value && value->value_case == PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE &&
                    value->string_value[0] != '\0' && strcmp(attributes[i]->key, key) == 0)
                        return value->string_value;
        }
        return NULL;
}

static int64_t get_number(KeyValue *const *attributes, size_t n, const char *key) {
        for (size_t i = 0; i < n; i++) {
                const AnyValue *value = attributes[i]->value;

                if (value && value->value_case == PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE &&
                    strcmp(attributes[i]->key, key) == 0)
                        return MAX(value->int_value, INT64_C(-1));
        }
        return -1;
}

/* The size of a resource without its scopes. */
static size_t resource_size(const ResourceSpans *resource_spans) {
        ResourceSpans bare = *resource_spans;

        bare.n_scope_spans = 0;
        return podspan__otlp__resource_spans__get_packed_size(&bare);
}

static size_t scope_size(const ScopeSpans *scope_spans) {
        ScopeSpans bare = *scope_spans;

        bare.n_spans = 0;
        return podspan__otlp__scope_spans__get_packed_size(&bare);
}

static void drop_unknown(ProtobufCMessage *message) {
        message->n_unknown_fields = 0;
}

static void drop_largest(Resource *resource) {
        size_t at = 0, max = 0;

        for (size_t i = 0; i < resource->n_attributes; i++) {
                size_t size = podspan__otlp__key_value__get_packed_size(resource->attributes[i]);

                if (size > max) {
                        max = size;
                        at = i;
                }
        }
        resource->n_attributes--;
        memmove(resource->attributes + at, resource->attributes + at + 1,
                (resource->n_attributes - at) * sizeof(*resource->attributes));
        resource->dropped_attributes_count++;
}

/* What each chunk repeats is bounded: first goes what nobody here knows, then the largest attributes. */
static void bound_resource(ResourceSpans *resource_spans) {
        Resource *resource = resource_spans->resource;

        if (resource_size(resource_spans) <= INGEST_ENVELOPE_MAX)
                return;
        drop_unknown(&resource_spans->base);
        drop_unknown(&resource->base);
        while (resource->n_attributes > 0 && resource_size(resource_spans) > INGEST_ENVELOPE_MAX)
                drop_largest(resource);
}

static void bound_scope(ScopeSpans *scope_spans) {
        if (scope_size(scope_spans) <= INGEST_ENVELOPE_MAX)
                return;
        drop_unknown(&scope_spans->base);
        if (scope_spans->scope)
                drop_unknown(&scope_spans->scope->base);
}

static int complete_resource(Ingest *ingest, ResourceSpans *resource_spans) {
        Resource *resource = resource_spans->resource;
        KeyValue **attributes;
        size_t n = 0;

        if (!resource) {
                resource = arena_alloc(&ingest->arena, sizeof(*resource));
                if (!resource)
                        return -E2BIG;
                podspan__otlp__resource__init(resource);
                resource_spans->resource = resource;
        }

        resource->n_attributes =
                tidy_attributes(resource->attributes, resource->n_attributes, &resource->dropped_attributes_count);
        bound_resource(resource_spans);

        attributes = arena_alloc(&ingest->arena, (resource->n_attributes + ingest->n_attributes) * sizeof(*attributes));
        if (!attributes)
                return -E2BIG;

        for (size_t i = 0; i < resource->n_attributes; i++)
                attributes[n++] = resource->attributes[i];
        for (size_t i = 0; i < ingest->n_attributes; i++) {
                Attribute *own = ingest->attributes + i;
                size_t at = 0;

                while (at < resource->n_attributes && strcmp(attributes[at]->key, own->pair.key) != 0)
                        at++;
                if (at == resource->n_attributes)
                        attributes[n++] = &own->pair;
                else if (own->replaces)
                        attributes[at] = &own->pair;
        }

        resource->attributes = attributes;
        resource->n_attributes = n;
        return 0;
}

static void judge_stop(IngestRow *row, const OtlpSpan *span, const OutcomeFacts *facts) {
        row->stop = outcome_stop(facts, &row->stop_id);
        row->stop_method = VERDICT_STOP_UNSEEN;
        row->grace_ms = -1;
        if (row->stop == OUTCOME_STOP_NONE)
                return;
        row->stop_method = row->stop == OUTCOME_STOP_KILL ? VERDICT_STOP_ENGINE : verdict_stop_method(span->name);
        row->grace_ms = get_number(span->attributes, span->n_attributes, VERDICT_ATTR_STOP_GRACE);
}

/*
 * Whoever decides on a container's end says so: with what it tells of its life, or of the start that failed. The hook
 * decides nothing, and tells nothing but containers.
 */
static void judge_death(IngestRow *row, const OtlpSpan *span) {
        const char *word = NULL;

        row->verdict = VERDICT_UNKNOWN;
        row->death = false;
        if (!row->container_id)
                return;
        row->death = strcmp(span->name, "container") == 0;
        if (!row->death && row->outcome == OUTCOME_OK && strcmp(span->name, "wait_for_exit_code") != 0)
                return;
        word = get_string(span->attributes, span->n_attributes, VERDICT_ATTR_VERDICT);
        if (!word)
                return;
        row->death = true;
        (void) verdict_parse(word, &row->verdict);
}

/* False above the arena's maximum. */
static bool judge(Ingest *ingest, IngestRow *row, const OtlpSpan *span) {
        char why[OUTCOME_WHY_MAX + 1];
        OutcomeFacts facts;
        size_t len;
        char *copy;

        outcome_read(span, &facts);
        /* They may stand in the resource. */
        facts.container_id = row->container_id;
        facts.sandbox_id = row->sandbox_id;

        row->outcome = outcome_judge(&facts);
        judge_stop(row, span, &facts);
        judge_death(row, span);
        row->why = NULL;
        len = outcome_why(&facts, row->outcome, why);
        if (len == 0)
                return true;
        copy = arena_alloc(&ingest->arena, len + 1);
        if (!copy)
                return false;
        row->why = memcpy(copy, why, len + 1);
        return true;
}

static bool make_row(IngestRow *row, IngestPlace *place, const IngestRow *of_resource) {
        OtlpSpan *span = place->span;

        if (!is_id(&span->trace_id, TRACECONTEXT_TRACE_ID_SIZE) || !is_id(&span->span_id, TRACECONTEXT_SPAN_ID_SIZE))
                return false;
        if (span->parent_span_id.len != 0 && span->parent_span_id.len != TRACECONTEXT_SPAN_ID_SIZE)
                return false;
        if (span->start_time_unix_nano == 0 || span->end_time_unix_nano < span->start_time_unix_nano ||
            span->end_time_unix_nano > INT64_MAX)
                return false;

        tidy_span(span);

        *row = *of_resource;
        memcpy(row->trace_id, span->trace_id.data, sizeof(row->trace_id));
        memcpy(row->span_id, span->span_id.data, sizeof(row->span_id));
        row->has_parent = is_id(&span->parent_span_id, TRACECONTEXT_SPAN_ID_SIZE);
        if (row->has_parent)
                memcpy(row->parent_id, span->parent_span_id.data, sizeof(row->parent_id));
        row->kind = span->kind;
        row->status = span->status ? span->status->code : 0;
        row->flags = span->flags;
        row->start_ns = span->start_time_unix_nano;
        row->end_ns = span->end_time_unix_nano;
        row->name = span->name;
        row->container_name =
                get_string(span->attributes, span->n_attributes, "k8s.container.name") ?: row->container_name;
        row->container_id = get_string(span->attributes, span->n_attributes, "container.id") ?: row->container_id;
        row->sandbox_id = get_string(span->attributes, span->n_attributes, "podspan.sandbox.id") ?: row->sandbox_id;
        row->target = span->flags & TRACECONTEXT_SAMPLED ? INGEST_EXPORT : INGEST_LOCAL;
        row->place = place;
        return true;
}

static int parse_resource(Ingest *ingest, ResourceSpans *resource_spans, IngestPlace *places, size_t *n_invalid) {
        size_t scope_max = 0;
        IngestRow of_resource = {};
        const Resource *resource;
        int r;

        repair(resource_spans->schema_url);
        r = complete_resource(ingest, resource_spans);
        if (r < 0)
                return r;

        resource = resource_spans->resource;
        of_resource.service = get_string(resource->attributes, resource->n_attributes, "service.name");
        of_resource.pod_uid = get_string(resource->attributes, resource->n_attributes, "k8s.pod.uid");
        of_resource.pod_name = get_string(resource->attributes, resource->n_attributes, "k8s.pod.name");
        of_resource.pod_namespace = get_string(resource->attributes, resource->n_attributes, "k8s.namespace.name");
        of_resource.container_name = get_string(resource->attributes, resource->n_attributes, "k8s.container.name");
        of_resource.container_id = get_string(resource->attributes, resource->n_attributes, "container.id");
        of_resource.sandbox_id = get_string(resource->attributes, resource->n_attributes, "podspan.sandbox.id");

        for (size_t i = 0; i < resource_spans->n_scope_spans; i++) {
                ScopeSpans *scope_spans = resource_spans->scope_spans[i];

                repair(scope_spans->schema_url);
                if (scope_spans->scope) {
                        repair(scope_spans->scope->name);
                        repair(scope_spans->scope->version);
                }
                bound_scope(scope_spans);
                scope_max = MAX(scope_max, scope_size(scope_spans));

                for (size_t j = 0; j < scope_spans->n_spans; j++) {
                        IngestPlace *place = places + ingest->n_rows;

                        if (ingest->n_rows == INGEST_SPANS_MAX) {
                                (*n_invalid)++;
                                continue;
                        }
                        *place = (IngestPlace){ resource_spans, scope_spans, scope_spans->spans[j] };
                        if (!make_row(ingest->rows + ingest->n_rows, place, &of_resource)) {
                                (*n_invalid)++;
                                continue;
                        }
                        if (!judge(ingest, ingest->rows + ingest->n_rows, place->span))
                                return -E2BIG;
                        ingest->n_rows++;
                }
        }

        ingest->envelope = MAX(ingest->envelope, resource_size(resource_spans) + scope_max);
        return 0;
}

int ingest_parse(Ingest *ingest, const uint8_t *data, size_t size, IngestRow **ret_rows, size_t *ret_n,
                 size_t *ret_n_invalid) {
        size_t n = 0, n_invalid = 0;
        IngestPlace *places;
        int r;

        assert(ingest);
        assert(data || size == 0);

        arena_reset(&ingest->arena);
        ingest->data = NULL;
        ingest->n_rows = 0;
        ingest->envelope = ingest->n_made = 0;

        r = wiredepth_check(&podspan__otlp__traces_data__descriptor, data, size, INGEST_DEPTH_MAX);
        if (r < 0)
                return r == -ELOOP ? -E2BIG : r;

        ingest->data = podspan__otlp__traces_data__unpack(&ingest->arena.allocator, size, data);
        if (!ingest->data)
                return ingest->arena.exhausted ? -E2BIG : -EBADMSG;

        for (size_t i = 0; i < ingest->data->n_resource_spans; i++)
                for (size_t j = 0; j < ingest->data->resource_spans[i]->n_scope_spans; j++)
                        n += ingest->data->resource_spans[i]->scope_spans[j]->n_spans;
        n = MIN(n, (size_t) INGEST_SPANS_MAX);

        /* One more than needed: places of what turns out invalid are written to as well. */
        ingest->rows = arena_alloc(&ingest->arena, n * sizeof(*ingest->rows));
        places = arena_alloc(&ingest->arena, (n + 1) * sizeof(*places));
        ingest->spans = arena_alloc(&ingest->arena, n * sizeof(*ingest->spans));
        ingest->scopes = arena_alloc(&ingest->arena, n * sizeof(*ingest->scopes));
        ingest->resources = arena_alloc(&ingest->arena, n * sizeof(*ingest->resources));
        if (!ingest->rows || !places || !ingest->spans || !ingest->scopes || !ingest->resources)
                return -E2BIG;

        for (size_t i = 0; i < ingest->data->n_resource_spans; i++) {
                r = parse_resource(ingest, ingest->data->resource_spans[i], places, &n_invalid);
                if (r < 0) {
                        ingest->n_rows = 0;
                        return r;
                }
        }

        *ret_rows = ingest->rows;
        *ret_n = ingest->n_rows;
        *ret_n_invalid = n_invalid;
        return 0;
}

static int mark_kept(Ingest *ingest, const IngestRow *row) {
        OtlpSpan *span = row->place->span;
        KeyValue **attributes, *pair;
        AnyValue *value;

        attributes = arena_alloc(&ingest->arena, (span->n_attributes + 1) * sizeof(*attributes));
        pair = arena_alloc(&ingest->arena, sizeof(*pair));
        value = arena_alloc(&ingest->arena, sizeof(*value));
        if (!attributes || !pair || !value)
                return -ENOMEM;

        podspan__otlp__any_value__init(value);
        value->value_case = PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        value->string_value = (char *) row->kept;
        podspan__otlp__key_value__init(pair);
        pair->key = (char *) "podspan.kept";
        pair->value = value;

        for (size_t i = 0; i < span->n_attributes; i++)
                attributes[i] = span->attributes[i];
        attributes[span->n_attributes++] = pair;
        span->attributes = attributes;
        return 0;
}

static void make_chunk(Ingest *ingest, const IngestRow *rows, size_t n, TracesData *ret) {
        size_t n_scopes = 0, n_resources = 0;

        for (size_t i = 0; i < n; i++) {
                const IngestPlace *place = rows[i].place;

                ingest->spans[i] = place->span;
                if (i == 0 || place->resource_spans != rows[i - 1].place->resource_spans) {
                        ingest->resources[n_resources++] = place->resource_spans;
                        place->resource_spans->scope_spans = ingest->scopes + n_scopes;
                        place->resource_spans->n_scope_spans = 0;
                }
                if (i == 0 || place->scope_spans != rows[i - 1].place->scope_spans) {
                        ingest->scopes[n_scopes++] = place->scope_spans;
                        place->resource_spans->n_scope_spans++;
                        place->scope_spans->spans = ingest->spans + i;
                        place->scope_spans->n_spans = 0;
                }
                place->scope_spans->n_spans++;
        }

        podspan__otlp__traces_data__init(ret);
        ret->resource_spans = ingest->resources;
        ret->n_resource_spans = n_resources;
}

static size_t chunk_limit(const Ingest *ingest) {
        size_t limit = MAX(ingest->chunk_max, ENVELOPES_PER_CHUNK * ingest->envelope);

        return MIN(limit, (size_t) INGEST_CHUNK_MAX);
}

static int encode_rows(Ingest *ingest, IngestTarget target, const IngestRow *rows, size_t n, IngestChunkFn fn,
                       void *userdata, size_t *n_too_large) {
        TracesData data;
        size_t size;
        int r;

        if (n == 0)
                return 0;

        make_chunk(ingest, rows, n, &data);
        size = podspan__otlp__traces_data__get_packed_size(&data);

        if (size > chunk_limit(ingest) && n > 1) {
                r = encode_rows(ingest, target, rows, n / 2, fn, userdata, n_too_large);
                if (r < 0)
                        return r;
                return encode_rows(ingest, target, rows + n / 2, n - n / 2, fn, userdata, n_too_large);
        }
        if (size > INGEST_CHUNK_MAX || size > INGEST_MADE_MAX - ingest->n_made) {
                *n_too_large += n;
                return 0;
        }
        ingest->n_made += size;

        if (size > ingest->packed_size) {
                uint8_t *packed = realloc(ingest->packed, size);

                if (!packed)
                        return -ENOMEM;
                ingest->packed = packed;
                ingest->packed_size = size;
        }
        (void) podspan__otlp__traces_data__pack(&data, ingest->packed);
        r = fn(target, ingest->packed, size, rows, n, userdata);

        /* A large chunk is rare; its memory shall not stay. */
        if (ingest->packed_size > ARENA_CHUNK_SIZE) {
                free(ingest->packed);
                ingest->packed = NULL;
                ingest->packed_size = 0;
        }
        return r;
}

int ingest_encode(Ingest *ingest, IngestTarget target, IngestChunkFn fn, void *userdata, size_t *ret_n_too_large) {
        size_t n_too_large = 0, n = 0;
        IngestRow *rows;
        int r;

        assert(ingest);
        assert(fn);

        if (ingest->n_rows == 0) {
                *ret_n_too_large = 0;
                return 0;
        }

        /* Chunks want consecutive rows. Usually all rows have one target. */
        while (n < ingest->n_rows && ingest->rows[n].target == target)
                n++;
        rows = ingest->rows;
        if (n < ingest->n_rows) {
                rows = arena_alloc(&ingest->arena, ingest->n_rows * sizeof(*rows));
                if (!rows)
                        return -ENOMEM;
                n = 0;
                for (size_t i = 0; i < ingest->n_rows; i++)
                        if (ingest->rows[i].target == target)
                                rows[n++] = ingest->rows[i];
        }

        for (size_t i = 0; i < n; i++)
                if (rows[i].kept) {
                        r = mark_kept(ingest, rows + i);
                        if (r < 0)
                                return r;
                }

        r = encode_rows(ingest, target, rows, n, fn, userdata, &n_too_large);
        if (r < 0)
                return r;

        *ret_n_too_large = n_too_large;
        return 0;
}
