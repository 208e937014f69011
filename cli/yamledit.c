#include <stdio.h>
#include <string.h>
#include "yamledit.h"

#define DEPTH_MAX 64

static size_t line_end(const char *s, size_t n, size_t pos) {
        const char *eol = memchr(s + pos, '\n', n - pos);

        return eol ? (size_t) (eol - s) : n;
}

static bool is_blank(char c) {
        return c == ' ' || c == '\t' || c == '\r';
}

static size_t skip_space(const char *s, size_t n, size_t pos) {
        while (pos < n && (is_blank(s[pos]) || s[pos] == '\n'))
                pos++;
        return pos;
}

/* The end of the quoted string that begins at @pos, behind its last quote; 0 if it does not end. */
static size_t quoted_end(const char *s, size_t n, size_t pos) {
        char quote = s[pos];

        for (pos++; pos < n; pos++) {
                if (quote == '"' && s[pos] == '\\')
                        pos++;
                else if (s[pos] == quote) {
                        if (quote == '\'' && pos + 1 < n && s[pos + 1] == '\'')
                                pos++;
                        else
                                return pos + 1;
                }
        }
        return 0;
}

/* A quoted or plain scalar to a string. */
static int decode(const char *s, size_t from, size_t to, char **ret) {
        _cleanup_free_ char *value = malloc(to - from + 1);
        size_t n = 0;

        if (!value)
                return -ENOMEM;
        if (to - from >= 2 && (s[from] == '"' || s[from] == '\'')) {
                char quote = s[from];

                for (size_t i = from + 1; i + 1 < to; i++) {
                        if (quote == '\'' && s[i] == '\'')
                                i++;
                        else if (quote == '"' && s[i] == '\\') {
                                i++;
                                if (!strchr("\"\\/", s[i]))
                                        return -EOPNOTSUPP;
                        }
                        value[n++] = s[i];
                }
        } else {
                n = to - from;
                memcpy(value, s + from, n);
        }
        value[n] = '\0';
        *ret = TAKE_PTR(value);
        return 0;
}

/* Behind the value in a flow collection that begins at @pos; 0 if it does not end or is none. */
static size_t flow_value_end(const char *s, size_t n, size_t pos) {
        unsigned depth = 0;

        if (s[pos] == '"' || s[pos] == '\'')
                return quoted_end(s, n, pos);
        if (s[pos] != '{' && s[pos] != '[') {
                while (pos < n && !strchr(",]}\n", s[pos]))
                        if (strchr("\"'{[", s[pos++]))
                                return 0;
                return pos < n ? pos : 0;
        }
        while (pos < n) {
                if (s[pos] == '"' || s[pos] == '\'') {
                        pos = quoted_end(s, n, pos);
                        if (pos == 0)
                                return 0;
                        continue;
                }
                if (s[pos] == '{' || s[pos] == '[') {
                        if (++depth > DEPTH_MAX)
                                return 0;
                } else if ((s[pos] == '}' || s[pos] == ']') && --depth == 0)
                        return pos + 1;
                pos++;
        }
        return 0;
}

/* Finds @key in the flow mapping that begins at @pos with "{". */
static int flow_find(const char *s, size_t n, size_t pos, const char *key, YamlScalar *ret) {
        const char *dot = strchrnul(key, '.');
        size_t key_n = (size_t) (dot - key);

        for (pos = skip_space(s, n, pos + 1); pos < n && s[pos] != '}';) {
                size_t name = pos, name_end, end;
                bool quoted = s[pos] == '"' || s[pos] == '\'';

                if (quoted) {
                        pos = quoted_end(s, n, pos);
                        if (pos == 0)
                                return -EBADMSG;
                        name++;
                        name_end = pos - 1;
                } else {
                        while (pos < n && !strchr(":,{}[]\n", s[pos]))
                                pos++;
                        name_end = pos;
                }
                pos = skip_space(s, n, pos);
                if (pos >= n || s[pos] != ':')
                        return -EBADMSG;
                pos = skip_space(s, n, pos + 1);
                end = pos < n ? flow_value_end(s, n, pos) : 0;
                if (end == 0)
                        return -EBADMSG;

                if (name_end - name == key_n && memcmp(s + name, key, key_n) == 0) {
                        if (*dot)
                                return s[pos] == '{' ? flow_find(s, n, pos, dot + 1, ret) : -ENOENT;
                        if (strchr("{[&*!|>", s[pos]))
                                return -EOPNOTSUPP;
                        while (end > pos && (is_blank(s[end - 1]) || s[end - 1] == '\n'))
                                end--;
                        ret->from = pos;
                        ret->to = end;
                        return decode(s, pos, end, &ret->value);
                }
                pos = skip_space(s, n, end);
                if (pos < n && s[pos] == ',')
                        pos = skip_space(s, n, pos + 1);
                else if (pos >= n || s[pos] != '}')
                        return -EBADMSG;
        }
        return pos < n ? -ENOENT : -EBADMSG;
}

