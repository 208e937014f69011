#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "identity.h"

static Identity filled(const char *prefix, uint32_t attempt) {
        Identity identity = { .sandbox_attempt = attempt,
                              .container_attempt = attempt + 1,
                              .sandbox_attempt_known = true,
                              .container_attempt_known = true };

        (void) snprintf(identity.pod_uid, sizeof(identity.pod_uid), "%s-uid", prefix);
        (void) snprintf(identity.pod_name, sizeof(identity.pod_name), "%s-name", prefix);
        (void) snprintf(identity.pod_namespace, sizeof(identity.pod_namespace), "%s-namespace", prefix);
        (void) snprintf(identity.sandbox_id, sizeof(identity.sandbox_id), "%s-sandbox", prefix);
        (void) snprintf(identity.container_id, sizeof(identity.container_id), "%s-id", prefix);
        (void) snprintf(identity.container_name, sizeof(identity.container_name), "%s-container", prefix);
        (void) snprintf(identity.image, sizeof(identity.image), "%s-image", prefix);
        (void) snprintf(identity.runtime_handler, sizeof(identity.runtime_handler), "%s-handler", prefix);
        return identity;
}

/* What is empty is filled, every field of it. */
static void fills_what_is_empty(void **state) {
        Identity identity = {}, other = filled("a", 3);

        (void) state;

        identity_merge(&identity, &other);
        assert_memory_equal(&identity, &other, sizeof(identity));
}

/* What is known stays, also an attempt of 0. */
static void keeps_what_is_known(void **state) {
        Identity identity = filled("a", 0), before = identity, other = filled("b", 7);

        (void) state;

        identity_merge(&identity, &other);
        assert_memory_equal(&identity, &before, sizeof(identity));
}

static void mixes_field_by_field(void **state) {
        Identity identity = { .pod_uid = "mine" }, other = filled("b", 7);

        (void) state;

        other.image[0] = '\0';
        other.container_attempt_known = false;
        identity_merge(&identity, &other);
        assert_string_equal(identity.pod_uid, "mine");
        assert_string_equal(identity.pod_name, "b-name");
        assert_string_equal(identity.image, "");
        assert_true(identity.sandbox_attempt_known);
        assert_int_equal(identity.sandbox_attempt, 7);
        assert_false(identity.container_attempt_known);
}

/* What a file says of this very id comes first, else what was known; a sandbox's own container is no other. */
static void merges_what_is_known(void **state) {
        static const struct {
                const char *id;
                bool sandbox;
                bool known_first;
        } cases[] = {
                { "b-id", false, true },       { "b-id", true, true },   { "b-sandbox", true, true },
                { "b-sandbox", false, false }, { "a-id", false, false }, { "a-sandbox", true, false },
                { "", false, false },          { "b-i", false, false },  { "b-id2", true, false },
        };

        (void) state;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                Identity identity = filled("a", 3), known = filled("b", 7), expected;

                /* each has something that the other lacks */
                identity.pod_namespace[0] = known.image[0] = '\0';
                expected = cases[i].known_first ? known : identity;
                (void) snprintf(expected.pod_namespace, sizeof(expected.pod_namespace), "b-namespace");
                (void) snprintf(expected.image, sizeof(expected.image), "a-image");
                if (cases[i].sandbox) {
                        expected.container_id[0] = '\0';
                        expected.container_name[0] = '\0';
                }

                identity_merge_known(&identity, &known, cases[i].id, cases[i].sandbox);
                if (memcmp(&identity, &expected, sizeof(identity)) != 0)
                        fail_msg("%s, %ssandbox", cases[i].id, cases[i].sandbox ? "" : "no ");
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fills_what_is_empty),
                cmocka_unit_test(keeps_what_is_known),
                cmocka_unit_test(mixes_field_by_field),
                cmocka_unit_test(merges_what_is_known),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
