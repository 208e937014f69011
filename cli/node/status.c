#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "clk.h"
#include "netunix.h"
#include "nodefile.h"
#include "status.h"

#define PROC_MAX     (4U * 1024 * 1024) /* bytes of a file of /proc */
#define MONITOR_NAME "podspan-conmon"

/* Where podspan-cri listens by default, below the state directory (decision: CRI-O's socket name matters). */
static const char *const sockets[STATUS_PATHS_MAX] = { "/cri.sock", "/run/crio/crio.sock",
                                                       "/run/containerd/containerd.sock" };

void status_deinit(Status *status) {
        for (size_t i = 0; i < status->n_meta; i++) {
                free(status->meta[i].key);
                free(status->meta[i].value);
        }
        free(status->cri_socket);
        for (size_t i = 0; i < ARRAY_SIZE(status->paths); i++) {
                free(status->paths[i].path);
                free(status->paths[i].runtime);
        }
        free(status->store_error);
        free(status->config_error);
        if (status->config_known)
                config_deinit(&status->config);
        *status = (Status){};
}

const char *status_meta(const Status *status, const char *key) {
        for (size_t i = 0; i < status->n_meta; i++)
                if (strcmp(status->meta[i].key, key) == 0)
                        return status->meta[i].value;
        return NULL;
}

uint64_t status_meta_u64(const Status *status, const char *key) {
        const char *value = status_meta(status, key);
        uint64_t n;

        return value && util_parse_u64(value, strlen(value), &n) >= 0 ? n : 0;
}

static int on_meta(const char *key, const char *value, void *userdata) {
        Status *status = userdata;
        StatusMeta *meta = &status->meta[status->n_meta];

        if (status->n_meta == STATUS_META_MAX)
                return 0;
        *meta = (StatusMeta){ .key = strdup(key), .value = strdup(value) };
        status->n_meta++;
        return meta->key && meta->value ? 0 : -ENOMEM;
}

/* Empties the value of @key, if what it tells happened at another endpoint than the one that is exported to now. */
static void drop_if_elsewhere(Status *status, const char *key, const char *endpoint_key) {
        const char *now = status_meta(status, "endpoint"), *then = status_meta(status, endpoint_key);

        if (!now || !then || strcmp(now, then) == 0)
                return;
        for (size_t i = 0; i < status->n_meta; i++)
                if (strcmp(status->meta[i].key, key) == 0)
                        *status->meta[i].value = '\0';
}

static int gather_store(const Cli *cli, Status *status) {
        _cleanup_(storedb_freep) StoreDb *db = NULL;
        int r;

        r = storedb_open(cli->store_dir, &db, &status->store_error);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        r = storedb_stats(db, &status->store);
        if (r >= 0)
                r = storedb_meta(db, on_meta, status);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                status->store_error = strdup(storedb_error(db));
        status->store_known = r >= 0;
        /* The answer to a request that was under way when the endpoint changed comes later than the change. */
        drop_if_elsewhere(status, "last_export_ok_ns", "last_export_ok_endpoint");
        drop_if_elsewhere(status, "last_export_error_ns", "last_export_error_endpoint");
        drop_if_elsewhere(status, "last_export_error", "last_export_error_endpoint");
        return 0;
}

/* A file of /proc, cut at PROC_MAX; NULL where it cannot be read. */
static char *read_proc(const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        char *text = fd < 0 ? NULL : malloc(PROC_MAX + 1);
        size_t n = 0;
        ssize_t got;

        if (!text)
                return NULL;
        while (n < PROC_MAX && (got = read(fd, text + n, PROC_MAX - n)) > 0)
                n += (size_t) got;
        text[n] = '\0';
        return text;
}

