#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "semconv.h"
#include "startpart.h"
#include "util.h"

#define NONE UINT32_MAX

/* A sandbox that failed is made again, with a back-off of at most this. */
#define RETRY_NS (10ULL * 60 * NSEC_PER_SEC)
/* Init containers may run for long. What starts later is a restart's. */
#define START_MAX_NS (60ULL * 60 * NSEC_PER_SEC)

static const char *const kind_words[_START_KIND_MAX] = {
        [START_BEFORE] = "before_first_call",
        [START_QUEUE] = "pull_queue",
        [START_PULL] = "pull",
        [START_CNI] = "cni",
        [START_HOOK] = "hook",
        [START_MOUNTS] = "mounts",
        [START_CGROUP] = "cgroup",
        [START_CPU_WAIT] = "cpu_wait",
        [START_RUNTIME] = "runtime",
        [START_ENGINE] = "engine",
        [START_CALL] = "call",
        [START_INIT] = "init_container",
        [START_RETRY] = "retry",
        [START_COMMAND] = "command_after_start",
        [START_KUBELET] = "kubelet",
        [START_UNKNOWN] = "unknown",
};

const char *startpart_kind_word(StartKind kind) {
        assert((unsigned) kind < _START_KIND_MAX);
        return kind_words[kind];
}

/* ---- names ---- */

