#pragma once

/*
 * Reload
 *
 * What every daemon does on SIGHUP: it tells the service manager (RELOADING=1 and MONOTONIC_USEC=, then READY=1), reads
 * the configuration again and lets it count. One that is wrong, or cannot be read or used, changes nothing. The program
 * reports which of it came.
 */

#include "config.h"

/*
 * Lets the new values count, which stand where the old ones stood; strings that were borrowed from these go afterwards.
 * Returns 0, or a negative errno with nothing changed and a message for people in @reterr_message (owned by the caller,
 * may be NULL): then the old values come back.
 */
typedef int (*ReloadFn)(void *userdata, char **reterr_message);

/*
 * Reports what came of it, before the service manager hears that it is over. @result is 0, RELOAD_KEEPS_TRACING, or a
 * negative errno with the reason in @message.
 */
#define RELOAD_KEEPS_TRACING 1 /* the new values count, but that of enable_tracing with the next start only */
typedef void (*ReloadReportFn)(void *userdata, int result, const char *message);

typedef struct Reload {
        const char *file;   /* as for config_load() */
        Config *config;     /* is replaced in its place, so its address may be lent out */
        bool keeps_tracing; /* enable_tracing changes with the next start, and is left as it is */
        ReloadFn apply;
        ReloadReportFn report;
        void *userdata;
} Reload;

void reload_run(const Reload *reload);
