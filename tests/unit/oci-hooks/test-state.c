#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "state.h"

#define ID      "4ce2dac38220fd6a0f2c3b87195736f36d500908ba3005d788f8f3f92b7571c6"
#define SANDBOX "eada9831d136d687fb6ea6efd3788cd8cd2349777f9caa6423db8d71c67962e9"
#define TRACE   "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

#define CONTAINERD_BUNDLE "/run/containerd/io.containerd.runtime.v2.task/k8s.io/" ID
#define STORAGE_BUNDLE    "/run/containers/storage/overlay-containers/" ID "/userdata"

/* As containerd 1.6.20 and 2.3.7 hand it to a hook. */
#define CONTAINERD_ANNOTATIONS                                                                                       \
        "\"io.kubernetes.cri.container-name\":\"main\",\"io.kubernetes.cri.container-type\":\"container\","          \
        "\"io.kubernetes.cri.image-name\":\"localhost/busybox:1\",\"io.kubernetes.cri.sandbox-id\":\"" SANDBOX "\"," \
        "\"io.kubernetes.cri.sandbox-name\":\"pod-1\",\"io.kubernetes.cri.sandbox-namespace\":\"tests\","            \
        "\"io.kubernetes.cri.sandbox-uid\":\"uid-1\""

/* As CRI-O 1.34 does. */
#define CRIO_ANNOTATIONS                                                                                       \
        "\"io.container.manager\":\"cri-o\",\"io.kubernetes.cri-o.SandboxID\":\"" SANDBOX "\","                \
        "\"io.kubernetes.cri-o.ImageName\":\"localhost/busybox:1\",\"io.kubernetes.container.name\":\"main\"," \
        "\"io.kubernetes.pod.name\":\"pod-1\",\"io.kubernetes.pod.namespace\":\"tests\","                      \
        "\"io.kubernetes.pod.uid\":\"uid-1\""

#define STATE(bundle, annotations)                                                                              \
        "{\"ociVersion\":\"1.0.2\",\"id\":\"" ID "\",\"status\":\"creating\",\"pid\":4711,\"bundle\":\"" bundle \
        "\",\"annotations\":{" annotations "}}"

/* Feeds @s in pieces of @step bytes, each in a buffer of exactly its size. */
static int feed(const char *s, size_t len, size_t step, const char *link_keys, State *state) {
        _cleanup_(state_parser_freep) StateParser *parser = state_parser_new(state, link_keys);
        int r = 0;

        assert_non_null(parser);
        for (size_t at = 0; at < len && r == 0; at += step) {
                size_t n = MIN(step, len - at);
                _cleanup_free_ uint8_t *exact = malloc(n);

                assert_non_null(exact);
                memcpy(exact, s + at, n);
                r = state_parser_feed(parser, exact, n);
        }
        return r;
}

static int parse(const char *s, State *state) {
        return feed(s, strlen(s), strlen(s) + 1, NULL, state);
}

static const struct {
        const char *what;
        const char *in;
        int r;
} inputs[] = {
        { "complete", STATE("/b", "\"a\":\"b\""), 1 },
        { "only an id", "{\"id\":\"x\"}", 1 },
        { "anything after it", "{\"id\":\"x\"}garbage", 1 },
        { "blanks before", " \n\t{\"id\":\"x\"}", 1 },
        { "unknown fields of any type", "{\"id\":\"x\",\"a\":[{\"b\":[1,2.5,null,true]}],\"c\":{\"id\":7}}", 1 },
        { "annotations of other types", "{\"id\":\"x\",\"annotations\":{\"a\":1,\"b\":[\"c\"],\"d\":null}}", 1 },
        { "annotations are null", "{\"id\":\"x\",\"annotations\":null}", 1 },
        { "not finished", "{\"id\":\"x\"", 0 },
        { "nothing", "", 0 },
        { "an array", "[]", -EBADMSG },
        { "a string", "\"id\"", -EBADMSG },
        { "null", "null", -EBADMSG },
        { "a number", "7 ", -EBADMSG },
        { "no id", "{\"pid\":1}", -EBADMSG },
        { "an empty object", "{}", -EBADMSG },
        { "id is a number", "{\"id\":7}", -EBADMSG },
        { "id is an object", "{\"id\":{}}", -EBADMSG },
        { "id is an array", "{\"id\":[\"x\"]}", -EBADMSG },
        { "id leaves the directory", "{\"id\":\"../../etc/passwd\"}", -EBADMSG },
        { "id is dots", "{\"id\":\"..\"}", -EBADMSG },
        { "id with NUL", "{\"id\":\"x\\u0000y\"}", -EBADMSG },
        { "id is empty", "{\"id\":\"\"}", -EBADMSG },
        { "pid is a string", "{\"id\":\"x\",\"pid\":\"1\"}", -EBADMSG },
        { "pid is negative", "{\"id\":\"x\",\"pid\":-1}", -EBADMSG },
        { "pid is a fraction", "{\"id\":\"x\",\"pid\":1.5}", -EBADMSG },
        { "pid is too large", "{\"id\":\"x\",\"pid\":2147483648}", -EBADMSG },
        { "not JSON", "id=x", -EBADMSG },
        { "zeros", "\0\0\0", 0 },
        { "wrong nesting", "{\"id\":\"x\"]", -EBADMSG },
};

