#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include "fixture.h"
#include "logpipe.h"

/* What the hooks were told. */
typedef struct Told {
        unsigned rotations[LOGS_ROTATED + 1], failed, losses;
        LogsLoss loss;
        LogsRotation last;
} Told;

static void on_rotated(void *userdata, const LogsRotation *rotation) {
        Told *told = userdata;

        if (rotation->error < 0)
                told->failed++;
        else
                told->rotations[rotation->kind]++;
        told->last = *rotation;
}

static void on_lost(void *userdata, const LogsLoss *loss) {
        Told *told = userdata;

        told->losses++;
        told->loss = *loss;
}

static void write_text(Logs *logs, LogsStream stream, const char *text, const Clk *now) {
        logs_write(logs, stream, (const uint8_t *) text, strlen(text), now);
}

/* Deterministic, so that a failure comes again. */
static uint64_t random_next(void) {
        static uint64_t x = 88172645463325252;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        return x;
}

/* Input of @n bytes with a newline after about @line bytes (0: bytes of any value). */
static uint8_t *make_input(size_t n, size_t line) {
        uint8_t *input = malloc(n);

        assert_non_null(input);
        for (size_t i = 0; i < n; i++)
                input[i] = line == 0 ? (uint8_t) random_next() : i % line == line - 1 ? '\n' : (uint8_t) (' ' + i % 90);
        return input;
}

/* How many records a stream must become: one a line, one more for each LOGS_LINE_MAX bytes a line has too many. */
static void count_records(const uint8_t *input, size_t n, unsigned *ret_full, unsigned *ret_partial) {
        unsigned full = 0, partial = 0;

        for (size_t at = 0; at < n;) {
                const uint8_t *newline = memchr(input + at, '\n', n - at);
                const size_t len = newline ? (size_t) (newline - (input + at)) : n - at;

                if (len > 0)
                        partial += (unsigned) ((len - 1) / LOGS_LINE_MAX);
                if (newline)
                        full++;
                else
                        partial++;
                at += len + 1;
        }
        *ret_full = full;
        *ret_partial = partial;
}

static const struct {
        const char *what;
        size_t total, line, piece_max;
} kinds[] = {
        { "100-byte lines, whole pipes", 4 << 20, 100, 65536 },
        { "100-byte lines, random pieces", 4 << 20, 100, 300 },
        { "1-byte writes", 1 << 18, 100, 1 },
        { "1 MiB lines", 8 << 20, 1 << 20, 65536 },
        { "lines about as long as a record", 4 << 20, LOGS_LINE_MAX + 1, 40000 },
        { "lines a byte too long", 4 << 20, LOGS_LINE_MAX + 2, 40000 },
        { "empty lines", 1 << 17, 1, 5000 },
        { "binary", 4 << 20, 0, 65536 },
        { "binary in small pieces", 1 << 20, 0, 50 },
};

/* Both streams in turns, cut at random: each is in the log as it was, without a needless partial record. */
static void log_is_the_input(void **state) {
        const Fixture *fixture = *state;

        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                Logs *logs = fixture_logs(fixture, (LogsOptions){ 0 });
                size_t at[LOGS_STREAM_MAX] = { 0 };
                uint8_t *input[LOGS_STREAM_MAX];
                Clk now = fixture->now;
                Decoded decoded = { 0 };

                for (size_t k = 0; k < LOGS_STREAM_MAX; k++)
                        input[k] = make_input(kinds[i].total, kinds[i].line);
                while (at[0] < kinds[i].total || at[1] < kinds[i].total) {
                        const LogsStream stream = random_next() % LOGS_STREAM_MAX;
                        const size_t left = kinds[i].total - at[stream];
                        const size_t n = MIN(left, 1 + random_next() % kinds[i].piece_max);

                        logs_write(logs, stream, input[stream] + at[stream], n, &now);
                        at[stream] += n;
                        now.realtime_ns += 50000;
                        now.monotonic_ns += 50000;
                }
                logs_end(logs, &now);
                assert_int_equal(logs_sync(logs), 0);

                decoded_add(&decoded, fixture->path);
                for (LogsStream k = 0; k < LOGS_STREAM_MAX; k++) {
                        const LogsCounts counts = logs_counts(logs, k);
                        unsigned full, partial;

                        count_records(input[k], kinds[i].total, &full, &partial);
                        if (decoded.size[k] != kinds[i].total ||
                            memcmp(decoded.content[k], input[k], kinds[i].total) != 0)
                                fail_msg("%s: the log is not the input", kinds[i].what);
                        if (decoded.full[k] != full || decoded.partial[k] != partial)
                                fail_msg("%s: %u full, %u partial records; expected %u, %u", kinds[i].what,
                                         decoded.full[k], decoded.partial[k], full, partial);
                        assert_true(counts.bytes == kinds[i].total && counts.lines == full &&
                                    counts.partials == partial);
                        assert_true(counts.dropped == 0 && counts.limited == 0 && counts.errors == 0);
                        free(input[k]);
                }
                decoded_deinit(&decoded);
                logs_free(logs);
                assert_int_equal(unlink(fixture->path), 0);
        }
}

