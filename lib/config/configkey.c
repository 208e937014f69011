/*
 * Every key is one row of the table; all else works on that. Defaults are text like any other value, so there is one
 * way into Config.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "configkey.h"
#include "configvalue.h"

#define DAY_NS (24 * 3600 * NSEC_PER_SEC)
#define MIB    (UINT64_C(1) << 20)

#define KEY(name_, field, type_, initial_, ...) \
        { .name = name_, .type = type_, .offset = offsetof(Config, field), .initial = initial_, __VA_ARGS__ }

const ConfigKey configkey_table[CONFIGKEY_N] = {
        KEY("enable_tracing", enable_tracing, CONFIG_BOOL, "true"),
        KEY("tracing_endpoint", tracing_endpoint, CONFIG_ENDPOINT, "localhost:4317"),
        /* Go's sampler takes any rate from 1 on for "always", and CRI-O hands it on unchecked. */
        KEY("tracing_sampling_rate_per_million", tracing_sampling_rate_per_million, CONFIG_U32, "0", .max = 1000000,
            .clamp = true),
        KEY("tracing_export_rate_per_million", tracing_export_rate_per_million, CONFIG_U32, "1000000", .max = 1000000),
        KEY("tracing_keep_errors", tracing_keep_errors, CONFIG_BOOL, "false"),
        KEY("tracing_keep_slower_than", tracing_keep_slower_than_ns, CONFIG_DURATION, "0", .max = 365 * DAY_NS),
        KEY("tracing_insecure", tracing_insecure, CONFIG_BOOL, "true"),
        KEY("tracing_compression", tracing_compression, CONFIG_COMPRESSION, "gzip"),
        KEY("tracing_protocol", tracing_protocol, CONFIG_PROTOCOL, "grpc"),
        KEY("tracing_timeout", tracing_timeout_ns, CONFIG_DURATION, "10s", .min = NSEC_PER_MSEC,
            .max = 3600 * NSEC_PER_SEC),
        KEY("tracing_certificate", tracing_certificate, CONFIG_STRING, ""),
        KEY("tracing_client_certificate", tracing_client_certificate, CONFIG_STRING, ""),
        KEY("tracing_client_key", tracing_client_key, CONFIG_STRING, ""),
        KEY("tracing_headers", tracing_headers, CONFIG_HEADERS, ""),
        KEY("tracing_batch_size", tracing_batch_size, CONFIG_SIZE, "4MiB", .min = 1024, .max = 4 * MIB),
        KEY("tracing_export_rate_bytes", tracing_export_rate_bytes, CONFIG_SIZE, "8MiB", .max = 1024 * 1024 * MIB),
        KEY("slow_call", slow_call_ns, CONFIG_DURATION, "1s", .max = 365 * DAY_NS),
        KEY("start_window", start_window_ns, CONFIG_DURATION, "15m", .max = 365 * DAY_NS),
        KEY("inject_traceparent", inject_traceparent, CONFIG_BOOL, "true"),
        KEY("link_annotations", link_annotations, CONFIG_STRING, "tracing.k8s.io/traceparent"),
        KEY("record_error_message", record_error_message, CONFIG_BOOL, "true"),
        KEY("semconv", semconv, CONFIG_SEMCONV, "rpc"),
        KEY("explain_time", explain_time, CONFIG_BOOL, "true"),
        KEY("node_name", node_name, CONFIG_STRING, ""),
        KEY("service_name", service_name, CONFIG_STRING, ""),
        KEY("resource_attributes", resource_attributes, CONFIG_ATTRIBUTES, ""),
        KEY("store_max_size", store_max_size, CONFIG_SIZE, "512MiB", .min = 65536, .max = 1024 * 1024 * MIB),
        KEY("store_max_age", store_max_age_ns, CONFIG_DURATION, "72h", .min = NSEC_PER_SEC, .max = 3650 * DAY_NS),
        KEY("store_min_free_percent", store_min_free_percent, CONFIG_U32, "15", .max = 99),
        KEY("log_level", log_level, CONFIG_LOG_LEVEL, "info"),
};

static const char *const configkey_compressions[] = {
        [CONFIG_COMPRESSION_NONE] = "none",
        [CONFIG_COMPRESSION_GZIP] = "gzip",
};

