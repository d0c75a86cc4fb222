/* SPDX-License-Identifier: Apache-2.0 */
/* A caller's bytes against a service: whatever comes in, what goes out is well-formed. */
#include <stdlib.h>
#include <string.h>

#include "varlink/idl.h"
#include "varlink/varlink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char description[] =
    "interface org.example.fuzz\n"
    "type All (b: ?bool, i: ?int, f: ?float, s: ?string, o: ?object, e: ?(one, two),\n"
    "  a: ?[]All, m: ?[string]All)\n"
    "method Echo(value: All) -> (value: All)\n"
    "method Fail(message: string) -> ()\n"
    "method Count(to: int) -> (at: int)\n"
    "error Failed (kind: string, message: string, hint: ?string)\n";

static int echo(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)context;
    (void)err;
    *reply = json_incref(call->parameters);
    return 0;
}

static int fail(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)context;
    (void)reply;
    return error_set(err, ERROR_STATE, "%s", json_opt_string(call->parameters, "message", ""));
}

static int count(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)context;
    int64_t to = json_opt_int(call->parameters, "to", 0);
    for (int at = 1; call->more && at < to && at < 4; at++)
        if (varlink_reply_more(call, json_pack("{s:i}", "at", at), err) < 0)
            return -1;
    *reply = json_pack("{s:I}", "at", (json_int_t)to);
    return 0;
}

/* The stream under the service: gives the input in pieces, and judges the output. */
struct wire {
    const uint8_t *data;
    size_t size;
    size_t piece;
};

static ssize_t wire_read(void *context, void *buffer, size_t size, int cancel_fd,
                         int64_t deadline_ns, struct error **err)
{
    struct wire *wire = context;
    (void)cancel_fd;
    (void)deadline_ns;
    (void)err;
    size_t given = wire->size < wire->piece ? wire->size : wire->piece;
    if (given > size)
        given = size;
    if (given)
        memcpy(buffer, wire->data, given);
    wire->data += given;
    wire->size -= given;
    return (ssize_t)given;
}

/* Every message is one object with parameters. None says that a checked call was our own bug, and
 * what the standard errors carry is as described. */
static int wire_write(void *context, const void *buffer, size_t size, int cancel_fd,
                      int64_t deadline_ns, struct error **err)
{
    (void)context;
    (void)cancel_fd;
    (void)deadline_ns;
    (void)err;
    CLEANUP_JSON json_t *message = json_parse(buffer, size - 1, NULL);
    const json_t *parameters = json_object_get(message, "parameters");
    if (((const char *)buffer)[size - 1] != '\0' || !json_is_object(parameters))
        abort();
    if (strcmp(json_opt_string(parameters, "kind", ""), "internal") == 0)
        abort();
    return 0;
}

static bool wire_pending(void *context)
{
    (void)context;
    return false;
}

static int wire_fd(void *context)
{
    (void)context;
    return -1;
}

static void wire_close(void *context)
{
    (void)context;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct varlink_method_entry methods[] = {
        {"Echo", echo}, {"Fail", fail}, {"Count", count}};
    static const struct varlink_stream_ops ops = {.read = wire_read,
                                                  .write = wire_write,
                                                  .pending = wire_pending,
                                                  .fd = wire_fd,
                                                  .close = wire_close};
    static struct varlink_service *service; /* made once: it never changes */
    if (!service)
        service =
            varlink_service_new("fuzz", "1", description, methods, ARRAY_SIZE(methods), NULL, NULL);
    if (!service)
        abort();
    if (size < 1)
        return 0;
    struct wire wire = {.data = data + 1, .size = size - 1, .piece = (size_t)data[0] + 1};
    struct varlink_connection *connection =
        varlink_connection_new((struct varlink_stream){.ops = &ops, .context = &wire});
    CLEANUP_ERROR struct error *err = NULL;
    if (varlink_serve(service, connection, NULL, -1, &err) < 0 && !err)
        abort();
    varlink_connection_free(connection);
    return 0;
}