/* To the byte: 2025-11-21T13:14:15.123456789Z and its zone. */
static void record_to_the_byte(void **state) {
        static const struct {
                const char *tz, *stamp;
        } zones[] = {
                { "UTC0", "2025-11-21T13:14:15.123456789+00:00" },
                { "CET-1", "2025-11-21T14:14:15.123456789+01:00" },
                { "NST3:30", "2025-11-21T09:44:15.123456789-03:30" },
                { "XXX-14", "2025-11-22T03:14:15.123456789+14:00" },
        };
        const Fixture *fixture = *state;
        const char *saved = getenv("TZ");

        for (size_t i = 0; i < ARRAY_SIZE(zones); i++) {
                char expected[256];
                struct stat st;
                size_t size;
                Logs *logs;

                setenv("TZ", zones[i].tz, 1);
                logs = fixture_logs(fixture, (LogsOptions){ 0 });
                write_text(logs, LOGS_STDOUT, "hello\nwor", &fixture->now);
                write_text(logs, LOGS_STDERR, "oops\n", &fixture->now);
                logs_end(logs, &fixture->now);
                logs_free(logs);

                _cleanup_free_ char *text = fixture_read(fixture->path, &size);
                (void) snprintf(expected, sizeof(expected), "%s stdout F hello\n%s stderr F oops\n%s stdout P wor\n",
                                zones[i].stamp, zones[i].stamp, zones[i].stamp);
                assert_string_equal(text, expected);
                assert_int_equal(stat(fixture->path, &st), 0);
                assert_int_equal(st.st_mode & 0777, 0640);
                assert_int_equal(unlink(fixture->path), 0);
        }
        if (saved)
                setenv("TZ", saved, 1);
        else
                unsetenv("TZ");
        tzset();
}

/* A new second, another stream and a clock that goes back are in the next record's time. */
static void time_moves(void **state) {
        const Fixture *fixture = *state;
        Clk now = fixture->now;
        size_t size;
        Logs *logs;

        setenv("TZ", "UTC0", 1);
        logs = fixture_logs(fixture, (LogsOptions){ 0 });
        write_text(logs, LOGS_STDOUT, "a\n", &now);
        now.realtime_ns += NSEC_PER_SEC;
        write_text(logs, LOGS_STDERR, "b\n", &now);
        now.realtime_ns = 1;
        write_text(logs, LOGS_STDOUT, "c\n", &now);
        logs_free(logs);

        _cleanup_free_ char *text = fixture_read(fixture->path, &size);
        assert_string_equal(text, "2025-11-21T13:14:15.123456789+00:00 stdout F a\n"
                                  "2025-11-21T13:14:16.123456789+00:00 stderr F b\n"
                                  "1970-01-01T00:00:00.000000001+00:00 stdout F c\n");
        unsetenv("TZ");
        tzset();
}

static void unfinished_lines(void **state) {
        const Fixture *fixture = *state;
        Logs *logs = fixture_logs(fixture, (LogsOptions){ 0 });
        Clk now = fixture->now;
        Decoded decoded = { 0 };

        assert_true(logs_deadline(logs) == UINT64_MAX);
        write_text(logs, LOGS_STDOUT, "prompt> ", &now);
        assert_true(logs_deadline(logs) == now.monotonic_ns + LOGS_PARTIAL_NS);
        now.monotonic_ns += LOGS_PARTIAL_NS / 2;
        write_text(logs, LOGS_STDERR, "x", &now);
        now.monotonic_ns += LOGS_PARTIAL_NS / 2 - 1;
        logs_flush_partial(logs, &now); /* a moment too early */
        decoded_add(&decoded, fixture->path);
        assert_int_equal(decoded.partial[LOGS_STDOUT], 0);

        now.monotonic_ns += 1;
        logs_flush_partial(logs, &now); /* stdout is due, stderr not */
        decoded_add(&decoded, fixture->path);
        assert_int_equal(decoded.partial[LOGS_STDOUT], 1);
        assert_int_equal(decoded.partial[LOGS_STDERR], 0);
        assert_true(logs_deadline(logs) == now.monotonic_ns + LOGS_PARTIAL_NS / 2);

        write_text(logs, LOGS_STDOUT, "answer\n", &now);
        logs_end(logs, &now);
        assert_true(logs_deadline(logs) == UINT64_MAX);
        decoded_deinit(&decoded);
        decoded = (Decoded){ 0 };
        decoded_add(&decoded, fixture->path);
        assert_int_equal(decoded.size[LOGS_STDOUT], 15);
        assert_memory_equal(decoded.content[LOGS_STDOUT], "prompt> answer\n", 15);
        assert_int_equal(decoded.partial[LOGS_STDOUT], 1);
        assert_int_equal(decoded.full[LOGS_STDOUT], 1);
        assert_int_equal(decoded.partial[LOGS_STDERR], 1);
        decoded_deinit(&decoded);
        logs_free(logs);
}

