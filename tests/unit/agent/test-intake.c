#include "fixture.h"
#include <stdio.h>
#include "intake.h"

#define NOW FIXTURE_START

typedef struct Bench {
        char dir[64];
        Store *store;
        Intake *intake;
        Counters *counters;
} Bench;

static const StoreLimits limits = { .max_size = 64U * 1024 * 1024, .max_age_ns = 3600 * NSEC_PER_SEC };

static void make_intake(Bench *bench, bool exports, TailRules rules) {
        const IntakeSettings settings = {
                .ingest = { .host_name = "h",
                            .node_name = "n",
                            .service_name = "",
                            .resource_attributes = "",
                            .chunk_max = INGEST_CHUNK_MAX },
                .rules = rules,
                .exports = exports,
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

/* One turn with one file of @n spans. */
static void take(Bench *bench, const Fixture *fixtures, size_t n) {
        _cleanup_free_ uint8_t *data = NULL;
        bool more = true;
        int refused;
        size_t size;

        data = fixture_pack(fixtures, n, &size);
        assert_int_equal(intake_begin(bench->intake, bench->store, NOW), 0);
        assert_int_equal(intake_add(bench->intake, data, size, &refused), 0);
        assert_int_equal(refused, 0);
        assert_int_equal(intake_commit(bench->intake, &more), 0);
        assert_false(more);
}

static uint64_t count(const Bench *bench, CountersId id) {
        return counters_get(bench->counters, COUNTERS_AGENT, id);
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
                        .status = fixture->status,
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
                TEST(sampled_and_not), TEST(no_export),           TEST(judged),
                TEST(promoted),        TEST(promoted_over_turns), TEST(promoted_within_a_turn),
                TEST(rolled_back),     TEST(refused_files),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
