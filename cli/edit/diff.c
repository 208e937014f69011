#include <string.h>
#include "diff.h"

#define CONTEXT 3

typedef struct Token {
        const char *p;
        size_t n;
} Token;

typedef struct Tokens {
        Token *t;
        size_t n;
} Tokens;

/* [a_from, a_to) of the one text stands where [b_from, b_to) of the other does. */
typedef struct Hunk {
        size_t a_from, a_to, b_from, b_to;
} Hunk;

typedef struct Hunks {
        Hunk *h;
        size_t n;
} Hunks;

static void tokens_deinit(Tokens *tokens) {
        free(tokens->t);
}

static void hunks_deinit(Hunks *hunks) {
        free(hunks->h);
}

static bool is_word(char c) {
        return c != ' ' && c != '\t' && c != '\n';
}

static size_t token_length(const char *s, size_t n, bool words) {
        size_t i = 0;

        if (!words) {
                const char *eol = memchr(s, '\n', n);

                return eol ? (size_t) (eol - s) + 1 : n;
        }
        if (!is_word(s[0]))
                return 1;
        while (i < n && is_word(s[i]))
                i++;
        return i;
}

static int tokenize(const Bytes *text, bool words, Tokens *ret) {
        size_t n = 0;

        for (size_t i = 0; i < text->n; n++)
                i += token_length(text->p + i, text->n - i, words);
        ret->t = calloc(n + 1, sizeof(Token));
        if (!ret->t)
                return -ENOMEM;
        for (size_t i = 0; i < text->n;) {
                size_t len = token_length(text->p + i, text->n - i, words);

                ret->t[ret->n++] = (Token){ text->p + i, len };
                i += len;
        }
        return 0;
}

static bool same(const Token *a, const Token *b) {
        return a->n == b->n && memcmp(a->p, b->p, a->n) == 0;
}

static int add_hunk(Hunks *hunks, size_t a_from, size_t a_to, size_t b_from, size_t b_to) {
        Hunk *grown = reallocarray(hunks->h, hunks->n + 1, sizeof(Hunk));

        if (!grown)
                return -ENOMEM;
        hunks->h = grown;
        hunks->h[hunks->n++] = (Hunk){ a_from, a_to, b_from, b_to };
        return 0;
}

/* The furthest x on each diagonal after d edits: row d has 2d + 1 entries and begins at d * d. */
#define ROW(v, d, k) (v)[(size_t) (d) * (size_t) (d) + (size_t) ((k) + (d))]

static size_t furthest(const int *v, int d, int k) {
        if (k == -d || (k != d && ROW(v, d - 1, k - 1) < ROW(v, d - 1, k + 1)))
                return (size_t) ROW(v, d - 1, k + 1);
        return (size_t) ROW(v, d - 1, k - 1) + 1;
}

/* Marks what of @a and @b has no partner, walking back through the rows. */
static void backtrack(const int *v, int d, size_t x, size_t y, bool *a_gone, bool *b_new) {
        for (; d > 0; d--) {
                int k = (int) x - (int) y;
                bool down = k == -d || (k != d && ROW(v, d - 1, k - 1) < ROW(v, d - 1, k + 1));
                int from_k = down ? k + 1 : k - 1, from_x = ROW(v, d - 1, from_k), from_y = from_x - from_k;

                if (down)
                        b_new[from_y] = true;
                else
                        a_gone[from_x] = true;
                x = (size_t) from_x;
                y = (size_t) from_y;
        }
}

static int compare(const Token *a, size_t a_n, const Token *b, size_t b_n, bool *a_gone, bool *b_new) {
        _cleanup_free_ int *v = NULL;
        int max = (int) MIN(a_n + b_n, (size_t) DIFF_EDITS_MAX);

        for (int d = 0; d <= max; d++) {
                int *grown = reallocarray(v, (size_t) (d + 1) * (size_t) (d + 1), sizeof(int));

                if (!grown)
                        return -ENOMEM;
                v = grown;
                for (int k = -d; k <= d; k += 2) {
                        size_t x = d == 0 ? 0 : furthest(v, d, k);
                        long y = (long) x - k;

                        while (y >= 0 && x < a_n && (size_t) y < b_n && same(&a[x], &b[y])) {
                                x++;
                                y++;
                        }
                        ROW(v, d, k) = (int) x;
                        if (x == a_n && y == (long) b_n) {
                                backtrack(v, d, x, (size_t) y, a_gone, b_new);
                                return 0;
                        }
                }
        }
        memset(a_gone, true, a_n);
        memset(b_new, true, b_n);
        return 0;
}

static int find_hunks(const Tokens *a, const Tokens *b, Hunks *ret) {
        _cleanup_free_ bool *a_gone = calloc(a->n + 1, 1), *b_new = calloc(b->n + 1, 1);
        size_t begin = 0, end = 0;
        int r;

        if (!a_gone || !b_new)
                return -ENOMEM;
        while (begin < a->n && begin < b->n && same(&a->t[begin], &b->t[begin]))
                begin++;
        while (end < a->n - begin && end < b->n - begin && same(&a->t[a->n - end - 1], &b->t[b->n - end - 1]))
                end++;
        r = compare(a->t + begin, a->n - begin - end, b->t + begin, b->n - begin - end, a_gone + begin, b_new + begin);
        if (r < 0)
                return r;

        for (size_t i = 0, j = 0; i < a->n || j < b->n;) {
                size_t a_from = i, b_from = j;

                while (i < a->n && a_gone[i])
                        i++;
                while (j < b->n && b_new[j])
                        j++;
                if (i > a_from || j > b_from) {
                        r = add_hunk(ret, a_from, i, b_from, j);
                        if (r < 0)
                                return r;
                }
                if (i < a->n)
                        i++;
                if (j < b->n)
                        j++;
        }
        return 0;
}