static void test_inputs(_unused_ void **userdata) {
        for (size_t i = 0; i < ARRAY_SIZE(inputs); i++) {
                State state;
                int r = parse(inputs[i].in, &state);

                if (r != inputs[i].r)
                        fail_msg("%s: %d, not %d", inputs[i].what, r, inputs[i].r);
        }
}

static void test_fields(_unused_ void **userdata) {
        State state;

        assert_int_equal(parse(STATE("/b", "\"a\":\"b\""), &state), 1);
        assert_string_equal(state.id, ID);
        assert_string_equal(state.status, "creating");
        assert_string_equal(state.bundle, "/b");
        assert_int_equal(state.pid, 4711);
}

/* A value of a nested object, or of an annotation of that name, is not the field. */
static void test_only_the_outer_fields(_unused_ void **userdata) {
        State state;

        assert_int_equal(parse("{\"x\":{\"id\":\"inner\",\"annotations\":{\"io.container.manager\":\"cri-o\"}},"
                               "\"annotations\":{\"id\":\"annotation\",\"y\":{\"io.container.manager\":\"cri-o\"}},"
                               "\"io.container.manager\":\"cri-o\",\"id\":\"outer\"}",
                               &state),
                         1);
        assert_string_equal(state.id, "outer");
        assert_string_equal(state.annotations.crio_manager, "");
}

/* However the bytes arrive, the result is the same; cut anywhere, more is asked for. */
static void test_pieces_and_truncation(_unused_ void **userdata) {
        static const char in[] = STATE(CONTAINERD_BUNDLE, CONTAINERD_ANNOTATIONS);
        State whole, state;

        assert_int_equal(parse(in, &whole), 1);
        for (size_t step = 1; step < sizeof(in); step++) {
                assert_int_equal(feed(in, strlen(in), step, NULL, &state), 1);
                assert_memory_equal(&state, &whole, sizeof(state));
        }
        for (size_t len = 0; len < strlen(in); len++)
                assert_int_equal(feed(in, len, len + 1, NULL, &state), 0);
}

static void test_depth(_unused_ void **userdata) {
        char in[4096] = "{\"id\":\"x\",\"d\":";
        State state;

        for (unsigned depth = 1; depth < 40; depth++) {
                size_t n = strlen("{\"id\":\"x\",\"d\":");

                memset(in + n, '[', depth);
                memset(in + n + depth, ']', depth);
                memcpy(in + n + 2 * depth, "}", 2);
                assert_int_equal(parse(in, &state), depth < STATE_DEPTH_MAX ? 1 : -EBADMSG);
        }
}

static void test_size(_unused_ void **userdata) {
        static const char head[] = "{\"id\":\"x\",\"annotations\":{\"a\":\"", tail[] = "\"}}";
        _cleanup_free_ char *in = malloc(STATE_SIZE_MAX + 1);
        State state;

        assert_non_null(in);
        memset(in, 'b', STATE_SIZE_MAX + 1);
        memcpy(in, head, strlen(head));
        memcpy(in + STATE_SIZE_MAX - strlen(tail), tail, strlen(tail));
        assert_int_equal(feed(in, STATE_SIZE_MAX, 65536, NULL, &state), 1);

        memset(in + STATE_SIZE_MAX - strlen(tail), 'b', strlen(tail));
        assert_int_equal(feed(in, STATE_SIZE_MAX + 1, 65536, NULL, &state), -EFBIG);
}

/* Names are cut, what identifies is either whole or absent. */
static void test_long_values(_unused_ void **userdata) {
        char in[2048], value[600];
        State state;

        memset(value, 'x', sizeof(value) - 1);
        value[sizeof(value) - 1] = '\0';
        (void) snprintf(
                in, sizeof(in),
                "{\"id\":\"c\",\"annotations\":{\"io.kubernetes.pod.name\":\"%s\",\"io.kubernetes.pod.uid\":\"%s\"}}",
                value, value);
        assert_int_equal(parse(in, &state), 1);
        assert_int_equal(strlen(state.annotations.crio_name), IDENTITY_NAME_MAX);
        assert_string_equal(state.annotations.crio_uid, "");
}

