#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "unitargs.h"

#define FLAG "--endpoint"
#define S    "[Service]\n"

/* Files: the unit, two drop-ins, and two environment files. */
enum { UNIT, DROP_IN, DROP_IN_2, ENVIRONMENT, ENVIRONMENT_2, N_FILES };

typedef struct Expected {
        const char *value;
        bool refused;
        unsigned file;
} Expected;

static const struct {
        const char *files[N_FILES];
        Expected flags[4];
} cases[] = {
        /* What an argument is. */
        { { S "ExecStart=/k --endpoint=unix:///a --x\n" }, { { "unix:///a" } } },
        { { S "ExecStart=/k --endpoint /a --endpoint '/b'\n" }, { { "/a" }, { "/b" } } },
        { { S "ExecStart=/k --endpoint \\\n   /a \\\n" }, { { "/a" } } },
        { { S "ExecStart=/k \\\n  # --endpoint=/c\n --endpoint=/a\n" }, { { "/a" } } },
        { { S " ExecStart = /k --endpoint=\"/a\" -v" }, { { "/a" } } },
        { { S "ExecStart=/k '--endpoint=/a b' --endpointx=/b x--endpoin=/c --endpoint-x=/d\n" }, { { "/a b" } } },
        { { S "ExecStart=-@:/k k --endpoint=$A\n" }, { { "$A" } } },
        { { S "ExecStart=/k --endpoint\n" }, {} },
        { { "ExecStart=/k --endpoint=/a\n[Unit]\nExecStart=/k --endpoint=/b\n[Service]\nExecStartPre=/k "
            "--endpoint=/c\n" },
          {} },
        { { "\xef\xbb\xbf" S "ExecStart=/k --endpoint=/a\r\n" }, { { "/a" } } },
        { { S "ExecStart=/k --endpoint=/a%%b\n" }, { { "/a%b", true } } },
        { { S "ExecStart=/k --endpoint=/a\\x62\n" }, { { "/ab", true } } },
        { { S "ExecStart=/k --endpoint=/a'b'c\n" }, { { "/abc", true } } },
        { { S "ExecStart=/k --endpoint=%t/a\n" }, { { "%/a", true } } },
        { { S "ExecStart=/k --endpoint=\n" }, { { "", true } } },
        { { S "ExecStart=/bin/sh -c 'k --endpoint=/a'\n" }, { { "", true } } },
        { { S "ExecStart=/k '--endpoint=/a\n" }, { { "", true } } },
        { { S "ExecStart=/k ; /x --endpoint=/a\n" }, { { "", true } } },
        /* Variables. */
        { { S "Environment=\"A=--endpoint=/a --x\" B=--endpoint=/b\nExecStart=/k $A\n" }, { { "/a" } } },
        { { S "Environment='A=--endpoint \"/a\"'\nExecStart=/k $A\n" }, { { "/a" } } },
        { { S "Environment=A=--endpoint=/a\nEnvironment=A=--endpoint=/b\nExecStart=/k $A\n" }, { { "/b" } } },
        { { S "Environment=A=--endpoint=/a\nEnvironment=\nExecStart=/k $A\n" }, {} },
        { { S "Environment=A=/a\nExecStart=/k --endpoint $A\n" }, { { "", true } } },
        { { S "Environment=A=/a\nExecStart=/k --endpoint=${A}\n" }, { { "/a", true } } },
        { { S "Environment=A=--endpoint\nExecStart=/k $A /a\n" }, { { "", true } } },
        { { S "ExecStart=/k --endpoint=/$$a ${B}\n" }, { { "/$a", true } } },
        { { S "Environment=A=--endpoint=/a\nExecStart=:/k $A\n" }, {} },
        { { S "Environment=A=--endpoint=/a\nExecStart=/wrapper\n" }, { { "/a" } } },
        /* Drop-ins. */
        { { S "ExecStart=/k --endpoint=/a\n", S "ExecStart=\nExecStart=/k --endpoint=/b\n" },
          { { "/b", .file = DROP_IN } } },
        { { S "ExecStart=/k --endpoint=/a\n", "ExecStart=\n", S "Environment=A=b\n" }, { { "/a" } } },
        { { S "ExecStart=/k $A\n", S "Environment=A=--endpoint=/a\n", S "Environment=A=--endpoint=/b\n" },
          { { "/b", .file = DROP_IN_2 } } },
        { { S "ExecStart=/k --endpoint=/a\n", S "ExecStart=/k --endpoint=/b\n" }, { { "/a" }, { "", true, DROP_IN } } },
        { { S "ExecStart=/k\n", "[Service\nExecStart=/k --endpoint=/b\n" }, { { "", true, DROP_IN } } },
        /* Environment files. */
        { { S "ExecStart=/k $A\nEnvironmentFile=-/e\nEnvironment=A=--endpoint=/a\n", [ENVIRONMENT] =
                                                                                             "A=--endpoint=/b\n" },
          { { "/b", .file = ENVIRONMENT } } },
        { { S "ExecStart=/k $A\nEnvironmentFile=-/e\n", [ENVIRONMENT] = "# A=--endpoint=/x\n A = '--endpoint=/b' \n" },
          { { "/b", .file = ENVIRONMENT } } },
        { { S "ExecStart=/k $A\nEnvironmentFile=-/e\n", [ENVIRONMENT] = "A='--endpoint=/b' # no comment\n" },
          { { "/b#", true, ENVIRONMENT } } },
        { { S "ExecStart=/k $A\nEnvironmentFile=-/e\n", [ENVIRONMENT] = "A=\"--endpoint=/b \\\n --x\"\n" },
          { { "/b", .file = ENVIRONMENT } } },
        { { S "ExecStart=/k $A\nEnvironmentFile=-/e\n", [ENVIRONMENT] = "A=--x \\\n--endpoint=/b\\c" },
          { { "/bc", true, ENVIRONMENT } } },
        { { S "ExecStart=/k $A\nEnvironmentFile=-/e\nEnvironmentFile=-/f\n", [ENVIRONMENT] = "A=--endpoint=/b\n",
            [ENVIRONMENT_2] = "export A=--endpoint=/d\nA=--endpoint=/c\n" },
          { { "/c", .file = ENVIRONMENT_2 } } },
        { { S "ExecStart=/k $A\nEnvironmentFile=-/e\nEnvironmentFile=\n", [ENVIRONMENT] = "A=--endpoint=/b\n" }, {} },
        { { S "ExecStart=/k $A\nEnvironmentFile=/e\n", [ENVIRONMENT] = "# x \\\nA=--endpoint=/b\n" },
          { { "", true, ENVIRONMENT } } },
        { { S "ExecStart=/k $A\nEnvironmentFile=/e*\n" }, { { "", true } } },
        { { "" }, {} },
};

