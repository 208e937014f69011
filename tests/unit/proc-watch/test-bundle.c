#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "bundle.h"

static const char config[] =
        "{\"ociVersion\":\"1.1.0\",\"process\":{\"args\":[\"sh\"],\"env\":[\"io.kubernetes.pod.uid=evil\"],"
        "\"annotations\":{\"io.kubernetes.pod.uid\":\"evil\"}},"
        "\"annotations\":{\"io.kubernetes.cri.container-type\":\"container\",\"io.kubernetes.cri.sandbox-id\":\"sb\","
        "\"io.kubernetes.cri.sandbox-uid\":\"u-1\",\"io.kubernetes.cri.sandbox-name\":\"web\","
        "\"io.kubernetes.cri.sandbox-namespace\":\"shop\",\"io.kubernetes.cri.container-name\":\"main\","
        "\"io.kubernetes.cri-o.SandboxID\":\"crio-sb\",\"io.kubernetes.pod.uid\":\"u-2\","
        "\"io.kubernetes.pod.name\":\"db\",\"io.kubernetes.pod.namespace\":\"data\","
        "\"io.kubernetes.container.name\":\"POD\",\"io.container.manager\":\"cri-o\"},"
        "\"hooks\":{\"prestart\":[{\"path\":\"/h/one\",\"args\":[\"one\",\"path\"],\"env\":[\"path\"]}],"
        "\"createRuntime\":[{\"args\":[\"x\"],\"path\":\"/h/two\"},{\"path\":\"/h/three\",\"timeout\":3}],"
        "\"later\":[{\"path\":\"/h/unknown\"}],\"poststop\":[{\"path\":\"/h/four\"}]},"
        "\"linux\":{\"annotations\":{\"io.kubernetes.pod.uid\":\"evil\"},\"hooks\":{\"poststop\":[{\"path\":\"/"
        "evil\"}]}}}";

/* Parses @len bytes in pieces of @step, each from a buffer of its exact size. */
static int parse(const char *s, size_t len, size_t step, Bundle *ret) {
        _cleanup_(bundle_parser_freep) BundleParser *parser = bundle_parser_new(ret);
        int r = 0;

        assert_non_null(parser);
        for (size_t at = 0; r == 0 && at < len; at += step) {
                size_t n = MIN(step, len - at);
                _cleanup_free_ char *exact = malloc(n);

                assert_non_null(exact);
                memcpy(exact, s + at, n);
                r = bundle_parser_feed(parser, exact, n);
        }
        return r < 0 ? r : bundle_parser_feed(parser, NULL, 0);
}

static void whole(void **state) {
        static const struct {
                BundleStage stage;
                const char *path;
        } hooks[] = {
                { BUNDLE_PRESTART, "/h/one" },
                { BUNDLE_CREATE_RUNTIME, "/h/two" },
                { BUNDLE_CREATE_RUNTIME, "/h/three" },
                { BUNDLE_POSTSTOP, "/h/four" },
        };
        static const size_t steps[] = { 1, 7, sizeof(config) };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                Bundle bundle;

                assert_int_equal(parse(config, sizeof(config) - 1, steps[i], &bundle), 0);
                assert_string_equal(bundle.containerd.pod_uid, "u-1");
                assert_string_equal(bundle.crio.pod_uid, "u-2");
                assert_int_equal(bundle.n_hooks, ARRAY_SIZE(hooks));
                for (size_t k = 0; k < ARRAY_SIZE(hooks); k++) {
                        assert_int_equal(bundle.hooks[k].stage, hooks[k].stage);
                        assert_string_equal(bundle.hooks[k].path, hooks[k].path);
                }
        }
}

static void cut_anywhere(void **state) {
        (void) state;
        for (size_t len = 0; len < sizeof(config) - 1; len++) {
                Bundle bundle;

                assert_int_equal(parse(config, len, sizeof(config), &bundle), -EBADMSG);
        }
}

