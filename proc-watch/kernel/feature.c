#include <assert.h>
#include <string.h>
#include "feature.h"
#include "util.h"

typedef struct FeatureInfo {
        WatchStateMissing kind;
        const char *tracepoint;
        const char *text;
} FeatureInfo;

#define NEWER_KERNEL                                                                                 \
        " Use a kernel of Linux 5.8 or newer with CONFIG_BPF_EVENTS=y; 5.10, 6.1 and 6.12 have been" \
        " tried."
#define TRACEPOINT(name) \
        { WATCHSTATE_MISSING_KERNEL, name, "This kernel has no BTF tracepoint \"" name "\"." NEWER_KERNEL }

static const FeatureInfo infos[_FEATURE_MAX] = {
        [FEATURE_HOST_PIDS] = { WATCHSTATE_MISSING_NAMESPACE, NULL,
                                "podspan-watch must run in the host's pid namespace, else it sees no process of the "
                                "host. Start it by its unit, or in a pod with hostPID: true." },
        [FEATURE_BPF] = { WATCHSTATE_MISSING_KERNEL, NULL,
                          "This kernel has no bpf(2). Use one with CONFIG_BPF_SYSCALL=y." },
        [FEATURE_CAP_BPF] = { WATCHSTATE_MISSING_CAPABILITY, NULL,
                              "CAP_BPF is missing. Start podspan-watch by its unit, or as root with CAP_BPF and "
                              "CAP_PERFMON." },
        [FEATURE_CAP_PERFMON] = { WATCHSTATE_MISSING_CAPABILITY, NULL,
                                  "CAP_PERFMON is missing. Start podspan-watch by its unit, or as root with CAP_BPF "
                                  "and CAP_PERFMON." },
        [FEATURE_BTF] = { WATCHSTATE_MISSING_BTF, NULL,
                          "The kernel's type information, /sys/kernel/btf/vmlinux, is missing or unreadable. Use a "
                          "kernel with CONFIG_DEBUG_INFO_BTF=y, and mount sysfs." },
        [FEATURE_MEMLOCK] = { WATCHSTATE_MISSING_CAPABILITY, NULL,
                              "RLIMIT_MEMLOCK is too low: this kernel charges BPF maps to it. Set "
                              "LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`." },
        [FEATURE_ALLOWED] = { WATCHSTATE_MISSING_CAPABILITY, NULL,
                              "The kernel refuses bpf(2) in spite of CAP_BPF: a filter of system calls or a security "
                              "module forbids it. Allow it for podspan-watch." },
        [FEATURE_READS] = { WATCHSTATE_MISSING_KERNEL, NULL,
                            "The kernel is locked down (confidentiality): no BPF program may read its memory. Boot "
                            "with lockdown=integrity, or without lockdown." },
        [FEATURE_RINGBUF] = { WATCHSTATE_MISSING_KERNEL, NULL, "This kernel has no BPF ring buffer." NEWER_KERNEL },
        [FEATURE_ITER_TASK] = { WATCHSTATE_MISSING_KERNEL, NULL,
                                "This kernel has no BPF iterator of tasks." NEWER_KERNEL },
        [FEATURE_HELPERS] = { WATCHSTATE_MISSING_KERNEL, NULL,
                              "This kernel lacks a helper that the BPF programs call." NEWER_KERNEL },
        [FEATURE_FORK] = TRACEPOINT("sched_process_fork"),
        [FEATURE_EXEC] = TRACEPOINT("sched_process_exec"),
        [FEATURE_EXIT] = TRACEPOINT("sched_process_exit"),
        [FEATURE_RENAME] = TRACEPOINT("task_rename"),
        [FEATURE_ATTACH] = TRACEPOINT("cgroup_attach_task"),
        [FEATURE_VICTIM_TASK] = { .tracepoint = "mark_victim" },
        [FEATURE_VICTIM_PID] = { .tracepoint = "mark_victim" },
        [FEATURE_SIGNAL] = { .tracepoint = "signal_generate" },
        [FEATURE_SWITCH] = { .tracepoint = "sched_switch" },
        [FEATURE_COUNTERS] = { .tracepoint = "percpu_alloc_percpu" },
        [FEATURE_INODE] = { .tracepoint = "ext4_request_inode" },
};

/* Those that watch.bpf.c cannot do without; it looks itself whether the kernel has the others. */
const char *const feature_helpers[] = {
        "probe_read_kernel_str",
        "probe_read_user_str",
        "ringbuf_output",
        "ringbuf_query",
        "seq_write",
        "ktime_get_boot_ns",
        NULL,
};

int feature_probe(FeatureFn fn, void *userdata, FeatureSet *ret, Feature *ret_missing) {
        FeatureSet set = {};

        assert(fn);
        assert(ret);
        assert(ret_missing);

        for (Feature feature = 0; feature < _FEATURE_MAX; feature++) {
                int r = fn(userdata, feature);

                if (r < 0)
                        return r;
                set.has[feature] = r > 0;
                if (r == 0 && feature < _FEATURE_REQUIRED_MAX) {
                        *ret_missing = feature;
                        return -EOPNOTSUPP;
                }
        }
        *ret = set;
        return 0;
}

WatchStateMissing feature_kind(Feature feature) {
        assert(feature < _FEATURE_REQUIRED_MAX);
        return infos[feature].kind;
}

const char *feature_text(Feature feature) {
        assert(feature < _FEATURE_REQUIRED_MAX);
        return infos[feature].text;
}

const char *feature_tracepoint(Feature feature) {
        assert(feature < _FEATURE_MAX);
        return infos[feature].tracepoint;
}

/* What the verifier says of itself, and libbpf of the log. */
static bool is_framing(const char *line, size_t len) {
        static const char *const framing[] = { "processed ", "verification time ", "stack depth ", "-- ", "libbpf: " };

        for (size_t i = 0; i < ARRAY_SIZE(framing); i++)
                if (len >= strlen(framing[i]) && memcmp(line, framing[i], strlen(framing[i])) == 0)
                        return true;
        return len == 0;
}

void feature_verifier_reason(const char *log, size_t len, char *ret, size_t size) {
        const char *end = log + len;

        assert(log || len == 0);
        assert(size > 0);

        ret[0] = '\0';
        while (end > log) {
                const char *nl = memrchr(log, '\n', (size_t) (end - log)), *line = nl ? nl + 1 : log;

                if (!is_framing(line, (size_t) (end - line))) {
                        util_copy_bounded(ret, size, line, (size_t) (end - line));
                        return;
                }
                end = nl ? nl : log;
        }
}
