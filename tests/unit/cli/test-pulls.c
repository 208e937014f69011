#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "pulls.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ROOT   "/var/lib/containerd/io.containerd.content.v1.content"

static void test_links(void **state) {
        static const struct {
                const char *link;
                int kind;
                const char *digest;
        } cases[] = {
                { ROOT "/ingest/aa/data", 1, "" },
                { ROOT "/ingest/aa/ref", 0, "" },
                { ROOT "/blobs/sha256/" DIGEST, 2, "sha256:" DIGEST },
                { ROOT "/blobs/sha256/" DIGEST "0", 0, "" },
                { ROOT "/blobs/sha256/x", 0, "" },
                { "/var/tmp/container_images_storage123/4", 3, "" },
                { "/var/tmp/container_images_storage123/x", 0, "" },
                { "/var/tmp/container_images_storage123", 0, "" },
                { "socket:[1]", 0, "" },
                { "", 0, "" },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char digest[PULLS_DIGEST_MAX + 1];

                if (pulls_link(cases[i].link, digest) != cases[i].kind || strcmp(digest, cases[i].digest) != 0)
                        fail_msg("%s: %s", cases[i].link, digest);
        }
}

static void test_words(void **state) {
        static const struct {
                Pull pull;
                const char *words;
        } cases[] = {
                { { .bytes = 20 << 20, .total = 40 << 20 }, "20.0 MiB of 40.0 MiB" },
                { { .bytes = 20 << 20, .total = 40 << 20, .quiet_ns = 20 * NSEC_PER_SEC },
                  "20.0 MiB of 40.0 MiB, no byte for 20.0 s" },
                { { .bytes = 20 << 20 }, "20.0 MiB of a size that is not known" },
                { { .unpacks = true, .total = 40 << 20, .quiet_ns = 20 * NSEC_PER_SEC },
                  "unpacking 40.0 MiB for 20.0 s" },
                { { .unpacks = true, .position_known = true, .bytes = 20 << 20, .total = 40 << 20 },
                  "unpacked 20.0 MiB of 40.0 MiB" },
        };
        char words[160];

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                pulls_words(&cases[i].pull, words, sizeof(words));
                assert_string_equal(words, cases[i].words);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_links), cmocka_unit_test(test_words) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
