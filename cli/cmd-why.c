#include <stdio.h>
#include <string.h>
#include "answerjournal.h"
#include "answerjson.h"
#include "cli.h"
#include "crilog.h"
#include "evidence.h"
#include "now.h"
#include "sentence.h"
#include "startanswer.h"
#include "subject.h"
#include "text.h"

#define WIDTH_DEFAULT  80 /* columns where standard output is no terminal: nothing is cut, but wrapped */
#define SENTENCE_LINES 2  /* the third line is whose end it is */
#define HANGS_NS       (5 * NSEC_PER_SEC) /* without --end or --now: what is in flight for so long is what is asked about */
#define TEXT_SAFE_MAX  8192

enum {
        ARG_END = CLI_ARG_OWN,
        ARG_NOW,
        ARG_START,
        ARG_JOURNAL,
        ARG_NO_JOURNAL,
        ARG_LOG,
        ARG_NO_LOG,
        ARG_LOG_DIR,
};

static const char help[] =
        "Usage: podspan why [OPTION]... POD|CONTAINER\n"
        "\n"
        "Why the newest container of a pod, or a container, ended or did not start: one sentence, then what it\n"
        "rests on. POD is NAME, NAMESPACE/NAME, a UID, or the begin of its sandbox's id; CONTAINER is a name or\n"
        "the begin of an id.\n"
        "\n"
        "  --end               how it ended; the default unless something of it hangs\n"
        "  --now               what it waits for right now\n"
        "  --start             where the time of the pod's newest start went; the default of a pod of which\n"
        "                      nothing ended\n"
        "  --journal[=DIR]     read what kubelet and the runtime wrote (the default), from the journal's files in\n"
        "                      DIR; --no-journal does not\n"
        "  --log               show the last 10 lines of the container's own log; the default on a terminal,\n"
        "                      --no-log does not\n"
        "  --log-dir DIR       kubelet's folder of pods' logs, instead of /var/log/pods\n"
        "\n" CLI_OPTIONS_HELP;

typedef struct Options {
        const char *what;
        bool end, now, start;
        bool journal;
        const char *journal_dir;
        int log; /* negative: as standard output is */
        const char *log_dir;
} Options;

static int parse_argv(Cli *cli, Options *ret, int argc, char **argv) {
        static const struct option options[] = {
                CLI_OPTIONS,
                { "end", no_argument, NULL, ARG_END },
                { "now", no_argument, NULL, ARG_NOW },
                { "start", no_argument, NULL, ARG_START },
                { "journal", optional_argument, NULL, ARG_JOURNAL },
                { "no-journal", no_argument, NULL, ARG_NO_JOURNAL },
                { "log", no_argument, NULL, ARG_LOG },
                { "no-log", no_argument, NULL, ARG_NO_LOG },
                { "log-dir", required_argument, NULL, ARG_LOG_DIR },
                {},
        };
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                r = cli_option(cli, c, help);
                if (r < 0)
                        return r;
                ret->end |= c == ARG_END;
                ret->now |= c == ARG_NOW;
                ret->start |= c == ARG_START;
                if (c == ARG_JOURNAL || c == ARG_NO_JOURNAL)
                        ret->journal = c == ARG_JOURNAL;
                if (c == ARG_JOURNAL && optarg)
                        ret->journal_dir = optarg;
                if (c == ARG_LOG || c == ARG_NO_LOG)
                        ret->log = c == ARG_LOG;
                if (c == ARG_LOG_DIR)
                        ret->log_dir = optarg;
        }
        if (argc - optind != 1 || !*argv[optind]) {
                (void) cli_usage("why takes one pod or container; podspan exits lists those that ended");
                return -EINVAL;
        }
        if (ret->end + ret->now + ret->start > 1) {
                (void) cli_usage("--end, --now and --start are three questions: ask one");
                return -EINVAL;
        }
        ret->what = argv[optind];
        return 0;
}

static CliExit ambiguous(const Subject *subject, const char *what) {
        (void) cli_failure("\"%s\" can be %s; name one of them:", what,
                           subject->n_choices == SUBJECT_CHOICES_MAX ? "many things" : "several things");
        for (size_t i = 0; i < subject->n_choices; i++) {
                char safe[SUBJECT_CHOICE_MAX * 4];

                text_safe(safe, sizeof(safe), subject->choices[i], strlen(subject->choices[i]), true);
                fprintf(stderr, "  %s\n", safe);
        }
        return CLI_FAILURE;
}

/* Prints @s, made safe, in lines of @width columns that are indented but for the first; the last of @max_lines is cut.
 */
