/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QMP client: commands from any thread, events as they come.
 *
 * One reader thread a connection. Commands carry an id and wait for their reply; events are handed
 * to the handler from the reader thread, in order, which must not block and must not execute
 * commands itself. Protocol: QEMU's docs/interop/qmp-spec.
 */
#ifndef QEMU_QMP_H
#define QEMU_QMP_H

#include <stdint.h>

#include "base/error.h"
#include "base/json.h"

struct qmp;

struct qmp_handler {
    /* `data` is borrowed and may be NULL; received_ns is the monotonic time of arrival. */
    void (*event)(void *context, const char *name, const json_t *data, int64_t received_ns);
    /* The connection is gone: QEMU ended, or closed it. Called once, last. Not called when
     * qmp_close was the cause. */
    void (*closed)(void *context);
    void *context;
};

/* Connects, takes the greeting, negotiates capabilities. QEMU serves one client at a time: an agent
 * that reconnects after its own death finds the socket free. */
struct qmp *qmp_connect(const char *socket_path, const struct qmp_handler *handler, int cancel_fd,
                        int64_t deadline_ns, struct error **err);

/* The same over a socket that is connected already, e.g. one end of a pair whose other end QEMU
 * got. `fd` is taken over, also on error. */
struct qmp *qmp_attach(int fd, const struct qmp_handler *handler, int cancel_fd,
                       int64_t deadline_ns, struct error **err);

/* Ends the reader thread and frees; NULL is fine. No command may be under way in another thread. */
void qmp_close(struct qmp *qmp);

/* The QEMU version of the greeting, e.g. 10 * 1000 + 0 -> major * 1000 + minor. */
int qmp_version(const struct qmp *qmp);

/* Default deadline of a command; QEMU answers all we use within milliseconds unless it hangs. */
#define QMP_TIMEOUT_MS 30000

/* The longest message taken from QEMU, bytes; its longest replies are below 2 MiB. */
#define QMP_MESSAGE_MAX 16777216

/*
 * Executes one command. `arguments` is taken over (NULL: none). *reply (may be NULL) is the
 * "return" member, owned by the caller. A QMP error is ERROR_QEMU with "COMMAND: description"; so
 * is the end of QEMU while it waits ("COMMAND: the QEMU process ended"; with sys_errno EPIPE when
 * QEMU was gone before any of the command was sent). ERROR_TIMEOUT when QEMU does not answer.
 */
int qmp_execute(struct qmp *qmp, const char *command, json_t *arguments, json_t **reply,
                struct error **err);

/* The same with a descriptor passed along (getfd, add-fd). The caller keeps its own copy. */
int qmp_execute_fd(struct qmp *qmp, const char *command, json_t *arguments, int fd, json_t **reply,
                   struct error **err);

/* Both, with a time limit of the caller's; fd -1: none. A reply that comes later is dropped. */
int qmp_execute_timeout(struct qmp *qmp, const char *command, json_t *arguments, int fd,
                        int64_t timeout_ms, json_t **reply, struct error **err);

/* A human monitor command line; *output is owned by the caller. */
int qmp_human(struct qmp *qmp, const char *line, char **output, struct error **err);

#endif
