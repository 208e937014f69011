#include <stdio.h>
#include <string.h>
#include "doctor.h"
#include "text.h"

/* So that a script tells them from failures of doctor itself. */
#define EXIT_WARNING 10
#define EXIT_ERROR   20

static const char help[] =
        "Usage: podspan doctor [OPTION]... \n"
        "\n"
        "What is wrong with tracing on this node: each finding with what was seen and how to put it right. Changes "
        "nothing.\n"
        "\n"
        "Options:\n"
        "  --root DIR                a node's tree below DIR instead of this node\n"
        "  --kubelet-version V       v1.34.1, instead of what the journal and kubelet's program say\n"
        "  --containerd-version V    2.1.4, instead of what containerd and its program say\n"
        "\n" CLI_OPTIONS_HELP "\n"
        "Exit codes: 0 all well, 10 the worst is a warning, 20 an error; 1 doctor itself failed, 2 usage.\n";

enum {
        ARG_ROOT = CLI_ARG_OWN,
        ARG_KUBELET_VERSION,
        ARG_CONTAINERD_VERSION,
};

static const char *const severities[] = {
        [DOCTOR_OK] = "ok", [DOCTOR_NOTE] = "note", [DOCTOR_WARNING] = "warning", [DOCTOR_ERROR] = "error"
};

static int parse_argv(Cli *cli, Doctor *doctor, int argc, char **argv) {
        static const struct option options[] = { CLI_OPTIONS,
                                                 { "root", required_argument, NULL, ARG_ROOT },
                                                 { "kubelet-version", required_argument, NULL, ARG_KUBELET_VERSION },
                                                 { "containerd-version", required_argument, NULL,
                                                   ARG_CONTAINERD_VERSION },
                                                 {} };
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                r = cli_option(cli, c, help);
                if (r < 0)
                        return r;
                if (r == 1 && c == ARG_ROOT)
                        doctor->root = optarg;
                else if (r == 1 && c == ARG_KUBELET_VERSION)
                        doctor->kubelet_version = optarg;
                else if (r == 1)
                        doctor->containerd_version = optarg;
        }
        if (optind < argc) {
                (void) cli_usage("doctor takes no argument (\"%s\")", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

static CliExit exit_code(const Doctor *doctor) {
        switch (doctor_worst(doctor)) {
        case DOCTOR_ERROR:
                return (CliExit) EXIT_ERROR;
        case DOCTOR_WARNING:
                return (CliExit) EXIT_WARNING;
        default:
                return CLI_OK;
        }
}

static CliExit print_json(const Doctor *doctor) {
        _cleanup_(json_freep) Json *json = json_new(stdout);

        if (!json)
                return cli_failure("out of memory");
        json_map(json);
        json_pair_str(json, "worst", severities[doctor_worst(doctor)]);
        json_key(json, "findings");
        json_array(json);
        for (size_t i = 0; i < doctor->n_findings; i++) {
                const DoctorFinding *finding = &doctor->findings[i];

                json_map(json);
                json_pair_str(json, "id", finding->id);
                json_pair_str(json, "severity", severities[finding->severity]);
                json_pair_str(json, "text", finding->text);
                json_pair_str(json, "evidence", finding->evidence);
                json_pair_str(json, "fix", finding->fix);
                json_map_end(json);
        }
        json_array_end(json);
        json_map_end(json);
        return cli_finish(json, exit_code(doctor));
}

static void print_safe(const Cli *cli, const char *label, const char *text) {
        for (bool first = true; *text; first = false) {
                size_t n = strcspn(text, "\n");
                char safe[2048];

                text_safe(safe, sizeof(safe), text, n, cli->screen.utf8);
                printf("         %s%s%s\n", first ? label : "", first ? "" : "     ", safe);
                text += n + (text[n] == '\n');
        }
}

static CliExit print_text(const Cli *cli, const Doctor *doctor) {
        static const ScreenStyle styles[] = { [DOCTOR_OK] = SCREEN_GOOD,
                                              [DOCTOR_NOTE] = SCREEN_DIM,
                                              [DOCTOR_WARNING] = SCREEN_WARNING,
                                              [DOCTOR_ERROR] = SCREEN_ERROR };

        for (size_t i = 0; i < doctor->n_findings; i++) {
                const DoctorFinding *finding = &doctor->findings[i];
                char safe[2048];

                text_safe(safe, sizeof(safe), finding->text, strlen(finding->text), cli->screen.utf8);
                printf("%s%-7s%s  %s\n", screen_style(&cli->screen, styles[finding->severity]),
                       severities[finding->severity], screen_style(&cli->screen, SCREEN_PLAIN), safe);
                if (finding->evidence)
                        print_safe(cli, "seen ", finding->evidence);
                if (finding->fix)
                        print_safe(cli, "fix  ", finding->fix);
        }
        return cli_finish(NULL, exit_code(doctor));
}

static int resolve_dirs(Cli *cli, Doctor *doctor, char **ret_state, char **ret_store) {
        doctor->state_dir = cli->state_dir;
        doctor->here = strcmp(doctor->root, "/") == 0;
        if (doctor->here)
                return 0;
        if (asprintf(ret_state, "%s%s", doctor->root, cli->state_dir) < 0) {
                *ret_state = NULL;
                return -ENOMEM;
        }
        if (asprintf(ret_store, "%s%s", doctor->root, cli->store_dir) < 0) {
                *ret_store = NULL;
                return -ENOMEM;
        }
        cli->state_dir = *ret_state;
        cli->store_dir = *ret_store;
        return 0;
}

CliExit cmd_doctor(Cli *cli, int argc, char **argv) {
        _cleanup_free_ char *state_dir = NULL, *store_dir = NULL;
        _cleanup_(doctor_deinit) Doctor doctor = { .cli = cli, .root = "/", .root_fd = -EBADF };
        int r;

        r = parse_argv(cli, &doctor, argc, argv);
        if (r < 0)
                return cli_option_exit(r);
        cli_resolve(cli);
        r = resolve_dirs(cli, &doctor, &state_dir, &store_dir);
        if (r >= 0)
                r = doctor_run(&doctor);
        if (r < 0)
                return cli_failure("%s: %s", doctor.root, strerror(-r));
        return cli->json ? print_json(&doctor) : print_text(cli, &doctor);
}
