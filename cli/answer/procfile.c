#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "cgroupfile.h"
#include "procfile.h"
#include "util.h"

#define UID_N 36
#define ID_N  64

/* A piece of text that is taken off from the front. */
typedef struct Piece {
        const char *s;
        size_t n;
} Piece;

static bool take_line(const char **s, size_t *n, Piece *ret) {
        const char *end;

        if (*n == 0)
                return false;
        end = memchr(*s, '\n', *n);
        *ret = (Piece){ *s, end ? (size_t) (end - *s) : *n };
        *n -= ret->n + (end != NULL);
        *s += ret->n + (end != NULL);
        return true;
}

static bool is_blank(char c) {
        return c == ' ' || c == '\t';
}

/* The next word; an empty one at the end. */
static Piece take_word(Piece *line) {
        Piece word;

        while (line->n > 0 && is_blank(*line->s)) {
                line->s++;
                line->n--;
        }
        word = (Piece){ line->s, 0 };
        while (line->n > 0 && !is_blank(*line->s)) {
                line->s++;
                line->n--;
                word.n++;
        }
        return word;
}

static bool equals(const Piece *piece, const char *text) {
        return piece->n == strlen(text) && memcmp(piece->s, text, piece->n) == 0;
}

/* Takes @text off the front. */
static bool strip(Piece *piece, const char *text) {
        size_t n = strlen(text);

        if (piece->n < n || memcmp(piece->s, text, n) != 0)
                return false;
        piece->s += n;
        piece->n -= n;
        return true;
}

