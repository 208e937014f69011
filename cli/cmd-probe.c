#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "cli.h"
#include "filelimit.h"

/* The probe links gRPC; nobody who asks for a trace shall wait for that to be loaded. */

#define PROGRAM  "podspan-probe"
#define ARGS_MAX 256

/* Tries PROGRAM beside the running executable: an installation elsewhere, or a build directory. */
static int exec_beside(char **argv) {
        char path[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
        char *slash;

        if (n < 0)
                return -errno;
        if ((size_t) n >= sizeof(path) - sizeof(PROGRAM))
                return -ENAMETOOLONG;
        path[n] = '\0';
        slash = strrchr(path, '/');
        if (!slash || (size_t) (slash - path) + 1 + sizeof(PROGRAM) > sizeof(path))
                return -ENOENT;
        strcpy(slash + 1, PROGRAM);
        (void) execv(path, argv);
        return -errno;
}

CliExit cmd_probe(Cli *cli, int argc, char **argv) {
        /* Ours, what stood in front of the command, then what stands behind it. */
        char *args[ARGS_MAX];
        size_t n = 0;
        int r;

        if (argc > ARGS_MAX - 16)
                return cli_usage("too many arguments");

        args[n++] = (char *) PROGRAM;
        if (cli->config_file) {
                args[n++] = (char *) "--config";
                args[n++] = (char *) cli->config_file;
        }
        if (cli->state_dir) {
                args[n++] = (char *) "--state-dir";
                args[n++] = (char *) cli->state_dir;
        }
        if (cli->store_dir) {
                args[n++] = (char *) "--store-dir";
                args[n++] = (char *) cli->store_dir;
        }
        if (cli->json)
                args[n++] = (char *) "--json";
        if (cli->ascii)
                args[n++] = (char *) "--ascii";
        if (cli->colour != SCREEN_COLOUR_AUTO) {
                args[n++] = (char *) "--color";
                args[n++] = (char *) (cli->colour == SCREEN_COLOUR_ALWAYS ? "always" : "never");
        }
        for (int i = 1; i < argc; i++)
                args[n++] = argv[i];
        args[n] = NULL;

        filelimit_restore();
        r = exec_beside(args);
        if (r == -ENOENT) {
                (void) execv(PODSPAN_LIBEXECDIR "/" PROGRAM, args);
                r = -errno;
        }
        return cli_failure(PROGRAM ": %s%s", strerror(-r),
                           r == -ENOENT ? "; it is installed beside podspan or in " PODSPAN_LIBEXECDIR : "");
}
