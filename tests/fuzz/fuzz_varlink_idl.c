/* SPDX-License-Identifier: Apache-2.0 */
/* Interface descriptions, and a JSON value behind a NUL to check against what they describe. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "varlink/idl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef int idl_check(const struct idl *idl, const char *method, const json_t *parameters,
                      char **path, struct error **err);

/* A refusal names a place that a reply can carry; a pass names none. */
static void run(idl_check *check, const struct idl *idl, const char *method, const json_t *value)
{
    CLEANUP_FREE char *path = NULL;
    int result = check(idl, method, value, &path, NULL);
    CLEANUP_JSON json_t *text = path ? json_string(path) : NULL;
    if (result == 0 ? path != NULL : !text)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t length = strnlen((const char *)data, size);
    CLEANUP_FREE char *description = strndup((const char *)data, length);
    if (!description)
        return 0;
    CLEANUP_ERROR struct error *err = NULL;
    struct idl *idl = idl_parse(description, &err);
    if (!idl) {
        if (!err || err->kind != ERROR_INVALID)
            abort();
        return 0;
    }
    CLEANUP_JSON json_t *value =
        length < size ? json_parse((const char *)data + length + 1, size - length - 1, NULL)
                      : json_object();
    const char *method;
    for (size_t i = 0; value && (method = idl_method_name(idl, i)); i++) {
        if (!idl_has_method(idl, method))
            abort();
        run(idl_check_call, idl, method, value);
        run(idl_check_reply, idl, method, value);
    }
    idl_free(idl);
    return 0;
}
