#pragma once

/*
 * OTLP client
 *
 * opentelemetry.proto.collector.trace.v1.TraceService/Export over gRPC, one call at a time. The only module of
 * podspan-export that knows gRPC. gRPC's C core runs threads of its own; one more, ours, waits on its completion queue
 * and does nothing but note that the call is over and make an eventfd readable. All else happens in the caller's
 * thread.
 *
 * Nothing is ever torn down: the process ends by _exit() or by podspand's SIGKILL.
 */

#include "exportwire.h"

/* OTLP's bound for a response is 4 MiB. One byte less is a number that no collector names when it refuses a request. */
#define CLIENT_RESPONSE_MAX 4194303
#define CLIENT_METADATA_MAX (64U * 1024) /* bytes of an answer's header fields */

typedef struct Client Client;

/* Makes a channel as @setup says, without a connection yet. Returns 0 or a negative errno. */
int client_new(const ExportwireSetup *setup, Client **ret);

/* Readable when the call has ended: then client_take(). */
int client_event_fd(const Client *client);

/*
 * Sends the @size bytes at @data, a page-aligned mapping, with a deadline @timeout_ns from now. The mapping is unmapped
 * when gRPC needs it no more. Returns 0 or a negative errno: then the mapping is the caller's.
 */
int client_start(Client *client, void *data, size_t size, uint64_t timeout_ns);

/* 1 with the answer to a call that has ended, or 0 where none has. */
int client_take(Client *client, ExportwireAnswer *ret);
