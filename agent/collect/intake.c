#include <assert.h>
#include <string.h>
#include "intake.h"

/* A batch under construction. TracesData has one repeated field, so files are joined by joining their bytes. */
typedef struct Builder {
        StoreBatch batch; /* id 0: none begun */
        uint8_t *data;
        size_t allocated;
} Builder;

/* What the turn adds to the store's ledger. */
typedef struct Ledger {
        int64_t in;
        int64_t local;
        int64_t too_large;
        int64_t invalid;
} Ledger;

enum {
        BUILD_LOCAL,
        BUILD_PENDING,
        _BUILD_MAX,
};

struct Intake {
        Ingest *ingest;
        Counters *counters;
        TailRules rules;
        TailStopping stopping;
        bool exports;
        Store *store; /* borrowed, during a turn */
        uint64_t now_ns;
        Builder builders[_BUILD_MAX];
        uint64_t counts[_COUNTERS_ID_MAX]; /* of the turn */
        Ledger ledger;                     /* likewise */
        int64_t n_refused; /* spans that a full disk cost: entered once the store takes something again */
        size_t pending_bytes;
        size_t made_bytes;
};

static const int build_state[_BUILD_MAX] = {
        [BUILD_LOCAL] = STORESCHEMA_STATE_LOCAL,
        [BUILD_PENDING] = STORESCHEMA_STATE_PENDING,
};

int intake_new(const IntakeSettings *settings, Counters *counters, Intake **ret) {
        _cleanup_(intake_freep) Intake *intake = NULL;
        int r;

        intake = calloc(1, sizeof(*intake));
        if (!intake)
                return -ENOMEM;
        intake->counters = counters;
        intake->rules = settings->rules;
        intake->exports = settings->exports;
        intake->stopping = settings->stopping;

        r = ingest_new(&settings->ingest, &intake->ingest);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(intake);
        return 0;
}

Intake *intake_free(Intake *intake) {
        if (!intake)
                return NULL;

        for (size_t i = 0; i < _BUILD_MAX; i++)
                free(intake->builders[i].data);
        ingest_free(intake->ingest);
        free(intake);
        return NULL;
}

void intake_set_counters(Intake *intake, Counters *counters) {
        intake->counters = counters;
}

static void reset(Intake *intake) {
        for (size_t i = 0; i < _BUILD_MAX; i++) {
                Builder *builder = intake->builders + i;

                builder->batch = (StoreBatch){};
                if (builder->allocated > INTAKE_BATCH_SIZE) {
                        free(builder->data);
                        builder->data = NULL;
                        builder->allocated = 0;
                }
        }
        memset(intake->counts, 0, sizeof(intake->counts));
        intake->ledger = (Ledger){};
        intake->store = NULL;
}

int intake_begin(Intake *intake, Store *store, uint64_t now_ns) {
        assert(!intake->store);

        intake->store = store;
        intake->now_ns = now_ns;
        intake->pending_bytes = intake->made_bytes = 0;
        return store_begin(store);
}

static int flush(Intake *intake, int build) {
        Builder *builder = intake->builders + build;
        int r;

        if (builder->batch.id == 0)
                return 0;

        r = store_batch_add(intake->store, &builder->batch, build_state[build], builder->data);
        if (r < 0)
                return r;
        if (build == BUILD_PENDING)
                intake->pending_bytes += builder->batch.size;
        builder->batch = (StoreBatch){};
        return 0;
}

static int append(Builder *builder, const uint8_t *data, size_t size) {
        size_t needed = builder->batch.size + size;

        if (needed > builder->allocated) {
                /* Doubled, up to what a batch should have; the rare larger one is exact. */
                size_t doubled = MIN(2 * builder->allocated + 4096, (size_t) INTAKE_BATCH_SIZE);
                size_t allocated = MAX(needed, doubled);
                uint8_t *p = realloc(builder->data, allocated);

                if (!p)
                        return -ENOMEM;
                builder->data = p;
                builder->allocated = allocated;
        }

        memcpy(builder->data + builder->batch.size, data, size);
        builder->batch.size = needed;
        return 0;
}

