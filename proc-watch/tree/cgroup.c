#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cgroup.h"
#include "cgroupfile.h"

#define FILE_MAX 16384 /* of either file */

int cgroup_parse(const char *s, size_t len, char ret[static CGROUP_PATH_MAX + 1]) {
        CgroupfileLine line, unified = {}, memory = {};
        int r;

        assert(s || len == 0);

        if (len > 0 && s[len - 1] != '\n')
                return -EBADMSG;
        while ((r = cgroupfile_next(&s, &len, &line)) > 0) {
                if (!cgroupfile_path_valid(&line))
                        return -EBADMSG;
                if (line.n_controllers == 0)
                        unified = line;
                else if (cgroupfile_has(&line, "memory"))
                        memory = line;
        }
        if (r < 0)
                return r;

        if (memory.path)
                r = snprintf(ret, CGROUP_PATH_MAX + 1, CGROUP_ROOT "/memory%.*s/memory.oom_control",
                             (int) memory.n_path, memory.path);
        else if (unified.path)
                r = snprintf(ret, CGROUP_PATH_MAX + 1, CGROUP_ROOT "%.*s/memory.events", (int) unified.n_path,
                             unified.path);
        else
                return -ENOENT;
        return r > CGROUP_PATH_MAX ? -ENAMETOOLONG : 0;
}

int cgroup_parse_events(const char *s, size_t len, uint64_t *ret) {
        const char *newline = memrchr(s, '\n', len);

        assert(ret);

        /* A line without its end is no line. */
        len = newline ? (size_t) (newline + 1 - s) : 0;
        return cgroupfile_value(s, len, "oom_kill", ret) < 0 ? -EBADMSG : 0;
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
