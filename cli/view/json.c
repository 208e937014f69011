#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <yajl/yajl_gen.h>
#include "json.h"
#include "text.h"

struct Json {
        yajl_gen gen;
        FILE *out;
        int error;
};

static void print(void *userdata, const char *s, size_t len) {
        Json *json = userdata;

        if (json->error == 0 && fwrite(s, 1, len, json->out) != len)
                json->error = errno > 0 ? -errno : -EIO;
}

static Json *new_writer(FILE *out, bool beautify) {
        _cleanup_(json_freep) Json *json = malloc(sizeof(*json));

        if (!json)
                return NULL;
        *json = (Json){ .out = out, .gen = yajl_gen_alloc(NULL) };
        if (!json->gen)
                return NULL;

        /* print() outlives nothing: the generator is freed with the writer. */
        if (!yajl_gen_config(json->gen, yajl_gen_print_callback, print, json) ||
            !yajl_gen_config(json->gen, yajl_gen_beautify, beautify) ||
            !yajl_gen_config(json->gen, yajl_gen_indent_string, "  "))
                return NULL;
        return TAKE_PTR(json);
}

Json *json_new(FILE *out) {
        return new_writer(out, true);
}

Json *json_new_line(FILE *out) {
        return new_writer(out, false);
}

Json *json_free(Json *json) {
        if (!json)
                return NULL;
        if (json->gen)
                yajl_gen_free(json->gen);
        free(json);
        return NULL;
}

static void check(Json *json, yajl_gen_status status) {
        /* With our use only memory and yajl's depth of 128 can be the cause. */
        if (status != yajl_gen_status_ok && json->error == 0)
                json->error = status == yajl_max_depth_exceeded ? -E2BIG : -ENOMEM;
}

void json_map(Json *json) {
        check(json, yajl_gen_map_open(json->gen));
}

void json_map_end(Json *json) {
        check(json, yajl_gen_map_close(json->gen));
}

void json_array(Json *json) {
        check(json, yajl_gen_array_open(json->gen));
}

void json_array_end(Json *json) {
        check(json, yajl_gen_array_close(json->gen));
}

void json_key(Json *json, const char *key) {
        check(json, yajl_gen_string(json->gen, (const unsigned char *) key, strlen(key)));
}

/* The string with its quotes into @ret, which has room for 12 bytes per byte of @s. */
static size_t quote(char *ret, const char *s, size_t len) {
        size_t n = 0;

        ret[n++] = '"';
        for (size_t i = 0; i < len;) {
                uint32_t cp = 0xfffd;
                int used = text_utf8_next(s + i, len - i, &cp);
                uint32_t units[2];
                size_t n_units = 1;

                if (used >= 0 && cp == (unsigned char) s[i] && (cp == '"' || cp == '\\')) {
                        ret[n++] = '\\';
                        ret[n++] = (char) cp;
                        i++;
                        continue;
                }
                if (used >= 0 && !text_codepoint_unsafe(cp)) {
                        memcpy(ret + n, s + i, (size_t) used);
                        n += (size_t) used;
                        i += (size_t) used;
                        continue;
                }

                if (used < 0)
                        cp = 0xfffd;
                if (cp > 0xffff) {
                        units[0] = 0xd800 + ((cp - 0x10000) >> 10);
                        units[1] = 0xdc00 + ((cp - 0x10000) & 0x3ff);
                        n_units = 2;
                } else
                        units[0] = cp;
                for (size_t u = 0; u < n_units; u++) {
                        ret[n++] = '\\';
                        ret[n++] = 'u';
                        for (int shift = 12; shift >= 0; shift -= 4)
                                ret[n++] = UTIL_HEX_DIGITS[units[u] >> shift & 0xf];
                }
                i += used < 0 ? 1 : (size_t) used;
        }
        ret[n++] = '"';
        return n;
}

