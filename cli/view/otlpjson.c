#include <errno.h>
#include <string.h>
#include "otlpjson.h"
#include "wiredepth.h"

/* Messages within messages: a value at OTLPJSON_DEPTH_MAX is in three others a level, below span and attribute. */
#define NESTING_MAX 128

static void write_attributes(Json *json, size_t n, Podspan__Otlp__KeyValue **attributes, unsigned depth);

static void write_value(Json *json, const Podspan__Otlp__AnyValue *value, unsigned depth) {
        json_map(json);
        if (value && depth >= OTLPJSON_DEPTH_MAX)
                json_pair_str(json, "stringValue", "(nested too deeply)");
        else if (value)
                switch (value->value_case) {
                case PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE:
                        json_pair_str(json, "stringValue", value->string_value);
                        break;
                case PODSPAN__OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
                        json_pair_bool(json, "boolValue", value->bool_value);
                        break;
                case PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE:
                        json_key(json, "intValue");
                        json_i64_str(json, value->int_value);
                        break;
                case PODSPAN__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE:
                        json_key(json, "doubleValue");
                        json_double(json, value->double_value);
                        break;
                case PODSPAN__OTLP__ANY_VALUE__VALUE_BYTES_VALUE:
                        json_key(json, "bytesValue");
                        json_base64(json, value->bytes_value.data, value->bytes_value.len);
                        break;
                case PODSPAN__OTLP__ANY_VALUE__VALUE_ARRAY_VALUE:
                        json_key(json, "arrayValue");
                        json_map(json);
                        json_key(json, "values");
                        json_array(json);
                        for (size_t i = 0; i < value->array_value->n_values; i++)
                                write_value(json, value->array_value->values[i], depth + 1);
                        json_array_end(json);
                        json_map_end(json);
                        break;
                case PODSPAN__OTLP__ANY_VALUE__VALUE_KVLIST_VALUE:
                        json_key(json, "kvlistValue");
                        json_map(json);
                        json_key(json, "values");
                        write_attributes(json, value->kvlist_value->n_values, value->kvlist_value->values, depth + 1);
                        json_map_end(json);
                        break;
                default:
                        break;
                }
        json_map_end(json);
}

static void write_attributes(Json *json, size_t n, Podspan__Otlp__KeyValue **attributes, unsigned depth) {
        json_array(json);
        for (size_t i = 0; i < n; i++) {
                json_map(json);
                json_pair_str(json, "key", attributes[i]->key);
                json_key(json, "value");
                write_value(json, attributes[i]->value, depth);
                json_map_end(json);
        }
        json_array_end(json);
}

static void pair_attributes(Json *json, size_t n, Podspan__Otlp__KeyValue **attributes, uint32_t n_dropped) {
        if (n > 0) {
                json_key(json, "attributes");
                write_attributes(json, n, attributes, 0);
        }
        if (n_dropped > 0)
                json_pair_u64(json, "droppedAttributesCount", n_dropped);
}

/* Ids have a fixed size; one of another size is no id, and is shown as what it is: at most so many bytes of it. */
static void pair_id(Json *json, const char *key, const ProtobufCBinaryData *id, size_t size) {
        if (id->len == 0)
                return;
        json_key(json, key);
        json_hex(json, id->data, MIN(id->len, size));
}

static void pair_time(Json *json, const char *key, uint64_t ns) {
        json_key(json, key);
        json_u64_str(json, ns);
}

static void write_event(Json *json, const Podspan__Otlp__Event *event) {
        json_map(json);
        pair_time(json, "timeUnixNano", event->time_unix_nano);
        json_pair_str(json, "name", event->name);
        pair_attributes(json, event->n_attributes, event->attributes, event->dropped_attributes_count);
        json_map_end(json);
}

static void write_link(Json *json, const Podspan__Otlp__Link *link) {
        json_map(json);
        pair_id(json, "traceId", &link->trace_id, 16);
        pair_id(json, "spanId", &link->span_id, 8);
        json_pair_known(json, "traceState", link->trace_state);
        pair_attributes(json, link->n_attributes, link->attributes, link->dropped_attributes_count);
        if (link->flags != 0)
                json_pair_u64(json, "flags", link->flags);
        json_map_end(json);
}

