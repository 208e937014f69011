#pragma once

/*
 * A service's command line
 *
 * Works out what systemd passes to a service's program: ExecStart= of the unit and its drop-ins, with the variables of
 * Environment= and of the environment files. Each argument knows where it stands, so that the value of a flag can be
 * edited there. A flag that systemd does not pass on (an assignment that is reset, a variable that is set again or not
 * used) is not found. No I/O.
 *
 * Call order: unitargs_add_unit() for the unit, then for each drop-in in systemd's order; the caller reads the files
 * that unitargs_environment_file() names; unitargs_add_environment() for each of them; unitargs_evaluate();
 * unitargs_next(). No thread safety.
 */

#include <stdbool.h>
#include <stddef.h>
#include "util.h"

#define UNITARGS_CHARS_MAX (4U * 1024 * 1024) /* of a whole command line */
#define UNITARGS_FILES_MAX 64                 /* environment files that are named */
#define UNITARGS_ITEMS_MAX 4096               /* arguments, and variables */

/* What means the same in every file, with and without quotes. */
#define UNITARGS_SAFE "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/:._-@"

typedef struct UnitArgs UnitArgs;

typedef struct UnitFlag {
        unsigned file; /* as the caller numbered it */
        size_t from;   /* the value in this file, or the line that is refused */
        size_t to;
        char *value; /* owned by the caller; what is not known of it stands as in the file */
        bool known;  /* `value` is the whole value */
        bool maybe;  /* it stands in a variable, which another program than the one asked for may pass on or not */
        const char *refusal; /* why the value cannot be replaced safely, a literal; NULL: it can, by UNITARGS_SAFE */
} UnitFlag;

/* Returns 0 with an empty command line, or -ENOMEM. */
int unitargs_new(UnitArgs **ret);
UnitArgs *unitargs_free(UnitArgs *args);
DEFINE_CLEANUP(UnitArgs *, unitargs_free);

/* Adds the text of a unit or drop-in; the caller calls it @file. Returns 0, -E2BIG, or -ENOMEM. */
int unitargs_add_unit(UnitArgs *args, unsigned file, const char *s, size_t n);

/* The path of the @i-th environment file, NULL behind the last one. Valid until the next unitargs_add_unit(). */
const char *unitargs_environment_file(const UnitArgs *args, size_t i);

/* Adds the text of an environment file. Returns 0, -E2BIG, or -ENOMEM. */
int unitargs_add_environment(UnitArgs *args, unsigned file, const char *s, size_t n);

/* Is the unit's program called @program, so that systemd passes its arguments to it directly? */
bool unitargs_is(const UnitArgs *args, const char *program);

/*
 * Makes the command line. If the unit has no command, or its program is another one than @program (a wrapper may pass
 * on any variable), the words of all variables are searched, too. Returns 0, -E2BIG, or -ENOMEM.
 */
int unitargs_evaluate(UnitArgs *args, const char *program);

/*
 * Finds the next @flag ("--name") at or after @pos, which begins at 0 and is moved on. The last one found is the one
 * that counts. Returns 1, 0 if there is none, or -ENOMEM.
 */
int unitargs_next(const UnitArgs *args, const char *flag, size_t *pos, UnitFlag *ret);
