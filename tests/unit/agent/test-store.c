#include "fixture.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "storesql.h"

#define NOW FIXTURE_START

static const StoreLimits limits = { .max_size = 64U * 1024 * 1024, .max_age_ns = 3600 * NSEC_PER_SEC };

/* A directory of its own for each test. */
typedef struct Place {
        char dir[64];
        char command[128];
} Place;

static int setup(void **state) {
        Place *place = calloc(1, sizeof(*place));

        assert_non_null(place);
        (void) strcpy(place->dir, "/tmp/podspan-test-store-XXXXXX");
        assert_non_null(mkdtemp(place->dir));
        *state = place;
        return 0;
}

static int teardown(void **state) {
        Place *place = *state;
        int r;

        (void) snprintf(place->command, sizeof(place->command), "rm -r -- '%s'", place->dir);
        r = system(place->command);
        free(place);
        return r;
}

static Store *reopen(const char *dir, const StoreLimits *with, int outcome) {
        _cleanup_free_ char *aside = NULL;
        Store *store = NULL;

        assert_int_equal(store_open(dir, with, &store, &aside), outcome);
        assert_int_equal(aside != NULL, outcome == STOREFILE_REPLACED);
        return store;
}

static IngestRow make_row(uint8_t trace, uint8_t span) {
        IngestRow row = { .name = "span", .start_ns = NOW, .end_ns = NOW + 1, .service = "podspan-test" };

        memset(row.trace_id, trace, sizeof(row.trace_id));
        memset(row.span_id, span, sizeof(row.span_id));
        return row;
}

/* Adds a batch with one row and @size bytes, in a transaction of its own. */
static int64_t add_batch(Store *store, int state, uint64_t received_ns, size_t size) {
        _cleanup_free_ uint8_t *traces = calloc(1, size);
        StoreBatch batch = { .received_ns = received_ns, .n_spans = 3, .size = size };
        IngestRow row;

        assert_non_null(traces);
        assert_int_equal(store_begin(store), 0);
        batch.id = store_batch_next(store);
        row = make_row((uint8_t) batch.id, 1);
        assert_int_equal(store_span_add(store, batch.id, &row), 0);
        assert_int_equal(store_batch_add(store, &batch, state, traces), 0);
        assert_int_equal(store_commit(store), 0);
        return batch.id;
}

static int check_size(const uint8_t *data, size_t size, void *userdata) {
        (void) data;
        assert_int_equal(size, *(size_t *) userdata);
        return 5;
}

static void queue(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = reopen(place->dir, &limits, STOREFILE_CREATED);
        StoreBatch list[STORE_LIST_MAX];
        int64_t ids[4];
        size_t size = 100;

        for (size_t i = 0; i < 4; i++)
                ids[i] = add_batch(store, i == 1 ? STORESCHEMA_STATE_LOCAL : STORESCHEMA_STATE_PENDING, NOW + i, size);

        /* the newest first, local ones never */
        assert_int_equal(store_pending_list(store, 10, list), 3);
        assert_int_equal(list[0].id, ids[3]);
        assert_int_equal(list[1].id, ids[2]);
        assert_int_equal(list[2].id, ids[0]);
        assert_int_equal(list[0].received_ns, NOW + 3);
        assert_int_equal(list[0].n_spans, 3);
        assert_int_equal(list[0].size, size);
        assert_int_equal(store_pending_list(store, 2, list), 2);
        assert_int_equal(store_batch_read(store, ids[3], check_size, &size), 5);
        assert_int_equal(store_batch_read(store, 999, check_size, &size), -ENOENT);

        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_batch_set_state(store, ids[3], STORESCHEMA_STATE_EXPORTED), 0);
        assert_int_equal(store_batch_set_state(store, ids[2], STORESCHEMA_STATE_REFUSED), 0);
        assert_int_equal(store_commit(store), 0);
        assert_int_equal(store_pending_list(store, 10, list), 1);
        assert_int_equal(list[0].id, ids[0]);

        /* numbers are never used again, not even the last one's after it is gone */
        store = store_free(store);
        store = reopen(place->dir, &limits, STOREFILE_OPENED);
        assert_int_equal(store_pending_list(store, 10, list), 1);
        assert_true(add_batch(store, STORESCHEMA_STATE_PENDING, NOW, size) > ids[3]);
}

