#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>
#include <stdio.h>
#include "crimsg.h"
#include "grpcmsg.h"
#include "proto.h"
#include "util.h"

#define UID  "11111111-2222-3333-4444-555555555555"
#define LINK "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

/* A CreateContainerRequest with everything in it that must not be looked at, and the identity behind it. */
static Bytes create_request(size_t env) {
        Bytes m = {}, config = {}, image = {}, sandbox = {}, kv = {};
        char *big = malloc(env + 1);

        assert_non_null(big);
        memset(big, 'e', env);
        big[env] = 0;

        pb_string(&kv, 1, "SECRET");
        pb_string(&kv, 2, big);
        pb_message(&config, 6, &kv);
        pb_string(&config, 3, "/bin/sh");
        pb_string(&config, 4, "an argument");
        pb_number(&config, 12, 1);
        pb_map(&config, 10, "kubernetes.io/config.seen", "not of the sandbox");
        pb_string(&image, 1, "sha256:0123");
        pb_map(&image, 2, "a", "b");
        pb_string(&image, 18, "registry.example/app:1");
        pb_message(&config, 2, &image);
        pb_container(&config, 1, "main", 3);

        pb_pod(&sandbox, 1, "web-0", UID, "prod", 0);
        pb_string(&sandbox, 2, "host");
        pb_map(&sandbox, 6, "label", big);
        pb_map(&sandbox, 7, "other", big);
        pb_map(&sandbox, 7, "kubernetes.io/config.seen", "2026-11-21T10:00:00.5Z");
        pb_map(&sandbox, 7, "kubernetes.io/config.source", "api");
        pb_map(&sandbox, 7, "tracing.k8s.io/traceparent", LINK);

        /* The id last, behind all of it: order is not promised. */
        pb_message(&m, 2, &config);
        pb_message(&m, 3, &sandbox);
        /* Fields of a future version: fixed32, fixed64, varint, bytes. */
        bytes_add(&m,
                  "\xfd\x06"
                  "abcd"
                  "\xf9\x06"
                  "abcdefgh"
                  "\xf0\x06"
                  "\x96\x01"
                  "\xfa\x06\x02xy",
                  25);
        pb_string(&m, 1, "5a0dbc");
        free(big);
        return m;
}

static void check_create(const CriFields *f) {
        assert_string_equal(f->s[CRI_SANDBOX_ID], "5a0dbc");
        assert_string_equal(f->s[CRI_CONTAINER_NAME], "main");
        assert_string_equal(f->s[CRI_IMAGE], "sha256:0123");
        assert_string_equal(f->s[CRI_IMAGE_USER], "registry.example/app:1");
        assert_string_equal(f->s[CRI_POD_NAME], "web-0");
        assert_string_equal(f->s[CRI_POD_UID], UID);
        assert_string_equal(f->s[CRI_POD_NAMESPACE], "prod");
        assert_string_equal(f->s[CRI_CONFIG_SEEN], "2026-11-21T10:00:00.5Z");
        assert_string_equal(f->s[CRI_CONFIG_SOURCE], "api");
        assert_string_equal(f->s[CRI_LINK_0 + 1], LINK);
        assert_null(f->s[CRI_LINK_0]);
        assert_null(f->s[CRI_CONTAINER_ID]);
        assert_int_equal(f->container_attempt, 3);
        assert_true(f->container_metadata && f->sandbox_metadata);
        assert_int_equal(f->sandbox_attempt, 0);
}

static int scan(const PbMessage *message, const Bytes *m, size_t step, size_t len, CriFields *ret) {
        CriLinks links;
        CriScan s;

        cri_links_parse("example.com/none, tracing.k8s.io/traceparent", &links);
        cri_scan_init(&s, message, m->n, ret, &links, NULL, NULL);
        for (size_t at = 0; at < len; at += step) {
                size_t n = MIN(step, len - at);
                _cleanup_free_ uint8_t *exact = malloc(n);

                assert_non_null(exact);
                memcpy(exact, m->p + at, n);
                if (cri_scan_feed(&s, exact, n) < 0)
                        break;
        }
        return cri_scan_finish(&s);
}

