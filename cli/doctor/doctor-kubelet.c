#include <stdio.h>
#include <string.h>
#include "bypass.h"
#include "doctor.h"
#include "netunix.h"
#include "nodefile.h"
#include "nodeversion.h"
#include "yamledit.h"

#define TRACING_LINES "tracing:\n  endpoint: localhost:4317\n  samplingRatePerMillion: 10000"

static bool is_ours(const Doctor *doctor, const char *path) {
        return nodefile_is_beneath(doctor->root_fd, doctor->state_dir, path);
}

static void check_endpoint(Doctor *doctor, bool image) {
        const KubePlace *place;
        const char *endpoint = kube_endpoint(&doctor->kube, image, &place),
                   *id = image ? "kubelet.image_endpoint" : "kubelet.endpoint";
        const char *running = image ? doctor->kube.running_image : doctor->kube.running_endpoint;
        _cleanup_free_ char *path = kube_path(endpoint), *running_path = NULL;
        char evidence[1024];

        if (!path)
                return;
        if (!running && place && place->kind == KUBE_FLAGS && !place->known) {
                (void) snprintf(evidence, sizeof(evidence), "%s:%u", place->path, place->line);
                doctor_add(doctor, id, DOCTOR_WARNING, evidence,
                           "write the endpoint there without quotes and variables",
                           "podspan cannot tell kubelet's %s: %s", image ? "image service endpoint" : "endpoint",
                           place->refusal);
                return;
        }
        if (place)
                (void) snprintf(evidence, sizeof(evidence), "%s:%u: %s", place->path, place->line, endpoint);
        else
                (void) snprintf(evidence, sizeof(evidence), "kubelet's default: %s", endpoint);
        running_path = running ? kube_path(running) : NULL;
        if (running && !running_path) {
                doctor->no_memory = true;
                return;
        }
        if (running && !nodefile_same(doctor->root_fd, running_path, path)) {
                (void) snprintf(evidence, sizeof(evidence), "/proc/%d/cmdline: %s", (int) doctor->kube.proc->pid,
                                running);
                doctor_add(doctor, id, DOCTOR_WARNING, evidence,
                           "systemctl daemon-reload && systemctl restart kubelet.service",
                           "the kubelet that runs was started with another %s than the files say",
                           image ? "image service endpoint" : "endpoint");
                return;
        }
        if (is_ours(doctor, path))
                doctor_add(doctor, id, DOCTOR_OK, evidence, NULL, "kubelet is configured to dial podspan-cri%s",
                           image ? " for images" : "");
        else
                doctor_add(doctor, id, image ? DOCTOR_WARNING : DOCTOR_ERROR, evidence, "podspan install kubelet",
                           "kubelet does not dial podspan-cri%s",
                           image ? " for images" : ": there are no spans of CRI calls");
}

static void check_tracing(Doctor *doctor) {
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        YamlScalar rate = {}, endpoint = {}, gate = {};
        YamlProblem problem;
        const char *file = doctor->kube.config_file;
        char evidence[1024], fix[1024];
        uint64_t n = 0;
        int r;

        r = nodefile_read(doctor->root_fd, file, &text, NULL);
        if (r < 0)
                return;
        (void) snprintf(fix, sizeof(fix), "%s:\n" TRACING_LINES "\nthen: systemctl restart kubelet.service", file);
        r = yamledit_find(text.p, text.n, "tracing.samplingRatePerMillion", &rate, &problem);
        (void) yamledit_find(text.p, text.n, "tracing.endpoint", &endpoint, &problem);
        (void) yamledit_find(text.p, text.n, "featureGates.KubeletTracing", &gate, &problem);
        if (r >= 0)
                r = util_parse_u64(rate.value, strlen(rate.value), &n);
        (void) snprintf(evidence, sizeof(evidence), "%s: endpoint %s, samplingRatePerMillion %s", file,
                        endpoint.value ? endpoint.value : "localhost:4317 (default)",
                        rate.value ? rate.value : "unset");

        if (gate.value && strcmp(gate.value, "false") == 0)
                doctor_add(doctor, "kubelet.tracing", DOCTOR_WARNING, file, "featureGates: KubeletTracing: true",
                           "kubelet's tracing is off by its feature gate");
        else if (r == -ENOENT && !endpoint.value)
                doctor_add(doctor, "kubelet.tracing", DOCTOR_WARNING, file, fix,
                           "kubelet's tracing is off: traces begin at the CRI call, without syncPod");
        else if (r < 0 || n == 0)
                doctor_add(doctor, "kubelet.tracing", DOCTOR_WARNING, evidence, fix,
                           "kubelet's tracing is on with rate 0: it records nothing of its own");
        else {
                doctor_add(doctor, "kubelet.tracing", DOCTOR_OK, evidence, NULL,
                           "kubelet's tracing is on, %llu of a million traces", (unsigned long long) n);
                doctor_check_endpoint(doctor, "kubelet.collector", "kubelet",
                                      endpoint.value ? endpoint.value : "localhost:4317");
        }
        free(rate.value);
        free(endpoint.value);
        free(gate.value);
}

