#include <assert.h>
#include <string.h>
#include <yajl/yajl_tree.h>
#include "runtimelog.h"
#include "util.h"

static bool is_error(const char *level) {
        static const char *const errors[] = { "error", "fatal", "panic" };

        for (size_t i = 0; level && i < ARRAY_SIZE(errors); i++)
                if (strcmp(level, errors[i]) == 0)
                        return true;
        return false;
}

static const char *string_at(yajl_val object, const char *key) {
        const char *path[] = { key, NULL };

        return YAJL_GET_STRING(yajl_tree_get(object, path, yajl_t_string));
}

/* Is the line a record of JSON? Then *@ret_len is the length of its message, 0 unless it is of an error. */
static bool parse_record(const char *s, size_t len, char *ret, size_t *ret_len) {
        char text[RUNTIMELOG_LINE_MAX + 1];
        const char *message;
        yajl_val record;

        if (len < 2 || s[0] != '{' || len >= sizeof(text) || memchr(s, '\0', len))
                return false;

        /* The parser takes a C string. */
        memcpy(text, s, len);
        text[len] = '\0';
        record = yajl_tree_parse(text, NULL, 0);
        if (!record)
                return false;

        message = string_at(record, "msg");
        if (message && is_error(string_at(record, "level"))) {
                util_copy_bounded(ret, RUNTIMELOG_TEXT_MAX + 1, message, strlen(message));
                *ret_len = strlen(ret);
        } else {
                *ret_len = 0;
        }
        yajl_tree_free(record);
        return true;
}

static bool is_blank(char c) {
        return c == ' ' || c == '\t' || c == '\r';
}

size_t runtimelog_message(const char *s, size_t len, char ret[static RUNTIMELOG_TEXT_MAX + 1]) {
        const char *last = NULL;
        size_t n_last = 0;
        bool any_record = false;

        assert(s || len == 0);

        if (len > RUNTIMELOG_MAX) {
                s += len - RUNTIMELOG_MAX;
                len = RUNTIMELOG_MAX;
        }

        /* From the end, where what mattered stands. */
        while (len > 0) {
                const char *newline = memrchr(s, '\n', len), *line = newline ? newline + 1 : s;
                size_t n = len - (size_t) (line - s), found;

                len = newline ? (size_t) (newline - s) : 0;
                while (n > 0 && is_blank(line[n - 1]))
                        n--;
                if (n == 0)
                        continue;

                if (parse_record(line, n, ret, &found)) {
                        any_record = true;
                        if (found > 0)
                                return found;
                } else if (!last) {
                        last = line;
                        n_last = n;
                }
        }

        if (!last || any_record)
                return 0;
        util_copy_bounded(ret, RUNTIMELOG_TEXT_MAX + 1, last, strnlen(last, n_last));
        return strlen(ret);
}

const char *runtimelog_path(const char *const *arguments, size_t n) {
        static const char option[] = "--log", with_value[] = "--log=";

        for (size_t i = 0; i < n; i++) {
                if (strcmp(arguments[i], option) == 0)
                        return i + 1 < n ? arguments[i + 1] : NULL;
                if (strncmp(arguments[i], with_value, sizeof(with_value) - 1) == 0)
                        return arguments[i] + sizeof(with_value) - 1;
        }
        return NULL;
}
