#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <yajl/yajl_tree.h>
#include "install.h"
#include "runcheck.h"
#include "tomledit.h"

#define MAIN      "/etc/containerd/config.toml"
#define CONF_D    "/etc/containerd/conf.d"
#define IMPORT    CONF_D "/*.toml"
#define DROP_IN   CONF_D "/90-podspan.toml"
#define UNIT_D    "/etc/systemd/system/containerd.service.d/10-podspan-tracing.conf"
#define NAMES_MAX 16

#define RUNTIMES_V2 "plugins" TOMLEDIT_SEP "io.containerd.grpc.v1.cri" TOMLEDIT_SEP "containerd" TOMLEDIT_SEP "runtimes"
#define RUNTIMES_V3 \
        "plugins" TOMLEDIT_SEP "io.containerd.cri.v1.runtime" TOMLEDIT_SEP "containerd" TOMLEDIT_SEP "runtimes"
#define HEADER_V2    "plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes"
#define HEADER_V3    "plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes"
#define RUNC_HANDLER "io.containerd.runc.v2"

/* The runtime handlers of a configuration that call runc, crun … themselves. */
typedef struct Handlers {
        char name[NAMES_MAX][64];
        bool other[NAMES_MAX]; /* not by runc's shim: no hooks of the base specification */
        char *spec[NAMES_MAX]; /* base_runtime_spec, if it has one */
        size_t n;
} Handlers;

static void handlers_deinit(Handlers *handlers) {
        for (size_t i = 0; i < handlers->n; i++)
                free(handlers->spec[i]);
}

typedef struct Walk {
        Handlers *handlers;
        const char *text;
} Walk;

static int on_item(const TomlItem *item, void *userdata) {
        static const char *const prefixes[] = { RUNTIMES_V2, RUNTIMES_V3 };
        const Walk *walk = userdata;
        Handlers *handlers = walk->handlers;
        const char *name = NULL, *key;
        size_t n, i, value_n = item->to - item->from;

        for (i = 0; i < ARRAY_SIZE(prefixes); i++) {
                size_t prefix_n = strlen(prefixes[i]);

                if (strncmp(item->path, prefixes[i], prefix_n) == 0 && item->path[prefix_n] == *TOMLEDIT_SEP)
                        name = item->path + prefix_n + 1;
        }
        if (!name)
                return 0;
        key = strchrnul(name, *TOMLEDIT_SEP);
        n = (size_t) (key - name);
        for (i = 0; i < handlers->n; i++)
                if (strlen(handlers->name[i]) == n && memcmp(handlers->name[i], name, n) == 0)
                        break;
        if (i == handlers->n) {
                if (i == NAMES_MAX || n >= sizeof(handlers->name[0]))
                        return -E2BIG;
                memcpy(handlers->name[i], name, n);
                handlers->n++;
        }
        if (item->header || !*key || value_n < 2)
                return 0;
        if (strcmp(key + 1, "runtime_type") == 0)
                handlers->other[i] = value_n - 2 != strlen(RUNC_HANDLER) ||
                                     memcmp(walk->text + item->from + 1, RUNC_HANDLER, value_n - 2) != 0;
        if (strcmp(key + 1, "base_runtime_spec") == 0 && value_n > 2) {
                handlers->spec[i] = strndup(walk->text + item->from + 1, value_n - 2);
                if (!handlers->spec[i])
                        return -ENOMEM;
        }
        return 0;
}

static int find_handlers(const Bytes *text, Handlers *ret) {
        Walk walk = { ret, text->p };

        return tomledit_walk(text->p, text->n, on_item, &walk);
}

/* Adds the base specification to handler @name in @text. */
static int set_handler(Bytes *text, const char *table, const char *header, const char *name, const char *spec,
                       bool whole) {
        _cleanup_bytes_ Bytes edited = BYTES_NULL;
        char path[TOMLEDIT_PATH_MAX], full[TOMLEDIT_PATH_MAX], value[TOMLEDIT_PATH_MAX];
        int r;

        if (snprintf(path, sizeof(path), "%s" TOMLEDIT_SEP "%s", table, name) >= (int) sizeof(path) ||
            snprintf(full, sizeof(full), "%s.\"%s\"", header, name) >= (int) sizeof(full) ||
            snprintf(value, sizeof(value), "\"%s\"", spec) >= (int) sizeof(value))
                return -E2BIG;
        r = tomledit_set(text->p, text->n, path, full, "base_runtime_spec", value, &edited);
        if (r < 0)
                return r;
        bytes_move(text, &edited);
        if (!whole)
                return 0;
        /* A table of its own says what it runs. */
        r = tomledit_set(text->p, text->n, path, full, "runtime_type", "\"" RUNC_HANDLER "\"", &edited);
        if (r >= 0)
                bytes_move(text, &edited);
        return r;
}

