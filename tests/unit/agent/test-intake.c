#include "fixture.h"
#include <stdio.h>
#include "intake.h"

#define NOW FIXTURE_START

typedef struct Bench {
        char dir[64];
        Store *store;
        Intake *intake;
        Counters *counters;
        bool live; /* StopContainer of "c" is in flight */
} Bench;

#define CODE(name) \
        { "rpc.response.status_code", name, 0 }
#define EXIT(code) \
        { "process.exit.code", NULL, code }
#define CONTAINER(id) \
        { "container.id", id, 0 }
#define SANDBOX(id) \
        { "podspan.sandbox.id", id, 0 }
#define CRI  "runtime.v1.RuntimeService/"
#define LIFE "wait_for_exit_code"
#define MS   (NSEC_PER_SEC / 1000)

static const StoreLimits limits = { .max_size = 64U * 1024 * 1024, .max_age_ns = 3600 * NSEC_PER_SEC };

static const char *find_live(const StoreUndecided *undecided, uint64_t *ret_began_ns, void *userdata) {
        const Bench *bench = userdata;

        *ret_began_ns = undecided->end_ns;
        return bench->live && strcmp(undecided->container_id, "c") == 0 ? "c" : NULL;
}

static void make_intake(Bench *bench, bool exports, TailRules rules) {
        const IntakeSettings settings = {
                .ingest = { .host_name = "h",
                            .node_name = "n",
                            .service_name = "",
                            .resource_attributes = "",
                            .chunk_max = INGEST_CHUNK_MAX },
                .rules = rules,
                .exports = exports,
                .stopping = { find_live, bench },
        };

        intake_free(bench->intake);
        assert_int_equal(intake_new(&settings, bench->counters, &bench->intake), 0);
}

static int setup(void **state) {
        Bench *bench = calloc(1, sizeof(*bench));
        char *aside = NULL;

        assert_non_null(bench);
        (void) strcpy(bench->dir, "/tmp/podspan-test-intake-XXXXXX");
        assert_non_null(mkdtemp(bench->dir));
        assert_int_equal(store_open(bench->dir, &limits, &bench->store, &aside), STOREFILE_CREATED);
        /* without a directory they count privately */
        bench->counters = counters_open(-EBADF, false);
        assert_non_null(bench->counters);
        make_intake(bench, true, (TailRules){ .errors = true, .slower_than_ns = NSEC_PER_SEC });
        *state = bench;
        return 0;
}

static int teardown(void **state) {
        Bench *bench = *state;
        char command[128];
        int r;

        store_free(bench->store);
        intake_free(bench->intake);
        counters_free(bench->counters);
        (void) snprintf(command, sizeof(command), "rm -r -- '%s'", bench->dir);
        r = system(command);
        free(bench);
        return r;
}

/* One turn with one file of @n spans at @now_ns. */
static void take_at(Bench *bench, const Fixture *fixtures, size_t n, uint64_t now_ns) {
        _cleanup_free_ uint8_t *data = NULL;
        bool more = true;
        int refused;
        size_t size;

        data = fixture_pack(fixtures, n, &size);
        assert_int_equal(intake_begin(bench->intake, bench->store, now_ns), 0);
        assert_int_equal(intake_add(bench->intake, data, size, &refused), 0);
        assert_int_equal(refused, 0);
        assert_int_equal(intake_commit(bench->intake, &more), 0);
        assert_false(more);
}

static void take(Bench *bench, const Fixture *fixtures, size_t n) {
        take_at(bench, fixtures, n, NOW);
}

/* A turn without files. */
static void turn(Bench *bench, uint64_t now_ns) {
        bool more = true;

        while (more) {
                assert_int_equal(intake_begin(bench->intake, bench->store, now_ns), 0);
                assert_int_equal(intake_commit(bench->intake, &more), 0);
        }
}

static uint64_t count(const Bench *bench, CountersId id) {
        return counters_get(bench->counters, COUNTERS_AGENT, id);
}

