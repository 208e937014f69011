#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cgroup.h"

#define FILE_MAX 16384 /* of either file */

static bool has_controller(const char *list, size_t len, const char *wanted) {
        size_t n = strlen(wanted);

        for (const char *at = list; at <= list + len;) {
                const char *end = memchr(at, ',', (size_t) (list + len - at));

                end = end ? end : list + len;
                if ((size_t) (end - at) == n && memcmp(at, wanted, n) == 0)
                        return true;
                at = end + 1;
        }
        return false;
}

/* A path of the kernel's, in which nothing leads upwards: the kernel shows ".." where our root is below the cgroup. */
static bool is_path(const char *path, size_t len) {
        if (len == 0 || *path != '/' || memchr(path, '\0', len))
                return false;
        for (size_t i = 0; i + 2 < len; i++)
                if (memcmp(path + i, "/..", 3) == 0 && (i + 3 == len || path[i + 3] == '/'))
                        return false;
        return true;
}

int cgroup_parse(const char *s, size_t len, char ret[static CGROUP_PATH_MAX + 1]) {
        const char *end = s + len, *unified = NULL, *memory = NULL;
        size_t n_unified = 0, n_memory = 0;
        int n;

        assert(s || len == 0);

        /* "ID:CONTROLLERS:PATH", a line a hierarchy; of version 2 the list is empty. */
        for (const char *line = s; line < end;) {
                const char *eol = memchr(line, '\n', (size_t) (end - line)), *list, *path;

                if (!eol)
                        return -EBADMSG;
                list = memchr(line, ':', (size_t) (eol - line));
                path = list ? memchr(list + 1, ':', (size_t) (eol - list - 1)) : NULL;
                if (!path || !is_path(path + 1, (size_t) (eol - path - 1)))
                        return -EBADMSG;
                list++;
                if (list == path) {
                        unified = path + 1;
                        n_unified = (size_t) (eol - unified);
                } else if (has_controller(list, (size_t) (path - list), "memory")) {
                        memory = path + 1;
                        n_memory = (size_t) (eol - memory);
                }
                line = eol + 1;
        }

        if (memory)
                n = snprintf(ret, CGROUP_PATH_MAX + 1, CGROUP_ROOT "/memory%.*s/memory.oom_control", (int) n_memory,
                             memory);
        else if (unified)
                n = snprintf(ret, CGROUP_PATH_MAX + 1, CGROUP_ROOT "%.*s/memory.events", (int) n_unified, unified);
        else
                return -ENOENT;
        return n > CGROUP_PATH_MAX ? -ENAMETOOLONG : 0;
}

int cgroup_parse_events(const char *s, size_t len, uint64_t *ret) {
        static const char key[] = "oom_kill ";
        const char *end = s + len;

        assert(s || len == 0);
        assert(ret);

        for (const char *line = s; line < end;) {
                const char *eol = memchr(line, '\n', (size_t) (end - line));

                if (!eol)
                        return -EBADMSG;
                if ((size_t) (eol - line) > strlen(key) && memcmp(line, key, strlen(key)) == 0)
                        return util_parse_u64(line + strlen(key), (size_t) (eol - line) - strlen(key), ret) < 0
                                       ? -EBADMSG
                                       : 0;
                line = eol + 1;
        }
        return -EBADMSG;
}

int cgroup_parse_container(const char *name, size_t len, char ret[static IDENTITY_ID_MAX + 1]) {
        static const char suffix[] = ".scope";
        char id[IDENTITY_ID_MAX + 1];

        assert(name || len == 0);

        if (len > strlen(suffix) && memcmp(name + len - strlen(suffix), suffix, strlen(suffix)) == 0) {
                const char *dash;

                len -= strlen(suffix);
                dash = memrchr(name, '-', len);
                if (dash) {
                        len -= (size_t) (dash + 1 - name);
                        name = dash + 1;
                }
        } else if (len > 5 && memcmp(name, "crio-", 5) == 0) {
                name += 5;
                len -= 5;
        }
        if (len > IDENTITY_ID_MAX)
                return -EBADMSG;
        memcpy(id, name, len);
        id[len] = '\0';
        if (strlen(id) != len || !util_id_valid(id))
                return -EBADMSG;
        memcpy(ret, id, len + 1);
        return 0;
}

int cgroup_find(uint32_t pid, char **ret) {
        char name[32], path[CGROUP_PATH_MAX + 1];
        _cleanup_free_ char *text = NULL;
        size_t len;
        int r;

        assert(ret);

        (void) snprintf(name, sizeof(name), "/proc/%u/cgroup", pid);
        r = util_read_file_at(AT_FDCWD, name, FILE_MAX, &text, &len);
        if (r < 0)
                return r;
        r = cgroup_parse(text, len, path);
        if (r < 0)
                return r;
        *ret = strdup(path);
        return *ret ? 0 : -ENOMEM;
}

bool cgroup_oom_killed(const char *path) {
        _cleanup_free_ char *text = NULL;
        uint64_t n;
        size_t len;

        return path && util_read_file_at(AT_FDCWD, path, FILE_MAX, &text, &len) >= 0 &&
               cgroup_parse_events(text, len, &n) >= 0 && n > 0;
}
