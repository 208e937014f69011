/*
 * inih 55 finds sections and keys. It cuts lines at INI_MAX_LINE (200) and names at 50 characters without a word, joins
 * indented lines to the one before and has one idea of comments. So it reads through config_read_line(), which hands it
 * only what stands up to the "=", and the value is taken from the line itself.
 */

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "config.h"
#include "configkey.h"
#include "configvalue.h"

#define CONFIG_NAME_MAX 49 /* section and key: inih's own limit */

/* Returns @error; the message is a gift that may be missing. */
static int _printf_(3, 4) config_fail(char **reterr_message, int error, const char *format, ...) {
        char *message;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&message, format, ap);
        va_end(ap);
        *reterr_message = r < 0 ? NULL : message;
        return error;
}

void config_deinit(Config *config) {
        for (size_t i = 0; i < CONFIGKEY_N; i++)
                configkey_clear(config, &configkey_table[i]);

        if (config->origins) {
                for (size_t i = 0; i < config->origins->n_files; i++)
                        free(config->origins->files[i]);
                free(config->origins);
        }

        *config = (Config) CONFIG_NULL;
}

int config_defaults(Config *ret) {
        _cleanup_(config_deinit) Config config = CONFIG_NULL;

        config.origins = calloc(1, sizeof(*config.origins));
        if (!config.origins)
                return -ENOMEM;

        for (size_t i = 0; i < CONFIGKEY_N; i++) {
                const char *reason = NULL;
                int r;

                r = configkey_set(&config, &configkey_table[i], configkey_table[i].initial, &reason);
                if (r < 0)
                        return r;
        }

        *ret = TAKE(config, (Config) CONFIG_NULL);
        return 0;
}

/* One file being parsed. */
typedef struct ConfigReader {
        Config *config;
        const char *name;       /* owned by config->origins */
        const char *next, *end; /* what is not read yet */
        const char *value;      /* of the current line, behind the separator */
        size_t n_value;
        unsigned line;
        int error; /* of the current line: reading stops there */
        char **reterr_message;
} ConfigReader;

static char *config_stop(ConfigReader *reader, const char *what, const char *s, size_t n) {
        reader->error = s ? config_fail(reader->reterr_message, -EINVAL, "%s:%u: %s \"%.*s\"", reader->name,
                                        reader->line, what, (int) MIN(n, (size_t) 64), s)
                          : config_fail(reader->reterr_message, -EINVAL, "%s:%u: %s", reader->name, reader->line, what);
        return NULL;
}

static char *config_check_section(ConfigReader *reader, const char *s, size_t n, char *buf, size_t size) {
        const char *close = memchr(s, ']', n), *p;
        size_t n_name;

        if (!close)
                return config_stop(reader, "\"]\" missing", NULL, 0);

        for (p = close + 1; p < s + n && (*p == ' ' || *p == '\t');)
                p++;
        if (p < s + n && *p != '#' && *p != ';')
                return config_stop(reader, "unexpected text after", s, (size_t) (close + 1 - s));

        n_name = (size_t) (close - s - 1);
        if (!(n_name == 7 && memcmp(s + 1, "podspan", 7) == 0) &&
            !(n_name == 12 && memcmp(s + 1, "crio.tracing", 12) == 0))
                return config_stop(reader, "unknown section", s, (size_t) (close + 1 - s));

        (void) snprintf(buf, size, "[%.*s]\n", (int) n_name, s + 1);
        return buf;
}

