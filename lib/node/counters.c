#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "counters.h"

/*
 * A mapped file that somebody cuts short is a SIGBUS at the next count. So nobody maps a file that another user could
 * change: each user has a file of its own, and the others' are copied.
 */

#define FILE_NAME         "counters" /* of the user whose directory it is; the others' have "-UID" behind */
#define COUNTERS_NAME_MAX 24
#define FILE_MODE         0640
#define MAGIC             "podspan-counters"
#define VERSION           1

/* The layout is docs/spool.md's. */
typedef struct CountersFile {
        char magic[16];
        uint32_t version;
        uint32_t n_producers;
        uint32_t n_ids;
        uint8_t zeros[36];
        uint64_t cells[COUNTERS_PRODUCER_SLOTS][COUNTERS_ID_SLOTS];
} CountersFile;

_Static_assert(offsetof(CountersFile, cells) == 64, "the header has 64 bytes");
_Static_assert(sizeof(MAGIC) - 1 == 16, "the magic has 16 bytes");
_Static_assert((int) _COUNTERS_PRODUCER_MAX <= COUNTERS_PRODUCER_SLOTS, "producers fit");
_Static_assert((int) _COUNTERS_ID_MAX <= COUNTERS_ID_SLOTS, "counters fit");

struct Counters {
        CountersFile *own;    /* the mapping, or NULL: what is added goes to @private */
        CountersFile *others; /* copies of the other files, added up; NULL: not asked for, or none */
        CountersFile private;
};

static const char *const producer_names[_COUNTERS_PRODUCER_MAX] = {
        [COUNTERS_CRI] = "podspan-cri",       [COUNTERS_HOOK] = "podspan-hook", [COUNTERS_WATCH] = "podspan-watch",
        [COUNTERS_CONMON] = "podspan-conmon", [COUNTERS_SHIM] = "podspan-shim", [COUNTERS_AGENT] = "podspand",
        [COUNTERS_PROBE] = "podspan-probe",
};

static const char *const id_names[_COUNTERS_ID_MAX] = {
        [COUNTERS_SPANS_WRITTEN] = "spans_written",
        [COUNTERS_DROP_NO_SPACE] = "drop_no_space",
        [COUNTERS_DROP_NO_MEMORY] = "drop_no_memory",
        [COUNTERS_DROP_TOO_LARGE] = "drop_too_large",
        [COUNTERS_DROP_IO] = "drop_io",
        [COUNTERS_DROP_OVERLOAD] = "drop_overload",
        [COUNTERS_CONTEXT_WRITTEN] = "context_written",
        [COUNTERS_CONTEXT_FAILED] = "context_failed",
        [COUNTERS_CONTEXT_SWEPT] = "context_swept",
        [COUNTERS_CRI_CONNECTIONS] = "cri_connections",
        [COUNTERS_CRI_PLAIN] = "cri_plain",
        [COUNTERS_CRI_INJECTED] = "cri_injected",
        [COUNTERS_CRI_COMPRESSED] = "cri_compressed",
        [COUNTERS_INPUT_BAD] = "input_bad",
        [COUNTERS_AGENT_FILES] = "agent_files",
        [COUNTERS_AGENT_SPANS] = "agent_spans",
        [COUNTERS_AGENT_DROP_STORE_FULL] = "agent_drop_store_full",
        [COUNTERS_AGENT_EXPORTED] = "agent_exported",
        [COUNTERS_AGENT_REJECTED] = "agent_rejected",
        [COUNTERS_AGENT_DROP_REFUSED] = "agent_drop_refused",
        [COUNTERS_AGENT_DROP_RETENTION] = "agent_drop_retention",
        [COUNTERS_AGENT_RETRIES] = "agent_retries",
        [COUNTERS_AGENT_KEPT] = "agent_kept",
        [COUNTERS_AGENT_EXPORT_SKIPPED] = "agent_export_skipped",
        [COUNTERS_HOOK_UNLINKED] = "hook_unlinked",
        [COUNTERS_AGENT_TIMEOUTS] = "agent_timeouts",
        [COUNTERS_WATCH_LOST] = "watch_lost",
        [COUNTERS_WATCH_COUNTED] = "watch_counted",
        [COUNTERS_CRI_REFUSED] = "cri_refused",
        [COUNTERS_CRI_CLOSED] = "cri_closed",
        [COUNTERS_CRI_TAKEN_OVER] = "cri_taken_over",
        [COUNTERS_CRI_CRASHED] = "cri_crashed",
        [COUNTERS_AGENT_SET_ASIDE] = "agent_set_aside",
        [COUNTERS_AGENT_FOREIGN] = "agent_foreign",
        [COUNTERS_WATCH_CROWDED] = "watch_crowded",
        [COUNTERS_WATCH_UNREADABLE] = "watch_bundle_unreadable",
        [COUNTERS_UNTRUSTED] = "untrusted",
        [COUNTERS_WATCH_UNLINKED] = "watch_unlinked",
};