static void bounds(void **state) {
        static char deep[200], value[1024], text[65536];
        Bundle bundle;
        size_t at;

        (void) state;
        memset(deep, '[', sizeof(deep));
        assert_int_equal(parse(deep, sizeof(deep), 64, &bundle), -EBADMSG);

        /* Too long a value is no identity; more hooks than there is room for are left out. */
        memset(value, 'a', sizeof(value) - 1);
        at = (size_t) sprintf(text, "{\"annotations\":{\"io.kubernetes.pod.uid\":\"%s\"},\"hooks\":{\"poststop\":[",
                              value);
        for (int i = 0; i < 2 * BUNDLE_HOOKS_MAX; i++)
                at += (size_t) sprintf(text + at, "%s{\"path\":\"/h\"}", i > 0 ? "," : "");
        at += (size_t) sprintf(text + at, "]}}");
        assert_int_equal(parse(text, at, 1000, &bundle), 0);
        assert_string_equal(bundle.crio.pod_uid, "");
        assert_int_equal(bundle.n_hooks, BUNDLE_HOOKS_MAX);
}

static void too_large(void **state) {
        static char spaces[65536];
        _cleanup_(bundle_parser_freep) BundleParser *parser = NULL;
        Bundle bundle;
        int r = 0;

        (void) state;
        memset(spaces, ' ', sizeof(spaces));
        parser = bundle_parser_new(&bundle);
        for (size_t n = 0; r == 0 && n <= BUNDLE_SIZE_MAX; n += sizeof(spaces))
                r = bundle_parser_feed(parser, spaces, sizeof(spaces));
        assert_int_equal(r, -EFBIG);
}

/* Who runs it is told by the path, and only that one's keys count. */
static void identities(void **state) {
        static const struct {
                const char *path;
                Manager manager;
                const char *uid, *sandbox, *container;
        } cases[] = {
                { "/run/containerd/io.containerd.runtime.v2.task/k8s.io/c1", MANAGER_CONTAINERD, "u-1", "sb", "main" },
                { "/run/containers/storage/overlay-containers/c1/userdata", MANAGER_CRIO, "u-2", "c1", "" },
                { "/run/containers/storage/overlay-containers/c2/userdata", MANAGER_UNKNOWN, "", "", "" },
                { "/tmp/c1", MANAGER_UNKNOWN, "", "", "" },
                /* Other clients of containerd write what annotations they like, as do those who choose a path. */
                { "/run/containerd/io.containerd.runtime.v2.task/moby/c1", MANAGER_UNKNOWN, "", "", "" },
                { "/run/containerd/io.containerd.runtime.v2.task/k8s.io/c2", MANAGER_UNKNOWN, "", "", "" },
                { "/run/containerd/io.containerd.runtime.v2.task/k8s.io/x/c1", MANAGER_UNKNOWN, "", "", "" },
                { "/run/x-io.containerd.runtime.v2.task/k8s.io/c1", MANAGER_UNKNOWN, "", "", "" },
                { "/tmp/-containers/c1/userdata/x", MANAGER_UNKNOWN, "", "", "" },
        };
        Bundle bundle;

        (void) state;
        assert_int_equal(parse(config, sizeof(config) - 1, 64, &bundle), 0);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Manager manager = bundle_manager(&bundle, cases[i].path, "c1");
                Identity identity;

                assert_int_equal(manager, cases[i].manager);
                bundle_identity(&bundle, manager, "c1", &identity);
                assert_string_equal(identity.container_id, "c1");
                assert_string_equal(identity.pod_uid, cases[i].uid);
                assert_string_equal(identity.sandbox_id, cases[i].sandbox);
                assert_string_equal(identity.container_name, cases[i].container);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whole),     cmocka_unit_test(cut_anywhere), cmocka_unit_test(bounds),
                cmocka_unit_test(too_large), cmocka_unit_test(identities),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
