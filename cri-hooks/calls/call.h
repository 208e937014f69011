#pragma once

/*
 * A call
 *
 * One CRI call while it is followed, and shortly after.
 */

#include "calls.h"
#include "grpcmsg.h"

/* A message being read. */
typedef struct CallScan {
        CriScan scan;
        CriFields item; /* of a List reply */
        bool active;
} CallScan;

/* How a call ended, as the span shows it. */
typedef struct CallEnd {
        TapEnd how;
        int status;      /* gRPC's, -1: not known */
        uint64_t end_ns; /* wall clock */
        uint64_t duration_ns;
        char *message; /* may be NULL */
} CallEnd;

struct Call {
        TapStream stream;
        Calls *calls;
        const Method *method;
        char *path; /* where it is not the method's name */
        Clk start;
        uint64_t timeout_ns;     /* 0: none */
        char *tracestate;        /* the caller's, canonical; NULL: none */
        TraceContext parent;     /* zero: none */
        TraceContext context;    /* valid if has_context */
        TraceContext start_link; /* of the sandbox's or container's start; zero: none */
        bool has_caller;         /* parent is the caller's */
        bool has_context;
        bool completed;  /* the request */
        bool joined;     /* to the trace of a sandbox's start */
        bool compressed; /* counted */
        GrpcMsg request;
        GrpcMsg reply;
        CallScan *scan;
        CriFields *fields;
        ContextHandle *handle;
        CallEnd end; /* when it is over: */
        bool slow;
        Call *next_ended;
};

/* Releases @call, which is in no tap any more; NULL is fine. Returns NULL. */
Call *call_free(Call *call);
DEFINE_CLEANUP(Call *, call_free);

/* Nobody is to find it among the calls in flight any more. */
void call_retract(Call *call);

/* "runtime.v1.RuntimeService/RunPodSandbox" */
const char *call_name(const Call *call);

/* What its messages said, or NULL. */
const char *call_field(const Call *call, CriString string);

/* The entry of what it is about: its container, else its sandbox, else the pod's newest sandbox; NULL if not known. */
PodmapEntry *call_find_entry(const Call *call);

/* All that is known of whose call it is. @ret must be zero. */
void call_identity(const Call *call, Identity *ret);

/* Its context file. It must have its context. */
void call_record(const Call *call, ContextRecord *ret);

/* Begins to read a message of @len bytes of its request or reply, which its method has; call->scan is there. */
void calls_scan_init(Call *call, bool is_reply, uint64_t len);
