#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "logoption.h"

static const struct {
        const char *value;
        LogOptionKind kind;
        const char *path;
        const char *message; /* NULL: accepted */
} paths[] = {
        { "/var/log/pods/x/0.log", LOGOPTION_K8S_FILE, "/var/log/pods/x/0.log", NULL },
        { "relative.log", LOGOPTION_K8S_FILE, "relative.log", NULL },
        { ":/var/log/x", LOGOPTION_K8S_FILE, "/var/log/x", NULL },
        { ":none", LOGOPTION_K8S_FILE, "none", NULL },
        { ":journald", LOGOPTION_K8S_FILE, "journald", NULL },
        { "k8s-file:/var/log/x", LOGOPTION_K8S_FILE, "/var/log/x", NULL },
        { "k8s-file::/var/log/x", LOGOPTION_K8S_FILE, "/var/log/x", NULL },
        { "k8s-file:/var/log/a:b", LOGOPTION_K8S_FILE, "/var/log/a:b", NULL },
        { "/var/log/a:b", LOGOPTION_K8S_FILE, "/var/log/a:b", NULL },
        { "journald", LOGOPTION_JOURNALD, NULL, NULL },
        { "journald:", LOGOPTION_JOURNALD, NULL, NULL },
        { "journald:/ignored", LOGOPTION_JOURNALD, NULL, NULL },
        { "none", LOGOPTION_NONE, NULL, NULL },
        { "off", LOGOPTION_NONE, NULL, NULL },
        { "null", LOGOPTION_NONE, NULL, NULL },
        { "none:x", LOGOPTION_NONE, NULL, NULL },
        { "passthrough", LOGOPTION_PASSTHROUGH, NULL, NULL },
        { "passthrough:x", LOGOPTION_PASSTHROUGH, NULL, NULL },
        { "", LOGOPTION_NONE, NULL, "log-path must not be empty" },
        { ":", LOGOPTION_NONE, NULL, "log-path must not be empty" },
        { "::", LOGOPTION_NONE, NULL, "log-path must not be empty" },
        { "k8s-file", LOGOPTION_NONE, NULL, "k8s-file requires a filename" },
        { "k8s-file:", LOGOPTION_NONE, NULL, "k8s-file requires a filename" },
        { "syslog:", LOGOPTION_NONE, NULL, "No such log driver syslog" },
        { "foo:/var/log/x", LOGOPTION_NONE, NULL, "No such log driver foo" },
};

static void path_values(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
                char message[LOGOPTION_MESSAGE_MAX] = "";
                _cleanup_free_ char *exact = strdup(paths[i].value);
                LogOptionKind kind = LOGOPTION_NONE;
                const char *path = "untouched";
                int r = logoption_path(exact, message, &kind, &path);

                if (r != (paths[i].message ? -EINVAL : 0))
                        fail_msg("%s: %d", paths[i].value, r);
                if (r < 0) {
                        assert_string_equal(message, paths[i].message);
                        assert_string_equal(path, "untouched");
                        continue;
                }
                assert_int_equal(kind, paths[i].kind);
                if (paths[i].path)
                        assert_string_equal(path, paths[i].path);
                else
                        assert_null(path);
        }
}

static const struct {
        const char *value;
        const char *message;
} labels[] = {
        { "KEY=value", NULL },
        { "KEY_2=", NULL },
        { "=value", "Container labels must be in format LABEL=VALUE (no LABEL present in '=value')" },
        { "", "Container labels must be in format LABEL=VALUE (none or more than one '=' present in '')" },
        { "KEY", "Container labels must be in format LABEL=VALUE (none or more than one '=' present in 'KEY')" },
        { "KEY=a=b",
          "Container labels must be in format LABEL=VALUE (none or more than one '=' present in 'KEY=a=b')" },
        { "key=value",
          "Container label names must contain only uppercase letters, numbers and underscore (in 'key=value')" },
        { "K-Y=value",
          "Container label names must contain only uppercase letters, numbers and underscore (in 'K-Y=value')" },
};

static void label_values(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
                char message[LOGOPTION_MESSAGE_MAX] = "";
                int r = logoption_label(labels[i].value, message);

                if (r != (labels[i].message ? -EINVAL : 0))
                        fail_msg("%s: %d", labels[i].value, r);
                if (r < 0)
                        assert_string_equal(message, labels[i].message);
        }
}

static void long_values_are_cut_in_messages(void **state) {
        char value[2000], message[LOGOPTION_MESSAGE_MAX];
        LogOptionKind kind;
        const char *path;

        (void) state;
        memset(value, 'a', sizeof(value));
        value[sizeof(value) - 1] = '\0';
        value[sizeof(value) - 2] = ':';
        assert_int_equal(logoption_path(value, message, &kind, &path), -EINVAL);
        assert_int_equal(strlen(message), LOGOPTION_MESSAGE_MAX - 1);
        assert_int_equal(logoption_label(value, message), -EINVAL);
        assert_int_equal(strlen(message), LOGOPTION_MESSAGE_MAX - 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(path_values),
                cmocka_unit_test(label_values),
                cmocka_unit_test(long_values_are_cut_in_messages),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
