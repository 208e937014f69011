#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "config.h"
#include "configenv.h"
#include "configfile.h"
#include "configkey.h"
#include "configvalue.h"

/* Over an exact-size copy, so that the sanitizer sees a read beyond. */
static int parse(Config *config, const char *s, size_t len, char **reterr_message) {
        _cleanup_free_ char *copy = malloc(len > 0 ? len : 1);

        assert_non_null(copy);
        memcpy(copy, s, len);
        return configfile_parse(config, "t.conf", copy, len, reterr_message);
}

static void load(Config *config, const char *s) {
        _cleanup_free_ char *message = NULL;

        assert_int_equal(config_defaults(config), 0);
        if (parse(config, s, strlen(s), &message) < 0)
                fail_msg("%s", message);
}

/* What stands behind a key: value, or origin. */
typedef struct Wanted {
        const char *key;
        char value[256];
        char origin[256];
} Wanted;

static int on_key(const char *key, const char *value, const char *origin, void *userdata) {
        Wanted *wanted = userdata;

        if (strcmp(key, wanted->key) == 0) {
                (void) snprintf(wanted->value, sizeof(wanted->value), "%s", value);
                (void) snprintf(wanted->origin, sizeof(wanted->origin), "%s", origin);
        }
        return 0;
}

static void expect(const Config *config, const char *key, const char *value, const char *origin) {
        Wanted wanted = { .key = key, .value = "(no such key)" };

        assert_int_equal(config_dump(config, on_key, &wanted), 0);
        assert_string_equal(wanted.value, value);
        assert_string_equal(wanted.origin, origin);
}

static void test_defaults(void **state) {
        Config config;

        (void) state;

        assert_int_equal(config_defaults(&config), 0);
        assert_true(config.enable_tracing);
        assert_string_equal(config.tracing_endpoint, "localhost:4317");
        assert_int_equal(config.tracing_sampling_rate_per_million, 0);
        assert_int_equal(config.tracing_export_rate_per_million, 1000000);
        assert_false(config.tracing_keep_errors);
        assert_true(config.tracing_keep_slower_than_ns == 0);
        assert_true(config.tracing_insecure);
        assert_int_equal(config.tracing_compression, CONFIG_COMPRESSION_GZIP);
        assert_int_equal(config.tracing_protocol, CONFIG_PROTOCOL_GRPC);
        assert_true(config.tracing_timeout_ns == 10 * NSEC_PER_SEC);
        assert_int_equal(config.n_tracing_headers, 0);
        assert_true(config.tracing_batch_size == 4 << 20);
        assert_true(config.tracing_export_rate_bytes == 8 << 20);
        assert_true(config.slow_call_ns == NSEC_PER_SEC);
        assert_true(config.start_window_ns == 15 * 60 * NSEC_PER_SEC);
        assert_true(config.inject_traceparent);
        assert_string_equal(config.link_annotations, "tracing.k8s.io/traceparent");
        assert_true(config.record_error_message);
        assert_int_equal(config.semconv, CONFIG_SEMCONV_NEW);
        assert_true(config.explain_time);
        assert_string_equal(config.node_name, "");
        assert_string_equal(config.service_name, "");
        assert_string_equal(config.resource_attributes, "");
        assert_true(config.store_max_size == 512 << 20);
        assert_true(config.store_max_age_ns == 72 * 3600 * NSEC_PER_SEC);
        assert_int_equal(config.store_min_free_percent, 15);
        assert_int_equal(config.log_level, LOG_LEVEL_INFO);
        assert_true(config_exports(&config));
        expect(&config, "store_max_age", "72h", "default");
        config_deinit(&config);
        config_deinit(&config);
}

