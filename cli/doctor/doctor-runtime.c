#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <yajl/yajl_tree.h>
#include "counters.h"
#include "doctor.h"
#include "nodefile.h"
#include "install.h"
#include "nodeversion.h"
#include "tomledit.h"

#define CONTAINERD_MAIN "/etc/containerd/config.toml"
#define TRACING_ENV     "OTEL_EXPORTER_OTLP_ENDPOINT="
#define ENV_FIX                                                                                                 \
        "/etc/systemd/system/containerd.service.d/10-podspan-tracing.conf, which `podspan install containerd` " \
        "writes:\n[Service]\nEnvironment=" TRACING_ENV "http://127.0.0.1:4317\n"                                \
        "Environment=OTEL_EXPORTER_OTLP_PROTOCOL=grpc\nEnvironment=OTEL_TRACES_SAMPLER=parentbased_always_off"

typedef struct Runtime {
        Doctor *doctor;
        const Bytes *text;
        const char *path;       /* of the file being walked */
        char toml_tracing[600]; /* file:key of containerd's tracing in TOML */
        char env[256];          /* where its environment says it */
        bool env_grpc;
        bool env_default_port;
        bool env_not_running; /* it is configured, and the containerd that runs does not have it */
        char crio_tracing[256];
        bool crio_on;
        char crio_endpoint[256];
        char specs[8][256]; /* base_runtime_spec */
        size_t n_specs;
        size_t n_hooks;
        bool crio_hooks_dir;
} Runtime;

static void take_value(char *ret, size_t size, const Bytes *text, const TomlItem *item) {
        size_t from = item->from, to = item->to;

        if (to - from >= 2 && (text->p[from] == '"' || text->p[from] == '\'')) {
                from++;
                to--;
        }
        util_copy_bounded(ret, size, text->p + from, to - from);
}

static int on_containerd(const TomlItem *item, void *userdata) {
        Runtime *runtime = userdata;
        const char *key = strrchr(item->path, *TOMLEDIT_SEP);
        char value[256];

        if (item->header || !key)
                return 0;
        take_value(value, sizeof(value), runtime->text, item);
        /* `containerd config default` has these, empty or with their defaults: only an endpoint says that someone means
         * it. */
        if (strstr(item->path, "io.containerd.tracing.processor.v1.otlp") && strcmp(key + 1, "endpoint") == 0 && *value)
                (void) snprintf(runtime->toml_tracing, sizeof(runtime->toml_tracing), "%.300s: endpoint = %s",
                                runtime->path, value);
        if (strcmp(key + 1, "base_runtime_spec") == 0 && *value && runtime->n_specs < ARRAY_SIZE(runtime->specs)) {
                for (size_t i = 0; i < runtime->n_specs; i++)
                        if (strcmp(runtime->specs[i], value) == 0)
                                return 0;
                memcpy(runtime->specs[runtime->n_specs++], value, sizeof(value));
        }
        return 0;
}

static int on_crio(const TomlItem *item, void *userdata) {
        static const char *const table = "crio" TOMLEDIT_SEP "tracing" TOMLEDIT_SEP;
        Runtime *runtime = userdata;
        char value[256];

        if (item->header)
                return 0;
        take_value(value, sizeof(value), runtime->text, item);
        if (strncmp(item->path, table, strlen(table)) == 0) {
                const char *key = item->path + strlen(table);

                if (strcmp(key, "enable_tracing") == 0) {
                        runtime->crio_on = strcmp(value, "true") == 0;
                        (void) snprintf(runtime->crio_tracing, sizeof(runtime->crio_tracing), "%s", runtime->path);
                } else if (strcmp(key, "tracing_endpoint") == 0)
                        memcpy(runtime->crio_endpoint, value, sizeof(value));
        } else if (strcmp(item->path, "crio" TOMLEDIT_SEP "runtime" TOMLEDIT_SEP "hooks_dir") == 0)
                runtime->crio_hooks_dir = strstr(value, "podspan") != NULL;
        return 0;
}

