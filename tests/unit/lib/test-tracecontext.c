#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tracecontext.h"
#include "util.h"

#define TRACE  "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"
#define VALID  "00-" TRACE "-" PARENT "-01"

/* Parses from a buffer of exactly @len bytes, so that ASan sees the first byte too many. */
static int parse_exact(const char *s, size_t len, TraceContext *ret) {
        _cleanup_free_ char *exact = malloc(len > 0 ? len : 1);

        assert_non_null(exact);
        memcpy(exact, s, len);
        return tracecontext_parse(exact, len, ret);
}

static const struct {
        const char *what;
        const char *in;
        int r;
        uint8_t flags;
} traceparents[] = {
        { "sampled", VALID, 0, 1 },
        { "not sampled", "00-" TRACE "-" PARENT "-00", 0, 0 },
        { "random", "00-" TRACE "-" PARENT "-02", 0, 2 },
        { "sampled and random", "00-" TRACE "-" PARENT "-03", 0, 3 },
        { "undefined flags are dropped", "00-" TRACE "-" PARENT "-ff", 0, 3 },
        { "undefined flags alone", "00-" TRACE "-" PARENT "-fc", 0, 0 },
        { "later version, same length", "cc-" TRACE "-" PARENT "-01", 0, 1 },
        { "later version, appended", "cc-" TRACE "-" PARENT "-01-what-the-future-will-be-like", 0, 1 },
        { "later version, only a dash", "01-" TRACE "-" PARENT "-01-", 0, 1 },
        { "later version, no dash", "01-" TRACE "-" PARENT "-01.what", -EBADMSG, 0 },
        { "version 00, appended", VALID "-x", -EBADMSG, 0 },
        { "version 00, a dash", VALID "-", -EBADMSG, 0 },
        { "version ff", "ff-" TRACE "-" PARENT "-01", -EBADMSG, 0 },
        { "version not hex", ".0-" TRACE "-" PARENT "-01", -EBADMSG, 0 },
        { "version of one digit", "0-" TRACE "-" PARENT "-011", -EBADMSG, 0 },
        { "upper case version", "0C-" TRACE "-" PARENT "-01", -EBADMSG, 0 },
        { "upper case trace id", "00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01", -EBADMSG, 0 },
        { "upper case span id", "00-" TRACE "-B7AD6B7169203331-01", -EBADMSG, 0 },
        { "upper case flags", "00-" TRACE "-" PARENT "-0A", -EBADMSG, 0 },
        { "flags not hex", "00-" TRACE "-" PARENT "-.0", -EBADMSG, 0 },
        { "trace id of zeros", "00-00000000000000000000000000000000-" PARENT "-01", -EBADMSG, 0 },
        { "span id of zeros", "00-" TRACE "-0000000000000000-01", -EBADMSG, 0 },
        { "dash missing", "00-" TRACE "_" PARENT "-01", -EBADMSG, 0 },
        { "first dash missing", "00_" TRACE "-" PARENT "-01", -EBADMSG, 0 },
        { "last dash missing", "00-" TRACE "-" PARENT "_01", -EBADMSG, 0 },
        { "blank before", " " VALID, -EBADMSG, 0 },
        { "blank after", VALID " ", -EBADMSG, 0 },
        { "two of them", VALID "," VALID, -EBADMSG, 0 },
};

static void parses_or_refuses(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(traceparents); i++) {
                TraceContext out, before;
                int r;

                memset(&out, 0xa5, sizeof(out));
                before = out;

                r = parse_exact(traceparents[i].in, strlen(traceparents[i].in), &out);
                if (r != traceparents[i].r)
                        fail_msg("%s: got %d, expected %d", traceparents[i].what, r, traceparents[i].r);
                if (r < 0)
                        assert_memory_equal(&out, &before, sizeof(out));
                else
                        assert_int_equal(out.flags, traceparents[i].flags);
        }
}

static void values_come_back(void **state) {
        char text[TRACECONTEXT_TRACEPARENT_LEN + 1];
        TraceContext out;

        (void) state;

        assert_int_equal(parse_exact(VALID, strlen(VALID), &out), 0);
        assert_int_equal(out.trace_id[0], 0x0a);
        assert_int_equal(out.trace_id[15], 0x9c);
        assert_int_equal(out.span_id[0], 0xb7);
        assert_int_equal(out.span_id[7], 0x31);

        tracecontext_format(&out, text);
        assert_string_equal(text, VALID);
}

static void truncated_anywhere(void **state) {
        TraceContext out;

        (void) state;

        for (size_t len = 0; len < strlen(VALID); len++)
                assert_int_equal(parse_exact(VALID, len, &out), -EBADMSG);
}

