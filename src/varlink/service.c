/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Varlink service: takes calls from a connection, checks them against the interface description,
 * and hands them to methods. Replies are checked too, so that the description stays true: one that
 * differs from it is our bug, and the caller gets `Failed` with kind "internal" instead of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "varlink/connection.h"
#include "varlink/idl.h"

/* A caller that takes nothing of a reply for so long is given up. */
#define REPLY_TIMEOUT_MS INT64_C(30000)

/* Unknown names are given back cut to this many bytes. */
#define NAME_SHOWN_MAX 256

struct varlink_service {
    char *product;
    char *version;
    char *description;
    struct idl *idl;
    struct idl *standard; /* org.varlink.service */
    struct varlink_method_entry *methods;
    size_t n_methods;
    void *context;
};

/* A call with what dispatch knows beyond what methods see; `call` is its first member. */
struct service_call {
    struct varlink_call call;
    const struct idl *idl;
    const char *member; /* the method's name without the interface */
};

/* What goes back: parameters of the reply, or of the error when one is named. */
struct answer {
    char *error;
    json_t *parameters;
};

static const char standard_description[] =
    "# What every Varlink service tells about itself.\n"
    "interface org.varlink.service\n"
    "\n"
    "# Who is behind this address, and the interfaces it serves.\n"
    "method GetInfo() -> (\n"
    "  vendor: string,\n"
    "  product: string,\n"
    "  version: string,\n"
    "  url: string,\n"
    "  interfaces: []string\n"
    ")\n"
    "\n"
    "# The description of one of those interfaces.\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n"
    "\n"
    "error InterfaceNotFound (interface: string)\n"
    "error MethodNotFound (method: string)\n"
    "error MethodNotImplemented (method: string)\n"
    "error InvalidParameter (parameter: string)\n"
    "error PermissionDenied ()\n"
    "error ExpectedMore ()\n";

static void answer_clear(struct answer *answer)
{
    free(answer->error);
    json_decref(answer->parameters);
}

static const struct varlink_method_entry *method_find(const struct varlink_service *service,
                                                      const char *name)
{
    for (size_t i = 0; i < service->n_methods; i++)
        if (strcmp(service->methods[i].name, name) == 0)
            return &service->methods[i];
    return NULL;
}

/* The table and the description must name the same methods, each once. */
static int methods_check(const struct varlink_service *service, struct error **err)
{
    const char *interface = idl_name(service->idl), *name;
    for (size_t i = 0; (name = idl_method_name(service->idl, i)); i++)
        if (!method_find(service, name))
            return error_set(err, ERROR_INTERNAL, "%s: method %s is not implemented", interface,
                             name);
    for (size_t i = 0; i < service->n_methods; i++) {
        name = service->methods[i].name;
        if (!idl_has_method(service->idl, name))
            return error_set(err, ERROR_INTERNAL, "%s: method %s is not described", interface,
                             name);
        if (method_find(service, name) != &service->methods[i])
            return error_set(err, ERROR_INTERNAL, "%s: method %s is implemented twice", interface,
                             name);
    }
    if (!idl_has_error(service->idl, "Failed"))
        return error_set(err, ERROR_INTERNAL,
                         "%s: error Failed, which every failed method gives, is not described",
                         interface);
    return 0;
}

static int service_fill(struct varlink_service *service, const char *product, const char *version,
                        const char *description, const struct varlink_method_entry *methods,
                        struct error **err)
{
    service->product = text_copy(product);
    service->version = text_copy(version);
    service->description = text_copy(description);
    service->methods = calloc(service->n_methods + 1, sizeof(*methods));
    if (!service->methods)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    memcpy(service->methods, methods, service->n_methods * sizeof(*methods));
    service->standard = idl_parse(standard_description, err);
    if (!service->standard)
        return -1;
    service->idl = idl_parse(description, err);
    if (!service->idl)
        return error_prefix(err, "interface description");
    return methods_check(service, err);
}

struct varlink_service *varlink_service_new(const char *product, const char *version,
                                            const char *description,
                                            const struct varlink_method_entry *methods,
                                            size_t n_methods, void *context, struct error **err)
{
    struct varlink_service *service = calloc(1, sizeof(*service));
    if (!service) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    service->n_methods = n_methods;
    service->context = context;
    if (service_fill(service, product, version, description, methods, err) < 0) {
        varlink_service_free(service);
        return NULL;
    }
    return service;
}

