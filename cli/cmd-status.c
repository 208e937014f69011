#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "status.h"
#include "storeschema.h"
#include "table.h"
#include "text.h"

static const char help[] =
        "Usage: podspan status\n"
        "\n"
        "What became of every span: exported, kept here alone, pending, dropped and why; how far the export is "
        "behind;\n"
        "the store; which of podspan's programs run, and a bypass; and the CRI calls that are counted instead of\n"
        "becoming spans. Works without any of the daemons.\n"
        "\n" CLI_OPTIONS_HELP;

static int parse_argv(Cli *cli, int argc, char **argv) {
        static const struct option options[] = { CLI_OPTIONS, {} };
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                r = cli_option(cli, c, help);
                if (r < 0)
                        return r;
        }
        if (optind < argc) {
                (void) cli_usage("status takes no argument (\"%s\")", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

static const CountersId drops[] = {
        COUNTERS_DROP_NO_SPACE,  COUNTERS_DROP_NO_MEMORY,     COUNTERS_DROP_TOO_LARGE,
        COUNTERS_DROP_IO,        COUNTERS_DROP_OVERLOAD,      COUNTERS_AGENT_DROP_STORE_FULL,
        COUNTERS_AGENT_REJECTED, COUNTERS_AGENT_DROP_REFUSED, COUNTERS_AGENT_DROP_RETENTION,
};

/* What a producer could not put into the spool: podspand never saw it. */
static const CountersId losses[] = {
        COUNTERS_DROP_NO_SPACE, COUNTERS_DROP_NO_MEMORY, COUNTERS_DROP_TOO_LARGE,
        COUNTERS_DROP_IO,       COUNTERS_DROP_OVERLOAD,
};

static uint64_t sum_of(const Status *status, CountersId id) {
        uint64_t sum = 0;

        for (unsigned p = 0; p < _COUNTERS_PRODUCER_MAX; p++)
                sum += status->counters[p][id];
        return sum;
}

static uint64_t lost(const Status *status) {
        uint64_t sum = 0;

        for (size_t i = 0; i < ARRAY_SIZE(losses); i++)
                for (unsigned p = 0; p < _COUNTERS_PRODUCER_MAX; p++)
                        if (p != COUNTERS_AGENT)
                                sum += status->counters[p][losses[i]];
        return sum;
}

/* What the ledger does not explain: 0, or podspand is wrong. */
static int64_t unexplained(const Status *status) {
        const StoreDbLedger *ledger = &status->store.ledger;

        return ledger->in - ledger->exported - ledger->local -
               (int64_t) status->store.n_spans[STORESCHEMA_STATE_PENDING] - storedb_dropped(ledger);
}

/* Of the ledger's drops, each with its name in JSON and for people. */
typedef struct Drop {
        const char *key;
        const char *text;
        int64_t n;
} Drop;

#define DROPS_MAX 6

static void list_drops(const StoreDbLedger *ledger, Drop ret[static DROPS_MAX]) {
        const Drop list[DROPS_MAX] = {
                { "rejected", "rejected by the collector", ledger->rejected },
                { "refused", "refused by the collector", ledger->refused },
                { "retention", "removed by the store's bounds before they were exported", ledger->retention },
                { "too_large", "too large", ledger->too_large },
                { "invalid", "invalid", ledger->invalid },
                { "store_full", "not stored, the disk was too full", ledger->store_full },
        };

        memcpy(ret, list, sizeof(list));
}

static bool watch_restarts(const Status *status) {
        return status->watch.kind == WATCHSTATE_FAILED || status->watch.kind == WATCHSTATE_DIED;
}

/* podspan-watch's state, in a word. */
static const char *watch_name(const Status *status) {
        if (status->watch_error == -ENOENT)
                return "not started";
        if (status->watch_error < 0)
                return "unknown";
        if (watch_restarts(status))
                return "restarting";
        return status->watch.kind == WATCHSTATE_STALE ? "not started" : watchstate_kind_name(status->watch.kind);
}

static const char *const bypass_names[] = { [BYPASS_ABSENT] = "absent", [BYPASS_OFF] = "off", [BYPASS_ON] = "on" };

/* The path that matters: a bypass goes before a socket, a socket before what cannot be seen. */
static const StatusPath *main_path(const Status *status) {
        const StatusPath *best = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(status->paths); i++) {
                const StatusPath *path = &status->paths[i];

                if (path->path &&
                    (!best || (best->error < 0 && path->error == 0) || (path->error == 0 && path->state > best->state)))
                        best = path;
        }
        return best;
}

static bool is_drop(CountersId id) {
        for (size_t i = 0; i < ARRAY_SIZE(drops); i++)
                if (drops[i] == id)
                        return true;
        return false;
}

static const char *alive_name(StatusAlive alive) {
        static const char *const names[] = {
                [STATUS_UNKNOWN] = "unknown", [STATUS_DEAD] = "not running", [STATUS_ALIVE] = "running"
        };

        return names[alive];
}

/* That nobody was seen does not say that nobody is there: podspan-cri listens where it is told to. */
static const char *seen_name(StatusAlive alive) {
        return alive == STATUS_DEAD ? "not seen" : alive_name(alive);
}

static uint64_t since(const Status *status, uint64_t ns) {
        return ns > 0 && status->now_ns > ns ? status->now_ns - ns : 0;
}

/* Everything below prints one document. */

static void json_store(Json *json, const Cli *cli, const Status *status) {
        static const char *const states[] = {
                [STORESCHEMA_STATE_LOCAL] = "local",
                [STORESCHEMA_STATE_PENDING] = "pending",
                [STORESCHEMA_STATE_EXPORTED] = "exported",
                [STORESCHEMA_STATE_REFUSED] = "refused",
        };
        const StoreDbStats *store = &status->store;

        json_key(json, "store");
        json_map(json);
        json_pair_str(json, "directory", cli->store_dir);
        json_pair_bool(json, "readable", status->store_known);
        if (!status->store_known)
                json_pair_str(json, "error", status->store_error);
        if (status->config_known) {
                json_pair_u64(json, "max_size", status->config.store_max_size);
                json_pair_u64(json, "max_age_ns", status->config.store_max_age_ns);
                json_pair_u64(json, "min_free_percent", status->config.store_min_free_percent);
        }
        if (status->store_known) {
                json_pair_u64(json, "size", store->file_bytes);
                json_time(json, "oldest", store->oldest_ns);
                json_time(json, "newest", store->newest_ns);
                json_pair_u64(json, "kept_traces", store->n_kept);
                for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
                        json_key(json, states[i]);
                        json_map(json);
                        json_pair_u64(json, "batches", store->n_batches[i]);
                        json_pair_u64(json, "spans", store->n_spans[i]);
                        json_pair_u64(json, "bytes", store->n_bytes[i]);
                        json_map_end(json);
                }
                json_key(json, "meta");
                json_array(json);
                for (size_t i = 0; i < status->n_meta; i++) {
                        json_map(json);
                        json_pair_str(json, "key", status->meta[i].key);
                        json_pair_str(json, "value", status->meta[i].value);
                        json_map_end(json);
                }
                json_array_end(json);
        }
        json_map_end(json);
}

