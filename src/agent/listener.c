/* SPDX-License-Identifier: Apache-2.0 */
/* A listening socket with one thread that accepts, and one a connection. */
#include "agent/listener.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

struct listener {
    int fd, stop_fd;
    listener_serve *serve;
    void *context;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t less;
    unsigned connections; /* guarded by lock */
};

struct connection {
    struct listener *listener;
    int fd;
};

static void *serve_connection(void *argument)
{
    struct connection *connection = argument;
    struct listener *listener = connection->listener;
    listener->serve(listener->context, connection->fd, listener->stop_fd);
    free(connection);
    pthread_mutex_lock(&listener->lock);
    listener->connections--;
    pthread_cond_signal(&listener->less);
    pthread_mutex_unlock(&listener->lock);
    return NULL;
}

static bool count_in(struct listener *listener)
{
    LOCK_SCOPE(&listener->lock);
    if (listener->connections >= LISTENER_CONNECTIONS_MAX)
        return false;
    listener->connections++;
    return true;
}

static void start_connection(struct listener *listener, int fd)
{
    pthread_t thread;
    struct connection *connection = calloc(1, sizeof(*connection));
    if (connection && count_in(listener)) {
        *connection = (struct connection){.listener = listener, .fd = fd};
        if (pthread_create(&thread, NULL, serve_connection, connection) == 0) {
            pthread_detach(thread);
            return;
        }
        pthread_mutex_lock(&listener->lock);
        listener->connections--;
        pthread_mutex_unlock(&listener->lock);
    }
    log_warning(NULL, "too many connections: one more is refused");
    free(connection);
    close(fd);
}

static void *accept_loop(void *argument)
{
    struct listener *listener = argument;
    CLEANUP_ERROR struct error *err = NULL;
    while (fd_wait(listener->fd, POLLIN, listener->stop_fd, DEADLINE_NEVER, &err) == 0) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            start_connection(listener, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
            log_error(NULL, "no more descriptors or memory for connections");
            /* The pending one stays pending: wait for one of ours to end before looking again. */
            pthread_mutex_lock(&listener->lock);
            if (listener->connections)
                pthread_cond_wait(&listener->less, &listener->lock);
            pthread_mutex_unlock(&listener->lock);
        }
    }
    return NULL;
}

struct listener *listener_start(int fd, listener_serve *serve, void *context, struct error **err)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    if (!listener) {
        close(fd);
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    listener->fd = fd;
    listener->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    listener->serve = serve;
    listener->context = context;
    pthread_mutex_init(&listener->lock, NULL);
    pthread_cond_init(&listener->less, NULL);
    int failed = pthread_create(&listener->thread, NULL, accept_loop, listener);
    if (!failed)
        return listener;
    error_errno(err, failed, "listener thread");
    close(listener->fd);
    close(listener->stop_fd);
    free(listener);
    return NULL;
}

void listener_stop(struct listener *listener)
{
    if (!listener)
        return;
    fd_event_signal(listener->stop_fd);
    pthread_join(listener->thread, NULL);
    pthread_mutex_lock(&listener->lock);
    while (listener->connections)
        pthread_cond_wait(&listener->less, &listener->lock);
    pthread_mutex_unlock(&listener->lock);
    close(listener->fd);
    close(listener->stop_fd);
    pthread_mutex_destroy(&listener->lock);
    pthread_cond_destroy(&listener->less);
    free(listener);
}
