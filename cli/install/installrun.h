#pragma once

/*
 * One run of `podspan install` or `uninstall`
 *
 * What both have in common, for one target or for all: the lock, what a run that died has left, the question, the
 * output.
 */

#include "cli.h"
#include "install.h"

#define INSTALLRUN_TARGETS 4U

typedef struct InstallTarget {
        const char *name;
        int (*install)(Install *install);
} InstallTarget;

extern const InstallTarget installrun_targets[INSTALLRUN_TARGETS];

typedef struct InstallRun {
        Cli *cli;
        bool undo;
        bool all;
        bool dry_run;
        bool yes;
        size_t target;
        Install install;
        char *notes;
        size_t notes_n;
        char *next;
        size_t next_n;
        int lock_fd;
} InstallRun;

void installrun_deinit(InstallRun *run);

/* Opens the root and locks it: two of us at once would plan on the same files. Returns 0 or a negative errno, told but
 * for -ENOMEM. */
int installrun_setup(InstallRun *run);

/* Puts back and removes what any install that died has left; where it is another target's, a failure is its own next
 * run's. Returns as plan_recover(). */
int installrun_recover(InstallRun *run);

/* Tells of a failure by what the install or the plan says of it. */
CliExit installrun_failed(const InstallRun *run, int error);

/* Asks, unless --yes was given. 1: yes, 0: no. */
int installrun_confirm(const InstallRun *run);

/* Prints lines of somebody's file: hostile to a terminal. @coloured: they are a diff. */
void installrun_print_lines(const Cli *cli, const char *text, bool coloured);
/* Prints them below a title; nothing where @text is empty. */
void installrun_print_block(const Cli *cli, const char *label, const char *text);
/* Prints lines as an array. */
void installrun_json_lines(Json *json, const char *key, const char *text);
