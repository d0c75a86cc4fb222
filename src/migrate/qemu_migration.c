/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's migration commands. */
#include "migrate/qemu_migration.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"

/* More than any link; QEMU takes a plain number only. */
#define NO_LIMIT (INT64_C(1) << 50)

static const char *const used_capabilities[] = {
    "events",      "pause-before-switchover", "late-block-activate",
    "multifd",     "auto-converge",           "postcopy-ram",
    "return-path",
};

static bool has_string(const json_t *array, const char *text)
{
    size_t i;
    json_t *entry;
    json_array_foreach (array, i, entry)
        if (text_equal(json_string_value(entry), text))
            return true;
    return false;
}

int qemu_migration_set_capabilities(struct qmp *qmp, const json_t *names, struct error **err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(used_capabilities); i++)
        json_array_append_new(list, json_pack("{s:s, s:b}", "capability", used_capabilities[i],
                                              "state", has_string(names, used_capabilities[i])));
    return qmp_execute(qmp, "migrate-set-capabilities", json_pack("{s:o}", "capabilities", list),
                       NULL, err);
}

int qemu_migration_set_bandwidth(struct qmp *qmp, int64_t bytes_per_second, struct error **err)
{
    json_int_t limit = bytes_per_second ? bytes_per_second : NO_LIMIT;
    return qmp_execute(qmp, "migrate-set-parameters",
                       json_pack("{s:I, s:I}", "max-bandwidth", limit, "max-postcopy-bandwidth",
                                 (json_int_t)bytes_per_second),
                       NULL, err);
}

int qemu_migration_set_downtime(struct qmp *qmp, int64_t limit_ms, struct error **err)
{
    return qmp_execute(qmp, "migrate-set-parameters",
                       json_pack("{s:I}", "downtime-limit", (json_int_t)limit_ms), NULL, err);
}

int qemu_migration_set_channels(struct qmp *qmp, unsigned channels, struct error **err)
{
    return qmp_execute(
        qmp, "migrate-set-parameters",
        json_pack("{s:i, s:s}", "multifd-channels", (int)channels, "multifd-compression", "none"),
        NULL, err);
}

static int run_uri(struct qmp *qmp, const char *command, const char *uri, struct error **err)
{
    return qmp_execute(qmp, command, json_pack("{s:s}", "uri", uri), NULL, err);
}

int qemu_migration_start(struct qmp *qmp, const char *name, struct error **err)
{
    CLEANUP_FREE char *uri = text_format("fd:%s", name);
    return run_uri(qmp, "migrate", uri, err);
}

int qemu_migration_start_at(struct qmp *qmp, const char *path, struct error **err)
{
    CLEANUP_FREE char *uri = text_format("unix:%s", path);
    return run_uri(qmp, "migrate", uri, err);
}

int qemu_migration_listen(struct qmp *qmp, const char *name, struct error **err)
{
    CLEANUP_FREE char *uri = text_format("fd:%s", name);
    return run_uri(qmp, "migrate-incoming", uri, err);
}

json_t *qemu_migration_query(struct qmp *qmp, struct error **err)
{
    json_t *answer = NULL;
    qmp_execute(qmp, "query-migrate", NULL, &answer, err);
    return answer;
}
