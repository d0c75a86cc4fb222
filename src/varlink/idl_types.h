/* SPDX-License-Identifier: Apache-2.0 */
/* The parsed form of a description, between the parser (idl.c) and the checks (idl_check.c). */
#ifndef VARLINK_IDL_TYPES_H
#define VARLINK_IDL_TYPES_H

#include <stdbool.h>
#include <stddef.h>

#include "varlink/idl.h"

enum idl_kind {
    IDL_BOOL,
    IDL_INT,
    IDL_FLOAT,
    IDL_STRING,
    IDL_OBJECT, /* any JSON object */
    IDL_ARRAY,  /* of `element` */
    IDL_MAP,    /* from strings to `element` */
    IDL_STRUCT, /* `fields` */
    IDL_ENUM,   /* `fields` without types */
    IDL_NAMED,  /* `target`, a struct or an enum declared with `type` */
};

struct idl_type {
    enum idl_kind kind;
    bool optional;
    int line; /* where a named type is used, for "not declared" */
    char *name;
    const struct idl_type *target; /* borrowed from the declaring member */
    struct idl_type *element;
    struct idl_field *fields;
    size_t n_fields;
};

struct idl_field {
    char *name;
    struct idl_type *type;
};

enum idl_member_kind { IDL_TYPE, IDL_METHOD, IDL_ERROR };

struct idl_member {
    enum idl_member_kind kind;
    char *name;
    struct idl_type *type;  /* of a type; of an error's or a call's parameters */
    struct idl_type *reply; /* methods only */
};

struct idl {
    char *name;
    struct idl_member *members;
    size_t n_members;
};

/* The member of that kind and name, or NULL. */
const struct idl_member *idl_find(const struct idl *idl, enum idl_member_kind kind,
                                  const char *name);

#endif
