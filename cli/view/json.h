#pragma once

/*
 * JSON writer
 *
 * One document to a stream, piece by piece (yajl's generator underneath), so that memory does not grow with the
 * document. What is not valid UTF-8 becomes U+FFFD, and controls beyond JSON's own rule (DEL, C1, bidirectional ones)
 * are escaped as \uXXXX: people look at JSON in terminals. Errors stick; json_finish() tells.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "util.h"

typedef struct Json Json;

/* A writer to @out (borrowed); NULL without memory. */
Json *json_new(FILE *out);
/* The same for a document on one line, as JSON Lines wants it. */
Json *json_new_line(FILE *out);
Json *json_free(Json *json);
DEFINE_CLEANUP(Json *, json_free);

void json_map(Json *json);
void json_map_end(Json *json);
void json_array(Json *json);
void json_array_end(Json *json);

/* The key of the next value; a literal. */
void json_key(Json *json, const char *key);

void json_strn(Json *json, const char *s, size_t len);
/* NULL gives null. */
void json_str(Json *json, const char *s);
void json_u64(Json *json, uint64_t value);
void json_i64(Json *json, int64_t value);
void json_bool(Json *json, bool value);
void json_null(Json *json);
/* 64-bit integers as OTLP/JSON wants them: as strings. */
void json_u64_str(Json *json, uint64_t value);
void json_i64_str(Json *json, int64_t value);
/* "NaN", "Infinity", "-Infinity" as strings, as protobuf's JSON mapping wants. */
void json_double(Json *json, double value);
void json_hex(Json *json, const void *bytes, size_t size);
void json_base64(Json *json, const void *bytes, size_t size);

/* A wall-clock time as two members: @key as RFC 3339, and @key with "_unix_nano" as a decimal string. 0 gives two
 * nulls. */
void json_time(Json *json, const char *key, uint64_t ns);

/* Key and value. json_pair_known() leaves out NULL and "". */
void json_pair_str(Json *json, const char *key, const char *value);
void json_pair_known(Json *json, const char *key, const char *value);
void json_pair_u64(Json *json, const char *key, uint64_t value);
void json_pair_bool(Json *json, const char *key, bool value);

/* Ends the document with a newline and flushes. Returns 0, -ENOMEM, or the stream's error. */
int json_finish(Json *json);
