#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <stdio.h>
#include "method.h"
#include "podmap.h"

static void classes(void **state) {
        static const struct {
                const char *path;
                MethodClass class;
                bool known;
        } cases[] = {
                { "/runtime.v1.RuntimeService/RunPodSandbox", METHOD_MUTATING, true },
                { "/runtime.v1.RuntimeService/StopPodSandbox", METHOD_MUTATING, true },
                { "/runtime.v1.RuntimeService/RemovePodSandbox", METHOD_MUTATING, true },
                { "/runtime.v1.RuntimeService/CreateContainer", METHOD_MUTATING, true },
                { "/runtime.v1.RuntimeService/StartContainer", METHOD_MUTATING, true },
                { "/runtime.v1.RuntimeService/StopContainer", METHOD_MUTATING, true },
                { "/runtime.v1.RuntimeService/RemoveContainer", METHOD_MUTATING, true },
                { "/runtime.v1.RuntimeService/UpdateContainerResources", METHOD_MUTATING, true },
                { "/runtime.v1.RuntimeService/CheckpointContainer", METHOD_MUTATING, true },
                { "/runtime.v1.ImageService/PullImage", METHOD_MUTATING, true },
                { "/runtime.v1.ImageService/RemoveImage", METHOD_MUTATING, true },
                { "/runtime.v1alpha2.RuntimeService/RunPodSandbox", METHOD_MUTATING, true },
                { "/runtime.v1.RuntimeService/ExecSync", METHOD_PROBE, true },
                { "/runtime.v1.RuntimeService/Version", METHOD_POLL, true },
                { "/runtime.v1.RuntimeService/ListContainers", METHOD_POLL, true },
                { "/runtime.v1.ImageService/ImageFsInfo", METHOD_POLL, true },
                { "/runtime.v1.RuntimeService/GetContainerEvents", METHOD_STREAM, true },
                { "/runtime.v1.RuntimeService/Exec", METHOD_OTHER, true },
                /* A future version */
                { "/runtime.v1.RuntimeService/FreezeContainer", METHOD_OTHER, false },
                { "/runtime.v2.RuntimeService/RunPodSandbox", METHOD_OTHER, false },
                { "/runtime.v1.RuntimeService/ListVolumes", METHOD_POLL, false },
                { "/runtime.v1.RuntimeService/VolumeStats", METHOD_POLL, false },
                { "/runtime.v1.RuntimeService/StreamVolumes", METHOD_STREAM, false },
                { "/runtime.v1.RuntimeService/RunPodSandboxX", METHOD_OTHER, false },
                { "/runtime.v1.RuntimeService/RunPodSandbo", METHOD_OTHER, false },
                { "runtime.v1.RuntimeService/RunPodSandbox", METHOD_OTHER, false },
                { "/", METHOD_OTHER, false },
                { "", METHOD_OTHER, false },
                { "/runtime.v1alpha2.", METHOD_OTHER, false },
        };

        (void) state;
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t len = strlen(cases[i].path);
                _cleanup_free_ char *exact = malloc(len ? len : 1);
                const Method *m;

                assert_non_null(exact);
                memcpy(exact, cases[i].path, len);
                m = method_find(exact, len);
                if (m->class != cases[i].class || (m->name != NULL) != cases[i].known)
                        fail_msg("%s: class %d, %s", cases[i].path, m->class, m->name ? m->name : "unknown");
        }
}

static PodmapEntry *put_sandbox(Podmap *map, const char *id, const char *uid, unsigned attempt) {
        CriFields f = { .sandbox_attempt = attempt, .sandbox_metadata = true };

        f.s[CRI_SANDBOX_ID] = (char *) id;
        f.s[CRI_POD_UID] = (char *) uid;
        f.s[CRI_POD_NAME] = (char *) "pod";
        return podmap_put_sandbox(map, &f);
}

static PodmapEntry *put_container(Podmap *map, const char *id, const char *sandbox) {
        CriFields f = { .container_attempt = 1, .container_metadata = true };

        f.s[CRI_CONTAINER_ID] = (char *) id;
        f.s[CRI_SANDBOX_ID] = (char *) sandbox;
        f.s[CRI_CONTAINER_NAME] = (char *) "main";
        return podmap_put_container(map, &f);
}

