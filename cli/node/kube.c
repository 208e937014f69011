#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "flagedit.h"
#include "kube.h"
#include "nodefile.h"
#include "unitargs.h"
#include "yamledit.h"

#define UNIT_FILES_MAX 128 /* the unit, its drop-ins, and environment files */

static const char *const keys[] = { "containerRuntimeEndpoint", "imageServiceEndpoint" };
static const char *const flags[] = { "--container-runtime-endpoint", "--image-service-endpoint" };

/* Highest precedence first, as systemd.unit(5) has them. */
static const char *const unit_dirs[] = { "/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
                                         "/usr/lib/systemd/system", "/lib/systemd/system" };

static const char *const flag_files[] = { "/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet",
                                          "/etc/sysconfig/kubelet" };

static const char *const config_files[] = { KUBE_DEFAULT_CONFIG, "/etc/kubernetes/kubelet/config.json",
                                            "/etc/kubernetes/kubelet/kubelet-config.json",
                                            "/etc/kubernetes/kubelet-config.yaml",
                                            "/etc/kubernetes/kubelet/kubelet-config.yaml" };

typedef struct UnitFile {
        char *path;
        Bytes text;
} UnitFile;

typedef struct Walk {
        int root_fd;
        Kube *kube;
        bool patch; /* the file is kubeadm's patch */
        UnitFile files[UNIT_FILES_MAX];
        size_t n_files;
} Walk;

void kube_deinit(Kube *kube) {
        for (size_t i = 0; i < kube->n_places; i++) {
                free(kube->places[i].path);
                free(kube->places[i].edit_path);
                free(kube->places[i].value);
        }
        for (size_t i = 0; i < kube->n_seen; i++)
                free(kube->seen[i]);
        nodeproc_deinit(&kube->procs);
        free(kube->config_file);
        free(kube->config_dir);
        free(kube->running_endpoint);
        free(kube->running_image);
        *kube = (Kube) KUBE_NULL;
}

char *kube_path(const char *endpoint) {
        if (strncmp(endpoint, "unix://", 7) == 0)
                endpoint += 7;
        if (strncmp(endpoint, "/var/run/", 9) == 0)
                endpoint += 4;
        return strdup(endpoint);
}

const char *kube_runtime(const char *path) {
        const char *name = strrchr(path, '/');

        name = name ? name + 1 : path;
        return strcmp(name, "crio.sock") == 0 ? "crio" : strcmp(name, "containerd.sock") == 0 ? "containerd" : NULL;
}

bool kube_cadvisor_stats(const char *endpoint) {
        size_t n = strlen(endpoint), suffix_n = strlen(KUBE_CRIO_SUFFIX);

        return n >= suffix_n && strcmp(endpoint + n - suffix_n, KUBE_CRIO_SUFFIX) == 0;
}

/* Is the value of @key @want, or with a "/" at its end a value that begins so? -ENOENT without the key. */
static int key_is(const Bytes *text, const char *key, const char *want) {
        size_t n = strlen(want);
        YamlScalar at = {};
        YamlProblem problem;
        int r;

        r = yamledit_find(text->p, text->n, key, &at, &problem);
        if (r < 0)
                return r;
        r = strncmp(at.value, want, n) == 0 && (want[n - 1] == '/' || at.value[n] == '\0');
        free(at.value);
        return r;
}

bool kube_is_configuration(const Bytes *text, bool patch) {
        int kind = key_is(text, "kind", "KubeletConfiguration"),
            version = key_is(text, "apiVersion", "kubelet.config.k8s.io/");

        return (kind == 1 && version == 1) || (patch && kind == -ENOENT && version == -ENOENT);
}

/* Has this file, by whatever name, been looked at? Notes it. */
static int first_time(Walk *walk, const char *path) {
        _cleanup_close_ int fd = nodefile_open(walk->root_fd, path, O_PATH);
        Kube *kube = walk->kube;
        char *id = NULL;
        struct stat st;

        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return 0;
        if (asprintf(&id, "%llx-%llx", (unsigned long long) st.st_dev, (unsigned long long) st.st_ino) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < kube->n_seen; i++)
                if (strcmp(kube->seen[i], id) == 0) {
                        free(id);
                        return 0;
                }
        if (kube->n_seen == KUBE_PLACES_MAX) {
                free(id);
                return -E2BIG;
        }
        kube->seen[kube->n_seen++] = id;
        return 1;
}

