#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include "engineconf.h"
#include "util.h"

typedef struct Key {
        EngineconfKind kind;
        const char *table, *key; /* table "": the top */
} Key;

static const Key keys[] = {
        { ENGINECONF_CONTAINERD, "", "state" },       { ENGINECONF_CRIO, "crio", "root" },
        { ENGINECONF_CRIO, "crio", "runroot" },       { ENGINECONF_STORAGE, "storage", "graphroot" },
        { ENGINECONF_STORAGE, "storage", "runroot" },
};

typedef struct Text {
        const char *s;
        size_t len;
} Text;

static bool is_blank(char c) {
        return c == ' ' || c == '\t' || c == '\r';
}

static Text trim(Text text) {
        while (text.len > 0 && is_blank(*text.s)) {
                text.s++;
                text.len--;
        }
        while (text.len > 0 && is_blank(text.s[text.len - 1]))
                text.len--;
        return text;
}

static bool equals(Text text, const char *s) {
        return strlen(s) == text.len && memcmp(text.s, s, text.len) == 0;
}

/* A bare or quoted key, or a table's name; of a dotted one the dots are part of it. */
static Text unquote(Text text) {
        if (text.len >= 2 && (*text.s == '"' || *text.s == '\'') && text.s[text.len - 1] == *text.s)
                return (Text){ text.s + 1, text.len - 2 };
        return text;
}

bool engineconf_path_valid(const char *path) {
        size_t len = strlen(path);

        if (len < 2 || len > ENGINECONF_PATH_MAX || path[0] != '/')
                return false;
        while (*path) {
                size_t part;

                path += strspn(path, "/");
                part = strcspn(path, "/");
                if ((part == 1 && path[0] == '.') || (part == 2 && path[0] == '.' && path[1] == '.'))
                        return false;
                path += part;
        }
        return true;
}

/* A string in one line; with escapes in it, it is no path that anybody writes. */
static bool parse_path(Text value, char ret[static ENGINECONF_PATH_MAX + 1]) {
        const char *end;
        char quote;
        size_t len;

        if (value.len < 2 || (value.s[0] != '"' && value.s[0] != '\''))
                return false;
        quote = value.s[0];
        end = memchr(value.s + 1, quote, value.len - 1);
        if (!end)
                return false;
        len = (size_t) (end - value.s - 1);
        if (len > ENGINECONF_PATH_MAX || memchr(value.s + 1, '\0', len) ||
            (quote == '"' && memchr(value.s + 1, '\\', len)))
                return false;
        memcpy(ret, value.s + 1, len);
        ret[len] = '\0';
        /* A slash at the end says nothing. */
        while (len > 1 && ret[len - 1] == '/')
                ret[--len] = '\0';
        return engineconf_path_valid(ret);
}

/* Does a string of several lines begin or end in @line? */
static bool toggles(Text line) {
        unsigned n = 0;

        for (size_t i = 0; i + 3 <= line.len; i++)
                if (memcmp(line.s + i, "\"\"\"", 3) == 0 || memcmp(line.s + i, "'''", 3) == 0) {
                        n++;
                        i += 2;
                }
        return n % 2 == 1;
}

int engineconf_read(EngineconfKind kind, const char *s, size_t len, EngineconfFn fn, void *userdata) {
        Text table = { "", 0 };
        bool inside = false;

        assert(s || len == 0);
        assert(fn);

        if (len > ENGINECONF_SIZE_MAX)
                return -EFBIG;
        while (len > 0) {
                const char *newline = memchr(s, '\n', len), *equal;
                size_t size = newline ? (size_t) (newline - s) : len;
                Text line = trim((Text){ s, size }), name;
                bool toggled = toggles(line), was = inside;
                char path[ENGINECONF_PATH_MAX + 1];

                s += size + (newline != NULL);
                len -= size + (newline != NULL);
                inside ^= toggled;
                if (was || line.len == 0 || *line.s == '#')
                        continue;
                if (*line.s == '[') {
                        const char *close = memchr(line.s, ']', line.len);

                        /* Of an array of tables, or what is none, nothing is wanted. */
                        table = close ? trim((Text){ line.s + 1, (size_t) (close - line.s - 1) }) : (Text){ "?", 1 };
                        continue;
                }
                equal = memchr(line.s, '=', line.len);
                if (!equal)
                        continue;
                name = unquote(trim((Text){ line.s, (size_t) (equal - line.s) }));
                for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                        Text value = trim((Text){ equal + 1, (size_t) (line.s + line.len - equal - 1) });
                        int r;

                        if (keys[i].kind != kind || !equals(unquote(table), keys[i].table) ||
                            !equals(name, keys[i].key) || !parse_path(value, path))
                                continue;
                        r = fn(userdata, path);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}
