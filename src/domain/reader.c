/* SPDX-License-Identifier: Apache-2.0 */
/* Reads elements and attributes, marks what was read, and collects findings. */
#include "domain/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static void mark_node(xmlNode *node)
{
    node->psvi = node;
}

static bool is_marked(const void *psvi)
{
    return psvi != NULL;
}

static bool is_named(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && !node->ns &&
           strcmp((const char *)node->name, name) == 0;
}

static xmlNode *find_from(xmlNode *node, const char *name)
{
    while (node && !is_named(node, name))
        node = node->next;
    return node;
}

xmlNode *reader_peek(const xmlNode *parent, const char *name)
{
    return parent ? find_from(parent->children, name) : NULL;
}

xmlNode *reader_next(xmlNode *parent, const xmlNode *previous, const char *name)
{
    if (!parent)
        return NULL;
    xmlNode *found = find_from(previous ? previous->next : parent->children, name);
    if (found)
        mark_node(found);
    return found;
}

xmlNode *reader_child(struct reader *reader, xmlNode *parent, const char *name)
{
    xmlNode *found = reader_next(parent, NULL, name);
    if (found)
        for (xmlNode *more = find_from(found->next, name); more && !is_marked(more->psvi);
             more = find_from(more->next, name)) {
            reader_fault(reader, more, NULL, ERROR_INVALID, "given more than once");
            reader_keep(more);
        }
    return found;
}

static xmlAttr *find_attribute(const xmlNode *node, const char *name)
{
    for (xmlAttr *attribute = node->properties; attribute; attribute = attribute->next)
        if (!attribute->ns && strcmp((const char *)attribute->name, name) == 0)
            return attribute;
    return NULL;
}

const char *reader_attribute(xmlNode *node, const char *name)
{
    xmlAttr *attribute = node ? find_attribute(node, name) : NULL;
    if (!attribute)
        return NULL;
    attribute->psvi = attribute;
    xmlNode *value = attribute->children;
    return value && value->content ? (const char *)value->content : "";
}

const char *reader_need(struct reader *reader, xmlNode *node, const char *name)
{
    const char *value = reader_attribute(node, name);
    if (value && *value)
        return value;
    if (node)
        reader_fault(reader, node, NULL, ERROR_INVALID, "attribute '%s' is missing%s", name,
                     value ? " its value" : "");
    return NULL;
}

static char *choices_text(const char *const *choices)
{
    struct text text = {0};
    for (; *choices; choices++)
        text_append(&text, "%s%s", text.length ? ", " : "", *choices);
    return text.data;
}

const char *reader_choice(struct reader *reader, xmlNode *node, const char *name,
                          const char *const *choices)
{
    const char *value = reader_attribute(node, name);
    if (!value)
        return NULL;
    for (const char *const *choice = choices; *choice; choice++)
        if (strcmp(*choice, value) == 0)
            return *choice;
    CLEANUP_FREE char *list = choices_text(choices);
    reader_fault(reader, node, name, ERROR_UNSUPPORTED, "%s='%s' is not supported (known: %s)",
                 name, value, list);
    return NULL;
}

