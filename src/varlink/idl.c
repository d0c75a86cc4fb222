/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parser of Varlink interface descriptions.
 *
 * Recursive descent over the text, without a separate lexer: the language has only words and a
 * handful of marks. Each function leaves what it has built reachable from the tree also when it
 * fails, so that idl_free() at the top releases everything.
 */
#include "varlink/idl.h"

#include <stdlib.h>
#include <string.h>

#include "varlink/idl_types.h"

struct parser {
    const char *at;
    const char *line_start;
    int line;
    int depth;
    struct error **err;
};

static const char *const member_words[] = {
    [IDL_TYPE] = "type", [IDL_METHOD] = "method", [IDL_ERROR] = "error"};

static int type_parse(struct parser *parser, struct idl_type **type);

static int fail(struct parser *parser, const char *what)
{
    error_set(parser->err, ERROR_INVALID, "line %d column %d: %s", parser->line,
              (int)(parser->at - parser->line_start) + 1, what);
    return -1;
}

static void skip_space(struct parser *parser)
{
    for (;; parser->at++) {
        if (*parser->at == '#')
            parser->at += strcspn(parser->at, "\n");
        if (*parser->at == '\n') {
            parser->line++;
            parser->line_start = parser->at + 1;
        } else if (*parser->at == '\0' || !strchr(" \t\r", *parser->at)) {
            return;
        }
    }
}

/* Takes `mark` if it comes next. */
static bool accept(struct parser *parser, const char *mark)
{
    skip_space(parser);
    size_t length = strlen(mark);
    if (strncmp(parser->at, mark, length) != 0)
        return false;
    parser->at += length;
    return true;
}

