#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include "manager.h"

const char *manager_name(Manager manager) {
        static const char *const names[_MANAGER_MAX] = {
                [MANAGER_CONTAINERD] = "containerd",
                [MANAGER_CRIO] = "cri-o",
                [MANAGER_PODMAN] = "podman",
        };

        return names[manager];
}

/* The last component of @path, which ends at @end; *@ret_len is its length. */
static const char *last_component(const char *path, const char *end, size_t *ret_len) {
        const char *begin = end;

        while (begin > path && begin[-1] != '/')
                begin--;
        *ret_len = (size_t) (end - begin);
        return begin;
}

/* Takes the last component off @path .. *@end if it is @name. */
static bool strip_component(const char *path, const char **end, const char *name) {
        size_t len;
        const char *begin = last_component(path, *end, &len);

        if (begin == path || len != strlen(name) || memcmp(begin, name, len) != 0)
                return false;
        *end = begin - 1;
        return true;
}

static bool is_containerd(const char *path, const char *id) {
        const char *end = path + strlen(path);

        return strip_component(path, &end, id) && strip_component(path, &end, "k8s.io") &&
               strip_component(path, &end, "io.containerd.runtime.v2.task");
}

static bool is_containers_storage(const char *path, const char *id) {
        static const char suffix[] = "-containers";
        const char *end = path + strlen(path), *begin;
        size_t len;

        if (!strip_component(path, &end, "userdata") || !strip_component(path, &end, id))
                return false;

        begin = last_component(path, end, &len);
        return begin > path && len >= sizeof(suffix) &&
               memcmp(begin + len - (sizeof(suffix) - 1), suffix, sizeof(suffix) - 1) == 0;
}

Manager manager_of_bundle(const char *path, const char *id, const char *annotation) {
        assert(path);
        assert(id);
        assert(annotation);

        if (is_containerd(path, id))
                return MANAGER_CONTAINERD;
        if (!is_containers_storage(path, id))
                return MANAGER_UNKNOWN;
        if (strcmp(annotation, "cri-o") == 0)
                return MANAGER_CRIO;
        if (strcmp(annotation, "libpod") == 0)
                return MANAGER_PODMAN;
        return MANAGER_UNKNOWN;
}