static int walk_toml(Runtime *runtime, const char *path, int (*fn)(const TomlItem *item, void *userdata)) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        int r;

        r = nodefile_read(runtime->doctor->root_fd, path, &text, NULL);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        runtime->text = &text;
        runtime->path = path;
        r = tomledit_walk(text.p, text.n, fn, runtime);
        if (r == -EBADMSG)
                doctor_add(runtime->doctor, "runtime.config", DOCTOR_ERROR, path, "correct it",
                           "this file is not TOML");
        return r == -EBADMSG ? 0 : r;
}

static int on_containerd_file(const char *path, void *userdata) {
        return walk_toml(userdata, path, on_containerd);
}

static int on_crio_file(const char *path, void *userdata) {
        return walk_toml(userdata, path, on_crio);
}

static void look_at_environment(Runtime *runtime, const char *path, const Bytes *text) {
        const char *hit = memmem(text->p, text->n, TRACING_ENV, strlen(TRACING_ENV));

        if (!hit || *runtime->env)
                return;
        (void) snprintf(runtime->env, sizeof(runtime->env), "%s", path);
        runtime->env_grpc = memmem(text->p, text->n, "_PROTOCOL=grpc", 14) != NULL;
        runtime->env_default_port = memmem(hit, text->n - (size_t) (hit - text->p), ":4317", 5) != NULL;
}

/* Blanks the comments of a unit file. */
static void drop_comments(Bytes *text) {
        for (size_t at = 0; at < text->n;) {
                const char *end = memchr(text->p + at, '\n', text->n - at);
                size_t n = end ? (size_t) (end - text->p) - at : text->n - at, first = at;

                while (first < at + n && strchr(" \t", text->p[first]))
                        first++;
                if (first < at + n && strchr("#;", text->p[first]))
                        memset(text->p + at, ' ', n);
                at += n + 1;
        }
}

static int on_unit_file(const char *path, void *userdata) {
        Runtime *runtime = userdata;
        _cleanup_bytes_ Bytes text = BYTES_NULL;

        if (nodefile_read(runtime->doctor->root_fd, path, &text, NULL) < 0)
                return 0;
        drop_comments(&text);
        look_at_environment(runtime, path, &text);
        return 0;
}

static bool is_there(const Doctor *doctor, const char *path) {
        _cleanup_close_ int fd = nodefile_open(doctor->root_fd, path, O_PATH);

        return fd >= 0;
}

/* What a version that is not known, or not exactly, leaves open. */
static void describe(const NodeVersion *version, char *ret, size_t size) {
        if (*version->text)
                (void) snprintf(ret, size, "containerd %s", version->text);
        else if (version->known)
                (void) snprintf(ret, size, "containerd %u", version->major);
        else
                (void) snprintf(ret, size, "containerd");
}

/* Since 1.7.16 and 2.0 containerd's tracing is configured by its environment, before by its file: 1, 0, or -1 where the
 * version does not say. */
static int by_environment(const NodeVersion *version) {
        if (version->exact)
                return !nodeversion_below(version, 1, 7, 16);
        return version->known && version->major >= 2 ? 1 : -1;
}

static void check_toml_tracing(Runtime *runtime, const NodeVersion *version, const char *name) {
        Doctor *doctor = runtime->doctor;

        switch (by_environment(version)) {
        case 0:
                doctor_add(doctor, "containerd.toml_tracing", DOCTOR_OK, runtime->toml_tracing, NULL,
                           "%s takes its tracing from this file (until 1.7.15)", name);
                break;
        case 1:
                doctor_add(doctor, "containerd.toml_tracing", DOCTOR_WARNING, runtime->toml_tracing, ENV_FIX,
                           "%s silently ignores tracing in its TOML, since 1.7.16 and 2.0 (containerd#9740, #10358)",
                           name);
                break;
        default:
                doctor_add(doctor, "containerd.toml_tracing", DOCTOR_WARNING, runtime->toml_tracing, ENV_FIX,
                           "containerd silently ignores tracing in its TOML since 1.7.16 and 2.0 (containerd#9740, "
                           "#10358); its version is unknown (%s; --containerd-version)",
                           version->source);
        }
}

