/*
 * The file is a header and TALLY_METHODS rows of a name and a ring of minutes. It is of this host only, so it holds
 * native structs; the header's sizes tell another build's file, which is replaced rather than understood.
 *
 * The writer maps it, so that what it counted outlives it; blocks are allocated beforehand, because a full file system
 * would otherwise show itself as SIGBUS in the middle of a call. A reader copies it: nobody can pull a copy away.
 */

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "tally.h"

#define TALLY_FILE    "tally"
#define TALLY_MAGIC   UINT64_C(0x796c6c6174647370) /* "psdtally", as little-endian hosts write it */
#define TALLY_VERSION 1
#define TALLY_OTHER   "_OTHER"

/* A row's name is written once, between FREE and READY. */
enum {
        TALLY_ROW_FREE,
        TALLY_ROW_CLAIMED,
        TALLY_ROW_READY,
};

typedef struct TallyHeader {
        uint64_t magic;
        uint32_t version;
        uint32_t header_size;
        uint32_t row_size;
        uint32_t n_rows;
        uint32_t n_minutes;
        uint32_t reserved;
} TallyHeader;

typedef struct TallyRow {
        uint32_t state;
        char method[TALLY_METHOD_MAX + 1];
        uint32_t reserved;
        TallyCell cells[TALLY_MINUTES];
} TallyRow;

typedef struct TallyFile {
        TallyHeader header;
        TallyRow rows[TALLY_METHODS]; /* the last is TALLY_OTHER's */
} TallyFile;

struct Tally {
        TallyFile *file;
        int fd;      /* the writer's, which holds the lock that says it lives; -EBADF in a reader */
        bool mapped; /* else allocated */
};

static const TallyHeader tally_header = {
        .magic = TALLY_MAGIC,
        .version = TALLY_VERSION,
        .header_size = sizeof(TallyHeader),
        .row_size = sizeof(TallyRow),
        .n_rows = TALLY_METHODS,
        .n_minutes = TALLY_MINUTES,
};

/* Maps the file of @fd, which is consumed on success and then in @ret_fd. */
static TallyFile *tally_map(int *fd, int *ret_fd) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
        uint32_t place;
        void *map;

        map = mmap(NULL, sizeof(TallyFile), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
        if (map == MAP_FAILED)
                return NULL;

        /* Exclusive, as no mere reader can lock it, and each writer at a place of its own, as there may be several;
         * nobody ever waits for it. */
        if (util_random(&place, sizeof(place)) == 0) {
                lock.l_start = place;
                (void) fcntl(*fd, F_OFD_SETLK, &lock);
        }
        *ret_fd = TAKE_FD(*fd);
        return map;
}

/* The file as an earlier writer left it; NULL if there is none that fits. */
static TallyFile *tally_reuse(int state_fd, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;
        TallyHeader header;
        struct stat st;

        fd = openat(state_fd, TALLY_FILE, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return NULL;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != (off_t) sizeof(TallyFile))
                return NULL;
        /* Whoever else could cut it short could kill us with it. */
        if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
                return NULL;
        if (pread(fd, &header, sizeof(header), 0) != (ssize_t) sizeof(header) ||
            memcmp(&header, &tally_header, sizeof(header)) != 0)
                return NULL;
        if (posix_fallocate(fd, 0, sizeof(TallyFile)) != 0)
                return NULL;

        return tally_map(&fd, ret_fd);
}

