#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "clk.h"
#include "watchstate.h"

#define RECORD_VERSION "podspan-watch 1"
#define RECORD_NEW     "." WATCHSTATE_FILE
#define BOOT_ID_FILE   "/proc/sys/kernel/random/boot_id"

static const char *const kind_names[_WATCHSTATE_KIND_MAX] = {
        [WATCHSTATE_STARTING] = "starting", [WATCHSTATE_RUNNING] = "running", [WATCHSTATE_REFUSED] = "refused",
        [WATCHSTATE_FAILED] = "failed",     [WATCHSTATE_STOPPED] = "stopped", [WATCHSTATE_DIED] = "died",
        [WATCHSTATE_STALE] = "stale",
};

static const char *const missing_names[_WATCHSTATE_MISSING_MAX] = {
        [WATCHSTATE_MISSING_NONE] = "",
        [WATCHSTATE_MISSING_KERNEL] = "kernel",
        [WATCHSTATE_MISSING_BTF] = "btf",
        [WATCHSTATE_MISSING_CAPABILITY] = "capability",
        [WATCHSTATE_MISSING_NAMESPACE] = "namespace",
};

const char *watchstate_kind_name(WatchStateKind kind) {
        assert(kind < _WATCHSTATE_KIND_MAX);
        return kind_names[kind];
}

const char *watchstate_missing_name(WatchStateMissing missing) {
        assert(missing < _WATCHSTATE_MISSING_MAX);
        return missing_names[missing];
}

/* The place of the @len bytes at @s among @names, or -EBADMSG. */
static int find_name(const char *const *names, size_t n_names, const char *s, size_t len) {
        for (size_t i = 0; i < n_names; i++)
                if (strlen(names[i]) == len && memcmp(names[i], s, len) == 0)
                        return (int) i;
        return -EBADMSG;
}

/* Copies what is printable; anything else becomes '?', so that no terminal acts on it. */
static void copy_reason(char ret[static WATCHSTATE_REASON_MAX], const char *s, size_t len) {
        util_copy_bounded(ret, WATCHSTATE_REASON_MAX, s, len);
        len = strlen(ret);
        if (!util_utf8_valid(ret, len))
                for (size_t i = 0; i < len; i++)
                        ret[i] = (unsigned char) ret[i] < 0x80 ? ret[i] : '?';
        for (size_t i = 0; i < len; i++)
                /* U+0080 to U+009F are control characters, too. */
                if ((unsigned char) ret[i] < ' ' || ret[i] == 0x7f)
                        ret[i] = '?';
                else if ((unsigned char) ret[i] == 0xc2 && (unsigned char) ret[i + 1] < 0xa0)
                        ret[i] = ret[i + 1] = '?';
}

static bool is_boot_id(const char *s, size_t len) {
        /* @s has no end of its own. */
        for (size_t i = 0; i < len; i++)
                if (s[i] == '\0' || !strchr("0123456789abcdef-", s[i]))
                        return false;
        return len == WATCHSTATE_BOOT_SIZE - 1;
}

/* One line behind the first. Returns a bit for each key that a record must have, 0 for any other, or -EBADMSG. */
static int parse_line(const char *key, size_t key_len, const char *value, size_t len, WatchState *state,
                      char boot[static WATCHSTATE_BOOT_SIZE]) {
        static const char *const keys[] = { "state", "missing", "pid", "since_ns", "boot", "reason" };
        int which = find_name(keys, ARRAY_SIZE(keys), key, key_len), r;
        uint64_t number;

        switch (which) {
        case 0:
                r = find_name(kind_names, WATCHSTATE_DIED, value, len);
                if (r < 0)
                        return r;
                state->kind = (WatchStateKind) r;
                break;
        case 1:
                r = find_name(missing_names, ARRAY_SIZE(missing_names), value, len);
                if (r < 0)
                        return r;
                state->missing = (WatchStateMissing) r;
                break;
        case 2:
                if (util_parse_u64(value, len, &number) < 0 || number == 0 || number > INT_MAX)
                        return -EBADMSG;
                state->pid = (pid_t) number;
                break;
        case 3:
                if (util_parse_u64(value, len, &state->since_ns) < 0)
                        return -EBADMSG;
                break;
        case 4:
                if (!is_boot_id(value, len))
                        return -EBADMSG;
                memcpy(boot, value, len);
                boot[len] = '\0';
                break;
        case 5:
                copy_reason(state->reason, value, len);
                break;
        default:
                return 0;
        }
        return 1 << which;
}

int watchstate_parse(const char *text, size_t len, WatchState *ret, char ret_boot[static WATCHSTATE_BOOT_SIZE]) {
        static const char version[] = RECORD_VERSION "\n";
        char boot[WATCHSTATE_BOOT_SIZE] = {};
        const char *at, *end = text + len;
        WatchState state = {};
        int seen = 0;

        assert(text || len == 0);
        assert(ret);

        if (len > WATCHSTATE_MAX || len < sizeof(version) - 1 || memcmp(text, version, sizeof(version) - 1) != 0)
                return -EBADMSG;
        for (at = text + sizeof(version) - 1; at < end;) {
                const char *line_end = memchr(at, '\n', (size_t) (end - at)), *space;
                int r;

                if (!line_end)
                        return -EBADMSG; /* cut off */
                space = memchr(at, ' ', (size_t) (line_end - at));
                if (!space)
                        return -EBADMSG;
                r = parse_line(at, (size_t) (space - at), space + 1, (size_t) (line_end - space - 1), &state, boot);
                if (r < 0 || (seen & r))
                        return -EBADMSG;
                seen |= r;
                at = line_end + 1;
        }
        if (seen != 0x3f || (state.kind == WATCHSTATE_REFUSED) != (state.missing != WATCHSTATE_MISSING_NONE))
                return -EBADMSG;

        *ret = state;
        memcpy(ret_boot, boot, sizeof(boot));
        return 0;
}

