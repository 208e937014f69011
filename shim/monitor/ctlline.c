#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "ctlline.h"

static bool is_blank(char c) {
        return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Reads one number of 0 to CTLLINE_SIDE; leading zeros and a plus sign are fine. */
static int next_number(const char **s, const char *end, unsigned *ret) {
        const char *p = *s;
        unsigned number = 0;
        bool any = false;

        while (p < end && is_blank(*p))
                p++;
        if (p < end && *p == '+')
                p++;
        for (; p < end && *p >= '0' && *p <= '9'; p++) {
                number = number * 10 + (unsigned) (*p - '0');
                if (number > CTLLINE_SIDE)
                        return -EBADMSG;
                any = true;
        }
        if (!any)
                return -EBADMSG;

        *s = p;
        *ret = number;
        return 0;
}

int ctlline_parse_winsz(const char *s, size_t len, CtlLine *ret) {
        const char *end = s + len;
        CtlLine line = { .type = CTL_RESIZE };

        assert(s || len == 0);
        assert(ret);

        if (next_number(&s, end, &line.height) < 0 || next_number(&s, end, &line.width) < 0)
                return -EBADMSG;

        *ret = line;
        return 0;
}

int ctlline_parse(const char *s, size_t len, CtlLine *ret) {
        const char *end = s + len;
        unsigned type;
        CtlLine line;

        assert(s || len == 0);
        assert(ret);

        if (next_number(&s, end, &type) < 0 || (type != CTL_RESIZE && type != CTL_REOPEN) ||
            ctlline_parse_winsz(s, (size_t) (end - s), &line) < 0)
                return -EBADMSG;

        line.type = (CtlType) type;
        *ret = line;
        return 0;
}

void ctlline_feed(CtlBuffer *buffer, const char *s, size_t len, void (*fn)(void *userdata, const char *s, size_t len),
                  void *userdata) {
        const char *end = s + len;

        assert(buffer);

        while (s < end) {
                const char *newline = memchr(s, '\n', (size_t) (end - s));
                size_t n = (size_t) ((newline ? newline : end) - s);

                if (n > sizeof(buffer->line) - buffer->len) {
                        buffer->n_overlong += !buffer->skipping;
                        buffer->skipping = true;
                } else if (!buffer->skipping) {
                        memcpy(buffer->line + buffer->len, s, n);
                        buffer->len += n;
                }

                if (!newline)
                        return;
                if (!buffer->skipping)
                        fn(userdata, buffer->line, buffer->len);
                buffer->len = 0;
                buffer->skipping = false;
                s = newline + 1;
        }
}
