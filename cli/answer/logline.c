#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <yajl/yajl_tree.h>
#include "logline.h"
#include "util.h"

#define KLOG_HEADER_MAX 160 /* severity, date, time, thread, place */
#define VALUE_MAX       1024
#define ID_MIN          12 /* digits that a shortened id has */

const char *logline_severity_word(LoglineSeverity severity) {
        static const char *const words[] = {
                [LOGLINE_NONE] = "",           [LOGLINE_DEBUG] = "debug", [LOGLINE_INFO] = "info",
                [LOGLINE_WARNING] = "warning", [LOGLINE_ERROR] = "error",
        };

        return (size_t) severity < ARRAY_SIZE(words) ? words[severity] : "";
}

/* A line taken apart. */
typedef struct Parts {
        LoglineSeverity severity;
        char message[VALUE_MAX];
        char container_name[VALUE_MAX];
        char container_message[VALUE_MAX];
} Parts;

static bool begins(const char *s, size_t n, const char *prefix) {
        return n >= strlen(prefix) && memcmp(s, prefix, strlen(prefix)) == 0;
}

static bool contains(const char *s, size_t n, const char *what) {
        return *what && memmem(s, n, what, strlen(what)) != NULL;
}

/* A Go-quoted string at @s, which is a quote; cut at VALUE_MAX. Returns the bytes it takes, 0 if it does not end. */
static size_t take_quoted(const char *s, size_t n, char ret[static VALUE_MAX]) {
        size_t length = 0;

        for (size_t i = 1; i < n; i++) {
                char c = s[i];

                if (c == '"') {
                        ret[length] = '\0';
                        return i + 1;
                }
                if (c == '\\' && i + 1 < n)
                        c = s[++i];
                if (length + 1 < VALUE_MAX)
                        ret[length++] = c;
        }
        return 0;
}

/* The end of a value without quotes: at a blank outside of brackets. */
static size_t bare_length(const char *s, size_t n) {
        unsigned depth = 0;
        bool quoted = false;

        for (size_t i = 0; i < n; i++) {
                if (quoted && s[i] == '\\')
                        i++;
                else if (s[i] == '"')
                        quoted = !quoted;
                else if (!quoted && (s[i] == '{' || s[i] == '['))
                        depth++;
                else if (!quoted && (s[i] == '}' || s[i] == ']') && depth > 0)
                        depth--;
                else if (!quoted && s[i] == ' ' && depth == 0)
                        return i;
        }
        return n;
}

static void set(Parts *parts, const char *key, size_t n_key, const char *value) {
        const struct {
                const char *key;
                char *to;
        } wanted[] = { { "containerName", parts->container_name }, { "containerMessage", parts->container_message } };

        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
                if (n_key == strlen(wanted[i].key) && memcmp(key, wanted[i].key, n_key) == 0)
                        strcpy(wanted[i].to, value);
}

/* `key="value" key=value …`: klog's and logrus' form. @on_pair gets each. */
static void read_pairs(const char *s, size_t n, Parts *parts,
                       void (*on_pair)(Parts *parts, const char *key, size_t n_key, const char *value)) {
        while (n > 0) {
                char value[VALUE_MAX];
                const char *equals;
                size_t used;

                if (*s == ' ') {
                        s++;
                        n--;
                        continue;
                }
                equals = memchr(s, '=', n);
                if (!equals || memchr(s, ' ', (size_t) (equals - s)))
                        return;
                used = (size_t) (equals - s) + 1;
                if (used < n && s[used] == '"') {
                        size_t quoted = take_quoted(s + used, n - used, value);

                        if (quoted == 0)
                                return;
                        used += quoted;
                } else {
                        size_t bare = bare_length(s + used, n - used);

                        util_copy_bounded(value, sizeof(value), s + used, bare);
                        used += bare;
                }
                on_pair(parts, s, (size_t) (equals - s), value);
                s += used;
                n -= used;
        }
}

