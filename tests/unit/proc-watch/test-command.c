#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "command.h"
#include "util.h"

#define ID "0d6bc79648f4ee5dbb0032b3e298d929995e390e3ad6520dc3d712725ef86b71"

/* In the strings NULs are written as '~'; every string ends with one. */
static const struct {
        const char *what, *file, *args, *env;
        bool named;
        CommandKind kind;
        const char *name, *verb, *id, *bundle;
        const char *directory; /* the last name first */
        bool inside;
} cases[] = {
        { "runc create", "/usr/sbin/runc",
          "runc~--root~/run/r~--log~/l~--log-format~json~--systemd-cgroup~create~--bundle~/b/" ID "~--pid-file~/p~" ID
          "~",
          "", true, COMMAND_RUNTIME, "runc", "create", ID, "/b/" ID },
        { "an option with its value inside", "/usr/bin/crun", "crun~--root=/x~exec~--process=/p~--detach~" ID "~", "",
          true, COMMAND_RUNTIME, "crun", "exec", ID, "" },
        { "its own copy by descriptor", "/dev/fd/3", "/usr/bin/crun~start~" ID "~", "", false, COMMAND_RUNTIME, "crun",
          "start", ID, "" },
        { "its own copy by /proc", "/proc/self/exe", "/usr/sbin/runc~init~", "", false, COMMAND_RUNTIME, "runc", "init",
          "", "" },
        { "a script in its place", "/opt/crun", "/bin/sh~/opt/crun~--root~/r~delete~--force~" ID "~", "", true,
          COMMAND_RUNTIME, "crun", "delete", ID, "" },
        { "exec's own arguments are not looked at", "/usr/sbin/runc", "runc~exec~" ID "~sh~-c~create~--bundle~/evil~",
          "", true, COMMAND_RUNTIME, "runc", "exec", ID, "" },
        { "no verb", "/usr/sbin/runc", "runc~--version~", "", true, COMMAND_RUNTIME, "runc", "", "", "" },
        { "not a verb", "/usr/sbin/runc", "runc~frobnicate~" ID "~", "", true, COMMAND_RUNTIME, "runc", "", "", "" },
        { "an id that could leave a directory", "/usr/sbin/runc", "runc~start~../../etc~", "", true, COMMAND_RUNTIME,
          "runc", "start", "", "" },
        { "named like one, but nobody vouches", "/tmp/runc", "runc~start~" ID "~", "", false, COMMAND_OTHER, "runc", "",
          "", "" },
        { "shim start", "/usr/bin/containerd-shim-runc-v2",
          "/usr/bin/containerd-shim-runc-v2~-namespace~k8s.io~-id~" ID "~-address~/run/c.sock~start~", "", true,
          COMMAND_SHIM, "containerd-shim-runc-v2", "start", ID, "" },
        { "shim start, by where it runs", "/usr/bin/containerd-shim-runc-v2", "shim~-id~" ID "~start~", "", true,
          COMMAND_SHIM, "containerd-shim-runc-v2", "start", ID, "/run/c/k8s.io/" ID, ID "~k8s.io~c~run~", false },
        { "a bundle that is named counts more", "/usr/bin/containerd-shim-runc-v2",
          "shim~-id~" ID "~-bundle~/b~delete~", "", true, COMMAND_SHIM, "containerd-shim-runc-v2", "delete", ID, "/b",
          "x~", false },
        { "a directory with a nameless part", "/usr/bin/containerd-shim-runc-v2", "shim~-id~" ID "~start~", "", true,
          COMMAND_SHIM, "containerd-shim-runc-v2", "start", ID, "", "a~~b~", false },
        { "only a shim's directory is its bundle", "/usr/sbin/runc", "runc~create~" ID "~", "", true, COMMAND_RUNTIME,
          "runc", "create", ID, "", "b~", false },
        { "a plugin of a container's own", "/bridge", "bridge~", "CNI_COMMAND=ADD~CNI_ARGS=K8S_POD_UID=u-1~", false,
          COMMAND_OTHER, "bridge", "", "", "", "", true },
        { "a container's own, by descriptor", "/proc/self/fd/7", "runc~create~--bundle~/b~" ID "~", "", false,
          COMMAND_OTHER, "runc", "", "", "", "", true },
        { "shim serving", "/usr/bin/containerd-shim-runc-v2", "shim~-namespace~k8s.io~-id~" ID "~-address~/s~", "",
          true, COMMAND_SHIM, "containerd-shim-runc-v2", "", ID, "" },
        { "shim delete", "/usr/bin/containerd-shim-runc-v2", "shim~-id~" ID "~-bundle~/b~delete~", "", true,
          COMMAND_SHIM, "containerd-shim-runc-v2", "delete", ID, "/b" },
        { "our shim", "/usr/bin/containerd-shim-podspan-v2", "shim~-id~" ID "~start~", "", true, COMMAND_OURS,
          "containerd-shim-podspan-v2", "", "", "" },
        { "conmon", "/usr/bin/conmon", "conmon~-b~/b~-c~" ID "~--exit-dir~/e~-r~/usr/bin/crun~", "", true,
          COMMAND_MONITOR, "conmon", "", ID, "/b" },
        { "conmon, exec", "/usr/bin/conmon", "conmon~-c~" ID "~-e~-p~/p~", "", true, COMMAND_MONITOR, "conmon", "exec",
          ID, "" },
        { "conmon's exit command is another's", "/usr/bin/conmon", "conmon~-c~" ID "~--exit-command~/p~-c~x~-e~", "",
          true, COMMAND_MONITOR, "conmon", "", ID, "" },
        { "CNI", "/opt/cni/bin/bridge", "/opt/cni/bin/bridge~",
          "CNI_COMMAND=ADD~CNI_CONTAINERID=" ID
          "~CNI_IFNAME=eth0~CNI_NETNS=/run/netns/x~CNI_ARGS=IgnoreUnknown=1;K8S_POD_UID=u-1;K8S_POD_NAME=web;"
          "K8S_POD_NAMESPACE=shop~",
          false, COMMAND_CNI, "bridge", "ADD", ID, "" },
        { "a runtime with CNI variables is a runtime", "/usr/sbin/runc", "runc~start~" ID "~", "CNI_COMMAND=ADD~", true,
          COMMAND_RUNTIME, "runc", "start", ID, "" },
        { "podman", "/usr/bin/podman", "podman~run~x~", "", true, COMMAND_ENGINE, "podman", "", "", "" },
        { "a hook", "/opt/hook", "/opt/hook~--secret~x~", "", false, COMMAND_OTHER, "hook", "", "", "" },
        { "nothing at all", "", "", "", false, COMMAND_OTHER, "", "", "", "" },
};

