#include <langinfo.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "screen.h"
#include "util.h"

#define WIDTH_MIN 40U
#define WIDTH_MAX 1000U

static unsigned terminal_width(void) {
        struct winsize size = {};

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
                return 80;
        return size.ws_col;
}

void screen_init(Screen *screen, ScreenColour colour, bool ascii) {
        const char *columns = getenv("COLUMNS"), *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
        uint64_t width = 0;

        *screen = (Screen){ .terminal = isatty(STDOUT_FILENO) == 1 };

        if (columns && util_parse_u64(columns, strlen(columns), &width) >= 0 && width > 0)
                screen->width = width > WIDTH_MAX ? WIDTH_MAX : (unsigned) width;
        else if (screen->terminal)
                screen->width = terminal_width();
        if (screen->width > WIDTH_MAX)
                screen->width = WIDTH_MAX;
        if (screen->width > 0 && screen->width < WIDTH_MIN)
                screen->width = WIDTH_MIN;

        screen->utf8 = !ascii && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
        screen->colour =
                colour == SCREEN_COLOUR_ALWAYS || (colour == SCREEN_COLOUR_AUTO && screen->terminal &&
                                                   (!no_color || !*no_color) && (!term || strcmp(term, "dumb") != 0));
}

static const char *const styles[_SCREEN_STYLE_MAX] = {
        [SCREEN_PLAIN] = "\033[0m",       [SCREEN_BOLD] = "\033[1m",        [SCREEN_DIM] = "\033[2m",
        [SCREEN_ERROR] = "\033[31m",      [SCREEN_WARNING] = "\033[33m",    [SCREEN_GOOD] = "\033[32m",
        [SCREEN_SERIES] = "\033[36m",     [SCREEN_SERIES + 1] = "\033[34m", [SCREEN_SERIES + 2] = "\033[35m",
        [SCREEN_SERIES + 3] = "\033[33m", [SCREEN_SERIES + 4] = "\033[32m", [SCREEN_SERIES + 5] = "\033[94m",
};

const char *screen_style(const Screen *screen, ScreenStyle style) {
        return screen->colour ? styles[style] : "";
}

const char *screen_cell_colour(const Screen *screen, ScreenStyle style) {
        return screen->colour && style != SCREEN_PLAIN ? styles[style] : NULL;
}
