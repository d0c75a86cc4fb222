/* SPDX-License-Identifier: Apache-2.0 */
/* io.mudanza: definitions, VMs, hosts. */
#include "agent/api.h"

#include <string.h>

#include "agent/io.mudanza.varlink.h"
#include "base/clock.h"
#include "base/text.h"
#include "migrate/peer.h"
#include "wire/hello.h"

static const char *text_of(const struct varlink_call *call, const char *key)
{
    return json_opt_string(call->parameters, key, "");
}

int api_need_change(const struct varlink_call *call, struct error **err)
{
    const struct api_caller *caller = call->peer;
    if (caller->may_change)
        return 0;
    error_set(err, ERROR_DENIED, "user %u may only look", caller->uid);
    return error_hint(err, "run the command as root, or as the user the agent runs as");
}

static int get_agent(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)call;
    (void)err;
    const struct agent *agent = context;
    const struct probe *probe = vm_default_probe(agent->vms, NULL);
    *reply = json_pack("{s:s, s:s, s:s, s:i, s:s*, s:s, s:s*, s:o}", "name", agent->config->name,
                       "fingerprint", identity_fingerprint(agent->identity), "version",
                       MUDANZA_VERSION, "protocol", WIRE_PROTOCOL_VERSION, "listen",
                       agent->config->listen, "emulator", agent->config->emulator,
                       "emulator_version", probe ? probe_version_text(probe) : NULL, "kept_ram",
                       keeper_describe(agent->migrate.keeper));
    return 0;
}

static int list(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)err;
    const struct agent *agent = context;
    bool all = json_opt_bool(call->parameters, "all", false);
    size_t count;
    CLEANUP_FREE struct vm **vms = vm_list(agent->vms, &count);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        if (all || vm_state(vms[i]) != VM_SHUT_OFF)
            json_array_append_new(array, vm_describe(vms[i]));
        vm_put(vms[i]);
    }
    *reply = json_pack("{s:o}", "vms", array);
    return 0;
}

static int get(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const struct agent *agent = context;
    CLEANUP_VM struct vm *vm = vm_find(agent->vms, text_of(call, "vm"), err);
    if (!vm)
        return -1;
    *reply = json_pack("{s:o}", "vm", vm_describe(vm));
    return 0;
}

static int define(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const struct agent *agent = context;
    const char *xml = text_of(call, "xml");
    if (api_need_change(call, err) < 0)
        return -1;
    struct domain *domain = domain_parse(xml, strlen(xml), err);
    if (!domain)
        return -1;
    if (vm_assign(agent->vms, domain, err) < 0) {
        domain_free(domain);
        return -1;
    }
    json_t *warnings = json_array();
    for (const char *const *warning = domain_warnings(domain); warning && *warning; warning++)
        json_array_append_new(warnings, json_string(*warning));
    CLEANUP_VM struct vm *vm = vm_define(agent->vms, domain, err);
    if (!vm) {
        json_decref(warnings);
        return -1;
    }
    *reply = json_pack("{s:o, s:o}", "vm", vm_describe(vm), "warnings", warnings);
    return 0;
}

static int dump_xml(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const struct agent *agent = context;
    CLEANUP_VM struct vm *vm = vm_find(agent->vms, text_of(call, "vm"), err);
    if (!vm)
        return -1;
    CLEANUP_FREE char *xml = vm_xml(vm, json_opt_bool(call->parameters, "inactive", false), err);
    if (!xml)
        return -1;
    *reply = json_pack("{s:s}", "xml", xml);
    return 0;
}

/* What starts comes before what is only kept. */
static void api_make_room(const struct agent *agent, struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    const uint64_t needed = vm->definition ? vm->definition->memory : 0;
    pthread_mutex_unlock(&vm->lock);
    keeper_make_room(agent->migrate.keeper, needed, NULL);
}

static int start(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const struct agent *agent = context;
    if (api_need_change(call, err) < 0)
        return -1;
    CLEANUP_VM struct vm *vm = vm_find(agent->vms, text_of(call, "vm"), err);
    if (!vm)
        return -1;
    api_make_room(agent, vm);
    if (vm_start(vm, json_opt_bool(call->parameters, "paused", false), err) < 0)
        return -1;
    *reply = json_pack("{s:o}", "vm", vm_describe(vm));
    return 0;
}

static int act(void *context, const struct varlink_call *call,
               int (*action)(struct vm *vm, struct error **err), struct error **err)
{
    const struct agent *agent = context;
    if (api_need_change(call, err) < 0)
        return -1;
    CLEANUP_VM struct vm *vm = vm_find(agent->vms, text_of(call, "vm"), err);
    return vm ? action(vm, err) : -1;
}

#define ACTION(method, action)                                                                     \
    static int method(void *context, struct varlink_call *call, json_t **reply,                    \
                      struct error **err)                                                          \
    {                                                                                              \
        (void)reply;                                                                               \
        return act(context, call, action, err);                                                    \
    }
ACTION(undefine, vm_undefine)
ACTION(shut_down, vm_shutdown)
ACTION(destroy, vm_destroy)
ACTION(suspend, vm_suspend)
ACTION(resume, vm_resume)

