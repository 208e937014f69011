#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "../exact.h"
#include "util.h"

#define UNSET UINT64_C(0xfeedfacefeedface)

typedef struct Number {
        const char *s;
        int r;
        uint64_t value;
} Number;

static void check_numbers(const Number *numbers, size_t n, int (*fn)(const char *, size_t, uint64_t *)) {
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *s = exact(numbers[i].s, strlen(numbers[i].s));
                uint64_t value = UNSET;
                int r = fn(s, strlen(numbers[i].s), &value);

                if (r != numbers[i].r || value != (r < 0 ? UNSET : numbers[i].value))
                        fail_msg("\"%s\": %d, %llu", numbers[i].s, r, (unsigned long long) value);
        }
}

static void test_parse_u64(void **state) {
        static const Number numbers[] = {
                { "0", 0, 0 },
                { "007", 0, 7 },
                { "18446744073709551615", 0, UINT64_MAX },
                { "18446744073709551616", -ERANGE },
                { "99999999999999999999", -ERANGE },
                { "99999999999999999999x", -EINVAL },
                { "", -EINVAL },
                { "-1", -EINVAL },
                { "+1", -EINVAL },
                { " 1", -EINVAL },
                { "1 ", -EINVAL },
                { "0x1", -EINVAL },
        };

        (void) state;
        check_numbers(numbers, ARRAY_SIZE(numbers), util_parse_u64);
}

static void test_parse_duration(void **state) {
        static const Number numbers[] = {
                { "0", 0, 0 },
                { "0s", 0, 0 },
                { "1ns", 0, 1 },
                { "7us", 0, 7000 },
                { "7\xc2\xb5s", 0, 7000 },
                { "500ms", 0, 500 * NSEC_PER_MSEC },
                { "10s", 0, 10 * NSEC_PER_SEC },
                { "2m", 0, 120 * NSEC_PER_SEC },
                { "72h", 0, 72 * 3600 * NSEC_PER_SEC },
                { "1m30s", 0, 90 * NSEC_PER_SEC },
                { "1h0m0.5s", 0, 3600 * NSEC_PER_SEC + 500 * NSEC_PER_MSEC },
                { "1.5s", 0, 1500 * NSEC_PER_MSEC },
                { "0.000000001s", 0, 1 },
                { "0.0000000019s", 0, 1 },
                { "1.5ns", 0, 1 },
                { "0.25h", 0, 900 * NSEC_PER_SEC },
                { "5124095h", 0, UINT64_C(5124095) * 3600 * NSEC_PER_SEC },
                { "5124096h", -ERANGE },
                { "18446744073709551615ns", 0, UINT64_MAX },
                { "18446744073709551615ns1ns", -ERANGE },
                { "99999999999999999999s", -ERANGE },
                { "99999999999999999999s?", -EINVAL },
                { "", -EINVAL },
                { "1", -EINVAL },
                { "00", -EINVAL },
                { "s", -EINVAL },
                { ".5s", -EINVAL },
                { "1.s", -EINVAL },
                { "1.5", -EINVAL },
                { "1..5s", -EINVAL },
                { "-1s", -EINVAL },
                { "1s ", -EINVAL },
                { "1 s", -EINVAL },
                { "1d", -EINVAL },
                { "1s5", -EINVAL },
                { "1\xc2", -EINVAL },
        };

        (void) state;
        check_numbers(numbers, ARRAY_SIZE(numbers), util_parse_duration);
}

static void test_parse_size(void **state) {
        static const Number numbers[] = {
                { "0", 0, 0 },
                { "4096", 0, 4096 },
                { "1K", 0, 1024 },
                { "1KiB", 0, 1024 },
                { "4M", 0, 4 << 20 },
                { "4MiB", 0, 4 << 20 },
                { "2GiB", 0, UINT64_C(2) << 30 },
                { "17179869183G", 0, UINT64_C(17179869183) << 30 },
                { "17179869184G", -ERANGE },
                { "18446744073709551616", -ERANGE },
                { "", -EINVAL },
                { "K", -EINVAL },
                { "KiB", -EINVAL },
                { "iB", -EINVAL },
                { "1iB", -EINVAL },
                { "1B", -EINVAL },
                { "1KB", -EINVAL },
                { "1k", -EINVAL },
                { "1KK", -EINVAL },
                { "1 K", -EINVAL },
                { "-1K", -EINVAL },
        };

        (void) state;
        check_numbers(numbers, ARRAY_SIZE(numbers), util_parse_size);
}

