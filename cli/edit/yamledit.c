#include <stdio.h>
#include <string.h>
#include "yamledit.h"

/* Where a key is, or where it would be. */
typedef struct Found {
        size_t root;  /* event of the document's first node; doc->n: there is no document */
        size_t value; /* event of the value; 0: the key is absent */
} Found;

static int refuse(YamlProblem *reterr, int r, const YamlDocEvent *at, const char *what) {
        *reterr = (YamlProblem){ at ? at->line : 1, what };
        return r;
}

static bool is_null(const YamlDocEvent *event) {
        static const char *const words[] = { "", "~", "null", "Null", "NULL" };

        if (event->type != YAMLDOC_SCALAR || event->style != YAMLDOC_PLAIN || event->tag || event->anchor)
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
                if (strcmp(event->value, words[i]) == 0)
                        return true;
        return false;
}

static bool is_key(const YamlDocEvent *event, const char *key, size_t n) {
        return event->type == YAMLDOC_SCALAR && event->value_n == n && memcmp(event->value, key, n) == 0;
}

/* Finds @key in the map that begins at @map. Returns 0 with the event of its value, 0 for absent, or a negative errno.
 */
static int map_find(const YamlDoc *doc, size_t map, const char *key, size_t key_n, size_t *ret, YamlProblem *reterr) {
        const YamlDocEvent *merge = NULL;
        size_t found = 0;

        for (size_t at = map + 1; at < doc->n && doc->events[at].type != YAMLDOC_MAP_END;) {
                const YamlDocEvent *name = &doc->events[at];
                size_t value = yamldoc_skip(doc, at);

                if (name->type == YAMLDOC_SCALAR && name->style == YAMLDOC_PLAIN && strcmp(name->value, "<<") == 0)
                        merge = name;
                if (is_key(name, key, key_n)) {
                        if (found > 0)
                                return refuse(reterr, -EBADMSG, name, "this key is there twice");
                        found = value;
                }
                at = yamldoc_skip(doc, value);
        }
        if (found == 0 && merge)
                return refuse(reterr, -EOPNOTSUPP, merge, "a merge (<<) may bring this key");
        *ret = found;
        return 0;
}

/* Is the document whose first node is @root a KubeletConfiguration? Returns 0, 1 or a negative errno. */
static int is_kubelets(const YamlDoc *doc, size_t root, YamlProblem *reterr) {
        size_t kind = 0;
        int r;

        if (doc->events[root].type != YAMLDOC_MAP)
                return 0;
        r = map_find(doc, root, "kind", strlen("kind"), &kind, reterr);
        /* A kind that a merge would bring is none that kubelet's own tools write. */
        if (r < 0)
                return r == -EOPNOTSUPP ? 0 : r;
        return kind > 0 && is_key(&doc->events[kind], "KubeletConfiguration", strlen("KubeletConfiguration"));
}

/* The first node of the document that counts; doc->n if there is none. */
static int choose_document(const YamlDoc *doc, size_t *ret, YamlProblem *reterr) {
        size_t first = doc->n, empty = doc->n;

        for (size_t at = 0; at < doc->n; at++) {
                size_t root = at + 1;
                int r;

                if (doc->events[at].type != YAMLDOC_BEGIN)
                        continue;
                r = is_kubelets(doc, root, reterr);
                if (r < 0)
                        return r;
                if (r > 0) {
                        *ret = root;
                        return 0;
                }
                if (is_null(&doc->events[root]))
                        empty = MIN(empty, root);
                else
                        first = MIN(first, root);
        }
        *ret = first < doc->n ? first : empty;
        return 0;
}