/* A log that exists is gone on with, and counts for the limits. */
static void existing_log(void **state) {
        const Fixture *fixture = *state;
        Told told = { 0 };
        const LogsOptions options = { .size_max = 150, .hooks = { .rotated = on_rotated, .userdata = &told } };
        Decoded decoded = { 0 };
        Logs *logs;

        for (int i = 0; i < 2; i++) {
                logs = fixture_logs(fixture, options);
                write_text(logs, LOGS_STDOUT, "0123456789\n", &fixture->now); /* 56 bytes */
                logs_free(logs);
        }
        decoded_add(&decoded, fixture->path);
        assert_int_equal(decoded.full[LOGS_STDOUT], 2);
        decoded_deinit(&decoded);

        logs = fixture_logs(fixture, options);
        write_text(logs, LOGS_STDOUT, "third\n", &fixture->now);
        logs_free(logs);
        decoded = (Decoded){ 0 };
        decoded_add(&decoded, fixture->path);
        assert_int_equal(decoded.full[LOGS_STDOUT], 1);
        assert_memory_equal(decoded.content[LOGS_STDOUT], "third\n", 6);
        assert_int_equal(told.rotations[LOGS_TRUNCATED], 1);
        assert_int_equal(told.last.size, 112);
        assert_false(fixture_exists(fixture, ".1"));
        decoded_deinit(&decoded);
}

/* size_max to the byte, as conmon counts. */
static void size_max_is_exact(void **state) {
        const Fixture *fixture = *state;

        for (int64_t size_max = 101; size_max <= 103; size_max++) {
                Told told = { 0 };
                Logs *logs =
                        fixture_logs(fixture, (LogsOptions){ .size_max = size_max,
                                                             .hooks = { .rotated = on_rotated, .userdata = &told } });

                /* two records of 51 bytes */
                write_text(logs, LOGS_STDOUT, "12345\n12345\n", &fixture->now);
                assert_int_equal(told.rotations[LOGS_TRUNCATED], size_max < 102 ? 1 : 0);
                logs_free(logs);
                assert_int_equal(unlink(fixture->path), 0);
        }
}

/* One record is longer than the limit: the file gives way to it, an empty one does not. */
static void tiny_limit(void **state) {
        const Fixture *fixture = *state;
        Told told = { 0 };
        Logs *logs = fixture_logs(
                fixture, (LogsOptions){ .size_max = 10, .hooks = { .rotated = on_rotated, .userdata = &told } });
        Decoded decoded = { 0 };

        write_text(logs, LOGS_STDOUT, "a\nb\nc\n", &fixture->now);
        assert_int_equal(told.rotations[LOGS_TRUNCATED], 2);
        decoded_add(&decoded, fixture->path);
        assert_int_equal(decoded.full[LOGS_STDOUT], 1);
        assert_memory_equal(decoded.content[LOGS_STDOUT], "c\n", 2);
        decoded_deinit(&decoded);
        logs_free(logs);
}

static void rotation_loses_nothing(void **state) {
        const Fixture *fixture = *state;
        const size_t total = 1 << 20;
        Told told = { 0 };
        Logs *logs = fixture_logs(fixture, (LogsOptions){ .size_max = 100000,
                                                          .rotate = true,
                                                          .max_files = 50,
                                                          .hooks = { .rotated = on_rotated, .userdata = &told } });
        uint8_t *input = make_input(total, 333);
        Decoded decoded = { 0 };
        char suffix[16];

        for (size_t at = 0; at < total;) {
                const size_t n = MIN(total - at, 1 + random_next() % 30000);

                logs_write(logs, LOGS_STDERR, input + at, n, &fixture->now);
                at += n;
        }
        logs_end(logs, &fixture->now);
        logs_free(logs);

        assert_true(told.rotations[LOGS_ROTATED] > 10);
        for (unsigned i = told.rotations[LOGS_ROTATED]; i > 0; i--) {
                struct stat st;

                (void) snprintf(suffix, sizeof(suffix), ".%u", i);
                assert_int_equal(stat(fixture_name(fixture, suffix), &st), 0);
                assert_in_range(st.st_size, 100000 - 400, 100000);
                decoded_add(&decoded, fixture_name(fixture, suffix));
        }
        decoded_add(&decoded, fixture->path);
        assert_int_equal(decoded.size[LOGS_STDERR], total);
        assert_memory_equal(decoded.content[LOGS_STDERR], input, total);
        assert_int_equal(decoded.partial[LOGS_STDERR], total % 333 ? 1 : 0);
        decoded_deinit(&decoded);
        free(input);
}