static unsigned line_of(const char *s, size_t pos) {
        unsigned line = 1;

        for (size_t i = 0; i < pos; i++)
                line += s[i] == '\n';
        return line;
}

/* A file of the vendor's is replaced by the next update of its package: what overrides it stands in /etc. */
static char *edit_path(const char *path) {
        char *copy = NULL;

        for (size_t i = 1; i < ARRAY_SIZE(unit_dirs); i++) {
                size_t n = strlen(unit_dirs[i]);

                if (strncmp(path, unit_dirs[i], n) == 0 && path[n] == '/')
                        return asprintf(&copy, "%s%s", unit_dirs[0], path + n) < 0 ? NULL : copy;
        }
        return strdup(path);
}

static int add_place(Walk *walk, const char *path, KubeKind kind, bool image, const char *value, size_t value_n,
                     unsigned line) {
        Kube *kube = walk->kube;
        KubePlace *place = &kube->places[kube->n_places];

        if (kube->n_places == KUBE_PLACES_MAX)
                return -E2BIG;
        *place = (KubePlace){
                .path = strdup(path),
                .edit_path = edit_path(path),
                .kind = kind,
                .image = image,
                .patch = walk->patch,
                .value = strndup(value, value_n),
                .line = line,
        };
        kube->n_places++;
        return place->path && place->edit_path && place->value ? 0 : -ENOMEM;
}

