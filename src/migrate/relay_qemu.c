/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's side of a relay: its bytes, directly or through spools. */
#include "migrate/relay_qemu.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

/* So many bytes the other end keeps for nothing, before it knows. */
#define TELL_EACH ((uint64_t)256 << 10)

int relay_qemu_init(struct relay_qemu *qemu, struct held *held, struct error **err)
{
    *qemu = (struct relay_qemu){.held = *held, .open = true};
    *held = HELD_NONE;
    return fd_set_nonblocking(qemu->held.socket, true, err);
}

void relay_qemu_close(struct relay_qemu *qemu)
{
    held_close(&qemu->held);
}

int relay_qemu_go_on(struct relay_qemu *qemu, uint64_t from, struct error **err)
{
    bool open; /* is found out again when all else has been read */
    if (spool_check(&qemu->held.from, from, err) < 0 ||
        spool_fill(&qemu->held.from, qemu->held.socket, &open, err) < 0)
        return -1;
    qemu->from_spooled = qemu->to_spooled = true;
    qemu->taken = qemu->held.from.released = from;
    qemu->given = qemu->put = qemu->told = spool_position(&qemu->held.to);
    return 0;
}

int relay_qemu_spool_from(struct relay_qemu *qemu, const uint8_t *last, size_t size,
                          struct error **err)
{
    qemu->from_spooled = true;
    if (spool_put(&qemu->held.from, qemu->taken - size, last, size, err) < 0)
        return -1;
    return qemu->taken ? spool_begin(&qemu->held.from, qemu->taken, err) : 0;
}

int relay_qemu_spool_to(struct relay_qemu *qemu, uint64_t position, struct error **err)
{
    if (!held_has_spools(&qemu->held) || qemu->to_spooled || position != qemu->given)
        return error_set(err, ERROR_CORRUPT,
                         "spooling begins at %" PRIu64 ", but the stream is at %" PRIu64, position,
                         qemu->given);
    qemu->to_spooled = true;
    qemu->put = qemu->told = position;
    return position ? spool_begin(&qemu->held.to, position, err) : 0;
}

static ssize_t read_spool(struct relay_qemu *qemu, void *buffer, size_t size, struct error **err)
{
    bool open = true;
    if (!relay_qemu_has_more(qemu) &&
        spool_fill(&qemu->held.from, qemu->held.socket, &open, err) < 0)
        return -1;
    uint64_t have = spool_position(&qemu->held.from) - qemu->taken;
    qemu->open = open || have;
    size_t count = have < size ? (size_t)have : size;
    if (count && spool_read(&qemu->held.from, qemu->taken, buffer, count, err) < 0)
        return -1;
    qemu->taken += count;
    return (ssize_t)count;
}

ssize_t relay_qemu_read(struct relay_qemu *qemu, void *buffer, size_t size, struct error **err)
{
    if (qemu->from_spooled)
        return read_spool(qemu, buffer, size, err);
    ssize_t got = read(qemu->held.socket, buffer, size);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : error_errno(err, errno, "reading from QEMU");
    qemu->open = got > 0;
    qemu->taken += (uint64_t)got;
    return got;
}

bool relay_qemu_has_more(const struct relay_qemu *qemu)
{
    return qemu->from_spooled && spool_position(&qemu->held.from) > qemu->taken;
}

static int write_spool(struct relay_qemu *qemu, const uint8_t *bytes, size_t size,
                       struct error **err)
{
    uint64_t end = qemu->given + size;
    if (qemu->put < end && spool_put(&qemu->held.to, qemu->put, bytes + (qemu->put - qemu->given),
                                     (size_t)(end - qemu->put), err) < 0)
        return -1;
    qemu->put = end;
    if (spool_drain(&qemu->held.to, qemu->held.socket, end, err) < 0)
        return -1;
    spool_release_taken(&qemu->held.to, qemu->held.socket);
    return 0;
}

int relay_qemu_write(struct relay_qemu *qemu, const uint8_t **bytes, size_t *size,
                     struct error **err)
{
    size_t moved;
    if (qemu->to_spooled) {
        if (write_spool(qemu, *bytes, *size, err) < 0)
            return -1;
        moved = (size_t)(spool_position(&qemu->held.to) - qemu->given);
    } else {
        ssize_t put = send(qemu->held.socket, *bytes, *size, MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN && errno != EINTR)
            return error_errno(err, errno, "QEMU took no more of the stream");
        moved = put < 0 ? 0 : (size_t)put;
    }
    qemu->given += moved;
    *bytes += moved;
    *size -= moved;
    return 0;
}

void relay_qemu_given(struct relay_qemu *qemu, uint64_t position)
{
    qemu->given = position;
}

int relay_qemu_released(struct relay_qemu *qemu, uint64_t position, struct error **err)
{
    if (!qemu->from_spooled || position > qemu->taken)
        return error_set(err, ERROR_CORRUPT,
                         "the peer has %" PRIu64 " bytes of the stream, of %" PRIu64, position,
                         qemu->taken);
    spool_release(&qemu->held.from, position);
    return 0;
}

bool relay_qemu_should_tell(const struct relay_qemu *qemu)
{
    return qemu->to_spooled && qemu->given - qemu->told >= TELL_EACH;
}
