#pragma once

/*
 * Plan
 *
 * What a change does to a node's files: shown first, then done as a whole or not at all. Each plan belongs to a target
 * ("kubelet", "containerd" …); what it changed is kept, before and after, in PLAN_BACKUP_DIR/TARGET with a manifest, so
 * that it can be taken back to the byte. That is in /etc/podspan, which is root's: from podspand's own folder its user
 * could slip in a kubelet configuration. A manifest that says "pending" was left by a death in between; plan_recover()
 * puts back what there is.
 */

#include <stdio.h>
#include "bytes.h"
#include "nodefile.h"

#define PLAN_BACKUP_DIR "/etc/podspan/backup"
#define PLAN_FILES_MAX  64
#define PLAN_DIRS_MAX   64

typedef struct PlanFile {
        char *path;
        bool existed; /* before is what was in it; else there was no such file */
        bool exists;  /* after is what is to be in it; else it is removed */
        Bytes before;
        Bytes after;
        NodeStat stat; /* of the file before, or for the new one */
        char *marker;  /* what must not be left in it once the change is taken out; NULL: nothing */
} PlanFile;

typedef struct Plan {
        int root_fd;
        const char *target;
        PlanFile files[PLAN_FILES_MAX];
        size_t n_files;
        char *dirs[PLAN_DIRS_MAX]; /* made by us, the outermost first */
        size_t n_dirs;
        bool edited; /* an undo plan: somebody had changed a file */
        bool stuck;  /* a file could not be put back: the backup stays, pending */
        char *error; /* for people, by the last function that failed */
} Plan;

#define PLAN_NULL \
        { .root_fd = -EBADF }

/* @root_fd and @target are borrowed. */
void plan_init(Plan *plan, int root_fd, const char *target);
void plan_deinit(Plan *plan);
#define _cleanup_plan_ _cleanup_(plan_deinit)

/* The text of @path as it will be: of this plan, else as it is now (then noted as what was before). -ENOENT if none;
 * @ret points into the plan. */
int plan_read(Plan *plan, const char *path, const Bytes **ret);

/* Says what @path shall hold (@after is consumed), or with NULL that it goes. A new file gets mode 0644, root's. */
int plan_set(Plan *plan, const char *path, Bytes *after, const char *marker);

/* Is there anything to do? */
bool plan_changes(const Plan *plan);

/* Prints all as unified diffs. */
int plan_print(const Plan *plan, FILE *out);

/*
 * Does it, in the order of plan_set(), having written the backup first; if one file fails, those before it are put back
 * and the backup is as it was. Returns 0 or a negative errno with plan->error set.
 */
int plan_apply(Plan *plan);

/*
 * The plan that takes the target's change back, from its backup, the last file first: to the byte where nobody else
 * touched the file; otherwise only our change is taken out. @notes gets a line about each file where that is so.
 * Returns 0, -ENOENT if nothing is installed, or a negative errno with plan->error set.
 */
int plan_load_undo(Plan *plan, FILE *notes);

/* Does an undo plan; then the backup goes, or where somebody had changed a file is kept as TARGET.removed-TIME. */
int plan_apply_undo(Plan *plan);

/* Puts back what an install that died left half done, and removes what it left in the backup's folder. Returns 1 if
 * there was one, 0, or a negative errno. */
int plan_recover(Plan *plan, FILE *notes);

typedef enum PlanState {
        PLAN_ABSENT,
        PLAN_INSTALLED,
        PLAN_PENDING, /* an install or its undoing did not end: run it again */
        PLAN_BROKEN,  /* the manifest cannot be read */
} PlanState;

/* Is the target installed, by its manifest? */
PlanState plan_state(int root_fd, const char *target);