/* As `crio config` prints it, and as people change it. */
static void test_crio(void **state) {
        Config config;

        (void) state;

        load(&config, "# A necessary configuration for OpenTelemetry trace data exporting\n"
                      "[crio.tracing]\n"
                      "\n"
                      "# Globally enable or disable exporting OpenTelemetry traces.\n"
                      "enable_tracing = false\n"
                      "  # Address on which the gRPC trace collector listens on.\n"
                      "  tracing_endpoint = \"127.0.0.1:4317\"  # ours\n"
                      "\ttracing_sampling_rate_per_million = 1_000_000\r\n");
        assert_false(config.enable_tracing);
        assert_string_equal(config.tracing_endpoint, "127.0.0.1:4317");
        assert_int_equal(config.tracing_sampling_rate_per_million, 1000000);
        expect(&config, "tracing_endpoint", "127.0.0.1:4317", "t.conf:7");
        expect(&config, "tracing_sampling_rate_per_million", "1000000", "t.conf:8");
        config_deinit(&config);

        load(&config, "[crio.tracing]\ntracing_sampling_rate_per_million = 2000000");
        assert_int_equal(config.tracing_sampling_rate_per_million, 1000000);
        config_deinit(&config);
}

static void test_values(void **state) {
        static const struct {
                const char *line, *key, *value;
        } cases[] = {
                { "service_name = plain", "service_name", "plain" },
                { "service_name=plain", "service_name", "plain" },
                { "service_name = two words \t", "service_name", "two words" },
                { "service_name = \"quoted\"", "service_name", "quoted" },
                { "service_name = 'literal \\ one'", "service_name", "literal \\ one" },
                { "service_name = \"a \\\"b\\\" \\\\\"", "service_name", "a \"b\" \\" },
                { "service_name = \"a # b ; c\" # d", "service_name", "a # b ; c" },
                { "service_name = 'x';y", "service_name", "x" },
                { "service_name = a;b#c", "service_name", "a;b#c" },
                { "service_name = a ;b", "service_name", "a" },
                { "service_name = a #b", "service_name", "a" },
                { "service_name = # none", "service_name", "" },
                { "service_name =", "service_name", "" },
                { "service_name = \"\"", "service_name", "" },
                { "service_name = a = b", "service_name", "a = b" },
                { "service_name = a\nservice_name = b", "service_name", "b" },
                { "[podspan]\n[crio.tracing] # c\n[podspan]\nservice_name = a", "service_name", "a" },
                { "\xef\xbb\xbf[podspan]\nservice_name = bom", "service_name", "bom" },
                { "; comment\n#comment\n\n  \nservice_name = a", "service_name", "a" },
                { "tracing_keep_slower_than = 2s", "tracing_keep_slower_than", "2s" },
                { "tracing_timeout = 1.5s", "tracing_timeout", "1500ms" },
                { "tracing_batch_size = 512KiB", "tracing_batch_size", "512KiB" },
                { "tracing_batch_size = 65_537", "tracing_batch_size", "65537" },
                { "tracing_compression = \"none\"", "tracing_compression", "none" },
                { "tracing_protocol = http/protobuf", "tracing_protocol", "http/protobuf" },
                { "semconv = rpc/dup", "semconv", "rpc/dup" },
                { "log_level = debug", "log_level", "debug" },
                { "tracing_endpoint = none", "tracing_endpoint", "none" },
                { "tracing_endpoint = \"\"", "tracing_endpoint", "" },
                { "tracing_endpoint = https://c.example:4317/", "tracing_endpoint", "https://c.example:4317/" },
                { "tracing_endpoint = [::1]:4317", "tracing_endpoint", "[::1]:4317" },
                { "tracing_endpoint = unix:///run/c.sock", "tracing_endpoint", "unix:///run/c.sock" },
                { "tracing_headers = \"Authorization=Basic%20eDp5, x-b=1\"", "tracing_headers",
                  "authorization=***,x-b=***" },
                { "tracing_headers = a=1;2 ; comment", "tracing_headers", "a=***" },
                { "resource_attributes = a=b%2Cc,d=e", "resource_attributes", "a=b%2Cc,d=e" },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Wanted wanted = { .key = cases[i].key, .value = "(no such key)" };
                Config config;

                load(&config, cases[i].line);
                assert_int_equal(config_dump(&config, on_key, &wanted), 0);
                if (strcmp(wanted.value, cases[i].value) != 0)
                        fail_msg("%s: \"%s\"", cases[i].line, wanted.value);
                config_deinit(&config);
        }
}