/* fgets() for inih; see the top of this file. */
static char *config_read_line(char *buf, int size, void *stream) {
        ConfigReader *reader = stream;
        const char *s = reader->next, *end, *head_end;
        size_t n;

        if (reader->error < 0 || s == reader->end)
                return NULL;

        end = memchr(s, '\n', (size_t) (reader->end - s));
        reader->next = end ? end + 1 : reader->end;
        if (!end)
                end = reader->end;
        reader->line++;
        reader->value = NULL;

        if (end > s && end[-1] == '\r')
                end--;
        if (end - s > CONFIG_LINE_MAX)
                return config_stop(reader, "line too long", NULL, 0);
        if (reader->line == 1 && end - s >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0)
                s += 3;
        for (const char *p = s; p < end; p++)
                if (((uint8_t) *p < 0x20 && *p != '\t') || *p == 0x7f)
                        return config_stop(reader, "control character in the line", NULL, 0);
        while (s < end && (*s == ' ' || *s == '\t'))
                s++;
        n = (size_t) (end - s);

        assert(size >= CONFIG_NAME_MAX + 4);

        if (n == 0 || *s == '#' || *s == ';') {
                memcpy(buf, "\n", 2);
                return buf;
        }
        if (*s == '[')
                return config_check_section(reader, s, n, buf, (size_t) size);

        head_end = memchr(s, '=', n);
        if (!head_end)
                return config_stop(reader, "neither a [section] nor key = value", NULL, 0);
        reader->value = head_end + 1;
        reader->n_value = (size_t) (end - reader->value);

        while (head_end > s && (head_end[-1] == ' ' || head_end[-1] == '\t'))
                head_end--;
        n = (size_t) (head_end - s);
        if (n == 0 || n > CONFIG_NAME_MAX || memchr(s, ':', n) || memchr(s, ';', n))
                return config_stop(reader, "unknown key", s, n);

        (void) snprintf(buf, (size_t) size, "%.*s=0\n", (int) n, s);
        return buf;
}

static int config_on_key(void *userdata, const char *section, const char *name, const char *value) {
        ConfigReader *reader = userdata;
        const ConfigKey *key;
        char text[CONFIG_VALUE_MAX + 1];
        const char *reason = NULL;
        int r;

        (void) section; /* checked when it began; keys before any section are taken for [podspan]'s */
        (void) value;

        key = configkey_find(name);
        if (!key) {
                (void) config_stop(reader, "unknown key", name, strlen(name));
                return 0;
        }

        r = configvalue_unquote(reader->value, reader->n_value, text, sizeof(text), &reason);
        if (r >= 0)
                r = configkey_set(reader->config, key, text, &reason);
        if (r < 0) {
                reader->error = config_fail(reader->reterr_message, r, "%s:%u: %s: %s", reader->name, reader->line,
                                            key->name, reason ? reason : "out of memory");
                return 0;
        }

        configkey_set_origin(reader->config, key, reader->name, reader->line);
        return 1;
}

int config_parse(Config *config, const char *name, const char *s, size_t len, char **reterr_message) {
        ConfigReader reader = {
                .config = config,
                .next = s,
                .end = s + len,
                .reterr_message = reterr_message,
        };
        struct ConfigOrigins *origins = config->origins;
        int r;

        *reterr_message = NULL;
        if (len > CONFIG_FILE_MAX)
                return config_fail(reterr_message, -EINVAL, "%s: larger than %u bytes", name, CONFIG_FILE_MAX);
        if (origins->n_files == ARRAY_SIZE(origins->files))
                return config_fail(reterr_message, -EINVAL, "%s: too many files", name);

        reader.name = origins->files[origins->n_files] = strdup(name);
        if (!reader.name)
                return -ENOMEM;
        origins->n_files++;

        r = ini_parse_stream(config_read_line, &reader, config_on_key, &reader);
        if (reader.error < 0)
                return reader.error;
        if (r < 0)
                return -ENOMEM;
        /* Cannot be while config_read_line() hands on well-formed lines only. */
        if (r > 0)
                return config_fail(reterr_message, -EINVAL, "%s:%d: syntax error", name, r);

        return 0;
}

static int config_read_file(Config *config, int dir_fd, const char *name, const char *shown, bool regular_only,
                            char **reterr_message) {
        _cleanup_free_ char *buf = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        size_t size;
        int r;

        /* Symbolic links are followed: a mounted ConfigMap consists of them. O_NONBLOCK: not to wait on a FIFO. */
        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0) {
                r = -errno;
                return config_fail(reterr_message, r, "%s: %s", shown, strerror(-r));
        }

        if (regular_only && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
                return 0;

        r = util_read_fd(fd, CONFIG_FILE_MAX, &buf, &size);
        if (r == -EFBIG)
                return config_fail(reterr_message, r, "%s: larger than %u bytes", shown, CONFIG_FILE_MAX);
        if (r < 0)
                return config_fail(reterr_message, r, "%s: %s", shown, strerror(-r));

        return config_parse(config, shown, buf, size, reterr_message);
}

typedef struct ConfigNames {
        char *names[CONFIG_FILES_MAX];
        size_t n;
} ConfigNames;

static void config_names_deinit(ConfigNames *names) {
        while (names->n > 0)
                free(names->names[--names->n]);
}

