#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "conmonline.h"

#define WORDS_MAX 48

static int parse(const char *const *words, ConmonLine *ret, char *message) {
        static char *argv[WORDS_MAX + 2];
        int argc = 1;

        argv[0] = (char *) "conmon";
        for (; argc <= WORDS_MAX && words[argc - 1]; argc++)
                argv[argc] = (char *) words[argc - 1];
        argv[argc] = NULL;
        return conmonline_parse(argc, argv, ret, message);
}

static void test_crio_create(_unused_ void **userdata) {
        static const char *const words[] = { "-b",
                                             "/b",
                                             "-c",
                                             "ID",
                                             "--exit-dir",
                                             "/exits",
                                             "-l",
                                             "/log",
                                             "--log-level",
                                             "info",
                                             "-n",
                                             "NAME",
                                             "-P",
                                             "/b/conmon-pidfile",
                                             "-p",
                                             "/b/pidfile",
                                             "--persist-dir",
                                             "/p",
                                             "-r",
                                             "/usr/bin/runc",
                                             "--runtime-arg",
                                             "--root=/run/runc",
                                             "--socket-dir-path",
                                             "/var/run/crio",
                                             "--syslog",
                                             "-u",
                                             "UUID",
                                             "-s",
                                             "--log-size-max",
                                             "8192",
                                             "--log-path",
                                             "journald:",
                                             "--leave-stdin-open",
                                             "-i",
                                             NULL };
        char message[CONMONLINE_MESSAGE_MAX];
        ConmonLine line;
        bool usage;

        assert_int_equal(parse(words, &line, message), 0);
        assert_int_equal(line.command, CONMON_RUN);
        assert_string_equal(line.bundle, "/b");
        assert_string_equal(line.cid, "ID");
        assert_string_equal(line.cuuid, "UUID");
        assert_string_equal(line.container_pidfile, "/b/pidfile");
        assert_string_equal(line.conmon_pidfile, "/b/conmon-pidfile");
        assert_string_equal(line.persist_dir, "/p");
        assert_int_equal(line.log_paths.n, 2);
        assert_string_equal(line.log_paths.words[0], "/log");
        assert_string_equal(line.log_paths.words[1], "journald:");
        assert_null(line.log_paths.words[2]);
        assert_int_equal(line.runtime_args.n, 1);
        assert_string_equal(line.runtime_args.words[0], "--root=/run/runc");
        assert_int_equal(line.log_size_max, 8192);
        assert_int_equal(line.log_global_size_max, -1);
        assert_true(line.systemd_cgroup && line.syslog && line.has_stdin && line.leave_stdin_open);
        assert_false(line.api_version || line.exec || line.terminal || line.sync || line.full_attach);
        assert_null(conmonline_check(&line, &usage));
        conmonline_deinit(&line);
}

static void test_podman_exec(_unused_ void **userdata) {
        /* "1" behind --api-version is no value, but a word that nobody wants. */
        static const char *const words[] = { "--api-version",
                                             "1",
                                             "-c",
                                             "ID",
                                             "-u",
                                             "S",
                                             "-r",
                                             "crun",
                                             "-b",
                                             "/e",
                                             "-p",
                                             "/e/pid",
                                             "-n",
                                             "N",
                                             "--exit-dir",
                                             "/e/exit",
                                             "--full-attach",
                                             "-l",
                                             "none",
                                             "--log-level",
                                             "warning",
                                             "--runtime-opt",
                                             "--preserve-fds",
                                             "--runtime-opt",
                                             "2",
                                             "-t",
                                             "-i",
                                             "-e",
                                             "--exec-attach",
                                             "--exec-process-spec",
                                             "/s",
                                             "--exit-command",
                                             "/podman",
                                             "--exit-command-arg",
                                             "--root",
                                             "--exit-command-arg",
                                             "/r",
                                             "--exit-delay",
                                             "300",
                                             NULL };
        char message[CONMONLINE_MESSAGE_MAX];
        ConmonLine line;
        bool usage;

        assert_int_equal(parse(words, &line, message), 0);
        assert_true(line.api_version && line.exec && line.exec_attach && line.terminal && line.has_stdin);
        assert_int_equal(line.runtime_opts.n, 2);
        assert_string_equal(line.runtime_opts.words[1], "2");
        assert_int_equal(line.exit_command_args.n, 2);
        assert_string_equal(line.exit_command_args.words[0], "--root");
        assert_int_equal(line.exit_delay, 300);
        assert_null(conmonline_check(&line, &usage));
        conmonline_deinit(&line);
}

static const struct {
        const char *words[6];
        const char *message; /* NULL: fine */
} spellings[] = {
        { { "-cID" }, NULL },
        { { "--cid=ID" }, NULL },
        { { "--cid", "ID" }, NULL },
        { { "-itsc", "ID" }, NULL },
        { { "-itscID" }, NULL },
        { { "stray", "-c", "ID", "-", "other" }, NULL },
        { { "-c", "ID", "--", "--unknown" }, NULL },
        { { "-c", "-t" }, NULL }, /* a value may look like an option */
        { { "--cid=", "-n", "x" }, NULL },
        { { "-T", "0x10", "-c", "ID" }, NULL },
        { { "--log-size-max", "9223372036854775807" }, NULL },
        { { "--pidfile", "/x", "--restore-arg", "y" }, NULL },
        { { "--unknown" }, "Unknown option --unknown" },
        { { "-x" }, "Unknown option -x" },
        { { "-tx" }, "Unknown option -tx" },
        { { "--sync=1" }, "Unknown option --sync=1" },
        { { "--=x" }, "Unknown option --=x" },
        { { "--cid" }, "Missing argument for --cid" },
        { { "-c" }, "Missing argument for -c" },
        { { "-tc" }, "Missing argument for -c" },
        { { "-T", "" }, "Cannot parse integer value “” for -T" },
        { { "-T", "12x" }, "Cannot parse integer value “12x” for -T" },
        { { "-T", "2147483648" }, "Integer value “2147483648” for -T out of range" },
        { { "--log-size-max", "9223372036854775808" },
          "Integer value “9223372036854775808” for log-size-max out of range" },
};

