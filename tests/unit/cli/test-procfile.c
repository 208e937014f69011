#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "../exact.h"
#include "procfile.h"
#include "util.h"

#define ID  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ID2 "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define UID "2f1e6a1c-1111-4222-8333-0123456789ab"
#define TAIL                                                                                                  \
        " 4211 4211 0 -1 4194560 98 0 0 0 7 5 0 0 20 0 3 0 407671 3133440 363 18446744073709551615 1 1 0 0 0" \
        " 0 0 0 0 0 0 17 1 0 0 0 0 0\n"

static void test_stat(void **state) {
        static const struct {
                const char *text;
                int r;
                const char *comm;
        } cases[] = {
                { "4211 (cat) S 1" TAIL, 0, "cat" },
                { "4211 (a) R 1 (b) S 1" TAIL, 0, "a) R 1 (b" },
                { "4211 () S 1" TAIL, 0, "" },
                { "4211 (cat) S 1 2 3\n", -EBADMSG, NULL },
                { "4211 cat S 1" TAIL, -EBADMSG, NULL },
                { "x (cat) S 1" TAIL, -EBADMSG, NULL },
                { "4211 (cat) SS 1" TAIL, -EBADMSG, NULL },
                { "99999999999 (cat) S 1" TAIL, -EBADMSG, NULL },
                { "", -EBADMSG, NULL },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t n = strlen(cases[i].text);
                _cleanup_free_ char *text = exact(cases[i].text, n);
                ProcfileStat stat;

                assert_int_equal(procfile_stat(text, n, &stat), cases[i].r);
                if (cases[i].r < 0)
                        continue;
                assert_string_equal(stat.comm, cases[i].comm);
                assert_int_equal(stat.pid, 4211);
                assert_int_equal(stat.ppid, 1);
                assert_int_equal(stat.state, 'S');
                assert_int_equal(stat.flags, 4194560);
                assert_int_equal(stat.n_threads, 3);
                assert_int_equal(stat.start_ticks, 407671);
                assert_int_equal(stat.cpu_ticks, 12);
        }
}

static void test_status(void **state) {
        static const char text[] = "Name:\tUid: 1\nTgid:\t7\nTracerPid:\t9\nUid:\t0\t1\t2\t3\nNSpid:\t7\t1\n"
                                   "SigPnd:\t0000000000000001\nShdPnd:\t0000000000004000\nSigBlk:\t02\nSigIgn:\t4000\n"
                                   "SigCgt:\t0000000180000000\n";
        ProcfileStatus status;

        (void) state;
        assert_int_equal(procfile_status(text, sizeof(text) - 1, &status), 0);
        assert_int_equal(status.tgid, 7);
        assert_int_equal(status.tracer, 9);
        assert_int_equal(status.uids[3], 3);
        assert_int_equal(status.n_pid_namespaces, 2);
        assert_int_equal(status.pending, 0x4001);
        assert_int_equal(status.ignored, 0x4000);
        assert_int_equal(status.caught, 0x180000000);
        assert_int_equal(procfile_status("Name:\tx\n", 8, &status), -EBADMSG);
        assert_int_equal(procfile_status("Uid:\t0 0 0\n", 11, &status), -EBADMSG);
}

static void test_syscall(void **state) {
        ProcfileSyscall call;

        (void) state;
        assert_int_equal(procfile_syscall("73 0x3 0x2 0x0 0x0 0x0 0x7f 0x7ffe9e74f328 0x7ff884e662ad\n", 57, &call), 0);
        assert_int_equal(call.nr, 73);
        assert_int_equal(call.args[0], 3);
        assert_int_equal(call.args[5], 0x7f);
        assert_int_equal(call.pc, 0x7ff884e662ad);
        assert_int_equal(procfile_syscall("running\n", 8, &call), 0);
        assert_true(call.running);
        assert_int_equal(procfile_syscall("-1 0x7ffe 0x7ff8\n", 17, &call), 0);
        assert_int_equal(call.nr, -1);
        assert_int_equal(call.sp, 0x7ffe);
        assert_int_equal(procfile_syscall("73 0x3 0x2\n", 11, &call), -EBADMSG);
        assert_int_equal(procfile_syscall("73 3 2 0 0 0 0 1 1\n", 19, &call), -EBADMSG);
        assert_int_equal(procfile_syscall("", 0, &call), -EBADMSG);
}

