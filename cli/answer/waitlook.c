#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "cgroupfile.h"
#include "waitlook.h"

#define LEVELS_MAX 64 /* folders of a cgroup's path */

static void find_hierarchies(Waitlook *look) {
        _cleanup_free_ char *text = NULL;
        size_t n = 0;
        const char *s;
        ProcfileMount mount;

        if (procscan_read_all(getpid(), "mountinfo", PROCFILE_TABLE_MAX, &text, &n) < 0)
                return;
        for (s = text; procfile_mount_next(&s, &n, &mount) > 0;) {
                const char *slash = strrchr(mount.point, '/');

                if (strcmp(mount.type, "cgroup2") == 0 && !*look->unified)
                        util_copy_bounded(look->unified, sizeof(look->unified), mount.point, strlen(mount.point));
                else if (strcmp(mount.type, "cgroup") == 0 && slash && strcmp(slash, "/freezer") == 0)
                        util_copy_bounded(look->freezer, sizeof(look->freezer), mount.point, strlen(mount.point));
        }
}

void waitlook_init(Waitlook *look, Asides *asides, const Procs *procs) {
        *look = (Waitlook){ .objects = { .asides = asides, .procs = procs } };
        find_hierarchies(look);
}

void waitlook_deinit(Waitlook *look) {
        waitobject_deinit(&look->objects);
        *look = (Waitlook) WAITLOOK_NULL;
}

/* One of our own hierarchies' files; these never block. */
static ssize_t read_cgroup(const char *mount, const char *path, size_t path_n, const char *name, char *ret,
                           size_t size) {
        char whole[CGROUPFILE_PATH_MAX + 400];
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        (void) snprintf(whole, sizeof(whole), "%s%.*s/%s", mount, (int) path_n, path, name);
        fd = open(whole, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, ret, size - 1);
        if (n < 0)
                return -1;
        ret[n] = '\0';
        return n;
}

/* Looks from @path up for the group whose file @name says "1": the one that was frozen itself. */
static void find_frozen(const char *mount, const char *path, size_t path_n, const char *name, char *ret, size_t size) {
        char text[64];

        util_copy_bounded(ret, size, path, path_n);
        for (size_t level = 0; path_n > 0 && level < LEVELS_MAX; level++) {
                if (read_cgroup(mount, path, path_n, name, text, sizeof(text)) > 0 && *text == '1') {
                        util_copy_bounded(ret, size, path, path_n);
                        return;
                }
                while (path_n > 0 && path[path_n - 1] != '/')
                        path_n--;
                while (path_n > 0 && path[path_n - 1] == '/')
                        path_n--;
        }
}

bool waitlook_frozen(const Waitlook *look, pid_t pid, char *ret, size_t size) {
        char text[PROCFILE_SMALL_MAX], state[256];
        uint64_t frozen;
        const char *path;
        ssize_t n = procscan_read(pid, "cgroup", text, sizeof(text));
        int len;

        *ret = '\0';
        if (n < 0)
                return false;
        len = cgroupfile_find_path(text, (size_t) n, "freezer", &path);
        if (*look->freezer && len > 1 &&
            read_cgroup(look->freezer, path, (size_t) len, "freezer.state", state, sizeof(state)) > 0 &&
            (strcmp(state, "FROZEN\n") == 0 || strcmp(state, "FREEZING\n") == 0)) {
                find_frozen(look->freezer, path, (size_t) len, "freezer.self_freezing", ret, size);
                return true;
        }
        len = cgroupfile_find_path(text, (size_t) n, NULL, &path);
        if (*look->unified && len > 1) {
                n = read_cgroup(look->unified, path, (size_t) len, "cgroup.events", state, sizeof(state));
                if (n > 0 && cgroupfile_value(state, (size_t) n, "frozen", &frozen) == 0 && frozen == 1) {
                        find_frozen(look->unified, path, (size_t) len, "cgroup.freeze", ret, size);
                        return true;
                }
        }
        return false;
}

/* What /proc says about one thread. */
typedef struct Thread {
        pid_t tid;
        char state;
        bool has_call;
        ProcfileSyscall call;
        char wchan[64];
        char stack[2048];
        WaitPlan plan;
} Thread;

static void trim_line(char *s) {
        s[strcspn(s, "\n")] = '\0';
}

