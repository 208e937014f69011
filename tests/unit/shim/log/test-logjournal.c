#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <endian.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "fixture.h"
#include "logjournal.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* One record as journald would take it, fields in their order. */
typedef struct Received {
        char *bytes;
        size_t size;
        bool memfd;
} Received;

static int bind_at(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert_true(fd >= 0);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        assert_int_equal(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        return fd;
}

/* The next datagram; false if there is none. What came in a memfd must be sealed, as journald asks. */
static bool receive(int fd, Received *ret) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control;
        static char buffer[1 << 20];
        struct iovec iov = { .iov_base = buffer, .iov_len = sizeof(buffer) };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        const ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        struct cmsghdr *header;

        if (n < 0) {
                assert_int_equal(errno, EAGAIN);
                return false;
        }
        header = CMSG_FIRSTHDR(&message);
        if (header) {
                const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
                int memfd;

                assert_int_equal(n, 0);
                memcpy(&memfd, CMSG_DATA(header), sizeof(memfd));
                assert_int_equal(fcntl(memfd, F_GET_SEALS), seals);
                assert_int_equal(lseek(memfd, 0, SEEK_SET), 0);
                assert_int_equal(util_read_fd(memfd, 1 << 30, &ret->bytes, &ret->size), 0);
                close(memfd);
        } else {
                ret->bytes = malloc((size_t) n + 1);
                assert_non_null(ret->bytes);
                memcpy(ret->bytes, buffer, (size_t) n);
                ret->bytes[n] = '\0';
                ret->size = (size_t) n;
        }
        ret->memfd = header != NULL;
        return true;
}

static void assert_next(int fd, const char *expected, size_t size) {
        Received received;

        assert_true(receive(fd, &received));
        if (received.size != size || memcmp(received.bytes, expected, size) != 0)
                fail_msg("got\n%.*s\ninstead of\n%.*s", (int) received.size, received.bytes, (int) size, expected);
        free(received.bytes);
}

#define ASSERT_NEXT(fd, text) assert_next(fd, text, sizeof(text) - 1)

static void write_text(Logs *logs, LogsStream stream, const char *text, const Clk *now) {
        logs_write(logs, stream, (const uint8_t *) text, strlen(text), now);
}

static Logs *journal_logs(const Fixture *fixture, LogsOptions options) {
        const char *paths[] = { "journald" };

        options.paths = paths;
        options.n_paths = 1;
        options.id = ID;
        options.journal_socket = fixture->path;
        return fixture_logs(fixture, options);
}

#define REST(priority, name) "CONTAINER_ID_FULL=" ID "\nPRIORITY=" priority "\nCONTAINER_ID=0123456789ab\n" name

