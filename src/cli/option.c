/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the command line: parsing and help from one table. */
#include "cli/option.h"

#include <string.h>

#include "cli/suggest.h"
#include "cli/units.h"

/* Where one option stands: in which set, at which index. */
struct place {
    const struct option_set *set;
    size_t index;
};

static bool matches(const struct option_spec *spec, const char *name, size_t length)
{
    return strlen(spec->name) == length && memcmp(spec->name, name, length) == 0;
}

static bool find_long(const struct option_set *sets, size_t n_sets, const char *name, size_t length,
                      struct place *place)
{
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; sets[s].specs && sets[s].specs[i].name; i++)
            if (matches(&sets[s].specs[i], name, length)) {
                *place = (struct place){&sets[s], i};
                return true;
            }
    return false;
}

static bool find_letter(const struct option_set *sets, size_t n_sets, char letter,
                        struct place *place)
{
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; sets[s].specs && sets[s].specs[i].name; i++)
            if (sets[s].specs[i].letter == letter) {
                *place = (struct place){&sets[s], i};
                return true;
            }
    return false;
}

static int unknown(const struct option_set *sets, size_t n_sets, const char *argument,
                   struct error **err)
{
    size_t length = strcspn(argument, "=");
    struct suggest suggest = {0};
    suggest_start(&suggest, argument[1] == '-' ? argument + 2 : argument + 1,
                  length - (argument[1] == '-' ? 2 : 1));
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; sets[s].specs && sets[s].specs[i].name; i++)
            suggest_offer(&suggest, sets[s].specs[i].name, strlen(sets[s].specs[i].name));
    error_set(err, ERROR_INVALID, "unknown option '%.*s'", (int)length, argument);
    if (suggest.best)
        error_hint(err, "did you mean '--%.*s'?", (int)suggest.best_length, suggest.best);
    return -1;
}

/* Only one of a group: names both when a second one is given. */
static int check_group(const struct place *place, struct error **err)
{
    const struct option_spec *specs = place->set->specs, *spec = &specs[place->index];
    for (size_t i = 0; spec->group && specs[i].name; i++)
        if (i != place->index && specs[i].group == spec->group && place->set->values[i].given)
            return error_set(err, ERROR_INVALID, "'--%s' and '--%s' exclude each other",
                             specs[i].name, spec->name);
    return 0;
}

/* Stores an option. `text` is its value or NULL. */
static int store(const struct place *place, const char *text, struct error **err)
{
    const struct option_spec *spec = &place->set->specs[place->index];
    struct option_value *value = &place->set->values[place->index];
    if (check_group(place, err) < 0)
        return -1;
    if (spec->check && spec->check(text, &value->number, err) < 0)
        return error_prefix(err, "option '--%s'", spec->name);
    value->given = true;
    value->text = text;
    return 0;
}

/* The option at argv[*index]; moves *index to the last argument used. */
static int parse_one(int argc, char *const argv[], int *index, const struct option_set *sets,
                     size_t n_sets, struct error **err)
{
    const char *argument = argv[*index];
    struct place place;
    const char *value = NULL;
    if (argument[1] == '-') {
        const char *name = argument + 2;
        size_t length = strcspn(name, "=");
        if (!find_long(sets, n_sets, name, length, &place))
            return unknown(sets, n_sets, argument, err);
        value = name[length] ? name + length + 1 : NULL;
    } else if (argument[2] || !find_letter(sets, n_sets, argument[1], &place)) {
        return unknown(sets, n_sets, argument, err);
    }
    const struct option_spec *spec = &place.set->specs[place.index];
    if (!spec->value && value)
        return error_set(err, ERROR_INVALID, "option '--%s' takes no value", spec->name);
    if (spec->value && !value) {
        if (*index + 1 >= argc)
            return error_set(err, ERROR_INVALID, "option '--%s' needs a value: %s", spec->name,
                             spec->value);
        value = argv[++*index];
    }
    return store(&place, value, err);
}

static int add_operand(struct option_operands *operands, const char *text, struct error **err)
{
    if (operands->count == operands->max)
        return error_set(err, ERROR_INVALID, "one argument too many: '%s'", text);
    operands->items[operands->count++] = text;
    return 0;
}

int option_parse(int argc, char *const argv[], const struct option_set *sets, size_t n_sets,
                 struct option_operands *operands, struct error **err)
{
    bool ended = false;
    int i = 1;
    for (; i < argc; i++) {
        bool option = !ended && argv[i][0] == '-' && argv[i][1];
        if (option && strcmp(argv[i], "--") == 0) {
            ended = true;
        } else if (option) {
            if (parse_one(argc, argv, &i, sets, n_sets, err) < 0)
                return -1;
        } else if (!operands) {
            break;
        } else if (add_operand(operands, argv[i], err) < 0) {
            return -1;
        }
    }
    return i;
}

void option_help(const struct option_spec *specs, struct text *text)
{
    for (size_t i = 0; specs && specs[i].name; i++) {
        CLEANUP_TEXT struct text left = {0};
        if (specs[i].letter)
            text_append(&left, "-%c, --%s", specs[i].letter, specs[i].name);
        else
            text_append(&left, "    --%s", specs[i].name);
        if (specs[i].value)
            text_append(&left, " %s", specs[i].value);
        text_append(text, "  %-24s  %s\n", left.data, specs[i].help);
    }
}

int option_check_rate(const char *text, int64_t *number, struct error **err)
{
    return units_parse_rate(text, number, err);
}

int option_check_downtime(const char *text, int64_t *number, struct error **err)
{
    return text_parse_int(text, 1, 2000000, number, err);
}

int option_check_parallel(const char *text, int64_t *number, struct error **err)
{
    return text_parse_int(text, 1, 16, number, err);
}

int option_check_seconds(const char *text, int64_t *number, struct error **err)
{
    return text_parse_int(text, 1, INT32_MAX, number, err);
}

int option_check_compress(const char *text, int64_t *number, struct error **err)
{
    static const char *const words[] = {"auto", "none", "lz4", "zstd"};
    *number = 0;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (text_equal(text, words[i]))
            return 0;
    return error_set(err, ERROR_INVALID, "'%s' is none of auto, zstd, lz4, none", text);
}

int option_check_memory(const char *text, int64_t *number, struct error **err)
{
    return units_parse_size(text, number, err);
}

int option_check_name(const char *text, int64_t *number, struct error **err)
{
    *number = 0;
    return *text ? 0 : error_set(err, ERROR_INVALID, "is empty");
}
