#include <string.h>
#include "unitargs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes up to the first 0xff are a unit, the rest is an environment file. A value that can be edited stands where
 * it is said to stand. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const uint8_t *end = memchr(data, 0xff, size);
        size_t n[2] = { end ? (size_t) (end - data) : size, 0 };
        const char *texts[2] = { (const char *) data, (const char *) data + n[0] };
        _cleanup_(unitargs_freep) UnitArgs *args = NULL;
        UnitFlag flag;

        n[1] = size - n[0];
        if (size > 65536 || unitargs_new(&args) < 0 || unitargs_add_unit(args, 0, texts[0], n[0]) < 0 ||
            unitargs_add_environment(args, 1, texts[1], n[1]) < 0 || unitargs_evaluate(args, "k") < 0)
                return 0;
        for (size_t pos = 0; unitargs_next(args, "--e", &pos, &flag) > 0; free(flag.value)) {
                if (flag.file > 1 || flag.from > flag.to || flag.to > n[flag.file])
                        abort();
                if (!flag.refusal && (strlen(flag.value) != flag.to - flag.from ||
                                      memcmp(texts[flag.file] + flag.from, flag.value, flag.to - flag.from) != 0))
                        abort();
        }
        return 0;
}
