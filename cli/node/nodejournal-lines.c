#include <string.h>
#include <systemd/sd-journal.h>
#include "clk.h"
#include "nodejournal.h"

static int open_lines(const char *dir, sd_journal **ret) {
        return dir ? sd_journal_open_directory(ret, dir, 0)
                   : sd_journal_open(ret, SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM);
}

/* journald takes the fields that begin with an underscore from the kernel. Those of one name are alternatives. */
static int match_lines(sd_journal *journal) {
        static const char *const matches[] = { "_UID=0", "_COMM=kubelet", "_COMM=containerd", "_COMM=crio" };
        int r = 0;

        for (size_t i = 0; i < sizeof(matches) / sizeof(matches[0]) && r >= 0; i++)
                r = sd_journal_add_match(journal, matches[i], 0);
        return r;
}

static int read_field(sd_journal *journal, const char *field, const char **ret, size_t *ret_n) {
        const void *data;
        size_t n, n_field = strlen(field);
        int r = sd_journal_get_data(journal, field, &data, &n);

        if (r < 0)
                return r;
        if (n <= n_field)
                return -EBADMSG;
        *ret = (const char *) data + n_field + 1;
        *ret_n = n - n_field - 1;
        return 0;
}

static int read_lines(sd_journal *journal, uint64_t since_ns, uint64_t until_ns,
                      bool (*fn)(const NodejournalLine *line, void *userdata), void *userdata, uint64_t *ret_from_ns) {
        uint64_t stop_ns = clk_monotonic() + NODEJOURNAL_LINES_NS, from_ns = until_ns;
        size_t n_bytes = 0;
        int r;

        r = sd_journal_set_data_threshold(journal, NODEJOURNAL_LINES_TEXT);
        if (r >= 0)
                r = match_lines(journal);
        if (r >= 0)
                r = sd_journal_seek_realtime_usec(journal, until_ns / NSEC_PER_USEC + 1);
        while (r >= 0) {
                NodejournalLine line = {};
                char program[32] = "";
                const char *text;
                uint64_t at_us;
                size_t n;

                if (clk_monotonic() > stop_ns || n_bytes > NODEJOURNAL_LINES_BYTES)
                        break;
                r = sd_journal_previous(journal);
                if (r < 0)
                        return r;
                if (r == 0 || sd_journal_get_realtime_usec(journal, &at_us) < 0 || at_us * NSEC_PER_USEC < since_ns) {
                        from_ns = since_ns;
                        break;
                }
                line.at_ns = at_us * NSEC_PER_USEC;
                if (line.at_ns > until_ns)
                        continue;
                from_ns = line.at_ns;
                /* The next call may reuse what the last one returned. */
                if (read_field(journal, "_COMM", &text, &n) >= 0)
                        util_copy_bounded(program, sizeof(program), text, n);
                if (read_field(journal, "MESSAGE", &line.text, &line.n) < 0)
                        continue;
                n_bytes += line.n;
                line.program = program;
                if (!fn(&line, userdata)) {
                        from_ns = since_ns;
                        break;
                }
        }
        if (r < 0)
                return r;
        *ret_from_ns = from_ns;
        return 0;
}

int nodejournal_lines(const char *dir, uint64_t since_ns, uint64_t until_ns,
                      bool (*fn)(const NodejournalLine *line, void *userdata), void *userdata, uint64_t *ret_from_ns) {
        sd_journal *journal;
        int r;

        r = open_lines(dir, &journal);
        if (r < 0)
                return r;
        /* Without files that can be read there is no error, only nothing. */
        if (sd_journal_has_runtime_files(journal) <= 0 && sd_journal_has_persistent_files(journal) <= 0 && !dir)
                r = -ENOENT;
        else
                r = read_lines(journal, since_ns, until_ns, fn, userdata, ret_from_ns);
        sd_journal_close(journal);
        return r;
}
