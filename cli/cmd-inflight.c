#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "chainview.h"
#include "cli.h"
#include "clk.h"
#include "text.h"

#define WATCH_NS (2 * NSEC_PER_SEC)

static const char help[] = "Usage: podspan inflight [--all] [--no-leaf] [--watch]\n"
                           "\n"
                           "The CRI calls that run, or hang, right now, oldest first, and below each the process that "
                           "the others wait for,\n"
                           "with what that one waits for. From the context files and /proc alone: also when podspan, "
                           "kubelet and the runtime\n"
                           "are stopped or dead. Without podspan-cri: what runs for each pod, without calls.\n"
                           "\n"
                           "  -a, --all         also what a podspan-cri left behind that is no longer there (stale)\n"
                           "      --no-leaf     only the calls: no process is looked at\n"
                           "  -w, --watch       again every two seconds\n"
                           "\n" CLI_OPTIONS_HELP;

enum { ARG_NO_LEAF = CLI_ARG_OWN };

typedef struct Asked {
        bool all;
        bool no_leaf;
        bool watch;
} Asked;

static int parse_argv(Cli *cli, Asked *ret, int argc, char **argv) {
        static const struct option options[] = { CLI_OPTIONS,
                                                 { "all", no_argument, NULL, 'a' },
                                                 { "no-leaf", no_argument, NULL, ARG_NO_LEAF },
                                                 { "watch", no_argument, NULL, 'w' },
                                                 {} };
        int c, r;

        while ((c = getopt_long(argc, argv, "haw", options, NULL)) >= 0) {
                r = cli_option(cli, c, help);
                if (r < 0)
                        return r;
                if (c == 'a')
                        ret->all = true;
                else if (c == ARG_NO_LEAF)
                        ret->no_leaf = true;
                else if (c == 'w')
                        ret->watch = true;
        }
        if (optind < argc) {
                (void) cli_usage("inflight takes no argument (\"%s\")", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

static void print_call_json(Json *json, const Chains *chains, const Chain *chain, bool no_leaf) {
        const ContextRecord *record = &chain->call;
        const Identity *identity = &chain->identity;

        json_map(json);
        json_pair_bool(json, "call", chain->has_call);
        json_pair_str(json, "operation", chain->has_call ? record->operation : *chain->guess ? chain->guess : NULL);
        json_time(json, "start",
                  chain->has_call ? record->start_ns : chains->now_ns - MIN(chain->age_ns, chains->now_ns));
        json_pair_u64(json, "age_ns", chain->age_ns);
        json_time(json, "deadline", record->deadline_ns);
        json_pair_bool(json, "stale", chain->stale);
        if (chain->has_call) {
                json_pair_u64(json, "pid", record->pid);
                json_key(json, "trace_id");
                json_hex(json, record->trace.trace_id, sizeof(record->trace.trace_id));
                json_key(json, "span_id");
                json_hex(json, record->trace.span_id, sizeof(record->trace.span_id));
                json_pair_bool(json, "sampled", (record->trace.flags & TRACECONTEXT_SAMPLED) != 0);
        }
        json_pair_known(json, "pod_uid", identity->pod_uid);
        json_pair_known(json, "pod_name", identity->pod_name);
        json_pair_known(json, "pod_namespace", identity->pod_namespace);
        json_pair_known(json, "sandbox_id", identity->sandbox_id);
        json_pair_known(json, "container_id", identity->container_id);
        json_pair_known(json, "container_name", identity->container_name);
        json_pair_known(json, "image", identity->image);
        json_pair_known(json, "runtime_handler", identity->runtime_handler);
        if (!no_leaf)
                chainview_json_chain(json, chains, chain);
        json_map_end(json);
}

static CliExit print_json(const Chains *chains, bool no_leaf) {
        _cleanup_(json_freep) Json *json = json_new(stdout);

        if (!json)
                return cli_failure("out of memory");
        json_map(json);
        json_key(json, "inflight");
        json_array(json);
        for (size_t i = 0; i < chains->n; i++)
                print_call_json(json, chains, &chains->chains[i], no_leaf);
        json_array_end(json);
        if (!no_leaf)
                chainview_json_rest(json, chains);
        json_map_end(json);
        return cli_finish(json, CLI_OK);
}

/* Columns from the left; those on the right are left out where the screen has no room for them. */
enum { COLUMN_AGE, COLUMN_OPERATION, COLUMN_POD, COLUMN_LEFT, COLUMN_CONTAINER, COLUMN_ID, COLUMN_TRACE, _COLUMN_MAX };

#define CELL_MAX          600
#define GAP               2
#define POD_MAX           64 /* columns of a pod's name where the screen has them */
#define POD_MIN           20
#define BEFORE_LEAF       "          \xe2\x94\x94\xe2\x94\x80 "
#define BEFORE_LEAF_ASCII "          `- "

typedef char Row[_COLUMN_MAX][CELL_MAX];

static const char *const titles[_COLUMN_MAX] = { "AGE", "OPERATION", "POD", "LEFT", "CONTAINER", "ID", "TRACE" };

static void fill(const Cli *cli, const Chains *chains, const Chain *chain, Row row) {
        const ContextRecord *record = &chain->call;
        const Identity *identity = &chain->identity;
        const char *id = *identity->container_id ? identity->container_id : identity->sandbox_id,
                   *container = *identity->container_name ? identity->container_name
                                : *identity->image        ? identity->image
                                                          : "-";
        char text[CELL_MAX], trace[33] = "-";

        text_duration(chain->age_ns, text);
        memcpy(row[COLUMN_AGE], text, TEXT_DURATION_MAX);
        if (chain->has_call)
                (void) snprintf(text, sizeof(text), "%s%s", record->operation, chain->stale ? " (stale)" : "");
        else
                (void) snprintf(text, sizeof(text), "%s", *chain->guess ? chain->guess : "no call");
        text_safe(row[COLUMN_OPERATION], CELL_MAX, text, strlen(text), cli->screen.utf8);
        chainview_pod(identity, text, sizeof(text));
        text_safe(row[COLUMN_POD], CELL_MAX, text, strlen(text), cli->screen.utf8);
        text_safe(row[COLUMN_CONTAINER], CELL_MAX, container, strlen(container), cli->screen.utf8);
        (void) snprintf(text, sizeof(text), "%.12s", *id ? id : "-");
        text_safe(row[COLUMN_ID], CELL_MAX, text, strlen(text), cli->screen.utf8);
        if (!chain->has_call || record->deadline_ns == 0)
                (void) strcpy(row[COLUMN_LEFT], "-");
        else if (record->deadline_ns <= chains->now_ns)
                (void) strcpy(row[COLUMN_LEFT], "over");
        else {
                text_duration(record->deadline_ns - chains->now_ns, text);
                memcpy(row[COLUMN_LEFT], text, TEXT_DURATION_MAX);
        }
        if (chain->has_call)
                util_hex_encode(record->trace.trace_id, sizeof(record->trace.trace_id), trace);
        memcpy(row[COLUMN_TRACE], trace, sizeof(trace));
}

/* Cuts a pod's name so that the pod stays readable: first the namespace goes. */
static void fit_pod(char *cell, size_t columns, bool utf8) {
        char fitted[CELL_MAX];
        const char *slash = strchr(cell, '/');

        if (text_width(cell) > columns && slash)
                memmove(cell, slash + 1, strlen(slash + 1) + 1);
        text_fit(fitted, sizeof(fitted), cell, columns, utf8);
        memcpy(cell, fitted, sizeof(fitted));
}

/* How wide each column is; 0: it is not shown. */
static void measure(const Cli *cli, const Row *rows, size_t n, size_t ret[static _COLUMN_MAX]) {
        size_t used = 0, rest = 0;

        for (size_t c = 0; c < _COLUMN_MAX; c++) {
                ret[c] = strlen(titles[c]);
                for (size_t i = 0; i < n; i++)
                        ret[c] = MAX(ret[c], text_width(rows[i][c]));
        }
        if (cli->screen.width == 0)
                return;
        for (size_t c = 0; c <= COLUMN_LEFT; c++)
                rest += c == COLUMN_POD ? 0 : ret[c] + GAP;
        ret[COLUMN_POD] = MIN(ret[COLUMN_POD], (size_t) POD_MAX);
        if (rest + ret[COLUMN_POD] > cli->screen.width)
                ret[COLUMN_POD] = cli->screen.width > rest + POD_MIN ? cli->screen.width - rest : POD_MIN;
        for (size_t c = 0; c < _COLUMN_MAX; c++) {
                if (used + ret[c] > cli->screen.width && c > COLUMN_LEFT)
                        ret[c] = 0;
                else
                        used += ret[c] + GAP;
        }
}

static void print_row(const Cli *cli, const size_t *widths, Row row, const Chain *chain) {
        for (size_t c = 0; c < _COLUMN_MAX; c++) {
                ScreenStyle style = !chain                  ? SCREEN_DIM
                                    : c == COLUMN_OPERATION ? chain->stale ? SCREEN_DIM : SCREEN_BOLD
                                    : c == COLUMN_TRACE     ? SCREEN_DIM
                                    : c == COLUMN_LEFT && strcmp(row[COLUMN_LEFT], "over") == 0 ? SCREEN_ERROR
                                                                                                : SCREEN_PLAIN;
                size_t width;

                if (widths[c] == 0)
                        continue;
                if (c == COLUMN_POD)
                        fit_pod(row[c], widths[c], cli->screen.utf8);
                width = text_width(row[c]);
                printf("%s%*s%s%s%s%*s", c == 0 ? "" : "  ",
                       c == COLUMN_AGE && width < widths[c] ? (int) (widths[c] - width) : 0, "",
                       screen_style(&cli->screen, style), row[c], screen_style(&cli->screen, SCREEN_PLAIN),
                       c != COLUMN_AGE && c + 1 < _COLUMN_MAX && width < widths[c] ? (int) (widths[c] - width) : 0, "");
        }
        putchar('\n');
}

static CliExit print_text(const Cli *cli, const Chains *chains, bool no_leaf) {
        _cleanup_free_ Row *rows = calloc(chains->n + 1, sizeof(*rows));
        size_t widths[_COLUMN_MAX];
        char words[CHAIN_TEXT_MAX];

        if (!rows)
                return cli_failure("out of memory");
        if (chains->n == 0)
                puts("nothing in flight");
        else {
                for (size_t i = 0; i < chains->n; i++)
                        fill(cli, chains, &chains->chains[i], rows[i]);
                measure(cli, rows, chains->n, widths);
                for (size_t c = 0; c < _COLUMN_MAX; c++)
                        (void) strcpy(rows[chains->n][c], titles[c]);
                print_row(cli, widths, rows[chains->n], NULL);
        }
        for (size_t i = 0; i < chains->n; i++) {
                print_row(cli, widths, rows[i], &chains->chains[i]);
                if (no_leaf)
                        continue;
                chain_words(&chains->chains[i], words);
                chainview_wrap(&cli->screen, cli->screen.utf8 ? BEFORE_LEAF : BEFORE_LEAF_ASCII, words, SCREEN_PLAIN);
        }
        if (!no_leaf)
                chainview_stuck(&cli->screen, chains);
        return cli_finish(NULL, CLI_OK);
}

static CliExit show(const Cli *cli, const Asked *asked) {
        _cleanup_close_ int state_fd = cli_open_state(cli);
        ChainOptions options = { .state_fd = state_fd, .all = asked->all, .no_leaf = asked->no_leaf };
        _cleanup_(chain_deinit) Chains chains = CHAINS_NULL;
        int r;

        if (state_fd < 0 && asked->no_leaf)
                return cli_failure("%s: %s%s", cli->state_dir, strerror(-state_fd),
                                   state_fd == -ENOENT ? ": is podspan-cri running?" : "");
        r = chain_run(&options, &chains);
        if (r < 0)
                return cli_failure("%s/context, /proc: %s", cli->state_dir, strerror(-r));
        return cli->json ? print_json(&chains, asked->no_leaf) : print_text(cli, &chains, asked->no_leaf);
}

CliExit cmd_inflight(Cli *cli, int argc, char **argv) {
        Asked asked = {};
        CliExit result;
        int r;

        r = parse_argv(cli, &asked, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);

        for (;;) {
                if (asked.watch && cli->screen.terminal && !cli->json)
                        fputs("\x1b[H\x1b[2J", stdout);
                result = show(cli, &asked);
                if (!asked.watch || result != CLI_OK)
                        return result;
                (void) usleep(WATCH_NS / NSEC_PER_USEC);
        }
}