static bool startpart_same(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

static const char *short_name(const char *name) {
        const char *slash = strrchr(name, '/');

        return slash ? slash + 1 : name;
}

static bool is_method(const StartSpan *span, const char *method) {
        return span->is_call && startpart_same(short_name(span->name), method);
}

static bool begins(const char *s, const char *prefix) {
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool is_one_of(const char *s, const char *const *words, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (startpart_same(s, words[i]))
                        return true;
        return false;
}

/* These last as long as the container, a stream or a monitor: they explain no moment of a start. */
static bool is_life(const char *name) {
        return (name && semconv_long_lived(name)) || startpart_same(name, "entrypoint");
}

static bool is_container_life(const StartSpan *span) {
        return startpart_same(span->name, "container") || startpart_same(span->name, "wait_for_exit_code");
}

static bool is_mounts(const char *name) {
        static const char *const names[] = {
                "mount",         "unmount",          "mounts",           "files",
                "create files",  "remove files",     "rename",           "fsync",
                "init start-up", "container set-up", "mounts and state",
        };

        return is_one_of(name, names, ARRAY_SIZE(names));
}

static bool is_cgroup(const char *name) {
        static const char *const names[] = { "cgroup write", "cgroup join", "cgroup set-up" };

        return is_one_of(name, names, ARRAY_SIZE(names));
}

/* "crio: mount": the engine's own work. Returns what follows, or NULL. */
static const char *engine_work(const char *name) {
        static const char *const prefixes[] = { "crio: ", "containerd: " };

        for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
                if (begins(name, prefixes[i]))
                        return name + strlen(prefixes[i]);
        return NULL;
}

/* "cni bridge ADD" → "bridge". */
static bool cni_plugin(const char *name, char *ret, size_t size) {
        const char *plugin = name + strlen("cni ");

        if (!begins(name, "cni "))
                return false;
        (void) snprintf(ret, size, "%.*s", (int) strcspn(plugin, " "), plugin);
        return true;
}

/* ---- the tree ---- */

typedef struct Tree {
        StartSpan *spans;
        size_t n;
        uint32_t *parents;
        uint32_t *calls; /* the CRI call that a span is, or is below; or NONE */
        uint32_t *by_id; /* indices sorted by span id */
        uint8_t *depths;
} Tree;

static void tree_deinit(Tree *tree) {
        free(tree->parents);
        free(tree->calls);
        free(tree->by_id);
        free(tree->depths);
}

static int compare_start(const void *a, const void *b) {
        const StartSpan *x = a, *y = b;

        if (x->start_ns != y->start_ns)
                return x->start_ns < y->start_ns ? -1 : 1;
        if (x->end_ns != y->end_ns)
                return x->end_ns > y->end_ns ? -1 : 1;
        return memcmp(x->span_id, y->span_id, sizeof(x->span_id));
}

static int compare_id(const void *a, const void *b, void *userdata) {
        const StartSpan *spans = userdata;

        return memcmp(spans[*(const uint32_t *) a].span_id, spans[*(const uint32_t *) b].span_id,
                      sizeof(spans->span_id));
}

static uint32_t tree_find(const Tree *tree, const uint8_t id[static 8]) {
        size_t low = 0, high = tree->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int order = memcmp(tree->spans[tree->by_id[middle]].span_id, id, 8);

                if (order == 0)
                        return tree->by_id[middle];
                if (order < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NONE;
}

static int tree_init(Tree *tree, StartSpan *spans, size_t n) {
        *tree = (Tree){
                .spans = spans,
                .n = n,
                .parents = calloc(n, sizeof(*tree->parents)),
                .calls = calloc(n, sizeof(*tree->calls)),
                .by_id = calloc(n, sizeof(*tree->by_id)),
                .depths = calloc(n, sizeof(*tree->depths)),
        };
        if (!tree->parents || !tree->calls || !tree->by_id || !tree->depths)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                tree->by_id[i] = (uint32_t) i;
        qsort_r(tree->by_id, n, sizeof(*tree->by_id), compare_id, spans);
        for (size_t i = 0; i < n; i++) {
                uint32_t parent = spans[i].has_parent ? tree_find(tree, spans[i].parent_id) : NONE;

                tree->parents[i] = parent == i ? NONE : parent;
        }
        /* A ring ends at the limit, with a depth that is as good as any. */
        for (size_t i = 0; i < n; i++) {
                uint8_t depth = 0;

                tree->calls[i] = spans[i].is_call ? (uint32_t) i : NONE;
                for (uint32_t at = tree->parents[i]; at != NONE && depth < STARTPART_DEPTH_MAX;
                     at = tree->parents[at], depth++)
                        if (tree->calls[i] == NONE && spans[at].is_call)
                                tree->calls[i] = at;
                tree->depths[i] = depth;
        }
        return 0;
}

/* ---- where the start begins and ends ---- */

typedef struct Bounds {
        uint64_t first_call_ns;
        uint64_t begin_ns;
        uint64_t end_ns;
} Bounds;

/* The newest sandbox and the failed ones that came before it: one start. */
static int find_begin(const Tree *tree, Bounds *bounds, Start *start) {
        uint32_t newest = NONE;

        for (size_t i = tree->n; i-- > 0;) {
                const StartSpan *span = &tree->spans[i];

                if (!is_method(span, "RunPodSandbox"))
                        continue;
                if (newest != NONE && (span->outcome == OUTCOME_OK || span->end_ns > tree->spans[newest].start_ns ||
                                       tree->spans[newest].start_ns - span->end_ns > RETRY_NS))
                        break;
                newest = (uint32_t) i;
                start->n_attempts++;
        }
        if (newest == NONE)
                return -ENOENT;
        bounds->first_call_ns = tree->spans[newest].start_ns;
        bounds->begin_ns = bounds->first_call_ns;
        if (tree->spans[newest].wait_ns < MIN(RETRY_NS, bounds->begin_ns))
                bounds->begin_ns -= tree->spans[newest].wait_ns;
        return 0;
}

/* Is it the first StartContainer of its container's name since the begin? A later one is a restart. */
static bool is_first_start(const Tree *tree, const Bounds *bounds, size_t at) {
        for (size_t i = at; i-- > 0 && tree->spans[i].start_ns >= bounds->first_call_ns;)
                if (is_method(&tree->spans[i], "StartContainer") && tree->spans[i].outcome == OUTCOME_OK &&
                    startpart_same(tree->spans[i].container_name, tree->spans[at].container_name))
                        return false;
        return true;
}

static bool in_start(const Bounds *bounds, const StartSpan *span) {
        return span->start_ns >= bounds->first_call_ns && span->start_ns - bounds->first_call_ns <= START_MAX_NS;
}

static void find_end(const Tree *tree, Bounds *bounds, Start *start) {
        uint64_t last_ns = 0, any_ns = bounds->first_call_ns;

        for (size_t i = 0; i < tree->n; i++) {
                const StartSpan *span = &tree->spans[i];

                if (!in_start(bounds, span))
                        continue;
                if (is_method(span, "StartContainer") && span->outcome == OUTCOME_OK &&
                    is_first_start(tree, bounds, i)) {
                        last_ns = MAX(last_ns, span->end_ns);
                        start->complete = true;
                } else if (is_method(span, "ExecSync") && last_ns > 0 && span->start_ns >= last_ns &&
                           span->start_ns - last_ns <= STARTPART_FOLLOWS_NS) {
                        last_ns = span->end_ns;
                } else if (is_method(span, "CreateContainer") && span->start_ns >= last_ns &&
                           is_first_start(tree, bounds, i)) {
                        start->complete = false;
                }
                if (is_method(span, "RunPodSandbox") || is_method(span, "PullImage") ||
                    is_method(span, "CreateContainer"))
                        any_ns = MAX(any_ns, span->end_ns);
        }
        /* A start that did not get so far ends with its last call. */
        bounds->end_ns = start->complete || last_ns > any_ns ? last_ns : any_ns;
}

/* ---- one moment ---- */

typedef struct Key {
        StartKind kind;
        const char *what; /* valid until the next one */
        const char *detail;
        uint32_t span; /* or NONE */
} Key;

typedef struct Texts {
        char what[STARTPART_WHAT_MAX];
        char detail[STARTPART_WHAT_MAX];
} Texts;

static Key key_of_span(const Tree *tree, uint32_t at, Texts *texts) {
        const StartSpan *leaf = &tree->spans[at];
        uint32_t call = NONE, cni = NONE, hook = NONE, program = NONE;
        const char *work;
        unsigned depth = 0;

        for (uint32_t i = at; i != NONE && depth < STARTPART_DEPTH_MAX; i = tree->parents[i], depth++) {
                const StartSpan *span = &tree->spans[i];

                if (span->is_call) {
                        call = i;
                        break;
                }
                if (begins(span->name, "cni "))
                        cni = i;
                else if (*span->hook_stage)
                        hook = i;
                else if (!is_mounts(span->name) && !is_cgroup(span->name) && !engine_work(span->name))
                        program = i;
        }

        if (call != NONE && is_method(&tree->spans[call], "PullImage")) {
                (void) snprintf(texts->what, sizeof(texts->what), "%s", tree->spans[call].image);
                return (Key){ START_PULL, texts->what, "", call };
        }
        if (call != NONE && is_method(&tree->spans[call], "ExecSync")) {
                (void) snprintf(texts->what, sizeof(texts->what), "%s", tree->spans[call].container_name);
                return (Key){ START_COMMAND, texts->what, "", call };
        }
        if (cni != NONE) {
                (void) cni_plugin(tree->spans[cni].name, texts->what, sizeof(texts->what));
                if (at != cni && !cni_plugin(leaf->name, texts->detail, sizeof(texts->detail)))
                        (void) snprintf(texts->detail, sizeof(texts->detail), "%s", leaf->name);
                return (Key){ START_CNI, texts->what, at != cni ? texts->detail : "", cni };
        }
        if (hook != NONE) {
                (void) snprintf(texts->what, sizeof(texts->what), "%s (%s)", tree->spans[hook].name,
                                tree->spans[hook].hook_stage);
                if (at != hook)
                        (void) snprintf(texts->detail, sizeof(texts->detail), "%s", leaf->name);
                return (Key){ START_HOOK, texts->what, at != hook ? texts->detail : "", hook };
        }
        if (startpart_same(leaf->name, "wait for a CPU"))
                return (Key){ START_CPU_WAIT, "", "", at };
        work = engine_work(leaf->name);
        if (is_cgroup(work ? work : leaf->name))
                return (Key){ START_CGROUP, "", work ? "by the engine" : "", at };
        if (is_mounts(work ? work : leaf->name))
                return (Key){ START_MOUNTS, "", work ? "by the engine" : "", at };
        if (work) {
                (void) snprintf(texts->detail, sizeof(texts->detail), "%s", work);
                return (Key){ START_ENGINE, "", texts->detail, at };
        }
        if (leaf->is_call) {
                (void) snprintf(texts->what, sizeof(texts->what), "%s", short_name(leaf->name));
                return (Key){ START_CALL, texts->what, "", at };
        }
        (void) snprintf(texts->what, sizeof(texts->what), "%s",
                        program == NONE ? leaf->name : tree->spans[program].name);
        if (program != NONE && program != at)
                (void) snprintf(texts->detail, sizeof(texts->detail), "%s", leaf->name);
        return (Key){ START_RUNTIME, texts->what, program != NONE && program != at ? texts->detail : "",
                      program == NONE ? at : program };
}

typedef struct Gap {
        uint32_t before; /* the call that ended last before it, or NONE */
        uint32_t after;  /* the call that ended it */
        uint64_t from_ns;
        uint64_t to_ns;
} Gap;

static uint64_t away(uint64_t a, uint64_t b) {
        return a > b ? a - b : b - a;
}

/* kubelet pulls one image after the other: this pod's pull began when another one ended. */
static const StartPull *waited_for(const StartPull *pulls, size_t n_pulls, const Gap *gap) {
        uint64_t length = gap->to_ns - gap->from_ns;
        const StartPull *best = NULL;
        uint64_t covered = 0;

        for (size_t i = 0; i < n_pulls; i++) {
                uint64_t from = MAX(pulls[i].start_ns, gap->from_ns), to = MIN(pulls[i].end_ns, gap->to_ns);

                if (to > from)
                        covered += to - from;
                if (pulls[i].start_ns < gap->to_ns && away(pulls[i].end_ns, gap->to_ns) <= STARTPART_GAP_NS &&
                    (!best || pulls[i].start_ns < best->start_ns))
                        best = &pulls[i];
        }
        return best && covered + STARTPART_GAP_NS >= length ? best : NULL;
}

static Key key_of_gap(const Tree *tree, const Bounds *bounds, const Gap *gap, const StartPull *pulls, size_t n_pulls,
                      bool watched, Texts *texts) {
        const StartSpan *before, *after;
        const StartPull *pull;

        if (gap->from_ns < bounds->first_call_ns)
                return (Key){ START_BEFORE, "", "", NONE };
        if (gap->before == NONE || gap->after == NONE || gap->to_ns - gap->from_ns < STARTPART_GAP_NS)
                return (Key){ START_KUBELET, "", "", NONE };

        before = &tree->spans[gap->before];
        after = &tree->spans[gap->after];
        if (before->outcome == OUTCOME_FAILED) {
                (void) snprintf(texts->what, sizeof(texts->what), "%s", short_name(before->name));
                return (Key){ START_RETRY, texts->what, "", gap->before };
        }
        if (is_method(after, "PullImage")) {
                pull = waited_for(pulls, n_pulls, gap);
                if (pull) {
                        (void) snprintf(texts->what, sizeof(texts->what), "%s", pull->pod);
                        return (Key){ START_QUEUE, texts->what, "", NONE };
                }
        }
        for (size_t i = 0; i < tree->n; i++) {
                const StartSpan *life = &tree->spans[i];

                if (is_container_life(life) && life->start_ns < gap->to_ns && life->end_ns > gap->from_ns &&
                    life->end_ns <= gap->to_ns && *life->container_name) {
                        (void) snprintf(texts->what, sizeof(texts->what), "%s", life->container_name);
                        return (Key){ START_INIT, texts->what, "", (uint32_t) i };
                }
        }
        /* Without podspan-watch or a monitor nobody saw the end of an init container. */
        if (is_method(before, "StartContainer") && !watched)
                return (Key){ START_UNKNOWN, "", "", NONE };
        return (Key){ START_KUBELET, "", "", NONE };
}

/* ---- parts ---- */

static StartPart *part_of(Start *start, const Key *key, uint64_t from_ns) {
        StartPart *part;

        for (size_t i = 0; i < start->n_parts; i++)
                if (start->parts[i].kind == key->kind && startpart_same(start->parts[i].what, key->what))
                        return &start->parts[i];
        if (start->n_parts == STARTPART_PARTS_MAX)
                return &start->parts[STARTPART_PARTS_MAX - 1];
        part = &start->parts[start->n_parts++];
        *part = (StartPart){ .kind = key->kind, .first_ns = from_ns };
        (void) snprintf(part->what, sizeof(part->what), "%s", key->what);
        return part;
}

/* What a part spent on each of its details; the longest is told. */
typedef struct Detail {
        StartPart *part;
        uint64_t ns;
        char text[STARTPART_WHAT_MAX];
} Detail;

#define DETAILS_MAX 256

typedef struct Sweep {
        Start *start;
        Detail details[DETAILS_MAX];
        size_t n_details;
} Sweep;

static void sweep_add(Sweep *sweep, const Tree *tree, const Key *key, uint64_t from_ns, uint64_t to_ns) {
        StartPart *part;
        Detail *detail = NULL;

        if (to_ns <= from_ns)
                return;
        part = part_of(sweep->start, key, from_ns);
        part->ns += to_ns - from_ns;
        if (key->span != NONE && !part->has_span) {
                memcpy(part->span_id, tree->spans[key->span].span_id, sizeof(part->span_id));
                part->has_span = true;
        }
        if (!*key->detail)
                return;
        for (size_t i = 0; i < sweep->n_details && !detail; i++)
                if (sweep->details[i].part == part && startpart_same(sweep->details[i].text, key->detail))
                        detail = &sweep->details[i];
        if (!detail) {
                if (sweep->n_details == DETAILS_MAX)
                        return;
                detail = &sweep->details[sweep->n_details++];
                detail->part = part;
                (void) snprintf(detail->text, sizeof(detail->text), "%s", key->detail);
        }
        detail->ns += to_ns - from_ns;
        if (detail->ns > part->detail_ns) {
                part->detail_ns = detail->ns;
                (void) snprintf(part->detail, sizeof(part->detail), "%s", detail->text);
        }
}

static int compare_u64(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

static int compare_part(const void *a, const void *b) {
        const StartPart *x = a, *y = b;

        if (x->ns != y->ns)
                return x->ns > y->ns ? -1 : 1;
        return x->first_ns < y->first_ns ? -1 : x->first_ns > y->first_ns;
}

/* A call of the start counts before a command in a container, and both before a program that belongs to no call. */
static unsigned rank_of(const Tree *tree, uint32_t at) {
        if (tree->calls[at] == NONE)
                return 0;
        return is_method(&tree->spans[tree->calls[at]], "ExecSync") ? 1 : 2;
}

static bool counts_before(const Tree *tree, uint32_t a, uint32_t b) {
        unsigned rank_a = rank_of(tree, a), rank_b = rank_of(tree, b);

        if (rank_a != rank_b)
                return rank_a > rank_b;
        if (tree->depths[a] != tree->depths[b])
                return tree->depths[a] > tree->depths[b];
        return tree->spans[a].start_ns >= tree->spans[b].start_ns;
}

/* The deepest of the open spans; of two of one depth the one that began later. */
static uint32_t deepest(const Tree *tree, const uint32_t *open, size_t n_open) {
        uint32_t best = NONE;

        for (size_t i = 0; i < n_open; i++)
                if (best == NONE || counts_before(tree, open[i], best))
                        best = open[i];
        return best;
}

/* Does the ExecSync follow the start of its container at once: a postStart command, or a first probe? */
static bool follows_start(const Tree *tree, uint32_t at) {
        const StartSpan *command = &tree->spans[at];

        for (uint32_t i = at; i-- > 0;) {
                const StartSpan *span = &tree->spans[i];

                if (is_method(span, "StartContainer") && startpart_same(span->container_name, command->container_name))
                        return command->start_ns >= span->end_ns &&
                               command->start_ns - span->end_ns <= STARTPART_FOLLOWS_NS;
        }
        return false;
}

/* Calls of the start, and what lies below them. A probe or a restart beside them explains nothing. */
static bool explains(const Tree *tree, const Bounds *bounds, uint32_t at) {
        static const char *const methods[] = {
                "RunPodSandbox", "PullImage", "CreateContainer", "StartContainer", "StopPodSandbox", "RemovePodSandbox",
        };
        const StartSpan *span = &tree->spans[at];
        uint32_t call = tree->calls[at];

        if (is_life(span->name) || span->end_ns <= span->start_ns || span->start_ns >= bounds->end_ns ||
            span->end_ns <= bounds->first_call_ns)
                return false;
        if (call == NONE)
                return true;
        if (is_method(&tree->spans[call], "ExecSync"))
                return follows_start(tree, call);
        return is_one_of(short_name(tree->spans[call].name), methods, ARRAY_SIZE(methods));
}

static Gap gap_at(const Tree *tree, uint64_t from_ns, uint64_t to_ns) {
        Gap gap = { .before = NONE, .after = NONE, .from_ns = from_ns, .to_ns = to_ns };

        for (size_t i = 0; i < tree->n; i++) {
                const StartSpan *span = &tree->spans[i];

                if (!span->is_call)
                        continue;
                if (span->end_ns <= gap.from_ns &&
                    (gap.before == NONE || span->end_ns >= tree->spans[gap.before].end_ns))
                        gap.before = (uint32_t) i;
                if (span->start_ns >= gap.to_ns && gap.after == NONE)
                        gap.after = (uint32_t) i;
        }
        return gap;
}

static int sweep_run(Sweep *sweep, const Tree *tree, const Bounds *bounds, const StartPull *pulls, size_t n_pulls) {
        _cleanup_free_ uint64_t *edges = calloc(2 * tree->n + 3, sizeof(*edges));
        _cleanup_free_ uint32_t *open = calloc(tree->n, sizeof(*open));
        size_t n_edges = 0, n_unique = 1, n_open = 0, next = 0;

        if (!edges || !open)
                return -ENOMEM;
        edges[n_edges++] = bounds->begin_ns;
        edges[n_edges++] = bounds->first_call_ns;
        edges[n_edges++] = bounds->end_ns;
        for (size_t i = 0; i < tree->n; i++) {
                if (!explains(tree, bounds, (uint32_t) i))
                        continue;
                edges[n_edges++] = MAX(tree->spans[i].start_ns, bounds->first_call_ns);
                edges[n_edges++] = MIN(tree->spans[i].end_ns, bounds->end_ns);
        }
        qsort(edges, n_edges, sizeof(*edges), compare_u64);
        for (size_t i = 1; i < n_edges; i++)
                if (edges[i] != edges[n_unique - 1])
                        edges[n_unique++] = edges[i];
        n_edges = n_unique;

        for (size_t e = 0; e + 1 < n_edges; e++) {
                Texts texts = {};
                Key key;

                for (size_t i = 0; i < n_open;)
                        if (tree->spans[open[i]].end_ns <= edges[e])
                                open[i] = open[--n_open];
                        else
                                i++;
                while (next < tree->n && tree->spans[next].start_ns <= edges[e]) {
                        if (explains(tree, bounds, (uint32_t) next) && tree->spans[next].end_ns > edges[e])
                                open[n_open++] = (uint32_t) next;
                        next++;
                }
                if (edges[e] >= bounds->first_call_ns && n_open > 0) {
                        key = key_of_span(tree, deepest(tree, open, n_open), &texts);
                } else {
                        Gap gap = gap_at(tree, edges[e], edges[e + 1]);

                        key = key_of_gap(tree, bounds, &gap, pulls, n_pulls, sweep->start->watched, &texts);
                }
                sweep_add(sweep, tree, &key, edges[e], edges[e + 1]);
        }
        return 0;
}

int startpart_divide(StartSpan *spans, size_t n, const StartPull *pulls, size_t n_pulls, Start *ret) {
        _cleanup_free_ Sweep *sweep = calloc(1, sizeof(*sweep));
        _cleanup_(tree_deinit) Tree tree = {};
        Bounds bounds = {};
        int r;

        assert(spans || n == 0);
        assert(pulls || n_pulls == 0);
        assert(ret);

        *ret = (Start){};
        if (n == 0)
                return -ENOENT;
        n = MIN(n, (size_t) STARTPART_SPANS_MAX);
        n_pulls = MIN(n_pulls, (size_t) STARTPART_PULLS_MAX);
        qsort(spans, n, sizeof(*spans), compare_start);
        r = sweep ? tree_init(&tree, spans, n) : -ENOMEM;
        if (r < 0)
                return r;

        r = find_begin(&tree, &bounds, ret);
        if (r < 0)
                return r;
        find_end(&tree, &bounds, ret);
        for (size_t i = 0; i < n && !ret->watched; i++)
                ret->watched = !spans[i].is_call && in_start(&bounds, &spans[i]);
        ret->begin_ns = bounds.begin_ns;
        ret->end_ns = MAX(bounds.end_ns, bounds.begin_ns);
        bounds.end_ns = ret->end_ns;

        sweep->start = ret;
        r = sweep_run(sweep, &tree, &bounds, pulls, n_pulls);
        if (r < 0)
                return r;
        qsort(ret->parts, ret->n_parts, sizeof(*ret->parts), compare_part);
        return 0;
}

void startpart_text(const StartPart *part, char ret[static STARTPART_TEXT_MAX]) {
        static const char *const forms[_START_KIND_MAX] = {
                [START_BEFORE] = "before the first call",
                [START_QUEUE] = "waiting for the image pull of pod",
                [START_PULL] = "pulling image",
                [START_CNI] = "CNI",
                [START_HOOK] = "hook",
                [START_MOUNTS] = "mounts and files",
                [START_CGROUP] = "cgroups",
                [START_CPU_WAIT] = "waiting for a CPU",
                [START_RUNTIME] = "",
                [START_ENGINE] = "the engine's own work",
                [START_CALL] = "unexplained within",
                [START_INIT] = "init container",
                [START_RETRY] = "until the retry after a failed",
                [START_COMMAND] = "a command right after the start of container",
                [START_KUBELET] = "kubelet between calls",
                [START_UNKNOWN] = "between calls: an init container or kubelet",
        };
        const char *form = forms[part->kind];

        (void) snprintf(ret, STARTPART_TEXT_MAX, "%s%s%s", form, *form && *part->what ? " " : "", part->what);
}
