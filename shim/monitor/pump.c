#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include "pump.h"

#define ATTACH_STDOUT 2 /* stream numbers in the packets */
#define ATTACH_STDERR 3

static int on_readable(LoopSource *source, uint32_t events);

static void watch_stream(PumpStream *stream) {
        Pump *pump = stream->pump;

        if (stream->fd >= 0 && !stream->ended && !stream->resting && !stream->source.loop && !pump->blocked &&
            !pump->done)
                (void) loop_source_add(&stream->source, pump->loop, stream->fd, EPOLLIN, on_readable);
}

static void end_stream(PumpStream *stream) {
        loop_source_remove(&stream->source);
        stream->fd = close_fd(stream->fd);
        stream->ended = true;
}

static void set_partial_timer(Pump *pump, uint64_t now_ns) {
        uint64_t deadline;

        /* One that is set fires in time for a later deadline, too, and is then set anew. */
        if (pump->partial_set)
                return;

        deadline = logs_deadline(pump->logs);
        if (deadline == UINT64_MAX)
                return;
        pump->partial_set = loop_timer_set(&pump->partial, deadline > now_ns ? deadline - now_ns : 1, 0) == 0;
}

/* To who is attached. Where there is no room for more, nothing is read until there is. */
static void show(PumpStream *stream, const uint8_t *data, size_t n) {
        Pump *pump = stream->pump;
        uint8_t number = stream->stream == LOGS_STDERR ? ATTACH_STDERR : ATTACH_STDOUT;

        if (!pump->attach || attach_write(pump->attach, number, data, n) || pump->done)
                return;

        pump->blocked = true;
        for (size_t i = 0; i < ARRAY_SIZE(pump->streams); i++)
                loop_source_remove(&pump->streams[i].source);
}

static void pass_on(PumpStream *stream, const uint8_t *data, size_t n, const Clk *now) {
        Pump *pump = stream->pump;

        logs_write(pump->logs, stream->stream, data, n, now);
        if (!pump->done)
                set_partial_timer(pump, now->monotonic_ns);
        show(stream, data, n);
}

/* Takes the bytes into the hold. Returns how many. */
static size_t hold(PumpStream *stream, const uint8_t *data, size_t n) {
        size_t room = PUMP_HOLD_MAX - stream->n_held;
        uint8_t *held;

        n = MIN(n, room);
        if (n == 0)
                return 0;
        held = realloc(stream->held, stream->n_held + n);
        if (!held)
                return 0;

        memcpy(held + stream->n_held, data, n);
        stream->held = held;
        stream->n_held += n;
        return n;
}

static int make_buffer(Pump *pump) {
        if (!pump->buffer)
                pump->buffer = malloc(PUMP_READ_MAX);
        return pump->buffer ? 0 : -ENOMEM;
}

/* Gives a pipe that was found full more room, where we may: writer and reader wake each other less often. */
static void widen(PumpStream *stream) {
        int size;

        if (stream->tty || stream->pipe_size != 0)
                return;
        size = fcntl(stream->fd, F_GETPIPE_SZ);
        stream->pipe_size = size < PUMP_PIPE_SIZE && fcntl(stream->fd, F_SETPIPE_SZ, PUMP_PIPE_SIZE) > 0 ? size : -1;
}

/* Pages of pipes are counted for each user, and one who has many gets small pipes. */
static void narrow(PumpStream *stream) {
        if (stream->fd >= 0 && stream->pipe_size > 0 && fcntl(stream->fd, F_SETPIPE_SZ, stream->pipe_size) > 0)
                stream->pipe_size = 0;
}

/*
 * Reads once, at most @max bytes. Returns their number, 0 where there are none now, or a negative errno where the
 * stream has ended (-ENODATA) or a terminal is not open anywhere (-EIO).
 */
static ssize_t read_once(PumpStream *stream, size_t max) {
        Pump *pump = stream->pump;
        ssize_t n;
        Clk now;

        if (make_buffer(pump) < 0)
                return 0;

        /* While holding, no more than can be held: what is left makes the runtime wait no longer than it has to. */
        if (pump->holding && stream->n_held < PUMP_HOLD_MAX)
                max = MIN(max, (size_t) PUMP_HOLD_MAX - stream->n_held);

        n = read(stream->fd, pump->buffer, MIN(max, (size_t) PUMP_READ_MAX));
        if (n < 0) {
                if (errno == EAGAIN || errno == EINTR)
                        return 0;
                return stream->tty && errno == EIO ? -EIO : -ENODATA;
        }
        if (n == 0)
                return -ENODATA;

        now = clk_now();
        if (!pump->tidy_set && !pump->done)
                pump->tidy_set = loop_timer_set(&pump->tidy, PUMP_TIDY_NS, 0) == 0;
        stream->reads++;
        if (stream->first.monotonic_ns == 0)
                stream->first = now;
        stream->last = now;

        if (pump->holding && hold(stream, pump->buffer, (size_t) n) == (size_t) n)
                return n;

        /* More than can be held: from here on in order, first what is held. */
        if (pump->holding)
                pump_release(pump);
        if (n >= (ssize_t) PUMP_FULL && !pump->done)
                widen(stream);
        pass_on(stream, pump->buffer, (size_t) n, &now);
        return n;
}

