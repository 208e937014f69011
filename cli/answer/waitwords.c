#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "util.h"
#include "wait.h"

typedef struct Text {
        char *p;
        size_t n;
} Text;

_printf_(2, 3) static void put(Text *text, const char *format, ...) {
        va_list args;
        int n;

        va_start(args, format);
        n = vsnprintf(text->p + text->n, WAIT_TEXT_MAX - text->n, format, args);
        va_end(args);
        if (n > 0)
                text->n = MIN(text->n + (size_t) n, (size_t) WAIT_TEXT_MAX - 1);
}

/* "sleep (pid 6019), which is stopped" */
static void put_peer(Text *text, const Wait *wait) {
        put(text, "%s (pid %d)", wait->peer_name, (int) wait->peer_pid);
        if (wait->n_peers > 1)
                put(text, " and %zu more", wait->n_peers - 1);
        if (wait->peer_frozen)
                put(text, ", which is frozen");
        else if (wait->peer_state == 'T' || wait->peer_state == 't')
                put(text, ", which is stopped");
        else if (wait->peer_state == 'D')
                put(text, ", which is in state D");
        else if (wait->peer_state == 'Z')
                put(text, ", which has ended");
}

/* ", held by X", ", read by nobody" */
static void put_other_end(Text *text, const Wait *wait, const char *verb) {
        switch (wait->peer) {
        case WAIT_PEER_FOUND:
                put(text, ", %s ", verb);
                put_peer(text, wait);
                break;
        case WAIT_PEER_NOBODY:
                put(text, ", %s nobody", verb);
                break;
        case WAIT_PEER_UNKNOWN:
                put(text, ", %s a process that is not known", verb);
                break;
        case WAIT_PEER_GONE:
                put(text, ", taken by pid %d, which has ended", (int) wait->peer_pid);
                break;
        case WAIT_PEER_NONE:
        case WAIT_PEER_KERNEL:
                break;
        }
}

static const char *or_else(const char *s, const char *other) {
        return *s ? s : other;
}

static void put_fifo(Text *text, const Wait *wait) {
        bool reads = wait->use != WAIT_USE_WRITE && !(wait->use == WAIT_USE_OPEN && wait->want_read);
        char what[WAIT_NAME_MAX + 16];

        if (wait->is_pipe)
                (void) strcpy(what, "a pipe");
        else
                (void) snprintf(what, sizeof(what), "FIFO %s", or_else(wait->path, "without a known name"));
        if (wait->use == WAIT_USE_OPEN)
                put(text, "opens %s for %s", what, reads ? "reading" : "writing");
        else
                put(text, "waits for %s in %s", reads ? "data" : "room", what);
        put_other_end(text, wait, reads ? "written by" : "read by");
}

static void put_unix(Text *text, const Wait *wait) {
        const char *name = or_else(wait->address, "without a name");

        if (wait->listens) {
                put(text, "waits for a connection to Unix socket %s", name);
                return;
        }
        if (wait->queue_full) {
                put(text, "connects to Unix socket %s, whose queue is full", name);
                put_other_end(text, wait, "not accepted by");
                return;
        }
        if (wait->not_accepted) {
                put(text, "is connected to Unix socket %s", name);
                put_other_end(text, wait, "not accepted yet by");
                if (wait->n_queued > 0)
                        put(text, " (%u in its queue)", wait->n_queued);
                return;
        }
        put(text,
            wait->use == WAIT_USE_WRITE ? "waits for room on Unix socket %s" : "waits for an answer on Unix socket %s",
            name);
        put_other_end(text, wait, wait->use == WAIT_USE_WRITE ? "read by" : "of");
        if (wait->n_unread > 0)
                put(text, ", which has not read %u bytes", wait->n_unread);
}