static bool read_thread(pid_t pid, pid_t tid, bool frozen, Thread *ret) {
        char name[64], text[1024];
        ProcfileStat stat;
        WaitFacts facts;
        ssize_t n;

        *ret = (Thread){ .tid = tid };
        (void) snprintf(name, sizeof(name), "task/%d/stat", (int) tid);
        n = procscan_read(pid, name, text, sizeof(text));
        if (n < 0 || procfile_stat(text, (size_t) n, &stat) < 0)
                return false;
        ret->state = stat.state;
        (void) snprintf(name, sizeof(name), "task/%d/syscall", (int) tid);
        n = procscan_read(pid, name, text, sizeof(text));
        ret->has_call = n >= 0 && procfile_syscall(text, (size_t) n, &ret->call) == 0;
        (void) snprintf(name, sizeof(name), "task/%d/wchan", (int) tid);
        if (procscan_read(pid, name, ret->wchan, sizeof(ret->wchan)) < 0)
                *ret->wchan = '\0';
        trim_line(ret->wchan);
        (void) snprintf(name, sizeof(name), "task/%d/stack", (int) tid);
        if (procscan_read(pid, name, ret->stack, sizeof(ret->stack)) < 0)
                *ret->stack = '\0';
        facts = (WaitFacts){ .state = ret->state,
                             .call = ret->has_call ? &ret->call : NULL,
                             .wchan = ret->wchan,
                             .stack = ret->stack,
                             .frozen = frozen };
        waitkind_plan(&facts, &ret->plan);
        return true;
}

/* How much a thread's wait says about the process's: a program with threads always has some that are idle. */
static int weight(const Thread *thread) {
        const WaitPlan *plan = &thread->plan;

        if (plan->kind == WAIT_FREEZER || plan->kind == WAIT_STOPPED)
                return 6;
        if (plan->waits_server || (thread->state == 'D' && plan->object != WAIT_OBJECT_NONE))
                return 5;
        if (plan->object == WAIT_OBJECT_EPOLL || plan->object == WAIT_OBJECT_POLL || plan->object == WAIT_OBJECT_SELECT)
                return 2;
        if (plan->object != WAIT_OBJECT_NONE)
                return 4;
        if (plan->kind == WAIT_CPU || plan->kind == WAIT_LOCK)
                return 3;
        if (plan->kind == WAIT_SLEEP)
                return 1;
        return waitkind_is_idle(plan) ? 0 : 1;
}

static bool choose_thread(const Proc *proc, bool frozen, Thread *ret) {
        char path[48];
        const struct dirent *entry;
        Thread thread;
        int best = -1;
        size_t n = 0;
        DIR *dir;

        *ret = (Thread){};
        if (proc->stat.n_threads <= 1)
                return read_thread(proc->stat.pid, proc->stat.pid, frozen, ret);
        (void) snprintf(path, sizeof(path), "/proc/%d/task", (int) proc->stat.pid);
        dir = opendir(path);
        while (dir && (entry = readdir(dir)) && n < WAITLOOK_THREADS_MAX) {
                uint64_t tid;

                if (util_parse_u64(entry->d_name, strlen(entry->d_name), &tid) < 0 || tid > INT32_MAX ||
                    !read_thread(proc->stat.pid, (pid_t) tid, frozen, &thread))
                        continue;
                n++;
                /* Of equals the first thread counts, which is the program's own. */
                if (weight(&thread) > best || (weight(&thread) == best && thread.tid == proc->stat.pid)) {
                        best = weight(&thread);
                        *ret = thread;
                }
        }
        if (dir)
                (void) closedir(dir);
        return best >= 0;
}

static void read_status(const Waitlook *look, const Proc *proc, Wait *wait) {
        char text[PROCFILE_SMALL_MAX];
        ProcfileStatus status;
        ssize_t n = procscan_read(proc->stat.pid, "status", text, sizeof(text));
        const Proc *tracer;

        if (n < 0 || procfile_status(text, (size_t) n, &status) < 0)
                return;
        wait->pending = status.pending;
        wait->blocked = status.blocked;
        wait->ignored = status.ignored;
        wait->caught = status.caught;
        tracer = status.tracer > 0 ? procscan_find(look->objects.procs, status.tracer) : NULL;
        if (wait->state == 't' && tracer)
                waitobject_set_peer(wait, tracer);
}

