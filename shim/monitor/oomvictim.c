#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "oomvictim.h"
#include "util.h"

#define FILE_MAX    8192        /* of either file */
#define FLAG_EXITS  0x00000004U /* the kernel's PF_EXITING */
#define FIELD_FLAGS 7           /* in /proc/PID/stat, counted from the state, which is 1 */

bool oomvictim_parse_stat(const char *s, size_t len) {
        /* The name in parentheses is the process's own, and can hold anything. */
        const char *at = len > 0 ? memrchr(s, ')', len) : NULL, *end = s + len;

        for (unsigned field = 1; at && at + 2 < end && *++at == ' '; field++) {
                const char *word = ++at;

                while (at < end && *at != ' ')
                        at++;
                if (field == 1 && (*word == 'Z' || *word == 'X'))
                        return true;
                if (field == FIELD_FLAGS) {
                        uint64_t flags;

                        return util_parse_u64(word, (size_t) (at - word), &flags) == 0 && flags & FLAG_EXITS;
                }
                at--;
        }
        return false;
}

bool oomvictim_parse_status(const char *s, size_t len) {
        static const char *const keys[] = { "\nSigPnd:\t", "\nShdPnd:\t" };

        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                const char *at = len > 0 ? memmem(s, len, keys[i], strlen(keys[i])) : NULL;
                uint64_t pending = 0;

                for (at = at ? at + strlen(keys[i]) : s + len; at < s + len && *at != '\n'; at++) {
                        int digit = util_hex_value(*at);

                        if (digit < 0)
                                return false;
                        pending = pending << 4 | (uint64_t) digit;
                }
                if (pending >> (SIGKILL - 1) & 1)
                        return true;
        }
        return false;
}

static int read_file(pid_t pid, const char *name, char **ret, size_t *ret_len) {
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, name);
        return util_read_file_at(AT_FDCWD, path, FILE_MAX, ret, ret_len);
}

static bool is_dying(pid_t pid) {
        _cleanup_free_ char *stat = NULL, *status = NULL;
        size_t len;

        if (kill(pid, 0) < 0)
                return errno == ESRCH;
        return (read_file(pid, "stat", &stat, &len) >= 0 && oomvictim_parse_stat(stat, len)) ||
               (read_file(pid, "status", &status, &len) >= 0 && oomvictim_parse_status(status, len));
}

static void add_other(OomVictim *victim) {
        if (victim->open && victim->n_others < OOMVICTIM_OTHERS_MAX)
                victim->others[victim->n_others++] = victim->last;
        victim->open = false;
}

static int on_look(LoopTimer *timer) {
        OomVictim *victim = container_of(timer, OomVictim, timer);

        if (!is_dying(victim->pid))
                add_other(victim);
        return 0;
}

int oomvictim_init(OomVictim *victim, Loop *loop, pid_t pid) {
        int r;

        assert(victim);
        assert(loop);

        victim->pid = pid;
        r = loop_timer_add(&victim->timer, loop, on_look);
        if (r == 0)
                victim->loop = loop;
        return r;
}

void oomvictim_deinit(OomVictim *victim) {
        if (victim->loop)
                loop_timer_remove(&victim->timer);
        victim->loop = NULL;
}

void oomvictim_kill(OomVictim *victim, const Clk *at) {
        assert(victim);
        assert(at);

        /* It has outlived the kill before. */
        if (victim->open && !is_dying(victim->pid))
                add_other(victim);
        victim->open = true;
        victim->last = *at;
        if (victim->loop)
                (void) loop_timer_set(&victim->timer, OOMVICTIM_LOOK_NS, 0);
}

bool oomvictim_end(OomVictim *victim, int signal) {
        bool killed;

        assert(victim);

        killed = victim->open && signal == SIGKILL;
        if (killed)
                victim->open = false;
        else
                add_other(victim);
        return killed;
}