static void test_fdinfo(void **state) {
        static const char lock[] = "pos:\t7\nflags:\t0100002\nmnt_id:\t24\nino:\t802839\n"
                                   "lock:\t1: FLOCK  ADVISORY  WRITE 6019 fe:00:802839 0 EOF\n",
                          record[] = "pos:\t0\nflags:\t02\nlock:\t1: POSIX  ADVISORY  WRITE 77 fe:00:802839 0 EOF\n",
                          epoll[] =
                                  "pos:\t0\nflags:\t02\ntfd:        5 events:       19 data: 5  pos:0 ino:61af sdev:7\n"
                                  "tfd:       12 events:       19 data: c\n";
        const char *s = epoll;
        size_t n = sizeof(epoll) - 1;
        ProcfileFdinfo info;
        int fd;

        (void) state;
        assert_int_equal(procfile_fdinfo(lock, sizeof(lock) - 1, &info), 0);
        assert_int_equal(info.pos, 7);
        assert_int_equal(info.flags, 0100002);
        assert_int_equal(info.mnt_id, 24);
        assert_int_equal(info.ino, 802839);
        assert_true(info.has_flock && !info.has_posix);
        assert_int_equal(procfile_fdinfo(record, sizeof(record) - 1, &info), 0);
        assert_true(!info.has_flock && info.has_posix);
        assert_true(info.lock_major == 0xfe && info.lock_minor == 0 && info.lock_ino == 802839);
        assert_int_equal(info.mnt_id, -1);
        assert_int_equal(procfile_fdinfo("pos:\t0\n", 7, &info), -EBADMSG);
        assert_int_equal(procfile_tfd_next(&s, &n, &fd), 1);
        assert_int_equal(fd, 5);
        assert_int_equal(procfile_tfd_next(&s, &n, &fd), 1);
        assert_int_equal(fd, 12);
        assert_int_equal(procfile_tfd_next(&s, &n, &fd), 0);
}

static void test_links(void **state) {
        (void) state;
        assert_int_equal(procfile_link_inode("socket:[1195]", "socket"), 1195);
        assert_int_equal(procfile_link_inode("pipe:[1]", "pipe"), 1);
        assert_int_equal(procfile_link_inode("pipe:[1]", "socket"), 0);
        assert_int_equal(procfile_link_inode("/tmp/socket:[1]", "socket"), 0);
        assert_int_equal(procfile_link_inode("socket:[]", "socket"), 0);
        assert_int_equal(procfile_link_inode("socket:[1x]", "socket"), 0);
        assert_int_equal(procfile_link_inode("socket:[1", "socket"), 0);
}

static void test_mounts(void **state) {
        static const char text[] = "22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"
                                   "23 22 0:21 / /mnt rw shared:1 master:2 - tmpfs tmpfs rw\n"
                                   "bad line\n"
                                   "24 23 0:22 / /mnt/a\\040b rw - fuse.x x\\011y rw\n"
                                   "25 22 0:23 / /mnt rw - nfs4 host:/x rw\n";
        static const struct {
                const char *path;
                int id;
        } cases[] = {
                { "/", 22 }, { "/x", 22 }, { "/mnt", 25 }, { "/mnt/x", 25 }, { "/mntx", 22 }, { "/mnt/a b/c", 24 },
        };
        ProcfileMount mount;

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                assert_int_equal(procfile_mount_of(text, sizeof(text) - 1, cases[i].path, &mount), 0);
                assert_int_equal(mount.id, cases[i].id);
        }
        assert_int_equal(procfile_mount_by_id(text, sizeof(text) - 1, 24, &mount), 0);
        assert_string_equal(mount.point, "/mnt/a b");
        assert_string_equal(mount.type, "fuse.x");
        assert_string_equal(mount.source, "x\ty");
        assert_int_equal(mount.minor, 22);
        assert_int_equal(procfile_mount_by_id(text, sizeof(text) - 1, 99, &mount), -ENOENT);
        assert_int_equal(procfile_mount_of(text, sizeof(text) - 1, "x", &mount), -ENOENT);
}

