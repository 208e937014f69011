#include <assert.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "clk.h"
#include "context.h"
#include "storedb.h"
#include "storequery.h"
#include "storeschema.h"
#include "verdict.h"

struct StoreDb {
        sqlite3 *sqlite;
        sqlite3_stmt *latest; /* storedb_is_latest(), prepared once */
        char *path;
};

StoreDb *storedb_free(StoreDb *db) {
        if (!db)
                return NULL;
        (void) sqlite3_finalize(db->latest);
        (void) sqlite3_close(db->sqlite);
        free(db->path);
        free(db);
        return NULL;
}

sqlite3 *storedb_sqlite(StoreDb *db) {
        return db->sqlite;
}

const char *storedb_error(const StoreDb *db) {
        return sqlite3_errmsg(db->sqlite);
}

/* "file:" URI of @path, with what would end the path escaped. */
static char *uri_new(const char *path, const char *query) {
        size_t size = strlen("file:") + 3 * strlen(path) + strlen(query) + 1;
        char *uri = malloc(size), *p;

        if (!uri)
                return NULL;
        p = stpcpy(uri, "file:");
        for (; *path; path++)
                if (strchr("?#%", *path))
                        p += sprintf(p, "%%%02X", (unsigned char) *path);
                else
                        *p++ = *path;
        strcpy(p, query);
        return uri;
}

static int schema_version(sqlite3 *sqlite, int64_t *ret) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r = sqlite3_prepare_v2(sqlite, "SELECT value FROM meta WHERE key = 'schema'", -1, &stmt, NULL);

        if (r == SQLITE_OK)
                r = sqlite3_step(stmt);
        if (r == SQLITE_ROW) {
                *ret = sqlite3_column_int64(stmt, 0);
                return SQLITE_OK;
        }
        if (r == SQLITE_DONE) {
                *ret = 0;
                return SQLITE_OK;
        }
        return r;
}