static int broken(Install *install, int error) {
        return install_fail(install, error, MAIN ": %s",
                            error == -EBADMSG ? "not TOML as far as can be seen" : strerror(-error));
}

/* containerd 1: an imported file would replace the CRI plugin's whole table, so this goes into the file itself. */
static int edit_v1(Install *install, const Bytes *now, const char *spec) {
        _cleanup_(handlers_deinit) Handlers handlers = {};
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        _cleanup_free_ char *version = NULL;
        size_t done = 0;
        int r;

        r = tomledit_get(now->p, now->n, "version", &version);
        if (r < 0 && r != -ENOENT)
                return broken(install, r);
        if (now->n > 0 && (r < 0 || strcmp(version, "2") != 0))
                return install_fail(install, -EINVAL, MAIN ": `version = 2` is needed; containerd config migrate");
        r = now->n > 0 ? bytes_dup(now->p, now->n, &text) : bytes_dup("version = 2\n", 12, &text);
        if (r < 0)
                return r;
        r = find_handlers(&text, &handlers);
        if (r < 0)
                return broken(install, r);

        for (size_t i = 0; i < handlers.n; i++) {
                if (handlers.other[i])
                        continue;
                if (handlers.spec[i] && strcmp(handlers.spec[i], spec) != 0) {
                        fprintf(install->notes,
                                MAIN ": runtime %s has base_runtime_spec %s: left as it is, without hooks\n",
                                handlers.name[i], handlers.spec[i]);
                        continue;
                }
                r = set_handler(&text, RUNTIMES_V2, HEADER_V2, handlers.name[i], spec, false);
                if (r < 0)
                        return broken(install, r);
                done++;
        }
        if (done == 0 && handlers.n == 0) {
                r = set_handler(&text, RUNTIMES_V2, HEADER_V2, "runc", spec, true);
                if (r < 0)
                        return broken(install, r);
        } else if (done == 0)
                return install_fail(install, -EEXIST, MAIN ": no runtime handler could get the hooks");
        return plan_set(&install->plan, MAIN, &text, spec);
}

/* Is our folder among @imports, an array as it stands in the file? A relative path is relative to that file's folder.
 */
static bool has_import(const char *imports) {
        static const char *const spellings[] = { "\"" IMPORT "\"",  "'" IMPORT "'",        "\"conf.d/*.toml\"",
                                                 "'conf.d/*.toml'", "\"./conf.d/*.toml\"", "'./conf.d/*.toml'" };

        for (size_t i = 0; i < ARRAY_SIZE(spellings); i++)
                if (strstr(imports, spellings[i]))
                        return true;
        return false;
}

/* containerd 2 merges the tables of imported files. */
static int edit_v2(Install *install, const Bytes *now, const Bytes *data, const char *spec) {
        _cleanup_(handlers_deinit) Handlers handlers = {};
        _cleanup_bytes_ Bytes drop_in = BYTES_NULL, text = BYTES_NULL;
        _cleanup_free_ char *imports = NULL;
        int r;

        r = find_handlers(now, &handlers);
        if (r < 0)
                return broken(install, r);
        r = bytes_dup(data->p, data->n, &drop_in);
        for (size_t i = 0; i < handlers.n && r >= 0; i++) {
                if (handlers.spec[i] && strcmp(handlers.spec[i], spec) != 0) {
                        /* The drop-in would win over it. */
                        return install_fail(install, -EEXIST,
                                            MAIN ": runtime %s has base_runtime_spec %s already; put "
                                                 "podspan's hooks into that file",
                                            handlers.name[i], handlers.spec[i]);
                }
                if (!handlers.other[i] && strcmp(handlers.name[i], "runc") != 0)
                        r = set_handler(&drop_in, RUNTIMES_V3, HEADER_V3, handlers.name[i], spec, true);
        }
        if (r >= 0)
                r = plan_set(&install->plan, DROP_IN, &drop_in, NULL);
        if (r < 0)
                return r;

        r = tomledit_get(now->p, now->n, "imports", &imports);
        if (r < 0 && r != -ENOENT)
                return broken(install, r);
        if (r >= 0 && has_import(imports))
                return 0;
        if (now->n == 0)
                r = bytes_dup("version = 3\nimports = [\"" IMPORT "\"]\n",
                              strlen("version = 3\nimports = [\"" IMPORT "\"]\n"), &text);
        else
                r = tomledit_add(now->p, now->n, "imports", IMPORT, &text);
        return r < 0 ? broken(install, r) : plan_set(&install->plan, MAIN, &text, NULL);
}

