#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "conmonline.h"

typedef enum OptionType {
        OPTION_FLAG,
        OPTION_STRING,
        OPTION_LIST,
        OPTION_INT, /* 32 bits */
        OPTION_INT64,
} OptionType;

typedef struct Option {
        const char *name;
        char short_name; /* '\0': none */
        OptionType type;
        size_t at;
} Option;

#define OPTION(name, short_name, type, member) \
        { name, short_name, type, offsetof(ConmonLine, member) }

static const Option options[] = {
        OPTION("api-version", '\0', OPTION_FLAG, api_version),
        OPTION("bundle", 'b', OPTION_STRING, bundle),
        OPTION("cid", 'c', OPTION_STRING, cid),
        OPTION("conmon-pidfile", 'P', OPTION_STRING, conmon_pidfile),
        OPTION("container-pidfile", 'p', OPTION_STRING, container_pidfile),
        OPTION("cuuid", 'u', OPTION_STRING, cuuid),
        OPTION("exec", 'e', OPTION_FLAG, exec),
        OPTION("exec-attach", '\0', OPTION_FLAG, exec_attach),
        OPTION("exec-process-spec", '\0', OPTION_STRING, exec_process_spec),
        OPTION("exit-command", '\0', OPTION_STRING, exit_command),
        OPTION("exit-command-arg", '\0', OPTION_LIST, exit_command_args),
        OPTION("exit-delay", '\0', OPTION_INT, exit_delay),
        OPTION("exit-dir", '\0', OPTION_STRING, exit_dir),
        OPTION("full-attach", '\0', OPTION_FLAG, full_attach),
        OPTION("leave-stdin-open", '\0', OPTION_FLAG, leave_stdin_open),
        OPTION("log-allowlist-dir", '\0', OPTION_LIST, log_allowlist_dirs),
        OPTION("log-global-size-max", '\0', OPTION_INT64, log_global_size_max),
        OPTION("log-label", '\0', OPTION_LIST, log_labels),
        OPTION("log-level", '\0', OPTION_STRING, log_level),
        OPTION("log-max-files", '\0', OPTION_INT, log_max_files),
        OPTION("log-path", 'l', OPTION_LIST, log_paths),
        OPTION("log-rotate", '\0', OPTION_FLAG, log_rotate),
        OPTION("log-size-max", '\0', OPTION_INT64, log_size_max),
        OPTION("log-tag", '\0', OPTION_STRING, log_tag),
        OPTION("name", 'n', OPTION_STRING, name),
        OPTION("no-container-partial-message", '\0', OPTION_FLAG, no_container_partial_message),
        OPTION("no-new-keyring", '\0', OPTION_FLAG, no_new_keyring),
        OPTION("no-pivot", '\0', OPTION_FLAG, no_pivot),
        OPTION("no-sync-log", '\0', OPTION_FLAG, no_sync_log),
        OPTION("persist-dir", '0', OPTION_STRING, persist_dir),
        OPTION("pidfile", '\0', OPTION_STRING, container_pidfile),
        OPTION("replace-listen-pid", '\0', OPTION_FLAG, replace_listen_pid),
        OPTION("restore", '\0', OPTION_STRING, restore),
        OPTION("restore-arg", '\0', OPTION_LIST, runtime_opts),
        OPTION("runtime", 'r', OPTION_STRING, runtime),
        OPTION("runtime-arg", '\0', OPTION_LIST, runtime_args),
        OPTION("runtime-opt", '\0', OPTION_LIST, runtime_opts),
        OPTION("sdnotify-socket", '\0', OPTION_STRING, sdnotify_socket),
        OPTION("seccomp-notify-plugins", '\0', OPTION_STRING, seccomp_notify),
        OPTION("seccomp-notify-socket", '\0', OPTION_STRING, seccomp_notify),
        OPTION("socket-dir-path", '\0', OPTION_STRING, socket_dir_path),
        OPTION("stdin", 'i', OPTION_FLAG, has_stdin),
        OPTION("sync", '\0', OPTION_FLAG, sync),
        OPTION("syslog", '\0', OPTION_FLAG, syslog),
        OPTION("systemd-cgroup", 's', OPTION_FLAG, systemd_cgroup),
        OPTION("terminal", 't', OPTION_FLAG, terminal),
        OPTION("timeout", 'T', OPTION_INT, timeout),
};

static const size_t lists[] = {
        offsetof(ConmonLine, exit_command_args), offsetof(ConmonLine, log_paths),
        offsetof(ConmonLine, log_labels),        offsetof(ConmonLine, log_allowlist_dirs),
        offsetof(ConmonLine, runtime_args),      offsetof(ConmonLine, runtime_opts),
};

