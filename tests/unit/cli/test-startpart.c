#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "startpart.h"
#include "util.h"

#define MS(n)  ((uint64_t) (n) *1000 * 1000)
#define T0     (UINT64_C(1764547200) * NSEC_PER_SEC)
#define METHOD "runtime.v1.RuntimeService/"

/* A span from @from to @to milliseconds after T0; @id and @parent are one digit, 0: none. */
static StartSpan span(int id, int parent, unsigned from, unsigned to, const char *name) {
        StartSpan s = {
                .span_id = { (uint8_t) id },
                .parent_id = { (uint8_t) parent },
                .has_parent = parent > 0,
                .is_call = strncmp(name, "runtime.v1.", strlen("runtime.v1.")) == 0,
                .start_ns = T0 + MS(from),
                .end_ns = T0 + MS(to),
                .name = name,
                .service = "",
                .container_name = "",
                .container_id = "",
                .image = "",
                .hook_stage = "",
                .why = "",
        };

        return s;
}

static StartSpan of_container(StartSpan s, const char *container) {
        s.container_name = container;
        return s;
}

static StartSpan of_image(StartSpan s, const char *image) {
        s.image = image;
        return s;
}

static StartSpan hook(StartSpan s, const char *stage) {
        s.hook_stage = stage;
        return s;
}

static StartSpan failed(StartSpan s) {
        s.outcome = OUTCOME_FAILED;
        return s;
}

static StartSpan waited(StartSpan s, unsigned ms) {
        s.wait_ns = MS(ms);
        return s;
}

/* Milliseconds of the part, 0 if there is none. */
static unsigned part_ms(const Start *start, StartKind kind, const char *what) {
        for (size_t i = 0; i < start->n_parts; i++)
                if (start->parts[i].kind == kind && strcmp(start->parts[i].what, what) == 0)
                        return (unsigned) (start->parts[i].ns / MS(1));
        return 0;
}

static const StartPart *part(const Start *start, StartKind kind) {
        for (size_t i = 0; i < start->n_parts; i++)
                if (start->parts[i].kind == kind)
                        return &start->parts[i];
        return NULL;
}

static void assert_sums(const Start *start) {
        uint64_t sum = 0;

        for (size_t i = 0; i < start->n_parts; i++) {
                assert_true(i == 0 || start->parts[i - 1].ns >= start->parts[i].ns);
                sum += start->parts[i].ns;
        }
        assert_true(sum == start->end_ns - start->begin_ns);
}

static void test_whole_start(void **state) {
        StartSpan spans[] = {
                waited(span(1, 0, 1000, 1400, METHOD "RunPodSandbox"), 900),
                span(2, 1, 1100, 1300, "cni bridge ADD"),
                span(3, 2, 1150, 1280, "cni host-local ADD"),
                of_image(span(4, 0, 1410, 3500, "runtime.v1.ImageService/PullImage"), "docker.io/x"),
                of_container(span(5, 0, 3510, 3600, METHOD "CreateContainer"), "app"),
                span(6, 5, 3520, 3590, "runc create"),
                span(7, 6, 3530, 3550, "mounts"),
                hook(span(8, 6, 3550, 3580, "nvidia-ctk"), "createRuntime"),
                of_container(span(9, 0, 3610, 3650, METHOD "StartContainer"), "app"),
                of_container(span(10, 9, 3640, 60000, "wait_for_exit_code"), "app"),
        };
        Start start;
        const StartPart *cni;
        char text[STARTPART_TEXT_MAX];

        (void) state;
        assert_int_equal(startpart_divide(spans, ARRAY_SIZE(spans), NULL, 0, &start), 0);
        assert_true(start.begin_ns == T0 + MS(100));
        assert_true(start.end_ns == T0 + MS(3650));
        assert_true(start.complete);
        assert_true(start.watched);
        assert_int_equal(start.n_attempts, 1);
        assert_sums(&start);

        assert_int_equal(part_ms(&start, START_BEFORE, ""), 900);
        assert_int_equal(part_ms(&start, START_PULL, "docker.io/x"), 2090);
        assert_int_equal(part_ms(&start, START_CNI, "bridge"), 200);
        assert_int_equal(part_ms(&start, START_MOUNTS, ""), 20);
        assert_int_equal(part_ms(&start, START_HOOK, "nvidia-ctk (createRuntime)"), 30);
        assert_int_equal(part_ms(&start, START_RUNTIME, "runc create"), 20);
        assert_int_equal(part_ms(&start, START_CALL, "RunPodSandbox"), 200);
        assert_int_equal(part_ms(&start, START_CALL, "CreateContainer"), 20);
        assert_int_equal(part_ms(&start, START_KUBELET, ""), 30);

        cni = part(&start, START_CNI);
        assert_string_equal(cni->detail, "host-local");
        assert_int_equal(cni->detail_ns, MS(130));
        startpart_text(&start.parts[0], text);
        assert_string_equal(text, "pulling image docker.io/x");
        startpart_text(cni, text);
        assert_string_equal(text, "CNI bridge");
}

