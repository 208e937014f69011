#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <wchar.h>
#include "text.h"
#include "util.h"

int text_utf8_next(const char *s, size_t len, uint32_t *ret) {
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        const unsigned char *p = (const unsigned char *) s;
        uint32_t cp;
        size_t n;

        assert(len > 0);

        if (p[0] < 0x80) {
                *ret = p[0];
                return 1;
        }

        if (p[0] >= 0xc2 && p[0] <= 0xdf) {
                n = 2;
                cp = p[0] & 0x1fU;
        } else if ((p[0] & 0xf0) == 0xe0) {
                n = 3;
                cp = p[0] & 0x0fU;
        } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
                n = 4;
                cp = p[0] & 0x07U;
        } else
                return -EBADMSG;

        if (n > len)
                return -EBADMSG;

        for (size_t i = 1; i < n; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return -EBADMSG;
                cp = cp << 6 | (p[i] & 0x3fU);
        }

        if (cp < least[n] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
                return -EBADMSG;

        *ret = cp;
        return (int) n;
}

bool text_codepoint_unsafe(uint32_t cp) {
        static const struct {
                uint32_t first, last;
        } ranges[] = {
                { 0x00, 0x1f },     { 0x7f, 0x9f },     { 0xad, 0xad },     { 0x61c, 0x61c },   { 0x200b, 0x200f },
                { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb }, { 0xe0000, 0xe007f },
        };

        for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
                if (cp >= ranges[i].first && cp <= ranges[i].last)
                        return true;
        return false;
}

size_t text_safe(char *ret, size_t size, const char *s, size_t len, bool utf8) {
        size_t n = 0;

        assert(size > 0);

        for (size_t i = 0; i < len;) {
                char out[16];
                uint32_t cp = 0;
                int used = text_utf8_next(s + i, len - i, &cp);
                int made;

                if (used < 0) {
                        made = snprintf(out, sizeof(out), "\\x%02x", (unsigned char) s[i]);
                        used = 1;
                } else if (cp < 0x20 || cp == 0x7f)
                        made = snprintf(out, sizeof(out), "\\x%02x", (unsigned) cp);
                else if (text_codepoint_unsafe(cp) || (cp >= 0x80 && !utf8))
                        made = snprintf(out, sizeof(out), cp > 0xffff ? "\\U%08x" : "\\u%04x", (unsigned) cp);
                else {
                        memcpy(out, s + i, (size_t) used);
                        made = used;
                }

                if ((size_t) made >= size - n)
                        break;
                memcpy(ret + n, out, (size_t) made);
                n += (size_t) made;
                i += (size_t) used;
        }

        ret[n] = '\0';
        return n;
}

static size_t codepoint_width(uint32_t cp) {
        int width = wcwidth((wchar_t) cp);

        /* Unknown to this C library's tables: one column is the better guess for what survived text_safe(). */
        return width < 0 ? 1 : (size_t) width;
}

size_t text_width(const char *s) {
        size_t len = strlen(s), width = 0;

        for (size_t i = 0; i < len;) {
                uint32_t cp = 0;
                int used = text_utf8_next(s + i, len - i, &cp);

                width += used < 0 ? 1 : codepoint_width(cp);
                i += used < 0 ? 1 : (size_t) used;
        }
        return width;
}

void text_fit(char *ret, size_t size, const char *s, size_t columns, bool utf8) {
        const char *mark = utf8 ? "…" : "~";
        size_t len = strlen(s), width = 0, i = 0;

        assert(size > 0);

        if (len < size && text_width(s) <= columns) {
                memcpy(ret, s, len + 1);
                return;
        }

        ret[0] = '\0';
        if (columns == 0 || size <= strlen(mark))
                return;

        while (i < len) {
                uint32_t cp = 0;
                int used = text_utf8_next(s + i, len - i, &cp);
                size_t bytes = used < 0 ? 1 : (size_t) used;
                size_t cells = used < 0 ? 1 : codepoint_width(cp);

                if (width + cells > columns - 1 || i + bytes + strlen(mark) >= size)
                        break;
                width += cells;
                i += bytes;
        }
        memcpy(ret, s, i);
        strcpy(ret + i, mark);
}

void text_fit_middle(char *ret, size_t size, const char *s, size_t columns, bool utf8) {
        const char *tail = s;
        size_t n_tail;

        /* Two thirds for the end: "web-" says less than "7d9f8c6b5-x2k4j". */
        if ((strlen(s) < size && text_width(s) <= columns) || columns < 4) {
                text_fit(ret, size, s, columns, utf8);
                return;
        }
        while (text_width(tail) > (columns - 1) * 2 / 3) {
                uint32_t cp = 0;
                int used = text_utf8_next(tail, strlen(tail), &cp);

                tail += used < 0 ? 1 : used;
        }
        n_tail = strlen(tail);
        if (n_tail + 1 >= size) {
                text_fit(ret, size, s, columns, utf8);
                return;
        }
        text_fit(ret, size - n_tail, s, columns - text_width(tail), utf8);
        strcat(ret, tail);
}

