#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "healthcheck.h"
#include "util.h"

#define LINE(words) \
        { words, sizeof(words) }

typedef struct Line {
        const char *words;
        size_t size; /* with the NUL that ends the last word */
} Line;

static const Line health_checks[] = {
        LINE("/usr/bin/podman\0healthcheck\0run\0name"),
        LINE("/usr/bin/podman\0healthcheck\0run"),
        LINE("podman\0--syslog\0--log-level\0debug\0healthcheck\0run\0--ignore-result\0id"),
        LINE("podman\0--log-level=debug\0--syslog\0healthcheck\0run\0id"),
        LINE("podman\0--root\0/a\0--runroot\0/b\0--storage-opt\0x=y\0--remote=false\0healthcheck\0run\0id"),
        LINE("podman\0-c\0production\0healthcheck\0run\0id"),
        LINE("podman\0-cproduction\0healthcheck\0run\0id"),
        LINE("podman\0-r\0healthcheck\0run\0id"),
        LINE("podman\0--\0healthcheck\0run\0id"),
        LINE("podman\0--root\0healthcheck\0healthcheck\0run\0id"),
};

static const Line others[] = {
        LINE(""),
        LINE("podman"),
        LINE("podman\0healthcheck"),
        LINE("healthcheck\0run\0id"),
        LINE("podman\0exec\0healthcheck\0run"),
        LINE("podman\0exec\0name\0healthcheck"),
        LINE("podman\0exec\0name\0/bin/x\0healthcheck\0run"),
        LINE("podman\0exec\0-it\0name\0healthcheck\0run"),
        LINE("podman\0--root\0healthcheck\0run\0image"),
        LINE("podman\0--root=healthcheck\0run\0image"),
        LINE("podman\0-c\0healthcheck\0run\0image"),
        LINE("podman\0--storage-driver\0vfs\0exec\0name\0healthcheck\0run"),
        LINE("podman\0healthchecks\0run\0id"),
        LINE("podman\0healthcheck\0runs\0id"),
        LINE("podman\0healthcheck\0--help\0run"),
        LINE("podman\0\0healthcheck\0run\0id"),
        LINE("podman\0-\0healthcheck\0run\0id"),
        LINE("crio\0--config\0healthcheck"),
};

/* In a buffer of exactly the size. */
static bool line(const char *words, size_t size) {
        _cleanup_free_ char *exact = malloc(size ?: 1);

        assert_non_null(exact);
        memcpy(exact, words, size);
        return healthcheck_line(exact, size);
}

static void recognised(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(health_checks); i++)
                assert_true(line(health_checks[i].words, health_checks[i].size));
}

static void not_recognised(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(others); i++)
                assert_false(line(others[i].words, others[i].size));
}

/* Cut off before the end of "run" nothing is known. */
static void truncated_anywhere(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(health_checks); i++) {
                const Line *l = health_checks + i;
                size_t needed = 0;

                for (size_t size = 0; size <= l->size; size++)
                        if (line(l->words, size)) {
                                needed = size;
                                break;
                        }
                assert_true(needed > 4);
                assert_string_equal(l->words + needed - 4, "run");
                for (size_t size = needed; size <= l->size; size++)
                        assert_true(line(l->words, size));
        }
}

static void process(void **state) {
        (void) state;

        assert_false(healthcheck_process(getpid()));
        assert_false(healthcheck_process(-1));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(recognised),
                cmocka_unit_test(not_recognised),
                cmocka_unit_test(truncated_anywhere),
                cmocka_unit_test(process),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
