#pragma once

/*
 * Attach socket
 *
 * Clients that look on and type: SOCK_SEQPACKET, one byte of stream number (2 stdout, 3 stderr) and up to 8192 bytes of
 * output per packet to the client; raw bytes of standard input from it. There is no replay.
 *
 * Back-pressure: a client that reads slowly slows the container down, as a pipe would. One that takes nothing at all
 * for ATTACH_PATIENCE_NS gets no more output (its end of file is what it reads next, its input still counts): it cannot
 * stop the container.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "clk.h"
#include "loop.h"

#define ATTACH_PACKET_MAX  8192         /* bytes of output in one packet */
#define ATTACH_INPUT_MAX   (64U * 1024) /* bytes of input in one packet; of a longer one the rest is lost */
#define ATTACH_CLIENTS_MAX 64
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
 * Sends @n bytes of stream number @stream to every client. Returns true if all have them; else @data is still needed,
 * and nothing more may be written, until `drained` is called.
 */
bool attach_write(Attach *attach, uint8_t stream, const uint8_t *data, size_t n);

/* Waits until all have what attach_write() could not send at once, with the patience above for each. */
void attach_finish(Attach *attach);

/* How many are connected. */
unsigned attach_count(const Attach *attach);
