#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "feature.h"
#include "loader.h"
#include "log.h"
#include "watch.skel.h"

#define HOST_PID_NAMESPACE UINT64_C(0xeffffffc) /* PROC_PID_INIT_INO: the same on every Linux */
#define CAP_LAST_FILE      "/proc/sys/kernel/cap_last_cap"
#define LOCKDOWN_FILE      "/sys/kernel/security/lockdown"
#define SMALL_FILE_MAX     256
#define MEMLOCK_BYTES      (8U << 20) /* all maps and programs, on a machine of 256 CPUs */
#define HELPER_PREFIX      "BPF_FUNC_"

static struct btf *btf_free(struct btf *btf) {
        btf__free(btf);
        return NULL;
}

DEFINE_CLEANUP(struct btf *, btf_free);

/* What libbpf says has no other receiver than a function without context. */
static char verifier_reason[WATCHSTATE_REASON_MAX / 2];

static void log_lines(const char *text) {
        while (*text) {
                size_t len = strcspn(text, "\n");

                if (len > 0)
                        log_debug("%.*s", (int) MIN(len, (size_t) 1024), text);
                text += len + (text[len] == '\n');
        }
}

static _printf_(2, 0) int on_print(enum libbpf_print_level level, const char *format, va_list args) {
        _cleanup_free_ char *text = NULL;

        if (level == LIBBPF_DEBUG || vasprintf(&text, format, args) < 0)
                return 0;
        if (strstr(text, "BEGIN PROG LOAD LOG"))
                feature_verifier_reason(text, strlen(text), verifier_reason, sizeof(verifier_reason));
        log_lines(text);
        return 0;
}

/* ---- what is there ---- */

static int read_small(const char *path, char ret[static SMALL_FILE_MAX]) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = read(fd, ret, SMALL_FILE_MAX - 1);
        if (n < 0)
                return -errno;
        ret[n] = '\0';
        return 0;
}

static bool in_host_pids(void) {
        struct stat st;

        return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == HOST_PID_NAMESPACE;
}

/* A kernel that does not know the capability is too old by other features, which say so better. */
static bool has_capability(unsigned capability) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
        char last[SMALL_FILE_MAX];

        if (read_small(CAP_LAST_FILE, last) == 0 && (unsigned) atoi(last) < capability)
                return true;
        if (syscall(SYS_capget, &header, data) < 0)
                return false;
        return data[capability / 32].effective & UINT32_C(1) << capability % 32;
}

static bool has_bpf(void) {
        return syscall(SYS_bpf, -1, NULL, 0) >= 0 || errno != ENOSYS;
}

static int may_use_bpf(void) {
        _cleanup_close_ int fd =
                bpf_map_create(BPF_MAP_TYPE_ARRAY, "podspan_may", sizeof(uint32_t), sizeof(uint32_t), 1, NULL);

        return fd >= 0 ? 1 : fd == -EPERM || fd == -EACCES ? 0 : fd;
}

static bool may_read_kernel(void) {
        char levels[SMALL_FILE_MAX];

        /* Where it cannot be read, the verifier has the last word. */
        return read_small(LOCKDOWN_FILE, levels) < 0 || !strstr(levels, "[confidentiality]");
}

static bool has_helper(const struct btf *btf, const char *name) {
        int id = btf__find_by_name_kind(btf, "bpf_func_id", BTF_KIND_ENUM);
        const struct btf_type *type = id > 0 ? btf__type_by_id(btf, (uint32_t) id) : NULL;
        const struct btf_enum *values = type ? btf_enum(type) : NULL;

        for (uint32_t i = 0; values && i < btf_vlen(type); i++) {
                const char *value = btf__name_by_offset(btf, values[i].name_off);

                if (value && strncmp(value, HELPER_PREFIX, strlen(HELPER_PREFIX)) == 0 &&
                    strcmp(value + strlen(HELPER_PREFIX), name) == 0)
                        return true;
        }
        return false;
}

static bool has_helpers(const struct btf *btf) {
        for (const char *const *name = feature_helpers; *name; name++)
                if (!has_helper(btf, *name))
                        return false;
        return true;
}

static bool may_charge_maps(const struct btf *btf) {
        struct rlimit limit;

        /* Since 5.11, as this helper, BPF's memory is the cgroup's. libbpf raises the limit where it may. */
        return has_helper(btf, "ktime_get_coarse_ns") || has_capability(CAP_SYS_RESOURCE) ||
               (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur >= MEMLOCK_BYTES);
}

