#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "answerjson.h"
#include "attempts.h"
#include "chainview.h"
#include "now.h"
#include "pulls.h"
#include "text.h"

#define SCHEMA       1
#define EVIDENCE_MAX 24
#define TEXT_N       (CHAIN_TEXT_MAX + 900)

typedef struct Evidence {
        const char *what;
        const char *source;
        char value[CHAIN_TEXT_MAX];
} Evidence;

typedef struct Now {
        const Cli *cli;
        const char *pod;
        Chains chains;
        const Chain *chain; /* the one that is told of; NULL: nothing is in flight */
        Attempts attempts;
        Pulls pulls;
        char name[600]; /* of the pod */
        char sentence[TEXT_N];
        Evidence evidence[EVIDENCE_MAX];
        size_t n_evidence;
        char unknown[EVIDENCE_MAX][256];
        size_t n_unknown;
} Now;

static void nowp(Now **now) {
        if (*now)
                chain_deinit(&(*now)->chains);
        free(*now);
}

_printf_(4, 5) static void add_evidence(Now *now, const char *what, const char *source, const char *format, ...) {
        va_list args;

        if (now->n_evidence == EVIDENCE_MAX)
                return;
        now->evidence[now->n_evidence].what = what;
        now->evidence[now->n_evidence].source = source;
        va_start(args, format);
        (void) vsnprintf(now->evidence[now->n_evidence++].value, sizeof(now->evidence[0].value), format, args);
        va_end(args);
}

_printf_(2, 3) static void add_unknown(Now *now, const char *format, ...) {
        va_list args;

        if (now->n_unknown == EVIDENCE_MAX)
                return;
        va_start(args, format);
        (void) vsnprintf(now->unknown[now->n_unknown++], sizeof(now->unknown[0]), format, args);
        va_end(args);
}

static const char *operation_of(const Chain *chain) {
        return chain->has_call ? chain->call.operation : chain->guess;
}

static bool is_pull(const Chain *chain) {
        return chain->has_call && strcmp(chain->call.operation, "PullImage") == 0;
}

/* The chain that is told of: the oldest with a leaf; else the oldest. Those of containers do not hide the pod's. */
static void choose(Now *now) {
        for (size_t i = 0; i < now->chains.n; i++) {
                const Chain *chain = &now->chains.chains[i];

                if (!chain_is_pod(&chain->identity, now->pod))
                        continue;
                if (!now->chain ||
                    (now->chain->none != CHAIN_LEAF && chain->none == CHAIN_LEAF && !is_pull(now->chain)))
                        now->chain = chain;
        }
}

/* "09:12:03", local time. */
static void clock_text(uint64_t ns, char ret[static 16]) {
        time_t seconds = (time_t) (ns / NSEC_PER_SEC);
        struct tm tm;

        if (!localtime_r(&seconds, &tm) || strftime(ret, 16, "%H:%M:%S", &tm) == 0)
                *ret = '\0';
}

static void find_attempts(Now *now) {
        _cleanup_(storedb_freep) StoreDb *db = NULL;
        _cleanup_free_ char *message = NULL;
        char since[16];
        Attempts *attempts = &now->attempts;

        if (!now->chain->has_call)
                return;
        if (storedb_open(now->cli->store_dir, &db, &message) < 0) {
                add_unknown(now, "how often it was tried before: there is no store at %.150s", now->cli->store_dir);
                return;
        }
        if (attempts_find(db, now->chain->call.operation, &now->chain->identity, now->chain->call.start_ns, attempts) <
            0) {
                add_unknown(now, "how often it was tried before: the store cannot be read");
                return;
        }
        /* The span of the one before may still be on its way. */
        if (now->chain->age_ns < STOREDB_SETTLE_NS) {
                (void) usleep((useconds_t) ((STOREDB_SETTLE_NS - now->chain->age_ns) / NSEC_PER_USEC));
                (void) attempts_find(db, now->chain->call.operation, &now->chain->identity, now->chain->call.start_ns,
                                     attempts);
        }
        if (attempts->n == 0)
                return;
        clock_text(attempts->first_ns, since);
        add_evidence(now, "attempts", "store",
                     "attempt %" PRIu64 " of %s since %s: of the %" PRIu64 " before, %" PRIu64
                     " were given up by the caller, %" PRIu64 " of these at its deadline; the last one: %s",
                     attempts->n + 1, now->chain->call.operation, since, attempts->n, attempts->n_given_up,
                     attempts->n_deadline, *attempts->why ? attempts->why : "no reason is known");
}