static int on_partial(LoopTimer *timer) {
        Pump *pump = container_of(timer, Pump, partial);
        Clk now;

        /* What has come meanwhile was not silence: on a busy machine it may have waited longer than the line. */
        for (size_t i = 0; i < ARRAY_SIZE(pump->streams); i++)
                if (pump->streams[i].source.loop || (pump->streams[i].resting && !pump->blocked))
                        (void) read_once(&pump->streams[i], PUMP_READ_MAX);

        now = clk_now();
        pump->partial_set = false;
        logs_flush_partial(pump->logs, &now);
        set_partial_timer(pump, now.monotonic_ns);
        return 0;
}

/* Did a read of @n bytes show a stream of small pieces, the one before at @before_ns? */
static bool trickles(const PumpStream *stream, ssize_t n, uint64_t before_ns) {
        return n > 0 && n < (ssize_t) PUMP_REST_BELOW && !stream->tty && !stream->pump->holding &&
               !stream->pump->blocked && before_ns != 0 && stream->last.monotonic_ns - before_ns < PUMP_REST_NS;
}

static int on_rest(LoopTimer *timer);

static void rest(PumpStream *stream) {
        Pump *pump = stream->pump;

        /* Made when it is first needed: most execs never do. */
        if (!pump->rest.source.loop && loop_timer_add(&pump->rest, pump->loop, on_rest) < 0)
                return;
        if (!pump->rest_set && loop_timer_set(&pump->rest, PUMP_REST_NS, 0) < 0)
                return;
        pump->rest_set = true;
        stream->resting = true;
        loop_source_remove(&stream->source);
}

static int on_rest(LoopTimer *timer) {
        Pump *pump = container_of(timer, Pump, rest);

        pump->rest_set = false;
        for (size_t i = 0; i < ARRAY_SIZE(pump->streams); i++) {
                PumpStream *stream = &pump->streams[i];
                ssize_t n = 0;

                if (!stream->resting)
                        continue;
                stream->resting = false;
                if (!pump->blocked)
                        n = read_once(stream, PUMP_READ_MAX);
                if (n == -ENODATA)
                        end_stream(stream);
                else if (n > 0 && n < (ssize_t) PUMP_REST_BELOW && !pump->blocked)
                        rest(stream);
                watch_stream(stream);
        }
        return 0;
}

static int on_readable(LoopSource *source, uint32_t events) {
        PumpStream *stream = container_of(source, PumpStream, source);
        uint64_t before_ns = stream->last.monotonic_ns;
        ssize_t n;

        n = read_once(stream, PUMP_READ_MAX);
        if (trickles(stream, n, before_ns)) {
                rest(stream);
                return 0;
        }
        if (n == -ENODATA || (n == 0 && !stream->tty && !(events & EPOLLIN) && (events & (EPOLLHUP | EPOLLERR)))) {
                end_stream(stream);
        } else if (n == -EIO || (n == 0 && (events & EPOLLHUP))) {
                /* Nobody has the terminal open, and epoll would say so without end. Somebody may open it again. */
                loop_source_remove(&stream->source);
                (void) loop_timer_set(&stream->pump->poll, PUMP_POLL_NS, 0);
        }
        return 0;
}

static int on_poll(LoopTimer *timer) {
        Pump *pump = container_of(timer, Pump, poll);

        for (size_t i = 0; i < ARRAY_SIZE(pump->streams); i++)
                watch_stream(&pump->streams[i]);
        return 0;
}

static int on_tidy(LoopTimer *timer) {
        Pump *pump = container_of(timer, Pump, tidy);

        uint64_t last_ns =
                MAX(pump->streams[LOGS_STDOUT].last.monotonic_ns, pump->streams[LOGS_STDERR].last.monotonic_ns);

        if (clk_monotonic() - last_ns < PUMP_QUIET_NS) {
                (void) loop_timer_set(timer, PUMP_TIDY_NS, 0);
                return 0;
        }

        pump->tidy_set = false;
        for (size_t i = 0; i < ARRAY_SIZE(pump->streams); i++)
                narrow(&pump->streams[i]);
        free(TAKE_PTR(pump->buffer));
        if (pump->tidy_fn)
                pump->tidy_fn(pump);
        return 0;
}

