#pragma once

/*
 * Stdio pump
 *
 * Carries what a container writes, from two pipes or a terminal to its logs and to who is attached. While a runtime is
 * still making the container the output is held: nobody knows yet whether it is the container's or the runtime's last
 * words.
 */

#include "attach.h"
#include "clk.h"
#include "logs.h"
#include "loop.h"

#define PUMP_READ_MAX (64U * 1024) /* bytes read at once: what a pipe holds */
#define PUMP_HOLD_MAX                                                                                  \
        (64U * 1024) /* bytes of a stream held; what is more goes to the logs before it is known whose \
                      */
#define PUMP_DRAIN_MAX (1024U * 1024)        /* bytes of a terminal's output looked for at the end */
#define PUMP_TIDY_NS   (200 * NSEC_PER_MSEC) /* between looks whether it has become quiet */
#define PUMP_QUIET_NS  (100 * NSEC_PER_MSEC) /* without a read: it has */
#define PUMP_POLL_NS   (100 * NSEC_PER_MSEC) /* between looks at a terminal nobody has open */

/*
 * Who writes line by line costs a wake-up a line. So a pipe that gave less than PUMP_REST_BELOW, and had given
 * something less than PUMP_REST_NS before, is looked at again after that time: a first line is never late, a stream of
 * them by no more than this.
 */
#define PUMP_REST_NS    NSEC_PER_MSEC
#define PUMP_REST_BELOW (16U * 1024)

/* A pipe that had PUMP_FULL at once is given PUMP_PIPE_SIZE until it is quiet. */
#define PUMP_FULL      (PUMP_READ_MAX - PUMP_READ_MAX / 8) /* a full pipe's pages are not all full */
#define PUMP_PIPE_SIZE (256 * 1024)

typedef struct Pump Pump;
typedef void (*PumpTidyFn)(Pump *pump);

typedef struct PumpStream {
        LoopSource source;
        Pump *pump;
        LogsStream stream;
        int fd; /* -EBADF: none, or at its end */
        bool tty;
        bool ended;
        bool resting;
        int pipe_size; /* before it was made larger; 0: it is as it was, -1: it cannot be larger */

        uint8_t *held; /* its first bytes, until the hold ends */
        size_t n_held;

        uint64_t reads;
        Clk first; /* when its first byte came; zero: none */
        Clk last;
} PumpStream;

struct Pump {
        Loop *loop;
        Logs *logs;     /* borrowed */
        Attach *attach; /* borrowed, may be NULL */
        PumpStream streams[LOGS_STREAM_MAX];
        bool holding;
        bool blocked; /* the attached are behind */
        bool done;
        uint8_t *buffer;
        LoopTimer partial; /* for unfinished lines */
        bool partial_set;
        LoopTimer poll;
        LoopTimer rest;
        bool rest_set;
        LoopTimer tidy;
        bool tidy_set;
        PumpTidyFn tidy_fn;
};

/* 0 or a negative errno. @logs and @attach are borrowed. @tidy_fn (may be NULL) is called when it has become quiet
 * after something was read, for who wants to give memory back. */
int pump_init(Pump *pump, Loop *loop, Logs *logs, Attach *attach, PumpTidyFn tidy_fn);
/* Closes everything and frees the buffers; a zeroed pump is fine. */
void pump_deinit(Pump *pump);

/* Reads @fd (owned by the pump from now on) as @stream; it becomes non-blocking, which is no pipe's other end's
 * business. 0 or a negative errno. */
int pump_add(Pump *pump, LogsStream stream, int fd, bool tty);

/* Ends the hold: what was held goes where it belongs. */
void pump_release(Pump *pump);
/* The held bytes of @stream, as text. */
const char *pump_held(const Pump *pump, LogsStream stream, size_t *ret_len);
/* Reads what is there of @stream while the hold lasts. */
void pump_fill(Pump *pump, LogsStream stream);
/* Frees the copies of what was held, after pump_release(). */
void pump_forget(Pump *pump);

/* To be called by the attach socket once it has room again. */
void pump_resume(Pump *pump);

/*
 * The container has ended: takes what it wrote before that and is still in the pipes, and ends the logs. Who else has
 * the pipes may write on; that is not waited for, nor is who is attached. With @take false nothing more is read.
 */
void pump_finish(Pump *pump, bool take);