static void config_closedirp(DIR **dir) {
        if (*dir)
                (void) closedir(*dir);
}

static int config_compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The names of DIR/conf.d that count, in byte order. */
static int config_list(DIR *dir, const char *shown, ConfigNames *names, char **reterr_message) {
        for (;;) {
                const struct dirent *entry;
                size_t n;

                errno = 0;
                entry = readdir(dir);
                if (!entry) {
                        int r = -errno;

                        if (r < 0)
                                return config_fail(reterr_message, r, "%s: %s", shown, strerror(-r));
                        break;
                }

                n = strlen(entry->d_name);
                if (entry->d_name[0] == '.' || n < 5 || strcmp(entry->d_name + n - 5, ".conf") != 0)
                        continue;
                if (names->n == CONFIG_FILES_MAX)
                        return config_fail(reterr_message, -E2BIG, "%s: more than %d files", shown, CONFIG_FILES_MAX);
                names->names[names->n] = strdup(entry->d_name);
                if (!names->names[names->n])
                        return -ENOMEM;
                names->n++;
        }

        qsort(names->names, names->n, sizeof(names->names[0]), config_compare_names);
        return 0;
}

static int config_read_drop_ins(Config *config, int dir_fd, const char *shown_dir, char **reterr_message) {
        _cleanup_(config_names_deinit) ConfigNames names = {};
        _cleanup_(config_closedirp) DIR *dir = NULL;
        _cleanup_free_ char *shown_d = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (asprintf(&shown_d, "%s/conf.d", shown_dir) < 0) {
                shown_d = NULL;
                return -ENOMEM;
        }

        fd = openat(dir_fd, "conf.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                return r == -ENOENT ? 0 : config_fail(reterr_message, r, "%s: %s", shown_d, strerror(-r));
        }
        dir = fdopendir(fd);
        if (!dir)
                return -errno;
        (void) TAKE_FD(fd);

        r = config_list(dir, shown_d, &names, reterr_message);
        if (r < 0)
                return r;

        for (size_t i = 0; i < names.n; i++) {
                _cleanup_free_ char *shown = NULL;

                if (asprintf(&shown, "%s/%s", shown_d, names.names[i]) < 0) {
                        shown = NULL;
                        return -ENOMEM;
                }
                r = config_read_file(config, dirfd(dir), names.names[i], shown, true, reterr_message);
                if (r < 0)
                        return r;
        }

        return 0;
}

int config_read_dir(Config *config, const char *path, char **reterr_message) {
        _cleanup_free_ char *shown = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        *reterr_message = NULL;

        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                return r == -ENOENT ? 0 : config_fail(reterr_message, r, "%s: %s", path, strerror(-r));
        }

        if (asprintf(&shown, "%s/podspan.conf", path) < 0) {
                shown = NULL;
                return -ENOMEM;
        }
        if (faccessat(fd, "podspan.conf", F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT) {
                r = config_read_file(config, fd, "podspan.conf", shown, false, reterr_message);
                if (r < 0)
                        return r;
        }

        return config_read_drop_ins(config, fd, path, reterr_message);
}

/* The one file that is read instead of CONFIG_DIR, or NULL. */
static const char *config_choose_file(const char *file) {
        if (!file)
                file = getenv("PODSPAN_CONFIG");
        return file && file[0] != '\0' ? file : NULL;
}

int config_folder(const char *file, char **ret) {
        const char *slash;
        char *folder;

        file = config_choose_file(file);
        slash = file ? strrchr(file, '/') : NULL;
        if (!file)
                folder = strdup(CONFIG_DIR);
        else if (!slash)
                folder = strdup(".");
        else
                folder = strndup(file, slash == file ? 1 : (size_t) (slash - file));
        if (!folder)
                return -ENOMEM;

        *ret = folder;
        return 0;
}

int config_load_files(const char *file, Config *ret, char **reterr_message) {
        _cleanup_(config_deinit) Config config = CONFIG_NULL;
        int r;

        *reterr_message = NULL;

        r = config_defaults(&config);
        if (r < 0)
                return r;

        file = config_choose_file(file);
        if (file)
                r = config_read_file(&config, AT_FDCWD, file, file, false, reterr_message);
        else
                r = config_read_dir(&config, CONFIG_DIR, reterr_message);
        if (r < 0)
                return r;

        *ret = TAKE(config, (Config) CONFIG_NULL);
        return 0;
}