static void test_hex(void **state) {
        char sixteen[17];
        const uint8_t bytes[] = { 0x00, 0x9a, 0xff };
        uint8_t back[3] = { 1, 2, 3 };
        char text[7];

        (void) state;

        util_hex_encode(bytes, sizeof(bytes), text);
        assert_string_equal(text, "009aff");

        assert_int_equal(util_hex_decode("009afF", 3, back), -EBADMSG);
        assert_int_equal(util_hex_decode("009a", 3, back), -EBADMSG);
        assert_int_equal(util_hex_decode("g09aff", 3, back), -EBADMSG);
        assert_int_equal(back[0], 1);

        assert_int_equal(util_hex_decode(text, 3, back), 0);

        for (int c = -128; c < 128; c++) {
                int expected = -EBADMSG;

                for (int digit = 0; digit < 16; digit++)
                        if (c == "0123456789abcdef"[digit] || c == "0123456789ABCDEF"[digit])
                                expected = digit;
                assert_int_equal(util_hex_value((char) c), expected);
        }

        memset(sixteen, 'x', sizeof(sixteen));
        util_hex_u64(UINT64_C(0x0123456789abcdef), sixteen);
        assert_memory_equal(sixteen, "0123456789abcdefx", sizeof(sixteen));
        assert_memory_equal(back, bytes, 3);
}

static void test_copy_bounded(void **state) {
        static const struct {
                const char *s;
                size_t size;
                const char *expected;
        } cases[] = {
                { "abc", 4, "abc" },
                { "abc", 3, "ab" },
                { "abc", 1, "" },
                { "a\xc3\xa4", 3, "a" },
                { "a\xc3\xa4", 4, "a\xc3\xa4" },
                { "\xe2\x82\xac", 3, "" },
                { "x\xf0\x9f\x98\x80", 5, "x" },
                { "x\xf0\x9f\x98\x80", 4, "x" },
                { "x\xf0\x9f\x98\x80", 3, "x" },
                { "x\xf0\x9f\x98\x80", 6, "x\xf0\x9f\x98\x80" },
        };
        char untouched = 'x';

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_free_ char *s = exact(cases[i].s, strlen(cases[i].s));
                _cleanup_free_ char *ret = malloc(cases[i].size);

                assert_non_null(ret);
                util_copy_bounded(ret, cases[i].size, s, strlen(cases[i].s));
                assert_string_equal(ret, cases[i].expected);
        }

        util_copy_bounded(&untouched, 0, "abc", 3);
        assert_int_equal(untouched, 'x');
}

static void test_id_valid(void **state) {
        char longest[130];

        (void) state;

        assert_true(util_id_valid("a"));
        assert_true(util_id_valid("0123456789abcdefABCDEF._-"));
        assert_true(util_id_valid("3f1c0a52-1d2e-4c3b-9a8f-000000000000"));
        assert_false(util_id_valid(NULL));
        assert_false(util_id_valid(""));
        assert_false(util_id_valid("."));
        assert_false(util_id_valid(".."));
        assert_false(util_id_valid("-rf"));
        assert_false(util_id_valid("a/b"));
        assert_false(util_id_valid("a b"));
        assert_false(util_id_valid("a\n"));
        assert_false(util_id_valid("\xc3\xa4"));

        memset(longest, 'a', 129);
        longest[128] = '\0';
        assert_true(util_id_valid(longest));
        longest[128] = 'a';
        longest[129] = '\0';
        assert_false(util_id_valid(longest));
}

static void test_random(void **state) {
        uint8_t a[600] = {}, b[600] = {};

        (void) state;

        assert_int_equal(util_random(a, sizeof(a)), 0);
        assert_int_equal(util_random(b, sizeof(b)), 0);
        assert_memory_not_equal(a, b, sizeof(a));
        assert_memory_not_equal(a + 300, b + 300, 300);
}

