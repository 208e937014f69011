#include <assert.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <pthread.h>
#include <string.h>
#include "tracecontext.h"
#include "util.h"

#define KEY_MAX   256
#define VALUE_MAX 256

/*
 * 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 * ^  ^                                ^                ^
 * 0  3                                36               53
 */
static const struct {
        uint8_t at;   /* first digit; a dash stands before it */
        uint8_t size; /* decoded, in bytes */
        uint8_t to;   /* where it goes in TraceContext */
} fields[] = {
        { 3, TRACECONTEXT_TRACE_ID_SIZE, offsetof(TraceContext, trace_id) },
        { 36, TRACECONTEXT_SPAN_ID_SIZE, offsetof(TraceContext, span_id) },
        { 53, 1, offsetof(TraceContext, flags) },
};

static bool any_set(const uint8_t *bytes, size_t size) {
        uint8_t seen = 0;

        for (size_t i = 0; i < size; i++)
                seen |= bytes[i];
        return seen != 0;
}

int tracecontext_parse(const char *s, size_t len, TraceContext *ret) {
        TraceContext parsed = {};
        uint8_t version;
        int r;

        assert(s || len == 0);
        assert(ret);

        if (len < TRACECONTEXT_TRACEPARENT_LEN || len > TRACECONTEXT_TRACEPARENT_MAX)
                return -EBADMSG;

        r = util_hex_decode(s, 1, &version);
        if (r < 0)
                return r;
        if (version == 0xff)
                return -EBADMSG;
        if (len > TRACECONTEXT_TRACEPARENT_LEN && (version == 0 || s[TRACECONTEXT_TRACEPARENT_LEN] != '-'))
                return -EBADMSG;

        for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
                if (s[fields[i].at - 1] != '-')
                        return -EBADMSG;

                r = util_hex_decode(s + fields[i].at, fields[i].size, (uint8_t *) &parsed + fields[i].to);
                if (r < 0)
                        return r;
        }

        if (!tracecontext_valid(&parsed))
                return -EBADMSG;

        parsed.flags &= TRACECONTEXT_SAMPLED | TRACECONTEXT_RANDOM;
        *ret = parsed;
        return 0;
}

void tracecontext_format(const TraceContext *context, char ret[static TRACECONTEXT_TRACEPARENT_LEN + 1]) {
        assert(context);

        memcpy(ret, "00-", 3);
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
                util_hex_encode((const uint8_t *) context + fields[i].to, fields[i].size, ret + fields[i].at);
                ret[fields[i].at - 1] = '-';
        }
}

bool tracecontext_valid(const TraceContext *context) {
        assert(context);

        return any_set(context->trace_id, sizeof(context->trace_id)) && tracecontext_has_span(context);
}

bool tracecontext_has_span(const TraceContext *context) {
        assert(context);

        return any_set(context->span_id, sizeof(context->span_id));
}

/*
 * Bytes for ids, some dozen ids at a time: they are made while a call waits. Ids must be unlikely to collide, not
 * secret, so what is left may lie about. A child of fork() has the thread that forked, and makes bytes of its own.
 */
static _Thread_local uint8_t id_bytes[256];
static _Thread_local size_t n_id_bytes; /* that are left of it */

static void forget_ids(void) {
        n_id_bytes = 0;
}

static void forget_ids_in_children(void) {
        (void) pthread_atfork(NULL, NULL, forget_ids);
}

static int random_ids(void *ret, size_t size) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        int r;

        assert(size <= sizeof(id_bytes));

        if (n_id_bytes < size) {
                (void) pthread_once(&once, forget_ids_in_children);
                r = util_random(id_bytes, sizeof(id_bytes));
                if (r < 0)
                        return r;
                n_id_bytes = sizeof(id_bytes);
        }
        n_id_bytes -= size;
        memcpy(ret, id_bytes + n_id_bytes, size);
        return 0;
}