/* Where the value of @key (of @key_n bytes) begins if the line at @pos is "key:", behind the colon; 0 if not. */
static size_t match_key(const char *s, size_t end, size_t pos, const char *key, size_t key_n) {
        bool quoted = pos < end && (s[pos] == '"' || s[pos] == '\'');

        if (quoted)
                pos++;
        if (end - pos < key_n || memcmp(s + pos, key, key_n) != 0)
                return 0;
        pos += key_n;
        if (quoted) {
                if (pos >= end || (s[pos] != '"' && s[pos] != '\''))
                        return 0;
                pos++;
        }
        while (pos < end && is_blank(s[pos]))
                pos++;
        if (pos >= end || s[pos] != ':' || (pos + 1 < end && !is_blank(s[pos + 1])))
                return 0;
        return pos + 1;
}

/* The scalar in [pos, end) of one line. Returns 1 if there is none on this line. */
static int line_scalar(const char *s, size_t end, size_t pos, YamlScalar *ret) {
        size_t to;

        while (pos < end && is_blank(s[pos]))
                pos++;
        if (pos >= end || s[pos] == '#')
                return 1;
        if (strchr("&*!|>{[", s[pos]))
                return -EOPNOTSUPP;
        if (s[pos] == '"' || s[pos] == '\'') {
                to = quoted_end(s, end, pos);
                if (to == 0)
                        return -EOPNOTSUPP;
        } else {
                to = pos;
                while (to < end && !(s[to] == '#' && is_blank(s[to - 1])))
                        to++;
                while (to > pos && is_blank(s[to - 1]))
                        to--;
        }
        ret->from = pos;
        ret->to = to;
        return decode(s, pos, to, &ret->value);
}

/* Finds @key among the lines of [from, to) that are indented by @indent. */
static int block_find(const char *s, size_t from, size_t to, size_t indent, const char *key, YamlScalar *ret) {
        const char *dot = strchrnul(key, '.');
        size_t key_n = (size_t) (dot - key), value = 0, value_line_end = 0;
        int r;

        for (size_t pos = from; pos < to;) {
                size_t end = line_end(s, to, pos), first = pos, begin;

                while (first < end && s[first] == ' ')
                        first++;
                begin = first - pos == indent ? match_key(s, end, first, key, key_n) : 0;
                if (begin > 0) {
                        if (value > 0)
                                return -EBADMSG;
                        value = begin;
                        value_line_end = end;
                }
                pos = end + 1;
        }
        if (value == 0)
                return -ENOENT;
        if (!*dot) {
                r = line_scalar(s, value_line_end, value, ret);
                /* An empty value is null; one that goes on below is not a scalar of one line. */
                return r > 0 ? -EOPNOTSUPP : r;
        }

        while (value < value_line_end && is_blank(s[value]))
                value++;
        if (value < value_line_end && s[value] == '{')
                return flow_find(s, to, value, dot + 1, ret);
        if (value < value_line_end && s[value] != '#')
                return -ENOENT;
        for (size_t pos = value_line_end + 1, child = 0, begin = pos; pos <= to;) {
                size_t end = pos < to ? line_end(s, to, pos) : to, first = pos;

                while (first < end && s[first] == ' ')
                        first++;
                if (first < end && s[first] != '#' && s[first] != '\r') {
                        if (first - pos <= indent)
                                return child > 0 ? block_find(s, begin, pos, child, dot + 1, ret) : -ENOENT;
                        if (child == 0)
                                child = first - pos;
                }
                if (end >= to)
                        return child > 0 ? block_find(s, begin, to, child, dot + 1, ret) : -ENOENT;
                pos = end + 1;
        }
        return -ENOENT;
}

