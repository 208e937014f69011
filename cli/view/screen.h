#pragma once

/*
 * Screen
 *
 * What standard output can show: how wide it is, colours, UTF-8. Colours only on a terminal and not with NO_COLOR
 * (https://no-color.org), unless asked for.
 */

#include <stdbool.h>

typedef enum ScreenColour {
        SCREEN_COLOUR_AUTO,
        SCREEN_COLOUR_ALWAYS,
        SCREEN_COLOUR_NEVER,
} ScreenColour;

typedef enum ScreenStyle {
        SCREEN_PLAIN,
        SCREEN_BOLD,
        SCREEN_DIM,
        SCREEN_ERROR,
        SCREEN_WARNING,
        SCREEN_GOOD,
        SCREEN_SERIES, /* this and the following: colours that tell services apart */
        _SCREEN_STYLE_MAX = SCREEN_SERIES + 6,
} ScreenStyle;

#define SCREEN_N_SERIES (_SCREEN_STYLE_MAX - SCREEN_SERIES)

typedef struct Screen {
        bool terminal;
        bool colour;
        bool utf8;
        unsigned width; /* columns; 0: unbounded, nothing is cut */
} Screen;

/* Looks at standard output, the locale (setlocale() must have been called), COLUMNS, NO_COLOR and TERM; @ascii forbids
 * UTF-8. */
void screen_init(Screen *screen, ScreenColour colour, bool ascii);

/* The escape sequence that starts @style or, with SCREEN_PLAIN, ends it; "" without colours. */
const char *screen_style(const Screen *screen, ScreenStyle style);

/* The same as libsmartcols wants it: NULL without colours. */
const char *screen_cell_colour(const Screen *screen, ScreenStyle style);