static bool parse_number(const char *text, int64_t *value)
{
    bool hex = strncmp(text, "0x", 2) == 0;
    const char *digits = hex ? text + 2 : text + (*text == '-');
    if (!*digits || strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789") != strlen(digits))
        return false;
    errno = 0;
    long long number = strtoll(text, NULL, hex ? 16 : 10);
    if (errno)
        return false;
    *value = number;
    return true;
}

bool reader_number(struct reader *reader, xmlNode *node, const char *name, int64_t min, int64_t max,
                   int64_t *value)
{
    const char *text = reader_attribute(node, name);
    if (!text)
        return false;
    int64_t number = 0;
    if (!parse_number(text, &number)) {
        reader_fault(reader, node, name, ERROR_INVALID, "%s='%s' is not a number", name, text);
        return false;
    }
    if (number < min || number > max) {
        reader_fault(reader, node, name, ERROR_INVALID,
                     "%s='%s' is not between %" PRId64 " and %" PRId64, name, text, min, max);
        return false;
    }
    *value = number;
    return true;
}

int reader_flag(struct reader *reader, xmlNode *node, const char *name)
{
    const char *text = reader_attribute(node, name);
    if (!text)
        return -1;
    if (strcmp(text, "yes") == 0 || strcmp(text, "on") == 0)
        return 1;
    if (strcmp(text, "no") == 0 || strcmp(text, "off") == 0)
        return 0;
    reader_fault(reader, node, name, ERROR_INVALID, "%s='%s' is neither yes/on nor no/off", name,
                 text);
    return -1;
}

static bool is_text(const xmlNode *node)
{
    return node->type == XML_TEXT_NODE || node->type == XML_CDATA_SECTION_NODE;
}

char *reader_text(struct reader *reader, xmlNode *node)
{
    (void)reader;
    if (!node)
        return NULL;
    struct text text = {0};
    text_append(&text, "%s", "");
    for (xmlNode *child = node->children; child; child = child->next)
        if (is_text(child)) {
            text_append(&text, "%s", (const char *)child->content);
            mark_node(child);
        }
    return text.data;
}

void reader_keep(xmlNode *node)
{
    mark_node(node);
    if (node->type != XML_ELEMENT_NODE)
        return;
    for (xmlAttr *attribute = node->properties; attribute; attribute = attribute->next)
        attribute->psvi = attribute;
    for (xmlNode *child = node->children; child; child = child->next)
        reader_keep(child);
}

void reader_keep_child(struct reader *reader, xmlNode *parent, const char *name)
{
    xmlNode *child = reader_child(reader, parent, name);
    if (child)
        reader_keep(child);
}

/* Findings */

static void add_finding(struct reader *reader, long line, long column, char *text)
{
    if (reader->n_findings == reader->capacity) {
        size_t capacity = reader->capacity ? 2 * reader->capacity : 16;
        struct reader_finding *grown = reallocarray(reader->findings, capacity, sizeof(*grown));
        if (!grown)
            abort(); /* as text_append does */
        reader->findings = grown;
        reader->capacity = capacity;
    }
    reader->findings[reader->n_findings] = (struct reader_finding){
        .line = line, .column = column, .order = reader->n_findings, .text = text};
    reader->n_findings++;
}

void reader_fault(struct reader *reader, const xmlNode *node, const char *attribute,
                  enum error_kind kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    CLEANUP_FREE char *what = NULL;
    if (vasprintf(&what, format, args) < 0)
        abort();
    va_end(args);
    if (reader->n_findings == 0 || kind == ERROR_INVALID)
        reader->kind = kind;
    long line = 0, column = 0;
    reader_position(node, attribute, &line, &column);
    bool prefixed = node->ns && node->ns->prefix;
    add_finding(reader, line, column,
                text_format("<%s%s%s>: %s", prefixed ? (const char *)node->ns->prefix : "",
                            prefixed ? ":" : "", (const char *)node->name, what));
}

void reader_warn(struct reader *reader, const xmlNode *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    CLEANUP_FREE char *what = NULL;
    if (vasprintf(&what, format, args) < 0)
        abort();
    va_end(args);
    char **grown = realloc(reader->warnings, (reader->n_warnings + 2) * sizeof(*grown));
    if (!grown)
        abort();
    reader->warnings = grown;
    long line = 0, column = 0;
    reader_position(node, NULL, &line, &column);
    grown[reader->n_warnings++] =
        text_format("line %ld, column %ld: <%s>: %s", line, column, (const char *)node->name, what);
    grown[reader->n_warnings] = NULL;
}

static bool is_blank(const xmlNode *node)
{
    return strspn((const char *)node->content, " \t\r\n") == strlen((const char *)node->content);
}

static void report_attributes(struct reader *reader, const xmlNode *node)
{
    for (const xmlAttr *attribute = node->properties; attribute; attribute = attribute->next)
        if (!is_marked(attribute->psvi)) {
            const char *value = attribute->children && attribute->children->content
                                    ? (const char *)attribute->children->content
                                    : "";
            reader_fault(reader, node, (const char *)attribute->name, ERROR_UNSUPPORTED,
                         "attribute %s='%s' is not supported", (const char *)attribute->name,
                         value);
        }
}

/* `node` is marked: what about its attributes and children? */
static void report_unmarked(struct reader *reader, const xmlNode *node)
{
    report_attributes(reader, node);
    for (const xmlNode *child = node->children; child; child = child->next) {
        if (child->type == XML_ELEMENT_NODE && is_marked(child->psvi))
            report_unmarked(reader, child);
        else if (child->type == XML_ELEMENT_NODE)
            reader_fault(reader, child, NULL, ERROR_UNSUPPORTED,
                         "not supported within <%s>; remove it if the guest can do without",
                         (const char *)node->name);
        else if (is_text(child) && !is_marked(child->psvi) && !is_blank(child))
            reader_fault(reader, node, NULL, ERROR_INVALID, "has text, where none belongs");
        else if (child->type == XML_ENTITY_REF_NODE)
            reader_fault(reader, node, NULL, ERROR_INVALID, "refers to an entity");
    }
}

static int compare_findings(const void *one, const void *other)
{
    const struct reader_finding *a = one, *b = other;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

int reader_finish(struct reader *reader, xmlNode *root, struct error **err)
{
    report_unmarked(reader, root);
    if (!reader->n_findings)
        return 0;
    qsort(reader->findings, reader->n_findings, sizeof(*reader->findings), compare_findings);
    CLEANUP_TEXT struct text text = {0};
    size_t shown =
        reader->n_findings < READER_FINDINGS_MAX ? reader->n_findings : READER_FINDINGS_MAX;
    for (size_t i = 0; i < shown; i++)
        text_append(&text, "%sline %ld, column %ld: %s", i ? "\n" : "", reader->findings[i].line,
                    reader->findings[i].column, reader->findings[i].text);
    if (shown < reader->n_findings)
        text_append(&text, "\nand %zu more", reader->n_findings - shown);
    return error_set(err, reader->kind, "%s", text.data);
}

void reader_release(struct reader *reader)
{
    for (size_t i = 0; i < reader->n_findings; i++)
        free(reader->findings[i].text);
    free(reader->findings);
    for (size_t i = 0; i < reader->n_warnings; i++)
        free(reader->warnings[i]);
    free(reader->warnings);
    if (reader->document)
        xmlFreeDoc(reader->document);
    *reader = (struct reader){0};
}