static int digit_of(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

/* The whole of @piece as a number of @base. */
static bool number(const Piece *piece, unsigned base, uint64_t *ret) {
        uint64_t value = 0;

        if (piece->n == 0)
                return false;
        for (size_t i = 0; i < piece->n; i++) {
                unsigned digit = (unsigned) digit_of(piece->s[i]);

                if (digit >= base || value > (UINT64_MAX - digit) / base)
                        return false;
                value = value * base + digit;
        }
        *ret = value;
        return true;
}

static bool take_number(Piece *line, unsigned base, uint64_t *ret) {
        Piece word = take_word(line);

        return number(&word, base, ret);
}

static bool take_pid(Piece *line, pid_t *ret) {
        uint64_t value;

        if (!take_number(line, 10, &value) || value > INT32_MAX)
                return false;
        *ret = (pid_t) value;
        return true;
}

/* "0x1f", as the kernel prints arguments. */
static bool take_hex(Piece *line, uint64_t *ret) {
        Piece word = take_word(line);

        return strip(&word, "0x") && number(&word, 16, ret);
}

int procfile_stat(const char *s, size_t n, ProcfileStat *ret) {
        const char *begin = n > 0 ? memchr(s, '(', n) : NULL, *end = n > 0 ? memrchr(s, ')', n) : NULL;
        uint64_t field[20];
        ProcfileStat stat = {};
        Piece line, word;

        if (!begin || !end || end < begin)
                return -EBADMSG;
        line = (Piece){ s, (size_t) (begin - s) };
        if (!take_pid(&line, &stat.pid))
                return -EBADMSG;
        util_copy_bounded(stat.comm, sizeof(stat.comm), begin + 1, (size_t) (end - begin - 1));
        line = (Piece){ end + 1, n - (size_t) (end + 1 - s) };
        while (line.n > 0 && line.s[line.n - 1] == '\n')
                line.n--;
        word = take_word(&line);
        if (word.n != 1 || !take_pid(&line, &stat.ppid))
                return -EBADMSG;
        stat.state = *word.s;
        /* Fields 5 to 22 of proc(5); those that may be negative are none of ours. */
        for (size_t i = 5; i <= 22; i++) {
                word = take_word(&line);
                if (word.n == 0)
                        return -EBADMSG;
                if (!number(&word, 10, &field[i - 5]))
                        field[i - 5] = 0;
        }
        stat.flags = (uint32_t) field[9 - 5];
        stat.cpu_ticks = field[14 - 5] + field[15 - 5];
        stat.n_threads = (uint32_t) MIN(field[20 - 5], (uint64_t) UINT32_MAX);
        stat.start_ticks = field[22 - 5];
        *ret = stat;
        return 0;
}

int procfile_status(const char *s, size_t n, ProcfileStatus *ret) {
        ProcfileStatus status = {};
        bool has_uids = false;
        uint64_t value;
        Piece line;

        while (take_line(&s, &n, &line)) {
                if (strip(&line, "Uid:")) {
                        has_uids = true;
                        for (size_t i = 0; i < ARRAY_SIZE(status.uids); i++) {
                                if (!take_number(&line, 10, &value) || value > UINT32_MAX)
                                        return -EBADMSG;
                                status.uids[i] = (uint32_t) value;
                        }
                } else if (strip(&line, "NSpid:")) {
                        status.n_pid_namespaces = 0;
                        while (take_word(&line).n > 0)
                                status.n_pid_namespaces++;
                } else if (strip(&line, "Tgid:"))
                        (void) take_pid(&line, &status.tgid);
                else if (strip(&line, "TracerPid:"))
                        (void) take_pid(&line, &status.tracer);
                else if ((strip(&line, "SigPnd:") || strip(&line, "ShdPnd:")) && take_number(&line, 16, &value))
                        status.pending |= value;
                else if (strip(&line, "SigBlk:"))
                        (void) take_number(&line, 16, &status.blocked);
                else if (strip(&line, "SigIgn:"))
                        (void) take_number(&line, 16, &status.ignored);
                else if (strip(&line, "SigCgt:"))
                        (void) take_number(&line, 16, &status.caught);
        }
        if (!has_uids)
                return -EBADMSG;
        *ret = status;
        return 0;
}

int procfile_syscall(const char *s, size_t n, ProcfileSyscall *ret) {
        ProcfileSyscall call = { .nr = -1 };
        Piece line, word;
        uint64_t nr;

        if (!take_line(&s, &n, &line))
                return -EBADMSG;
        word = take_word(&line);
        if (equals(&word, "running")) {
                *ret = (ProcfileSyscall){ .running = true, .nr = -1 };
                return 0;
        }
        if (!equals(&word, "-1")) {
                if (!number(&word, 10, &nr) || nr > INT32_MAX)
                        return -EBADMSG;
                call.nr = (int64_t) nr;
                for (size_t i = 0; i < ARRAY_SIZE(call.args); i++)
                        if (!take_hex(&line, &call.args[i]))
                                return -EBADMSG;
        }
        if (!take_hex(&line, &call.sp) || !take_hex(&line, &call.pc))
                return -EBADMSG;
        *ret = call;
        return 0;
}

/* "1: FLOCK  ADVISORY  WRITE 6019 08:01:1234 0 EOF", with "->" behind the id where it waits. */
static bool parse_lock(Piece line, ProcfileLock *ret) {
        Piece word = take_word(&line);
        ProcfileLock lock = {};
        uint64_t value;
        char place[48];

        if (word.n == 0 || word.s[word.n - 1] != ':')
                return false;
        word.n--;
        if (!number(&word, 10, &lock.id))
                return false;
        word = take_word(&line);
        if (equals(&word, "->")) {
                lock.waits = true;
                word = take_word(&line);
        }
        if (equals(&word, "FLOCK"))
                lock.flock = true;
        else if (!equals(&word, "POSIX") && !equals(&word, "OFDLCK"))
                return false;
        (void) take_word(&line);
        (void) take_word(&line);
        word = take_word(&line);
        if (equals(&word, "-1"))
                lock.pid = -1;
        else if (number(&word, 10, &value) && value <= INT32_MAX)
                lock.pid = (pid_t) value;
        else
                return false;
        word = take_word(&line);
        if (word.n == 0 || word.n >= sizeof(place))
                return false;
        memcpy(place, word.s, word.n);
        place[word.n] = '\0';
        if (sscanf(place, "%x:%x:%lu", &lock.major, &lock.minor, &lock.ino) != 3)
                return false;
        *ret = lock;
        return true;
}

int procfile_lock_next(const char **s, size_t *n, ProcfileLock *ret) {
        Piece line;

        while (take_line(s, n, &line))
                if (parse_lock(line, ret))
                        return 1;
        return 0;
}

int procfile_fdinfo(const char *s, size_t n, ProcfileFdinfo *ret) {
        ProcfileFdinfo info = { .mnt_id = -1, .fuse = -1 };
        bool has_flags = false;
        ProcfileLock lock;
        uint64_t value;
        Piece line;

        while (take_line(&s, &n, &line)) {
                if (strip(&line, "pos:"))
                        (void) take_number(&line, 10, &info.pos);
                else if (strip(&line, "flags:")) {
                        has_flags = take_number(&line, 8, &value);
                        info.flags = has_flags ? (uint32_t) value : 0;
                } else if (strip(&line, "mnt_id:")) {
                        if (take_number(&line, 10, &value) && value <= INT32_MAX)
                                info.mnt_id = (int) value;
                } else if (strip(&line, "ino:"))
                        (void) take_number(&line, 10, &info.ino);
                else if (strip(&line, "fuse_connection:")) {
                        if (take_number(&line, 10, &value) && value <= INT32_MAX)
                                info.fuse = (int) value;
                } else if (strip(&line, "Pid:")) {
                        if (take_number(&line, 10, &value) && value <= INT32_MAX)
                                info.pid = (pid_t) value;
                } else if (strip(&line, "lock:") && parse_lock(line, &lock) && !lock.waits) {
                        info.has_flock = info.has_flock || lock.flock || lock.pid == -1;
                        info.has_posix = info.has_posix || (!lock.flock && lock.pid != -1);
                        info.lock_major = lock.major;
                        info.lock_minor = lock.minor;
                        info.lock_ino = lock.ino;
                }
        }
        if (!has_flags)
                return -EBADMSG;
        *ret = info;
        return 0;
}

int procfile_tfd_next(const char **s, size_t *n, int *ret_fd) {
        uint64_t value;
        Piece line;

        while (take_line(s, n, &line))
                if (strip(&line, "tfd:") && take_number(&line, 10, &value) && value <= INT32_MAX) {
                        *ret_fd = (int) value;
                        return 1;
                }
        return 0;
}

uint64_t procfile_link_inode(const char *link, const char *kind) {
        Piece piece = { link, strlen(link) };
        uint64_t ino;

        if (!strip(&piece, kind) || !strip(&piece, ":[") || piece.n < 2 || piece.s[piece.n - 1] != ']')
                return 0;
        piece.n--;
        return number(&piece, 10, &ino) ? ino : 0;
}

/* Resolves "\040" and the like; "" where the result does not fit. */
static void unescape(const Piece *from, char *ret, size_t size) {
        size_t k = 0;

        for (size_t i = 0; i < from->n; i++) {
                char c = from->s[i];

                if (c == '\\' && from->n - i > 3) {
                        Piece digits = { from->s + i + 1, 3 };
                        uint64_t value;

                        if (number(&digits, 8, &value) && value > 0 && value < 256) {
                                c = (char) value;
                                i += 3;
                        }
                }
                if (k + 1 >= size) {
                        k = 0;
                        break;
                }
                ret[k++] = c;
        }
        ret[k] = '\0';
}

/* "36 35 98:0 /root /point options optional… - type source options" */
static bool parse_mount(Piece line, ProcfileMount *ret) {
        Piece word = take_word(&line), point;
        uint64_t id;
        char device[32];

        if (!number(&word, 10, &id) || id > INT32_MAX)
                return false;
        (void) take_word(&line);
        word = take_word(&line);
        if (word.n == 0 || word.n >= sizeof(device))
                return false;
        memcpy(device, word.s, word.n);
        device[word.n] = '\0';
        if (sscanf(device, "%u:%u", &ret->major, &ret->minor) != 2)
                return false;
        (void) take_word(&line);
        point = take_word(&line);
        do
                word = take_word(&line);
        while (word.n > 0 && !equals(&word, "-"));
        if (word.n == 0 || point.n == 0)
                return false;
        ret->id = (int) id;
        unescape(&point, ret->point, sizeof(ret->point));
        word = take_word(&line);
        util_copy_bounded(ret->type, sizeof(ret->type), word.s, word.n);
        word = take_word(&line);
        unescape(&word, ret->source, sizeof(ret->source));
        return true;
}

int procfile_mount_next(const char **s, size_t *n, ProcfileMount *ret) {
        Piece line;

        while (take_line(s, n, &line))
                if (parse_mount(line, ret))
                        return 1;
        return 0;
}

int procfile_mount_of(const char *s, size_t n, const char *path, ProcfileMount *ret) {
        size_t best = 0, path_n = strlen(path);
        ProcfileMount mount;
        bool found = false;

        while (procfile_mount_next(&s, &n, &mount) > 0) {
                size_t len = strlen(mount.point);

                while (len > 1 && mount.point[len - 1] == '/')
                        len--;
                if (len == 0 || len > path_n || memcmp(mount.point, path, len) != 0 ||
                    (len > 1 && path[len] != '\0' && path[len] != '/') || (found && len < best))
                        continue;
                found = true;
                best = len;
                *ret = mount;
        }
        return found ? 0 : -ENOENT;
}

int procfile_mount_by_id(const char *s, size_t n, int id, ProcfileMount *ret) {
        ProcfileMount mount;

        while (procfile_mount_next(&s, &n, &mount) > 0)
                if (mount.id == id) {
                        *ret = mount;
                        return 0;
                }
        return -ENOENT;
}

/* "0100007F:1F90": each word of the address in the machine's own byte order. */
static bool parse_address(const Piece *word, char ret[static PROCFILE_ADDRESS_MAX]) {
        Piece port = { word->s + 9, word->n - 9 };
        uint64_t value, port_value;
        char *out = ret, mapped[14];

        if (word->n == 13 && word->s[8] == ':') {
                Piece host = { word->s, 8 };
                uint8_t b[4];
                uint32_t raw;

                if (!number(&host, 16, &value) || !number(&port, 16, &port_value))
                        return false;
                raw = (uint32_t) value;
                memcpy(b, &raw, sizeof(b));
                (void) snprintf(ret, PROCFILE_ADDRESS_MAX, "%u.%u.%u.%u:%u", b[0], b[1], b[2], b[3],
                                (unsigned) port_value);
                return true;
        }
        if (word->n != 37 || word->s[32] != ':')
                return false;
        port = (Piece){ word->s + 33, 4 };
        if (!number(&port, 16, &port_value))
                return false;
        /* An IPv4 address in an IPv6 socket. */
        if (memcmp(word->s, "0000000000000000", 16) == 0 && memcmp(word->s + 16, "FFFF0000", 8) == 0) {
                Piece short_word = { mapped, sizeof(mapped) - 1 };

                memcpy(mapped, word->s + 24, 13);
                return parse_address(&short_word, ret);
        }
        *out++ = '[';
        for (size_t i = 0; i < 4; i++) {
                Piece host = { word->s + 8 * i, 8 };
                uint8_t b[4];
                uint32_t raw;

                if (!number(&host, 16, &value))
                        return false;
                raw = (uint32_t) value;
                memcpy(b, &raw, sizeof(b));
                out += snprintf(out, 11, "%x:%x%s", b[0] << 8 | b[1], b[2] << 8 | b[3], i < 3 ? ":" : "");
        }
        (void) snprintf(out, 8, "]:%u", (unsigned) port_value);
        return true;
}

static bool parse_inet(Piece line, ProcfileInet *ret) {
        Piece word = take_word(&line), queue;
        uint64_t value;

        if (word.n < 2 || word.s[word.n - 1] != ':')
                return false;
        word = take_word(&line);
        if (word.n < 13 || !parse_address(&word, ret->local))
                return false;
        word = take_word(&line);
        if (word.n < 13 || !parse_address(&word, ret->remote))
                return false;
        if (!take_number(&line, 16, &value))
                return false;
        ret->state = (unsigned) value;
        queue = take_word(&line);
        if (queue.n != 17 || queue.s[8] != ':')
                return false;
        word = (Piece){ queue.s, 8 };
        if (!number(&word, 16, &ret->tx))
                return false;
        word = (Piece){ queue.s + 9, 8 };
        if (!number(&word, 16, &ret->rx))
                return false;
        for (size_t i = 0; i < 4; i++) /* timer, retransmits, uid, timeout */
                (void) take_word(&line);
        return take_number(&line, 10, &ret->ino);
}

int procfile_inet_next(const char **s, size_t *n, ProcfileInet *ret) {
        Piece line;

        while (take_line(s, n, &line))
                if (parse_inet(line, ret))
                        return 1;
        return 0;
}

int procfile_netlink(const char *s, size_t n, uint64_t ino) {
        uint64_t protocol, value;
        Piece line;

        while (take_line(&s, &n, &line)) {
                (void) take_word(&line);
                if (!take_number(&line, 10, &protocol) || protocol > 255)
                        continue;
                for (size_t i = 0; i < 7; i++) /* Pid Groups Rmem Wmem Dump Locks Drops */
                        (void) take_word(&line);
                if (take_number(&line, 10, &value) && value == ino)
                        return (int) protocol;
        }
        return -ENOENT;
}

const char *procfile_netlink_name(int protocol) {
        static const char *const names[] = {
                [0] = "route",           [4] = "sock_diag",   [6] = "xfrm",          [7] = "selinux",
                [9] = "audit",           [10] = "fib_lookup", [11] = "connector",    [12] = "netfilter",
                [15] = "kobject_uevent", [16] = "generic",    [18] = "scsitransport"
        };

        return protocol >= 0 && (size_t) protocol < ARRAY_SIZE(names) ? names[protocol] : NULL;
}

static bool is_hex(char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* How many hexadecimal digits @s begins with. */
static size_t hex_run(const char *s, size_t n) {
        size_t run = 0;

        while (run < n && is_hex(s[run]))
                run++;
        return run;
}

/* "pod" and a UID at the end of the folder's name, or before ".slice". */
static bool folder_uid(const char *s, size_t n, char ret[static 37]) {
        static const char suffix[] = ".slice";
        const size_t suffix_n = sizeof(suffix) - 1;

        if (n > suffix_n && memcmp(s + n - suffix_n, suffix, suffix_n) == 0)
                n -= suffix_n;
        if (n >= 3 + UID_N && memcmp(s + n - UID_N - 3, "pod", 3) == 0) {
                const char *uid = s + n - UID_N;

                for (size_t i = 0; i < UID_N; i++) {
                        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                        if (dash ? uid[i] != '-' && uid[i] != '_' : !is_hex(uid[i]))
                                return false;
                        ret[i] = uid[i] == '_' ? '-' : uid[i];
                }
                ret[UID_N] = '\0';
                return true;
        }
        if (n >= 3 + 32 && memcmp(s + n - 32 - 3, "pod", 3) == 0 && hex_run(s + n - 32, 32) == 32) {
                memcpy(ret, s + n - 32, 32);
                ret[32] = '\0';
                return true;
        }
        return false;
}

/* Exactly 64 digits, as the whole name, behind the last dash before ".scope", or behind a colon or dash. */
static bool folder_id(const char *s, size_t n, char ret[static 65]) {
        static const char suffix[] = ".scope";
        const size_t suffix_n = sizeof(suffix) - 1;

        if (n > suffix_n && memcmp(s + n - suffix_n, suffix, suffix_n) == 0)
                n -= suffix_n;
        if (n < ID_N || hex_run(s + n - ID_N, ID_N) != ID_N ||
            (n > ID_N && s[n - ID_N - 1] != '-' && s[n - ID_N - 1] != ':'))
                return false;
        memcpy(ret, s + n - ID_N, ID_N);
        ret[ID_N] = '\0';
        return true;
}

/* Is it kubelet's folder of all pods, "kubepods" or "kubepods.slice"? */
static bool folder_pods(const char *s, size_t n) {
        return n >= 8 && memcmp(s, "kubepods", 8) == 0;
}

static void read_folder(const char *s, size_t n, ProcfileCgroup *cgroup) {
        static const char monitor[] = "crio-conmon-";

        if (!*cgroup->pod_uid && folder_uid(s, n, cgroup->pod_uid))
                *cgroup->container_id = '\0';
        else if (!*cgroup->container_id)
                (void) folder_id(s, n, cgroup->container_id);
        cgroup->in_pod = cgroup->in_pod || folder_pods(s, n) || *cgroup->pod_uid || *cgroup->container_id;
        cgroup->is_monitor = n > sizeof(monitor) - 1 && memcmp(s, monitor, sizeof(monitor) - 1) == 0;
}

/* How much of the line's path is above the node: PID 1's own folder, without systemd's scope for it. */
static size_t above_node(const CgroupfileLine *line, const char *base, size_t base_n) {
        static const char scope[] = "/init.scope";
        CgroupfileLine first;

        while (cgroupfile_next(&base, &base_n, &first) > 0) {
                size_t n = first.n_path;

                if (first.n_controllers != line->n_controllers ||
                    memcmp(first.controllers, line->controllers, line->n_controllers) != 0)
                        continue;
                if (n >= sizeof(scope) - 1 &&
                    memcmp(first.path + n - (sizeof(scope) - 1), scope, sizeof(scope) - 1) == 0)
                        n -= sizeof(scope) - 1;
                while (n > 0 && first.path[n - 1] == '/')
                        n--;
                return n > 0 && line->n_path >= n && memcmp(line->path, first.path, n) == 0 &&
                                       (line->n_path == n || line->path[n] == '/')
                               ? n
                               : 0;
        }
        return 0;
}

void procfile_cgroup(const char *s, size_t n, const char *base, size_t base_n, ProcfileCgroup *ret) {
        CgroupfileLine line;

        *ret = (ProcfileCgroup){};
        while (cgroupfile_next(&s, &n, &line) > 0) {
                ProcfileCgroup here = {};

                for (size_t at = above_node(&line, base, base_n); at < line.n_path;) {
                        const char *slash = memchr(line.path + at, '/', line.n_path - at);
                        size_t end = slash ? (size_t) (slash - line.path) : line.n_path;

                        read_folder(line.path + at, end - at, &here);
                        at = end + 1;
                }
                /* The hierarchies of one process may differ: the first that knows it counts. */
                if (!*ret->container_id)
                        memcpy(ret->container_id, here.container_id, sizeof(here.container_id));
                if (!*ret->pod_uid)
                        memcpy(ret->pod_uid, here.pod_uid, sizeof(here.pod_uid));
                ret->in_pod = ret->in_pod || here.in_pod;
                ret->is_monitor = ret->is_monitor || here.is_monitor;
        }
}