/* As conmon 2.1.6 sends it, without CODE_FILE, CODE_LINE and CODE_FUNC. */
static void fields_are_conmons(void **state) {
        const Fixture *fixture = *state;
        const char *labels[] = { "COLOUR=red", "SIZE=" };
        int fd = bind_at(fixture->path);
        Logs *logs = journal_logs(fixture, (LogsOptions){ .name = "nam", .tag = "my tag" });

        write_text(logs, LOGS_STDOUT, "hello\n\nlast", &fixture->now);
        write_text(logs, LOGS_STDERR, "err\n", &fixture->now);
        logs_end(logs, &fixture->now);
        logs_free(logs);
#define TAGGED "CONTAINER_TAG=my tag\nCONTAINER_NAME=nam\nSYSLOG_IDENTIFIER=my tag\n"
        ASSERT_NEXT(fd, "MESSAGE\n\6\0\0\0\0\0\0\0hello\n\n" REST("6", TAGGED));
        ASSERT_NEXT(fd, "MESSAGE\n\1\0\0\0\0\0\0\0\n\n" REST("6", TAGGED));
        ASSERT_NEXT(fd, "MESSAGE\n\4\0\0\0\0\0\0\0err\n\n" REST("3", TAGGED));
        ASSERT_NEXT(fd, "MESSAGE=last\n" REST("6", TAGGED) "CONTAINER_PARTIAL_MESSAGE=true\n");

        logs = journal_logs(
                fixture, (LogsOptions){ .name = "nam", .labels = labels, .n_labels = 2, .no_partial_message = true });
        write_text(logs, LOGS_STDERR, "half", &fixture->now);
        logs_end(logs, &fixture->now);
        logs_free(logs);
        ASSERT_NEXT(fd, "MESSAGE=half\n" REST("3", "CONTAINER_NAME=nam\nSYSLOG_IDENTIFIER=nam\nCOLOUR=red\nSIZE=\n"));

        logs = journal_logs(fixture, (LogsOptions){ .tag = "two\nlines" });
        write_text(logs, LOGS_STDOUT, "x\n", &fixture->now);
        logs_free(logs);
        ASSERT_NEXT(fd, "MESSAGE\n\2\0\0\0\0\0\0\0x\n\n" REST(
                                "6", "CONTAINER_TAG\n\11\0\0\0\0\0\0\0two\nlines\nSYSLOG_IDENTIFIER\n"
                                     "\11\0\0\0\0\0\0\0two\nlines\n"));

        logs = journal_logs(fixture, (LogsOptions){ 0 });
        write_text(logs, LOGS_STDOUT, "x\n", &fixture->now);
        logs_free(logs);
        ASSERT_NEXT(fd, "MESSAGE\n\2\0\0\0\0\0\0\0x\n\n" REST("6", "SYSLOG_IDENTIFIER=0123456789ab\n"));
        close(fd);
}

static const struct {
        const char *line;
        int priority; /* -1: none */
} prefixes[] = {
        { "<0>x", 0 },   { "<3>x", 3 },  { "<7>", 7 },    { "<8>x", -1 }, { "<9>x", -1 },
        { "<>x", -1 },   { "<a>x", -1 }, { "<<0>>", -1 }, { "<0 x", -1 }, { "< 0>x", -1 },
        { " <0>x", -1 }, { "<1", -1 },   { "<", -1 },     { "", -1 },     { "<10>x", -1 },
};

static void priority_prefix(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
                const size_t n = strlen(prefixes[i].line);
                uint8_t *exact = malloc(n ? n : 1);
                int priority = -1;
                size_t skipped;

                assert_non_null(exact);
                memcpy(exact, prefixes[i].line, n);
                skipped = logjournal_priority(exact, n, &priority);
                if (priority != prefixes[i].priority || skipped != (priority < 0 ? 0U : 3U))
                        fail_msg("%s: %zu, %d", prefixes[i].line, skipped, priority);
                free(exact);
        }
}

/* Wherever a read ends, a prefix counts at the begin of a line and for all of it. */
static void priorities_in_records(void **state) {
        static const char text[] = "<3>bad\n<1>good\nplain <2>\n<7>half";
        const Fixture *fixture = *state;
        const size_t n = sizeof(text) - 1;
        int fd = bind_at(fixture->path);

        for (size_t cut = 0; cut <= n; cut++) {
                Logs *logs = journal_logs(fixture, (LogsOptions){ 0 });

                logs_write(logs, LOGS_STDOUT, (const uint8_t *) text, cut, &fixture->now);
                logs_write(logs, LOGS_STDOUT, (const uint8_t *) text + cut, n - cut, &fixture->now);
                logs_end(logs, &fixture->now);
                write_text(logs, LOGS_STDOUT, "<1>rest\n", &fixture->now);
                logs_free(logs);
#define SHORT "SYSLOG_IDENTIFIER=0123456789ab\n"
                ASSERT_NEXT(fd, "MESSAGE\n\4\0\0\0\0\0\0\0bad\n\n" REST("3", SHORT));
                ASSERT_NEXT(fd, "MESSAGE\n\5\0\0\0\0\0\0\0good\n\n" REST("1", SHORT));
                ASSERT_NEXT(fd, "MESSAGE\n\12\0\0\0\0\0\0\0plain <2>\n\n" REST("6", SHORT));
                ASSERT_NEXT(fd, "MESSAGE=half\n" REST("7", SHORT) "CONTAINER_PARTIAL_MESSAGE=true\n");
                ASSERT_NEXT(fd, "MESSAGE\n\10\0\0\0\0\0\0\0<1>rest\n\n" REST("7", SHORT));
        }
        close(fd);
}