/* The prototype of a BTF tracepoint; its first parameter is the context. NULL if there is none. */
static const struct btf_type *find_tracepoint(const struct btf *btf, const char *name) {
        const struct btf_type *type;
        char typedef_name[64];
        int id;

        (void) snprintf(typedef_name, sizeof(typedef_name), "btf_trace_%s", name);
        id = btf__find_by_name_kind(btf, typedef_name, BTF_KIND_TYPEDEF);
        type = id > 0 ? btf__type_by_id(btf, (uint32_t) id) : NULL;
        type = type ? btf__type_by_id(btf, type->type) : NULL;
        type = type && btf_is_ptr(type) ? btf__type_by_id(btf, type->type) : NULL;
        return type && btf_is_func_proto(type) ? type : NULL;
}

/* Does the OOM killer's tracepoint hand over a pointer (to a task), or a number (a pid)? */
static bool hands_over_pointer(const struct btf *btf, const struct btf_type *prototype) {
        const struct btf_type *type =
                btf_vlen(prototype) > 1 ? btf__type_by_id(btf, btf_params(prototype)[1].type) : NULL;

        return type && btf_is_ptr(type);
}

static int has_ringbuf(void) {
        int r = libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, NULL);

        return r == -ENOMEM ? r : r > 0;
}

typedef struct Asked {
        struct btf *btf; /* once it has been asked for */
} Asked;

static int ask(void *userdata, Feature feature) {
        const struct btf_type *prototype;
        Asked *asked = userdata;

        switch (feature) {
        case FEATURE_HOST_PIDS:
                return in_host_pids();
        case FEATURE_BPF:
                return has_bpf();
        case FEATURE_CAP_BPF:
                return has_capability(CAP_BPF) || has_capability(CAP_SYS_ADMIN);
        case FEATURE_CAP_PERFMON:
                return has_capability(CAP_PERFMON) || has_capability(CAP_SYS_ADMIN);
        case FEATURE_BTF:
                asked->btf = btf__load_vmlinux_btf();
                return asked->btf ? 1 : errno == ENOMEM ? -ENOMEM : 0;
        case FEATURE_MEMLOCK:
                return may_charge_maps(asked->btf);
        case FEATURE_ALLOWED:
                return may_use_bpf();
        case FEATURE_READS:
                return may_read_kernel();
        case FEATURE_RINGBUF:
                return has_ringbuf();
        case FEATURE_ITER_TASK:
                return btf__find_by_name_kind(asked->btf, "bpf_iter_task", BTF_KIND_FUNC) > 0;
        case FEATURE_HELPERS:
                return has_helpers(asked->btf);
        default:
                prototype = find_tracepoint(asked->btf, feature_tracepoint(feature));
                if (feature == FEATURE_VICTIM_TASK || feature == FEATURE_VICTIM_PID)
                        return prototype &&
                               hands_over_pointer(asked->btf, prototype) == (feature == FEATURE_VICTIM_TASK);
                return prototype != NULL;
        }
}

/* ---- loading ---- */

static void choose_probes(struct watch_bpf *bpf, const FeatureSet *features, bool wanted, Probes *probes) {
        const struct {
                struct bpf_program *program;
                Feature feature;
        } programs[_PROBE_MAX] = {
                [PROBE_SWITCH] = { bpf->progs.on_switch, FEATURE_SWITCH },
                [PROBE_COUNTERS] = { bpf->progs.on_counters, FEATURE_COUNTERS },
                [PROBE_INODE_BEGIN] = { bpf->progs.on_inode_begin, FEATURE_INODE },
                [PROBE_INODE_END] = { bpf->progs.on_inode_end, FEATURE_INODE },
        };

        *probes = (Probes) PROBES_NULL;
        probes_calls((uint8_t *) bpf->rodata->calls);
        *(uint32_t *) &bpf->rodata->stack_size = probes_stack_size();
        for (Probe probe = 0; probe < _PROBE_MAX; probe++) {
                bool chosen = wanted && features->has[FEATURE_SWITCH] && features->has[programs[probe].feature];

                (void) bpf_program__set_autoload(programs[probe].program, chosen);
                bpf_program__set_autoattach(programs[probe].program, false);
                probes->programs[probe] = chosen ? programs[probe].program : NULL;
        }
}