static void test_errors(void **state) {
        static const struct {
                const char *s, *message;
        } cases[] = {
                { "[podspan]\n\nfoo = 1", "t.conf:3: unknown key \"foo\"" },
                { "[podspan]\nfoo", "t.conf:2: neither a [section] nor key = value" },
                { "tracing_endpoint: x", "t.conf:1: neither a [section] nor key = value" },
                { "a:b = x", "t.conf:1: unknown key \"a:b\"" },
                { "a ;b = x", "t.conf:1: unknown key \"a ;b\"" },
                { "= x", "t.conf:1: unknown key \"\"" },
                { "Enable_tracing = true", "t.conf:1: unknown key \"Enable_tracing\"" },
                { "\n[crio]\n", "t.conf:2: unknown section \"[crio]\"" },
                { "[podspan", "t.conf:1: \"]\" missing" },
                { "[podspan] x", "t.conf:1: unexpected text after \"[podspan]\"" },
                { "[]", "t.conf:1: unknown section \"[]\"" },
                { "enable_tracing = yes", "t.conf:1: enable_tracing: must be true or false" },
                { "enable_tracing =", "t.conf:1: enable_tracing: must be true or false" },
                { "tracing_sampling_rate_per_million = -1",
                  "t.conf:1: tracing_sampling_rate_per_million: not a number" },
                { "tracing_sampling_rate_per_million = 1__0",
                  "t.conf:1: tracing_sampling_rate_per_million: not a number" },
                { "tracing_sampling_rate_per_million = 0.5",
                  "t.conf:1: tracing_sampling_rate_per_million: not a number" },
                { "tracing_export_rate_per_million = 1000001",
                  "t.conf:1: tracing_export_rate_per_million: out of range" },
                { "slow_call = 1", "t.conf:1: slow_call: not a duration such as 500ms, 10s or 72h" },
                { "tracing_timeout = 0", "t.conf:1: tracing_timeout: out of range" },
                { "tracing_batch_size = 5MiB", "t.conf:1: tracing_batch_size: out of range" },
                { "tracing_batch_size = 1MB",
                  "t.conf:1: tracing_batch_size: not a size such as 65536, 512KiB or 4MiB" },
                { "store_min_free_percent = 100", "t.conf:1: store_min_free_percent: out of range" },
                { "tracing_protocol = thrift", "t.conf:1: tracing_protocol: must be grpc, http/protobuf or http/json" },
                { "tracing_compression = zstd", "t.conf:1: tracing_compression: must be gzip or none" },
                { "semconv = http", "t.conf:1: semconv: must be rpc, rpc/dup or rpc/old" },
                { "log_level = 7", "t.conf:1: log_level: must be error, warning, notice, info or debug" },
                { "service_name = \"a", "t.conf:1: service_name: closing quote missing" },
                { "service_name = \"a\" b", "t.conf:1: service_name: unexpected text after the closing quote" },
                { "service_name = \"a\\n\"", "t.conf:1: service_name: the only escapes are \\\" and \\\\" },
                { "service_name = \"a\\", "t.conf:1: service_name: the only escapes are \\\" and \\\\" },
                { "service_name = \xff", "t.conf:1: service_name: not UTF-8" },
                { "service_name = a\001", "t.conf:1: control character in the line" },
                { "tracing_headers = a", "t.conf:1: tracing_headers: must be name=value,name=value" },
                { "tracing_headers = =b", "t.conf:1: tracing_headers: a name is empty" },
                { "tracing_headers = a=%4", "t.conf:1: tracing_headers: \"%\" must be followed by two hex digits" },
                { "tracing_headers = a=%00", "t.conf:1: tracing_headers: %00 is not allowed" },
                { "tracing_headers = a=%0a", "t.conf:1: tracing_headers: a header's value must be printable ASCII" },
                { "tracing_headers = a b=c",
                  "t.conf:1: tracing_headers: a header's name may have 0-9, a-z, \"_\", \"-\", \".\"" },
                { "tracing_headers = grpc-timeout=1",
                  "t.conf:1: tracing_headers: headers \"grpc-…\" belong to gRPC itself" },
                { "resource_attributes = a=%ff", "t.conf:1: resource_attributes: not UTF-8" },
                { "tracing_endpoint = ftp://a:1",
                  "t.conf:1: tracing_endpoint: the scheme must be http, https, dns or unix" },
                { "tracing_endpoint = http://a:4318/v1/traces",
                  "t.conf:1: tracing_endpoint: OTLP over gRPC has no path: host:port is all" },
        };
        char line[CONFIG_LINE_MAX + 2];
        _cleanup_free_ char *big = calloc(1, CONFIG_FILE_MAX + 1);

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_free_ char *message = NULL;
                Config config;

                assert_int_equal(config_defaults(&config), 0);
                assert_int_equal(parse(&config, cases[i].s, strlen(cases[i].s), &message), -EINVAL);
                assert_string_equal(message, cases[i].message);
                config_deinit(&config);
        }

        /* Never cut without a word: the line, the key, the file; and a NUL ends nothing. */
        assert_non_null(big);
        memset(line, 'k', sizeof(line));
        memset(big, '\n', CONFIG_FILE_MAX + 1);
        for (size_t i = 0; i < 5; i++) {
                static const char *const expected[] = {
                        "t.conf:1: line too long",
                        "t.conf:1: unknown key \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\"",
                        "t.conf: larger than 262144 bytes",
                        "t.conf:1: control character in the line",
                        "t.conf:1: unknown key \"enable_tracingkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\"",
                };
                _cleanup_free_ char *message = NULL;
                Config config;
                int r;

                assert_int_equal(config_defaults(&config), 0);
                if (i == 0) {
                        r = parse(&config, line, sizeof(line) - 1, &message);
                } else if (i == 1) {
                        line[300] = '=';
                        r = parse(&config, line, 400, &message);
                } else if (i == 2) {
                        r = parse(&config, big, CONFIG_FILE_MAX + 1, &message);
                } else if (i == 3) {
                        r = parse(&config, "service_name = a\0b", 18, &message);
                } else {
                        memcpy(line, "enable_tracing", 14);
                        r = parse(&config, line, 400, &message);
                }
                assert_int_equal(r, -EINVAL);
                assert_string_equal(message, expected[i]);
                config_deinit(&config);
        }
}

