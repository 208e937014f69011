/*
 * The C library's parts that a static podspan-hook does without
 *
 * Every definition here is found before the one in the C library's archive, or stands in for it by the linker's --wrap.
 * A C library without such a function never sees the definition. There are two reasons:
 *
 * - Time: a static program's start-up, in glibc, prepares for dlopen(3), which podspan-hook never calls. That takes as
 *   long as writing a span.
 * - Address space: a runtime may run hooks under a small RLIMIT_AS. Where a trivial static program starts, podspan-hook
 *   has to start as well, because a hook that is killed by a signal fails its container.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

const char *_dl_get_origin(void);
void __wrap__dl_init_paths(const char *path, const char *source, const char *prefix, const char *mask);
void __wrap__dl_find_object_init(void);
void _Unwind_Resume(void *exception);
int __gcc_personality_v0(void);

/* Looks up the program's own path in /proc. -1 is what the C library returns where /proc is not mounted. */
const char *_dl_get_origin(void) {
        return (const char *) -1;
}

/* Allocates the search path of dlopen(3). Without memory the C library's version dereferences NULL. */
void __wrap__dl_init_paths(const char *path, const char *source, const char *prefix, const char *mask) {
        (void) path;
        (void) source;
        (void) prefix;
        (void) mask;
}

/* Allocates a table for the unwinder. Without memory the C library's version ends the program with 127. */
void __wrap__dl_find_object_init(void) {
}

/* The unwinder, and the tables that it reads (unwind.ld), would be a tenth of the program. No thread is cancelled here
 * and no exception is thrown, so nothing calls these two. */
void _Unwind_Resume(void *exception) {
        (void) exception;
        _exit(EXIT_SUCCESS);
}

int __gcc_personality_v0(void) {
        _exit(EXIT_SUCCESS);
}

/* yajl refers to strtod(3), but calls it only for a parser with a callback for floating-point numbers. */
double strtod(const char *text, char **ret_end) {
        if (ret_end)
                *ret_end = (char *) text;
        return 0;
}

static int to_lower(char c) {
        return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : (unsigned char) c;
}

/* The C library has these two in five variants, for the processor to choose from. podspan-hook runs in the C locale. */
int strncasecmp(const char *a, const char *b, size_t n) {
        for (; n > 0; a++, b++, n--) {
                int difference = to_lower(*a) - to_lower(*b);

                if (difference != 0 || *a == '\0')
                        return difference;
        }
        return 0;
}

int strcasecmp(const char *a, const char *b) {
        return strncasecmp(a, b, SIZE_MAX);
}
