#pragma once

/*
 * Text of systemd units and environment files
 *
 * Reads units and the files that EnvironmentFile= names as systemd 252 reads them: comments, continued lines, quotes,
 * escapes. Each character that is read knows where it stands in its file, so that an edit can find it again. No I/O.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum UnitCharFlags {
        UNITCHAR_ESCAPED = 1 << 0,  /* the file has an escape sequence here, which begins at or before `at` */
        UNITCHAR_UNKNOWN = 1 << 1,  /* a specifier such as %t: systemd alone knows what it stands for */
        UNITCHAR_VARIABLE = 1 << 2, /* the content of a ${VARIABLE} within a word */
} UnitCharFlags;

typedef struct UnitChar {
        uint32_t at; /* offset in the file */
        uint16_t file;
        char c;
        uint8_t flags;
} UnitChar;

typedef struct UnitText {
        UnitChar *p; /* owned; NULL: empty */
        size_t n;
        size_t space;
} UnitText;

#define UNITTEXT_NULL \
        {}

void unittext_deinit(UnitText *text);
#define _cleanup_unittext_ _cleanup_(unittext_deinit)

/* Appends a copy. Returns 0 or -ENOMEM. */
int unittext_push(UnitText *text, UnitChar c);
int unittext_append(UnitText *text, const UnitText *more);

bool unittext_is(const UnitText *text, const char *s);

/*
 * Reads the next line of a unit, continued lines joined, without comments and empty lines. @file is what its characters
 * say of themselves, @pos is moved on. Returns 1 with the line in @ret, without blanks at its ends, 0 after the last
 * one, or -ENOMEM.
 */
int unittext_line(const char *s, size_t n, unsigned file, size_t *pos, UnitText *ret);

typedef enum UnitWordKind {
        UNITWORD_ARGUMENT,    /* of ExecStart=: backslashes begin C's escape sequences, unknown ones are kept */
        UNITWORD_ENVIRONMENT, /* of Environment=: likewise, unknown ones are an error */
        UNITWORD_CONTENT, /* of a variable's content: a backslash makes the next character ordinary, and a quote need
                             not end */
} UnitWordKind;

/*
 * Reads the next word of @text at @pos. Returns 1 with the word in @ret and @pos at what follows its blanks, 0 if there
 * is none, -EBADMSG if systemd does not read the line, or -ENOMEM.
 */
int unittext_word(const UnitText *text, size_t *pos, UnitWordKind kind, UnitText *ret);

/* Replaces specifiers: %% is a %, another one becomes one unknown character. */
void unittext_specifiers(UnitText *text);

/*
 * Reads the next assignment of an environment file. Returns 1 with name and value, 0 after the last one, -EBADMSG for
 * one that versions of systemd read differently (what follows a comment that ends in a backslash), or -ENOMEM.
 */
int unittext_assignment(const char *s, size_t n, unsigned file, size_t *pos, UnitText *ret_name, UnitText *ret_value);