static void longest(void **state) {
        char s[TRACECONTEXT_TRACEPARENT_MAX + 1];
        TraceContext out;

        (void) state;

        memset(s, 'x', sizeof(s));
        memcpy(s, "01-" TRACE "-" PARENT "-01-", strlen(VALID) + 1);
        assert_int_equal(parse_exact(s, TRACECONTEXT_TRACEPARENT_MAX, &out), 0);
        assert_int_equal(parse_exact(s, TRACECONTEXT_TRACEPARENT_MAX + 1, &out), -EBADMSG);
}

static void roots_and_children(void **state) {
        TraceContext root, other, child;

        (void) state;

        assert_int_equal(tracecontext_new_root(&root), 0);
        assert_int_equal(tracecontext_new_root(&other), 0);
        assert_true(tracecontext_valid(&root));
        assert_int_equal(root.flags, 0);
        assert_memory_not_equal(root.trace_id, other.trace_id, sizeof(root.trace_id));

        /* What a caller said is kept. */
        root.flags = TRACECONTEXT_SAMPLED | TRACECONTEXT_RANDOM;
        assert_int_equal(tracecontext_new_child(&root, &child), 0);
        assert_true(tracecontext_valid(&child));
        assert_int_equal(child.flags, TRACECONTEXT_RANDOM | TRACECONTEXT_SAMPLED);
        assert_memory_equal(child.trace_id, root.trace_id, sizeof(root.trace_id));
        assert_memory_not_equal(child.span_id, root.span_id, sizeof(root.span_id));
}

/* Expected: printf podspan1abc | sha256sum */
static void derived(void **state) {
        static const uint8_t zero[TRACECONTEXT_SPAN_ID_SIZE];
        char hex[2 * TRACECONTEXT_TRACE_ID_SIZE + 1];
        TraceContext out;

        (void) state;

        tracecontext_derive("abc", 3, &out);
        util_hex_encode(out.trace_id, sizeof(out.trace_id), hex);
        assert_string_equal(hex, "a5ac6370d0efe6a56cab7a727e2f5887");
        assert_memory_equal(out.span_id, zero, sizeof(zero));
        assert_int_equal(out.flags, 0);
        assert_false(tracecontext_valid(&out));
        assert_false(tracecontext_has_span(&out));
        out.span_id[TRACECONTEXT_SPAN_ID_SIZE - 1] = 1;
        assert_true(tracecontext_has_span(&out));
}

#define A64  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A256 A64 A64 A64 A64

static const struct {
        const char *what;
        const char *in;
        const char *out; /* NULL: malformed */
} tracestates[] = {
        { "nothing", "", "" },
        { "blanks", " \t ", "" },
        { "one", "foo=1", "foo=1" },
        { "two", "foo=1,bar=2", "foo=1,bar=2" },
        { "blanks around members", "foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3" },
        { "blanks at both ends", " \tfoo=1\t ", "foo=1" },
        { "empty members", "foo=1,,, ,bar=2,", "foo=1,bar=2" },
        { "two headers combined",
          "foo=1"
          ","
          "bar=2,baz=3",
          "foo=1,bar=2,baz=3" },
        { "all key characters", "foo-_*/bar@x=1", "foo-_*/bar@x=1" },
        { "key begins with a digit", "0foo=1", "0foo=1" },
        { "key is a digit", "0=1", "0=1" },
        { "two at signs", "a@b@c=1", "a@b@c=1" },
        { "value of punctuation", "foo=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~", "foo=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~" },
        { "blank within a value", "foo=a b", "foo=a b" },
        { "blank before a value", "foo= a", "foo= a" },
        { "longest key", A256 "=1", A256 "=1" },
        { "key too long", A256 "a=1", NULL },
        { "longest value", "foo=" A256, "foo=" A256 },
        { "value too long", "foo=" A256 "a", NULL },
        { "no value", "foo=", NULL },
        { "blanks as value", "foo=  ", NULL },
        { "no equals sign", "foo", NULL },
        { "no key", "=1", NULL },
        { "blank after key", "foo =1", NULL },
        { "blank within key", "fo o=1", NULL },
        { "upper case key", "FOO=1", NULL },
        { "point in key", "foo.bar=1", NULL },
        { "key begins with a dash", "-foo=1", NULL },
        { "key begins with an at sign", "@foo=1", NULL },
        { "two equals signs", "foo=1=2", NULL },
        { "control in value", "foo=a\x01", NULL },
        { "tab within a value", "foo=a\tb", NULL },
        { "high byte in value", "foo=\xc3\xa4", NULL },
        { "delete in value", "foo=\x7f", NULL },
        { "key repeated", "foo=1,foo=2,foo=1", "foo=1" },
        { "key repeated across headers",
          "foo=1,bar=1"
          ","
          "foo=2",
          "foo=1,bar=1" },
        { "one member malformed", "foo=1,bar", NULL },
};