static int try_to_load(const FeatureSet *features, bool wants_probes, struct watch_bpf **ret, Probes *probes) {
        struct watch_bpf *bpf = watch_bpf__open();
        int r;

        if (!bpf)
                return -errno;
        (void) bpf_program__set_autoload(bpf->progs.on_victim_task, features->has[FEATURE_VICTIM_TASK]);
        (void) bpf_program__set_autoload(bpf->progs.on_victim_pid, features->has[FEATURE_VICTIM_PID]);
        (void) bpf_program__set_autoload(bpf->progs.on_signal, features->has[FEATURE_SIGNAL]);
        *(uint32_t *) &bpf->rodata->death_flags = (features->has[FEATURE_SIGNAL] ? EVENT_DEATH_SIGNALS : 0) |
                                                  (features->has[FEATURE_VICTIM_TASK] ? EVENT_DEATH_VICTIMS : 0);
        choose_probes(bpf, features, wants_probes, probes);
        verifier_reason[0] = '\0';
        r = watch_bpf__load(bpf);
        if (r < 0) {
                watch_bpf__destroy(bpf);
                return r;
        }
        *ret = bpf;
        return 0;
}

/* What has been loaded is not read again. A mapping of its own is not brought back with what lies beside it. */
static void drop_object(void) {
        uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE), begin, end;
        size_t size;

        begin = (uintptr_t) watch_bpf__elf_bytes(&size);
        end = (begin + size) / page * page;
        begin = (begin + page - 1) / page * page;
        if (begin < end && madvise((void *) begin, end - begin, MADV_DONTDUMP) == 0)
                (void) madvise((void *) begin, end - begin, MADV_DONTNEED);
}

int loader_judge(int r, const char *what, LoaderVerdict *ret_verdict) {
        bool refused = r == -EPERM && !*verifier_reason;

        if (r == -ENOMEM || r == -EAGAIN || r == -EINTR || r == -EMFILE || r == -ENFILE)
                return r;
        ret_verdict->missing = refused ? WATCHSTATE_MISSING_CAPABILITY : WATCHSTATE_MISSING_KERNEL;
        (void) snprintf(ret_verdict->reason, sizeof(ret_verdict->reason),
                        refused ? "%s failed: %s. A security module may forbid it: allow it for podspan-watch."
                                : "%s failed: %s. Report this with the kernel's release, and the log of log_level = "
                                  "debug.",
                        what, *verifier_reason ? verifier_reason : strerror(-r));
        return -EOPNOTSUPP;
}

int loader_load(struct watch_bpf **ret, Probes *ret_probes, LoaderVerdict *ret_verdict) {
        _cleanup_(btf_freep) struct btf *btf = NULL;
        LoaderVerdict verdict = {};
        FeatureSet features;
        Asked asked = {};
        Feature missing;
        int r;

        assert(ret);
        assert(ret_probes);
        assert(ret_verdict);

        (void) libbpf_set_print(on_print);
        r = feature_probe(ask, &asked, &features, &missing);
        btf = asked.btf;
        if (r == -EOPNOTSUPP) {
                ret_verdict->missing = feature_kind(missing);
                (void) snprintf(ret_verdict->reason, sizeof(ret_verdict->reason), "%s", feature_text(missing));
        }
        if (r < 0)
                return r;
        btf = btf_free(btf); /* libbpf reads its own, megabytes each */

        if (!features.has[FEATURE_SWITCH])
                (void) snprintf(verdict.reason, sizeof(verdict.reason),
                                "What time goes to is not told: this kernel has no BTF tracepoint \"sched_switch\".");
        r = try_to_load(&features, true, ret, ret_probes);
        if (r < 0 && r != -EPERM) {
                /* Nothing else depends on the probes. */
                (void) snprintf(verdict.reason, sizeof(verdict.reason),
                                "What time goes to is not told, the kernel refuses the probes: %s",
                                *verifier_reason ? verifier_reason : strerror(-r));
                r = try_to_load(&features, false, ret, ret_probes);
        }
        if (r < 0)
                return loader_judge(r, "Loading the kernel side", ret_verdict);
        drop_object();
        *ret_verdict = verdict;
        return 0;
}
