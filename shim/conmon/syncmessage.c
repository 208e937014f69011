#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "syncmessage.h"
#include "util.h"

#define FRAME_MAX  64 /* all but key and text */
#define ESCAPE_MAX 6  /* bytes one byte can become */

static size_t escape(char *to, unsigned char c) {
        static const char from_c[] = "\\\"/\n\r\t\b\f", to_c[] = "\\\"/nrtbf";
        const char *at = c != '\0' ? strchr(from_c, c) : NULL;

        if (at) {
                to[0] = '\\';
                to[1] = to_c[at - from_c];
                return 2;
        }
        if (c < 0x20 || c == 0x7f)
                return (size_t) snprintf(to, ESCAPE_MAX + 1, "\\u%04x", c);

        to[0] = (char) c;
        return 1;
}

int syncmessage_format(const char *key, int number, const char *text, size_t text_len, char **ret, size_t *ret_len) {
        _cleanup_free_ char *line = NULL;
        size_t n, size;

        assert(key);
        assert(text || text_len == 0);
        assert(ret);
        assert(ret_len);

        size = FRAME_MAX + strlen(key) + ESCAPE_MAX * text_len;
        line = malloc(size);
        if (!line)
                return -ENOMEM;

        n = (size_t) snprintf(line, size, "{\"%s\": %d", key, number);
        if (text_len > 0) {
                n += (size_t) snprintf(line + n, size - n, ", \"message\": \"");
                for (size_t i = 0; i < text_len; i++)
                        n += escape(line + n, (unsigned char) text[i]);
                line[n++] = '"';
        }
        n += (size_t) snprintf(line + n, size - n, "}\n");

        *ret = TAKE_PTR(line);
        *ret_len = n;
        return 0;
}