static void json_export(Json *json, const Status *status) {
        json_key(json, "export");
        json_map(json);
        json_pair_str(json, "endpoint",
                      status_meta(status, "endpoint") ? status_meta(status, "endpoint")
                      : status->config_known          ? status->config.tracing_endpoint
                                                      : NULL);
        json_pair_bool(json, "enabled", status->config_known && config_exports(&status->config));
        json_pair_u64(json, "pending_spans", status->store.n_spans[STORESCHEMA_STATE_PENDING]);
        json_pair_u64(json, "lag_ns", since(status, status->store.oldest_pending_ns));
        json_time(json, "last_ok", status_meta_u64(status, "last_export_ok_ns"));
        json_time(json, "last_error", status_meta_u64(status, "last_export_error_ns"));
        json_pair_str(json, "last_error_message", status_meta(status, "last_export_error"));
        json_map_end(json);
}

static void json_cell(Json *json, const char *key, const TallyCell *cell) {
        json_key(json, key);
        json_map(json);
        json_pair_u64(json, "calls", cell->n);
        json_pair_u64(json, "failed", cell->n_failed);
        json_pair_u64(json, "slow", cell->n_slow);
        json_pair_u64(json, "mean_ns", cell->n > 0 ? cell->sum_ns / cell->n : 0);
        json_pair_u64(json, "max_ns", cell->max_ns);
        json_map_end(json);
}

static void json_i64_pair(Json *json, const char *key, int64_t value) {
        json_key(json, key);
        json_i64(json, value);
}