static bool is_marker(const char *s, size_t n, size_t pos, const char *marker) {
        return n - pos >= 3 && memcmp(s + pos, marker, 3) == 0 &&
               (n - pos == 3 || is_blank(s[pos + 3]) || s[pos + 3] == '\n');
}

/* The document that counts. */
static void choose_document(const char *s, size_t n, size_t *ret_from, size_t *ret_to) {
        size_t begin = 0;
        bool first = true;

        *ret_from = 0;
        *ret_to = n;
        for (size_t pos = 0; pos <= n;) {
                size_t end = pos < n ? line_end(s, n, pos) : n;

                if (pos == n || is_marker(s, n, pos, "---") || is_marker(s, n, pos, "...")) {
                        YamlScalar kind = {};
                        bool right = block_find(s, begin, pos, 0, "kind", &kind) >= 0 &&
                                     strcmp(kind.value, "KubeletConfiguration") == 0;
                        bool empty = true;

                        free(kind.value);
                        for (size_t i = begin; i < pos && empty; i = line_end(s, pos, i) + 1) {
                                size_t text = i;

                                while (text < pos && is_blank(s[text]))
                                        text++;
                                empty = text >= pos || s[text] == '\n' || s[text] == '#';
                        }
                        if (right || (first && !empty)) {
                                *ret_from = begin;
                                *ret_to = pos;
                                first = false;
                        }
                        if (right)
                                return;
                        begin = MIN(end + 1, n);
                }
                if (pos == n)
                        return;
                pos = MIN(end + 1, n);
        }
}

int yamledit_find(const char *s, size_t n, const char *key, YamlScalar *ret) {
        size_t from, to, first = skip_space(s, n, 0);
        YamlScalar found = {};
        int r;

        if (memchr(s, '\0', n))
                return -EBADMSG;
        if (first < n && s[first] == '{')
                r = flow_find(s, n, first, key, &found);
        else {
                choose_document(s, n, &from, &to);
                r = block_find(s, from, to, 0, key, &found);
        }
        if (r >= 0)
                *ret = found;
        return r;
}

static int insert_key(const char *s, size_t n, const char *key, const char *value, Bytes *ret) {
        _cleanup_free_ char *line = NULL;
        size_t from, to, first = skip_space(s, n, 0);

        if (first < n && s[first] == '{') {
                size_t next = skip_space(s, n, first + 1);
                bool empty = next < n && s[next] == '}';

                if (asprintf(&line, "%.*s\"%s\": \"%s\"%s", (int) (next - first - 1), s + first + 1, key, value,
                             empty ? "" : ",") < 0) {
                        line = NULL;
                        return -ENOMEM;
                }
                return bytes_splice(s, n, first + 1, first + 1, line, strlen(line), ret);
        }

        choose_document(s, n, &from, &to);
        if (asprintf(&line, "%s%s: %s\n", to > 0 && s[to - 1] != '\n' ? "\n" : "", key, value) < 0) {
                line = NULL;
                return -ENOMEM;
        }
        return bytes_splice(s, n, to, to, line, strlen(line), ret);
}

int yamledit_set(const char *s, size_t n, const char *key, const char *value, Bytes *ret) {
        _cleanup_free_ char *quoted = NULL;
        YamlScalar at = {};
        int r;

        for (const char *c = value; *c; c++)
                if ((unsigned char) *c <= ' ' || strchr("\"'\\#", *c))
                        return -EINVAL;

        r = yamledit_find(s, n, key, &at);
        if (r == -ENOENT)
                return insert_key(s, n, key, value, ret);
        if (r < 0)
                return r;
        free(at.value);
        if (s[at.from] == '"' || s[at.from] == '\'') {
                if (asprintf(&quoted, "%c%s%c", s[at.from], value, s[at.from]) < 0) {
                        quoted = NULL;
                        return -ENOMEM;
                }
                value = quoted;
        }
        return bytes_splice(s, n, at.from, at.to, value, strlen(value), ret);
}
