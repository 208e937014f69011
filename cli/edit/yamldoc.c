#include <string.h>
#include <yaml.h>
#include "yamldoc.h"

#define BOM "\xef\xbb\xbf"

/* libyaml counts characters, an edit needs bytes; marks only go forward but for a few steps. */
typedef struct Place {
        const char *s;
        size_t n;
        size_t byte;
        size_t character;
} Place;

static bool is_continuation(char c) {
        return ((unsigned char) c & 0xc0) == 0x80;
}

static size_t to_byte(Place *place, size_t character) {
        while (place->character > character) {
                place->byte--;
                if (!is_continuation(place->s[place->byte]))
                        place->character--;
        }
        while (place->character < character && place->byte < place->n) {
                place->byte++;
                while (place->byte < place->n && is_continuation(place->s[place->byte]))
                        place->byte++;
                place->character++;
        }
        return place->byte;
}

void yamldoc_deinit(YamlDoc *doc) {
        for (size_t i = 0; i < doc->n; i++) {
                free(doc->events[i].value);
                free(doc->events[i].anchor);
                free(doc->events[i].tag);
        }
        free(doc->events);
        *doc = (YamlDoc) YAMLDOC_NULL;
}

static int copy(const yaml_char_t *s, size_t n, char **ret) {
        char *value;

        if (!s)
                return 0;
        value = malloc(n + 1);
        if (!value)
                return -ENOMEM;
        memcpy(value, s, n);
        value[n] = '\0';
        *ret = value;
        return 0;
}

static int copy_string(const yaml_char_t *s, char **ret) {
        return copy(s, s ? strlen((const char *) s) : 0, ret);
}

static YamlDocStyle style_of(yaml_scalar_style_t style) {
        switch (style) {
        case YAML_SINGLE_QUOTED_SCALAR_STYLE:
                return YAMLDOC_SINGLE;
        case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
                return YAMLDOC_DOUBLE;
        case YAML_LITERAL_SCALAR_STYLE:
        case YAML_FOLDED_SCALAR_STYLE:
                return YAMLDOC_BLOCK;
        default:
                return YAMLDOC_PLAIN;
        }
}

/* Fills @ret from @event. Returns 1, 0 for an event that says nothing, or -ENOMEM; @ret is to be released either way.
 */
static int convert(const yaml_event_t *event, YamlDocEvent *ret) {
        int r = 0;

        switch (event->type) {
        case YAML_DOCUMENT_START_EVENT:
                ret->type = YAMLDOC_BEGIN;
                break;
        case YAML_DOCUMENT_END_EVENT:
                ret->type = YAMLDOC_END;
                break;
        case YAML_MAPPING_START_EVENT:
                ret->type = YAMLDOC_MAP;
                ret->flow = event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
                r = copy_string(event->data.mapping_start.anchor, &ret->anchor);
                if (r >= 0)
                        r = copy_string(event->data.mapping_start.tag, &ret->tag);
                break;
        case YAML_MAPPING_END_EVENT:
                ret->type = YAMLDOC_MAP_END;
                break;
        case YAML_SEQUENCE_START_EVENT:
                ret->type = YAMLDOC_LIST;
                ret->flow = event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
                r = copy_string(event->data.sequence_start.anchor, &ret->anchor);
                if (r >= 0)
                        r = copy_string(event->data.sequence_start.tag, &ret->tag);
                break;
        case YAML_SEQUENCE_END_EVENT:
                ret->type = YAMLDOC_LIST_END;
                break;
        case YAML_SCALAR_EVENT:
                ret->type = YAMLDOC_SCALAR;
                ret->style = style_of(event->data.scalar.style);
                ret->value_n = event->data.scalar.length;
                r = copy(event->data.scalar.value, event->data.scalar.length, &ret->value);
                if (r >= 0)
                        r = copy_string(event->data.scalar.anchor, &ret->anchor);
                if (r >= 0)
                        r = copy_string(event->data.scalar.tag, &ret->tag);
                break;
        case YAML_ALIAS_EVENT:
                ret->type = YAMLDOC_ALIAS;
                r = copy_string(event->data.alias.anchor, &ret->value);
                ret->value_n = ret->value ? strlen(ret->value) : 0;
                break;
        default:
                return 0;
        }
        return r < 0 ? r : 1;
}