/* kubelet renames and then asks for the log to be reopened; what is written in between is in the old file. */
static void reopening_loses_nothing(void **state) {
        const Fixture *fixture = *state;
        Told told = { 0 };
        Logs *logs = fixture_logs(fixture, (LogsOptions){ .hooks = { .rotated = on_rotated, .userdata = &told } });
        Decoded decoded = { 0 };

        write_text(logs, LOGS_STDOUT, "one\ntw", &fixture->now);
        assert_int_equal(rename(fixture->path, fixture_name(fixture, ".20251121")), 0);
        write_text(logs, LOGS_STDOUT, "o\nthr", &fixture->now);
        assert_int_equal(logs_reopen(logs, &fixture->now), 0);
        write_text(logs, LOGS_STDOUT, "ee\n", &fixture->now);
        assert_int_equal(told.rotations[LOGS_REOPENED], 1);
        assert_int_equal(told.last.size, 98);
        decoded_add(&decoded, fixture_name(fixture, ".20251121"));
        assert_int_equal(decoded.full[LOGS_STDOUT], 2);
        decoded_add(&decoded, fixture->path);
        assert_int_equal(decoded.size[LOGS_STDOUT], 14);
        assert_memory_equal(decoded.content[LOGS_STDOUT], "one\ntwo\nthree\n", 14);
        assert_int_equal(decoded.partial[LOGS_STDOUT], 0);

        /* still in its place: kept */
        assert_int_equal(logs_reopen(logs, &fixture->now), 0);
        assert_int_equal(told.rotations[LOGS_KEPT], 1);
        write_text(logs, LOGS_STDOUT, "four\n", &fixture->now);
        decoded_deinit(&decoded);
        decoded = (Decoded){ 0 };
        decoded_add(&decoded, fixture->path);
        assert_memory_equal(decoded.content[LOGS_STDOUT], "three\nfour\n", 11);

        /* removed */
        assert_int_equal(unlink(fixture->path), 0);
        assert_int_equal(logs_reopen(logs, &fixture->now), 0);
        write_text(logs, LOGS_STDOUT, "five\n", &fixture->now);
        decoded_deinit(&decoded);
        decoded = (Decoded){ 0 };
        decoded_add(&decoded, fixture->path);
        assert_memory_equal(decoded.content[LOGS_STDOUT], "five\n", 5);
        decoded_deinit(&decoded);
        logs_free(logs);
}

/* A file that cannot be renamed grows on; it is tried again a second later, not with every line. */
static void rotation_fails_for_a_while(void **state) {
        const Fixture *fixture = *state;
        const char *nowhere[] = { "/usr" };
        Told told = { 0 };
        Logs *logs = fixture_logs(fixture, (LogsOptions){ .size_max = 100,
                                                          .rotate = true,
                                                          .max_files = 1,
                                                          .allowlist_dirs = nowhere,
                                                          .n_allowlist_dirs = 1,
                                                          .hooks = { .rotated = on_rotated, .userdata = &told } });
        Clk now = fixture->now;
        Decoded decoded = { 0 };

        for (int i = 0; i < 10; i++)
                write_text(logs, LOGS_STDOUT, "a line\nand one\n", &now);
        assert_int_equal(told.failed, 1);
        assert_int_equal(told.last.error, -EXDEV);
        now.monotonic_ns += LOGK8S_RETRY_NS;
        write_text(logs, LOGS_STDOUT, "a line\nand one\n", &now);
        assert_int_equal(told.failed, 2);
        decoded_add(&decoded, fixture->path);
        assert_int_equal(decoded.full[LOGS_STDOUT], 22);
        decoded_deinit(&decoded);
        logs_free(logs);
}

/* A reopening that failed is made up for. */
static void reopening_fails_for_a_while(void **state) {
        const Fixture *fixture = *state;
        Told told = { 0 };
        Logs *logs = fixture_logs(fixture, (LogsOptions){ .hooks = { .rotated = on_rotated, .userdata = &told } });
        Clk now = fixture->now;
        Decoded decoded = { 0 };

        assert_int_equal(rename(fixture->path, fixture_name(fixture, ".old")), 0);
        assert_int_equal(mkdir(fixture_name(fixture, ".tmp"), 0700), 0);
        assert_int_equal(logs_reopen(logs, &now), -EISDIR);
        write_text(logs, LOGS_STDOUT, "old\n", &now);
        assert_false(fixture_exists(fixture, ""));
        assert_int_equal(rmdir(fixture_name(fixture, ".tmp")), 0);
        now.monotonic_ns += LOGK8S_RETRY_NS;
        write_text(logs, LOGS_STDOUT, "new\n", &now);
        decoded_add(&decoded, fixture_name(fixture, ".old"));
        decoded_add(&decoded, fixture->path);
        assert_memory_equal(decoded.content[LOGS_STDOUT], "old\nnew\n", 8);
        assert_int_equal(told.failed, 1);
        assert_int_equal(told.rotations[LOGS_REOPENED], 1);
        decoded_deinit(&decoded);
        logs_free(logs);
}

