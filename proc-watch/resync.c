#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "command.h"
#include "resync.h"
#include "story.h"

#define STAT_MAX         1024
#define STAT_FIELD_START 22 /* starttime, counted from 1 */

int resync_parse_stat(const char *s, size_t len, char ret_comm[static EVENT_COMM_SIZE], uint64_t *ret_start_ns) {
        const char *end = s + len, *open, *close, *at;
        uint64_t ticks;

        assert(s || len == 0);

        /* A name may hold anything, brackets included: it ends at the last one. */
        open = memchr(s, '(', len);
        close = memrchr(s, ')', len);
        if (!open || !close || close < open || close - open - 1 >= EVENT_COMM_SIZE)
                return -EBADMSG;

        at = close + 1;
        for (int field = 2; field < STAT_FIELD_START; field++) {
                at = at < end ? memchr(at, ' ', (size_t) (end - at)) : NULL;
                if (!at)
                        return -EBADMSG;
                at++;
        }
        len = 0;
        while (at + len < end && isdigit((unsigned char) at[len]))
                len++;
        if (util_parse_u64(at, len, &ticks) < 0 || ticks > UINT64_MAX / STORY_START_TICK_NS)
                return -EBADMSG;

        memset(ret_comm, 0, EVENT_COMM_SIZE);
        memcpy(ret_comm, open + 1, (size_t) (close - open - 1));
        *ret_start_ns = ticks * STORY_START_TICK_NS;
        return 0;
}

static int read_stat(int process_fd, char comm[static EVENT_COMM_SIZE], uint64_t *ret_start_ns) {
        _cleanup_free_ char *text = NULL;
        size_t len;
        int r;

        r = util_read_file_at(process_fd, "stat", STAT_MAX, &text, &len);
        return r < 0 ? r : resync_parse_stat(text, len, comm, ret_start_ns);
}

static int open_process(uint32_t pid) {
        char name[32];
        int fd;

        (void) snprintf(name, sizeof(name), "/proc/%u", pid);
        fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

bool resync_gone(uint32_t pid, uint64_t start_ns) {
        _cleanup_close_ int fd = open_process(pid);
        char comm[EVENT_COMM_SIZE];
        uint64_t now_ns;
        int r;

        if (fd < 0)
                return fd == -ENOENT;
        r = read_stat(fd, comm, &now_ns);
        return r == -ENOENT || r == -ESRCH ||
               (r == 0 && now_ns / STORY_START_TICK_NS != start_ns / STORY_START_TICK_NS);
}

/* The long-lived program of this (cut) name. */
static const CommandProgram *find_program(const char comm[static EVENT_COMM_SIZE]) {
        for (const CommandProgram *program = command_programs; program->name; program++)
                if ((program->kind == COMMAND_ENGINE || program->kind == COMMAND_SHIM ||
                     program->kind == COMMAND_MONITOR || program->kind == COMMAND_OURS) &&
                    strncmp(comm, program->name, EVENT_COMM_SIZE - 1) == 0)
                        return program;
        return NULL;
}

static int scan_process(uint32_t pid, ResyncFn fn, void *userdata) {
        _cleanup_close_ int fd = open_process(pid);
        _cleanup_free_ char *data = NULL, *args = NULL;
        Event event = { .type = EVENT_EXEC, .flags = EVENT_NAMED, .pid = pid };
        const CommandProgram *program;
        size_t n_args;
        struct stat st;
        ssize_t n_file;

        if (fd < 0 || read_stat(fd, event.comm, &event.start_ns) < 0)
                return 0;
        program = find_program(event.comm);
        if (!program || fstatat(fd, "exe", &st, 0) < 0 || st.st_uid != 0 || st.st_mode & (S_IWGRP | S_IWOTH) ||
            util_read_file_at(fd, "cmdline", 64 * 1024, &args, &n_args) < 0)
                return 0;
        n_args = MIN(n_args, (size_t) EVENT_ARGS_MAX);

        data = malloc(EVENT_FILE_MAX + n_args);
        if (!data)
                return -ENOMEM;
        n_file = readlinkat(fd, "exe", data, EVENT_FILE_MAX - 1);
        if (n_file <= 0)
                return 0;
        data[n_file++] = '\0';
        memcpy(data + n_file, args, n_args);
        event.file_size = (uint16_t) n_file;
        event.args_size = (uint16_t) n_args;
        return fn(userdata, &event, data, (size_t) n_file + n_args, program->track);
}

int resync_scan(ResyncFn fn, void *userdata) {
        struct dirent *entry;
        DIR *directory;
        int r = 0;

        assert(fn);

        directory = opendir("/proc");
        if (!directory)
                return -errno;
        while (r >= 0 && (entry = readdir(directory))) {
                uint64_t pid;

                if (util_parse_u64(entry->d_name, strlen(entry->d_name), &pid) == 0 && pid <= UINT32_MAX)
                        r = scan_process((uint32_t) pid, fn, userdata);
        }
        (void) closedir(directory);
        return MIN(r, 0);
}