static void header_init(CountersFile *file) {
        memcpy(file->magic, MAGIC, sizeof(file->magic));
        file->version = VERSION;
        file->n_producers = COUNTERS_PRODUCER_SLOTS;
        file->n_ids = COUNTERS_ID_SLOTS;
}

static bool header_valid(const CountersFile *file) {
        return memcmp(file->magic, MAGIC, sizeof(file->magic)) == 0 && file->version == VERSION &&
               file->n_producers == COUNTERS_PRODUCER_SLOTS && file->n_ids == COUNTERS_ID_SLOTS;
}

static void file_name(uid_t owner, uid_t uid, char ret[static COUNTERS_NAME_MAX]) {
        if (uid == owner)
                memcpy(ret, FILE_NAME, sizeof(FILE_NAME));
        else
                (void) snprintf(ret, COUNTERS_NAME_MAX, FILE_NAME "-%u", (unsigned) uid);
}

/* Makes the file whole under a name of its own, then gives it its name unless somebody was faster. */
static int file_create(int state_fd, const char *final_name) {
        _cleanup_close_ int fd = -EBADF;
        CountersFile file = {};
        uint64_t random;
        char name[64];
        int r;

        r = util_random(&random, sizeof(random));
        if (r < 0)
                return r;

        (void) snprintf(name, sizeof(name), "." FILE_NAME "-%d-%016llx", (int) getpid(), (unsigned long long) random);
        fd = openat(state_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
        if (fd < 0)
                return -errno;

        header_init(&file);

        /* A store into a page that has no space behind it would be a SIGBUS. */
        r = 0;
        if (fallocate(fd, 0, 0, sizeof(file)) < 0 && errno != EOPNOTSUPP)
                r = -errno;
        if (r == 0)
                r = util_write_all(fd, &file, sizeof(file));
        if (r == 0 && fchmod(fd, FILE_MODE) < 0)
                r = -errno;
        if (r == 0 && linkat(state_fd, name, state_fd, final_name, 0) < 0 && errno != EEXIST)
                r = -errno;

        (void) unlinkat(state_fd, name, 0);
        return r;
}

/* -EPERM: another user could cut it short, or it is no file. */
static int file_map(int state_fd, const char *name, uid_t uid, CountersFile **ret) {
        _cleanup_close_ int fd = -EBADF;
        CountersFile *file;
        struct stat st;

        fd = openat(state_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                /* A symbolic link, a directory, a socket. */
                return errno == ELOOP || errno == EISDIR || errno == ENXIO ? -EPERM : -errno;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_uid != uid || (st.st_mode & (S_IWGRP | S_IWOTH)))
                return -EPERM;
        if (st.st_size != (off_t) sizeof(CountersFile))
                return -EBADMSG;

        file = mmap(NULL, sizeof(*file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (file == MAP_FAILED)
                return -errno;

        if (!header_valid(file)) {
                (void) munmap(file, sizeof(*file));
                return -EBADMSG;
        }

        *ret = file;
        return 0;
}

/*
 * Adds up what is in @name, if it is what it says to be: the file of the directory's @owner, or of the user it names.
 * Anybody in the directory's group can put a file of their own there, so that is believed about podspand only, and the
 * probe: what else counts here runs as the owner or as root.
 */
static void add_file(int state_fd, const char *name, uid_t owner, CountersFile *sum, bool *ret_any) {
        _cleanup_close_ int fd = -EBADF;
        char expected[COUNTERS_NAME_MAX];
        CountersFile file;
        struct stat st;

        fd = openat(state_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != (off_t) sizeof(file))
                return;
        file_name(owner, st.st_uid, expected);
        if (strcmp(name, expected) != 0)
                return;
        if (pread(fd, &file, sizeof(file), 0) != (ssize_t) sizeof(file) || !header_valid(&file))
                return;

        for (unsigned p = 0; p < COUNTERS_PRODUCER_SLOTS; p++)
                if (st.st_uid == owner || st.st_uid == 0 || p == COUNTERS_AGENT || p == COUNTERS_PROBE)
                        for (unsigned i = 0; i < COUNTERS_ID_SLOTS; i++)
                                sum->cells[p][i] += file.cells[p][i];
        *ret_any = true;
}

/* Copies all files but @own_name, which is mapped (NULL: it is not). */
static void read_others(Counters *counters, int state_fd, uid_t owner, const char *own_name) {
        CountersFile *sum;
        const struct dirent *entry;
        unsigned n = 0;
        bool any = false;
        DIR *dir;
        int fd;

        fd = openat(state_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return;
        dir = fdopendir(fd);
        if (!dir) {
                close_fd(fd);
                return;
        }

        sum = calloc(1, sizeof(*sum));
        while (sum && n < COUNTERS_FILES_MAX && (entry = readdir(dir))) {
                if (strncmp(entry->d_name, FILE_NAME, strlen(FILE_NAME)) != 0 ||
                    (own_name && strcmp(entry->d_name, own_name) == 0))
                        continue;
                add_file(state_fd, entry->d_name, owner, sum, &any);
                n++;
        }
        (void) closedir(dir);

        if (any)
                counters->others = TAKE_PTR(sum);
        free(sum);
}

/* Removes what somebody else has put at the name; a directory with something in it is moved out of the way. */
static int remove_other(int state_fd, const char *name) {
        char aside[COUNTERS_NAME_MAX + 32];
        uint64_t random;

        if (unlinkat(state_fd, name, 0) == 0 || (errno == EISDIR && unlinkat(state_fd, name, AT_REMOVEDIR) == 0))
                return 0;
        if (errno != ENOTEMPTY || util_random(&random, sizeof(random)) < 0)
                return -EPERM;
        (void) snprintf(aside, sizeof(aside), ".%s-%016llx", name, (unsigned long long) random);
        return renameat(state_fd, name, state_fd, aside) < 0 ? -errno : 0;
}

Counters *counters_open(int state_fd, bool create) {
        uid_t uid = geteuid();
        char name[COUNTERS_NAME_MAX];
        Counters *counters;
        struct stat st;
        int r;

        counters = calloc(1, sizeof(*counters));
        if (!counters)
                return NULL;
        if (fstat(state_fd, &st) < 0)
                return counters;

        file_name(st.st_uid, uid, name);
        r = file_map(state_fd, name, uid, &counters->own);
        if (create && r == -EPERM && remove_other(state_fd, name) == 0)
                r = -ENOENT;
        if (create && r == -ENOENT && file_create(state_fd, name) == 0)
                r = file_map(state_fd, name, uid, &counters->own);
        if (!create)
                read_others(counters, state_fd, st.st_uid, counters->own ? name : NULL);
        return counters;
}

Counters *counters_free(Counters *counters) {
        if (!counters)
                return NULL;

        if (counters->own)
                (void) munmap(counters->own, sizeof(*counters->own));
        free(counters->others);
        free(counters);
        return NULL;
}

bool counters_shared(const Counters *counters) {
        return counters && (counters->own || counters->others);
}

void counters_add(Counters *counters, CountersProducer producer, CountersId id, uint64_t n) {
        CountersFile *file;

        assert(producer < _COUNTERS_PRODUCER_MAX);
        assert(id < _COUNTERS_ID_MAX);

        if (!counters)
                return;

        file = counters->own ? counters->own : &counters->private;
        (void) __atomic_fetch_add(&file->cells[producer][id], n, __ATOMIC_RELAXED);
}

uint64_t counters_get(const Counters *counters, CountersProducer producer, CountersId id) {
        const CountersFile *file;

        assert(producer < _COUNTERS_PRODUCER_MAX);
        assert(id < _COUNTERS_ID_MAX);

        if (!counters)
                return 0;

        file = counters->own ? counters->own : &counters->private;
        return __atomic_load_n(&file->cells[producer][id], __ATOMIC_RELAXED) +
               (counters->others ? counters->others->cells[producer][id] : 0);
}

const char *counters_producer_name(CountersProducer producer) {
        assert(producer < _COUNTERS_PRODUCER_MAX);

        return producer_names[producer];
}

const char *counters_id_name(CountersId id) {
        assert(id < _COUNTERS_ID_MAX);

        return id_names[id];
}
