#pragma once

/* What the tests of the log side share: a directory, and reading a k8s-file back. Include cmocka.h first. */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "logk8s.h"
#include "logs.h"

#define START_NS UINT64_C(1763730855123456789) /* 2025-11-21T13:14:15.123456789Z */

typedef struct Fixture {
        char dir[32];
        char path[64];
        Clk now;
} Fixture;

/* A file read back. */
typedef struct Decoded {
        uint8_t *content[LOGS_STREAM_MAX];
        size_t size[LOGS_STREAM_MAX];
        unsigned full[LOGS_STREAM_MAX], partial[LOGS_STREAM_MAX];
} Decoded;

static inline int fixture_setup(void **state) {
        Fixture *fixture = calloc(1, sizeof(*fixture));

        strcpy(fixture->dir, "/tmp/test-logs-XXXXXX");
        assert_non_null(mkdtemp(fixture->dir));
        (void) snprintf(fixture->path, sizeof(fixture->path), "%s/log", fixture->dir);
        fixture->now = (Clk){ .realtime_ns = START_NS, .monotonic_ns = 1000 * NSEC_PER_SEC };
        *state = fixture;
        return 0;
}

static inline int fixture_teardown(void **state) {
        Fixture *fixture = *state;
        DIR *dir = opendir(fixture->dir);
        struct dirent *entry;

        assert_non_null(dir);
        while ((entry = readdir(dir)))
                if (entry->d_name[0] != '.')
                        assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
        closedir(dir);
        assert_int_equal(rmdir(fixture->dir), 0);
        free(fixture);
        return 0;
}

/* The name of PATH@suffix, in a static buffer. */
static inline const char *fixture_name(const Fixture *fixture, const char *suffix) {
        static char name[128];

        (void) snprintf(name, sizeof(name), "%s%s", fixture->path, suffix);
        return name;
}

static inline bool fixture_exists(const Fixture *fixture, const char *suffix) {
        return access(fixture_name(fixture, suffix), F_OK) == 0;
}

static inline char *fixture_read(const char *path, size_t *ret_size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        char *text;

        assert_true(fd >= 0);
        assert_int_equal(util_read_fd(fd, 1U << 30, &text, ret_size), 0);
        return text;
}

static inline Logs *fixture_logs(const Fixture *fixture, LogsOptions options) {
        const char *paths[] = { fixture->path };
        char *message;
        Logs *logs;

        if (options.n_paths == 0) {
                options.paths = paths;
                options.n_paths = 1;
        }
        assert_int_equal(logs_new(&options, &message, &logs), 0);
        assert_null(message);
        return logs;
}

/* Appends what is in the file to @decoded, and fails on a record that is not the CRI's. */
static inline void decoded_add(Decoded *decoded, const char *path) {
        size_t size;
        _cleanup_free_ char *text = fixture_read(path, &size);

        for (size_t i = 0; i < LOGS_STREAM_MAX; i++) {
                decoded->content[i] = realloc(decoded->content[i], decoded->size[i] + size + 1);
                assert_non_null(decoded->content[i]);
        }
        for (const char *at = text; at < text + size;) {
                static const char form[] = "0000-00-00T00:00:00.000000000+00:00 std";
                const char *end = memchr(at, '\n', size - (size_t) (at - text));
                const size_t content = end ? (size_t) (end - at) - LOGK8S_HEADER : 0;
                LogsStream stream;

                assert_non_null(end);
                assert_true(end - at >= LOGK8S_HEADER);
                for (size_t i = 0; form[i]; i++) {
                        if (form[i] == '0')
                                assert_in_range(at[i], '0', '9');
                        else if (form[i] == '+')
                                assert_true(at[i] == '+' || at[i] == '-');
                        else
                                assert_int_equal(at[i], form[i]);
                }
                assert_true(memcmp(at + 39, "out ", 4) == 0 || memcmp(at + 39, "err ", 4) == 0);
                stream = at[39] == 'o' ? LOGS_STDOUT : LOGS_STDERR;
                assert_true(at[43] == 'F' || at[43] == 'P');
                assert_int_equal(at[44], ' ');
                assert_true(content <= LOGS_LINE_MAX);

                memcpy(decoded->content[stream] + decoded->size[stream], at + LOGK8S_HEADER, content);
                decoded->size[stream] += content;
                if (at[43] == 'F') {
                        decoded->content[stream][decoded->size[stream]++] = '\n';
                        decoded->full[stream]++;
                } else
                        decoded->partial[stream]++;
                at = end + 1;
        }
}

static inline void decoded_deinit(Decoded *decoded) {
        for (size_t i = 0; i < LOGS_STREAM_MAX; i++)
                free(decoded->content[i]);
}