static void print_lines(FILE *out, char mark, const Tokens *tokens, size_t from, size_t to) {
        for (size_t i = from; i < to; i++) {
                const Token *t = &tokens->t[i];

                fprintf(out, "%c%.*s", mark, (int) t->n, t->p);
                if (t->n == 0 || t->p[t->n - 1] != '\n')
                        fputs("\n\\ No newline at end of file\n", out);
        }
}

static void print_range(FILE *out, char mark, size_t from, size_t to) {
        fprintf(out, "%c%zu,%zu", mark, from + (to > from), to - from);
}

int diff_print(FILE *out, const char *path, const Bytes *a, const Bytes *b) {
        static const Bytes nothing = BYTES_NULL;
        _cleanup_(tokens_deinit) Tokens ta = {}, tb = {};
        _cleanup_(hunks_deinit) Hunks hunks = {};
        int r;

        if ((r = tokenize(a ? a : &nothing, false, &ta)) < 0 || (r = tokenize(b ? b : &nothing, false, &tb)) < 0 ||
            (r = find_hunks(&ta, &tb, &hunks)) < 0)
                return r;

        fprintf(out, "--- %s\n+++ %s\n", a ? path : "/dev/null", b ? path : "/dev/null");
        for (size_t i = 0; i < hunks.n;) {
                const Hunk *first = &hunks.h[i];
                size_t n = 1, before = MIN(first->a_from, (size_t) CONTEXT), after;

                while (i + n < hunks.n && hunks.h[i + n].a_from - hunks.h[i + n - 1].a_to <= 2 * CONTEXT)
                        n++;
                after = MIN(ta.n - hunks.h[i + n - 1].a_to, (size_t) CONTEXT);

                fputs("@@ ", out);
                print_range(out, '-', first->a_from - before, first[n - 1].a_to + after);
                fputc(' ', out);
                print_range(out, '+', first->b_from - before, first[n - 1].b_to + after);
                fputs(" @@\n", out);
                print_lines(out, ' ', &ta, first->a_from - before, first->a_from);
                for (size_t j = 0; j < n; j++) {
                        print_lines(out, '-', &ta, first[j].a_from, first[j].a_to);
                        print_lines(out, '+', &tb, first[j].b_from, first[j].b_to);
                        print_lines(out, ' ', &ta, first[j].a_to,
                                    j + 1 < n ? first[j + 1].a_from : first[j].a_to + after);
                }
                i += n;
        }
        return 0;
}

static size_t text_length(const Tokens *tokens, size_t from, size_t to) {
        size_t n = 0;

        for (; from < to; from++)
                n += tokens->t[from].n;
        return n;
}

static void append(Bytes *text, const Tokens *tokens, size_t from, size_t to) {
        size_t n = text_length(tokens, from, to);

        if (n > 0)
                memcpy(text->p + text->n, tokens->t[from].p, n);
        text->n += n;
        text->p[text->n] = '\0';
}

static bool same_text(const Tokens *a, size_t a_from, size_t a_to, const Tokens *b, size_t b_from, size_t b_to) {
        if (a_to - a_from != b_to - b_from)
                return false;
        for (; a_from < a_to; a_from++, b_from++)
                if (!same(&a->t[a_from], &b->t[b_from]))
                        return false;
        return true;
}

static int undo(const Bytes *before, const Bytes *after, const Bytes *mine, bool words, Bytes *ret) {
        _cleanup_(tokens_deinit) Tokens old = {}, base = {}, now = {};
        _cleanup_(hunks_deinit) Hunks ours = {}, theirs = {};
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        size_t pos = 0;
        int r, conflicts = 0;

        if ((r = tokenize(before, words, &old)) < 0 || (r = tokenize(after, words, &base)) < 0 ||
            (r = tokenize(mine, words, &now)) < 0 || (r = find_hunks(&base, &old, &ours)) < 0 ||
            (r = find_hunks(&base, &now, &theirs)) < 0)
                return r;
        text.p = malloc(before->n + after->n + mine->n + 1);
        if (!text.p)
                return -ENOMEM;

        for (size_t i = 0, j = 0; i < ours.n || j < theirs.n;) {
                const Hunk *o = i < ours.n ? &ours.h[i] : NULL, *t = j < theirs.n ? &theirs.h[j] : NULL, *next;
                bool is_ours = o && (!t || o->a_from < t->a_from || (o->a_from == t->a_from && o->a_to <= t->a_to));

                /* Both changed the same words: theirs stays, be it because they took ours out themselves. */
                bool agree = o && t && o->a_from == t->a_from && o->a_to == t->a_to &&
                             same_text(&old, o->b_from, o->b_to, &now, t->b_from, t->b_to);

                if (agree || (o && t && o->a_from < t->a_to && t->a_from < o->a_to)) {
                        conflicts += agree ? 0 : 1;
                        i++;
                        continue;
                }
                next = is_ours ? o : t;
                append(&text, &base, pos, next->a_from);
                append(&text, is_ours ? &old : &now, next->b_from, next->b_to);
                pos = next->a_to;
                if (is_ours)
                        i++;
                else
                        j++;
        }
        append(&text, &base, pos, base.n);
        bytes_move(ret, &text);
        return conflicts;
}

int diff_undo(const Bytes *before, const Bytes *after, const Bytes *mine, Bytes *ret) {
        int r;

        r = undo(before, after, mine, false, ret);
        if (r <= 0)
                return r;
        /* Flags share a line. */
        return undo(before, after, mine, true, ret);
}
