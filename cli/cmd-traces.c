#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "cli.h"
#include "clk.h"
#include "table.h"
#include "text.h"

#define LIMIT_DEFAULT 20
#define LIMIT_MAX     100000
#define SHORT_ID      12 /* digits of a container's id, as podman and docker print it */

enum {
        ARG_SINCE = CLI_ARG_OWN,
        ARG_UNTIL,
        ARG_POD,
        ARG_CONTAINER,
        ARG_NAMESPACE,
        ARG_SERVICE,
        ARG_NAME,
        ARG_ERRORS,
        ARG_SLOWER_THAN,
};

static const char help[] =
        "Usage: podspan traces [OPTION]...\n"
        "\n"
        "The newest traces of this node's store.\n"
        "\n"
        "  --since TIME            that began at TIME or later: 1h30m (ago), today, yesterday, @EPOCH,\n"
        "                          2026-11-21[ 10:30[:15]][Z]\n"
        "  --until TIME            that began before TIME\n"
        "  --pod POD               of the pod NAME, NAMESPACE/NAME or UID\n"
        "  --namespace NAMESPACE   of a pod in this namespace\n"
        "  --container NAME        of the container, by name or by its id (12 digits or more)\n"
        "  --service SERVICE       with a span of this service (podspan-cri, containerd, kubelet ...)\n"
        "  --name TEXT             with a span whose name contains TEXT\n"
        "  --errors                with a failed span: a call whose code is not OK, a command, a container that\n"
        "                          nobody stopped\n"
        "  --slower-than DURATION  that took longer: 500ms, 2s, 1m30s\n"
        "  -n, --limit N           at most N of them; 20 unless given\n"
        "\n" CLI_OPTIONS_HELP;

