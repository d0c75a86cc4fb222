/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU's process holds for us during a migration.
 *
 * In /proc/PID/fd a file in memory is "/memfd:NAME (deleted)", a socket "socket:[INODE]", a pipe
 * "pipe:[INODE]". So each spool's name says which job and direction it is of, and the inode of what
 * belongs to it: of the socket for the bytes to QEMU, of the pipe for those from it.
 */
#include "migrate/held.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/text.h"
#include "qemu/process_fds.h"

/* Under these names QEMU's monitor keeps them. */
#define SOCKET "mudanza-socket"
#define PIPE   "mudanza-pipe"
#define FROM   "mudanza-from"
#define TO     "mudanza-to"
#define THEIRS "mudanza" /* its own end, until it has used it */

static int give(struct qmp *qmp, const char *name, int fd, struct error **err)
{
    return qmp_execute_fd(qmp, "getfd", json_pack("{s:s}", "fdname", name), fd, NULL, err);
}

static int make_file(const char *job, const char *direction, int other, struct error **err)
{
    struct stat about;
    if (fstat(other, &about) < 0)
        return error_errno(err, errno, "fstat");
    CLEANUP_FREE char *name =
        text_format("mudanza-%s-%s-%" PRIu64, job, direction, (uint64_t)about.st_ino);
    int file = memfd_create(name, MFD_CLOEXEC);
    return file >= 0 ? file : error_errno(err, errno, "memfd_create");
}

static int make_spools(const char *job, struct held *held, struct error **err)
{
    held->from.pipe = spool_pipe(err);
    if (held->from.pipe < 0)
        return -1;
    held->from.file = make_file(job, "from", held->from.pipe, err);
    if (held->from.file < 0)
        return -1;
    held->to.file = make_file(job, "to", held->socket, err);
    return held->to.file < 0 ? -1 : 0;
}

static int give_all(struct qmp *qmp, const struct held *held, int theirs, struct error **err)
{
    if (give(qmp, THEIRS, theirs, err) < 0 || give(qmp, SOCKET, held->socket, err) < 0)
        return -1;
    if (!held_has_spools(held))
        return 0;
    return give(qmp, PIPE, held->from.pipe, err) < 0 || give(qmp, FROM, held->from.file, err) < 0 ||
                   give(qmp, TO, held->to.file, err) < 0
               ? -1
               : 0;
}

int held_make(struct qmp *qmp, const char *job, bool spools, struct held *held, struct error **err)
{
    int pair[2];
    *held = HELD_NONE;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(err, errno, "socketpair");
    CLEANUP_CLOSE int theirs = pair[0];
    held->socket = pair[1];
    if ((!spools || make_spools(job, held, err) == 0) && give_all(qmp, held, theirs, err) == 0)
        return 0;
    held_close(held);
    return -1;
}

/* --- found again --- */

/* The number in /proc of QEMU's descriptor whose link begins with `begin`, and `*rest`, the number
 * behind that; -1 when there is none. */
static int find(struct process_fds *fds, const char *begin, uint64_t *rest)
{
    char link[PROCESS_FD_LINK_SIZE];
    process_fds_rewind(fds);
    for (int number; (number = process_fds_next(fds, link)) >= 0;)
        if (strncmp(link, begin, strlen(begin)) == 0) {
            *rest = strtoull(link + strlen(begin), NULL, 10);
            return number;
        }
    return -1;
}

/* The descriptor whose link begins so, as ours: -1 when QEMU has none. */
static int fetch(struct process_fds *fds, const char *begin, uint64_t *rest)
{
    int theirs = find(fds, begin, rest);
    return theirs < 0 ? -1 : process_fds_take(fds, theirs);
}

static int fetch_spool(struct process_fds *fds, const char *job, const char *direction,
                       const char *other_kind, int *file, int *other)
{
    uint64_t inode = 0, unused;
    CLEANUP_FREE char *begin = text_format("/memfd:mudanza-%s-%s-", job, direction);
    *file = fetch(fds, begin, &inode);
    CLEANUP_FREE char *name = text_format("%s:[%" PRIu64 "]", other_kind, inode);
    *other = *file < 0 ? -1 : fetch(fds, name, &unused);
    return *other < 0 ? -1 : 0;
}

int held_take(const struct process_id *process, const char *job, struct held *held,
              struct error **err)
{
    *held = HELD_NONE;
    struct process_fds fds;
    CLEANUP_CLOSE int pidfd = process_open(process, err);
    if (pidfd < 0 || process_fds_open(process->pid, pidfd, &fds, err) < 0)
        return -1;
    int result = fetch_spool(&fds, job, "from", "pipe", &held->from.file, &held->from.pipe) < 0 ||
                         fetch_spool(&fds, job, "to", "socket", &held->to.file, &held->socket) < 0
                     ? error_set(err, ERROR_NOT_FOUND, "QEMU holds nothing of job %s's stream", job)
                     : 0;
    process_fds_close(&fds);
    if (result < 0)
        held_close(held);
    return result;
}

void held_drop(struct qmp *qmp)
{
    static const char *const names[] = {SOCKET, PIPE, FROM, TO, THEIRS};
    bool silent = false; /* a QEMU that does not answer is not asked again and again */
    for (size_t i = 0; i < ARRAY_SIZE(names) && !silent; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        silent =
            qmp_execute(qmp, "closefd", json_pack("{s:s}", "fdname", names[i]), NULL, &err) < 0 &&
            err->kind == ERROR_TIMEOUT;
    }
}

bool held_has_spools(const struct held *held)
{
    return held->to.file >= 0;
}

void held_close(struct held *held)
{
    if (held->socket >= 0)
        close(held->socket);
    for (unsigned i = 0; i < held->channel_count; i++)
        close(held->channels[i]);
    spool_close(&held->from);
    spool_close(&held->to);
    *held = HELD_NONE;
}
