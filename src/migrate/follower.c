/* SPDX-License-Identifier: Apache-2.0 */
/* What the destination tells of a job, over a control connection that comes back. */
#include "migrate/follower.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

/* Between two attempts to connect, and for one: TCP repeats a lost SYN ever more rarely. */
#define AGAIN_MS   250
#define ATTEMPT_MS 2000

struct follower {
    const struct migrate_context *context;
    const struct peer *peer;
    const char *job;
    int event_fd, wake_fd, stop_fd;
    pthread_t thread;
    bool started;

    /* The thread's own. */
    struct varlink_connection *connection;
    int64_t heard;    /* events */
    int64_t broke_ns; /* since when there is no connection; 0: there is one */

    pthread_mutex_t lock;
    json_t *events;      /* guarded by lock: those to be handed out */
    struct error *error; /* guarded by lock: why none comes any more */
    bool renew;          /* guarded by lock */
};

static int ask(struct follower *f, struct error **err)
{
    struct peer peer = *f->peer;
    if (f->broke_ns)
        peer.connect_ms = ATTEMPT_MS;
    f->connection = peer_find_control(f->context->store, &peer, f->stop_fd, err);
    if (!f->connection)
        return -1;
    return varlink_call_more(f->connection, "io.mudanza.Peer.Receive",
                             json_pack("{s:s, s:I}", "job", f->job, "from", (json_int_t)f->heard),
                             f->stop_fd, clock_deadline_ns(PEER_CONNECT_MS), err);
}

static void end(struct follower *f, struct error *why)
{
    pthread_mutex_lock(&f->lock);
    f->error = why;
    pthread_mutex_unlock(&f->lock);
    fd_event_signal(f->event_fd);
}

/* Without a connection: is it worth another attempt? Takes `why` over. */
static bool try_again(struct follower *f, struct error *why)
{
    int64_t now_ns = clock_now_ns();
    varlink_connection_free(STEAL(f->connection));
    if (!f->broke_ns) {
        log_info(NULL, "host %s: following job %s: %s; trying again", f->peer->host.name, f->job,
                 why->message);
        f->broke_ns = now_ns;
    }
    if (now_ns - f->broke_ns < f->context->peer_lost_ms * NS_PER_MS) {
        error_free(why);
        return fd_wait(f->stop_fd, POLLIN, -1, clock_deadline_ns(AGAIN_MS), NULL) < 0;
    }
    error_prefix(&why, "no connection for %g s", (double)f->context->peer_lost_ms / 1000);
    end(f, why);
    return false;
}

/* One message. 1: go on. 0: that was the last one. -1: the connection broke, or *refused. */
static int hear(struct follower *f, bool *refused, struct error **err)
{
    json_t *event = NULL;
    bool continues = false;
    if (varlink_next(f->connection, &event, &continues, f->stop_fd,
                     clock_deadline_ns(PEER_CONNECT_MS), err) < 0) {
        *refused = !varlink_connection_awaiting(f->connection);
        return error_prefix(err, "host %s", f->peer->host.name);
    }
    f->heard++;
    pthread_mutex_lock(&f->lock);
    json_array_append_new(f->events, event);
    pthread_mutex_unlock(&f->lock);
    fd_event_signal(f->event_fd);
    return continues;
}

static bool renewal(struct follower *f)
{
    LOCK_SCOPE(&f->lock);
    bool renew = f->renew;
    f->renew = false;
    return renew;
}

/* 1: go on. 0: over. -1: the connection is of no use any more, or *refused. */
static int turn(struct follower *f, bool *refused, struct error **err)
{
    if (!f->connection && ask(f, err) < 0)
        return -1;
    f->broke_ns = 0;
    struct pollfd polls[] = {{.fd = varlink_connection_fd(f->connection), .events = POLLIN},
                             {.fd = f->wake_fd, .events = POLLIN},
                             {.fd = f->stop_fd, .events = POLLIN}};
    bool pending = varlink_connection_pending(f->connection);
    if (poll(polls, ARRAY_SIZE(polls), pending ? 0 : -1) < 0 && errno != EINTR)
        return error_errno(err, errno, "poll");
    if (polls[2].revents)
        return 0;
    fd_event_clear(f->wake_fd);
    if (renewal(f))
        return error_set(err, ERROR_UNREACHABLE, "the network was away");
    return polls[0].revents || pending ? hear(f, refused, err) : 1;
}

static void *follower_run(void *argument)
{
    struct follower *f = argument;
    for (;;) {
        struct error *why = NULL;
        bool refused = false;
        int result = turn(f, &refused, &why);
        if (result == 0)
            return NULL;
        if (result < 0 && refused) {
            end(f, why);
            return NULL;
        }
        if (result < 0 && !try_again(f, why))
            return NULL;
    }
}

struct follower *follower_start(const struct migrate_context *context, const struct peer *peer,
                                const char *job, struct error **err)
{
    struct follower *f = calloc(1, sizeof(*f));
    if (!f) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    f->context = context;
    f->peer = peer;
    f->job = job;
    f->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->events = json_array();
    pthread_mutex_init(&f->lock, NULL);
    int failed = pthread_create(&f->thread, NULL, follower_run, f);
    f->started = !failed;
    if (f->started)
        return f;
    error_errno(err, failed, "follower thread");
    follower_stop(f);
    return NULL;
}

int follower_event_fd(const struct follower *f)
{
    return f->event_fd;
}

int follower_next(struct follower *f, json_t **event, struct error **err)
{
    LOCK_SCOPE(&f->lock);
    if (json_array_size(f->events)) {
        *event = json_incref(json_array_get(f->events, 0));
        json_array_remove(f->events, 0);
        return 1;
    }
    fd_event_clear(f->event_fd);
    return f->error ? error_move(err, STEAL(f->error)) : 0;
}

void follower_renew(struct follower *f)
{
    pthread_mutex_lock(&f->lock);
    f->renew = true;
    pthread_mutex_unlock(&f->lock);
    fd_event_signal(f->wake_fd);
}

void follower_stop(struct follower *f)
{
    if (!f)
        return;
    fd_event_signal(f->stop_fd);
    if (f->started)
        pthread_join(f->thread, NULL);
    varlink_connection_free(f->connection);
    close(f->event_fd);
    close(f->wake_fd);
    close(f->stop_fd);
    json_decref(f->events);
    error_free(f->error);
    pthread_mutex_destroy(&f->lock);
    free(f);
}
