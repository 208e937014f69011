#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "ctlline.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_line(void *userdata, const char *s, size_t len) {
        uint64_t *hash = userdata;
        CtlLine line, winsz;

        if (len > CTLLINE_MAX)
                abort();
        if (ctlline_parse(s, len, &line) == 0 && ((line.type != CTL_RESIZE && line.type != CTL_REOPEN) ||
                                                  line.height > CTLLINE_SIDE || line.width > CTLLINE_SIDE))
                abort();
        if (ctlline_parse_winsz(s, len, &winsz) == 0 && winsz.type != CTL_RESIZE)
                abort();
        *hash = util_hash(util_hash(*hash, s, len), "\n", 1);
}

/* However the bytes are cut in two, the lines are the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint64_t whole = UTIL_HASH_INIT, cut = UTIL_HASH_INIT;
        CtlBuffer one = {}, two = {};
        size_t at = size > 0 ? data[size - 1] % size : 0;

        ctlline_feed(&one, (const char *) data, size, on_line, &whole);
        ctlline_feed(&two, (const char *) data, at, on_line, &cut);
        ctlline_feed(&two, (const char *) data + at, size - at, on_line, &cut);
        if (whole != cut || one.n_overlong != two.n_overlong)
                abort();
        return 0;
}