/* Returns exact copies, so that a sanitizer sees a byte read too many. */
static UnitArgs *build(const char *const *files, char **copies, size_t cut) {
        UnitArgs *args = NULL;

        assert_int_equal(unitargs_new(&args), 0);
        for (unsigned i = 0; i < N_FILES; i++) {
                size_t n = files[i] ? MIN(strlen(files[i]), cut) : 0;

                copies[i] = malloc(n ? n : 1);
                assert_non_null(copies[i]);
                if (!files[i])
                        continue;
                memcpy(copies[i], files[i], n);
                if (i < ENVIRONMENT)
                        assert_int_equal(unitargs_add_unit(args, i, copies[i], n), 0);
                else if (unitargs_environment_file(args, i - ENVIRONMENT))
                        assert_int_equal(unitargs_add_environment(args, i, copies[i], n), 0);
        }
        assert_int_equal(unitargs_evaluate(args, "k"), 0);
        return args;
}

static void test_cases(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char *copies[N_FILES];
                UnitArgs *args = build(cases[i].files, copies, SIZE_MAX);
                size_t pos = 0;
                UnitFlag flag;

                for (size_t j = 0; j < ARRAY_SIZE(cases[i].flags) && cases[i].flags[j].value; j++) {
                        const Expected *expected = &cases[i].flags[j];

                        if (unitargs_next(args, FLAG, &pos, &flag) != 1)
                                fail_msg("case %zu: flag %zu was not found", i, j);
                        if (strcmp(flag.value, expected->value) != 0 || !!flag.refusal != expected->refused ||
                            flag.file != expected->file)
                                fail_msg("case %zu: %s in file %u, %s", i, flag.value, flag.file,
                                         flag.refusal ? flag.refusal : "can be edited");
                        if (!flag.refusal) {
                                assert_true(flag.known);
                                assert_int_equal(flag.to - flag.from, strlen(flag.value));
                                assert_memory_equal(copies[flag.file] + flag.from, flag.value, flag.to - flag.from);
                        }
                        free(flag.value);
                }
                if (unitargs_next(args, FLAG, &pos, &flag) != 0)
                        fail_msg("case %zu: %s in file %u is one too many", i, flag.value, flag.file);
                unitargs_free(args);
                for (size_t j = 0; j < N_FILES; j++)
                        free(copies[j]);
        }
}