/* Downloads of the engine that has the call. Which is whose is known only if one call pulls. */
static size_t n_pulling(const Now *now, const Proc *engine) {
        size_t n = 0;

        for (size_t i = 0; i < now->chains.n; i++)
                n += is_pull(&now->chains.chains[i]) && now->chains.chains[i].engine == engine;
        return n;
}

static void find_pulls(Now *now, const Chain *chain) {
        if (!chain->engine) {
                add_unknown(now, "how far the pull is: which engine has it is not known");
                return;
        }
        pulls_read(&now->chains.asides, chain->engine, &now->pulls);
        if (!now->pulls.known)
                add_unknown(now, "how far the pull is: the files of %s could not be read",
                            procscan_name(chain->engine));
        for (size_t i = 0; i < now->pulls.n; i++) {
                char words[160];

                pulls_words(&now->pulls.pulls[i], words, sizeof(words));
                add_evidence(now, "download", "files", "%s: %s",
                             *now->pulls.pulls[i].digest ? now->pulls.pulls[i].digest : "a layer", words);
        }
        if (n_pulling(now, chain->engine) > 1 && now->pulls.n > 0)
                add_unknown(now, "which download is of which image: %zu pulls are in flight",
                            n_pulling(now, chain->engine));
}

/* Of several layers the one that is not at its end and was quiet longest. */
static const Pull *slowest(const Pulls *pulls) {
        const Pull *best = NULL;

        for (size_t i = 0; i < pulls->n; i++)
                if (!best || (best->unpacks && !pulls->pulls[i].unpacks) ||
                    (best->unpacks == pulls->pulls[i].unpacks && pulls->pulls[i].quiet_ns > best->quiet_ns))
                        best = &pulls->pulls[i];
        return best;
}

_printf_(2, 3) static void say(Now *now, const char *format, ...) {
        size_t n = strlen(now->sentence);
        va_list args;

        va_start(args, format);
        (void) vsnprintf(now->sentence + n, sizeof(now->sentence) - n, format, args);
        va_end(args);
}

static void say_subject(Now *now) {
        const Chain *chain = now->chain;
        const ChainLink *leaf = chain_leaf(chain);
        const char *operation = operation_of(chain);
        char age[TEXT_DURATION_MAX], since[16];

        text_duration(chain->age_ns, age);
        if (*operation)
                say(now, "%s of %s", operation, now->name);
        else if (leaf && leaf->proc->podof && leaf->proc->podof->is_volume)
                say(now, "Mounting a volume of %s", now->name);
        else
                say(now, "Work for %s", now->name);
        if (*chain->identity.container_name && *chain->identity.pod_name)
                say(now, ", container %s,", chain->identity.container_name);
        say(now, " has run for %s", age);
        if (now->attempts.n > 0) {
                clock_text(now->attempts.first_ns, since);
                say(now, " (attempt %" PRIu64 " since %s%s)", now->attempts.n + 1, since,
                    now->attempts.n_deadline == now->attempts.n   ? ", each ended by the caller's deadline"
                    : now->attempts.n_given_up == now->attempts.n ? ", each given up by the caller"
                                                                  : "");
        }
        if (!chain->has_call)
                say(now, ", without a CRI call that podspan-cri saw");
}

static void say_pull(Now *now) {
        const Pull *pull = slowest(&now->pulls);
        char words[160];

        if (!pull) {
                say(now, ": no layer is being downloaded or unpacked that podspan sees");
                return;
        }
        pulls_words(pull, words, sizeof(words));
        say(now, ": %s%s%s", words, now->pulls.n > 1 ? ", and other layers" : "",
            n_pulling(now, now->chain->engine) > 1 ? " (of one of several pulls)" : "");
}

static void read_signals(Now *now, const ChainLink *leaf) {
        const uint64_t term = UINT64_C(1) << (SIGTERM - 1);

        if (leaf->proc->trusted || strncmp(operation_of(now->chain), "Stop", 4) != 0)
                return;
        if (leaf->wait.pending & term)
                add_evidence(now, "signal", "/proc", "SIGTERM is pending%s",
                             leaf->wait.blocked & term ? ": the process blocks it" : "");
        else if (leaf->wait.ignored & term)
                add_evidence(now, "signal", "/proc", "the process ignores SIGTERM");
        else if (!(leaf->wait.caught & term))
                add_evidence(
                        now, "signal", "/proc",
                        "the process has no handler for SIGTERM; as pid 1 of its namespace it would not end by it");
}