/* A line of 40000 bytes: two partial records and its end. */
static void long_lines(void **state) {
        const Fixture *fixture = *state;
        const size_t n = 40000, head = strlen("MESSAGE=");
        uint8_t *line = malloc(n + 1);
        int fd = bind_at(fixture->path);
        Logs *logs = journal_logs(fixture, (LogsOptions){ 0 });

        assert_non_null(line);
        for (size_t i = 0; i < n; i++)
                line[i] = (uint8_t) (i % 251 == '\n' ? 0 : i % 251);
        line[n] = '\n';
        for (size_t at = 0; at <= n; at += 9000)
                logs_write(logs, LOGS_STDOUT, line + at, MIN((size_t) 9000, n + 1 - at), &fixture->now);
        logs_free(logs);

        for (size_t at = 0; at < n; at += LOGS_LINE_MAX) {
                const bool last = n - at <= LOGS_LINE_MAX;
                const size_t size = last ? n - at : LOGS_LINE_MAX, skip = head + (last ? 8 : 0);
                Received received;

                assert_true(receive(fd, &received));
                assert_memory_equal(received.bytes + skip, line + at, size);
                assert_true((strstr(received.bytes + skip + size, "CONTAINER_PARTIAL_MESSAGE=true\n") != NULL) ==
                            !last);
                free(received.bytes);
        }
        close(fd);
        free(line);
}

/* What no datagram holds goes in a memfd: only labels can make a record that long. */
static void large_records(void **state) {
        const Fixture *fixture = *state;
        const size_t size = 9 << 20;
        char *label = malloc(size + 1);
        const char *labels[] = { label };
        int fd = bind_at(fixture->path);
        Received received;
        Logs *logs;

        assert_non_null(label);
        memset(label, 'v', size);
        memcpy(label, "KEY=", 4);
        label[size] = '\0';
        logs = journal_logs(fixture, (LogsOptions){ .labels = labels, .n_labels = 1 });
        write_text(logs, LOGS_STDOUT, "x\n", &fixture->now);
        assert_int_equal(logs_counts(logs, LOGS_STDOUT).dropped, 0);
        assert_true(receive(fd, &received));
        assert_true(received.memfd);
        assert_memory_equal(received.bytes, "MESSAGE\n\2\0\0\0\0\0\0\0x\n\nCONTAINER_ID_FULL=" ID, 100);
        assert_memory_equal(received.bytes + received.size - size - 1, label, size);
        assert_int_equal(received.bytes[received.size - 1], '\n');
        free(received.bytes);
        free(label);
        logs_free(logs);
        close(fd);
}

static void on_lost(void *userdata, const LogsLoss *loss) {
        unsigned *losses = userdata;

        assert_int_equal(loss->driver, LOGS_JOURNALD);
        (*losses)++;
}

