/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The document as text, laid out as `virsh dumpxml` does: two blanks a level, single quotes, text
 * on the line of its element. What is below <metadata> belongs to others and keeps every blank.
 */
#include <string.h>

#include "base/text.h"
#include "domain/domain.h"

static void escape(struct text *out, const xmlChar *value, bool attribute)
{
    for (const char *c = value ? (const char *)value : ""; *c; c++) {
        if (*c == '&')
            text_append(out, "&amp;");
        else if (*c == '<')
            text_append(out, "&lt;");
        else if (*c == '>')
            text_append(out, "&gt;");
        else if (*c == '\r' || (attribute && (*c == '\n' || *c == '\t')))
            text_append(out, "&#%d;", *c); /* a parser would normalize it */
        else if (attribute && *c == '\'')
            text_append(out, "&apos;");
        else
            text_append_bytes(out, c, 1);
    }
}

static bool is_blank(const xmlNode *node)
{
    return node->type == XML_TEXT_NODE &&
           strspn((const char *)node->content, " \t\r\n") == strlen((const char *)node->content);
}

static bool is_text(const xmlNode *node)
{
    return node->type == XML_CDATA_SECTION_NODE || (node->type == XML_TEXT_NODE && !is_blank(node));
}

static void format_name(struct text *out, const xmlNs *space, const xmlChar *name)
{
    if (space && space->prefix)
        text_append(out, "%s:", (const char *)space->prefix);
    text_append(out, "%s", (const char *)name);
}

static void format_tag(struct text *out, const xmlNode *node)
{
    text_append(out, "<");
    format_name(out, node->ns, node->name);
    for (const xmlNs *space = node->nsDef; space; space = space->next) {
        text_append(out, space->prefix ? " xmlns:%s='" : " xmlns%s='",
                    space->prefix ? (const char *)space->prefix : "");
        escape(out, space->href, true);
        text_append(out, "'");
    }
    for (const xmlAttr *attribute = node->properties; attribute; attribute = attribute->next) {
        text_append(out, " ");
        format_name(out, attribute->ns, attribute->name);
        text_append(out, "='");
        for (const xmlNode *value = attribute->children; value; value = value->next)
            escape(out, value->content, true);
        text_append(out, "'");
    }
}

static void format_node(struct text *out, const xmlNode *node, int level, bool verbatim);

static void indent(struct text *out, int level)
{
    text_append(out, "\n%*s", 2 * level, "");
}

static void format_element(struct text *out, const xmlNode *node, int level, bool verbatim)
{
    format_tag(out, node);
    bool inside = verbatim || (!node->ns && strcmp((const char *)node->name, "metadata") == 0);
    bool text = inside, filled = false;
    for (const xmlNode *child = node->children; child; child = child->next) {
        text = text || is_text(child);
        filled = filled || !is_blank(child);
    }
    /* Blank text is content only where it stands alone in an element that holds text. */
    if (!node->children || (!filled && !inside && node->children->next)) {
        text_append(out, "/>");
        return;
    }
    text = text || !filled;
    text_append(out, ">");
    for (const xmlNode *child = node->children; child; child = child->next) {
        if (!text && is_blank(child))
            continue;
        if (!text)
            indent(out, level + 1);
        format_node(out, child, level + 1, text);
    }
    if (!text)
        indent(out, level);
    text_append(out, "</");
    format_name(out, node->ns, node->name);
    text_append(out, ">");
}

static void format_cdata(struct text *out, const xmlNode *node)
{
    text_append(out, "<![CDATA[%s]]>", node->content ? (const char *)node->content : "");
}

static void format_node(struct text *out, const xmlNode *node, int level, bool verbatim)
{
    const char *content = node->content ? (const char *)node->content : "";
    switch (node->type) {
    case XML_ELEMENT_NODE:
        format_element(out, node, level, verbatim);
        break;
    case XML_TEXT_NODE:
        escape(out, node->content, false);
        break;
    case XML_CDATA_SECTION_NODE:
        format_cdata(out, node);
        break;
    case XML_COMMENT_NODE:
        text_append(out, "<!--%s-->", content);
        break;
    case XML_PI_NODE:
        text_append(out, "<?%s%s%s?>", (const char *)node->name, *content ? " " : "", content);
        break;
    default: /* a document without DOCTYPE has nothing else */
        break;
    }
}

char *domain_format(const struct domain *domain)
{
    struct text out = {0};
    for (const xmlNode *node = domain->document->children; node; node = node->next) {
        format_node(&out, node, 0, false);
        text_append(&out, "\n");
    }
    return out.data;
}
