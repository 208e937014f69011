#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "cli.h"
#include "otlpjson.h"
#include "trace.h"
#include "waterfall.h"

#define CANDIDATES_MAX 8
#define OTHERS_MAX     99 /* traces of the same pod that are counted */

static const char help[] =
        "Usage: podspan trace ID|POD\n"
        "\n"
        "One trace as a waterfall. ID is a trace id or its beginning (4 hex digits or more, as long as\n"
        "it is unique). POD is NAME, NAMESPACE/NAME or UID: the trace of the pod's newest start, or the\n"
        "newest that mentions it; kubelet starts containers behind an init container in a trace of their\n"
        "own, so that others of the pod are told of. --json prints the trace as OTLP/JSON, attributes included.\n"
        "\n" CLI_OPTIONS_HELP;

static int parse_argv(Cli *cli, const char **ret_what, int argc, char **argv) {
        static const struct option options[] = { CLI_OPTIONS, {} };
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                r = cli_option(cli, c, help);
                if (r < 0)
                        return r;
        }
        if (argc - optind != 1) {
                (void) cli_usage("trace takes one argument, a trace id or a pod; podspan traces lists them");
                return -EINVAL;
        }
        *ret_what = argv[optind];
        return 0;
}

/* @what as lower-case hex digits of a trace id, or false if it is something else. */
static bool as_prefix(const char *what, char ret[static 33]) {
        size_t len = strlen(what);

        if (len < STOREDB_PREFIX_MIN || len > 32)
                return false;
        for (size_t i = 0; i <= len; i++) {
                if (i < len && !isxdigit((unsigned char) what[i]))
                        return false;
                ret[i] = (char) tolower((unsigned char) what[i]);
        }
        return true;
}

static CliExit ambiguous(const char *what, uint8_t (*ids)[16], size_t n) {
        (void) cli_failure("\"%s\" is the beginning of %s traces:", what, n == CANDIDATES_MAX ? "many" : "several");
        for (size_t i = 0; i < n; i++) {
                char id[33];

                util_hex_encode(ids[i], 16, id);
                fprintf(stderr, "  %s\n", id);
        }
        return CLI_FAILURE;
}

/* Finds the trace that @what names. Returns CLI_OK, or the exit code after having told. */
static CliExit resolve(StoreDb *db, const char *what, uint8_t ret[static 16], bool *ret_is_pod) {
        uint8_t ids[CANDIDATES_MAX][16];
        char prefix[33];
        int r;

        if (as_prefix(what, prefix)) {
                r = storedb_by_prefix(db, prefix, strlen(prefix), CANDIDATES_MAX, ids);
                if (r < 0)
                        return cli_failure("store: %s", storedb_error(db));
                if (r > 1)
                        return ambiguous(what, ids, (size_t) r);
                if (r == 1) {
                        memcpy(ret, ids[0], 16);
                        *ret_is_pod = false;
                        return CLI_OK;
                }
        }

        r = storedb_by_pod(db, what, ret);
        if (r == -ENOENT)
                return cli_nothing("no trace or pod \"%s\" in the store", what);
        if (r < 0)
                return cli_failure("store: %s", storedb_error(db));
        *ret_is_pod = true;
        return CLI_OK;
}

typedef struct Others {
        const uint8_t *trace_id;
        unsigned n;
} Others;

static int on_other(const StoreDbTrace *trace, void *userdata) {
        Others *others = userdata;

        if (memcmp(trace->trace_id, others->trace_id, sizeof(trace->trace_id)) != 0)
                others->n++;
        return 0;
}

/* What else there is of the pod: what follows an init container, restarts, stops. */
static CliExit tell_others(StoreDb *db, const char *pod, const uint8_t trace_id[static 16]) {
        StoreDbFilter filter = { .pod = pod, .limit = OTHERS_MAX + 1 };
        Others others = { .trace_id = trace_id };

        if (storedb_traces(db, &filter, on_other, &others) < 0)
                return cli_failure("store: %s", storedb_error(db));
        if (others.n > 0)
                (void) printf("\nThe pod has %u%s other trace%s: podspan traces --pod %s\n", others.n,
                              others.n >= OTHERS_MAX ? " or more" : "", others.n == 1 ? "" : "s", pod);
        return CLI_OK;
}

