#pragma once

/*
 * Context record
 *
 * What one context file says and how it is written (docs/context.md, "Encoding"). No I/O: bytes in, result out.
 * The files themselves are context.h's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "identity.h"
#include "tracecontext.h"

#define CONTEXT_FILE_MAX 4096 /* bytes of one file; a reader refuses more */
#define CONTEXT_OP_MAX   63

typedef struct ContextRecord {
        char operation[CONTEXT_OP_MAX + 1];             /* the CRI method's last part: "StartContainer" */
        TraceContext trace;                             /* the span of that call */
        char parent[2 * TRACECONTEXT_SPAN_ID_SIZE + 1]; /* its parent's id, in hex; "": none */
        Identity identity;
        uint64_t start_ns;    /* wall clock */
        uint64_t deadline_ns; /* wall clock, 0: none */
        uint64_t seq;         /* the writer's running number */
        uint32_t pid;         /* the writer; */
        uint64_t pid_start;   /* its start time in clock ticks since boot (proc(5), field 22), against pid reuse */
} ContextRecord;

/*
 * Encoding (docs/context.md): text lines, one "key=value" each, percent-encoded. @ret has CONTEXT_FILE_MAX + 1 bytes.
 * Returns the length, -EMSGSIZE, or -EINVAL where the operation is not valid (context_operation_valid()) or an id is
 * zero.
 */
int context_format(const ContextRecord *record, char *ret, size_t size);
/*
 * Returns 0 or -EBADMSG. Unknown keys are skipped; a known one that is malformed or there twice, and a missing header
 * line, operation, traceparent or start, make the whole unreadable.
 */
int context_parse(const char *s, size_t len, ContextRecord *ret);

/*
 * Does what happens at @now_ns of the wall clock still belong to the start @start: no later than @window_ns after it? A
 * clock set back meanwhile makes nothing late.
 */
bool context_start_recent(const ContextRecord *start, uint64_t now_ns, uint64_t window_ns);

/* Can @operation stand in a file name: 1 to CONTEXT_OP_MAX letters and digits? */
bool context_operation_valid(const char *operation);
