/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Varlink interface descriptions (varlink.org/Interface-Definition): parsed once, then used to
 * check what goes in and out of each method.
 *
 * A parsed description never changes: threads may share it.
 */
#ifndef VARLINK_IDL_H
#define VARLINK_IDL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Types nested deeper than this inside one another are refused. */
#define IDL_DEPTH_MAX 32

struct idl;

/* NULL with ERROR_INVALID "line L column C: ..." when the text is not a description. Every named
 * type must be declared in it, and no name twice. */
struct idl *idl_parse(const char *text, struct error **err);
void idl_free(struct idl *idl);

/* The interface's name, borrowed. */
const char *idl_name(const struct idl *idl);

/* The methods in the order of the text; the name is borrowed, NULL past the last. */
const char *idl_method_name(const struct idl *idl, size_t index);
bool idl_has_method(const struct idl *idl, const char *method);
bool idl_has_error(const struct idl *idl, const char *name);

/*
 * Checks `parameters` (an object) against what `method` takes, gives back, or what the error
 * carries: every member that is not optional is there, each has its type, none is unknown. An
 * optional member may be null; a float may be written as an integer, nothing else is converted.
 * Returns -1 with ERROR_INVALID "PATH: what is wrong", and the path alone, such as
 * "options.mode" or "disks[2].path", in *path (owned by the caller; `path` may be NULL).
 * ERROR_NOT_FOUND, and no path, when the description has no such method or error.
 */
int idl_check_call(const struct idl *idl, const char *method, const json_t *parameters, char **path,
                   struct error **err);
int idl_check_reply(const struct idl *idl, const char *method, const json_t *parameters,
                    char **path, struct error **err);
int idl_check_error(const struct idl *idl, const char *name, const json_t *parameters, char **path,
                    struct error **err);

#endif
