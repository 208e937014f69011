#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include "util.h"

#define UTIL_ID_MAX 128

static bool util_is_digit(char c) {
        return c >= '0' && c <= '9';
}

int util_parse_u64(const char *s, size_t len, uint64_t *ret) {
        uint64_t n = 0;

        if (len == 0)
                return -EINVAL;

        for (size_t i = 0; i < len; i++)
                if (!util_is_digit(s[i]))
                        return -EINVAL;

        for (size_t i = 0; i < len; i++)
                if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
                    __builtin_add_overflow(n, (uint64_t) (s[i] - '0'), &n))
                        return -ERANGE;

        *ret = n;
        return 0;
}

/* The longest prefix first, so that "ms" is not read as minutes. */
static const struct {
        const char *name;
        uint64_t ns;
} util_units[] = {
        { "ns", 1 },
        { "us", NSEC_PER_USEC },
        { "\xc2\xb5s", NSEC_PER_USEC }, /* Go prints µs */
        { "ms", NSEC_PER_MSEC },
        { "s", NSEC_PER_SEC },
        { "m", 60 * NSEC_PER_SEC },
        { "h", 3600 * NSEC_PER_SEC },
};

static uint64_t util_match_unit(const char **p, const char *end) {
        for (size_t i = 0; i < ARRAY_SIZE(util_units); i++) {
                size_t n = strlen(util_units[i].name);

                if ((size_t) (end - *p) >= n && memcmp(*p, util_units[i].name, n) == 0) {
                        *p += n;
                        return util_units[i].ns;
                }
        }

        return 0;
}

int util_parse_duration(const char *s, size_t len, uint64_t *ret_ns) {
        const char *p = s, *end = s + len;
        uint64_t total = 0;
        bool overflow = false;

        if (len == 0)
                return -EINVAL;
        if (len == 1 && s[0] == '0') {
                *ret_ns = 0;
                return 0;
        }

        while (p < end) {
                const char *whole, *fraction = NULL;
                size_t n_whole, n_fraction = 0;
                uint64_t value = 0, unit, scale;

                whole = p;
                while (p < end && util_is_digit(*p))
                        p++;
                n_whole = (size_t) (p - whole);

                if (p < end && *p == '.') {
                        fraction = ++p;
                        while (p < end && util_is_digit(*p))
                                p++;
                        n_fraction = (size_t) (p - fraction);
                        if (n_fraction == 0)
                                return -EINVAL;
                }
                if (n_whole == 0)
                        return -EINVAL;

                unit = util_match_unit(&p, end);
                if (unit == 0)
                        return -EINVAL;

                /* A value out of range is reported only if all of it is well-formed. */
                if (util_parse_u64(whole, n_whole, &value) < 0 || __builtin_mul_overflow(value, unit, &value) ||
                    __builtin_add_overflow(total, value, &total))
                        overflow = true;

                /* Digit by digit: what is below a nanosecond falls off, nothing is rounded through a double. */
                scale = unit;
                for (size_t i = 0; i < n_fraction && scale > 0; i++) {
                        uint64_t digit = (uint64_t) (fraction[i] - '0');

                        value = digit * scale / 10;
                        scale /= 10;
                        if (__builtin_add_overflow(total, value, &total))
                                overflow = true;
                }
        }

        if (overflow)
                return -ERANGE;

        *ret_ns = total;
        return 0;
}

int util_parse_size(const char *s, size_t len, uint64_t *ret_bytes) {
        static const char suffixes[] = "KMG";
        unsigned shift = 0;
        uint64_t n;
        int r;

        if (len >= 3 && s[len - 1] == 'B' && s[len - 2] == 'i' && memchr(suffixes, s[len - 3], 3))
                len -= 2;
        if (len >= 2) {
                const char *suffix = memchr(suffixes, s[len - 1], 3);

                if (suffix) {
                        shift = 10 * (unsigned) (suffix - suffixes + 1);
                        len--;
                }
        }

        r = util_parse_u64(s, len, &n);
        if (r < 0)
                return r;
        if (n > UINT64_MAX >> shift)
                return -ERANGE;

        *ret_bytes = n << shift;
        return 0;
}

int util_hex_value(char c) {
        if (util_is_digit(c))
                return c - '0';
        /* Bit 5 is all that upper and lower case differ in. */
        c = (char) (c | 0x20);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -EBADMSG;
}

void util_hex_u64(uint64_t value, char ret[static 16]) {
        for (size_t i = 16; i > 0; value >>= 4)
                ret[--i] = UTIL_HEX_DIGITS[value & 0xf];
}

void util_hex_encode(const void *bytes, size_t size, char *ret) {
        const uint8_t *p = bytes;

        for (size_t i = 0; i < size; i++) {
                *ret++ = UTIL_HEX_DIGITS[p[i] >> 4];
                *ret++ = UTIL_HEX_DIGITS[p[i] & 15];
        }
        *ret = '\0';
}

