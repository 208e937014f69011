#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <cmocka.h>
#include "../exact.h"
#include "sockdiag.h"

typedef struct Reply {
        uint8_t bytes[1024];
        size_t n;
} Reply;

static void put(Reply *reply, const void *data, size_t n) {
        memcpy(reply->bytes + reply->n, data, n);
        reply->n += n;
        while (reply->n % 4 != 0)
                reply->bytes[reply->n++] = 0;
}

static void put_attribute(Reply *reply, uint16_t type, const void *data, size_t n) {
        struct nlattr attribute = { (uint16_t) (sizeof(attribute) + n), type };

        put(reply, &attribute, sizeof(attribute));
        put(reply, data, n);
}

static void put_socket(Reply *reply, uint32_t ino, uint8_t state, const char *name, size_t name_n, uint32_t peer) {
        struct unix_diag_msg message = { .udiag_family = AF_UNIX, .udiag_state = state, .udiag_ino = ino };
        struct nlmsghdr header = { .nlmsg_type = SOCK_DIAG_BY_FAMILY };
        struct unix_diag_rqlen queues = { 3, 128 };
        uint32_t waiting[] = { 70, 71 };
        size_t begin = reply->n;

        put(reply, &header, sizeof(header));
        put(reply, &message, sizeof(message));
        if (name_n > 0)
                put_attribute(reply, UNIX_DIAG_NAME, name, name_n);
        if (peer != 0)
                put_attribute(reply, UNIX_DIAG_PEER, &peer, sizeof(peer));
        if (state == 10) {
                put_attribute(reply, UNIX_DIAG_ICONS, waiting, sizeof(waiting));
                put_attribute(reply, UNIX_DIAG_RQLEN, &queues, sizeof(queues));
        }
        header.nlmsg_len = (uint32_t) (reply->n - begin);
        memcpy(reply->bytes + begin, &header, sizeof(header));
}

static void put_end(Reply *reply, uint16_t type, int value) {
        struct nlmsghdr header = { .nlmsg_len = sizeof(header) + sizeof(value), .nlmsg_type = type };

        put(reply, &header, sizeof(header));
        put(reply, &value, sizeof(value));
}

static void make(Reply *ret) {
        *ret = (Reply){};
        put_socket(ret, 7, 10, "/run/x.sock", sizeof("/run/x.sock"), 0);
        put_socket(ret, 8, 1, "\0name", 5, 9);
        put_end(ret, NLMSG_DONE, 0);
}

static void test_reply(void **state) {
        SockdiagSocket socket;
        const uint8_t *p;
        Reply reply;
        size_t n;

        (void) state;
        make(&reply);
        p = reply.bytes;
        n = reply.n;
        assert_int_equal(sockdiag_next(&p, &n, &socket), 1);
        assert_int_equal(socket.ino, 7);
        assert_int_equal(socket.state, 10);
        assert_string_equal(socket.name, "/run/x.sock");
        assert_int_equal(socket.rqueue, 3);
        assert_int_equal(socket.n_waiting, 2);
        assert_int_equal(sockdiag_next(&p, &n, &socket), 1);
        assert_int_equal(socket.peer, 9);
        assert_string_equal(socket.name, "@name");
        assert_int_equal(sockdiag_next(&p, &n, &socket), -ENODATA);

        reply = (Reply){};
        put_end(&reply, NLMSG_ERROR, -EPERM);
        p = reply.bytes;
        n = reply.n;
        assert_int_equal(sockdiag_next(&p, &n, &socket), -EPERM);
}

/* Cut anywhere, and with each byte changed: it ends, and nothing is read behind the end. */
static void test_broken(void **state) {
        Reply reply;

        (void) state;
        make(&reply);
        for (size_t cut = 0; cut <= reply.n; cut++) {
                _cleanup_free_ char *bytes = exact((const char *) reply.bytes, cut);
                const uint8_t *p = (const uint8_t *) bytes;
                SockdiagSocket socket;
                size_t n = cut;

                while (sockdiag_next(&p, &n, &socket) > 0)
                        ;
        }
        for (size_t i = 0; i < reply.n; i++)
                for (unsigned value = 0; value < 256; value += 5) {
                        Reply other = reply;
                        const uint8_t *p = other.bytes;
                        SockdiagSocket socket;
                        size_t n = other.n;

                        other.bytes[i] = (uint8_t) value;
                        while (sockdiag_next(&p, &n, &socket) > 0)
                                ;
                }
}

/* What the kernel says of sockets of ours: accepted, and in a listener's queue. */
static void test_kernel(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const SockdiagSocket *found;
        Asides asides = {};
        struct stat client_stat, server_stat, listener_stat;
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client = socket(AF_UNIX, SOCK_STREAM, 0), server;
        socklen_t len;
        Sockdiag diag;

        (void) state;
        (void) snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "podspan-test-%d", (int) getpid());
        len = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address.sun_path + 1));
        assert_int_equal(bind(listener, (struct sockaddr *) &address, len), 0);
        assert_int_equal(listen(listener, 5), 0);
        assert_int_equal(connect(client, (struct sockaddr *) &address, len), 0);
        (void) fstat(client, &client_stat);
        (void) fstat(listener, &listener_stat);

        if (sockdiag_load(&asides, 0, &diag) < 0)
                skip(); /* a kernel without unix_diag */
        found = sockdiag_listener_of(&diag, client_stat.st_ino);
        assert_non_null(found);
        assert_int_equal(found->ino, listener_stat.st_ino);
        address.sun_path[0] = '@';
        assert_ptr_equal(sockdiag_listener(&diag, address.sun_path), found);
        assert_int_equal(sockdiag_find(&diag, client_stat.st_ino)->peer, 0);
        sockdiag_deinit(&diag);

        server = accept(listener, NULL, NULL);
        (void) fstat(server, &server_stat);
        assert_int_equal(sockdiag_load(&asides, 0, &diag), 0);
        assert_null(sockdiag_listener_of(&diag, client_stat.st_ino));
        assert_int_equal(sockdiag_find(&diag, client_stat.st_ino)->peer, server_stat.st_ino);
        sockdiag_deinit(&diag);
        close_fd(server);
        close_fd(client);
        close_fd(listener);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_reply),
                cmocka_unit_test(test_broken),
                cmocka_unit_test(test_kernel),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
