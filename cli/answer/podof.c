#include <string.h>
#include "podof.h"
#include "util.h"

#define ID_N 64

static const struct {
        const char *name;
        bool prefix; /* the name only begins so */
        PodofKind kind;
} programs[] = {
        { "containerd-shim", true, PODOF_SHIM }, { "containerd", false, PODOF_ENGINE },
        { "crio", false, PODOF_ENGINE },         { "conmonrs", false, PODOF_MONITOR },
        { "conmon", false, PODOF_MONITOR },      { "podspan-conmon", false, PODOF_MONITOR },
        { "runc", false, PODOF_RUNTIME },        { "crun", false, PODOF_RUNTIME },
        { "youki", false, PODOF_RUNTIME },       { "kubelet", false, PODOF_KUBELET },
};

PodofKind podof_kind(const char *exe) {
        static const char memfd[] = "/memfd:";
        const char *name = strrchr(exe, '/');
        size_t n;

        /* "/memfd:runc_cloned:/proc/self/exe (deleted)", made by the runtime itself. */
        if (strncmp(exe, memfd, sizeof(memfd) - 1) == 0) {
                name = exe + sizeof(memfd) - 1;
                n = strcspn(name, "_: ");
        } else {
                name = name ? name + 1 : exe;
                /* "runc (deleted)" after an update. */
                n = strcspn(name, " ");
        }
        for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
                size_t want = strlen(programs[i].name);

                if (n >= want && memcmp(name, programs[i].name, want) == 0 && (programs[i].prefix || n == want))
                        return programs[i].kind;
        }
        return PODOF_OTHER;
}

/* The next argument with its length, which may be cut at the end; NULL at the end. */
static const char *next_argument(const char **s, size_t *n, size_t *ret_n) {
        const char *begin = *s, *nul;

        if (*n == 0)
                return NULL;
        nul = memchr(begin, '\0', *n);
        *ret_n = nul ? (size_t) (nul - begin) : *n;
        *s += *ret_n + (nul != NULL);
        *n -= *ret_n + (nul != NULL);
        return begin;
}

static bool equals(const char *s, size_t n, const char *text) {
        return n == strlen(text) && memcmp(s, text, n) == 0;
}

static bool is_container_id(const char *s, size_t n) {
        if (n != ID_N)
                return false;
        for (size_t i = 0; i < n; i++)
                if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
                        return false;
        return true;
}

/* A cut one would be another's. */
static void keep(char *to, size_t size, const char *s, size_t n) {
        if (n >= size || memchr(s, '\0', n) || !util_utf8_valid(s, n))
                *to = '\0';
        else
                util_copy_bounded(to, size, s, n);
}

#define KEEP(to, s, n) keep(to, sizeof(to), s, n)

static void keep_id(char to[static IDENTITY_ID_MAX + 1], const char *s, size_t n) {
        keep(to, IDENTITY_ID_MAX + 1, s, n);
        if (!util_id_valid(to))
                *to = '\0';
}

/* "--bundle=X", "-bundle X": the value of option @name, which may have one dash or two. NULL: it is another. */
static const char *option_value(const char *arg, size_t arg_n, const char *name, const char **s, size_t *n,
                                size_t *ret_n) {
        size_t name_n = strlen(name);

        if (arg_n == 0 || *arg != '-')
                return NULL;
        arg++;
        arg_n--;
        if (name_n > 1 && arg_n > 0 && *arg == '-') {
                arg++;
                arg_n--;
        }
        if (arg_n < name_n || memcmp(arg, name, name_n) != 0)
                return NULL;
        if (arg_n == name_n)
                return next_argument(s, n, ret_n);
        if (arg[name_n] != '=')
                return NULL;
        *ret_n = arg_n - name_n - 1;
        return arg + name_n + 1;
}

