#pragma once

/*
 * Configuration
 *
 * /etc/podspan/podspan.conf, then the files NAME.conf of /etc/podspan/conf.d in lexical order, then the OpenTelemetry
 * environment variables; later wins. `--config FILE` (or PODSPAN_CONFIG) replaces the whole of /etc/podspan. Keys are
 * those of CRI-O's
 * `[crio.tracing]`; the sections `[podspan]` and `[crio.tracing]` are the same to us, and values may stand in TOML's
 * quotes; keys before any section are [podspan]'s, so that pasted lines work. configvalue.h has the parsers of values
 * that others need too. No file means: enabled, rate 0 (callers' decisions are followed), endpoint localhost:4317. A
 * wrong key, value or section is an error with file and line. Keys are a table in configkey.c, explained in
 * conf.d/podspan.conf.
 */

#include <stdbool.h>
#include <stdint.h>
#include "log.h"
#include "util.h"

#define CONFIG_DIR         "/etc/podspan"
#define CONFIG_FILE_MAX    (256U * 1024)
#define CONFIG_LINE_MAX    4096
#define CONFIG_FILES_MAX   128
#define CONFIG_VALUE_MAX   4095
#define CONFIG_HEADERS_MAX 32

#define CONFIG_STATE_DIR "/run/podspan"
#define CONFIG_STORE_DIR "/var/lib/podspan"

/* RPC attributes of the old (rpc.service, rpc.grpc.status_code …), the new convention, or both. */
typedef enum ConfigSemconv {
        CONFIG_SEMCONV_NEW,
        CONFIG_SEMCONV_OLD,
        CONFIG_SEMCONV_BOTH,
} ConfigSemconv;

typedef enum ConfigCompression {
        CONFIG_COMPRESSION_NONE,
        CONFIG_COMPRESSION_GZIP,
} ConfigCompression;

/* OTEL_EXPORTER_OTLP_PROTOCOL. Spans go by gRPC whatever it is: podspand says so where it is another. */
typedef enum ConfigProtocol {
        CONFIG_PROTOCOL_GRPC,
        CONFIG_PROTOCOL_HTTP_PROTOBUF,
        CONFIG_PROTOCOL_HTTP_JSON,
} ConfigProtocol;

typedef struct ConfigHeader {
        char *name;  /* lower case */
        char *value; /* percent-decoded */
} ConfigHeader;

typedef struct Config {
        /* CRI-O's keys */
        bool enable_tracing;    /* true; OTEL_SDK_DISABLED=true turns it off */
        char *tracing_endpoint; /* "localhost:4317"; "" or "none": no export. host:port, http:// and unix: are
                                   plaintext, https:// is TLS */
        uint32_t tracing_sampling_rate_per_million; /* 0 */

        /* export */
        uint32_t tracing_export_rate_per_million; /* 1000000; for what podspand receives from others (decision 11) */
        bool tracing_keep_errors;                 /* false */
        uint64_t tracing_keep_slower_than_ns;     /* 0: off */
        bool tracing_insecure;                    /* true: `host:port` is plaintext */
        ConfigCompression tracing_compression;    /* gzip */
        ConfigProtocol tracing_protocol;          /* grpc; the others are not supported yet */
        uint64_t tracing_timeout_ns;              /* 10 s */
        char *tracing_certificate;                /* PEM files; "" = the system's roots */
        char *tracing_client_certificate;
        char *tracing_client_key;
        ConfigHeader tracing_headers[CONFIG_HEADERS_MAX]; /* key tracing_headers = "a=b,c=d", W3C baggage syntax */
        unsigned n_tracing_headers;
        uint64_t tracing_batch_size;        /* bytes, 4 MiB at most */
        uint64_t tracing_export_rate_bytes; /* bytes per second while catching up; 0: no cap; 8 MiB */

        /* podspan-cri */
        uint64_t slow_call_ns;     /* 1 s: a poll or probe slower than this becomes a span */
        uint64_t start_window_ns;  /* 15 min: what ends later after the start has a trace of its own */
        bool inject_traceparent;   /* true: append traceparent to sampled mutating calls without one */
        char *link_annotations;    /* "tracing.k8s.io/traceparent": comma-separated pod annotations that name a trace to
                                      link to */
        bool record_error_message; /* true: a runtime's error text (bounded) in the span status */
        ConfigSemconv
                semconv; /* OTEL_SEMCONV_STABILITY_OPT_IN: rpc → new, rpc/dup → both, rpc/old → old; default new */

        /* podspan-watch */
        bool explain_time; /* true: tell what commands and engines spend their time with */

        /* resource */
        char *node_name;           /* "": the host's name */
        char *service_name;        /* OTEL_SERVICE_NAME; "": each program's own */
        char *resource_attributes; /* OTEL_RESOURCE_ATTRIBUTES, "k=v,k=v" percent-encoded; "" */

        /* store */
        uint64_t store_max_size;         /* 512 MiB */
        uint64_t store_max_age_ns;       /* 72 h */
        uint32_t store_min_free_percent; /* 15 */

        LogLevel log_level; /* info */

        struct ConfigOrigins *origins; /* where each value came from */
} Config;

#define CONFIG_NULL \
        {}

/*
 * Loads the configuration: from @file if given, else from PODSPAN_CONFIG, else from CONFIG_DIR; then the environment.
 * Returns 0 with @ret owned by the caller (config_deinit()), or a negative errno with a message for people, file and
 * line in it, in @reterr_message (owned by the caller, may be NULL without memory).
 */
int config_load(const char *file, Config *ret, char **reterr_message);

/*
 * The same without the OTEL_* variables, for programs that run in somebody else's environment: what a shim was told
 * about its own exporter is not meant for a hook that inherits it.
 */
int config_load_files(const char *file, Config *ret, char **reterr_message);
void config_deinit(Config *config);

/*
 * The folder of what config_load() reads with @file: CONFIG_DIR, or a file's own. For programs that can later open only
 * what they have named. Returns 0 with text owned by the caller, or -ENOMEM.
 */
int config_folder(const char *file, char **ret);

/* The defaults and nothing else: what a program falls back to where it must go on. Returns 0 or -ENOMEM. */
int config_defaults(Config *ret);

/*
 * Calls @fn for every key in the order of the table with its effective value as text (a secret header's value as "***")
 * and origin ("default",
 * "/etc/podspan/podspan.conf:12", "OTEL_EXPORTER_OTLP_ENDPOINT"). A negative return of @fn ends it and is returned.
 */
int config_dump(const Config *config, int (*fn)(const char *key, const char *value, const char *origin, void *userdata),
                void *userdata);

/* OpenTelemetry's name of a protocol: "grpc", "http/protobuf", "http/json". */
const char *config_protocol_name(ConfigProtocol protocol);

/* Is anything to be exported: enabled, and an endpoint? */
bool config_exports(const Config *config);

/* The state directory: @arg if given, else PODSPAN_STATE_DIR, else CONFIG_STATE_DIR. */
const char *config_state_dir(const char *arg);
/* The store directory: @arg if given, else PODSPAN_STORE_DIR, else CONFIG_STORE_DIR. */
const char *config_store_dir(const char *arg);