/* The configuration as it will be, in a folder of ours, with the folder's imports instead of the node's. */
static int stage(Install *install, const char *dir, char **ret_main) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        _cleanup_free_ char *conf_d = NULL, *main = NULL;
        InstallStage copy = { .install = install };
        const Bytes *after;
        int r;

        if (asprintf(&conf_d, "%s/conf.d", dir) < 0) {
                conf_d = NULL;
                return -ENOMEM;
        }
        if (asprintf(&main, "%s/config.toml", dir) < 0) {
                main = NULL;
                return -ENOMEM;
        }
        if (mkdir(conf_d, 0700) < 0)
                return -errno;
        copy.dir = conf_d;
        r = nodefile_list(install->root_fd, CONF_D, ".toml", install_on_stage, &copy);
        if (r < 0)
                return r;
        r = plan_read(&install->plan, DROP_IN, &after);
        if (r >= 0)
                r = install_stage_file(conf_d, "90-podspan.toml", after);
        if (r < 0 && r != -ENOENT)
                return r;

        r = plan_read(&install->plan, MAIN, &after);
        if (r < 0)
                return r;
        r = bytes_dup(after->p, after->n, &text);
        for (size_t pos = 0; r >= 0 && pos < text.n;) {
                _cleanup_bytes_ Bytes edited = BYTES_NULL;
                const char *hit = memmem(text.p + pos, text.n - pos, CONF_D, strlen(CONF_D));
                size_t at;

                if (!hit)
                        break;
                at = (size_t) (hit - text.p);
                r = bytes_splice(text.p, text.n, at, at + strlen(CONF_D), conf_d, strlen(conf_d), &edited);
                if (r >= 0)
                        bytes_move(&text, &edited);
                pos = at + strlen(conf_d);
        }
        if (r >= 0)
                r = install_stage_file(dir, "config.toml", &text);
        if (r >= 0)
                *ret_main = TAKE_PTR(main);
        return r;
}

static int check(Install *install, const char *program, const char *dir, const char *spec) {
        _cleanup_bytes_ Bytes out = BYTES_NULL, err = BYTES_NULL;
        _cleanup_free_ char *main = NULL;
        const char *last;
        int r, n;

        r = stage(install, dir, &main);
        if (r < 0)
                return install_fail(install, r, "%s: %s", dir, strerror(-r));
        r = runcheck_run((char *[]){ (char *) program, "--config", main, "config", "dump", NULL }, &out, &err);
        if (r < 0)
                return install_fail(install, r, "%s config dump: %s", program, strerror(-r));
        n = install_last_line(&err, &last);
        if (r > 0)
                return install_fail(install, -EINVAL, "containerd refuses the configuration: %.*s", n, last);
        if (!memmem(out.p, out.n, spec, strlen(spec)))
                return install_fail(install, -EINVAL,
                                    "containerd does not take base_runtime_spec from the new configuration");
        return 0;
}

