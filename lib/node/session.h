#pragma once

/*
 * Session
 *
 * What a short-lived producer of spans (hook, monitor) works with: the state directory, configuration, spool, context
 * files and counters. Where nobody collects spans there is nothing to do, and finding that out costs two system calls.
 */

#include "config.h"
#include "context.h"
#include "counters.h"
#include "sampler.h"
#include "spool.h"

typedef struct Session {
        CountersProducer producer;
        const char *service; /* a literal */
        int state_fd;
        Config config;
        char *config_error; /* why the configuration cannot be used and the defaults count; NULL: it can */
        char *refusal;      /* a directory that others can change, and so is not used; NULL: none */
        Sampler sampler;
        Counters *counters;
        Spool spool;
        Context context;
} Session;

#define SESSION_NULL \
        { .state_fd = -EBADF, .config = CONFIG_NULL, .spool = SPOOL_NULL, .context = CONTEXT_NULL }

/*
 * For @producer, whose service is called @service (a literal), opens the state directory: @state_dir, else
 * PODSPAN_STATE_DIR; else /run/podspan, or where that is not there or not for us, as for rootless containers,
 * $XDG_RUNTIME_DIR/podspan. Then reads the configuration @config_file or its default; one that cannot be used is
 * replaced by the defaults, because a container's start hangs on it: @session->config_error says why. A spool or
 * context directory that others can change is not used, counted, and named in @session->refusal. The caller logs both,
 * whatever is returned. Returns 1 if spans are wanted, 0 if not (nobody collects, or tracing is off), or a negative
 * errno.
 */
int session_init(Session *session, CountersProducer producer, const char *service, const char *config_file,
                 const char *state_dir);
void session_deinit(Session *session);

/* Writes @n spans to the spool; what fails is counted there. */
void session_write(Session *session, Span *const *spans, size_t n);

/* The service name: the configured one, or the producer's own. */
const char *session_service(const Session *session);
