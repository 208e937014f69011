#pragma once

/*
 * Bypass
 *
 * The path that kubelet dials is podspan-cri's socket; beside it lies PATH.bypass, a symbolic link to the runtime's. To
 * bypass is to exchange the two names (renameat2(2), RENAME_EXCHANGE): at each moment the path leads somewhere,
 * kubelet's endpoint and so its suffix stay the same, podspan-cri's socket lives on under the other name, and nothing
 * is written to any disk: it works when they are full, and when everything of podspan is dead.
 *
 * The folder must be one that only root can write (or have the sticky bit), and what stands under the two names root's:
 * otherwise others would choose where kubelet's calls go. Each function returns -EPERM where that is not so.
 */

#include "util.h"

#define BYPASS_SUFFIX ".bypass"

typedef enum BypassState {
        BYPASS_ABSENT, /* nothing at the path */
        BYPASS_OFF,    /* podspan-cri's socket: calls pass through it */
        BYPASS_ON,     /* the link: calls go to the runtime directly */
} BypassState;

/* Looks at @path below @root_fd. Returns 0, -EEXIST if there is something else, or another negative errno. */
int bypass_state(int root_fd, const char *path, BypassState *ret);

/* Where the link, at either place, leads; owned by the caller. 0, -ENOENT, or another negative errno. */
int bypass_target(int root_fd, const char *path, char **ret);

/* Makes PATH.bypass, a link to @target, if there is nothing of that name; needs room for one name. */
int bypass_prepare(int root_fd, const char *path, const char *target);

/* Exchanges the names, or where one of them is missing renames the other, so that @on holds. Returns 0 or a negative
 * errno. */
int bypass_switch(int root_fd, const char *path, bool on);

/* Does a connect(2) to what is at @path, through a link, succeed, and is it root who listens? Returns 0, -EPERM if it
 * is somebody else, or another negative errno. Nothing is sent. */
int bypass_dial(int root_fd, const char *path);