static void read_runtime(const char *s, size_t n, Podof *ret) {
        static const char *const verbs[] = { "create", "start", "run",   "exec",     "kill",       "delete",
                                             "init",   "state", "pause", "resume",   "update",     "ps",
                                             "events", "list",  "spec",  "features", "checkpoint", "restore" };
        /* Options before the verb that take a value: such a value is no verb. */
        static const char *const values[] = { "root", "log", "log-format", "criu", "rootless", "cgroup-manager" };
        const char *arg, *value;
        size_t arg_n, value_n;

        while ((arg = next_argument(&s, &n, &arg_n))) {
                bool skipped = false;

                for (size_t i = 0; !*ret->verb && !skipped && i < ARRAY_SIZE(values); i++)
                        skipped = option_value(arg, arg_n, values[i], &s, &n, &value_n);
                if (skipped)
                        continue;
                for (size_t i = 0; !*ret->verb && i < ARRAY_SIZE(verbs); i++)
                        if (equals(arg, arg_n, verbs[i])) {
                                KEEP(ret->verb, arg, arg_n);
                                skipped = true;
                        }
                if (skipped || !*ret->verb)
                        continue;
                value = option_value(arg, arg_n, "bundle", &s, &n, &value_n);
                if (!value)
                        value = option_value(arg, arg_n, "b", &s, &n, &value_n);
                if (value)
                        KEEP(ret->bundle, value, value_n);
                else if (!*ret->id && is_container_id(arg, arg_n))
                        keep_id(ret->id, arg, arg_n);
        }
}

static void read_shim(const char *s, size_t n, Podof *ret) {
        const char *arg, *value;
        size_t arg_n, value_n;

        while ((arg = next_argument(&s, &n, &arg_n))) {
                if ((value = option_value(arg, arg_n, "id", &s, &n, &value_n)))
                        keep_id(ret->id, value, value_n);
                else if ((value = option_value(arg, arg_n, "bundle", &s, &n, &value_n)))
                        KEEP(ret->bundle, value, value_n);
                else if (equals(arg, arg_n, "start") || equals(arg, arg_n, "delete"))
                        KEEP(ret->verb, arg, arg_n);
        }
}

/* "k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT": none of the parts may have an underscore. Another name is podman's. */
static void read_name(const char *s, size_t n, Podof *ret) {
        const char *parts[6], *whole = s;
        size_t lengths[6], whole_n = n, k = 0;

        for (;;) {
                const char *end = n > 0 ? memchr(s, '_', n) : NULL;

                if (k == ARRAY_SIZE(parts)) {
                        KEEP(ret->container_name, whole, whole_n);
                        return;
                }
                parts[k] = s;
                lengths[k++] = end ? (size_t) (end - s) : n;
                if (!end)
                        break;
                n -= (size_t) (end + 1 - s);
                s = end + 1;
        }
        if (k < 5 || !equals(parts[0], lengths[0], "k8s")) {
                KEEP(ret->container_name, whole, whole_n);
                return;
        }
        /* A sandbox's name has the same parts: "k8s_POD_web_default_UID_0". */
        KEEP(ret->container_name, parts[1], lengths[1]);
        KEEP(ret->pod_name, parts[2], lengths[2]);
        KEEP(ret->pod_namespace, parts[3], lengths[3]);
        keep_id(ret->pod_uid, parts[4], lengths[4]);
}

static void read_monitor(const char *s, size_t n, Podof *ret) {
        const char *arg, *value;
        size_t arg_n, value_n;

        while ((arg = next_argument(&s, &n, &arg_n))) {
                if ((value = option_value(arg, arg_n, "c", &s, &n, &value_n)) ||
                    (value = option_value(arg, arg_n, "cid", &s, &n, &value_n)))
                        keep_id(ret->id, value, value_n);
                else if ((value = option_value(arg, arg_n, "b", &s, &n, &value_n)) ||
                         (value = option_value(arg, arg_n, "bundle", &s, &n, &value_n)))
                        KEEP(ret->bundle, value, value_n);
                else if ((value = option_value(arg, arg_n, "n", &s, &n, &value_n)) ||
                         (value = option_value(arg, arg_n, "name", &s, &n, &value_n)))
                        read_name(value, value_n, ret);
                else if (equals(arg, arg_n, "-e") || equals(arg, arg_n, "--exec"))
                        (void) strcpy(ret->verb, "exec");
        }
}