static void global_size_max(void **state) {
        const Fixture *fixture = *state;
        Logs *logs = fixture_logs(fixture, (LogsOptions){ .global_size_max = 100 });
        Decoded decoded = { 0 };
        LogsCounts counts;

        /* records of 51 bytes: the limit is looked at before one is written, as conmon does */
        write_text(logs, LOGS_STDOUT, "12345\n12345\n12345\n1", &fixture->now);
        logs_end(logs, &fixture->now);
        counts = logs_counts(logs, LOGS_STDOUT);
        assert_int_equal(counts.limited, 7);
        assert_int_equal(counts.dropped, 0);
        decoded_add(&decoded, fixture->path);
        assert_int_equal(decoded.full[LOGS_STDOUT], 2);
        assert_int_equal(decoded.partial[LOGS_STDOUT], 0);
        decoded_deinit(&decoded);
        logs_free(logs);
}

/* A disk that is full at any byte of the batch, then has room again: whole records only, the loss counted and said. */
static void disk_full(void **state) {
        const Fixture *fixture = *state;
        struct rlimit saved, small;
        static const char text[] = "first line\nsecond\n\na longer third line, in a batch of four\n";
        const size_t n = sizeof(text) - 1;

        (void) signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
        for (rlim_t room = 1; room < 400; room++) {
                Told told = { 0 };
                const LogsHooks hooks = { .lost = on_lost, .userdata = &told };
                Logs *logs = fixture_logs(fixture, (LogsOptions){ .hooks = hooks });
                Clk now = fixture->now;
                Decoded decoded = { 0 };
                LogsCounts counts;
                size_t kept;

                small = (struct rlimit){ .rlim_cur = room, .rlim_max = saved.rlim_max };
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
                logs_write(logs, LOGS_STDOUT, (const uint8_t *) text, n, &now);
                logs_write(logs, LOGS_STDOUT, (const uint8_t *) text, n, &now);
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);

                decoded_add(&decoded, fixture->path); /* whole records only */
                kept = decoded.size[LOGS_STDOUT];
                counts = logs_counts(logs, LOGS_STDOUT);
                assert_int_equal(counts.dropped, 2 * n - kept);
                assert_int_equal(told.losses, counts.dropped > 0 ? 1 : 0);
                if (counts.dropped > 0) {
                        assert_int_equal(told.loss.error, -EFBIG);
                        assert_int_equal(told.loss.driver, LOGS_K8S_FILE);
                        assert_int_equal(told.loss.stream, LOGS_STDOUT);
                }

                write_text(logs, LOGS_STDOUT, "again\nand again\n", &now);
                logs_end(logs, &now);
                decoded_deinit(&decoded);
                decoded = (Decoded){ 0 };
                decoded_add(&decoded, fixture->path);
                assert_int_equal(decoded.size[LOGS_STDOUT], kept + 16);
                assert_memory_equal(decoded.content[LOGS_STDOUT] + kept, "again\nand again\n", 16);
                if (counts.dropped > 0) {
                        char note[128];

                        (void) snprintf(note, sizeof(note), "podspan: %u bytes of log lost: File too large\n",
                                        (unsigned) counts.dropped);
                        assert_int_equal(decoded.size[LOGS_STDERR], strlen(note)); /* once */
                        assert_memory_equal(decoded.content[LOGS_STDERR], note, strlen(note));
                } else
                        assert_int_equal(decoded.size[LOGS_STDERR], 0);
                decoded_deinit(&decoded);
                logs_free(logs);
                assert_int_equal(unlink(fixture->path), 0);
        }
}

/* The same where the batch refers to long lines instead of copying them. */
static void disk_full_in_a_long_line(void **state) {
        const Fixture *fixture = *state;
        const size_t n = 28 * 7001; /* no short line that fits where a long one did not */
        uint8_t *input = make_input(n, 7001);
        struct rlimit saved;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
        for (rlim_t room = 1; room < n; room += 3499) {
                Logs *logs = fixture_logs(fixture, (LogsOptions){ 0 });
                Decoded decoded = { 0 };

                assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ room, saved.rlim_max }), 0);
                logs_write(logs, LOGS_STDOUT, input, n, &fixture->now);
                logs_end(logs, &fixture->now);
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
                decoded_add(&decoded, fixture->path);
                assert_int_equal(logs_counts(logs, LOGS_STDOUT).dropped, n - decoded.size[LOGS_STDOUT]);
                assert_memory_equal(decoded.content[LOGS_STDOUT], input, decoded.size[LOGS_STDOUT]);
                decoded_deinit(&decoded);
                logs_free(logs);
                assert_int_equal(unlink(fixture->path), 0);
        }
        free(input);
}

