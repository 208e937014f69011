#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "yamledit.h"

#define KEY "containerRuntimeEndpoint"

static const struct {
        const char *text;
        const char *key;
        const char *value; /* NULL: an error */
        int error;
} finds[] = {
        { KEY ": unix:///a\n", KEY, "unix:///a", 0 },
        { KEY ":   \"unix:///a\"   # why\n", KEY, "unix:///a", 0 },
        { KEY ": 'it''s'\n", KEY, "it's", 0 },
        { "\"" KEY "\": x", KEY, "x", 0 },
        { KEY " : x\r\nb: 1\r\n", KEY, "x", 0 },
        { "# " KEY ": x\na: |\n  " KEY ": y\n", KEY, NULL, -ENOENT },
        { "a:\n  " KEY ": y\n", KEY, NULL, -ENOENT },
        { KEY "s: y\n", KEY, NULL, -ENOENT },
        { KEY ":y\n", KEY, NULL, -EBADMSG },
        { KEY ": x\n" KEY ": y\n", KEY, NULL, -EBADMSG },
        { KEY ": &a x\n", KEY, NULL, -EOPNOTSUPP },
        { KEY ": >\n  x\n", KEY, "x\n", 0 },
        { KEY ":\n", KEY, NULL, -ENOENT },
        { KEY ": ~\n", KEY, NULL, -ENOENT },
        { KEY ": \"x\n", KEY, NULL, -EBADMSG },
        { KEY ": *a\n", KEY, NULL, -EOPNOTSUPP },
        { KEY ": !!str x\n", KEY, NULL, -EOPNOTSUPP },
        { "a: &a {b: c}\n<<: *a\n", KEY, NULL, -EOPNOTSUPP },
        { "\xef\xbb\xbf" KEY ": x\n", KEY, "x", 0 },
        { "\xff\xfe"
          "b",
          KEY, NULL, -EBADMSG },
        { "# \xc3\xa4\xf0\x9f\x98\x80\n" KEY ": x\n", KEY, "x", 0 },
        { "%YAML 1.1\n---\n" KEY ": x\n", KEY, "x", 0 },
        { "  a: 1\n  " KEY ": x\n", KEY, "x", 0 },
        { KEY ": a\n  b\n", KEY, "a b", 0 },
        { "\"container\\u0052untimeEndpoint\": x\n", KEY, "x", 0 },
        { "? " KEY "\n: x\n", KEY, "x", 0 },
        { KEY ": x#y # z\n", KEY, "x#y", 0 },
        { "tracing:\n  endpoint: e:1\n  rate: 5\nb: 1\n", "tracing.rate", "5", 0 },
        { "tracing: # on\n\n  # so\n    rate: 5\n", "tracing.rate", "5", 0 },
        { "tracing: {endpoint: \"a:1\", rate: 5}\n", "tracing.rate", "5", 0 },
        { "tracing: {}\n", "tracing.rate", NULL, -ENOENT },
        { "tracing:\nb:\n  rate: 4\n", "tracing.rate", NULL, -ENOENT },
        { "tracing:\n  deep:\n    rate: 4\n", "tracing.rate", NULL, -ENOENT },
        { "kind: A\n" KEY ": x\n---\nkind: KubeletConfiguration\n" KEY ": y\n---\n" KEY ": z\n", KEY, "y", 0 },
        { "---\n" KEY ": x\n...\n", KEY, "x", 0 },
        { "{\"a\":{\"" KEY "\":1},\n \"" KEY "\" : \"x\" }", KEY, "x", 0 },
        { "{\"tracing\":{\"rate\":7}}", "tracing.rate", "7", 0 },
        { "{\"a\":[1,{\"b\":\"}\"}],\"" KEY "\":\"x\"}", KEY, "x", 0 },
        { "{\"" KEY "\":\"x\"", KEY, NULL, -EBADMSG },
        { "{\"a\":1", KEY, NULL, -EBADMSG },
        { "{\"a\" 1}", KEY, NULL, -EBADMSG },
        { "{}", KEY, NULL, -ENOENT },
        { "", KEY, NULL, -ENOENT },
};

