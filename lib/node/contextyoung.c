#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "contextyoung.h"

/* A slot is MARK, text, MARK, then zeros; the layout is docs/context.md's. */
#define SLOT_SIZE         1024
#define MARK_SIZE         17 /* 16 hex digits and a newline */
#define FILE_MODE         0640
#define READ_ATTEMPTS_MAX 3
#define OPEN_ATTEMPTS_MAX 3

_Static_assert(CONTEXTYOUNG_TEXT_MAX + 2 * MARK_SIZE <= SLOT_SIZE, "a record fits");
_Static_assert(CONTEXTYOUNG_SLOTS <= 32, "a bit each");

struct ContextYoung {
        int dir_fd;    /* borrowed */
        int fd;        /* has the lock */
        uint32_t used; /* bit N: slot N holds a record of ours, */
        uint32_t left; /* or of a writer that died */
        uint16_t size[CONTEXTYOUNG_SLOTS];
};

static const char zeros[SLOT_SIZE];

static off_t slot_offset(int slot) {
        return (off_t) slot * SLOT_SIZE;
}

/* Slots in which a writer that died has left something. */
static int find_left(ContextYoung *young) {
        char first;

        for (int slot = 0; slot < CONTEXTYOUNG_SLOTS; slot++) {
                ssize_t n = pread(young->fd, &first, 1, slot_offset(slot));

                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                if (first != '\0') {
                        young->left |= UINT32_C(1) << slot;
                        young->size[slot] = SLOT_SIZE;
                }
        }
        return 0;
}

/* Opens and locks the file. -EAGAIN: somebody has removed it meanwhile. */
static int open_file(int dir_fd) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        fd = openat(dir_fd, CONTEXTYOUNG_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, FILE_MODE);
        if (fd < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        if (st.st_nlink == 0)
                return -EAGAIN;
        /* The umask may be a runtime's. */
        if ((st.st_mode & 07777) != FILE_MODE)
                (void) fchmod(fd, FILE_MODE);
        return TAKE_FD(fd);
}

int contextyoung_open(int dir_fd, ContextYoung **ret) {
        _cleanup_(contextyoung_closep) ContextYoung *young = NULL;
        int r = -EAGAIN;

        assert(ret);

        young = calloc(1, sizeof(*young));
        if (!young)
                return -ENOMEM;
        young->dir_fd = dir_fd;
        young->fd = -EBADF;

        for (int i = 0; i < OPEN_ATTEMPTS_MAX && r == -EAGAIN; i++)
                r = open_file(dir_fd);
        if (r < 0)
                return r;
        young->fd = r;
        r = find_left(young);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(young);
        return 0;
}

bool contextyoung_removed(const ContextYoung *young) {
        struct stat st;

        assert(young);

        return fstat(young->fd, &st) == 0 && st.st_nlink == 0;
}

ContextYoung *contextyoung_close(ContextYoung *young) {
        if (!young)
                return NULL;
        for (int slot = 0; slot < CONTEXTYOUNG_SLOTS; slot++)
                if (young->used & (UINT32_C(1) << slot))
                        contextyoung_clear(young, slot);
        if (young->fd >= 0 && young->left == 0 && !contextyoung_removed(young))
                (void) unlinkat(young->dir_fd, CONTEXTYOUNG_NAME, 0);
        young->fd = close_fd(young->fd);
        free(young);
        return NULL;
}

static void write_mark(char *p, uint64_t seq) {
        util_hex_u64(seq, p);
        p[MARK_SIZE - 1] = '\n';
}

int contextyoung_put(ContextYoung *young, uint64_t seq, const char *text, size_t len) {
        size_t size = len + 2 * MARK_SIZE;
        char bytes[SLOT_SIZE];
        uint32_t taken;
        ssize_t n;
        int slot;

        assert(young);
        assert(text || len == 0);

        if (len > CONTEXTYOUNG_TEXT_MAX)
                return -E2BIG;
        taken = young->used | young->left;
        if (taken == UINT32_MAX)
                return -EBUSY;
        slot = __builtin_ctz(~taken);

        write_mark(bytes, seq);
        (void) memcpy(bytes + MARK_SIZE, text, len);
        write_mark(bytes + MARK_SIZE + len, seq);
        n = pwrite(young->fd, bytes, size, slot_offset(slot));
        if (n < 0)
                return -errno;

        young->used |= UINT32_C(1) << slot;
        young->size[slot] = (uint16_t) size;
        if ((size_t) n != size) {
                contextyoung_clear(young, slot);
                return -ENOSPC;
        }
        return slot;
}

void contextyoung_clear(ContextYoung *young, int slot) {
        assert(young);
        assert(slot >= 0 && slot < CONTEXTYOUNG_SLOTS);

        /* No space is needed for what is overwritten. */
        (void) !pwrite(young->fd, zeros, young->size[slot], slot_offset(slot));
        young->used &= ~(UINT32_C(1) << slot);
        young->left &= ~(UINT32_C(1) << slot);
}

void contextyoung_clear_left(ContextYoung *young) {
        assert(young);

        while (young->left)
                contextyoung_clear(young, __builtin_ctz(young->left));
}

const char *contextyoung_text(const char *slot, size_t size, size_t *ret_len) {
        const char *end;

        assert(slot || size == 0);
        assert(ret_len);

        /* A slot is zeroed before it is used again, so what is half written has a zero in it. */
        end = size > 0 ? memchr(slot, '\0', size) : NULL;
        if (end)
                size = (size_t) (end - slot);
        if (size < 2 * MARK_SIZE || slot[MARK_SIZE - 1] != '\n' ||
            memcmp(slot, slot + size - MARK_SIZE, MARK_SIZE) != 0)
                return NULL;
        *ret_len = size - 2 * MARK_SIZE;
        return slot + MARK_SIZE;
}

int contextyoung_get(const ContextYoung *young, int slot, char *ret, size_t size) {
        char bytes[SLOT_SIZE];
        const char *text;
        size_t len;
        ssize_t n;

        assert(young);
        assert(slot >= 0 && slot < CONTEXTYOUNG_SLOTS);
        assert(ret);

        n = pread(young->fd, bytes, sizeof(bytes), slot_offset(slot));
        if (n < 0)
                return -errno;
        text = contextyoung_text(bytes, (size_t) n, &len);
        if (!text || len > size)
                return -EBADMSG;
        (void) memcpy(ret, text, len);
        return (int) len;
}

int contextyoung_each(int dir_fd, int (*fn)(int slot, const char *text, size_t len, void *userdata), void *userdata) {
        _cleanup_close_ int fd = -EBADF;
        char bytes[SLOT_SIZE];

        assert(fn);

        fd = openat(dir_fd, CONTEXTYOUNG_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;

        for (int slot = 0; slot < CONTEXTYOUNG_SLOTS; slot++) {
                const char *text = NULL;
                size_t len;
                int r;

                /* What changes while it is read is looked at again: it may be there in a moment. */
                for (int i = 0; i < READ_ATTEMPTS_MAX && !text; i++) {
                        ssize_t n = pread(fd, bytes, sizeof(bytes), slot_offset(slot));

                        if (n < 0)
                                return -errno;
                        if (n == 0)
                                return 0;
                        if (bytes[0] == '\0')
                                break;
                        text = contextyoung_text(bytes, (size_t) n, &len);
                }
                if (!text)
                        continue;
                r = fn(slot, text, len, userdata);
                if (r < 0)
                        return r;
        }
        return 0;
}
