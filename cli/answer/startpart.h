#pragma once

/*
 * Parts of a pod's start
 *
 * Says what each moment of a pod's start was spent on. Every moment belongs to exactly one part, so the parts sum to
 * the wall time. At each moment the deepest span that was open decides. Input comes from the store and may hold
 * anything: missing parents, rings, spans that end before they start. No I/O.
 *
 * The start begins with the pod's first RunPodSandbox, or with kubelet's receipt of the pod where that is known. It
 * ends with the last first StartContainer of a container, and with a command that follows that call at once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "outcome.h"

#define STARTPART_SPANS_MAX 4096 /* spans of one start; the rest is not looked at */
#define STARTPART_PARTS_MAX 64   /* different parts; what exceeds them joins the part "other" */
#define STARTPART_WHAT_MAX  96   /* bytes of a part's name */
#define STARTPART_DEPTH_MAX 64   /* parents that are followed */
#define STARTPART_PULLS_MAX 256  /* pulls of other pods */

#define STARTPART_GAP_NS (50ULL * 1000 * 1000) /* a shorter gap between calls is kubelet's ordinary work */
#define STARTPART_FOLLOWS_NS \
        (100ULL * 1000 * 1000) /* a command that follows a StartContainer within this belongs to it */

/* What a part was spent on. A closed set; the words are in startpart_kind_word(). */
typedef enum StartKind {
        START_BEFORE,   /* between kubelet's receipt of the pod and the first call */
        START_QUEUE,    /* waited for the pull of another pod */
        START_PULL,     /* PullImage */
        START_CNI,      /* a CNI plugin, its delegates in `detail` */
        START_HOOK,     /* an OCI hook */
        START_MOUNTS,   /* mounts and files of the root file system */
        START_CGROUP,   /* cgroups: made, joined, written */
        START_CPU_WAIT, /* could run, but another process ran */
        START_RUNTIME,  /* runc, crun, shim, monitor and their phases */
        START_ENGINE,   /* the engine's own work, as far as spans say */
        START_CALL,     /* within a CRI call, and no span says what */
        START_INIT,     /* an init container ran */
        START_RETRY,    /* after a failed call, until the next one */
        START_COMMAND,  /* a command in the container right after its start: postStart, or a first probe */
        START_KUBELET,  /* between two calls: kubelet */
        START_UNKNOWN,  /* between two calls, and it is not known whether an init container ran */
        _START_KIND_MAX,
} StartKind;

/* A span of the pod. Strings are borrowed, never NULL, "" where not known. */
typedef struct StartSpan {
        uint8_t span_id[8];
        uint8_t parent_id[8];
        bool has_parent;
        bool is_call;      /* a CRI call as podspan-cri saw it */
        uint64_t start_ns; /* wall clock */
        uint64_t end_ns;
        Outcome outcome;
        const char *name; /* in full */
        const char *service;
        const char *container_name;
        const char *container_id;
        const char *image;      /* container.image.name */
        const char *hook_stage; /* oci.hook.stage */
        const char *why;        /* of a failed one */
        uint64_t wait_ns;       /* podspan.pod.wait_ms of RunPodSandbox; 0: not known */
} StartSpan;

/* A pull of another pod. */
typedef struct StartPull {
        uint64_t start_ns;
        uint64_t end_ns;
        const char *pod; /* NAMESPACE/NAME */
} StartPull;

typedef struct StartPart {
        StartKind kind;
        char what[STARTPART_WHAT_MAX];   /* the plugin, hook, image, container, command; "" where the kind says all */
        char detail[STARTPART_WHAT_MAX]; /* what took most of it, below it; "" if nothing did */
        uint64_t ns;
        uint64_t detail_ns;
        uint64_t first_ns;  /* wall clock of its first moment */
        uint8_t span_id[8]; /* of its longest span */
        bool has_span;
} StartPart;

typedef struct Start {
        uint64_t begin_ns;
        uint64_t end_ns;
        StartPart parts[STARTPART_PARTS_MAX]; /* the longest first */
        size_t n_parts;
        unsigned n_attempts; /* RunPodSandbox calls of this start */
        bool complete;       /* every container that was created has been started */
        bool watched;        /* spans below calls are there: podspan-watch or a monitor was on */
} Start;

/*
 * Cuts the start out of the @n spans of one pod (any order; sorted here by start) and divides it. Returns 0, -ENOENT
 * without a RunPodSandbox among them, or -ENOMEM.
 */
int startpart_divide(StartSpan *spans, size_t n, const StartPull *pulls, size_t n_pulls, Start *ret);

/* A bare word, static: "cni". */
const char *startpart_kind_word(StartKind kind);

/* "pulling image docker.io/x" and the like, for a sentence; cut where @ret is too small. */
#define STARTPART_TEXT_MAX 256
void startpart_text(const StartPart *part, char ret[static STARTPART_TEXT_MAX]);
