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
        int r;

        r = config_load(reload->file, &unused, reterr_message);
        if (r < 0)
                return r;
        if (reload->keeps_tracing && unused.enable_tracing != config->enable_tracing) {
                log_notice("enable_tracing changes with the next start");
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
        return 0;
}

void reload_run(const Reload *reload) {
        _cleanup_free_ char *message = NULL;
        char reloading[64];
        int r;

        assert(reload->config);
        assert(reload->apply);

        (void) snprintf(reloading, sizeof(reloading), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                        clk_monotonic() / NSEC_PER_USEC);
        notify_send(reloading);

        r = replace(reload, &message);
        if (r < 0)
                (void) log_error_errno(r, "The configuration stays as it was: %s", message ? message : strerror(-r));
        else
                log_info("The configuration was read again");
        notify_send("READY=1\n" NOTIFY_ALIVE);
}