static int open_as(StoreDb *db, const char *query, int64_t *ret_version) {
        _cleanup_free_ char *uri = uri_new(db->path, query);
        int r;

        if (!uri)
                return SQLITE_NOMEM;

        r = sqlite3_open_v2(uri, &db->sqlite, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_extended_result_codes(db->sqlite, 1);
        if (r == SQLITE_OK)
                r = sqlite3_busy_timeout(db->sqlite, STOREDB_BUSY_MS);
        /* A schema can hold code (views, triggers); ours has none, and somebody else's shall not run. */
        if (r == SQLITE_OK)
                r = sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        if (r == SQLITE_OK)
                r = sqlite3_exec(
                        db->sqlite,
                        "PRAGMA temp_store = MEMORY;"
                        "CREATE TEMP TABLE live_stop (id TEXT, kind INTEGER, began_ns INTEGER, method INTEGER)",
                        NULL, NULL, NULL);
        if (r == SQLITE_OK)
                r = schema_version(db->sqlite, ret_version);
        return r;
}

static int explain(const StoreDb *db, int error, char **reterr_message) {
        int r;

        switch (error) {
        case -ENOENT:
                r = asprintf(reterr_message, "no store at %s: is podspand running?", db->path);
                break;
        case -EACCES:
                r = asprintf(reterr_message,
                             "%s: permission denied; root and members of the group podspan may read the store",
                             db->path);
                break;
        default:
                r = asprintf(reterr_message, "%s: %s", db->path,
                             db->sqlite && sqlite3_errcode(db->sqlite) != SQLITE_OK ? sqlite3_errmsg(db->sqlite)
                                                                                    : strerror(-error));
                break;
        }
        if (r < 0)
                *reterr_message = NULL;
        return error;
}

int storedb_open(const char *dir, StoreDb **ret, char **reterr_message) {
        _cleanup_(storedb_freep) StoreDb *db = calloc(1, sizeof(*db));
        _cleanup_free_ char *wal = NULL;
        int64_t version = 0;
        int r;

        if (!db)
                return -ENOMEM;
        if (asprintf(&db->path, "%s/%s", dir, STORESCHEMA_FILE) < 0 || asprintf(&wal, "%s-wal", db->path) < 0)
                return -ENOMEM;

        /* SQLite says "unable to open" to everything. */
        if (access(db->path, R_OK) < 0)
                return explain(db, errno == ENOTDIR ? -ENOENT : -errno, reterr_message);

        r = open_as(db, "?mode=ro", &version);
        if ((r & 0xff) == SQLITE_CANTOPEN || (r & 0xff) == SQLITE_READONLY) {
                /*
                 * A database in WAL mode whose last writer closed it has no -shm file, and who may not write the
                 * directory cannot make one. Without a -wal file nobody is writing either, so the file may be read as
                 * it is.
                 */
                if (access(wal, F_OK) == 0 || errno != ENOENT)
                        return explain(db, -EACCES, reterr_message);
                (void) sqlite3_close(db->sqlite);
                db->sqlite = NULL;
                r = open_as(db, "?mode=ro&immutable=1", &version);
        }
        if (r == SQLITE_ERROR) {
                if (asprintf(reterr_message, "%s: not a podspan store", db->path) < 0)
                        *reterr_message = NULL;
                return -EBADMSG;
        }
        if (r != SQLITE_OK)
                return explain(db, storequery_errno(r), reterr_message);

        if (version != STORESCHEMA_VERSION) {
                if (asprintf(reterr_message, "%s: schema version %" PRId64 ", this podspan reads version %d%s",
                             db->path, version, STORESCHEMA_VERSION,
                             version < STORESCHEMA_VERSION ? "; podspand converts it when it is restarted" : "") < 0)
                        *reterr_message = NULL;
                return -EPROTO;
        }

        *ret = TAKE_PTR(db);
        return 0;
}

/* A stop in either table that excuses the span @t. */
#define STOPPED(t)                                                                               \
        "(EXISTS (SELECT 1 FROM stop z WHERE " STORESCHEMA_EXCUSED(                              \
                "z", t ".outcome", t ".container_id", t ".sandbox_id",                           \
                t ".end_ns") ")"                                                                 \
                             " OR EXISTS (SELECT 1 FROM live_stop z WHERE " STORESCHEMA_EXCUSED( \
                                     "z", t ".outcome", t ".container_id", t ".sandbox_id", t ".end_ns") "))"

/* As verdict_of(). */
#define FAILED(t) "(" t ".outcome = 1 OR (" t ".outcome IN (2, 3) AND " t ".end_ns <= :settled AND NOT " STOPPED(t) "))"

static StoreDbVerdict verdict_of(Outcome outcome, bool stopped, uint64_t end_ns, uint64_t settled_ns) {
        switch (outcome) {
        case OUTCOME_OK:
                return STOREDB_OK;
        case OUTCOME_EXITED:
        case OUTCOME_KILLED:
                return stopped ? STOREDB_STOPPED : end_ns > settled_ns ? STOREDB_UNDECIDED : STOREDB_FAILED;
        case OUTCOME_UNKNOWN:
                return STOREDB_UNKNOWN;
        default:
                return STOREDB_FAILED;
        }
}

/*
 * One row a trace, newest first, without collecting them: of each trace its first span is taken, in the order of the
 * index on the start, so that LIMIT ends the scan. Filters ask about other spans of the trace by its primary key.
 */
#define TRACES_SQL                                                                                                     \
        "SELECT s.trace_id, s.start_ns, s.name, coalesce(s.service, ''),"                                              \
        " (SELECT max(e.end_ns) FROM span e WHERE e.trace_id = s.trace_id) AS last_ns,"                                \
        " (SELECT count(DISTINCT c.span_id) FROM span c WHERE c.trace_id = s.trace_id),"                               \
        " (SELECT count(DISTINCT x.span_id) FROM span x WHERE x.trace_id = s.trace_id AND " FAILED(                    \
                "x") "),"                                                                                              \
                     " (SELECT count(DISTINCT v.service) FROM span v WHERE v.trace_id = s.trace_id),"                  \
                     " coalesce((SELECT k.reason FROM keep k WHERE k.trace_id = s.trace_id), ''),"                     \
                     " coalesce((SELECT y.why FROM span y WHERE y.trace_id = s.trace_id AND y.outcome IN (1, 2, 3)"    \
                     "  AND " FAILED(                                                                                  \
                             "y") " ORDER BY length(y.why) DESC, y.end_ns LIMIT 1), '')"                               \
                                  " FROM span s"                                                                       \
                                  " WHERE s.start_ns >= :since AND (:until = 0 OR s.start_ns < :until)"                \
                                  " AND NOT EXISTS (SELECT 1 FROM span b WHERE b.trace_id = s.trace_id"                \
                                  "  AND (b.start_ns, s.end_ns, b.span_id, b.batch) <"                                 \
                                  "  (s.start_ns, b.end_ns, s.span_id, s.batch))"                                      \
                                  " AND (:identity = 0 OR EXISTS (SELECT 1 FROM span i WHERE i.trace_id = s.trace_id"  \
                                  "  AND (:pod IS NULL OR " STOREQUERY_POD_MATCHES(                                    \
                                          "i") ")"                                                                     \
                                               "  AND (:namespace IS NULL OR i.pod_namespace = :namespace)"            \
                                               "  AND (:container IS NULL OR i.container_name = :container"            \
                                               "   OR substr(i.container_id, 1, length(:container)) = :container AND " \
                                               "length(:container) >= "                                                \
                                               "12)))"                                                                 \
                                               " AND (:operation = 0 OR EXISTS (SELECT 1 FROM span o WHERE "           \
                                               "o.trace_id = s.trace_id"                                               \
                                               "  AND (:service IS NULL OR o.service = :service)"                      \
                                               "  AND (:name IS NULL OR instr(o.name, :name) > 0)))"                   \
                                               " AND (:errors = 0 OR EXISTS (SELECT 1 FROM span f WHERE f.trace_id = " \
                                               "s.trace_id"                                                            \
                                               "  AND " FAILED(                                                        \
                                                       "f") "))"                                                       \
                                                            " AND (:slower = 0 OR last_ns - s.start_ns > :slower)"     \
                                                            " ORDER BY s.start_ns DESC LIMIT :limit"

/* The pod a trace is about: that of the first span which names one. */
#define TRACE_POD_SQL                                                                                 \
        "SELECT coalesce(pod_uid, ''), coalesce(pod_name, ''), coalesce(pod_namespace, '') FROM span" \
        " WHERE trace_id = :trace AND (pod_name IS NOT NULL OR pod_uid IS NOT NULL)"                  \
        " ORDER BY pod_name IS NULL, start_ns LIMIT 1"

/* The container a trace is about that names no pod: that of the first span which names one. */
#define TRACE_CONTAINER_SQL                                                                  \
        "SELECT coalesce(container_id, ''), coalesce(container_name, '') FROM span"          \
        " WHERE trace_id = :trace AND (container_id IS NOT NULL OR container_name NOT NULL)" \
        " ORDER BY container_id IS NULL, start_ns LIMIT 1"

/* Finds out whom @trace is about: a pod, else a container. The strings are valid until both statements are reset. */
static int find_subject(sqlite3_stmt *pod, sqlite3_stmt *container, StoreDbTrace *trace) {
        int r;

        storequery_blob(pod, ":trace", trace->trace_id, sizeof(trace->trace_id));
        r = storequery_step(pod);
        if (r > 0) {
                trace->pod_uid = storequery_column_text(pod, 0);
                trace->pod_name = storequery_column_text(pod, 1);
                trace->pod_namespace = storequery_column_text(pod, 2);
        }
        if (r != 0)
                return r;

        storequery_blob(container, ":trace", trace->trace_id, sizeof(trace->trace_id));
        r = storequery_step(container);
        if (r > 0) {
                trace->container_id = storequery_column_text(container, 0);
                trace->container_name = storequery_column_text(container, 1);
        }
        return r;
}

int storedb_traces(StoreDb *db, const StoreDbFilter *filter, int (*fn)(const StoreDbTrace *trace, void *userdata),
                   void *userdata) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL, *pod = NULL, *container = NULL;
        int r;

        r = storequery_prepare(db->sqlite, TRACES_SQL, &stmt);
        if (r >= 0)
                r = storequery_prepare(db->sqlite, TRACE_POD_SQL, &pod);
        if (r >= 0)
                r = storequery_prepare(db->sqlite, TRACE_CONTAINER_SQL, &container);
        if (r < 0)
                return r;

        storequery_u64(stmt, ":since", filter->since_ns);
        storequery_u64(stmt, ":until", filter->until_ns);
        storequery_u64(stmt, ":identity", filter->pod || filter->namespace || filter->container);
        storequery_u64(stmt, ":operation", filter->service || filter->name);
        storequery_u64(stmt, ":errors", filter->errors);
        storequery_u64(stmt, ":slower", filter->slower_than_ns);
        storequery_u64(stmt, ":limit", filter->limit);
        storequery_u64(stmt, ":settled", clk_realtime() - STOREDB_SETTLE_NS);
        storequery_text(stmt, ":pod", filter->pod);
        storequery_text(stmt, ":namespace", filter->namespace);
        storequery_text(stmt, ":container", filter->container);
        storequery_text(stmt, ":service", filter->service);
        storequery_text(stmt, ":name", filter->name);

        while ((r = storequery_step(stmt)) > 0) {
                StoreDbTrace trace = {
                        .start_ns = storequery_column_u64(stmt, 1),
                        .operation = storequery_column_text(stmt, 2),
                        .service = storequery_column_text(stmt, 3),
                        .end_ns = storequery_column_u64(stmt, 4),
                        .n_spans = storequery_column_u64(stmt, 5),
                        .n_errors = storequery_column_u64(stmt, 6),
                        .n_services = storequery_column_u64(stmt, 7),
                        .kept = storequery_column_text(stmt, 8),
                        .why = storequery_column_text(stmt, 9),
                        .pod_uid = "",
                        .pod_name = "",
                        .pod_namespace = "",
                        .container_id = "",
                        .container_name = "",
                };

                if (storequery_column_id(stmt, 0, trace.trace_id, sizeof(trace.trace_id)) < 0)
                        continue;

                r = find_subject(pod, container, &trace);
                if (r < 0)
                        return r;
                r = fn(&trace, userdata);
                (void) sqlite3_reset(pod);
                (void) sqlite3_reset(container);
                if (r < 0)
                        return r;
        }
        return r;
}

