/* /proc/PID/cgroup and the events files of both versions. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "../exact.h"
#include "cgroup.h"

static const struct {
        const char *what, *in, *path;
        int r;
} paths[] = {
        { "version 2", "0::/kubepods/pod1/c1\n", CGROUP_ROOT "/kubepods/pod1/c1/memory.events", 0 },
        { "version 1", "4:memory:/kubepods/c1\n1:name=systemd:/x\n",
          CGROUP_ROOT "/memory/kubepods/c1/memory.oom_control", 0 },
        { "with others", "7:cpu,memory:/c1\n0::/\n", CGROUP_ROOT "/memory/c1/memory.oom_control", 0 },
        { "both, memory in version 1", "0::/u\n7:memory:/c1\n", CGROUP_ROOT "/memory/c1/memory.oom_control", 0 },
        { "part of a name", "7:memory2:/c1\n", NULL, -ENOENT },
        { "no memory", "7:cpu:/c1\n", NULL, -ENOENT },
        { "nothing", "", NULL, -ENOENT },
        { "colons in the path", "0::/a:b\n", CGROUP_ROOT "/a:b/memory.events", 0 },
        { "outside our root", "0::/../c1\n", NULL, -EBADMSG },
        { "ends outside", "0::/a/..\n", NULL, -EBADMSG },
        { "two dots in a name", "0::/a/..b\n", CGROUP_ROOT "/a/..b/memory.events", 0 },
        { "no path", "0::\n", NULL, -EBADMSG },
        { "relative", "0::a\n", NULL, -EBADMSG },
        { "no end", "0::/a", NULL, -EBADMSG },
        { "no colon", "0\n", NULL, -EBADMSG },
};

static void path_of(void **state) {
        (void) state;
        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
                char *in = exact(paths[i].in, strlen(paths[i].in)), out[CGROUP_PATH_MAX + 1];
                int r = cgroup_parse(in, strlen(paths[i].in), out);

                free(in);
                if (r != paths[i].r)
                        fail_msg("%s: got %d, expected %d", paths[i].what, r, paths[i].r);
                if (r == 0)
                        assert_string_equal(out, paths[i].path);
        }
}

static void path_too_long(void **state) {
        char in[2048], out[CGROUP_PATH_MAX + 1];

        (void) state;
        memset(in, 'a', sizeof(in));
        memcpy(in, "0::/", 4);
        in[sizeof(in) - 1] = '\n';
        assert_int_equal(cgroup_parse(in, sizeof(in), out), -ENAMETOOLONG);
}

static const struct {
        const char *what, *in;
        int r;
        uint64_t n;
} events[] = {
        { "version 2", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n", 0, 2 },
        { "version 1", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 0, 1 },
        { "none", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", 0, 0 },
        { "before Linux 4.13", "oom_kill_disable 0\nunder_oom 0\n", -EBADMSG, 0 },
        { "no number", "oom_kill x\n", -EBADMSG, 0 },
        { "no end", "oom_kill 1", -EBADMSG, 0 },
        { "empty", "", -EBADMSG, 0 },
};

static void killed(void **state) {
        (void) state;
        for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
                char *in = exact(events[i].in, strlen(events[i].in));
                uint64_t n = 77;
                int r = cgroup_parse_events(in, strlen(events[i].in), &n);

                free(in);
                if (r != events[i].r || n != (r == 0 ? events[i].n : 77))
                        fail_msg("%s: got %d", events[i].what, r);
        }
}

static const struct {
        const char *in, *id; /* NULL: none */
} names[] = {
        { "0123abcd", "0123abcd" },
        { "crio-0123abcd", "0123abcd" },
        { "crio-0123abcd.scope", "0123abcd" },
        { "cri-containerd-0123abcd.scope", "0123abcd" },
        { "libpod-0123abcd.scope", "0123abcd" },
        { "web-1", "web-1" }, /* ctr's ids are anybody's */
        { "c1.scope", "c1" },
        { ".scope", NULL },
        { "crio-.scope", NULL },
        { "", NULL },
        { "..", NULL },
        { "a/b", NULL },
};

static void containers(void **state) {
        (void) state;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                char *in = exact(names[i].in, strlen(names[i].in)), id[IDENTITY_ID_MAX + 1] = "before";
                int r = cgroup_parse_container(in, strlen(names[i].in), id);

                free(in);
                if (r != (names[i].id ? 0 : -EBADMSG) || strcmp(id, names[i].id ? names[i].id : "before") != 0)
                        fail_msg("%s: got %d, %s", names[i].in, r, id);
        }
}

static void truncated_anywhere(void **state) {
        static const char line[] = "7:cpu,memory:/kubepods/c1\n", event[] = "oom_kill 1\n";
        char out[CGROUP_PATH_MAX + 1];
        uint64_t n;

        (void) state;
        for (size_t len = 1; len < strlen(line); len++) {
                char *in = exact(line, len);

                assert_int_equal(cgroup_parse(in, len, out), -EBADMSG);
                free(in);
        }
        for (size_t len = 0; len < strlen(event); len++) {
                char *in = exact(event, len);

                assert_int_equal(cgroup_parse_events(in, len, &n), -EBADMSG);
                free(in);
        }
}

/* Our own is there, and what is not says nothing. */
static void files(void **state) {
        char *path = NULL;

        (void) state;
        assert_int_equal(cgroup_find(UINT32_MAX, &path), -ENOENT);
        assert_false(cgroup_oom_killed(CGROUP_ROOT "/no/such/memory.events"));
        assert_false(cgroup_oom_killed(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(path_of),    cmocka_unit_test(path_too_long),      cmocka_unit_test(killed),
                cmocka_unit_test(containers), cmocka_unit_test(truncated_anywhere), cmocka_unit_test(files),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
