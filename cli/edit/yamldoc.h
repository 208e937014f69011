#pragma once

/*
 * A YAML stream as a flat list of events
 *
 * libyaml reads the stream (YAML 1.1, so JSON as well). Each event knows which bytes of the text it came from. Two
 * lists can be compared: that is how an edit is checked by a parse of its own. Hostile input: aliases are not expanded,
 * and text and events are bounded. No I/O.
 */

#include "bytes.h"

/* More events than this are refused: a KubeletConfiguration has some hundred. */
#define YAMLDOC_EVENTS_MAX 65536U
/* Maps and lists within each other. libyaml looks at all that are open with each token, which takes seconds of a deep
 * text. */
#define YAMLDOC_DEPTH_MAX 256U

typedef enum YamlDocType {
        YAMLDOC_BEGIN, /* of a document */
        YAMLDOC_END,
        YAMLDOC_MAP,
        YAMLDOC_MAP_END,
        YAMLDOC_LIST,
        YAMLDOC_LIST_END,
        YAMLDOC_SCALAR,
        YAMLDOC_ALIAS,
} YamlDocType;

typedef enum YamlDocStyle {
        YAMLDOC_PLAIN,
        YAMLDOC_SINGLE, /* 'quoted' */
        YAMLDOC_DOUBLE, /* "quoted" */
        YAMLDOC_BLOCK,  /* | or > */
} YamlDocStyle;

typedef struct YamlDocEvent {
        YamlDocType type;
        YamlDocStyle style; /* of a scalar */
        bool flow;          /* of a map or list: in braces or brackets */
        size_t from;        /* bytes of the text */
        size_t to;
        unsigned line; /* of @from, counted from 1 */
        unsigned last_line;
        unsigned column; /* of @from, counted from 0, in characters */
        char *value;     /* of a scalar, decoded; the name of an alias */
        size_t value_n;
        char *anchor; /* NULL without one */
        char *tag;    /* an explicit one; NULL without */
} YamlDocEvent;

typedef struct YamlDoc {
        YamlDocEvent *events;
        size_t n;
} YamlDoc;

#define YAMLDOC_NULL \
        {}

/* Why a text is refused, and where. */
typedef struct YamlProblem {
        unsigned line;    /* counted from 1 */
        const char *what; /* a literal */
} YamlProblem;

/*
 * Reads @s of @n bytes, UTF-8 with or without a byte order mark. Returns 0 with @ret to be released by
 * yamldoc_deinit(); -EBADMSG (not YAML, or UTF-16), -E2BIG (more than YAMLDOC_EVENTS_MAX events, or deeper than
 * YAMLDOC_DEPTH_MAX), both with *@reterr set; or -ENOMEM.
 */
int yamldoc_parse(const char *s, size_t n, YamlDoc *ret, YamlProblem *reterr);
void yamldoc_deinit(YamlDoc *doc);

/* Where the node that begins at event @at ends: the index of the event behind it. @at is a node's first event. */
size_t yamldoc_skip(const YamlDoc *doc, size_t at);

/* Do @a and @b mean the same? Type, value, anchor, explicit tag, and whether a scalar is quoted; not the layout. */
bool yamldoc_same(const YamlDocEvent *a, const YamlDocEvent *b);