static void json_spans(Json *json, const Status *status) {
        const StoreDbLedger *ledger = &status->store.ledger;
        Drop list[DROPS_MAX];

        json_key(json, "spans");
        json_map(json);
        json_pair_bool(json, "known", status->store_known);
        if (status->store_known) {
                list_drops(ledger, list);
                json_i64_pair(json, "in", ledger->in);
                json_i64_pair(json, "exported", ledger->exported);
                json_i64_pair(json, "local", ledger->local);
                json_pair_u64(json, "pending", status->store.n_spans[STORESCHEMA_STATE_PENDING]);
                json_i64_pair(json, "dropped", storedb_dropped(ledger));
                json_key(json, "dropped_by");
                json_map(json);
                for (size_t i = 0; i < DROPS_MAX; i++)
                        json_i64_pair(json, list[i].key, list[i].n);
                json_map_end(json);
                json_i64_pair(json, "unexplained", unexplained(status));
        }
        if (status->counters_known) {
                json_pair_u64(json, "kept", sum_of(status, COUNTERS_AGENT_KEPT));
                json_pair_u64(json, "lost", lost(status));
        }
        json_map_end(json);
}

static void json_programs(Json *json, const Status *status) {
        const StatusPath *path = main_path(status);

        json_key(json, "podspan_watch");
        json_map(json);
        json_pair_str(json, "state", watch_name(status));
        if (status->watch_error == 0) {
                json_pair_known(json, "missing", watchstate_missing_name(status->watch.missing));
                json_pair_known(json, "reason", status->watch.reason);
                json_time(json, "since", status->watch.since_ns);
        } else if (status->watch_error != -ENOENT)
                json_pair_str(json, "error", strerror(-status->watch_error));
        json_map_end(json);

        json_key(json, "monitors");
        json_map(json);
        json_pair_bool(json, "known", status->monitors_known);
        if (status->monitors_known)
                json_pair_u64(json, "count", status->n_monitors);
        json_pair_str(json, "seen", "process name in /proc");
        json_map_end(json);

        json_key(json, "bypass");
        json_map(json);
        json_pair_str(json, "state", !path ? "absent" : path->error < 0 ? "unknown" : bypass_names[path->state]);
        json_pair_known(json, "socket", path ? path->path : NULL);
        json_pair_known(json, "runtime", path ? path->runtime : NULL);
        if (path && path->error < 0)
                json_pair_str(json, "error", strerror(-path->error));
        json_map_end(json);
}

static CliExit print_json(const Cli *cli, const Status *status) {
        _cleanup_(json_freep) Json *json = json_new(stdout);

        if (!json)
                return cli_failure("out of memory");

        json_map(json);
        json_key(json, "podspand");
        json_map(json);
        json_pair_str(json, "state", alive_name(status->podspand));
        json_time(json, "started", status_meta_u64(status, "started_ns"));
        json_map_end(json);
        json_key(json, "podspan_cri");
        json_map(json);
        json_pair_str(json, "state", seen_name(status->podspan_cri));
        json_pair_str(json, "socket", status->cri_socket);
        json_map_end(json);
        json_programs(json, status);
        json_pair_str(json, "node", status_meta(status, "node"));
        json_pair_str(json, "state_error", status->state_error < 0 ? strerror(-status->state_error) : NULL);
        json_pair_str(json, "config_error", status->config_known ? NULL : status->config_error);
        json_pair_bool(json, "config_unreadable", status->config_unreadable);
        json_store(json, cli, status);
        json_export(json, status);

        json_spans(json, status);

        json_key(json, "counters");
        json_map(json);
        for (unsigned p = 0; p < _COUNTERS_PRODUCER_MAX; p++) {
                json_key(json, counters_producer_name(p));
                json_map(json);
                for (unsigned i = 0; i < _COUNTERS_ID_MAX; i++)
                        json_pair_u64(json, counters_id_name(i), status->counters[p][i]);
                json_map_end(json);
        }
        json_map_end(json);

        json_key(json, "calls");
        json_array(json);
        for (size_t i = 0; i < status->n_calls; i++) {
                json_map(json);
                json_pair_str(json, "method", status->calls[i].method);
                json_cell(json, "last_minute", &status->calls[i].minute);
                json_cell(json, "last_hour", &status->calls[i].hour);
                json_map_end(json);
        }
        json_array_end(json);
        json_map_end(json);
        return cli_finish(json, CLI_OK);
}

/* Everything below prints text. */

static void print_safe(const Cli *cli, const char *s) {
        char safe[1024];

        text_safe(safe, sizeof(safe), s, strlen(s), cli->screen.utf8);
        fputs(safe, stdout);
}