static int parse_argv(Cli *cli, StoreDbFilter *filter, int argc, char **argv) {
        static const struct option options[] = {
                CLI_OPTIONS,
                { "since", required_argument, NULL, ARG_SINCE },
                { "until", required_argument, NULL, ARG_UNTIL },
                { "pod", required_argument, NULL, ARG_POD },
                { "container", required_argument, NULL, ARG_CONTAINER },
                { "namespace", required_argument, NULL, ARG_NAMESPACE },
                { "service", required_argument, NULL, ARG_SERVICE },
                { "name", required_argument, NULL, ARG_NAME },
                { "errors", no_argument, NULL, ARG_ERRORS },
                { "slower-than", required_argument, NULL, ARG_SLOWER_THAN },
                { "limit", required_argument, NULL, 'n' },
                {},
        };
        uint64_t n;
        int c, r;

        while ((c = getopt_long(argc, argv, "hn:", options, NULL)) >= 0) {
                r = cli_option(cli, c, help);
                if (r < 0)
                        return r;
                switch (c) {
                case ARG_SINCE:
                case ARG_UNTIL:
                        r = text_parse_time(optarg, clk_realtime(),
                                            c == ARG_SINCE ? &filter->since_ns : &filter->until_ns);
                        if (r < 0) {
                                (void) cli_usage("\"%s\" is no time; write 1h, today, @1763719200 or 2026-11-21 10:30",
                                                 optarg);
                                return r;
                        }
                        break;
                case ARG_POD:
                        filter->pod = optarg;
                        break;
                case ARG_CONTAINER:
                        filter->container = optarg;
                        break;
                case ARG_NAMESPACE:
                        filter->namespace = optarg;
                        break;
                case ARG_SERVICE:
                        filter->service = optarg;
                        break;
                case ARG_NAME:
                        filter->name = optarg;
                        break;
                case ARG_ERRORS:
                        filter->errors = true;
                        break;
                case ARG_SLOWER_THAN:
                        r = util_parse_duration(optarg, strlen(optarg), &filter->slower_than_ns);
                        if (r < 0) {
                                (void) cli_usage("\"%s\" is no duration; write 500ms, 2s or 1m30s", optarg);
                                return -EINVAL;
                        }
                        break;
                case 'n':
                        if (util_parse_u64(optarg, strlen(optarg), &n) < 0 || n == 0 || n > LIMIT_MAX) {
                                (void) cli_usage("the limit is a number from 1 to %d, not \"%s\"", LIMIT_MAX, optarg);
                                return -EINVAL;
                        }
                        filter->limit = (unsigned) n;
                        break;
                default:
                        break;
                }
        }
        if (optind < argc) {
                (void) cli_usage("traces takes no argument (\"%s\"); to see one trace: podspan trace ID", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

static const char *trace_status(const StoreDbTrace *trace) {
        return trace->n_errors > 0 ? "error" : "ok";
}

typedef struct JsonTraces {
        Json *json;
        bool any;
} JsonTraces;

static int on_trace_json(const StoreDbTrace *trace, void *userdata) {
        JsonTraces *traces = userdata;
        Json *json = traces->json;

        traces->any = true;
        json_map(json);
        json_key(json, "trace_id");
        json_hex(json, trace->trace_id, sizeof(trace->trace_id));
        json_time(json, "start", trace->start_ns);
        json_pair_u64(json, "duration_ns", trace->end_ns > trace->start_ns ? trace->end_ns - trace->start_ns : 0);
        json_pair_u64(json, "spans", trace->n_spans);
        json_pair_u64(json, "errors", trace->n_errors);
        json_pair_u64(json, "services", trace->n_services);
        json_pair_str(json, "status", trace_status(trace));
        json_pair_known(json, "why", trace->why);
        json_pair_str(json, "operation", trace->operation);
        json_pair_str(json, "service", trace->service);
        json_pair_known(json, "pod_uid", trace->pod_uid);
        json_pair_known(json, "pod_name", trace->pod_name);
        json_pair_known(json, "pod_namespace", trace->pod_namespace);
        json_pair_known(json, "container_id", trace->container_id);
        json_pair_known(json, "container_name", trace->container_name);
        json_pair_known(json, "kept", trace->kept);
        json_map_end(json);
        return 0;
}

enum {
        COLUMN_START,
        COLUMN_DURATION,
        COLUMN_SPANS,
        COLUMN_STATUS,
        COLUMN_POD,
        COLUMN_OPERATION,
        COLUMN_TRACE,
        COLUMN_WHY
};

static int on_trace_table(const StoreDbTrace *trace, void *userdata) {
        Table *table = userdata;
        char time[TEXT_TIME_MAX], duration[TEXT_DURATION_MAX], id[33];

        text_time(trace->start_ns, false, time);
        text_duration(trace->end_ns > trace->start_ns ? trace->end_ns - trace->start_ns : 0, duration);
        util_hex_encode(trace->trace_id, sizeof(trace->trace_id), id);

        table_line(table);
        table_cell(table, COLUMN_START, time, SCREEN_PLAIN);
        table_cell(table, COLUMN_DURATION, duration, SCREEN_PLAIN);
        table_cellf(table, COLUMN_SPANS, SCREEN_PLAIN, "%" PRIu64, trace->n_spans);
        table_cell(table, COLUMN_STATUS, trace_status(trace), trace->n_errors > 0 ? SCREEN_ERROR : SCREEN_GOOD);
        if (*trace->pod_name)
                table_cellf(table, COLUMN_POD, SCREEN_BOLD, "%s%s%s", trace->pod_namespace,
                            *trace->pod_namespace ? "/" : "", trace->pod_name);
        else if (*trace->pod_uid)
                table_cell(table, COLUMN_POD, trace->pod_uid, SCREEN_PLAIN);
        else if (*trace->container_name)
                table_cellf(table, COLUMN_POD, SCREEN_PLAIN, "container %s", trace->container_name);
        else if (*trace->container_id)
                table_cellf(table, COLUMN_POD, SCREEN_PLAIN, "container %.*s", SHORT_ID, trace->container_id);
        else
                table_cell(table, COLUMN_POD, "-", SCREEN_PLAIN);
        table_cell(table, COLUMN_OPERATION, text_span_name(trace->operation), SCREEN_PLAIN);
        table_cell(table, COLUMN_TRACE, id, SCREEN_DIM);
        table_cell(table, COLUMN_WHY, trace->why, SCREEN_ERROR);
        return table->error;
}

static CliExit print_json(StoreDb *db, const StoreDbFilter *filter) {
        _cleanup_(json_freep) Json *json = json_new(stdout);
        JsonTraces traces = { .json = json };
        int r;

        if (!json)
                return cli_failure("out of memory");
        json_map(json);
        json_key(json, "traces");
        json_array(json);
        r = storedb_traces(db, filter, on_trace_json, &traces);
        if (r < 0)
                return cli_failure("store: %s", storedb_error(db));
        json_array_end(json);
        json_map_end(json);
        return cli_finish(json, traces.any ? CLI_OK : CLI_NOTHING);
}

static CliExit print_table(const Cli *cli, StoreDb *db, const StoreDbFilter *filter) {
        static const TableColumn columns[] = {
                [COLUMN_START] = { "START", 23, 0 },
                [COLUMN_DURATION] = { "DURATION", 8, SCOLS_FL_RIGHT },
                [COLUMN_SPANS] = { "SPANS", 5, SCOLS_FL_RIGHT },
                [COLUMN_STATUS] = { "STATUS", 6, 0 },
                [COLUMN_POD] = { "POD", 0.3, SCOLS_FL_TRUNC },
                [COLUMN_OPERATION] = { "OPERATION", 0.2, SCOLS_FL_TRUNC },
                [COLUMN_TRACE] = { "TRACE", 32, 0 },
                [COLUMN_WHY] = { "WHY", 0.2, SCOLS_FL_TRUNC },
        };
        _cleanup_(table_deinit) Table table = TABLE_NULL;
        int r;

        r = table_init(&table, &cli->screen, columns, ARRAY_SIZE(columns));
        if (r < 0)
                return cli_failure("%s", strerror(-r));
        r = storedb_traces(db, filter, on_trace_table, &table);
        if (r < 0)
                return table.error < 0 ? cli_failure("%s", strerror(-r)) : cli_failure("store: %s", storedb_error(db));
        if (!table.line)
                return cli_nothing("no trace found");
        r = table_print(&table);
        if (r < 0)
                return cli_failure("%s", strerror(-r));
        return cli_finish(NULL, CLI_OK);
}

CliExit cmd_traces(Cli *cli, int argc, char **argv) {
        _cleanup_(storedb_freep) StoreDb *db = NULL;
        _cleanup_close_ int state_fd = -EBADF;
        StoreDbFilter filter = { .limit = LIMIT_DEFAULT };
        int r;

        r = parse_argv(cli, &filter, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);

        r = cli_open_store(cli, &db);
        if (r < 0)
                return CLI_FAILURE;
        state_fd = cli_open_state(cli);
        /* Without them the end of a container is decided a moment later. */
        (void) storedb_add_stops(db, state_fd);
        return cli->json ? print_json(db, &filter) : print_table(cli, db, &filter);
}