static TallyFile *tally_create(int state_fd, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;

        (void) unlinkat(state_fd, TALLY_FILE, 0);
        fd = openat(state_fd, TALLY_FILE, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
        if (fd < 0)
                return NULL;

        /* The header last: without it the file is nobody's. */
        if (posix_fallocate(fd, 0, sizeof(TallyFile)) != 0 ||
            pwrite(fd, &tally_header, sizeof(tally_header), 0) != (ssize_t) sizeof(tally_header)) {
                (void) unlinkat(state_fd, TALLY_FILE, 0);
                return NULL;
        }

        return tally_map(&fd, ret_fd);
}

/* Opens the file for reading. It is its writer's, to whom STATE belongs: any member of its group can make a file there.
 */
static int tally_open_read(int state_fd) {
        _cleanup_close_ int fd = openat(state_fd, TALLY_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        struct stat folder, st;

        if (fd < 0 || fstat(state_fd, &folder) < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_uid != folder.st_uid || (st.st_mode & (S_IWGRP | S_IWOTH)))
                return -EPERM;
        return TAKE_FD(fd);
}

static TallyFile *tally_read(int state_fd) {
        _cleanup_close_ int fd = tally_open_read(state_fd);
        _cleanup_free_ char *buf = NULL;
        TallyFile *file;
        size_t size;

        if (fd < 0 || util_read_fd(fd, sizeof(TallyFile), &buf, &size) < 0)
                return NULL;
        if (size != sizeof(TallyFile) || memcmp(buf, &tally_header, sizeof(tally_header)) != 0)
                return NULL;

        file = (TallyFile *) (void *) TAKE_PTR(buf);
        for (size_t i = 0; i < TALLY_METHODS; i++)
                file->rows[i].method[TALLY_METHOD_MAX] = '\0';
        return file;
}

Tally *tally_open(int state_fd, bool create) {
        Tally *tally;

        tally = malloc(sizeof(*tally));
        if (!tally)
                return NULL;
        *tally = (Tally){ .fd = -EBADF, .mapped = create };

        if (create) {
                tally->file = tally_reuse(state_fd, &tally->fd);
                if (!tally->file)
                        tally->file = tally_create(state_fd, &tally->fd);
        } else {
                tally->file = tally_read(state_fd);
        }

        return tally->file ? tally : tally_free(tally);
}

Tally *tally_free(Tally *tally) {
        if (!tally)
                return NULL;

        if (!tally->mapped)
                free(tally->file);
        else if (tally->file)
                (void) munmap(tally->file, sizeof(*tally->file));
        close_fd(tally->fd);
        free(tally);
        return NULL;
}

bool tally_has_writer(int state_fd) {
        struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
        _cleanup_close_ int fd = tally_open_read(state_fd);

        if (fd < 0)
                return false;
        /* Asks only, about locks for writing; takes nothing. */
        return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool tally_claim(TallyRow *row, const char *method) {
        uint32_t expected = TALLY_ROW_FREE;

        if (!__atomic_compare_exchange_n(&row->state, &expected, TALLY_ROW_CLAIMED, false, __ATOMIC_ACQUIRE,
                                         __ATOMIC_RELAXED))
                return false;

        memcpy(row->method, method, TALLY_METHOD_MAX + 1);
        __atomic_store_n(&row->state, TALLY_ROW_READY, __ATOMIC_RELEASE);
        return true;
}

/* The row of @method (TALLY_METHOD_MAX + 1 bytes), a new one, or the one of the rest. */
static TallyRow *tally_find(TallyFile *file, const char *method) {
        TallyRow *other = &file->rows[TALLY_METHODS - 1];
        static const char other_name[TALLY_METHOD_MAX + 1] = TALLY_OTHER;

        for (TallyRow *row = file->rows; row < other; row++) {
                uint32_t state = __atomic_load_n(&row->state, __ATOMIC_ACQUIRE);

                if (state == TALLY_ROW_FREE && tally_claim(row, method))
                        return row;
                if (state == TALLY_ROW_READY && strncmp(row->method, method, TALLY_METHOD_MAX) == 0)
                        return row;
        }

        (void) tally_claim(other, other_name);
        return other;
}

void tally_add(Tally *tally, const char *method, uint64_t now_ns, uint64_t duration_ns, bool failed, bool slow) {
        uint64_t minute = now_ns / (60 * NSEC_PER_SEC);
        char name[TALLY_METHOD_MAX + 1] = {};
        TallyCell *cell;

        if (!tally)
                return;
        assert(tally->mapped);

        util_copy_bounded(name, sizeof(name), method, strlen(method));
        cell = &tally_find(tally->file, name)->cells[minute % TALLY_MINUTES];

        /* One writer; a reader that copies in between sees a count in the making, which a status can bear. */
        if (cell->minute != minute)
                *cell = (TallyCell){ .minute = minute };
        cell->n++;
        cell->n_failed += failed;
        cell->n_slow += slow;
        cell->sum_ns += duration_ns;
        cell->max_ns = MAX(cell->max_ns, duration_ns);
}

static void tally_sum(TallyCell *sum, const TallyCell *cell) {
        sum->minute = MAX(sum->minute, cell->minute);
        if (__builtin_add_overflow(sum->n, cell->n, &sum->n))
                sum->n = UINT32_MAX;
        if (__builtin_add_overflow(sum->n_failed, cell->n_failed, &sum->n_failed))
                sum->n_failed = UINT32_MAX;
        if (__builtin_add_overflow(sum->n_slow, cell->n_slow, &sum->n_slow))
                sum->n_slow = UINT32_MAX;
        if (__builtin_add_overflow(sum->sum_ns, cell->sum_ns, &sum->sum_ns))
                sum->sum_ns = UINT64_MAX;
        sum->max_ns = MAX(sum->max_ns, cell->max_ns);
}

int tally_list(const Tally *tally, uint64_t now_ns, unsigned minutes,
               int (*fn)(const char *method, const TallyCell *sum, void *userdata), void *userdata) {
        uint64_t now_minute = now_ns / (60 * NSEC_PER_SEC);

        if (!tally)
                return 0;

        minutes = MIN(minutes, (unsigned) TALLY_MINUTES);

        for (size_t i = 0; i < TALLY_METHODS; i++) {
                const TallyRow *row = &tally->file->rows[i];
                TallyCell sum = {};
                int r;

                if (__atomic_load_n(&row->state, __ATOMIC_ACQUIRE) != TALLY_ROW_READY)
                        continue;

                for (size_t j = 0; j < TALLY_MINUTES; j++) {
                        const TallyCell *cell = &row->cells[j];

                        if (cell->minute > 0 && cell->minute <= now_minute && now_minute - cell->minute < minutes)
                                tally_sum(&sum, cell);
                }
                if (sum.n == 0)
                        continue;

                r = fn(row->method, &sum, userdata);
                if (r < 0)
                        return r;
        }

        return 0;
}
