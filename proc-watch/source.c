#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include "command.h"
#include "source.h"
#include "watch.skel.h"

#define HOST_PID_NAMESPACE UINT64_C(0xeffffffc) /* PROC_PID_INIT_INO: the same on every Linux */

struct Source {
        LoopSource loop_source;
        struct watch_bpf *bpf;
        struct ring_buffer *ring;
        SourceFn fn;
        SourceBatchFn batch;
        void *userdata;
        uint64_t n_lost;
};

static int quiet(enum libbpf_print_level level, const char *format, va_list args) {
        (void) level;
        (void) format;
        (void) args;
        return 0;
}

static int on_sample(void *userdata, void *data, size_t size) {
        Source *source = userdata;
        const Event *event = data;
        int r;

        if (size < sizeof(*event))
                return 0;
        r = source->fn(source->userdata, event, (const char *) (event + 1), size - sizeof(*event));
        return MIN(r, 0);
}

static int on_ring(LoopSource *loop_source, uint32_t events) {
        Source *source = container_of(loop_source, Source, loop_source);
        uint64_t lost;
        int r;

        (void) events;
        r = ring_buffer__consume(source->ring);
        if (r < 0)
                return r;

        lost = __atomic_load_n(&source->bpf->bss->n_lost, __ATOMIC_RELAXED) +
               __atomic_load_n(&source->bpf->bss->n_untracked, __ATOMIC_RELAXED);
        r = source->batch(source->userdata, lost - source->n_lost);
        source->n_lost = lost;
        return r;
}

/* One of the two shapes of the OOM tracepoint, or none where the kernel has neither. */
static int load(Source *source) {
        static const int attempts[] = { 1, 2, 0 };
        int r = -EINVAL;

        for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
                source->bpf = watch_bpf__open();
                if (!source->bpf)
                        return -errno;
                (void) bpf_program__set_autoload(source->bpf->progs.on_victim_task, attempts[i] == 1);
                (void) bpf_program__set_autoload(source->bpf->progs.on_victim_pid, attempts[i] == 2);
                r = watch_bpf__load(source->bpf);
                if (r == 0)
                        return 0;
                watch_bpf__destroy(source->bpf);
                source->bpf = NULL;
                if (r == -EPERM)
                        return r;
        }
        return r;
}

static int set_names(Source *source) {
        for (const CommandProgram *program = command_programs; program->name; program++) {
                char comm[EVENT_COMM_SIZE] = {};
                int r;

                /* The kernel cuts names; of two that become the same the later one counts. */
                util_copy_bounded(comm, sizeof(comm), program->name, strlen(program->name));
                r = bpf_map__update_elem(source->bpf->maps.names, comm, sizeof(comm), &program->track,
                                         sizeof(program->track), BPF_ANY);
                if (r < 0)
                        return r;
        }
        return 0;
}

int source_new(Loop *loop, SourceFn fn, SourceBatchFn batch, void *userdata, Source **ret) {
        _cleanup_(source_freep) Source *source = NULL;
        struct stat st;
        int r;

        assert(loop);
        assert(fn);
        assert(batch);
        assert(ret);

        if (stat("/proc/self/ns/pid", &st) < 0)
                return -errno;
        if (st.st_ino != HOST_PID_NAMESPACE)
                return -EOPNOTSUPP;

        source = calloc(1, sizeof(*source));
        if (!source)
                return -ENOMEM;
        source->loop_source = (LoopSource) LOOP_SOURCE_NULL;
        source->fn = fn;
        source->batch = batch;
        source->userdata = userdata;

        (void) libbpf_set_print(quiet);
        r = load(source);
        if (r < 0)
                return r;
        r = set_names(source);
        if (r < 0)
                return r;
        source->ring = ring_buffer__new(bpf_map__fd(source->bpf->maps.ring), on_sample, source, NULL);
        if (!source->ring)
                return -errno;
        r = watch_bpf__attach(source->bpf);
        if (r < 0)
                return r;
        r = loop_source_add(&source->loop_source, loop, ring_buffer__epoll_fd(source->ring), EPOLLIN, on_ring);
        if (r < 0)
                return r;

        /* The kernel's type information has been read for the relocations: megabytes that go back now. */
        (void) malloc_trim(0);
        *ret = TAKE_PTR(source);
        return 0;
}

Source *source_free(Source *source) {
        if (!source)
                return NULL;
        loop_source_remove(&source->loop_source);
        ring_buffer__free(source->ring);
        watch_bpf__destroy(source->bpf);
        free(source);
        return NULL;
}

int source_scan(Source *source, SourceFoundFn fn, void *userdata) {
        struct {
                Event event;
                char file[EVENT_FILE_MAX];
        } found;
        _cleanup_close_ int fd = -EBADF;
        size_t have = 0;
        int r;

        assert(source);
        assert(fn);

        fd = bpf_iter_create(bpf_link__fd(source->bpf->links.on_task));
        if (fd < 0)
                return fd;
        for (;;) {
                ssize_t n = read(fd, (char *) &found + have, sizeof(found) - have);

                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        continue; /* so it says between a million processes and the next */
                if (n <= 0)
                        return n < 0 ? -errno : 0;
                have += (size_t) n;
                if (have < sizeof(found))
                        continue;
                have = 0;
                found.file[sizeof(found.file) - 1] = '\0';
                r = fn(userdata, &found.event, found.file);
                if (r < 0)
                        return r;
        }
}
