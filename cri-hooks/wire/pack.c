#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "pack.h"
#include "util.h"

void pack_deinit(Pack *pack) {
        free(pack->p);
        *pack = (Pack) PACK_NULL;
}

void pack_fixed(Pack *pack, const void *bytes, size_t n) {
        if (pack->failed || n == 0)
                return;
        if (n > pack->cap - pack->n) {
                size_t cap = MAX(pack->cap * 2, pack->n + n + 1024);
                uint8_t *p = realloc(pack->p, cap);

                if (!p) {
                        pack->failed = true;
                        return;
                }
                pack->p = p;
                pack->cap = cap;
        }
        memcpy(pack->p + pack->n, bytes, n);
        pack->n += n;
}

void pack_number(Pack *pack, uint64_t number) {
        pack_fixed(pack, &number, sizeof(number));
}

void pack_bytes(Pack *pack, const void *bytes, size_t n) {
        pack_number(pack, n);
        pack_fixed(pack, bytes, n);
}

void pack_string(Pack *pack, const char *s) {
        size_t n = s ? strlen(s) : 0;

        pack_number(pack, s ? n + 1 : 0);
        pack_fixed(pack, s, n);
}

void pack_patch(Pack *pack, size_t at, uint64_t number) {
        if (!pack->failed)
                memcpy(pack->p + at, &number, sizeof(number));
}

int unpack_fail(Unpack *unpack) {
        unpack->failed = true;
        unpack->n = 0;
        return -EBADMSG;
}

int unpack_result(const Unpack *unpack) {
        return !unpack->failed ? 0 : unpack->no_memory ? -ENOMEM : -EBADMSG;
}

static const uint8_t *take(Unpack *unpack, size_t n) {
        const uint8_t *p = unpack->p;

        if (unpack->failed || n > unpack->n) {
                (void) unpack_fail(unpack);
                return NULL;
        }
        unpack->p += n;
        unpack->n -= n;
        return p;
}

uint64_t unpack_number(Unpack *unpack, uint64_t max) {
        const uint8_t *p = take(unpack, sizeof(uint64_t));
        uint64_t number;

        if (!p)
                return 0;
        memcpy(&number, p, sizeof(number));
        if (number > max) {
                (void) unpack_fail(unpack);
                return 0;
        }
        return number;
}

void unpack_fixed(Unpack *unpack, void *ret, size_t n) {
        const uint8_t *p = take(unpack, n);

        if (p)
                memcpy(ret, p, n);
        else
                memset(ret, 0, n);
}

const uint8_t *unpack_bytes(Unpack *unpack, size_t max, size_t *ret_n) {
        size_t n = (size_t) unpack_number(unpack, max);
        const uint8_t *p = take(unpack, n);

        *ret_n = p ? n : 0;
        return p ? p : (const uint8_t *) "";
}

/* The bytes of a string, NULL if there is none. */
static const uint8_t *take_string(Unpack *unpack, size_t max, size_t *ret_n) {
        size_t n = (size_t) unpack_number(unpack, (uint64_t) max + 1);
        const uint8_t *p;

        if (n == 0)
                return NULL;
        p = take(unpack, n - 1);
        if (p && memchr(p, 0, n - 1)) {
                (void) unpack_fail(unpack);
                return NULL;
        }
        *ret_n = n - 1;
        return p;
}

char *unpack_string(Unpack *unpack, size_t max) {
        const uint8_t *p;
        size_t n;
        char *s;

        p = take_string(unpack, max, &n);
        if (!p)
                return NULL;
        s = malloc(n + 1);
        if (!s) {
                unpack->no_memory = true;
                (void) unpack_fail(unpack);
                return NULL;
        }
        memcpy(s, p, n);
        s[n] = '\0';
        return s;
}

void unpack_text(Unpack *unpack, char *ret, size_t size) {
        const uint8_t *p;
        size_t n = 0;

        p = take_string(unpack, size - 1, &n);
        if (p)
                memcpy(ret, p, n);
        ret[p ? n : 0] = '\0';
}