void varlink_service_free(struct varlink_service *service)
{
    if (!service)
        return;
    free(service->product);
    free(service->version);
    free(service->description);
    free(service->methods);
    idl_free(service->idl);
    idl_free(service->standard);
    free(service);
}

/* An error of org.varlink.service with its one parameter; `value` may be any text from the wire. */
static void answer_standard_error(struct answer *answer, const char *error, const char *key,
                                  const char *value)
{
    size_t length = strnlen(value, NAME_SHOWN_MAX);
    while (length == NAME_SHOWN_MAX && length > 0 && ((unsigned char)value[length] & 0xc0) == 0x80)
        length--;
    answer->error = text_format("org.varlink.service.%s", error);
    answer->parameters = json_pack("{s:s%}", key, value, length);
}

/* A method's error as INTERFACE.Failed. */
static void answer_failed(struct answer *answer, const struct idl *idl, const struct error *error)
{
    answer->error = text_format("%s.Failed", idl_name(idl));
    answer->parameters = json_from_error(error);
}

static void answer_get_info(const struct varlink_service *service, struct answer *answer)
{
    answer->parameters = json_pack("{s:s, s:s, s:s, s:s, s:[s, s]}", "vendor", service->product,
                                   "product", service->product, "version", service->version, "url",
                                   "", "interfaces", "org.varlink.service", idl_name(service->idl));
}

static void answer_get_description(const struct varlink_service *service, const json_t *parameters,
                                   struct answer *answer)
{
    const char *name = json_string_value(json_object_get(parameters, "interface"));
    const char *text = NULL;
    if (strcmp(name, idl_name(service->idl)) == 0)
        text = service->description;
    else if (strcmp(name, idl_name(service->standard)) == 0)
        text = standard_description;
    if (text)
        answer->parameters = json_pack("{s:s}", "description", text);
    else
        answer_standard_error(answer, "InterfaceNotFound", "interface", name);
}

static void answer_standard_method(const struct varlink_service *service,
                                   const struct service_call *call, struct answer *answer)
{
    if (strcmp(call->member, "GetInfo") == 0)
        answer_get_info(service, answer);
    else
        answer_get_description(service, call->call.parameters, answer);
}

static int reply_check(const struct service_call *call, const json_t *parameters,
                       struct error **err)
{
    CLEANUP_ERROR struct error *problem = NULL;
    if (idl_check_reply(call->idl, call->member, parameters, NULL, &problem) == 0)
        return 0;
    log_error(NULL, "%s: reply differs from the description: %s", call->call.method,
              problem->message);
    return error_set(err, ERROR_INTERNAL, "%s: reply differs from the description: %s",
                     call->call.method, problem->message);
}

static void answer_method(const struct varlink_service *service, struct service_call *call,
                          struct answer *answer)
{
    const struct varlink_method_entry *entry = method_find(service, call->member);
    if (!entry->method) {
        answer_standard_error(answer, "MethodNotImplemented", "method", call->call.method);
        return;
    }
    CLEANUP_ERROR struct error *problem = NULL;
    CLEANUP_JSON json_t *reply = NULL;
    int result = entry->method(service->context, &call->call, &reply, &problem);
    if (result == 0 && !reply)
        reply = json_object();
    if (result < 0 || reply_check(call, reply, &problem) < 0)
        answer_failed(answer, service->idl, problem);
    else
        answer->parameters = STEAL(reply);
}

/* Finds the interface and the method, checks the parameters, and runs it. */
static void dispatch(const struct varlink_service *service, struct service_call *call,
                     struct answer *answer)
{
    const char *method = call->call.method, *dot = strrchr(method, '.');
    if (!dot) {
        answer_standard_error(answer, "InvalidParameter", "parameter", "method");
        return;
    }
    CLEANUP_FREE char *interface = text_format("%.*s", (int)(dot - method), method);
    if (strcmp(interface, idl_name(service->idl)) == 0)
        call->idl = service->idl;
    else if (strcmp(interface, idl_name(service->standard)) == 0)
        call->idl = service->standard;
    if (!call->idl) {
        answer_standard_error(answer, "InterfaceNotFound", "interface", interface);
        return;
    }
    call->member = dot + 1;
    if (!idl_has_method(call->idl, call->member)) {
        answer_standard_error(answer, "MethodNotFound", "method", method);
        return;
    }
    CLEANUP_FREE char *path = NULL;
    CLEANUP_ERROR struct error *problem = NULL;
    if (idl_check_call(call->idl, call->member, call->call.parameters, &path, &problem) < 0) {
        log_debug(NULL, "%s: refused: %s", method, problem->message);
        answer_standard_error(answer, "InvalidParameter", "parameter", path ? path : "parameters");
    } else if (call->idl == service->standard) {
        answer_standard_method(service, call, answer);
    } else {
        answer_method(service, call, answer);
    }
}

