#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/statfs.h>
#include "cgroupfile.h"
#include "oomwatch.h"

#define ROOT       "/sys/fs/cgroup"
#define FLAT_MAX   8192 /* bytes of a cgroup's file */
#define PATH_SPACE (sizeof(ROOT) + 32 + CGROUPFILE_PATH_MAX + 1)

static int open_cgroup(const char *membership, size_t len, const char *controller) {
        char path[PATH_SPACE];
        const char *below;
        int n, fd;

        n = cgroupfile_find_path(membership, len, controller, &below);
        if (n < 0)
                return n;

        (void) snprintf(path, sizeof(path), ROOT "%s%s%.*s", controller ? "/" : "", controller ? controller : "", n,
                        below);
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int read_membership(pid_t pid, char **ret, size_t *ret_len) {
        _cleanup_close_ int fd = -EBADF;
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/cgroup", (int) pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return util_read_fd(fd, CGROUPFILE_MAX, ret, ret_len);
}

static int read_value(int dir_fd, const char *name, const char *key, uint64_t *ret) {
        _cleanup_close_ int fd = -EBADF;
        char text[FLAT_MAX];
        ssize_t n;

        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, text, sizeof(text));
        if (n < 0)
                return -errno;
        if (key)
                return cgroupfile_value(text, (size_t) n, key, ret);
        while (n > 0 && text[n - 1] == '\n')
                n--;
        return util_parse_u64(text, (size_t) n, ret);
}

/* Has a counter moved since it was last seen? */
static bool counts_moved(OomWatch *watch) {
        const char *name = watch->unified ? "memory.events" : "memory.oom_control";
        uint64_t oom = 0, oom_kill;
        bool moved;

        /* memory.oom_control has it since Linux 4.13. */
        if (read_value(watch->dir_fd, name, "oom_kill", &oom_kill) < 0)
                return false;
        if (watch->unified && read_value(watch->dir_fd, name, "oom", &oom) < 0)
                oom = 0;

        moved = oom != watch->oom || oom_kill != watch->oom_kill;
        watch->killed = oom_kill != watch->oom_kill;
        watch->oom = oom;
        watch->oom_kill = oom_kill;
        watch->has_counts = true;
        return moved;
}

static int on_event(LoopSource *source, _unused_ uint32_t events) {
        OomWatch *watch = container_of(source, OomWatch, source);

        oomwatch_check(watch);
        return 0;
}

static int start_unified(OomWatch *watch) {
        char path[64];

        watch->event_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (watch->event_fd < 0)
                return -errno;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d/memory.events", watch->dir_fd);
        if (inotify_add_watch(watch->event_fd, path, IN_MODIFY) < 0)
                return -errno;

        return loop_source_add(&watch->source, watch->loop, watch->event_fd, EPOLLIN, on_event);
}

static int start_legacy(OomWatch *watch) {
        _cleanup_close_ int control_fd = -EBADF;
        char text[32];
        int n;

        control_fd = openat(watch->dir_fd, "cgroup.event_control", O_WRONLY | O_CLOEXEC);
        watch->oom_fd = openat(watch->dir_fd, "memory.oom_control", O_RDONLY | O_CLOEXEC);
        watch->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (control_fd < 0 || watch->oom_fd < 0 || watch->event_fd < 0)
                return -errno;

        /* PREEMPT_RT kernels refuse this; the counter at the end is then all there is. */
        n = snprintf(text, sizeof(text), "%d %d", watch->event_fd, watch->oom_fd);
        if (write(control_fd, text, (size_t) n) < 0)
                return -errno;
        watch->has_events = true;
        return loop_source_add(&watch->source, watch->loop, watch->event_fd, EPOLLIN, on_event);
}

int oomwatch_start(OomWatch *watch, Loop *loop, pid_t pid, bool fresh, OomWatchFn fn) {
        _cleanup_free_ char *membership = NULL;
        struct statfs sfs;
        size_t len;
        int r;

        assert(watch);
        assert(watch->dir_fd < 0);

        watch->fn = fn;
        watch->unified = statfs(ROOT, &sfs) == 0 && sfs.f_type == CGROUP2_SUPER_MAGIC;

        r = read_membership(pid, &membership, &len);
        if (r < 0)
                return r;

        watch->dir_fd = open_cgroup(membership, len, watch->unified ? NULL : "memory");
        watch->cpu_fd = open_cgroup(membership, len, watch->unified ? NULL : "cpuacct");
        if (watch->dir_fd < 0)
                return watch->dir_fd;

        watch->loop = loop;
        r = watch->unified ? start_unified(watch) : start_legacy(watch);

        /* Between the container's start and now. */
        if (counts_moved(watch) && fresh)
                watch->fn(watch);
        return r;
}

void oomwatch_stop(OomWatch *watch) {
        if (watch->event_fd >= 0)
                loop_source_remove(&watch->source);
        watch->event_fd = close_fd(watch->event_fd);
        watch->oom_fd = close_fd(watch->oom_fd);
        watch->dir_fd = close_fd(watch->dir_fd);
        watch->cpu_fd = close_fd(watch->cpu_fd);
}

static bool check_unified(OomWatch *watch) {
        char events[sizeof(struct inotify_event) + NAME_MAX + 1];

        while (read(watch->event_fd, events, sizeof(events)) > 0)
                ;
        /* Cgroup appears to have been removed: then nothing more will come. */
        if (faccessat(watch->dir_fd, "memory.events", F_OK, 0) < 0) {
                loop_source_remove(&watch->source);
                return false;
        }
        return counts_moved(watch);
}

/*
 * The eventfd also counts the removal of the cgroup: one event of a cgroup that is gone is that. Where the kernel has a
 * counter, it decides.
 */
static bool check_legacy(OomWatch *watch) {
        uint64_t n = 0;
        bool gone, moved;

        if (watch->event_fd >= 0 && read(watch->event_fd, &n, sizeof(n)) < 0)
                n = 0;
        gone = faccessat(watch->dir_fd, "cgroup.event_control", F_OK, 0) < 0;
        watch->killed = n > 0;
        if (gone)
                return n > 1;
        if (!watch->has_counts)
                return n > 0;

        moved = counts_moved(watch);
        /* The event comes before the kill: the counter may only catch up with it. */
        watch->killed = n > 0 || (moved && !watch->has_events);
        return moved || n > 0;
}

void oomwatch_check(OomWatch *watch) {
        assert(watch);

        if (watch->dir_fd < 0)
                return;
        if (watch->unified ? check_unified(watch) : check_legacy(watch))
                watch->fn(watch);
}

void oomwatch_usage(const OomWatch *watch, OomWatchUsage *ret) {
        OomWatchUsage usage = {};

        assert(ret);

        if (watch->unified) {
                if (read_value(watch->cpu_fd, "cpu.stat", "usage_usec", &usage.cpu_ns) == 0)
                        usage.cpu_ns *= NSEC_PER_USEC;
                (void) read_value(watch->dir_fd, "memory.peak", NULL, &usage.memory_max);
        } else {
                (void) read_value(watch->cpu_fd, "cpuacct.usage", NULL, &usage.cpu_ns);
                (void) read_value(watch->dir_fd, "memory.max_usage_in_bytes", NULL, &usage.memory_max);
        }
        *ret = usage;
}
