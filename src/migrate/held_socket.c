/* SPDX-License-Identifier: Apache-2.0 */
/* The duplicates of our ends of QEMU's migration sockets that QEMU keeps for us. */
#include "migrate/held_socket.h"

#include <errno.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/text.h"
#include "migrate/qemu_migration.h"

/* QEMU's fd sets that are ours; an empty array when there are none. Owned by the caller. */
static json_t *list_sets(struct qmp *qmp, struct error **err)
{
    CLEANUP_JSON json_t *sets = NULL;
    if (qmp_execute(qmp, "query-fdsets", NULL, &sets, err) < 0)
        return NULL;
    json_t *ours = json_array();
    size_t i;
    json_t *set;
    json_array_foreach (sets, i, set) {
        const json_t *first = json_array_get(json_object_get(set, "fds"), 0);
        if (text_equal(json_opt_string(first, "opaque", NULL), QEMU_MIGRATION_OPAQUE))
            json_array_append(ours, set);
    }
    return ours;
}

static int take(const struct process_id *process, const json_t *set, struct error **err)
{
    CLEANUP_CLOSE int pidfd = process_open(process, err);
    if (pidfd < 0)
        return -1;
    const json_t *first = json_array_get(json_object_get(set, "fds"), 0);
    int fd = pidfd_getfd(pidfd, (int)json_opt_int(first, "fd", -1), 0);
    return fd >= 0 ? fd : error_errno(err, errno, "taking back the socket that QEMU holds");
}

int held_socket_take(struct qmp *qmp, const struct process_id *process, struct error **err)
{
    CLEANUP_JSON json_t *sets = list_sets(qmp, err);
    if (!sets)
        return -1;
    const json_t *newest = NULL;
    size_t i;
    const json_t *set;
    json_array_foreach (sets, i, set)
        if (!newest || json_opt_int(set, "fdset-id", 0) > json_opt_int(newest, "fdset-id", 0))
            newest = set;
    if (!newest)
        return error_set(err, ERROR_NOT_FOUND, "QEMU holds no socket of a migration");
    return take(process, newest, err);
}

int held_socket_cut(struct qmp *qmp, const struct process_id *process, struct error **err)
{
    CLEANUP_JSON json_t *sets = list_sets(qmp, err);
    if (!sets)
        return -1;
    size_t i;
    const json_t *set;
    json_array_foreach (sets, i, set) {
        CLEANUP_CLOSE int fd = take(process, set, err);
        if (fd < 0)
            return -1;
        shutdown(fd, SHUT_RDWR);
        if (qemu_migration_release(qmp, json_opt_int(set, "fdset-id", -1), err) < 0)
            return -1;
    }
    return 0;
}