static void print_wrapped(const Screen *screen, const char *s, size_t width, size_t indent, unsigned max_lines) {
        char safe[TEXT_SAFE_MAX], line[TEXT_SAFE_MAX];
        const char *rest = safe;

        text_safe(safe, sizeof(safe), s, strlen(s), screen->utf8);
        for (unsigned n = 1; *rest; n++) {
                size_t fits = 0, columns = 0, space = 0;

                if (n == max_lines || text_width(rest) <= width) {
                        text_fit(line, sizeof(line), rest, n == max_lines ? width : SIZE_MAX, screen->utf8);
                        (void) printf("%s\n", line);
                        return;
                }
                while (rest[fits]) {
                        char one[8] = "";
                        uint32_t cp = 0;
                        int used = text_utf8_next(rest + fits, strlen(rest + fits), &cp);

                        used = used < 0 ? 1 : used;
                        memcpy(one, rest + fits, (size_t) used);
                        if (columns + text_width(one) > width)
                                break;
                        columns += text_width(one);
                        if (rest[fits] == ' ')
                                space = fits;
                        fits += (size_t) used;
                }
                if (rest[fits] == ' ' || space == 0)
                        space = MAX(fits, (size_t) 1);
                (void) printf("%.*s\n%*s", (int) space, rest, (int) indent, "");
                rest += space;
                while (*rest == ' ')
                        rest++;
        }
        (void) printf("\n");
}

static void print_title(const Screen *screen, const Answer *answer, size_t width) {
        char names[1200], title[1400];
        const char *container = *answer->container_name ? answer->container_name : "container";

        (void) snprintf(names, sizeof(names), "%s%s%s", answer->pod_namespace, *answer->pod_namespace ? "/" : "",
                        *answer->pod_name ? answer->pod_name : answer->pod_uid);
        if (answer->call && !*answer->container_name)
                (void) snprintf(title, sizeof(title), "%s", names);
        else
                (void) snprintf(title, sizeof(title), "%s%s%s%s%.12s%s", names, *names ? "/" : "", container,
                                *answer->container_id ? " (" : "", answer->container_id,
                                *answer->container_id ? ")" : "");
        (void) printf("%s", screen_style(screen, SCREEN_DIM));
        print_wrapped(screen, title, width, 0, 1);
        (void) printf("%s", screen_style(screen, SCREEN_PLAIN));
}

static void print_item(const Screen *screen, const char *what, size_t n_what, const char *value, size_t width) {
        size_t indent = n_what + 2;

        (void) printf("%-*s  ", (int) n_what, what);
        print_wrapped(screen, value, width > indent + 20 ? width - indent : 20, indent, 3);
}

static void print_text(const Screen *screen, const Answer *answer, const Crilog *log) {
        size_t width = screen->width > 0 ? screen->width : WIDTH_DEFAULT, what = strlen("unknown");
        char sentence[SENTENCE_MAX];

        sentence_full(&answer->facts, &answer->decision, answer->start_ns, sentence);
        (void) printf("%s", screen_style(screen, SCREEN_BOLD));
        print_wrapped(screen, sentence, width, 0, SENTENCE_LINES);
        (void) printf("%s", screen_style(screen, SCREEN_PLAIN));
        print_title(screen, answer, width);
        (void) printf("\n");

        for (size_t i = 0; i < answer->n_items; i++)
                what = MAX(what, strlen(answer->items[i].what));
        for (size_t i = 0; i < answer->n_items; i++)
                print_item(screen, answer->items[i].what, what, answer->items[i].value, width);
        if (answer->disagrees)
                print_item(screen, "disagrees", what,
                           "the program that saw the end decided otherwise than the facts say: "
                           "please report this",
                           width);
        for (size_t i = 0; i < answer->n_unknown; i++)
                print_item(screen, "unknown", what, answer->unknown[i], width);
        for (size_t i = 0; i < log->n; i++)
                print_item(screen, i == 0 ? "log" : "", what, log->lines[i], width);
}

static CliExit print_json(const Answer *answer, const Crilog *log) {
        _cleanup_(json_freep) Json *json = json_new(stdout);
        char sentence[SENTENCE_MAX];

        if (!json)
                return cli_failure("out of memory");
        sentence_full(&answer->facts, &answer->decision, answer->start_ns, sentence);
        json_map(json);
        json_key(json, "schema");
        json_u64(json, ANSWERJSON_SCHEMA);
        json_pair_str(json, "question", "end");
        answerjson_subject(json, answer);
        answerjson_decision(json, answer);
        json_pair_str(json, "sentence", sentence);
        json_time(json, "time", answer->end_ns);
        json_time(json, "start", answer->start_ns);
        answerjson_facts(json, answer);
        json_key(json, "evidence");
        json_array(json);
        for (size_t i = 0; i < answer->n_items; i++) {
                json_map(json);
                json_pair_str(json, "what", answer->items[i].what);
                json_pair_str(json, "value", answer->items[i].value);
                if (answer->items[i].has_span) {
                        json_key(json, "span_id");
                        json_hex(json, answer->items[i].span_id, sizeof(answer->items[i].span_id));
                }
                json_pair_known(json, "source", answer->items[i].source);
                json_map_end(json);
        }
        for (size_t i = 0; i < log->n; i++) {
                json_map(json);
                json_pair_str(json, "what", "log");
                json_pair_str(json, "value", log->lines[i]);
                json_pair_str(json, "source", "log");
                json_map_end(json);
        }
        json_array_end(json);
        json_key(json, "unknown");
        json_array(json);
        for (size_t i = 0; i < answer->n_unknown; i++)
                json_str(json, answer->unknown[i]);
        json_array_end(json);
        json_key(json, "trace_id");
        json_hex(json, answer->trace_id, sizeof(answer->trace_id));
        json_key(json, "span_id");
        json_hex(json, answer->span_id, sizeof(answer->span_id));
        json_map_end(json);
        return cli_finish(json, CLI_OK);
}

