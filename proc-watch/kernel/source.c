#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "clk.h"
#include "command.h"
#include "probes.h"
#include "source.h"
#include "watch.skel.h"

struct Source {
        LoopSource loop_source;
        struct watch_bpf *bpf;
        Probes probes;
        uint32_t turns, engine_turns;
        struct ring_buffer *ring;
        LoopTimer look_timer;
        bool looking; /* the timer is armed */
        bool last;    /* … for the last time, unless there is something */
        SourceFn fn;
        SourceLostFn lost;
        SourceBatchFn batch;
        void *userdata;
        uint64_t n_lost, n_crowded;
};

static int check_lost(Source *source) {
        uint64_t n_lost = __atomic_load_n(&source->bpf->bss->n_lost, __ATOMIC_ACQUIRE) +
                          __atomic_load_n(&source->bpf->bss->n_untracked, __ATOMIC_ACQUIRE);
        uint64_t n_new = n_lost - source->n_lost;

        if (n_new == 0)
                return 0;
        source->n_lost = n_lost;
        return source->lost(source->userdata, n_new);
}

static int on_sample(void *userdata, void *data, size_t size) {
        Source *source = userdata;
        const Event *event = data;

        if (size < sizeof(*event))
                return 0;
        return MIN(source->fn(source->userdata, event, (const char *) (event + 1), size - sizeof(*event)), 0);
}

/* Comes back by itself, so that what is to be read soon needs no waking meanwhile. */
static void look_again(Source *source, bool tell) {
        uint64_t now = clk_now().monotonic_ns;

        source->last = !tell;
        source->looking = loop_timer_set(&source->look_timer, EVENT_READER_NS, 0) >= 0;
        __atomic_store_n(&source->bpf->bss->reader_ns, tell && source->looking ? now + EVENT_READER_NS : 0,
                         __ATOMIC_RELEASE);
}

/* The number of events, or a negative errno. */
static int consume(Source *source) {
        int n, r;

        n = ring_buffer__consume(source->ring);
        if (n < 0)
                return n;

        source->batch(source->userdata);
        r = check_lost(source);
        return r < 0 ? r : n;
}

static int on_ring(LoopSource *loop_source, uint32_t events) {
        Source *source = container_of(loop_source, Source, loop_source);
        int n;

        (void) events;
        n = consume(source);
        if (n > 0 && (!source->looking || source->last))
                look_again(source, true);
        return MIN(n, 0);
}

static int on_look(LoopTimer *timer) {
        Source *source = container_of(timer, Source, look_timer);
        bool last = source->last;
        int n;

        source->looking = false;
        n = consume(source);
        /* What was on its way into the ring when it was looked at has not woken anybody. */
        if (n > 0 || !last)
                look_again(source, n > 0);
        return MIN(n, 0);
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

typedef struct Found {
        Event event;
        char file[EVENT_FILE_MAX];
} Found;

/* Has the kernel side look at each process; @fn (NULL: nobody asks) is called for what it finds. */
static int iterate(Source *source, SourceFoundFn fn, void *userdata) {
        _cleanup_close_ int fd = -EBADF;
        size_t have = 0;
        Found found;
        int r;

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
                r = fn ? fn(userdata, &found.event, found.file) : 0;
                if (r < 0)
                        return r;
        }
}

/*
 * What the kernel side has to know before it believes in anything: the host's root directory, and which is the first
 * process of each container, the one that has run for longest.
 */
static int collect(Source *source) {
        int r;

        __atomic_store_n(&source->bpf->bss->collecting, 1, __ATOMIC_RELEASE);
        r = iterate(source, NULL, NULL);
        __atomic_store_n(&source->bpf->bss->collecting, 0, __ATOMIC_RELEASE);
        return r;
}

int source_new(Loop *loop, SourceFn fn, SourceLostFn lost, SourceBatchFn batch, void *userdata,
               LoaderVerdict *ret_verdict, Source **ret) {
        _cleanup_(source_freep) Source *source = NULL;
        int r;

        assert(loop);
        assert(fn);
        assert(lost);
        assert(batch);
        assert(ret_verdict);
        assert(ret);

        source = calloc(1, sizeof(*source));
        if (!source)
                return -ENOMEM;
        source->loop_source = (LoopSource) LOOP_SOURCE_NULL;
        source->look_timer = (LoopTimer) LOOP_TIMER_NULL;
        source->probes = (Probes) PROBES_NULL;
        source->fn = fn;
        source->lost = lost;
        source->batch = batch;
        source->userdata = userdata;

        r = loader_load(&source->bpf, &source->probes, ret_verdict);
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
                return loader_judge(r, "Attaching to the kernel", ret_verdict);
        r = collect(source);
        if (r < 0)
                return loader_judge(r, "Looking at the processes that are there", ret_verdict);
        r = loop_timer_add(&source->look_timer, loop, on_look);
        if (r < 0)
                return r;
        r = loop_source_add(&source->loop_source, loop, ring_buffer__epoll_fd(source->ring), EPOLLIN, on_ring);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(source);
        return 0;
}

Source *source_free(Source *source) {
        if (!source)
                return NULL;
        loop_source_remove(&source->loop_source);
        loop_timer_remove(&source->look_timer);
        ring_buffer__free(source->ring);
        probes_close(&source->probes);
        watch_bpf__destroy(source->bpf);
        free(source);
        return NULL;
}

int source_scan(Source *source, SourceFoundFn fn, void *userdata) {
        int r;

        assert(source);
        assert(fn);

        r = collect(source);
        return r < 0 ? r : iterate(source, fn, userdata);
}

/* Another number each time, never 0. */
static uint32_t next_turn(uint32_t *turns) {
        if (++*turns == 0)
                *turns = 1;
        return *turns;
}

int source_follow(Source *source, bool commands, bool engines) {
        bool now = __atomic_load_n(&source->bpf->bss->follow, __ATOMIC_RELAXED) != 0, wanted = commands || engines;
        bool now_engines = __atomic_load_n(&source->bpf->bss->follow_engines, __ATOMIC_RELAXED) != 0;
        int r;

        if (now_engines != engines)
                __atomic_store_n(&source->bpf->bss->follow_engines, engines ? next_turn(&source->engine_turns) : 0,
                                 __ATOMIC_RELAXED);
        if (now == wanted)
                return 0;
        if (wanted) {
                r = probes_attach(&source->probes);
                if (r < 0)
                        return r;
        } else {
                probes_detach(&source->probes);
        }
        __atomic_store_n(&source->bpf->bss->follow, wanted ? next_turn(&source->turns) : 0, __ATOMIC_RELAXED);
        return 0;
}

bool source_follows(const Source *source) {
        return __atomic_load_n(&source->bpf->bss->follow, __ATOMIC_RELAXED) != 0;
}

int source_drain(Source *source) {
        return on_ring(&source->loop_source, EPOLLIN);
}

uint64_t source_crowded(Source *source) {
        uint64_t now = __atomic_load_n(&source->bpf->bss->n_crowded, __ATOMIC_RELAXED), n = now - source->n_crowded;

        source->n_crowded = now;
        return n;
}
