#pragma once

/*
 * Whose process, by its command line and CNI's variables
 *
 * Programs that run for a container say which one: a shim by -id, runc and crun by an argument, conmon by -c, a CNI
 * plugin by CNI_CONTAINERID and CNI_ARGS, which its delegates inherit. A process says this of itself: the caller
 * believes only processes that it trusts for other reasons (procscan.h). No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include "identity.h"

#define PODOF_CMDLINE_MAX 8192 /* bytes of a command line that are read */
#define PODOF_ENVIRON_MAX 4096 /* bytes of CNI's variables that are kept */
#define PODOF_BUNDLE_MAX  1023

typedef enum PodofKind {
        PODOF_OTHER,
        PODOF_ENGINE,  /* containerd, crio */
        PODOF_SHIM,    /* containerd-shim-* */
        PODOF_MONITOR, /* conmon, podspan-conmon, conmonrs */
        PODOF_RUNTIME, /* runc, crun, youki */
        PODOF_KUBELET,
        _PODOF_KIND_MAX,
} PodofKind;

/* The kind of a program by its file's name: the target of /proc/PID/exe, also of a runtime that copied itself. */
PodofKind podof_kind(const char *exe);

typedef struct Podof {
        char verb[16]; /* of a runtime: "create"; of a shim: "start", "delete", "" while it serves */
        char cni[16];  /* CNI_COMMAND: "ADD", "DEL" …; "": no CNI plugin */
        char ifname[16];
        bool is_volume; /* an argument is a path of a pod's volume, or names the pod as kubelet tells a volume driver */
        char id[IDENTITY_ID_MAX + 1]; /* of the container or sandbox; "": not said */
        char bundle[PODOF_BUNDLE_MAX + 1];
        char pod_uid[IDENTITY_ID_MAX + 1]; /* of CNI_ARGS, or of the name that CRI-O gives a monitor */
        char pod_name[IDENTITY_NAME_MAX + 1];
        char pod_namespace[IDENTITY_NAME_MAX + 1];
        char container_name[IDENTITY_NAME_MAX + 1]; /* of a monitor; "POD": the sandbox's own */
} Podof;

/* Reads the @n bytes of a command line, each argument with its NUL; the last may be cut. */
void podof_cmdline(PodofKind kind, const char *s, size_t n, Podof *ret);

/* Reads of a command line which pod's volume it is about: "…/pods/UID/volumes/…", as kubelet's mount helpers and volume
 * drivers get it. */
void podof_volume(const char *s, size_t n, Podof *ret);

/* Reads variables, each with its NUL, into @podof. Those that are not CNI's are skipped. */
void podof_environ(const char *s, size_t n, Podof *podof);

/* Copies the variables CNI_* of the @n bytes of /proc/PID/environ to @ret; returns the length. */
size_t podof_filter(const char *s, size_t n, char ret[static PODOF_ENVIRON_MAX]);
