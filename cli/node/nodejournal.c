#include <stdio.h>
#include <string.h>
#include <systemd/sd-id128.h>
#include <systemd/sd-journal.h>
#include <yajl/yajl_tree.h>
#include "nodefile.h"
#include "nodejournal.h"

#define TEXT     "] \"Kubelet version\" kubeletVersion=\""
#define HEADER_N 128 /* klog's, before the text: severity, time, thread, place */

static bool is_version_char(char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' ||
               c == '+';
}

static bool take(const char *s, size_t n, char ret[static 64]) {
        if (n < 2 || n >= 64 || s[0] != 'v')
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_version_char(s[i]))
                        return false;
        util_copy_bounded(ret, 64, s, n);
        return true;
}

static bool parse_json(const char *s, size_t n, char ret[static 64]) {
        static const char *const message[] = { "msg", NULL }, *const version[] = { "kubeletVersion", NULL };
        _cleanup_bytes_ Bytes copy = BYTES_NULL;
        const char *text, *value;
        yajl_val tree;
        bool found;

        tree = bytes_dup(s, n, &copy) >= 0 ? yajl_tree_parse(copy.p, NULL, 0) : NULL;
        if (!tree)
                return false;
        text = YAJL_GET_STRING(yajl_tree_get(tree, (const char **) message, yajl_t_string));
        value = YAJL_GET_STRING(yajl_tree_get(tree, (const char **) version, yajl_t_string));
        found = text && value && strcmp(text, "Kubelet version") == 0 && take(value, strlen(value), ret);
        yajl_tree_free(tree);
        return found;
}

bool nodejournal_parse_line(const char *s, size_t n, char ret[static 64]) {
        const char *hit, *end;

        if (n == 0 || n > NODEJOURNAL_LINE_MAX)
                return false;
        if (*s == '{')
                return parse_json(s, n, ret);
        /* klog's header ends in the first "] ": what a later one follows is somebody's text. */
        hit = memmem(s, n < HEADER_N ? n : HEADER_N, "] ", 2);
        if (*s != 'I' || !hit || n - (size_t) (hit - s) < strlen(TEXT) || memcmp(hit, TEXT, strlen(TEXT)) != 0)
                return false;
        hit += strlen(TEXT);
        end = memchr(hit, '"', n - (size_t) (hit - s));
        return end && take(hit, (size_t) (end - hit), ret);
}

static int boot_id(int root_fd, sd_id128_t *ret) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        int r;

        r = nodefile_read_proc(root_fd, "/proc/sys/kernel/random/boot_id", &text);
        if (r < 0)
                return r;
        text.p[strcspn(text.p, "\n")] = '\0';
        return sd_id128_from_string(text.p, ret);
}

static int open_journal(const char *root, sd_journal **ret) {
        static const char *const folders[] = { "/var/log/journal", "/run/log/journal" };
        int r = -ENOENT;

        if (strcmp(root, "/") == 0)
                return sd_journal_open(ret, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM);
        for (size_t i = 0; i < ARRAY_SIZE(folders) && r < 0; i++) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s%s", root, folders[i]) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                r = sd_journal_open_directory(ret, path, 0);
        }
        return r;
}

static int add_matches(sd_journal *journal, const Nodeproc *proc, sd_id128_t boot) {
        char id[SD_ID128_STRING_MAX], match[64];
        int r;

        (void) snprintf(match, sizeof(match), "_PID=%d", (int) proc->pid);
        r = sd_journal_add_match(journal, match, 0);
        if (r < 0)
                return r;
        (void) snprintf(match, sizeof(match), "_BOOT_ID=%s", sd_id128_to_string(boot, id));
        r = sd_journal_add_match(journal, match, 0);
        return r < 0 ? r : sd_journal_add_match(journal, "_UID=0", 0);
}

static int search(sd_journal *journal, const Nodeproc *proc, sd_id128_t boot, char ret[static 64]) {
        uint64_t start_us = proc->start_ticks * (UINT64_C(1000000) / (uint64_t) sysconf(_SC_CLK_TCK));
        int r;

        r = sd_journal_set_data_threshold(journal, NODEJOURNAL_LINE_MAX);
        if (r >= 0)
                r = add_matches(journal, proc, boot);
        if (r >= 0)
                r = sd_journal_seek_head(journal);
        for (unsigned i = 0; r >= 0 && i < NODEJOURNAL_ENTRIES_MAX;) {
                static const char field[] = "MESSAGE=";
                sd_id128_t entry_boot;
                uint64_t monotonic_us;
                const void *data;
                size_t n;

                r = sd_journal_next(journal);
                if (r <= 0)
                        break;
                /* The number may have been another process's before. */
                if (sd_journal_get_monotonic_usec(journal, &monotonic_us, &entry_boot) < 0 ||
                    !sd_id128_equal(entry_boot, boot) || monotonic_us < start_us)
                        continue;
                i++;
                if (sd_journal_get_data(journal, "MESSAGE", &data, &n) < 0 || n < sizeof(field) - 1)
                        continue;
                if (nodejournal_parse_line((const char *) data + sizeof(field) - 1, n - (sizeof(field) - 1), ret))
                        return 0;
        }
        return r < 0 ? r : -ENOENT;
}

int nodejournal_kubelet_version(const char *root, int root_fd, const Nodeproc *proc, char ret[static 64]) {
        sd_journal *journal;
        sd_id128_t boot;
        int r;

        if (proc->trust == NODEPROC_REFUSED || proc->start_ticks == 0)
                return -ENOENT;
        r = boot_id(root_fd, &boot);
        if (r >= 0)
                r = open_journal(root, &journal);
        if (r < 0)
                return r;
        r = search(journal, proc, boot, ret);
        sd_journal_close(journal);
        return r;
}
