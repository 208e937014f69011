#include <string.h>
#include <sys/timex.h>
#include "configfile.h"
#include "doctor.h"
#include "status.h"

static int load_config(Doctor *doctor, char **reterr_message) {
        _cleanup_free_ char *dir = NULL;
        int r;

        if (doctor->here || doctor->cli->config_file)
                return config_load(doctor->cli->config_file, &doctor->config, reterr_message);
        if (asprintf(&dir, "%s" CONFIG_DIR, doctor->root) < 0) {
                dir = NULL;
                return -ENOMEM;
        }
        r = config_defaults(&doctor->config);
        if (r < 0)
                return r;
        r = configfile_read_dir(&doctor->config, dir, reterr_message);
        if (r < 0)
                config_deinit(&doctor->config);
        return r;
}

static void check_config(Doctor *doctor) {
        _cleanup_free_ char *message = NULL;
        int r = load_config(doctor, &message);

        doctor->config_known = r >= 0;
        if (r == -EACCES || r == -EPERM)
                doctor_add(doctor, "podspan.config", DOCTOR_NOTE, message, "run as root, or in group podspan",
                           "podspan's configuration cannot be read: whether it is right is unknown");
        else if (r < 0)
                doctor_add(doctor, "podspan.config", DOCTOR_ERROR, message, "correct that line, then: podspan config",
                           "podspan's configuration is wrong: no daemon of it starts");
        else if (!doctor->config.enable_tracing)
                doctor_add(doctor, "podspan.config", DOCTOR_WARNING, "enable_tracing = false",
                           "/etc/podspan/podspan.conf: enable_tracing = true", "podspan is switched off");
        else if (doctor->config.tracing_protocol != CONFIG_PROTOCOL_GRPC)
                doctor_add(doctor, "podspan.config", DOCTOR_WARNING,
                           config_protocol_name(doctor->config.tracing_protocol),
                           "tracing_protocol = grpc, and the collector's port for it (4317)",
                           "podspand exports by OTLP over gRPC only; another protocol is configured");
        else
                doctor_add(doctor, "podspan.config", DOCTOR_OK, NULL, NULL, "podspan's configuration is right");
}

static void check_daemon(Doctor *doctor) {
        switch (status_podspand(doctor->cli)) {
        case STATUS_ALIVE:
                doctor_add(doctor, "podspand.running", DOCTOR_OK, doctor->cli->store_dir, NULL, "podspand is running");
                break;
        case STATUS_DEAD:
                doctor_add(doctor, "podspand.running", DOCTOR_ERROR, doctor->cli->store_dir,
                           "systemctl enable --now podspand.service",
                           "podspand is not running: spans stay in the spool until it is full");
                break;
        default:
                doctor_add(doctor, "podspand.running", DOCTOR_NOTE, doctor->cli->store_dir,
                           "run as root, or in group podspan", "whether podspand is running cannot be seen");
        }
}

/* podspan-watch is an option: no finding where it was not started since boot, or was stopped. */
static void check_watch(Doctor *doctor) {
        _cleanup_close_ int state_fd = cli_open_state(doctor->cli);
        char evidence[64 + WATCHSTATE_REASON_MAX];
        WatchState watch;
        int r;

        /* That the folder cannot be read is a finding of its own. */
        if (state_fd < 0)
                return;
        r = watchstate_read(state_fd, &watch);
        if (r == -ENOENT)
                return;
        if (r < 0) {
                doctor_add(doctor, "podspan.watch", DOCTOR_NOTE, strerror(-r), "run as root, or in group podspan",
                           "whether podspan-watch is running cannot be seen");
                return;
        }
        (void) snprintf(evidence, sizeof(evidence), "%s%s%s", watchstate_missing_name(watch.missing),
                        watch.missing != WATCHSTATE_MISSING_NONE ? ": " : "", watch.reason);
        switch (watch.kind) {
        case WATCHSTATE_RUNNING:
                doctor_add(doctor, "podspan.watch", DOCTOR_OK, NULL, NULL, "podspan-watch is running");
                break;
        case WATCHSTATE_REFUSED:
                doctor_add(
                        doctor, "podspan.watch", DOCTOR_WARNING, evidence,
                        "add what is missing, then: systemctl start podspan-watch.service",
                        "podspan-watch has ended because it cannot run on this node: there are no spans of runtimes, "
                        "shims and CNI plugins");
                break;
        case WATCHSTATE_FAILED:
        case WATCHSTATE_DIED:
                doctor_add(doctor, "podspan.watch", DOCTOR_WARNING, evidence, "journalctl -u podspan-watch.service",
                           "podspan-watch has failed; systemd starts it again");
                break;
        default:
                break;
        }
}

