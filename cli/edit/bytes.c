#include <string.h>
#include "bytes.h"

void bytes_deinit(Bytes *bytes) {
        free(bytes->p);
        *bytes = (Bytes) BYTES_NULL;
}

int bytes_splice(const char *s, size_t n, size_t from, size_t to, const char *insert, size_t insert_n, Bytes *ret) {
        size_t size = from + insert_n + (n - to);
        char *p = malloc(size + 1);

        if (!p)
                return -ENOMEM;
        if (from > 0)
                memcpy(p, s, from);
        if (insert_n > 0)
                memcpy(p + from, insert, insert_n);
        if (n > to)
                memcpy(p + from + insert_n, s + to, n - to);
        p[size] = '\0';
        *ret = (Bytes){ p, size };
        return 0;
}

int bytes_dup(const void *p, size_t n, Bytes *ret) {
        return bytes_splice(p, n, n, n, NULL, 0, ret);
}

void bytes_move(Bytes *to, Bytes *from) {
        free(to->p);
        *to = TAKE(*from, ((Bytes) BYTES_NULL));
}