static void find_evidence(Now *now) {
        const Chain *chain = now->chain;
        const ChainLink *leaf = chain_leaf(chain);
        char text[CHAIN_TEXT_MAX], words[WAIT_TEXT_MAX], left[TEXT_DURATION_MAX];

        if (chain->has_call && chain->call.deadline_ns != 0) {
                bool over = chain->call.deadline_ns <= now->chains.now_ns;

                text_duration(over ? now->chains.now_ns - chain->call.deadline_ns
                                   : chain->call.deadline_ns - now->chains.now_ns,
                              left);
                add_evidence(now, "deadline", "context",
                             over ? "the caller's deadline passed %s ago" : "the caller waits %s more", left);
        }
        if (leaf) {
                add_evidence(now, "state", "/proc", "pid %d is in state %c%s%s%s%s", (int) leaf->proc->stat.pid,
                             leaf->wait.state ? leaf->wait.state : leaf->proc->stat.state,
                             *leaf->wait.syscall ? ", system call " : "", leaf->wait.syscall,
                             *leaf->wait.wchan && strcmp(leaf->wait.wchan, "0") != 0 ? ", kernel function " : "",
                             strcmp(leaf->wait.wchan, "0") != 0 ? leaf->wait.wchan : "");
                read_signals(now, leaf);
        }
        for (size_t i = 0; i < chain->n; i++)
                if (chain->links[i].is_peer) {
                        chainview_program(chain->links[i].proc, text, sizeof(text));
                        wait_words(&chain->links[i].wait, words);
                        add_evidence(now, "other end", "/proc", "%.200s %.400s", text, words);
                }
        if (leaf && leaf->wait.kind == WAIT_UNKNOWN)
                add_unknown(now, "what pid %d waits for", (int) leaf->proc->stat.pid);
        if (leaf && leaf->wait.peer == WAIT_PEER_UNKNOWN)
                add_unknown(now, "who could end the wait of pid %d", (int) leaf->proc->stat.pid);
        for (size_t i = 0; i < now->chains.procs.n; i++)
                if (now->chains.procs.procs[i].silent)
                        add_unknown(now, "pid %d (%s): its command line did not answer",
                                    (int) now->chains.procs.procs[i].stat.pid, now->chains.procs.procs[i].stat.comm);
        if (chain->none == CHAIN_NO_ENGINE)
                add_unknown(now, "which process works for it: none that podspan believes does");
        if (now->chains.look.objects.scan.incomplete || now->chains.procs.more || now->chains.procs.incomplete)
                add_unknown(now, "the rest: there are more processes or descriptors than podspan looks at");
}

/* podman's containers are in no pod. */
static void name_pod(Now *now, const Identity *identity) {
        if (!*identity->pod_name && *identity->container_name)
                (void) snprintf(now->name, sizeof(now->name), "container %s", identity->container_name);
        else
                chainview_pod(identity, now->name, sizeof(now->name));
}

static void tell(Now *now) {
        char words[CHAIN_TEXT_MAX];

        name_pod(now, &now->chain->identity);
        find_attempts(now);
        if (is_pull(now->chain))
                find_pulls(now, now->chain);
        find_evidence(now);
        say_subject(now);
        if (is_pull(now->chain) && now->chain->none != CHAIN_LEAF)
                say_pull(now);
        else {
                chain_words(now->chain, words);
                say(now, ": %s", words);
        }
        say(now, ".");
}

