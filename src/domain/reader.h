/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads an XML document so that nothing in it is overlooked.
 *
 * The parsers ask for the elements and attributes they know; what was asked for is marked as
 * consumed. Whatever is left unmarked at the end is a finding: "not supported". All findings, with
 * line and column, make up one error. Positions stand in the `_private` member of elements and
 * attributes, the mark in `psvi`.
 */
#ifndef DOMAIN_READER_H
#define DOMAIN_READER_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define READER_FINDINGS_MAX 100 /* shown; the rest is counted */

struct reader_finding {
    long line, column;
    size_t order; /* of discovery: keeps the sort stable */
    char *text;
};

struct reader {
    xmlDoc *document; /* owned; domain_parse takes it */
    enum error_kind kind;
    struct reader_finding *findings;
    size_t n_findings, capacity;
    char **warnings; /* NULL-terminated once there is one; owned, domain_parse takes them */
    size_t n_warnings;
};

/*
 * Parses `size` bytes. No DOCTYPE, so no entities; no network; UTF-8 only; no NUL bytes.
 * ERROR_INVALID with line and column otherwise.
 */
int reader_load(struct reader *reader, const char *xml, size_t size, struct error **err);
void reader_release(struct reader *reader);

/* Where the element (or, with a name, one of its attributes) starts; 0 for one made by us. */
long reader_line(const xmlNode *node);
void reader_position(const xmlNode *node, const char *attribute, long *line, long *column);

/* The only child of that name, marked; NULL when missing. A second one is a finding. `parent` may
 * be NULL. Elements in a namespace never match. */
xmlNode *reader_child(struct reader *reader, xmlNode *parent, const char *name);
/* The next child of that name after `previous` (NULL: the first), marked. */
xmlNode *reader_next(xmlNode *parent, const xmlNode *previous, const char *name);
/* The same without marking. */
xmlNode *reader_peek(const xmlNode *parent, const char *name);

/* An attribute's value, marked; NULL when missing. Borrowed from the document. `node` may be NULL.
 */
const char *reader_attribute(xmlNode *node, const char *name);
/* The same, but a finding when it is missing or empty. */
const char *reader_need(struct reader *reader, xmlNode *node, const char *name);
/* One of `choices` (NULL-terminated): NULL when missing, or when it is another (a finding). */
const char *reader_choice(struct reader *reader, xmlNode *node, const char *name,
                          const char *const *choices);
/* A decimal or 0x number. Leaves *value alone and returns false when missing or bad (a finding). */
bool reader_number(struct reader *reader, xmlNode *node, const char *name, int64_t min, int64_t max,
                   int64_t *value);
/* yes/no and on/off: 1, 0, or -1 when missing or bad (a finding). */
int reader_flag(struct reader *reader, xmlNode *node, const char *name);

/* The element's text, without children's; owned. Never NULL for an element; NULL for NULL. */
char *reader_text(struct reader *reader, xmlNode *node);

/* Everything below and in `node` is without effect on us and stays as it is. */
void reader_keep(xmlNode *node);
/* The same for the child of that name, if there is one. */
void reader_keep_child(struct reader *reader, xmlNode *parent, const char *name);

/* A finding at an element, or at one of its attributes. ERROR_INVALID outweighs others. */
void reader_fault(struct reader *reader, const xmlNode *node, const char *attribute,
                  enum error_kind kind, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void reader_warn(struct reader *reader, const xmlNode *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds a finding for everything below `root` that nobody asked for, then turns the findings into
 * one error. */
int reader_finish(struct reader *reader, xmlNode *root, struct error **err);

#endif
