#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <yajl/yajl_tree.h>
#include "install.h"
#include "kube.h"
#include "runcheck.h"
#include "unitargs.h"
#include "yamledit.h"

#define HOOKS_DIR    "/etc/containers/oci/hooks.d"
#define TMPFILES     "/etc/tmpfiles.d/podspan-bypass.conf"
#define STAGE_TRIES  16
#define UNIT_DROP_IN "/etc/systemd/system/podspan-cri@%s.service.d/10-runtime.conf"

int install_fail(Install *install, int error, const char *format, ...) {
        va_list args;

        free(install->error);
        va_start(args, format);
        if (vasprintf(&install->error, format, args) < 0)
                install->error = NULL;
        va_end(args);
        return error;
}

int install_data(Install *install, const char *name, Bytes *ret) {
        _cleanup_close_ int dir_fd = open(install->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
        int r;

        if (dir_fd < 0)
                return install_fail(install, -errno, "%s: %s: is podspan installed?", install->data_dir,
                                    strerror(errno));
        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
        r = fd < 0 ? -errno : util_read_fd(fd, BYTES_FILE_MAX, &ret->p, &ret->n);
        return r < 0 ? install_fail(install, r, "%s/%s: %s", install->data_dir, name, strerror(-r)) : 0;
}

int install_need_program(Install *install, const char *path) {
        _cleanup_close_ int fd = nodefile_open(install->root_fd, path, O_PATH);
        struct stat st;
        int r;

        if (fd < 0)
                return install_fail(install, fd, "%s: %s; it has to be there first", path, strerror(-fd));
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
                return install_fail(install, -ENOEXEC, "%s is no program", path);
        r = nodefile_check_owner(install->root_fd, path);
        if (r == -EPERM)
                return install_fail(
                        install, r,
                        "others than root can write %s or a folder above it, and the runtime would execute it "
                        "as root for every container; chown root and chmod go-w, then again",
                        path);
        return r < 0 ? install_fail(install, r, "%s: %s", path, strerror(-r)) : 0;
}

static int set_text(Install *install, const char *path, char *text, const char *marker) {
        Bytes data = { text, strlen(text) };
        int r = plan_set(&install->plan, path, &data, marker);

        bytes_deinit(&data);
        return r;
}

/* Hooks: the binary is there before the JSON. */

int install_hook_program(const Bytes *json, char **ret) {
        static const char *const path[] = { "hook", "path", NULL };
        yajl_val tree = yajl_tree_parse(json->p, NULL, 0);
        const char *s = tree ? YAJL_GET_STRING(yajl_tree_get(tree, (const char **) path, yajl_t_string)) : NULL;
        int r = s && *s == '/' ? 0 : -EBADMSG;

        if (r >= 0) {
                *ret = strdup(s);
                r = *ret ? 0 : -ENOMEM;
        }
        yajl_tree_free(tree);
        return r;
}

int install_check_hook(Install *install, const char *name, Bytes *ret, char **ret_program) {
        _cleanup_free_ char *program = NULL;
        char file[128];
        int r;

        (void) snprintf(file, sizeof(file), "hooks.d/%s", name);
        r = install_data(install, file, ret);
        if (r < 0)
                return r;
        r = install_hook_program(ret, &program);
        if (r < 0)
                return install_fail(install, r, "%s/%s: names no program by its path", install->data_dir, file);
        r = install_need_program(install, program);
        if (r >= 0 && ret_program)
                *ret_program = TAKE_PTR(program);
        return r;
}

static const char *const hooks[] = { "podspan-createRuntime.json", "podspan-poststart.json", "podspan-poststop.json" };

int install_hooks(Install *install) {
        int r;

        for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
                _cleanup_bytes_ Bytes json = BYTES_NULL;
                char path[128];

                r = install_check_hook(install, hooks[i], &json, NULL);
                if (r < 0)
                        return r;
                (void) snprintf(path, sizeof(path), HOOKS_DIR "/%s", hooks[i]);
                r = plan_set(&install->plan, path, &json, NULL);
                if (r < 0)
                        return r;
        }
        fputs("# CRI-O and podman read " HOOKS_DIR " by themselves: the next container has the hooks.\n",
              install->next);
        return 0;
}

/* CRI-O */

