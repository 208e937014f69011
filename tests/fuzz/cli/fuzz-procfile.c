#include <stdlib.h>
#include <string.h>
#include "procfile.h"
#include "util.h"
#include "waitkind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ended(const char *s, size_t size) {
        if (strnlen(s, size) == size)
                abort();
}

/* Files of /proc/PID: each parser takes any bytes, ends, and gives strings that end; what it finds has a kind. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = malloc(size + 1);
        ProcfileCgroup cgroup;
        ProcfileStat stat;
        ProcfileStatus status;
        ProcfileSyscall call;
        ProcfileFdinfo info;
        ProcfileMount mount;
        ProcfileLock lock;
        ProcfileInet inet;
        WaitPlan plan;
        const char *s;
        size_t n;
        int fd;

        if (!text)
                return 0;
        memcpy(text, data, size);
        text[size] = '\0';
        if (procfile_stat(text, size, &stat) == 0)
                ended(stat.comm, sizeof(stat.comm));
        (void) procfile_status(text, size, &status);
        (void) procfile_fdinfo(text, size, &info);
        (void) procfile_netlink(text, size, 1);
        (void) procfile_link_inode(text, "socket");
        for (s = text, n = size; procfile_tfd_next(&s, &n, &fd) > 0;)
                ;
        for (s = text, n = size; procfile_lock_next(&s, &n, &lock) > 0;)
                ;
        for (s = text, n = size; procfile_mount_next(&s, &n, &mount) > 0;) {
                ended(mount.point, sizeof(mount.point));
                ended(mount.type, sizeof(mount.type));
                ended(mount.source, sizeof(mount.source));
        }
        (void) procfile_mount_of(text, size, text, &mount);
        for (s = text, n = size; procfile_inet_next(&s, &n, &inet) > 0;) {
                ended(inet.local, sizeof(inet.local));
                ended(inet.remote, sizeof(inet.remote));
        }
        procfile_cgroup(text, size, text, size, &cgroup);
        ended(cgroup.pod_uid, sizeof(cgroup.pod_uid));
        ended(cgroup.container_id, sizeof(cgroup.container_id));
        if (procfile_syscall(text, size, &call) == 0) {
                WaitFacts facts = { .state = 'S', .call = &call, .wchan = text, .stack = text };

                waitkind_plan(&facts, &plan);
                if (!waitkind_name(plan.kind) || !waitkind_name(waitkind_of_link(&plan, text, text)))
                        abort();
        }
        return 0;
}
