#pragma once

/* The host of a story under test: keeps the spans that it is told, and reads them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "spandata.h"
#include "story.h"

#define TOLD_SPANS_MAX 8192

/* The userdata of a StoryHost with the functions below. */
typedef struct Told {
        Span *spans[TOLD_SPANS_MAX];
        size_t n;
        size_t n_counted;
} Told;

static inline int told_root(void *userdata, TraceContext *ret) {
        (void) userdata;
        assert_int_equal(tracecontext_new_root(ret), 0);
        memset(ret->span_id, 0, sizeof(ret->span_id));
        return 0;
}

static inline void told_emit(void *userdata, Span *span) {
        Told *told = userdata;

        assert_true(told->n < TOLD_SPANS_MAX);
        told->spans[told->n++] = span;
}

static inline void told_counted(void *userdata, const Command *command) {
        Told *told = userdata;

        (void) command;
        told->n_counted++;
}

/* What a command belongs to whose container's id is all there is: the trace derived from it. */
static inline int told_origin(const Command *command, Manager manager, const Bundle *bundle, StoryOrigin *ret) {
        Identity identity = {};

        if (!*command->id)
                return -ENOENT;
        util_copy_bounded(identity.container_id, sizeof(identity.container_id), command->id, strlen(command->id));
        *ret = (StoryOrigin){ .owner = owner_new(&identity, manager, bundle) };
        tracecontext_derive(command->id, strlen(command->id), &ret->parent);
        return ret->owner ? 0 : -ENOMEM;
}

static inline void told_forget(Told *told) {
        while (told->n > 0)
                span_free(told->spans[--told->n]);
        told->n_counted = 0;
}

/* The span that @span is below; NULL: none of those told. */
static inline const Span *told_parent(const Told *told, const Span *span) {
        for (size_t i = 0; i < told->n && span->has_parent; i++)
                if (memcmp(told->spans[i]->context.span_id, span->parent_id, sizeof(span->parent_id)) == 0)
                        return told->spans[i];
        return NULL;
}

static inline const char *told_name(const Span *span) {
        return span_text(span, span->name);
}

/* The attribute @key, a string; "" where there is none. */
static inline const char *told_text(const Span *span, const char *key) {
        for (size_t i = 0; i < span->n_attrs; i++)
                if (strcmp(span->attrs[i].key, key) == 0 && span->attrs[i].type == SPAN_ATTR_STRING)
                        return span_text(span, span->attrs[i].string);
        return "";
}

/* The attribute @key, a number or a bool; -1 where there is none. */
static inline int64_t told_number(const Span *span, const char *key) {
        for (size_t i = 0; i < span->n_attrs; i++)
                if (strcmp(span->attrs[i].key, key) == 0 && span->attrs[i].type != SPAN_ATTR_STRING)
                        return span->attrs[i].number;
        return -1;
}
