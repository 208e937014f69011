/*
 * What goes first: what is too old; then, for the sake of size, what is settled, as a pending batch has not done its
 * job yet; pending ones last, and counted.
 */

#include "storesql.h"

/* The first batch after @after. 1, 0 where there is none, or a negative errno. */
static int oldest(Store *store, Sql sql, int64_t after, StoreBatch *ret, int *ret_state) {
        sqlite3_stmt *stmt;
        int r;

        r = storesql_get(store, sql, &stmt);
        if (r < 0)
                return r;
        (void) sqlite3_bind_int64(stmt, 1, after);
        r = storesql_step(stmt);
        if (r <= 0)
                return r;

        storesql_read_batch(stmt, ret);
        *ret_state = sqlite3_column_int(stmt, 3);
        (void) sqlite3_reset(stmt);
        return 1;
}

static int pages(Store *store, uint64_t *ret_all, uint64_t *ret_used) {
        int64_t n_all = 0, n_free = 0;
        int r;

        r = storesql_run(store, SQL_PAGES, &n_all);
        if (r >= 0)
                r = storesql_run(store, SQL_PAGES_FREE, &n_free);
        if (r < 0)
                return r;

        *ret_all = (uint64_t) n_all * store->page_size;
        *ret_used = (uint64_t) (n_all - MIN(n_free, n_all)) * store->page_size;
        return 0;
}

static bool is_old(const Store *store, uint64_t received_ns, uint64_t now_ns) {
        return now_ns > received_ns && now_ns - received_ns > store->limits.max_age_ns;
}

int store_retain_due(Store *store, uint64_t now_ns) {
        uint64_t all, used;
        StoreBatch batch;
        int state, r;

        r = pages(store, &all, &used);
        if (r < 0)
                return r;
        if (used > store->limits.max_size || (all > store->limits.max_size && all > used))
                return 1;

        r = oldest(store, SQL_OLDEST, 0, &batch, &state);
        if (r <= 0)
                return r;
        return is_old(store, batch.received_ns, now_ns);
}

static bool is_spared(int64_t id, const int64_t *spare, size_t n_spare) {
        for (size_t i = 0; i < n_spare; i++)
                if (spare[i] == id)
                        return true;
        return false;
}

/* Chooses what goes next, skipping what is spared. 1 with a batch, 0 where nothing has to or may go. */
static int choose(Store *store, uint64_t now_ns, const int64_t *spare, size_t n_spare, StoreBatch *ret,
                  int *ret_state) {
        static const Sql order[] = { SQL_OLDEST_SETTLED, SQL_OLDEST };
        uint64_t all, used;
        int64_t after = 0;
        int r;

        while ((r = oldest(store, SQL_OLDEST, after, ret, ret_state)) > 0) {
                if (!is_old(store, ret->received_ns, now_ns))
                        break;
                if (!is_spared(ret->id, spare, n_spare))
                        return 1;
                after = ret->id;
        }
        if (r < 0)
                return r;

        r = pages(store, &all, &used);
        if (r < 0 || used <= store->limits.max_size)
                return r;

        for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
                after = 0;
                while ((r = oldest(store, order[i], after, ret, ret_state)) > 0) {
                        if (!is_spared(ret->id, spare, n_spare))
                                return 1;
                        after = ret->id;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

int store_retain(Store *store, uint64_t now_ns, const int64_t *spare, size_t n_spare, StoreRetained *ret) {
        /* What goes by its age alone. */
        const struct {
                Sql sql;
                uint64_t *n; /* rows */
        } tables[] = {
                { SQL_KEEP_EXPIRE, &store->n_keep },
                { SQL_STOP_EXPIRE, &store->n_stop },
                { SQL_PRESSURE_EXPIRE, &store->n_pressure },
        };
        StoreRetained retained = {};
        uint64_t all, used;
        int r;

        while (retained.n_batches < STORE_RETAIN_MAX) {
                StoreBatch batch;
                int state;

                r = choose(store, now_ns, spare, n_spare, &batch, &state);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;

                r = storesql_run_id(store, SQL_REMOVE_SPANS, batch.id);
                if (r == 0)
                        r = storesql_run_id(store, SQL_REMOVE_DEATHS, batch.id);
                if (r == 0)
                        r = storesql_run_id(store, SQL_REMOVE_BATCH, batch.id);
                if (r < 0)
                        return r;

                retained.n_batches++;
                retained.n_spans += batch.n_spans;
                if (state != STORESCHEMA_STATE_PENDING)
                        continue;
                retained.n_spans_pending += batch.n_spans;
                r = store_ledger_add(store, STORESCHEMA_LEDGER_RETENTION, (int64_t) batch.n_spans);
                if (r < 0)
                        return r;
        }
        retained.more = retained.n_batches == STORE_RETAIN_MAX;

        for (size_t i = 0; i < ARRAY_SIZE(tables) && now_ns > store->limits.max_age_ns; i++) {
                if (*tables[i].n == 0)
                        continue;
                r = storesql_run_id(store, tables[i].sql, (int64_t) (now_ns - store->limits.max_age_ns));
                if (r < 0)
                        return r;
                *tables[i].n -= MIN((uint64_t) sqlite3_changes(store->sqlite), *tables[i].n);
        }

        r = pages(store, &all, &used);
        if (r < 0)
                return r;
        /* Free pages are used again; the file shrinks only where it is larger than it may be. */
        if (all > store->limits.max_size && used < all) {
                sqlite3_stmt *stmt;

                r = storesql_get(store, SQL_VACUUM, &stmt);
                if (r < 0)
                        return r;
                while ((r = storesql_step(stmt)) > 0)
                        ;
                if (r < 0)
                        return r;
        }

        *ret = retained;
        return 0;
}