int util_hex_decode(const char *s, size_t size, uint8_t *ret) {
        /* Checked first, so that a caller's value stays whole on error; NUL is no digit, so a short string ends it. */
        for (size_t i = 0; i < 2 * size; i++)
                if (util_hex_value(s[i]) < 0 || (s[i] >= 'A' && s[i] <= 'F'))
                        return -EBADMSG;

        for (size_t i = 0; i < size; i++)
                ret[i] = (uint8_t) (util_hex_value(s[2 * i]) << 4 | util_hex_value(s[2 * i + 1]));
        return 0;
}

void util_copy_bounded(char *ret, size_t size, const char *s, size_t len) {
        if (size == 0)
                return;

        if (len > size - 1) {
                len = size - 1;

                /* s[len] is the first byte left out; if it continues a sequence, the sequence goes as a whole. */
                for (unsigned i = 0; i < 3 && len > 0 && ((uint8_t) s[len] & 0xc0) == 0x80; i++)
                        len--;
        }

        memcpy(ret, s, len);
        ret[len] = '\0';
}

bool util_id_valid(const char *id) {
        size_t n;

        if (!id || id[0] == '.' || id[0] == '-')
                return false;

        for (n = 0; id[n]; n++) {
                char c = id[n];

                if (n >= UTIL_ID_MAX)
                        return false;
                if (!util_is_digit(c) && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '.' && c != '_' &&
                    c != '-')
                        return false;
        }

        return n > 0;
}

int util_random(void *buf, size_t size) {
        uint8_t *p = buf;

        while (size > 0) {
                /* GRND_INSECURE never waits for the pool: ids must be unlikely to collide, not secret. */
                ssize_t n = getrandom(p, size, GRND_INSECURE);

                if (n < 0 && errno == EINVAL)
                        n = getrandom(p, size, GRND_NONBLOCK); /* before Linux 5.6 */
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }

                p += n;
                size -= (size_t) n;
        }

        return 0;
}

uint64_t util_hash(uint64_t hash, const void *bytes, size_t size) {
        const uint8_t *p = bytes;

        for (size_t i = 0; i < size; i++)
                hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
        return hash;
}

void util_fill_standard_fds(void) {
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
                        (void) open("/", O_PATH | O_CLOEXEC);
}

int util_write_all(int fd, const void *data, size_t size) {
        const uint8_t *p = data;

        while (size > 0) {
                ssize_t n = write(fd, p, size);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                /* No progress and no error: a loop here would not end. */
                if (n == 0)
                        return -EIO;

                p += n;
                size -= (size_t) n;
        }

        return 0;
}

int util_read_fd(int fd, size_t max, char **ret, size_t *ret_size) {
        _cleanup_free_ char *buf = NULL;
        size_t size = 0, room;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size > 0 && (uint64_t) st.st_size > max)
                return -EFBIG;

        /* st_size is 0 in procfs, so it is only the first guess; one byte of room beyond it finds the end. */
        room = st.st_size > 0 ? (size_t) st.st_size : MIN(max, (size_t) 4096);
        buf = malloc(room + 1);
        if (!buf)
                return -ENOMEM;

        for (;;) {
                ssize_t n = read(fd, buf + size, room + 1 - size);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        break;

                size += (size_t) n;
                if (size > max)
                        return -EFBIG;
                if (size > room) {
                        char *bigger;

                        room = room > max / 2 ? max : 2 * room;
                        bigger = realloc(buf, room + 1);
                        if (!bigger)
                                return -ENOMEM;
                        buf = bigger;
                }
        }

        buf[size] = '\0';
        *ret = TAKE_PTR(buf);
        *ret_size = size;
        return 0;
}

int util_read_file_at(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        /* O_NONBLOCK: a FIFO somebody put there must not hold us in open() before it is refused. */
        fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;

        return util_read_fd(fd, max, ret, ret_size);
}

bool util_utf8_valid(const char *value, size_t len) {
        const uint8_t *p = (const uint8_t *) value, *end = p + len;

        while (p < end) {
                uint8_t low = 0x80, high = 0xbf;
                unsigned n;

                if (*p < 0x80) {
                        p++;
                        continue;
                }

                /* RFC 3629, section 4: the first byte bounds the second; no overlong form, surrogate or above U+10FFFF.
                 */
                if (*p >= 0xc2 && *p <= 0xdf) {
                        n = 1;
                } else if (*p >= 0xe0 && *p <= 0xef) {
                        n = 2;
                        if (*p == 0xe0)
                                low = 0xa0;
                        else if (*p == 0xed)
                                high = 0x9f;
                } else if (*p >= 0xf0 && *p <= 0xf4) {
                        n = 3;
                        if (*p == 0xf0)
                                low = 0x90;
                        else if (*p == 0xf4)
                                high = 0x8f;
                } else {
                        return false;
                }

                if (n > (size_t) (end - p - 1))
                        return false;
                for (unsigned i = 1; i <= n; i++) {
                        if (p[i] < low || p[i] > high)
                                return false;
                        low = 0x80;
                        high = 0xbf;
                }
                p += n + 1;
        }

        return true;
}
