#pragma once

/*
 * Attach socket
 *
 * Clients that look on and type: SOCK_SEQPACKET, one byte of stream number (2 stdout, 3 stderr) and up to 8192 bytes of
 * output per packet to the client; raw bytes of standard input from it. There is no replay.
 *
 * Back-pressure: what clients do not take at once is kept for them, ATTACH_BACKLOG_MAX bytes for all together, and
 * nobody waits. Beyond that a client that reads slowly slows the container down, as a pipe would. One that takes
 * nothing at all gets no more output (what it had, then its end of file is what it reads; its input still counts) as
 * soon as the room is used up and it has taken nothing for ATTACH_PATIENCE_NS, so that it holds nothing up that did not
 * fill the room within that time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "clk.h"
#include "loop.h"

#define ATTACH_PACKET_MAX  8192         /* bytes of output in one packet */
#define ATTACH_INPUT_MAX   (64U * 1024) /* bytes of input in one packet; of a longer one the rest is lost */
#define ATTACH_CLIENTS_MAX 64
#define ATTACH_BACKLOG_MAX (8U * 1024 * 1024) /* bytes of output kept before it is waited for */
#define ATTACH_PATIENCE_NS (2 * NSEC_PER_SEC)

/* What a client had, for a span of its own. */
typedef struct AttachRecord {
        Clk start;
        uint64_t duration_ns;
        uint64_t bytes_out;
        uint64_t bytes_in;
        uint64_t bytes_dropped; /* output it was not there to take */
        bool stalled;           /* it was given up */
} AttachRecord;

typedef struct Attach Attach;

typedef struct AttachHooks {
        void (*drained)(void *userdata);                           /* attach_write() may be called again */
        void (*stdin_closed)(void *userdata);                      /* the container's standard input was closed */
        void (*ended)(void *userdata, const AttachRecord *record); /* a client has gone */
        void *userdata;
} AttachHooks;

typedef struct AttachOptions {
        bool has_stdin; /* input is the container's to have: the end of a client's is the end of the container's,
                           unless */
        bool leave_stdin_open;
} AttachOptions;

/* 0 with an object owned by the caller, without a socket yet; or -ENOMEM or another negative errno. */
int attach_new(Loop *loop, const AttachOptions *options, const AttachHooks *hooks, Attach **ret);
/* Closes everything; reports the clients' ends. */
Attach *attach_free(Attach *attach);
DEFINE_CLEANUP(Attach *, attach_free);

/* Makes the socket `attach` (0700) in the directory @dir_fd, in the place of an earlier one, and accepts. 0 or a
 * negative errno. */
int attach_listen(Attach *attach, int dir_fd);

/* Where input goes: a pipe or a terminal, not blocking; the object owns it from now on. What came earlier waited. */
int attach_set_stdin(Attach *attach, int fd);
/* There will be none (any more): input is thrown away. */
void attach_close_stdin(Attach *attach);

/*
 * Sends @n bytes of stream number @stream to every client, or keeps them for those that do not take them now; @data is
 * not needed afterwards. Returns false if there is no room for more: then `drained` will be called, and nothing should
 * be written until then (what is written nevertheless is kept, too).
 */
bool attach_write(Attach *attach, uint8_t stream, const uint8_t *data, size_t n);

/* There will be no more output nor input: lets everybody go who has all of it. */
void attach_end(Attach *attach);
/* After attach_end(): waits for the others, with the patience above for each from then on, and lets them go. */
void attach_finish(Attach *attach);

/* How many are connected. */
unsigned attach_count(const Attach *attach);
