#pragma once

/*
 * conmon's command line
 *
 * As its callers write it: short options with their value behind them or as the next word, grouped flags, long options
 * with "=" or the next word, "--"; words that are no options are ignored, since callers write "--api-version 1" though
 * that option has no value. No I/O: words in, result out, which points into them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "util.h"

#define CONMONLINE_WORDS_MAX   65536 /* arguments of a command line */
#define CONMONLINE_MESSAGE_MAX 256

typedef enum ConmonCommand {
        CONMON_RUN,
        CONMON_HELP,
        CONMON_VERSION,
} ConmonCommand;

typedef struct ConmonList {
        const char **words; /* with a NULL behind them */
        size_t n;
} ConmonList;

typedef struct ConmonLine {
        ConmonCommand command;
        bool api_version; /* --api-version: 1, else 0 */
        const char *bundle;
        const char *cid;
        const char *cuuid;
        const char *name;
        const char *runtime;
        const char *conmon_pidfile;
        const char *container_pidfile;
        bool exec;
        bool exec_attach;
        const char *exec_process_spec;
        const char *exit_command;
        ConmonList exit_command_args;
        int64_t exit_delay;
        const char *exit_dir;
        const char *persist_dir;
        bool has_stdin;
        bool leave_stdin_open;
        bool terminal;
        ConmonList log_paths;
        const char *log_level;
        int64_t log_size_max; /* -1: not given, likewise the next */
        int64_t log_global_size_max;
        const char *log_tag;
        ConmonList log_labels;
        bool no_container_partial_message;
        bool log_rotate;
        int64_t log_max_files; /* 1 */
        ConmonList log_allowlist_dirs;
        bool no_sync_log;
        bool no_new_keyring;
        bool no_pivot;
        bool replace_listen_pid;
        const char *restore;
        ConmonList runtime_args;
        ConmonList runtime_opts;
        const char *sdnotify_socket;
        const char *socket_dir_path;
        bool full_attach;
        bool sync;
        bool syslog;
        bool systemd_cgroup;
        int64_t timeout;
        const char *seccomp_notify; /* of an option conmon has dropped; refused */
} ConmonLine;

#define CONMONLINE_NULL \
        {}

/*
 * Parses @argv (with the program's name, ended by NULL). Returns 0 with @ret to be given back by conmonline_deinit();
 * -EINVAL with a text in @ret_message, or -ENOMEM.
 */
int conmonline_parse(int argc, char *const *argv, ConmonLine *ret, char ret_message[static CONMONLINE_MESSAGE_MAX]);
void conmonline_deinit(ConmonLine *line);

/*
 * What makes a parsed line unusable, before anything of the system is asked. Returns NULL, or the text that conmon's
 * users know; in @ret_usage whether it is conmon's option parser that says so (another prefix).
 */
const char *conmonline_check(const ConmonLine *line, bool *ret_usage);

extern const char conmonline_help[];
