#include <assert.h>
#include <string.h>
#include "sampler.h"

Sampler sampler_make(uint32_t per_million) {
        /* The very arithmetic of the definition: a double times a power of two, then cut. */
        double fraction = (double) per_million / SAMPLER_RATE_MAX;

        if (per_million >= SAMPLER_RATE_MAX)
                return (Sampler){ .always = true };
        return (Sampler){ .bound = (uint64_t) (fraction * (double) (UINT64_C(1) << 63)) };
}

bool sampler_decide(const Sampler *sampler, const uint8_t trace_id[static TRACECONTEXT_TRACE_ID_SIZE]) {
        uint64_t x = 0;

        assert(sampler);

        if (sampler->always)
                return true;

        for (size_t i = 8; i < TRACECONTEXT_TRACE_ID_SIZE; i++)
                x = x << 8 | trace_id[i];
        return x >> 1 < sampler->bound;
}

uint8_t sampler_flags(const Sampler *sampler, const TraceContext *parent, const TraceContext *root) {
        assert(sampler);
        assert(parent || root);

        if (parent)
                return parent->flags & (TRACECONTEXT_SAMPLED | TRACECONTEXT_RANDOM);

        return (uint8_t) ((root->flags & TRACECONTEXT_RANDOM) |
                          (sampler_decide(sampler, root->trace_id) ? TRACECONTEXT_SAMPLED : 0));
}

int sampler_new_root(const Sampler *sampler, TraceContext *ret) {
        TraceContext root;
        int r;

        assert(ret);

        r = tracecontext_new_root(&root);
        if (r < 0)
                return r;

        root.flags = sampler_flags(sampler, NULL, &root);
        memset(root.span_id, 0, sizeof(root.span_id));
        *ret = root;
        return 0;
}

void sampler_derive(const Sampler *sampler, const char *id, TraceContext *ret) {
        assert(id);
        assert(ret);

        tracecontext_derive(id, strlen(id), ret);
        ret->flags = sampler_flags(sampler, NULL, ret);
}
