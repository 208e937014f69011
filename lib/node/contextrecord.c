#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "contextrecord.h"
#include "util.h"

#define HEADER_LINE "podspan-context 1\n"

typedef enum FieldType {
        FIELD_STRING,
        FIELD_U32,
        FIELD_U64,
} FieldType;

/* All keys but `operation` and `traceparent`, which are required and have a syntax of their own. */
static const struct {
        const char *key;
        FieldType type;
        size_t at;
        size_t size;     /* of a string with its NUL */
        size_t known_at; /* of the flag that says whether a number is known; 0: a number that is not zero is */
        bool required;
} fields[] = {
#define STRING(key_, member) \
        { #key_, FIELD_STRING, offsetof(ContextRecord, member), sizeof(((ContextRecord *) 0)->member), 0, false }
        STRING(parent, parent),
        { "start", FIELD_U64, offsetof(ContextRecord, start_ns), 0, 0, true },
        { "deadline", FIELD_U64, offsetof(ContextRecord, deadline_ns), 0, 0, false },
        { "seq", FIELD_U64, offsetof(ContextRecord, seq), 0, 0, false },
        { "pid", FIELD_U32, offsetof(ContextRecord, pid), 0, 0, false },
        { "pid_start", FIELD_U64, offsetof(ContextRecord, pid_start), 0, 0, false },
        STRING(pod_uid, identity.pod_uid),
        STRING(pod_name, identity.pod_name),
        STRING(pod_namespace, identity.pod_namespace),
        STRING(sandbox_id, identity.sandbox_id),
        { "sandbox_attempt", FIELD_U32, offsetof(ContextRecord, identity.sandbox_attempt), 0,
          offsetof(ContextRecord, identity.sandbox_attempt_known), false },
        STRING(container_id, identity.container_id),
        STRING(container_name, identity.container_name),
        { "container_attempt", FIELD_U32, offsetof(ContextRecord, identity.container_attempt), 0,
          offsetof(ContextRecord, identity.container_attempt_known), false },
        STRING(image, identity.image),
        STRING(runtime_handler, identity.runtime_handler),
#undef STRING
};

bool context_start_recent(const ContextRecord *start, uint64_t now_ns, uint64_t window_ns) {
        assert(start);

        return now_ns < start->start_ns || now_ns - start->start_ns <= window_ns;
}

static bool alphanumeric(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool context_operation_valid(const char *operation) {
        size_t len = 0;

        assert(operation);

        /* strspn(3) makes itself a table of 256 first. */
        while (alphanumeric(operation[len]))
                len++;
        return len > 0 && len <= CONTEXT_OP_MAX && operation[len] == '\0';
}

/* Text being written; once it does not fit, nothing more is. */
typedef struct Out {
        char *p;
        char *end;
        bool overflow;
} Out;

static void out_bytes(Out *out, const char *s, size_t len) {
        if (len > (size_t) (out->end - out->p)) {
                out->overflow = true;
                return;
        }
        memcpy(out->p, s, len);
        out->p += len;
}

static bool plain(unsigned char c) {
        return c > 0x20 && c < 0x7f && c != '%';
}

/* In runs: this is written while a call waits. */
static void out_value(Out *out, const char *s) {
        while (*s) {
                const char *begin = s;
                char escaped[4];

                while (plain((unsigned char) *s))
                        s++;
                out_bytes(out, begin, (size_t) (s - begin));
                if (*s == '\0')
                        return;
                (void) snprintf(escaped, sizeof(escaped), "%%%02X", (unsigned char) *s++);
                out_bytes(out, escaped, 3);
        }
}

static void out_pair(Out *out, const char *key, const char *value) {
        out_bytes(out, key, strlen(key));
        out_bytes(out, "=", 1);
        out_value(out, value);
        out_bytes(out, "\n", 1);
}

static void out_number(Out *out, const char *key, uint64_t number) {
        char digits[24], *p = digits + sizeof(digits);

        *--p = '\0';
        do
                *--p = (char) ('0' + number % 10);
        while ((number /= 10) > 0);
        out_pair(out, key, p);
}

int context_format(const ContextRecord *record, char *ret, size_t size) {
        char traceparent[TRACECONTEXT_TRACEPARENT_LEN + 1];
        Out out;

        assert(record);
        assert(ret);
        assert(size > 0);

        if (!context_operation_valid(record->operation) || !tracecontext_valid(&record->trace))
                return -EINVAL;

        out = (Out){ .p = ret, .end = ret + MIN(size - 1, (size_t) CONTEXT_FILE_MAX) };
        tracecontext_format(&record->trace, traceparent);

        out_bytes(&out, HEADER_LINE, sizeof(HEADER_LINE) - 1);
        out_pair(&out, "operation", record->operation);
        out_pair(&out, "traceparent", traceparent);

        for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
                const char *at = (const char *) record + fields[i].at;
                uint64_t number = 0;
                bool known;

                if (fields[i].type == FIELD_STRING) {
                        if (*at)
                                out_pair(&out, fields[i].key, at);
                        continue;
                }

                if (fields[i].type == FIELD_U32)
                        number = *(const uint32_t *) (const void *) at;
                else
                        number = *(const uint64_t *) (const void *) at;

                known = fields[i].known_at > 0 ? *((const bool *) record + fields[i].known_at) : number != 0;
                if (known || fields[i].required)
                        out_number(&out, fields[i].key, number);
        }

        if (out.overflow)
                return -EMSGSIZE;

        *out.p = '\0';
        return (int) (out.p - ret);
}

/* Decodes a value into @ret of @size bytes with its NUL. */
static int parse_value(const char *s, size_t len, char *ret, size_t size) {
        size_t n = 0;

        for (size_t i = 0; i < len; i++) {
                char c = s[i];

                if (c <= 0x20 || c > 0x7e)
                        return -EBADMSG;

                if (c == '%') {
                        int hi, lo;

                        if (len - i < 3)
                                return -EBADMSG;
                        hi = util_hex_value(s[i + 1]);
                        lo = util_hex_value(s[i + 2]);
                        if (hi < 0 || lo < 0 || (hi == 0 && lo == 0) || s[i + 1] >= 'a' || s[i + 2] >= 'a')
                                return -EBADMSG;
                        c = (char) (hi << 4 | lo);
                        i += 2;
                }

                if (n + 1 >= size)
                        return -EBADMSG;
                ret[n++] = c;
        }

        ret[n] = '\0';
        return 0;
}

static int parse_field(size_t i, const char *s, size_t len, ContextRecord *record) {
        char *at = (char *) record + fields[i].at;
        uint64_t number;

        if (fields[i].type == FIELD_STRING)
                return parse_value(s, len, at, fields[i].size);

        if (util_parse_u64(s, len, &number) < 0)
                return -EBADMSG;

        if (fields[i].type == FIELD_U32) {
                uint32_t number32 = (uint32_t) number;

                if (number > UINT32_MAX)
                        return -EBADMSG;
                memcpy(at, &number32, sizeof(number32));
        } else
                memcpy(at, &number, sizeof(number));

        if (fields[i].known_at > 0)
                *((bool *) record + fields[i].known_at) = true;
        return 0;
}

/* Numbers of the two special keys in the set of those seen, above those of the table. */
enum {
        KEY_OPERATION = ARRAY_SIZE(fields),
        KEY_TRACEPARENT,
        KEY_UNKNOWN,
};

static size_t key_find(const char *key, size_t len) {
        static const char *const special[] = { "operation", "traceparent" };

        for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
                if (strlen(fields[i].key) == len && memcmp(fields[i].key, key, len) == 0)
                        return i;
        for (size_t i = 0; i < ARRAY_SIZE(special); i++)
                if (strlen(special[i]) == len && memcmp(special[i], key, len) == 0)
                        return KEY_OPERATION + i;
        return KEY_UNKNOWN;
}

int context_parse(const char *s, size_t len, ContextRecord *ret) {
        ContextRecord record = {};
        uint32_t seen = 0;
        size_t at;

        assert(s || len == 0);
        assert(ret);

        at = sizeof(HEADER_LINE) - 1;
        if (len > CONTEXT_FILE_MAX || len < at || memcmp(s, HEADER_LINE, at) != 0)
                return -EBADMSG;

        while (at < len) {
                const char *line = s + at, *newline = memchr(line, '\n', len - at), *equals, *value;
                size_t key, value_len;
                int r = 0;

                /* A line without its end is a file without its end. */
                if (!newline)
                        return -EBADMSG;
                at += (size_t) (newline - line) + 1;

                equals = memchr(line, '=', (size_t) (newline - line));
                if (!equals || equals == line)
                        return -EBADMSG;
                value = equals + 1;
                value_len = (size_t) (newline - value);

                key = key_find(line, (size_t) (equals - line));
                if (key == KEY_UNKNOWN)
                        continue;
                if (seen & UINT32_C(1) << key)
                        return -EBADMSG;
                seen |= UINT32_C(1) << key;

                if (key == KEY_OPERATION) {
                        r = parse_value(value, value_len, record.operation, sizeof(record.operation));
                        if (r == 0 && !context_operation_valid(record.operation))
                                r = -EBADMSG;
                } else if (key == KEY_TRACEPARENT)
                        r = tracecontext_parse(value, value_len, &record.trace);
                else
                        r = parse_field(key, value, value_len, &record);
                if (r < 0)
                        return r;
        }

        if (!(seen & UINT32_C(1) << KEY_OPERATION) || !(seen & UINT32_C(1) << KEY_TRACEPARENT))
                return -EBADMSG;
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
                if (fields[i].required && !(seen & UINT32_C(1) << i))
                        return -EBADMSG;

        *ret = record;
        return 0;
}
