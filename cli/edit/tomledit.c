#include <stdio.h>
#include <string.h>
#include "tomledit.h"

#define DEPTH_MAX 64

typedef struct Cursor {
        const char *s;
        size_t n;
        size_t pos;
} Cursor;

static bool is_bare(char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static void skip_blanks(Cursor *c) {
        while (c->pos < c->n && (c->s[c->pos] == ' ' || c->s[c->pos] == '\t'))
                c->pos++;
}

static void skip_line(Cursor *c) {
        const char *eol = memchr(c->s + c->pos, '\n', c->n - c->pos);

        c->pos = eol ? (size_t) (eol - c->s) + 1 : c->n;
}

/* Only a comment may follow on the line. */
static int end_line(Cursor *c) {
        skip_blanks(c);
        if (c->pos < c->n && c->s[c->pos] == '\r')
                c->pos++;
        if (c->pos < c->n && c->s[c->pos] != '\n' && c->s[c->pos] != '#')
                return -EBADMSG;
        skip_line(c);
        return 0;
}

static bool at_triple(const Cursor *c, char quote) {
        return c->n - c->pos >= 3 && c->s[c->pos] == quote && c->s[c->pos + 1] == quote && c->s[c->pos + 2] == quote;
}

static int skip_string(Cursor *c) {
        char quote = c->s[c->pos];

        if (at_triple(c, quote)) {
                for (c->pos += 3; c->pos < c->n; c->pos++) {
                        if (quote == '"' && c->s[c->pos] == '\\')
                                c->pos++;
                        else if (at_triple(c, quote)) {
                                c->pos += 3;
                                /* Up to two quotes may stand before the closing three. */
                                for (int i = 0; i < 2 && c->pos < c->n && c->s[c->pos] == quote; i++)
                                        c->pos++;
                                return 0;
                        }
                }
                return -EBADMSG;
        }
        for (c->pos++; c->pos < c->n && c->s[c->pos] != '\n'; c->pos++) {
                if (quote == '"' && c->s[c->pos] == '\\')
                        c->pos++;
                else if (c->s[c->pos] == quote) {
                        c->pos++;
                        return 0;
                }
        }
        return -EBADMSG;
}

static int skip_value(Cursor *c) {
        unsigned depth = 0;
        size_t from = c->pos;

        while (c->pos < c->n) {
                char x = c->s[c->pos];
                int r;

                if (x == '"' || x == '\'') {
                        r = skip_string(c);
                        if (r < 0)
                                return r;
                        if (depth == 0)
                                return 0;
                } else if (x == '[' || x == '{') {
                        if (++depth > DEPTH_MAX)
                                return -EBADMSG;
                        c->pos++;
                } else if (x == ']' || x == '}') {
                        if (depth == 0)
                                return -EBADMSG;
                        c->pos++;
                        if (--depth == 0)
                                return 0;
                } else if (x == '#') {
                        if (depth == 0)
                                break;
                        skip_line(c);
                } else if (depth == 0 && (x == '\n' || x == '\r'))
                        break;
                else
                        c->pos++;
        }
        if (depth > 0)
                return -EBADMSG;
        while (c->pos > from && (c->s[c->pos - 1] == ' ' || c->s[c->pos - 1] == '\t'))
                c->pos--;
        return c->pos > from ? 0 : -EBADMSG;
}

/* A dotted key is appended to the @len bytes in @path. */
static int read_key(Cursor *c, char path[static TOMLEDIT_PATH_MAX], size_t *len) {
        for (;;) {
                size_t from, to;
                int r;

                skip_blanks(c);
                from = c->pos;
                if (c->pos < c->n && (c->s[c->pos] == '"' || c->s[c->pos] == '\'')) {
                        if (at_triple(c, c->s[c->pos]))
                                return -EBADMSG;
                        r = skip_string(c);
                        if (r < 0)
                                return r;
                        from++;
                        to = c->pos - 1;
                } else {
                        while (c->pos < c->n && is_bare(c->s[c->pos]))
                                c->pos++;
                        to = c->pos;
                        if (to == from)
                                return -EBADMSG;
                }
                if (*len + (to - from) + 4 > TOMLEDIT_PATH_MAX)
                        return -EBADMSG;
                if (*len > 0)
                        path[(*len)++] = *TOMLEDIT_SEP;
                memcpy(path + *len, c->s + from, to - from);
                *len += to - from;
                path[*len] = '\0';
                skip_blanks(c);
                if (c->pos >= c->n || c->s[c->pos] != '.')
                        return 0;
                c->pos++;
        }
}

static int read_header(Cursor *c, char table[static TOMLEDIT_PATH_MAX], size_t *table_len) {
        bool array = c->n - c->pos >= 2 && c->s[c->pos + 1] == '[';
        int r;

        c->pos += array ? 2 : 1;
        *table_len = 0;
        r = read_key(c, table, table_len);
        if (r < 0)
                return r;
        for (int i = 0; i <= (int) array; i++, c->pos++)
                if (c->pos >= c->n || c->s[c->pos] != ']')
                        return -EBADMSG;
        if (array) {
                memcpy(table + *table_len, "[]", 3);
                *table_len += 2;
        }
        return 0;
}

int tomledit_walk(const char *s, size_t n, int (*fn)(const TomlItem *item, void *userdata), void *userdata) {
        char table[TOMLEDIT_PATH_MAX] = "", path[TOMLEDIT_PATH_MAX];
        size_t table_len = 0;
        Cursor c = { s, n, 0 };
        int r;

        if (n > 0 && memchr(s, '\0', n))
                return -EBADMSG;
        while (c.pos < n) {
                TomlItem item = { .path = path, .line_from = c.pos };

                skip_blanks(&c);
                if (c.pos >= n || s[c.pos] == '\n' || s[c.pos] == '\r' || s[c.pos] == '#') {
                        r = end_line(&c);
                        if (r < 0)
                                return r;
                        continue;
                }
                if (s[c.pos] == '[') {
                        r = read_header(&c, table, &table_len);
                        item.path = table;
                        item.header = true;
                } else {
                        size_t len = table_len;

                        memcpy(path, table, table_len + 1);
                        r = read_key(&c, path, &len);
                        if (r >= 0 && (c.pos >= n || s[c.pos] != '='))
                                r = -EBADMSG;
                        if (r >= 0) {
                                c.pos++;
                                skip_blanks(&c);
                                item.from = c.pos;
                                r = skip_value(&c);
                                item.to = c.pos;
                        }
                }
                if (r >= 0)
                        r = end_line(&c);
                if (r < 0)
                        return r;
                item.line_to = c.pos;
                r = fn(&item, userdata);
                if (r != 0)
                        return r;
        }
        return 0;
}

typedef struct Find {
        const char *path;
        bool header;
        bool found;
        TomlItem item;
} Find;

static int on_find(const TomlItem *item, void *userdata) {
        Find *find = userdata;

        if (!find->found && item->header == find->header && strcmp(item->path, find->path) == 0) {
                find->item = *item;
                find->found = true;
        }
        /* On to the end: what is not TOML is not edited. */
        return 0;
}

static int find_item(const char *s, size_t n, const char *path, bool header, TomlItem *ret) {
        Find find = { .path = path, .header = header };
        int r = tomledit_walk(s, n, on_find, &find);

        if (r < 0)
                return r;
        if (!find.found)
                return -ENOENT;
        *ret = find.item;
        return 0;
}

int tomledit_get(const char *s, size_t n, const char *path, char **ret) {
        TomlItem item;
        int r;

        r = find_item(s, n, path, false, &item);
        if (r < 0)
                return r;
        if (item.to - item.from >= 2 && (s[item.from] == '"' || s[item.from] == '\'')) {
                item.from++;
                item.to--;
        }
        *ret = strndup(s + item.from, item.to - item.from);
        return *ret ? 0 : -ENOMEM;
}

/* A new line at @pos, indented like the one before or behind it. */
static int insert_line(const char *s, size_t n, size_t pos, size_t indent, const char *key, const char *value,
                       Bytes *ret) {
        _cleanup_free_ char *line = NULL;

        if (asprintf(&line, "%s%*s%s = %s\n", pos > 0 && s[pos - 1] != '\n' ? "\n" : "", (int) indent, "", key, value) <
            0) {
                line = NULL;
                return -ENOMEM;
        }
        return bytes_splice(s, n, pos, pos, line, strlen(line), ret);
}

int tomledit_set(const char *s, size_t n, const char *table, const char *header, const char *key, const char *value,
                 Bytes *ret) {
        _cleanup_free_ char *text = NULL;
        char path[TOMLEDIT_PATH_MAX];
        TomlItem item;
        size_t indent = 0;
        int r;

        if (snprintf(path, sizeof(path), "%s%s%s", table, *table ? TOMLEDIT_SEP : "", key) >= (int) sizeof(path))
                return -EBADMSG;
        r = find_item(s, n, path, false, &item);
        if (r >= 0)
                return bytes_splice(s, n, item.from, item.to, value, strlen(value), ret);
        if (r != -ENOENT)
                return r;
        if (!*table)
                return insert_line(s, n, 0, 0, key, value, ret);

        r = find_item(s, n, table, true, &item);
        if (r >= 0) {
                while (item.line_from + indent < n && s[item.line_from + indent] == ' ')
                        indent++;
                return insert_line(s, n, item.line_to, indent + 2, key, value, ret);
        }
        if (r != -ENOENT)
                return r;
        if (asprintf(&text, "%s\n[%s]\n  %s = %s\n", n > 0 && s[n - 1] != '\n' ? "\n" : "", header, key, value) < 0) {
                text = NULL;
                return -ENOMEM;
        }
        return bytes_splice(s, n, n, n, text, strlen(text), ret);
}

int tomledit_add(const char *s, size_t n, const char *key, const char *element, Bytes *ret) {
        _cleanup_free_ char *text = NULL;
        TomlItem item;
        Cursor c;
        bool empty = true;
        int r;

        r = find_item(s, n, key, false, &item);
        if (r < 0 && r != -ENOENT)
                return r;
        if (r == -ENOENT) {
                if (asprintf(&text, "[\"%s\"]", element) < 0) {
                        text = NULL;
                        return -ENOMEM;
                }
                return insert_line(s, n, 0, 0, key, text, ret);
        }
        if (s[item.from] != '[')
                return -EBADMSG;
        /* Behind the bracket, so that a comma or comment at the end does not matter. */
        for (c = (Cursor){ s, item.to, item.from + 1 }; c.pos < item.to && empty;) {
                if (s[c.pos] == '#')
                        skip_line(&c);
                else if (strchr(" \t\r\n]", s[c.pos]))
                        c.pos++;
                else
                        empty = false;
        }
        if (asprintf(&text, "\"%s\"%s", element, empty ? "" : ", ") < 0) {
                text = NULL;
                return -ENOMEM;
        }
        return bytes_splice(s, n, item.from + 1, item.from + 1, text, strlen(text), ret);
}