static void test_hash(void **state) {
        uint64_t hash;

        (void) state;

        /* From the definition's own test vectors. */
        assert_true(util_hash(UTIL_HASH_INIT, "", 0) == UINT64_C(0xcbf29ce484222325));
        assert_true(util_hash(UTIL_HASH_INIT, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
        assert_true(util_hash(UTIL_HASH_INIT, "foobar", 6) == UINT64_C(0x85944171f73967e8));

        hash = util_hash(UTIL_HASH_INIT, "foo", 3);
        assert_true(util_hash(hash, "bar", 3) == util_hash(UTIL_HASH_INIT, "foobar", 6));
}

static void test_utf8(void **state) {
        static const struct {
                const char *s;
                bool valid;
        } cases[] = {
                { "", true },
                { "plain", true },
                { "\xc3\xa4", true },
                { "\xe2\x82\xac", true },
                { "\xf0\x9f\x98\x80", true },
                { "\xf4\x8f\xbf\xbf", true },
                { "\xef\xbf\xbf", true },
                { "\x80", false },
                { "\xc0\x80", false },
                { "\xc1\xbf", false },
                { "\xe0\x9f\xbf", false },
                { "\xed\xa0\x80", false },
                { "\xf0\x8f\xbf\xbf", false },
                { "\xf4\x90\x80\x80", false },
                { "\xf5\x80\x80\x80", false },
                { "\xff", false },
                { "\xe2\x82\xc3", false },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t n = strlen(cases[i].s);

                for (size_t len = 0; len <= n; len++) {
                        _cleanup_free_ char *s = exact(cases[i].s, len);
                        bool valid = util_utf8_valid(s, len);

                        if (len == n)
                                assert_int_equal(valid, cases[i].valid);
                        else if (len > 0 && (uint8_t) s[0] >= 0x80)
                                assert_false(valid); /* one sequence, cut off */
                }
        }
}

static void test_write_all(void **state) {
        enum { SIZE = 1 << 20 };
        _cleanup_free_ char *data = calloc(1, SIZE);
        int fds[2], status;
        size_t total = 0;
        pid_t pid;

        (void) state;

        assert_non_null(data);
        assert_int_equal(pipe(fds), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void) close(fds[0]);
                _exit(util_write_all(fds[1], data, SIZE) == 0 ? 0 : 1);
        }

        (void) close(fds[1]);
        for (;;) {
                ssize_t n = read(fds[0], data, 4000);

                assert_true(n >= 0);
                if (n == 0)
                        break;
                total += (size_t) n;
        }
        (void) close(fds[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(total, SIZE);

        assert_int_equal(util_write_all(-1, "x", 1), -EBADF);
}

static void test_read_file_at(void **state) {
        char dir[] = "/tmp/test-util-XXXXXX";
        _cleanup_free_ char *data = NULL, *empty = NULL, *unset = NULL, *proc = NULL;
        _cleanup_close_ int dir_fd = -EBADF, proc_fd = -EBADF;
        size_t size = 0;
        int fd;

        (void) state;

        assert_non_null(mkdtemp(dir));
        dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(dir_fd >= 0);

        fd = openat(dir_fd, "file", O_WRONLY | O_CREAT | O_EXCL, 0600);
        assert_true(fd >= 0);
        assert_int_equal(util_write_all(fd, "a\0b", 3), 0);
        (void) close(fd);
        fd = openat(dir_fd, "empty", O_WRONLY | O_CREAT | O_EXCL, 0600);
        assert_true(fd >= 0);
        (void) close(fd);
        assert_int_equal(symlinkat("file", dir_fd, "link"), 0);
        assert_int_equal(mkfifoat(dir_fd, "fifo", 0600), 0);

        assert_int_equal(util_read_file_at(dir_fd, "file", 3, &data, &size), 0);
        assert_int_equal(size, 3);
        assert_memory_equal(data, "a\0b", 4);
        assert_int_equal(util_read_file_at(dir_fd, "empty", 0, &empty, &size), 0);
        assert_int_equal(size, 0);
        assert_string_equal(empty, "");

        assert_int_equal(util_read_file_at(dir_fd, "file", 2, &unset, &size), -EFBIG);
        assert_int_equal(util_read_file_at(dir_fd, "link", 9, &unset, &size), -ELOOP);
        assert_int_equal(util_read_file_at(dir_fd, "fifo", 9, &unset, &size), -EINVAL);
        assert_int_equal(util_read_file_at(dir_fd, ".", 9, &unset, &size), -EISDIR);
        assert_int_equal(util_read_file_at(dir_fd, "none", 9, &unset, &size), -ENOENT);
        assert_null(unset);

        /* Files without a size are read as well, and bounded. */
        proc_fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(proc_fd >= 0);
        assert_int_equal(util_read_file_at(proc_fd, "smaps", 1 << 20, &proc, &size), 0);
        assert_true(size > 4096);
        assert_int_equal(strlen(proc), size);
        assert_int_equal(util_read_file_at(proc_fd, "smaps", 5000, &unset, &size), -EFBIG);
        assert_null(unset);

        (void) unlinkat(dir_fd, "file", 0);
        (void) unlinkat(dir_fd, "empty", 0);
        (void) unlinkat(dir_fd, "link", 0);
        (void) unlinkat(dir_fd, "fifo", 0);
        (void) rmdir(dir);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse_u64),    cmocka_unit_test(test_parse_duration),
                cmocka_unit_test(test_parse_size),   cmocka_unit_test(test_hex),
                cmocka_unit_test(test_copy_bounded), cmocka_unit_test(test_id_valid),
                cmocka_unit_test(test_random),       cmocka_unit_test(test_hash),
                cmocka_unit_test(test_utf8),         cmocka_unit_test(test_write_all),
                cmocka_unit_test(test_read_file_at),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