static const char *const configkey_protocols[] = {
        [CONFIG_PROTOCOL_GRPC] = "grpc",
        [CONFIG_PROTOCOL_HTTP_PROTOBUF] = "http/protobuf",
        [CONFIG_PROTOCOL_HTTP_JSON] = "http/json",
};

static const char *const configkey_semconvs[] = {
        [CONFIG_SEMCONV_NEW] = "rpc",
        [CONFIG_SEMCONV_OLD] = "rpc/old",
        [CONFIG_SEMCONV_BOTH] = "rpc/dup",
};

static const char *const configkey_log_levels[] = {
        [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
        [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

static void *configkey_field(const Config *config, const ConfigKey *key) {
        return (char *) config + key->offset;
}

const ConfigKey *configkey_find(const char *name) {
        for (size_t i = 0; i < CONFIGKEY_N; i++)
                if (strcmp(configkey_table[i].name, name) == 0)
                        return &configkey_table[i];
        return NULL;
}

static int configkey_refuse(const char **ret_reason, const char *reason) {
        *ret_reason = reason;
        return -EINVAL;
}

static int configkey_lookup(const char *const *names, size_t n, const char *s) {
        for (size_t i = 0; i < n; i++)
                if (names[i] && strcmp(names[i], s) == 0)
                        return (int) i;
        return -EINVAL;
}

static int configkey_set_string(char **field, const char *s) {
        char *copy;

        copy = strdup(s);
        if (!copy)
                return -ENOMEM;

        free(*field);
        *field = copy;
        return 0;
}

/* TOML lets underscores group digits: 1_000_000. */
static int configkey_set_number(const ConfigKey *key, const char *s, uint64_t *ret, const char **ret_reason) {
        char digits[64];
        size_t n = 0;
        uint64_t value;
        int r;

        for (const char *p = s; *p; p++) {
                if (*p == '_' && p > s && p[-1] >= '0' && p[-1] <= '9' && p[1] >= '0' && p[1] <= '9')
                        continue;
                if (n == sizeof(digits))
                        return configkey_refuse(ret_reason, "not a number");
                digits[n++] = *p;
        }

        if (key->type == CONFIG_DURATION)
                r = util_parse_duration(digits, n, &value);
        else if (key->type == CONFIG_SIZE)
                r = util_parse_size(digits, n, &value);
        else
                r = util_parse_u64(digits, n, &value);
        if (r == -ERANGE && key->clamp) {
                value = key->max;
                r = 0;
        }
        if (r == -ERANGE)
                return configkey_refuse(ret_reason, "out of range");
        if (r < 0)
                return configkey_refuse(ret_reason,
                                        key->type == CONFIG_DURATION ? "not a duration such as 500ms, 10s or 72h"
                                        : key->type == CONFIG_SIZE   ? "not a size such as 65536, 512KiB or 4MiB"
                                                                     : "not a number");

        if (value > key->max && key->clamp)
                value = key->max;
        if (value < key->min || value > key->max)
                return configkey_refuse(ret_reason, "out of range");

        *ret = value;
        return 0;
}

static void configkey_clear_headers(ConfigHeader *headers, unsigned *n) {
        while (*n > 0) {
                ConfigHeader *header = &headers[--*n];

                free(header->name);
                free(header->value);
                *header = (ConfigHeader){};
        }
}

typedef struct ConfigKeyHeaders {
        ConfigHeader headers[CONFIG_HEADERS_MAX];
        unsigned n;
        const char *reason;
} ConfigKeyHeaders;

static void configkey_header_list_deinit(ConfigKeyHeaders *list) {
        configkey_clear_headers(list->headers, &list->n);
}

static int configkey_on_header(const char *name, const char *value, void *userdata) {
        ConfigKeyHeaders *list = userdata;
        ConfigHeader *header = NULL;
        _cleanup_free_ char *lower = NULL;
        char *copy;
        int r;

        lower = strdup(name);
        if (!lower)
                return -ENOMEM;
        for (char *p = lower; *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p += 'a' - 'A';

        r = configvalue_header_check(lower, value, &list->reason);
        if (r < 0)
                return r;

        for (unsigned i = 0; i < list->n; i++)
                if (strcmp(list->headers[i].name, lower) == 0)
                        header = &list->headers[i];
        if (!header && list->n == CONFIG_HEADERS_MAX)
                return configkey_refuse(&list->reason, "more than 32 headers");

        copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        if (!header) {
                header = &list->headers[list->n++];
                header->name = TAKE_PTR(lower);
        }
        free(header->value);
        header->value = copy;
        return 0;
}

static int configkey_set_headers(Config *config, const char *s, const char **ret_reason) {
        _cleanup_(configkey_header_list_deinit) ConfigKeyHeaders list = {};
        int r;

        r = configvalue_pairs(s, configkey_on_header, &list, &list.reason);
        if (r < 0) {
                *ret_reason = list.reason;
                return r;
        }

        /* A later list replaces an earlier one as a whole, as with any other key. */
        configkey_clear_headers(config->tracing_headers, &config->n_tracing_headers);
        memcpy(config->tracing_headers, list.headers, sizeof(list.headers));
        config->n_tracing_headers = TAKE(list.n, 0);
        return 0;
}

static int configkey_on_attribute(const char *name, const char *value, void *userdata) {
        (void) name;
        (void) value;
        (void) userdata;
        return 0;
}

int configkey_set(Config *config, const ConfigKey *key, const char *s, const char **ret_reason) {
        void *field = configkey_field(config, key);
        ConfigEndpoint endpoint;
        uint64_t number = 0;
        int r;

        if (!util_utf8_valid(s, strlen(s)))
                return configkey_refuse(ret_reason, "not UTF-8");

        switch (key->type) {
        case CONFIG_BOOL:
                if (strcmp(s, "true") != 0 && strcmp(s, "false") != 0)
                        return configkey_refuse(ret_reason, "must be true or false");
                *(bool *) field = s[0] == 't';
                return 0;

        case CONFIG_U32:
                r = configkey_set_number(key, s, &number, ret_reason);
                if (r >= 0)
                        *(uint32_t *) field = (uint32_t) number;
                return r;

        case CONFIG_SIZE:
        case CONFIG_DURATION:
                return configkey_set_number(key, s, field, ret_reason);

        case CONFIG_ENDPOINT:
                if (s[0] != '\0' && strcmp(s, "none") != 0) {
                        r = configvalue_endpoint(s, true, &endpoint, ret_reason);
                        if (r < 0)
                                return r;
                }
                return configkey_set_string(field, s);

        case CONFIG_ATTRIBUTES:
                r = configvalue_pairs(s, configkey_on_attribute, NULL, ret_reason);
                if (r < 0)
                        return r;
                return configkey_set_string(field, s);

        case CONFIG_STRING:
                return configkey_set_string(field, s);

        case CONFIG_HEADERS:
                return configkey_set_headers(config, s, ret_reason);

        case CONFIG_COMPRESSION:
                r = configkey_lookup(configkey_compressions, ARRAY_SIZE(configkey_compressions), s);
                if (r < 0)
                        return configkey_refuse(ret_reason, "must be gzip or none");
                *(ConfigCompression *) field = (ConfigCompression) r;
                return 0;

        case CONFIG_PROTOCOL:
                r = configkey_lookup(configkey_protocols, ARRAY_SIZE(configkey_protocols), s);
                if (r < 0)
                        return configkey_refuse(ret_reason, "must be grpc, http/protobuf or http/json");
                *(ConfigProtocol *) field = (ConfigProtocol) r;
                return 0;

        case CONFIG_SEMCONV:
                r = configkey_lookup(configkey_semconvs, ARRAY_SIZE(configkey_semconvs), s);
                if (r < 0)
                        return configkey_refuse(ret_reason, "must be rpc, rpc/dup or rpc/old");
                *(ConfigSemconv *) field = (ConfigSemconv) r;
                return 0;

        case CONFIG_LOG_LEVEL:
                if (log_level_parse(s, field) < 0)
                        return configkey_refuse(ret_reason, "must be error, warning, notice, info or debug");
                return 0;
        }

        return -EINVAL;
}

const char *config_protocol_name(ConfigProtocol protocol) {
        return configkey_protocols[protocol];
}

typedef struct ConfigKeyUnit {
        const char *suffix;
        uint64_t factor;
} ConfigKeyUnit;

/* In the largest unit that divides @value, so that the text can be a value again. */
static void configkey_format_unit(char *buf, size_t size, const ConfigKeyUnit *units, size_t n, uint64_t value) {
        for (size_t i = 0; i < n && value > 0; i++)
                if (value % units[i].factor == 0) {
                        (void) snprintf(buf, size, "%" PRIu64 "%s", value / units[i].factor, units[i].suffix);
                        return;
                }

        (void) snprintf(buf, size, "%" PRIu64, value);
}

static int configkey_format_headers(const Config *config, char **ret) {
        size_t n = 1;
        char *text, *p;

        for (unsigned i = 0; i < config->n_tracing_headers; i++)
                n += strlen(config->tracing_headers[i].name) + strlen("=***,");

        text = p = malloc(n);
        if (!text)
                return -ENOMEM;

        *p = '\0';
        for (unsigned i = 0; i < config->n_tracing_headers; i++)
                p += sprintf(p, "%s%s=***", i > 0 ? "," : "", config->tracing_headers[i].name);

        *ret = text;
        return 0;
}

int configkey_format(const Config *config, const ConfigKey *key, char **ret) {
        static const ConfigKeyUnit durations[] = {
                { "h", 3600 * NSEC_PER_SEC }, { "m", 60 * NSEC_PER_SEC }, { "s", NSEC_PER_SEC },
                { "ms", NSEC_PER_MSEC },      { "us", NSEC_PER_USEC },    { "ns", 1 },
        };
        static const ConfigKeyUnit sizes[] = { { "GiB", 1024 * MIB }, { "MiB", MIB }, { "KiB", 1024 } };
        const void *field = configkey_field(config, key);
        const char *text = NULL;
        char buf[32];

        switch (key->type) {
        case CONFIG_BOOL:
                text = *(const bool *) field ? "true" : "false";
                break;
        case CONFIG_U32:
                (void) snprintf(buf, sizeof(buf), "%" PRIu32, *(const uint32_t *) field);
                text = buf;
                break;
        case CONFIG_SIZE:
                configkey_format_unit(buf, sizeof(buf), sizes, ARRAY_SIZE(sizes), *(const uint64_t *) field);
                text = buf;
                break;
        case CONFIG_DURATION:
                configkey_format_unit(buf, sizeof(buf), durations, ARRAY_SIZE(durations), *(const uint64_t *) field);
                text = buf;
                break;
        case CONFIG_STRING:
        case CONFIG_ENDPOINT:
        case CONFIG_ATTRIBUTES:
                text = *(char *const *) field;
                break;
        case CONFIG_HEADERS:
                return configkey_format_headers(config, ret);
        case CONFIG_COMPRESSION:
                text = configkey_compressions[*(const ConfigCompression *) field];
                break;
        case CONFIG_PROTOCOL:
                text = config_protocol_name(*(const ConfigProtocol *) field);
                break;
        case CONFIG_SEMCONV:
                text = configkey_semconvs[*(const ConfigSemconv *) field];
                break;
        case CONFIG_LOG_LEVEL:
                text = configkey_log_levels[*(const LogLevel *) field];
                break;
        }

        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

void configkey_clear(Config *config, const ConfigKey *key) {
        switch (key->type) {
        case CONFIG_STRING:
        case CONFIG_ENDPOINT:
        case CONFIG_ATTRIBUTES:
                free(TAKE_PTR(*(char **) configkey_field(config, key)));
                break;
        case CONFIG_HEADERS:
                configkey_clear_headers(config->tracing_headers, &config->n_tracing_headers);
                break;
        default:
                break;
        }
}

void configkey_set_origin(Config *config, const ConfigKey *key, const char *name, unsigned line) {
        config->origins->keys[key - configkey_table] = (ConfigOrigin){ .name = name, .line = line };
}

int _printf_(3, 4) configkey_fail(char **reterr_message, int error, const char *format, ...) {
        char *message;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&message, format, ap);
        va_end(ap);
        *reterr_message = r < 0 ? NULL : message;
        return error;
}