static void print_label(const Cli *cli, const char *label) {
        printf("%s%-13s%s ", screen_style(&cli->screen, SCREEN_BOLD), label, screen_style(&cli->screen, SCREEN_PLAIN));
}

static void print_alive(const Cli *cli, const char *name, StatusAlive alive, const char *state) {
        ScreenStyle style = alive == STATUS_ALIVE ? SCREEN_GOOD : SCREEN_WARNING;

        print_label(cli, name);
        printf("%s%s%s", screen_style(&cli->screen, style), state, screen_style(&cli->screen, SCREEN_PLAIN));
}

static void print_store(const Cli *cli, const Status *status) {
        const StoreDbStats *store = &status->store;
        char size[TEXT_SIZE_MAX], max[TEXT_SIZE_MAX], age[TEXT_DURATION_MAX];
        uint64_t n_spans = 0;

        print_label(cli, "store");
        if (!status->store_known) {
                print_safe(cli, status->store_error ? status->store_error : "out of memory");
                fputc('\n', stdout);
                return;
        }
        for (size_t i = 0; i < ARRAY_SIZE(store->n_spans); i++)
                n_spans += store->n_spans[i];
        print_safe(cli, cli->store_dir);
        text_size(store->file_bytes, size);
        printf(": %s", size);
        if (status->config_known) {
                text_size(status->config.store_max_size, max);
                printf(" (at most %s)", max);
        }
        printf(", %" PRIu64 " spans", n_spans);
        if (store->oldest_ns > 0) {
                text_duration(since(status, store->oldest_ns), age);
                printf(", the oldest %s ago", age);
                if (status->config_known) {
                        text_duration(status->config.store_max_age_ns, age);
                        printf(" (at most %s)", age);
                }
        }
        if (store->n_kept > 0)
                printf(", %" PRIu64 " traces kept by a rule", store->n_kept);
        fputc('\n', stdout);
}

static void print_export(const Cli *cli, const Status *status) {
        const char *endpoint = status_meta(status, "endpoint"), *error = status_meta(status, "last_export_error");
        uint64_t ok_ns = status_meta_u64(status, "last_export_ok_ns"),
                 error_ns = status_meta_u64(status, "last_export_error_ns");
        char time[TEXT_DURATION_MAX];

        print_label(cli, "export");
        if (!endpoint && status->config_known)
                endpoint = status->config.tracing_endpoint;
        if (!status->config_known)
                print_safe(cli, endpoint ? endpoint : "unknown");
        else if (!config_exports(&status->config))
                fputs("off", stdout);
        else
                print_safe(cli, endpoint);

        if (status->store_known) {
                printf(", %" PRIu64 " spans pending", status->store.n_spans[STORESCHEMA_STATE_PENDING]);
                if (status->store.oldest_pending_ns > 0) {
                        text_duration(since(status, status->store.oldest_pending_ns), time);
                        printf(" (lag %s)", time);
                }
        }
        if (ok_ns > 0) {
                text_duration(since(status, ok_ns), time);
                printf(", last success %s ago", time);
        }
        fputc('\n', stdout);
        if (error && *error && error_ns >= ok_ns) {
                print_label(cli, "");
                fputs(screen_style(&cli->screen, SCREEN_ERROR), stdout);
                if (error_ns > 0) {
                        text_duration(since(status, error_ns), time);
                        printf("last error %s ago: ", time);
                }
                print_safe(cli, error);
                printf("%s\n", screen_style(&cli->screen, SCREEN_PLAIN));
        }
}