static bool host_name_valid(const char *name)
{
    size_t length = strlen(name);
    return length >= 1 && length <= 64 && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") ==
               length;
}

static int refuse_known_key(const struct agent *agent, const struct store_host *host,
                            struct error **err)
{
    struct store_host same = {0};
    int found = store_host_find(agent->store, NULL, host->fingerprint, &same, err);
    if (found == 1 && strcmp(same.name, host->name) != 0) {
        error_set(err, ERROR_EXISTS, "that key is known already, as host %s", same.name);
        error_hint(err, "`mudanza host remove %s` first, if it has a new name", same.name);
        found = -1;
    }
    store_host_clear(&same);
    return found < 0 ? -1 : 0;
}

/* Is it known, with another address? */
static bool is_elsewhere(const struct agent *agent, const struct store_host *host)
{
    struct store_host known = {0};
    bool elsewhere = store_host_find(agent->store, NULL, host->fingerprint, &known, NULL) == 1 &&
                     (strcmp(known.address, host->address) != 0 || known.port != host->port);
    store_host_clear(&known);
    return elsewhere;
}

static int add_host(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)reply;
    struct agent *agent = context;
    int64_t port = json_opt_int(call->parameters, "port", 0);
    const struct store_host host = {
        .name = (char *)text_of(call, "name"),
        .address = (char *)text_of(call, "address"),
        .fingerprint = (char *)text_of(call, "fingerprint"),
        .port = (uint16_t)port,
    };
    if (api_need_change(call, err) < 0)
        return -1;
    if (!host_name_valid(host.name))
        return error_set(err, ERROR_INVALID,
                         "host name '%s': letters, digits, '.', '-' and '_', at most 64",
                         host.name);
    if (!*host.address || strlen(host.address) > 255)
        return error_set(err, ERROR_INVALID, "address '%.40s': a host name or an IP address",
                         host.address);
    if (port < 1 || port > 65535)
        return error_set(err, ERROR_INVALID, "port %lld is not between 1 and 65535",
                         (long long)port);
    if (!fingerprint_valid(host.fingerprint, err))
        return error_prefix(err, "fingerprint");
    if (strcmp(host.fingerprint, identity_fingerprint(agent->identity)) == 0) {
        error_set(err, ERROR_INVALID, "that is this host's own key");
        return error_hint(err, "run `mudanza id` on the other host");
    }
    bool moves = is_elsewhere(agent, &host);
    if (refuse_known_key(agent, &host, err) < 0 || store_host_put(agent->store, &host, err) < 0)
        return -1;
    if (moves)
        migration_host_moved(&agent->migrate, host.fingerprint);
    return 0;
}

/* Tries a control connection, as a move would. */
static void probe_host(const struct agent *agent, const struct store_host *host, json_t *object,
                       int cancel_fd)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct peer peer = {.host = *host, .tls = agent->tls};
    struct varlink_connection *control = peer_connect_control(&peer, cancel_fd, &err);
    json_object_set_new(object, "reachable", json_boolean(control != NULL));
    if (!control)
        json_object_set_new(object, "problem", json_string(err->message));
    varlink_connection_free(control);
}

static int list_hosts(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const struct agent *agent = context;
    struct store_host *hosts;
    size_t count;
    if (store_host_list(agent->store, &hosts, &count, err) < 0)
        return -1;
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *object =
            json_pack("{s:s, s:s, s:i, s:s}", "name", hosts[i].name, "address", hosts[i].address,
                      "port", (int)hosts[i].port, "fingerprint", hosts[i].fingerprint);
        if (json_opt_bool(call->parameters, "probe", false))
            probe_host(agent, &hosts[i], object, call->cancel_fd);
        json_array_append_new(array, object);
        store_host_clear(&hosts[i]);
    }
    free(hosts);
    *reply = json_pack("{s:o}", "hosts", array);
    return 0;
}

static int remove_host(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)reply;
    const struct agent *agent = context;
    if (api_need_change(call, err) < 0)
        return -1;
    return store_host_delete(agent->store, text_of(call, "name"), err);
}

static const struct varlink_method_entry methods[] = {
    {"GetAgent", get_agent},
    {"List", list},
    {"Get", get},
    {"Define", define},
    {"Undefine", undefine},
    {"DumpXml", dump_xml},
    {"Start", start},
    {"Shutdown", shut_down},
    {"Destroy", destroy},
    {"Suspend", suspend},
    {"Resume", resume},
    {"AddHost", add_host},
    {"ListHosts", list_hosts},
    {"RemoveHost", remove_host},
    {"Migrate", api_migrate},
    {"GetJob", api_get_job},
    {"AbortJob", api_abort_job},
    {"ResolveJob", api_resolve_job},
};

struct varlink_service *api_new(struct agent *agent, struct error **err)
{
    return varlink_service_new("mudanzad", MUDANZA_VERSION, io_mudanza_varlink, methods,
                               ARRAY_SIZE(methods), agent, err);
}
