#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include "clk.h"
#include "collect.h"
#include "dirowner.h"

#define DIR_NAME "spool"
#define SUFFIX   ".otlp"

/* Only that something came is of interest. Events that are left in the queue bring the next turn. */
static int on_inotify(LoopSource *source, uint32_t events) {
        Collect *collect = container_of(source, Collect, source);
        _Alignas(struct inotify_event) char buffer[4096];

        (void) events;

        if (read(collect->inotify_fd, buffer, sizeof(buffer)) < 0 && errno != EAGAIN && errno != EINTR)
                return -errno;
        return collect->on_change(collect);
}

int collect_init(Collect *collect, Loop *loop, int state_fd, CollectFn on_change) {
        struct stat state;
        char path[32];
        int r;

        assert(collect->dir_fd < 0);

        collect->state_fd = state_fd;
        collect->loop = loop;
        collect->on_change = on_change;

        r = spool_create(state_fd);
        if (r < 0)
                return r;
        collect->dir_fd = openat(state_fd, DIR_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (collect->dir_fd < 0)
                return -errno;
        if (fstat(state_fd, &state) < 0)
                return -errno;
        r = dirowner_check(collect->dir_fd, DIROWNER_GROUP, state.st_gid);
        if (r < 0)
                return r;
        /* Whoever cannot remove what it has read would read it for ever. */
        if (faccessat(collect->dir_fd, ".", R_OK | W_OK | X_OK, AT_EACCESS) < 0)
                return -errno;
        if (flock(collect->dir_fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;

        collect->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (collect->inotify_fd < 0)
                return -errno;
        /* By the descriptor: the name may lead elsewhere by now. */
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", collect->dir_fd);
        if (inotify_add_watch(collect->inotify_fd, path, IN_MOVED_TO | IN_ONLYDIR | IN_DELETE_SELF) < 0)
                return -errno;

        return loop_source_add(&collect->source, loop, collect->inotify_fd, EPOLLIN, on_inotify);
}

void collect_deinit(Collect *collect) {
        loop_source_remove(&collect->source);
        collect->inotify_fd = close_fd(collect->inotify_fd);
        collect->dir_fd = close_fd(collect->dir_fd);
        free(collect->names);
        collect->names = NULL;
        collect->n_names = collect->n_allocated = collect->at = 0;
        collect->n_ignored = collect->n_aside = 0;
}

bool collect_current(const Collect *collect) {
        struct stat ours, there;

        if (collect->dir_fd < 0)
                return false;
        return fstat(collect->dir_fd, &ours) == 0 &&
               fstatat(collect->state_fd, DIR_NAME, &there, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_dev == there.st_dev &&
               ours.st_ino == there.st_ino;
}

static bool is_ignored(const Collect *collect, uint64_t hash) {
        for (size_t i = 0; i < collect->n_ignored; i++)
                if (collect->ignored[i] == hash)
                        return true;
        return false;
}

static int add_name(Collect *collect, const char *name) {
        if (collect->n_names == collect->n_allocated) {
                size_t n = MAX(2 * collect->n_allocated, (size_t) 64);
                void *p = realloc(collect->names, n * sizeof(*collect->names));

                if (!p)
                        return -ENOMEM;
                collect->names = p;
                collect->n_allocated = n;
        }

        (void) strcpy(collect->names[collect->n_names++], name);
        return 0;
}

static int remove_entry(const Collect *collect, const char *name) {
        if (unlinkat(collect->dir_fd, name, 0) == 0)
                return 0;
        if (errno == EISDIR && unlinkat(collect->dir_fd, name, AT_REMOVEDIR) == 0)
                return 0;
        return -errno;
}

/* Under a dot name it is out of the way. The name may be as long as a file system allows. */
static int hide(const Collect *collect, const char *name) {
        char aside[sizeof(COLLECT_ASIDE) + SPOOL_NAME_MAX + 1];

        if (strlen(name) <= SPOOL_NAME_MAX)
                (void) snprintf(aside, sizeof(aside), COLLECT_ASIDE "%s", name);
        else
                (void) snprintf(aside, sizeof(aside), COLLECT_ASIDE "%016llx",
                                (unsigned long long) util_hash(UTIL_HASH_INIT, name, strlen(name)));
        return renameat(collect->dir_fd, name, collect->dir_fd, aside) < 0 ? -errno : 0;
}

/* Was it last changed longer ago than @age_ns? A file is asked by its content, a directory by its entries. */
static bool older(const Collect *collect, const char *name, uint64_t age_ns) {
        uint64_t now_ns = clk_realtime(), changed_ns;
        struct stat st;

        if (fstatat(collect->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return false;
        changed_ns = (uint64_t) st.st_mtim.tv_sec * NSEC_PER_SEC;
        return now_ns > changed_ns && now_ns - changed_ns > age_ns;
}

/* What a producer that died was writing, and what was set aside. */
static void see_dot_name(Collect *collect, const char *name) {
        bool aside = strncmp(name, COLLECT_ASIDE, strlen(COLLECT_ASIDE)) == 0;

        if (older(collect, name, aside ? COLLECT_ASIDE_NS : COLLECT_STALE_NS))
                (void) remove_entry(collect, name);
        else if (aside)
                collect->n_aside++;
}

/* "N-….otlp": of a podspan to come, or one that was. */
static bool other_version(const char *name) {
        size_t n = strspn(name, "0123456789"), len = strlen(name);

        return n > 0 && name[n] == '-' && strncmp(name, SPOOL_VERSION "-", n + 1) != 0 && len > strlen(SUFFIX) &&
               strcmp(name + len - strlen(SUFFIX), SUFFIX) == 0;
}

static void see_foreign_name(Collect *collect, const char *name) {
        if (other_version(name) && !older(collect, name, COLLECT_STALE_NS))
                return;
        if (remove_entry(collect, name) == 0 || hide(collect, name) == 0)
                collect->n_foreign++;
}

static int compare_names(const void *a, const void *b) {
        return strcmp(a, b);
}

int collect_scan(Collect *collect) {
        struct dirent *entry;
        DIR *dir;
        int fd, r = 0;

        collect->n_names = collect->at = collect->n_aside = 0;
        /* A flood's list shall not stay. */
        if (collect->n_allocated > 1024) {
                free(collect->names);
                collect->names = NULL;
                collect->n_allocated = 0;
        }

        fd = openat(collect->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        dir = fdopendir(fd);
        if (!dir) {
                r = -errno;
                close_fd(fd);
                return r;
        }

        while (collect->n_names < COLLECT_NAMES_MAX && (entry = readdir(dir))) {
                const char *name = entry->d_name;

                if (name[0] == '.') {
                        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
                                see_dot_name(collect, name);
                        continue;
                }
                if (collect->n_ignored > 0 && is_ignored(collect, util_hash(UTIL_HASH_INIT, name, strlen(name))))
                        continue;
                if (!spool_name_valid(name) || strlen(name) > SPOOL_NAME_MAX) {
                        see_foreign_name(collect, name);
                        continue;
                }
                r = add_name(collect, name);
                if (r < 0)
                        break;
        }
        (void) closedir(dir);

        /* The name begins with the time, in digits of a fixed number. */
        if (collect->n_names > 1)
                qsort(collect->names, collect->n_names, sizeof(*collect->names), compare_names);
        return r;
}

const char *collect_next(Collect *collect) {
        return collect->at < collect->n_names ? collect->names[collect->at++] : NULL;
}

void collect_back(Collect *collect) {
        assert(collect->at > 0);

        collect->at--;
}

bool collect_empty(const Collect *collect) {
        return collect->at == collect->n_names;
}

int collect_read(const Collect *collect, const char *name, uint8_t **ret, size_t *ret_size) {
        char *data;
        int r;

        r = util_read_file_at(collect->dir_fd, name, SPOOL_FILE_MAX, &data, ret_size);
        switch (r) {
        case 0:
                *ret = (uint8_t *) data;
                return 0;
        case -ENOENT:
        case -ENOMEM:
        case -EIO:
        case -EMFILE:
        case -ENFILE:
                return r;
        default:
                return -EBADMSG;
        }
}

int collect_remove(Collect *collect, const char *name) {
        int r;

        r = remove_entry(collect, name);
        if (r == 0 || r == -ENOENT)
                return 0;
        /* Somebody's joke: a directory with a spool file's name. */
        if (r == -ENOTEMPTY && hide(collect, name) == 0)
                return 0;

        if (collect->n_ignored < COLLECT_IGNORED_MAX)
                collect->ignored[collect->n_ignored++] = util_hash(UTIL_HASH_INIT, name, strlen(name));
        return r;
}

int collect_set_aside(Collect *collect, const char *name) {
        if (collect->n_aside >= COLLECT_ASIDE_MAX || hide(collect, name) < 0)
                return collect_remove(collect, name);

        collect->n_aside++;
        return 0;
}

size_t collect_take_foreign(Collect *collect) {
        return TAKE(collect->n_foreign, 0);
}
