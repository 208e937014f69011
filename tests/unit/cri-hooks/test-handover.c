#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <sys/socket.h>
#include "fdpass.h"
#include "handover.h"
#include "hpackdec.h"
#include "podmap.h"
#include "proto.h"

/* Reads what @fn reads from every beginning of @pack, which must fail, and then from all of it. */
static void every_length(const Pack *pack, int (*fn)(Unpack *unpack)) {
        assert_false(pack->failed);
        for (size_t n = 0; n <= pack->n; n++) {
                _cleanup_free_ uint8_t *exact = malloc(n ? n : 1);
                Unpack unpack;

                assert_non_null(exact);
                memcpy(exact, pack->p, n);
                unpack = unpack_make(exact, n);
                assert_int_equal(fn(&unpack), n < pack->n ? -EBADMSG : 0);
                assert_int_equal(unpack.n, 0);
        }
}

static int read_primitives(Unpack *unpack) {
        _cleanup_free_ char *s = NULL, *none = NULL, *empty = NULL;
        char text[4], fixed[3];
        const uint8_t *bytes;
        uint64_t number;
        size_t n;

        number = unpack_number(unpack, UINT64_MAX);
        s = unpack_string(unpack, 5);
        none = unpack_string(unpack, 5);
        empty = unpack_string(unpack, 5);
        unpack_text(unpack, text, sizeof(text));
        unpack_fixed(unpack, fixed, sizeof(fixed));
        bytes = unpack_bytes(unpack, 2, &n);
        if (unpack->failed)
                return unpack_result(unpack);
        assert_true(number == UINT64_MAX - 1);
        assert_string_equal(s, "seven");
        assert_null(none);
        assert_string_equal(empty, "");
        assert_string_equal(text, "abc");
        assert_memory_equal(fixed, "xyz", 3);
        assert_int_equal(n, 2);
        assert_memory_equal(bytes, "\0\1", 2);
        return unpack_bool(unpack) ? 0 : unpack_result(unpack);
}

static void primitives(void **state) {
        _cleanup_(pack_deinit) Pack pack = PACK_NULL, wrong = PACK_NULL;
        Unpack unpack;
        char text[4];

        (void) state;
        pack_number(&pack, 7);
        pack_string(&pack, "seven");
        pack_string(&pack, NULL);
        pack_string(&pack, "");
        pack_string(&pack, "abc");
        pack_fixed(&pack, "xyz", 3);
        pack_bytes(&pack, "\0\1", 2);
        pack_number(&pack, 1);
        pack_patch(&pack, 0, UINT64_MAX - 1);
        every_length(&pack, read_primitives);

        /* Too large, too long, a NUL inside. */
        pack_number(&wrong, 3);
        unpack = unpack_make(wrong.p, wrong.n);
        assert_int_equal(unpack_number(&unpack, 2), 0);
        assert_int_equal(unpack_result(&unpack), -EBADMSG);
        assert_int_equal(unpack_number(&unpack, 9), 0);
        wrong.n = 0;
        pack_string(&wrong, "abcd");
        unpack = unpack_make(wrong.p, wrong.n);
        unpack_text(&unpack, text, sizeof(text));
        assert_string_equal(text, "");
        assert_true(unpack.failed);
        wrong.n = 0;
        pack_bytes(&wrong, "a\0b", 3);
        unpack = unpack_make(wrong.p, wrong.n);
        assert_null(unpack_string(&unpack, 9));
        assert_true(unpack.failed);
}

static int read_msg(Unpack *unpack) {
        _cleanup_(handovermsg_deinit) HandoverMsg msg = {};
        int r = handovermsg_read(unpack->p, unpack->n, &msg);

        unpack->n = 0;
        return r;
}

static void messages(void **state) {
        static const HandoverMsg all[] = {
                { .type = HANDOVER_HELLO, .version = HANDOVERMSG_VERSION },
                { .type = HANDOVER_INFO,
                  .version = HANDOVERMSG_VERSION,
                  .runtime = (char *) "/run/rt.sock",
                  .state_dir = (char *) "/run/podspan",
                  .watchdog_usec = 3000000 },
                { .type = HANDOVER_START, .tap_version = 9 },
                { .type = HANDOVER_STATE, .n_conns = 8192, .size = 1 << 20, .owns_path = true, .dev = 1, .ino = 2 },
                { .type = HANDOVER_FDS },
                { .type = HANDOVER_READY },
                { .type = HANDOVER_COMMIT },
                { .type = HANDOVER_DONE },
        };
        _cleanup_(pack_deinit) Pack pack = PACK_NULL;
        HandoverMsg msg;

        (void) state;
        for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
                pack.n = 0;
                handovermsg_write(&all[i], &pack);
                every_length(&pack, read_msg);
                assert_int_equal(handovermsg_read(pack.p, pack.n, &msg), 0);
                assert_int_equal(msg.type, all[i].type);
                assert_int_equal(msg.version, all[i].version);
                assert_int_equal(msg.n_conns, all[i].n_conns);
                assert_int_equal(msg.watchdog_usec, all[i].watchdog_usec);
                if (all[i].runtime)
                        assert_string_equal(msg.runtime, all[i].runtime);
                assert_null(msg.config);
                handovermsg_deinit(&msg);

                /* More than there should be. */
                pack_number(&pack, 0);
                assert_int_equal(handovermsg_read(pack.p, pack.n, &msg), -EBADMSG);
                handovermsg_deinit(&msg);
        }

        /* Another version is heard out, whatever it says besides. */
        pack.n = 0;
        handovermsg_write(&(const HandoverMsg){ .type = HANDOVER_INFO, .version = 77, .runtime = (char *) "x" }, &pack);
        pack_number(&pack, UINT64_MAX);
        assert_int_equal(handovermsg_read(pack.p, pack.n, &msg), 0);
        assert_int_equal(msg.version, 77);
        assert_null(msg.runtime);
        handovermsg_deinit(&msg);
}

