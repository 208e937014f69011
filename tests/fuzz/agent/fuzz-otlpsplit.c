/* Stored spans in two halves: together they are as many as the whole, and each half can be split again. */

#include "otlpsplit.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ uint8_t *whole = NULL, *first = NULL, *second = NULL, *again = NULL;
        size_t whole_size, first_size, second_size, again_size, n, n_first, n_second, n_again;

        if (otlpsplit_take(data, size, 0, SIZE_MAX, &whole, &whole_size, &n) < 0)
                return 0;
        if (otlpsplit_take(data, size, 0, n / 2, &first, &first_size, &n_first) < 0 ||
            otlpsplit_take(data, size, n / 2, n, &second, &second_size, &n_second) < 0 || n_first + n_second != n ||
            first_size > size || second_size > size)
                abort();
        if (otlpsplit_take(second, second_size, 0, SIZE_MAX, &again, &again_size, &n_again) < 0 ||
            n_again != n_second || again_size != second_size)
                abort();
        return 0;
}
