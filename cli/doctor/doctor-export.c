/*
 * Does what podspan exports arrive? Only the collector's answer to an export says that, and podspand notes it in its
 * store. What a connection says is second: somebody who listens may be anybody.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "clk.h"
#include "configvalue.h"
#include "doctor.h"
#include "endpoint.h"
#include "status.h"
#include "storeschema.h"
#include "text.h"

#define ID     "podspan.collector"
#define LAG_NS (60 * NSEC_PER_SEC) /* spans that wait longer wait for something */

/* What is wrong with a peer, as far as its first bytes say; NULL: nothing. */
static const struct {
        const char *wrong;
        const char *fix;
} peers[] = {
        [ENDPOINT_HTTP1] = { "speaks HTTP/1, not gRPC", "name the collector's port for OTLP over gRPC, usually 4317" },
        [ENDPOINT_TLS] = { "wants TLS, and plaintext is configured",
                           "write https://HOST:PORT, or name a plaintext port" },
        [ENDPOINT_OTHER] = { "speaks no HTTP/2", "name the collector's port for OTLP over gRPC, usually 4317" },
        [ENDPOINT_CLOSED] = { "closes the connection at once",
                              "the collector's own log; if its port wants TLS, write https://HOST:PORT" },
        [ENDPOINT_SILENT] = { "accepts connections and says nothing",
                              "name the collector's port for OTLP over gRPC; is it overloaded, or behind a proxy?" },
};

static void not_listening(Doctor *doctor, const char *id, const char *who, const char *s, int error) {
        doctor_add(doctor, id, DOCTOR_ERROR, strerror(-error),
                   "start a collector there, or name the right one (podspan.conf: tracing_endpoint = \"HOST:4317\")",
                   "nobody answers at %s, where %s exports to", s, who);
}

void doctor_check_endpoint(Doctor *doctor, const char *id, const char *who, const char *s) {
        ConfigEndpoint endpoint;
        const char *reason;
        EndpointPeer peer;
        int r;

        if (configvalue_endpoint(s, true, &endpoint, &reason) < 0) {
                doctor_add(doctor, id, DOCTOR_ERROR, s, "HOST:PORT, e.g. localhost:4317",
                           "%s exports to an address that cannot be understood: %s", who, reason);
                return;
        }
        if (!endpoint.local && !endpoint.port_given) {
                /* gRPC for Go, in kubelet and CRI-O, would take 443. */
                doctor_add(doctor, id, DOCTOR_ERROR, s, "HOST:PORT, e.g. localhost:4317",
                           "%s exports to an address without a port", who);
                return;
        }
        if (endpoint.tls) {
                r = endpoint_dial(&endpoint);
                if (r < 0)
                        not_listening(doctor, id, who, s, r);
                else
                        doctor_add(doctor, id, DOCTOR_NOTE, s, NULL,
                                   "somebody listens where %s exports to; whether spans arrive there its own log says",
                                   who);
                return;
        }
        r = endpoint_greet(&endpoint, &peer);
        if (r < 0)
                not_listening(doctor, id, who, s, r);
        else if (peers[peer].wrong)
                doctor_add(doctor, id, DOCTOR_ERROR, s, peers[peer].fix, "what %s exports to %s", who,
                           peers[peer].wrong);
        else
                doctor_add(doctor, id, DOCTOR_OK, s, NULL,
                           "an HTTP/2 server listens where %s exports to; whether spans arrive there its own log says",
                           who);
}

/* What podspand noted. */
typedef struct Export {
        const char *endpoint;
        uint64_t ok_ns;
        uint64_t error_ns;
        const char *error;
        uint64_t n_pending;
        uint64_t lag_ns;
        uint64_t now_ns;
} Export;

static void ago(const Export *export, uint64_t ns, char ret[static TEXT_DURATION_MAX]) {
        text_duration(export->now_ns > ns ? export->now_ns - ns : 0, ret);
}

