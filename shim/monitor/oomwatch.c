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
#include "oomlog.h"
#include "oomwatch.h"

#define ROOT       "/sys/fs/cgroup"
#define FLAT_MAX   8192 /* bytes of a cgroup's file */
#define PATH_SPACE (sizeof(ROOT) + 32 + CGROUPFILE_PATH_MAX + 1)

/* Of version 1. */
static int open_cgroup(const char *membership, size_t len, const char *controller) {
        char path[PATH_SPACE];
        const char *below;
        int n, fd;

        n = cgroupfile_find_path(membership, len, controller, &below);
        if (n < 0)
                return n;

        (void) snprintf(path, sizeof(path), ROOT "/%s%.*s", controller, n, below);
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

/* The two counters of a memory.events that is open. A removed cgroup's cannot be read any more. */
static int read_events(int fd, uint64_t *ret_oom, uint64_t *ret_oom_kill) {
        char text[FLAT_MAX];
        ssize_t n;

        n = pread(fd, text, sizeof(text), 0);
        if (n < 0)
                return -errno;
        if (cgroupfile_value(text, (size_t) n, "oom", ret_oom) < 0)
                *ret_oom = 0;
        return cgroupfile_value(text, (size_t) n, "oom_kill", ret_oom_kill);
}

static bool take_counts(OomWatch *watch, uint64_t oom, uint64_t oom_kill) {
        bool moved = oom != watch->oom || oom_kill != watch->oom_kill;

        watch->killed = oom_kill != watch->oom_kill;
        watch->open = !watch->killed && (watch->open || oom != watch->oom);
        watch->oom = oom;
        watch->oom_kill = oom_kill;
        watch->has_counts = true;
        return moved;
}

/* Has a counter moved since it was last seen? memory.oom_control has it since Linux 4.13. */
static bool counts_moved(OomWatch *watch) {
        uint64_t oom_kill;

        return read_value(watch->dir_fd, "memory.oom_control", "oom_kill", &oom_kill) >= 0 &&
               take_counts(watch, /* oom= */ 0, oom_kill);
}

/* From here on only kills to come count, in the log and above. */
static void renew_evidence(OomWatch *watch) {
        OomlogLook look;
        uint64_t oom;

        if (watch->log_fd >= 0)
                oomlog_look(watch->log_fd, watch->path, &look);
        for (size_t i = 0; i < watch->n_parents; i++)
                (void) read_events(watch->parents[i].fd, &oom, &watch->parents[i].oom_kill);
}

/*
 * The cgroup was removed before its counters could be read: was there a kill in it since they were read last? @changed:
 * its memory.events has changed since. The log says yes. A cgroup above that counts no kill says no, and so does a log
 * that has the kills elsewhere for all that are counted above. Otherwise (the kernel limits the log's rate, or the log
 * cannot be read) a change of memory.events and a kill counted above are taken for the same thing.
 */
static bool was_killed(OomWatch *watch, bool changed) {
        OomlogLook look = {};
        uint64_t kills = 0;
        bool above = false;

        if (watch->log_fd >= 0)
                oomlog_look(watch->log_fd, watch->path, &look);
        if (look.killed)
                return true;
        for (size_t i = 0; i < watch->n_parents && !above; i++) {
                uint64_t oom, oom_kill;

                above = read_events(watch->parents[i].fd, &oom, &oom_kill) >= 0;
                if (above)
                        kills = oom_kill - watch->parents[i].oom_kill;
        }
        if (above && kills == 0)
                return false;
        if (look.complete && (!above || look.others >= kills))
                return false;
        return watch->open || (changed && above);
}

static int on_event(LoopSource *source, _unused_ uint32_t events) {
        OomWatch *watch = container_of(source, OomWatch, source);

        oomwatch_check(watch);
        return 0;
}

static int open_events(const char *root, const char *path, size_t path_n) {
        char file[PATH_MAX + sizeof("/memory.events")];
        int n, fd;

        n = snprintf(file, sizeof(file), "%s%.*s/memory.events", root, (int) path_n, path);
        if (n < 0 || (size_t) n >= sizeof(file))
                return -ENAMETOOLONG;
        fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* Not the root: it has no such file. */
static void open_parents(OomWatch *watch, const char *root) {
        size_t n = strlen(watch->path);

        while (watch->n_parents < OOMWATCH_PARENTS_MAX) {
                uint64_t oom, oom_kill;
                int fd;

                while (n > 0 && watch->path[n - 1] != '/')
                        n--;
                if (n <= 1)
                        return;
                n--;
                fd = open_events(root, watch->path, n);
                if (fd < 0)
                        return;
                if (read_events(fd, &oom, &oom_kill) < 0) {
                        (void) close(fd);
                        return;
                }
                watch->parents[watch->n_parents].fd = fd;
                watch->parents[watch->n_parents++].oom_kill = oom_kill;
        }
}

int oomwatch_start_unified(OomWatch *watch, Loop *loop, const char *root, const char *path, int log_fd, bool fresh,
                           OomWatchFn fn) {
        char folder[PATH_MAX], file[64];
        uint64_t oom, oom_kill;
        int n, r;

        watch->fn = fn;
        watch->loop = loop;
        watch->unified = true;
        watch->log_fd = log_fd;
        watch->path = strdup(path);
        if (!watch->path)
                return -ENOMEM;
        n = snprintf(folder, sizeof(folder), "%s%s", root, path);
        if (n < 0 || (size_t) n >= sizeof(folder))
                return -ENAMETOOLONG;
        watch->dir_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (watch->dir_fd < 0)
                return -errno;
        watch->cpu_fd = fcntl(watch->dir_fd, F_DUPFD_CLOEXEC, 0);
        /* Before its own counters are read: a kill after this moves them, too. */
        open_parents(watch, root);
        watch->events_fd = open_events(root, path, strlen(path));
        if (watch->events_fd < 0)
                return watch->events_fd;

        watch->event_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (watch->event_fd < 0)
                return -errno;
        (void) snprintf(file, sizeof(file), "/proc/self/fd/%d", watch->events_fd);
        if (inotify_add_watch(watch->event_fd, file, IN_MODIFY) < 0)
                r = -errno;
        else
                r = loop_source_add(&watch->source, loop, watch->event_fd, EPOLLIN, on_event);

        /* Between the container's start and now. */
        if (read_events(watch->events_fd, &oom, &oom_kill) >= 0 && take_counts(watch, oom, oom_kill) && fresh)
                fn(watch);
        return r;
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

        if (watch->unified) {
                _cleanup_free_ char *path = NULL;
                const char *below;

                r = cgroupfile_find_path(membership, len, NULL, &below);
                if (r < 0)
                        return r;
                path = strndup(below, (size_t) r);
                if (!path)
                        return -ENOMEM;
                return oomwatch_start_unified(watch, loop, ROOT, path, oomlog_open(), fresh, fn);
        }

        watch->dir_fd = open_cgroup(membership, len, "memory");
        watch->cpu_fd = open_cgroup(membership, len, "cpuacct");
        if (watch->dir_fd < 0)
                return watch->dir_fd;

        watch->loop = loop;
        r = start_legacy(watch);

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
        watch->events_fd = close_fd(watch->events_fd);
        watch->log_fd = close_fd(watch->log_fd);
        for (size_t i = 0; i < watch->n_parents; i++)
                (void) close(watch->parents[i].fd);
        watch->n_parents = 0;
        free(watch->path);
        watch->path = NULL;
}

/* Takes all inotify events. Returns whether one of them is a change of memory.events. */
static bool take_events(OomWatch *watch) {
        char events[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)]
                __attribute__((aligned(__alignof__(struct inotify_event))));
        bool changed = false;
        ssize_t n;

        while ((n = read(watch->event_fd, events, sizeof(events))) > 0)
                for (size_t at = 0; at + sizeof(struct inotify_event) <= (size_t) n;) {
                        const struct inotify_event *event = (const struct inotify_event *) (events + at);

                        changed = changed || event->mask & IN_MODIFY;
                        at += sizeof(*event) + event->len;
                }
        return changed;
}

static bool check_unified(OomWatch *watch) {
        uint64_t oom, oom_kill;
        bool changed, moved;

        if (watch->gone)
                return false;
        changed = take_events(watch);
        if (read_events(watch->events_fd, &oom, &oom_kill) >= 0) {
                moved = take_counts(watch, oom, oom_kill);
                if (watch->killed)
                        renew_evidence(watch);
                return moved;
        }

        /* Removed: nothing more will come. */
        watch->gone = true;
        loop_source_remove(&watch->source);
        watch->killed = was_killed(watch, changed);
        return watch->killed;
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