static void test_spellings(_unused_ void **userdata) {
        for (size_t i = 0; i < ARRAY_SIZE(spellings); i++) {
                char message[CONMONLINE_MESSAGE_MAX] = "";
                ConmonLine line = CONMONLINE_NULL;
                int r = parse(spellings[i].words, &line, message);

                if (spellings[i].message ? r != -EINVAL || strcmp(message, spellings[i].message) != 0 : r != 0)
                        fail_msg("%zu: %d, %s", i, r, message);
                conmonline_deinit(&line);
        }
}

static void test_values(_unused_ void **userdata) {
        char message[CONMONLINE_MESSAGE_MAX];
        ConmonLine line;

        assert_int_equal(parse((const char *const[]){ "-itscID", "-T", "0x10", NULL }, &line, message), 0);
        assert_string_equal(line.cid, "ID");
        assert_true(line.has_stdin && line.terminal && line.systemd_cgroup);
        assert_int_equal(line.timeout, 16);
        assert_string_equal(line.socket_dir_path, "/var/run/crio");
        assert_int_equal(line.log_max_files, 1);
        conmonline_deinit(&line);

        assert_int_equal(parse((const char *const[]){ "--version", NULL }, &line, message), 0);
        assert_int_equal(line.command, CONMON_VERSION);
        assert_int_equal(parse((const char *const[]){ "--version", "-h", NULL }, &line, message), 0);
        assert_int_equal(line.command, CONMON_HELP);
        assert_int_equal(parse((const char *const[]){ "--help", "--version", NULL }, &line, message), 0);
        assert_int_equal(line.command, CONMON_HELP);
}

static void test_lists_grow(_unused_ void **userdata) {
        static char *argv[2 * 300 + 2];
        char message[CONMONLINE_MESSAGE_MAX], words[300][8];
        ConmonLine line;
        int argc = 1;

        for (int i = 0; i < 300; i++) {
                (void) snprintf(words[i], sizeof(words[i]), "%d", i);
                argv[argc++] = (char *) "--runtime-arg";
                argv[argc++] = words[i];
                argv[argc] = NULL;
                assert_int_equal(conmonline_parse(argc, argv, &line, message), 0);
                assert_int_equal(line.runtime_args.n, i + 1);
                for (int j = 0; j <= i; j++)
                        assert_ptr_equal(line.runtime_args.words[j], words[j]);
                assert_null(line.runtime_args.words[i + 1]);
                conmonline_deinit(&line);
        }
}

static const struct {
        const char *words[10];
        const char *message;
        bool usage;
} checks[] = {
        { { NULL }, "Container ID not provided. Use --cid", true },
        { { "-c", "x", "--log-max-files", "-1" }, "log-max-files must be non-negative", true },
        { { "-c", "x", "--log-rotate", "--log-max-files", "0" },
          "log-max-files must be at least 1 when log-rotate is enabled",
          true },
        { { "-c", "x" }, "Container UUID not provided. Use --cuuid", false },
        { { "-c", "x", "-u", "y" }, "Runtime path not provided. Use --runtime", false },
        { { "-c", "x", "-e" }, "Runtime path not provided. Use --runtime", false },
        { { "-c", "x", "-e", "--api-version" }, "Container UUID not provided. Use --cuuid", false },
        { { "-c", "x", "-e", "--restore", "y" }, "Cannot use 'exec' and 'restore' at the same time", false },
        { { "-c", "x", "--exec-attach" }, "Attach can only be specified with exec", false },
        { { "-c", "x", "-e", "--exec-attach" }, "Attach can only be specified for a non-legacy exec session", false },
        { { "-c", "x", "--seccomp-notify-socket", "s" }, "seccomp notify is not supported", false },
        { { "-c", "x", "-u", "y", "-r", "z" }, NULL, false },
};

static void test_checks(_unused_ void **userdata) {
        for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
                char message[CONMONLINE_MESSAGE_MAX];
                ConmonLine line;
                const char *text;
                bool usage;

                assert_int_equal(parse(checks[i].words, &line, message), 0);
                text = conmonline_check(&line, &usage);
                if ((text == NULL) != (checks[i].message == NULL) ||
                    (text && (strcmp(text, checks[i].message) != 0 || usage != checks[i].usage)))
                        fail_msg("%zu: %s", i, text ? text : "-");
                conmonline_deinit(&line);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_crio_create), cmocka_unit_test(test_podman_exec),
                cmocka_unit_test(test_spellings),   cmocka_unit_test(test_values),
                cmocka_unit_test(test_lists_grow),  cmocka_unit_test(test_checks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