static void test_locks(void **state) {
        static const char text[] = "1: POSIX  ADVISORY  WRITE 100 08:01:7 0 EOF\n"
                                   "1: -> POSIX  ADVISORY  WRITE 200 08:01:7 0 EOF\n"
                                   "2: LEASE  ACTIVE    READ 1 08:01:8 0 EOF\n"
                                   "3: FLOCK  ADVISORY  WRITE 300 08:02:9 0 EOF\n"
                                   "4: OFDLCK ADVISORY  WRITE -1 08:02:9 0 EOF\n";
        const char *s = text;
        size_t n = sizeof(text) - 1;
        ProcfileLock lock;

        (void) state;
        assert_int_equal(procfile_lock_next(&s, &n, &lock), 1);
        assert_true(!lock.waits && !lock.flock && lock.pid == 100 && lock.ino == 7 && lock.major == 8);
        assert_int_equal(procfile_lock_next(&s, &n, &lock), 1);
        assert_true(lock.waits && lock.pid == 200 && lock.id == 1);
        assert_int_equal(procfile_lock_next(&s, &n, &lock), 1);
        assert_true(lock.flock && lock.pid == 300 && lock.minor == 2);
        assert_int_equal(procfile_lock_next(&s, &n, &lock), 1);
        assert_true(!lock.flock && lock.pid == -1);
        assert_int_equal(procfile_lock_next(&s, &n, &lock), 0);
}

static void test_sockets(void **state) {
        static const char tcp[] =
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
                "   0: 0100007F:1F90 0200007F:9BF7 02 00000001:00000003 00:00000000 00000000     0        0 1198 1 0\n"
                "   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A"
                " 00000000:00000000 00:00000000 00000000     0        0 77 1 0\n";
        static const char netlink[] = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops"
                                      "    Inode\n000000004062c6e3 0   0          00000000 0        0        0     2"
                                      "        0        4       \n00000000b683a4d9 16  0          00000000 0        0"
                                      "        0     2        0        476     \n";
        const char *s = tcp;
        size_t n = sizeof(tcp) - 1;
        ProcfileInet socket;

        (void) state;
        assert_int_equal(procfile_inet_next(&s, &n, &socket), 1);
        assert_string_equal(socket.local, "127.0.0.1:8080");
        assert_string_equal(socket.remote, "127.0.0.2:39927");
        assert_int_equal(socket.state, 2);
        assert_int_equal(socket.tx, 1);
        assert_int_equal(socket.rx, 3);
        assert_int_equal(socket.ino, 1198);
        assert_int_equal(procfile_inet_next(&s, &n, &socket), 1);
        assert_string_equal(socket.local, "[0:0:0:0:0:0:0:1]:80");
        assert_int_equal(socket.state, 10);
        assert_int_equal(procfile_inet_next(&s, &n, &socket), 0);
        assert_int_equal(procfile_netlink(netlink, sizeof(netlink) - 1, 476), 16);
        assert_int_equal(procfile_netlink(netlink, sizeof(netlink) - 1, 5), -ENOENT);
        assert_string_equal(procfile_netlink_name(0), "route");
        assert_null(procfile_netlink_name(1));
        assert_null(procfile_netlink_name(-1));
        assert_null(procfile_netlink_name(1000));
}