static void print_spans(const Cli *cli, const Status *status) {
        const StoreDbLedger *ledger = &status->store.ledger;
        int64_t n_dropped = storedb_dropped(ledger);
        const char *separator = "";
        Drop list[DROPS_MAX];

        print_label(cli, "spans");
        if (status->store_known) {
                printf("%" PRId64 " in = %" PRId64 " exported + %" PRId64 " local only + %" PRIu64
                       " pending + %s%" PRId64 " dropped%s\n",
                       ledger->in, ledger->exported, ledger->local, status->store.n_spans[STORESCHEMA_STATE_PENDING],
                       screen_style(&cli->screen, n_dropped > 0 ? SCREEN_ERROR : SCREEN_GOOD), n_dropped,
                       screen_style(&cli->screen, SCREEN_PLAIN));
                if (unexplained(status) != 0) {
                        print_label(cli, "");
                        printf("%s%" PRId64 " spans are not accounted for: please report this%s\n",
                               screen_style(&cli->screen, SCREEN_ERROR), unexplained(status),
                               screen_style(&cli->screen, SCREEN_PLAIN));
                }
                if (n_dropped > 0) {
                        list_drops(ledger, list);
                        print_label(cli, "");
                        fputs("dropped: ", stdout);
                        for (size_t i = 0; i < DROPS_MAX; i++) {
                                if (list[i].n == 0)
                                        continue;
                                printf("%s%" PRId64 " %s", separator, list[i].n, list[i].text);
                                separator = "; ";
                        }
                        fputc('\n', stdout);
                }
        } else
                puts("unknown: the store cannot be read");

        if (!status->counters_known) {
                print_label(cli, "");
                print_safe(cli, cli->state_dir);
                if (status->state_error < 0)
                        printf(": %s: what producers lost is unknown\n", strerror(-status->state_error));
                else
                        puts(": no counters yet");
                return;
        }
        if (sum_of(status, COUNTERS_AGENT_KEPT) > 0) {
                print_label(cli, "");
                printf("%" PRIu64 " exported by a tail rule\n", sum_of(status, COUNTERS_AGENT_KEPT));
        }
        if (lost(status) > 0) {
                print_label(cli, "");
                printf("%s%" PRIu64 " lost before podspand could take them in%s\n",
                       screen_style(&cli->screen, SCREEN_ERROR), lost(status),
                       screen_style(&cli->screen, SCREEN_PLAIN));
        }
}

static void print_watch(const Cli *cli, const Status *status) {
        const WatchState *watch = &status->watch;
        bool known = status->watch_error == 0;
        char time[TEXT_DURATION_MAX];

        print_alive(cli, "podspan-watch", known && watch->kind == WATCHSTATE_RUNNING ? STATUS_ALIVE : STATUS_DEAD,
                    watch_name(status));
        if (status->watch_error < 0 && status->watch_error != -ENOENT)
                printf(": %s", strerror(-status->watch_error));
        if (known && watch->missing != WATCHSTATE_MISSING_NONE)
                printf(", lacks: %s", watchstate_missing_name(watch->missing));
        if (known && watch->kind == WATCHSTATE_DIED)
                fputs(": its process died without a word", stdout);
        if (known && *watch->reason) {
                fputs(": ", stdout);
                print_safe(cli, watch->reason);
        }
        if (known && watch->since_ns > 0 && watch->kind != WATCHSTATE_STALE) {
                text_duration(since(status, watch->since_ns), time);
                printf(watch->kind == WATCHSTATE_RUNNING ? " for %s" : ", %s ago", time);
        }
        fputc('\n', stdout);
}

static void print_monitors(const Cli *cli, const Status *status) {
        print_label(cli, "monitors");
        if (status->monitors_known)
                printf("%u process%s of the name podspan-conmon\n", status->n_monitors,
                       status->n_monitors == 1 ? "" : "es");
        else
                puts("unknown: /proc hides the processes of other users");
}

static void print_bypass(const Cli *cli, const Status *status) {
        const StatusPath *path = main_path(status);

        if (!path || (path->error == 0 && path->state != BYPASS_ON))
                return;
        print_label(cli, "bypass");
        if (path->error < 0) {
                fputs("unknown: ", stdout);
                print_safe(cli, path->path);
                printf(": %s\n", strerror(-path->error));
                return;
        }
        printf("%son: podspan-cri sees no calls%s; ", screen_style(&cli->screen, SCREEN_WARNING),
               screen_style(&cli->screen, SCREEN_PLAIN));
        print_safe(cli, path->path);
        fputs(" leads to ", stdout);
        print_safe(cli, path->runtime ? path->runtime : "the runtime");
        fputs("; back: podspan bypass off\n", stdout);
}

static int print_counters(const Cli *cli, const Status *status) {
        static const TableColumn columns[] = {
                { "PRODUCER", 14, 0 },
                { "COUNTER", 24, 0 },
                { "COUNT", 8, SCOLS_FL_RIGHT },
        };
        _cleanup_(table_deinit) Table table = TABLE_NULL;
        int r;

        r = table_init(&table, &cli->screen, columns, ARRAY_SIZE(columns));
        if (r < 0)
                return r;
        for (unsigned p = 0; p < _COUNTERS_PRODUCER_MAX; p++)
                for (unsigned i = 0; i < _COUNTERS_ID_MAX; i++) {
                        if (status->counters[p][i] == 0)
                                continue;
                        table_line(&table);
                        table_cell(&table, 0, counters_producer_name(p), SCREEN_PLAIN);
                        table_cell(&table, 1, counters_id_name(i), is_drop(i) ? SCREEN_ERROR : SCREEN_PLAIN);
                        table_cellf(&table, 2, SCREEN_PLAIN, "%" PRIu64, status->counters[p][i]);
                }
        if (!table.line)
                return table.error;
        fputc('\n', stdout);
        return table_print(&table);
}