static void learns(void **state) {
        _cleanup_(podmap_freep) Podmap *map = podmap_new();
        Identity identity = {};
        PodmapEntry *e;

        (void) state;
        assert_non_null(map);

        /* The container first: List replies come in any order. */
        assert_non_null(put_container(map, "c", "s"));
        assert_null(podmap_sandbox(map, podmap_find(map, "c")));
        assert_non_null(put_sandbox(map, "s", "u", 0));
        assert_non_null(put_sandbox(map, "s2", "u", 1));

        podmap_identity(map, podmap_find(map, "c"), &identity);
        assert_string_equal(identity.container_id, "c");
        assert_string_equal(identity.container_name, "main");
        assert_string_equal(identity.sandbox_id, "s");
        assert_string_equal(identity.pod_uid, "u");
        assert_true(identity.container_attempt_known && identity.container_attempt == 1);
        assert_true(identity.sandbox_attempt_known && identity.sandbox_attempt == 0);

        /* Of two sandboxes of a pod the later one, whichever was heard of last. */
        assert_string_equal(podmap_string(podmap_find_pod(map, "u"), PODMAP_ID), "s2");
        assert_non_null(put_sandbox(map, "s", "u", 0));
        assert_string_equal(podmap_string(podmap_find_pod(map, "u"), PODMAP_ID), "s2");

        /* New knowledge is added, what was there stays. */
        e = podmap_find(map, "s");
        e->has_start = true;
        {
                CriFields f = CRI_FIELDS_NULL;

                f.s[CRI_SANDBOX_ID] = (char *) "s";
                f.s[CRI_RUNTIME_HANDLER] = (char *) "kata";
                e = podmap_put_sandbox(map, &f);
        }
        assert_string_equal(podmap_string(e, PODMAP_HANDLER), "kata");
        assert_string_equal(podmap_string(e, PODMAP_UID), "u");
        assert_true(e->has_start && e->attempt_known);
        assert_int_equal(podmap_size(map), 3);

        assert_null(podmap_find(map, "other"));
        assert_null(podmap_find(map, ""));
        assert_null(podmap_find(map, NULL));
        assert_null(podmap_find_pod(map, "other"));
        assert_null(put_sandbox(map, "", "u", 0));
        assert_null(put_sandbox(map, NULL, "u", 0));
}

static void count(const char *id, void *userdata) {
        assert_non_null(id);
        (*(unsigned *) userdata)++;
}

static void forgets(void **state) {
        _cleanup_(podmap_freep) Podmap *map = podmap_new();
        unsigned n = 0;

        (void) state;
        assert_non_null(put_sandbox(map, "s", "u", 0));
        assert_non_null(put_sandbox(map, "t", "v", 0));
        assert_non_null(put_container(map, "a", "s"));
        assert_non_null(put_container(map, "b", "s"));
        assert_non_null(put_container(map, "c", "t"));
        podmap_remove(map, "b");
        assert_int_equal(podmap_size(map), 4);
        podmap_remove_sandbox(map, "s", count, &n);
        assert_int_equal(n, 2);
        assert_int_equal(podmap_size(map), 2);
        assert_null(podmap_find(map, "a"));
        assert_null(podmap_find_pod(map, "u"));
        assert_non_null(podmap_find(map, "c"));
        podmap_remove(map, "none");
}

static void bounded(void **state) {
        _cleanup_(podmap_freep) Podmap *map = podmap_new();
        char id[32], uid[32];

        (void) state;
        for (unsigned i = 0; i < PODMAP_ENTRIES_MAX + 100; i++) {
                (void) snprintf(id, sizeof(id), "s%u", i);
                (void) snprintf(uid, sizeof(uid), "u%u", i);
                assert_non_null(put_sandbox(map, id, uid, 0));
                /* In use, so it stays. */
                assert_non_null(podmap_find(map, "s0"));
        }
        assert_int_equal(podmap_size(map), PODMAP_ENTRIES_MAX);
        assert_null(podmap_find(map, "s1"));
        assert_null(podmap_find_pod(map, "u100"));
        assert_non_null(podmap_find(map, "s101"));
        assert_non_null(podmap_find_pod(map, uid));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(classes),
                cmocka_unit_test(learns),
                cmocka_unit_test(forgets),
                cmocka_unit_test(bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