static void rollback(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = reopen(place->dir, &limits, STOREFILE_CREATED);
        uint8_t trace_id[16] = { 1 };
        const char *reason;

        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_file_add(store, "a"), 0);
        assert_int_equal(store_keep_add(store, trace_id, STORESCHEMA_KEEP_SLOW, NOW), 1);
        store_rollback(store);
        assert_int_equal(store_file_known(store, "a"), 0);
        assert_int_equal(store_keep_find(store, trace_id, &reason), 0);
        assert_null(reason);
        /* outside a transaction it is nothing */
        store_rollback(store);
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_commit(store), 0);
}

static void files(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = reopen(place->dir, &limits, STOREFILE_CREATED);

        assert_int_equal(store_file_known(store, "a"), 0);
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_file_add(store, "a"), 0);
        assert_int_equal(store_file_add(store, "a"), 0);
        assert_int_equal(store_file_add(store, "b"), 0);
        assert_int_equal(store_commit(store), 0);
        store = store_free(store);

        store = reopen(place->dir, &limits, STOREFILE_OPENED);
        assert_int_equal(store_file_known(store, "a"), 1);
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_file_forget(store, "a"), 0);
        assert_int_equal(store_commit(store), 0);
        assert_int_equal(store_file_known(store, "a"), 0);
        assert_int_equal(store_file_known(store, "b"), 1);
}

static void keep(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = reopen(place->dir, &limits, STOREFILE_CREATED);
        uint8_t trace_id[16] = { 7 }, found[16];
        StoreRetained retained;
        const char *reason;

        assert_int_equal(store_promote_next(store, found, &reason), 0);
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_keep_add(store, trace_id, STORESCHEMA_KEEP_SLOW, NOW), 1);
        /* the first reason stays */
        assert_int_equal(store_keep_add(store, trace_id, STORESCHEMA_KEEP_ERROR, NOW + 1), 0);
        assert_int_equal(store_commit(store), 0);
        store = store_free(store);

        store = reopen(place->dir, &limits, STOREFILE_OPENED);
        assert_int_equal(store_keep_find(store, trace_id, &reason), 0);
        assert_string_equal(reason, STORESCHEMA_KEEP_SLOW);
        assert_int_equal(store_promote_next(store, found, &reason), 1);
        assert_memory_equal(found, trace_id, sizeof(found));
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_promote_done(store, found), 0);
        assert_int_equal(store_commit(store), 0);
        assert_int_equal(store_promote_next(store, found, &reason), 0);
        /* still kept */
        assert_int_equal(store_keep_find(store, trace_id, &reason), 0);
        assert_non_null(reason);

        /* a decision lasts as long as what it is about */
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_retain(store, NOW + limits.max_age_ns + 2, NULL, 0, &retained), 0);
        assert_int_equal(store_commit(store), 0);
        assert_int_equal(store_keep_find(store, trace_id, &reason), 0);
        assert_null(reason);
}

static void retention_by_age(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = reopen(place->dir, &limits, STOREFILE_CREATED);
        int64_t old[2], young, spare;
        StoreBatch list[STORE_LIST_MAX];
        StoreRetained retained;

        old[0] = add_batch(store, STORESCHEMA_STATE_EXPORTED, NOW, 10);
        old[1] = add_batch(store, STORESCHEMA_STATE_PENDING, NOW, 10);
        spare = add_batch(store, STORESCHEMA_STATE_PENDING, NOW, 10);
        young = add_batch(store, STORESCHEMA_STATE_PENDING, NOW + 10 * NSEC_PER_SEC, 10);

        assert_int_equal(store_retain_due(store, NOW + limits.max_age_ns), 0);
        assert_int_equal(store_retain_due(store, NOW + limits.max_age_ns + 1), 1);
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_retain(store, NOW + limits.max_age_ns + 1, &spare, 1, &retained), 0);
        assert_int_equal(store_commit(store), 0);
        assert_int_equal(retained.n_batches, 2);
        assert_int_equal(retained.n_spans, 6);
        assert_int_equal(retained.n_spans_pending, 3);
        assert_false(retained.more);
        assert_int_equal(store_pending_list(store, 10, list), 2);
        assert_int_equal(list[0].id, young);
        assert_int_equal(list[1].id, spare);
        for (size_t i = 0; i < 2; i++)
                assert_int_equal(store_batch_read(store, old[i], check_size, NULL), -ENOENT);
}

