/* SPDX-License-Identifier: Apache-2.0 */
/* A text table. */
#include "cli/table.h"

#include <stdbool.h>
#include <stdlib.h>

#include "cli/output.h"

#define GAP 2 /* spaces between two columns */

size_t table_text_width(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void table_add(struct table *table, const char *text)
{
    if (table->count == table->capacity) {
        size_t capacity = table->capacity ? 2 * table->capacity : 64;
        char **cells = realloc(table->cells, capacity * sizeof(*cells));
        if (!cells)
            return; /* the row ends early: better than no table */
        table->cells = cells;
        table->capacity = capacity;
    }
    table->cells[table->count++] = output_clean(text);
}

void table_start(struct table *table, const char *const headings[], uint32_t right)
{
    *table = (struct table){.right = right};
    while (headings[table->columns])
        table_add(table, headings[table->columns++]);
}

static size_t column_width(const struct table *table, size_t column)
{
    size_t widest = 0;
    for (size_t i = column; i < table->count; i += table->columns) {
        size_t width = table_text_width(table->cells[i]);
        widest = width > widest ? width : widest;
    }
    return widest;
}

static void pad(struct text *out, size_t spaces)
{
    text_append(out, "%*s", (int)spaces, "");
}

void table_render(const struct table *table, struct text *out)
{
    size_t owed = 0; /* spaces before the next cell; never written at the end of a line */
    for (size_t i = 0; i < table->count; i++) {
        size_t column = i % table->columns;
        size_t spare = column_width(table, column) - table_text_width(table->cells[i]);
        bool right = table->right & TABLE_RIGHT(column);
        if (table->cells[i][0]) {
            pad(out, owed + (right ? spare : 0));
            text_append(out, "%s", table->cells[i]);
            owed = GAP + (right ? 0 : spare);
        } else {
            owed += spare + GAP;
        }
        if (column + 1 == table->columns || i + 1 == table->count) {
            text_append(out, "\n");
            owed = 0;
        }
    }
}

void table_clear(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){0};
}