static void test_limits(void **state) {
        _cleanup_free_ char *big = malloc(CONFIG_FILE_MAX), *message = NULL;
        char line[CONFIG_LINE_MAX + 1], headers[1024] = "tracing_headers = ";
        Config config;

        (void) state;

        /* The longest line, far beyond inih's 200, is whole. */
        memset(line, 'v', sizeof(line));
        memcpy(line, "service_name = ", 15);
        assert_int_equal(config_defaults(&config), 0);
        assert_int_equal(parse(&config, line, CONFIG_LINE_MAX, &message), 0);
        assert_int_equal(strlen(config.service_name), CONFIG_LINE_MAX - 15);
        /* A comment of that length too. */
        line[0] = '#';
        line[300] = '=';
        assert_int_equal(parse(&config, line, CONFIG_LINE_MAX, &message), 0);
        /* And a file. */
        assert_non_null(big);
        memset(big, '\n', CONFIG_FILE_MAX);
        assert_int_equal(parse(&config, big, CONFIG_FILE_MAX, &message), 0);
        config_deinit(&config);

        for (unsigned i = 0; i < CONFIG_HEADERS_MAX; i++)
                (void) sprintf(headers + strlen(headers), "h%u=%u,", i, i);
        load(&config, headers);
        assert_int_equal(config.n_tracing_headers, CONFIG_HEADERS_MAX);
        assert_string_equal(config.tracing_headers[31].name, "h31");
        assert_string_equal(config.tracing_headers[31].value, "31");

        strcat(headers, "one-more=1");
        assert_int_equal(parse(&config, headers, strlen(headers), &message), -EINVAL);
        assert_string_equal(message, "t.conf:1: tracing_headers: more than 32 headers");
        /* What was there stays. */
        assert_int_equal(config.n_tracing_headers, CONFIG_HEADERS_MAX);
        config_deinit(&config);
}