static void retention_by_size(void **state) {
        Place *place = *state;
        const StoreLimits small = { .max_size = 1024U * 1024, .max_age_ns = limits.max_age_ns };
        _cleanup_(store_freep) Store *store = reopen(place->dir, &small, STOREFILE_CREATED);
        StoreRetained retained = { .more = true };
        StoreBatch list[STORE_LIST_MAX];
        size_t n_removed = 0, n_pending = 0;
        int n;

        /* the pending ones are the oldest, yet the settled ones go first */
        for (size_t i = 0; i < 8; i++)
                (void) add_batch(store, STORESCHEMA_STATE_PENDING, NOW, 50000);
        for (size_t i = 0; i < 192; i++)
                (void) add_batch(store, i % 2 ? STORESCHEMA_STATE_LOCAL : STORESCHEMA_STATE_EXPORTED, NOW, 50000);
        assert_int_equal(store_retain_due(store, NOW), 1);
        while (retained.more) {
                assert_int_equal(store_begin(store), 0);
                assert_int_equal(store_retain(store, NOW, NULL, 0, &retained), 0);
                assert_int_equal(store_commit(store), 0);
                assert_true(retained.n_batches <= STORE_RETAIN_MAX);
                n_removed += retained.n_batches;
                n_pending += retained.n_spans_pending;
        }
        assert_true(n_removed > 170 && n_removed < 192);
        assert_int_equal(n_pending, 0);
        assert_int_equal(store_pending_list(store, 10, list), 8);

        /* with nothing else to remove they go, too, and that is counted */
        for (size_t i = 0; i < 30; i++)
                (void) add_batch(store, STORESCHEMA_STATE_PENDING, NOW, 50000);
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_retain(store, NOW, NULL, 0, &retained), 0);
        assert_int_equal(store_commit(store), 0);
        n = store_pending_list(store, 100, list);
        assert_true(n > 10 && n < 38);
        assert_int_equal(retained.n_spans_pending, 3 * (38 - n));
}

