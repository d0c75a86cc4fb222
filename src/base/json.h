/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers over jansson: scope cleanup and typed, checked access to members. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

static inline void cleanup_json_function(json_t **value)
{
    json_decref(*value);
}

#define CLEANUP_JSON CLEANUP(cleanup_json_function)

/*
 * Required members: -1 with ERROR_INVALID naming the member when it is missing or of another type.
 * Strings are borrowed from the object.
 */
int json_need_string(const json_t *object, const char *key, const char **value, struct error **err);
int json_need_int(const json_t *object, const char *key, int64_t *value, struct error **err);
int json_need_object(const json_t *object, const char *key, json_t **value, struct error **err);
int json_need_array(const json_t *object, const char *key, json_t **value, struct error **err);

/* Optional members: the fallback when missing, null or of another type. */
const char *json_opt_string(const json_t *object, const char *key, const char *fallback);
int64_t json_opt_int(const json_t *object, const char *key, int64_t fallback);
bool json_opt_bool(const json_t *object, const char *key, bool fallback);

/* Text -> value; ERROR_INVALID with line and column. Rejects duplicates. Owned by the caller. */
json_t *json_parse(const char *text, size_t size, struct error **err);

/* An error as {"kind","message","hint"?}, and back (NULL object -> an ERROR_INTERNAL one). */
json_t *json_from_error(const struct error *error);
int json_to_error(const json_t *object, struct error **err);

#endif