/* Nothing of the pod is in flight. Is it known, and whom may it wait for? */
static bool tell_waiting(Now *now) {
        const Owner *known = NULL;
        const Chain *other = NULL;
        bool has_container = false;
        char age[TEXT_DURATION_MAX], pod[600];

        for (size_t i = 0; i < now->chains.owners.n; i++) {
                const Owner *owner = &now->chains.owners.owners[i];

                if (!chain_is_pod(&owner->identity, now->pod))
                        continue;
                known = owner;
                has_container = has_container || (*owner->id && !owner->is_sandbox);
        }
        if (!known)
                return false;
        name_pod(now, &known->identity);
        for (size_t i = 0; !other && i < now->chains.n; i++)
                if (is_pull(&now->chains.chains[i]))
                        other = &now->chains.chains[i];
        if (!other || has_container) {
                say(now, "Nothing of %s is in flight.", now->name);
                return true;
        }
        chainview_pod(&other->identity, pod, sizeof(pod));
        text_duration(other->age_ns, age);
        say(now,
            "No CRI call of %s is in flight, and it has no container yet: it may wait inside kubelet for another pod's "
            "pull. "
            "PullImage of %s has run for %s",
            now->name, pod, age);
        find_pulls(now, other);
        now->chain = other;
        say_pull(now);
        now->chain = NULL;
        say(now, ".");
        add_evidence(now, "other pull", "context", "PullImage of %s (%s) has run for %s", pod, other->identity.image,
                     age);
        add_unknown(now,
                    "whether kubelet lets this pod wait: it pulls one image at a time unless it was told otherwise");
        return true;
}

/* Nothing names the pod. What kubelet runs may be for it, if it is only one. */
static bool tell_helper(Now *now) {
        const Chain *only = NULL;
        char words[CHAIN_TEXT_MAX], age[TEXT_DURATION_MAX];
        size_t n = 0;

        for (size_t i = 0; i < now->chains.n; i++)
                if (now->chains.chains[i].unattributed) {
                        only = &now->chains.chains[i];
                        n++;
                }
        if (n == 0)
                return false;
        say(now, "No CRI call of %s is in flight, and no process names it. ", now->pod);
        if (n > 1) {
                say(now, "kubelet runs %zu programs whose pod is not known.", n);
                return true;
        }
        now->chain = only;
        text_duration(only->age_ns, age);
        chain_words(only, words);
        say(now, "Whichever pod it is for, kubelet has run one program for %s: %s.", age, words);
        add_unknown(now, "which pod pid %d works for", (int) chain_leaf(only)->proc->stat.pid);
        find_evidence(now);
        return true;
}

static int look(Now *now, bool peers) {
        _cleanup_close_ int state_fd = cli_open_state(now->cli);
        ChainOptions options = { .state_fd = state_fd, .peers = peers, .created = now->pod };
        int r;

        r = chain_run(&options, &now->chains);
        if (r >= 0)
                choose(now);
        return r;
}

static void json_identity(Json *json, const Identity *identity) {
        answerjson_pod(json, identity->pod_uid, identity->pod_name, identity->pod_namespace, identity->sandbox_id);
        json_key(json, "container");
        json_map(json);
        json_pair_known(json, "name", identity->container_name);
        json_pair_known(json, "id", identity->container_id);
        json_map_end(json);
}

static void json_links(Json *json, const Chains *chains, const Chain *chain, bool peers) {
        json_array(json);
        for (size_t i = 0; chain && i < chain->n; i++)
                if (chain->links[i].is_peer == peers)
                        chainview_json_link(json, chains, &chain->links[i]);
        json_array_end(json);
}

static void json_call(Json *json, const Chains *chains, const Chain *chain) {
        json_pair_str(json, "operation", *operation_of(chain) ? operation_of(chain) : NULL);
        json_pair_bool(json, "call", chain->has_call);
        json_pair_u64(json, "age_ns", chain->age_ns);
        json_time(json, "start",
                  chain->has_call ? chain->call.start_ns : chains->now_ns - MIN(chain->age_ns, chains->now_ns));
        json_time(json, "deadline", chain->call.deadline_ns);
}

static void json_others(Json *json, const Now *now) {
        json_key(json, "others");
        json_array(json);
        for (size_t i = 0; i < now->chains.n; i++) {
                const Chain *chain = &now->chains.chains[i];

                if (chain == now->chain || !chain_is_pod(&chain->identity, now->pod))
                        continue;
                json_map(json);
                json_identity(json, &chain->identity);
                json_call(json, &now->chains, chain);
                json_key(json, "chain");
                json_links(json, &now->chains, chain, false);
                json_map_end(json);
        }
        json_array_end(json);
}

