#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "flagedit.h"
#include "kube.h"
#include "nodefile.h"
#include "yamledit.h"

#define ENVIRONMENT_FILE "EnvironmentFile="

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

typedef struct Walk {
        int root_fd;
        Kube *kube;
        bool patch; /* the file is kubeadm's patch */
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

static int on_flags(const char *path, void *userdata);

/* The files that a unit's EnvironmentFile= lines name. */
static int environment_files(Walk *walk, const Bytes *text) {
        for (size_t pos = 0; pos < text->n;) {
                const char *line = text->p + pos, *eol = memchr(line, '\n', text->n - pos);
                size_t n = eol ? (size_t) (eol - line) : text->n - pos, skip = strlen(ENVIRONMENT_FILE);
                _cleanup_free_ char *path = NULL;
                int r;

                pos += n + 1;
                if (n <= skip || memcmp(line, ENVIRONMENT_FILE, skip) != 0)
                        continue;
                skip += line[skip] == '-';
                while (n > skip && (line[n - 1] == ' ' || line[n - 1] == '\r'))
                        n--;
                if (n <= skip || line[skip] != '/')
                        continue;
                path = strndup(line + skip, n - skip);
                if (!path)
                        return -ENOMEM;
                r = on_flags(path, walk);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int config_of_text(Walk *walk, const Bytes *text) {
        static const char *const names[] = { "--config", "--config-dir" };
        char **const found[] = { &walk->kube->config_file, &walk->kube->config_dir };
        FlagSpan span;

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                if (*found[i] || !flagedit_next(text->p, text->n, names[i], 0, &span) || span.to == span.from ||
                    text->p[span.from] != '/')
                        continue;
                *found[i] = strndup(text->p + span.from, span.to - span.from);
                if (!*found[i])
                        return -ENOMEM;
        }
        return 0;
}

static int on_flags(const char *path, void *userdata) {
        Walk *walk = userdata;
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        int r;

        r = first_time(walk, path);
        if (r <= 0)
                return r;
        r = nodefile_read(walk->root_fd, path, &text, NULL);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
                for (FlagSpan span = {}; flagedit_next(text.p, text.n, flags[i], span.to, &span);) {
                        r = add_place(walk, path, KUBE_FLAGS, i == 1, text.p + span.from, span.to - span.from,
                                      line_of(text.p, span.from));
                        if (r < 0)
                                return r;
                }
        r = config_of_text(walk, &text);
        return r < 0 ? r : environment_files(walk, &text);
}

/* Is the unit or drop-in @name (below a unit folder) masked by one of the same name with precedence? */
static int on_drop_in(const char *path, void *userdata) {
        Walk *walk = userdata;
        const char *name = strrchr(path, '/') + 1;

        for (size_t i = 0; i < ARRAY_SIZE(unit_dirs); i++) {
                _cleanup_free_ char *other = NULL;
                _cleanup_close_ int fd = -EBADF;

                if (asprintf(&other, "%s/kubelet.service.d/%s", unit_dirs[i], name) < 0) {
                        other = NULL;
                        return -ENOMEM;
                }
                if (strcmp(other, path) == 0)
                        return on_flags(path, walk);
                fd = nodefile_open(walk->root_fd, other, O_PATH);
                if (fd >= 0)
                        return 0;
        }
        return 0;
}

static int units(Walk *walk) {
        bool unit = false;
        char path[128];
        int r;

        for (size_t i = 0; i < ARRAY_SIZE(unit_dirs); i++) {
                (void) snprintf(path, sizeof(path), "%s/kubelet.service.d", unit_dirs[i]);
                r = nodefile_list(walk->root_fd, path, ".conf", on_drop_in, walk);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ARRAY_SIZE(unit_dirs) && !unit; i++) {
                _cleanup_close_ int fd = -EBADF;

                (void) snprintf(path, sizeof(path), "%s/kubelet.service", unit_dirs[i]);
                fd = nodefile_open(walk->root_fd, path, O_PATH);
                unit = fd >= 0;
                if (unit && (r = on_flags(path, walk)) < 0)
                        return r;
        }
        for (size_t i = 0; i < ARRAY_SIZE(flag_files); i++) {
                r = on_flags(flag_files[i], walk);
                if (r < 0)
                        return r;
        }
        return 0;
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
        Walk walk = { .root_fd = root_fd, .kube = ret };
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
                if (place->kind == KUBE_FLAGS) {
                        found = place;
                        break;
                }
                if (place->patch)
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
