#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "dirowner.h"
#include "session.h"

#define SUBDIRECTORY "podspan"

static int open_directory(int at_fd, const char *path, int flags) {
        int fd = openat(at_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);

        return fd < 0 ? -errno : fd;
}

/* A rootless user's own: nobody else may have put it there. */
static int open_rootless(void) {
        const char *runtime_dir = getenv("XDG_RUNTIME_DIR");
        _cleanup_close_ int parent_fd = -EBADF, fd = -EBADF;
        struct stat st;

        if (!runtime_dir || runtime_dir[0] != '/')
                return -ENOENT;

        parent_fd = open_directory(AT_FDCWD, runtime_dir, 0);
        if (parent_fd < 0)
                return parent_fd;
        fd = open_directory(parent_fd, SUBDIRECTORY, O_NOFOLLOW);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        return st.st_uid == geteuid() ? TAKE_FD(fd) : -EPERM;
}

static int open_state(Session *session, const char *state_dir) {
        const char *path = config_state_dir(state_dir);
        bool chosen = strcmp(path, CONFIG_STATE_DIR) != 0;
        int r = -ENOENT;

        /* In a rootless container's user namespace we look like root; what is not ours then cannot be opened. */
        if (chosen || geteuid() == 0) {
                session->state_fd = open_directory(AT_FDCWD, path, 0);
                r = session->state_fd < 0 ? session->state_fd
                                          : spool_init(&session->spool, session->state_fd, session->producer, NULL);
        }
        if (chosen || (r == 0 && session->spool.dir_fd >= 0))
                return r;

        session->state_fd = close_fd(session->state_fd);
        session->state_fd = open_rootless();
        if (session->state_fd < 0)
                return session->state_fd;
        return spool_init(&session->spool, session->state_fd, session->producer, NULL);
}

static int load_config(Session *session, const char *file) {
        _cleanup_free_ char *message = NULL;
        int r;

        /* containerd 2 hands its own OTEL_SERVICE_NAME to the shim, and so down to every hook. */
        r = config_load_files(file, &session->config, &message);
        if (r == 0)
                return 0;

        session->config_error = message ? TAKE_PTR(message) : strdup(strerror(-r));
        return config_defaults(&session->config);
}

static void set_refusal(Session *session, const char *what, const char *why) {
        free(session->refusal);
        /* Without memory for the words it is still counted. */
        if (asprintf(&session->refusal, "%s: %s", what, why) < 0)
                session->refusal = NULL;
}

static void refuse_spool(Session *session) {
        char refusal[DIROWNER_TEXT_MAX];

        /* Not even a directory of ours: what is there is another user's, as for a rootless container. */
        if (session->state_fd < 0)
                return;
        session->counters = counters_open(session->state_fd, /* create= */ true);
        counters_add(session->counters, session->producer, COUNTERS_UNTRUSTED, 1);
        dirowner_text(session->state_fd, "spool", refusal);
        set_refusal(session, "No spans", refusal);
}

int session_init(Session *session, CountersProducer producer, const char *service, const char *config_file,
                 const char *state_dir) {
        char refusal[DIROWNER_TEXT_MAX];
        int r;

        assert(session);

        *session = (Session) SESSION_NULL;
        session->producer = producer;
        session->service = service;

        r = open_state(session, state_dir);
        if (r == -EPERM)
                refuse_spool(session);
        if (r == -ENOENT || r == -EACCES || r == -EPERM || r == -ENOTDIR)
                return 0;
        if (r < 0)
                return r;
        if (session->spool.dir_fd < 0)
                return 0;

        r = load_config(session, config_file);
        if (r < 0)
                return r;
        if (!session->config.enable_tracing)
                return 0;
        session->sampler = sampler_make(session->config.tracing_sampling_rate_per_million);

        session->counters = counters_open(session->state_fd, /* create= */ true);
        session->spool.counters = session->counters;

        r = context_init(&session->context, session->state_fd, /* create= */ false, session->producer,
                         session->counters);
        if (r == -EPERM) {
                context_refusal(&session->context, session->state_fd, refusal);
                set_refusal(session, "No context files, so spans have no parents", refusal);
        } else if (r < 0)
                return r;
        return 1;
}

void session_deinit(Session *session) {
        if (!session)
                return;

        context_deinit(&session->context);
        spool_deinit(&session->spool);
        session->counters = counters_free(session->counters);
        config_deinit(&session->config);
        session->config_error = (free(session->config_error), NULL);
        session->refusal = (free(session->refusal), NULL);
        session->state_fd = close_fd(session->state_fd);
}

const char *session_service(const Session *session) {
        const char *name = session->config.service_name;

        return name && name[0] != '\0' ? name : session->service;
}

void session_write(Session *session, Span *const *spans, size_t n) {
        assert(session);

        (void) spool_write(&session->spool, session_service(session), spans, n);
}