static void test_cgroups(void **state) {
        static const struct {
                const char *text, *base, *uid, *id;
                bool in_pod, monitor;
        } cases[] = {
                { "0::/kubepods/burstable/pod" UID "/" ID "\n", "", UID, ID, true, false },
                { "0::/kubepods.slice/kubepods-pod2f1e6a1c_1111_4222_8333_0123456789ab.slice/cri-containerd-" ID
                  ".scope\n",
                  "0::/init.scope\n", UID, ID, true, false },
                { "0::/kubepods/pod0123456789abcdef0123456789abcdef/crio-" ID "\n", "0::/\n",
                  "0123456789abcdef0123456789abcdef", ID, true, false },
                { "0::/kubepods/pod" UID "/crio-conmon-" ID "\n", "", UID, ID, true, true },
                /* What a container makes below its own folder names nobody else. */
                { "0::/kubepods/pod" UID "/" ID "/pod00000000-0000-0000-0000-000000000000/" ID2 "\n", "", UID, ID, true,
                  false },
                { "0::/kubepods/pod" UID "/" ID "/crio-conmon-" ID2 "/x\n", "", UID, ID, true, false },
                /* The node is a container. */
                { "0::/docker/" ID2 "/kubepods/pod" UID "/" ID "\n", "", UID, ID, true, false },
                { "0::/docker/" ID2 "/system.slice/x\n", "0::/docker/" ID2 "/init.scope\n", "", "", false, false },
                { "0::/docker/" ID2 "/system.slice/x\n", "1:cpu:/docker/" ID2 "\n", "", ID2, true, false },
                { "9:name=systemd:/\n4:memory:/k8s.io/" ID "\n0::/\n", "0::/\n", "", ID, true, false },
                { "0::/kubepods/besteffort\n", "", "", "", true, false },
                { "0::/x/" ID "0\n", "", "", "", false, false },
                { "0::/x/pod" UID "x/y\n", "", "", "", false, false },
                { "0::/\n", "", "", "", false, false },
                { "", "", "", "", false, false },
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t n = strlen(cases[i].text);
                _cleanup_free_ char *text = exact(cases[i].text, n);
                ProcfileCgroup cgroup;

                procfile_cgroup(text, n, cases[i].base, strlen(cases[i].base), &cgroup);
                assert_string_equal(cgroup.pod_uid, cases[i].uid);
                assert_string_equal(cgroup.container_id, cases[i].id);
                assert_int_equal(cgroup.in_pod, cases[i].in_pod);
                assert_int_equal(cgroup.is_monitor, cases[i].monitor);
        }
}

/* Each text cut anywhere: nothing is read behind its end. */
static void test_truncated(void **state) {
        static const char *const texts[] = {
                "4211 (cat) S 1" TAIL,
                "Uid:\t0\t1\t2\t3\nNSpid:\t7\t1\nSigIgn:\t4000\n",
                "73 0x3 0x2 0x0 0x0 0x0 0x7f 0x7ffe9e74f328 0x7ff884e662ad\n",
                "pos:\t7\nflags:\t02\nlock:\t1: FLOCK  ADVISORY  WRITE 6019 fe:00:802839 0 EOF\ntfd: 5 e",
                "22 1 254:0 / /a\\040b rw,relatime shared:1 - ext4 /dev/root rw\n",
                "   0: 0100007F:1F90 0200007F:9BF7 02 00000001:00000003 00:00000000 00000000     0        0 1198 1 0\n",
                "0::/kubepods/pod" UID "/cri-containerd-" ID ".scope\n",
        };

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                for (size_t n = 0; n <= strlen(texts[i]); n++) {
                        _cleanup_free_ char *text = exact(texts[i], n);
                        const char *s;
                        size_t left;
                        ProcfileStat stat;
                        ProcfileStatus status;
                        ProcfileSyscall call;
                        ProcfileFdinfo info;
                        ProcfileMount mount;
                        ProcfileLock lock;
                        ProcfileInet inet;
                        ProcfileCgroup cgroup;
                        int fd;

                        (void) procfile_stat(text, n, &stat);
                        (void) procfile_status(text, n, &status);
                        (void) procfile_syscall(text, n, &call);
                        (void) procfile_fdinfo(text, n, &info);
                        (void) procfile_netlink(text, n, 1198);
                        for (s = text, left = n; procfile_mount_next(&s, &left, &mount) > 0;)
                                ;
                        for (s = text, left = n; procfile_lock_next(&s, &left, &lock) > 0;)
                                ;
                        for (s = text, left = n; procfile_inet_next(&s, &left, &inet) > 0;)
                                ;
                        for (s = text, left = n; procfile_tfd_next(&s, &left, &fd) > 0;)
                                ;
                        procfile_cgroup(text, n, text, n, &cgroup);
                }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_stat),      cmocka_unit_test(test_status),  cmocka_unit_test(test_syscall),
                cmocka_unit_test(test_fdinfo),    cmocka_unit_test(test_links),   cmocka_unit_test(test_mounts),
                cmocka_unit_test(test_locks),     cmocka_unit_test(test_sockets), cmocka_unit_test(test_cgroups),
                cmocka_unit_test(test_truncated),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
