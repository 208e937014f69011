#include <assert.h>
#include <errno.h>
#include <string.h>
#include "cgroupfile.h"
#include "util.h"

int cgroupfile_next(const char **s, size_t *len, CgroupfileLine *ret) {
        const char *newline, *list, *path;
        size_t line;

        assert(*s || *len == 0);

        if (*len == 0)
                return 0;
        newline = memchr(*s, '\n', *len);
        line = newline ? (size_t) (newline - *s) : *len;

        list = memchr(*s, ':', line);
        if (!list)
                return -EBADMSG;
        list++;
        path = memchr(list, ':', line - (size_t) (list - *s));
        if (!path)
                return -EBADMSG;
        path++;

        *ret = (CgroupfileLine){
                .id = *s,
                .n_id = (size_t) (list - 1 - *s),
                .controllers = list,
                .n_controllers = (size_t) (path - 1 - list),
                .path = path,
                .n_path = line - (size_t) (path - *s),
        };
        *s += line + (newline != NULL);
        *len -= line + (newline != NULL);
        return 1;
}

bool cgroupfile_has(const CgroupfileLine *line, const char *controller) {
        const char *s = line->controllers;
        size_t len = line->n_controllers, n = strlen(controller);

        while (len > 0) {
                const char *comma = memchr(s, ',', len);
                size_t one = comma ? (size_t) (comma - s) : len;

                if (one == n && memcmp(s, controller, n) == 0)
                        return true;
                if (!comma)
                        break;
                s += one + 1;
                len -= one + 1;
        }
        return false;
}

bool cgroupfile_path_valid(const CgroupfileLine *line) {
        const char *path = line->path;
        size_t len = line->n_path;

        if (len == 0 || path[0] != '/' || memchr(path, '\0', len))
                return false;
        for (size_t i = 0; i + 2 < len; i++)
                if (memcmp(path + i, "/..", 3) == 0 && (i + 3 == len || path[i + 3] == '/'))
                        return false;
        return true;
}

int cgroupfile_find_path(const char *s, size_t len, const char *controller, const char **ret) {
        CgroupfileLine line;
        int r;

        assert(ret);

        while ((r = cgroupfile_next(&s, &len, &line)) > 0) {
                bool found = controller ? cgroupfile_has(&line, controller)
                                        : line.n_id == 1 && line.id[0] == '0' && line.n_controllers == 0;

                if (!found)
                        continue;
                if (line.n_path > CGROUPFILE_PATH_MAX || !cgroupfile_path_valid(&line))
                        return -EBADMSG;
                *ret = line.path;
                return (int) line.n_path;
        }
        return r < 0 ? r : -ENOENT;
}

int cgroupfile_value(const char *s, size_t len, const char *key, uint64_t *ret) {
        size_t n = strlen(key);

        assert(s || len == 0);
        assert(ret);

        while (len > 0) {
                const char *newline = memchr(s, '\n', len);
                size_t line = newline ? (size_t) (newline - s) : len;

                if (line > n && memcmp(s, key, n) == 0 && s[n] == ' ')
                        return util_parse_u64(s + n + 1, line - n - 1, ret) < 0 ? -EBADMSG : 0;
                if (!newline)
                        break;
                s += line + 1;
                len -= line + 1;
        }
        return -ENOENT;
}