static size_t fill(char *to, const char *s) {
        size_t len = strlen(s);

        for (size_t i = 0; i < len; i++)
                to[i] = s[i] == '~' ? '\0' : s[i];
        return len;
}

/* Builds the event of case @i with the argument block cut by @cut bytes, in a buffer of the exact size. */
static int parse(size_t i, size_t cut, Command *ret) {
        static char data[EVENT_DATA_MAX];
        Event event = { .type = EVENT_EXEC,
                        .flags = (cases[i].named ? EVENT_NAMED : 0) | (cases[i].inside ? EVENT_INSIDE : 0) };
        size_t size = 0, n;
        char *exact;
        int r;

        n = strlen(cases[i].file);
        memcpy(data, cases[i].file, n + 1);
        event.file_size = (uint16_t) (n > 0 ? n + 1 : 0);
        size = event.file_size;
        n = fill(data + size, cases[i].args);
        n -= MIN(cut, n);
        event.args_size = (uint16_t) n;
        event.flags |= cut > 0 ? EVENT_ARGS_CUT : 0;
        size += n;
        n = fill(data + size, cases[i].env);
        event.env_size = (uint16_t) n;
        size += n;
        n = cases[i].directory ? fill(data + size, cases[i].directory) : 0;
        event.cwd_size = (uint16_t) n;
        size += n;

        exact = malloc(size > 0 ? size : 1);
        assert_non_null(exact);
        memcpy(exact, data, size);
        r = command_parse(&event, exact, size, ret);
        free(exact);
        return r;
}

static void tables(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Command command;

                print_message("%s\n", cases[i].what);
                assert_int_equal(parse(i, 0, &command), 0);
                assert_int_equal(command.kind, cases[i].kind);
                assert_string_equal(command.name, cases[i].name);
                assert_string_equal(command.verb, cases[i].verb);
                assert_string_equal(command.id, cases[i].id);
                assert_string_equal(command.bundle, cases[i].bundle);
        }
}

static void cut_anywhere(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (size_t cut = 1; cut <= strlen(cases[i].args); cut++) {
                        Command command;

                        assert_int_equal(parse(i, cut, &command), 0);
                        /* An id is whole or absent. */
                        assert_true(!*command.id || strcmp(command.id, ID) == 0);
                }
}

static void cni_names_the_pod(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Command command;

                if (cases[i].kind != COMMAND_CNI)
                        continue;
                assert_int_equal(parse(i, 0, &command), 0);
                assert_string_equal(command.pod_uid, "u-1");
                assert_string_equal(command.pod_name, "web");
                assert_string_equal(command.pod_namespace, "shop");
                assert_string_equal(command.ifname, "eth0");
                assert_string_equal(command.netns, "x");
        }
}

/* One program with its arguments, '~' as above. */
static void parse_one(const char *file, const char *args, Command *ret) {
        char data[EVENT_FILE_MAX + EVENT_ARGS_MAX];
        Event event = { .type = EVENT_EXEC, .flags = EVENT_NAMED };
        size_t size = strlen(file) + 1;

        memcpy(data, file, size);
        event.file_size = (uint16_t) size;
        event.args_size = (uint16_t) fill(data + size, args);
        assert_int_equal(command_parse(&event, data, size + event.args_size, ret), 0);
}