int install_last_line(const Bytes *text, const char **ret) {
        size_t n = text->n, from;

        while (n > 0 && text->p[n - 1] == '\n')
                n--;
        from = n;
        while (from > 0 && text->p[from - 1] != '\n')
                from--;
        *ret = n > 0 ? text->p + from : "";
        return (int) MIN(n - from, (size_t) 1000);
}

int install_stage_file(const char *dir, const char *name, const Bytes *data) {
        _cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;

        if (dir_fd < 0)
                return -errno;
        fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        return fd < 0 ? -errno : util_write_all(fd, data->p, data->n);
}

int install_on_stage(const char *path, void *userdata) {
        const InstallStage *stage = userdata;
        _cleanup_bytes_ Bytes data = BYTES_NULL;
        int r = nodefile_read(stage->install->root_fd, path, &data, NULL);

        return r < 0 ? r : install_stage_file(stage->dir, strrchr(path, '/') + 1, &data);
}

static int crio_check(Install *install, const char *dir, const char *program, const Bytes *drop_in) {
        _cleanup_bytes_ Bytes main = BYTES_NULL, out = BYTES_NULL, err = BYTES_NULL;
        _cleanup_free_ char *main_path = NULL, *conf_d = NULL;
        InstallStage stage = { .install = install };
        const char *last;
        int r, n;

        if (asprintf(&main_path, "%s/crio.conf", dir) < 0) {
                main_path = NULL;
                return -ENOMEM;
        }
        if (asprintf(&conf_d, "%s/crio.conf.d", dir) < 0) {
                conf_d = NULL;
                return -ENOMEM;
        }
        if (mkdir(conf_d, 0700) < 0)
                return -errno;
        stage.dir = conf_d;
        r = nodefile_read(install->root_fd, "/etc/crio/crio.conf", &main, NULL);
        if (r < 0 && r != -ENOENT)
                return install_fail(install, r, "/etc/crio/crio.conf: %s", strerror(-r));
        if ((r = install_stage_file(dir, "crio.conf", &main)) < 0 ||
            (r = nodefile_list(install->root_fd, "/etc/crio/crio.conf.d", "", install_on_stage, &stage)) < 0 ||
            (r = install_stage_file(conf_d, "90-podspan.conf", drop_in)) < 0)
                return install_fail(install, r, "%s: %s", dir, strerror(-r));

        r = runcheck_run((char *[]){ (char *) program, "--config", main_path, "--config-dir", conf_d, "config", NULL },
                         &out, &err);
        if (r < 0)
                return install_fail(install, r, "%s config: %s", program, strerror(-r));
        n = install_last_line(&err, &last);
        if (r > 0)
                return install_fail(install, -EINVAL, "CRI-O refuses the configuration: %.*s", n, last);
        if (!memmem(out.p, out.n, "\nenable_tracing = true", 22))
                return install_fail(install, -EINVAL, "a file after 90-podspan.conf turns enable_tracing off again");
        return 0;
}

/* Locked, so that what is in it is nobody's any more. The one before may just have removed it. */
static int lock_stages(void) {
        for (unsigned i = 0; i < STAGE_TRIES; i++) {
                _cleanup_close_ int fd = -EBADF;
                struct stat locked, now;

                if (mkdir(INSTALL_STAGE_DIR, 0700) < 0 && errno != EEXIST)
                        return -errno;
                fd = open(INSTALL_STAGE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0 && errno == ENOENT)
                        continue;
                if (fd < 0 || flock(fd, LOCK_EX) < 0 || fstat(fd, &locked) < 0)
                        return -errno;
                if (locked.st_uid != 0 || locked.st_mode & 077)
                        return -EPERM;
                if (lstat(INSTALL_STAGE_DIR, &now) >= 0 && now.st_dev == locked.st_dev && now.st_ino == locked.st_ino)
                        return TAKE_FD(fd);
        }
        return -EBUSY;
}

int install_make_stage(Install *install) {
        char temporary[] = "/tmp/podspan-install-XXXXXX";
        int r;

        if (geteuid() != 0) {
                install->stage = mkdtemp(temporary) ? strdup(temporary) : NULL;
                return install->stage ? 0 : install_fail(install, -errno, "%s: %s", temporary, strerror(errno));
        }
        install->stage_fd = lock_stages();
        if (install->stage_fd < 0)
                return install_fail(install, install->stage_fd, INSTALL_STAGE_DIR ": %s", strerror(-install->stage_fd));
        r = nodefile_remove_tree(install->stage_fd, "/stage");
        if (r >= 0 && mkdirat(install->stage_fd, "stage", 0700) < 0)
                r = -errno;
        if (r < 0)
                return install_fail(install, r, INSTALL_STAGE_DIR "/stage: %s", strerror(-r));
        install->stage = strdup(INSTALL_STAGE_DIR "/stage");
        return install->stage ? 0 : -ENOMEM;
}

