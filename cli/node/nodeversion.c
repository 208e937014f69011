#include <stdio.h>
#include <string.h>
#include "criversion.h"
#include "gobuild.h"
#include "nodejournal.h"
#include "nodeversion.h"

#define KUBELET_PACKAGE "k8s.io/kubernetes/cmd/kubelet"

/* The main packages of containerd: up to 1.7, and from 2.0 on, where Go has the major version in the path. */
static const struct {
        const char *package;
        unsigned major;
} containerds[] = {
        { "github.com/containerd/containerd/cmd/containerd", 1 },
        { "github.com/containerd/containerd/v2/cmd/containerd", 2 },
        { "github.com/containerd/containerd/v3/cmd/containerd", 3 },
};

bool nodeversion_parse(const char *s, NodeVersion *ret) {
        static const char prefix[] = "Kubernetes ";
        unsigned major, minor, patch;

        if (strncmp(s, prefix, sizeof(prefix) - 1) == 0)
                s += sizeof(prefix) - 1;
        if (strnlen(s, sizeof(ret->text)) == sizeof(ret->text) || *s == '-' || *s == '+' || *s == ' ' ||
            sscanf(*s == 'v' ? s + 1 : s, "%5u.%5u.%5u", &major, &minor, &patch) != 3)
                return false;
        *ret = (NodeVersion){ .major = major, .minor = minor, .patch = patch, .known = true, .exact = true };
        util_copy_bounded(ret->text, sizeof(ret->text), s, strlen(s));
        return true;
}

bool nodeversion_below(const NodeVersion *version, unsigned major, unsigned minor, unsigned patch) {
        if (version->major != major)
                return version->major < major;
        return version->minor != minor ? version->minor < minor : version->patch < patch;
}

static bool from(const char *text, const char *source, NodeVersion *ret) {
        if (!nodeversion_parse(text, ret))
                return false;
        (void) snprintf(ret->source, sizeof(ret->source), "%s", source);
        return true;
}

/* 0 where @option settles it, whether it can be understood or not. */
static int take_option(const char *option, const char *name, NodeVersion *ret) {
        *ret = (NodeVersion){};
        if (!option)
                return -ENOENT;
        if (!from(option, name, ret))
                (void) snprintf(ret->source, sizeof(ret->source), "%s %.60s is no version", name, option);
        return 0;
}

static int build_info(const Nodeproc *proc, Gobuild *ret) {
        return proc && proc->trust != NODEPROC_REFUSED && proc->exe_fd >= 0 ? gobuild_read_fd(proc->exe_fd, ret)
                                                                            : -ENOENT;
}

void nodeversion_kubelet(const char *root, int root_fd, const Nodeproc *proc, const char *option, NodeVersion *ret) {
        char text[64];
        Gobuild build;

        if (take_option(option, "--kubelet-version", ret) >= 0)
                return;
        if (!proc) {
                (void) snprintf(ret->source, sizeof(ret->source), "no process is believed to be kubelet");
                return;
        }
        if (nodejournal_kubelet_version(root, root_fd, proc, text) >= 0 && from(text, "the journal", ret))
                return;
        if (build_info(proc, &build) >= 0 && strcmp(build.path, KUBELET_PACKAGE) == 0 &&
            from(build.version, "its program's build information", ret))
                return;
        (void) snprintf(ret->source, sizeof(ret->source),
                        "neither the journal nor the build information of pid %d says it", (int) proc->pid);
}

void nodeversion_containerd(int root_fd, const Nodeproc *proc, const char *socket, const char *option,
                            NodeVersion *ret) {
        Criversion answer;
        Gobuild build;

        if (take_option(option, "--containerd-version", ret) >= 0)
                return;
        if (socket && criversion_ask(root_fd, socket, &answer) >= 0 && strcmp(answer.name, "containerd") == 0 &&
            from(answer.version, "CRI's Version", ret))
                return;
        if (build_info(proc, &build) >= 0)
                for (size_t i = 0; i < ARRAY_SIZE(containerds); i++) {
                        if (strcmp(build.path, containerds[i].package) != 0)
                                continue;
                        if (from(build.version, "its program's build information", ret))
                                return;
                        *ret = (NodeVersion){ .major = containerds[i].major,
                                              .known = true,
                                              .source = "its program's build information" };
                        return;
                }
        (void) snprintf(ret->source, sizeof(ret->source), "%s",
                        proc ? "neither CRI's Version nor the program's build information says it"
                             : "CRI's Version does not say it, and no process is believed to be containerd");
}
