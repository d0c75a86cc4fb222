/* SPDX-License-Identifier: Apache-2.0 */
/* The local Varlink socket. */
#include "agent/local_socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "agent/api.h"
#include "base/fd.h"
#include "base/log.h"

static void serve(void *context, int fd, int stop_fd)
{
    struct ucred credentials;
    socklen_t size = sizeof(credentials);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
        close(fd);
        return;
    }
    struct api_caller caller = {.uid = credentials.uid,
                                .may_change = credentials.uid == 0 || credentials.uid == geteuid()};
    CLEANUP_ERROR struct error *err = NULL;
    struct varlink_connection *connection = varlink_connection_new(varlink_stream_fd(fd));
    if (varlink_serve(context, connection, &caller, stop_fd, &err) < 0)
        log_debug(NULL, "local connection: %s", err->message);
    varlink_connection_free(connection);
}

static int bind_socket(int fd, const char *path, struct error **err)
{
    struct sockaddr_un address;
    if (fd_unix_address(path, &address, err) < 0) {
        error_prefix(err, "socket %s", path);
        return error_hint(err, "choose a shorter one with --socket");
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        error_set(err, ERROR_EXISTS, "socket %s: another agent serves it", path);
        return error_hint(err, "stop that agent, or give this one its own --socket");
    }
    if (unlink(path) < 0 && errno != ENOENT)
        return error_errno(err, errno, "socket %s", path);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(path, 0666) < 0 ||
        listen(fd, 64) < 0)
        return error_errno(err, errno, "socket %s", path);
    return 0;
}

struct listener *local_socket_start(const char *path, struct varlink_service *service,
                                    struct error **err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_errno(err, errno, "socket");
        return NULL;
    }
    if (bind_socket(fd, path, err) < 0) {
        close(fd);
        return NULL;
    }
    return listener_start(fd, serve, service, err);
}
