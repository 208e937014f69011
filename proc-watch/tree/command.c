#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "command.h"
#include "util.h"

/* Longer names first: the first that fits decides. */
const CommandProgram command_programs[] = {
        { "containerd-shim-podspan-v2", false, COMMAND_OURS, TRACK_DAEMON | TRACK_RESIDENT },
        { "containerd-shim", true, COMMAND_SHIM, TRACK_DAEMON | TRACK_RESIDENT | TRACK_CWD },
        { "containerd", false, COMMAND_ENGINE, TRACK_DAEMON | TRACK_RESIDENT | TRACK_ENGINE },
        { "crio", false, COMMAND_ENGINE, TRACK_DAEMON | TRACK_RESIDENT | TRACK_ENGINE },
        { "dockerd", false, COMMAND_ENGINE, TRACK_DAEMON | TRACK_RESIDENT | TRACK_ENGINE },
        { "podman", false, COMMAND_ENGINE, TRACK_DAEMON | TRACK_RESIDENT | TRACK_ENGINE },
        { "conmon", false, COMMAND_MONITOR, TRACK_DAEMON | TRACK_RESIDENT },
        { "conmonrs", false, COMMAND_MONITOR, TRACK_DAEMON | TRACK_RESIDENT },
        { "pinns", false, COMMAND_PINNS, 0 },
        { "runc", false, COMMAND_RUNTIME, 0 },
        { "crun", false, COMMAND_RUNTIME, TRACK_CRUN },
        { "youki", false, COMMAND_RUNTIME, TRACK_CRUN },
        { "podspan-conmon", false, COMMAND_OURS, TRACK_DAEMON | TRACK_RESIDENT },
        { "podspan-hook", false, COMMAND_OURS, 0 },
        { NULL, false, COMMAND_OTHER, 0 },
};

const CommandTraits command_traits[_COMMAND_KIND_MAX] = {
        [COMMAND_OTHER] = { .speaks = COMMAND_SPEAKS_BELOW },
        [COMMAND_SHIM] = { .speaks = COMMAND_SPEAKS_WITH_VERB, .infrastructure = true },
        [COMMAND_MONITOR] = { .speaks = COMMAND_SPEAKS_ALWAYS, .infrastructure = true },
        [COMMAND_RUNTIME] = { .speaks = COMMAND_SPEAKS_ALWAYS, .infrastructure = true },
        [COMMAND_CNI] = { .speaks = COMMAND_SPEAKS_BELOW_OR_ENGINE },
        [COMMAND_PINNS] = { .speaks = COMMAND_SPEAKS_ALWAYS, .infrastructure = true, .only_call = true },
};

/* Options that take a value in the next argument; all others stand alone or have theirs after '='. */
static const char *const runtime_options[] = {
        "--root",
        "--log",
        "--log-format",
        "--log-level",
        "--criu",
        "--rootless",
        "--cgroup-manager",
        "--bundle",
        "-b",
        "--console-socket",
        "--pid-file",
        "--preserve-fds",
        "--process",
        "-p",
        "--cwd",
        "--env",
        "-e",
        "--user",
        "-u",
        "--additional-gids",
        "-g",
        "--process-label",
        "--apparmor",
        "--cap",
        "-c",
        "--cgroup",
        "--config",
        "--image-path",
        "--work-path",
        "--parent-path",
        "--resources",
        "-r",
        "--pid-memory-max",
        "--seccomp",
        "--handler",
        "--systemd-log-level",
        NULL,
};

static const char *const runtime_verbs[] = {
        "create", "start",      "run",     "exec", "delete", "kill",     "state", "update", "pause", "resume",
        "list",   "checkpoint", "restore", "ps",   "init",   "features", "spec",  "events", NULL,
};

static const char *const polls[] = { "state", "list", "ps", "features", "spec", "events", "VERSION", "STATUS", NULL };

static bool contains(const char *const *list, const char *s) {
        for (; *list; list++)
                if (strcmp(*list, s) == 0)
                        return true;
        return false;
}

typedef struct Strings {
        const char *at, *end;
} Strings;

/* The next string of a block in which every one ends with a NUL; NULL at the end, or where the last one is cut. */
static const char *strings_next(Strings *strings) {
        const char *s = strings->at, *nul;

        if (s >= strings->end)
                return NULL;
        nul = memchr(s, '\0', (size_t) (strings->end - s));
        strings->at = nul ? nul + 1 : strings->end;
        return nul ? s : NULL;
}

