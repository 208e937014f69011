#include <assert.h>
#include <bpf/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include "probes.h"

static int attach(Probes *probes, Probe probe) {
        if (probes->fds[probe] >= 0)
                return 0;
        if (!probes->programs[probe])
                return -EOPNOTSUPP;
        probes->fds[probe] = bpf_raw_tracepoint_open(NULL, bpf_program__fd(probes->programs[probe]));
        return probes->fds[probe] < 0 ? -errno : 0;
}

int probes_attach(Probes *probes) {
        int r;

        assert(probes);

        r = attach(probes, PROBE_SWITCH);
        if (r < 0)
                return r;
        for (Probe probe = PROBE_SWITCH + 1; probe < _PROBE_MAX; probe++)
                (void) attach(probes, probe);
        return 0;
}

void probes_detach(Probes *probes) {
        probes->fds[PROBE_SWITCH] = close_fd(probes->fds[PROBE_SWITCH]);
}

void probes_close(Probes *probes) {
        for (Probe probe = 0; probe < _PROBE_MAX; probe++)
                probes->fds[probe] = close_fd(probes->fds[probe]);
}

#define IDLE _EVENT_WORK_MAX

/* Of older architectures only those that have it have the older call. */
static const struct {
        uint16_t call;
        uint8_t kind;
} kinds[] = {
        { SYS_openat, EVENT_WORK_CREATE },
        { SYS_openat2, EVENT_WORK_CREATE },
        { SYS_mkdirat, EVENT_WORK_CREATE },
        { SYS_mknodat, EVENT_WORK_CREATE },
        { SYS_linkat, EVENT_WORK_CREATE },
        { SYS_symlinkat, EVENT_WORK_CREATE },
#ifdef SYS_open
        { SYS_open, EVENT_WORK_CREATE },
        { SYS_creat, EVENT_WORK_CREATE },
        { SYS_mkdir, EVENT_WORK_CREATE },
        { SYS_mknod, EVENT_WORK_CREATE },
        { SYS_link, EVENT_WORK_CREATE },
        { SYS_symlink, EVENT_WORK_CREATE },
        { SYS_rename, EVENT_WORK_RENAME },
        { SYS_unlink, EVENT_WORK_REMOVE },
        { SYS_rmdir, EVENT_WORK_REMOVE },
        { SYS_fork, EVENT_WORK_FORK },
        { SYS_vfork, EVENT_WORK_FORK },
        { SYS_poll, IDLE },
        { SYS_select, IDLE },
        { SYS_pause, IDLE },
        { SYS_epoll_wait, IDLE },
#endif
#ifdef SYS_renameat
        { SYS_renameat, EVENT_WORK_RENAME },
#endif
        { SYS_renameat2, EVENT_WORK_RENAME },
        { SYS_unlinkat, EVENT_WORK_REMOVE },
        { SYS_fsync, EVENT_WORK_SYNC },
        { SYS_fdatasync, EVENT_WORK_SYNC },
        { SYS_syncfs, EVENT_WORK_SYNC },
        { SYS_sync, EVENT_WORK_SYNC },
        { SYS_mount, EVENT_WORK_MOUNT },
        { SYS_fsconfig, EVENT_WORK_MOUNT },
        { SYS_fsmount, EVENT_WORK_MOUNT },
        { SYS_move_mount, EVENT_WORK_MOUNT },
        { SYS_open_tree, EVENT_WORK_MOUNT },
        { SYS_mount_setattr, EVENT_WORK_MOUNT },
        { SYS_pivot_root, EVENT_WORK_MOUNT },
        { SYS_umount2, EVENT_WORK_UNMOUNT },
        { SYS_write, EVENT_WORK_CGROUP }, /* those to a cgroup's file */
        { SYS_pwrite64, EVENT_WORK_CGROUP },
        { SYS_unshare, EVENT_WORK_NAMESPACE },
        { SYS_setns, EVENT_WORK_NAMESPACE },
        { SYS_clone, EVENT_WORK_FORK },
        { SYS_clone3, EVENT_WORK_FORK },
        { SYS_sendto, EVENT_WORK_NETLINK }, /* those to such a socket */
        { SYS_sendmsg, EVENT_WORK_NETLINK },
        { SYS_read, EVENT_WAIT_PEER },
        { SYS_readv, EVENT_WAIT_PEER },
        { SYS_recvfrom, EVENT_WAIT_PEER },
        { SYS_recvmsg, EVENT_WAIT_PEER },
        { SYS_epoll_pwait, IDLE },
        { SYS_ppoll, IDLE },
        { SYS_pselect6, IDLE },
        { SYS_futex, IDLE },
        { SYS_nanosleep, IDLE },
        { SYS_clock_nanosleep, IDLE },
        { SYS_wait4, IDLE },
        { SYS_waitid, IDLE },
        { SYS_accept, IDLE },
        { SYS_accept4, IDLE },
        { SYS_rt_sigtimedwait, IDLE },
        { SYS_rt_sigsuspend, IDLE },
        { SYS_exit, IDLE },
        { SYS_exit_group, IDLE },
};

void probes_calls(uint8_t ret[static EVENT_CALLS_MAX]) {
        memset(ret, 0, EVENT_CALLS_MAX);
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
                if (kinds[i].call < EVENT_CALLS_MAX)
                        ret[kinds[i].call] = kinds[i].kind;
}

uint32_t probes_stack_size(void) {
        uint32_t size = 16 * 1024;

#ifdef __aarch64__
        size = MAX(size, (uint32_t) sysconf(_SC_PAGESIZE));
#endif
        return size;
}
