#pragma once

/*
 * yajl without memory
 *
 * yajl does not check what its allocator returns: without memory it dereferences NULL. With the allocator of this
 * module a failed allocation leaves yajl by longjmp(3), and the caller gets -ENOMEM. The callbacks of a parser must
 * therefore own nothing that only their return would release.
 */

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yajl/yajl_parse.h>

#define YAJLMEM_MADE_MAX 8 /* allocations of one yajl_alloc() */

/* The memory of one parser. It must not move while the parser exists: yajl keeps pointers to it. */
typedef struct YajlMem {
        yajl_alloc_funcs functions;
        jmp_buf failed;
        void *made[YAJLMEM_MADE_MAX]; /* what yajl_alloc() has allocated: nobody has a handle yet to free it by */
        size_t n_made;
        bool making;
} YajlMem;

/*
 * yajl_alloc() with this memory, for a parser that checks strings for UTF-8 or, without @validate, does not. Returns 0
 * with the parser in @ret, for yajl_free(), or -ENOMEM.
 */
int yajlmem_alloc(YajlMem *memory, const yajl_callbacks *callbacks, void *userdata, bool validate, yajl_handle *ret);

/*
 * yajl_parse(), or yajl_complete_parse() where @size is 0. Returns 0 with yajl's status in @ret, or -ENOMEM. After
 * -ENOMEM the parser accepts nothing but yajl_free().
 */
int yajlmem_parse(YajlMem *memory, yajl_handle handle, const void *bytes, size_t size, yajl_status *ret);