static void never_any_room(void **state) {
        const Fixture *fixture = *state;
        const char *paths[] = { "/dev/full" };
        Told told = { 0 };
        Logs *logs = fixture_logs(fixture, (LogsOptions){ .paths = paths,
                                                          .n_paths = 1,
                                                          .size_max = 100,
                                                          .rotate = true,
                                                          .max_files = 1,
                                                          .hooks = { on_rotated, on_lost, &told } });
        LogsCounts counts;

        for (int i = 0; i < 100; i++)
                write_text(logs, LOGS_STDOUT, "line\nline\n", &fixture->now);
        assert_int_equal(logs_reopen(logs, &fixture->now), 0);
        logs_end(logs, &fixture->now);
        counts = logs_counts(logs, LOGS_STDOUT);
        assert_int_equal(counts.dropped, 1000);
        assert_int_equal(counts.errors, 100);
        assert_int_equal(counts.lines, 200);
        assert_int_equal(told.losses, 1);
        assert_int_equal(told.loss.error, -ENOSPC);
        assert_int_equal(told.failed + told.rotations[LOGS_ROTATED], 0); /* no device is ever renamed */
        logs_free(logs);
}

#define FIFO_MAX ((size_t) 8 << 20)

/* Adds what can be read to the @size bytes of @buffer. */
static void read_more(int fd, char *buffer, size_t *size) {
        ssize_t n;

        while ((n = read(fd, buffer + *size, FIFO_MAX - *size)) > 0)
                *size += (size_t) n;
        buffer[*size] = '\0';
}

/* Nothing but whole records? How many are notes of ours, how many are lines. */
static void count_whole(char *buffer, unsigned *ret_lines, unsigned *ret_notes) {
        *ret_lines = *ret_notes = 0;
        for (char *line = buffer, *end; *line; line = end + 1) {
                end = strchr(line, '\n');
                assert_non_null(end);
                *end = '\0';
                assert_true(end - line > LOGK8S_HEADER && line[4] == '-' && line[LOGK8S_HEADER - 2] == 'F');
                if (strncmp(line + LOGK8S_HEADER, "podspan: ", 9) == 0)
                        (*ret_notes)++;
                else {
                        assert_int_equal(end - line - LOGK8S_HEADER, 4999);
                        (*ret_lines)++;
                }
        }
}

/* A FIFO that nobody reads yet keeps a mebibyte; a reader that stops is waited for once. No record is ever torn. */
static void fifo_without_and_with_a_reader(void **state) {
        const Fixture *fixture = *state;
        _cleanup_free_ char *buffer = malloc(FIFO_MAX + 1);
        const size_t line = 5000;
        uint8_t *input = make_input(line, line);
        uint64_t begin_ns, dropped;
        unsigned lines, notes;
        size_t size = 0;
        Logs *logs;
        int fd;

        assert_non_null(buffer);
        assert_int_equal(mkfifo(fixture->path, 0600), 0);
        logs = fixture_logs(fixture, (LogsOptions){ 0 });
        for (unsigned i = 0; i < 160; i++)
                logs_write(logs, LOGS_STDOUT, input, line, &fixture->now);
        assert_int_equal(logs_counts(logs, LOGS_STDOUT).dropped, 0);

        fd = open(fixture->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(fd >= 0);
        read_more(fd, buffer, &size);
        assert_int_equal(size, 160 * (LOGK8S_HEADER + line));

        /* It stops: half a second of waiting, for the first that does not fit. */
        begin_ns = clk_monotonic();
        for (unsigned i = 0; i < 400; i++)
                logs_write(logs, LOGS_STDOUT, input, line, &fixture->now);
        assert_in_range(clk_monotonic() - begin_ns, LOGPIPE_STALL_MS * NSEC_PER_MSEC, 10 * NSEC_PER_SEC);
        dropped = logs_counts(logs, LOGS_STDOUT).dropped;
        assert_true(dropped > 0 && dropped % line == 0);

        /* Again: the rest of the one that was begun, what was lost, and the next. */
        read_more(fd, buffer, &size);
        logs_write(logs, LOGS_STDOUT, input, line, &fixture->now);
        read_more(fd, buffer, &size);
        count_whole(buffer, &lines, &notes);
        assert_int_equal(notes, 1);
        assert_int_equal(lines, 160 + 401 - dropped / line);
        assert_int_equal(logs_counts(logs, LOGS_STDOUT).dropped, dropped);
        close(fd);
        logs_free(logs);
        free(input);
}

/* Lines longer than a file may be become records that fit. */
static void long_lines_and_a_small_limit(void **state) {
        static const size_t limits[] = { 1, 110, 111, 500, 8192, 16429, 16430 };
        const Fixture *fixture = *state;

        for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
                /* Each file shifts all before it: not too many. */
                const size_t n = limits[i] < 1000 ? 2000 : 40000;
                uint8_t *input = make_input(n, n);
                Logs *logs = fixture_logs(
                        fixture, (LogsOptions){ .size_max = (int64_t) limits[i], .rotate = true, .max_files = 100 });
                Decoded decoded = { 0 };
                LogsCounts counts;

                /* In two pieces, so that a record has a held head, too. */
                logs_write(logs, LOGS_STDOUT, input, n / 4, &fixture->now);
                logs_write(logs, LOGS_STDOUT, input + n / 4, n - n / 4, &fixture->now);
                logs_end(logs, &fixture->now);
                for (unsigned file = 100; file > 0; file--) {
                        char suffix[16];
                        struct stat st;

                        (void) snprintf(suffix, sizeof(suffix), ".%u", file);
                        if (stat(fixture_name(fixture, suffix), &st) < 0)
                                continue;
                        assert_in_range(st.st_size, 1, MAX(limits[i], (size_t) LOGK8S_HEADER + 1 + LOGK8S_PIECE_MIN));
                        decoded_add(&decoded, fixture_name(fixture, suffix));
                        assert_int_equal(unlink(fixture_name(fixture, suffix)), 0);
                }
                decoded_add(&decoded, fixture->path);
                assert_int_equal(decoded.size[LOGS_STDOUT], n);
                assert_memory_equal(decoded.content[LOGS_STDOUT], input, n);
                assert_int_equal(decoded.full[LOGS_STDOUT], 1);
                counts = logs_counts(logs, LOGS_STDOUT);
                assert_int_equal(counts.lines, 1);
                assert_int_equal(counts.partials, decoded.partial[LOGS_STDOUT]);
                decoded_deinit(&decoded);
                logs_free(logs);
                free(input);
                assert_int_equal(unlink(fixture->path), 0);
        }
}

