/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers over jansson. */
#include "base/json.h"

static int need(const json_t *object, const char *key, json_t *value, bool right, const char *type,
                struct error **err)
{
    (void)object;
    if (!value)
        return error_set(err, ERROR_INVALID, "member '%s' is missing", key);
    if (!right)
        return error_set(err, ERROR_INVALID, "member '%s' is not %s", key, type);
    return 0;
}

int json_need_string(const json_t *object, const char *key, const char **value, struct error **err)
{
    json_t *member = json_object_get(object, key);
    if (need(object, key, member, json_is_string(member), "a string", err) < 0)
        return -1;
    *value = json_string_value(member);
    return 0;
}

int json_need_int(const json_t *object, const char *key, int64_t *value, struct error **err)
{
    json_t *member = json_object_get(object, key);
    if (need(object, key, member, json_is_integer(member), "an integer", err) < 0)
        return -1;
    *value = json_integer_value(member);
    return 0;
}

int json_need_object(const json_t *object, const char *key, json_t **value, struct error **err)
{
    json_t *member = json_object_get(object, key);
    if (need(object, key, member, json_is_object(member), "an object", err) < 0)
        return -1;
    *value = member;
    return 0;
}

int json_need_array(const json_t *object, const char *key, json_t **value, struct error **err)
{
    json_t *member = json_object_get(object, key);
    if (need(object, key, member, json_is_array(member), "an array", err) < 0)
        return -1;
    *value = member;
    return 0;
}

const char *json_opt_string(const json_t *object, const char *key, const char *fallback)
{
    const json_t *member = json_object_get(object, key);
    return json_is_string(member) ? json_string_value(member) : fallback;
}

int64_t json_opt_int(const json_t *object, const char *key, int64_t fallback)
{
    const json_t *member = json_object_get(object, key);
    return json_is_integer(member) ? json_integer_value(member) : fallback;
}

bool json_opt_bool(const json_t *object, const char *key, bool fallback)
{
    const json_t *member = json_object_get(object, key);
    return json_is_boolean(member) ? json_is_true(member) : fallback;
}

json_t *json_parse(const char *text, size_t size, struct error **err)
{
    json_error_t problem;
    json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (!value)
        error_set(err, ERROR_INVALID, "JSON line %d column %d: %s", problem.line, problem.column,
                  problem.text);
    return value;
}

json_t *json_from_error(const struct error *error)
{
    json_t *object =
        json_pack("{s:s, s:s}", "kind", error ? error_kind_name(error->kind) : "internal",
                  "message", error && error->message ? error->message : "unknown error");
    if (object && error && error->hint)
        json_object_set_new(object, "hint", json_string(error->hint));
    return object;
}

int json_to_error(const json_t *object, struct error **err)
{
    error_set(err, error_kind_parse(json_opt_string(object, "kind", "internal")), "%s",
              json_opt_string(object, "message", "unknown error"));
    const char *hint = json_opt_string(object, "hint", NULL);
    if (hint)
        error_hint(err, "%s", hint);
    return -1;
}