static int find(const YamlDoc *doc, const char *key, Found *ret, YamlProblem *reterr) {
        Found found = {};
        size_t map;
        int r;

        r = choose_document(doc, &found.root, reterr);
        if (r < 0)
                return r;
        map = found.root;
        if (map == doc->n || is_null(&doc->events[map])) {
                *ret = found;
                return 0;
        }
        for (const char *dot;; key = dot + 1) {
                size_t value = 0;

                dot = strchrnul(key, '.');
                if (doc->events[map].type != YAMLDOC_MAP)
                        return refuse(reterr, doc->events[map].type == YAMLDOC_ALIAS ? -EOPNOTSUPP : -EBADMSG,
                                      &doc->events[map], "there is no map here");
                r = map_find(doc, map, key, (size_t) (dot - key), &value, reterr);
                if (r < 0)
                        return r;
                if (value == 0 || !*dot || is_null(&doc->events[value])) {
                        found.value = *dot ? 0 : value;
                        *ret = found;
                        return 0;
                }
                map = value;
        }
}

static int check_scalar(const YamlDocEvent *value, YamlProblem *reterr) {
        if (value->type == YAMLDOC_ALIAS)
                return refuse(reterr, -EOPNOTSUPP, value, "the value is an alias");
        if (value->type != YAMLDOC_SCALAR)
                return refuse(reterr, -EOPNOTSUPP, value, "the value is no scalar");
        if (value->anchor || value->tag)
                return refuse(reterr, -EOPNOTSUPP, value, "the value has an anchor or a tag");
        if (memchr(value->value, '\0', value->value_n))
                return refuse(reterr, -EOPNOTSUPP, value, "the value has a NUL in it");
        return 0;
}

int yamledit_find(const char *s, size_t n, const char *key, YamlScalar *ret, YamlProblem *reterr) {
        _cleanup_(yamldoc_deinit) YamlDoc doc = YAMLDOC_NULL;
        YamlDocEvent *value;
        Found found;
        int r;

        r = yamldoc_parse(s, n, &doc, reterr);
        if (r >= 0)
                r = find(&doc, key, &found, reterr);
        if (r < 0)
                return r;
        if (found.value == 0 || is_null(&doc.events[found.value]))
                return -ENOENT;
        value = &doc.events[found.value];
        r = check_scalar(value, reterr);
        if (r < 0)
                return r;
        *ret = (YamlScalar){ value->from, value->to, value->line, TAKE_PTR(value->value) };
        return 0;
}

/* Would a plain @value be read as a string, everywhere? In doubt it gets quotes. */
static bool is_plain_string(const char *value) {
        static const char *const others[] = {
                "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"
        };

        if (strncmp(value, "unix://", 7) == 0)
                return !strpbrk(value, ",[]{}#");
        if (!(*value >= 'a' && *value <= 'z') && !(*value >= 'A' && *value <= 'Z') && *value != '/')
                return false;
        for (size_t i = 0; i < ARRAY_SIZE(others); i++)
                if (strcasecmp(value, others[i]) == 0)
                        return false;
        return strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == strlen(value);
}

static int quoted(const char *value, YamlDocStyle style, bool quotes, char **ret) {
        const char *quote = style == YAMLDOC_SINGLE                            ? "'"
                            : style == YAMLDOC_DOUBLE || quotes                ? "\""
                            : style == YAMLDOC_PLAIN && is_plain_string(value) ? ""
                                                                               : "\"";

        if (asprintf(ret, "%s%s%s", quote, value, quote) < 0) {
                *ret = NULL;
                return -ENOMEM;
        }
        return 0;
}

/* What an edit must have changed: events [at, at + removed) of the text before became [at, at + added) of the one
 * after. */
typedef struct Change {
        size_t at;
        size_t removed;
        size_t added;
} Change;

static bool is_string(const YamlDocEvent *event, const char *value) {
        return event->type == YAMLDOC_SCALAR && strcmp(event->value, value) == 0 && !event->tag && !event->anchor &&
               (event->style != YAMLDOC_PLAIN || is_plain_string(value));
}