int storedb_by_prefix(StoreDb *db, const char *prefix, size_t len, size_t max, uint8_t (*ret)[16]) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        char low[2 * 16 + 1], high[2 * 16 + 1];
        uint8_t low_id[16], high_id[16];
        size_t n = 0;
        int r;

        if (len < STOREDB_PREFIX_MIN || len > 32)
                return -EINVAL;
        memset(low, '0', 32);
        memset(high, 'f', 32);
        memcpy(low, prefix, len);
        memcpy(high, prefix, len);
        if (util_hex_decode(low, 16, low_id) < 0 || util_hex_decode(high, 16, high_id) < 0)
                return -EINVAL;

        /* Skips from one trace to the next by the primary key, however many spans one has. */
        r = storequery_prepare(
                db->sqlite,
                "SELECT trace_id FROM span WHERE trace_id >= :low AND trace_id <= :high ORDER BY trace_id LIMIT 1",
                &stmt);
        if (r < 0)
                return r;
        storequery_blob(stmt, ":high", high_id, sizeof(high_id));

        while (n < max) {
                size_t i = sizeof(low_id);

                storequery_blob(stmt, ":low", low_id, sizeof(low_id));
                r = storequery_step(stmt);
                if (r < 0)
                        return r;
                if (r == 0 || storequery_column_id(stmt, 0, low_id, sizeof(low_id)) < 0)
                        break;
                memcpy(ret[n++], low_id, sizeof(low_id));
                (void) sqlite3_reset(stmt);

                /* The next possible id. */
                while (i > 0 && ++low_id[i - 1] == 0)
                        i--;
                if (i == 0)
                        break;
        }
        return (int) n;
}