static void test_truncation(void **state) {
        static const char text[] = "\xef\xbb\xbf[crio.tracing] # c\r\nenable_tracing = true # c\n"
                                   "tracing_endpoint = \"unix:///run/x\" ; c\ntracing_headers = 'a=b%20c,d=e'\n"
                                   "[podspan]\nslow_call = 1m30.5s\nstore_max_size = 1_0GiB\n";

        (void) state;

        for (size_t len = 0; len < sizeof(text); len++) {
                _cleanup_free_ char *message = NULL;
                Config config;
                int r;

                assert_int_equal(config_defaults(&config), 0);
                r = parse(&config, text, len, &message);
                assert_true(r == 0 || r == -EINVAL);
                assert_true((r < 0) == (message != NULL));
                config_deinit(&config);
        }
}

static void test_headers(void **state) {
        Config config;

        (void) state;

        load(&config, "tracing_headers = A=1, b = x%2Cy=z ,,a=2,");
        assert_int_equal(config.n_tracing_headers, 2);
        assert_string_equal(config.tracing_headers[0].name, "a");
        assert_string_equal(config.tracing_headers[0].value, "2");
        assert_string_equal(config.tracing_headers[1].name, "b");
        assert_string_equal(config.tracing_headers[1].value, "x,y=z");
        config_deinit(&config);

        load(&config, "tracing_headers = a=1,b=2\ntracing_headers = c=3");
        assert_int_equal(config.n_tracing_headers, 1);
        assert_string_equal(config.tracing_headers[0].name, "c");
        config_deinit(&config);
}

typedef struct EnvCase {
        const char *envp[4];
        const char *key, *value, *origin;
} EnvCase;

static void test_env(void **state) {
#define T "OTEL_EXPORTER_OTLP_TRACES_"
#define O "OTEL_EXPORTER_OTLP_"
        static const EnvCase cases[] = {
                { { "OTEL_SDK_DISABLED=TRUE" }, "enable_tracing", "false", "OTEL_SDK_DISABLED" },
                { { "OTEL_SDK_DISABLED=1" }, "enable_tracing", "true", "default" },
                { { "OTEL_SDK_DISABLED=" }, "enable_tracing", "true", "default" },
                { { O "ENDPOINT=http://a:1" }, "tracing_endpoint", "http://a:1", O "ENDPOINT" },
                { { T "ENDPOINT=http://b:1", O "ENDPOINT=http://a:1" },
                  "tracing_endpoint",
                  "http://b:1",
                  T "ENDPOINT" },
                { { O "ENDPOINT=http://a:1", T "ENDPOINT=" }, "tracing_endpoint", "http://a:1", O "ENDPOINT" },
                { { O "TIMEOUT=2500" }, "tracing_timeout", "2500ms", O "TIMEOUT" },
                { { O "TIMEOUT=0" }, "tracing_timeout", "1h", O "TIMEOUT" },
                { { T "TIMEOUT=3000", O "TIMEOUT=2500" }, "tracing_timeout", "3s", T "TIMEOUT" },
                { { O "PROTOCOL=http/protobuf" }, "tracing_protocol", "http/protobuf", O "PROTOCOL" },
                { { O "PROTOCOL=http/protobuf", O "TRACES_PROTOCOL=grpc" },
                  "tracing_protocol",
                  "grpc",
                  O "TRACES_PROTOCOL" },
                { { O "COMPRESSION=none" }, "tracing_compression", "none", O "COMPRESSION" },
                { { O "CERTIFICATE=/a" }, "tracing_certificate", "/a", O "CERTIFICATE" },
                { { O "CLIENT_KEY=/a" }, "tracing_client_key", "/a", O "CLIENT_KEY" },
                { { T "CLIENT_CERTIFICATE=/a" }, "tracing_client_certificate", "/a", T "CLIENT_CERTIFICATE" },
                { { O "INSECURE=False" }, "tracing_insecure", "false", O "INSECURE" },
                { { O "HEADERS=a=1,b=2", T "HEADERS=c=3" }, "tracing_headers", "c=***", T "HEADERS" },
                { { "OTEL_SERVICE_NAME=x" }, "service_name", "x", "OTEL_SERVICE_NAME" },
                { { "OTEL_RESOURCE_ATTRIBUTES=a=b,service.name=y%20z" },
                  "service_name",
                  "y z",
                  "OTEL_RESOURCE_ATTRIBUTES" },
                { { "OTEL_RESOURCE_ATTRIBUTES=service.name=y", "OTEL_SERVICE_NAME=x" },
                  "service_name",
                  "x",
                  "OTEL_SERVICE_NAME" },
                { { "OTEL_SEMCONV_STABILITY_OPT_IN=http/dup, rpc/old" },
                  "semconv",
                  "rpc/old",
                  "OTEL_SEMCONV_STABILITY_OPT_IN" },
                { { "OTEL_SEMCONV_STABILITY_OPT_IN=rpc,rpc/dup" },
                  "semconv",
                  "rpc/dup",
                  "OTEL_SEMCONV_STABILITY_OPT_IN" },
                { { "OTEL_SEMCONV_STABILITY_OPT_IN=http,database,rpcx" }, "semconv", "rpc", "default" },
                { { "OTEL_SERVICE_NAMES=x", "XOTEL_SERVICE_NAME=x", "OTEL_SERVICE_NAME" },
                  "service_name",
                  "",
                  "default" },
        };
        static const struct {
                const char *variable, *message;
        } errors[] = {
                { O "TIMEOUT=10s", O "TIMEOUT: not a number of milliseconds" },
                { O "TIMEOUT=99999999999999999999", O "TIMEOUT: not a number of milliseconds" },
                { O "TIMEOUT=99999999999", O "TIMEOUT: out of range" },
                { O "COMPRESSION=br", O "COMPRESSION: must be gzip or none" },
                { O "INSECURE=1", O "INSECURE: must be true or false" },
                { T "ENDPOINT=http://a:4318/v1/traces", T "ENDPOINT: OTLP over gRPC has no path: host:port is all" },
                { O "HEADERS=x", O "HEADERS: must be name=value,name=value" },
                { "OTEL_RESOURCE_ATTRIBUTES=x", "OTEL_RESOURCE_ATTRIBUTES: must be name=value,name=value" },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_free_ char *message = NULL;
                Config config;

                assert_int_equal(config_defaults(&config), 0);
                assert_int_equal(configenv_apply(&config, (char *const *) cases[i].envp, &message), 0);
                expect(&config, cases[i].key, cases[i].value, cases[i].origin);
                config_deinit(&config);
        }

        for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
                const char *const envp[] = { errors[i].variable, NULL };
                _cleanup_free_ char *message = NULL;
                Config config;

                assert_int_equal(config_defaults(&config), 0);
                assert_int_equal(configenv_apply(&config, (char *const *) envp, &message), -EINVAL);
                assert_string_equal(message, errors[i].message);
                config_deinit(&config);
        }
}