static void test_find(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(finds); i++) {
                YamlScalar at = {};
                YamlProblem problem;
                int r = yamledit_find(finds[i].text, strlen(finds[i].text), finds[i].key, &at, &problem);

                if (finds[i].value) {
                        assert_int_equal(r, 0);
                        assert_string_equal(at.value, finds[i].value);
                        assert_true(at.from < at.to && at.to <= strlen(finds[i].text));
                } else
                        assert_int_equal(r, finds[i].error);
                free(at.value);
        }
}

static const struct {
        const char *before;
        const char *after;
} sets[] = {
        { "a: 1\n" KEY ": unix:///old # c\nb: 2", "a: 1\n" KEY ": NEW # c\nb: 2" },
        { KEY ": \"old\"\r\n", KEY ": \"NEW\"\r\n" },
        { KEY ": 'old'\n", KEY ": 'NEW'\n" },
        { "a: 1", "a: 1\n" KEY ": NEW\n" },
        { "", KEY ": NEW\n" },
        { "kind: KubeletConfiguration\n---\nb: 1\n", "kind: KubeletConfiguration\n" KEY ": NEW\n---\nb: 1\n" },
        { "{\"a\":1}", "{\"" KEY "\": \"NEW\",\"a\":1}" },
        { "{\n  \"a\": 1\n}\n", "{\n  \"" KEY "\": \"NEW\",\n  \"a\": 1\n}\n" },
        { "{}", "{\"" KEY "\": \"NEW\"}" },
        { "{\"" KEY "\":\"old\"}", "{\"" KEY "\":\"NEW\"}" },
        { KEY ":\nb: 1\n", KEY ": NEW\nb: 1\n" },
        { KEY ": # none\nb: 1\n", KEY ": NEW # none\nb: 1\n" },
        { "\xef\xbb\xbf"
          "a: \xc3\xa4\n" KEY ": old\n",
          "\xef\xbb\xbf"
          "a: \xc3\xa4\n" KEY ": NEW\n" },
        { "\xef\xbb\xbf"
          "a: 1\n",
          "\xef\xbb\xbf"
          "a: 1\n" KEY ": NEW\n" },
        { "  a: 1\n  b: 2\n", "  a: 1\n  b: 2\n  " KEY ": NEW\n" },
        { "a: 1\r\nb: 2\r\n", "a: 1\r\nb: 2\r\n" KEY ": NEW\r\n" },
        { "%YAML 1.1\n---\na: 1\n...\n", "%YAML 1.1\n---\na: 1\n" KEY ": NEW\n...\n" },
        { "%YAML 1.1\n---\n", "%YAML 1.1\n---\n" KEY ": NEW\n" },
        { "a: |\n  text", KEY ": NEW\na: |\n  text" },
        { "a: |+\n  text\n\n", "a: |+\n  text\n\n" KEY ": NEW\n" },
        { "a: b\n  c\n", "a: b\n  c\n" KEY ": NEW\n" },
        { "'" KEY "': 'old'\n", "'" KEY "': 'NEW'\n" },
        { "{\n\t\"a\": 1\n}\n", "{\n\t\"" KEY "\": \"NEW\",\n\t\"a\": 1\n}\n" },
        { "# nothing\n", "# nothing\n" KEY ": NEW\n" },
};

static void test_set(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
                _cleanup_bytes_ Bytes text = BYTES_NULL, again = BYTES_NULL;
                YamlProblem problem;

                assert_int_equal(yamledit_set(sets[i].before, strlen(sets[i].before), KEY, "NEW", &text, &problem), 0);
                assert_string_equal(text.p, sets[i].after);
                assert_int_equal(yamledit_set(text.p, text.n, KEY, "NEW", &again, &problem), 0);
                assert_true(bytes_equal(&text, &again));
        }
}