int storedb_by_pod(StoreDb *db, const char *pod, uint8_t ret[static 16]) {
        static const char *const queries[] = {
                "SELECT p.trace_id FROM span p WHERE " STOREQUERY_POD_MATCHES(
                        "p") " AND substr(p.name, -13) = 'RunPodSandbox'"
                             " ORDER BY p.start_ns DESC LIMIT 1",
                "SELECT p.trace_id FROM span p WHERE " STOREQUERY_POD_MATCHES("p") " ORDER BY p.start_ns DESC LIMIT 1",
        };

        for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
                _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
                int r = storequery_prepare(db->sqlite, queries[i], &stmt);

                if (r < 0)
                        return r;
                storequery_text(stmt, ":pod", pod);
                r = storequery_step(stmt);
                if (r < 0)
                        return r;
                if (r > 0)
                        return storequery_column_id(stmt, 0, ret, 16);
        }
        return -ENOENT;
}

int storedb_count(StoreDb *db, const uint8_t trace_id[static 16], uint64_t *ret) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        r = storequery_prepare(db->sqlite, "SELECT count(DISTINCT span_id) FROM span WHERE trace_id = :trace", &stmt);
        if (r < 0)
                return r;
        storequery_blob(stmt, ":trace", trace_id, 16);
        r = storequery_step(stmt);
        if (r < 0)
                return r;
        *ret = r > 0 ? storequery_column_u64(stmt, 0) : 0;
        return 0;
}