static void check_env_tracing(Runtime *runtime, const NodeVersion *version, const char *name) {
        Doctor *doctor = runtime->doctor;
        int takes = by_environment(version);

        if (!*runtime->env)
                doctor_add(doctor, "containerd.tracing", DOCTOR_NOTE, CONTAINERD_MAIN, ENV_FIX,
                           "%s's own spans are off (its environment has them from 1.7.16 on%s)", name,
                           takes < 0 ? "; its version is unknown" : "");
        else if (takes == 0)
                doctor_add(doctor, "containerd.tracing", DOCTOR_WARNING, runtime->env,
                           "a newer containerd, or tracing in its TOML",
                           "%s takes no tracing from its environment: that is from 1.7.16 on", name);
        else if (runtime->env_default_port && !runtime->env_grpc)
                doctor_add(doctor, "containerd.tracing", DOCTOR_WARNING, runtime->env,
                           "Environment=OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
                           "containerd speaks HTTP to a gRPC port: its default protocol is http/protobuf, on 4318");
        else if (runtime->env_not_running)
                doctor_add(
                        doctor, "containerd.tracing", DOCTOR_WARNING, runtime->env,
                        "systemctl daemon-reload; systemctl restart containerd.service     # containers that run are "
                        "not touched",
                        "containerd's own spans are configured, but the containerd that runs was started without "
                        "them");
        else if (takes < 0)
                doctor_add(doctor, "containerd.tracing", DOCTOR_NOTE, runtime->env,
                           "containerd --version, then: podspan doctor --containerd-version VERSION",
                           "containerd's own spans are configured, which counts from 1.7.16 on; its version is unknown "
                           "(%s)",
                           version->source);
        else
                doctor_add(doctor, "containerd.tracing", DOCTOR_OK, runtime->env, NULL, "%s's own spans are on", name);
}

/* Where containerd listens, if it may be asked: on this node, by root. */
static int runtime_socket(Doctor *doctor, char **ret) {
        const char *endpoint = kube_endpoint(&doctor->kube, false, NULL), *name;
        _cleanup_free_ char *path = NULL;

        if (!doctor->here || geteuid() != 0)
                return 0;
        path = doctor->runtime_path ? strdup(doctor->runtime_path) : kube_path(endpoint);
        if (!path)
                return -ENOMEM;
        name = kube_runtime(path);
        if (*path == '/' && name && strcmp(name, "containerd") == 0)
                *ret = TAKE_PTR(path);
        return 0;
}

static void check_containerd(Runtime *runtime) {
        Doctor *doctor = runtime->doctor;
        _cleanup_nodeprocs_ Nodeprocs found = NODEPROC_NULL;
        _cleanup_bytes_ Bytes environment = BYTES_NULL;
        _cleanup_free_ char *socket = NULL;
        const Nodeproc *proc = NULL;
        char name[96], file[64];
        bool environ_known = false;
        NodeVersion version;

        (void) on_containerd_file(CONTAINERD_MAIN, runtime);
        (void) nodefile_list(doctor->root_fd, "/etc/containerd/conf.d", ".toml", on_containerd_file, runtime);
        if (nodeproc_find(doctor->root_fd, NODEPROC_CONTAINERD, &found) >= 0 && found.n > 0) {
                proc = nodeproc_one(&found, NULL, NULL);
                if (!proc || proc->trust != NODEPROC_BELIEVED)
                        doctor_process(doctor, "containerd.process", &found, proc);
        }
        if (proc && nodeproc_read(proc, "environ", &environment) >= 0) {
                (void) snprintf(file, sizeof(file), "/proc/%d/environ", (int) proc->pid);
                look_at_environment(runtime, file, &environment);
                environ_known = !*runtime->env;
        }
        (void) nodefile_list(doctor->root_fd, "/etc/systemd/system/containerd.service.d", ".conf", on_unit_file,
                             runtime);
        runtime->env_not_running = environ_known && *runtime->env;
        if (runtime_socket(doctor, &socket) < 0) {
                doctor->no_memory = true;
                return;
        }
        nodeversion_containerd(doctor->root_fd, proc, socket, doctor->containerd_version, &version);
        describe(&version, name, sizeof(name));
        if (*runtime->toml_tracing)
                check_toml_tracing(runtime, &version, name);
        check_env_tracing(runtime, &version, name);
}