const char conmonline_help[] =
        "Usage: podspan-conmon [OPTION…]\n"
        "\n"
        "Monitors one container, or one process executed in one, for CRI-O or podman, as conmon does, and writes "
        "spans.\n"
        "Nobody types this: CRI-O's monitor_path and podman's --conmon name it. See podspan's docs/conmon.md.\n"
        "\n"
        "Container:\n"
        "  -c, --cid ID                      the container's id; required\n"
        "  -u, --cuuid ID                    the container's, or the session's, unique id\n"
        "  -n, --name NAME                   the container's name\n"
        "  -r, --runtime PATH                the OCI runtime; required\n"
        "  -b, --bundle DIR                  the OCI bundle; default the current directory\n"
        "      --runtime-arg ARG             argument of the runtime, before its command; repeatable\n"
        "      --runtime-opt ARG             argument of the runtime's command; repeatable\n"
        "  -s, --systemd-cgroup              the runtime is to use systemd's cgroups\n"
        "      --no-pivot, --no-new-keyring  handed to the runtime\n"
        "      --restore DIR                 restore from a checkpoint\n"
        "      --replace-listen-pid          LISTEN_PID becomes the runtime's\n"
        "  -T, --timeout SECONDS             kill the container after that time\n"
        "  -e, --exec                        execute a process in the container\n"
        "      --exec-process-spec FILE      which; required with --exec\n"
        "      --exec-attach                 wait for the caller to attach first\n"
        "Streams and logs:\n"
        "  -t, --terminal                    the container has a terminal\n"
        "  -i, --stdin                       the container has a standard input\n"
        "      --leave-stdin-open            also when who attached goes\n"
        "  -l, --log-path DRIVER[:PATH]      k8s-file:PATH, journald, passthrough, none; repeatable; required\n"
        "      --log-size-max BYTES          of one log file\n"
        "      --log-global-size-max BYTES   of all\n"
        "      --log-rotate                  keep what --log-size-max would discard\n"
        "      --log-max-files N             how many; default 1\n"
        "      --log-allowlist-dir DIR       rotate only below; repeatable\n"
        "      --log-tag TAG                 journald: CONTAINER_TAG\n"
        "      --log-label KEY=VALUE         journald: a field; repeatable\n"
        "      --no-container-partial-message  journald: without CONTAINER_PARTIAL_MESSAGE\n"
        "      --no-sync-log                 no fsync() at the end\n"
        "Files and sockets:\n"
        "  -P, --conmon-pidfile FILE         our own pid\n"
        "  -p, --container-pidfile FILE      the container's; default pidfile-ID in the current directory\n"
        "      --exit-dir DIR                the exit code goes to DIR/ID\n"
        "  -0, --persist-dir DIR             the exit code goes to DIR/exit\n"
        "      --socket-dir-path DIR         a link to the bundle; default /var/run/crio\n"
        "      --full-attach                 no such link\n"
        "      --sdnotify-socket PATH        the host's, to which the container's messages go\n"
        "      --exit-command PATH           run at the end\n"
        "      --exit-command-arg ARG        its argument; repeatable\n"
        "      --exit-delay SECONDS          before that\n"
        "Caller:\n"
        "      --api-version                 the newer form of the messages\n"
        "      --sync                        do not detach\n"
        "      --log-level LEVEL             error, warning, info, debug, trace\n"
        "      --syslog                      say it to syslog, too\n"
        "      --version, -h, --help\n";

static int refuse(char *message, const char *text, const char *word) {
        (void) snprintf(message, CONMONLINE_MESSAGE_MAX, "%s%.100s", text, word);
        return -EINVAL;
}

/* A C integer in any base, as GLib reads it; nothing behind it. */
static int parse_int(const char *word, OptionType type, int64_t *ret) {
        char *end;
        long long number;

        errno = 0;
        number = strtoll(word, &end, type == OPTION_INT ? 0 : 10);
        if (*word == '\0' || *end != '\0')
                return -EINVAL;
        if (errno == ERANGE || (type == OPTION_INT && (number < INT_MIN || number > INT_MAX)))
                return -ERANGE;
        *ret = number;
        return 0;
}

static int list_add(ConmonList *list, const char *word) {
        /* Grows by doubling: to n + 1 words and the NULL at each power of two. */
        if ((list->n & (list->n + 1)) == 0) {
                const char **words = reallocarray(list->words, 2 * list->n + 2, sizeof(*words));

                if (!words)
                        return -ENOMEM;
                list->words = words;
        }
        list->words[list->n++] = word;
        list->words[list->n] = NULL;
        return 0;
}

static int set_option(ConmonLine *line, const Option *option, const char *value, const char *spelled, char *message) {
        void *at = (char *) line + option->at;
        int64_t number;
        int r;

        switch (option->type) {
        case OPTION_FLAG:
                *(bool *) at = true;
                return 0;
        case OPTION_STRING:
                *(const char **) at = value;
                return 0;
        case OPTION_LIST:
                return list_add(at, value);
        case OPTION_INT:
        case OPTION_INT64:
                r = parse_int(value, option->type, &number);
                if (r < 0) {
                        (void) snprintf(message, CONMONLINE_MESSAGE_MAX,
                                        r == -ERANGE ? "Integer value “%.60s” for %.40s out of range"
                                                     : "Cannot parse integer value “%.60s” for %.40s",
                                        value, spelled);
                        return -EINVAL;
                }
                *(int64_t *) at = number;
                return 0;
        }
        return -EINVAL;
}

