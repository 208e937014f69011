#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "unittext.h"
#include "util.h"

void unittext_deinit(UnitText *text) {
        free(text->p);
        *text = (UnitText) UNITTEXT_NULL;
}

int unittext_push(UnitText *text, UnitChar c) {
        if (text->n == text->space) {
                size_t space = text->space ? 2 * text->space : 64;
                UnitChar *p = reallocarray(text->p, space, sizeof(*p));

                if (!p)
                        return -ENOMEM;
                text->p = p;
                text->space = space;
        }
        text->p[text->n++] = c;
        return 0;
}

int unittext_append(UnitText *text, const UnitText *more) {
        for (size_t i = 0; i < more->n; i++)
                if (unittext_push(text, more->p[i]) < 0)
                        return -ENOMEM;
        return 0;
}

bool unittext_is(const UnitText *text, const char *s) {
        if (text->n != strlen(s))
                return false;
        for (size_t i = 0; i < text->n; i++)
                if (text->p[i].c != s[i] || (text->p[i].flags & UNITCHAR_UNKNOWN))
                        return false;
        return true;
}

static bool is_blank(char c) {
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_comment(char c) {
        return c == '#' || c == ';';
}

/* A line ends with LF, CR, or NUL, or with several different ones of these. */
static bool is_eol(char c) {
        return c == '\n' || c == '\r' || c == '\0';
}

static size_t skip_eol(const char *s, size_t n, size_t pos) {
        bool seen[3] = {};

        while (pos < n && is_eol(s[pos])) {
                unsigned which = s[pos] == '\n' ? 0 : s[pos] == '\r' ? 1 : 2;

                if (seen[which])
                        break;
                seen[which] = true;
                pos++;
        }
        return pos;
}

static void strip(UnitText *text) {
        size_t skip = 0;

        while (text->n > 0 && is_blank(text->p[text->n - 1].c))
                text->n--;
        while (skip < text->n && is_blank(text->p[skip].c))
                skip++;
        text->n -= skip;
        if (skip > 0)
                memmove(text->p, text->p + skip, text->n * sizeof(*text->p));
}

static bool ends_escaped(const UnitText *text) {
        bool escaped = false;

        for (size_t i = 0; i < text->n; i++)
                escaped = !escaped && text->p[i].c == '\\';
        return escaped;
}

int unittext_line(const char *s, size_t n, unsigned file, size_t *pos, UnitText *ret) {
        _cleanup_unittext_ UnitText line = UNITTEXT_NULL;

        if (*pos == 0 && n >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0)
                *pos = 3;
        while (*pos < n) {
                size_t from = *pos, to = *pos;

                while (to < n && !is_eol(s[to]))
                        to++;
                *pos = skip_eol(s, n, to);
                while (from < to && is_blank(s[from]))
                        from++;
                /* Also between the lines of a continued one. */
                if (from < to && is_comment(s[from]))
                        continue;
                for (size_t i = from; i < to; i++)
                        if (unittext_push(&line, (UnitChar){ (uint32_t) i, (uint16_t) file, s[i], 0 }) < 0)
                                return -ENOMEM;
                if (ends_escaped(&line)) {
                        line.p[line.n - 1].c = ' ';
                        line.p[line.n - 1].flags = UNITCHAR_ESCAPED;
                        continue;
                }
                strip(&line);
                if (line.n > 0)
                        break;
        }
        strip(&line);
        if (line.n == 0)
                return 0;
        unittext_deinit(ret);
        *ret = line;
        line = (UnitText) UNITTEXT_NULL;
        return 1;
}

static int digit(char c) {
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : 99;
}

/* What the escape sequence with the letter at @at stands for. Returns its length without the backslash, 0 if it is
 * none. A character outside of ASCII is not worked out. */
static size_t unescape_one(const UnitText *text, size_t at, UnitChar *ret) {
        static const char letters[] = "abfnrtv\\\"'s", meanings[] = "\a\b\f\n\r\t\v\\\"' ";
        const UnitChar *p = text->p + at;
        const char *letter = memchr(letters, p->c, sizeof(letters) - 1);
        size_t n_digits, first = 1;
        unsigned base = 16;
        uint64_t value = 0;

        *ret = (UnitChar){ p->at - 1, p->file, 0, UNITCHAR_ESCAPED };
        if (letter) {
                ret->c = meanings[letter - letters];
                return 1;
        }
        switch (p->c) {
        case 'x':
                n_digits = 2;
                break;
        case 'u':
                n_digits = 4;
                break;
        case 'U':
                n_digits = 8;
                break;
        case '0' ... '7':
                n_digits = 3;
                first = 0;
                base = 8;
                break;
        default:
                return 0;
        }
        for (size_t i = 0; i < n_digits; i++) {
                int d = at + first + i < text->n ? digit(p[first + i].c) : 99;

                if (d >= (int) base)
                        return 0;
                value = value * base + (unsigned) d;
        }
        if (value == 0 || (base == 8 && value > 255) || value > 0x10ffff)
                return 0;
        ret->c = (char) value;
        if (value > 127)
                ret->flags |= UNITCHAR_UNKNOWN;
        return first + n_digits;
}

int unittext_word(const UnitText *text, size_t *pos, UnitWordKind kind, UnitText *ret) {
        bool unescape = kind != UNITWORD_CONTENT;
        _cleanup_unittext_ UnitText word = UNITTEXT_NULL;
        size_t i = *pos;
        char quote = 0;

        while (i < text->n && is_blank(text->p[i].c))
                i++;
        if (i == text->n) {
                *pos = i;
                return 0;
        }
        for (; i < text->n; i++) {
                UnitChar c = text->p[i];

                if (c.c == '\\' && !(c.flags & UNITCHAR_UNKNOWN)) {
                        UnitChar meant;
                        size_t length;

                        if (i + 1 == text->n) {
                                if (kind == UNITWORD_ENVIRONMENT)
                                        return -EBADMSG;
                                if (unescape && unittext_push(&word, c) < 0)
                                        return -ENOMEM;
                                continue;
                        }
                        length = unescape ? unescape_one(text, i + 1, &meant) : 0;
                        if (length > 0) {
                                c = meant;
                                i += length;
                        } else if (kind == UNITWORD_ENVIRONMENT) {
                                return -EBADMSG;
                        } else {
                                /* systemd keeps a sequence that it does not know. */
                                c.flags |= UNITCHAR_ESCAPED;
                                if (unescape && unittext_push(&word, c) < 0)
                                        return -ENOMEM;
                                c = text->p[++i];
                                c.flags |= UNITCHAR_ESCAPED;
                        }
                } else if (quote) {
                        if (c.c == quote) {
                                quote = 0;
                                continue;
                        }
                } else if (c.c == '"' || c.c == '\'') {
                        quote = c.c;
                        continue;
                } else if (is_blank(c.c)) {
                        break;
                }
                if (unittext_push(&word, c) < 0)
                        return -ENOMEM;
        }
        if (quote && unescape)
                return -EBADMSG;
        while (i < text->n && is_blank(text->p[i].c))
                i++;
        *pos = i;
        unittext_deinit(ret);
        *ret = word;
        word = (UnitText) UNITTEXT_NULL;
        return 1;
}

void unittext_specifiers(UnitText *text) {
        size_t to = 0;

        for (size_t i = 0; i < text->n; i++) {
                UnitChar c = text->p[i];

                if (c.c == '%' && i + 1 < text->n) {
                        c.flags |= UNITCHAR_ESCAPED | (text->p[i + 1].c == '%' ? 0 : UNITCHAR_UNKNOWN);
                        i++;
                }
                text->p[to++] = c;
        }
        text->n = to;
}

/* A character of an environment file. systemd's strings end at a NUL. */
static int take(UnitText *text, const char *s, unsigned file, size_t at, bool escaped) {
        uint8_t flags = (escaped ? UNITCHAR_ESCAPED : 0) | (s[at] == '\0' ? UNITCHAR_UNKNOWN : 0);

        return unittext_push(text, (UnitChar){ (uint32_t) at, (uint16_t) file, s[at], flags });
}

static size_t skip_comment(const char *s, size_t n, size_t pos, bool *ret_continued) {
        *ret_continued = false;
        while (pos < n && s[pos] != '\n' && s[pos] != '\r') {
                *ret_continued = s[pos] == '\\';
                pos++;
        }
        return pos;
}

static int read_name(const char *s, size_t n, unsigned file, size_t *pos, UnitText *name) {
        size_t i = *pos;

        for (; i < n && s[i] != '=' && s[i] != '\n' && s[i] != '\r'; i++)
                if (take(name, s, file, i, false) < 0)
                        return -ENOMEM;
        *pos = i;
        strip(name);
        return i < n && s[i] == '=';
}

/* Quotes may follow each other, and an open one ends at the end of the file only. */
static int read_value(const char *s, size_t n, unsigned file, size_t *pos, UnitText *value) {
        enum { BEFORE, PLAIN, SINGLE, DOUBLE } state = BEFORE;
        size_t i = *pos, trailing = 0;
        int r = 0;

        for (; i < n && r >= 0; i++) {
                bool newline = s[i] == '\n' || s[i] == '\r';

                if (state == SINGLE) {
                        if (s[i] == '\'')
                                state = BEFORE;
                        else
                                r = take(value, s, file, i, false);
                } else if (state == DOUBLE) {
                        if (s[i] == '"') {
                                state = BEFORE;
                        } else if (s[i] == '\\' && i + 1 < n) {
                                i++;
                                if (s[i] == '\n')
                                        continue;
                                if (!strchr("\"\\`$", s[i]))
                                        r = take(value, s, file, i - 1, true);
                                if (r >= 0)
                                        r = take(value, s, file, i, true);
                        } else {
                                r = take(value, s, file, i, false);
                        }
                } else if (newline) {
                        break;
                } else if (state == BEFORE && (s[i] == '\'' || s[i] == '"')) {
                        state = s[i] == '"' ? DOUBLE : SINGLE;
                } else if (s[i] == '\\') {
                        state = PLAIN;
                        trailing = 0;
                        if (++i < n && s[i] != '\n' && s[i] != '\r')
                                r = take(value, s, file, i, true);
                } else if (state == PLAIN || !is_blank(s[i])) {
                        state = PLAIN;
                        trailing = is_blank(s[i]) ? trailing + 1 : 0;
                        r = take(value, s, file, i, false);
                }
        }
        if (state == PLAIN)
                value->n -= MIN(trailing, value->n);
        *pos = i;
        return r;
}

int unittext_assignment(const char *s, size_t n, unsigned file, size_t *pos, UnitText *ret_name, UnitText *ret_value) {
        bool continued = false;

        while (*pos < n) {
                _cleanup_unittext_ UnitText name = UNITTEXT_NULL, value = UNITTEXT_NULL;
                int r;

                if (is_blank(s[*pos])) {
                        (*pos)++;
                        continue;
                }
                if (is_comment(s[*pos])) {
                        *pos = skip_comment(s, n, *pos, &continued);
                        if (continued && *pos < n)
                                return -EBADMSG;
                        continue;
                }
                r = read_name(s, n, file, pos, &name);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                (*pos)++;
                r = read_value(s, n, file, pos, &value);
                if (r < 0)
                        return r;
                unittext_deinit(ret_name);
                unittext_deinit(ret_value);
                *ret_name = name;
                *ret_value = value;
                name = value = (UnitText) UNITTEXT_NULL;
                return 1;
        }
        return 0;
}