static void check_crio(Runtime *runtime) {
        Doctor *doctor = runtime->doctor;

        (void) on_crio_file("/etc/crio/crio.conf", runtime);
        (void) nodefile_list(doctor->root_fd, "/etc/crio/crio.conf.d", "", on_crio_file, runtime);
        if (!runtime->crio_on)
                doctor_add(doctor, "crio.tracing", DOCTOR_NOTE,
                           *runtime->crio_tracing ? runtime->crio_tracing : "/etc/crio", "podspan install crio",
                           "CRI-O's own spans are off");
        else {
                doctor_add(doctor, "crio.tracing", DOCTOR_OK, runtime->crio_tracing, NULL, "CRI-O's own spans are on");
                doctor_check_endpoint(doctor, "crio.collector", "CRI-O",
                                      *runtime->crio_endpoint ? runtime->crio_endpoint : "127.0.0.1:4317");
        }
}

void doctor_runtimes(Doctor *doctor) {
        Runtime runtime = { .doctor = doctor };

        if (is_there(doctor, "/etc/containerd") || is_there(doctor, "/run/containerd/containerd.sock"))
                check_containerd(&runtime);
        if (is_there(doctor, "/etc/crio") || is_there(doctor, "/run/crio/crio.sock"))
                check_crio(&runtime);
}

static bool executable(const Doctor *doctor, const char *path) {
        _cleanup_close_ int fd = nodefile_open(doctor->root_fd, path, O_PATH);
        struct stat st;

        return fd >= 0 && fstat(fd, &st) >= 0 && S_ISREG(st.st_mode) && st.st_mode & 0111;
}

static void check_program(Runtime *runtime, const char *path, const char *program, const char *fix) {
        Doctor *doctor = runtime->doctor;
        char evidence[512];

        (void) snprintf(evidence, sizeof(evidence), "%s: %s", path, program);
        runtime->n_hooks++;
        if (!executable(doctor, program))
                doctor_add(doctor, "hooks.program", DOCTOR_ERROR, evidence, fix,
                           "a hook's program is missing: every new container fails");
        else if (nodefile_check_owner(doctor->root_fd, program) == -EPERM)
                doctor_add(doctor, "hooks.program", DOCTOR_ERROR, evidence,
                           "chown root and chmod go-w, of its folders, too",
                           "others than root can write a hook's program, which the runtime executes as root");
}

static int on_hook_file(const char *path, void *userdata) {
        Runtime *runtime = userdata;
        _cleanup_bytes_ Bytes json = BYTES_NULL;
        _cleanup_free_ char *program = NULL, *fix = NULL;

        if (nodefile_read(runtime->doctor->root_fd, path, &json, NULL) < 0 ||
            !memmem(json.p, json.n, "podspan-hook", 12))
                return 0;
        if (asprintf(&fix, "rm %s     # or install podspan again", path) < 0) {
                fix = NULL;
                return -ENOMEM;
        }
        if (install_hook_program(&json, &program) < 0)
                doctor_add(runtime->doctor, "hooks.file", DOCTOR_ERROR, path, fix,
                           "a hooks file is not what it should be");
        else
                check_program(runtime, path, program, fix);
        return 0;
}