void install_remove_stage(Install *install) {
        if (install->stage_fd >= 0) {
                (void) nodefile_remove_tree(install->stage_fd, "/stage");
                (void) rmdir(INSTALL_STAGE_DIR);
        } else if (install->stage) {
                _cleanup_close_ int tmp_fd = nodefile_root("/tmp");

                if (tmp_fd >= 0)
                        (void) nodefile_remove_tree(tmp_fd, strrchr(install->stage, '/'));
        }
        free(install->stage);
        install->stage = NULL;
        close_fd(install->stage_fd);
        install->stage_fd = -EBADF;
}

int install_crio(Install *install) {
        _cleanup_bytes_ Bytes drop_in = BYTES_NULL;
        _cleanup_free_ char *program = NULL;
        int r;

        for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
                _cleanup_bytes_ Bytes json = BYTES_NULL;

                r = install_check_hook(install, hooks[i], &json, NULL);
                if (r < 0)
                        return r;
        }
        r = install_data(install, "crio.conf.d/90-podspan.conf", &drop_in);
        if (r < 0)
                return r;
        r = runcheck_find(install->program ? install->program : "crio", &program);
        if (r < 0)
                return install_fail(install, r, "no crio to check its configuration with; --program FILE names it");

        r = install_make_stage(install);
        if (r >= 0)
                r = crio_check(install, install->stage, program, &drop_in);
        install_remove_stage(install);
        if (r < 0)
                return r;
        r = plan_set(&install->plan, "/etc/crio/crio.conf.d/90-podspan.conf", &drop_in, NULL);
        if (r >= 0)
                fputs("systemctl restart crio.service     # containers that run are not touched\n", install->next);
        return r;
}

/* kubelet */

static bool is_ours(const Install *install, const char *path) {
        return nodefile_is_beneath(install->root_fd, install->state_dir, path);
}

/* A file that others can write says nothing about kubelet, and what it names may be anything. */
static int check_place(Install *install, const KubePlace *place) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        int r;

        r = nodefile_check_owner(install->root_fd, place->path);
        if (r == -EPERM)
                return install_fail(install, r,
                                    "%s: not edited: others than root can write it, or a folder above it; "
                                    "chown root and chmod go-w, then again",
                                    place->path);
        if (r < 0)
                return install_fail(install, r, "%s: %s", place->path, strerror(-r));
        if (place->kind != KUBE_CONFIG)
                return 0;
        r = nodefile_read(install->root_fd, place->path, &text, NULL);
        if (r < 0)
                return install_fail(install, r, "%s: %s", place->path, strerror(-r));
        if (!kube_is_configuration(&text, place->patch))
                return install_fail(install, -EINVAL,
                                    "%s: not edited: it is no KubeletConfiguration (apiVersion: "
                                    "kubelet.config.k8s.io/…, kind: KubeletConfiguration)",
                                    place->path);
        return 0;
}

static bool leads_to(const Install *install, const KubePlace *place, const char *runtime_path) {
        _cleanup_free_ char *path = kube_path(place->value);

        return path && place->known && nodefile_same(install->root_fd, path, runtime_path);
}

/* Edits the flags in the file of @place, the last one first, since an edit moves what follows. @now is the file. */
static int edit_flags(Install *install, const Kube *kube, const KubePlace *place, const char *runtime_path,
                      const Bytes *now, const char *endpoint) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        size_t end = SIZE_MAX;
        int r;

        r = bytes_dup(now->p, now->n, &text);
        while (r >= 0) {
                _cleanup_bytes_ Bytes edited = BYTES_NULL;
                const KubePlace *last = NULL;

                for (size_t i = 0; i < kube->n_places; i++) {
                        const KubePlace *other = &kube->places[i];

                        if (other->kind == KUBE_FLAGS && other->from < end && (!last || other->from > last->from) &&
                            strcmp(other->path, place->path) == 0 && leads_to(install, other, runtime_path))
                                last = other;
                }
                if (!last)
                        break;
                end = last->from;
                if (last->to > text.n || memcmp(text.p + last->from, last->value, last->to - last->from) != 0)
                        return install_fail(install, -EAGAIN,
                                            "%s: not edited: another program has changed it; try again", place->path);
                r = bytes_splice(text.p, text.n, last->from, last->to, endpoint, strlen(endpoint), &edited);
                if (r >= 0)
                        bytes_move(&text, &edited);
        }
        return r < 0 ? r : plan_set(&install->plan, place->edit_path, &text, endpoint + strlen("unix://"));
}