static const Option *find_long(const char *name, size_t len) {
        for (size_t i = 0; i < ARRAY_SIZE(options); i++)
                if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0)
                        return &options[i];
        return NULL;
}

static const Option *find_short(char c) {
        for (size_t i = 0; i < ARRAY_SIZE(options); i++)
                if (options[i].short_name == c && c != '\0')
                        return &options[i];
        return NULL;
}

/* A long option; *@at is the word it stands in, and moves on if its value is the next. */
static int parse_long(ConmonLine *line, char *const *argv, int *at, char *message) {
        const char *word = argv[*at] + 2, *equals = strchr(word, '='), *value = NULL;
        size_t len = equals ? (size_t) (equals - word) : strlen(word);
        const Option *option = find_long(word, len);

        if (!equals && strcmp(word, "help") == 0) {
                line->command = CONMON_HELP;
                return 0;
        }
        if (!equals && strcmp(word, "version") == 0) {
                if (line->command == CONMON_RUN)
                        line->command = CONMON_VERSION;
                return 0;
        }
        if (!option || (equals && option->type == OPTION_FLAG))
                return refuse(message, "Unknown option ", argv[*at]);

        if (option->type != OPTION_FLAG) {
                value = equals ? equals + 1 : argv[*at + 1];
                if (!value)
                        return refuse(message, "Missing argument for ", argv[*at]);
                *at += !equals;
        }
        return set_option(line, option, value, option->name, message);
}

/* A group of short options, of which the last may have a value. */
static int parse_short(ConmonLine *line, char *const *argv, int *at, char *message) {
        for (const char *p = argv[*at] + 1; *p != '\0'; p++) {
                const Option *option = find_short(*p);
                char spelled[] = { '-', *p, '\0' };
                const char *value;
                int r;

                if (*p == 'h') {
                        line->command = CONMON_HELP;
                        continue;
                }
                if (!option)
                        return refuse(message, "Unknown option ", argv[*at]);
                if (option->type == OPTION_FLAG) {
                        r = set_option(line, option, NULL, spelled, message);
                        if (r < 0)
                                return r;
                        continue;
                }

                value = p[1] != '\0' ? p + 1 : argv[*at + 1];
                if (!value)
                        return refuse(message, "Missing argument for ", spelled);
                *at += p[1] == '\0';
                return set_option(line, option, value, spelled, message);
        }
        return 0;
}

int conmonline_parse(int argc, char *const *argv, ConmonLine *ret, char ret_message[static CONMONLINE_MESSAGE_MAX]) {
        ConmonLine line = {
                .log_size_max = -1,
                .log_global_size_max = -1,
                .log_max_files = 1,
                .socket_dir_path = "/var/run/crio",
        };
        int r = 0;

        assert(argv);
        assert(ret);

        if (argc > CONMONLINE_WORDS_MAX)
                return refuse(ret_message, "Too many arguments", "");

        for (int at = 1; at < argc && r == 0; at++) {
                const char *word = argv[at];

                if (word[0] != '-' || word[1] == '\0')
                        continue;
                if (strcmp(word, "--") == 0)
                        break;
                r = word[1] == '-' ? parse_long(&line, argv, &at, ret_message)
                                   : parse_short(&line, argv, &at, ret_message);
        }
        if (r < 0) {
                conmonline_deinit(&line);
                return r;
        }

        *ret = line;
        return 0;
}

void conmonline_deinit(ConmonLine *line) {
        for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
                ConmonList *list = (ConmonList *) ((char *) line + lists[i]);

                free(list->words);
                *list = (ConmonList){};
        }
}

const char *conmonline_check(const ConmonLine *line, bool *ret_usage) {
        *ret_usage = true;
        if (line->log_max_files < 0)
                return "log-max-files must be non-negative";
        if (line->log_rotate && line->log_max_files == 0)
                return "log-max-files must be at least 1 when log-rotate is enabled";
        if (!line->cid)
                return "Container ID not provided. Use --cid";

        *ret_usage = false;
        if (line->seccomp_notify)
                return "seccomp notify is not supported";
        if (line->restore && line->exec)
                return "Cannot use 'exec' and 'restore' at the same time";
        if (!line->exec && line->exec_attach)
                return "Attach can only be specified with exec";
        if (!line->api_version && line->exec_attach)
                return "Attach can only be specified for a non-legacy exec session";
        if (!line->cuuid && (!line->exec || line->api_version))
                return "Container UUID not provided. Use --cuuid";
        if (!line->runtime)
                return "Runtime path not provided. Use --runtime";
        return NULL;
}