/* journald is not there, comes, goes and comes again under the same name. */
static void journald_restarts(void **state) {
        const Fixture *fixture = *state;
        Clk now = clk_now();
        unsigned losses = 0;
        Logs *logs = journal_logs(fixture, (LogsOptions){ .hooks = { .lost = on_lost, .userdata = &losses } });
        Received received;
        int fd;

        write_text(logs, LOGS_STDOUT, "lost\nlost too\n", &now);
        assert_int_equal(logs_counts(logs, LOGS_STDOUT).dropped, 14);
        assert_int_equal(losses, 1);

        fd = bind_at(fixture->path);
        now.monotonic_ns += LOGJOURNAL_RETRY_NS;
        write_text(logs, LOGS_STDOUT, "kept\n", &now);
        assert_true(receive(fd, &received));
        assert_non_null(strstr(received.bytes + 16, "podspan: 14 bytes of log lost: "));
        assert_non_null(strstr(received.bytes + 16, "\nPRIORITY=4\n"));
        free(received.bytes);
        ASSERT_NEXT(fd, "MESSAGE\n\5\0\0\0\0\0\0\0kept\n\n" REST("6", SHORT));

        /* the old socket is gone, the new one is reached without a loss */
        close(fd);
        assert_int_equal(unlink(fixture->path), 0);
        fd = bind_at(fixture->path);
        write_text(logs, LOGS_STDOUT, "again\n", &now);
        ASSERT_NEXT(fd, "MESSAGE\n\6\0\0\0\0\0\0\0again\n\n" REST("6", SHORT));
        assert_int_equal(logs_counts(logs, LOGS_STDOUT).dropped, 14);
        close(fd);
        logs_free(logs);
}

/* A journald that takes nothing: waited for once, then everything is lost at once, and said when it takes some. */
static void journald_is_stuck(void **state) {
        const Fixture *fixture = *state;
        const Clk now = clk_now();
        const uint64_t begin_ns = clk_monotonic();
        unsigned losses = 0;
        Logs *logs;
        Received received;
        LogsCounts counts;
        int fd = bind_at(fixture->path), n = 0;

        logs = journal_logs(fixture, (LogsOptions){ .hooks = { .lost = on_lost, .userdata = &losses } });
        for (int i = 0; i < 20000; i++)
                write_text(logs, LOGS_STDOUT, "line\n", &now);
        counts = logs_counts(logs, LOGS_STDOUT);
        assert_true(counts.dropped > 0 && counts.dropped % 5 == 0);
        assert_int_equal(losses, 1);
        assert_true(clk_monotonic() - begin_ns >= LOGJOURNAL_WAIT_MS * NSEC_PER_MSEC / 2);
        assert_true(clk_monotonic() - begin_ns < 60 * NSEC_PER_SEC); /* 20000 waits would be hours */

        while (receive(fd, &received)) {
                n++;
                free(received.bytes);
        }
        assert_int_equal(n, (100000 - counts.dropped) / 5);
        write_text(logs, LOGS_STDOUT, "end\n", &now);
        assert_true(receive(fd, &received));
        assert_non_null(strstr(received.bytes + 16, " bytes of log lost: Resource temporarily unavailable\n"));
        free(received.bytes);
        ASSERT_NEXT(fd, "MESSAGE\n\4\0\0\0\0\0\0\0end\n\n" REST("6", SHORT));
        close(fd);
        logs_free(logs);
}

/* A file that fails and a journal that does not: each has its own fate. */
static void two_destinations(void **state) {
        const Fixture *fixture = *state;
        const char *paths[] = { "k8s-file:/dev/full", "journald:" };
        int fd = bind_at(fixture->path);
        Logs *logs = fixture_logs(
                fixture, (LogsOptions){ .paths = paths, .n_paths = 2, .id = ID, .journal_socket = fixture->path });

        assert_true(logs_has(logs, LOGS_K8S_FILE) && logs_has(logs, LOGS_JOURNALD));
        write_text(logs, LOGS_STDOUT, "x\n", &fixture->now);
        logs_end(logs, &fixture->now);
        assert_int_equal(logs_counts(logs, LOGS_STDOUT).dropped, 2);
        ASSERT_NEXT(fd, "MESSAGE\n\2\0\0\0\0\0\0\0x\n\n" REST("6", SHORT));
        logs_free(logs);
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(fields_are_conmons, fixture_setup, fixture_teardown),
                cmocka_unit_test(priority_prefix),
                cmocka_unit_test_setup_teardown(priorities_in_records, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(long_lines, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(large_records, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(journald_restarts, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(journald_is_stuck, fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(two_destinations, fixture_setup, fixture_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
