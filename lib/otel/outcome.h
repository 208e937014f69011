#pragma once

/*
 * Outcome
 *
 * The one rule for "has this failed". podspand, podspan-cri and the command line all ask here, so that `traces`,
 * `--errors`, `trace`, tail rules and counts agree. The status of an exported span is a different matter: it follows
 * OpenTelemetry's convention, where a server's FAILED_PRECONDITION is no error.
 *
 * - A CRI call has failed if its code is not OK. Three exceptions: CANCELLED where the caller cancelled, NOT_FOUND of
 *   Stop*, Remove* and of calls that only ask, and UNIMPLEMENTED.
 * - What ExecSync executed, and ended with a code other than 0, is OUTCOME_EXITED although the call is OK.
 * - The end of a container with a code other than 0 is a failure unless a stop call began before the container ended.
 *   One span alone cannot say this, so the verdict is OUTCOME_EXITED or OUTCOME_KILLED, and whoever knows the stop
 * calls decides (docs/store.md).
 * - Everything else has failed if its span has the status Error.
 *
 * No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "otlp.pb-c.h"

#define OUTCOME_WHY_MAX 255 /* bytes of a reason */

/* The values are stored: column `outcome` of the store's table `span`. */
typedef enum Outcome {
        OUTCOME_OK = 0,
        OUTCOME_FAILED = 1,
        OUTCOME_EXITED = 2,  /* a process of a container ended with a code: failed unless a stop call came before */
        OUTCOME_KILLED = 3,  /* likewise, by a signal: the runtime's `kill` is as good as a stop call */
        OUTCOME_UNKNOWN = 4, /* nobody saw how it ended */
} Outcome;

/* What stops a container. The values are stored: column `kind` of the store's table `stop`. */
typedef enum OutcomeStop {
        OUTCOME_STOP_NONE = 0,
        OUTCOME_STOP_KILL = 1, /* `runc kill` and the like: by whatever engine, with whatever signal */
        OUTCOME_STOP_CALL = 2, /* StopContainer, RemoveContainer, StopPodSandbox, RemovePodSandbox */
} OutcomeStop;

/* What the rule needs of a span. Strings are borrowed from the span; NULL where not known. */
typedef struct OutcomeFacts {
        const char *name;
        const char *code;       /* of a call: "NOT_FOUND" */
        const char *end;        /* podspan.rpc.end */
        const char *error_type; /* error.type */
        const char *signal;     /* podspan.process.signal */
        const char *message;    /* of the status, else podspan.rpc.message */
        const char *container_id;
        const char *sandbox_id;
        int32_t status; /* OTLP's Status.StatusCode */
        int64_t exit_code;
        bool has_exit_code;
        bool oom_killed;
} OutcomeFacts;

/*
 * The rule for a call of @method (full or short) that ended with @code (0 to 16, negative: not known). @by_caller: the
 * caller ended it.
 */
bool outcome_call_failed(const char *method, int code, bool by_caller);

/* Reads the facts of @span, which outlives them. */
void outcome_read(const Podspan__Otlp__Span *span, OutcomeFacts *ret);

Outcome outcome_judge(const OutcomeFacts *facts);

/*
 * Does the span say that somebody began to stop a container? @ret_id (borrowed) is then the id of this container, or of
 * the sandbox whose containers end with it; NULL where the span does not say.
 */
OutcomeStop outcome_stop(const OutcomeFacts *facts, const char **ret_id);

/* Does a stop call that names @stop_id mean @id? Runtimes take the begin of an id, as crictl shows it. NULL is no id.
 */
bool outcome_same_id(const char *stop_id, const char *id);

/* Does a stop of kind @stop, begun before the end, make @outcome no failure? */
bool outcome_excused(Outcome outcome, OutcomeStop stop);

/*
 * Why it failed, for people: exit code, signal, OOM killer, code and words of the runtime. Never empty unless @outcome
 * is OUTCOME_OK. May hold control characters of the runtime's words: whoever prints it escapes them. Returns the
 * length.
 */
size_t outcome_why(const OutcomeFacts *facts, Outcome outcome, char ret[static OUTCOME_WHY_MAX + 1]);

/*
 * The words of a runtime's message: the `msg` of its last logfmt record of level error or worse, behind what stands
 * before the first record; where there is none, the text as it is, on one line. Returns the length.
 */
size_t outcome_words(const char *text, char ret[static OUTCOME_WHY_MAX + 1]);
