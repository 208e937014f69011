#pragma once

/*
 * Table
 *
 * libsmartcols set up for our screen: cells are made printable on the way in.
 */

#include <libsmartcols/libsmartcols.h>
#include "screen.h"
#include "util.h"

typedef struct TableColumn {
        const char *name;
        double width_hint; /* as libsmartcols has it: columns, or below 1 a share */
        int flags;         /* SCOLS_FL_* */
} TableColumn;

typedef struct Table {
        struct libscols_table *scols;
        struct libscols_line *line;
        const Screen *screen;
        size_t n_columns;
        int error; /* sticks */
} Table;

#define TABLE_NULL \
        {}

/* Returns 0 or -ENOMEM. @screen is borrowed. */
int table_init(Table *table, const Screen *screen, const TableColumn *columns, size_t n_columns);
void table_deinit(Table *table);

void table_line(Table *table);
/* Sets a cell of the current line; @s is hostile, NULL is empty. */
void table_cell(Table *table, size_t column, const char *s, ScreenStyle style);
void table_cellf(Table *table, size_t column, ScreenStyle style, const char *format, ...) _printf_(4, 5);

/* Prints to standard output. Returns 0 or a negative errno, the first of all calls. */
int table_print(Table *table);
