#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "cgroupfile.h"
#include "exitfacts.h"
#include "util.h"

#define FILE_MAX    8192        /* of a cgroup's file, and of /proc/PID/stat */
#define FLAG_NOEXEC 0x00000040U /* the kernel's PF_FORKNOEXEC: forked, and nothing executed since */
#define FIELD_FLAGS 7           /* in /proc/PID/stat, counted from the state, which is 1 */
#define LEVELS_MAX  32          /* groups above that are looked at */

typedef struct Text {
        char s[FILE_MAX];
        size_t len;
} Text;

static int read_text(int dir_fd, const char *name, Text *ret) {
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, ret->s, sizeof(ret->s));
        if (n < 0)
                return -errno;
        ret->len = (size_t) n;
        return 0;
}

bool exitfacts_parse_stat(const char *s, size_t len) {
        /* The name in parentheses is the process's own, and can hold anything. */
        const char *at = len > 0 ? memrchr(s, ')', len) : NULL, *end = s + len;
        uint64_t flags;

        if (!at)
                return false;
        for (unsigned field = 1; ++at < end && *at == ' '; field++) {
                const char *word = at + 1;

                at = word < end ? memchr(word, ' ', (size_t) (end - word)) : NULL;
                if (!at)
                        return false;
                if (field == FIELD_FLAGS)
                        return util_parse_u64(word, (size_t) (at - word), &flags) == 0 && flags & FLAG_NOEXEC;
                at--;
        }
        return false;
}

bool exitfacts_never_ran(pid_t pid) {
        char path[64];
        Text text;

        (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
        return read_text(AT_FDCWD, path, &text) == 0 && exitfacts_parse_stat(text.s, text.len);
}

/* Negative where it is not there, or no number of ours. */
static int64_t value_of(const Text *text, const char *key) {
        uint64_t value;

        if (cgroupfile_value(text->s, text->len, key, &value) < 0 || value > INT64_MAX)
                return -1;
        return (int64_t) value;
}

static void read_throttled(int cpu_fd, bool unified, VerdictFacts *facts) {
        int64_t time;
        Text text;

        if (cpu_fd < 0 || read_text(cpu_fd, "cpu.stat", &text) < 0)
                return;
        facts->periods = value_of(&text, "nr_periods");
        facts->throttled_periods = value_of(&text, "nr_throttled");
        time = value_of(&text, unified ? "throttled_usec" : "throttled_time");
        if (time >= 0 && __builtin_mul_overflow(time, unified ? (int64_t) NSEC_PER_USEC : 1, &time))
                time = -1;
        facts->throttled_ns = time;
}

void exitfacts_read_counts(int memory_fd, int cpu_fd, bool unified, VerdictFacts *facts) {
        const struct {
                const char *key;
                int64_t *to;
        } counts[] = {
                { "low", &facts->memory_low },           { "high", &facts->memory_high },
                { "max", &facts->memory_max },           { "oom", &facts->memory_oom },
                { "oom_kill", &facts->memory_oom_kill }, { "oom_group_kill", &facts->memory_oom_group_kill },
        };
        Text text;

        assert(facts);

        read_throttled(cpu_fd, unified, facts);
        if (memory_fd < 0)
                return;
        if (unified && read_text(memory_fd, "memory.events", &text) == 0)
                for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
                        *counts[i].to = value_of(&text, counts[i].key);
        else if (!unified && read_text(memory_fd, "memory.oom_control", &text) == 0)
                facts->memory_oom_kill = value_of(&text, "oom_kill");
}

/* What the group at @path counted of its own limit. Returns 0, -ENOENT of the root, or another negative errno. */
static int read_local(int dir_fd, const char *path, Text *ret) {
        char name[3 * LEVELS_MAX + 32];

        (void) snprintf(name, sizeof(name), "%smemory.events.local", path);
        return read_text(dir_fd, name, ret);
}

/* Was no limit above ever hit? */
static bool above_is_quiet(int memory_fd) {
        char path[3 * LEVELS_MAX + 1] = "";

        for (unsigned level = 0; level < LEVELS_MAX; level++) {
                Text text;
                int r;

                (void) strcat(path, "../");
                r = read_local(memory_fd, path, &text);
                if (r < 0)
                        return r == -ENOENT;
                if (value_of(&text, "oom") != 0)
                        return false;
        }
        return false;
}

void exitfacts_read_scope(int memory_fd, bool unified, VerdictFacts *facts) {
        uint64_t limit;
        Text text;

        assert(facts);

        facts->oom_scope = VERDICT_SCOPE_UNKNOWN;
        if (!unified || memory_fd < 0 || read_local(memory_fd, "", &text) < 0 || value_of(&text, "oom") < 1)
                return;
        /* With memory.oom.group all processes are killed at once. */
        if (value_of(&text, "oom_kill") != 1 && (value_of(&text, "oom_group_kill") != 1 || value_of(&text, "oom") != 1))
                return;
        if (!above_is_quiet(memory_fd))
                return;
        facts->oom_scope = VERDICT_SCOPE_CONTAINER;
        if (read_text(memory_fd, "memory.max", &text) == 0 && text.len > 0 && text.s[text.len - 1] == '\n' &&
            util_parse_u64(text.s, text.len - 1, &limit) == 0 && limit <= INT64_MAX)
                facts->oom_limit_bytes = (int64_t) limit;
}
