#include <string.h>
#include "flagedit.h"

static bool is_blank(char c) {
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool in_comment(const char *s, size_t pos) {
        size_t begin = pos;

        while (begin > 0 && s[begin - 1] != '\n')
                begin--;
        while (begin < pos && (s[begin] == ' ' || s[begin] == '\t'))
                begin++;
        return s[begin] == '#' || s[begin] == ';';
}

/* Where the value begins, with the flag ending at @pos; 0 if there is none. */
static size_t value_begin(const char *s, size_t n, size_t pos) {
        size_t begin = pos;

        if (pos >= n)
                return 0;
        if (s[pos] == '=')
                return pos + 1;
        while (pos < n && (s[pos] == ' ' || s[pos] == '\t'))
                pos++;
        while (pos + 1 < n && s[pos] == '\\' && s[pos + 1] == '\n')
                for (pos += 2; pos < n && (s[pos] == ' ' || s[pos] == '\t');)
                        pos++;
        return pos > begin && pos < n && s[pos] != '\n' && s[pos] != '-' ? pos : 0;
}

bool flagedit_next(const char *s, size_t n, const char *flag, size_t pos, FlagSpan *ret) {
        size_t flag_n = strlen(flag);

        while (pos < n) {
                const char *hit = memmem(s + pos, n - pos, flag, flag_n);
                size_t at, from, to;

                if (!hit)
                        return false;
                at = (size_t) (hit - s);
                pos = at + flag_n;
                if (at > 0 && !is_blank(s[at - 1]) && !strchr("\"'=", s[at - 1]))
                        continue;
                from = value_begin(s, n, pos);
                if (from == 0 || in_comment(s, at))
                        continue;

                if (from < n && (s[from] == '"' || s[from] == '\'')) {
                        const char *end = memchr(s + from + 1, s[from], n - from - 1);
                        const char *eol = memchr(s + from, '\n', n - from);

                        /* A quote which begins nothing ends the text around the flag: its value is empty. */
                        if (end && (!eol || end < eol) && !(at > 0 && s[at - 1] == s[from])) {
                                *ret = (FlagSpan){ from + 1, (size_t) (end - s) };
                                return true;
                        }
                }
                for (to = from; to < n && !is_blank(s[to]) && s[to] != '"' && s[to] != '\'';)
                        to++;
                *ret = (FlagSpan){ from, to };
                return true;
        }
        return false;
}

int flagedit_argv(const char *cmdline, size_t size, const char *flag, char **ret) {
        size_t flag_n = strlen(flag), found_n = 0;
        const char *found = NULL;

        for (size_t i = 0; i < size;) {
                const char *arg = cmdline + i;
                size_t len = strnlen(arg, size - i);

                i += len + 1;
                if (len < flag_n || memcmp(arg, flag, flag_n) != 0)
                        continue;
                if (len > flag_n && arg[flag_n] == '=') {
                        found = arg + flag_n + 1;
                        found_n = len - flag_n - 1;
                } else if (len == flag_n && i < size) {
                        found = cmdline + i;
                        found_n = strnlen(found, size - i);
                        i += found_n + 1;
                }
        }
        if (!found)
                return -ENOENT;
        *ret = strndup(found, found_n);
        return *ret ? 0 : -ENOMEM;
}
