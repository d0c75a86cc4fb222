/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text to document, with the position of every element and attribute.
 *
 * libxml2's tree knows lines (up to 65535) but no columns. So the callback for a start tag looks at
 * the bytes just consumed: they end with that tag, and its '<' is the last one, as a value cannot
 * contain one. Positions are packed into the `_private` pointer of the node.
 */
#include "domain/reader.h"

#include <pthread.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/SAX2.h>
#include <string.h>

#include "base/text.h"
#include "domain/domain.h"

_Static_assert(sizeof(void *) == 8, "a position is packed into a pointer");
_Static_assert(DOMAIN_XML_MAX < (size_t)INT32_MAX, "lines and columns fit into 32 bits");

struct load {
    const char *xml;
    size_t size;
    size_t offset; /* where line and column are now */
    long line, column;
    long error_line, error_column;
    char *error; /* the first one; later ones follow from it */
};

static void *pack(long line, long column)
{
    return (void *)((uintptr_t)line << 32 | (uintptr_t)column);
}

void reader_position(const xmlNode *node, const char *attribute, long *line, long *column)
{
    const void *packed = node->_private;
    if (attribute)
        for (const xmlAttr *each = node->properties; each; each = each->next)
            if (strcmp((const char *)each->name, attribute) == 0 && each->_private)
                packed = each->_private;
    *line = (long)((uintptr_t)packed >> 32);
    *column = (long)((uintptr_t)packed & UINT32_MAX);
}

long reader_line(const xmlNode *node)
{
    long line = 0, column = 0;
    reader_position(node, NULL, &line, &column);
    return line;
}

/* The position of `offset`, which never goes back between calls; columns count characters. */
static void *position_at(struct load *load, size_t offset)
{
    for (; load->offset < offset; load->offset++) {
        unsigned char byte = (unsigned char)load->xml[load->offset];
        if (byte == '\n') {
            load->line++;
            load->column = 1;
        } else if ((byte & 0xc0) != 0x80) {
            load->column++;
        }
    }
    return pack(load->line, load->column);
}

static size_t skip(const struct load *load, size_t offset, size_t end, const char *set, bool in)
{
    while (offset < end && load->xml[offset] && (strchr(set, load->xml[offset]) != NULL) == in)
        offset++;
    return offset;
}

/* Attributes stand in the tree in the order of the text; xmlns ones are not in the tree. */
static void place_attributes(struct load *load, xmlNode *node, size_t offset, size_t end)
{
    static const char space[] = " \t\r\n";
    offset = skip(load, offset, end, " \t\r\n/>", false);
    xmlAttr *attribute = node->properties;
    while (attribute) {
        size_t start = skip(load, offset, end, space, true);
        size_t equals = skip(load, start, end, "=", false);
        size_t quote = skip(load, equals, end, "\"'", false);
        if (quote >= end)
            return;
        const char *close = memchr(load->xml + quote + 1, load->xml[quote], load->size - quote - 1);
        if (!close)
            return;
        if (strncmp(load->xml + start, "xmlns", 5) != 0) {
            attribute->_private = position_at(load, start);
            attribute = attribute->next;
        }
        offset = (size_t)(close - load->xml) + 1;
    }
}

/* One text node per value, so that reader_attribute can lend it out. */
static void join_values(xmlNode *node)
{
    for (xmlAttr *attribute = node->properties; attribute; attribute = attribute->next) {
        xmlNode *value = attribute->children;
        if (!value || (value->type == XML_TEXT_NODE && !value->next))
            continue;
        xmlChar *whole = xmlNodeListGetString(node->doc, value, 1);
        xmlFreeNodeList(value);
        attribute->children = xmlNewDocText(node->doc, whole ? whole : BAD_CAST "");
        attribute->children->parent = (xmlNode *)attribute;
        attribute->last = attribute->children;
        xmlFree(whole);
    }
}