void podof_cmdline(PodofKind kind, const char *s, size_t n, Podof *ret) {
        size_t first;

        *ret = (Podof){};
        /* The program's own name. */
        if (!next_argument(&s, &n, &first))
                return;
        if (kind == PODOF_RUNTIME)
                read_runtime(s, n, ret);
        else if (kind == PODOF_SHIM)
                read_shim(s, n, ret);
        else if (kind == PODOF_MONITOR)
                read_monitor(s, n, ret);
}

static const char *after(const char *s, size_t n, const char *prefix, size_t *ret_n) {
        size_t prefix_n = strlen(prefix);

        if (n < prefix_n || memcmp(s, prefix, prefix_n) != 0)
                return NULL;
        *ret_n = n - prefix_n;
        return s + prefix_n;
}

/* "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=…;K8S_POD_UID=…" */
static void read_args(const char *s, size_t n, Podof *podof) {
        while (n > 0) {
                const char *end = memchr(s, ';', n), *value;
                size_t len = end ? (size_t) (end - s) : n, value_n;

                if ((value = after(s, len, "K8S_POD_NAMESPACE=", &value_n)))
                        KEEP(podof->pod_namespace, value, value_n);
                else if ((value = after(s, len, "K8S_POD_NAME=", &value_n)))
                        KEEP(podof->pod_name, value, value_n);
                else if ((value = after(s, len, "K8S_POD_UID=", &value_n)))
                        keep_id(podof->pod_uid, value, value_n);
                n -= len + (end != NULL);
                s += len + (end != NULL);
        }
}

void podof_environ(const char *s, size_t n, Podof *podof) {
        const char *arg, *value;
        size_t arg_n, value_n;

        while ((arg = next_argument(&s, &n, &arg_n))) {
                if ((value = after(arg, arg_n, "CNI_COMMAND=", &value_n)))
                        KEEP(podof->cni, value, value_n);
                else if ((value = after(arg, arg_n, "CNI_CONTAINERID=", &value_n)))
                        keep_id(podof->id, value, value_n);
                else if ((value = after(arg, arg_n, "CNI_IFNAME=", &value_n)))
                        KEEP(podof->ifname, value, value_n);
                else if ((value = after(arg, arg_n, "CNI_ARGS=", &value_n)))
                        read_args(value, value_n, podof);
        }
}

/* The string behind @key, up to the next quote, as a driver's JSON has it. */
static void read_quoted(const char *s, size_t n, const char *key, char *ret, size_t size) {
        const char *at = memmem(s, n, key, strlen(key)), *end;

        if (!at)
                return;
        at += strlen(key);
        end = memchr(at, '"', n - (size_t) (at - s));
        if (end)
                keep(ret, size, at, (size_t) (end - at));
}

void podof_volume(const char *s, size_t n, Podof *ret) {
        static const char folder[] = "/pods/";
        const char *at = n > 0 ? memmem(s, n, folder, sizeof(folder) - 1) : NULL, *end;
        char uid[IDENTITY_ID_MAX + 1] = "";

        *ret = (Podof){};
        if (!at)
                return;
        at += sizeof(folder) - 1;
        end = memchr(at, '/', n - (size_t) (at - s));
        if (!end)
                return;
        keep_id(uid, at, (size_t) (end - at));
        /* A UID, or the hash of a static pod. */
        if ((strlen(uid) != 36 && strlen(uid) != 32) || strspn(uid, "0123456789abcdef-") != strlen(uid))
                return;
        ret->is_volume = true;
        memcpy(ret->pod_uid, uid, sizeof(uid));
        read_quoted(s, n, "\"kubernetes.io/pod.name\":\"", ret->pod_name, sizeof(ret->pod_name));
        read_quoted(s, n, "\"kubernetes.io/pod.namespace\":\"", ret->pod_namespace, sizeof(ret->pod_namespace));
}

size_t podof_filter(const char *s, size_t n, char ret[static PODOF_ENVIRON_MAX]) {
        size_t arg_n, value_n, k = 0;
        const char *arg;

        while ((arg = next_argument(&s, &n, &arg_n)))
                if (after(arg, arg_n, "CNI_", &value_n) && arg_n < PODOF_ENVIRON_MAX - k) {
                        memcpy(ret + k, arg, arg_n);
                        ret[k + arg_n] = '\0';
                        k += arg_n + 1;
                }
        return k;
}