int pump_init(Pump *pump, Loop *loop, Logs *logs, Attach *attach, PumpTidyFn tidy_fn) {
        int r;

        assert(pump);

        *pump = (Pump){
                .loop = loop,
                .logs = logs,
                .attach = attach,
                .holding = true,
                .partial = LOOP_TIMER_NULL,
                .poll = LOOP_TIMER_NULL,
                .rest = LOOP_TIMER_NULL,
                .tidy = LOOP_TIMER_NULL,
                .tidy_fn = tidy_fn,
        };
        for (size_t i = 0; i < ARRAY_SIZE(pump->streams); i++)
                pump->streams[i] = (PumpStream){
                        .source = LOOP_SOURCE_NULL,
                        .pump = pump,
                        .stream = (LogsStream) i,
                        .fd = -EBADF,
                };

        r = loop_timer_add(&pump->partial, loop, on_partial);
        if (r == 0)
                r = loop_timer_add(&pump->poll, loop, on_poll);
        return r < 0 ? r : loop_timer_add(&pump->tidy, loop, on_tidy);
}

void pump_deinit(Pump *pump) {
        if (!pump->loop)
                return;

        pump->loop = NULL;
        for (size_t i = 0; i < ARRAY_SIZE(pump->streams); i++) {
                end_stream(&pump->streams[i]);
                free(TAKE_PTR(pump->streams[i].held));
        }
        loop_timer_remove(&pump->partial);
        loop_timer_remove(&pump->poll);
        loop_timer_remove(&pump->rest);
        loop_timer_remove(&pump->tidy);
        free(TAKE_PTR(pump->buffer));
}

int pump_add(Pump *pump, LogsStream stream, int fd, bool tty) {
        PumpStream *s = &pump->streams[stream];
        int flags;

        assert(s->fd < 0);

        s->fd = fd;
        s->tty = tty;
        s->ended = false;

        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        return loop_source_add(&s->source, pump->loop, fd, EPOLLIN, on_readable);
}

void pump_release(Pump *pump) {
        Clk now = clk_now();

        if (!pump->holding)
                return;
        pump->holding = false;

        for (size_t i = 0; i < ARRAY_SIZE(pump->streams); i++) {
                PumpStream *stream = &pump->streams[i];

                if (stream->n_held == 0)
                        continue;
                logs_write(pump->logs, stream->stream, stream->held, stream->n_held, &now);
                /* There was nobody to attach to before the container was there, but an exec's client waits early. */
                show(stream, stream->held, stream->n_held);
        }
        set_partial_timer(pump, now.monotonic_ns);
}

const char *pump_held(const Pump *pump, LogsStream stream, size_t *ret_len) {
        *ret_len = pump->streams[stream].n_held;
        return (const char *) pump->streams[stream].held;
}

void pump_fill(Pump *pump, LogsStream stream) {
        PumpStream *s = &pump->streams[stream];

        while (pump->holding && s->fd >= 0 && s->n_held < PUMP_HOLD_MAX && read_once(s, PUMP_READ_MAX) > 0)
                ;
}

void pump_forget(Pump *pump) {
        assert(!pump->holding);

        for (size_t i = 0; i < ARRAY_SIZE(pump->streams); i++) {
                free(TAKE_PTR(pump->streams[i].held));
                pump->streams[i].n_held = 0;
        }
}

void pump_resume(Pump *pump) {
        if (!pump->blocked)
                return;

        pump->blocked = false;
        for (size_t i = 0; i < ARRAY_SIZE(pump->streams); i++)
                watch_stream(&pump->streams[i]);
}

static void drain(PumpStream *stream) {
        size_t left = PUMP_DRAIN_MAX;
        int n_waiting;

        if (stream->fd < 0)
                return;

        /* A pipe says how much there is. A terminal does not count what its driver has not seen yet. */
        if (!stream->tty && ioctl(stream->fd, FIONREAD, &n_waiting) == 0)
                left = (size_t) n_waiting;

        while (left > 0) {
                ssize_t n = read_once(stream, left);

                if (n <= 0)
                        break;
                left -= (size_t) n;
        }
        end_stream(stream);
}

void pump_finish(Pump *pump, bool take) {
        Clk now;

        if (pump->done)
                return;

        pump_release(pump);
        pump->done = true;
        pump->blocked = false;

        for (size_t i = 0; i < ARRAY_SIZE(pump->streams); i++)
                if (take)
                        drain(&pump->streams[i]);
                else
                        end_stream(&pump->streams[i]);

        now = clk_now();
        logs_end(pump->logs, &now);
        (void) loop_timer_stop(&pump->partial);
        (void) loop_timer_stop(&pump->poll);
        loop_timer_remove(&pump->rest);
}
