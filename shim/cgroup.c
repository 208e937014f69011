#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "cgroup.h"
#include "util.h"

static bool controllers_have(const char *s, size_t len, const char *controller) {
        size_t n = strlen(controller);

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

static bool path_leaves(const char *s, size_t len) {
        for (size_t i = 0; i + 2 < len; i++)
                if (memcmp(s + i, "/..", 3) == 0 && (i + 3 == len || s[i + 3] == '/'))
                        return true;
        return false;
}

int cgroup_find_path(const char *s, size_t len, const char *controller, const char **ret) {
        assert(s || len == 0);
        assert(ret);

        while (len > 0) {
                const char *newline = memchr(s, '\n', len), *list, *path;
                size_t line = newline ? (size_t) (newline - s) : len, path_len;
                bool found;

                list = memchr(s, ':', line);
                if (!list)
                        return -EBADMSG;
                list++;
                path = memchr(list, ':', line - (size_t) (list - s));
                if (!path)
                        return -EBADMSG;
                path++;
                path_len = line - (size_t) (path - s);

                if (controller)
                        found = controllers_have(list, (size_t) (path - 1 - list), controller);
                else
                        found = list - s == 2 && s[0] == '0' && path - 1 == list;
                if (found) {
                        if (path_len == 0 || path_len > CGROUP_PATH_MAX || path[0] != '/' ||
                            memchr(path, '\0', path_len) || path_leaves(path, path_len))
                                return -EBADMSG;
                        *ret = path;
                        return (int) path_len;
                }

                if (!newline)
                        break;
                s += line + 1;
                len -= line + 1;
        }
        return -ENOENT;
}

int cgroup_flat_value(const char *s, size_t len, const char *key, uint64_t *ret) {
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