bool status_find_lock(const char *text, dev_t device, ino_t inode) {
        /* ID: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END; a waiting one has "->" behind its ID. */
        for (const char *line = text; *line;) {
                const char *end = strchrnul(line, '\n');
                unsigned major_number, minor_number;
                unsigned long long number;

                if (sscanf(line, "%*[0-9]: FLOCK ADVISORY WRITE %*d %x:%x:%llu ", &major_number, &minor_number,
                           &number) == 3 &&
                    number == inode && major_number == major(device) && minor_number == minor(device))
                        return true;
                line = *end ? end + 1 : end;
        }
        return false;
}

StatusAlive status_podspand(const Cli *cli) {
        _cleanup_close_ int dir_fd = open(cli->store_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
        _cleanup_free_ char *locks = NULL;
        struct stat st;

        if (dir_fd < 0)
                return errno == ENOENT ? STATUS_DEAD : STATUS_UNKNOWN;
        /* The lock is podspand's own; a member of its group cannot open it, but see it. */
        if (fstatat(dir_fd, STATUS_LOCK, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? STATUS_DEAD : STATUS_UNKNOWN;
        locks = read_proc("/proc/locks");
        if (locks && status_find_lock(locks, st.st_dev, st.st_ino))
                return STATUS_ALIVE;
        fd = openat(dir_fd, STATUS_LOCK, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? STATUS_DEAD : STATUS_UNKNOWN;
        if (flock(fd, LOCK_SH | LOCK_NB) >= 0)
                return STATUS_DEAD;
        return errno == EWOULDBLOCK ? STATUS_ALIVE : STATUS_UNKNOWN;
}

/* The paths that podspan-cri has by default: its socket, or a bypass. */
static int gather_paths(const Cli *cli, Status *status) {
        _cleanup_close_ int root_fd = nodefile_root("/");
        _cleanup_free_ char *text = read_proc("/proc/net/unix");

        for (size_t i = 0; i < ARRAY_SIZE(sockets); i++) {
                _cleanup_free_ char *path = NULL;
                StatusPath *at = &status->paths[i];
                NetunixSocket open = {};
                int r;

                if (asprintf(&path, "%s%s", cli->state_dir, sockets[i]) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                r = root_fd < 0 ? root_fd : bypass_state(root_fd, path, &at->state);
                if (r == -ENOMEM)
                        return r;
                at->error = r;
                if (r >= 0 && at->state == BYPASS_ABSENT)
                        continue;
                if (r >= 0 && at->state == BYPASS_ON && bypass_target(root_fd, path, &at->runtime) < 0)
                        at->runtime = NULL;
                if (text)
                        netunix_find(text, path, &open);
                at->listening = open.listening;
                at->path = TAKE_PTR(path);
        }
        status->sockets_known = text != NULL;
        return 0;
}

/*
 * The kernel's list has the names that processes gave, in whatever mount namespace: one counts where a socket of root's
 * is. Where that cannot be seen, it is unknown.
 */
static int gather_cri(Status *status) {
        bool unknown = !status->sockets_known || status->state_error < 0;

        for (size_t i = 0; i < ARRAY_SIZE(status->paths); i++) {
                const StatusPath *path = &status->paths[i];

                if (!path->listening)
                        continue;
                if (path->error < 0) {
                        unknown = true;
                        continue;
                }
                status->cri_socket = strdup(path->path);
                if (!status->cri_socket)
                        return -ENOMEM;
                status->podspan_cri = STATUS_ALIVE;
                return 0;
        }
        if (status->podspan_cri != STATUS_ALIVE && !unknown)
                status->podspan_cri = STATUS_DEAD;
        return 0;
}

/* By their name alone: this is a count for people, and nothing is done with it. */
static void gather_monitors(Status *status) {
        const struct dirent *entry;
        DIR *dir;

        /* Where /proc hides the processes of other users, it hides the first one, too. */
        if (access("/proc/1/comm", R_OK) < 0)
                return;
        dir = opendir("/proc");
        if (!dir)
                return;
        while ((entry = readdir(dir))) {
                char path[64], name[32] = "";
                _cleanup_close_ int fd = -EBADF;
                ssize_t n;

                if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name) || strlen(entry->d_name) > 10)
                        continue;
                (void) snprintf(path, sizeof(path), "/proc/%.10s/comm", entry->d_name);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                n = fd < 0 ? 0 : read(fd, name, sizeof(name) - 1);
                if (n > 0 && strcmp(name, MONITOR_NAME "\n") == 0)
                        status->n_monitors++;
        }
        (void) closedir(dir);
        status->monitors_known = true;
}

static StatusCalls *calls_of(Status *status, const char *method) {
        StatusCalls *calls;

        for (size_t i = 0; i < status->n_calls; i++)
                if (strcmp(status->calls[i].method, method) == 0)
                        return &status->calls[i];
        if (status->n_calls == ARRAY_SIZE(status->calls))
                return NULL;
        calls = &status->calls[status->n_calls++];
        util_copy_bounded(calls->method, sizeof(calls->method), method, strlen(method));
        return calls;
}

static int on_minute(const char *method, const TallyCell *sum, void *userdata) {
        StatusCalls *calls = calls_of(userdata, method);

        if (calls)
                calls->minute = *sum;
        return 0;
}

static int on_hour(const char *method, const TallyCell *sum, void *userdata) {
        StatusCalls *calls = calls_of(userdata, method);

        if (calls)
                calls->hour = *sum;
        return 0;
}

static int by_calls(const void *a, const void *b) {
        const StatusCalls *x = a, *y = b;

        if (x->hour.n != y->hour.n)
                return x->hour.n > y->hour.n ? -1 : 1;
        return strcmp(x->method, y->method);
}

static void gather_state(const Cli *cli, Status *status) {
        _cleanup_close_ int state_fd = cli_open_state(cli);
        _cleanup_(counters_freep) Counters *counters = NULL;
        _cleanup_(tally_freep) Tally *tally = NULL;

        status->state_error = MIN(state_fd, 0);
        status->watch_error = state_fd < 0 ? state_fd : watchstate_read(state_fd, &status->watch);
        if (state_fd < 0) {
                if (state_fd == -ENOENT)
                        status->state_error = 0;
                return;
        }
        /* Opened by who may list it, but may he look into it? */
        if (faccessat(state_fd, ".", R_OK | X_OK, AT_EACCESS) < 0) {
                status->state_error = -errno;
                return;
        }

        counters = counters_open(state_fd, false);
        status->counters_known = counters && counters_shared(counters);
        for (unsigned p = 0; status->counters_known && p < _COUNTERS_PRODUCER_MAX; p++)
                for (unsigned i = 0; i < _COUNTERS_ID_MAX; i++)
                        status->counters[p][i] = counters_get(counters, p, i);

        if (tally_has_writer(state_fd))
                status->podspan_cri = STATUS_ALIVE;
        tally = tally_open(state_fd, false);
        (void) tally_list(tally, status->now_ns, TALLY_MINUTES, on_hour, status);
        /* The minute before this one: it is complete. */
        (void) tally_list(tally, status->now_ns - 60 * NSEC_PER_SEC, 1, on_minute, status);
        if (status->n_calls > 0)
                qsort(status->calls, status->n_calls, sizeof(status->calls[0]), by_calls);
}

int status_gather(const Cli *cli, Status *ret) {
        Status *status = ret;
        int r;

        *status = (Status){ .now_ns = clk_realtime() };

        r = config_load(cli->config_file, &status->config, &status->config_error);
        if (r == -ENOMEM)
                return r;
        status->config_known = r >= 0;
        status->config_unreadable = r == -EACCES || r == -EPERM;

        r = gather_store(cli, status);
        if (r < 0)
                return r;
        status->podspand = status_podspand(cli);
        gather_state(cli, status);
        gather_monitors(status);
        r = gather_paths(cli, status);
        return r < 0 ? r : gather_cri(status);
}