/* With max() in it, the other columns of a group come from the row that has the maximum (SQLite, "bare columns"). */
#define SPANS_SQL                                                                                                      \
        "SELECT span_id, parent_id, start_ns, end_ns, kind, outcome, flags, name, service, pod_uid, pod_name,"         \
        " pod_namespace, container_name, container_id, max(batch), why, outcome IN (2, 3) AND " STOPPED(               \
                "span") " FROM span WHERE trace_id = :trace GROUP BY span_id ORDER BY start_ns, end_ns DESC, span_id " \
                        "LIMIT :max"

int storedb_spans(StoreDb *db, const uint8_t trace_id[static 16], uint64_t max,
                  int (*fn)(const StoreDbSpan *span, void *userdata), void *userdata) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        uint64_t settled_ns;
        int r;

        r = storequery_prepare(db->sqlite, SPANS_SQL, &stmt);
        if (r < 0)
                return r;
        storequery_blob(stmt, ":trace", trace_id, 16);
        storequery_u64(stmt, ":max", max);
        settled_ns = clk_realtime() - STOREDB_SETTLE_NS;

        while ((r = storequery_step(stmt)) > 0) {
                static const uint8_t none[8];
                StoreDbSpan span = {
                        .start_ns = storequery_column_u64(stmt, 2),
                        .end_ns = storequery_column_u64(stmt, 3),
                        .kind = sqlite3_column_int(stmt, 4),
                        .outcome = (Outcome) sqlite3_column_int(stmt, 5),
                        .flags = (uint32_t) sqlite3_column_int64(stmt, 6),
                        .name = storequery_column_text(stmt, 7),
                        .service = storequery_column_text(stmt, 8),
                        .pod_uid = storequery_column_text(stmt, 9),
                        .pod_name = storequery_column_text(stmt, 10),
                        .pod_namespace = storequery_column_text(stmt, 11),
                        .container_name = storequery_column_text(stmt, 12),
                        .container_id = storequery_column_text(stmt, 13),
                        .batch = sqlite3_column_int64(stmt, 14),
                        .why = storequery_column_text(stmt, 15),
                };

                if (storequery_column_id(stmt, 0, span.span_id, sizeof(span.span_id)) < 0)
                        continue;
                span.verdict = verdict_of(span.outcome, sqlite3_column_int(stmt, 16) != 0, span.end_ns, settled_ns);
                span.has_parent = storequery_column_id(stmt, 1, span.parent_id, sizeof(span.parent_id)) >= 0 &&
                                  memcmp(span.parent_id, none, sizeof(none)) != 0;
                r = fn(&span, userdata);
                if (r < 0)
                        return r;
        }
        return r;
}