/* Until 1.35 kubelet's CRI client spans have the RPC attributes of OpenTelemetry's old conventions, from 1.36 the new.
 */
static void check_semconv(Doctor *doctor) {
        NodeVersion version;
        unsigned major, minor;
        bool old;

        if (!doctor->config_known)
                return;
        nodeversion_kubelet(doctor->root, doctor->root_fd, doctor->kube.proc, doctor->kubelet_version, &version);
        if (!version.exact) {
                doctor_add(doctor, "kubelet.semconv", DOCTOR_NOTE, version.source,
                           "kubelet --version, then: podspan doctor --kubelet-version VERSION",
                           "kubelet's version is unknown: it cannot be compared how kubelet and podspan name RPC "
                           "attributes");
                return;
        }
        major = version.major;
        minor = version.minor;
        old = major == 1 && minor < 36;
        if (doctor->config.semconv == CONFIG_SEMCONV_BOTH || (doctor->config.semconv == CONFIG_SEMCONV_OLD) == old)
                doctor_add(doctor, "kubelet.semconv", DOCTOR_OK, version.source, NULL,
                           "kubelet %u.%u and podspan name RPC attributes alike", major, minor);
        else
                doctor_add(doctor, "kubelet.semconv", DOCTOR_NOTE,
                           old ? "kubelet: rpc.service, rpc.grpc.status_code; podspan: rpc.response.status_code"
                               : "kubelet: rpc.response.status_code; podspan: rpc.service, rpc.grpc.status_code",
                           old ? "/etc/podspan/podspan.conf: semconv = rpc/dup"
                               : "/etc/podspan/podspan.conf: semconv = rpc",
                           "kubelet %u.%u names RPC attributes by the %s conventions, podspan by the other", major,
                           minor, old ? "old" : "new");
}

void doctor_process(Doctor *doctor, const char *id, const Nodeprocs *found, const Nodeproc *one) {
        const char *name = nodeproc_name(found->kind);
        char who[1024], evidence[64];
        bool unknown = false;

        nodeproc_describe(found, who, sizeof(who));
        if (one) {
                (void) snprintf(evidence, sizeof(evidence), "/proc/%d", (int) one->pid);
                if (one->trust == NODEPROC_ELSEWHERE)
                        doctor_add(doctor, id, DOCTOR_WARNING, evidence,
                                   "configure it by what starts it (Talos: the machine configuration)",
                                   "%s runs in a mount namespace of its own: its files are not seen, and never edited",
                                   name);
                else
                        doctor_add(doctor, id, DOCTOR_OK, evidence, NULL, "%s runs (pid %d)", name, (int) one->pid);
        } else if (nodeproc_ambiguous(found))
                doctor_add(doctor, id, DOCTOR_WARNING, who, "end those that are not it, then look again",
                           "more than one process could be %s: none of them is believed", name);
        for (size_t i = 0; i < found->n; i++)
                unknown = unknown || found->procs[i].unknown;
        if (one || nodeproc_ambiguous(found) || found->n == 0)
                return;
        if (unknown)
                doctor_add(doctor, id, DOCTOR_NOTE, who, "podspan doctor as root, with CAP_SYS_PTRACE",
                           "whether the process that is called %s is it cannot be seen, so it is not believed", name);
        else
                doctor_add(doctor, id, DOCTOR_NOTE, who, "ps -o user,cgroup,args -p PID     # who started it, and why?",
                           "a process is called %s and is not it", name);
}