static void take(const Proc *proc, const Thread *thread, Wait *wait) {
        wait->state = thread->state;
        wait->kind = thread->plan.kind;
        wait->use = thread->plan.use;
        wait->phrase = thread->plan.phrase;
        wait->has_timeout = thread->plan.has_timeout;
        wait->n_threads = proc->stat.n_threads;
        util_copy_bounded(wait->wchan, sizeof(wait->wchan), thread->wchan, strlen(thread->wchan));
        if (thread->plan.syscall)
                util_copy_bounded(wait->syscall, sizeof(wait->syscall), thread->plan.syscall,
                                  strlen(thread->plan.syscall));
}

void waitlook_begin(Waitlook *look, const Proc *proc, Wait *ret) {
        char cgroup[WAIT_NAME_MAX + 1];
        bool frozen = proc->stat.state != 'Z' && waitlook_frozen(look, proc->stat.pid, cgroup, sizeof(cgroup));
        Thread thread, again;

        *ret = (Wait) WAIT_NULL;
        if (!procscan_same(proc) || !choose_thread(proc, frozen, &thread)) {
                ret->changed = true;
                return;
        }
        take(proc, &thread, ret);
        if (frozen)
                memcpy(ret->cgroup, cgroup, sizeof(cgroup));
        read_status(look, proc, ret);
        waitobject_resolve(&look->objects, proc, &thread.plan, thread.wchan, ret);
        /* What it waited for may have ended since: then a descriptor's number means another thing. */
        if (!procscan_same(proc) || !read_thread(proc->stat.pid, thread.tid, frozen, &again) ||
            (ret->kind != WAIT_CPU && again.has_call && memcmp(&again.call, &thread.call, sizeof(again.call)) != 0)) {
                *ret = (Wait) WAIT_NULL;
                ret->changed = true;
                ret->state = proc->stat.state;
        }
}

int waitlook_scan(Waitlook *look) {
        return fdscan_run(&look->objects.scan, look->objects.procs);
}

/* Which of those that have it open is the other end? */
static bool is_other_end(const Wait *wait, const Proc *proc, const FdHolder *holder) {
        unsigned mode = holder->flags & O_ACCMODE;

        if (wait->kind == WAIT_FIFO)
                return wait->want_read ? mode == O_RDONLY || mode == O_RDWR : mode == O_WRONLY || mode == O_RDWR;
        return holder->proc != proc || wait->kind == WAIT_LOCK;
}

void waitlook_finish(Waitlook *look, const Proc *proc, Wait *wait) {
        const FdWant *want = wait->want < 0 ? NULL : &look->objects.scan.wants[wait->want];
        const Proc *best = NULL;
        char ignored[16];
        size_t n = 0;

        if (!want)
                return;
        for (size_t i = 0; i < want->n_holders; i++) {
                const Proc *holder = want->holders[i].proc;

                if (!is_other_end(wait, proc, &want->holders[i]))
                        continue;
                n++;
                /* Not itself if there is another; not PID 1, which hands out the sockets of others; else the first. */
                if (!best || (best == proc && holder != proc) || (best->stat.pid == 1 && holder->stat.pid != 1))
                        best = holder;
        }
        if (best == proc && wait->kind == WAIT_FIFO && n == 1) {
                /* Only it has the other end: nobody will ever come. */
                best = NULL;
                n = 0;
        }
        /* The servers of two FUSE file systems look alike where the kernel does not say which connection is whose. */
        if (wait->kind == WAIT_MOUNT && n > 1) {
                wait->peer = WAIT_PEER_UNKNOWN;
                return;
        }
        if (best) {
                waitobject_set_peer(wait, best);
                wait->n_peers = n + (want->n_all - want->n_holders);
                wait->peer_frozen = waitlook_frozen(look, best->stat.pid, ignored, sizeof(ignored));
        } else if (wait->peer != WAIT_PEER_GONE)
                wait->peer = look->objects.scan.incomplete || want->n_all > want->n_holders || look->objects.procs->more
                                     ? WAIT_PEER_UNKNOWN
                                     : WAIT_PEER_NOBODY;
}
