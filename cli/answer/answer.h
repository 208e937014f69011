#pragma once

/*
 * Answer
 *
 * What is known of one end of a container, or of one failed start, and the verdict that follows from all of it. An
 * answer begins with what the store's table `death` or a failed call says (answer_from_*()). Then come the facts:
 * those of the container's span, the stops, the failed ExecSync before it, the next attempt (answer_facts()), and what
 * kubelet wrote (answer_kubelet()). answer_settle() decides. No output.
 */

#include "deathdb.h"
#include "spanfind.h"

#define ANSWER_PROBE_NS  (10 * NSEC_PER_SEC) /* a failed ExecSync this long before the stop may be its cause */
#define ANSWER_ITEMS_MAX 64
#define ANSWER_OOMS_MAX  32 /* OOM kills of a container that are told of */

/* One piece of evidence. Strings are owned. */
typedef struct AnswerItem {
        char *what;   /* "restart", "probe", "pressure" … */
        char *value;  /* for people; others' text in it is as it came */
        char *source; /* "store", "journal", "log"; NULL: the span */
        uint8_t span_id[8];
        bool has_span;
} AnswerItem;

typedef struct Answer {
        char *pod_uid; /* these six are never NULL after answer_from_*() */
        char *pod_name;
        char *pod_namespace;
        char *sandbox_id;
        char *container_name;
        char *container_id;
        char *call; /* "CreateContainer": the failed call of a start that made no container's end; else NULL */
        uint64_t start_ns;
        uint64_t end_ns;
        uint64_t n_times;  /* of a failed call: how often in a row */
        uint64_t first_ns; /* … since when */
        uint8_t trace_id[16];
        uint8_t span_id[8];
        int64_t batch;
        int64_t attempt; /* negative: not known */

        Podspan__Otlp__Span *span; /* NULL: no longer in the store; facts borrow from it */
        char *reason;              /* owned: what facts.stop_reason may point to */
        char *failure;             /* owned: what facts.start_failure may point to */
        VerdictFacts facts;
        Verdict emitted;
        VerdictDecision decision;
        bool disagrees;

        AnswerItem *items;
        size_t n_items;
        char **unknown; /* what is not known, in words */
        size_t n_unknown;
} Answer;

#define ANSWER_NULL \
        {}

/* These make an answer of what the store says. Return 0 or -ENOMEM; the caller owns @ret (answer_deinit()). */
int answer_from_death(const Death *death, Answer *ret);
int answer_from_call(const DeathCall *call, Answer *ret);
void answer_deinit(Answer *answer);
#define _cleanup_answer_ _cleanup_(answer_deinit)

/* Is @name a call whose failure means that a container or pod did not start? Returns its last part, or NULL. */
const char *answer_start_call(const char *name);

/*
 * Reads the facts from the store. A span that is no longer there leaves what the store's tables say. Returns 0 or a
 * negative errno.
 */
int answer_facts(StoreDb *db, Answer *answer);

/* Adds what kubelet's log says: why it stopped the container (copied), and whether it was for a probe. 0 or -ENOMEM. */
int answer_kubelet(Answer *answer, const char *reason, bool probe);

/* Decides, with all facts. */
void answer_settle(Answer *answer);

/* Adds evidence, with a copy of @value. The span is the answer's own if @span_id is NULL and @source is NULL. Above
 * ANSWER_ITEMS_MAX nothing is added. Returns 0 or -ENOMEM. */
int answer_add(Answer *answer, const char *what, const char *source, const uint8_t *span_id, const char *format, ...)
        _printf_(5, 6);

/* Adds something that is not known. */
int answer_add_unknown(Answer *answer, const char *format, ...) _printf_(2, 3);