typedef struct Decoded {
        Bytes text;
} Decoded;

static void on_field(void *userdata, const char *name, size_t n_name, const char *value, size_t n_value) {
        Decoded *d = userdata;

        bytes_add(&d->text, name, n_name);
        bytes_add(&d->text, "=", 1);
        bytes_add(&d->text, value, n_value);
        bytes_add(&d->text, "\n", 1);
}

static HpackDec moved(HpackDec *dec) {
        _cleanup_(pack_deinit) Pack pack = PACK_NULL;
        HpackDec other;
        Unpack unpack;

        hpackdec_pack(dec, &pack);
        assert_false(pack.failed);
        for (size_t n = 0; n < MIN(pack.n, (size_t) 600); n++) {
                _cleanup_free_ uint8_t *exact = malloc(n ? n : 1);

                assert_non_null(exact);
                memcpy(exact, pack.p, n);
                unpack = unpack_make(exact, n);
                assert_int_equal(hpackdec_unpack(&unpack, &other), -EBADMSG);
                hpackdec_deinit(&other);
        }
        unpack = unpack_make(pack.p, pack.n);
        assert_int_equal(hpackdec_unpack(&unpack, &other), 0);
        assert_int_equal(unpack.n, 0);
        hpackdec_deinit(dec);
        return other;
}

static void block(HpackDec *dec, const char *bytes, size_t n, const char *text) {
        Decoded d = {};

        assert_int_equal(hpackdec_fragment(dec, (const uint8_t *) bytes, n, true, on_field, &d), 0);
        bytes_add(&d.text, "", 1);
        assert_string_equal((char *) d.text.p, text);
        bytes_free(&d.text);
}

/* RFC 7541, C.5: a table of 256 bytes, from which entries go; after each block it is another decoder. */
static void table(void **state) {
        static const char first[] = "\x48\x03"
                                    "302\x58\x07private\x61\x1dMon, 21 Oct 2013 20:13:21 GMT"
                                    "\x6e\x17https://www.example.com";
        static const char second[] = "\x48\x03"
                                     "307\xc1\xc0\xbf";
        static const char empty[] = "\x40\x01n\x00\x40\x01m\x01v";
        HpackDec dec;

        (void) state;
        assert_int_equal(hpackdec_init(&dec), 0);
        dec = moved(&dec);
        assert_int_equal(hpackdec_table_size(&dec, 256), 0);
        dec = moved(&dec);
        block(&dec, "\x3f\xe1\x01", 3, "");
        dec = moved(&dec);
        block(&dec, first, sizeof(first) - 1,
              ":status=302\ncache-control=private\ndate=Mon, 21 Oct 2013 20:13:21 GMT\n"
              "location=https://www.example.com\n");
        assert_int_equal(hpackdec_table_used(&dec), 222);
        dec = moved(&dec);
        block(&dec, second, sizeof(second) - 1,
              ":status=307\ncache-control=private\ndate=Mon, 21 Oct 2013 20:13:21 GMT\n"
              "location=https://www.example.com\n");
        assert_int_equal(hpackdec_table_used(&dec), 222);
        dec = moved(&dec);
        block(&dec, "\xbe\xbf\xc0\xc1", 4,
              ":status=307\nlocation=https://www.example.com\ndate=Mon, 21 Oct 2013 20:13:21 GMT\n"
              "cache-control=private\n");
        dec = moved(&dec);
        block(&dec, empty, sizeof(empty) - 1, "n=\nm=v\n");
        dec = moved(&dec);
        block(&dec, "\xbe\xbf", 2, "m=v\nn=\n");
        hpackdec_deinit(&dec);
}

