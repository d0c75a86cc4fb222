/* SPDX-License-Identifier: Apache-2.0 */
/* Are two domains the same hardware to the guest? Both lists of facts are sorted and merged. */
#include "domain/compare.h"

#include <string.h>

#include "base/text.h"
#include "domain/reader.h"

static int compare_names(const struct compare_fact *one, const struct compare_fact *other)
{
    int order = strcmp(one->subject, other->subject);
    return order ? order : strcmp(one->property, other->property);
}

static int compare_for_sort(const void *one, const void *other)
{
    return compare_names(one, other);
}

struct difference {
    long line, column;
    char *text;
};

struct differences {
    struct difference *items;
    size_t count;
    const xmlNode *root;             /* of `to`: the place of what is not there */
    const struct compare_fact *here; /* the subject of `to` that is being compared */
    const char *lost; /* a subject that only one side has: its properties are not listed too */
};

static void differ(struct differences *list, const xmlNode *node, char *text)
{
    struct difference *item = MODEL_ADD(&list->items, &list->count);
    item->text = text;
    reader_position(node ? node : list->root, NULL, &item->line, &item->column);
}

static void only_one(struct differences *list, const struct compare_fact *fact, bool in_to)
{
    if (text_equal(list->lost, fact->subject))
        return;
    bool here = list->here && text_equal(list->here->subject, fact->subject);
    const xmlNode *node = in_to ? fact->node : here ? list->here->node : list->root;
    if (*fact->property) {
        differ(list, node,
               in_to ? text_format("%s: %s is '%s', was not given", fact->subject, fact->property,
                                   fact->value)
                     : text_format("%s: %s is not given, was '%s'", fact->subject, fact->property,
                                   fact->value));
        return;
    }
    list->lost = fact->subject;
    differ(list, node, text_format("%s: %s", fact->subject, in_to ? "is new" : "is missing"));
}

static void merge(struct differences *list, const struct compare_facts *from,
                  const struct compare_facts *to)
{
    size_t i = 0, j = 0;
    while (i < from->count || j < to->count) {
        const struct compare_fact *old = i < from->count ? &from->items[i] : NULL;
        const struct compare_fact *new = j < to->count ? &to->items[j] : NULL;
        int order = old && new ? compare_names(old, new) : old ? -1 : 1;
        if (order < 0) {
            only_one(list, old, false);
        } else if (order > 0) {
            only_one(list, new, true);
        } else if (strcmp(old->value, new->value) != 0) {
            differ(list, new->node,
                   text_format("%s: %s is '%s', was '%s'", new->subject, new->property, new->value,
                               old->value));
        }
        if (order >= 0 && !*new->property)
            list->here = new;
        i += order <= 0;
        j += order >= 0;
    }
}

static int compare_positions(const void *one, const void *other)
{
    const struct difference *a = one, *b = other;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return strcmp(a->text, b->text);
}

static int report(struct differences *list, struct error **err)
{
    if (!list->count)
        return 0;
    qsort(list->items, list->count, sizeof(*list->items), compare_positions);
    CLEANUP_TEXT struct text text = {0};
    for (size_t i = 0; i < list->count; i++) {
        text_append(&text, "%sline %ld, column %ld: %s", i ? "\n" : "", list->items[i].line,
                    list->items[i].column, list->items[i].text);
        free(list->items[i].text);
    }
    free(list->items);
    error_set(err, ERROR_INVALID, "the guest would see other hardware:\n%s", text.data);
    return error_hint(err, "start from the XML that dumpxml prints for the running VM");
}

int domain_same_hardware(const struct domain *from, const struct domain *to, struct error **err)
{
    CLEANUP(compare_release) struct compare_facts old = {0}, new = {0};
    compare_gather(from, &old);
    compare_gather(to, &new);
    qsort(old.items, old.count, sizeof(*old.items), compare_for_sort);
    qsort(new.items, new.count, sizeof(*new.items), compare_for_sort);
    struct differences list = {.root = xmlDocGetRootElement(to->document)};
    merge(&list, &old, &new);
    return report(&list, err);
}
