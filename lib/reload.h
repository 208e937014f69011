#pragma once

/*
 * Reload
 *
 * What every daemon does on SIGHUP: it tells the service manager (RELOADING=1 and MONOTONIC_USEC=, then READY=1), reads
 * the configuration again and lets it count. One that is wrong, or cannot be read or used, changes nothing, and the log
 * says why.
 */

#include "config.h"

/*
 * Lets the new values count, which stand where the old ones stood; strings that were borrowed from these go afterwards.
 * Returns 0, or a negative errno with nothing changed and a message for people in @reterr_message (owned by the caller,
 * may be NULL): then the old values come back.
 */
typedef int (*ReloadFn)(void *userdata, char **reterr_message);

typedef struct Reload {
        const char *file;   /* as for config_load() */
        Config *config;     /* is replaced in its place, so its address may be lent out */
        bool keeps_tracing; /* enable_tracing changes with the next start, and is left as it is */
        ReloadFn apply;
        void *userdata;
} Reload;

void reload_run(const Reload *reload);