static int find_program(Install *install, char **ret_program, char **ret_ctr, unsigned *ret_major) {
        _cleanup_bytes_ Bytes out = BYTES_NULL, err = BYTES_NULL;
        _cleanup_free_ char *program = NULL, *beside = NULL;
        const char *version;
        int r;

        r = runcheck_find(install->program ? install->program : "containerd", &program);
        if (r < 0)
                return install_fail(install, r,
                                    "no containerd to check its configuration with; --program FILE names it");
        if (asprintf(&beside, "%.*s/ctr", (int) (strrchr(program, '/') - program), program) < 0) {
                beside = NULL;
                return -ENOMEM;
        }
        if (runcheck_find(install->ctr ? install->ctr : beside, ret_ctr) < 0 && runcheck_find("ctr", ret_ctr) < 0)
                return install_fail(install, -ENOENT, "no ctr, which knows containerd's default specification");

        r = runcheck_run((char *[]){ program, "--version", NULL }, &out, &err);
        if (r != 0)
                return install_fail(install, -EINVAL, "%s --version failed", program);
        /* "containerd github.com/containerd/containerd[/v2] [v]1.6.20 …" */
        version = strchr(out.p, ' ');
        version = version ? strchr(version + 1, ' ') : NULL;
        if (!version || sscanf(version, " v%u.", ret_major) != 1)
                if (!version || sscanf(version, " %u.", ret_major) != 1)
                        return install_fail(install, -EINVAL, "%s --version says \"%.60s\": cannot tell the version",
                                            program, out.p);
        *ret_program = TAKE_PTR(program);
        return 0;
}

static int make_spec(Install *install, char *ctr, const char *path) {
        _cleanup_bytes_ Bytes json = BYTES_NULL, out = BYTES_NULL, err = BYTES_NULL;
        _cleanup_free_ char *hook = NULL, *script = NULL;
        const char *last;
        yajl_val tree;
        int r, n;

        r = install_check_hook(install, "podspan-createRuntime.json", &json, &hook);
        if (r < 0)
                return r;
        if (asprintf(&script, "%s/containerd-base-spec", install->libexec_dir) < 0) {
                script = NULL;
                return -ENOMEM;
        }
        r = runcheck_run((char *[]){ script, "--ctr", ctr, "--hook", hook, NULL }, &out, &err);
        n = install_last_line(&err, &last);
        if (r != 0)
                return install_fail(install, r < 0 ? r : -EINVAL, "%s: %.*s", script, r < 0 ? 200 : n,
                                    r < 0 ? strerror(-r) : last);
        tree = yajl_tree_parse(out.p, NULL, 0);
        yajl_tree_free(tree);
        if (!tree || !memmem(out.p, out.n, hook, strlen(hook)))
                return install_fail(install, -EBADMSG, "%s printed no specification with hooks", script);
        return plan_set(&install->plan, path, &out, NULL);
}

int install_containerd(Install *install) {
        _cleanup_bytes_ Bytes data = BYTES_NULL, unit = BYTES_NULL;
        _cleanup_free_ char *program = NULL, *ctr = NULL, *spec = NULL;
        static const Bytes nothing = BYTES_NULL;
        const Bytes *now;
        unsigned major;
        int r;

        r = find_program(install, &program, &ctr, &major);
        if (r < 0)
                return r;
        r = install_data(install, major < 2 ? "containerd/config-v2.toml" : "containerd/config-v3.toml", &data);
        if (r < 0)
                return r;
        r = tomledit_get(data.p, data.n,
                         major < 2 ? RUNTIMES_V2 TOMLEDIT_SEP "runc" TOMLEDIT_SEP "base_runtime_spec"
                                   : RUNTIMES_V3 TOMLEDIT_SEP "runc" TOMLEDIT_SEP "base_runtime_spec",
                         &spec);
        if (r < 0)
                return install_fail(install, r, "%s/containerd: no base_runtime_spec in it", install->data_dir);

        /* In this order: containerd refuses its CRI plugin if the specification is not there. */
        r = make_spec(install, ctr, spec);
        if (r < 0)
                return r;
        if (major >= 2) {
                r = install_data(install, "containerd/10-podspan-tracing.conf", &unit);
                if (r >= 0)
                        r = plan_set(&install->plan, UNIT_D, &unit, NULL);
                if (r < 0)
                        return r;
        }
        r = plan_read(&install->plan, MAIN, &now);
        if (r == -ENOENT)
                now = &nothing;
        else if (r < 0)
                return r;
        r = major < 2 ? edit_v1(install, now, spec) : edit_v2(install, now, &data, spec);
        if (r < 0)
                return r;

        r = install_make_stage(install);
        if (r >= 0)
                r = check(install, program, install->stage, spec);
        install_remove_stage(install);
        if (r >= 0)
                fprintf(install->next,
                        "%ssystemctl restart containerd.service     # containers that run are not touched\n",
                        major >= 2 ? "systemctl daemon-reload\n" : "");
        return r;
}
