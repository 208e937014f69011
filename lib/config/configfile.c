/*
 * inih 55 finds sections and keys. It cuts lines at INI_MAX_LINE (200) and names at 50 characters without a word, joins
 * indented lines to the one before and has one idea of comments. So it reads through config_read_line(), which hands it
 * only what stands up to the "=", and the value is taken from the line itself.
 */

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "configfile.h"
#include "configkey.h"
#include "configvalue.h"

#define CONFIG_NAME_MAX 49 /* section and key: inih's own limit */

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

static char *configfile_stop(ConfigReader *reader, const char *what, const char *s, size_t n) {
        reader->error =
                s ? configkey_fail(reader->reterr_message, -EINVAL, "%s:%u: %s \"%.*s\"", reader->name, reader->line,
                                   what, (int) MIN(n, (size_t) 64), s)
                  : configkey_fail(reader->reterr_message, -EINVAL, "%s:%u: %s", reader->name, reader->line, what);
        return NULL;
}

static char *configfile_check_section(ConfigReader *reader, const char *s, size_t n, char *buf, size_t size) {
        const char *close = memchr(s, ']', n), *p;
        size_t n_name;

        if (!close)
                return configfile_stop(reader, "\"]\" missing", NULL, 0);

        for (p = close + 1; p < s + n && (*p == ' ' || *p == '\t');)
                p++;
        if (p < s + n && *p != '#' && *p != ';')
                return configfile_stop(reader, "unexpected text after", s, (size_t) (close + 1 - s));

        n_name = (size_t) (close - s - 1);
        if (!(n_name == 7 && memcmp(s + 1, "podspan", 7) == 0) &&
            !(n_name == 12 && memcmp(s + 1, "crio.tracing", 12) == 0))
                return configfile_stop(reader, "unknown section", s, (size_t) (close + 1 - s));

        (void) snprintf(buf, size, "[%.*s]\n", (int) n_name, s + 1);
        return buf;
}

/* fgets() for inih; see the top of this file. */
static char *configfile_read_line(char *buf, int size, void *stream) {
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
                return configfile_stop(reader, "line too long", NULL, 0);
        if (reader->line == 1 && end - s >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0)
                s += 3;
        for (const char *p = s; p < end; p++)
                if (((uint8_t) *p < 0x20 && *p != '\t') || *p == 0x7f)
                        return configfile_stop(reader, "control character in the line", NULL, 0);
        while (s < end && (*s == ' ' || *s == '\t'))
                s++;
        n = (size_t) (end - s);

        assert(size >= CONFIG_NAME_MAX + 4);

        if (n == 0 || *s == '#' || *s == ';') {
                memcpy(buf, "\n", 2);
                return buf;
        }
        if (*s == '[')
                return configfile_check_section(reader, s, n, buf, (size_t) size);

        head_end = memchr(s, '=', n);
        if (!head_end)
                return configfile_stop(reader, "neither a [section] nor key = value", NULL, 0);
        reader->value = head_end + 1;
        reader->n_value = (size_t) (end - reader->value);

        while (head_end > s && (head_end[-1] == ' ' || head_end[-1] == '\t'))
                head_end--;
        n = (size_t) (head_end - s);
        if (n == 0 || n > CONFIG_NAME_MAX || memchr(s, ':', n) || memchr(s, ';', n))
                return configfile_stop(reader, "unknown key", s, n);

        (void) snprintf(buf, (size_t) size, "%.*s=0\n", (int) n, s);
        return buf;
}

static int configfile_on_key(void *userdata, const char *section, const char *name, const char *value) {
        ConfigReader *reader = userdata;
        const ConfigKey *key;
        char text[CONFIG_VALUE_MAX + 1];
        const char *reason = NULL;
        int r;

        (void) section; /* checked when it began; keys before any section are taken for [podspan]'s */
        (void) value;

        key = configkey_find(name);
        if (!key) {
                (void) configfile_stop(reader, "unknown key", name, strlen(name));
                return 0;
        }

        r = configvalue_unquote(reader->value, reader->n_value, text, sizeof(text), &reason);
        if (r >= 0)
                r = configkey_set(reader->config, key, text, &reason);
        if (r < 0) {
                reader->error = configkey_fail(reader->reterr_message, r, "%s:%u: %s: %s", reader->name, reader->line,
                                               key->name, reason ? reason : "out of memory");
                return 0;
        }

        configkey_set_origin(reader->config, key, reader->name, reader->line);
        return 1;
}