int tracecontext_new_root(TraceContext *ret) {
        /*
         * Level 2 says that who starts a trace should set the random bit. But OpenTelemetry's Go SDK, as CRI-O 1.34 has
         * it, takes a version 00 traceparent with any flag above "sampled" for malformed and starts a trace of its own;
         * not saying that the id is random costs nothing.
         */
        TraceContext root = {};
        uint8_t ids[TRACECONTEXT_TRACE_ID_SIZE + TRACECONTEXT_SPAN_ID_SIZE];
        int r;

        assert(ret);

        do {
                r = random_ids(ids, sizeof(ids));
                if (r < 0)
                        return r;

                memcpy(root.trace_id, ids, sizeof(root.trace_id));
                memcpy(root.span_id, ids + sizeof(root.trace_id), sizeof(root.span_id));
        } while (!tracecontext_valid(&root));

        *ret = root;
        return 0;
}

int tracecontext_new_child(const TraceContext *parent, TraceContext *ret) {
        TraceContext child;
        int r;

        assert(parent);
        assert(ret);

        child = *parent;
        do {
                r = random_ids(child.span_id, sizeof(child.span_id));
                if (r < 0)
                        return r;
        } while (!any_set(child.span_id, sizeof(child.span_id)));

        *ret = child;
        return 0;
}

void tracecontext_derive(const char *sandbox_id, size_t len, TraceContext *ret) {
        static const char salt[] = "podspan1";
        struct sha256_ctx sha256;
        TraceContext derived = {};

        assert(sandbox_id || len == 0);
        assert(ret);

        sha256_init(&sha256);
        sha256_update(&sha256, sizeof(salt) - 1, (const uint8_t *) salt);
        if (len > 0)
                sha256_update(&sha256, len, (const uint8_t *) sandbox_id);
        sha256_digest(&sha256, sizeof(derived.trace_id), derived.trace_id);

        *ret = derived;
}

static bool blank(char c) {
        return c == ' ' || c == '\t';
}

static bool key_valid(const char *key, size_t len) {
        if (len == 0 || len > KEY_MAX)
                return false;

        for (size_t i = 0; i < len; i++) {
                char c = key[i];

                if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
                        continue;
                if (i == 0 || !(c == '_' || c == '-' || c == '*' || c == '/' || c == '@'))
                        return false;
        }
        return true;
}

/* The caller has cut blanks off its end and found neither comma nor further '=' to be missing. */
static bool value_valid(const char *value, size_t len) {
        if (len == 0 || len > VALUE_MAX)
                return false;

        for (size_t i = 0; i < len; i++)
                if (value[i] < 0x20 || value[i] > 0x7e || value[i] == '=')
                        return false;
        return true;
}

int tracecontext_tracestate(const char *s, size_t len, char *ret, size_t size) {
        struct {
                const char *s;
                size_t key_len;
                size_t len;
        } members[TRACECONTEXT_TRACESTATE_MEMBERS];
        size_t n = 0, total = 0;
        char *p = ret;

        assert(s || len == 0);
        assert(ret || size == 0);

        for (size_t at = 0; at < len;) {
                const char *member = s + at, *comma = memchr(member, ',', len - at), *equals;
                size_t member_len = comma ? (size_t) (comma - member) : len - at;
                size_t key_len;
                bool repeated = false;

                at += member_len + 1;

                while (member_len > 0 && blank(*member)) {
                        member++;
                        member_len--;
                }
                while (member_len > 0 && blank(member[member_len - 1]))
                        member_len--;
                if (member_len == 0)
                        continue;

                equals = memchr(member, '=', member_len);
                if (!equals)
                        return -EBADMSG;

                key_len = (size_t) (equals - member);
                if (!key_valid(member, key_len) || !value_valid(equals + 1, member_len - key_len - 1))
                        return -EBADMSG;

                for (size_t i = 0; i < n && !repeated; i++)
                        repeated = members[i].key_len == key_len && memcmp(members[i].s, member, key_len) == 0;

                /* What is dropped is looked at all the same: a malformed list is ignored as a whole. */
                if (repeated || n == ARRAY_SIZE(members))
                        continue;

                members[n].s = member;
                members[n].key_len = key_len;
                members[n].len = member_len;
                total += member_len + (n > 0);
                n++;
        }

        if (total >= size)
                return -ENOBUFS;

        for (size_t i = 0; i < n; i++) {
                if (i > 0)
                        *p++ = ',';
                memcpy(p, members[i].s, members[i].len);
                p += members[i].len;
        }
        *p = '\0';
        return (int) total;
}