int config_load(const char *file, Config *ret, char **reterr_message) {
        _cleanup_(config_deinit) Config config = CONFIG_NULL;
        int r;

        r = config_load_files(file, &config, reterr_message);
        if (r < 0)
                return r;

        r = config_apply_env(&config, environ, reterr_message);
        if (r < 0)
                return r;

        *ret = TAKE(config, (Config) CONFIG_NULL);
        return 0;
}

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
static const ConfigEnv config_env[] = {
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
static const char *config_env_semconv(const char *s) {
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

static int config_on_service_name(const char *name, const char *value, void *userdata) {
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

static int config_apply_variable(Config *config, const ConfigEnv *env, const char *s, char **reterr_message) {
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
                        return config_fail(reterr_message, -EINVAL, "%s: not a number of milliseconds", env->name);
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
                s = config_env_semconv(s);
                if (!s)
                        return 0;
                break;
        }

        r = configkey_set(config, key, s, &reason);
        if (r >= 0 && key->type == CONFIG_ATTRIBUTES) {
                _cleanup_free_ char *service_name = NULL;

                r = configvalue_pairs(s, config_on_service_name, &service_name, &reason);
                if (r >= 0 && service_name && service_name[0] != '\0') {
                        const ConfigKey *service_key = configkey_find("service_name");

                        r = configkey_set(config, service_key, service_name, &reason);
                        if (r >= 0)
                                configkey_set_origin(config, service_key, env->name, 0);
                }
        }
        if (r < 0)
                return config_fail(reterr_message, r, "%s: %s", env->name, reason ? reason : "out of memory");

        configkey_set_origin(config, key, env->name, 0);
        return 0;
}

int config_apply_env(Config *config, char *const *envp, char **reterr_message) {
        const char *values[ARRAY_SIZE(config_env)] = {};
        int r;

        *reterr_message = NULL;

        for (; *envp; envp++) {
                if (strncmp(*envp, "OTEL_", 5) != 0)
                        continue;
                for (size_t i = 0; i < ARRAY_SIZE(config_env); i++) {
                        size_t n = strlen(config_env[i].name);

                        if (strncmp(*envp, config_env[i].name, n) == 0 && (*envp)[n] == '=' && !values[i])
                                values[i] = *envp + n + 1;
                }
        }

        for (size_t i = 0; i < ARRAY_SIZE(config_env); i++) {
                if (!values[i] || values[i][0] == '\0')
                        continue;
                if (strlen(values[i]) > CONFIG_VALUE_MAX)
                        return config_fail(reterr_message, -EINVAL, "%s: longer than %d bytes", config_env[i].name,
                                           CONFIG_VALUE_MAX);
                r = config_apply_variable(config, &config_env[i], values[i], reterr_message);
                if (r < 0)
                        return r;
        }

        return 0;
}

int config_dump(const Config *config, int (*fn)(const char *key, const char *value, const char *origin, void *userdata),
                void *userdata) {
        for (size_t i = 0; i < CONFIGKEY_N; i++) {
                const ConfigKey *key = &configkey_table[i];
                const ConfigOrigin *origin = &config->origins->keys[i];
                _cleanup_free_ char *value = NULL, *place = NULL;
                int r;

                r = configkey_format(config, key, &value);
                if (r < 0)
                        return r;

                if (origin->line > 0 && asprintf(&place, "%s:%u", origin->name, origin->line) < 0) {
                        place = NULL;
                        return -ENOMEM;
                }

                r = fn(key->name, value, place ? place : origin->name ? origin->name : "default", userdata);
                if (r < 0)
                        return r;
        }

        return 0;
}

bool config_exports(const Config *config) {
        return config->enable_tracing && config->tracing_endpoint && config->tracing_endpoint[0] != '\0' &&
               strcmp(config->tracing_endpoint, "none") != 0;
}

static const char *config_choose(const char *arg, const char *variable, const char *initial) {
        const char *env;

        if (arg)
                return arg;

        env = getenv(variable);
        return env && env[0] != '\0' ? env : initial;
}

const char *config_state_dir(const char *arg) {
        return config_choose(arg, "PODSPAN_STATE_DIR", CONFIG_STATE_DIR);
}

const char *config_store_dir(const char *arg) {
        return config_choose(arg, "PODSPAN_STORE_DIR", CONFIG_STORE_DIR);
}
