#pragma once

/*
 * Command
 *
 * What a process is, from its program's name, command line and named environment variables: OCI runtimes, shims,
 * monitors, CNI plugins, as tables. No I/O. Everything here was written by whoever started the process: bounded, ids
 * checked with util_id_valid(), and nothing but verbs, ids and paths is kept of a command line.
 */

#include <stdbool.h>
#include "event.h"
#include "identity.h"
#include "tracecontext.h"

#define COMMAND_NAME_MAX   63
#define COMMAND_BUNDLE_MAX 1023

typedef enum CommandKind {
        COMMAND_OTHER,
        COMMAND_ENGINE,  /* containerd, crio, podman …: starts the others, lives long */
        COMMAND_SHIM,    /* containerd-shim-*; verb start, delete, or none: serving */
        COMMAND_MONITOR, /* conmon, conmonrs; verb exec where it monitors one */
        COMMAND_RUNTIME, /* runc, crun, youki */
        COMMAND_CNI,     /* CNI_COMMAND is set; verb ADD, DEL … */
        COMMAND_PINNS,   /* CRI-O's maker of namespaces */
        COMMAND_OURS,    /* podspan's own: speaks for itself */
        _COMMAND_KIND_MAX,
} CommandKind;

/* When a program of a kind is told of. */
typedef enum CommandSpeaks {
        COMMAND_SPEAKS_NEVER,
        COMMAND_SPEAKS_ALWAYS,
        COMMAND_SPEAKS_WITH_VERB,
        COMMAND_SPEAKS_BELOW,           /* another that is told of */
        COMMAND_SPEAKS_BELOW_OR_ENGINE, /* likewise, or an engine itself */
} CommandSpeaks;

/* What else differs between kinds, in one row each: what is not here, all kinds have in common. */
typedef struct CommandTraits {
        CommandSpeaks speaks;
        bool infrastructure; /* ours to explain: its work becomes spans; of others attributes say enough */
        bool only_call;      /* names no pod: the only start of a sandbox in flight is its cause */
} CommandTraits;

extern const CommandTraits command_traits[_COMMAND_KIND_MAX];

/* Where an engine keeps what it has, by its options; "" where it is not told. Absolute paths only. */
typedef struct CommandFolders {
        char config[EVENT_FILE_MAX];
        char config_dir[EVENT_FILE_MAX];
        char root[EVENT_FILE_MAX];
        char run_root[EVENT_FILE_MAX];
} CommandFolders;

typedef struct Command {
        CommandKind kind;
        bool of_crio; /* CRI-O has started it; set by story.h */
        bool claimed; /* the kind is what the process calls itself: true of one that executes itself again only */
        uint32_t uid; /* effective user, on the host */
        uint32_t pid; /* its process; 0: not known */
        uint64_t start_ns;
        char name[COMMAND_NAME_MAX + 1]; /* the program's file name */
        char path[EVENT_FILE_MAX];
        char verb[16];
        char id[IDENTITY_ID_MAX + 1];        /* container, or CNI_CONTAINERID; "" where absent or no id */
        char bundle[COMMAND_BUNDLE_MAX + 1]; /* of a shim that names none: where it runs */
        char netns[COMMAND_NAME_MAX + 1];    /* last part of the network namespace's path */
        char ifname[16];
        char containerd_namespace[IDENTITY_ID_MAX + 1];
        char pod_uid[IDENTITY_ID_MAX + 1]; /* of CNI_ARGS, or of the name that CRI-O gives a monitor */
        char pod_name[IDENTITY_NAME_MAX + 1];
        char pod_namespace[IDENTITY_NAME_MAX + 1];
        char container_name[IDENTITY_NAME_MAX + 1]; /* of a monitor; "POD": the sandbox's own */
        CommandFolders folders;                     /* of an engine */
        bool has_traceparent;
        TraceContext traceparent;
} Command;

/* One program known by name. */
typedef struct CommandProgram {
        const char *name;
        bool prefix; /* the name only begins so */
        CommandKind kind;
        uint32_t track; /* TrackFlags */
} CommandProgram;

/* The table, ended by a NULL name; the kernel side is told names and flags. */
extern const CommandProgram command_programs[];

/* The kind of a program called @name. The kernel's name of a process will do, though it is cut. */
CommandKind command_kind(const char *name);

/*
 * Reads the exec @event, behind which @size bytes of @data follow as event.h says. Returns 0, or -EBADMSG if the sizes
 * do not fit.
 */
int command_parse(const Event *event, const char *data, size_t size, Command *ret);

/* Is it a call that only asks (state, ps, features …)? Those become no spans. */
bool command_is_poll(const Command *command);