typedef struct JsonTrace {
        Json *json;
        StoreDb *db;
        const uint8_t *trace_id;
        int64_t batch;
        uint64_t n_unreadable;
        const Podspan__Otlp__Span *last;
        int error;
} JsonTrace;

/* A span that is in several batches is printed from the last one. */
static bool wanted(const Podspan__Otlp__Span *span, void *userdata) {
        JsonTrace *trace = userdata;
        int r;

        if (span->trace_id.len != 16 || span->span_id.len != 8 || memcmp(span->trace_id.data, trace->trace_id, 16) != 0)
                return false;
        r = storedb_is_latest(trace->db, trace->trace_id, span->span_id.data, trace->batch);
        if (r < 0)
                trace->error = r;
        return r > 0;
}

static int on_batch(int64_t batch, const uint8_t *data, size_t len, void *userdata) {
        _cleanup_otlpjson_ Podspan__Otlp__TracesData *message = NULL;
        JsonTrace *trace = userdata;

        if (otlpjson_unpack(data, len, &message) < 0) {
                trace->n_unreadable++;
                return 0;
        }
        trace->batch = batch;
        otlpjson_resource_spans(trace->json, message, wanted, trace);
        return trace->error;
}

static CliExit print_json(StoreDb *db, const uint8_t trace_id[static 16], Json *json) {
        JsonTrace trace = { .json = json, .db = db, .trace_id = trace_id };
        int r;

        json_key(json, "resourceSpans");
        json_array(json);
        r = storedb_batches(db, trace_id, on_batch, &trace);
        json_array_end(json);
        if (r < 0)
                return cli_failure("store: %s", storedb_error(db));
        if (trace.n_unreadable > 0)
                return cli_failure("%" PRIu64 " batches of the trace could not be read", trace.n_unreadable);
        return CLI_OK;
}

CliExit cmd_trace_print(Cli *cli, StoreDb *db, const uint8_t trace_id[static 16], Json *json) {
        _cleanup_(trace_deinit) Trace trace = TRACE_NULL;
        int r;

        if (json)
                return print_json(db, trace_id, json);

        r = trace_load(db, trace_id, &trace);
        if (r == -ENOENT)
                return cli_nothing("the trace is no longer in the store");
        if (r == -ENOMEM)
                return cli_failure("out of memory");
        if (r < 0)
                return cli_failure("store: %s", storedb_error(db));
        r = waterfall_print(stdout, &cli->screen, &trace);
        if (r < 0)
                return cli_failure("%s", strerror(-r));
        return CLI_OK;
}

CliExit cmd_trace(Cli *cli, int argc, char **argv) {
        _cleanup_(storedb_freep) StoreDb *db = NULL;
        _cleanup_close_ int state_fd = -EBADF;
        _cleanup_(json_freep) Json *json = NULL;
        const char *what = NULL;
        uint8_t trace_id[16];
        bool is_pod = false;
        CliExit code;
        int r;

        r = parse_argv(cli, &what, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);

        r = cli_open_store(cli, &db);
        if (r < 0)
                return CLI_FAILURE;
        state_fd = cli_open_state(cli);
        /* Without them the end of a container is decided a moment later. */
        (void) storedb_add_stops(db, state_fd);
        code = resolve(db, what, trace_id, &is_pod);
        if (code != CLI_OK)
                return code;

        if (cli->json) {
                json = json_new(stdout);
                if (!json)
                        return cli_failure("out of memory");
                json_map(json);
        }
        code = cmd_trace_print(cli, db, trace_id, json);
        if (code == CLI_OK && is_pod && !json)
                code = tell_others(db, what, trace_id);
        if (json)
                json_map_end(json);
        return cli_finish(json, code);
}