/* The pull waited for another pod's, which ended 4 ms before it began. */
static void test_queue(void **state) {
        StartSpan spans[] = {
                span(1, 0, 0, 100, METHOD "RunPodSandbox"),
                of_image(span(2, 0, 5100, 5300, "runtime.v1.ImageService/PullImage"), "y"),
                of_container(span(3, 0, 5310, 5400, METHOD "CreateContainer"), "app"),
                of_container(span(4, 0, 5410, 5450, METHOD "StartContainer"), "app"),
        };
        const StartPull pulls[] = { { T0 + MS(50), T0 + MS(2000), "default/a" },
                                    { T0 + MS(2004), T0 + MS(5096), "default/b" } };
        const StartPull early[] = { { T0 + MS(50), T0 + MS(2000), "default/a" } };
        const StartPull late[] = { { T0 + MS(5000), T0 + MS(5096), "default/b" } };
        Start start;

        (void) state;
        assert_int_equal(startpart_divide(spans, ARRAY_SIZE(spans), pulls, 2, &start), 0);
        assert_int_equal(part_ms(&start, START_QUEUE, "default/b"), 5000);
        assert_sums(&start);

        /* A pull that ended long before, and one that does not cover the gap, are not the reason. */
        assert_int_equal(startpart_divide(spans, ARRAY_SIZE(spans), early, 1, &start), 0);
        assert_int_equal(part_ms(&start, START_QUEUE, "default/a"), 0);
        assert_int_equal(part_ms(&start, START_KUBELET, ""), 5020);
        assert_int_equal(startpart_divide(spans, ARRAY_SIZE(spans), late, 1, &start), 0);
        assert_null(part(&start, START_QUEUE));
}

static void test_init_container(void **state) {
        StartSpan spans[] = {
                span(1, 0, 0, 100, METHOD "RunPodSandbox"),
                of_container(span(2, 0, 110, 200, METHOD "CreateContainer"), "init"),
                of_container(span(3, 0, 210, 250, METHOD "StartContainer"), "init"),
                of_container(span(4, 3, 250, 3000, "wait_for_exit_code"), "init"),
                of_container(span(5, 0, 3200, 3300, METHOD "CreateContainer"), "app"),
                of_container(span(6, 0, 3310, 3350, METHOD "StartContainer"), "app"),
        };
        StartSpan blind[ARRAY_SIZE(spans)];
        Start start;

        (void) state;
        memcpy(blind, spans, sizeof(spans));
        assert_int_equal(startpart_divide(spans, ARRAY_SIZE(spans), NULL, 0, &start), 0);
        assert_int_equal(part_ms(&start, START_INIT, "init"), 2950);
        assert_true(start.complete);
        assert_sums(&start);

        /* Nobody saw the container's end: it is not known. */
        blind[3] = blind[ARRAY_SIZE(blind) - 1];
        assert_int_equal(startpart_divide(blind, ARRAY_SIZE(blind) - 1, NULL, 0, &start), 0);
        assert_null(part(&start, START_INIT));
        assert_int_equal(part_ms(&start, START_UNKNOWN, ""), 2950);
        assert_false(start.watched);
        assert_sums(&start);
}

/* The sandbox failed twice; kubelet tried again. */
static void test_retry(void **state) {
        StartSpan spans[] = {
                failed(span(1, 0, 0, 1000, METHOD "RunPodSandbox")),
                span(2, 1, 100, 900, "cni slow ADD"),
                failed(span(3, 0, 12000, 12500, METHOD "RunPodSandbox")),
                span(4, 0, 24000, 24100, METHOD "RunPodSandbox"),
                of_container(span(5, 0, 24110, 24200, METHOD "CreateContainer"), "app"),
                of_container(span(6, 0, 24210, 24250, METHOD "StartContainer"), "app"),
        };
        Start start;

        (void) state;
        assert_int_equal(startpart_divide(spans, ARRAY_SIZE(spans), NULL, 0, &start), 0);
        assert_int_equal(start.n_attempts, 3);
        assert_true(start.begin_ns == T0);
        assert_int_equal(part_ms(&start, START_RETRY, "RunPodSandbox"), 22500);
        assert_int_equal(part_ms(&start, START_CNI, "slow"), 800);
        assert_sums(&start);
}

/* A pod whose sandbox was made anew: the second start counts, the first one is another. */
static void test_new_sandbox(void **state) {
        StartSpan spans[] = {
                span(1, 0, 0, 100, METHOD "RunPodSandbox"),
                of_container(span(2, 0, 110, 150, METHOD "StartContainer"), "app"),
                span(3, 0, 60000, 60100, METHOD "RunPodSandbox"),
                of_container(span(4, 0, 60110, 60150, METHOD "StartContainer"), "app"),
        };
        Start start;

        (void) state;
        assert_int_equal(startpart_divide(spans, ARRAY_SIZE(spans), NULL, 0, &start), 0);
        assert_true(start.begin_ns == T0 + MS(60000));
        assert_true(start.end_ns == T0 + MS(60150));
        assert_int_equal(start.n_attempts, 1);
}