static int message_send(const struct varlink_call *call, json_t *parameters, const char *error,
                        bool continues, struct error **err)
{
    CLEANUP_JSON json_t *message = json_pack("{s:O}", "parameters", parameters);
    if (!message || (error && json_object_set_new(message, "error", json_string(error)) < 0) ||
        (continues && json_object_set_new(message, "continues", json_true()) < 0))
        return error_set(err, ERROR_INTERNAL, "%s: reply cannot be written", call->method);
    /* Not cancelled with the service: an answer that is there goes out, or its caller would never
     * learn what became of the call. */
    return varlink_send(call->connection, message, -1, clock_deadline_ns(REPLY_TIMEOUT_MS), err);
}

int varlink_reply_more(struct varlink_call *call, json_t *parameters, struct error **err)
{
    CLEANUP_JSON json_t *owned = parameters;
    if (!call->more)
        return error_set(err, ERROR_INTERNAL, "%s: the caller takes one reply only", call->method);
    /* Only dispatch() makes calls, always as the first member of a service_call. */
    if (reply_check((const struct service_call *)call, owned, err) < 0)
        return -1;
    return message_send(call, owned, NULL, true, err);
}

static int flag_read(const json_t *message, const char *key, bool *flag, struct error **err)
{
    const json_t *value = json_object_get(message, key);
    if (value && !json_is_boolean(value))
        return error_set(err, ERROR_INVALID, "malformed call: '%s' is not true or false", key);
    *flag = json_is_true(value);
    return 0;
}

/* A member of the call's message that we do not carry out, or NULL: one that the specification
 * does not name, or `upgrade`, as there is no protocol to change to. */
static const char *call_refused(const json_t *message, bool upgrade)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)message, key, value)
        if (strcmp(key, "method") != 0 && strcmp(key, "parameters") != 0 &&
            strcmp(key, "oneway") != 0 && strcmp(key, "more") != 0 && strcmp(key, "upgrade") != 0)
            return key;
    return upgrade ? "upgrade" : NULL;
}

static int call_read(const json_t *message, struct varlink_call *call, const char **refused,
                     struct error **err)
{
    call->method = json_string_value(json_object_get(message, "method"));
    if (!call->method)
        return error_set(err, ERROR_INVALID, "malformed call: no method");
    json_t *parameters = json_object_get(message, "parameters");
    if (parameters && !json_is_object(parameters) && !json_is_null(parameters))
        return error_set(err, ERROR_INVALID, "malformed call: parameters are not an object");
    call->parameters = json_is_object(parameters) ? parameters : NULL;
    bool upgrade = false;
    if (flag_read(message, "oneway", &call->oneway, err) < 0 ||
        flag_read(message, "more", &call->more, err) < 0 ||
        flag_read(message, "upgrade", &upgrade, err) < 0)
        return -1;
    if (call->oneway)
        call->more = false; /* no reply at all */
    *refused = call_refused(message, upgrade);
    return 0;
}

static int serve_message(const struct varlink_service *service, const json_t *message,
                         struct service_call *call, struct error **err)
{
    const char *refused = NULL;
    if (call_read(message, &call->call, &refused, err) < 0)
        return -1;
    CLEANUP_JSON json_t *none = json_object();
    if (!call->call.parameters)
        call->call.parameters = none;
    CLEANUP(answer_clear) struct answer answer = {0};
    if (refused)
        answer_standard_error(&answer, "InvalidParameter", "parameter", refused);
    else
        dispatch(service, call, &answer);
    if (call->call.oneway)
        return 0;
    return message_send(&call->call, answer.parameters, answer.error, false, err);
}

int varlink_serve(const struct varlink_service *service, struct varlink_connection *connection,
                  void *peer, int cancel_fd, struct error **err)
{
    for (;;) {
        CLEANUP_ERROR struct error *problem = NULL;
        CLEANUP_JSON json_t *message =
            varlink_receive(connection, cancel_fd, DEADLINE_NEVER, &problem);
        if (!message && !problem)
            return 0;
        struct service_call call = {
            .call = {.connection = connection, .peer = peer, .cancel_fd = cancel_fd}};
        if (!message || serve_message(service, message, &call, &problem) < 0)
            return error_move(err, STEAL(problem));
    }
}
