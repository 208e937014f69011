#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "pressure.h"

static const char *const names[] = { "cpu", "io", "memory" };

static int64_t parse_total(const char *line, size_t len) {
        static const char key[] = " total=";
        const char *at = memmem(line, len, key, sizeof(key) - 1);
        uint64_t total;

        if (!at)
                return -1;
        at += sizeof(key) - 1;
        if (util_parse_u64(at, (size_t) (line + len - at), &total) < 0 || total > INT64_MAX)
                return -1;
        return (int64_t) total;
}

void pressure_parse(const char *s, size_t len, int64_t *ret_some, int64_t *ret_full) {
        const char *end = s + len;

        *ret_some = *ret_full = -1;
        while (s < end) {
                const char *stop = memchr(s, '\n', (size_t) (end - s)) ?: end;
                size_t n = (size_t) (stop - s);

                if (n > 5 && memcmp(s, "some ", 5) == 0)
                        *ret_some = parse_total(s, n);
                else if (n > 5 && memcmp(s, "full ", 5) == 0)
                        *ret_full = parse_total(s, n);
                s = stop + 1;
        }
}

static void read_totals(const Pressure *pressure, int64_t ret[static _PRESSURE_MAX]) {
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                char text[PRESSURE_FILE_MAX];
                ssize_t n = pressure->fds[i] < 0 ? -1 : pread(pressure->fds[i], text, sizeof(text), 0);

                pressure_parse(text, n > 0 ? (size_t) n : 0, ret + 2 * i, ret + 2 * i + 1);
        }
}

void pressure_open(Pressure *pressure, const char *dir) {
        int64_t totals[_PRESSURE_MAX];

        assert(pressure);

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                char path[256];

                (void) snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
                pressure->fds[i] = open(path, O_RDONLY | O_CLOEXEC);
        }
        /* A kernel with psi=0 has files that cannot be read. */
        read_totals(pressure, totals);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (totals[2 * i] < 0)
                        pressure->fds[i] = close_fd(pressure->fds[i]);
}

void pressure_close(Pressure *pressure) {
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                pressure->fds[i] = close_fd(pressure->fds[i]);
}

bool pressure_is_on(const Pressure *pressure) {
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (pressure->fds[i] >= 0)
                        return true;
        return false;
}

const char *pressure_words(const Pressure *pressure, char ret[static 16]) {
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (pressure->fds[i] >= 0)
                        n += (size_t) snprintf(ret + n, 16 - n, "%s%s", n > 0 ? "," : "", names[i]);
        return n > 0 ? ret : "off";
}

/* Since the last reading; a counter that went back says nothing. */
static int32_t difference(int64_t before, int64_t now) {
        if (before < 0 || now < before)
                return -1;
        return (int32_t) MIN(now - before, (int64_t) INT32_MAX);
}

static bool is_quiet(const PressureRow *row) {
        for (size_t i = 0; i < _PRESSURE_MAX; i++)
                if (row->us[i] >= PRESSURE_QUIET_US * (int32_t) row->seconds)
                        return false;
        return true;
}

/* The same is known of both, and neither is of interest. */
static bool joins(const PressureRow *last, const PressureRow *row) {
        if (last->seconds + row->seconds > PRESSURE_QUIET_MAX || !is_quiet(last) || !is_quiet(row))
                return false;
        for (size_t i = 0; i < _PRESSURE_MAX; i++)
                if ((last->us[i] < 0) != (row->us[i] < 0))
                        return false;
        return true;
}

static void add(Pressure *pressure, const PressureRow *row) {
        PressureRow *last = pressure->n_rows > 0 ? pressure->rows + pressure->n_rows - 1 : NULL;

        if (last && joins(last, row)) {
                for (size_t i = 0; i < _PRESSURE_MAX; i++)
                        if (row->us[i] > 0)
                                last->us[i] += row->us[i];
                last->seconds += row->seconds;
                last->at_ns = row->at_ns;
                return;
        }
        if (pressure->n_rows == PRESSURE_ROWS_MAX) {
                memmove(pressure->rows, pressure->rows + 1, (PRESSURE_ROWS_MAX - 1) * sizeof(*pressure->rows));
                pressure->n_rows--;
        }
        pressure->rows[pressure->n_rows++] = *row;
}

void pressure_take(Pressure *pressure, const Clk *now) {
        uint64_t elapsed_ns = now->monotonic_ns - pressure->last_ns, seconds;
        PressureRow row = { .at_ns = now->realtime_ns };
        int64_t totals[_PRESSURE_MAX];

        assert(pressure);

        if (!pressure_is_on(pressure))
                return;
        seconds = (elapsed_ns + NSEC_PER_SEC / 2) / NSEC_PER_SEC;
        if (pressure->last_ns > 0 && seconds == 0)
                return;

        read_totals(pressure, totals);
        if (pressure->last_ns > 0) {
                row.seconds = (uint32_t) MIN(seconds, (uint64_t) UINT32_MAX / 2);
                for (size_t i = 0; i < _PRESSURE_MAX; i++)
                        row.us[i] = difference(pressure->totals[i], totals[i]);
                add(pressure, &row);
        }
        memcpy(pressure->totals, totals, sizeof(totals));
        pressure->last_ns = now->monotonic_ns;
}

bool pressure_due(const Pressure *pressure, uint64_t now_ns) {
        const PressureRow *first = pressure->rows;

        if (pressure->n_rows == 0)
                return false;
        /* A clock that was set back would let it wait for ever. */
        return pressure->n_rows == PRESSURE_ROWS_MAX || now_ns < first->at_ns ||
               now_ns - first->at_ns >= PRESSURE_WAIT_NS;
}

void pressure_clear(Pressure *pressure) {
        pressure->n_rows = 0;
}