static int edit_place(Install *install, const Kube *kube, const KubePlace *place, const char *runtime_path,
                      const char *endpoint) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        const Bytes *now;
        int r;

        r = check_place(install, place);
        if (r < 0)
                return r;
        r = plan_read(&install->plan, place->edit_path, &now);
        if (r == -ENOENT)
                r = plan_read(&install->plan, place->path, &now);
        if (r < 0)
                return r;
        if (place->kind == KUBE_CONFIG) {
                const char *key = place->image ? "imageServiceEndpoint" : "containerRuntimeEndpoint";
                YamlProblem problem = { 1, strerror(ENOMEM) };

                r = yamledit_set(now->p, now->n, key, endpoint, &text, &problem);
                if (r < 0)
                        return install_fail(install, r, "%s:%u: not edited: %s; write there by hand: %s: \"%s\"",
                                            place->path, problem.line, problem.what, key, endpoint);
                return plan_set(&install->plan, place->edit_path, &text, endpoint + strlen("unix://"));
        }

        return edit_flags(install, kube, place, runtime_path, now, endpoint);
}

static int refuse_place(Install *install, const KubePlace *place, const char *endpoint) {
        static const char *const flags[] = { "--container-runtime-endpoint", "--image-service-endpoint" };
        const char *why = place->refusal;

        if (place->kind != KUBE_FLAGS)
                return 0;
        if (!why && endpoint[strspn(endpoint, UNITARGS_SAFE)] != '\0')
                why = "the new value would need quotes";
        if (!why)
                return 0;
        return install_fail(install, -EINVAL, "%s:%u: not edited: %s; write there by hand: %s=%s", place->path,
                            place->line, why, flags[place->image], endpoint);
}

/* All flags of a file are edited with the first of them. */
static bool edited_before(const Install *install, const Kube *kube, size_t i, const char *runtime_path) {
        const KubePlace *place = &kube->places[i];

        for (size_t j = 0; j < i && place->kind == KUBE_FLAGS; j++)
                if (kube->places[j].kind == KUBE_FLAGS && strcmp(kube->places[j].path, place->path) == 0 &&
                    leads_to(install, &kube->places[j], runtime_path))
                        return true;
        return false;
}

static int edit_places(Install *install, const Kube *kube, const char *runtime_path, const char *endpoint) {
        const KubePlace *decides;
        bool set = false, maybe = false;
        int r;

        for (size_t i = 0; i < kube->n_places; i++) {
                const KubePlace *place = &kube->places[i];
                _cleanup_free_ char *path = kube_path(place->value);

                if (!path)
                        return -ENOMEM;
                if (place->kind == KUBE_CONFIG ? nodefile_same(install->root_fd, path, runtime_path)
                                               : leads_to(install, place, runtime_path)) {
                        r = refuse_place(install, place, endpoint);
                        if (r >= 0 && !edited_before(install, kube, i, runtime_path))
                                r = edit_place(install, kube, place, runtime_path, endpoint);
                        if (r < 0)
                                return r;
                } else if (place->kind == KUBE_FLAGS && !place->known) {
                        return refuse_place(install, place, endpoint);
                } else if (!is_ours(install, path)) {
                        fprintf(install->notes, "%s:%u names %s, another endpoint: left as it is\n", place->path,
                                place->line, place->value);
                        continue;
                }
                if (!place->image && place->maybe)
                        maybe = true;
                else if (!place->image)
                        set = true;
        }
        (void) kube_endpoint(kube, false, &decides);
        /* What a wrapper may pass on does not make the key needless. */
        if (set || (maybe && !kube->config_file))
                return 0;
        if ((decides && !maybe) || !kube->config_file)
                return install_fail(install, -ENOENT,
                                    "no KubeletConfiguration found in which to set the endpoint "
                                    "(looked for kubelet's --config, then " KUBE_DEFAULT_CONFIG " …)");
        return edit_place(
                install, kube,
                &(KubePlace){
                        .path = kube->config_file, .edit_path = kube->config_file, .kind = KUBE_CONFIG, .value = "" },
                runtime_path, endpoint);
}

