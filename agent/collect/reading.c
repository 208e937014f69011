#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "reading.h"

/* A line of the note: a digit, a blank, the name, a newline. */
#define LINE_MAX_SIZE (SPOOL_NAME_MAX + 4)
#define NOTE_MAX      ((size_t) READING_MAX * LINE_MAX_SIZE)
#define DEATHS_DIGIT  9

static ReadingName *find(const Reading *reading, const char *name) {
        for (size_t i = 0; i < reading->n_names; i++)
                if (strcmp(reading->names[i].name, name) == 0)
                        return reading->names + i;
        return NULL;
}

static ReadingName *add(Reading *reading, const char *name, size_t len, unsigned deaths) {
        ReadingName *entry;

        if (reading->n_names == READING_MAX || len > SPOOL_NAME_MAX)
                return NULL;

        entry = reading->names + reading->n_names++;
        *entry = (ReadingName){ .deaths = deaths };
        reading->n_suspects += deaths > 0;
        memcpy(entry->name, name, len);
        return entry;
}

/* Takes in one line. The file is podspand's own, but a crash may have cut it anywhere. */
static void take_line(Reading *reading, const char *line, size_t len) {
        char name[SPOOL_NAME_MAX + 1];
        ReadingName *entry;
        unsigned deaths;

        if (len < 3 || len - 2 > SPOOL_NAME_MAX || line[0] < '1' || line[0] > '0' + DEATHS_DIGIT || line[1] != ' ')
                return;
        deaths = (unsigned) (line[0] - '0');
        memcpy(name, line + 2, len - 2);
        name[len - 2] = '\0';
        if (!spool_name_valid(name))
                return;

        entry = find(reading, name);
        if (!entry)
                (void) add(reading, name, len - 2, deaths);
        else
                entry->deaths = MAX(entry->deaths, deaths);
}

static void take_note(Reading *reading, const char *note, size_t size) {
        while (size > 0) {
                const char *newline = memchr(note, '\n', size);

                if (!newline)
                        return;
                take_line(reading, note, (size_t) (newline - note));
                size -= (size_t) (newline - note) + 1;
                note = newline + 1;
        }
}

static int write_line(Reading *reading, const ReadingName *entry, unsigned deaths) {
        char line[LINE_MAX_SIZE];
        int n = snprintf(line, sizeof(line), "%u %s\n", MIN(deaths, (unsigned) DEATHS_DIGIT), entry->name);
        ssize_t written = pwrite(reading->fd, line, (size_t) n, (off_t) reading->size);

        if (written != n)
                return written < 0 ? -errno : -EIO;
        reading->size += (size_t) n;
        return 0;
}

/* The note of the suspects alone. */
static int rewrite(Reading *reading) {
        int r = 0;

        if (reading->size > 0 && ftruncate(reading->fd, 0) < 0)
                return -errno;
        reading->size = 0;
        for (size_t i = 0; i < reading->n_names && r == 0; i++)
                r = write_line(reading, reading->names + i, reading->names[i].deaths);
        return r;
}

int reading_init(Reading *reading, int store_fd) {
        _cleanup_free_ char *note = NULL;
        size_t size = 0;

        assert(reading->fd < 0);

        reading->names = calloc(READING_MAX, sizeof(*reading->names));
        if (!reading->names)
                return -ENOMEM;

        reading->fd = openat(store_fd, READING_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (reading->fd < 0)
                return -errno;
        if (util_read_fd(reading->fd, 2 * NOTE_MAX, &note, &size) == 0)
                take_note(reading, note, size);
        reading->size = SIZE_MAX; /* whatever it was */
        return rewrite(reading);
}

void reading_deinit(Reading *reading) {
        reading->fd = close_fd(reading->fd);
        free(TAKE_PTR(reading->names));
        reading->n_names = reading->n_suspects = 0;
}

unsigned reading_deaths(const Reading *reading, const char *name) {
        const ReadingName *entry = reading->n_suspects > 0 ? find(reading, name) : NULL;

        return entry ? entry->deaths : 0;
}

int reading_begin(Reading *reading, const char *name) {
        ReadingName *entry = reading->n_suspects > 0 ? find(reading, name) : NULL;

        if (!entry)
                entry = add(reading, name, strlen(name), 0);
        if (!entry)
                return -ENOBUFS;
        entry->current = true;
        return write_line(reading, entry, entry->deaths + 1);
}

void reading_forget(Reading *reading, const char *name) {
        ReadingName *entry = reading->n_suspects > 0 ? find(reading, name) : NULL;

        if (!entry)
                return;
        reading->n_suspects -= entry->deaths > 0;
        *entry = reading->names[--reading->n_names];
}

int reading_end(Reading *reading) {
        size_t n = 0;

        for (size_t i = 0; i < reading->n_names; i++)
                if (!reading->names[i].current)
                        reading->names[n++] = reading->names[i];
        reading->n_names = reading->n_suspects = n;
        return n == 0 && reading->size == 0 ? 0 : rewrite(reading);
}

int reading_clear(Reading *reading) {
        if (reading->n_names == 0)
                return 0;
        reading->n_names = reading->n_suspects = 0;
        return rewrite(reading);
}
