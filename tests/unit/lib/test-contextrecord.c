#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "contextrecord.h"
#include "util.h"

#define TRACEPARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"
#define HEADER      "podspan-context 1\n"
#define REQUIRED    HEADER "operation=StartContainer\ntraceparent=" TRACEPARENT "\nstart=5\n"

/* Parses from a buffer of exactly @len bytes, so that ASan sees the first byte too many. */
static int parse_exact(const char *s, size_t len, ContextRecord *ret) {
        _cleanup_free_ char *exact = malloc(len > 0 ? len : 1);

        assert_non_null(exact);
        memcpy(exact, s, len);
        return context_parse(exact, len, ret);
}

static ContextRecord full(void) {
        ContextRecord record = {
                .operation = "RunPodSandbox",
                .identity = {
                        .pod_uid = "0c9d1c6e-7b0a-4f8e-9c56-27b65a1f7f55",
                        .pod_name = "web-0",
                        .pod_namespace = "prod",
                        .sandbox_id = "5b0e",
                        .container_id = "77aa",
                        .container_name = "nginx",
                        .image = "docker.io/library/nginx:1 % = \xc3\xa4\n\x01\x7f",
                        .runtime_handler = "crun",
                        .sandbox_attempt_known = true,
                        .container_attempt = UINT32_MAX,
                        .container_attempt_known = true,
                },
                .start_ns = UINT64_MAX,
                .deadline_ns = 17,
                .seq = 4711,
                .pid = 4194304,
                .pid_start = 123456789,
        };

        assert_int_equal(tracecontext_parse(TRACEPARENT, strlen(TRACEPARENT), &record.trace), 0);
        return record;
}

static void expect_equal(const ContextRecord *a, const ContextRecord *b) {
        assert_string_equal(a->operation, b->operation);
        assert_memory_equal(&a->trace, &b->trace, sizeof(a->trace));
        assert_string_equal(a->identity.pod_uid, b->identity.pod_uid);
        assert_string_equal(a->identity.pod_name, b->identity.pod_name);
        assert_string_equal(a->identity.pod_namespace, b->identity.pod_namespace);
        assert_string_equal(a->identity.sandbox_id, b->identity.sandbox_id);
        assert_string_equal(a->identity.container_id, b->identity.container_id);
        assert_string_equal(a->identity.container_name, b->identity.container_name);
        assert_string_equal(a->identity.image, b->identity.image);
        assert_string_equal(a->identity.runtime_handler, b->identity.runtime_handler);
        assert_int_equal(a->identity.sandbox_attempt, b->identity.sandbox_attempt);
        assert_int_equal(a->identity.sandbox_attempt_known, b->identity.sandbox_attempt_known);
        assert_int_equal(a->identity.container_attempt, b->identity.container_attempt);
        assert_int_equal(a->identity.container_attempt_known, b->identity.container_attempt_known);
        assert_int_equal(a->start_ns, b->start_ns);
        assert_int_equal(a->deadline_ns, b->deadline_ns);
        assert_int_equal(a->seq, b->seq);
        assert_int_equal(a->pid, b->pid);
        assert_int_equal(a->pid_start, b->pid_start);
}

static void comes_back(void **state) {
        ContextRecord in = full(), least = { .operation = "X", .trace = in.trace }, out;
        char text[CONTEXT_FILE_MAX + 1];
        int len;

        (void) state;

        len = context_format(&in, text, sizeof(text));
        assert_int_equal(len, strlen(text));
        assert_int_equal(parse_exact(text, (size_t) len, &out), 0);
        expect_equal(&in, &out);
        assert_non_null(strstr(text, "\nimage=docker.io/library/nginx:1%20%25%20=%20%C3%A4%0A%01%7F\n"));

        len = context_format(&least, text, sizeof(text));
        assert_string_equal(text, HEADER "operation=X\ntraceparent=" TRACEPARENT "\nstart=0\n");
        assert_int_equal(parse_exact(text, (size_t) len, &out), 0);
        expect_equal(&least, &out);
}