/* A flag on the running kubelet's command line that stands in no file would win over all that is changed here. */
static int check_running(Install *install, const Kube *kube, const char *runtime_path) {
        const char *running[] = { kube->running_endpoint, kube->running_image };

        for (size_t i = 0; i < ARRAY_SIZE(running); i++) {
                _cleanup_free_ char *path = running[i] ? kube_path(running[i]) : NULL;
                bool found = false;

                if (!running[i])
                        continue;
                if (!path)
                        return -ENOMEM;
                for (size_t j = 0; j < kube->n_places; j++)
                        found = found || (kube->places[j].kind == KUBE_FLAGS && kube->places[j].image == (i == 1));
                if (!found && nodefile_same(install->root_fd, path, runtime_path))
                        return install_fail(install, -ENOENT,
                                            "kubelet (pid %d) runs with --%s=%s, and no file known to say "
                                            "so was found: change it where kubelet is started",
                                            (int) kube->proc->pid,
                                            i == 1 ? "image-service-endpoint" : "container-runtime-endpoint",
                                            running[i]);
        }
        return 0;
}

static int companions(Install *install, const char *name, const char *runtime_path, const char *listen) {
        _cleanup_free_ char *tmpfiles = NULL, *unit = NULL, *unit_path = NULL, *usual = NULL;
        int r;

        /* Made at each boot, so that a bypass needs no room on any disk. */
        if (asprintf(&tmpfiles,
                     "# Written by `podspan install kubelet`, for `podspan bypass`.\nL %s.bypass - - - - %s\n", listen,
                     runtime_path) < 0) {
                tmpfiles = NULL;
                return -ENOMEM;
        }
        r = set_text(install, TMPFILES, TAKE_PTR(tmpfiles), NULL);
        if (r < 0)
                return r;

        if (asprintf(&usual, "/run/%s/%s.sock", name, name) < 0) {
                usual = NULL;
                return -ENOMEM;
        }
        if (strcmp(usual, runtime_path) == 0)
                return 0;
        if (asprintf(&unit_path, UNIT_DROP_IN, name) < 0) {
                unit_path = NULL;
                return -ENOMEM;
        }
        if (asprintf(&unit,
                     "# Written by `podspan install kubelet`: where this node's runtime "
                     "listens.\n[Service]\nExecStart=\n"
                     "ExecStart=" PODSPAN_SBINDIR "/podspan-cri --listen %s --runtime %s\n",
                     listen, runtime_path) < 0) {
                unit = NULL;
                return -ENOMEM;
        }
        return set_text(install, unit_path, TAKE_PTR(unit), NULL);
}

/* The plan's outcome, read again: every endpoint that kubelet will use must be ours. */
static int verify(Install *install, const char *endpoint) {
        for (size_t i = 0; i < install->plan.n_files; i++) {
                const PlanFile *file = &install->plan.files[i];
                YamlScalar at = {};
                YamlProblem problem;
                bool right;

                if (!file->exists || !file->marker ||
                    memmem(file->after.p, file->after.n, "--container-runtime-endpoint", 28))
                        continue;
                if (yamledit_find(file->after.p, file->after.n, "containerRuntimeEndpoint", &at, &problem) < 0)
                        continue;
                right = strcmp(at.value, endpoint) == 0;
                free(at.value);
                if (!right)
                        return install_fail(install, -EINVAL, "%s: the edit did not take", file->path);
        }
        return 0;
}

/* Whose files are to be edited? Of a process that is not believed nothing is taken, and it is named. */
static int check_process(Install *install, const Kube *kube) {
        char who[512];

        nodeproc_describe(&kube->procs, who, sizeof(who));
        if (nodeproc_ambiguous(&kube->procs))
                return install_fail(install, -EEXIST,
                                    "more than one process could be kubelet, so none is believed: %s; end those that "
                                    "are not it, then again",
                                    who);
        if (kube->proc && kube->proc->trust == NODEPROC_ELSEWHERE)
                return install_fail(install, -EXDEV,
                                    "kubelet (pid %d) runs in a mount namespace of its own: its files are not this "
                                    "node's and are not edited; set containerRuntimeEndpoint by what starts it",
                                    (int) kube->proc->pid);
        for (size_t i = 0; i < kube->procs.n; i++)
                if (kube->procs.procs[i].trust == NODEPROC_REFUSED)
                        fprintf(install->notes, "pid %d is called kubelet and is not believed: %s\n",
                                (int) kube->procs.procs[i].pid, kube->procs.procs[i].why);
        return 0;
}

