#pragma once

/*
 * Probe
 *
 * Runs one pod through the node's CRI socket as kubelet would, with a sampled trace of its own, and takes it away again
 * on every path: success, failure, deadline, Ctrl-C. A first Ctrl-C lets a call end that is making something, because
 * what is made meanwhile could not be named; a second one does not.
 */

#include <pthread.h>
#include "clk.h"
#include "config.h"
#include "criclient.h"
#include "spool.h"

#define PROBE_CALLS_MAX          64
#define PROBE_CLEANUP_TIMEOUT_NS (30 * NSEC_PER_SEC) /* for each call of the cleaning up */
#define PROBE_SETTLE_NS          (10 * NSEC_PER_SEC) /* for a given-up RunPodSandbox to show its sandbox */
#define PROBE_SLICE              "system.slice"
#define PROBE_NAMESPACE          "podspan-probe"
#define PROBE_SERVICE            "podspan-probe"

typedef struct ProbeOptions {
        const char *endpoint;
        const char *image;           /* NULL: the sandbox alone */
        const char *runtime_handler; /* "": the runtime's default */
        char **command;              /* instead of the image's own; NULL-terminated, may be NULL */
        uint64_t timeout_ns;         /* for everything before the cleaning up */
        bool pull;                   /* the image, if it is absent */
        bool host_network;
        bool keep;             /* leave the pod there */
        bool progress;         /* on standard error */
        const char *state_dir; /* where podspan-cri's sockets are */
} ProbeOptions;

typedef struct ProbeCall {
        const char *method;
        uint64_t start_ns;
        uint64_t duration_ns;
        CriStatus status;
        bool optional; /* a runtime may lack it: its failure is not the probe's */
} ProbeCall;

/* How cgroup_parent of the pod is written, which depends on the runtime's cgroup driver. */
typedef enum ProbeCgroup {
        PROBE_CGROUP_DEFAULT, /* none: the runtime's own, right for cgroupfs and for CRI-O with either driver */
        PROBE_CGROUP_SLICE,   /* a slice of systemd's, without which containerd with SystemdCgroup runs no pod */
} ProbeCgroup;

typedef struct Probe {
        const ProbeOptions *options;
        const Config *config; /* borrowed */
        CriClient *client;
        Counters *counters;
        Spool spool;
        TraceContext root;
        Clk begin;
        Identity identity;
        char runtime_name[64];
        char runtime_version[64];
        char log_dir[256];
        ProbeCgroup cgroup;
        uint32_t attempt; /* of the sandbox, as kubelet counts it */
        bool asked;       /* RunPodSandbox was sent: there may be a sandbox without an id that we know */
        bool unanswered;  /* it was given up, so that sandbox may still be on its way */
        bool container_made;
        ProbeCall calls[PROBE_CALLS_MAX];
        size_t n_calls;
        char error[CRICLIENT_MESSAGE_MAX + 128]; /* the first failure; "" if none */
        int signal_fd;
        int stop_fd;
        int interrupt_fd; /* readable after a signal */
        bool interrupted; /* atomic */
        pthread_mutex_t mutex;
        bool shielded; /* under the mutex: a first signal must not cancel the call in flight, only a second one */
        char left_id[IDENTITY_ID_MAX + 1]; /* the sandbox that could not be taken away; "": all was */
} Probe;

/*
 * Prepares a probe; @state_fd is -EBADF where there is no state directory (then no span of ours is kept). SIGINT,
 * SIGTERM and SIGHUP must be blocked already. Returns 0 or a negative errno.
 */
int probe_init(Probe *probe, const ProbeOptions *options, const Config *config, int state_fd);
void probe_deinit(Probe *probe);

/* Runs it. Returns 0 if the pod ran and went as it should, -EREMOTEIO with the reason in probe->error, -EINTR after a
 * signal. */
int probe_run(Probe *probe);

/* For the steps of probesteps.h. */

/*
 * One call with a span of its own. Returns 0 with the answer, a pointer to a message, in @ret (owned by the caller), or
 * -EREMOTEIO; the reason of the first such failure is kept in probe->error.
 */
int probe_call(Probe *probe, const char *method, uint64_t timeout_ns, const void *request,
               const ProtobufCMessageDescriptor *response_type, ProtobufCMessage **ret);
/* The same for a call that not every runtime has: probe->error stays as it is. */
int probe_call_optional(Probe *probe, const char *method, uint64_t timeout_ns, const void *request,
                        const ProtobufCMessageDescriptor *response_type, ProtobufCMessage **ret);
/* The same for a call that makes something: a first signal does not cancel it. -EINTR instead of beginning it after
 * one. */
int probe_call_creating(Probe *probe, const char *method, uint64_t timeout_ns, const void *request,
                        const ProtobufCMessageDescriptor *response_type, ProtobufCMessage **ret);

/* What is left of the time for the calls before the cleaning up. */
uint64_t probe_time_left(const Probe *probe);
bool probe_interrupted(Probe *probe);
/* Waits for a signal, at most @ns. Returns whether one came since the last time. */
bool probe_wait_for_signal(const Probe *probe, uint64_t ns);