static int on_config(const char *path, void *userdata) {
        Walk *walk = userdata;
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        int r;

        r = first_time(walk, path);
        if (r <= 0)
                return r;
        r = nodefile_read(walk->root_fd, path, &text, NULL);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                YamlScalar at = {};
                YamlProblem problem;

                r = yamledit_find(text.p, text.n, keys[i], &at, &problem);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        continue;
                if (*at.value)
                        r = add_place(walk, path, KUBE_CONFIG, i == 1, at.value, strlen(at.value), at.line);
                free(at.value);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void walk_deinit(Walk *walk) {
        for (size_t i = 0; i < walk->n_files; i++) {
                free(walk->files[i].path);
                bytes_deinit(&walk->files[i].text);
        }
        walk->n_files = 0;
}

/* Reads a unit or environment file. Returns 1 with it as the last of walk->files, 0 if there is no such regular file,
 * or a negative errno. */
static int read_unit_file(Walk *walk, const char *path) {
        _cleanup_close_ int fd = nodefile_open(walk->root_fd, path, O_PATH);
        UnitFile *file = &walk->files[walk->n_files];
        struct stat st;
        int r;

        if (fd < 0)
                return fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return 0;
        if (walk->n_files == UNIT_FILES_MAX)
                return -E2BIG;
        *file = (UnitFile){ .path = strdup(path), .text = BYTES_NULL };
        if (!file->path)
                return -ENOMEM;
        walk->n_files++;
        r = nodefile_read(walk->root_fd, path, &file->text, NULL);
        return r < 0 ? r : 1;
}

typedef struct DropIns {
        char *paths[UNIT_FILES_MAX];
        size_t n;
} DropIns;

static void drop_ins_deinit(DropIns *drop_ins) {
        for (size_t i = 0; i < drop_ins->n; i++)
                free(drop_ins->paths[i]);
}

static const char *base_name(const char *path) {
        return strrchr(path, '/') + 1;
}

/* A drop-in masks those of the same name that have less precedence, and so come later here. */
static int on_drop_in(const char *path, void *userdata) {
        DropIns *drop_ins = userdata;

        for (size_t i = 0; i < drop_ins->n; i++)
                if (strcmp(base_name(drop_ins->paths[i]), base_name(path)) == 0)
                        return 0;
        if (drop_ins->n == UNIT_FILES_MAX)
                return -E2BIG;
        drop_ins->paths[drop_ins->n] = strdup(path);
        if (!drop_ins->paths[drop_ins->n])
                return -ENOMEM;
        drop_ins->n++;
        return 0;
}

static int compare_base_names(const void *a, const void *b) {
        return strcmp(base_name(*(char *const *) a), base_name(*(char *const *) b));
}

static int add_drop_ins(Walk *walk, UnitArgs *args) {
        static const char *const folders[] = { "kubelet.service.d", "service.d" };
        _cleanup_(drop_ins_deinit) DropIns drop_ins = {};
        char path[128];
        int r;

        for (size_t i = 0; i < ARRAY_SIZE(folders) * ARRAY_SIZE(unit_dirs); i++) {
                (void) snprintf(path, sizeof(path), "%s/%s", unit_dirs[i % ARRAY_SIZE(unit_dirs)],
                                folders[i / ARRAY_SIZE(unit_dirs)]);
                r = nodefile_list(walk->root_fd, path, ".conf", on_drop_in, &drop_ins);
                if (r < 0)
                        return r;
        }
        qsort(drop_ins.paths, drop_ins.n, sizeof(*drop_ins.paths), compare_base_names);
        for (size_t i = 0; i < drop_ins.n; i++) {
                const UnitFile *file = &walk->files[walk->n_files];

                r = read_unit_file(walk, drop_ins.paths[i]);
                if (r > 0)
                        r = unitargs_add_unit(args, (unsigned) (file - walk->files), file->text.p, file->text.n);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_environment(Walk *walk, UnitArgs *args, const char *path) {
        const UnitFile *file = &walk->files[walk->n_files];
        int r;

        r = path[0] == '/' ? read_unit_file(walk, path) : 0;
        return r <= 0 ? r : unitargs_add_environment(args, (unsigned) (file - walk->files), file->text.p, file->text.n);
}

static int config_of_arguments(Kube *kube, const UnitArgs *args) {
        static const char *const names[] = { "--config", "--config-dir" };
        char **const found[] = { &kube->config_file, &kube->config_dir };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                bool given = *found[i];
                UnitFlag flag;
                size_t pos = 0;
                int r;

                while ((r = unitargs_next(args, names[i], &pos, &flag)) > 0) {
                        if (!given && flag.known && flag.value[0] == '/') {
                                free(*found[i]);
                                *found[i] = TAKE_PTR(flag.value);
                        }
                        free(flag.value);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int places_of_arguments(Walk *walk, const UnitArgs *args) {
        for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
                UnitFlag flag;
                size_t pos = 0;
                int r;

                while ((r = unitargs_next(args, flags[i], &pos, &flag)) > 0) {
                        const UnitFile *file = &walk->files[flag.file];
                        KubePlace *place = &walk->kube->places[walk->kube->n_places];

                        r = add_place(walk, file->path, KUBE_FLAGS, i == 1, flag.value, strlen(flag.value),
                                      line_of(file->text.p, flag.from));
                        free(flag.value);
                        if (r < 0)
                                return r;
                        place->from = flag.from;
                        place->to = flag.to;
                        place->known = flag.known;
                        place->maybe = flag.maybe;
                        place->refusal = flag.refusal;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int units(Walk *walk) {
        _cleanup_(unitargs_freep) UnitArgs *args = NULL;
        char path[128];
        int r;

        r = unitargs_new(&args);
        for (size_t i = 0; i < ARRAY_SIZE(unit_dirs) && r >= 0; i++) {
                (void) snprintf(path, sizeof(path), "%s/kubelet.service", unit_dirs[i]);
                r = read_unit_file(walk, path);
                if (r > 0) {
                        r = unitargs_add_unit(args, 0, walk->files[0].text.p, walk->files[0].text.n);
                        break;
                }
        }
        if (r >= 0)
                r = add_drop_ins(walk, args);
        /* Without a unit, kubelet is started in another way, which uses the usual files. */
        for (size_t i = 0; i < ARRAY_SIZE(flag_files) && r >= 0; i++)
                if (!unitargs_is(args, "kubelet"))
                        r = add_environment(walk, args, flag_files[i]);
        for (size_t i = 0; r >= 0 && unitargs_environment_file(args, i); i++)
                r = add_environment(walk, args, unitargs_environment_file(args, i));
        if (r >= 0)
                r = unitargs_evaluate(args, "kubelet");
        if (r >= 0)
                r = config_of_arguments(walk->kube, args);
        return r < 0 ? r : places_of_arguments(walk, args);
}

static int take_flag(const Nodeproc *proc, const char *flag, char **ret) {
        return flagedit_argv(proc->cmdline.p, proc->cmdline.n, flag, ret) == -ENOMEM ? -ENOMEM : 0;
}

/* A relative path is relative to kubelet's working directory, which no file says. */
static void absolute_only(char **path) {
        if (*path && **path != '/') {
                free(*path);
                *path = NULL;
        }
}

static int process(Walk *walk) {
        Kube *kube = walk->kube;
        int r;

        r = nodeproc_find(walk->root_fd, NODEPROC_KUBELET, &kube->procs);
        if (r < 0)
                return r;
        kube->proc = nodeproc_one(&kube->procs, NULL, NULL);
        if (!kube->proc)
                return 0;
        if ((r = take_flag(kube->proc, flags[0], &kube->running_endpoint)) < 0 ||
            (r = take_flag(kube->proc, flags[1], &kube->running_image)) < 0 || kube->proc->trust == NODEPROC_ELSEWHERE)
                return r;
        if ((r = take_flag(kube->proc, "--config", &kube->config_file)) < 0 ||
            (r = take_flag(kube->proc, "--config-dir", &kube->config_dir)) < 0)
                return r;
        absolute_only(&kube->config_file);
        absolute_only(&kube->config_dir);
        return 0;
}

static bool is_there(int root_fd, const char *path) {
        _cleanup_close_ int fd = nodefile_open(root_fd, path, O_PATH);

        return fd >= 0;
}

static int configs(Walk *walk) {
        Kube *kube = walk->kube;
        int r;

        /* Later files win: those of --config-dir, the last first. */
        if (kube->config_dir && (r = nodefile_list(walk->root_fd, kube->config_dir, ".conf", on_config, walk)) < 0)
                return r;
        if (kube->config_file && !is_there(walk->root_fd, kube->config_file)) {
                free(kube->config_file);
                kube->config_file = NULL;
        }
        for (size_t i = 0; i < ARRAY_SIZE(config_files) && !kube->config_file; i++)
                if (is_there(walk->root_fd, config_files[i])) {
                        kube->config_file = strdup(config_files[i]);
                        if (!kube->config_file)
                                return -ENOMEM;
                }
        if (kube->config_file && (r = on_config(kube->config_file, walk)) < 0)
                return r;
        /* kubeadm 1.34 keeps the node's own endpoint here and patches the other with it on upgrades. */
        walk->patch = true;
        r = on_config("/var/lib/kubelet/instance-config.yaml", walk);
        walk->patch = false;
        return r;
}

int kube_find(int root_fd, Kube *ret) {
        _cleanup_(walk_deinit) Walk walk = { .root_fd = root_fd, .kube = ret };
        int r;

        *ret = (Kube) KUBE_NULL;
        r = process(&walk);
        if (r < 0)
                return r;
        r = units(&walk);
        return r < 0 ? r : configs(&walk);
}

const char *kube_endpoint(const Kube *kube, bool image, const KubePlace **ret_place) {
        const KubePlace *found = NULL;

        for (size_t i = 0; i < kube->n_places; i++) {
                const KubePlace *place = &kube->places[i];

                if (place->image != image)
                        continue;
                /* Of several flags the last one counts. */
                if (place->kind == KUBE_FLAGS) {
                        found = place;
                        continue;
                }
                if (place->patch || (found && found->kind == KUBE_FLAGS))
                        continue;
                /* The last drop-in wins over the file. */
                if (!found || !kube->config_file || strcmp(place->path, kube->config_file) != 0)
                        found = place;
        }
        if (ret_place)
                *ret_place = found;
        if (found)
                return found->value;
        return image ? kube_endpoint(kube, false, ret_place) : KUBE_DEFAULT_ENDPOINT;
}