size_t watchstate_format(const WatchState *state, const char *boot, char ret[static WATCHSTATE_MAX]) {
        char reason[WATCHSTATE_REASON_MAX];
        int n;

        assert(state);
        assert(state->kind < WATCHSTATE_DIED);

        copy_reason(reason, state->reason, strnlen(state->reason, sizeof(state->reason) - 1));
        n = snprintf(ret, WATCHSTATE_MAX,
                     RECORD_VERSION "\nstate %s\nmissing %s\npid %d\nsince_ns %" PRIu64 "\nboot %s\nreason %s\n",
                     watchstate_kind_name(state->kind), watchstate_missing_name(state->missing), (int) state->pid,
                     state->since_ns, boot, reason);
        assert(n > 0 && n < WATCHSTATE_MAX);
        return (size_t) n;
}

static int read_boot_id(char ret[static WATCHSTATE_BOOT_SIZE]) {
        _cleanup_close_ int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
        char id[WATCHSTATE_BOOT_SIZE]; /* with a newline */

        if (fd < 0)
                return -errno;
        if (read(fd, id, sizeof(id)) != sizeof(id))
                return -EIO;
        id[sizeof(id) - 1] = '\0';
        if (!is_boot_id(id, sizeof(id) - 1))
                return -EBADMSG;
        memcpy(ret, id, sizeof(id));
        return 0;
}

/* Does a process hold the lock of this record? Asks only, about locks for writing: whoever may read it can lock it for
 * reading. */
static bool is_locked(int fd) {
        struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

        return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int open_record(int state_fd) {
        _cleanup_close_ int fd = openat(state_fd, WATCHSTATE_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        struct stat folder, record;

        if (fd < 0)
                return errno == ELOOP ? -EPERM : -errno;
        if (fstat(state_fd, &folder) < 0 || fstat(fd, &record) < 0)
                return -errno;
        if (!S_ISREG(record.st_mode) || record.st_uid != folder.st_uid || (record.st_mode & (S_IWGRP | S_IWOTH)))
                return -EPERM;
        return TAKE_FD(fd);
}

int watchstate_read(int state_fd, WatchState *ret) {
        char boot[WATCHSTATE_BOOT_SIZE], now[WATCHSTATE_BOOT_SIZE];
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -EBADF;
        WatchState state;
        size_t len;
        int r;

        assert(ret);

        fd = open_record(state_fd);
        if (fd < 0)
                return fd;
        r = util_read_fd(fd, WATCHSTATE_MAX, &text, &len);
        if (r < 0)
                return r == -EFBIG ? -EBADMSG : r;
        r = watchstate_parse(text, len, &state, boot);
        if (r < 0)
                return r;
        r = read_boot_id(now);
        if (r < 0)
                return r;

        if (strcmp(boot, now) != 0)
                state.kind = WATCHSTATE_STALE;
        else if (state.kind <= WATCHSTATE_RUNNING && !is_locked(fd))
                state.kind = WATCHSTATE_DIED;
        *ret = state;
        return 0;
}

/* Is there the record of another process that starts or runs? */
static bool is_taken(int state_fd, int lock_fd) {
        _cleanup_close_ int fd = open_record(state_fd);
        struct stat there, ours;

        if (fd < 0)
                return false;
        if (lock_fd >= 0 && fstat(fd, &there) == 0 && fstat(lock_fd, &ours) == 0 && there.st_dev == ours.st_dev &&
            there.st_ino == ours.st_ino)
                return false;
        return is_locked(fd);
}

int watchstate_write(int state_fd, const WatchState *state, int *lock_fd) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        char text[WATCHSTATE_MAX], boot[WATCHSTATE_BOOT_SIZE];
        _cleanup_close_ int fd = -EBADF;
        WatchState now;
        int r;

        assert(state);
        assert(lock_fd);

        if (is_taken(state_fd, *lock_fd))
                return -EBUSY;
        r = read_boot_id(boot);
        if (r < 0)
                return r;
        now = *state;
        now.pid = getpid();
        now.since_ns = clk_now().realtime_ns;

        /* A process that was killed in here has left its own. */
        (void) unlinkat(state_fd, RECORD_NEW, 0);
        fd = openat(state_fd, RECORD_NEW, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = util_write_all(fd, text, watchstate_format(&now, boot, text));
        /* Before anybody can see it: a record without its lock is of a process that died. */
        if (r == 0 && now.kind <= WATCHSTATE_RUNNING && fcntl(fd, F_OFD_SETLK, &lock) < 0)
                r = -errno;
        /* Only now for the group: a lock of somebody else's would be in the way of ours. */
        if (r == 0 && fchmod(fd, 0640) < 0)
                r = -errno;
        if (r == 0 && renameat(state_fd, RECORD_NEW, state_fd, WATCHSTATE_FILE) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(state_fd, RECORD_NEW, 0);
                return r;
        }

        close_fd(*lock_fd);
        *lock_fd = now.kind <= WATCHSTATE_RUNNING ? TAKE_FD(fd) : -EBADF;
        return 0;
}