/* Last success, lag, last error: what there is of them. Owned by the caller; NULL without memory. */
static char *evidence_of(const Export *export) {
        char ok[TEXT_DURATION_MAX + 32] = "last success: never", lag[TEXT_DURATION_MAX + 32] = "",
                                    time[TEXT_DURATION_MAX];
        char error[600] = "", *s;

        if (export->ok_ns > 0) {
                ago(export, export->ok_ns, time);
                (void) snprintf(ok, sizeof(ok), "last success: %s ago", time);
        }
        if (export->n_pending > 0) {
                text_duration(export->lag_ns, time);
                (void) snprintf(lag, sizeof(lag), ", for up to %s", time);
        }
        if (export->error && *export->error && export->error_ns > export->ok_ns) {
                ago(export, export->error_ns, time);
                (void) snprintf(error, sizeof(error), "\nlast error: %s ago: %.500s", time, export->error);
        }
        return asprintf(&s, "%s\n%s; %" PRIu64 " spans wait%s%s", export->endpoint, ok, export->n_pending, lag, error) <
                               0
                       ? NULL
                       : s;
}

/* What the peer's first bytes say, where podspan speaks plaintext. False: nothing; @ret_error: it cannot be reached. */
static bool ask_peer(const Doctor *doctor, const char *s, EndpointPeer *ret, bool *ret_greeted, int *ret_error) {
        ConfigEndpoint endpoint;
        const char *reason;

        *ret_greeted = false;
        *ret_error = 0;
        if (configvalue_endpoint(s, doctor->config.tracing_insecure, &endpoint, &reason) < 0)
                return false;
        *ret_greeted = !endpoint.tls;
        *ret_error = endpoint.tls ? endpoint_dial(&endpoint) : endpoint_greet(&endpoint, ret);
        return *ret_error == 0;
}

/* The fix that the last error asks for, as far as gRPC's words say. */
static const char *fix_of(const char *error) {
        if (strcasestr(error, "CERTIFICATE_VERIFY_FAILED") || strcasestr(error, "certificate verify"))
                return "tracing_certificate: the file of the authority that signed the collector's certificate";
        if (strcasestr(error, "WRONG_VERSION") || strcasestr(error, "handshake"))
                return "the peer may speak no TLS: write HOST:PORT or http://HOST:PORT; or its certificates are wrong";
        if (strncmp(error, "UNIMPLEMENTED", 13) == 0)
                return "name the collector's port for OTLP over gRPC, and enable its traces pipeline";
        return "the collector's own log; its port for OTLP over gRPC, usually 4317; https:// where it wants TLS";
}

static void judge(Doctor *doctor, const Export *export) {
        bool failing = export->error && *export->error && export->error_ns > export->ok_ns;
        _cleanup_free_ char *evidence = evidence_of(export);
        EndpointPeer peer = ENDPOINT_HTTP2;
        bool greeted, reached;
        char time[TEXT_DURATION_MAX];
        int error;

        if (!evidence) {
                doctor->no_memory = true;
                return;
        }
        ago(export, export->ok_ns, time);
        if (!failing && export->ok_ns > 0) {
                if (export->lag_ns > LAG_NS)
                        doctor_add(doctor, ID, DOCTOR_WARNING, evidence,
                                   "podspand has to run; a collector that keeps up; tracing_export_rate_bytes",
                                   "spans reach the collector, but the export lags behind");
                else
                        doctor_add(doctor, ID, DOCTOR_OK, evidence, NULL,
                                   "spans reach the collector: last success %s ago", time);
                return;
        }

        reached = ask_peer(doctor, export->endpoint, &peer, &greeted, &error);
        if (error < 0) {
                doctor_add(doctor, ID, DOCTOR_ERROR, strerror(-error),
                           "start a collector there, or name the right one (podspan.conf: tracing_endpoint = "
                           "\"HOST:4317\")",
                           "nobody answers at %s, where podspan exports to; %s%s%s", export->endpoint,
                           export->ok_ns > 0 ? "last success " : "nothing was exported yet",
                           export->ok_ns > 0 ? time : "", export->ok_ns > 0 ? " ago" : "");
                return;
        }
        if (reached && greeted && peers[peer].wrong) {
                doctor_add(doctor, ID, DOCTOR_ERROR, evidence, peers[peer].fix, "what podspan exports to %s: %s",
                           peers[peer].wrong, export->ok_ns > 0 ? "the export fails" : "nothing was exported yet");
                return;
        }
        if (failing && export->ok_ns > 0)
                doctor_add(doctor, ID, export->lag_ns > LAG_NS ? DOCTOR_ERROR : DOCTOR_WARNING, evidence,
                           fix_of(export->error), "the export fails: last success %s ago", time);
        else if (failing)
                doctor_add(doctor, ID, DOCTOR_ERROR, evidence, fix_of(export->error),
                           "nothing was ever exported: the export fails");
        else if (export->lag_ns > LAG_NS)
                doctor_add(doctor, ID, DOCTOR_WARNING, evidence, "podspand has to run; podspan status",
                           "nothing was exported yet, though spans wait");
        else
                doctor_add(doctor, ID, DOCTOR_NOTE, evidence, NULL,
                           "nothing was exported yet: somebody listens there, but whether it takes spans is not known");
}

