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
    "events",
    "pause-before-switchover",
    "late-block-activate",
    "auto-converge",
    "postcopy-ram",
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

int qemu_migration_socket(struct qmp *qmp, const char *name, int64_t *holder, struct error **err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(err, errno, "socketpair");
    CLEANUP_CLOSE int theirs = pair[0];
    CLEANUP_CLOSE int ours = pair[1];
    CLEANUP_JSON json_t *set = NULL;
    if (qmp_execute_fd(qmp, "getfd", json_pack("{s:s}", "fdname", name), theirs, NULL, err) < 0 ||
        qmp_execute_fd(qmp, "add-fd", json_pack("{s:s}", "opaque", QEMU_MIGRATION_OPAQUE), ours,
                       &set, err) < 0)
        return -1;
    *holder = json_opt_int(set, "fdset-id", -1);
    return STEAL_FD(ours);
}

int qemu_migration_release(struct qmp *qmp, int64_t holder, struct error **err)
{
    return qmp_execute(qmp, "remove-fd", json_pack("{s:I}", "fdset-id", (json_int_t)holder), NULL,
                       err);
}

int qemu_migration_release_all(struct qmp *qmp, struct error **err)
{
    CLEANUP_JSON json_t *sets = NULL;
    if (qmp_execute(qmp, "query-fdsets", NULL, &sets, err) < 0)
        return -1;
    size_t index;
    json_t *set;
    int result = 0;
    json_array_foreach (sets, index, set) {
        const json_t *first = json_array_get(json_object_get(set, "fds"), 0);
        if (strcmp(json_opt_string(first, "opaque", ""), QEMU_MIGRATION_OPAQUE) == 0 && result == 0)
            result = qemu_migration_release(qmp, json_opt_int(set, "fdset-id", -1), err);
    }
    return result;
}

static int run_uri(struct qmp *qmp, const char *command, const char *name, struct error **err)
{
    CLEANUP_FREE char *uri = text_format("fd:%s", name);
    return qmp_execute(qmp, command, json_pack("{s:s}", "uri", uri), NULL, err);
}

int qemu_migration_start(struct qmp *qmp, const char *name, struct error **err)
{
    return run_uri(qmp, "migrate", name, err);
}

int qemu_migration_listen(struct qmp *qmp, const char *name, struct error **err)
{
    return run_uri(qmp, "migrate-incoming", name, err);
}

int qemu_migration_recover(struct qmp *qmp, const char *name, struct error **err)
{
    return run_uri(qmp, "migrate-recover", name, err);
}

int qemu_migration_resume(struct qmp *qmp, const char *name, struct error **err)
{
    CLEANUP_FREE char *uri = text_format("fd:%s", name);
    return qmp_execute(qmp, "migrate", json_pack("{s:s, s:b}", "uri", uri, "resume", true), NULL,
                       err);
}

json_t *qemu_migration_query(struct qmp *qmp, struct error **err)
{
    json_t *answer = NULL;
    qmp_execute(qmp, "query-migrate", NULL, &answer, err);
    return answer;
}