void json_strn(Json *json, const char *s, size_t len) {
        _cleanup_free_ char *big = NULL;
        char small[1024];
        char *buf = small;
        size_t n;

        if (len > (sizeof(small) - 2) / 12) {
                big = len < SIZE_MAX / 12 - 2 ? malloc(len * 12 + 2) : NULL;
                if (!big) {
                        check(json, yajl_gen_in_error_state);
                        return;
                }
                buf = big;
        }

        /* yajl_gen_string() knows no way to escape more than JSON asks for; what yajl calls a number is copied
         * verbatim. */
        n = quote(buf, s, len);
        check(json, yajl_gen_number(json->gen, buf, n));
}

void json_str(Json *json, const char *s) {
        if (s)
                json_strn(json, s, strlen(s));
        else
                json_null(json);
}

void json_u64(Json *json, uint64_t value) {
        char buf[24];
        int n = snprintf(buf, sizeof(buf), "%" PRIu64, value);

        check(json, yajl_gen_number(json->gen, buf, (size_t) n));
}

void json_i64(Json *json, int64_t value) {
        check(json, yajl_gen_integer(json->gen, value));
}

void json_bool(Json *json, bool value) {
        check(json, yajl_gen_bool(json->gen, value));
}

void json_null(Json *json) {
        check(json, yajl_gen_null(json->gen));
}

void json_u64_str(Json *json, uint64_t value) {
        char buf[24];

        (void) snprintf(buf, sizeof(buf), "%" PRIu64, value);
        json_str(json, buf);
}

void json_i64_str(Json *json, int64_t value) {
        char buf[24];

        (void) snprintf(buf, sizeof(buf), "%" PRId64, value);
        json_str(json, buf);
}

void json_double(Json *json, double value) {
        if (isnan(value))
                json_str(json, "NaN");
        else if (isinf(value))
                json_str(json, value < 0 ? "-Infinity" : "Infinity");
        else
                check(json, yajl_gen_double(json->gen, value));
}

void json_hex(Json *json, const void *bytes, size_t size) {
        char buf[2 * 16 + 1];

        assert(size <= 16);
        util_hex_encode(bytes, size, buf);
        json_str(json, buf);
}

void json_base64(Json *json, const void *bytes, size_t size) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const uint8_t *p = bytes;
        _cleanup_free_ char *buf = malloc(size / 3 * 4 + 5);
        size_t n = 0;

        if (!buf) {
                check(json, yajl_gen_in_error_state);
                return;
        }
        for (size_t i = 0; i < size; i += 3) {
                uint32_t v = (uint32_t) p[i] << 16;

                if (i + 1 < size)
                        v |= (uint32_t) p[i + 1] << 8;
                if (i + 2 < size)
                        v |= p[i + 2];
                buf[n++] = digits[v >> 18];
                buf[n++] = digits[v >> 12 & 63];
                buf[n++] = i + 1 < size ? digits[v >> 6 & 63] : '=';
                buf[n++] = i + 2 < size ? digits[v & 63] : '=';
        }
        json_strn(json, buf, n);
}

void json_time(Json *json, const char *key, uint64_t ns) {
        char name[64], text[TEXT_TIME_MAX];

        (void) snprintf(name, sizeof(name), "%s_unix_nano", key);
        text_rfc3339(ns, text);

        json_pair_str(json, key, ns > 0 ? text : NULL);
        json_key(json, name);
        if (ns > 0)
                json_u64_str(json, ns);
        else
                json_null(json);
}

void json_pair_str(Json *json, const char *key, const char *value) {
        json_key(json, key);
        json_str(json, value);
}

void json_pair_known(Json *json, const char *key, const char *value) {
        if (value && *value)
                json_pair_str(json, key, value);
}

void json_pair_u64(Json *json, const char *key, uint64_t value) {
        json_key(json, key);
        json_u64(json, value);
}

void json_pair_bool(Json *json, const char *key, bool value) {
        json_key(json, key);
        json_bool(json, value);
}

int json_finish(Json *json) {
        if (json->error == 0 && (fputc('\n', json->out) == EOF || fflush(json->out) == EOF))
                json->error = errno > 0 ? -errno : -EIO;
        return json->error;
}