/* Beyond the global limit lines are counted and nothing else, an unfinished one included. */
static void lines_beyond_the_global_limit(void **state) {
        const Fixture *fixture = *state;
        Logs *logs = fixture_logs(fixture, (LogsOptions){ .global_size_max = 100 });
        LogsCounts counts;

        write_text(logs, LOGS_STDOUT, "one\ntwo\nthree\n", &fixture->now);
        write_text(logs, LOGS_STDOUT, "\n\nfour\n\nfi", &fixture->now);
        write_text(logs, LOGS_STDOUT, "ve\n\n", &fixture->now);
        logs_end(logs, &fixture->now);
        counts = logs_counts(logs, LOGS_STDOUT);
        assert_int_equal(counts.lines, 9);
        assert_int_equal(counts.limited, strlen("\n\nfour\n\nfive\n\n"));
        assert_int_equal(counts.dropped + counts.partials, 0);
        logs_free(logs);
}

/* Losing now and then says so once a second at most. */
static void notes_are_rare(void **state) {
        const Fixture *fixture = *state;
        Logs *logs = fixture_logs(fixture, (LogsOptions){ 0 });
        struct rlimit saved;
        Clk now = fixture->now;
        Decoded decoded = { 0 };
        unsigned notes;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
        for (int i = 0; i < 40; i++) {
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 1, saved.rlim_max }), 0);
                write_text(logs, LOGS_STDOUT, "lost\n", &now);
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
                write_text(logs, LOGS_STDOUT, "kept\n", &now);
                now.monotonic_ns += NSEC_PER_SEC / 10;
        }
        logs_end(logs, &now);
        decoded_add(&decoded, fixture->path);
        notes = decoded.full[LOGS_STDERR];
        assert_in_range(notes, 4, 5);
        assert_int_equal(decoded.full[LOGS_STDOUT], 40);
        decoded_deinit(&decoded);
        logs_free(logs);
}

/* copytruncate: goes on at the new end, without a hole. */
static void truncated_by_others(void **state) {
        const Fixture *fixture = *state;
        Told told = { 0 };
        Logs *logs = fixture_logs(
                fixture, (LogsOptions){ .size_max = 120, .hooks = { .rotated = on_rotated, .userdata = &told } });
        Decoded decoded = { 0 };

        write_text(logs, LOGS_STDOUT, "12345\n12345\n", &fixture->now);
        assert_int_equal(truncate(fixture->path, 0), 0);
        write_text(logs, LOGS_STDOUT, "12345\n", &fixture->now);
        decoded_add(&decoded, fixture->path);
        assert_int_equal(decoded.full[LOGS_STDOUT], 1);
        assert_int_equal(told.rotations[LOGS_TRUNCATED], 0);
        decoded_deinit(&decoded);
        logs_free(logs);
}

static void no_destination(void **state) {
        const Fixture *fixture = *state;
        const char *paths[] = { "none", "passthrough" };
        Logs *logs = fixture_logs(fixture, (LogsOptions){ .paths = paths, .n_paths = 2 });

        assert_true(logs_passthrough(logs));
        assert_false(logs_has(logs, LOGS_K8S_FILE));
        assert_false(logs_has(logs, LOGS_JOURNALD));
        write_text(logs, LOGS_STDOUT, "a\nb", &fixture->now);
        assert_int_equal(logs_counts(logs, LOGS_STDOUT).bytes, 3);
        assert_int_equal(logs_counts(logs, LOGS_STDOUT).lines, 0);
        assert_true(logs_deadline(logs) == UINT64_MAX);
        assert_int_equal(logs_reopen(logs, &fixture->now), 0);
        logs_end(logs, &fixture->now);
        assert_int_equal(logs_sync(logs), 0);
        logs_free(logs);
}

