/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza host add, list, remove: the peers this host knows. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/table.h"
#include "wire/tls.h"

enum {
    LIST_PROBE,
    LIST_NAME,
};

static const struct option_spec list_options[] = {
    [LIST_PROBE] = {"probe", NULL, NULL, "connect to each and say whether it answers", 'p'},
    [LIST_NAME] = {"name", NULL, NULL, "only their names, one a line"},
    {NULL},
};

static int add(const struct invocation *invocation, struct error **err)
{
    const char *name = invocation->operands[0];
    CLEANUP_FREE char *address = NULL;
    uint16_t port = 0;
    if (wire_parse_address(invocation->operands[1], WIRE_DEFAULT_PORT, &address, &port, err) < 0)
        return error_prefix(err, "%s", name);
    json_t *parameters = json_pack("{s:s, s:s, s:i, s:s}", "name", name, "address", address, "port",
                                   (int)port, "fingerprint", invocation->operands[2]);
    CLEANUP_JSON json_t *reply = NULL;
    if (connect_call(invocation->socket, "AddHost", parameters, &reply, err) < 0)
        return -1;
    if (invocation->output == OUTPUT_JSON)
        output_json(reply);
    else
        output_line(invocation->output, "%s: added", name);
    return COMMAND_DONE;
}

static int remove_host(const struct invocation *invocation, struct error **err)
{
    const char *name = invocation->operands[0];
    CLEANUP_JSON json_t *reply = NULL;
    if (connect_call(invocation->socket, "RemoveHost", json_pack("{s:s}", "name", name), &reply,
                     err) < 0)
        return -1;
    if (invocation->output == OUTPUT_JSON)
        output_json(reply);
    else
        output_line(invocation->output, "%s: removed", name);
    return COMMAND_DONE;
}

static void add_row(struct table *table, const json_t *host, bool probed)
{
    char port[24];
    snprintf(port, sizeof(port), "%" PRId64, json_opt_int(host, "port", 0));
    table_add(table, json_opt_string(host, "name", "?"));
    table_add(table, json_opt_string(host, "address", "?"));
    table_add(table, port);
    table_add(table, json_opt_string(host, "fingerprint", "?"));
    if (!probed)
        return;
    bool reachable = json_opt_bool(host, "reachable", false);
    table_add(table, reachable ? "yes" : json_opt_string(host, "problem", "no"));
}

static void print_table(const json_t *hosts, bool probed)
{
    const char *const headings[] = {
        "Name", "Address", "Port", "Fingerprint", probed ? "Reachable" : NULL, NULL};
    CLEANUP_TABLE struct table table;
    table_start(&table, headings, TABLE_RIGHT(2));
    size_t index;
    json_t *host;
    json_array_foreach (hosts, index, host) {
        add_row(&table, host, probed);
    }
    CLEANUP_TEXT struct text text = {0};
    table_render(&table, &text);
    fputs(text.data, stdout);
}

static void print_names(const json_t *hosts)
{
    size_t index;
    json_t *host;
    json_array_foreach (hosts, index, host) {
        output_line(OUTPUT_TEXT, "%s", json_opt_string(host, "name", "?"));
    }
}

static int list(const struct invocation *invocation, struct error **err)
{
    bool probe = invocation->options[LIST_PROBE].given;
    CLEANUP_JSON json_t *reply = NULL;
    json_t *hosts = NULL;
    if (connect_call(invocation->socket, "ListHosts", json_pack("{s:b}", "probe", probe), &reply,
                     err) < 0 ||
        json_need_array(reply, "hosts", &hosts, err) < 0)
        return -1;
    if (invocation->output == OUTPUT_JSON)
        output_json(reply);
    else if (!invocation->options[LIST_NAME].given)
        print_table(hosts, probe);
    else
        print_names(hosts);
    return COMMAND_DONE;
}

const struct command command_host_add = {
    .name = "host add",
    .operands = "NAME ADDRESS[:PORT] FINGERPRINT",
    .summary = "Make another host known, so that VMs can move to and from it",
    .details = "FINGERPRINT is what 'mudanza id' prints there. Both hosts must know each other.\n",
    .run = add,
};

const struct command command_host_list = {
    .name = "host list",
    .operands = "",
    .summary = "List the hosts that this one knows",
    .options = list_options,
    .run = list,
};

const struct command command_host_remove = {
    .name = "host remove",
    .operands = "HOST",
    .summary = "Forget a host",
    .run = remove_host,
};
