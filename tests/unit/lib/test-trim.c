#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "trim.h"
#include "util.h"

#define SIZE (64U << 10)

static char written[SIZE] = { 1 };
static const char constant[SIZE] = { [1] = 2, [SIZE - 1] = 3 };

static int compare(const void *a, const void *b) {
        return *(const char *) a - *(const char *) b;
}

/* Nothing that was written is lost, and what was given back is there again when it is used. */
static void keeps_everything(void **state) {
        char *heap = malloc(SIZE), local[64], text[32];
        char order[] = "cab";

        (void) state;
        assert_non_null(heap);
        memset(heap, 'h', SIZE);
        memset(local, 'l', sizeof(local));
        memset(written + 1, 'w', SIZE - 1);

        for (int i = 0; i < 3; i++) {
                trim_memory();
                for (size_t k = 0; k < SIZE; k++) {
                        assert_int_equal(heap[k], 'h');
                        assert_int_equal(written[k], k == 0 ? 1 : 'w');
                        assert_int_equal(constant[k], k == 1 ? 2 : k == SIZE - 1 ? 3 : 0);
                }
                assert_int_equal(local[63], 'l');
                /* The C library, with a call back into this program. */
                qsort(order, 3, 1, compare);
                (void) snprintf(text, sizeof(text), "%s %d", order, i);
                assert_memory_equal(text, "abc ", 4);
        }
        free(heap);
}

/* The kernel's own figure: pages of files that this process has mapped in. */
static long file_pages(void) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
        const char *line;
        size_t size;

        assert_true(fd >= 0);
        assert_int_equal(util_read_fd(fd, 65536, &text, &size), 0);
        line = strstr(text, "RssFile:");
        assert_non_null(line);
        return strtol(line + strlen("RssFile:"), NULL, 10);
}

static void gives_back(void **state) {
        volatile char sum = 0;
        long before;

        (void) state;
        for (size_t i = 0; i < SIZE; i += 512)
                sum = (char) (sum + constant[i]);
        before = file_pages();
        trim_memory();
        assert_true(file_pages() < before);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(keeps_everything),
                cmocka_unit_test(gives_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