/* A wrapper may pass on a variable, or not. */
static void test_maybe(void **state) {
        static const char *const files[N_FILES] = { S
                                                    "Environment=A=--endpoint=/a\nExecStart=/wrapper --endpoint=/b\n" };
        char *copies[N_FILES];
        UnitArgs *args = build(files, copies, SIZE_MAX);
        size_t pos = 0;
        UnitFlag flag;

        (void) state;
        assert_int_equal(unitargs_next(args, FLAG, &pos, &flag), 1);
        assert_string_equal(flag.value, "/a");
        assert_true(flag.maybe);
        free(flag.value);
        assert_int_equal(unitargs_next(args, FLAG, &pos, &flag), 1);
        assert_string_equal(flag.value, "/b");
        assert_false(flag.maybe);
        free(flag.value);
        unitargs_free(args);
        for (size_t j = 0; j < N_FILES; j++)
                free(copies[j]);
}

static void test_truncated(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                for (size_t n = 0; n <= strlen(cases[i].files[0]); n++) {
                        char *copies[N_FILES];
                        UnitArgs *args = build(cases[i].files, copies, n);
                        UnitFlag flag;

                        for (size_t pos = 0; unitargs_next(args, FLAG, &pos, &flag) > 0; free(flag.value))
                                assert_true(flag.from <= flag.to && flag.file < N_FILES);
                        unitargs_free(args);
                        for (size_t j = 0; j < N_FILES; j++)
                                free(copies[j]);
                }
}

static void test_limits(void **state) {
        static char text[1024 * 1024];
        UnitArgs *args = NULL;
        size_t n;

        (void) state;
        /* A variable of half a megabyte, many times. */
        n = (size_t) snprintf(text, sizeof(text), S "Environment=A=%0500000d\nExecStart=/k", 1);
        for (int i = 0; i < 100; i++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, " $A ${A}");
        assert_int_equal(unitargs_new(&args), 0);
        assert_int_equal(unitargs_add_unit(args, 0, text, n), 0);
        assert_int_equal(unitargs_evaluate(args, "k"), -E2BIG);
        args = unitargs_free(args);

        n = (size_t) snprintf(text, sizeof(text), S "ExecStart=/k");
        for (int i = 0; i < UNITARGS_ITEMS_MAX; i++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, " x");
        assert_int_equal(unitargs_new(&args), 0);
        assert_int_equal(unitargs_add_unit(args, 0, text, n), -E2BIG);
        args = unitargs_free(args);

        n = (size_t) snprintf(text, sizeof(text), S);
        for (int i = 0; i <= UNITARGS_FILES_MAX; i++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, "EnvironmentFile=/e\n");
        assert_int_equal(unitargs_new(&args), 0);
        assert_int_equal(unitargs_add_unit(args, 0, text, n), -E2BIG);
        unitargs_free(args);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cases),
                cmocka_unit_test(test_maybe),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_limits),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