static int on_chunk(IngestTarget target, const uint8_t *data, size_t size, const IngestRow *rows, size_t n_rows,
                    void *userdata) {
        Intake *intake = userdata;
        int build = target == INGEST_EXPORT ? BUILD_PENDING : BUILD_LOCAL;
        Builder *builder = intake->builders + build;
        int r;

        if (builder->batch.id != 0 && size > INTAKE_BATCH_SIZE - MIN(builder->batch.size, (size_t) INTAKE_BATCH_SIZE)) {
                r = flush(intake, build);
                if (r < 0)
                        return r;
        }
        if (builder->batch.id == 0)
                builder->batch = (StoreBatch){
                        .id = store_batch_next(intake->store),
                        .received_ns = intake->now_ns,
                };

        r = append(builder, data, size);
        if (r < 0)
                return r;

        intake->made_bytes += size;
        for (size_t i = 0; i < n_rows; i++) {
                r = store_span_add(intake->store, builder->batch.id, rows + i);
                if (r < 0)
                        return r;
        }
        builder->batch.n_spans += n_rows;
        if (build == BUILD_LOCAL)
                intake->ledger.local += (int64_t) n_rows;
        return 0;
}

/* Encodes what was parsed last; @ret_n_too_large spans were left out. */
static int encode(Intake *intake, size_t *ret_n_too_large) {
        static const IngestTarget targets[] = { INGEST_EXPORT, INGEST_LOCAL };

        *ret_n_too_large = 0;
        for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
                size_t n_too_large;
                int r;

                r = ingest_encode(intake->ingest, targets[i], on_chunk, intake, &n_too_large);
                if (r < 0)
                        return r;
                *ret_n_too_large += n_too_large;
        }
        return 0;
}

void intake_count_file(Intake *intake, bool good) {
        intake->counts[good ? COUNTERS_AGENT_FILES : COUNTERS_INPUT_BAD]++;
}

int intake_add(Intake *intake, const uint8_t *data, size_t size, int *ret_refused) {
        size_t n, n_invalid, n_kept = 0, n_too_large, n_export = 0;
        IngestRow *rows;
        int r;

        assert(intake->store);

        *ret_refused = 0;
        r = ingest_parse(intake->ingest, data, size, &rows, &n, &n_invalid);
        if (r == -EBADMSG || r == -E2BIG) {
                *ret_refused = r;
                intake_count_file(intake, false);
                return 0;
        }
        if (r < 0)
                return r;

        r = tail_note_stops(intake->store, rows, n);
        if (r < 0)
                return r;
        if (intake->exports) {
                r = tail_apply(&intake->rules, intake->store, rows, n, intake->now_ns, &n_kept);
                if (r < 0)
                        return r;
        } else
                for (size_t i = 0; i < n; i++)
                        rows[i].target = INGEST_LOCAL;

        for (size_t i = 0; i < n; i++)
                n_export += rows[i].target == INGEST_EXPORT;

        r = encode(intake, &n_too_large);
        if (r < 0)
                return r;

        intake_count_file(intake, true);
        intake->counts[COUNTERS_INPUT_BAD] += n_invalid;
        intake->counts[COUNTERS_AGENT_SPANS] += n - n_too_large;
        intake->counts[COUNTERS_AGENT_KEPT] += n_kept;
        intake->counts[COUNTERS_AGENT_EXPORT_SKIPPED] += n - n_export;
        intake->counts[COUNTERS_DROP_TOO_LARGE] += n_too_large;
        intake->ledger.in += (int64_t) (n + n_invalid);
        intake->ledger.invalid += (int64_t) n_invalid;
        intake->ledger.too_large += (int64_t) n_too_large;
        return 0;
}

int intake_refuse(Intake *intake, const uint8_t *data, size_t size) {
        size_t n, n_invalid;
        IngestRow *rows;
        int r;

        r = ingest_parse(intake->ingest, data, size, &rows, &n, &n_invalid);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                counters_add(intake->counters, COUNTERS_AGENT, COUNTERS_INPUT_BAD, 1);
                return 0;
        }
        counters_add(intake->counters, COUNTERS_AGENT, COUNTERS_AGENT_FILES, 1);
        counters_add(intake->counters, COUNTERS_AGENT, COUNTERS_INPUT_BAD, n_invalid);
        counters_add(intake->counters, COUNTERS_AGENT, COUNTERS_AGENT_DROP_STORE_FULL, n);
        intake->n_refused += (int64_t) n;
        return 0;
}

typedef struct Promotion {
        Intake *intake;
        uint8_t trace_id[TRACECONTEXT_TRACE_ID_SIZE];
        const char *reason;
} Promotion;

