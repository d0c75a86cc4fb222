/* SPDX-License-Identifier: Apache-2.0 */
/* A source's relay with multifd: QEMU's channels, read as they have something, merged into one. */
#include "migrate/relay_channels.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/* One read from the main channel. */
#define PIECE ((size_t)64 * 1024)
#define MAIN  MULTIFD_CHANNELS_MAX /* its place in `listened` */

struct relay_channels {
    const struct held *held;
    int stop_fd, epoll;
    relay_channels_put *put;
    void *context;
    struct multifd_merge *merge;
    bool dropping;
    bool listened[MAIN + 1], ended[MAIN + 1];
    uint8_t buffer[PIECE];
};

static int socket_of(const struct relay_channels *channels, unsigned place)
{
    return place == MAIN ? channels->held->socket : channels->held->channels[place];
}

static int put(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    const struct relay_channels *channels = context;
    return channels->put(channels->context, bytes, size, err);
}

/* What QEMU has told us to be there is there, or about to come. */
static ssize_t read_channel(void *context, unsigned channel, uint8_t *buffer, size_t size,
                            struct error **err)
{
    const struct relay_channels *channels = context;
    const int fd = socket_of(channels, channel);
    for (;;) {
        const ssize_t got = read(fd, buffer, size);
        if (got >= 0)
            return got;
        if (errno != EINTR && errno != EAGAIN)
            return error_errno(err, errno, "reading from QEMU");
        if (fd_wait(fd, POLLIN, channels->stop_fd, DEADLINE_NEVER, err) < 0)
            return -1;
    }
}

/* A channel is listened to while what it says is wanted. */
static int listen_to(struct relay_channels *channels, unsigned place, bool wanted,
                     struct error **err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = place};
    if (channels->listened[place] == wanted)
        return 0;
    channels->listened[place] = wanted;
    return epoll_ctl(channels->epoll, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
                     socket_of(channels, place), &event) < 0
               ? error_errno(err, errno, "epoll_ctl")
               : 0;
}

static int listen_all(struct relay_channels *channels, struct error **err)
{
    for (unsigned i = 0; i < channels->held->channel_count; i++)
        if (listen_to(channels, i,
                      !channels->ended[i] &&
                          (channels->dropping || !multifd_merge_waits(channels->merge, i)),
                      err) < 0)
            return -1;
    return listen_to(channels, MAIN, !channels->ended[MAIN], err);
}

struct relay_channels *relay_channels_new(const struct held *held, int stop_fd,
                                          relay_channels_put *sink, void *context,
                                          struct error **err)
{
    struct relay_channels *channels = malloc(sizeof(*channels));
    if (!channels) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    *channels = (struct relay_channels){.held = held,
                                        .stop_fd = stop_fd,
                                        .put = sink,
                                        .context = context,
                                        .epoll = epoll_create1(EPOLL_CLOEXEC)};
    const struct multifd_merge_ends ends = {put, read_channel, channels};
    bool made = true;
    if (channels->epoll < 0)
        made = error_errno(err, errno, "epoll_create1") == 0;
    for (unsigned i = 0; made && i < held->channel_count; i++)
        made = fd_set_nonblocking(held->channels[i], true, err) == 0;
    if (made)
        channels->merge = multifd_merge_new(held->channel_count, ends, err);
    if (channels->merge && listen_all(channels, err) == 0)
        return channels;
    relay_channels_free(channels);
    return NULL;
}

void relay_channels_free(struct relay_channels *channels)
{
    if (!channels)
        return;
    multifd_merge_free(channels->merge);
    if (channels->epoll >= 0)
        close(channels->epoll);
    free(channels);
}

int relay_channels_fd(const struct relay_channels *channels)
{
    return channels->epoll;
}

static int take_main(struct relay_channels *channels, struct error **err)
{
    const ssize_t got = read(channels->held->socket, channels->buffer, PIECE);
    if (got > 0)
        return multifd_merge_main(channels->merge, channels->buffer, (size_t)got, err);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : error_errno(err, errno, "reading from QEMU");
    channels->ended[MAIN] = true;
    return multifd_merge_finish(channels->merge, err);
}

static int take(struct relay_channels *channels, unsigned place, struct error **err)
{
    if (place == MAIN)
        return take_main(channels, err);
    if (multifd_merge_waits(channels->merge, place)) /* since the main one was read, just now */
        return 0;
    const int more = multifd_merge_channel(channels->merge, place, err);
    channels->ended[place] = more == 0;
    return more < 0 ? -1 : 0;
}

static int await(struct relay_channels *channels, struct epoll_event events[MAIN + 1])
{
    return epoll_wait(channels->epoll, events, MAIN + 1, 0);
}

int relay_channels_turn(struct relay_channels *channels, bool *open, struct error **err)
{
    struct epoll_event events[MAIN + 1];
    const int count = await(channels, events);
    if (count < 0 && errno != EINTR)
        return error_errno(err, errno, "epoll_wait");
    for (int i = 0; i < count; i++)
        if (take(channels, events[i].data.u32, err) < 0)
            return -1;
    *open = !channels->ended[MAIN];
    return listen_all(channels, err);
}

void relay_channels_drop(struct relay_channels *channels, bool *open)
{
    struct epoll_event events[MAIN + 1];
    channels->dropping = true;
    bool failed = listen_all(channels, NULL) < 0;
    const int count = await(channels, events);
    for (int i = 0; i < count; i++) {
        const unsigned place = events[i].data.u32;
        const ssize_t got = read(socket_of(channels, place), channels->buffer, PIECE);
        channels->ended[place] = got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN);
    }
    failed |= listen_all(channels, NULL) < 0;
    *open = !failed && !channels->ended[MAIN];
    for (unsigned i = 0; !failed && i < channels->held->channel_count; i++)
        *open |= !channels->ended[i];
}
