#pragma once

/*
 * The end of a call
 *
 * What its end was in gRPC's terms, whether it becomes a span (decision 8), and what is left to do about it.
 */

#include "call.h"

/* The call's status, with its end's kind and duration known; @headers and @error as the tap gives them. -1: not known.
 */
int callend_status(const Call *call, const CallEnd *end, const TapHeaders *headers, uint32_t error);

/* Has the call, with its end known, failed? By the rule of outcome.h, as everywhere. */
bool callend_failed(const Call *call);

/* Does the call, with its end known, become a span? */
bool callend_wants_span(const Call *call);

/*
 * Makes the spans of all calls that are over, learns from them, and releases them. Only calls.c calls this: before it
 * begins a call that may depend on one that ended, and in an idle moment.
 */
void callend_settle(Calls *calls);

/* Queues a span that is whole, and now the queue's. */
void callend_queue(Calls *calls, Span *span);
