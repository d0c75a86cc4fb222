/* SPDX-License-Identifier: Apache-2.0 */
/* An offline move: the definition of a shut-off VM, and its NVRAM, arrive at the destination. The
 * NVRAM is read where this host has it, and written where the destination's XML says. */
#include "base/file.h"
#include "base/text.h"
#include "migrate/migration_private.h"

static json_t *read_nvram(const struct domain *domain, struct error **err)
{
    if (!domain->nvram || access(domain->nvram, F_OK) < 0)
        return json_null();
    size_t size;
    CLEANUP_FREE char *data = file_read(domain->nvram, NVRAM_MAX, &size, err);
    if (!data)
        return NULL;
    CLEANUP_FREE char *hex = calloc(2 * size + 1, 1);
    if (!hex) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    text_hex((const uint8_t *)data, size, hex);
    return json_string(hex);
}

int offline_run(struct migration *m, struct error **err)
{
    CLEANUP_FREE char *xml = domain_format(m->target);
    json_t *nvram = read_nvram(m->vm->definition, err);
    if (!nvram)
        return error_prefix(err, "VM %s: NVRAM", m->vm->name);
    json_t *request = json_pack("{s:s}", "xml", xml);
    if (json_is_string(nvram))
        json_object_set(request, "nvram", nvram);
    json_decref(nvram);
    if (peer_call(m->control, &m->peer, "Define", request, NULL, m->cancel_fd, err) < 0)
        return -1;
    return m->options.undefine_source ? vm_drop_definition(m->vm, err) : 0;
}
