#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "answerjson.h"
#include "cli.h"
#include "clk.h"
#include "sentence.h"
#include "starts.h"
#include "text.h"

#define LIMIT_DEFAULT 20
#define LIMIT_MAX     100000
#define DECIDE_MAX    8192 /* ends that are decided for one answer, where a verdict is asked for */
#define SHORT_ID      12   /* digits of a container's id, as podman and docker print it */
#define NAMES_MIN     28   /* columns that the names keep on a narrow screen */
#define WORDS_MIN     16   /* … and the verdict */

enum {
        ARG_SINCE = CLI_ARG_OWN,
        ARG_UNTIL,
        ARG_POD,
        ARG_CONTAINER,
        ARG_VERDICT,
};

static const char help[] =
        "Usage: podspan exits [OPTION]...\n"
        "\n"
        "How containers ended on this node, newest first: when, which one, why, and how long it lived.\n"
        "Starts that failed are among them. podspan why says more about one.\n"
        "\n"
        "  --since TIME        that ended at TIME or later: 1h30m (ago), today, yesterday, @EPOCH,\n"
        "                      2026-11-21[ 10:30[:15]][Z]\n"
        "  --until TIME        that ended at TIME or before\n"
        "  --pod POD           of the pod NAME, NAMESPACE/NAME, UID, or begin of its sandbox's id\n"
        "  --container NAME    of the container, by name or by the begin of its id\n"
        "  --verdict VERDICT   completed, exited, stopped, stop-timeout, probe-killed, oom-container, oom-pod,\n"
        "                      oom-node, crashed, killed, start-failed, lost or unknown; oom: the three of them\n"
        "  -n, --limit N       at most N of them; 20 unless given\n"
        "  --json              one line of JSON for each exit and each OOM kill (docs/schemas/exits.json)\n"
        "\n" CLI_OPTIONS_HELP;

typedef struct Options {
        DeathFilter filter;
        uint32_t verdicts; /* bits 1 << Verdict; 0: all */
        unsigned limit;
} Options;

static int parse_verdict(const char *word, uint32_t *ret) {
        Verdict verdict;

        if (strcmp(word, "oom") == 0) {
                *ret |= 1U << VERDICT_OOM_CONTAINER | 1U << VERDICT_OOM_POD | 1U << VERDICT_OOM_NODE;
                return 0;
        }
        if (verdict_parse(word, &verdict) < 0)
                return -EINVAL;
        *ret |= 1U << verdict;
        return 0;
}

static int parse_option(Options *options, int c) {
        uint64_t n;

        switch (c) {
        case ARG_SINCE:
        case ARG_UNTIL:
                if (text_parse_time(optarg, clk_realtime(),
                                    c == ARG_SINCE ? &options->filter.since_ns : &options->filter.until_ns) < 0) {
                        (void) cli_usage("\"%s\" is no time; write 1h, today, @1763719200 or 2026-11-21 10:30", optarg);
                        return -EINVAL;
                }
                break;
        case ARG_POD:
                options->filter.pod = optarg;
                break;
        case ARG_CONTAINER:
                options->filter.container = optarg;
                break;
        case ARG_VERDICT:
                if (parse_verdict(optarg, &options->verdicts) < 0) {
                        (void) cli_usage("\"%s\" is no verdict; podspan exits --help lists them", optarg);
                        return -EINVAL;
                }
                break;
        case 'n':
                if (util_parse_u64(optarg, strlen(optarg), &n) < 0 || n == 0 || n > LIMIT_MAX) {
                        (void) cli_usage("the limit is a number from 1 to %d, not \"%s\"", LIMIT_MAX, optarg);
                        return -EINVAL;
                }
                options->limit = (unsigned) n;
                break;
        default:
                break;
        }
        return 0;
}