static void test_invalid_utf8(_unused_ void **userdata) {
        State state;

        assert_int_equal(parse("{\"id\":\"c\",\"annotations\":{\"a\xff\":\"\xff\",\"io.kubernetes.pod.name\":\"p\xff\","
                               "\"io.kubernetes.pod.namespace\":\"n\xc3\xa9\"}}",
                               &state),
                         1);
        assert_string_equal(state.annotations.crio_name, "");
        assert_string_equal(state.annotations.crio_namespace, "n\xc3\xa9");
}

static const struct {
        const char *what;
        const char *in;
        Manager manager;
        bool sandbox;
        Identity identity;
} identities[] = {
        { "containerd",
          STATE(CONTAINERD_BUNDLE, CONTAINERD_ANNOTATIONS),
          MANAGER_CONTAINERD,
          false,
          { .pod_uid = "uid-1",
            .pod_name = "pod-1",
            .pod_namespace = "tests",
            .sandbox_id = SANDBOX,
            .container_id = ID,
            .container_name = "main",
            .image = "localhost/busybox:1" } },
        { "containerd's sandbox",
          STATE(CONTAINERD_BUNDLE,
                "\"io.kubernetes.cri.container-type\":\"sandbox\",\"io.kubernetes.cri.sandbox-id\":\"" ID
                "\",\"io.kubernetes.cri.sandbox-uid\":\"uid-1\""),
          MANAGER_CONTAINERD,
          true,
          { .pod_uid = "uid-1", .sandbox_id = ID } },
        { "containerd, CRI-O's keys forged",
          STATE(CONTAINERD_BUNDLE, CRIO_ANNOTATIONS),
          MANAGER_CONTAINERD,
          false,
          { .container_id = ID } },
        { "containerd, another namespace",
          STATE("/run/containerd/io.containerd.runtime.v2.task/moby/" ID, CONTAINERD_ANNOTATIONS),
          MANAGER_UNKNOWN,
          false,
          { .container_id = ID } },
        { "another container's bundle",
          STATE("/run/containerd/io.containerd.runtime.v2.task/k8s.io/" SANDBOX, CONTAINERD_ANNOTATIONS),
          MANAGER_UNKNOWN,
          false,
          { .container_id = ID } },
        { "containerd's path in the middle of a name",
          STATE("/home/x-io.containerd.runtime.v2.task/k8s.io/" ID, CONTAINERD_ANNOTATIONS),
          MANAGER_UNKNOWN,
          false,
          { .container_id = ID } },
        { "CRI-O",
          STATE(STORAGE_BUNDLE, CRIO_ANNOTATIONS),
          MANAGER_CRIO,
          false,
          { .pod_uid = "uid-1",
            .pod_name = "pod-1",
            .pod_namespace = "tests",
            .sandbox_id = SANDBOX,
            .container_id = ID,
            .container_name = "main",
            .image = "localhost/busybox:1" } },
        { "CRI-O, containerd's keys forged",
          STATE(STORAGE_BUNDLE, "\"io.container.manager\":\"cri-o\"," CONTAINERD_ANNOTATIONS),
          MANAGER_CRIO,
          false,
          { .container_id = ID } },
        { "CRI-O's sandbox, whatever its author wrote",
          STATE(STORAGE_BUNDLE,
                "\"io.container.manager\":\"cri-o\",\"io.kubernetes.cri-o.ContainerType\":\"container\","
                "\"io.kubernetes.cri-o.SandboxID\":\"" SANDBOX "\",\"io.kubernetes.container.name\":\"POD\","
                "\"io.kubernetes.pod.uid\":\"uid-1\""),
          MANAGER_CRIO,
          true,
          { .pod_uid = "uid-1", .sandbox_id = ID } },
        { "CRI-O, a sandbox id that is a path",
          STATE(STORAGE_BUNDLE, "\"io.container.manager\":\"cri-o\",\"io.kubernetes.cri-o.SandboxID\":\"../x\""),
          MANAGER_CRIO,
          false,
          { .container_id = ID } },
        { "podman",
          STATE(STORAGE_BUNDLE, "\"io.container.manager\":\"libpod\",\"io.kubernetes.pod.uid\":\"forged\""),
          MANAGER_PODMAN,
          false,
          { .container_id = ID } },
        { "a bundle made by hand",
          STATE("/tmp/bundle", CRIO_ANNOTATIONS "," CONTAINERD_ANNOTATIONS),
          MANAGER_UNKNOWN,
          false,
          { .container_id = ID } },
        { "no bundle",
          "{\"id\":\"" ID "\",\"annotations\":{" CRIO_ANNOTATIONS "}}",
          MANAGER_UNKNOWN,
          false,
          { .container_id = ID } },
};

