#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "hold.h"

static int reserve(Hold *hold, size_t n) {
        size_t cap = hold->cap ? hold->cap : 512;
        uint8_t *p;

        if (n > SIZE_MAX / 2)
                return -ENOMEM;
        if (n <= hold->cap)
                return 0;
        while (cap < n)
                cap *= 2;

        p = realloc(hold->p, cap);
        if (!p)
                return -ENOMEM;
        hold->p = p;
        hold->cap = cap;
        return 0;
}

static int append(Hold *hold, const uint8_t *p, size_t n) {
        int r;

        if (n == 0)
                return 0;
        r = reserve(hold, hold->n + n);
        if (r < 0)
                return r;
        memcpy(hold->p + hold->n, p, n);
        hold->n += n;
        return 0;
}

int hold_begin(Hold *hold, const uint8_t *in, size_t len) {
        hold->in = in;
        hold->in_len = len;
        hold->base = hold->n;
        hold->copied = false;

        /* What was kept and the chunk are one sequence, and it may have to be changed anywhere. */
        if (hold->n > 0) {
                int r = append(hold, in, len);

                if (r < 0)
                        return r;
                hold->copied = true;
        }
        return 0;
}

int hold_insert(Hold *hold, size_t off, const uint8_t *head, size_t n_head, size_t at, const uint8_t *bytes, size_t n) {
        int r;

        if (!hold->copied) {
                r = append(hold, hold->in, hold->in_len);
                if (r < 0)
                        return r;
                hold->copied = true;
        }

        r = reserve(hold, hold->n + n);
        if (r < 0)
                return r;
        if (off + n_head > hold->n || off + at > hold->n)
                return -ENOMEM;

        memcpy(hold->p + off, head, n_head);
        memmove(hold->p + off + at + n, hold->p + off + at, hold->n - off - at);
        memcpy(hold->p + off + at, bytes, n);
        hold->n += n;
        hold->base += n;
        return 0;
}

int hold_end(Hold *hold, size_t from, struct iovec ret[static HOLD_IOV]) {
        int r = 0;

        ret[0] = ret[1] = (struct iovec){};

        if (hold->copied) {
                if (from > hold->n)
                        from = hold->n;
                ret[0] = (struct iovec){ .iov_base = hold->p, .iov_len = from };
                hold->given = from;
        } else if (hold->n > 0) {
                /* hold_begin() failed: first what was kept, then the chunk. */
                ret[0] = (struct iovec){ .iov_base = hold->p, .iov_len = hold->n };
                ret[1] = (struct iovec){ .iov_base = (void *) hold->in, .iov_len = hold->in_len };
                hold->given = hold->n;
        } else {
                if (from < hold->in_len) {
                        r = append(hold, hold->in + from, hold->in_len - from);
                        if (r < 0)
                                from = hold->in_len;
                } else
                        from = hold->in_len;
                ret[0] = (struct iovec){ .iov_base = (void *) hold->in, .iov_len = from };
                hold->given = 0;
        }

        hold->in = NULL;
        hold->in_len = 0;
        return r;
}

void hold_done(Hold *hold) {
        hold->n -= hold->given;
        if (hold->n > 0 && hold->given > 0)
                memmove(hold->p, hold->p + hold->given, hold->n);
        hold->given = 0;
        hold->copied = false;

        /* An idle connection keeps nothing. */
        if (hold->n == 0) {
                free(hold->p);
                hold->p = NULL;
                hold->cap = 0;
        }
}

int hold_restore(Hold *hold, const uint8_t *p, size_t n) {
        return append(hold, p, n);
}

void hold_deinit(Hold *hold) {
        free(hold->p);
        *hold = (Hold){};
}