static int print_calls(const Cli *cli, const Status *status) {
        static const TableColumn columns[] = {
                { "CALLS COUNTED", 32, SCOLS_FL_TRUNC },
                { "LAST MINUTE", 8, SCOLS_FL_RIGHT },
                { "LAST HOUR", 8, SCOLS_FL_RIGHT },
                { "FAILED", 6, SCOLS_FL_RIGHT },
                { "SLOW", 6, SCOLS_FL_RIGHT },
                { "MEAN", 8, SCOLS_FL_RIGHT },
                { "MAX", 8, SCOLS_FL_RIGHT },
        };
        _cleanup_(table_deinit) Table table = TABLE_NULL;
        int r;

        if (status->n_calls == 0)
                return 0;
        r = table_init(&table, &cli->screen, columns, ARRAY_SIZE(columns));
        if (r < 0)
                return r;
        for (size_t i = 0; i < status->n_calls; i++) {
                const TallyCell *hour = &status->calls[i].hour;
                char mean[TEXT_DURATION_MAX], max[TEXT_DURATION_MAX];

                text_duration(hour->n > 0 ? hour->sum_ns / hour->n : 0, mean);
                text_duration(hour->max_ns, max);
                table_line(&table);
                table_cell(&table, 0, text_span_name(status->calls[i].method), SCREEN_PLAIN);
                table_cellf(&table, 1, SCREEN_PLAIN, "%" PRIu32, status->calls[i].minute.n);
                table_cellf(&table, 2, SCREEN_PLAIN, "%" PRIu32, hour->n);
                table_cellf(&table, 3, hour->n_failed > 0 ? SCREEN_ERROR : SCREEN_PLAIN, "%" PRIu32, hour->n_failed);
                table_cellf(&table, 4, hour->n_slow > 0 ? SCREEN_WARNING : SCREEN_PLAIN, "%" PRIu32, hour->n_slow);
                table_cell(&table, 5, mean, SCREEN_PLAIN);
                table_cell(&table, 6, max, SCREEN_PLAIN);
        }
        fputc('\n', stdout);
        return table_print(&table);
}

static CliExit print_text(const Cli *cli, const Status *status) {
        uint64_t started_ns = status_meta_u64(status, "started_ns");
        char time[TEXT_DURATION_MAX];
        int r;

        print_alive(cli, "podspand", status->podspand, alive_name(status->podspand));
        if (status->podspand == STATUS_ALIVE && started_ns > 0) {
                text_duration(since(status, started_ns), time);
                printf(" for %s", time);
        }
        fputc('\n', stdout);
        print_alive(cli, "podspan-cri", status->podspan_cri, seen_name(status->podspan_cri));
        if (status->cri_socket) {
                fputs(" on ", stdout);
                print_safe(cli, status->cri_socket);
        }
        fputc('\n', stdout);
        print_bypass(cli, status);
        print_watch(cli, status);
        print_monitors(cli, status);
        print_store(cli, status);
        print_export(cli, status);
        print_spans(cli, status);
        if (!status->config_known) {
                print_label(cli, "config");
                if (status->config_unreadable)
                        fputs("unknown: ", stdout);
                print_safe(cli, status->config_error ? status->config_error : "out of memory");
                fputc('\n', stdout);
        }

        r = print_counters(cli, status);
        if (r >= 0)
                r = print_calls(cli, status);
        if (r < 0)
                return cli_failure("%s", strerror(-r));
        return cli_finish(NULL, CLI_OK);
}

static void status_freep(Status **status) {
        if (*status)
                status_deinit(*status);
        free(*status);
}

CliExit cmd_status(Cli *cli, int argc, char **argv) {
        _cleanup_(status_freep) Status *status = calloc(1, sizeof(*status));
        int r;

        if (!status)
                return cli_failure("out of memory");
        r = parse_argv(cli, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);

        r = status_gather(cli, status);
        if (r < 0)
                return cli_failure("%s", strerror(-r));
        return cli->json ? print_json(cli, status) : print_text(cli, status);
}