/* The log is a help, and its absence is said only to who asked for it. */
static int read_log(const Cli *cli, const Options *options, Answer *answer, Crilog *ret) {
        bool wanted = options->log < 0 ? cli->screen.terminal && !cli->json : options->log;
        int r;

        if (!wanted || answer->call)
                return 0;
        r = crilog_read(options->log_dir ?: CRILOG_PODS_DIR, answer->pod_namespace, answer->pod_name, answer->pod_uid,
                        answer->container_name, answer->attempt, ret);
        if (r < 0 && options->log > 0)
                return answer_add_unknown(answer, "the container's own log: %s", strerror(-r));
        return 0;
}

static CliExit tell(const Cli *cli, StoreDb *db, const Options *options, Answer *answer) {
        _cleanup_free_ Answerjournal *journal = calloc(1, sizeof(*journal));
        _cleanup_free_ Crilog *log = calloc(1, sizeof(*log));
        int r;

        if (!journal || !log)
                return cli_failure("out of memory");
        r = options->journal ? answerjournal_read(options->journal_dir, answer, journal) : 0;
        if (r >= 0) {
                answer_settle(answer);
                r = evidence_add(db, answer);
        }
        if (r >= 0 && options->journal)
                r = answerjournal_evidence(journal, answer);
        if (r >= 0)
                r = read_log(cli, options, answer, log);
        if (r == -ENOMEM)
                return cli_failure("out of memory");
        if (r < 0)
                return cli_failure("store: %s", storedb_error(db));
        if (cli->json)
                return print_json(answer, log);
        print_text(&cli->screen, answer, log);
        return cli_finish(NULL, CLI_OK);
}

static CliExit why_end(Cli *cli, const Options *options) {
        _cleanup_(storedb_freep) StoreDb *db = NULL;
        _cleanup_(subject_deinit) Subject subject = {};
        _cleanup_close_ int state_fd = -EBADF;
        CliExit code;
        int r;

        r = cli_open_store(cli, &db);
        if (r < 0)
                return CLI_FAILURE;
        state_fd = cli_open_state(cli);
        /* Without them the stop of a container that ended a moment ago is missing. */
        (void) storedb_add_stops(db, state_fd);

        r = subject_find(db, options->what, &subject);
        switch (r) {
        case SUBJECT_FOUND:
                return tell(cli, db, options, &subject.answer);
        case SUBJECT_AMBIGUOUS:
                return ambiguous(&subject, options->what);
        case SUBJECT_ALIVE:
                if (!options->end && startanswer_ask(cli, db, options->what, &code) >= 0)
                        return code;
                return cli_nothing("\"%s\" is known, and no container of it has ended or failed to start; podspan trace"
                                   " \"%s\" shows what happened",
                                   options->what, options->what);
        case SUBJECT_UNKNOWN:
                return cli_nothing(
                        "no end of a pod or container \"%s\" in the store; podspan exits lists those that there"
                        " are, podspan status says whether podspan-watch is running",
                        options->what);
        case -ENOMEM:
                return cli_failure("out of memory");
        default:
                return cli_failure("store: %s", storedb_error(db));
        }
}

static CliExit why_start(Cli *cli, const Options *options) {
        _cleanup_(storedb_freep) StoreDb *db = NULL;
        CliExit code;
        int r;

        r = cli_open_store(cli, &db);
        if (r < 0)
                return CLI_FAILURE;
        r = startanswer_ask(cli, db, options->what, &code);
        if (r == -ENOENT)
                return cli_nothing("no start of a pod \"%s\" in the store: podspan traces lists what there is; without"
                                   " podspan-cri in kubelet's path no start is recorded",
                                   options->what);
        return r < 0 ? cli_failure("store: %s", storedb_error(db)) : code;
}

CliExit cmd_why(Cli *cli, int argc, char **argv) {
        Options options = { .journal = true, .log = -1 };
        int r;

        r = parse_argv(cli, &options, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);
        if (options.start)
                return why_start(cli, &options);
        if (options.now || (!options.end && now_hangs(cli, options.what, HANGS_NS)))
                return now_print(cli, options.what);
        return why_end(cli, &options);
}