static void overwrite(const char *dir, const char *name, const char *text) {
        char path[128];
        FILE *file;

        (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
        file = fopen(path, "we");
        assert_non_null(file);
        for (size_t i = 0; i < 1000; i++)
                assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void damaged(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = NULL;

        overwrite(place->dir, STORESCHEMA_FILE, "no database\n");
        store = reopen(place->dir, &limits, STOREFILE_REPLACED);
        (void) add_batch(store, STORESCHEMA_STATE_PENDING, NOW, 10);
        store = store_free(store);
        store = reopen(place->dir, &limits, STOREFILE_OPENED);
}

static void exec_sql(const char *dir, const char *sql) {
        char path[128];
        sqlite3 *sqlite;

        (void) snprintf(path, sizeof(path), "%s/" STORESCHEMA_FILE, dir);
        assert_int_equal(sqlite3_open(path, &sqlite), SQLITE_OK);
        assert_int_equal(sqlite3_exec(sqlite, sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_close(sqlite), SQLITE_OK);
}

static void other_schemas(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = NULL;
        char *aside = NULL;

        store_free(reopen(place->dir, &limits, STOREFILE_CREATED));
        exec_sql(place->dir, "UPDATE meta SET value = 99 WHERE key = 'schema'");
        assert_int_equal(store_open(place->dir, &limits, &store, &aside), -EPROTO);
        assert_null(store);
        assert_null(aside);

        exec_sql(place->dir, "UPDATE meta SET value = 0 WHERE key = 'schema'");
        store = reopen(place->dir, &limits, STOREFILE_REPLACED);
        store = store_free(store);

        exec_sql(place->dir, "DROP TABLE meta");
        store = reopen(place->dir, &limits, STOREFILE_REPLACED);
}

static int64_t number(Store *store, const char *sql) {
        sqlite3_stmt *stmt;
        int64_t n;

        assert_int_equal(sqlite3_prepare_v2(store->sqlite, sql, -1, &stmt, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
        n = sqlite3_column_int64(stmt, 0);
        (void) sqlite3_finalize(stmt);
        return n;
}

/* A store as the podspand before version 2 left it. */
static const char version_1[] =
        "CREATE TABLE batch (id INTEGER PRIMARY KEY AUTOINCREMENT, received_ns INTEGER NOT NULL, state INTEGER NOT "
        "NULL,"
        " n_spans INTEGER NOT NULL, size INTEGER NOT NULL, traces BLOB NOT NULL);"
        "CREATE INDEX batch_pending ON batch(id) WHERE state = 1;"
        "CREATE INDEX batch_settled ON batch(id) WHERE state <> 1;"
        "CREATE TABLE span (batch INTEGER NOT NULL REFERENCES batch(id) ON DELETE CASCADE, trace_id BLOB NOT NULL,"
        " span_id BLOB NOT NULL, parent_id BLOB, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,"
        " kind INTEGER NOT NULL, status INTEGER NOT NULL, flags INTEGER NOT NULL, name TEXT NOT NULL, service TEXT,"
        " pod_uid TEXT, pod_name TEXT, pod_namespace TEXT, container_name TEXT, container_id TEXT,"
        " PRIMARY KEY (trace_id, span_id, batch)) WITHOUT ROWID;"
        "CREATE TABLE keep (trace_id BLOB PRIMARY KEY, reason TEXT NOT NULL, decided_ns INTEGER NOT NULL,"
        " promoted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
        "CREATE TABLE file (name TEXT PRIMARY KEY) WITHOUT ROWID;"
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
        "INSERT INTO meta VALUES ('schema', 1);"
        "INSERT INTO batch(received_ns, state, n_spans, size, traces) VALUES (1, 0, 2, 1, x'00'), (1, 1, 3, 1, x'00'),"
        " (1, 2, 4, 1, x'00'), (1, 3, 5, 1, x'00');"
        "INSERT INTO span VALUES (1, x'01', x'01', NULL, 5, 9, 1, 2, 0, 'wait_for_exit_code', NULL, NULL, NULL, NULL,"
        " NULL, 'c');"
        "INSERT INTO span VALUES (1, x'01', x'02', NULL, 7, 9, 1, 0, 0, 'runtime.v1.RuntimeService/StopContainer', "
        "NULL,"
        " NULL, NULL, NULL, NULL, 'c');"
        "INSERT INTO span VALUES (1, x'02', x'03', NULL, 5, 9, 1, 2, 0, 'runc create', NULL, NULL, NULL, NULL, NULL, "
        "'c');";

static void migrated(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = NULL;
        IngestRow row = make_row(7, 7);

        exec_sql(place->dir, version_1);
        store = reopen(place->dir, &limits, STOREFILE_OPENED);
        assert_int_equal(number(store, "SELECT value FROM meta WHERE key = 'schema'"), STORESCHEMA_VERSION);
        assert_int_equal(number(store, "SELECT outcome FROM span WHERE span_id = x'01'"), OUTCOME_EXITED);
        assert_int_equal(number(store, "SELECT outcome FROM span WHERE span_id = x'02'"), OUTCOME_OK);
        assert_int_equal(number(store, "SELECT outcome FROM span WHERE span_id = x'03'"), OUTCOME_FAILED);
        assert_int_equal(number(store, "SELECT n FROM ledger WHERE key = 'in'"), 14);
        assert_int_equal(number(store, "SELECT n FROM ledger WHERE key = 'exported'"), 4);
        assert_int_equal(store_stop_excuses(store, OUTCOME_EXITED, "c", NULL, 9), 1);
        assert_int_equal(store_stop_excuses(store, OUTCOME_EXITED, "c", NULL, 6), 0);
        assert_int_equal(number(store, "SELECT method FROM stop WHERE id = 'c'"), VERDICT_STOP_CONTAINER);
        assert_int_equal(number(store, "SELECT count(*) FROM death WHERE container_id = 'c' AND end_ns = 9"), 1);
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_span_add(store, 1, &row), 0);
        assert_int_equal(store_commit(store), 0);
        store = store_free(store);
        store = reopen(place->dir, &limits, STOREFILE_OPENED);
}

/* What version 2 had, with the ends and the stops of containers. */
static const char version_2[] = STORESCHEMA_SQL_1_TO_2
        "INSERT INTO stop VALUES ('k', 1, 20), ('s', 2, 21), ('gone', 2, 22);"
        "INSERT INTO span VALUES"
        " (2, x'03', x'01', NULL, 5, 30, 1, 0, 0, 'container', NULL, 'u', 'p', 'n', 'web', 'k', 's', 3, NULL),"
        " (2, x'04', x'01', NULL, 6, 31, 1, 0, 0, 'wait_for_exit_code', NULL, NULL, NULL, NULL, NULL, 'x', NULL, 2,"
        " NULL),"
        " (2, x'04', x'02', NULL, 6, 31, 1, 0, 0, 'crun exec', NULL, NULL, NULL, NULL, NULL, 'x', NULL, 2, NULL),"
        " (2, x'05', x'01', NULL, 21, 31, 3, 0, 0, 'runtime.v1.RuntimeService/StopPodSandbox', NULL, NULL, NULL, NULL,"
        " NULL, NULL, 's', 0, NULL);";

static void migrated_from_2(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = NULL;

        exec_sql(place->dir, version_1);
        exec_sql(place->dir, version_2);
        store = reopen(place->dir, &limits, STOREFILE_OPENED);
        assert_int_equal(number(store, "SELECT value FROM meta WHERE key = 'schema'"), STORESCHEMA_VERSION);
        assert_int_equal(number(store, "SELECT method FROM stop WHERE id = 'k'"), VERDICT_STOP_ENGINE);
        assert_int_equal(number(store, "SELECT method FROM stop WHERE id = 's'"), VERDICT_STOP_SANDBOX);
        assert_int_equal(number(store, "SELECT method FROM stop WHERE id = 'gone'"), VERDICT_STOP_UNSEEN);
        assert_int_equal(number(store, "SELECT count(*) FROM stop WHERE grace_ms IS NOT NULL"), 0);
        /* not what was executed in one */
        assert_int_equal(number(store, "SELECT count(*) FROM death"), 2);
        assert_int_equal(number(store, "SELECT count(*) FROM death WHERE container_id = 'k' AND end_ns = 30 AND"
                                       " start_ns = 5 AND sandbox_id = 's' AND pod_uid = 'u' AND pod_name = 'p' AND"
                                       " pod_namespace = 'n' AND container_name = 'web' AND trace_id = x'03' AND"
                                       " span_id = x'01' AND batch = 2 AND verdict = 0"),
                         1);
        assert_int_equal(number(store, "SELECT count(*) FROM pressure"), 0);
        assert_int_equal(number(store, "SELECT count(*) FROM sqlite_schema WHERE name = 'span_container'"), 1);
}

static void deaths(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = reopen(place->dir, &limits, STOREFILE_CREATED);
        IngestRow row = make_row(1, 1);
        StoreBatch batch = { .received_ns = NOW, .n_spans = 2, .size = 1 };
        StoreRetained retained;

        assert_int_equal(store_begin(store), 0);
        batch.id = store_batch_next(store);
        assert_int_equal(store_span_add(store, batch.id, &row), 0); /* no death */
        row.span_id[0]++;
        row.death = true;
        row.container_id = "c";
        row.sandbox_id = "s";
        row.pod_uid = "u";
        row.pod_name = "p";
        row.pod_namespace = "n";
        row.container_name = "web";
        row.verdict = VERDICT_OOM_POD;
        assert_int_equal(store_span_add(store, batch.id, &row), 0);
        assert_int_equal(store_span_add(store, batch.id, &row), 0);
        assert_int_equal(store_batch_add(store, &batch, STORESCHEMA_STATE_EXPORTED, (const uint8_t *) "x"), 0);
        assert_int_equal(store_commit(store), 0);
        assert_int_equal(number(store, "SELECT count(*) FROM death"), 1);
        assert_int_equal(number(store, "SELECT count(*) FROM death JOIN span USING (trace_id, span_id, batch)"
                                       " WHERE death.container_id = 'c' AND death.sandbox_id = 's' AND"
                                       " death.pod_uid = 'u' AND death.pod_name = 'p' AND death.pod_namespace = 'n' AND"
                                       " death.container_name = 'web' AND death.end_ns - death.start_ns = 1 AND"
                                       " verdict = 7"),
                         1);

        /* They go with their batch. */
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_retain(store, NOW + limits.max_age_ns + 1, NULL, 0, &retained), 0);
        assert_int_equal(store_commit(store), 0);
        assert_int_equal(retained.n_batches, 1);
        assert_int_equal(number(store, "SELECT count(*) FROM death"), 0);
}

static void pressure_rows(void **state) {
        static const int32_t us[] = { 1, -1, 3, 4, 5, 6 };
        Place *place = *state;
        _cleanup_(store_freep) Store *store = reopen(place->dir, &limits, STOREFILE_CREATED);
        StoreRetained retained;

        assert_int_equal(store_begin(store), 0);
        for (uint64_t i = 0; i <= STORE_PRESSURE_MAX; i++)
                assert_int_equal(store_pressure_add(store, NOW + i * NSEC_PER_SEC, 1, us), 0);
        assert_int_equal(store_commit(store), 0);
        assert_int_equal(number(store, "SELECT count(*) FROM pressure"),
                         STORE_PRESSURE_MAX - STORE_PRESSURE_MAX / 16 + 1);
        assert_int_equal(number(store, "SELECT min(at_ns) FROM pressure"),
                         NOW + STORE_PRESSURE_MAX / 16 * NSEC_PER_SEC);
        assert_int_equal(number(store, "SELECT count(*) FROM pressure WHERE seconds = 1 AND cpu_some_us = 1 AND"
                                       " cpu_full_us IS NULL AND io_some_us = 3 AND io_full_us = 4 AND"
                                       " memory_some_us = 5 AND memory_full_us = 6"),
                         STORE_PRESSURE_MAX - STORE_PRESSURE_MAX / 16 + 1);

        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_retain(store, NOW + limits.max_age_ns + 60000 * NSEC_PER_SEC, NULL, 0, &retained), 0);
        assert_int_equal(store_commit(store), 0);
        assert_int_equal(number(store, "SELECT min(at_ns) FROM pressure"), NOW + 60000 * NSEC_PER_SEC);
}

/* A stop that was found in flight has no method yet. */
static void stop_methods(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = reopen(place->dir, &limits, STOREFILE_CREATED);

        assert_int_equal(store_stop_add(store, "c", OUTCOME_STOP_CALL, NOW, VERDICT_STOP_UNSEEN, -1), 0);
        assert_int_equal(number(store, "SELECT count(*) FROM stop WHERE method = 0 AND grace_ms IS NULL"), 1);
        assert_int_equal(store_stop_add(store, "c", OUTCOME_STOP_CALL, NOW, VERDICT_STOP_CONTAINER, 0), 0);
        assert_int_equal(number(store, "SELECT count(*) FROM stop WHERE method = 3 AND grace_ms = 0"), 1);
        /* The first span counts. */
        assert_int_equal(store_stop_add(store, "c", OUTCOME_STOP_CALL, NOW, VERDICT_STOP_REMOVE, 5), 0);
        assert_int_equal(number(store, "SELECT count(*) FROM stop WHERE method = 3 AND grace_ms = 0"), 1);
        assert_int_equal(number(store, "SELECT count(*) FROM stop"), 1);
}

#define LONG "0123456789ab0123456789ab0123456789ab0123456789ab0123456789abcdef"

/* crictl shows the begin of an id, and runtimes take it. */
static void stops_by_short_id(void **state) {
        static const struct {
                const char *id;
                const char *container_id;
                bool excused;
        } cases[] = {
                { LONG, LONG, true },
                { "0123456789ab0", LONG, true },
                { "0123456789ab", LONG, true },
                { "0123456789a", LONG, false }, /* too short to mean one */
                { "0123456789ac0", LONG, false },
                { "1123456789ab0", LONG, false },
                { "web-container", "web-container-2", false }, /* not what runtimes make */
                { LONG "0", LONG, false },
        };
        Place *place = *state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(store_freep) Store *store =
                        reopen(place->dir, &limits, i ? STOREFILE_OPENED : STOREFILE_CREATED);

                assert_int_equal(
                        store_stop_add(store, cases[i].id, OUTCOME_STOP_CALL, NOW, VERDICT_STOP_CONTAINER, 30000), 0);
                assert_int_equal(outcome_same_id(cases[i].id, cases[i].container_id), cases[i].excused);
                if (store_stop_excuses(store, OUTCOME_EXITED, cases[i].container_id, "s", NOW) != cases[i].excused ||
                    store_stop_excuses(store, OUTCOME_EXITED, "c", cases[i].container_id, NOW) != cases[i].excused)
                        fail_msg("case %zu", i);
                exec_sql(place->dir, "DELETE FROM stop");
        }
}

/* As outcome_excused(), and by ids and times. */
static void stops(void **state) {
        static const struct {
                const char *id;
                OutcomeStop kind;
                Outcome outcome;
                uint64_t end_ns;
                bool excused;
        } cases[] = {
                { "c", OUTCOME_STOP_CALL, OUTCOME_EXITED, NOW, true },
                { "c", OUTCOME_STOP_CALL, OUTCOME_KILLED, NOW + 1, true },
                { "c", OUTCOME_STOP_CALL, OUTCOME_EXITED, NOW - 1, false }, /* it had ended before */
                { "c", OUTCOME_STOP_CALL, OUTCOME_FAILED, NOW, false },     /* of memory, say */
                { "c", OUTCOME_STOP_KILL, OUTCOME_KILLED, NOW, true },
                { "c", OUTCOME_STOP_KILL, OUTCOME_EXITED, NOW, false },
                { "s", OUTCOME_STOP_CALL, OUTCOME_EXITED, NOW, true },
                { "s", OUTCOME_STOP_KILL, OUTCOME_KILLED, NOW, false }, /* of the sandbox's own container */
                { "d", OUTCOME_STOP_CALL, OUTCOME_KILLED, NOW, false },
        };
        Place *place = *state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                _cleanup_(store_freep) Store *store =
                        reopen(place->dir, &limits, i ? STOREFILE_OPENED : STOREFILE_CREATED);

                assert_int_equal(store_stop_add(store, cases[i].id, cases[i].kind, NOW, VERDICT_STOP_UNSEEN, -1), 0);
                if (store_stop_excuses(store, cases[i].outcome, "c", "s", cases[i].end_ns) != cases[i].excused)
                        fail_msg("case %zu", i);
                assert_int_equal(store_stop_excuses(store, cases[i].outcome, NULL, NULL, cases[i].end_ns), 0);
                exec_sql(place->dir, "DELETE FROM stop");
        }
}