static void copy_n(char *ret, size_t size, const char *s, size_t len) {
        if (len >= size)
                return;
        memcpy(ret, s, len);
        ret[len] = '\0';
}

#define COPY(to, s) copy_n((to), sizeof(to), (s), strlen(s))

static void copy_id(char ret[static IDENTITY_ID_MAX + 1], const char *s) {
        if (util_id_valid(s))
                copy_n(ret, IDENTITY_ID_MAX + 1, s, strlen(s));
}

static const char *last_part(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* Passes over argv[0], and over a script's interpreter with its argument: there argv begins before the script. */
static Strings skip_program(Strings args, const char *name) {
        Strings rest = args;
        const char *arg;

        for (int i = 0; i < 3 && (arg = strings_next(&rest)); i++)
                if (strcmp(last_part(arg), name) == 0)
                        return rest;
        (void) strings_next(&args);
        return args;
}

static void parse_runtime(Strings args, Command *ret) {
        const char *arg;

        while ((arg = strings_next(&args))) {
                if (strncmp(arg, "--bundle=", 9) == 0) {
                        COPY(ret->bundle, arg + 9);
                } else if (*arg == '-' && arg[1]) {
                        /* Values of --env and the like are passed over, not looked at; after `exec ID` all is the
                         * command's own and we are done before. */
                        if (contains(runtime_options, arg)) {
                                const char *value = strings_next(&args);

                                if (value && (strcmp(arg, "--bundle") == 0 || strcmp(arg, "-b") == 0))
                                        COPY(ret->bundle, value);
                        }
                } else if (!*ret->verb) {
                        if (!contains(runtime_verbs, arg))
                                return;
                        COPY(ret->verb, arg);
                } else {
                        copy_id(ret->id, arg);
                        return;
                }
        }
}

static void parse_shim(Strings args, Command *ret) {
        const char *arg;

        while ((arg = strings_next(&args))) {
                const char *option = *arg == '-' ? arg + (arg[1] == '-' ? 2 : 1) : "";

                if (strcmp(arg, "start") == 0 || strcmp(arg, "delete") == 0)
                        COPY(ret->verb, arg);
                else if (strcmp(option, "id") == 0 && (arg = strings_next(&args)))
                        copy_id(ret->id, arg);
                else if (arg && strcmp(option, "bundle") == 0 && (arg = strings_next(&args)))
                        COPY(ret->bundle, arg);
                else if (arg && strcmp(option, "namespace") == 0 && (arg = strings_next(&args)))
                        copy_id(ret->containerd_namespace, arg);
                if (!arg)
                        return;
        }
}

/* "k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT", CRI-O's name of a container; what is none says nothing. */
static void parse_name(const char *name, Command *ret) {
        enum { PREFIX, CONTAINER, POD, NAMESPACE, UID, ATTEMPT, N_PARTS };
        const char *parts[N_PARTS];
        size_t lens[N_PARTS], n = 0;

        for (const char *end; n < N_PARTS; name = end + 1) {
                end = strchrnul(name, '_');
                parts[n] = name;
                lens[n++] = (size_t) (end - name);
                if (!*end)
                        break;
        }
        if (n != N_PARTS || parts[ATTEMPT][lens[ATTEMPT]] || lens[PREFIX] != 3 || memcmp(parts[PREFIX], "k8s", 3) != 0)
                return;
        copy_n(ret->container_name, sizeof(ret->container_name), parts[CONTAINER], lens[CONTAINER]);
        copy_n(ret->pod_name, sizeof(ret->pod_name), parts[POD], lens[POD]);
        copy_n(ret->pod_namespace, sizeof(ret->pod_namespace), parts[NAMESPACE], lens[NAMESPACE]);
        copy_n(ret->pod_uid, sizeof(ret->pod_uid), parts[UID], lens[UID]);
}

static void parse_monitor(Strings args, Command *ret) {
        const char *arg;

        while ((arg = strings_next(&args)) && strncmp(arg, "--exit-command", 14) != 0) {
                if (strcmp(arg, "-e") == 0 || strcmp(arg, "--exec") == 0 || strcmp(arg, "--exec-attach") == 0) {
                        COPY(ret->verb, "exec");
                } else if (strcmp(arg, "-c") == 0 || strcmp(arg, "--cid") == 0) {
                        if (!(arg = strings_next(&args)))
                                return;
                        copy_id(ret->id, arg);
                } else if (strcmp(arg, "-b") == 0 || strcmp(arg, "--bundle") == 0) {
                        if (!(arg = strings_next(&args)))
                                return;
                        COPY(ret->bundle, arg);
                } else if (strcmp(arg, "-n") == 0 || strcmp(arg, "--name") == 0) {
                        if (!(arg = strings_next(&args)))
                                return;
                        parse_name(arg, ret);
                }
        }
}

static const struct {
        const char *engine, *option;
        size_t at; /* in CommandFolders */
} engine_options[] = {
        { "containerd", "-c", offsetof(CommandFolders, config) },
        { "containerd", "--config", offsetof(CommandFolders, config) },
        { "containerd", "--state", offsetof(CommandFolders, run_root) },
        { "crio", "-c", offsetof(CommandFolders, config) },
        { "crio", "--config", offsetof(CommandFolders, config) },
        { "crio", "-d", offsetof(CommandFolders, config_dir) },
        { "crio", "--config-dir", offsetof(CommandFolders, config_dir) },
        { "crio", "-r", offsetof(CommandFolders, root) },
        { "crio", "--root", offsetof(CommandFolders, root) },
        { "crio", "--runroot", offsetof(CommandFolders, run_root) },
        { "podman", "--root", offsetof(CommandFolders, root) },
        { "podman", "--runroot", offsetof(CommandFolders, run_root) },
};

static void parse_engine(Strings args, Command *ret) {
        const char *arg;

        while ((arg = strings_next(&args)) && strcmp(arg, "--") != 0)
                for (size_t i = 0; i < ARRAY_SIZE(engine_options); i++) {
                        size_t len = strlen(engine_options[i].option);
                        const char *value;

                        if (strcmp(ret->name, engine_options[i].engine) != 0 ||
                            strncmp(arg, engine_options[i].option, len) != 0 || (arg[len] && arg[len] != '='))
                                continue;
                        value = arg[len] ? arg + len + 1 : strings_next(&args);
                        if (!value)
                                return;
                        if (*value == '/')
                                copy_n((char *) &ret->folders + engine_options[i].at, EVENT_FILE_MAX, value,
                                       strlen(value));
                        break;
                }
}

/* pinns -d DIR -f FILE …: FILE is the name under which the namespaces are found again. */
static void parse_pinns(Strings args, Command *ret) {
        const char *arg;

        while ((arg = strings_next(&args)))
                if (strcmp(arg, "-f") == 0 && (arg = strings_next(&args)))
                        COPY(ret->netns, arg);
                else if (arg && strncmp(arg, "--filename=", 11) == 0)
                        COPY(ret->netns, arg + 11);
                else if (!arg)
                        return;
}

/* "K8S_POD_UID=…;K8S_POD_NAME=…", CNI's arguments. */
static void parse_cni_args(const char *s, Command *ret) {
        for (const char *end; *s; s = *end ? end + 1 : end) {
                const char *value;
                size_t len;

                end = strchrnul(s, ';');
                value = memchr(s, '=', (size_t) (end - s));
                if (!value)
                        continue;
                value++;
                len = (size_t) (end - value);
                if (strncmp(s, "K8S_POD_UID=", 12) == 0)
                        copy_n(ret->pod_uid, sizeof(ret->pod_uid), value, len);
                else if (strncmp(s, "K8S_POD_NAME=", 13) == 0)
                        copy_n(ret->pod_name, sizeof(ret->pod_name), value, len);
                else if (strncmp(s, "K8S_POD_NAMESPACE=", 18) == 0)
                        copy_n(ret->pod_namespace, sizeof(ret->pod_namespace), value, len);
        }
}

static void parse_environment(Strings env, bool inside, Command *ret) {
        const char *variable;

        while ((variable = strings_next(&env))) {
                const char *value = strchr(variable, '=');

                if (!value)
                        continue;
                value++;
                if (strncmp(variable, "TRACEPARENT=", 12) == 0) {
                        ret->has_traceparent = tracecontext_parse(value, strlen(value), &ret->traceparent) == 0;
                } else if (inside || (ret->kind != COMMAND_OTHER && ret->kind != COMMAND_CNI)) {
                        continue; /* a runtime inherits nothing of CNI, and no plugin runs in a container */
                } else if (strncmp(variable, "CNI_COMMAND=", 12) == 0) {
                        ret->kind = COMMAND_CNI;
                        COPY(ret->verb, value);
                } else if (strncmp(variable, "CNI_CONTAINERID=", 16) == 0) {
                        copy_id(ret->id, value);
                } else if (strncmp(variable, "CNI_IFNAME=", 11) == 0) {
                        COPY(ret->ifname, value);
                } else if (strncmp(variable, "CNI_NETNS=", 10) == 0) {
                        COPY(ret->netns, last_part(value));
                } else if (strncmp(variable, "CNI_ARGS=", 9) == 0) {
                        parse_cni_args(value, ret);
                }
        }
}

/* The names in a path, the last one first; kept only if the whole path fits. */
static void parse_directory(Strings parts, Command *ret) {
        char path[sizeof(ret->bundle)];
        size_t at = sizeof(path) - 1;
        const char *part;

        path[at] = '\0';
        while ((part = strings_next(&parts))) {
                size_t len = strlen(part);

                if (len == 0 || len + 1 > at)
                        return;
                at -= len;
                memcpy(path + at, part, len);
                path[--at] = '/';
        }
        COPY(ret->bundle, path + at);
}

CommandKind command_kind(const char *name) {
        for (const CommandProgram *program = command_programs; program->name; program++)
                if (program->prefix ? strncmp(name, program->name, strlen(program->name)) == 0
                                    : strcmp(name, program->name) == 0)
                        return program->kind;
        return COMMAND_OTHER;
}

int command_parse(const Event *event, const char *data, size_t size, Command *ret) {
        Command command = {};
        Strings file, args, env, directory;
        bool inside;
        const char *name;

        assert(event);
        assert(data || size == 0);
        assert(ret);

        if ((size_t) event->file_size + event->args_size + event->env_size + event->cwd_size != size)
                return -EBADMSG;
        inside = event->flags & EVENT_INSIDE;

        file = (Strings){ data, data + event->file_size };
        args = (Strings){ file.end, file.end + event->args_size };
        env = (Strings){ args.end, args.end + event->env_size };
        directory = (Strings){ env.end, env.end + event->cwd_size };

        name = strings_next(&file);
        if (name) {
                COPY(command.path, name);
                name = last_part(name);
        }
        /* Its own copy, executed by descriptor: the name is what the process calls itself. */
        if (!name || strcmp(name, "exe") == 0 || (*name >= '0' && *name <= '9')) {
                Strings first = args;

                name = strings_next(&first);
                name = name ? last_part(name) : "";
        }
        util_copy_bounded(command.name, sizeof(command.name), name, strlen(name));

        command.uid = event->uid;
        command.pid = event->pid;
        command.start_ns = event->start_ns;
        command.claimed = !(event->flags & EVENT_NAMED);
        if (!command.claimed || (!inside && strcmp(command.name, last_part(command.path)) != 0))
                command.kind = command_kind(command.name);

        if (command.kind != COMMAND_OTHER)
                args = skip_program(args, command.name);
        switch (command.kind) {
        case COMMAND_RUNTIME:
                parse_runtime(args, &command);
                break;
        case COMMAND_SHIM:
                parse_shim(args, &command);
                if (!*command.bundle)
                        parse_directory(directory, &command);
                break;
        case COMMAND_OURS:
                if (strcmp(command.name, "podspan-conmon") == 0)
                        parse_monitor(args, &command); /* it has conmon's options */
                break;
        case COMMAND_MONITOR:
                parse_monitor(args, &command);
                break;
        case COMMAND_PINNS:
                parse_pinns(args, &command);
                break;
        case COMMAND_ENGINE:
                parse_engine(args, &command);
                break;
        default:
                break;
        }
        parse_environment(env, inside, &command);

        /* As long as a container's name, so that a cut one cannot pass for another's. */
        if (event->flags & EVENT_ARGS_CUT && command.kind == COMMAND_RUNTIME && !*command.id)
                command.verb[0] = '\0';

        *ret = command;
        return 0;
}

bool command_is_poll(const Command *command) {
        return contains(polls, command->verb) || (command->kind == COMMAND_RUNTIME && !*command->verb);
}
