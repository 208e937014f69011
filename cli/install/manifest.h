#pragma once

/*
 * Manifest of a backup
 *
 * What plan.h keeps of a change, on disk: PLAN_BACKUP_DIR/TARGET/manifest.json, beside it the files' texts. The texts
 * are written under new names before the manifest names them, so that there is always a whole backup.
 */

#include "plan.h"

/* Writes @plan's files and folders. @pending: not done yet. Returns 0 or a negative errno. */
int manifest_store(const Plan *plan, bool pending);

/* Fills @plan from the backup. Returns 0, -ENOENT, -EPERM (others than root can write it), -EBADMSG or
 * another negative errno. */
int manifest_load(Plan *plan, bool *ret_pending);

/* Removes the backup. */
int manifest_remove(const Plan *plan);

/* Removes what a death left in the backup's folder and no manifest names. What a broken manifest names is unknown:
 * nothing is removed then. */
void manifest_sweep(const Plan *plan);