/* The smallest of several sizes counts, and the encoder must say that it follows. */
static void table_sizes(void **state) {
        static const char first[] = "\x40\x01n\x01v\x40\x01m\x01v";
        static const struct {
                uint32_t sizes[3];
                const char *update; /* that is wanted */
                size_t n;
        } cases[] = {
                { { 4096, 8192, 8192 }, "", 0 },
                { { 100, 4096, 4096 }, "\x3f\x45", 2 },
                { { 34, 34, 34 }, "\x3f\x03", 2 },
                { { 0, 0, 0 }, "\x20", 1 },
                { { 0, 4096, 100 }, "\x20", 1 },
                { { HPACKDEC_TABLE_MAX, HPACKDEC_TABLE_MAX, 4096 }, "", 0 },
                { { HPACKDEC_TABLE_MAX, 8000, 4000 }, "\x3f\x81\x1f", 3 },
        };

        (void) state;
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
                HpackDec dec;

                assert_int_equal(hpackdec_init(&dec), 0);
                block(&dec, first, sizeof(first) - 1, "n=v\nm=v\n");
                for (unsigned j = 0; j < ARRAY_SIZE(cases[i].sizes); j++) {
                        assert_int_equal(hpackdec_table_size(&dec, cases[i].sizes[j]), 0);
                        dec = moved(&dec);
                }
                if (cases[i].n > 0) {
                        HpackDec other;
                        _cleanup_(pack_deinit) Pack pack = PACK_NULL;
                        Unpack unpack;

                        hpackdec_pack(&dec, &pack);
                        unpack = unpack_make(pack.p, pack.n);
                        assert_int_equal(hpackdec_unpack(&unpack, &other), 0);
                        assert_int_equal(
                                hpackdec_fragment(&other, (const uint8_t *) "\x82", 1, true, on_field, &(Decoded){}),
                                -EBADMSG);
                        hpackdec_deinit(&other);
                        block(&dec, cases[i].update, cases[i].n, "");
                        dec = moved(&dec);
                }
                block(&dec, "\x82", 1, ":method=GET\n");
                hpackdec_deinit(&dec);
        }
}

static int read_map(Unpack *unpack) {
        _cleanup_(podmap_freep) Podmap *map = podmap_new();
        int r;

        r = podmap_unpack(map, unpack);
        if (r < 0)
                return r;
        assert_int_equal(podmap_size(map), 2);
        assert_string_equal(podmap_string(podmap_find_pod(map, "u1"), PODMAP_ID), "s1");
        assert_ptr_equal(podmap_sandbox(map, podmap_find(map, "c1")), podmap_find(map, "s1"));
        assert_int_equal(podmap_find(map, "c1")->attempt, 3);
        return 0;
}

static void map(void **state) {
        _cleanup_(podmap_freep) Podmap *map = podmap_new();
        _cleanup_(pack_deinit) Pack pack = PACK_NULL;
        CriFields sandbox = { .s = { [CRI_SANDBOX_ID] = (char *) "s1", [CRI_POD_UID] = (char *) "u1" } };
        CriFields container = { .s = { [CRI_SANDBOX_ID] = (char *) "s1", [CRI_CONTAINER_ID] = (char *) "c1" },
                                .container_attempt = 3,
                                .container_metadata = true };

        (void) state;
        assert_non_null(podmap_put_sandbox(map, &sandbox));
        assert_non_null(podmap_put_container(map, &container));
        podmap_pack(map, &pack);
        every_length(&pack, read_map);
}

/* Packets with descriptors, and what is not one. */
static void passing(void **state) {
        int ends[2], fds[FDPASS_MAX], buf, many[FDPASS_MAX];
        size_t n_fds = 0;

        (void) state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
        assert_int_equal(fdpass_peer(ends[0]), getpid());
        assert_int_equal(fdpass_recv(ends[1], &buf, sizeof(buf), fds, &n_fds), -EAGAIN);
        for (unsigned i = 0; i < FDPASS_MAX; i++)
                many[i] = ends[i % 2];
        assert_int_equal(fdpass_send(ends[0], "abcd", 4, many, FDPASS_MAX + 1), -E2BIG);
        assert_int_equal(fdpass_send(ends[0], "abcd", 4, many, FDPASS_MAX), 0);
        assert_int_equal(fdpass_recv(ends[1], &buf, sizeof(buf), fds, &n_fds), 4);
        assert_int_equal(n_fds, FDPASS_MAX);
        for (unsigned i = 0; i < FDPASS_MAX; i++)
                close_fd(fds[i]);
        assert_int_equal(fdpass_send(ends[0], "abcde", 5, many, 2), 0);
        assert_int_equal(fdpass_recv(ends[1], &buf, sizeof(buf), fds, &n_fds), -EBADMSG);
        close_fd(ends[0]);
        assert_int_equal(fdpass_recv(ends[1], &buf, sizeof(buf), fds, &n_fds), -ECONNRESET);
        close_fd(ends[1]);
}

static void names(void **state) {
        char path[120];
        char *s;

        (void) state;
        s = handover_path("/run/podspan/run/crio/crio.sock");
        assert_string_equal(s, "/run/podspan/run/crio/crio.sock.upgrade");
        free(s);
        memset(path, 'x', sizeof(path));
        path[99] = '\0';
        s = handover_path(path);
        assert_non_null(s);
        free(s);
        path[99] = 'x';
        path[100] = '\0';
        assert_null(handover_path(path));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(primitives),  cmocka_unit_test(messages), cmocka_unit_test(table),
                cmocka_unit_test(table_sizes), cmocka_unit_test(map),      cmocka_unit_test(passing),
                cmocka_unit_test(names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