/* A file cut anywhere is refused, or it is cut between lines and nothing that must be there is missing. */
static void truncated_anywhere(void **state) {
        ContextRecord in = full(), out, before;
        char text[CONTEXT_FILE_MAX + 1];
        size_t required;
        int len;

        (void) state;

        len = context_format(&in, text, sizeof(text));
        assert_true(len > 0);
        required = (size_t) (strchr(strstr(text, "\nstart=") + 1, '\n') + 1 - text);
        for (size_t i = 0; i < (size_t) len; i++) {
                int r;

                memset(&out, 0xa5, sizeof(out));
                before = out;
                r = parse_exact(text, i, &out);
                assert_int_equal(r, i >= required && text[i - 1] == '\n' ? 0 : -EBADMSG);
                if (r < 0)
                        assert_memory_equal(&out, &before, sizeof(out));
        }
}

static const struct {
        const char *what;
        const char *in;
        int r;
} files[] = {
        { "what is required", REQUIRED, 0 },
        { "another order", HEADER "start=5\ntraceparent=" TRACEPARENT "\noperation=X\n", 0 },
        { "unknown keys", REQUIRED "colour=blue\ncolour=\n_=\x01\n", 0 },
        { "empty identity", REQUIRED "pod_uid=\n", 0 },
        { "value with an equals sign", REQUIRED "image=a=b\n", 0 },
        { "longest operation",
          HEADER "operation=aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg\ntraceparent=" TRACEPARENT
                 "\nstart=5\n",
          0 },
        { "operation too long",
          HEADER "operation=aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg\ntraceparent=" TRACEPARENT
                 "\nstart=5\n",
          -EBADMSG },
        { "nothing", "", -EBADMSG },
        { "header alone", HEADER, -EBADMSG },
        { "another version", "podspan-context 2\noperation=X\ntraceparent=" TRACEPARENT "\nstart=5\n", -EBADMSG },
        { "no header", "operation=X\ntraceparent=" TRACEPARENT "\nstart=5\n", -EBADMSG },
        { "no operation", HEADER "traceparent=" TRACEPARENT "\nstart=5\n", -EBADMSG },
        { "empty operation", HEADER "operation=\ntraceparent=" TRACEPARENT "\nstart=5\n", -EBADMSG },
        { "operation with a slash", HEADER "operation=../X\ntraceparent=" TRACEPARENT "\nstart=5\n", -EBADMSG },
        { "operation with a coded slash", HEADER "operation=%2FX\ntraceparent=" TRACEPARENT "\nstart=5\n", -EBADMSG },
        { "no trace", HEADER "operation=X\nstart=5\n", -EBADMSG },
        { "malformed trace", HEADER "operation=X\ntraceparent=00-0-0-0\nstart=5\n", -EBADMSG },
        { "no start", HEADER "operation=X\ntraceparent=" TRACEPARENT "\n", -EBADMSG },
        { "line without an equals sign", REQUIRED "x\n", -EBADMSG },
        { "line without a key", REQUIRED "=x\n", -EBADMSG },
        { "empty line", REQUIRED "\n", -EBADMSG },
        { "last line without its end", REQUIRED "x=y", -EBADMSG },
        { "key twice", REQUIRED "pod_uid=a\npod_uid=a\n", -EBADMSG },
        { "operation twice", REQUIRED "operation=X\n", -EBADMSG },
        { "blank in a value", REQUIRED "pod_uid=a b\n", -EBADMSG },
        { "high byte in a value", REQUIRED "pod_uid=\xc3\xa4\n", -EBADMSG },
        { "percent at the end", REQUIRED "pod_uid=%\n", -EBADMSG },
        { "one digit", REQUIRED "pod_uid=%4\n", -EBADMSG },
        { "lower-case digits", REQUIRED "pod_uid=%c3\n", -EBADMSG },
        { "no digits", REQUIRED "pod_uid=%zz\n", -EBADMSG },
        { "coded NUL", REQUIRED "pod_uid=a%00\n", -EBADMSG },
        { "number with a sign", REQUIRED "seq=-1\n", -EBADMSG },
        { "empty number", REQUIRED "seq=\n", -EBADMSG },
        { "number out of range", REQUIRED "seq=18446744073709551616\n", -EBADMSG },
        { "pid out of range", REQUIRED "pid=4294967296\n", -EBADMSG },
        { "attempt out of range", REQUIRED "sandbox_attempt=4294967296\n", -EBADMSG },
};

