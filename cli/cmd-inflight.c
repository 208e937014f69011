#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "cli.h"
#include "clk.h"
#include "context.h"
#include "table.h"
#include "text.h"

static const char help[] =
        "Usage: podspan inflight [--all]\n"
        "\n"
        "The CRI calls that run, or hang, right now, oldest first: from the context files alone, also when podspand\n"
        "is dead and there is no store.\n"
        "\n"
        "  -a, --all         also what a podspan-cri left behind that is no longer there (stale)\n"
        "\n" CLI_OPTIONS_HELP;

static int parse_argv(Cli *cli, bool *ret_all, int argc, char **argv) {
        static const struct option options[] = { CLI_OPTIONS, { "all", no_argument, NULL, 'a' }, {} };
        int c, r;

        while ((c = getopt_long(argc, argv, "ha", options, NULL)) >= 0) {
                r = cli_option(cli, c, help);
                if (r < 0)
                        return r;
                if (c == 'a')
                        *ret_all = true;
        }
        if (optind < argc) {
                (void) cli_usage("inflight takes no argument (\"%s\")", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

typedef struct Call {
        ContextRecord record;
        bool stale;
} Call;

typedef struct Calls {
        Call *calls;
        size_t n, n_allocated;
        bool all;
} Calls;

static int on_record(const char *name _unused_, const ContextRecord *record, void *userdata) {
        Calls *calls = userdata;
        bool stale = !context_writer_alive(record);

        if ((stale && !calls->all) || calls->n >= CONTEXT_LIVE_MAX)
                return 0;
        if (calls->n == calls->n_allocated) {
                size_t n = calls->n_allocated == 0 ? 16 : 2 * calls->n_allocated;
                Call *more = reallocarray(calls->calls, n, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                calls->calls = more;
                calls->n_allocated = n;
        }
        calls->calls[calls->n++] = (Call){ .record = *record, .stale = stale };
        return 0;
}

static int by_start(const void *a, const void *b) {
        uint64_t x = ((const Call *) a)->record.start_ns, y = ((const Call *) b)->record.start_ns;

        return x < y ? -1 : x > y;
}

static void print_call_json(Json *json, const Call *call, uint64_t now_ns) {
        const ContextRecord *record = &call->record;
        const Identity *identity = &record->identity;

        json_map(json);
        json_pair_str(json, "operation", record->operation);
        json_time(json, "start", record->start_ns);
        json_pair_u64(json, "age_ns", now_ns > record->start_ns ? now_ns - record->start_ns : 0);
        json_time(json, "deadline", record->deadline_ns);
        json_pair_bool(json, "stale", call->stale);
        json_pair_u64(json, "pid", record->pid);
        json_key(json, "trace_id");
        json_hex(json, record->trace.trace_id, sizeof(record->trace.trace_id));
        json_key(json, "span_id");
        json_hex(json, record->trace.span_id, sizeof(record->trace.span_id));
        json_pair_bool(json, "sampled", (record->trace.flags & TRACECONTEXT_SAMPLED) != 0);
        json_pair_known(json, "pod_uid", identity->pod_uid);
        json_pair_known(json, "pod_name", identity->pod_name);
        json_pair_known(json, "pod_namespace", identity->pod_namespace);
        json_pair_known(json, "sandbox_id", identity->sandbox_id);
        json_pair_known(json, "container_id", identity->container_id);
        json_pair_known(json, "container_name", identity->container_name);
        json_pair_known(json, "image", identity->image);
        json_pair_known(json, "runtime_handler", identity->runtime_handler);
        json_map_end(json);
}

static CliExit print_json(const Calls *calls, uint64_t now_ns) {
        _cleanup_(json_freep) Json *json = json_new(stdout);

        if (!json)
                return cli_failure("out of memory");
        json_map(json);
        json_key(json, "inflight");
        json_array(json);
        for (size_t i = 0; i < calls->n; i++)
                print_call_json(json, &calls->calls[i], now_ns);
        json_array_end(json);
        json_map_end(json);
        return cli_finish(json, CLI_OK);
}

enum { COLUMN_AGE, COLUMN_OPERATION, COLUMN_POD, COLUMN_CONTAINER, COLUMN_ID, COLUMN_LEFT, COLUMN_TRACE };

static void print_call(Table *table, const Call *call, uint64_t now_ns) {
        const ContextRecord *record = &call->record;
        const Identity *identity = &record->identity;
        const char *id = *identity->container_id ? identity->container_id : identity->sandbox_id;
        char age[TEXT_DURATION_MAX], left[TEXT_DURATION_MAX], trace[33];

        text_duration(now_ns > record->start_ns ? now_ns - record->start_ns : 0, age);
        util_hex_encode(record->trace.trace_id, sizeof(record->trace.trace_id), trace);

        table_line(table);
        table_cell(table, COLUMN_AGE, age, SCREEN_PLAIN);
        table_cellf(table, COLUMN_OPERATION, call->stale ? SCREEN_DIM : SCREEN_BOLD, "%s%s", record->operation,
                    call->stale ? " (stale)" : "");
        if (*identity->pod_name)
                table_cellf(table, COLUMN_POD, SCREEN_PLAIN, "%s%s%s", identity->pod_namespace,
                            *identity->pod_namespace ? "/" : "", identity->pod_name);
        else
                table_cell(table, COLUMN_POD, *identity->pod_uid ? identity->pod_uid : "-", SCREEN_PLAIN);
        table_cell(table, COLUMN_CONTAINER,
                   *identity->container_name ? identity->container_name
                   : *identity->image        ? identity->image
                                             : "-",
                   SCREEN_PLAIN);
        table_cellf(table, COLUMN_ID, SCREEN_PLAIN, "%.12s", *id ? id : "-");
        if (record->deadline_ns == 0)
                table_cell(table, COLUMN_LEFT, "-", SCREEN_PLAIN);
        else if (record->deadline_ns <= now_ns)
                table_cell(table, COLUMN_LEFT, "over", SCREEN_ERROR);
        else {
                text_duration(record->deadline_ns - now_ns, left);
                table_cell(table, COLUMN_LEFT, left, SCREEN_PLAIN);
        }
        table_cell(table, COLUMN_TRACE, trace, SCREEN_DIM);
}

static CliExit print_table(const Cli *cli, const Calls *calls, uint64_t now_ns) {
        static const TableColumn columns[] = {
                [COLUMN_AGE] = { "AGE", 8, SCOLS_FL_RIGHT },
                [COLUMN_OPERATION] = { "OPERATION", 16, 0 },
                [COLUMN_POD] = { "POD", 0.25, SCOLS_FL_TRUNC },
                [COLUMN_CONTAINER] = { "CONTAINER", 0.15, SCOLS_FL_TRUNC },
                [COLUMN_ID] = { "ID", 12, 0 },
                [COLUMN_LEFT] = { "LEFT", 8, SCOLS_FL_RIGHT },
                [COLUMN_TRACE] = { "TRACE", 32, SCOLS_FL_TRUNC },
        };
        _cleanup_(table_deinit) Table table = TABLE_NULL;
        int r;

        if (calls->n == 0) {
                puts("nothing in flight");
                return cli_finish(NULL, CLI_OK);
        }
        r = table_init(&table, &cli->screen, columns, ARRAY_SIZE(columns));
        if (r < 0)
                return cli_failure("%s", strerror(-r));
        for (size_t i = 0; i < calls->n; i++)
                print_call(&table, &calls->calls[i], now_ns);
        r = table_print(&table);
        if (r < 0)
                return cli_failure("%s", strerror(-r));
        return cli_finish(NULL, CLI_OK);
}

static int load(int state_fd, Calls *calls) {
        _cleanup_(context_deinit) Context context = CONTEXT_NULL;
        int r;

        r = context_init(&context, state_fd, false, COUNTERS_PROBE, NULL);
        if (r < 0)
                return r;
        return context_list(&context, CONTEXT_LIVE, on_record, calls);
}

CliExit cmd_inflight(Cli *cli, int argc, char **argv) {
        _cleanup_close_ int state_fd = -EBADF;
        _cleanup_free_ Call *owned = NULL;
        Calls calls = {};
        uint64_t now_ns;
        int r;

        r = parse_argv(cli, &calls.all, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);

        state_fd = cli_open_state(cli);
        if (state_fd < 0)
                return cli_failure("%s: %s%s", cli->state_dir, strerror(-state_fd),
                                   state_fd == -ENOENT ? ": is podspan-cri running?" : "");
        r = load(state_fd, &calls);
        owned = calls.calls;
        if (r < 0)
                return cli_failure("%s/context: %s", cli->state_dir, strerror(-r));

        if (calls.n > 0)
                qsort(calls.calls, calls.n, sizeof(*calls.calls), by_start);
        now_ns = clk_realtime();
        return cli->json ? print_json(&calls, now_ns) : print_table(cli, &calls, now_ns);
}
