#pragma once

/*
 * Options
 *
 * podspan-hook's command line.
 */

#include "stage.h"

typedef enum OptionsCommand {
        OPTIONS_HOOK,
        OPTIONS_WRAP,
        OPTIONS_HELP,
        OPTIONS_VERSION,
} OptionsCommand;

typedef struct Options {
        OptionsCommand command;
        Stage stage;
        const char *config;
        const char *state_dir;
        const char *name;  /* of the span; NULL: the program's */
        char *const *argv; /* of the wrapped hook, NULL-terminated */
} Options;

/*
 * Parses @argv (borrowed). Returns 0; or -EINVAL with a message in @ret_message (static or in @argv), @ret->command
 * then being what the words say so far: a hook and a wrapper fail differently.
 */
int options_parse(int argc, char *const *argv, Options *ret, const char **ret_message, const char **ret_word);

/* The help text. */
extern const char options_help[];
