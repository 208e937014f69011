#pragma once

/*
 * Store file
 *
 * Opens STORE/podspan.db for its one writer: a lock against a second podspand, WAL, the schema's version. A database
 * that is damaged is moved aside and a new one begun: history is lost, the way of new spans never.
 */

#include <sqlite3.h>
#include "util.h"

/* Outcomes of storefile_open(). */
typedef enum StoreFileOpened {
        STOREFILE_OPENED, /* as it was */
        STOREFILE_CREATED,
        STOREFILE_REPLACED, /* what was there was damaged, or of no schema known: it is at @ret_aside now */
} StoreFileOpened;

/*
 * Takes the lock STORE/podspand.lock in @dir_fd. Returns 0 with a descriptor that holds it while open, -EBUSY where
 * another podspand has it, or a negative errno.
 */
int storefile_lock(int dir_fd, int *ret_fd);

/*
 * Opens the database in the directory @dir. Returns an outcome with a connection owned by the caller, and with
 * STOREFILE_REPLACED the name (owned by the caller) of the file moved aside; -EPROTO where its schema is newer than
 * ours (it is left alone), or a negative errno.
 */
int storefile_open(const char *dir, sqlite3 **ret, char **ret_aside);

/* Renames the database (with its WAL) in @dir to podspan.db.corrupt-TIME; only the newest such file is kept. */
int storefile_move_aside(const char *dir, char **ret_aside);

/* What SQLite's result @code is as a negative errno: -ENOSPC, -EUCLEAN (damaged), -EBUSY, -ENOMEM, -EROFS, -EIO. */
int storefile_errno(int code);