/* "I1201 10:00:03.123456    4711 kuberuntime_manager.go:1111] "Message" key="value"" */
static bool read_klog(const char *s, size_t n, Parts *parts) {
        static const char letters[] = "DIWEF";
        static const LoglineSeverity severities[] = { LOGLINE_DEBUG, LOGLINE_INFO, LOGLINE_WARNING, LOGLINE_ERROR,
                                                      LOGLINE_ERROR };
        const char *letter = n > 0 && *s ? strchr(letters, *s) : NULL, *text;
        size_t used;

        if (!letter || n < 6)
                return false;
        for (size_t i = 1; i < 5; i++)
                if (!isdigit((unsigned char) s[i]))
                        return false;
        text = memmem(s, MIN(n, (size_t) KLOG_HEADER_MAX), "] ", 2);
        if (s[5] != ' ' || !text)
                return false;
        parts->severity = severities[letter - letters];
        text += 2;
        n -= (size_t) (text - s);
        if (n == 0 || *text != '"')
                return true;
        used = take_quoted(text, n, parts->message);
        if (used == 0)
                parts->message[0] = '\0';
        else
                read_pairs(text + used, n - used, parts, set);
        return true;
}

static LoglineSeverity severity_of(const char *word) {
        static const struct {
                const char *word;
                LoglineSeverity severity;
        } words[] = {
                { "trace", LOGLINE_DEBUG },    { "debug", LOGLINE_DEBUG },  { "info", LOGLINE_INFO },
                { "notice", LOGLINE_INFO },    { "warn", LOGLINE_WARNING }, { "warning", LOGLINE_WARNING },
                { "error", LOGLINE_ERROR },    { "err", LOGLINE_ERROR },    { "fatal", LOGLINE_ERROR },
                { "critical", LOGLINE_ERROR }, { "panic", LOGLINE_ERROR },  { "dpanic", LOGLINE_ERROR },
        };

        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
                if (strcasecmp(word, words[i].word) == 0)
                        return words[i].severity;
        return LOGLINE_NONE;
}

static void set_logrus(Parts *parts, const char *key, size_t n_key, const char *value) {
        if (n_key == 5 && memcmp(key, "level", 5) == 0 && parts->severity == LOGLINE_NONE)
                parts->severity = severity_of(value);
        else if (n_key == 3 && memcmp(key, "msg", 3) == 0 && !*parts->message)
                strcpy(parts->message, value);
}

/* time="…" level=warning msg="…" */
static bool read_logrus(const char *s, size_t n, Parts *parts) {
        if (!begins(s, n, "time=") && !begins(s, n, "level="))
                return false;
        read_pairs(s, n, parts, set_logrus);
        return parts->severity != LOGLINE_NONE;
}

static void copy_member(yajl_val tree, const char *key, char ret[static VALUE_MAX]) {
        const char *path[] = { key, NULL };
        const char *value = YAJL_GET_STRING(yajl_tree_get(tree, path, yajl_t_string));

        if (value)
                util_copy_bounded(ret, VALUE_MAX, value, strlen(value));
}

/* {"ts":…,"caller":"…","msg":"…","v":0} of kubelet, where an error has "err" and no "v"; {"level":"…","msg":"…"}. */
static bool read_json(const char *s, size_t n, Parts *parts) {
        static const char *const v[] = { "v", NULL };
        char copy[LOGLINE_MAX + 1], level[VALUE_MAX] = "";
        yajl_val tree;

        if (n == 0 || *s != '{' || n > LOGLINE_MAX)
                return false;
        memcpy(copy, s, n);
        copy[n] = '\0';
        tree = strlen(copy) == n ? yajl_tree_parse(copy, NULL, 0) : NULL;
        if (!tree)
                return false;
        copy_member(tree, "msg", parts->message);
        copy_member(tree, "containerName", parts->container_name);
        copy_member(tree, "containerMessage", parts->container_message);
        copy_member(tree, "level", level);
        if (*level)
                parts->severity = severity_of(level);
        else if (*parts->message)
                parts->severity = yajl_tree_get(tree, (const char **) v, yajl_t_number) ? LOGLINE_INFO : LOGLINE_ERROR;
        yajl_tree_free(tree);
        return true;
}

