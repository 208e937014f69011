#include <assert.h>
#include <string.h>
#include "spanfind.h"
#include "wiredepth.h"

#define NESTING_MAX 64 /* messages within messages: what podspand lets in */

/* Where the walk is. */
typedef struct Wire {
        const uint8_t *p;
        size_t n;
} Wire;

typedef struct Field {
        uint32_t number;
        uint32_t type;
        Wire bytes; /* of type 2 */
} Field;

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static int take_varint(Wire *wire, uint64_t *ret) {
        uint64_t value = 0;

        for (unsigned shift = 0; shift < 64; shift += 7) {
                uint8_t byte;

                if (wire->n == 0)
                        return -EBADMSG;
                byte = *wire->p++;
                wire->n--;
                value |= (uint64_t) (byte & 0x7f) << shift;
                if (!(byte & 0x80)) {
                        *ret = value;
                        return 0;
                }
        }
        return -EBADMSG;
}

static int skip(Wire *wire, size_t n) {
        if (n > wire->n)
                return -EBADMSG;
        wire->p += n;
        wire->n -= n;
        return 0;
}

/* 1 with the next field, 0 at the end, or -EBADMSG. */
static int take_field(Wire *wire, Field *ret) {
        uint64_t tag, n;
        int r;

        if (wire->n == 0)
                return 0;
        r = take_varint(wire, &tag);
        if (r < 0)
                return r;
        if (tag >> 3 == 0 || tag >> 3 > (UINT32_MAX >> 3))
                return -EBADMSG;
        *ret = (Field){ .number = (uint32_t) (tag >> 3), .type = tag & 7 };

        switch (ret->type) {
        case WIRE_VARINT:
                r = take_varint(wire, &n);
                break;
        case WIRE_FIXED64:
                r = skip(wire, 8);
                break;
        case WIRE_FIXED32:
                r = skip(wire, 4);
                break;
        case WIRE_BYTES:
                r = take_varint(wire, &n);
                if (r < 0 || n > wire->n)
                        return -EBADMSG;
                ret->bytes = (Wire){ wire->p, (size_t) n };
                r = skip(wire, (size_t) n);
                break;
        default:
                r = -EBADMSG;
                break;
        }
        return r < 0 ? r : 1;
}

/* What is looked for, and on which level: TracesData, ResourceSpans, ScopeSpans. */
typedef struct Search {
        const uint8_t *trace_id;
        const uint8_t *span_id;
        Wire found;
} Search;

static bool is_id(const Field *field, uint32_t number, const uint8_t *id, size_t size) {
        return field->number == number && field->type == WIRE_BYTES && field->bytes.n == size &&
               memcmp(field->bytes.p, id, size) == 0;
}

/* 1 if @span is the one, 0 if not. */
static int is_wanted(const Search *search, Wire span) {
        bool trace = false, id = false;
        Field field;
        int r;

        /* The ids come first as everybody writes them, so that the rest is rarely looked at. */
        while (!(trace && id) && (r = take_field(&span, &field)) != 0) {
                if (r < 0)
                        return r;
                if (field.number == 1)
                        trace = is_id(&field, 1, search->trace_id, 16);
                else if (field.number == 2)
                        id = is_id(&field, 2, search->span_id, 8);
                if ((field.number == 1 && !trace) || (field.number == 2 && !id))
                        return 0;
        }
        return trace && id;
}

/* Walks the messages of one level. 1: found. */
static int walk(Search *search, Wire wire, unsigned level) {
        static const uint32_t numbers[] = { 1, 2, 2 };
        Field field;
        int r;

        while ((r = take_field(&wire, &field)) > 0) {
                if (field.type != WIRE_BYTES || field.number != numbers[level])
                        continue;
                r = level + 1 < ARRAY_SIZE(numbers) ? walk(search, field.bytes, level + 1)
                                                    : is_wanted(search, field.bytes);
                if (r < 0)
                        return r;
                if (r > 0) {
                        if (level + 1 == ARRAY_SIZE(numbers))
                                search->found = field.bytes;
                        return 1;
                }
        }
        return r;
}

int spanfind(const uint8_t *traces, size_t size, const uint8_t trace_id[static 16], const uint8_t span_id[static 8],
             Podspan__Otlp__Span **ret) {
        Search search = { .trace_id = trace_id, .span_id = span_id };
        Podspan__Otlp__Span *span;
        int r;

        assert(ret);

        r = walk(&search, (Wire){ traces, size }, 0);
        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        if (search.found.n > SPANFIND_SIZE_MAX)
                return -EFBIG;
        if (wiredepth_check(&podspan__otlp__span__descriptor, search.found.p, search.found.n, NESTING_MAX) < 0)
                return -EBADMSG;
        span = podspan__otlp__span__unpack(NULL, search.found.n, search.found.p);
        if (!span)
                return -EBADMSG;
        /* Of an id that stands twice the last one counts. */
        if (span->trace_id.len != 16 || memcmp(span->trace_id.data, trace_id, 16) != 0 || span->span_id.len != 8 ||
            memcmp(span->span_id.data, span_id, 8) != 0) {
                podspan__otlp__span__free_unpacked(span, NULL);
                return -EBADMSG;
        }
        *ret = span;
        return 0;
}

static const Podspan__Otlp__AnyValue *find(Podspan__Otlp__KeyValue *const *attributes, size_t n, const char *key) {
        for (size_t i = 0; i < n; i++)
                if (attributes[i]->value && strcmp(attributes[i]->key, key) == 0)
                        return attributes[i]->value;
        return NULL;
}

static const char *as_string(const Podspan__Otlp__AnyValue *value) {
        return value && value->value_case == PODSPAN__OTLP__ANY_VALUE__VALUE_STRING_VALUE && *value->string_value
                       ? value->string_value
                       : NULL;
}

static int64_t as_number(const Podspan__Otlp__AnyValue *value, int64_t otherwise) {
        return value && value->value_case == PODSPAN__OTLP__ANY_VALUE__VALUE_INT_VALUE ? value->int_value : otherwise;
}

const char *spanfind_string(const Podspan__Otlp__Span *span, const char *key) {
        return as_string(find(span->attributes, span->n_attributes, key));
}

int64_t spanfind_number(const Podspan__Otlp__Span *span, const char *key, int64_t otherwise) {
        return as_number(find(span->attributes, span->n_attributes, key), otherwise);
}

const char *spanfind_event_string(const Podspan__Otlp__Event *event, const char *key) {
        return as_string(find(event->attributes, event->n_attributes, key));
}

int64_t spanfind_event_number(const Podspan__Otlp__Event *event, const char *key, int64_t otherwise) {
        return as_number(find(event->attributes, event->n_attributes, key), otherwise);
}
