#pragma once

/*
 * Recordings of process events: one event a line, as `record` prints them and the tests read them:
 *
 *     TYPE TIME START PID PARENT FLAGS STATUS RUN_DELAY UID FILE_SIZE ARGS_SIZE ENV_SIZE COMM DATA [PARENT_START]
 *
 * in decimal, COMM and DATA in hex ("-" where empty); the rest of DATA is the working directory's.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "event.h"
#include "util.h"

#define RECORDING_MAX 8192

typedef struct Recorded {
        Event event;
        char *data;
        size_t size;
} Recorded;

typedef struct Recording {
        Recorded events[RECORDING_MAX];
        size_t n;
} Recording;

static inline void recording_print(FILE *to, const Event *event, const char *data, size_t size) {
        char comm[2 * EVENT_COMM_SIZE + 1], *hex = calloc(2, size + 1);

        if (!hex)
                return;
        util_hex_encode(event->comm, strnlen(event->comm, sizeof(event->comm)), comm);
        util_hex_encode(data, size, hex);
        (void) fprintf(to,
                       "%u %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32 " %u %" PRId32 " %" PRIu64 " %" PRIu32
                       " %u %u %u %s %s %" PRIu64 "\n",
                       event->type, event->time_ns, event->start_ns, event->pid, event->parent, event->flags,
                       event->status, event->run_delay_ns, event->uid, event->file_size, event->args_size,
                       event->env_size, *comm ? comm : "-", *hex ? hex : "-", event->parent_start_ns);
        free(hex);
}

/* Adds the event of one line; 0 or -EBADMSG. */
static inline int recording_parse(char *line, Recording *ret) {
        static char comm[64], hex[2 * EVENT_DATA_MAX + 1];
        Recorded *to = &ret->events[ret->n];
        unsigned type, flags, file, args, env;
        Event *event = &to->event;

        if (ret->n == RECORDING_MAX)
                return -EBADMSG;
        if (sscanf(line,
                   "%u %" SCNu64 " %" SCNu64 " %" SCNu32 " %" SCNu32 " %u %" SCNd32 " %" SCNu64 " %" SCNu32
                   " %u %u %u %63s %10752s %" SCNu64,
                   &type, &event->time_ns, &event->start_ns, &event->pid, &event->parent, &flags, &event->status,
                   &event->run_delay_ns, &event->uid, &file, &args, &env, comm, hex, &event->parent_start_ns) < 14)
                return -EBADMSG;
        event->type = (uint16_t) type;
        event->flags = (uint16_t) flags;
        event->file_size = (uint16_t) file;
        event->args_size = (uint16_t) args;
        event->env_size = (uint16_t) env;
        if (*comm != '-' && util_hex_decode(comm, strlen(comm) / 2, (uint8_t *) event->comm) < 0)
                return -EBADMSG;
        to->size = *hex == '-' ? 0 : strlen(hex) / 2;
        event->cwd_size = (uint16_t) (to->size - MIN(to->size, (size_t) file + args + env));
        to->data = malloc(to->size + 1);
        if (!to->data || (to->size > 0 && util_hex_decode(hex, to->size, (uint8_t *) to->data) < 0))
                return -EBADMSG;
        ret->n++;
        return 0;
}

/* Reads a whole recording; 0 or a negative errno. */
static inline int recording_read(const char *path, Recording *ret) {
        char *line = NULL;
        size_t size = 0;
        FILE *file = fopen(path, "re");
        int r = 0;

        ret->n = 0;
        if (!file)
                return -errno;
        while (r >= 0 && getline(&line, &size, file) > 0)
                r = recording_parse(line, ret);
        free(line);
        (void) fclose(file);
        return r;
}

static inline void recording_free(Recording *recording) {
        while (recording->n > 0)
                free(recording->events[--recording->n].data);
}