/* A UID, an id or its begin, or the pod as kubelet quotes it. */
static bool names(const char *s, size_t n, const LoglineSubject *subject, bool *ret_container) {
        char begin[ID_MIN + 1], quoted[600];
        bool container = contains(s, n, subject->container_id);

        if (!container && strlen(subject->container_id) > ID_MIN) {
                util_copy_bounded(begin, sizeof(begin), subject->container_id, ID_MIN);
                container = contains(s, n, begin);
        }
        *ret_container = container;
        if (container || contains(s, n, subject->pod_uid) || contains(s, n, subject->sandbox_id))
                return true;
        if (!*subject->pod_name || !*subject->pod_namespace)
                return false;
        (void) snprintf(quoted, sizeof(quoted), "\"%s/%s\"", subject->pod_namespace, subject->pod_name);
        if (contains(s, n, quoted))
                return true;
        /* As JSON has it. */
        (void) snprintf(quoted, sizeof(quoted), "\"name\":\"%s\",\"namespace\":\"%s\"", subject->pod_name,
                        subject->pod_namespace);
        return contains(s, n, quoted);
}

static const struct {
        const char *message;
        bool of_container; /* counts only if it names this very container */
        const char *reason;
} decisive[] = {
        { "Message for Container of pod", true, NULL },
        { "Killing container with a grace period", true, NULL },
        { "Probe failed", true, NULL },
        { "Eviction manager: pod is evicted successfully", false, "pod evicted" },
        { "Eviction manager: pods evicted, waiting for pod to be cleaned up", false, "pod evicted" },
        { "Shutdown manager killing pod with gracePeriod", false, "node shuts down" },
        { "SyncLoop DELETE", false, "pod deleted" },
        { "SyncLoop REMOVE", false, "pod removed" },
};

/* Of "Message for Container of pod". */
static const struct {
        const char *text;
        bool probe;
        const char *reason;
} messages[] = {
        { "failed liveness probe", true, "liveness probe failed" },
        { "failed startup probe", true, "startup probe failed" },
        { "definition changed", false, "container definition changed" },
        { "resize requires restart", false, "resize needs a restart" },
};

static void judge(const Parts *parts, bool container, Logline *line) {
        for (size_t i = 0; i < ARRAY_SIZE(decisive); i++) {
                if (strcmp(parts->message, decisive[i].message) != 0 || (decisive[i].of_container && !container))
                        continue;
                line->decisive = true;
                line->reason = decisive[i].reason;
        }
        if (line->decisive && strcmp(parts->message, decisive[0].message) == 0)
                for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
                        if (strstr(parts->container_message, messages[i].text)) {
                                line->probe = messages[i].probe;
                                line->reason = messages[i].reason;
                        }
}

void logline_read(const char *s, size_t n, const LoglineSubject *subject, Logline *ret) {
        Logline line = {};
        Parts parts = {};
        bool container;

        n = MIN(n, (size_t) LOGLINE_MAX);
        if (read_klog(s, n, &parts) || read_json(s, n, &parts) || read_logrus(s, n, &parts)) {
                line.severity = parts.severity;
                line.about = names(s, n, subject, &container);
                /* A line that names a container by its name alone. */
                if (line.about && !container && *parts.container_name) {
                        container =
                                *subject->container_name && strcmp(parts.container_name, subject->container_name) == 0;
                        line.about = container || !*subject->container_name;
                }
                if (line.about)
                        judge(&parts, container, &line);
        }
        *ret = line;
}
