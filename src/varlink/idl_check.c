/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of JSON values against a parsed interface description. */
#include <string.h>

#include "base/text.h"
#include "varlink/idl_types.h"

/* Names from the wire are cut to this many bytes in errors. */
#define NAME_SHOWN_MAX 128

/* The way from the parameters down to the value being checked; lives on the stack. */
struct step {
    const struct step *up;
    const char *key; /* NULL: an element of an array */
    size_t index;
};

static int value_check(const struct idl_type *type, const json_t *value, const struct step *step,
                       char **path, struct error **err);

/* At most NAME_SHOWN_MAX bytes of `text`, and no half of a UTF-8 character. */
static int shown_length(const char *text)
{
    size_t length = strnlen(text, NAME_SHOWN_MAX + 1);
    if (length <= NAME_SHOWN_MAX)
        return (int)length;
    length = NAME_SHOWN_MAX;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return (int)length;
}

static void step_text(const struct step *step, struct text *text)
{
    if (!step)
        return;
    step_text(step->up, text);
    if (step->key)
        text_append(text, "%s%.*s", text->length ? "." : "", shown_length(step->key), step->key);
    else
        text_append(text, "[%zu]", step->index);
}

static int fail(const struct step *step, const char *what, char **path, struct error **err)
{
    CLEANUP_TEXT struct text text = {0};
    step_text(step, &text);
    if (!text.data)
        text_append(&text, "parameters");
    error_set(err, ERROR_INVALID, "%s: %s", text.data, what);
    if (path)
        *path = STEAL(text.data);
    return -1;
}

static const struct idl_field *field_find(const struct idl_type *type, const char *name)
{
    for (size_t i = 0; i < type->n_fields; i++)
        if (strcmp(type->fields[i].name, name) == 0)
            return &type->fields[i];
    return NULL;
}

static int struct_check(const struct idl_type *type, const json_t *value, const struct step *up,
                        char **path, struct error **err)
{
    if (!json_is_object(value))
        return fail(up, "must be an object", path, err);
    for (size_t i = 0; i < type->n_fields; i++) {
        const struct idl_field *field = &type->fields[i];
        struct step step = {.up = up, .key = field->name};
        const json_t *member = json_object_get(value, field->name);
        if (!member && !field->type->optional)
            return fail(&step, "is missing", path, err);
        if (member && value_check(field->type, member, &step, path, err) < 0)
            return -1;
    }
    const char *key;
    json_t *member;
    json_object_foreach ((json_t *)value, key, member) {
        struct step step = {.up = up, .key = key};
        if (!field_find(type, key))
            return fail(&step, "is unknown", path, err);
    }
    return 0;
}

static int enum_check(const struct idl_type *type, const json_t *value, const struct step *step,
                      char **path, struct error **err)
{
    if (json_is_string(value) && field_find(type, json_string_value(value)))
        return 0;
    CLEANUP_TEXT struct text what = {0};
    for (size_t i = 0; i < type->n_fields; i++)
        text_append(&what, "%s%s", i ? ", " : "must be one of ", type->fields[i].name);
    return fail(step, what.data, path, err);
}

static int array_check(const struct idl_type *type, const json_t *value, const struct step *up,
                       char **path, struct error **err)
{
    if (!json_is_array(value))
        return fail(up, "must be an array", path, err);
    for (size_t i = 0; i < json_array_size(value); i++) {
        struct step step = {.up = up, .index = i};
        if (value_check(type->element, json_array_get(value, i), &step, path, err) < 0)
            return -1;
    }
    return 0;
}

static int map_check(const struct idl_type *type, const json_t *value, const struct step *up,
                     char **path, struct error **err)
{
    if (!json_is_object(value))
        return fail(up, "must be an object", path, err);
    const char *key;
    json_t *member;
    json_object_foreach ((json_t *)value, key, member) {
        struct step step = {.up = up, .key = key};
        if (value_check(type->element, member, &step, path, err) < 0)
            return -1;
    }
    return 0;
}

static int value_check(const struct idl_type *type, const json_t *value, const struct step *step,
                       char **path, struct error **err)
{
    if (type->optional && json_is_null(value))
        return 0;
    if (type->kind == IDL_NAMED)
        type = type->target;
    switch (type->kind) {
    case IDL_BOOL:
        return json_is_boolean(value) ? 0 : fail(step, "must be true or false", path, err);
    case IDL_INT:
        return json_is_integer(value) ? 0 : fail(step, "must be a whole number", path, err);
    case IDL_FLOAT:
        return json_is_number(value) ? 0 : fail(step, "must be a number", path, err);
    case IDL_STRING:
        return json_is_string(value) ? 0 : fail(step, "must be a string", path, err);
    case IDL_OBJECT:
        return json_is_object(value) ? 0 : fail(step, "must be an object", path, err);
    case IDL_ARRAY:
        return array_check(type, value, step, path, err);
    case IDL_MAP:
        return map_check(type, value, step, path, err);
    case IDL_STRUCT:
        return struct_check(type, value, step, path, err);
    case IDL_ENUM:
        return enum_check(type, value, step, path, err);
    case IDL_NAMED:
        break; /* resolved above: a declared type is a struct or an enum */
    }
    return error_set(err, ERROR_INTERNAL, "type of unknown kind");
}

static int member_check(const struct idl *idl, const struct idl_member *member,
                        const struct idl_type *type, const json_t *parameters, char **path,
                        struct error **err)
{
    if (!member)
        return error_set(err, ERROR_NOT_FOUND, "%s: no such member", idl->name);
    return struct_check(type, parameters, NULL, path, err);
}

int idl_check_call(const struct idl *idl, const char *method, const json_t *parameters, char **path,
                   struct error **err)
{
    const struct idl_member *member = idl_find(idl, IDL_METHOD, method);
    return member_check(idl, member, member ? member->type : NULL, parameters, path, err);
}

int idl_check_reply(const struct idl *idl, const char *method, const json_t *parameters,
                    char **path, struct error **err)
{
    const struct idl_member *member = idl_find(idl, IDL_METHOD, method);
    return member_check(idl, member, member ? member->reply : NULL, parameters, path, err);
}

int idl_check_error(const struct idl *idl, const char *name, const json_t *parameters, char **path,
                    struct error **err)
{
    const struct idl_member *member = idl_find(idl, IDL_ERROR, name);
    return member_check(idl, member, member ? member->type : NULL, parameters, path, err);
}
