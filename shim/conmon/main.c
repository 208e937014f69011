#include <stdio.h>
#include <stdlib.h>
#include "conmon.h"
#include "filelimit.h"

/* Who starts monitors reads the first line, and wants conmon's name and a version it can compare. */
#define CONMON_VERSION_LINE "conmon version 2.1.13\n"

static int print(const char *text) {
        return fputs(text, stdout) == EOF || fflush(stdout) == EOF ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv, char **envp) {
        char message[CONMONLINE_MESSAGE_MAX];
        Inherited inherited;
        ConmonLine line;
        int r;

        filelimit_ignore();
        util_fill_standard_fds();
        /* Before anything of ours is opened. */
        (void) inherited_init(&inherited);

        r = conmonline_parse(argc, argv, &line, message);
        if (r < 0) {
                (void) fprintf(stderr, "conmon: option parsing failed: %s\n", r == -ENOMEM ? "out of memory" : message);
                return EXIT_FAILURE;
        }

        switch (line.command) {
        case CONMON_HELP:
                return print(conmonline_help);
        case CONMON_VERSION:
                return print(CONMON_VERSION_LINE "commit: podspan-conmon " PODSPAN_VERSION "\n"
                                                 "podspan-conmon " PODSPAN_VERSION "\n");
        case CONMON_RUN:
                break;
        }

        r = conmon_run(&line, envp, &inherited);
        conmonline_deinit(&line);
        inherited_deinit(&inherited);
        return r;
}
