#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "table.h"
#include "text.h"

#define CELL_MAX 1024

int table_init(Table *table, const Screen *screen, const TableColumn *columns, size_t n_columns) {
        *table = (Table){ .screen = screen, .n_columns = n_columns, .scols = scols_new_table() };
        if (!table->scols)
                return -ENOMEM;

        (void) scols_table_enable_colors(table->scols, screen->colour);
        (void) scols_table_enable_ascii(table->scols, !screen->utf8);
        /* text_safe() has done it; twice would escape the escapes. */
        (void) scols_table_enable_noencoding(table->scols, 1);
        if (screen->width > 0) {
                (void) scols_table_set_termforce(table->scols, SCOLS_TERMFORCE_ALWAYS);
                (void) scols_table_set_termwidth(table->scols, screen->width);
        } else
                (void) scols_table_set_termforce(table->scols, SCOLS_TERMFORCE_NEVER);

        for (size_t i = 0; i < n_columns; i++) {
                struct libscols_column *column =
                        scols_table_new_column(table->scols, columns[i].name, columns[i].width_hint, columns[i].flags);

                if (!column)
                        return -ENOMEM;
                if (screen->colour)
                        (void) scols_cell_set_color(scols_column_get_header(column),
                                                    screen_cell_colour(screen, SCREEN_DIM));
        }
        return 0;
}

void table_deinit(Table *table) {
        if (table->scols)
                scols_unref_table(table->scols);
        *table = (Table) TABLE_NULL;
}

void table_line(Table *table) {
        table->line = table->error < 0 ? NULL : scols_table_new_line(table->scols, NULL);
        if (!table->line && table->error == 0)
                table->error = -ENOMEM;
}

void table_cell(Table *table, size_t column, const char *s, ScreenStyle style) {
        const char *colour = screen_cell_colour(table->screen, style);
        char safe[CELL_MAX];

        if (!table->line || !s)
                return;
        text_safe(safe, sizeof(safe), s, strlen(s), table->screen->utf8);
        if (scols_line_set_data(table->line, column, safe) != 0)
                table->error = -ENOMEM;
        else if (colour && scols_cell_set_color(scols_line_get_cell(table->line, column), colour) != 0)
                table->error = -ENOMEM;
}

void table_cellf(Table *table, size_t column, ScreenStyle style, const char *format, ...) {
        _cleanup_free_ char *s = NULL;
        va_list args;
        int r;

        va_start(args, format);
        r = vasprintf(&s, format, args);
        va_end(args);
        if (r < 0) {
                s = NULL;
                table->error = -ENOMEM;
                return;
        }
        table_cell(table, column, s, style);
}

int table_print(Table *table) {
        int r;

        if (table->error < 0)
                return table->error;
        r = scols_print_table(table->scols);
        return r < 0 ? r : -r;
}
