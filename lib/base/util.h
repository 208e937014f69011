#pragma once

/*
 * Scope-bound ownership and small helpers
 *
 * A local marked _cleanup_*_ owns what it holds until TAKE_*() hands it on.
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#define _cleanup_(f)    __attribute__((cleanup(f)))
#define _cleanup_free_  _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _printf_(a, b)  __attribute__((format(printf, a, b)))
#define _unused_        __attribute__((unused))

#define TAKE(var, empty)                        \
        ({                                      \
                __typeof__(var) taken_ = (var); \
                (var) = (empty);                \
                taken_;                         \
        })
#define TAKE_PTR(ptr) TAKE(ptr, NULL)
#define TAKE_FD(fd)   TAKE(fd, -EBADF)

/* Defines FREEp() for a destructor which accepts the empty value and returns it. */
#define DEFINE_CLEANUP(type, FREE)            \
        static inline void FREE##p(type *p) { \
                *p = FREE(*p);                \
        }                                     \
        struct cleanup_semicolon

#define container_of(ptr, type, member) ((type *) ((char *) (ptr) -offsetof(type, member)))
#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                       \
        ({                              \
                __typeof__(a) a_ = (a); \
                __typeof__(b) b_ = (b); \
                a_ < b_ ? a_ : b_;      \
        })
#define MAX(a, b)                       \
        ({                              \
                __typeof__(a) a_ = (a); \
                __typeof__(b) b_ = (b); \
                a_ > b_ ? a_ : b_;      \
        })

#define NSEC_PER_SEC  UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_USEC UINT64_C(1000)

static inline int close_fd(int fd) {
        if (fd >= 0)
                (void) close(fd);
        return -EBADF;
}

static inline void closep(int *fd) {
        *fd = close_fd(*fd);
}

static inline void freep(void *p) {
        free(*(void **) p);
}

/*
 * Parses the whole of the @len bytes at @s as an unsigned decimal number: digits only, no sign, no blanks.
 * Returns 0 with the number in @ret, -EINVAL if it is none, -ERANGE if it exceeds UINT64_MAX.
 */
int util_parse_u64(const char *s, size_t len, uint64_t *ret);

/*
 * Parses a duration as people write it: a number with one of the units ns, us, ms, s, m, h, or several of these in a
 * row as Go prints them ("1m30s", "1.5s"; what is below a nanosecond falls off); a bare "0" is fine, another number
 * without a unit is not. Returns 0 with nanoseconds in @ret, -EINVAL, or -ERANGE.
 */
int util_parse_duration(const char *s, size_t len, uint64_t *ret_ns);

/* Parses a size in bytes with an optional suffix K, M, G or KiB, MiB, GiB (1024 based). 0, -EINVAL or -ERANGE. */
int util_parse_size(const char *s, size_t len, uint64_t *ret_bytes);

#define UTIL_HEX_DIGITS "0123456789abcdef"

/* The value of a hex digit, of either case. Returns 0 to 15, or -EBADMSG. */
int util_hex_value(char c);

/* Writes @value as 16 lower-case hex digits, without a NUL. */
void util_hex_u64(uint64_t value, char ret[static 16]);

/* Writes @size bytes as 2 * @size lower-case hex digits and a NUL to @ret. */
void util_hex_encode(const void *bytes, size_t size, char *ret);

/* Reads exactly 2 * @size lower-case hex digits. Returns 0, or -EBADMSG on any other character. */
int util_hex_decode(const char *s, size_t size, uint8_t *ret);

/* Copies at most @size - 1 bytes of @s (length @len), never splitting a UTF-8 sequence, and ends @ret with NUL. */
void util_copy_bounded(char *ret, size_t size, const char *s, size_t len);

/*
 * Is @id usable as one component of a file name: 1 to 128 characters of [A-Za-z0-9._-], the first not a dot or dash?
 * Container and sandbox ids, UIDs included, all pass; nothing that could leave a directory does.
 */
bool util_id_valid(const char *id);

/* Fills @buf with @size random bytes from the kernel without blocking at boot. Returns 0 or a negative errno. */
int util_random(void *buf, size_t size);

/* 64-bit FNV-1a over @size bytes, continuing from @hash (start with UTIL_HASH_INIT). For names and tables, not
 * security. */
#define UTIL_HASH_INIT UINT64_C(0xcbf29ce484222325)
uint64_t util_hash(uint64_t hash, const void *bytes, size_t size);

/*
 * Opens /dev/null (or, without it, a descriptor that can do nothing) for each of the three standard descriptors that is
 * closed, so that no file opened later becomes standard error. They are closed on exec.
 */
void util_fill_standard_fds(void);

/* Writes all of @size bytes to @fd, whatever EINTR and short writes do. Returns 0 or a negative errno. */
int util_write_all(int fd, const void *data, size_t size);

/*
 * Reads @fd to its end, at most @max bytes, into a new buffer with a NUL after it.
 * Returns 0 with the buffer owned by the caller, -EFBIG if there is more than @max, or a negative errno.
 */
int util_read_fd(int fd, size_t max, char **ret, size_t *ret_size);

/*
 * Reads the file @name in @dir_fd (O_NOFOLLOW|O_CLOEXEC, regular files only), at most @max bytes, into a new buffer
 * with a NUL after it. Returns 0 with the buffer owned by the caller, -EFBIG if there is more than @max, or a negative
 * errno.
 */
int util_read_file_at(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_size);

/* Is @value valid UTF-8? Protobuf strings must be; peers do not always send it. */
bool util_utf8_valid(const char *value, size_t len);