static int add(YamlDoc *doc, size_t *allocated, Place *place, const yaml_event_t *event) {
        YamlDocEvent *at;
        int r;

        if (doc->n == *allocated) {
                size_t more = MAX(*allocated * 2, (size_t) 64);
                YamlDocEvent *events = reallocarray(doc->events, more, sizeof(*events));

                if (!events)
                        return -ENOMEM;
                doc->events = events;
                *allocated = more;
        }
        at = &doc->events[doc->n];
        *at = (YamlDocEvent){};
        r = convert(event, at);
        /* Counted even if it failed half-way, so that it is released. */
        doc->n += r != 0;
        if (r <= 0)
                return r;
        at->from = to_byte(place, event->start_mark.index);
        at->to = to_byte(place, event->end_mark.index);
        at->line = (unsigned) event->start_mark.line + 1;
        at->last_line = (unsigned) event->end_mark.line + 1;
        at->column = (unsigned) event->start_mark.column;
        return doc->n > YAMLDOC_EVENTS_MAX ? -E2BIG : 0;
}

/* libyaml's own words are literals. Of a text that ends too early it may name the line after the last. */
static void problem_of(const yaml_parser_t *parser, const Place *place, YamlProblem *ret) {
        unsigned lines = 1;

        for (size_t i = 0; i < place->n; i++)
                lines += place->s[i] == '\n';
        ret->line = MIN((unsigned) parser->problem_mark.line + 1, lines);
        ret->what = parser->problem ? parser->problem : "not YAML";
}

static int parse(yaml_parser_t *parser, Place *place, YamlDoc *doc, YamlProblem *reterr) {
        size_t allocated = 0, depth = 0;

        for (bool more = true; more;) {
                yaml_event_t event;
                int r;

                if (!yaml_parser_parse(parser, &event)) {
                        if (parser->error == YAML_MEMORY_ERROR)
                                return -ENOMEM;
                        problem_of(parser, place, reterr);
                        return -EBADMSG;
                }
                more = event.type != YAML_STREAM_END_EVENT;
                depth += event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT;
                depth -= event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
                r = depth > YAMLDOC_DEPTH_MAX ? -E2BIG : add(doc, &allocated, place, &event);
                if (r == -E2BIG)
                        *reterr = (YamlProblem){ (unsigned) event.start_mark.line + 1,
                                                 depth > YAMLDOC_DEPTH_MAX ? "nested too deeply for a configuration"
                                                                           : "too long for a configuration" };
                yaml_event_delete(&event);
                if (r < 0)
                        return r;
        }
        return 0;
}

int yamldoc_parse(const char *s, size_t n, YamlDoc *ret, YamlProblem *reterr) {
        Place place = { s, n, 0, 0 };
        YamlDoc doc = YAMLDOC_NULL;
        yaml_parser_t parser;
        int r;

        if (n >= 2 && (memcmp(s, "\xff\xfe", 2) == 0 || memcmp(s, "\xfe\xff", 2) == 0)) {
                *reterr = (YamlProblem){ 1, "UTF-16: it has to be UTF-8" };
                return -EBADMSG;
        }
        if (!yaml_parser_initialize(&parser))
                return -ENOMEM;
        /* A byte order mark is no character of libyaml's. */
        if (n >= strlen(BOM) && memcmp(s, BOM, strlen(BOM)) == 0)
                place.byte = strlen(BOM);
        yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&parser, (const unsigned char *) s + place.byte, n - place.byte);
        r = parse(&parser, &place, &doc, reterr);
        yaml_parser_delete(&parser);
        if (r < 0) {
                yamldoc_deinit(&doc);
                return r;
        }
        *ret = doc;
        return 0;
}

size_t yamldoc_skip(const YamlDoc *doc, size_t at) {
        size_t depth = 0;

        do {
                YamlDocType type = doc->events[at].type;

                depth += type == YAMLDOC_MAP || type == YAMLDOC_LIST;
                depth -= type == YAMLDOC_MAP_END || type == YAMLDOC_LIST_END;
                at++;
        } while (depth > 0 && at < doc->n);
        return at;
}

static bool same_text(const char *a, const char *b) {
        return a == b || (a && b && strcmp(a, b) == 0);
}

bool yamldoc_same(const YamlDocEvent *a, const YamlDocEvent *b) {
        return a->type == b->type && a->value_n == b->value_n &&
               (a->value_n == 0 || memcmp(a->value, b->value, a->value_n) == 0) && same_text(a->anchor, b->anchor) &&
               same_text(a->tag, b->tag) && (a->style == YAMLDOC_PLAIN) == (b->style == YAMLDOC_PLAIN);
}