int install_kubelet(Install *install) {
        _cleanup_(kube_deinit) Kube kube = KUBE_NULL;
        _cleanup_free_ char *path = NULL, *listen = NULL, *endpoint = NULL;
        const KubePlace *decides;
        const char *now, *name;
        int r;

        r = kube_find(install->root_fd, &kube);
        if (r < 0)
                return install_fail(install, r, "looking for kubelet's endpoints: %s", strerror(-r));
        r = check_process(install, &kube);
        if (r < 0)
                return r;
        now = kube_endpoint(&kube, false, &decides);
        if (decides && decides->kind == KUBE_FLAGS && !decides->known)
                return install_fail(
                        install, -EINVAL,
                        "%s:%u: not edited: podspan cannot tell kubelet's endpoint: %s; write there by hand: "
                        "--container-runtime-endpoint=unix://%s/run/NAME/NAME.sock, NAME is containerd or crio",
                        decides->path, decides->line, decides->refusal, install->state_dir);
        path = kube_path(now);
        if (!path)
                return -ENOMEM;
        if (*path != '/')
                return install_fail(install, -EINVAL, "%s is no path of a socket", now);
        name = install->runtime ? install->runtime : kube_runtime(path);
        if (!name)
                return install_fail(install, -EINVAL,
                                    "%s is neither containerd's nor CRI-O's socket by its name; "
                                    "--runtime says which it is",
                                    now);

        if (asprintf(&listen, "%s/run/%s/%s.sock", install->state_dir, name, name) < 0) {
                listen = NULL;
                return -ENOMEM;
        }
        if (asprintf(&endpoint, "unix://%s", listen) < 0) {
                endpoint = NULL;
                return -ENOMEM;
        }
        /* What this changes silently otherwise is where node metrics come from. */
        if (kube_cadvisor_stats(now) != kube_cadvisor_stats(endpoint))
                fprintf(install->notes, "kubelet takes its statistics from %s now and will from %s\n",
                        kube_cadvisor_stats(now) ? "cAdvisor" : "the CRI",
                        kube_cadvisor_stats(endpoint) ? "cAdvisor" : "the CRI");

        if (is_ours(install, path)) {
                /* Again: only places that came since. What the runtime's own path is, the backup knows. */
                free(path);
                path = NULL;
                if (asprintf(&path, "/run/%s/%s.sock", name, name) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                r = edit_places(install, &kube, path, endpoint);
                return r < 0 ? r : verify(install, endpoint);
        }
        if ((r = check_running(install, &kube, path)) < 0 || (r = companions(install, name, path, listen)) < 0 ||
            (r = edit_places(install, &kube, path, endpoint)) < 0 || (r = verify(install, endpoint)) < 0)
                return r;

        fprintf(install->next,
                "systemctl daemon-reload\n"
                "systemd-tmpfiles --create podspan.conf podspan-bypass.conf\n"
                "systemctl enable --now podspan-cri@%s.socket podspan-cri@%s.service\n"
                "systemctl restart kubelet.service     # pods that run are not touched\n"
                "kubectl annotate node NAME --overwrite kubeadm.alpha.kubernetes.io/cri-socket=%s     # kubeadm before "
                "1.34\n",
                name, name, endpoint);
        return 0;
}

void install_after_undo(Install *install, const char *target) {
        if (strcmp(target, "kubelet") == 0)
                fputs("systemctl daemon-reload\n"
                      "systemctl restart kubelet.service     # pods that run are not touched; then podspan-cri can be "
                      "stopped\n",
                      install->next);
        else if (strcmp(target, "hooks") == 0)
                fputs("# Containers that run have the hooks in their own configuration: keep podspan-hook until they "
                      "are gone.\n",
                      install->next);
        else
                fprintf(install->next,
                        "systemctl daemon-reload\nsystemctl restart %s.service     # containers that run are not "
                        "touched\n",
                        target);
}