/* Without the store: what a connection says, and that this is not much. */
static void unknown(Doctor *doctor, const char *why) {
        const char *s = doctor->config.tracing_endpoint;
        EndpointPeer peer = ENDPOINT_HTTP2;
        bool greeted;
        int error;

        if (ask_peer(doctor, s, &peer, &greeted, &error) && greeted && peers[peer].wrong)
                doctor_add(doctor, ID, DOCTOR_ERROR, s, peers[peer].fix, "what podspan exports to %s",
                           peers[peer].wrong);
        else if (error < 0)
                not_listening(doctor, ID, "podspan", s, error);
        else
                doctor_add(doctor, ID, DOCTOR_NOTE, why, "run as root, or in group podspan; podspand has to run",
                           "whether spans reach %s is unknown: somebody listens there, no more is known", s);
}

static void by_outcome(Doctor *doctor, const Status *status) {
        const char *configured = doctor->config.tracing_endpoint;
        Export export = {
                .endpoint = status_meta(status, "endpoint"),
                .ok_ns = status_meta_u64(status, "last_export_ok_ns"),
                .error_ns = status_meta_u64(status, "last_export_error_ns"),
                .error = status_meta(status, "last_export_error"),
                .n_pending = status->store.n_spans[STORESCHEMA_STATE_PENDING],
                .now_ns = status->now_ns,
        };

        if (export.endpoint && strcmp(export.endpoint, configured) != 0) {
                doctor_add(doctor, ID, DOCTOR_WARNING, export.endpoint, "systemctl reload podspand.service",
                           "podspand does not export to %s, as the configuration says: it was not reloaded since",
                           configured);
                return;
        }
        if (!export.endpoint)
                export.endpoint = configured;
        if (status->store.oldest_pending_ns > 0 && status->now_ns > status->store.oldest_pending_ns)
                export.lag_ns = status->now_ns - status->store.oldest_pending_ns;
        judge(doctor, &export);
}

void doctor_export(Doctor *doctor) {
        Status *status;
        int r;

        if (!doctor->config_known)
                return;
        if (!config_exports(&doctor->config)) {
                doctor_add(doctor, ID, DOCTOR_NOTE, "tracing_endpoint = none",
                           "/etc/podspan/podspan.conf: tracing_endpoint = \"localhost:4317\"",
                           "nothing is exported: spans stay on this node");
                return;
        }

        status = calloc(1, sizeof(*status));
        r = status ? status_gather(doctor->cli, status) : -ENOMEM;
        if (r < 0)
                doctor->no_memory = true;
        else if (status->store_known)
                by_outcome(doctor, status);
        else
                unknown(doctor, status->store_error);
        if (status)
                status_deinit(status);
        free(status);
}
