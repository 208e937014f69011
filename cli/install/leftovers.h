#pragma once

/*
 * What podspan leaves on a node besides what `install` changed
 *
 * The state directory with its sockets and the links of a bypass, the store, backups, links that `systemctl enable`
 * made, and files of `install kubelet` that nobody took back. It goes when nothing uses it any more: `podspan uninstall
 * --all` finds out what does, and by which commands that ends. Only names that podspan makes are touched.
 */

#include <stdio.h>
#include "kube.h"
#include "plan.h"

#define LEFTOVERS_MAX 128

typedef struct Leftovers {
        int root_fd;
        bool here; /* the root is this machine's */
        const char *state_dir;
        const char *store_dir;
        char *paths[LEFTOVERS_MAX];      /* what there is to remove, in this order; folders with all that is in them */
        bool folder_only[LEFTOVERS_MAX]; /* a folder that only goes if it is empty then */
        size_t n_paths;
        char *units[LEFTOVERS_MAX]; /* to disable and stop, "podspand.service" */
        size_t n_units;
        char *in_use; /* what still uses it, a line each; "" nothing */
        size_t in_use_n;
} Leftovers;

#define LEFTOVERS_NULL \
        { .root_fd = -EBADF }

/* Looks for all. @ret has root_fd, here, state_dir and store_dir set, borrowed. Returns 0 or a negative errno. */
int leftovers_find(Leftovers *ret);
void leftovers_deinit(Leftovers *left);
#define _cleanup_leftovers_ _cleanup_(leftovers_deinit)

/* Removes all. Returns 0, or a negative errno with the path that stayed in *@reterr_path (points into @left). */
int leftovers_remove(const Leftovers *left, const char **reterr_path);
