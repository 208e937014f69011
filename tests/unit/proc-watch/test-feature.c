#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "../exact.h"
#include "feature.h"
#include "util.h"

/* A kernel with everything but one feature, as far as it goes. */
typedef struct Kernel {
        Feature without;
        int answer; /* to that one */
        Feature n_asked;
} Kernel;

static int ask(void *userdata, Feature feature) {
        Kernel *kernel = userdata;

        /* Each once and in order: an answer may depend on the ones before. */
        assert_int_equal(feature, kernel->n_asked);
        kernel->n_asked++;
        return feature == kernel->without ? kernel->answer : 1;
}

static const struct {
        Feature feature;
        WatchStateMissing kind;
        const char *names; /* in its text */
} required[] = {
        { FEATURE_HOST_PIDS, WATCHSTATE_MISSING_NAMESPACE, "pid namespace" },
        { FEATURE_BPF, WATCHSTATE_MISSING_KERNEL, "bpf(2)" },
        { FEATURE_CAP_BPF, WATCHSTATE_MISSING_CAPABILITY, "CAP_BPF is missing" },
        { FEATURE_CAP_PERFMON, WATCHSTATE_MISSING_CAPABILITY, "CAP_PERFMON is missing" },
        { FEATURE_BTF, WATCHSTATE_MISSING_BTF, "/sys/kernel/btf/vmlinux" },
        { FEATURE_MEMLOCK, WATCHSTATE_MISSING_CAPABILITY, "LimitMEMLOCK" },
        { FEATURE_ALLOWED, WATCHSTATE_MISSING_CAPABILITY, "security module" },
        { FEATURE_READS, WATCHSTATE_MISSING_KERNEL, "locked down" },
        { FEATURE_RINGBUF, WATCHSTATE_MISSING_KERNEL, "ring buffer" },
        { FEATURE_ITER_TASK, WATCHSTATE_MISSING_KERNEL, "iterator" },
        { FEATURE_HELPERS, WATCHSTATE_MISSING_KERNEL, "helper" },
        { FEATURE_FORK, WATCHSTATE_MISSING_KERNEL, "\"sched_process_fork\"" },
        { FEATURE_EXEC, WATCHSTATE_MISSING_KERNEL, "\"sched_process_exec\"" },
        { FEATURE_EXIT, WATCHSTATE_MISSING_KERNEL, "\"sched_process_exit\"" },
        { FEATURE_RENAME, WATCHSTATE_MISSING_KERNEL, "\"task_rename\"" },
        { FEATURE_ATTACH, WATCHSTATE_MISSING_KERNEL, "\"cgroup_attach_task\"" },
};

static void test_all_there(void **state) {
        Kernel kernel = { .without = _FEATURE_MAX };
        FeatureSet set;
        Feature missing;

        (void) state;
        assert_int_equal(feature_probe(ask, &kernel, &set, &missing), 0);
        assert_int_equal(kernel.n_asked, _FEATURE_MAX);
        for (Feature feature = 0; feature < _FEATURE_MAX; feature++)
                assert_true(set.has[feature]);
}

/* Each required one that is missing is named, with its kind and what to do; what is behind it is not asked for. */
static void test_one_missing(void **state) {
        (void) state;
        assert_int_equal(ARRAY_SIZE(required), _FEATURE_REQUIRED_MAX);
        for (Feature feature = 0; feature < _FEATURE_REQUIRED_MAX; feature++) {
                Kernel kernel = { .without = feature };
                Feature missing = _FEATURE_MAX;
                FeatureSet set;
                const char *text;

                assert_int_equal(required[feature].feature, feature);
                assert_int_equal(feature_probe(ask, &kernel, &set, &missing), -EOPNOTSUPP);
                assert_int_equal(missing, feature);
                assert_int_equal(kernel.n_asked, feature + 1);
                assert_int_equal(feature_kind(missing), required[feature].kind);
                text = feature_text(missing);
                if (!strstr(text, required[feature].names))
                        fail_msg("%s does not name %s", text, required[feature].names);
                /* A second sentence says what to do. */
                assert_non_null(strstr(text, ". "));
                assert_true(strlen(text) < WATCHSTATE_REASON_MAX);
        }
}

/* Without the others it runs, and they are known to be missing. */
static void test_optional_missing(void **state) {
        (void) state;
        for (Feature without = _FEATURE_REQUIRED_MAX; without < _FEATURE_MAX; without++) {
                Kernel kernel = { .without = without };
                FeatureSet set;
                Feature missing;

                assert_int_equal(feature_probe(ask, &kernel, &set, &missing), 0);
                for (Feature feature = 0; feature < _FEATURE_MAX; feature++)
                        assert_int_equal(set.has[feature], feature != without);
                assert_non_null(feature_tracepoint(without));
        }
}

/* What cannot be found out now is no answer: neither there nor missing for good. */
static void test_no_answer(void **state) {
        (void) state;
        for (Feature feature = 0; feature < _FEATURE_MAX; feature++) {
                Kernel kernel = { .without = feature, .answer = -ENOMEM };
                Feature missing = _FEATURE_MAX;
                FeatureSet set;

                assert_int_equal(feature_probe(ask, &kernel, &set, &missing), -ENOMEM);
                assert_int_equal(missing, _FEATURE_MAX);
        }
}

static void test_verifier_reason(void **state) {
        static const struct {
                const char *log, *reason;
        } cases[] = {
                { "", "" },
                { "\n\n", "" },
                { "processed 0 insns (limit 1000000)\n", "" },
                { "67: (bf) r1 = r7\n68: (85) call unknown#175\ninvalid func unknown#175\n"
                  "processed 401 insns (limit 1000000) max_states_per_insn 1\n-- END PROG LOAD LOG --\n",
                  "invalid func unknown#175" },
                { "libbpf: prog 'on_exec': -- BEGIN PROG LOAD LOG --\nThe sequence of 8193 jumps is too complex.\n"
                  "verification time 9 usec\nstack depth 8\nprocessed 35222 insns\n-- END PROG LOAD LOG --\n",
                  "The sequence of 8193 jumps is too complex." },
                { "cut of", "cut of" },
                { "libbpf: prog 'on_exec': -- BEGIN PROG LOAD LOG --\n-- END PROG LOAD LOG --\n", "" },
        };
        char reason[64], small[8];

        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                size_t len = strlen(cases[i].log);
                _cleanup_free_ char *log = exact(cases[i].log, len);

                assert_non_null(log);
                feature_verifier_reason(log, len, reason, sizeof(reason));
                assert_string_equal(reason, cases[i].reason);
                for (size_t cut = 0; cut < len; cut++)
                        feature_verifier_reason(log, cut, small, sizeof(small));
        }
        feature_verifier_reason("invalid func", 12, small, sizeof(small));
        assert_string_equal(small, "invalid");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_all_there),        cmocka_unit_test(test_one_missing),
                cmocka_unit_test(test_optional_missing), cmocka_unit_test(test_no_answer),
                cmocka_unit_test(test_verifier_reason),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