static void start_element(void *context, const xmlChar *name, const xmlChar *prefix,
                          const xmlChar *uri, int n_namespaces, const xmlChar **namespaces,
                          int n_attributes, int n_defaulted, const xmlChar **attributes)
{
    xmlParserCtxt *parser = context;
    struct load *load = parser->_private;
    const xmlNode *parent = parser->node;
    xmlSAX2StartElementNs(context, name, prefix, uri, n_namespaces, namespaces, n_attributes,
                          n_defaulted, attributes);
    long consumed = xmlByteConsumed(parser);
    if (!parser->node || parser->node == parent || consumed <= 0 || (size_t)consumed > load->size)
        return;
    const char *tag = memrchr(load->xml, '<', (size_t)consumed);
    if (!tag || (size_t)(tag - load->xml) < load->offset)
        return;
    size_t offset = (size_t)(tag - load->xml);
    parser->node->_private = position_at(load, offset);
    place_attributes(load, parser->node, offset, (size_t)consumed);
    join_values(parser->node);
}

static void set_error(struct load *load, long line, long column, const char *message)
{
    if (load->error)
        return;
    load->error_line = line;
    load->error_column = column;
    load->error = text_copy(message);
    char *newline = strchr(load->error, '\n');
    if (newline)
        *newline = '\0';
}

static void on_error(void *context, xmlErrorPtr error)
{
    const xmlParserCtxt *parser = context;
    if (error->level >= XML_ERR_ERROR && parser && parser->_private)
        set_error(parser->_private, error->line, error->int2,
                  error->message ? error->message : "not well-formed");
}

/* Where entities would be declared: nothing in a domain needs that. */
static void refuse_doctype(void *context, const xmlChar *name, const xmlChar *external,
                           const xmlChar *system)
{
    (void)name;
    (void)external;
    (void)system;
    xmlParserCtxt *parser = context;
    set_error(parser->_private, xmlSAX2GetLineNumber(parser), xmlSAX2GetColumnNumber(parser),
              "a DOCTYPE is not allowed");
    xmlStopParser(parser);
}

static int check_bytes(const char *xml, size_t size, struct error **err)
{
    if (size > DOMAIN_XML_MAX)
        return error_set(err, ERROR_INVALID, "the domain XML has %zu bytes; at most %zu are read",
                         size, DOMAIN_XML_MAX);
    const char *nul = size ? memchr(xml, '\0', size) : xml;
    if (!size)
        return error_set(err, ERROR_INVALID, "line 1, column 1: the domain XML is empty");
    if (!nul)
        return 0;
    long line = 1, column = 1;
    for (const char *each = xml; each < nul; each++) {
        column = *each == '\n' ? 1 : column + 1;
        line += *each == '\n';
    }
    return error_set(err, ERROR_INVALID, "line %ld, column %ld: a NUL byte", line, column);
}

static int load_error(const struct load *load, struct error **err)
{
    return error_set(err, ERROR_INVALID, "line %ld, column %ld: %s", load->error_line,
                     load->error_column, load->error ? load->error : "not well-formed");
}

int reader_load(struct reader *reader, const char *xml, size_t size, struct error **err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, xmlInitParser);
    if (check_bytes(xml, size, err) < 0)
        return -1;
    struct load load = {.xml = xml, .size = size, .line = 1, .column = 1};
    xmlParserCtxt *parser = xmlNewParserCtxt();
    if (!parser)
        return error_set(err, ERROR_SYSTEM, "no memory for an XML parser");
    parser->_private = &load;
    parser->sax->startElementNs = start_element;
    parser->sax->internalSubset = refuse_doctype;
    parser->sax->serror = on_error;
    xmlDoc *document = xmlCtxtReadMemory(parser, xml, (int)size, NULL, NULL,
                                         XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (parser->myDoc != document)
        xmlFreeDoc(parser->myDoc);
    xmlFreeParserCtxt(parser);
    int result = 0;
    const char *encoding = document ? (const char *)document->encoding : NULL;
    if (!document || load.error || !xmlDocGetRootElement(document))
        result = load_error(&load, err);
    else if (encoding && strcasecmp(encoding, "UTF-8") != 0)
        result = error_set(err, ERROR_INVALID,
                           "line 1, column 1: encoding '%s' is not read; use UTF-8", encoding);
    free(load.error);
    if (result < 0)
        xmlFreeDoc(document);
    else
        reader->document = document;
    return result;
}
