#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "contextpool.h"

#define DOT_NAME_MAX 48

typedef struct PoolFile {
        int fd;        /* -EBADF: not made, or lost */
        uint32_t size; /* bytes in it */
        int next;      /* number of the file that began to rest before it, 0: none */
        char name[DOT_NAME_MAX];
} PoolFile;

struct ContextPool {
        int dir_fd;
        uint32_t pid;
        int n_files;
        int resting; /* the one that began to rest last; 0: none */
        PoolFile files[CONTEXTPOOL_FILES_MAX + 1];
};

uint32_t contextpool_name_pid(const char *name) {
        const char *end;
        uint64_t pid;

        if (strncmp(name, ".pool.", 6) != 0)
                return 0;
        end = strchr(name + 6, '.');
        if (!end || util_parse_u64(name + 6, (size_t) (end - name - 6), &pid) < 0 || pid > INT32_MAX)
                return 0;
        return (uint32_t) pid;
}

ContextPool *contextpool_new(int dir_fd, uint32_t pid) {
        ContextPool *pool;

        pool = malloc(sizeof(*pool));
        if (!pool)
                return NULL;
        /* Not the files: what is not used is not touched, and takes no memory. */
        pool->dir_fd = dir_fd;
        pool->pid = pid;
        pool->n_files = 0;
        pool->resting = 0;
        return pool;
}

static void drop(ContextPool *pool, int n) {
        (void) unlinkat(pool->dir_fd, pool->files[n].name, 0);
        pool->files[n].fd = close_fd(pool->files[n].fd);
}

ContextPool *contextpool_free(ContextPool *pool) {
        if (!pool)
                return NULL;
        for (int n = 1; n <= pool->n_files; n++)
                drop(pool, n);
        free(pool);
        return NULL;
}

static int make(ContextPool *pool, int n) {
        PoolFile *file = &pool->files[n];
        int fd;

        /* One of this name was left by a process that had our pid, or is a lost one of ours. */
        (void) snprintf(file->name, sizeof(file->name), ".pool.%" PRIu32 ".%d", pool->pid, n);
        (void) unlinkat(pool->dir_fd, file->name, 0);
        fd = openat(pool->dir_fd, file->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
        if (fd < 0)
                return -errno;
        (void) fchmod(fd, 0640);
        file->fd = fd;
        file->size = 0;
        return 0;
}

static void rest(ContextPool *pool, int n) {
        pool->files[n].next = pool->resting;
        pool->resting = n;
}

/* A file that may be written. Returns its number or a negative errno. */
static int take(ContextPool *pool) {
        int n = pool->resting, r;

        if (n > 0) {
                pool->resting = pool->files[n].next;
        } else if (pool->n_files < CONTEXTPOOL_FILES_MAX) {
                n = ++pool->n_files;
                pool->files[n] = (PoolFile){ .fd = -EBADF };
        } else
                return -EBUSY;

        if (pool->files[n].fd < 0) {
                r = make(pool, n);
                if (r < 0) {
                        rest(pool, n);
                        return r;
                }
        }
        return n;
}

int contextpool_show(ContextPool *pool, const char *name, const char *text, size_t len) {
        PoolFile *file;
        int n, r = 0;

        n = take(pool);
        if (n < 0)
                return n;
        file = &pool->files[n];

        if (pwrite(file->fd, text, len, 0) != (ssize_t) len ||
            (len < file->size && ftruncate(file->fd, (off_t) len) < 0))
                r = errno ? -errno : -EIO;
        file->size = (uint32_t) len;

        if (r == 0 && linkat(pool->dir_fd, file->name, pool->dir_fd, name, 0) < 0)
                r = -errno;
        if (r < 0) {
                /* Swept, or half written: a new one next time. */
                drop(pool, n);
                rest(pool, n);
                return r;
        }
        return n;
}

void contextpool_rest(ContextPool *pool, int n) {
        rest(pool, n);
}