static void accepts_or_refuses(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                ContextRecord out;
                int r = parse_exact(files[i].in, strlen(files[i].in), &out);

                if (r != files[i].r)
                        fail_msg("%s: got %d, expected %d", files[i].what, r, files[i].r);
        }
}

static void longest_values(void **state) {
        static const struct {
                const char *key;
                size_t max;
        } values[] = {
                { "pod_uid", IDENTITY_ID_MAX },    { "pod_name", IDENTITY_NAME_MAX },
                { "image", IDENTITY_IMAGE_MAX },   { "container_id", IDENTITY_ID_MAX },
                { "sandbox_id", IDENTITY_ID_MAX }, { "runtime_handler", IDENTITY_NAME_MAX },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(values); i++)
                for (size_t extra = 0; extra < 2; extra++) {
                        char text[CONTEXT_FILE_MAX];
                        ContextRecord out;
                        int len;

                        len = snprintf(text, sizeof(text), "%s%s=", REQUIRED, values[i].key);
                        memset(text + len, 'v', values[i].max + extra);
                        len += (int) (values[i].max + extra);
                        text[len++] = '\n';
                        assert_int_equal(parse_exact(text, (size_t) len, &out), extra == 0 ? 0 : -EBADMSG);
                }
}

static void largest_file(void **state) {
        char text[CONTEXT_FILE_MAX + 1];
        ContextRecord out;

        (void) state;

        memset(text, 'v', sizeof(text));
        memcpy(text, REQUIRED "x=", strlen(REQUIRED "x="));
        text[CONTEXT_FILE_MAX - 1] = '\n';
        assert_int_equal(parse_exact(text, CONTEXT_FILE_MAX, &out), 0);
        text[CONTEXT_FILE_MAX - 1] = 'v';
        text[CONTEXT_FILE_MAX] = '\n';
        assert_int_equal(parse_exact(text, CONTEXT_FILE_MAX + 1, &out), -EBADMSG);
}

static void format_limits(void **state) {
        ContextRecord record = full();
        char text[CONTEXT_FILE_MAX + 1];
        int len;

        (void) state;

        len = context_format(&record, text, sizeof(text));
        for (size_t size = 1; size <= (size_t) len + 1; size++) {
                _cleanup_free_ char *exact = malloc(size);

                assert_non_null(exact);
                assert_int_equal(context_format(&record, exact, size), size <= (size_t) len ? -EMSGSIZE : len);
        }

        memset(record.identity.image, ' ', sizeof(record.identity.image) - 1);
        memset(record.identity.pod_name, ' ', sizeof(record.identity.pod_name) - 1);
        memset(record.identity.pod_namespace, ' ', sizeof(record.identity.pod_namespace) - 1);
        memset(record.identity.container_name, ' ', sizeof(record.identity.container_name) - 1);
        assert_int_equal(context_format(&record, text, sizeof(text)), -EMSGSIZE);

        record = full();
        record.operation[0] = '\0';
        assert_int_equal(context_format(&record, text, sizeof(text)), -EINVAL);
        strcpy(record.operation, "Start/../X");
        assert_int_equal(context_format(&record, text, sizeof(text)), -EINVAL);
        record = full();
        memset(record.trace.span_id, 0, sizeof(record.trace.span_id));
        assert_int_equal(context_format(&record, text, sizeof(text)), -EINVAL);
}

static void recent(void **state) {
        static const struct {
                uint64_t start_ns, now_ns, window_ns;
                bool recent;
        } cases[] = {
                { 100, 100, 0, true },
                { 100, 101, 0, false },
                { 100, 110, 10, true },
                { 100, 111, 10, false },
                { 100, 99, 0, true },
                { UINT64_MAX, 0, 0, true },
                { 0, UINT64_MAX, UINT64_MAX - 1, false },
                { 1, UINT64_MAX, UINT64_MAX - 1, true },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const ContextRecord start = { .start_ns = cases[i].start_ns };

                if (context_start_recent(&start, cases[i].now_ns, cases[i].window_ns) != cases[i].recent)
                        fail_msg("case %zu", i);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(comes_back),
                cmocka_unit_test(truncated_anywhere),
                cmocka_unit_test(accepts_or_refuses),
                cmocka_unit_test(longest_values),
                cmocka_unit_test(largest_file),
                cmocka_unit_test(format_limits),
                cmocka_unit_test(recent),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