/* A secret may come back in no text. */
static int on_secret(const char *key, const char *value, const char *origin, void *userdata) {
        (void) key;
        (void) userdata;

        assert_null(strstr(value, "s3cret"));
        assert_null(strstr(origin, "s3cret"));
        return 0;
}

static int on_stop(const char *key, const char *value, const char *origin, void *userdata) {
        (void) key;
        (void) value;
        (void) origin;

        return ++*(unsigned *) userdata == 3 ? -ECANCELED : 0;
}

static int on_feed_back(const char *key, const char *value, const char *origin, void *userdata) {
        _cleanup_free_ char *message = NULL;
        char line[512];
        int n;

        (void) origin;

        n = snprintf(line, sizeof(line), "%s = '%s'", key, value);
        if (parse(userdata, line, (size_t) n, &message) < 0)
                fail_msg("%s", message);
        return 0;
}

static void test_dump(void **state) {
        Config config, other;
        unsigned n = 0;

        (void) state;

        load(&config, "tracing_headers = authorization=s3cret\ntracing_timeout = 1234567us\nstore_max_size = 70000");
        assert_int_equal(config_dump(&config, on_secret, NULL), 0);
        assert_int_equal(config_dump(&config, on_stop, &n), -ECANCELED);
        assert_int_equal(n, 3);

        /* Every row is there, and what is printed can be read. */
        for (size_t i = 0; i < CONFIGKEY_N; i++)
                assert_non_null(configkey_table[i].name);
        assert_int_equal(config_defaults(&other), 0);
        assert_int_equal(config_dump(&config, on_feed_back, &other), 0);
        assert_true(other.tracing_timeout_ns == 1234567000);
        assert_true(other.store_max_size == 70000);
        config_deinit(&config);
        config_deinit(&other);
}

