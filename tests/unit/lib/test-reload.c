/* What a daemon makes of SIGHUP: which configuration counts afterwards, what the log and the service manager are told.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <cmocka.h>
#include "clk.h"
#include "reload.h"

#define KEEPS true

static char folder[] = "/tmp/test-reload-XXXXXX";
static char file[64];
static int manager_fd = -EBADF, saved_stderr = -EBADF, log_fd = -EBADF;

static Clk seven_seconds(void) {
        return (Clk){ .monotonic_ns = 7 * NSEC_PER_SEC };
}

static void write_config(const char *text) {
        _cleanup_close_ int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
}

static void expect_told(const char *expected) {
        char got[64] = "";

        assert_int_equal(recv(manager_fd, got, sizeof(got) - 1, 0), (ssize_t) strlen(expected));
        assert_string_equal(got, expected);
}

static void expect_log(const char *expected) {
        char got[512];
        ssize_t n = read(log_fd, got, sizeof(got) - 1);

        got[n > 0 ? n : 0] = '\0';
        assert_string_equal(got, expected);
}

/* Somebody who borrows from the configuration. */
typedef struct Program {
        Config config;
        const char *endpoint;
        int result;
        const char *message;
        unsigned n_applied;
        unsigned n_reported;
        int reported;
        char reported_message[256];
} Program;

/* In the middle: after RELOADING=1, before READY=1. */
static void report(void *userdata, int result, const char *message) {
        Program *program = userdata;
        char none[8];

        expect_told("RELOADING=1\nMONOTONIC_USEC=7000000");
        assert_true(recv(manager_fd, none, sizeof(none), 0) < 0 && errno == EAGAIN);
        program->n_reported++;
        program->reported = result;
        (void) snprintf(program->reported_message, sizeof(program->reported_message), "%s", message ? message : "");
}

static int apply(void *userdata, char **reterr_message) {
        Program *program = userdata;

        program->n_applied++;
        if (program->result < 0) {
                *reterr_message = program->message ? strdup(program->message) : NULL;
                return program->result;
        }
        program->endpoint = program->config.tracing_endpoint;
        return 0;
}

static const struct {
        const char *text; /* NULL: no file */
        bool keeps_tracing;
        int result; /* of applying it */
        const char *message;
        int reported;
        const char *reported_message, *endpoint; /* the message: FILE stands for the file's name */
        uint32_t rate;
        bool enabled;
} cases[] = {
        { "tracing_sampling_rate_per_million = 5\ntracing_endpoint = b:2", KEEPS, 0, NULL, 0, "", "b:2", 5, true },
        { "", KEEPS, 0, NULL, 0, "", "localhost:4317", 0, true },
        { "enable_tracing = false\ntracing_endpoint = b:2", KEEPS, 0, NULL, RELOAD_KEEPS_TRACING, "", "b:2", 0, true },
        { "enable_tracing = false", !KEEPS, 0, NULL, 0, "", "localhost:4317", 0, false },
        { "tracing_endpoint = b:2\ntracing_sampling_rate_per_million = many", KEEPS, 0, NULL, -EINVAL,
          "FILE:2: tracing_sampling_rate_per_million: not a number", "a:1", 1, true },
        { NULL, KEEPS, 0, NULL, -ENOENT, "FILE: No such file or directory", "a:1", 1, true },
        { "tracing_endpoint = b:2", KEEPS, -EINVAL, "b is nobody", -EINVAL, "b is nobody", "a:1", 1, true },
        { "tracing_endpoint = b:2", KEEPS, -EMFILE, NULL, -EMFILE, "Too many open files", "a:1", 1, true },
        { "tracing_endpoint = b:2\nlog_level = error", KEEPS, 0, NULL, 0, "", "b:2", 0, true },
};

static void configurations(void **state) {
        (void) state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Program program = { .result = cases[i].result, .message = cases[i].message };
                _cleanup_free_ char *message = NULL;
                const char *place = strstr(cases[i].reported_message, "FILE");
                char expected[512];

                print_message("%zu: %s\n", i, cases[i].text ? cases[i].text : "no file");
                write_config("tracing_endpoint = a:1\ntracing_sampling_rate_per_million = 1\n");
                assert_int_equal(config_load(file, &program.config, &message), 0);
                log_set_level(program.config.log_level);
                program.endpoint = program.config.tracing_endpoint;
                if (cases[i].text)
                        write_config(cases[i].text);
                else
                        assert_int_equal(unlink(file), 0);

                reload_run(&(Reload){
                        .file = file,
                        .config = &program.config,
                        .keeps_tracing = cases[i].keeps_tracing,
                        .apply = apply,
                        .report = report,
                        .userdata = &program,
                });

                (void) snprintf(expected, sizeof(expected), "%s%s", place ? file : "",
                                place ? place + strlen("FILE") : cases[i].reported_message);
                assert_int_equal(program.n_reported, 1);
                assert_int_equal(program.reported, cases[i].reported);
                assert_string_equal(program.reported_message, expected);
                /* To log is the program's. */
                expect_log("");
                expect_told("READY=1\nWATCHDOG=1");
                assert_int_equal(program.n_applied, place ? 0 : 1);
                /* What was lent out is where it was, and is read: a sanitizer sees whether it was freed. */
                assert_string_equal(program.endpoint, cases[i].endpoint);
                assert_ptr_equal(program.endpoint, program.config.tracing_endpoint);
                assert_int_equal(program.config.tracing_sampling_rate_per_million, cases[i].rate);
                assert_int_equal(program.config.enable_tracing, cases[i].enabled);
                config_deinit(&program.config);
        }
}

static int set_up(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fds[2];

        (void) state;
        assert_non_null(mkdtemp(folder));
        (void) snprintf(file, sizeof(file), "%s/podspan.conf", folder);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", folder);
        manager_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(manager_fd, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);

        assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        log_fd = fds[0];
        saved_stderr = dup(STDERR_FILENO);
        assert_true(saved_stderr >= 0 && dup2(fds[1], STDERR_FILENO) >= 0);
        (void) close(fds[1]);
        log_setup("test", LOG_LEVEL_INFO);
        clk_override(seven_seconds);
        return 0;
}

static int tear_down(void **state) {
        char path[64];

        (void) state;
        clk_override(NULL);
        (void) dup2(saved_stderr, STDERR_FILENO);
        saved_stderr = close_fd(saved_stderr);
        log_fd = close_fd(log_fd);
        manager_fd = close_fd(manager_fd);
        (void) snprintf(path, sizeof(path), "%s/notify", folder);
        (void) unlink(path);
        (void) unlink(file);
        return rmdir(folder);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(configurations) };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