int storedb_batches(StoreDb *db, const uint8_t trace_id[static 16],
                    int (*fn)(int64_t batch, const uint8_t *data, size_t len, void *userdata), void *userdata) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        r = storequery_prepare(
                db->sqlite,
                "SELECT id, traces FROM batch WHERE id IN (SELECT batch FROM span WHERE trace_id = :trace)"
                " AND length(traces) <= :max ORDER BY id",
                &stmt);
        if (r < 0)
                return r;
        storequery_blob(stmt, ":trace", trace_id, 16);
        storequery_u64(stmt, ":max", STOREDB_BATCH_MAX);

        while ((r = storequery_step(stmt)) > 0) {
                const void *data = sqlite3_column_blob(stmt, 1);

                r = fn(sqlite3_column_int64(stmt, 0), data, (size_t) sqlite3_column_bytes(stmt, 1), userdata);
                if (r < 0)
                        return r;
        }
        return r;
}

int storedb_is_latest(StoreDb *db, const uint8_t trace_id[static 16], const uint8_t span_id[static 8], int64_t batch) {
        int r;

        if (!db->latest) {
                r = storequery_prepare(db->sqlite,
                                       "SELECT max(batch) FROM span WHERE trace_id = :trace AND span_id = :span",
                                       &db->latest);
                if (r < 0)
                        return r;
        }
        (void) sqlite3_reset(db->latest);
        storequery_blob(db->latest, ":trace", trace_id, 16);
        storequery_blob(db->latest, ":span", span_id, 8);
        r = storequery_step(db->latest);
        if (r > 0)
                r = sqlite3_column_int64(db->latest, 0) == batch;
        (void) sqlite3_reset(db->latest);
        return r;
}

static uint64_t size_of(const char *path, const char *suffix) {
        _cleanup_free_ char *name = NULL;
        struct stat st;

        if (asprintf(&name, "%s%s", path, suffix) < 0) {
                name = NULL;
                return 0;
        }
        return stat(name, &st) < 0 ? 0 : (uint64_t) st.st_size;
}

typedef struct Stops {
        sqlite3_stmt *stmt;
        unsigned n;
} Stops;

static int on_call(const char *name, const ContextRecord *record, void *userdata) {
        Stops *stops = userdata;
        OutcomeFacts facts = {};
        char method[128];
        const char *id;

        (void) name;

        (void) snprintf(method, sizeof(method), "runtime.v1.RuntimeService/%s", record->operation);
        facts.name = method;
        facts.container_id = record->identity.container_id;
        facts.sandbox_id = record->identity.sandbox_id;
        if (outcome_stop(&facts, &id) != OUTCOME_STOP_CALL || !*id || stops->n == STOREDB_STOPS_MAX)
                return 0;
        storequery_text(stops->stmt, ":id", id);
        storequery_u64(stops->stmt, ":began", record->start_ns);
        storequery_u64(stops->stmt, ":method", (uint64_t) verdict_stop_method(record->operation));
        if (storequery_step(stops->stmt) < 0)
                return -EIO;
        (void) sqlite3_reset(stops->stmt);
        stops->n++;
        return 0;
}

int storedb_add_stops(StoreDb *db, int state_fd) {
        _cleanup_(context_deinit) Context context = CONTEXT_NULL;
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        Stops stops = {};
        int r;

        if (state_fd < 0)
                return 0;
        r = storequery_prepare(db->sqlite, "INSERT INTO live_stop VALUES (:id, 2, :began, :method)", &stmt);
        if (r < 0)
                return r;
        stops.stmt = stmt;
        r = context_init(&context, state_fd, /* create= */ false, COUNTERS_PROBE, NULL);
        if (r < 0)
                return r;
        r = context_list(&context, CONTEXT_LIVE, on_call, &stops);
        return MIN(r, 0);
}

int64_t storedb_dropped(const StoreDbLedger *ledger) {
        return ledger->rejected + ledger->refused + ledger->retention + ledger->too_large + ledger->invalid +
               ledger->store_full;
}

