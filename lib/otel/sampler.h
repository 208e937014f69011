#pragma once

/*
 * Sampler
 *
 * ParentBased(TraceIDRatioBased(n / 1 000 000)), bit for bit as Go's OpenTelemetry SDK decides it, so that kubelet,
 * the runtime and podspan agree about every trace id: sampled iff be64(trace_id[8..16]) >> 1 < (uint64)(n/1e6 * 2^63).
 * A rate of 1 000 000 or more samples everything, a rate of 0 nothing (without a sampled parent).
 */

#include <stdbool.h>
#include <stdint.h>
#include "tracecontext.h"

#define SAMPLER_RATE_MAX UINT32_C(1000000)

typedef struct Sampler {
        uint64_t bound; /* trace ids below it are sampled */
        bool always;
} Sampler;

/* A sampler for @per_million traces of a million. */
Sampler sampler_make(uint32_t per_million);

/* The ratio decision alone. */
bool sampler_decide(const Sampler *sampler, const uint8_t trace_id[static TRACECONTEXT_TRACE_ID_SIZE]);

/*
 * The parent-based decision as trace flags: with a @parent its flags (sampled and random bit kept as received); without
 * one, @root's flags with the sampled bit set by the ratio.
 */
uint8_t sampler_flags(const Sampler *sampler, const TraceContext *parent, const TraceContext *root);

/*
 * A new trace as the parent of its first spans: a random trace id, the ratio's decision, and a zero span id, so that
 * they are roots. Returns 0, or a negative errno (no random numbers).
 */
int sampler_new_root(const Sampler *sampler, TraceContext *ret);

/* Likewise the trace derived from the sandbox's (or a lone container's) @id, as tracecontext_derive() has it. */
void sampler_derive(const Sampler *sampler, const char *id, TraceContext *ret);
