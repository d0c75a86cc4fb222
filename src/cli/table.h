/* SPDX-License-Identifier: Apache-2.0 */
/* A text table: a line of headings, then rows, columns as wide as they must be. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* Start with the headings (ended by NULL); numbers are set right with TABLE_RIGHT(column). */
struct table {
    size_t columns;
    uint32_t right;
    char **cells; /* owned; row by row, the headings first */
    size_t count, capacity;
};

#define TABLE_RIGHT(column) (UINT32_C(1) << (column))

void table_start(struct table *table, const char *const headings[], uint32_t right);
/* The next cell of the present row; the text is copied, without its control characters. */
void table_add(struct table *table, const char *text);
/* Appends the table; no line ends in spaces. The last row may be incomplete. */
void table_render(const struct table *table, struct text *out);
void table_clear(struct table *table);

/* Columns a text takes on a terminal: one for each UTF-8 code point. */
size_t table_text_width(const char *text);

#define CLEANUP_TABLE CLEANUP(table_clear)

#endif