static int tracestate_exact(const char *s, size_t len, char *ret, size_t size) {
        _cleanup_free_ char *exact = malloc(len > 0 ? len : 1);

        assert_non_null(exact);
        memcpy(exact, s, len);
        return tracecontext_tracestate(exact, len, ret, size);
}

static void tracestate(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(tracestates); i++) {
                char out[TRACECONTEXT_TRACESTATE_MAX + 1];
                int r;

                r = tracestate_exact(tracestates[i].in, strlen(tracestates[i].in), out, sizeof(out));
                if (!tracestates[i].out) {
                        if (r != -EBADMSG)
                                fail_msg("%s: got %d, expected it to be malformed", tracestates[i].what, r);
                        continue;
                }
                if (r != (int) strlen(tracestates[i].out) || strcmp(out, tracestates[i].out) != 0)
                        fail_msg("%s: got %d", tracestates[i].what, r);
        }
}

/* "k0=1,k1=1,…" with @n members. */
static size_t members(char *ret, unsigned n) {
        size_t len = 0;

        for (unsigned i = 0; i < n; i++)
                len += (size_t) sprintf(ret + len, "%sk%u=1", i > 0 ? "," : "", i);
        return len;
}

static void tracestate_member_count(void **state) {
        char in[1024], out[1024], most[1024];
        size_t most_len;

        (void) state;

        most_len = members(most, TRACECONTEXT_TRACESTATE_MEMBERS);
        assert_int_equal(tracestate_exact(most, most_len, out, sizeof(out)), most_len);
        assert_string_equal(out, most);

        /* the rightmost goes */
        assert_int_equal(tracestate_exact(in, members(in, TRACECONTEXT_TRACESTATE_MEMBERS + 3), out, sizeof(out)),
                         most_len);
        assert_string_equal(out, most);

        /* but is looked at */
        strcat(in, ",bad");
        assert_int_equal(tracestate_exact(in, strlen(in), out, sizeof(out)), -EBADMSG);
}

static void tracestate_buffer(void **state) {
        (void) state;

        for (size_t size = 0; size <= 12; size++) {
                _cleanup_free_ char *out = malloc(size > 0 ? size : 1);

                assert_non_null(out);
                assert_int_equal(tracestate_exact("foo=1,bar=2", 11, out, size), size < 12 ? -ENOBUFS : 11);
        }
}

#define N_IDS 40

static void make_ids(uint8_t ids[N_IDS][TRACECONTEXT_TRACE_ID_SIZE]) {
        for (size_t i = 0; i < N_IDS; i++) {
                TraceContext context;

                assert_int_equal(tracecontext_new_root(&context), 0);
                memcpy(ids[i], context.trace_id, sizeof(context.trace_id));
        }
}

/* Parent and child have the same memory after fork(), and must not make the same ids of it. */
static void ids_after_fork(void **state) {
        static uint8_t ours[N_IDS][TRACECONTEXT_TRACE_ID_SIZE], theirs[N_IDS][TRACECONTEXT_TRACE_ID_SIZE];
        TraceContext context;
        int fds[2], status;
        pid_t pid;

        (void) state;
        assert_int_equal(tracecontext_new_root(&context), 0);
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                make_ids(theirs);
                _exit(util_write_all(fds[1], theirs, sizeof(theirs)) < 0);
        }
        make_ids(ours);
        assert_int_equal(read(fds[0], theirs, sizeof(theirs)), (ssize_t) sizeof(theirs));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        (void) close(fds[0]);
        (void) close(fds[1]);

        for (size_t i = 0; i < N_IDS; i++)
                for (size_t j = 0; j < N_IDS; j++)
                        assert_memory_not_equal(ours[i], theirs[j], sizeof(ours[i]));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parses_or_refuses),  cmocka_unit_test(values_come_back),
                cmocka_unit_test(truncated_anywhere), cmocka_unit_test(longest),
                cmocka_unit_test(roots_and_children), cmocka_unit_test(derived),
                cmocka_unit_test(tracestate),         cmocka_unit_test(tracestate_member_count),
                cmocka_unit_test(tracestate_buffer),  cmocka_unit_test(ids_after_fork),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