static const struct {
        const char *text;
        int error;
        unsigned line;
} refused[] = {
        { KEY ": |\n", -EOPNOTSUPP, 1 },
        { "a: 1\n" KEY ": >-\n  x\n", -EOPNOTSUPP, 2 },
        { "a: 1\n" KEY ": x\n  y\n", -EOPNOTSUPP, 2 },
        { "a: &b c\n" KEY ": *b\n", -EOPNOTSUPP, 2 },
        { KEY ": &b c\n", -EOPNOTSUPP, 1 },
        { KEY ": [x]\n", -EOPNOTSUPP, 1 },
        { "a: 1\n" KEY ": x\n" KEY ": y\n", -EBADMSG, 3 },
        { "- a\n", -EBADMSG, 1 },
        { "a: 1\n---\nkind: A\nkind: KubeletConfiguration\n", -EBADMSG, 4 },
        { "a: 1\n\tb: 2\n", -EBADMSG, 2 },
        { "a: [1\n", -EBADMSG, 2 },
        { "&a\nb: 1\n", -EOPNOTSUPP, 1 },
        { "x: &m {" KEY ": y}\n<<: *m\n", -EOPNOTSUPP, 2 },
};

static void test_set_refuses(void **state) {
        static const char *const values[] = { "a b", "a\"", "a\n", "a\\", "a#" };
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        YamlProblem problem;

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(values); i++)
                assert_int_equal(yamledit_set("a: 1\n", 5, KEY, values[i], &text, &problem), -EINVAL);
        for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
                int r = yamledit_set(refused[i].text, strlen(refused[i].text), KEY, "unix:///x", &text, &problem);

                if (r != refused[i].error || problem.line != refused[i].line)
                        fail_msg("%s: %d in line %u", refused[i].text, r, problem.line);
                assert_non_null(problem.what);
        }
        assert_int_equal(yamledit_set("a\0b", 3, KEY, "x", &text, &problem), -EBADMSG);
        assert_null(text.p);
}

/* Every beginning of every text, in a buffer of just its size: nothing is read beyond it. */
static void test_truncated(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(finds); i++)
                for (size_t n = 1; n <= strlen(finds[i].text); n++) {
                        _cleanup_bytes_ Bytes text = BYTES_NULL;
                        _cleanup_free_ char *exact = malloc(n);
                        YamlScalar at = {};
                        YamlProblem problem;

                        assert_non_null(exact);
                        memcpy(exact, finds[i].text, n);
                        if (yamledit_find(exact, n, finds[i].key, &at, &problem) >= 0)
                                free(at.value);
                        (void) yamledit_set(exact, n, KEY, "NEW", &text, &problem);
                }
}

/* What is nested deeply is refused early: libyaml takes seconds to read it all. */
static void test_deep(void **state) {
        static const struct {
                const char *piece;
                size_t times;
                int error;
                bool deep;
        } cases[] = {
                { "[", 65536, -E2BIG, true },  { "{a: ", 65536, -E2BIG, true },   { "- ", 65536, -E2BIG, true },
                { "[", 100, -EBADMSG, false }, { "- 1\n", 65536, -E2BIG, false },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t piece_n = strlen(cases[i].piece), n = piece_n * cases[i].times;
                _cleanup_bytes_ Bytes out = BYTES_NULL;
                _cleanup_free_ char *text = malloc(n);
                YamlProblem problem = {};

                assert_non_null(text);
                for (size_t at = 0; at < n; at += piece_n)
                        memcpy(text + at, cases[i].piece, piece_n);
                assert_int_equal(yamledit_set(text, n, KEY, "x", &out, &problem), cases[i].error);
                assert_int_equal(strstr(problem.what, "deep") != NULL, cases[i].deep);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_find),      cmocka_unit_test(test_set),  cmocka_unit_test(test_set_refuses),
                cmocka_unit_test(test_truncated), cmocka_unit_test(test_deep),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