static int read_ledger(StoreDb *db, StoreDbLedger *ret) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        StoreDbLedger ledger = {};
        const struct {
                const char *key;
                int64_t *to;
        } entries[] = {
                { STORESCHEMA_LEDGER_IN, &ledger.in },
                { STORESCHEMA_LEDGER_EXPORTED, &ledger.exported },
                { STORESCHEMA_LEDGER_LOCAL, &ledger.local },
                { STORESCHEMA_LEDGER_REJECTED, &ledger.rejected },
                { STORESCHEMA_LEDGER_REFUSED, &ledger.refused },
                { STORESCHEMA_LEDGER_RETENTION, &ledger.retention },
                { STORESCHEMA_LEDGER_TOO_LARGE, &ledger.too_large },
                { STORESCHEMA_LEDGER_INVALID, &ledger.invalid },
                { STORESCHEMA_LEDGER_STORE_FULL, &ledger.store_full },
        };
        int r;

        r = storequery_prepare(db->sqlite, "SELECT key, n FROM ledger", &stmt);
        if (r < 0)
                return r;
        while ((r = storequery_step(stmt)) > 0)
                for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
                        if (strcmp(entries[i].key, storequery_column_text(stmt, 0)) == 0)
                                *entries[i].to = sqlite3_column_int64(stmt, 1);
        *ret = ledger;
        return r;
}

static int read_stats(StoreDb *db, StoreDbStats *ret) {
        _cleanup_stmt_ sqlite3_stmt *by_state = NULL, *kept = NULL;
        StoreDbStats stats = {
                .file_bytes = size_of(db->path, "") + size_of(db->path, "-wal"),
        };
        int r;

        r = storequery_prepare(db->sqlite,
                               "SELECT state, count(*), sum(n_spans), sum(size), min(received_ns), max(received_ns)"
                               " FROM batch GROUP BY state",
                               &by_state);
        if (r < 0)
                return r;
        while ((r = storequery_step(by_state)) > 0) {
                int64_t state = sqlite3_column_int64(by_state, 0);
                uint64_t oldest = storequery_column_u64(by_state, 4);

                if (state < 0 || (size_t) state >= ARRAY_SIZE(stats.n_batches))
                        continue;
                stats.n_batches[state] = storequery_column_u64(by_state, 1);
                stats.n_spans[state] = storequery_column_u64(by_state, 2);
                stats.n_bytes[state] = storequery_column_u64(by_state, 3);
                stats.newest_ns = MAX(stats.newest_ns, storequery_column_u64(by_state, 5));
                stats.oldest_ns = stats.oldest_ns == 0 || oldest < stats.oldest_ns ? oldest : stats.oldest_ns;
                if (state == STORESCHEMA_STATE_PENDING)
                        stats.oldest_pending_ns = oldest;
        }
        if (r < 0)
                return r;

        r = storequery_prepare(db->sqlite, "SELECT count(*) FROM keep", &kept);
        if (r < 0)
                return r;
        r = storequery_step(kept);
        if (r < 0)
                return r;
        stats.n_kept = r > 0 ? storequery_column_u64(kept, 0) : 0;

        r = read_ledger(db, &stats.ledger);
        if (r < 0)
                return r;

        *ret = stats;
        return 0;
}

int storedb_stats(StoreDb *db, StoreDbStats *ret) {
        int r;

        /* One transaction: podspand may commit between two queries. */
        r = sqlite3_exec(db->sqlite, "BEGIN", NULL, NULL, NULL);
        if (r != SQLITE_OK)
                return storequery_errno(r);
        r = read_stats(db, ret);
        (void) sqlite3_exec(db->sqlite, "COMMIT", NULL, NULL, NULL);
        return r;
}

int storedb_meta(StoreDb *db, int (*fn)(const char *key, const char *value, void *userdata), void *userdata) {
        _cleanup_stmt_ sqlite3_stmt *stmt = NULL;
        int r;

        r = storequery_prepare(db->sqlite, "SELECT key, value FROM meta ORDER BY key LIMIT 256", &stmt);
        if (r < 0)
                return r;
        while ((r = storequery_step(stmt)) > 0) {
                r = fn(storequery_column_text(stmt, 0), storequery_column_text(stmt, 1), userdata);
                if (r < 0)
                        return r;
        }
        return r;
}