void doctor_kubelet(Doctor *doctor) {
        if (doctor->kube.procs.n > 0)
                doctor_process(doctor, "kubelet.process", &doctor->kube.procs, doctor->kube.proc);
        if (!doctor->kube.proc && !doctor->kube.config_file && doctor->kube.n_places == 0) {
                doctor_add(doctor, "kubelet.found", DOCTOR_WARNING, KUBE_DEFAULT_CONFIG,
                           "podspan doctor on the node that kubelet runs on, as root",
                           "there is no kubelet: neither a process that is believed nor its configuration");
                if (doctor->config_known)
                        check_semconv(doctor);
                return;
        }
        check_endpoint(doctor, false);
        for (size_t i = 0; i < doctor->kube.n_places; i++)
                if (doctor->kube.places[i].image) {
                        check_endpoint(doctor, true);
                        break;
                }
        if (doctor->kube.config_file)
                check_tracing(doctor);
        check_semconv(doctor);
}

/* kubelet chooses the source of its statistics by the endpoint's suffix alone. */
static void check_suffix(Doctor *doctor, const char *path) {
        const char *name = doctor->runtime_path ? kube_runtime(doctor->runtime_path) : NULL;
        bool crio = name && strcmp(name, "crio") == 0;
        char fix[256];

        (void) snprintf(fix, sizeof(fix), "an endpoint that ends so: unix://%s/run/%s.sock", doctor->state_dir,
                        crio ? "crio/crio" : "containerd/containerd");
        if (crio != kube_cadvisor_stats(path))
                doctor_add(doctor, "kubelet.suffix", DOCTOR_ERROR, path, fix,
                           "by its endpoint's suffix kubelet takes node metrics from %s, which is wrong for %s",
                           crio ? "the CRI" : "cAdvisor", crio ? "CRI-O" : "containerd");
        else
                doctor_add(doctor, "kubelet.suffix", DOCTOR_OK, path, NULL,
                           "kubelet's choice of statistics is that without us");
}

void doctor_cri(Doctor *doctor) {
        const char *endpoint = doctor->kube.running_endpoint ? doctor->kube.running_endpoint
                                                             : kube_endpoint(&doctor->kube, false, NULL);
        _cleanup_free_ char *path = kube_path(endpoint);
        _cleanup_bytes_ Bytes text = BYTES_NULL;
        NetunixSocket open = {};
        BypassState state;
        const char *name;
        char fix[160];
        int r;

        if (!path || !is_ours(doctor, path))
                return;
        name = kube_runtime(path);
        (void) snprintf(fix, sizeof(fix), "systemctl enable --now podspan-cri@%s.socket podspan-cri@%s.service",
                        name ? name : "containerd", name ? name : "containerd");
        if (bypass_target(doctor->root_fd, path, &doctor->runtime_path) < 0 && name &&
            asprintf(&doctor->runtime_path, "/run/%s/%s.sock", name, name) < 0)
                doctor->runtime_path = NULL;
        check_suffix(doctor, path);

        r = bypass_state(doctor->root_fd, path, &state);
        if (r == -EPERM)
                doctor_add(
                        doctor, "cri.folder", DOCTOR_ERROR, path,
                        "systemd-tmpfiles --create podspan.conf; then restart podspan-cri's socket unit",
                        "others than root can change podspan-cri's socket or its folder: they choose where kubelet's "
                        "calls go");
        if (r < 0 || nodefile_read_proc(doctor->root_fd, "/proc/net/unix", &text) < 0)
                return;
        netunix_find(text.p, path, &open);
        /* The list has the names that processes gave, in whatever mount namespace: a connect asks the socket itself. */
        if (doctor->here && state == BYPASS_OFF && geteuid() == 0) {
                r = bypass_dial(doctor->root_fd, path);
                open.listening = r >= 0;
        }
        if (state == BYPASS_ON)
                doctor_add(doctor, "cri.bypass", DOCTOR_WARNING, path, "podspan bypass off",
                           "podspan-cri is bypassed: kubelet's new connections go to the runtime directly");
        else if (!open.listening || state == BYPASS_ABSENT)
                doctor_add(doctor, "cri.listening", DOCTOR_ERROR, path, fix,
                           "nobody listens where kubelet dials: without `podspan bypass on` it has no runtime");
        else
                doctor_add(doctor, "cri.listening", DOCTOR_OK, path, NULL, "podspan-cri listens where kubelet dials");
        if (open.connections > 0)
                doctor_add(doctor, "cri.dialled", DOCTOR_OK, "/proc/net/unix", NULL,
                           "%u connections are open through podspan-cri", open.connections);
        else if (state == BYPASS_OFF)
                doctor_add(doctor, "cri.dialled", DOCTOR_WARNING, "/proc/net/unix", "systemctl restart kubelet.service",
                           "nobody is connected to podspan-cri: kubelet dials something else");
}