static void any_segmentation(void **state) {
        Bytes m = create_request(700);

        (void) state;
        for (size_t step = 1; step < 700; step += step < 20 ? 1 : 37) {
                CriFields f = CRI_FIELDS_NULL;

                assert_int_equal(scan(&cri_create_container_request, &m, step, m.n, &f), 0);
                check_create(&f);
                cri_fields_clear(&f);
        }
        bytes_free(&m);
}

static void megabytes_before_the_name(void **state) {
        Bytes m = create_request(3 << 20);
        CriFields f = CRI_FIELDS_NULL;

        (void) state;
        assert_int_equal(scan(&cri_create_container_request, &m, 16384, m.n, &f), 0);
        check_create(&f);
        cri_fields_clear(&f);
        bytes_free(&m);
}

static void truncated_anywhere(void **state) {
        Bytes m = create_request(40);

        (void) state;
        for (size_t len = 0; len < m.n; len++) {
                CriFields f = CRI_FIELDS_NULL;

                assert_int_equal(scan(&cri_create_container_request, &m, m.n, len, &f), -EBADMSG);
                cri_fields_clear(&f);
        }
        bytes_free(&m);
}

static void malformed(void **state) {
        static const struct {
                const char *what;
                const char *in;
                size_t n;
        } cases[] = {
                { "field 0", "\x02\x00", 2 },
                { "group", "\x0b", 1 },
                { "end of group", "\x0c", 1 },
                { "wire type 7", "\x0f", 1 },
                { "longer than its message",
                  "\x0a\x05"
                  "ab",
                  4 },
                { "nested longer than its parent",
                  "\x12\x04\x0a\x05"
                  "ab",
                  6 },
                { "nested varint leaves its message", "\x12\x02\x10\xff\x01", 5 },
                { "varint of eleven bytes", "\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12 },
                { "varint above 64 bits", "\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11 },
                { "fixed64 cut",
                  "\x09"
                  "abc",
                  4 },
        };

        (void) state;
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
                for (size_t step = 1; step <= cases[i].n; step++) {
                        Bytes m = { .p = (uint8_t *) cases[i].in, .n = cases[i].n };
                        CriFields f = CRI_FIELDS_NULL;

                        if (scan(&cri_create_container_request, &m, step, m.n, &f) != -EBADMSG)
                                fail_msg("%s, by %zu", cases[i].what, step);
                        cri_fields_clear(&f);
                }
}

static void long_values_are_cut(void **state) {
        Bytes m = {};
        char id[2000];

        (void) state;
        memset(id, 'a', sizeof(id) - 1);
        id[sizeof(id) - 1] = 0;
        pb_string(&m, 1, id);
        for (size_t step = 1; step <= 2100; step += 233) {
                CriFields f = CRI_FIELDS_NULL;

                assert_int_equal(scan(&cri_container_id_request, &m, step, m.n, &f), 0);
                assert_int_equal(strlen(f.s[CRI_CONTAINER_ID]), CRIMSG_VALUE_MAX);
                cri_fields_clear(&f);
        }
        bytes_free(&m);
}

typedef struct Items {
        unsigned n;
        char log[256];
} Items;

static void on_item(void *userdata, const CriFields *item) {
        Items *items = userdata;
        size_t n = strlen(items->log);

        items->n++;
        (void) snprintf(items->log + n, sizeof(items->log) - n, "%s/%s/%s/%u%s;",
                        item->s[CRI_CONTAINER_ID] ? item->s[CRI_CONTAINER_ID] : item->s[CRI_SANDBOX_ID],
                        item->s[CRI_CONTAINER_NAME] ? item->s[CRI_CONTAINER_NAME] : item->s[CRI_POD_NAME],
                        item->s[CRI_SANDBOX_ID], item->container_attempt + item->sandbox_attempt,
                        item->s[CRI_RUNTIME_HANDLER] ? item->s[CRI_RUNTIME_HANDLER] : "");
}

static void lists(void **state) {
        Bytes containers = {}, sandboxes = {}, item = {};

        (void) state;
        pb_string(&item, 1, "c1");
        pb_string(&item, 2, "s1");
        pb_container(&item, 3, "a", 0);
        pb_map(&item, 8, "io.kubernetes.pod.uid", UID);
        pb_message(&containers, 1, &item);
        pb_string(&item, 1, "c2");
        pb_string(&item, 2, "s2");
        pb_container(&item, 3, "b", 2);
        pb_message(&containers, 1, &item);

        pb_string(&item, 1, "s1");
        pb_pod(&item, 2, "web", UID, "prod", 1);
        pb_string(&item, 7, "kata");
        pb_message(&sandboxes, 1, &item);

        for (size_t step = 1; step <= containers.n; step++) {
                CriFields f = CRI_FIELDS_NULL;
                Items items = {};
                CriScan s;

                cri_scan_init(&s, &cri_list_containers_reply, containers.n, &f, NULL, on_item, &items);
                for (size_t at = 0; at < containers.n; at += step)
                        assert_int_equal(cri_scan_feed(&s, containers.p + at, MIN(step, containers.n - at)), 0);
                assert_int_equal(cri_scan_finish(&s), 0);
                assert_string_equal(items.log, "c1/a/s1/0;c2/b/s2/2;");
                cri_fields_clear(&f);
        }
        {
                CriFields f = CRI_FIELDS_NULL;
                Items items = {};
                CriScan s;

                cri_scan_init(&s, &cri_list_sandboxes_reply, sandboxes.n, &f, NULL, on_item, &items);
                assert_int_equal(cri_scan_feed(&s, sandboxes.p, sandboxes.n), 0);
                assert_int_equal(cri_scan_finish(&s), 0);
                assert_string_equal(items.log, "s1/web/s1/1kata;");
                cri_fields_clear(&f);
        }
        bytes_free(&containers);
        bytes_free(&sandboxes);
}

static void identities(void **state) {
        Bytes m = create_request(10);
        CriFields f = CRI_FIELDS_NULL;
        Identity identity = { .pod_name = "known before" };

        (void) state;
        assert_int_equal(scan(&cri_create_container_request, &m, m.n, m.n, &f), 0);
        cri_fields_identity(&f, &identity);
        assert_string_equal(identity.pod_name, "known before");
        assert_string_equal(identity.image, "registry.example/app:1");
        assert_true(identity.container_attempt_known && identity.container_attempt == 3);
        assert_true(identity.sandbox_attempt_known && identity.sandbox_attempt == 0);
        cri_fields_clear(&f);
        bytes_free(&m);
}

static void times(void **state) {
        static const struct {
                const char *in;
                int r;
                uint64_t ns;
        } cases[] = {
                { "1970-01-01T00:00:00Z", 0, 0 },
                { "2026-11-21T10:38:14.123456789Z", 0, UINT64_C(1795257494123456789) },
                { "2026-11-21T12:08:14.5+01:30", 0, UINT64_C(1795257494500000000) },
                { "2026-11-21T05:38:14-05:00", 0, UINT64_C(1795257494000000000) },
                { "2000-02-29T00:00:00Z", 0, UINT64_C(951782400000000000) },
                { "2024-12-31T23:59:60Z", 0, UINT64_C(1735689600000000000) },
                { "2100-03-01T00:00:00Z", 0, UINT64_C(4107542400000000000) },
                { "2100-02-29T00:00:00Z", -EBADMSG, 0 },
                { "1969-12-31T23:59:59Z", -EBADMSG, 0 },
                { "9999-12-31T23:59:59Z", -EBADMSG, 0 },
                { "2026-13-01T00:00:00Z", -EBADMSG, 0 },
                { "2026-00-01T00:00:00Z", -EBADMSG, 0 },
                { "2026-04-31T00:00:00Z", -EBADMSG, 0 },
                { "2026-11-21T24:00:00Z", -EBADMSG, 0 },
                { "2026-11-21T10:38:14", -EBADMSG, 0 },
                { "2026-11-21T10:38:14.Z", -EBADMSG, 0 },
                { "2026-11-21T10:38:14.1234567890Z", -EBADMSG, 0 },
                { "2026-11-21T10:38:14Zx", -EBADMSG, 0 },
                { "2026-11-21T10:38:14+25:00", -EBADMSG, 0 },
                { "2026-11-21 10:38:14Z", -EBADMSG, 0 },
                { "", -EBADMSG, 0 },
        };

        (void) state;
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t len = strlen(cases[i].in);
                _cleanup_free_ char *exact = malloc(len ? len : 1);
                uint64_t ns = 42;

                assert_non_null(exact);
                memcpy(exact, cases[i].in, len);
                if (cri_time_parse(exact, len, &ns) != cases[i].r || ns != (cases[i].r < 0 ? 42 : cases[i].ns))
                        fail_msg("%s: %llu", cases[i].in, (unsigned long long) ns);
                for (size_t cut = 0; cases[i].r == 0 && cut < len; cut++)
                        assert_int_equal(cri_time_parse(exact, cut, &ns), -EBADMSG);
        }
}

static void links(void **state) {
        CriLinks l;

        (void) state;
        cri_links_parse(" a , b/c,, d ", &l);
        assert_int_equal(l.n, 3);
        assert_string_equal(l.key[0], "a");
        assert_string_equal(l.key[1], "b/c");
        assert_string_equal(l.key[2], "d");
        cri_links_parse("a,b,c,d,e,f", &l);
        assert_int_equal(l.n, CRIMSG_LINKS_MAX);
        cri_links_parse("", &l);
        assert_int_equal(l.n, 0);
        cri_links_parse(NULL, &l);
        assert_int_equal(l.n, 0);
}

/* Three messages, one of them empty and one compressed, over any segmentation. */
static void grpc_messages(void **state) {
        static const uint8_t in[] = "\0\0\0\0\3abc"
                                    "\0\0\0\0\0"
                                    "\1\0\0\0\2de";
        const size_t n_in = sizeof(in) - 1;

        (void) state;
        for (size_t step = 1; step <= n_in; step++) {
                GrpcMsg msg = {};
                char log[64] = "";

                for (size_t at = 0; at < n_in; at += step) {
                        const uint8_t *data = in + at, *chunk;
                        size_t len = MIN(step, n_in - at), n;
                        int r;

                        while ((r = grpcmsg_next(&msg, &data, &len, &chunk, &n)) != GRPCMSG_NONE) {
                                assert_true(r > 0);
                                if (r == GRPCMSG_BEGIN)
                                        (void) strcat(log, msg.prefix[0] ? "(z" : "(");
                                else if (r == GRPCMSG_END)
                                        (void) strcat(log, ")");
                                else
                                        (void) strncat(log, (const char *) chunk, n);
                        }
                        assert_int_equal(len, 0);
                }
                assert_string_equal(log, "(abc)()(zde)");
                assert_int_equal(msg.n_bytes, 5);
                assert_int_equal(msg.n_messages, 3);
                assert_true(msg.compressed);
        }

        {
                GrpcMsg msg = {};
                const uint8_t *data = (const uint8_t *) "\2", *chunk;
                size_t len = 1, n;

                assert_int_equal(grpcmsg_next(&msg, &data, &len, &chunk, &n), -EBADMSG);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(any_segmentation),
                cmocka_unit_test(megabytes_before_the_name),
                cmocka_unit_test(truncated_anywhere),
                cmocka_unit_test(malformed),
                cmocka_unit_test(long_values_are_cut),
                cmocka_unit_test(lists),
                cmocka_unit_test(identities),
                cmocka_unit_test(times),
                cmocka_unit_test(links),
                cmocka_unit_test(grpc_messages),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