static CliExit print_json(const Now *now, CliExit result) {
        static const Identity nobody = {};
        _cleanup_(json_freep) Json *json = json_new(stdout);

        if (!json)
                return cli_failure("out of memory");
        json_map(json);
        json_pair_u64(json, "schema", SCHEMA);
        json_pair_str(json, "question", "now");
        json_identity(json, now->chain ? &now->chain->identity : &nobody);
        json_pair_str(json, "sentence", now->sentence);
        if (now->chain)
                json_call(json, &now->chains, now->chain);
        if (now->attempts.n > 0) {
                json_key(json, "attempts");
                json_map(json);
                json_pair_u64(json, "number", now->attempts.n + 1);
                json_pair_u64(json, "by_deadline", now->attempts.n_deadline);
                json_pair_u64(json, "given_up", now->attempts.n_given_up);
                json_time(json, "first", now->attempts.first_ns);
                json_map_end(json);
        }
        json_key(json, "chain");
        json_links(json, &now->chains, now->chain, false);
        json_key(json, "other_ends");
        json_links(json, &now->chains, now->chain, true);
        json_key(json, "evidence");
        json_array(json);
        for (size_t i = 0; i < now->n_evidence; i++) {
                json_map(json);
                json_pair_str(json, "what", now->evidence[i].what);
                json_pair_str(json, "value", now->evidence[i].value);
                json_pair_str(json, "source", now->evidence[i].source);
                json_map_end(json);
        }
        json_array_end(json);
        json_key(json, "unknown");
        json_array(json);
        for (size_t i = 0; i < now->n_unknown; i++)
                json_str(json, now->unknown[i]);
        json_array_end(json);
        json_others(json, now);
        chainview_json_rest(json, &now->chains);
        json_map_end(json);
        return cli_finish(json, result);
}

static void print_chain(const Now *now) {
        char text[TEXT_N], words[WAIT_TEXT_MAX], age[TEXT_DURATION_MAX], first[TEXT_DURATION_MAX + 16];

        printf("\n");
        for (size_t i = 0; i < now->chain->n; i++) {
                const ChainLink *link = &now->chain->links[i];

                if (link->is_peer)
                        continue;
                text_duration(procscan_age_ns(&now->chains.procs, link->proc), age);
                (void) snprintf(first, sizeof(first), "  %9s  ", age);
                chainview_program(link->proc, text, 200);
                wait_words(&link->wait, words);
                (void) snprintf(text + strlen(text), sizeof(text) - strlen(text), " %s", words);
                chainview_wrap(&now->cli->screen, first, text, SCREEN_PLAIN);
        }
}

static CliExit print_text(const Now *now, CliExit result) {
        char first[64];

        chainview_wrap(&now->cli->screen, "", now->sentence, SCREEN_BOLD);
        if (now->chain && now->chain->n > 0)
                print_chain(now);
        if (now->n_evidence + now->n_unknown > 0)
                printf("\n");
        for (size_t i = 0; i < now->n_evidence; i++) {
                (void) snprintf(first, sizeof(first), "  %-10s ", now->evidence[i].what);
                chainview_wrap(&now->cli->screen, first, now->evidence[i].value, SCREEN_PLAIN);
        }
        for (size_t i = 0; i < now->n_unknown; i++)
                chainview_wrap(&now->cli->screen, "  not known  ", now->unknown[i], SCREEN_DIM);
        chainview_stuck(&now->cli->screen, &now->chains);
        return cli_finish(NULL, result);
}

CliExit now_print(const Cli *cli, const char *pod) {
        _cleanup_(nowp) Now *now = calloc(1, sizeof(*now));
        CliExit result = CLI_OK;
        int r;

        if (!now)
                return cli_failure("out of memory");
        now->cli = cli;
        now->pod = pod;
        r = look(now, true);
        if (r < 0)
                return cli_failure("%s/context, /proc: %s", cli->state_dir, strerror(-r));
        if (now->chain)
                tell(now);
        else if (!tell_waiting(now) && !tell_helper(now)) {
                say(now, "Nothing of %s is in flight, and no process on this node belongs to it.", pod);
                result = CLI_NOTHING;
        }
        return cli->json ? print_json(now, result) : print_text(now, result);
}

bool now_hangs(const Cli *cli, const char *pod, uint64_t age_ns) {
        _cleanup_(nowp) Now *now = calloc(1, sizeof(*now));

        if (!now)
                return false;
        now->cli = cli;
        now->pod = pod;
        return look(now, false) >= 0 && now->chain && now->chain->has_call && now->chain->age_ns >= age_ns;
}
