#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "sampler.h"
#include "util.h"

#define N_IDS 100000

/* Go's uint64(float64(rate) / 1e6 * (1 << 63)), computed by Go. */
static const struct {
        uint32_t rate;
        uint64_t bound;
} bounds[] = {
        { 0, UINT64_C(0) },
        { 1, UINT64_C(9223372036854) },
        { 2, UINT64_C(18446744073709) },
        { 3, UINT64_C(27670116110564) },
        { 7, UINT64_C(64563604257983) },
        { 10, UINT64_C(92233720368547) },
        { 333, UINT64_C(3071382888272640) },
        { 1000, UINT64_C(9223372036854776) },
        { 10000, UINT64_C(92233720368547760) },
        { 123457, UINT64_C(1138689841553980032) },
        { 250000, UINT64_C(2305843009213693952) },
        { 333333, UINT64_C(3074454271160912896) },
        { 500000, UINT64_C(4611686018427387904) },
        { 666667, UINT64_C(6148917765693862912) },
        { 999998, UINT64_C(9223353590110702592) },
        { 999999, UINT64_C(9223362813482738688) },
};

static void bounds_are_go_s(void **state) {
        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(bounds); i++) {
                Sampler sampler = sampler_make(bounds[i].rate);

                assert_false(sampler.always);
                assert_int_equal(sampler.bound, bounds[i].bound);
        }
        assert_true(sampler_make(SAMPLER_RATE_MAX).always);
        assert_true(sampler_make(UINT32_MAX).always);
}

/* The lowest 63 bits of the id's second half, bit by bit: no shift in common with the module. */
static uint64_t definition_value(const uint8_t *trace_id) {
        uint64_t x = 0;

        for (unsigned bit = 0; bit < 63; bit++) {
                unsigned at = 64 + bit;

                x = 2 * x + (trace_id[at / 8] >> (7 - at % 8) & 1);
        }
        return x;
}

static void decides_as_defined(void **state) {
        static const struct {
                uint32_t rate;
                uint64_t bound; /* Go's */
        } rates[] = {
                { 0, 0 },
                { 1, UINT64_C(9223372036854) },
                { 10000, UINT64_C(92233720368547760) },
                { 250000, UINT64_C(2305843009213693952) },
                { 999999, UINT64_C(9223362813482738688) },
                { 1000000, UINT64_C(1) << 63 },
        };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
                Sampler sampler = sampler_make(rates[i].rate);
                unsigned n = 0;

                for (unsigned j = 0; j < N_IDS; j++) {
                        TraceContext trace = {};
                        bool expected;

                        assert_int_equal(tracecontext_new_root(&trace), 0);
                        expected = definition_value(trace.trace_id) < rates[i].bound;
                        assert_int_equal(sampler_decide(&sampler, trace.trace_id), expected);
                        assert_int_equal(sampler_flags(&sampler, NULL, &trace), expected ? TRACECONTEXT_SAMPLED : 0);
                        n += expected;
                }

                /* six standard deviations at most from what the rate promises */
                if (rates[i].rate == 0)
                        assert_int_equal(n, 0);
                if (rates[i].rate == SAMPLER_RATE_MAX)
                        assert_int_equal(n, N_IDS);
                if (rates[i].rate == 250000)
                        assert_in_range(n, 25000 - 822, 25000 + 822);
        }
}

static void at_the_bound(void **state) {
        (void) state;

        for (size_t i = 1; i < ARRAY_SIZE(bounds); i++) {
                Sampler sampler = sampler_make(bounds[i].rate);

                for (int delta = -1; delta <= 1; delta++)
                        for (unsigned low = 0; low <= 1; low++) {
                                uint64_t x = bounds[i].bound + (uint64_t) (int64_t) delta, id = x << 1 | low;
                                uint8_t trace_id[16] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

                                for (unsigned byte = 0; byte < 8; byte++)
                                        trace_id[15 - byte] = (uint8_t) (id >> 8 * byte);
                                assert_int_equal(sampler_decide(&sampler, trace_id), delta < 0);
                        }
        }
}

static void parent_decides(void **state) {
        const TraceContext root = { .trace_id = { 1 }, .span_id = { 1 }, .flags = TRACECONTEXT_RANDOM };

        (void) state;

        for (uint8_t flags = 0; flags < 4; flags++) {
                const TraceContext parent = { .trace_id = { 1 }, .span_id = { 2 }, .flags = flags };
                Sampler never = sampler_make(0), always = sampler_make(SAMPLER_RATE_MAX);

                assert_int_equal(sampler_flags(&never, &parent, NULL), flags);
                assert_int_equal(sampler_flags(&always, &parent, NULL), flags);
                assert_int_equal(sampler_flags(&never, &parent, &root), flags);
        }
}

static const uint8_t no_span_id[TRACECONTEXT_SPAN_ID_SIZE];

static void new_roots(void **state) {
        static const uint32_t rates[] = { 0, 500000, SAMPLER_RATE_MAX };
        TraceContext last = {};
        unsigned n_sampled;

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
                Sampler sampler = sampler_make(rates[i]);

                n_sampled = 0;
                for (unsigned j = 0; j < 200; j++) {
                        TraceContext root;

                        memset(&root, 0xa5, sizeof(root));
                        assert_int_equal(sampler_new_root(&sampler, &root), 0);
                        assert_memory_not_equal(root.trace_id, last.trace_id, sizeof(root.trace_id));
                        assert_memory_equal(root.span_id, no_span_id, sizeof(no_span_id));
                        assert_int_equal(root.flags,
                                         sampler_decide(&sampler, root.trace_id) ? TRACECONTEXT_SAMPLED : 0);
                        n_sampled += root.flags != 0;
                        last = root;
                }

                /* at one half, 200 equal decisions come once in 2^199 runs */
                assert_true(rates[i] == 0 ? n_sampled == 0 : n_sampled > 0);
                assert_true(rates[i] == SAMPLER_RATE_MAX ? n_sampled == 200 : n_sampled < 200);
        }
}

static void derived(void **state) {
        static const char *const ids[] = { "", "a", "abc", "0123456789abcdef0123456789abcdef" };
        static const struct {
                uint32_t rate;
                uint8_t flags;
        } rates[] = { { 0, 0 }, { SAMPLER_RATE_MAX, TRACECONTEXT_SAMPLED } };

        (void) state;

        for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
                Sampler sampler = sampler_make(rates[i].rate);

                for (size_t j = 0; j < ARRAY_SIZE(ids); j++) {
                        TraceContext expected, out;

                        memset(&out, 0xa5, sizeof(out));
                        tracecontext_derive(ids[j], strlen(ids[j]), &expected);
                        sampler_derive(&sampler, ids[j], &out);
                        assert_memory_equal(out.trace_id, expected.trace_id, sizeof(out.trace_id));
                        assert_memory_equal(out.span_id, no_span_id, sizeof(no_span_id));
                        assert_int_equal(out.flags, rates[i].flags);
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(bounds_are_go_s), cmocka_unit_test(decides_as_defined), cmocka_unit_test(at_the_bound),
                cmocka_unit_test(parent_decides),  cmocka_unit_test(new_roots),          cmocka_unit_test(derived),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
