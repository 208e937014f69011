#pragma once

/*
 * gRPC messages in a stream of DATA
 *
 * Each message has a prefix: one byte "compressed" and its length in four (PROTOCOL-HTTP2.md). Any number of messages,
 * over any segmentation, in constant memory. No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRPCMSG_PREFIX_SIZE 5

typedef struct GrpcMsg {
        uint64_t n_bytes;    /* of all messages, without prefixes */
        uint32_t n_messages; /* begun */
        uint32_t left;       /* of the message being read */
        uint8_t prefix[GRPCMSG_PREFIX_SIZE];
        uint8_t n_prefix; /* 5: inside a message */
        bool compressed;  /* any of the messages */
} GrpcMsg;

typedef enum GrpcMsgEvent {
        GRPCMSG_NONE,  /* all input taken */
        GRPCMSG_BEGIN, /* msg->left bytes follow, msg->prefix[0] says whether they are compressed */
        GRPCMSG_CHUNK, /* @ret_chunk, @ret_len */
        GRPCMSG_END,
} GrpcMsgEvent;

/*
 * Advances over the *@len bytes at *@data to the next event and moves both past what was taken. To be called until
 * GRPCMSG_NONE. Returns -EBADMSG if the first byte of a prefix is neither 0 nor 1: then this is no gRPC.
 */
int grpcmsg_next(GrpcMsg *msg, const uint8_t **data, size_t *len, const uint8_t **ret_chunk, size_t *ret_len);
