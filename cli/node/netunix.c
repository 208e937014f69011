#include <stdio.h>
#include <string.h>
#include "netunix.h"

#define ACCEPTS   0x10000 /* __SO_ACCEPTCON */
#define CONNECTED 3       /* SS_CONNECTED */

void netunix_find(const char *text, const char *path, NetunixSocket *ret) {
        size_t path_n = strlen(path);

        *ret = (NetunixSocket){};
        /* Num: RefCount Protocol Flags Type St Inode Path */
        for (const char *line = text; *line;) {
                const char *end = strchrnul(line, '\n');
                unsigned long flags;
                unsigned state;
                int begin = 0;

                if (sscanf(line, "%*s %*x %*x %lx %*x %x %*u %n", &flags, &state, &begin) == 2 && begin > 0 &&
                    (size_t) begin <= (size_t) (end - line) && (size_t) (end - line) - (size_t) begin == path_n &&
                    memcmp(line + begin, path, path_n) == 0) {
                        if (flags & ACCEPTS)
                                ret->listening = true;
                        else if (state == CONNECTED)
                                ret->connections++;
                }
                line = *end ? end + 1 : end;
        }
}