void text_duration(uint64_t ns, char ret[static TEXT_DURATION_MAX]) {
        double ms = (double) ns / (double) NSEC_PER_MSEC;
        uint64_t s = ns / NSEC_PER_SEC;
        int r;

        if (ms < 0.9995)
                r = snprintf(ret, TEXT_DURATION_MAX, "%.3f ms", ms);
        else if (ms < 9.995)
                r = snprintf(ret, TEXT_DURATION_MAX, "%.2f ms", ms);
        else if (ms < 99.95)
                r = snprintf(ret, TEXT_DURATION_MAX, "%.1f ms", ms);
        else if (ms < 999.5)
                r = snprintf(ret, TEXT_DURATION_MAX, "%.0f ms", ms);
        else if (ms < 9995)
                r = snprintf(ret, TEXT_DURATION_MAX, "%.2f s", ms / 1000);
        else if (ms < 59950)
                r = snprintf(ret, TEXT_DURATION_MAX, "%.1f s", ms / 1000);
        else if (s < 3600)
                r = snprintf(ret, TEXT_DURATION_MAX, "%" PRIu64 "m %02" PRIu64 "s", s / 60, s % 60);
        else if (s < 86400)
                r = snprintf(ret, TEXT_DURATION_MAX, "%" PRIu64 "h %02" PRIu64 "m", s / 3600, s / 60 % 60);
        else
                r = snprintf(ret, TEXT_DURATION_MAX, "%" PRIu64 "d %02" PRIu64 "h", s / 86400, s / 3600 % 24);
        assert(r > 0 && r < TEXT_DURATION_MAX);
}

void text_size(uint64_t bytes, char ret[static TEXT_SIZE_MAX]) {
        static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
        double value = (double) bytes / 1024;
        size_t unit = 0;

        if (bytes < 1024) {
                (void) snprintf(ret, TEXT_SIZE_MAX, "%u B", (unsigned) bytes);
                return;
        }
        while (value >= 1023.5 && unit + 1 < ARRAY_SIZE(units)) {
                value /= 1024;
                unit++;
        }
        (void) snprintf(ret, TEXT_SIZE_MAX, value < 99.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void text_time(uint64_t ns, bool zone, char ret[static TEXT_TIME_MAX]) {
        time_t s = (time_t) (ns / NSEC_PER_SEC);
        char date[24], offset[8];
        struct tm tm;

        if (!localtime_r(&s, &tm) || strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm) == 0 ||
            strftime(offset, sizeof(offset), "%z", &tm) == 0) {
                (void) snprintf(ret, TEXT_TIME_MAX, "@%" PRIu64, ns);
                return;
        }
        (void) snprintf(ret, TEXT_TIME_MAX, "%s.%03u%s%s", date, (unsigned) (ns % NSEC_PER_SEC / NSEC_PER_MSEC),
                        zone ? " " : "", zone ? offset : "");
}

void text_rfc3339(uint64_t ns, char ret[static TEXT_TIME_MAX]) {
        time_t s = (time_t) (ns / NSEC_PER_SEC);
        char date[24];
        struct tm tm;

        /* 64 bits of nanoseconds end in the year 2554: four digits always suffice. */
        if (!gmtime_r(&s, &tm) || strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
                date[0] = '\0';
        (void) snprintf(ret, TEXT_TIME_MAX, "%s.%09uZ", date, (unsigned) (ns % NSEC_PER_SEC));
}

/* Midnight of the day @days before the one of @now_ns. */
static int parse_day(uint64_t now_ns, int days, uint64_t *ret_ns) {
        time_t s = (time_t) (now_ns / NSEC_PER_SEC);
        struct tm tm;

        if (!localtime_r(&s, &tm))
                return -EINVAL;
        tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
        tm.tm_mday -= days;
        tm.tm_isdst = -1;
        s = mktime(&tm);
        if (s < 0)
                return -EINVAL;
        *ret_ns = (uint64_t) s * NSEC_PER_SEC;
        return 0;
}

static int parse_calendar(const char *s, uint64_t *ret_ns) {
        static const char *const formats[] = { "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S",
                                               "%Y-%m-%dT%H:%M:%S" };

        for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
                struct tm tm = { .tm_isdst = -1 };
                const char *end = strptime(s, formats[i], &tm);
                time_t t;

                if (!end || (*end != '\0' && strcmp(end, "Z") != 0))
                        continue;
                t = *end == 'Z' ? timegm(&tm) : mktime(&tm);
                if (t < 0 || (uint64_t) t > UINT64_MAX / NSEC_PER_SEC)
                        return -EINVAL;
                *ret_ns = (uint64_t) t * NSEC_PER_SEC;
                return 0;
        }
        return -EINVAL;
}

int text_parse_time(const char *s, uint64_t now_ns, uint64_t *ret_ns) {
        uint64_t n;

        if (strcmp(s, "now") == 0) {
                *ret_ns = now_ns;
                return 0;
        }
        if (strcmp(s, "today") == 0)
                return parse_day(now_ns, 0, ret_ns);
        if (strcmp(s, "yesterday") == 0)
                return parse_day(now_ns, 1, ret_ns);
        if (s[0] == '@') {
                if (util_parse_u64(s + 1, strlen(s + 1), &n) < 0 || n > UINT64_MAX / NSEC_PER_SEC)
                        return -EINVAL;
                *ret_ns = n * NSEC_PER_SEC;
                return 0;
        }
        if (util_parse_duration(s, strlen(s), &n) >= 0) {
                *ret_ns = n < now_ns ? now_ns - n : 0;
                return 0;
        }
        return parse_calendar(s, ret_ns);
}

const char *text_span_name(const char *name) {
        static const char *const prefixes[] = { "/runtime.v1.RuntimeService/", "/runtime.v1.ImageService/",
                                                "runtime.v1.RuntimeService/", "runtime.v1.ImageService/" };
        const char *slash;

        for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
                size_t n = strlen(prefixes[i]);

                if (strncmp(name, prefixes[i], n) == 0 && name[n] != '\0')
                        return name + n;
        }

        /* "github.com/cri-o/cri-o/server.(*Server).runPodSandbox" */
        slash = strrchr(name, '/');
        if (strncmp(name, "github.com/", strlen("github.com/")) == 0 && slash[1] != '\0' && !strchr(name, ' '))
                return slash + 1;
        return name;
}
