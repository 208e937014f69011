#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "yajlmem.h"

static void *check(YajlMem *memory, void *p) {
        if (!p)
                longjmp(memory->failed, 1);
        return p;
}

static void *on_malloc(void *userdata, size_t size) {
        YajlMem *memory = userdata;
        void *p;

        if (!memory->making)
                return check(memory, malloc(size));

        p = check(memory, memory->n_made < YAJLMEM_MADE_MAX ? malloc(size) : NULL);
        memory->made[memory->n_made++] = p;
        return p;
}

static void *on_realloc(void *userdata, void *p, size_t size) {
        YajlMem *memory = userdata;
        void *q;

        /* yajl takes realloc(NULL) for malloc(). */
        if (!p)
                return on_malloc(userdata, size);
        q = check(memory, realloc(p, size));
        for (size_t i = 0; memory->making && i < memory->n_made; i++)
                if (memory->made[i] == p)
                        memory->made[i] = q;
        return q;
}

static void on_free(void *userdata, void *p) {
        (void) userdata;
        free(p);
}

int yajlmem_alloc(YajlMem *memory, const yajl_callbacks *callbacks, void *userdata, bool validate, yajl_handle *ret) {
        yajl_handle handle;

        assert(memory);
        assert(ret);

        memory->functions = (yajl_alloc_funcs){ on_malloc, on_realloc, on_free, memory };
        memory->n_made = 0;
        memory->making = true;
        if (setjmp(memory->failed) != 0) {
                for (size_t i = 0; i < memory->n_made; i++)
                        free(memory->made[i]);
                return -ENOMEM;
        }
        handle = yajl_alloc(callbacks, &memory->functions, userdata);
        if (!handle)
                return -ENOMEM;
        /* yajl allocates its lexer with the first parse, in two steps: a failure between them would lose the first. */
        (void) yajl_config(handle, yajl_dont_validate_strings, validate ? 0 : 1);
        (void) yajl_parse(handle, (const unsigned char *) "", 0);
        memory->making = false;

        *ret = handle;
        return 0;
}

int yajlmem_parse(YajlMem *memory, yajl_handle handle, const void *bytes, size_t size, yajl_status *ret) {
        assert(memory);
        assert(handle);
        assert(ret);

        if (setjmp(memory->failed) != 0)
                return -ENOMEM;
        *ret = size > 0 ? yajl_parse(handle, bytes, size) : yajl_complete_parse(handle);
        return 0;
}
