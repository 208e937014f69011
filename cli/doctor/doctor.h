#pragma once

/*
 * Doctor
 *
 * What can be wrong with tracing on a node, each with what was seen and how to put it right. Looks at files, /proc and
 * sockets below a root directory; changes nothing and executes nothing. Where the root is this node's it also connects
 * to the configured collector.
 */

#include <stdio.h>
#include "bytes.h"
#include "cli.h"
#include "config.h"
#include "counters.h"
#include "kube.h"

#define DOCTOR_FINDINGS_MAX 96

typedef enum DoctorSeverity {
        DOCTOR_OK,
        DOCTOR_NOTE, /* worth knowing, nothing to do */
        DOCTOR_WARNING,
        DOCTOR_ERROR,
} DoctorSeverity;

typedef struct DoctorFinding {
        const char *id; /* "kubelet.endpoint": stable, for scripts */
        DoctorSeverity severity;
        char *text;     /* one sentence */
        char *evidence; /* where it was seen; may be NULL */
        char *fix;      /* a command, or lines and the file they go to; NULL with DOCTOR_OK */
} DoctorFinding;

typedef struct Doctor {
        const Cli *cli; /* its folders are those on this machine, the root included */
        const char *root;
        const char *state_dir; /* as the node sees it */
        bool here;             /* the root is this node's */
        int root_fd;
        const char *kubelet_version;    /* given, or NULL */
        const char *containerd_version; /* given, or NULL */
        Kube kube;
        Config config;
        bool config_known;
        char *runtime_path; /* the runtime's socket behind podspan-cri */
        DoctorFinding findings[DOCTOR_FINDINGS_MAX];
        size_t n_findings;
        bool no_memory;
} Doctor;

/* Runs all checks. Returns 0 or a negative errno. */
int doctor_run(Doctor *doctor);
void doctor_deinit(Doctor *doctor);

/* The worst of all findings. */
DoctorSeverity doctor_worst(const Doctor *doctor);

/* For the checks: adds a finding; @evidence and @fix (copied) may be NULL. */
void doctor_add(Doctor *doctor, const char *id, DoctorSeverity severity, const char *evidence, const char *fix,
                const char *format, ...) _printf_(6, 7);

/* Tells what listens at the collector's @endpoint, which @who is configured with. */
void doctor_check_endpoint(Doctor *doctor, const char *id, const char *who, const char *endpoint);

/* Tells of the processes that are called @found's name: @one is believed, or NULL. */
void doctor_process(Doctor *doctor, const char *id, const Nodeprocs *found, const Nodeproc *one);

/* The groups of checks. */
void doctor_kubelet(Doctor *doctor);
void doctor_cri(Doctor *doctor);
void doctor_runtimes(Doctor *doctor);
void doctor_hooks(Doctor *doctor);
void doctor_self(Doctor *doctor);
void doctor_export(Doctor *doctor);