static void put_tcp(Text *text, const Wait *wait) {
        const char *address = or_else(wait->address, "an address that is not known");

        if (wait->listens) {
                put(text, "waits for a TCP connection to %s", address);
                return;
        }
        if (wait->connecting)
                put(text, "connects to %s (TCP), which has not answered", address);
        else
                put(text, "waits for %s %s (TCP)",
                    wait->use == WAIT_USE_WRITE ? "room on the connection to" : "an answer from", address);
        if (wait->peer == WAIT_PEER_FOUND)
                put_other_end(text, wait, "here");
}

static void put_mount(Text *text, const Wait *wait) {
        put(text, "waits for the server of %s (%s)", or_else(wait->mount, "a file system"),
            or_else(wait->mount_type, "of a type that is not known"));
        if (*wait->syscall)
                put(text, " in %s", wait->syscall);
        if (*wait->path)
                put(text, " of %s", wait->path);
        if (wait->peer == WAIT_PEER_FOUND || wait->peer == WAIT_PEER_NOBODY)
                put_other_end(text, wait, "served by");
}

static void put_file(Text *text, const Wait *wait) {
        put(text, "is in %s of %s", or_else(wait->syscall, "a system call"),
            or_else(wait->path, "a file that is not known"));
        if (*wait->mount_type)
                put(text, " (%s)", wait->mount_type);
}

static void put_unknown(Text *text, const Wait *wait) {
        if (wait->changed)
                put(text, "went on while it was looked at");
        else if (wait->phrase)
                put(text, "%s", wait->phrase);
        else if (*wait->syscall)
                put(text, "waits in %s%s%s, for what is not known", wait->syscall, *wait->path ? " of " : "",
                    wait->path);
        else if (*wait->wchan && strcmp(wait->wchan, "0") != 0)
                put(text, "waits in the kernel (%s), for what is not known", wait->wchan);
        else
                put(text, "waits for what is not known");
}

void wait_words(const Wait *wait, char ret[static WAIT_TEXT_MAX]) {
        Text text = { ret, 0 };

        *ret = '\0';
        switch (wait->kind) {
        case WAIT_CPU:
                put(&text, "computes, or waits for a CPU");
                break;
        case WAIT_FILE:
                put_file(&text, wait);
                break;
        case WAIT_LOCK:
                if (wait->phrase)
                        put(&text, "%s", wait->phrase);
                else {
                        put(&text, "waits for the lock of %s", or_else(wait->path, "a file that is not known"));
                        put_other_end(&text, wait, "held by");
                }
                break;
        case WAIT_FIFO:
                put_fifo(&text, wait);
                break;
        case WAIT_UNIX:
                put_unix(&text, wait);
                break;
        case WAIT_TCP:
                put_tcp(&text, wait);
                break;
        case WAIT_NETLINK:
                put(&text, "waits for the kernel's answer (netlink, %s)", or_else(wait->address, "family not known"));
                break;
        case WAIT_MOUNT:
                put_mount(&text, wait);
                break;
        case WAIT_FREEZER:
                put(&text, "is frozen, by cgroup %s", or_else(wait->cgroup, "that is not known"));
                break;
        case WAIT_STOPPED:
                put(&text, wait->peer == WAIT_PEER_FOUND ? "is stopped by a debugger" : "is stopped (SIGSTOP)");
                put_other_end(&text, wait, "");
                break;
        case WAIT_CHILD:
                put(&text, "waits for ");
                if (wait->peer == WAIT_PEER_FOUND)
                        put_peer(&text, wait);
                else
                        put(&text, "a child to end");
                break;
        case WAIT_SLEEP:
                put(&text, "sleeps");
                break;
        case WAIT_UNKNOWN:
        case _WAIT_KIND_MAX:
                put_unknown(&text, wait);
                break;
        }
        if (wait->n_others > 0 && (wait->kind == WAIT_UNIX || wait->kind == WAIT_TCP || wait->kind == WAIT_FIFO))
                put(&text, ", or for %u other descriptor%s", wait->n_others, wait->n_others > 1 ? "s" : "");
}
