#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "configenv.h"
#include "configkey.h"
#include "configvalue.h"

/* How a variable's text becomes a key's. */
typedef enum ConfigEnvForm {
        CONFIG_ENV_PLAIN,
        CONFIG_ENV_BOOL,         /* any case */
        CONFIG_ENV_MILLISECONDS, /* a plain number */
        CONFIG_ENV_DISABLED,     /* the opposite, and anything but "true" is false */
        CONFIG_ENV_SEMCONV,      /* a list, of which only rpc's members are for us */
} ConfigEnvForm;

typedef struct ConfigEnv {
        const char *name;
        const char *key;
        ConfigEnvForm form;
} ConfigEnv;

/* In the order of application: of two for one key the later wins. */
static const ConfigEnv configenv_table[] = {
        { "OTEL_SDK_DISABLED", "enable_tracing", CONFIG_ENV_DISABLED },
        { "OTEL_EXPORTER_OTLP_ENDPOINT", "tracing_endpoint" },
        { "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "tracing_endpoint" },
        { "OTEL_EXPORTER_OTLP_HEADERS", "tracing_headers" },
        { "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "tracing_headers" },
        { "OTEL_EXPORTER_OTLP_TIMEOUT", "tracing_timeout", CONFIG_ENV_MILLISECONDS },
        { "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "tracing_timeout", CONFIG_ENV_MILLISECONDS },
        { "OTEL_EXPORTER_OTLP_PROTOCOL", "tracing_protocol" },
        { "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "tracing_protocol" },
        { "OTEL_EXPORTER_OTLP_COMPRESSION", "tracing_compression" },
        { "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "tracing_compression" },
        { "OTEL_EXPORTER_OTLP_CERTIFICATE", "tracing_certificate" },
        { "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "tracing_certificate" },
        { "OTEL_EXPORTER_OTLP_CLIENT_KEY", "tracing_client_key" },
        { "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "tracing_client_key" },
        { "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "tracing_client_certificate" },
        { "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "tracing_client_certificate" },
        { "OTEL_EXPORTER_OTLP_INSECURE", "tracing_insecure", CONFIG_ENV_BOOL },
        { "OTEL_EXPORTER_OTLP_TRACES_INSECURE", "tracing_insecure", CONFIG_ENV_BOOL },
        { "OTEL_RESOURCE_ATTRIBUTES", "resource_attributes" },
        { "OTEL_SERVICE_NAME", "service_name" },
        { "OTEL_SEMCONV_STABILITY_OPT_IN", "semconv", CONFIG_ENV_SEMCONV },
};

/* Of several in the list "rpc/dup" is the most careful wish, so it wins, then the first. NULL: nothing about rpc. */
static const char *configenv_semconv(const char *s) {
        static const char *const names[] = { "rpc/dup", "rpc", "rpc/old" };
        const char *found = NULL;

        while (*s) {
                size_t n = strcspn(s, ","), blanks = strspn(s, " \t"), len;

                blanks = MIN(blanks, n);
                len = n - blanks;
                while (len > 0 && (s[blanks + len - 1] == ' ' || s[blanks + len - 1] == '\t'))
                        len--;

                for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                        if (strlen(names[i]) == len && strncmp(s + blanks, names[i], len) == 0 && (!found || i == 0))
                                found = names[i];

                s += n;
                if (*s)
                        s++;
        }

        return found;
}

static int configenv_on_service_name(const char *name, const char *value, void *userdata) {
        char **service_name = userdata;

        char *copy;

        if (strcmp(name, "service.name") != 0)
                return 0;

        copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        free(*service_name);
        *service_name = copy;
        return 0;
}

static int configenv_apply_variable(Config *config, const ConfigEnv *env, const char *s, char **reterr_message) {
        const ConfigKey *key = configkey_find(env->key);
        const char *reason = NULL;
        char buf[32];
        uint64_t number;
        int r = 0;

        switch (env->form) {
        case CONFIG_ENV_PLAIN:
                break;
        case CONFIG_ENV_BOOL:
                s = strcasecmp(s, "true") == 0 ? "true" : strcasecmp(s, "false") == 0 ? "false" : s;
                break;
        case CONFIG_ENV_MILLISECONDS:
                r = util_parse_u64(s, strlen(s), &number);
                if (r < 0)
                        return configkey_fail(reterr_message, -EINVAL, "%s: not a number of milliseconds", env->name);
                /* OpenTelemetry: no limit. Ours is the longest there is. */
                if (number == 0)
                        number = 3600 * (NSEC_PER_SEC / NSEC_PER_MSEC);
                (void) snprintf(buf, sizeof(buf), "%" PRIu64 "ms", number);
                s = buf;
                break;
        case CONFIG_ENV_DISABLED:
                if (strcasecmp(s, "true") != 0)
                        return 0;
                s = "false";
                break;
        case CONFIG_ENV_SEMCONV:
                s = configenv_semconv(s);
                if (!s)
                        return 0;
                break;
        }

        r = configkey_set(config, key, s, &reason);
        if (r >= 0 && key->type == CONFIG_ATTRIBUTES) {
                _cleanup_free_ char *service_name = NULL;

                r = configvalue_pairs(s, configenv_on_service_name, &service_name, &reason);
                if (r >= 0 && service_name && service_name[0] != '\0') {
                        const ConfigKey *service_key = configkey_find("service_name");

                        r = configkey_set(config, service_key, service_name, &reason);
                        if (r >= 0)
                                configkey_set_origin(config, service_key, env->name, 0);
                }
        }
        if (r < 0)
                return configkey_fail(reterr_message, r, "%s: %s", env->name, reason ? reason : "out of memory");

        configkey_set_origin(config, key, env->name, 0);
        return 0;
}

int configenv_apply(Config *config, char *const *envp, char **reterr_message) {
        const char *values[ARRAY_SIZE(configenv_table)] = {};
        int r;

        *reterr_message = NULL;

        for (; *envp; envp++) {
                if (strncmp(*envp, "OTEL_", 5) != 0)
                        continue;
                for (size_t i = 0; i < ARRAY_SIZE(configenv_table); i++) {
                        size_t n = strlen(configenv_table[i].name);

                        if (strncmp(*envp, configenv_table[i].name, n) == 0 && (*envp)[n] == '=' && !values[i])
                                values[i] = *envp + n + 1;
                }
        }

        for (size_t i = 0; i < ARRAY_SIZE(configenv_table); i++) {
                if (!values[i] || values[i][0] == '\0')
                        continue;
                if (strlen(values[i]) > CONFIG_VALUE_MAX)
                        return configkey_fail(reterr_message, -EINVAL, "%s: longer than %d bytes",
                                              configenv_table[i].name, CONFIG_VALUE_MAX);
                r = configenv_apply_variable(config, &configenv_table[i], values[i], reterr_message);
                if (r < 0)
                        return r;
        }

        return 0;
}