static int parse_argv(Cli *cli, Options *ret, int argc, char **argv) {
        static const struct option options[] = {
                CLI_OPTIONS,
                { "since", required_argument, NULL, ARG_SINCE },
                { "until", required_argument, NULL, ARG_UNTIL },
                { "pod", required_argument, NULL, ARG_POD },
                { "container", required_argument, NULL, ARG_CONTAINER },
                { "verdict", required_argument, NULL, ARG_VERDICT },
                { "limit", required_argument, NULL, 'n' },
                {},
        };
        int c, r;

        while ((c = getopt_long(argc, argv, "hn:", options, NULL)) >= 0) {
                r = cli_option(cli, c, help);
                if (r >= 0)
                        r = parse_option(ret, c);
                if (r < 0)
                        return r;
        }
        if (optind < argc) {
                (void) cli_usage("exits takes no argument (\"%s\"); to see one end: podspan why POD", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

/* A row of the table: as it came; what is printed is made safe. */
typedef struct Row {
        char when[24];
        char lived[TEXT_DURATION_MAX];
        char words[SENTENCE_WORDS_MAX + 32];
        Verdict verdict;
        char *pod_namespace, *pod, *container; /* owned */
} Row;

typedef struct Exits {
        const Cli *cli;
        const Options *options;
        StoreDb *db;
        Starts starts;
        size_t next_start; /* the newest that has not been printed */
        unsigned n_printed, n_decided;
        bool limited; /* by DECIDE_MAX */
        Row *rows;
        size_t n_rows, n_rows_allocated;
} Exits;

static void exits_deinit(Exits *exits) {
        for (size_t i = 0; i < exits->n_rows; i++) {
                free(exits->rows[i].pod_namespace);
                free(exits->rows[i].pod);
                free(exits->rows[i].container);
        }
        free(exits->rows);
        starts_deinit(&exits->starts);
}

static int print_oom(const Answer *answer, const Podspan__Otlp__Event *event) {
        _cleanup_(json_freep) Json *json = json_new_line(stdout);

        if (!json)
                return -ENOMEM;
        json_map(json);
        json_key(json, "schema");
        json_u64(json, ANSWERJSON_SCHEMA);
        json_pair_str(json, "event", "oom_kill");
        answerjson_oom(json, answer, event);
        answerjson_subject(json, answer);
        json_key(json, "span_id");
        json_hex(json, answer->span_id, sizeof(answer->span_id));
        json_map_end(json);
        return json_finish(json);
}

static int print_exit(const Answer *answer) {
        _cleanup_(json_freep) Json *json = json_new_line(stdout);
        char words[SENTENCE_WORDS_MAX], sentence[SENTENCE_MAX];

        if (!json)
                return -ENOMEM;
        sentence_words(&answer->facts, &answer->decision, words);
        sentence_full(&answer->facts, &answer->decision, answer->start_ns, sentence);
        json_map(json);
        json_key(json, "schema");
        json_u64(json, ANSWERJSON_SCHEMA);
        json_pair_str(json, "event", "exit");
        json_time(json, "time", answer->end_ns);
        json_time(json, "start", answer->start_ns);
        if (!answer->call)
                json_pair_u64(json, "lived_ns",
                              answer->end_ns > answer->start_ns ? answer->end_ns - answer->start_ns : 0);
        answerjson_subject(json, answer);
        answerjson_decision(json, answer);
        json_pair_str(json, "words", words);
        json_pair_str(json, "sentence", sentence);
        answerjson_facts(json, answer);
        json_key(json, "trace_id");
        json_hex(json, answer->trace_id, sizeof(answer->trace_id));
        json_key(json, "span_id");
        json_hex(json, answer->span_id, sizeof(answer->span_id));
        json_map_end(json);
        return json_finish(json);
}

static int print_json(const Answer *answer) {
        int r = print_exit(answer);

        for (size_t i = answer->span && !answer->call ? answer->span->n_events : 0; r >= 0 && i > 0; i--)
                if (answerjson_is_oom(answer->span->events[i - 1]))
                        r = print_oom(answer, answer->span->events[i - 1]);
        return r;
}

static void when_of(uint64_t ns, char ret[static 24]) {
        time_t s = (time_t) (ns / NSEC_PER_SEC);
        struct tm tm;

        if (!localtime_r(&s, &tm) || strftime(ret, 24, "%m-%d %H:%M:%S", &tm) == 0)
                (void) snprintf(ret, 24, "@%" PRIu64, ns / NSEC_PER_SEC);
}

static char *safe_new(const Cli *cli, const char *s) {
        size_t n = strlen(s), size = 10 * n + 1;
        char *safe = malloc(size);

        if (safe)
                text_safe(safe, size, s, n, cli->screen.utf8);
        return safe;
}

static int add_row(Exits *exits, const Answer *answer) {
        char words[SENTENCE_WORDS_MAX], id[SHORT_ID + sizeof("container ")];
        const char *container = answer->container_name;
        Row *row;

        if (exits->n_rows == exits->n_rows_allocated) {
                size_t n = exits->n_rows_allocated == 0 ? 32 : 2 * exits->n_rows_allocated;
                Row *more = reallocarray(exits->rows, n, sizeof(*more));

                if (!more)
                        return -ENOMEM;
                exits->rows = more;
                exits->n_rows_allocated = n;
        }

        if (!*container && !answer->call) {
                (void) snprintf(id, sizeof(id), "%s%.*s", *answer->pod_name || *answer->pod_uid ? "" : "container ",
                                SHORT_ID, answer->container_id);
                container = id;
        }
        row = exits->rows + exits->n_rows;
        *row = (Row){
                .verdict = answer->decision.verdict,
                .pod_namespace = safe_new(exits->cli, answer->pod_namespace),
                .pod = safe_new(exits->cli, *answer->pod_name ? answer->pod_name : answer->pod_uid),
                .container = safe_new(exits->cli, container),
        };
        exits->n_rows++;
        if (!row->pod_namespace || !row->pod || !row->container)
                return -ENOMEM;

        when_of(answer->end_ns, row->when);
        if (answer->call)
                strcpy(row->lived, "-");
        else
                text_duration(answer->end_ns > answer->start_ns ? answer->end_ns - answer->start_ns : 0, row->lived);
        sentence_words(&answer->facts, &answer->decision, words);
        if (answer->n_times > 1) {
                char times[SENTENCE_WORDS_MAX + 32];

                (void) snprintf(times, sizeof(times), "%" PRIu64 " times: %s", answer->n_times, words);
                text_safe(row->words, sizeof(row->words), times, strlen(times), exits->cli->screen.utf8);
        } else
                text_safe(row->words, sizeof(row->words), words, strlen(words), exits->cli->screen.utf8);
        return 0;
}

/* 1 once there are enough. */
static int show(Exits *exits, const Answer *answer) {
        int r;

        if (exits->options->verdicts != 0 && !((exits->options->verdicts >> answer->decision.verdict) & 1))
                return 0;
        r = exits->cli->json ? print_json(answer) : add_row(exits, answer);
        if (r < 0)
                return r;
        return ++exits->n_printed >= exits->options->limit;
}

static int show_starts(Exits *exits, uint64_t until_ns) {
        int r = 0;

        while (r == 0 && exits->next_start < exits->starts.n &&
               exits->starts.answers[exits->next_start].end_ns >= until_ns)
                r = show(exits, exits->starts.answers + exits->next_start++);
        return r;
}

/* A container that was created and could not be started may have an end of its own, which says the same. */
static void drop_start_of(Exits *exits, const Answer *answer) {
        for (size_t i = exits->next_start; i < exits->starts.n; i++) {
                Answer *start = exits->starts.answers + i;

                if (start->n_times > 1 || !*start->container_id ||
                    strcmp(start->container_id, answer->container_id) != 0)
                        continue;
                answer_deinit(start);
                memmove(start, start + 1, (exits->starts.n - i - 1) * sizeof(*start));
                exits->starts.n--;
                return;
        }
}

static int on_death(const Death *death, void *userdata) {
        _cleanup_answer_ Answer answer = ANSWER_NULL;
        Exits *exits = userdata;
        int r;

        if (exits->options->verdicts != 0 && ++exits->n_decided > DECIDE_MAX) {
                exits->limited = true;
                return 1;
        }
        r = answer_from_death(death, &answer);
        if (r >= 0)
                r = answer_facts(exits->db, &answer);
        if (r < 0)
                return r;
        answer_settle(&answer);
        if (answer.decision.verdict == VERDICT_START_FAILED)
                drop_start_of(exits, &answer);
        r = show_starts(exits, answer.end_ns);
        return r == 0 ? show(exits, &answer) : r;
}

/* "default/web-7d9f8c6b5-x2k4j/main" in @columns: first the namespace goes, then the middle of the pod's name. */
static void fit_names(const Row *row, size_t columns, bool utf8, char *ret, size_t size) {
        const char *slash = *row->pod && *row->container ? "/" : "";
        char pod[1024], container[512];
        size_t n_container = text_width(row->container);

        if (snprintf(ret, size, "%s%s%s%s%s", row->pod_namespace, *row->pod_namespace && *row->pod ? "/" : "", row->pod,
                     slash, row->container) < (int) size &&
            text_width(ret) <= columns)
                return;
        if (text_width(row->pod) + strlen(slash) + n_container > columns)
                n_container = MIN(n_container, columns / 2);
        text_fit_middle(container, sizeof(container), row->container, n_container, utf8);
        text_fit_middle(pod, sizeof(pod), row->pod, columns - MIN(columns, strlen(slash) + text_width(container)),
                        utf8);
        (void) snprintf(ret, size, "%s%s%s", pod, slash, container);
}

static ScreenStyle style_of(Verdict verdict) {
        switch (verdict) {
        case VERDICT_COMPLETED:
                return SCREEN_GOOD;
        case VERDICT_STOPPED:
                return SCREEN_PLAIN;
        case VERDICT_STOP_TIMEOUT:
        case VERDICT_UNKNOWN:
        case VERDICT_LOST:
                return SCREEN_WARNING;
        default:
                return SCREEN_ERROR;
        }
}

static size_t names_width(const Row *row) {
        return text_width(row->pod_namespace) + text_width(row->pod) + text_width(row->container) +
               (*row->pod_namespace && *row->pod) + (*row->pod && *row->container);
}

static void print_cell(const char *s, size_t columns) {
        size_t width = text_width(s);

        (void) printf("%s%*s  ", s, width < columns ? (int) (columns - width) : 0, "");
}

static void print_table(const Exits *exits) {
        const Screen *screen = &exits->cli->screen;
        size_t when = strlen("WHEN"), names = strlen("POD/CONTAINER"), words = strlen("VERDICT"),
               lived = strlen("LIVED");

        for (size_t i = 0; i < exits->n_rows; i++) {
                when = MAX(when, strlen(exits->rows[i].when));
                names = MAX(names, names_width(exits->rows + i));
                words = MAX(words, text_width(exits->rows[i].words));
                lived = MAX(lived, strlen(exits->rows[i].lived));
        }
        if (screen->width > 0) {
                size_t rest = screen->width > when + lived + 6 ? screen->width - when - lived - 6 : 0;

                size_t least = MIN(names, (size_t) NAMES_MIN);

                /* The names keep their least, the verdict takes what it needs of the rest, the names what that leaves.
                 */
                if (names + words > rest) {
                        words = MIN(words, rest > least + WORDS_MIN ? rest - least : (size_t) WORDS_MIN);
                        names = rest > words + least ? rest - words : least;
                }
        }

        print_cell("WHEN", when);
        print_cell("POD/CONTAINER", names);
        print_cell("VERDICT", words);
        (void) printf("%*s\n", (int) lived, "LIVED");
        for (size_t i = 0; i < exits->n_rows; i++) {
                const Row *row = exits->rows + i;
                char fitted[2048], verdict[sizeof(row->words) * 2];

                fit_names(row, names, screen->utf8, fitted, sizeof(fitted));
                text_fit(verdict, sizeof(verdict), row->words, words, screen->utf8);
                print_cell(row->when, when);
                print_cell(fitted, names);
                (void) printf("%s", screen_style(screen, style_of(row->verdict)));
                (void) printf("%s%s%*s  ", verdict, screen_style(screen, SCREEN_PLAIN),
                              (int) (words - MIN(words, text_width(verdict))), "");
                (void) printf("%*s\n", (int) lived, row->lived);
        }
}

CliExit cmd_exits(Cli *cli, int argc, char **argv) {
        _cleanup_(storedb_freep) StoreDb *db = NULL;
        _cleanup_(exits_deinit) Exits exits = { .cli = cli };
        _cleanup_close_ int state_fd = -EBADF;
        Options options = { .limit = LIMIT_DEFAULT };
        int r;

        r = parse_argv(cli, &options, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);
        /* What an emitter decided stays, unless it did not know. */
        if (options.verdicts != 0)
                options.filter.emitted = options.verdicts | 1U << VERDICT_UNKNOWN;

        r = cli_open_store(cli, &db);
        if (r < 0)
                return CLI_FAILURE;
        state_fd = cli_open_state(cli);
        /* Without them the stop of a container that ended a moment ago is missing. */
        (void) storedb_add_stops(db, state_fd);
        exits.db = db;
        exits.options = &options;

        if (options.verdicts == 0 || options.verdicts & 1U << VERDICT_START_FAILED)
                r = starts_load(db, &options.filter, &exits.starts);
        if (r >= 0)
                r = deathdb_list(db, &options.filter, on_death, &exits);
        if (r == 0)
                r = show_starts(&exits, 0);
        if (r == -ENOMEM)
                return cli_failure("out of memory");
        if (r == -EPIPE)
                return CLI_FAILURE;
        if (r < 0)
                return cli_failure("store: %s", storedb_error(db));
        if (exits.limited)
                (void) cli_failure("looked at the newest %d ends only; --since and --until choose others", DECIDE_MAX);
        if (exits.n_printed == 0)
                return cli_nothing("no exit found%s", options.verdicts != 0 || options.filter.since_ns > 0 ||
                                                                      options.filter.pod || options.filter.container
                                                              ? " that fits"
                                                              : "; is podspan-watch running? podspan status says so");
        if (!cli->json)
                print_table(&exits);
        return cli_finish(NULL, CLI_OK);
}