static char dir[64];

static void put(const char *name, const char *text) {
        char path[128];
        int fd;

        (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(util_write_all(fd, text, strlen(text)), 0);
        (void) close(fd);
}

static int setup_dir(void **state) {
        (void) state;

        strcpy(dir, "/tmp/test-config-XXXXXX");
        return mkdtemp(dir) ? 0 : -1;
}

static int teardown_dir(void **state) {
        char command[128];

        (void) state;

        (void) snprintf(command, sizeof(command), "rm -rf %s", dir);
        return system(command);
}

static void test_directory(void **state) {
        char path[128], other[192];
        char *message = NULL;
        Config config;

        (void) state;

        assert_int_equal(config_defaults(&config), 0);
        assert_int_equal(configfile_read_dir(&config, "/nonexistent/podspan", &message), 0);
        assert_int_equal(configfile_read_dir(&config, dir, &message), 0);
        expect(&config, "service_name", "", "default");

        (void) snprintf(path, sizeof(path), "%s/conf.d", dir);
        assert_int_equal(mkdir(path, 0700), 0);
        put("podspan.conf", "service_name = main\nnode_name = main\nlink_annotations = main\n");
        put("conf.d/9.conf", "service_name = nine\n");
        put("conf.d/10.conf", "service_name = ten\nnode_name = ten\n");
        put("conf.d/B.conf", "tracing_certificate = B\n");
        put("conf.d/a.conf", "tracing_certificate = a\n");
        put("conf.d/.hidden.conf", "bad\n");
        put("conf.d/z.conf.bak", "bad\n");
        put("conf.d/README", "bad\n");
        put("conf.d/.conf", "bad\n");
        (void) snprintf(path, sizeof(path), "%s/conf.d/dir.conf", dir);
        assert_int_equal(mkdir(path, 0700), 0);
        (void) snprintf(path, sizeof(path), "%s/conf.d/fifo.conf", dir);
        assert_int_equal(mkfifo(path, 0600), 0);
        /* As a mounted ConfigMap has it. */
        put("data", "tracing_client_key = linked\n");
        (void) snprintf(path, sizeof(path), "%s/conf.d/l.conf", dir);
        assert_int_equal(symlink("../data", path), 0);

        assert_int_equal(configfile_read_dir(&config, dir, &message), 0);
        (void) snprintf(path, sizeof(path), "%s/conf.d/9.conf:1", dir);
        expect(&config, "service_name", "nine", path);
        (void) snprintf(path, sizeof(path), "%s/conf.d/10.conf:2", dir);
        expect(&config, "node_name", "ten", path);
        (void) snprintf(path, sizeof(path), "%s/podspan.conf:3", dir);
        expect(&config, "link_annotations", "main", path);
        assert_string_equal(config.tracing_certificate, "a");
        assert_string_equal(config.tracing_client_key, "linked");

        /* One that cannot be read, and one that is wrong. */
        (void) snprintf(path, sizeof(path), "%s/conf.d/m.conf", dir);
        assert_int_equal(symlink("nowhere", path), 0);
        assert_int_equal(configfile_read_dir(&config, dir, &message), -ENOENT);
        (void) snprintf(other, sizeof(other), "%s: No such file or directory", path);
        assert_string_equal(message, other);
        free(message);
        (void) unlink(path);
        put("conf.d/m.conf", "\nx = 1\n");
        assert_int_equal(configfile_read_dir(&config, dir, &message), -EINVAL);
        (void) snprintf(other, sizeof(other), "%s:2: unknown key \"x\"", path);
        assert_string_equal(message, other);
        free(message);
        config_deinit(&config);
}

static void test_load(void **state) {
        char path[128], other[192];
        char *message = NULL;
        Config config = CONFIG_NULL;

        (void) state;

        put("a.conf", "service_name = a\nnode_name = a\n");
        put("b.conf", "service_name = b\n");
        (void) snprintf(path, sizeof(path), "%s/a.conf", dir);
        (void) snprintf(other, sizeof(other), "%s/b.conf", dir);

        assert_int_equal(setenv("PODSPAN_CONFIG", other, 1), 0);
        assert_int_equal(config_load(NULL, &config, &message), 0);
        assert_string_equal(config.service_name, "b");
        config_deinit(&config);

        /* The argument before the variable, OTEL_* before the file. */
        assert_int_equal(setenv("OTEL_SERVICE_NAME", "env", 1), 0);
        assert_int_equal(config_load(path, &config, &message), 0);
        assert_string_equal(config.service_name, "env");
        assert_string_equal(config.node_name, "a");
        config_deinit(&config);
        (void) unsetenv("OTEL_SERVICE_NAME");

        assert_int_equal(config_load("/dev/null", &config, &message), 0);
        assert_string_equal(config.tracing_endpoint, "localhost:4317");
        config_deinit(&config);

        (void) unlink(other);
        assert_int_equal(config_load(NULL, &config, &message), -ENOENT);
        strcat(other, ": No such file or directory");
        assert_string_equal(message, other);
        free(message);
        assert_null(config.origins);
        (void) unsetenv("PODSPAN_CONFIG");

        assert_int_equal(config_load(dir, &config, &message), -EISDIR);
        assert_non_null(message);
        free(message);
}

static void test_exports(void **state) {
        Config config;

        (void) state;

        load(&config, "tracing_endpoint = none");
        assert_false(config_exports(&config));
        config_deinit(&config);
        load(&config, "tracing_endpoint = ''");
        assert_false(config_exports(&config));
        config_deinit(&config);
        load(&config, "enable_tracing = false");
        assert_false(config_exports(&config));
        config_deinit(&config);
        load(&config, "tracing_endpoint = a:1");
        assert_true(config_exports(&config));
        config_deinit(&config);
}

static void test_dirs(void **state) {
        (void) state;

        (void) unsetenv("PODSPAN_STATE_DIR");
        (void) unsetenv("PODSPAN_STORE_DIR");
        assert_string_equal(config_state_dir(NULL), "/run/podspan");
        assert_string_equal(config_store_dir(NULL), "/var/lib/podspan");
        (void) setenv("PODSPAN_STATE_DIR", "/s", 1);
        (void) setenv("PODSPAN_STORE_DIR", "", 1);
        assert_string_equal(config_state_dir(NULL), "/s");
        assert_string_equal(config_state_dir("/arg"), "/arg");
        assert_string_equal(config_store_dir(NULL), "/var/lib/podspan");
        (void) unsetenv("PODSPAN_STATE_DIR");
        (void) unsetenv("PODSPAN_STORE_DIR");
}

static void test_folder(void **state) {
        static const struct {
                const char *file, *variable, *folder;
        } cases[] = {
                { NULL, NULL, CONFIG_DIR },      { NULL, "", CONFIG_DIR },
                { "", "/b/c.conf", CONFIG_DIR }, { "/a/b.conf", "/b/c.conf", "/a" },
                { NULL, "/b/c/d.conf", "/b/c" }, { "/a.conf", NULL, "/" },
                { "a.conf", NULL, "." },         { "a/b.conf", NULL, "a" },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_free_ char *folder = NULL;

                if (cases[i].variable)
                        assert_int_equal(setenv("PODSPAN_CONFIG", cases[i].variable, 1), 0);
                else
                        assert_int_equal(unsetenv("PODSPAN_CONFIG"), 0);
                assert_int_equal(config_folder(cases[i].file, &folder), 0);
                assert_string_equal(folder, cases[i].folder);
        }
        assert_int_equal(unsetenv("PODSPAN_CONFIG"), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_crio),
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_errors),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_truncation),
                cmocka_unit_test(test_headers),
                cmocka_unit_test(test_env),
                cmocka_unit_test(test_dump),
                cmocka_unit_test_setup_teardown(test_directory, setup_dir, teardown_dir),
                cmocka_unit_test_setup_teardown(test_load, setup_dir, teardown_dir),
                cmocka_unit_test(test_exports),
                cmocka_unit_test(test_dirs),
                cmocka_unit_test(test_folder),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
