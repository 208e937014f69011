#pragma once

/*
 * Control lines
 *
 * What a container engine writes to a monitor's `ctl` and `winsz` FIFOs: lines of decimal numbers, "TYPE HEIGHT WIDTH"
 * and "HEIGHT WIDTH". Blanks before a number and anything behind the last are ignored, as scanf(3) does, with which
 * such lines have always been read. No I/O.
 */

#include <stddef.h>

#define CTLLINE_MAX  199  /* bytes of a line */
#define CTLLINE_SIDE 1000 /* rows or columns at most */

typedef enum CtlType {
        CTL_RESIZE = 1,
        CTL_REOPEN = 2,
} CtlType;

typedef struct CtlLine {
        CtlType type;
        unsigned height;
        unsigned width;
} CtlLine;

/* Parses one line, without its newline. Returns 0 or -EBADMSG. */
int ctlline_parse(const char *s, size_t len, CtlLine *ret);

/* Likewise of `winsz`: the type is always CTL_RESIZE. */
int ctlline_parse_winsz(const char *s, size_t len, CtlLine *ret);

/* Bytes of a FIFO, cut into lines; one longer than CTLLINE_MAX is dropped whole. */
typedef struct CtlBuffer {
        char line[CTLLINE_MAX];
        size_t len;
        unsigned n_overlong;
        int skipping; /* until the next newline */
} CtlBuffer;

/* Takes @len bytes and calls @fn for each line that ends in them. */
void ctlline_feed(CtlBuffer *buffer, const char *s, size_t len, void (*fn)(void *userdata, const char *s, size_t len),
                  void *userdata);
