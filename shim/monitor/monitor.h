#pragma once

/*
 * Monitor
 *
 * One container, or one process executed in one, from the call of the OCI runtime that makes it to its end: the runtime
 * call, standard streams or terminal, logs, who is attached, control FIFOs, OOM, exit. Knows nothing of who asks for
 * it, and does not decide what becomes of the outcome: its owner is told by hooks.
 *
 * The owner makes this process a child subreaper, receives SIGCHLD and calls monitor_check() for it.
 */

#include <signal.h>
#include "attach.h"
#include "console.h"
#include "exitfacts.h"
#include "fifos.h"
#include "logs.h"
#include "loop.h"
#include "notifyproxy.h"
#include "oomvictim.h"
#include "oomwatch.h"
#include "pump.h"
#include "runtimeargs.h"

#define MONITOR_TEXT_MAX 8191 /* bytes of a failed runtime's words */

typedef enum MonitorState {
        MONITOR_NEW,
        MONITOR_CREATING, /* the runtime is at work */
        MONITOR_RUNNING,  /* the container is there */
        MONITOR_FAILED,
        MONITOR_ENDED,
} MonitorState;

typedef struct Monitor Monitor;

typedef struct MonitorEnd {
        int code;   /* the exit code, or 128 and the signal; -1: not known, as after a timeout */
        int signal; /* 0: none */
        bool timed_out;
        bool oom;       /* the OOM killer has killed the container's first process */
        bool never_ran; /* the first process ended before it executed the container's program */
        Clk at;
} MonitorEnd;

/* Any but `created`, `failed` and `ended` may be NULL. */
typedef struct MonitorHooks {
        /* The runtime has ended, with its wait status. Comes before the next two. */
        void (*runtime_ended)(void *userdata, int status, const Clk *at);
        /* The container is there and its process is @pid. */
        void (*created)(void *userdata, pid_t pid);
        /* There will be no container: the runtime's words (@text, may be empty), or why. @status is its wait status. */
        void (*failed)(void *userdata, int status, const char *text, size_t len);
        void (*oom)(void *userdata);
        /* The container's process has ended, and its output has been taken. */
        void (*ended)(void *userdata, const MonitorEnd *end);
        void (*reopened)(void *userdata, int error);
        /* After some output it has become quiet: memory may be given back. */
        void (*tidy)(void *userdata);
        void (*attach_ended)(void *userdata, const AttachRecord *record);
        void *userdata;
} MonitorHooks;

typedef struct MonitorOptions {
        RuntimeArgs runtime;
        char *const *envp; /* the runtime's environment */

        const char *bundle;      /* where attach socket and FIFOs are made; NULL: nowhere */
        const char *console_dir; /* where a terminal's socket is made */
        const char *notify_host; /* sd_notify(3) messages go there; NULL: none */
        bool terminal;
        bool has_stdin;
        bool leave_stdin_open;
        uint64_t timeout_ns; /* 0: none; then the container is killed */
        bool usage;          /* ask what it used, for the end */

        int gate_fd; /* of RuntimeCall, these five */
        const sigset_t *mask;
        bool default_sigpipe;
        int oom_score_adj;
        bool replace_listen_pid;

        MonitorHooks hooks;
} MonitorOptions;

struct Monitor {
        Loop *loop;
        Logs *logs;
        MonitorOptions options;
        MonitorState state;

        Pump pump;
        Attach *attach;
        Console console;
        Fifos fifos;
        NotifyProxy notify;
        OomWatch oom_watch;
        LoopTimer timeout;
        LoopSource container_source;
        int container_fd; /* pidfd */

        int runtime_stdin; /* the container's ends of the pipes, until the runtime has them */
        int runtime_stdout;
        int runtime_stderr;
        int null_fd;
        int console_fd;  /* the terminal, for its size */
        unsigned height; /* asked for before there was a terminal; 0: nothing */
        unsigned width;

        pid_t runtime_pid;   /* 0: not there, or not any more */
        pid_t container_pid; /* likewise */
        int runtime_status;
        OomVictim oom_victim;
        OomWatchUsage usage;
        VerdictFacts facts; /* with `usage`: what the cgroup says at the end */
};

/*
 * Sets up everything but the runtime call; @logs is borrowed, and so is all that @options points to. Returns 0; or a
 * negative errno, with what could not be done (a literal) in @ret_what.
 */
int monitor_init(Monitor *monitor, Loop *loop, Logs *logs, const MonitorOptions *options, const char **ret_what);
void monitor_deinit(Monitor *monitor);

/* Starts the runtime with the environment @envp. 0 or a negative errno. */
int monitor_start(Monitor *monitor, char *const *envp);

/* Asks whether runtime or container have ended; for SIGCHLD. Other children are not reaped. */
void monitor_check(Monitor *monitor);

/* Hands @sig on to the container, or while there is none to the runtime. Returns 0, or -ESRCH if both are gone. */
int monitor_forward(Monitor *monitor, int sig);

/* May @pid be of interest to it? Such a child is for monitor_check() alone to reap; while the runtime is at work that
 * is every child, for the container's process is not known yet. */
bool monitor_wants(const Monitor *monitor, pid_t pid);

/* After the end: closes what is read, and lets go of who is attached and has everything. */
void monitor_disconnect(Monitor *monitor);
/* After monitor_disconnect(): waits for the others as attach_finish() does. */
void monitor_serve_last(Monitor *monitor);
