#pragma once

/*
 * gRPC status
 *
 * The codes of gRPC ("Status codes and their use in gRPC") and their names: the one table of all of podspan.
 */

typedef enum GrpcStatus {
        GRPC_OK = 0,
        GRPC_CANCELLED = 1,
        GRPC_UNKNOWN = 2,
        GRPC_INVALID_ARGUMENT = 3,
        GRPC_DEADLINE_EXCEEDED = 4,
        GRPC_NOT_FOUND = 5,
        GRPC_ALREADY_EXISTS = 6,
        GRPC_PERMISSION_DENIED = 7,
        GRPC_RESOURCE_EXHAUSTED = 8,
        GRPC_FAILED_PRECONDITION = 9,
        GRPC_ABORTED = 10,
        GRPC_OUT_OF_RANGE = 11,
        GRPC_UNIMPLEMENTED = 12,
        GRPC_INTERNAL = 13,
        GRPC_UNAVAILABLE = 14,
        GRPC_DATA_LOSS = 15,
        GRPC_UNAUTHENTICATED = 16,
        _GRPC_STATUS_MAX,
} GrpcStatus;

/* "OK", "CANCELLED" …; "UNKNOWN" for a number that gRPC does not have. */
const char *grpc_status_name(int status);

/* The code of a name. Returns GRPC_UNKNOWN for a name that gRPC does not have. */
GrpcStatus grpc_status_of(const char *name);
