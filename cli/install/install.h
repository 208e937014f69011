#pragma once

/*
 * What `podspan install` changes on a node, by target
 *
 * Each function adds its files to a plan and checks the outcome with the runtime's own program before any file of the
 * node is touched. The contents of new files come from podspan's installed folder (PKGDATADIR).
 */

#include <stdio.h>
#include "plan.h"

typedef struct Install {
        const char *root; /* "/", or a node's tree */
        int root_fd;
        const char *state_dir;   /* as on the node: /run/podspan */
        const char *data_dir;    /* where hooks.d/, crio.conf.d/, containerd/ are; on this machine */
        const char *libexec_dir; /* podspan-hook's, on the node */
        const char *program;     /* containerd, crio: the one to check with; NULL: from PATH */
        const char *ctr;
        const char *runtime; /* kubelet: "crio" or "containerd" where the endpoint does not say; NULL */
        Plan plan;
        FILE *notes; /* lines for people: what was left alone, and why */
        FILE *next;  /* the commands to run afterwards, a line each */
        char *error;
        char *stage; /* the folder in which a runtime checks what is to be, before it is; NULL: none now */
        int stage_fd;
} Install;

/* The folder of the stages of root, on this machine whatever the root is: below it nothing outlives the next install.
 */
#define INSTALL_STAGE_DIR "/run/podspan-install"

/* Sets install->error; returns @error. */
int install_fail(Install *install, int error, const char *format, ...) _printf_(3, 4);

/* Reads DATA_DIR/@name. Returns 0 or a negative errno, told. */
int install_data(Install *install, const char *name, Bytes *ret);

/* Must be there and executable on the node, before anything names it. Returns 0 or a negative errno, told. */
int install_need_program(Install *install, const char *path);

/* The program that a hooks.d file's "path" names. 0, -EBADMSG or -ENOMEM. */
int install_hook_program(const Bytes *json, char **ret);

/* Reads hooks.d/@name; what it calls must be there. @ret_program may be NULL. */
int install_check_hook(Install *install, const char *name, Bytes *ret, char **ret_program);

/*
 * Makes the stage, and removes what a death left of an earlier one. It waits until no other install has one. As another
 * user than root it is a folder in /tmp. Returns 0 or a negative errno, told.
 */
int install_make_stage(Install *install);
/* Removes it. */
void install_remove_stage(Install *install);

/* For nodefile_list(): copies the node's file into the folder @dir of the stage. */
typedef struct InstallStage {
        Install *install;
        const char *dir;
} InstallStage;

int install_stage_file(const char *dir, const char *name, const Bytes *data);
int install_on_stage(const char *path, void *userdata);

/* Where the last line of @text begins in @ret; returns its length, bounded. */
int install_last_line(const Bytes *text, const char **ret);

/* The targets. Return 0 or a negative errno with install->error or install->plan.error set. */
int install_kubelet(Install *install);
int install_hooks(Install *install);
int install_crio(Install *install);
int install_containerd(Install *install);

/* What is to be done after each was taken out, as lines to install->next. */
void install_after_undo(Install *install, const char *target);