int configfile_parse(Config *config, const char *name, const char *s, size_t len, char **reterr_message) {
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
                return configkey_fail(reterr_message, -EINVAL, "%s: larger than %u bytes", name, CONFIG_FILE_MAX);
        if (origins->n_files == ARRAY_SIZE(origins->files))
                return configkey_fail(reterr_message, -EINVAL, "%s: too many files", name);

        reader.name = origins->files[origins->n_files] = strdup(name);
        if (!reader.name)
                return -ENOMEM;
        origins->n_files++;

        r = ini_parse_stream(configfile_read_line, &reader, configfile_on_key, &reader);
        if (reader.error < 0)
                return reader.error;
        if (r < 0)
                return -ENOMEM;
        /* Cannot be while configfile_read_line() hands on well-formed lines only. */
        if (r > 0)
                return configkey_fail(reterr_message, -EINVAL, "%s:%d: syntax error", name, r);

        return 0;
}

int configfile_read(Config *config, int dir_fd, const char *name, const char *shown, bool regular_only,
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
                return configkey_fail(reterr_message, r, "%s: %s", shown, strerror(-r));
        }

        if (regular_only && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
                return 0;

        r = util_read_fd(fd, CONFIG_FILE_MAX, &buf, &size);
        if (r == -EFBIG)
                return configkey_fail(reterr_message, r, "%s: larger than %u bytes", shown, CONFIG_FILE_MAX);
        if (r < 0)
                return configkey_fail(reterr_message, r, "%s: %s", shown, strerror(-r));

        return configfile_parse(config, shown, buf, size, reterr_message);
}

typedef struct ConfigNames {
        char *names[CONFIG_FILES_MAX];
        size_t n;
} ConfigNames;

static void configfile_names_deinit(ConfigNames *names) {
        while (names->n > 0)
                free(names->names[--names->n]);
}

static void configfile_closedirp(DIR **dir) {
        if (*dir)
                (void) closedir(*dir);
}

static int configfile_compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The names of DIR/conf.d that count, in byte order. */
static int configfile_list(DIR *dir, const char *shown, ConfigNames *names, char **reterr_message) {
        for (;;) {
                const struct dirent *entry;
                size_t n;

                errno = 0;
                entry = readdir(dir);
                if (!entry) {
                        int r = -errno;

                        if (r < 0)
                                return configkey_fail(reterr_message, r, "%s: %s", shown, strerror(-r));
                        break;
                }

                n = strlen(entry->d_name);
                if (entry->d_name[0] == '.' || n < 5 || strcmp(entry->d_name + n - 5, ".conf") != 0)
                        continue;
                if (names->n == CONFIG_FILES_MAX)
                        return configkey_fail(reterr_message, -E2BIG, "%s: more than %d files", shown,
                                              CONFIG_FILES_MAX);
                names->names[names->n] = strdup(entry->d_name);
                if (!names->names[names->n])
                        return -ENOMEM;
                names->n++;
        }

        qsort(names->names, names->n, sizeof(names->names[0]), configfile_compare_names);
        return 0;
}

static int configfile_read_drop_ins(Config *config, int dir_fd, const char *shown_dir, char **reterr_message) {
        _cleanup_(configfile_names_deinit) ConfigNames names = {};
        _cleanup_(configfile_closedirp) DIR *dir = NULL;
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
                return r == -ENOENT ? 0 : configkey_fail(reterr_message, r, "%s: %s", shown_d, strerror(-r));
        }
        dir = fdopendir(fd);
        if (!dir)
                return -errno;
        (void) TAKE_FD(fd);

        r = configfile_list(dir, shown_d, &names, reterr_message);
        if (r < 0)
                return r;

        for (size_t i = 0; i < names.n; i++) {
                _cleanup_free_ char *shown = NULL;

                if (asprintf(&shown, "%s/%s", shown_d, names.names[i]) < 0) {
                        shown = NULL;
                        return -ENOMEM;
                }
                r = configfile_read(config, dirfd(dir), names.names[i], shown, true, reterr_message);
                if (r < 0)
                        return r;
        }

        return 0;
}

int configfile_read_dir(Config *config, const char *path, char **reterr_message) {
        _cleanup_free_ char *shown = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        *reterr_message = NULL;

        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                return r == -ENOENT ? 0 : configkey_fail(reterr_message, r, "%s: %s", path, strerror(-r));
        }

        if (asprintf(&shown, "%s/podspan.conf", path) < 0) {
                shown = NULL;
                return -ENOMEM;
        }
        if (faccessat(fd, "podspan.conf", F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT) {
                r = configfile_read(config, fd, "podspan.conf", shown, false, reterr_message);
                if (r < 0)
                        return r;
        }

        return configfile_read_drop_ins(config, fd, path, reterr_message);
}