static void write_span(Json *json, const Podspan__Otlp__Span *span) {
        json_map(json);
        pair_id(json, "traceId", &span->trace_id, 16);
        pair_id(json, "spanId", &span->span_id, 8);
        json_pair_known(json, "traceState", span->trace_state);
        pair_id(json, "parentSpanId", &span->parent_span_id, 8);
        if (span->flags != 0)
                json_pair_u64(json, "flags", span->flags);
        json_pair_str(json, "name", span->name);
        json_key(json, "kind");
        json_i64(json, span->kind);
        pair_time(json, "startTimeUnixNano", span->start_time_unix_nano);
        pair_time(json, "endTimeUnixNano", span->end_time_unix_nano);
        pair_attributes(json, span->n_attributes, span->attributes, span->dropped_attributes_count);

        if (span->n_events > 0) {
                json_key(json, "events");
                json_array(json);
                for (size_t i = 0; i < span->n_events; i++)
                        write_event(json, span->events[i]);
                json_array_end(json);
        }
        if (span->dropped_events_count > 0)
                json_pair_u64(json, "droppedEventsCount", span->dropped_events_count);

        if (span->n_links > 0) {
                json_key(json, "links");
                json_array(json);
                for (size_t i = 0; i < span->n_links; i++)
                        write_link(json, span->links[i]);
                json_array_end(json);
        }
        if (span->dropped_links_count > 0)
                json_pair_u64(json, "droppedLinksCount", span->dropped_links_count);

        json_key(json, "status");
        json_map(json);
        if (span->status) {
                json_pair_known(json, "message", span->status->message);
                if (span->status->code != 0) {
                        json_key(json, "code");
                        json_i64(json, span->status->code);
                }
        }
        json_map_end(json);
        json_map_end(json);
}

static void write_scope_spans(Json *json, const Podspan__Otlp__ScopeSpans *scope_spans, const bool *wanted) {
        const Podspan__Otlp__InstrumentationScope *scope = scope_spans->scope;

        json_map(json);
        json_key(json, "scope");
        json_map(json);
        if (scope) {
                json_pair_known(json, "name", scope->name);
                json_pair_known(json, "version", scope->version);
        }
        json_map_end(json);

        json_key(json, "spans");
        json_array(json);
        for (size_t i = 0; i < scope_spans->n_spans; i++)
                if (wanted[i])
                        write_span(json, scope_spans->spans[i]);
        json_array_end(json);
        json_pair_known(json, "schemaUrl", scope_spans->schema_url);
        json_map_end(json);
}

static void open_resource(Json *json, const Podspan__Otlp__ResourceSpans *resource_spans) {
        const Podspan__Otlp__Resource *resource = resource_spans->resource;

        json_map(json);
        json_key(json, "resource");
        json_map(json);
        if (resource)
                pair_attributes(json, resource->n_attributes, resource->attributes, resource->dropped_attributes_count);
        json_map_end(json);
        json_key(json, "scopeSpans");
        json_array(json);
}

/* Which spans of @scope_spans are wanted; NULL if none is (or without memory: @ret_error). */
static bool *choose(const Podspan__Otlp__ScopeSpans *scope_spans, OtlpjsonFilter filter, void *userdata) {
        _cleanup_free_ bool *wanted = NULL;
        bool any = false;

        if (scope_spans->n_spans == 0)
                return NULL;
        wanted = calloc(scope_spans->n_spans, sizeof(*wanted));
        if (!wanted)
                return NULL;
        for (size_t i = 0; i < scope_spans->n_spans; i++) {
                wanted[i] = filter(scope_spans->spans[i], userdata);
                any = any || wanted[i];
        }
        return any ? TAKE_PTR(wanted) : NULL;
}

void otlpjson_resource_spans(Json *json, const Podspan__Otlp__TracesData *data, OtlpjsonFilter filter, void *userdata) {
        for (size_t r = 0; r < data->n_resource_spans; r++) {
                const Podspan__Otlp__ResourceSpans *resource_spans = data->resource_spans[r];
                bool open = false;

                for (size_t s = 0; s < resource_spans->n_scope_spans; s++) {
                        _cleanup_free_ bool *wanted = choose(resource_spans->scope_spans[s], filter, userdata);

                        if (!wanted)
                                continue;
                        if (!open)
                                open_resource(json, resource_spans);
                        open = true;
                        write_scope_spans(json, resource_spans->scope_spans[s], wanted);
                }

                if (open) {
                        json_array_end(json);
                        json_pair_known(json, "schemaUrl", resource_spans->schema_url);
                        json_map_end(json);
                }
        }
}

/* Reads a varint of at most ten bytes. Returns false at the end of the bytes. */

int otlpjson_unpack(const uint8_t *data, size_t len, Podspan__Otlp__TracesData **ret) {
        Podspan__Otlp__TracesData *message;

        /* protobuf-c unpacks recursively: hundreds of kilobytes of nothing but nesting would use up the stack. */
        if (wiredepth_check(&podspan__otlp__traces_data__descriptor, data, len, NESTING_MAX) < 0)
                return -EBADMSG;
        message = podspan__otlp__traces_data__unpack(NULL, len, data);
        if (!message)
                return -EBADMSG;
        *ret = message;
        return 0;
}
