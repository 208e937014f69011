#include <errno.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include "sysfilter.h"

static int fill(scmp_filter_ctx context, const Sysfilter *filter) {
        int call, r;

        for (size_t i = 0; i < filter->n_calls; i++) {
                call = seccomp_syscall_resolve_name(filter->calls[i]);
                if (call == __NR_SCMP_ERROR)
                        continue;
                r = seccomp_rule_add(context, SCMP_ACT_ALLOW, call, 0);
                if (r < 0)
                        return r;
        }

        for (size_t i = 0; i < filter->n_args; i++) {
                const SysfilterArg *arg = &filter->args[i];
                struct scmp_arg_cmp cmp = {
                        .arg = arg->arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = arg->mask, .datum_b = arg->value
                };

                call = seccomp_syscall_resolve_name(arg->call);
                if (call == __NR_SCMP_ERROR)
                        continue;
                r = seccomp_rule_add_array(context, SCMP_ACT_ALLOW, call, 1, &cmp);
                if (r < 0)
                        return r;
        }
        return 0;
}

int sysfilter_load(const Sysfilter *filter, bool kill) {
        scmp_filter_ctx context;
        int r;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;

        context = seccomp_init(kill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM));
        if (!context)
                return -ENOMEM;

        r = seccomp_attr_set(context, SCMP_FLTATR_CTL_TSYNC, 1);
        /* No foreign code runs here that could read what it must not: no price for speculation on each call. */
        if (r == 0)
                (void) seccomp_attr_set(context, SCMP_FLTATR_CTL_SSB, 1);
        if (r == 0)
                r = fill(context, filter);
        if (r == 0)
                r = seccomp_load(context);
        seccomp_release(context);
        return r;
}

bool sysfilter_kill_wanted(void) {
        const char *text = getenv("PODSPAN_SECCOMP");

        return text && strcmp(text, "kill") == 0;
}