static void test_identity(_unused_ void **userdata) {
        for (size_t i = 0; i < ARRAY_SIZE(identities); i++) {
                Identity identity;
                Manager manager;
                bool sandbox;
                State state;

                assert_int_equal(parse(identities[i].in, &state), 1);
                manager = state_manager(&state);
                state_identity(&state, manager, &identity, &sandbox);
                if (manager != identities[i].manager || sandbox != identities[i].sandbox ||
                    memcmp(&identity, &identities[i].identity, sizeof(identity)) != 0)
                        fail_msg("%s: manager %d, sandbox %d, uid %s, sandbox id %s", identities[i].what, manager,
                                 sandbox, identity.pod_uid, identity.sandbox_id);
        }
}

static void test_links(_unused_ void **userdata) {
        static const char keys[] = "tracing.k8s.io/traceparent, example.com/parent";
        static const char in[] =
                STATE("/b", "\"tracing.k8s.io/traceparent\":\"" TRACE "\",\"example.com/parent\":\"nonsense\","
                            "\"tracing.k8s.io/traceparen\":\"" TRACE "\"");
        State state;

        assert_int_equal(feed(in, strlen(in), strlen(in), keys, &state), 1);
        assert_int_equal(state.n_links, 1);
        assert_int_equal(state.links[0].flags, TRACECONTEXT_SAMPLED);

        assert_int_equal(feed(in, strlen(in), strlen(in), NULL, &state), 1);
        assert_int_equal(state.n_links, 0);
}

static void test_links_are_bounded(_unused_ void **userdata) {
        char in[4096], *p = in;
        State state;

        p += sprintf(p, "{\"id\":\"x\",\"annotations\":{\"k\":\"" TRACE "\"");
        for (unsigned i = 0; i < STATE_LINKS_MAX + 3; i++)
                p += sprintf(p, ",\"k\":\"" TRACE "\"");
        (void) sprintf(p, "}}");
        assert_int_equal(feed(in, strlen(in), strlen(in), "k", &state), 1);
        assert_int_equal(state.n_links, STATE_LINKS_MAX);
}

/* A bundle's config.json: id and bundle are the caller's to know, and nothing behind the annotations is looked at. */
static void test_config(_unused_ void **userdata) {
        static const char in[] =
                "{\"id\":\"other\",\"bundle\":5,\"pid\":\"x\",\"process\":{\"annotations\":{\"io.container."
                "manager\":\"libpod\"}},\"annotations\":{\"io.container.manager\":\"cri-o\"},broken";
        static const char without[] = "{\"ociVersion\":\"1.0.2\"}";
        State state;

        for (size_t len = 0; len <= strlen(in); len++) {
                _cleanup_(state_parser_freep) StateParser *parser = state_parser_new_config(&state, "ID", "/b", NULL);
                int r;

                assert_non_null(parser);
                r = state_parser_feed(parser, (const uint8_t *) in, len);
                if (r != (len >= strlen(in) - strlen(",broken") ? 1 : 0))
                        fail_msg("%zu: %d", len, r);
        }
        assert_string_equal(state.id, "ID");
        assert_string_equal(state.bundle, "/b");
        assert_string_equal(state.annotations.crio_manager, "cri-o");
        assert_int_equal(state.pid, 0);

        for (int i = 0; i < 2; i++) {
                _cleanup_(state_parser_freep) StateParser *parser =
                        state_parser_new_config(&state, i == 0 ? "ID" : "no/id", "/b", NULL);

                assert_non_null(parser);
                assert_int_equal(state_parser_feed(parser, (const uint8_t *) without, strlen(without)),
                                 i == 0 ? 1 : -EBADMSG);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_inputs),
                cmocka_unit_test(test_fields),
                cmocka_unit_test(test_only_the_outer_fields),
                cmocka_unit_test(test_pieces_and_truncation),
                cmocka_unit_test(test_depth),
                cmocka_unit_test(test_size),
                cmocka_unit_test(test_long_values),
                cmocka_unit_test(test_invalid_utf8),
                cmocka_unit_test(test_identity),
                cmocka_unit_test(test_links),
                cmocka_unit_test(test_links_are_bounded),
                cmocka_unit_test(test_config),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