static int expect(struct parser *parser, const char *mark, const char *what)
{
    return accept(parser, mark) ? 0 : fail(parser, what);
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_letter_or_digit(char c)
{
    return is_lower(c) || is_upper(c) || (c >= '0' && c <= '9');
}

/* The length of the word at `text`: letters, digits and the characters in `also`. */
static size_t word_length(const char *text, const char *also)
{
    size_t length = 0;
    while (text[length] && (is_letter_or_digit(text[length]) || strchr(also, text[length])))
        length++;
    return length;
}

static int take(struct parser *parser, size_t length, char **word)
{
    *word = strndup(parser->at, length);
    if (!*word)
        return fail(parser, "out of memory");
    parser->at += length;
    return 0;
}

/* A name of a type, method or error: [A-Z][A-Za-z0-9]*. */
static int name_parse(struct parser *parser, char **name)
{
    skip_space(parser);
    if (!is_upper(*parser->at))
        return fail(parser, "expected a name that begins with a capital letter");
    return take(parser, word_length(parser->at, ""), name);
}

/* A member of a struct or enum: [A-Za-z](_?[A-Za-z0-9])*. */
static int field_name_parse(struct parser *parser, char **name)
{
    skip_space(parser);
    size_t length = word_length(parser->at, "_");
    bool good = is_lower(*parser->at) || is_upper(*parser->at);
    for (size_t i = 1; good && i < length; i++)
        good = parser->at[i] != '_' || is_letter_or_digit(parser->at[i + 1]);
    if (!good)
        return fail(parser, "expected the name of a member");
    return take(parser, length, name);
}

/* Dotted, at least two parts; each [A-Za-z0-9] with single or repeated dashes inside. */
static int interface_name_parse(struct parser *parser, char **name)
{
    skip_space(parser);
    size_t length = word_length(parser->at, ".-");
    int parts = 1;
    bool good = is_lower(*parser->at) || is_upper(*parser->at);
    for (size_t i = 1; good && i < length; i++) {
        char before = parser->at[i - 1], here = parser->at[i];
        if (here == '.') {
            parts++;
            good = is_letter_or_digit(before) && is_letter_or_digit(parser->at[i + 1]);
        }
    }
    if (!good || parts < 2 || !is_letter_or_digit(parser->at[length - 1]))
        return fail(parser, "expected the name of an interface, such as org.example.name");
    return take(parser, length, name);
}

static struct idl_field *field_add(struct parser *parser, struct idl_type *type)
{
    struct idl_field *fields = realloc(type->fields, (type->n_fields + 1) * sizeof(*type->fields));
    if (!fields) {
        fail(parser, "out of memory");
        return NULL;
    }
    type->fields = fields;
    struct idl_field *field = &fields[type->n_fields++];
    *field = (struct idl_field){0};
    return field;
}

static int field_check_new(struct parser *parser, const struct idl_type *type, const char *name)
{
    for (size_t i = 0; i + 1 < type->n_fields; i++)
        if (strcmp(type->fields[i].name, name) == 0)
            return error_set(parser->err, ERROR_INVALID, "line %d: member '%s' appears twice",
                             parser->line, name);
    return 0;
}

/* What follows "(": a struct if its first name has a type, else an enum. "()" is a struct. */
static int fields_parse(struct parser *parser, struct idl_type *type)
{
    type->kind = IDL_STRUCT;
    if (accept(parser, ")"))
        return 0;
    do {
        struct idl_field *field = field_add(parser, type);
        if (!field)
            return -1;
        if (field_name_parse(parser, &field->name) < 0 ||
            field_check_new(parser, type, field->name) < 0)
            return -1;
        bool typed = accept(parser, ":");
        if (type->n_fields == 1)
            type->kind = typed ? IDL_STRUCT : IDL_ENUM;
        else if (typed != (type->kind == IDL_STRUCT))
            return fail(parser, "either all members have a type or none");
        if (typed && type_parse(parser, &field->type) < 0)
            return -1;
    } while (accept(parser, ","));
    return expect(parser, ")", "expected ',' or ')'");
}

static int word_type_parse(struct parser *parser, struct idl_type *type)
{
    static const struct {
        const char *word;
        enum idl_kind kind;
    } builtin[] = {{"bool", IDL_BOOL},
                   {"int", IDL_INT},
                   {"float", IDL_FLOAT},
                   {"string", IDL_STRING},
                   {"object", IDL_OBJECT}};
    size_t length = word_length(parser->at, "");
    for (size_t i = 0; i < ARRAY_SIZE(builtin); i++) {
        if (strlen(builtin[i].word) == length &&
            strncmp(parser->at, builtin[i].word, length) == 0) {
            type->kind = builtin[i].kind;
            parser->at += length;
            return 0;
        }
    }
    if (!is_upper(*parser->at))
        return fail(parser, "expected a type");
    type->kind = IDL_NAMED;
    type->line = parser->line;
    return name_parse(parser, &type->name);
}

static int type_parse_inside(struct parser *parser, struct idl_type *type)
{
    type->optional = accept(parser, "?");
    if (accept(parser, "[]")) {
        type->kind = IDL_ARRAY;
        return type_parse(parser, &type->element);
    }
    if (accept(parser, "[string]")) {
        type->kind = IDL_MAP;
        return type_parse(parser, &type->element);
    }
    if (accept(parser, "("))
        return fields_parse(parser, type);
    return word_type_parse(parser, type);
}

static int type_parse(struct parser *parser, struct idl_type **type)
{
    if (parser->depth == IDL_DEPTH_MAX)
        return fail(parser, "types are nested too deeply");
    *type = calloc(1, sizeof(**type));
    if (!*type)
        return fail(parser, "out of memory");
    parser->depth++;
    int result = type_parse_inside(parser, *type);
    parser->depth--;
    return result;
}

/* A struct, as methods and errors need one; with `or_enum`, as `type` does, an enum will do. */
static int struct_parse(struct parser *parser, bool or_enum, struct idl_type **type)
{
    skip_space(parser);
    if (*parser->at != '(')
        return fail(parser, "expected '('");
    if (type_parse(parser, type) < 0)
        return -1;
    if ((*type)->kind == IDL_ENUM && !or_enum)
        return fail(parser, "parameters need types");
    return 0;
}

static int member_word_parse(struct parser *parser, enum idl_member_kind *kind)
{
    size_t length = word_length(parser->at, "");
    for (size_t i = 0; i < ARRAY_SIZE(member_words); i++) {
        if (strlen(member_words[i]) == length &&
            strncmp(parser->at, member_words[i], length) == 0) {
            *kind = (enum idl_member_kind)i;
            parser->at += length;
            return 0;
        }
    }
    return fail(parser, "expected 'type', 'method' or 'error'");
}

static int member_parse(struct parser *parser, struct idl *idl)
{
    enum idl_member_kind kind;
    if (member_word_parse(parser, &kind) < 0)
        return -1;
    struct idl_member *members = realloc(idl->members, (idl->n_members + 1) * sizeof(*members));
    if (!members)
        return fail(parser, "out of memory");
    idl->members = members;
    struct idl_member *member = &members[idl->n_members++];
    *member = (struct idl_member){.kind = kind};
    if (name_parse(parser, &member->name) < 0)
        return -1;
    for (struct idl_member *other = members; other < member; other++)
        if (strcmp(other->name, member->name) == 0)
            return error_set(parser->err, ERROR_INVALID, "line %d: '%s' is declared twice",
                             parser->line, member->name);
    if (struct_parse(parser, kind == IDL_TYPE, &member->type) < 0)
        return -1;
    if (kind != IDL_METHOD)
        return 0;
    if (expect(parser, "->", "expected '->'") < 0)
        return -1;
    return struct_parse(parser, false, &member->reply);
}

const struct idl_member *idl_find(const struct idl *idl, enum idl_member_kind kind,
                                  const char *name)
{
    for (size_t i = 0; i < idl->n_members; i++)
        if (idl->members[i].kind == kind && strcmp(idl->members[i].name, name) == 0)
            return &idl->members[i];
    return NULL;
}

/* Points every named type at its declaration. */
static int type_resolve(const struct idl *idl, struct idl_type *type, struct error **err)
{
    if (!type)
        return 0;
    if (type->kind == IDL_NAMED) {
        const struct idl_member *member = idl_find(idl, IDL_TYPE, type->name);
        if (!member)
            return error_set(err, ERROR_INVALID, "line %d: type '%s' is not declared", type->line,
                             type->name);
        type->target = member->type;
        return 0;
    }
    for (size_t i = 0; i < type->n_fields; i++)
        if (type_resolve(idl, type->fields[i].type, err) < 0)
            return -1;
    return type_resolve(idl, type->element, err);
}

static int description_parse(struct parser *parser, struct idl *idl)
{
    skip_space(parser);
    if (strncmp(parser->at, "interface", 9) != 0 || !strchr(" \t\r\n#", parser->at[9]))
        return fail(parser, "expected 'interface'");
    parser->at += 9;
    if (interface_name_parse(parser, &idl->name) < 0)
        return -1;
    for (skip_space(parser); *parser->at; skip_space(parser))
        if (member_parse(parser, idl) < 0)
            return -1;
    for (size_t i = 0; i < idl->n_members; i++)
        if (type_resolve(idl, idl->members[i].type, parser->err) < 0 ||
            type_resolve(idl, idl->members[i].reply, parser->err) < 0)
            return -1;
    return 0;
}

struct idl *idl_parse(const char *text, struct error **err)
{
    struct parser parser = {.at = text, .line_start = text, .line = 1, .err = err};
    struct idl *idl = calloc(1, sizeof(*idl));
    if (!idl) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    if (description_parse(&parser, idl) < 0) {
        idl_free(idl);
        return NULL;
    }
    return idl;
}

static void type_free(struct idl_type *type)
{
    if (!type)
        return;
    for (size_t i = 0; i < type->n_fields; i++) {
        free(type->fields[i].name);
        type_free(type->fields[i].type);
    }
    free(type->fields);
    free(type->name);
    type_free(type->element);
    free(type);
}

void idl_free(struct idl *idl)
{
    if (!idl)
        return;
    for (size_t i = 0; i < idl->n_members; i++) {
        free(idl->members[i].name);
        type_free(idl->members[i].type);
        type_free(idl->members[i].reply);
    }
    free(idl->members);
    free(idl->name);
    free(idl);
}

const char *idl_name(const struct idl *idl)
{
    return idl->name;
}

const char *idl_method_name(const struct idl *idl, size_t index)
{
    for (size_t i = 0; i < idl->n_members; i++)
        if (idl->members[i].kind == IDL_METHOD && index-- == 0)
            return idl->members[i].name;
    return NULL;
}

bool idl_has_method(const struct idl *idl, const char *method)
{
    return idl_find(idl, IDL_METHOD, method);
}

bool idl_has_error(const struct idl *idl, const char *name)
{
    return idl_find(idl, IDL_ERROR, name);
}
