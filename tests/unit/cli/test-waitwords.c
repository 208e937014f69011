#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "util.h"
#include "wait.h"

#define PEER .peer = WAIT_PEER_FOUND, .peer_pid = 99, .peer_name = "agent", .peer_state = 'S', .n_peers = 1

static const struct {
        Wait wait;
        const char *words;
} cases[] = {
        { { .kind = WAIT_LOCK, .path = "/lk", PEER }, "waits for the lock of /lk, held by agent (pid 99)" },
        { { .kind = WAIT_LOCK, .path = "/lk", .peer = WAIT_PEER_UNKNOWN },
          "waits for the lock of /lk, held by a process that is not known" },
        { { .kind = WAIT_LOCK, .path = "/lk", .peer = WAIT_PEER_GONE, .peer_pid = 7 },
          "waits for the lock of /lk, taken by pid 7, which has ended" },
        { { .kind = WAIT_FIFO, .use = WAIT_USE_OPEN, .path = "/f", .peer = WAIT_PEER_NOBODY },
          "opens FIFO /f for reading, written by nobody" },
        { { .kind = WAIT_FIFO, .use = WAIT_USE_OPEN, .want_read = true, .path = "/f", .peer = WAIT_PEER_NOBODY },
          "opens FIFO /f for writing, read by nobody" },
        { { .kind = WAIT_FIFO, .use = WAIT_USE_READ, .is_pipe = true, PEER },
          "waits for data in a pipe, written by agent (pid 99)" },
        { { .kind = WAIT_FIFO, .use = WAIT_USE_WRITE, .path = "/f", PEER },
          "waits for room in FIFO /f, read by agent (pid 99)" },
        { { .kind = WAIT_UNIX, .use = WAIT_USE_READ, .address = "/s", PEER },
          "waits for an answer on Unix socket /s, of agent (pid 99)" },
        { { .kind = WAIT_UNIX, .address = "/s", .not_accepted = true, .n_queued = 1, PEER },
          "is connected to Unix socket /s, not accepted yet by agent (pid 99) (1 in its queue)" },
        { { .kind = WAIT_UNIX, .address = "/s", .queue_full = true, PEER },
          "connects to Unix socket /s, whose queue is full, not accepted by agent (pid 99)" },
        { { .kind = WAIT_UNIX, .address = "/s", .listens = true }, "waits for a connection to Unix socket /s" },
        { { .kind = WAIT_TCP, .use = WAIT_USE_READ, .address = "1.2.3.4:5", .n_others = 1 },
          "waits for an answer from 1.2.3.4:5 (TCP), or for 1 other descriptor" },
        { { .kind = WAIT_TCP, .address = "1.2.3.4:5", .connecting = true },
          "connects to 1.2.3.4:5 (TCP), which has not answered" },
        { { .kind = WAIT_NETLINK, .address = "route" }, "waits for the kernel's answer (netlink, route)" },
        { { .kind = WAIT_MOUNT, .mount = "/mnt", .mount_type = "fuse.x", .path = "/mnt/a", .syscall = "statx", PEER },
          "waits for the server of /mnt (fuse.x) in statx of /mnt/a, served by agent (pid 99)" },
        { { .kind = WAIT_FREEZER, .cgroup = "/pods" }, "is frozen, by cgroup /pods" },
        { { .kind = WAIT_STOPPED }, "is stopped (SIGSTOP)" },
        { { .kind = WAIT_CHILD, PEER }, "waits for agent (pid 99)" },
        { { .kind = WAIT_CHILD, .peer = WAIT_PEER_UNKNOWN }, "waits for a child to end" },
        { { .kind = WAIT_SLEEP }, "sleeps" },
        { { .kind = WAIT_CPU }, "computes, or waits for a CPU" },
        { { .kind = WAIT_FILE, .syscall = "fsync", .path = "/x", .mount_type = "ext4" }, "is in fsync of /x (ext4)" },
        { { .kind = WAIT_UNKNOWN, .changed = true }, "went on while it was looked at" },
        { { .kind = WAIT_UNKNOWN, .syscall = "bpf" }, "waits in bpf, for what is not known" },
        { { .kind = WAIT_UNKNOWN, .wchan = "x_wait" }, "waits in the kernel (x_wait), for what is not known" },
        { { .kind = WAIT_UNKNOWN }, "waits for what is not known" },
};

static void test_words(void **state) {
        char words[WAIT_TEXT_MAX];

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                wait_words(&cases[i].wait, words);
                assert_string_equal(words, cases[i].words);
        }
}

static void test_peers(void **state) {
        static const struct {
                char state;
                bool frozen;
                const char *end;
        } peers[] = {
                { 'T', false, ", which is stopped" },
                { 'D', false, ", which is in state D" },
                { 'Z', false, ", which has ended" },
                { 'S', true, ", which is frozen" },
        };
        char words[WAIT_TEXT_MAX];

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(peers); i++) {
                Wait wait = { .kind = WAIT_LOCK, .path = "/lk", PEER };

                wait.peer_state = peers[i].state;
                wait.peer_frozen = peers[i].frozen;
                wait_words(&wait, words);
                assert_non_null(strstr(words, peers[i].end));
        }
}

/* Whatever a process calls its files, the text ends. */
static void test_long(void **state) {
        char words[WAIT_TEXT_MAX];
        Wait wait = { .kind = WAIT_MOUNT, PEER };

        (void) state;
        memset(wait.path, 'x', sizeof(wait.path) - 1);
        memset(wait.mount, 'y', sizeof(wait.mount) - 1);
        memset(wait.address, 'z', sizeof(wait.address) - 1);
        for (int kind = 0; kind < _WAIT_KIND_MAX; kind++) {
                wait.kind = (WaitKind) kind;
                wait_words(&wait, words);
                assert_true(strlen(words) < WAIT_TEXT_MAX && *words);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_words),
                cmocka_unit_test(test_peers),
                cmocka_unit_test(test_long),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