static void crio_names_the_pod(void **state) {
        static const struct {
                const char *name, *container, *pod, *namespace, *uid;
        } names[] = {
                { "k8s_main_web-0_shop_u-1_0", "main", "web-0", "shop", "u-1" },
                { "k8s_POD_web-0_shop_u-1_12", "POD", "web-0", "shop", "u-1" },
                { "k8s_main_web_0_shop_u-1_0", "", "", "", "" },
                { "k8s_main_web_shop_u-1", "", "", "", "" },
                { "k8x_main_web_shop_u-1_0", "", "", "", "" },
                { "busy_shannon", "", "", "", "" },
                { "", "", "", "", "" },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                char args[256];
                Command command;

                (void) snprintf(args, sizeof(args), "conmon~-b~/b~-c~" ID "~-n~%s~", names[i].name);
                parse_one("/usr/bin/conmon", args, &command);
                assert_string_equal(command.id, ID);
                assert_string_equal(command.container_name, names[i].container);
                assert_string_equal(command.pod_name, names[i].pod);
                assert_string_equal(command.pod_namespace, names[i].namespace);
                assert_string_equal(command.pod_uid, names[i].uid);
        }
}

static void folders_of_engines(void **state) {
        static const struct {
                const char *file, *args, *config, *config_dir, *root, *run_root;
        } engines[] = {
                { "/usr/bin/crio", "crio~--config~/c~--config-dir=/d~", "/c", "/d", "", "" },
                { "/usr/bin/crio", "crio~-c=/c~-d~/d~-r~/r~--runroot=/s~", "/c", "/d", "/r", "/s" },
                { "/usr/bin/crio", "crio~--configuration~/c~--root~relative~--runroot~", "", "", "", "" },
                { "/usr/bin/containerd", "/usr/bin/containerd~-c~/c~--root~/r~--state~/s~", "/c", "", "", "/s" },
                { "/usr/bin/podman", "podman~--root=/r~--runroot~/s~run~--~--root~/x~", "", "", "/r", "/s" },
                { "/usr/bin/dockerd", "dockerd~--config~/c~", "", "", "", "" },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
                Command command;

                parse_one(engines[i].file, engines[i].args, &command);
                assert_int_equal(command.kind, COMMAND_ENGINE);
                assert_string_equal(command.folders.config, engines[i].config);
                assert_string_equal(command.folders.config_dir, engines[i].config_dir);
                assert_string_equal(command.folders.root, engines[i].root);
                assert_string_equal(command.folders.run_root, engines[i].run_root);
        }
}

static void sizes_must_fit(void **state) {
        Event event = { .type = EVENT_EXEC, .file_size = 2, .args_size = 1 };
        Command command;

        (void) state;
        assert_int_equal(command_parse(&event, "a\0", 2, &command), -EBADMSG);
        assert_int_equal(command_parse(&event, "a\0bc", 4, &command), -EBADMSG);
}

static void traceparent(void **state) {
        static const char file[] = "/usr/sbin/runc";
        static const char variable[] = "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        char data[sizeof(file) + sizeof(variable)];
        Event event = { .type = EVENT_EXEC, .file_size = sizeof(file), .env_size = sizeof(variable) };
        Command command;

        (void) state;
        memcpy(data, file, sizeof(file));
        memcpy(data + sizeof(file), variable, sizeof(variable));
        assert_int_equal(command_parse(&event, data, sizeof(data), &command), 0);
        assert_true(command.has_traceparent);
        assert_int_equal(command.traceparent.span_id[0], 0xb7);

        data[sizeof(file) + 20] = 'Z';
        assert_int_equal(command_parse(&event, data, sizeof(data), &command), 0);
        assert_false(command.has_traceparent);
}

static void polls(void **state) {
        static const struct {
                CommandKind kind;
                const char *verb;
                bool poll;
        } verbs[] = {
                { COMMAND_RUNTIME, "state", true }, { COMMAND_RUNTIME, "", true }, { COMMAND_RUNTIME, "create", false },
                { COMMAND_CNI, "VERSION", true },   { COMMAND_CNI, "ADD", false }, { COMMAND_MONITOR, "", false },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
                Command command = { .kind = verbs[i].kind };

                memcpy(command.verb, verbs[i].verb, strlen(verbs[i].verb));
                assert_int_equal(command_is_poll(&command), verbs[i].poll);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tables),
                cmocka_unit_test(cut_anywhere),
                cmocka_unit_test(cni_names_the_pod),
                cmocka_unit_test(crio_names_the_pod),
                cmocka_unit_test(folders_of_engines),
                cmocka_unit_test(sizes_must_fit),
                cmocka_unit_test(traceparent),
                cmocka_unit_test(polls),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