/* Parses @text and holds it against what was: nothing else may mean something else now. */
static int verify(const YamlDoc *before, const Bytes *text, const char *key, const char *value, const Change *change) {
        _cleanup_(yamldoc_deinit) YamlDoc after = YAMLDOC_NULL;
        YamlProblem ignored;
        size_t tail, n = before->n;
        Found found;
        int r;

        r = yamldoc_parse(text->p, text->n, &after, &ignored);
        if (r >= 0)
                r = find(&after, key, &found, &ignored);
        if (r == -ENOMEM)
                return r;
        if (r < 0 || after.n != n - change->removed + change->added || found.value == 0 ||
            !is_string(&after.events[found.value], value))
                return -EOPNOTSUPP;
        if (found.value < change->at || found.value >= change->at + change->added)
                return -EOPNOTSUPP;
        for (size_t i = 0; i < change->at; i++)
                if (!yamldoc_same(&before->events[i], &after.events[i]))
                        return -EOPNOTSUPP;
        tail = change->at + change->removed;
        for (size_t i = tail; i < n; i++)
                if (!yamldoc_same(&before->events[i], &after.events[i - change->removed + change->added]))
                        return -EOPNOTSUPP;
        return 0;
}

/* Text to put in the place of [from, to), and what it must do to the events. */
typedef struct Edit {
        size_t from;
        size_t to;
        const char *text;
        Change change;
} Edit;

static int apply(const char *s, size_t n, const YamlDoc *doc, const char *key, const char *value, const Edit *edit,
                 Bytes *ret) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        int r;

        r = bytes_splice(s, n, edit->from, edit->to, edit->text, strlen(edit->text), &text);
        if (r >= 0)
                r = verify(doc, &text, key, value, &edit->change);
        if (r >= 0)
                bytes_move(ret, &text);
        return r;
}

static int replace(const char *s, size_t n, const YamlDoc *doc, size_t at, const char *key, const char *value,
                   Bytes *ret, YamlProblem *reterr) {
        const YamlDocEvent *event = &doc->events[at];
        _cleanup_free_ char *raw = NULL, *text = NULL;
        int r;

        r = check_scalar(event, reterr);
        if (r < 0)
                return r;
        if (event->style == YAMLDOC_BLOCK || event->line != event->last_line)
                return refuse(reterr, -EOPNOTSUPP, event, "the value is longer than one line");
        r = quoted(value, event->style, false, &raw);
        if (r < 0)
                return r;
        /* A null that is nothing at all follows the colon. */
        if (asprintf(&text, "%s%s", event->from == event->to ? " " : "", raw) < 0) {
                text = NULL;
                return -ENOMEM;
        }
        r = apply(s, n, doc, key, value, &(Edit){ event->from, event->to, text, { at, 1, 1 } }, ret);
        return r == -EOPNOTSUPP ? refuse(reterr, r, event, "setting it would change something else") : r;
}

static const char *line_break(const char *s, size_t n) {
        const char *eol = memchr(s, '\n', n);

        return eol && eol > s && eol[-1] == '\r' ? "\r\n" : "\n";
}

/* Behind "{": the layout between it and the next thing stands before the new pair, too. */
static int insert_flow(const char *s, size_t n, const YamlDoc *doc, size_t root, const char *key, const char *value,
                       Bytes *ret) {
        size_t from = doc->events[root].to, next = from;
        bool empty = doc->events[root + 1].type == YAMLDOC_MAP_END;
        _cleanup_free_ char *text = NULL;

        while (next < n && strchr(" \t\r\n", s[next]))
                next++;
        if (asprintf(&text, "%.*s\"%s\": \"%s\"%s", (int) (next - from), s + from, key, value, empty ? "" : ",") < 0) {
                text = NULL;
                return -ENOMEM;
        }
        return apply(s, n, doc, key, value, &(Edit){ from, from, text, { root + 1, 0, 2 } }, ret);
}