static void wrong_options(void **state) {
        const Fixture *fixture = *state;
        const char *file[] = { fixture->path }, *journald[] = { "journald" }, *both[] = { fixture->path, "journald:" };
        const char *missing[] = { "/nonexistent/log" }, *empty[] = { "none", "" }, *labels[] = { "KEY" };
        const struct {
                LogsOptions options;
                const char *message;
        } cases[] = {
                { { 0 }, "Log driver not provided. Use --log-path" },
                { { .paths = empty, .n_paths = 2 }, "log-path must not be empty" },
                { { .paths = missing, .n_paths = 1 }, "Failed to open log file No such file or directory" },
                { { .paths = file, .n_paths = 1, .tag = "t" }, "k8s-file doesn't support --log-tag" },
                { { .paths = file, .n_paths = 1, .labels = labels, .n_labels = 1 },
                  "k8s-file doesn't support --log-label" },
                { { .paths = journald, .n_paths = 1 }, "Container ID must be provided and of the correct length" },
                { { .paths = journald, .n_paths = 1, .id = "0123456789ab" },
                  "Container ID must be longer than 12 characters" },
                { { .paths = both, .n_paths = 2, .id = "0123456789abc", .labels = labels, .n_labels = 1 },
                  "Container labels must be in format LABEL=VALUE (none or more than one '=' present in 'KEY')" },
                { { .paths = file, .n_paths = 1, .max_files = -1 }, "log-max-files must be non-negative, got -1" },
                { { .paths = file, .n_paths = 1, .rotate = true },
                  "log-max-files must be at least 1 when log-rotate is enabled, got 0" },
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Logs *logs = NULL;
                char *message = NULL;

                if (logs_new(&cases[i].options, &message, &logs) >= 0)
                        fail_msg("accepted: %s", cases[i].message);
                assert_null(logs);
                assert_string_equal(message, cases[i].message);
                free(message);
        }
        assert_null(logs_free(NULL));
}

/* Of two files the last one counts. */
static void last_file_counts(void **state) {
        const Fixture *fixture = *state;
        const char *paths[] = { "/nonexistent/log", fixture->path };
        Logs *logs = fixture_logs(fixture, (LogsOptions){ .paths = paths, .n_paths = 2 });

        assert_true(logs_has(logs, LOGS_K8S_FILE));
        assert_true(fixture_exists(fixture, ""));
        logs_free(logs);
}

/* With a limit every record is looked at, without one whole lines go the short way: to the same bytes. */
static void both_ways(void **state) {
        static const size_t lines[] = { 1, 2, 7, 100, 1000, 1024, 1025, 1026, 16384, 16385, 16386, 40000, 0 };
        Fixture *fixture = *state;

        for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
                const size_t size = 300000;
                _cleanup_free_ uint8_t *input = make_input(size, lines[i]);
                _cleanup_free_ char *plain = NULL, *limited = NULL;
                const char *other = fixture_name(fixture, ".limited");
                Logs *a = fixture_logs(fixture, (LogsOptions){ 0 });
                Logs *b = fixture_logs(fixture,
                                       (LogsOptions){ .paths = &other, .n_paths = 1, .size_max = INT64_MAX / 2 });
                LogsCounts of_a, of_b;
                size_t n_plain, n_limited;

                for (size_t at = 0; at < size;) {
                        const size_t n = MIN(size - at, (size_t) random_next() % 70000 + 1);
                        const LogsStream stream = (LogsStream) (random_next() % 8 == 0);

                        logs_write(a, stream, input + at, n, &fixture->now);
                        logs_write(b, stream, input + at, n, &fixture->now);
                        at += n;
                        fixture->now.realtime_ns += random_next() % (NSEC_PER_SEC / 3);
                }
                logs_end(a, &fixture->now);
                logs_end(b, &fixture->now);
                of_a = logs_counts(a, LOGS_STDOUT);
                of_b = logs_counts(b, LOGS_STDOUT);
                assert_memory_equal(&of_a, &of_b, sizeof(of_a));
                logs_free(a);
                logs_free(b);

                plain = fixture_read(fixture->path, &n_plain);
                limited = fixture_read(other, &n_limited);
                assert_int_equal(n_plain, n_limited);
                assert_memory_equal(plain, limited, n_plain);
                assert_int_equal(unlink(fixture->path), 0);
                assert_int_equal(unlink(other), 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(log_is_the_input, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(record_to_the_byte, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(both_ways, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(time_moves, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(unfinished_lines, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(existing_log, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(size_max_is_exact, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(tiny_limit, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(rotation_loses_nothing, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(reopening_loses_nothing, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(rotation_fails_for_a_while, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(reopening_fails_for_a_while, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(global_size_max, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(disk_full, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(disk_full_in_a_long_line, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(never_any_room, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(fifo_without_and_with_a_reader, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(long_lines_and_a_small_limit, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(lines_beyond_the_global_limit, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(notes_are_rare, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(truncated_by_others, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(no_destination, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(wrong_options, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(last_file_counts, fixture_setup, fixture_teardown),
        };

        (void) signal(SIGXFSZ, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
