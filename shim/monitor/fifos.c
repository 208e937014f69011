#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include "fifos.h"

#define READ_SIZE 4096

static void on_line(void *userdata, const char *s, size_t len) {
        Fifo *fifo = userdata;
        Fifos *fifos = fifo->fifos;
        CtlLine line;

        if ((fifo == &fifos->ctl ? ctlline_parse(s, len, &line) : ctlline_parse_winsz(s, len, &line)) < 0)
                fifos->n_bad++;
        else
                fifos->fn(fifos, &line);
}

static int on_readable(LoopSource *source, _unused_ uint32_t events) {
        Fifo *fifo = container_of(source, Fifo, source);
        char bytes[READ_SIZE];
        ssize_t n;

        n = read(fifo->read_fd, bytes, sizeof(bytes));
        if (n > 0)
                ctlline_feed(&fifo->buffer, bytes, (size_t) n, on_line, fifo);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
                loop_source_remove(&fifo->source);
        return 0;
}

static int open_fifo(Fifo *fifo, Fifos *fifos, Loop *loop, int dir_fd, const char *name) {
        struct stat st;

        if (mkfifoat(dir_fd, name, 0660) < 0) {
                if (errno != EEXIST)
                        return -errno;
                if (unlinkat(dir_fd, name, 0) < 0 || mkfifoat(dir_fd, name, 0660) < 0)
                        return -errno;
        }

        fifo->fifos = fifos;
        fifo->read_fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        if (fifo->read_fd < 0)
                return -errno;
        /* Nobody may have put another file there meanwhile: a writer would wait for ever. */
        if (fstat(fifo->read_fd, &st) < 0)
                return -errno;
        if (!S_ISFIFO(st.st_mode))
                return -EINVAL;
        fifo->write_fd = openat(dir_fd, name, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        if (fifo->write_fd < 0)
                return -errno;

        return loop_source_add(&fifo->source, loop, fifo->read_fd, EPOLLIN, on_readable);
}

int fifos_open(Fifos *fifos, Loop *loop, int dir_fd, FifosFn fn) {
        int r;

        assert(fifos);
        assert(fn);

        fifos->fn = fn;
        r = open_fifo(&fifos->ctl, fifos, loop, dir_fd, "ctl");
        return r < 0 ? r : open_fifo(&fifos->winsz, fifos, loop, dir_fd, "winsz");
}

static void close_fifo(Fifo *fifo) {
        loop_source_remove(&fifo->source);
        fifo->read_fd = close_fd(fifo->read_fd);
        fifo->write_fd = close_fd(fifo->write_fd);
}

void fifos_close(Fifos *fifos) {
        close_fifo(&fifos->ctl);
        close_fifo(&fifos->winsz);
}
