#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "counters.h"

#define FILE_NAME "counters"
#define MAGIC     "podspan-counters"
#define VERSION   1

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
        CountersFile *shared; /* the mapping, or NULL */
        bool writable;        /* else what is added goes to @private */
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
};

static void header_init(CountersFile *file) {
        memcpy(file->magic, MAGIC, sizeof(file->magic));
        file->version = VERSION;
        file->n_producers = COUNTERS_PRODUCER_SLOTS;
        file->n_ids = COUNTERS_ID_SLOTS;
}

/* Makes the file whole under a name of its own, then gives it its name unless somebody was faster. */
static int file_create(int state_fd) {
        _cleanup_close_ int fd = -EBADF;
        CountersFile file = {};
        uint64_t random;
        char name[64];
        int r;

        r = util_random(&random, sizeof(random));
        if (r < 0)
                return r;

        (void) snprintf(name, sizeof(name), "." FILE_NAME "-%d-%016llx", (int) getpid(), (unsigned long long) random);
        fd = openat(state_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0660);
        if (fd < 0)
                return -errno;

        header_init(&file);

        /* A store into a page that has no space behind it would be a SIGBUS. */
        r = 0;
        if (fallocate(fd, 0, 0, sizeof(file)) < 0 && errno != EOPNOTSUPP)
                r = -errno;
        if (r == 0)
                r = util_write_all(fd, &file, sizeof(file));
        if (r == 0 && fchmod(fd, 0660) < 0)
                r = -errno;
        if (r == 0 && linkat(state_fd, name, state_fd, FILE_NAME, 0) < 0 && errno != EEXIST)
                r = -errno;

        (void) unlinkat(state_fd, name, 0);
        return r;
}

static int file_map(int state_fd, CountersFile **ret, bool *ret_writable) {
        _cleanup_close_ int fd = -EBADF;
        CountersFile *file;
        bool writable = true;
        struct stat st;

        fd = openat(state_fd, FILE_NAME, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && (errno == EACCES || errno == EROFS)) {
                writable = false;
                fd = openat(state_fd, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        }
        if (fd < 0)
                return -errno;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size != (off_t) sizeof(CountersFile))
                return -EBADMSG;

        file = mmap(NULL, sizeof(*file), writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
        if (file == MAP_FAILED)
                return -errno;

        if (memcmp(file->magic, MAGIC, sizeof(file->magic)) != 0 || file->version != VERSION ||
            file->n_producers != COUNTERS_PRODUCER_SLOTS || file->n_ids != COUNTERS_ID_SLOTS) {
                (void) munmap(file, sizeof(*file));
                return -EBADMSG;
        }

        *ret = file;
        *ret_writable = writable;
        return 0;
}

Counters *counters_open(int state_fd, bool create) {
        Counters *counters;
        int r;

        counters = calloc(1, sizeof(*counters));
        if (!counters)
                return NULL;

        r = file_map(state_fd, &counters->shared, &counters->writable);
        if (r == -ENOENT && create && file_create(state_fd) == 0)
                (void) file_map(state_fd, &counters->shared, &counters->writable);
        return counters;
}

Counters *counters_free(Counters *counters) {
        if (!counters)
                return NULL;

        if (counters->shared)
                (void) munmap(counters->shared, sizeof(*counters->shared));
        free(counters);
        return NULL;
}

bool counters_shared(const Counters *counters) {
        return counters && counters->shared;
}

void counters_add(Counters *counters, CountersProducer producer, CountersId id, uint64_t n) {
        CountersFile *file;

        assert(producer < _COUNTERS_PRODUCER_MAX);
        assert(id < _COUNTERS_ID_MAX);

        if (!counters)
                return;

        file = counters->shared && counters->writable ? counters->shared : &counters->private;
        (void) __atomic_fetch_add(&file->cells[producer][id], n, __ATOMIC_RELAXED);
}

uint64_t counters_get(const Counters *counters, CountersProducer producer, CountersId id) {
        const CountersFile *file;

        assert(producer < _COUNTERS_PRODUCER_MAX);
        assert(id < _COUNTERS_ID_MAX);

        if (!counters)
                return 0;

        file = counters->shared ? counters->shared : &counters->private;
        return __atomic_load_n(&file->cells[producer][id], __ATOMIC_RELAXED);
}

const char *counters_producer_name(CountersProducer producer) {
        assert(producer < _COUNTERS_PRODUCER_MAX);

        return producer_names[producer];
}

const char *counters_id_name(CountersId id) {
        assert(id < _COUNTERS_ID_MAX);

        return id_names[id];
}