/* Restarts and probes are no part of the start; a command that follows the start at once is. */
static void test_probes_and_restarts(void **state) {
        StartSpan spans[] = {
                span(1, 0, 0, 100, METHOD "RunPodSandbox"),
                of_container(span(2, 0, 110, 150, METHOD "CreateContainer"), "app"),
                of_container(span(3, 0, 160, 200, METHOD "StartContainer"), "app"),
                of_container(span(4, 0, 210, 900, METHOD "ExecSync"), "app"),
                span(5, 4, 220, 890, "runc exec"),
                of_container(span(6, 0, 910, 950, METHOD "CreateContainer"), "side"),
                of_container(span(7, 0, 960, 1000, METHOD "StartContainer"), "side"),
                of_container(span(8, 0, 920, 990, METHOD "ExecSync"), "app"),
                of_container(span(9, 0, 5000, 5100, METHOD "ExecSync"), "app"),
                of_container(span(10, 0, 9000, 9100, METHOD "CreateContainer"), "app"),
                of_container(span(11, 0, 9110, 9200, METHOD "StartContainer"), "app"),
        };
        Start start;

        (void) state;
        assert_int_equal(startpart_divide(spans, ARRAY_SIZE(spans), NULL, 0, &start), 0);
        assert_true(start.end_ns == T0 + MS(1000));
        assert_true(start.complete);
        assert_int_equal(part_ms(&start, START_COMMAND, "app"), 690);
        assert_int_equal(part_ms(&start, START_CALL, "CreateContainer"), 80);
        assert_sums(&start);
}

static void test_not_complete(void **state) {
        StartSpan spans[] = {
                span(1, 0, 0, 100, METHOD "RunPodSandbox"),
                of_image(failed(span(2, 0, 200, 700, "runtime.v1.ImageService/PullImage")), "gone"),
        };
        Start start;

        (void) state;
        assert_int_equal(startpart_divide(spans, ARRAY_SIZE(spans), NULL, 0, &start), 0);
        assert_false(start.complete);
        assert_true(start.end_ns == T0 + MS(700));
        assert_int_equal(part_ms(&start, START_PULL, "gone"), 500);
        assert_sums(&start);
}

static void test_nothing(void **state) {
        StartSpan spans[] = { of_container(span(2, 0, 110, 150, METHOD "StartContainer"), "app") };
        Start start;

        (void) state;
        assert_int_equal(startpart_divide(NULL, 0, NULL, 0, &start), -ENOENT);
        assert_int_equal(startpart_divide(spans, 1, NULL, 0, &start), -ENOENT);
}

/* Rings, ids that stand twice, spans that end before they begin, the ends of time: the parts still sum up. */
static void test_random(void **state) {
        static const char *const names[] = {
                METHOD "RunPodSandbox",
                METHOD "CreateContainer",
                METHOD "StartContainer",
                METHOD "ExecSync",
                "runtime.v1.ImageService/PullImage",
                "cni bridge ADD",
                "cni ",
                "runc create",
                "mounts",
                "crio: files",
                "wait for a CPU",
                "wait_for_exit_code",
                "container",
                "",
        };
        static const char *const containers[] = { "", "a", "b", "c" };

        (void) state;
        srandom(20251201);
        for (unsigned round = 0; round < 400; round++) {
                StartSpan spans[60];
                StartPull pulls[4];
                size_t n = 1 + (size_t) random() % ARRAY_SIZE(spans);
                Start start;

                for (size_t i = 0; i < n; i++) {
                        unsigned from = (unsigned) random() % 5000, to = from + (unsigned) random() % 800;

                        spans[i] = span(1 + (int) (random() % 40), (int) (random() % 41), from, to,
                                        names[(size_t) random() % ARRAY_SIZE(names)]);
                        spans[i].container_name = containers[(size_t) random() % ARRAY_SIZE(containers)];
                        spans[i].wait_ns = random() % 8 == 0 ? UINT64_MAX : MS(random() % 2000);
                        spans[i].outcome = random() % 4 == 0 ? OUTCOME_FAILED : OUTCOME_OK;
                        if (random() % 10 == 0)
                                spans[i].end_ns = spans[i].start_ns - 1;
                        if (random() % 30 == 0)
                                spans[i].end_ns = UINT64_MAX;
                        if (random() % 30 == 0)
                                spans[i].start_ns = 0;
                }
                for (size_t i = 0; i < ARRAY_SIZE(pulls); i++)
                        pulls[i] = (StartPull){ T0 + MS(random() % 5000), T0 + MS(random() % 5000), "p" };

                if (startpart_divide(spans, n, pulls, ARRAY_SIZE(pulls), &start) < 0)
                        continue;
                assert_true(start.end_ns >= start.begin_ns);
                assert_sums(&start);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole_start),    cmocka_unit_test(test_queue),
                cmocka_unit_test(test_init_container), cmocka_unit_test(test_retry),
                cmocka_unit_test(test_new_sandbox),    cmocka_unit_test(test_probes_and_restarts),
                cmocka_unit_test(test_not_complete),   cmocka_unit_test(test_nothing),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
