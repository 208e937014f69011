#pragma once

/*
 * Export wire
 *
 * What podspand and podspan-export say to each other. The two share a SOCK_SEQPACKET pair; each packet is one frame of
 * fixed size. What is larger travels as a memfd beside the frame: the set-up (where to send, with which certificates
 * and headers) and the bytes of a request, which are a serialized ExportTraceServiceRequest.
 *
 * podspand sends EXPORTWIRE_SETUP once, then an EXPORTWIRE_START per request. podspan-export answers each with
 * EXPORTWIRE_ANSWER. podspan-export talks to strangers, so podspand takes each of its frames for hostile. No I/O here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "config.h"
#include "util.h"

#define EXPORTWIRE_FD          3                  /* podspan-export's end of the pair */
#define EXPORTWIRE_MESSAGE_MAX 512                /* bytes of a text, its NUL included */
#define EXPORTWIRE_SETUP_MAX   (4U * 1024 * 1024) /* bytes of a set-up */
#define EXPORTWIRE_REQUEST_MAX (8U * 1024 * 1024) /* bytes of a request; a batch is 4 MiB at most */
#define EXPORTWIRE_PEM_MAX     (1024U * 1024)     /* bytes of a PEM file */

typedef enum ExportwireType {
        EXPORTWIRE_SETUP = 0x70730101,
        EXPORTWIRE_START = 0x70730102,
        EXPORTWIRE_ANSWER = 0x70730103,
} ExportwireType;

/* podspand to podspan-export, with one memfd. */
typedef struct ExportwireOrder {
        uint32_t type; /* EXPORTWIRE_SETUP or EXPORTWIRE_START */
        uint32_t size; /* bytes of the memfd */
        uint64_t timeout_ns;
} ExportwireOrder;

/* podspan-export to podspand. */
typedef struct ExportwireAnswer {
        uint32_t type;
        uint32_t code;        /* gRPC status, GrpcStatus */
        uint8_t local;        /* 0 or 1, RetryAnswer.local */
        uint8_t told;         /* 0 or 1, RetryAnswer.told */
        uint8_t response_bad; /* 0 or 1: the collector's response could not be parsed */
        uint8_t padding[5];
        uint64_t delay_ns;
        uint64_t n_rejected;
        char message[EXPORTWIRE_MESSAGE_MAX]; /* the status' message; UTF-8 */
        char partial[EXPORTWIRE_MESSAGE_MAX]; /* the partial success' message; UTF-8 */
} ExportwireAnswer;

typedef struct ExportwireHeader {
        const char *name;
        const char *value;
} ExportwireHeader;

/* Where requests go, and how. Texts are borrowed. */
typedef struct ExportwireSetup {
        const char *target; /* gRPC's name of it: "dns:///HOST:PORT", "unix:PATH" */
        bool tls;
        bool gzip;
        const char *roots; /* PEM; NULL: none given */
        const char *certificate;
        const char *key;
        ExportwireHeader headers[CONFIG_HEADERS_MAX];
        size_t n_headers;
} ExportwireSetup;

/* Serializes @setup. Returns 0 with a buffer owned by the caller, -E2BIG above EXPORTWIRE_SETUP_MAX, or -ENOMEM. */
int exportwire_setup_pack(const ExportwireSetup *setup, uint8_t **ret, size_t *ret_size);
/* Reads a serialized set-up; @ret borrows from @data. Returns 0 or -EBADMSG. */
int exportwire_setup_parse(const uint8_t *data, size_t size, ExportwireSetup *ret);

/* Reads an order of @size bytes. Returns 0 or -EBADMSG. */
int exportwire_order_parse(const void *data, size_t size, ExportwireOrder *ret);
/* Reads an answer of @size bytes: texts end within their bounds and are UTF-8, numbers are in range. 0 or -EBADMSG. */
int exportwire_answer_parse(const void *data, size_t size, ExportwireAnswer *ret);

/* Puts the @len bytes at @s into a text of an answer: bounded, and valid UTF-8 whatever they are. */
void exportwire_set_text(char ret[static EXPORTWIRE_MESSAGE_MAX], const char *s, size_t len);
