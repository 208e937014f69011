#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include "clk.h"
#include "status.h"

#define PROC_NET_UNIX_MAX (4U * 1024 * 1024)

/* Where podspan-cri listens by default, below the state directory (decision: CRI-O's socket name matters). */
static const char *const sockets[] = { "/cri.sock", "/run/crio/crio.sock" };

void status_deinit(Status *status) {
        for (size_t i = 0; i < status->n_meta; i++) {
                free(status->meta[i].key);
                free(status->meta[i].value);
        }
        free(status->cri_socket);
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
        return 0;
}

StatusAlive status_podspand(const Cli *cli) {
        _cleanup_close_ int dir_fd = open(cli->store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;

        if (dir_fd < 0)
                return errno == ENOENT ? STATUS_DEAD : STATUS_UNKNOWN;
        fd = openat(dir_fd, STATUS_LOCK, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? STATUS_DEAD : STATUS_UNKNOWN;
        if (flock(fd, LOCK_SH | LOCK_NB) >= 0)
                return STATUS_DEAD;
        return errno == EWOULDBLOCK ? STATUS_ALIVE : STATUS_UNKNOWN;
}

int status_find_socket(const char *text, const char *state_dir, char **ret) {
        /* Num RefCount Protocol Flags Type St Inode Path; Flags has 00010000 (SO_ACCEPTCON) for a listening socket. */
        for (const char *line = text; *line;) {
                const char *end = strchrnul(line, '\n'), *path = memchr(line, '/', (size_t) (end - line));
                unsigned long flags = 0;

                if (path && sscanf(line, "%*s %*x %*x %lx", &flags) == 1 && flags & 0x10000)
                        for (size_t i = 0; i < ARRAY_SIZE(sockets); i++) {
                                size_t dir_len = strlen(state_dir), len = dir_len + strlen(sockets[i]);

                                if ((size_t) (end - path) == len && strncmp(path, state_dir, dir_len) == 0 &&
                                    strncmp(path + dir_len, sockets[i], len - dir_len) == 0) {
                                        *ret = strndup(path, len);
                                        return *ret ? 0 : -ENOMEM;
                                }
                        }
                line = *end == '\n' ? end + 1 : end;
        }
        return -ENOENT;
}

static int gather_cri(const Cli *cli, Status *status) {
        _cleanup_free_ char *text = malloc(PROC_NET_UNIX_MAX + 1);
        _cleanup_close_ int fd = open("/proc/net/unix", O_RDONLY | O_CLOEXEC);
        size_t n = 0;
        ssize_t got;
        int r;

        if (!text)
                return -ENOMEM;
        if (fd < 0)
                return 0;
        while (n < PROC_NET_UNIX_MAX && (got = read(fd, text + n, PROC_NET_UNIX_MAX - n)) > 0)
                n += (size_t) got;
        text[n] = '\0';

        r = status_find_socket(text, cli->state_dir, &status->cri_socket);
        if (r == -ENOMEM)
                return r;
        if (r >= 0)
                status->podspan_cri = STATUS_ALIVE;
        else if (status->podspan_cri != STATUS_ALIVE)
                status->podspan_cri = STATUS_DEAD;
        return 0;
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

        if (state_fd < 0)
                return;

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

        r = gather_store(cli, status);
        if (r < 0)
                return r;
        status->podspand = status_podspand(cli);
        gather_state(cli, status);
        return gather_cri(cli, status);
}