static void check_clock(Doctor *doctor) {
        struct timex timex = {};
        int state = adjtimex(&timex);

        if (state < 0)
                doctor_add(doctor, "node.clock", DOCTOR_NOTE, strerror(errno), "timedatectl",
                           "whether the clock is synchronized cannot be seen");
        else if (state == TIME_ERROR || timex.status & STA_UNSYNC) {
                char evidence[96];

                (void) snprintf(evidence, sizeof(evidence), "adjtimex: STA_UNSYNC, maximum error %ld us",
                                timex.maxerror);
                doctor_add(doctor, "node.clock", DOCTOR_WARNING, evidence,
                           "systemctl enable --now chrony.service     # or systemd-timesyncd.service",
                           "the clock is not synchronized: spans of this and other nodes do not line up");
        } else
                doctor_add(doctor, "node.clock", DOCTOR_OK, NULL, NULL, "the clock is synchronized");
}

static void check_counters(Doctor *doctor) {
        static const struct {
                CountersId id;
                const char *fix;
        } drops[] = {
                { COUNTERS_DROP_NO_SPACE,
                  "podspand has to run; a larger spool: systemctl edit run-podspan-spool.mount, then systemctl reload "
                  "run-podspan-spool.mount" },
                { COUNTERS_DROP_NO_MEMORY, "memory limits of the unit" },
                { COUNTERS_DROP_TOO_LARGE, "podspan config; report it if it goes on" },
                { COUNTERS_DROP_IO, "dmesg; the file system of /run/podspan" },
                { COUNTERS_DROP_OVERLOAD, "tracing_sampling_rate_per_million: lower" },
                { COUNTERS_AGENT_DROP_STORE_FULL, "store_max_size, store_min_free_percent, or room on the disk" },
                { COUNTERS_AGENT_REJECTED, "the collector's own log: it rejected spans" },
                { COUNTERS_AGENT_DROP_REFUSED, "podspan status: the last error of the export" },
                { COUNTERS_AGENT_DROP_RETENTION, "store_max_size: larger, or a collector that keeps up" },
                { COUNTERS_CONTEXT_FAILED, "the file system of /run/podspan: spans are not joined" },
        };
        _cleanup_close_ int state_fd = cli_open_state(doctor->cli);
        _cleanup_(counters_freep) Counters *counters = NULL;
        bool any = false;

        if (state_fd < 0 && state_fd != -ENOENT) {
                doctor_add(doctor, "podspan.drops", DOCTOR_NOTE, strerror(-state_fd),
                           "run as root, or in group podspan",
                           "the counters cannot be read: whether spans were dropped is unknown");
                return;
        }
        counters = state_fd >= 0 ? counters_open(state_fd, false) : NULL;
        if (!counters || !counters_shared(counters)) {
                doctor_add(doctor, "podspan.drops", DOCTOR_NOTE, doctor->cli->state_dir,
                           "systemctl start podspand.service", "no counters: nothing of podspan has run since boot");
                return;
        }
        for (unsigned p = 0; p < _COUNTERS_PRODUCER_MAX; p++)
                for (size_t i = 0; i < ARRAY_SIZE(drops); i++) {
                        uint64_t n = counters_get(counters, p, drops[i].id);

                        if (n == 0)
                                continue;
                        any = true;
                        doctor_add(doctor, "podspan.drops", DOCTOR_WARNING, counters_id_name(drops[i].id), drops[i].fix,
                                   "%s lost %llu since boot (%s)", counters_producer_name(p), (unsigned long long) n,
                                   counters_id_name(drops[i].id));
                }
        if (!any)
                doctor_add(doctor, "podspan.drops", DOCTOR_OK, NULL, NULL, "nothing was dropped since boot");
        for (unsigned p = 0; p < _COUNTERS_PRODUCER_MAX; p++)
                if (counters_get(counters, p, COUNTERS_UNTRUSTED) > 0)
                        doctor_add(
                                doctor, "podspan.directories", DOCTOR_WARNING, counters_producer_name(p),
                                "its log names the directory: remove it, or correct its owner and mode",
                                "%s did not use a directory that others than root can change (%llu times since boot)",
                                counters_producer_name(p),
                                (unsigned long long) counters_get(counters, p, COUNTERS_UNTRUSTED));
}

void doctor_self(Doctor *doctor) {
        check_config(doctor);
        check_daemon(doctor);
        check_watch(doctor);
        doctor_export(doctor);
        check_counters(doctor);
        check_clock(doctor);
}