static void check_spec(Runtime *runtime, const char *path) {
        static const char *const where[] = { "hooks", "createRuntime", NULL };
        Doctor *doctor = runtime->doctor;
        _cleanup_bytes_ Bytes json = BYTES_NULL;
        yajl_val tree, calls;
        int r;

        r = nodefile_read(doctor->root_fd, path, &json, NULL);
        tree = r >= 0 ? yajl_tree_parse(json.p, NULL, 0) : NULL;
        if (!tree) {
                doctor_add(doctor, "hooks.base_spec", DOCTOR_ERROR, path,
                           "podspan install containerd     # or podspan uninstall containerd",
                           "the base runtime specification is missing or broken: containerd refuses to load its CRI "
                           "plugin");
                return;
        }
        calls = yajl_tree_get(tree, (const char **) where, yajl_t_array);
        for (size_t i = 0; calls && i < YAJL_GET_ARRAY(calls)->len; i++) {
                const char *program_path[] = { "path", NULL };
                const char *program =
                        YAJL_GET_STRING(yajl_tree_get(YAJL_GET_ARRAY(calls)->values[i], program_path, yajl_t_string));

                if (program && strstr(program, "podspan-hook"))
                        check_program(runtime, path, program,
                                      "podspan uninstall containerd     # or install podspan again");
        }
        yajl_tree_free(tree);
}

static void check_unfinished(Doctor *doctor) {
        static const char *const targets[] = { "kubelet", "crio", "containerd", "hooks" };

        for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
                PlanState state = plan_state(doctor->root_fd, targets[i]);
                char fix[64], evidence[64];

                if (state != PLAN_PENDING && state != PLAN_BROKEN)
                        continue;
                (void) snprintf(fix, sizeof(fix), "podspan uninstall %s", targets[i]);
                (void) snprintf(evidence, sizeof(evidence), PLAN_BACKUP_DIR "/%s", targets[i]);
                doctor_add(doctor, "install.unfinished", DOCTOR_WARNING, evidence, fix,
                           state == PLAN_PENDING ? "an install of %s did not end: its files are half changed"
                                                 : "the backup of %s cannot be read",
                           targets[i]);
        }
}

void doctor_hooks(Doctor *doctor) {
        Runtime runtime = { .doctor = doctor };
        _cleanup_close_ int state_fd = cli_open_state(doctor->cli);
        _cleanup_(counters_freep) Counters *counters = NULL;
        uint64_t spans;

        check_unfinished(doctor);
        (void) nodefile_list(doctor->root_fd, "/etc/containers/oci/hooks.d", ".json", on_hook_file, &runtime);
        (void) nodefile_list(doctor->root_fd, "/usr/share/containers/oci/hooks.d", ".json", on_hook_file, &runtime);
        (void) on_crio_file("/etc/crio/crio.conf", &runtime);
        (void) nodefile_list(doctor->root_fd, "/etc/crio/crio.conf.d", "", on_crio_file, &runtime);
        if (runtime.crio_hooks_dir)
                (void) nodefile_list(doctor->root_fd, PODSPAN_PKGDATADIR "/hooks.d", ".json", on_hook_file, &runtime);
        (void) on_containerd_file(CONTAINERD_MAIN, &runtime);
        (void) nodefile_list(doctor->root_fd, "/etc/containerd/conf.d", ".toml", on_containerd_file, &runtime);
        for (size_t i = 0; i < runtime.n_specs; i++)
                check_spec(&runtime, runtime.specs[i]);

        if (runtime.n_hooks == 0) {
                doctor_add(doctor, "hooks.installed", DOCTOR_WARNING, NULL,
                           "podspan install crio     # or containerd, hooks", "no hook of podspan's is installed");
                return;
        }
        doctor_add(doctor, "hooks.installed", DOCTOR_OK, NULL, NULL, "podspan's hooks are installed (%zu)",
                   runtime.n_hooks);
        counters = state_fd >= 0 ? counters_open(state_fd, false) : NULL;
        spans = counters && counters_shared(counters) ? counters_get(counters, COUNTERS_HOOK, COUNTERS_SPANS_WRITTEN)
                                                      : 0;
        if (spans == 0)
                doctor_add(doctor, "hooks.called", DOCTOR_WARNING, doctor->cli->state_dir,
                           "podspan probe     # then look again; the runtime may need a restart",
                           "no hook has written a span since boot");
        else
                doctor_add(doctor, "hooks.called", DOCTOR_OK, NULL, NULL, "hooks wrote %llu spans since boot",
                           (unsigned long long) spans);
}