static void endpoint_facts(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = reopen(place->dir, &limits, STOREFILE_CREATED);

        assert_int_equal(store_meta_endpoint(store, "a:1"), 0);
        assert_int_equal(store_meta_number(store, "last_export_ok_ns", 7), 0);
        assert_int_equal(store_meta_endpoint(store, "a:1"), 0);
        assert_int_equal(number(store, "SELECT count(*) FROM meta WHERE key = 'last_export_ok_ns'"), 1);
        assert_int_equal(store_meta_endpoint(store, "b:1"), 0);
        assert_int_equal(number(store, "SELECT count(*) FROM meta WHERE key = 'last_export_ok_ns'"), 0);
}

static void locked(void **state) {
        Place *place = *state;
        _cleanup_close_ int dir_fd = -EBADF, first = -EBADF;
        int second = -EBADF;

        dir_fd = open(place->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(storefile_lock(dir_fd, &first), 0);
        assert_int_equal(storefile_lock(dir_fd, &second), -EBUSY);
        first = close_fd(first);
        assert_int_equal(storefile_lock(dir_fd, &second), 0);
        close_fd(second);
}

static void long_text(void **state) {
        Place *place = *state;
        _cleanup_(store_freep) Store *store = reopen(place->dir, &limits, STOREFILE_CREATED);
        static char name[STORE_TEXT_MAX + 10];
        IngestRow row = make_row(1, 1);

        /* a two-byte sequence stands across the limit */
        memset(name, 'n', sizeof(name) - 1);
        memcpy(name + STORE_TEXT_MAX - 1, "\xc3\xa9", 2);
        row.name = name;
        assert_int_equal(store_begin(store), 0);
        assert_int_equal(store_span_add(store, 1, &row), 0);
        /* the same span again is no error */
        assert_int_equal(store_span_add(store, 1, &row), 0);
        assert_int_equal(store_commit(store), 0);
        store = store_free(store);
        exec_sql(place->dir, "CREATE TABLE checked (n INTEGER CHECK (n = 511));"
                             "INSERT INTO checked SELECT length(CAST(name AS BLOB)) FROM span");
}

static void disk(void **state) {
        Place *place = *state;
        StoreLimits with = limits;
        Store *store;

        store = reopen(place->dir, &with, STOREFILE_CREATED);
        assert_int_equal(store_disk_low(store), 0);
        store_free(store);
        with.min_free_percent = 100;
        store = reopen(place->dir, &with, STOREFILE_OPENED);
        assert_int_equal(store_disk_low(store), 1);
        store_free(store);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(queue),
                TEST(rollback),
                TEST(files),
                TEST(keep),
                TEST(retention_by_age),
                TEST(retention_by_size),
                TEST(damaged),
                TEST(other_schemas),
                TEST(migrated),
                TEST(migrated_from_2),
                TEST(deaths),
                TEST(pressure_rows),
                TEST(stop_methods),
                TEST(stops),
                TEST(stops_by_short_id),
                TEST(endpoint_facts),
                TEST(locked),
                TEST(long_text),
                TEST(disk),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