/* As the last line of the block map at @root, or else as its first. */
static int insert_block(const char *s, size_t n, const YamlDoc *doc, size_t root, const char *key, const char *value,
                        Bytes *ret) {
        size_t end = yamldoc_skip(doc, root), column = doc->events[root].column, at = doc->events[end].from;
        _cleanup_free_ char *raw = NULL, *last = NULL, *first = NULL;
        const char *eol = line_break(s, n);
        int r;

        r = quoted(value, YAMLDOC_PLAIN, false, &raw);
        if (r < 0)
                return r;
        if (asprintf(&last, "%s%*s%s: %s%s", at > 0 && s[at - 1] != '\n' ? eol : "", (int) column, "", key, raw, eol) <
            0) {
                last = NULL;
                return -ENOMEM;
        }
        r = apply(s, n, doc, key, value, &(Edit){ at, at, last, { end - 1, 0, 2 } }, ret);
        if (r != -EOPNOTSUPP)
                return r;
        if (asprintf(&first, "%s: %s%s%*s", key, raw, eol, (int) column, "") < 0) {
                first = NULL;
                return -ENOMEM;
        }
        at = doc->events[root].from;
        return apply(s, n, doc, key, value, &(Edit){ at, at, first, { root + 1, 0, 2 } }, ret);
}

/* Into a document without content, or a stream without a document. */
static int insert_empty(const char *s, size_t n, const YamlDoc *doc, size_t root, const char *key, const char *value,
                        Bytes *ret) {
        bool none = root == doc->n;
        size_t at = none ? n : doc->events[root + 1].from;
        _cleanup_free_ char *raw = NULL, *text = NULL;
        const char *eol = line_break(s, n);
        int r;

        r = quoted(value, YAMLDOC_PLAIN, false, &raw);
        if (r < 0)
                return r;
        if (!none && doc->events[root].from < doc->events[root].to)
                return -EOPNOTSUPP;
        if (asprintf(&text, "%s%s: %s%s", at > 0 && s[at - 1] != '\n' ? eol : "", key, raw, eol) < 0) {
                text = NULL;
                return -ENOMEM;
        }
        return apply(s, n, doc, key, value,
                     &(Edit){ at, at, text, none ? (Change){ root, 0, 6 } : (Change){ root, 1, 4 } }, ret);
}

static int insert(const char *s, size_t n, const YamlDoc *doc, size_t root, const char *key, const char *value,
                  Bytes *ret, YamlProblem *reterr) {
        const YamlDocEvent *event = root < doc->n ? &doc->events[root] : NULL;
        int r;

        if (event && (event->anchor || event->tag))
                return refuse(reterr, -EOPNOTSUPP, event, "the document's map has an anchor or a tag");
        if (!event || is_null(event))
                r = insert_empty(s, n, doc, root, key, value, ret);
        else if (event->flow)
                r = insert_flow(s, n, doc, root, key, value, ret);
        else
                r = insert_block(s, n, doc, root, key, value, ret);
        return r == -EOPNOTSUPP ? refuse(reterr, r, event, "no place was found where the key changes nothing else") : r;
}

int yamledit_set(const char *s, size_t n, const char *key, const char *value, Bytes *ret, YamlProblem *reterr) {
        _cleanup_(yamldoc_deinit) YamlDoc doc = YAMLDOC_NULL;
        Found found;
        int r;

        for (const char *c = value; *c; c++)
                if ((unsigned char) *c <= ' ' || *c == 0x7f || strchr("\"'\\#", *c))
                        return refuse(reterr, -EINVAL, NULL, "a value with blanks, quotes or control characters");

        r = yamldoc_parse(s, n, &doc, reterr);
        if (r >= 0)
                r = find(&doc, key, &found, reterr);
        if (r < 0)
                return r;
        if (found.value > 0)
                return replace(s, n, &doc, found.value, key, value, ret, reterr);
        return insert(s, n, &doc, found.root, key, value, ret, reterr);
}