static int promote_batch(const uint8_t *data, size_t size, void *userdata) {
        Promotion *promotion = userdata;
        Intake *intake = promotion->intake;
        size_t n, n_invalid, n_too_large, n_kept = 0;
        IngestRow *rows;
        int r;

        r = ingest_parse(intake->ingest, data, size, &rows, &n, &n_invalid);
        if (r < 0)
                /* We wrote it ourselves. */
                return r == -EBADMSG ? -EUCLEAN : r;

        for (size_t i = 0; i < n; i++) {
                bool chosen = memcmp(rows[i].trace_id, promotion->trace_id, sizeof(rows[i].trace_id)) == 0;

                rows[i].target = chosen ? INGEST_EXPORT : INGEST_SKIP;
                rows[i].kept = chosen ? promotion->reason : NULL;
                n_kept += chosen;
        }

        r = encode(intake, &n_too_large);
        if (r < 0)
                return r;
        intake->counts[COUNTERS_AGENT_KEPT] += n_kept - n_too_large;
        intake->ledger.local -= (int64_t) (n_kept - n_too_large);
        return 0;
}

/*
 * Promotes traces which were chosen after the fact, from at most INTAKE_PROMOTE_MAX batches. What a turn leaves the
 * next one finds: spans that are promoted stand in a batch that is not local.
 */
static int promote(Intake *intake, bool *ret_more) {
        Promotion promotion = { .intake = intake };
        int n_left = INTAKE_PROMOTE_MAX, r;

        while ((r = store_promote_next(intake->store, promotion.trace_id, &promotion.reason)) > 0) {
                uint64_t n_before = intake->counts[COUNTERS_AGENT_KEPT];
                int64_t ids[INTAKE_PROMOTE_MAX];
                int n;

                if (n_left <= 0) {
                        *ret_more = true;
                        return 0;
                }

                n = store_promote_batches(intake->store, promotion.trace_id, (size_t) n_left, ids);
                if (n < 0)
                        return n;
                for (int i = 0; i < n; i++) {
                        if (intake->made_bytes >= INTAKE_MADE_MAX) {
                                *ret_more = true;
                                return 0;
                        }
                        r = store_batch_read(intake->store, ids[i], promote_batch, &promotion);
                        if (r < 0 && r != -E2BIG)
                                return r;
                }

                /* There may be more of this trace, unless what there is cannot be promoted. */
                if (n == n_left && intake->counts[COUNTERS_AGENT_KEPT] > n_before) {
                        *ret_more = true;
                        return 0;
                }
                n_left -= MAX(n, 1);

                r = store_promote_done(intake->store, promotion.trace_id);
                if (r < 0)
                        return r;
        }

        *ret_more = false;
        return r;
}

/* Enters the turn into the store's ledger, in the transaction that holds its spans. */
static int enter(Intake *intake) {
        const struct {
                const char *key;
                int64_t n;
        } entries[] = {
                { STORESCHEMA_LEDGER_IN, intake->ledger.in + intake->n_refused },
                { STORESCHEMA_LEDGER_LOCAL, intake->ledger.local },
                { STORESCHEMA_LEDGER_TOO_LARGE, intake->ledger.too_large },
                { STORESCHEMA_LEDGER_INVALID, intake->ledger.invalid },
                { STORESCHEMA_LEDGER_STORE_FULL, intake->n_refused },
        };

        for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
                int r = store_ledger_add(intake->store, entries[i].key, entries[i].n);

                if (r < 0)
                        return r;
        }
        return 0;
}

int intake_commit(Intake *intake, bool *ret_more) {
        bool more = false, more_undecided = false;
        int r;

        assert(intake->store);

        /* First the batches of this turn: they may hold spans of a trace that the same turn chose. */
        for (int i = 0; i < _BUILD_MAX; i++) {
                r = flush(intake, i);
                if (r < 0)
                        return r;
        }
        if (intake->exports) {
                r = tail_decide(&intake->rules, intake->store, intake->now_ns, &intake->stopping, &more_undecided);
                if (r == 0)
                        r = promote(intake, &more);
                if (r == 0)
                        r = flush(intake, BUILD_PENDING);
                if (r < 0)
                        return r;
        }

        r = enter(intake);
        if (r == 0)
                r = store_commit(intake->store);
        if (r < 0)
                return r;
        intake->n_refused = 0;

        for (int i = 0; i < _COUNTERS_ID_MAX; i++)
                if (intake->counts[i] > 0)
                        counters_add(intake->counters, COUNTERS_AGENT, (CountersId) i, intake->counts[i]);
        reset(intake);
        *ret_more = more || more_undecided;
        return 0;
}

void intake_rollback(Intake *intake) {
        if (intake->store)
                store_rollback(intake->store);
        intake->pending_bytes = 0;
        reset(intake);
}

size_t intake_made_bytes(const Intake *intake) {
        return intake->made_bytes;
}

size_t intake_committed_bytes(const Intake *intake) {
        return intake->pending_bytes;
}
