#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "clk.h"
#include "notify.h"
#include "reload.h"

static int replace(const Reload *reload, char **reterr_message) {
        _cleanup_(config_deinit) Config unused = CONFIG_NULL; /* the new one, until it has taken the old one's place */
        Config *config = reload->config, before = *config;
        int r, result = 0;

        r = config_load(reload->file, &unused, reterr_message);
        if (r < 0)
                return r;
        if (reload->keeps_tracing && unused.enable_tracing != config->enable_tracing) {
                result = RELOAD_KEEPS_TRACING;
                unused.enable_tracing = config->enable_tracing;
        }

        *config = unused;
        r = reload->apply(reload->userdata, reterr_message);
        if (r < 0) {
                *config = before;
                return r;
        }
        unused = before;
        log_set_level(config->log_level);
        return result;
}

void reload_run(const Reload *reload) {
        _cleanup_free_ char *message = NULL;
        char reloading[64];
        int r;

        assert(reload->config);
        assert(reload->apply);
        assert(reload->report);

        (void) snprintf(reloading, sizeof(reloading), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                        clk_monotonic() / NSEC_PER_USEC);
        notify_send(reloading);

        r = replace(reload, &message);
        reload->report(reload->userdata, r, message ? message : r < 0 ? strerror(-r) : NULL);
        notify_send("READY=1\n" NOTIFY_ALIVE);
}
