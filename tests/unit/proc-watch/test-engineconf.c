#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "engineconf.h"
#include "util.h"

static int add(void *userdata, const char *path) {
        char *to = userdata;

        strcat(strcat(to, *to ? " " : ""), path);
        return 0;
}

static int refuse(void *userdata, const char *path) {
        (void) userdata;
        (void) path;
        return -EUSERS;
}

/* In a buffer of the exact size. */
static int read_text(EngineconfKind kind, const char *s, size_t len, char *ret) {
        char *exact = malloc(len > 0 ? len : 1);
        int r;

        assert_non_null(exact);
        memcpy(exact, s, len);
        *ret = '\0';
        r = engineconf_read(kind, exact, len, add, ret);
        free(exact);
        return r;
}

static const struct {
        EngineconfKind kind;
        const char *text, *paths;
} cases[] = {
        { ENGINECONF_CONTAINERD, "version = 3\nroot = \"/r\"\nstate = \"/run/k3s/containerd\"\n",
          "/run/k3s/containerd" },
        { ENGINECONF_CONTAINERD, "state = '/a'", "/a" },
        { ENGINECONF_CONTAINERD, "  \"state\"\t=  \"/a\"  # state = \"/b\"\r\n", "/a" },
        { ENGINECONF_CONTAINERD, "#state = \"/a\"\n", "" },
        { ENGINECONF_CONTAINERD, "[grpc]\nstate = \"/a\"\n", "" },
        { ENGINECONF_CONTAINERD, "[[x]]\nstate = \"/a\"\n", "" },
        { ENGINECONF_CONTAINERD, "[grpc\nstate = \"/a\"\n", "" },
        { ENGINECONF_CONTAINERD, "x = \"\"\"\nstate = \"/a\"\n\"\"\"\nstate = \"/b\"\n", "/b" },
        { ENGINECONF_CONTAINERD, "state = 1\nstate\nstate =\nstate = \"/a\n = \"/b\"\n", "" },
        { ENGINECONF_CONTAINERD,
          "state = \"a/b\"\nstate = \"/\"\nstate = \"\"\nstate = \"/a/../b\"\nstate = \"/./a\"\n", "" },
        { ENGINECONF_CONTAINERD, "state = \"/a\\u0062\"\nstate = '/c/'\n", "/c" },
        { ENGINECONF_CRIO, "[crio]\nroot = \"/data/crio\"\nrunroot = \"/run/crio2\"\n[crio.runtime]\nroot = \"/x\"\n",
          "/data/crio /run/crio2" },
        { ENGINECONF_CRIO, "root = \"/x\"\n[ crio ]\nroot=\"/y\"\n", "/y" },
        { ENGINECONF_STORAGE,
          "[storage]\ndriver = \"overlay\"\ngraphroot = \"/g\"\nrunroot = \"/r\"\n[storage.options]\n", "/g /r" },
        { ENGINECONF_STORAGE, "[storage]\nroot = \"/g\"\nstate = \"/s\"\n", "" },
        { ENGINECONF_STORAGE, "", "" },
};

static void tables(void **state) {
        char paths[256];

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                assert_int_equal(read_text(cases[i].kind, cases[i].text, strlen(cases[i].text), paths), 0);
                assert_string_equal(paths, cases[i].paths);
        }
}

/* A cut path would be another's: a string without its end is none. */
static void cut_anywhere(void **state) {
        char paths[256];

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (size_t len = 0; len < strlen(cases[i].text); len++) {
                        assert_int_equal(read_text(cases[i].kind, cases[i].text, len, paths), 0);
                        assert_true(strncmp(cases[i].paths, paths, strlen(paths)) == 0 &&
                                    (cases[i].paths[strlen(paths)] == '\0' || cases[i].paths[strlen(paths)] == ' ' ||
                                     !*paths));
                }
}

static void bounds(void **state) {
        char text[ENGINECONF_PATH_MAX + 32], paths[ENGINECONF_PATH_MAX + 32], path[ENGINECONF_PATH_MAX + 2];
        char *large = calloc(1, ENGINECONF_SIZE_MAX + 1);

        (void) state;
        memset(path, 'a', sizeof(path) - 1);
        path[0] = '/';
        path[ENGINECONF_PATH_MAX] = '\0';
        (void) snprintf(text, sizeof(text), "state = \"%s\"", path);
        assert_int_equal(read_text(ENGINECONF_CONTAINERD, text, strlen(text), paths), 0);
        assert_string_equal(paths, path);
        (void) snprintf(text, sizeof(text), "state = \"%sa\"", path);
        assert_int_equal(read_text(ENGINECONF_CONTAINERD, text, strlen(text), paths), 0);
        assert_string_equal(paths, "");

        assert_non_null(large);
        assert_int_equal(engineconf_read(ENGINECONF_CRIO, large, ENGINECONF_SIZE_MAX + 1, add, paths), -EFBIG);
        assert_int_equal(engineconf_read(ENGINECONF_CRIO, large, ENGINECONF_SIZE_MAX, add, paths), 0);
        free(large);
        assert_int_equal(engineconf_read(ENGINECONF_CONTAINERD, "state='/a'\n", 11, refuse, NULL), -EUSERS);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tables),
                cmocka_unit_test(cut_anywhere),
                cmocka_unit_test(bounds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