static int64_t ledger(const Bench *bench, const char *sql) {
        char path[96];
        sqlite3_stmt *stmt;
        sqlite3 *sqlite;
        int64_t n;

        (void) snprintf(path, sizeof(path), "%s/" STORESCHEMA_FILE, bench->dir);
        assert_int_equal(sqlite3_open_v2(path, &sqlite, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(sqlite, sql, -1, &stmt, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
        n = sqlite3_column_int64(stmt, 0);
        (void) sqlite3_finalize(stmt);
        assert_int_equal(sqlite3_close(sqlite), SQLITE_OK);
        return n;
}

static void check_ledger(const Bench *bench, const char *what) {
        int64_t in = ledger(bench, "SELECT coalesce(sum(n), 0) FROM ledger WHERE key = 'in'");
        int64_t rest = ledger(bench, "SELECT coalesce(sum(n), 0) FROM ledger WHERE key <> 'in'");
        int64_t waiting = ledger(bench, "SELECT coalesce(sum(n_spans), 0) FROM batch WHERE state = 1");

        if (in != rest + waiting || ledger(bench, "SELECT count(*) FROM ledger WHERE n < 0") > 0)
                fail_msg("%s: %lld in, %lld settled, %lld pending", what, (long long) in, (long long) rest,
                         (long long) waiting);
}

/* Spans in pending batches. */
static size_t pending(const Bench *bench) {
        StoreBatch list[STORE_LIST_MAX];
        size_t n_spans = 0;
        int n;

        n = store_pending_list(bench->store, STORE_LIST_MAX, list);
        assert_true(n >= 0);
        for (int i = 0; i < n; i++)
                n_spans += list[i].n_spans;
        return n_spans;
}

static void sampled_and_not(void **state) {
        static const Fixture fixtures[] = { { .trace = 1, .span = 1, .flags = 1 },
                                            { .trace = 2, .span = 2 },
                                            { .trace = 1, .span = 0 } };
        Bench *bench = *state;

        take(bench, fixtures, 3);
        assert_int_equal(pending(bench), 1);
        assert_true(intake_committed_bytes(bench->intake) > 0);
        assert_int_equal(count(bench, COUNTERS_AGENT_FILES), 1);
        assert_int_equal(count(bench, COUNTERS_AGENT_SPANS), 2);
        assert_int_equal(count(bench, COUNTERS_AGENT_EXPORT_SKIPPED), 1);
        assert_int_equal(count(bench, COUNTERS_INPUT_BAD), 1);
        assert_int_equal(count(bench, COUNTERS_AGENT_KEPT), 0);
}

static void no_export(void **state) {
        static const Fixture fixture = { .trace = 1, .span = 1, .flags = 1, .status = 2 };
        Bench *bench = *state;

        make_intake(bench, false, (TailRules){ .errors = true });
        take(bench, &fixture, 1);
        assert_int_equal(pending(bench), 0);
        assert_int_equal(count(bench, COUNTERS_AGENT_SPANS), 1);
}

static void judged(void **state) {
        static const struct {
                TailRules rules;
                Fixture fixture;
                bool kept;
        } cases[] = {
                { { .errors = true }, { .trace = 1, .span = 1, .status = 2 }, true },
                { { .errors = true }, { .trace = 1, .span = 1, .status = 1 }, false },
                { { .errors = true }, { .trace = 1, .span = 1, .duration_ns = UINT64_MAX / 8 }, false },
                { { .slower_than_ns = 5 }, { .trace = 1, .span = 1, .duration_ns = 6 }, true },
                { { .slower_than_ns = 5 }, { .trace = 1, .span = 1, .duration_ns = 5 }, false },
                { { .slower_than_ns = 5 }, { .trace = 1, .span = 1, .duration_ns = 6, .name = "container" }, false },
                { { .slower_than_ns = 5 }, { .trace = 1, .span = 1, .status = 2 }, false },
                { {}, { .trace = 1, .span = 1, .status = 2, .duration_ns = 6 }, false },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const Fixture *fixture = &cases[i].fixture;
                IngestRow row = {
                        .name = fixture->name ?: "span",
                        .outcome = fixture->status == 2 ? OUTCOME_FAILED : OUTCOME_OK,
                        .start_ns = 1,
                        .end_ns = 1 + fixture->duration_ns,
                };

                if ((tail_judge(&cases[i].rules, &row) != NULL) != cases[i].kept)
                        fail_msg("case %zu", i);
        }
}

/* Before, with and after the decision, across turns. */
static void promoted(void **state) {
        static const Fixture before[] = { { .trace = 1, .span = 1 }, { .trace = 2, .span = 2 } };
        static const Fixture deciding[] = { { .trace = 1, .span = 3 },
                                            { .trace = 1, .span = 4, .status = 2 },
                                            { .trace = 2, .span = 5 } };
        static const Fixture after[] = { { .trace = 1, .span = 6 }, { .trace = 2, .span = 7 } };
        Bench *bench = *state;

        take(bench, before, 2);
        assert_int_equal(pending(bench), 0);
        take(bench, deciding, 3);
        assert_int_equal(pending(bench), 3);
        assert_int_equal(count(bench, COUNTERS_AGENT_KEPT), 3);
        take(bench, after, 2);
        assert_int_equal(pending(bench), 4);
        assert_int_equal(count(bench, COUNTERS_AGENT_KEPT), 4);
        assert_int_equal(count(bench, COUNTERS_AGENT_SPANS), 7);
}

/* More batches than one turn promotes from. */
static void promoted_over_turns(void **state) {
        enum { N = 3 * INTAKE_PROMOTE_MAX + 1 };
        Bench *bench = *state;
        bool more = true;

        for (uint8_t i = 1; i <= N; i++)
                take(bench, &(Fixture){ .trace = 1, .span = i }, 1);
        assert_int_equal(pending(bench), 0);

        for (unsigned n_turns = 0; more; n_turns++) {
                assert_true(n_turns < 8);
                assert_int_equal(intake_begin(bench->intake, bench->store, NOW), 0);
                if (n_turns == 0) {
                        _cleanup_free_ uint8_t *data = NULL;
                        int refused;
                        size_t size;

                        data = fixture_pack(&(Fixture){ .trace = 1, .span = 100, .status = 2 }, 1, &size);
                        assert_int_equal(intake_add(bench->intake, data, size, &refused), 0);
                }
                assert_int_equal(intake_commit(bench->intake, &more), 0);
                assert_int_equal(pending(bench), 1 + MIN((n_turns + 1) * INTAKE_PROMOTE_MAX, (unsigned) N));
        }
        assert_int_equal(pending(bench), N + 1);
        assert_int_equal(count(bench, COUNTERS_AGENT_KEPT), N + 1);
}

/* Both in one turn, in two files. */
static void promoted_within_a_turn(void **state) {
        static const Fixture first = { .trace = 1, .span = 1 };
        static const Fixture second = { .trace = 1, .span = 2, .duration_ns = 2 * NSEC_PER_SEC };
        _cleanup_free_ uint8_t *a = NULL, *b = NULL;
        Bench *bench = *state;
        size_t a_size, b_size;
        int refused;
        bool more;

        a = fixture_pack(&first, 1, &a_size);
        b = fixture_pack(&second, 1, &b_size);
        assert_int_equal(intake_begin(bench->intake, bench->store, NOW), 0);
        assert_int_equal(intake_add(bench->intake, a, a_size, &refused), 0);
        assert_int_equal(intake_add(bench->intake, b, b_size, &refused), 0);
        assert_int_equal(intake_commit(bench->intake, &more), 0);
        assert_int_equal(pending(bench), 2);
}

/* A mutating call that OpenTelemetry does not call an error. */
static void failed_calls_are_kept(void **state) {
        static const struct {
                Fixture fixture;
                size_t n;
        } cases[] = {
                { { 1, 1, CRI "RunPodSandbox", .attributes = { CODE("FAILED_PRECONDITION") } }, 1 },
                { { 2, 1, CRI "RunPodSandbox", .attributes = { CODE("OK") } }, 0 },
                { { 3, 1, CRI "StopContainer", .attributes = { CODE("NOT_FOUND") } }, 0 },
                { { 4, 1, CRI "StartContainer", .attributes = { CODE("NOT_FOUND") } }, 1 },
                { { 5, 1, CRI "CheckpointContainer", .status = 2, .attributes = { CODE("UNIMPLEMENTED") } }, 0 },
                { { 6, 1, LIFE, .status = 2,
                    .attributes = { EXIT(137), CONTAINER("c"), { "podspan.process.signal", "SIGKILL", 0 } } },
                  0 }, /* not yet */
        };
        Bench *bench = *state;
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                take(bench, &cases[i].fixture, 1);
                n += cases[i].n;
                if (pending(bench) != n)
                        fail_msg("case %zu", i);
        }
}

/*
 * The end of a container and the call that stopped it, in any order of arrival. @at: when podspand takes the file in;
 * decided at the end of time.
 */
static void stopped_is_not_failed(void **state) {
        enum { N = 3 };
        static const struct {
                const char *what;
                struct {
                        uint64_t at_ns;
                        Fixture fixture;
                } files[N];
                bool live; /* a stop call is in flight */
                bool kept;
        } cases[] = {
                { "by itself",
                  { { 0, { 1, 1, LIFE, .status = 2, .start_ns = MS, .attributes = { EXIT(1), CONTAINER("c") } } } },
                  .kept = true },
                { "in flight",
                  { { 0, { 1, 1, LIFE, .status = 2, .start_ns = MS, .attributes = { EXIT(1), CONTAINER("c") } } } },
                  .live = true },
                { "call first",
                  { { 0,
                      { 2, 2, CRI "StopContainer", .duration_ns = 9 * MS,
                        .attributes = { CODE("OK"), CONTAINER("c") } } },
                    { 1, { 1, 1, LIFE, .status = 2, .start_ns = MS, .attributes = { EXIT(143), CONTAINER("c") } } } } },
                { "call last",
                  { { 0, { 1, 1, LIFE, .status = 2, .start_ns = MS, .attributes = { EXIT(143), CONTAINER("c") } } },
                    { 4 * NSEC_PER_SEC,
                      { 2, 2, CRI "StopContainer", .duration_ns = 9 * MS,
                        .attributes = { CODE("OK"), CONTAINER("c") } } } } },
                { "sandbox last",
                  { { 0,
                      { 1, 1, LIFE, .status = 2, .start_ns = MS,
                        .attributes = { EXIT(1), CONTAINER("c"), SANDBOX("s") } } },
                    { 1,
                      { 2, 2, CRI "StopPodSandbox", .duration_ns = 9 * MS,
                        .attributes = { CODE("OK"), SANDBOX("s") } } } } },
                { "the sandbox's own container",
                  { { 0, { 1, 1, LIFE, .status = 2, .start_ns = MS, .attributes = { EXIT(137), CONTAINER("s") } } },
                    { 1,
                      { 2, 2, CRI "StopPodSandbox", .duration_ns = 9 * MS,
                        .attributes = { CODE("OK"), SANDBOX("s") } } } } },
                { "both in one trace, with another span",
                  { { 0, { 1, 1, "container", .status = 0, .attributes = { CONTAINER("c") } } },
                    { 0, { 1, 3, LIFE, .status = 2, .start_ns = MS, .attributes = { EXIT(1), CONTAINER("c") } } },
                    { 1,
                      { 1, 2, CRI "RemoveContainer", .duration_ns = 9 * MS,
                        .attributes = { CODE("OK"), CONTAINER("c") } } } } },
                { "stopped after it had ended",
                  { { 0, { 1, 1, LIFE, .status = 2, .attributes = { EXIT(1), CONTAINER("c") } } },
                    { 1,
                      { 2, 2, CRI "StopContainer", .start_ns = MS, .attributes = { CODE("OK"), CONTAINER("c") } } } },
                  .kept = true },
                { "another one stopped",
                  { { 0,
                      { 1, 1, LIFE, .status = 2, .start_ns = MS,
                        .attributes = { EXIT(1), CONTAINER("c"), SANDBOX("s") } } },
                    { 1, { 2, 2, CRI "StopContainer", .attributes = { CODE("OK"), CONTAINER("d"), SANDBOX("s") } } } },
                  .kept = true },
                { "killed by the runtime",
                  { { 0, { 2, 2, "crun kill", .attributes = { EXIT(0), CONTAINER("c") } } },
                    { 1, { 1, 1, LIFE, .status = 2, .start_ns = MS, .attributes = { EXIT(143), CONTAINER("c") } } } } },
                { "signalled by the runtime, exited later by itself",
                  { { 0, { 2, 2, "crun kill", .attributes = { EXIT(0), CONTAINER("c") } } },
                    { 1, { 1, 1, LIFE, .status = 2, .start_ns = MS, .attributes = { EXIT(3), CONTAINER("c") } } } },
                  .kept = true },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                void *own = NULL;
                Bench *bench;
                size_t n_kept;

                assert_int_equal(setup(&own), 0);
                bench = own;
                bench->live = cases[i].live;
                for (size_t f = 0; f < N && cases[i].files[f].fixture.trace; f++)
                        take_at(bench, &cases[i].files[f].fixture, 1, NOW + cases[i].files[f].at_ns);
                if (pending(bench) != 0)
                        fail_msg("%s: decided too early", cases[i].what);
                /* An end that waits survives the agent. */
                store_free(bench->store);
                assert_int_equal(store_open(bench->dir, &limits, &bench->store, &(char *){ NULL }), STOREFILE_OPENED);
                turn(bench, NOW + TAIL_WAIT_NS - 1);
                n_kept = pending(bench);
                turn(bench, NOW + TAIL_WAIT_NS + 2);
                if (n_kept != 0 || (pending(bench) > 0) != cases[i].kept)
                        fail_msg("%s: %zu pending", cases[i].what, pending(bench));
                check_ledger(bench, cases[i].what);
                assert_int_equal(teardown(&own), 0);
        }
}

static uint32_t seed;

static uint32_t draw(uint32_t below) {
        seed = seed * 1664525 + 1013904223;
        return (seed >> 8) % below;
}

static void draw_file(Bench *bench, uint64_t now_ns, bool full) {
        _cleanup_free_ uint8_t *data = NULL;
        Fixture fixtures[4] = {};
        size_t n = 1 + draw(4), size;
        int refused;

        for (size_t i = 0; i < n; i++) {
                fixtures[i] = (Fixture){
                        .trace = (uint8_t) (1 + draw(40)),
                        .span = (uint8_t) (draw(20) ? 1 + draw(200) : 0), /* 0: invalid */
                        .flags = draw(3) == 0,
                        .status = draw(12) == 0 ? 2 : 0,
                        .duration_ns = draw(12) == 0 ? 2 * NSEC_PER_SEC : 1,
                        .start_ns = now_ns - NOW,
                };
                if (draw(6) == 0) {
                        fixtures[i].name = draw(2) ? LIFE : CRI "StopContainer";
                        fixtures[i].attributes[0] = (FixtureAttribute) CONTAINER(draw(2) ? "c" : "d");
                        fixtures[i].attributes[1] = (FixtureAttribute) EXIT(1);
                }
        }
        data = fixture_pack(fixtures, n, &size);
        if (full)
                assert_int_equal(intake_refuse(bench->intake, data, size), 0);
        else
                assert_int_equal(intake_add(bench->intake, data, size, &refused), 0);
}

/* What the exporter does with a batch: accepted, accepted in part, refused, or nothing. */
static void draw_answer(Bench *bench) {
        StoreBatch list[STORE_LIST_MAX];
        int n = store_pending_list(bench->store, STORE_LIST_MAX, list);
        const StoreBatch *batch;

        assert_true(n >= 0);
        if (n == 0)
                return;
        batch = &list[draw((uint32_t) n)];
        assert_int_equal(store_begin(bench->store), 0);
        switch (draw(3)) {
        case 0:
                assert_int_equal(store_batch_set_state(bench->store, batch->id, STORESCHEMA_STATE_EXPORTED), 0);
                /* An outcome that the store had taken already. */
                assert_int_equal(store_batch_set_state(bench->store, batch->id, STORESCHEMA_STATE_EXPORTED), 0);
                break;
        case 1:
                assert_int_equal(store_batch_set_state(bench->store, batch->id, STORESCHEMA_STATE_EXPORTED), 0);
                assert_int_equal(store_ledger_add(bench->store, STORESCHEMA_LEDGER_REJECTED, 1), 0);
                assert_int_equal(store_ledger_add(bench->store, STORESCHEMA_LEDGER_EXPORTED, -1), 0);
                break;
        default:
                assert_int_equal(store_batch_set_state(bench->store, batch->id, STORESCHEMA_STATE_REFUSED), 0);
                break;
        }
        if (draw(4) == 0)
                store_rollback(bench->store);
        else
                assert_int_equal(store_commit(bench->store), 0);
}

/* in = exported + local + pending + dropped, whatever happens in which order. */
static void ledger_adds_up(void **state) {
        Bench *bench = *state;
        uint64_t now_ns = NOW;
        char what[64];
        bool more;

        for (seed = 1; seed < 4;) {
                uint32_t first = seed++;

                for (unsigned step = 0; step < 400; step++) {
                        uint32_t saved = seed;

                        seed = first * 7919 + step;
                        switch (draw(10)) {
                        case 0: /* killed and started again */
                                assert_int_equal(intake_begin(bench->intake, bench->store, now_ns), 0);
                                draw_file(bench, now_ns, false);
                                intake_rollback(bench->intake);
                                store_free(bench->store);
                                assert_int_equal(store_open(bench->dir, &limits, &bench->store, &(char *){ NULL }),
                                                 STOREFILE_OPENED);
                                make_intake(bench, draw(4) > 0,
                                            (TailRules){ .errors = draw(4) > 0, .slower_than_ns = NSEC_PER_SEC });
                                break;
                        case 1: /* the disk is full */
                                draw_file(bench, now_ns, true);
                                break;
                        case 2: {
                                StoreRetained retained;

                                now_ns += draw(2) ? 3700 * NSEC_PER_SEC : NSEC_PER_SEC;
                                assert_int_equal(store_begin(bench->store), 0);
                                assert_int_equal(store_retain(bench->store, now_ns, NULL, 0, &retained), 0);
                                assert_int_equal(store_commit(bench->store), 0);
                                break;
                        }
                        case 3:
                        case 4:
                                draw_answer(bench);
                                break;
                        default:
                                now_ns += draw(3) * NSEC_PER_SEC;
                                assert_int_equal(intake_begin(bench->intake, bench->store, now_ns), 0);
                                for (uint32_t files = draw(4); files > 0; files--)
                                        draw_file(bench, now_ns, false);
                                assert_int_equal(intake_commit(bench->intake, &more), 0);
                                break;
                        }
                        (void) snprintf(what, sizeof(what), "seed %u, step %u", first, step);
                        check_ledger(bench, what);
                        seed = saved;
                }
        }
        assert_true(ledger(bench, "SELECT n FROM ledger WHERE key = 'in'") > 1000);
        assert_true(ledger(bench, "SELECT count(*) FROM ledger WHERE n > 0") >= 8);
}

static void rolled_back(void **state) {
        static const Fixture fixture = { .trace = 1, .span = 1, .flags = 1 };
        _cleanup_free_ uint8_t *data = NULL;
        Bench *bench = *state;
        size_t size;
        int refused;

        data = fixture_pack(&fixture, 1, &size);
        assert_int_equal(intake_begin(bench->intake, bench->store, NOW), 0);
        assert_int_equal(intake_add(bench->intake, data, size, &refused), 0);
        intake_rollback(bench->intake);
        assert_int_equal(pending(bench), 0);
        assert_int_equal(count(bench, COUNTERS_AGENT_SPANS), 0);

        take(bench, &fixture, 1);
        assert_int_equal(pending(bench), 1);
        assert_int_equal(count(bench, COUNTERS_AGENT_SPANS), 1);
}

static void refused_files(void **state) {
        static const uint8_t garbage[] = "GET / HTTP/1.1";
        static const Fixture fixtures[] = { { .trace = 1, .span = 1 }, { .trace = 1, .span = 2 } };
        _cleanup_free_ uint8_t *data = NULL;
        Bench *bench = *state;
        size_t size;
        int refused;
        bool more;

        assert_int_equal(intake_begin(bench->intake, bench->store, NOW), 0);
        assert_int_equal(intake_add(bench->intake, garbage, sizeof(garbage), &refused), 0);
        assert_int_equal(refused, -EBADMSG);
        assert_int_equal(intake_commit(bench->intake, &more), 0);
        assert_int_equal(count(bench, COUNTERS_INPUT_BAD), 1);

        data = fixture_pack(fixtures, 2, &size);
        assert_int_equal(intake_refuse(bench->intake, data, size), 0);
        assert_int_equal(count(bench, COUNTERS_AGENT_DROP_STORE_FULL), 2);
        assert_int_equal(count(bench, COUNTERS_AGENT_SPANS), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(sampled_and_not),
                TEST(no_export),
                TEST(judged),
                TEST(promoted),
                TEST(promoted_over_turns),
                TEST(promoted_within_a_turn),
                TEST(rolled_back),
                TEST(refused_files),
                TEST(failed_calls_are_kept),
                TEST(stopped_is_not_failed),
                TEST(ledger_adds_up),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
