/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing of TLS sessions.
 *
 * Writes go in batches: up to 256 KiB are encrypted into the output buffer, and are reported as
 * written only once the kernel has all of it. A batch that would block stays in the buffer; the
 * next call, with the same bytes, goes on sending it. Reads hand out everything that is already
 * here, record by record, up to the caller's size.
 */
#include <poll.h>
#include <string.h>

#include "base/fd.h"
#include "wire/openssl.h"
#include "wire/tls_internal.h"

/* What a failed session answers after its first error. */
static int failed_before(struct tls *tls, struct error **err)
{
    if (tls->late)
        return error_move(err, STEAL(tls->late));
    return error_set(err, ERROR_UNREACHABLE, "%s: the connection has failed before", tls->name);
}

/* Looks at cancel_fd alone: a peer that never pauses must not keep us from seeing it. */
static int check_cancel(const struct tls *tls, int cancel_fd, struct error **err)
{
    struct pollfd cancel = {.fd = cancel_fd, .events = POLLIN};
    if (cancel_fd >= 0 && poll(&cancel, 1, 0) > 0)
        return error_set(err, ERROR_CANCELLED, "%s: cancelled", tls->name);
    return 0;
}

static int wait_for(const struct tls *tls, short want, int cancel_fd, int64_t deadline_ns,
                    struct error **err)
{
    if (fd_wait(tls->fd, want, cancel_fd, deadline_ns, err) < 0)
        return error_prefix(err, "%s", tls->name);
    return 0;
}

static int read_error(struct tls *tls, int ssl_error, struct error **err)
{
    tls->failed = true;
    tls_error(tls, ssl_error, err);
    tls_flush(tls); /* our alert, if there is one */
    return -1;
}

/* Decrypts what is here without taking it. Returns 1 when a read would return bytes or the end at
 * once, 0 when it would wait, -1 on error. */
static int peek(struct tls *tls, struct error **err)
{
    size_t got = 0;
    char byte;
    ERR_clear_error();
    int result = SSL_peek_ex(tls->ssl, &byte, 1, &got);
    int ssl_error = SSL_get_error(tls->ssl, result);
    if (result == 1 || ssl_error == SSL_ERROR_ZERO_RETURN)
        return 1;
    if (ssl_error == SSL_ERROR_WANT_READ || ssl_error == SSL_ERROR_WANT_WRITE)
        return 0;
    return read_error(tls, ssl_error, err);
}

/* One SSL_read. Returns its bytes; 0 with *closed or *want set; -1 on error. */
static ssize_t read_record(struct tls *tls, void *buffer, size_t size, short *want, bool *closed,
                           struct error **err)
{
    size_t got = 0;
    ERR_clear_error();
    int result = SSL_read_ex(tls->ssl, buffer, size, &got);
    if (result == 1)
        return (ssize_t)got;
    int ssl_error = SSL_get_error(tls->ssl, result);
    switch (ssl_error) {
    case SSL_ERROR_ZERO_RETURN:
        *closed = true;
        return 0;
    case SSL_ERROR_WANT_READ:
        *want = POLLIN;
        return 0;
    case SSL_ERROR_WANT_WRITE: /* an answer of the protocol's own does not fit behind our output */
        *want = POLLOUT;
        return tls_flush(tls) < 0 ? tls_error(tls, SSL_ERROR_SYSCALL, err) : 0;
    default:
        return read_error(tls, ssl_error, err);
    }
}

/* Everything that is here, up to `size`. A failure behind the first bytes waits in tls->late. */
static ssize_t read_here(struct tls *tls, void *buffer, size_t size, short *want, bool *closed,
                         struct error **err)
{
    if (tls->failed)
        return failed_before(tls, err);
    size_t done = 0;
    while (done < size && !tls->failed) {
        ssize_t got = read_record(tls, (char *)buffer + done, size - done, want, closed,
                                  done ? &tls->late : err);
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    if (done == 0)
        return tls->failed ? -1 : 0;
    *closed = false; /* it will be said again */
    return (ssize_t)done;
}

ssize_t tls_try_read(struct tls *tls, void *buffer, size_t size, short *want, struct error **err)
{
    bool closed = false;
    ssize_t got = read_here(tls, buffer, size, want, &closed, err);
    if (closed)
        return error_set(err, ERROR_UNREACHABLE, "%s: closed by the peer", tls->name);
    return got;
}

ssize_t tls_read(struct tls *tls, void *buffer, size_t size, int cancel_fd, int64_t deadline_ns,
                 struct error **err)
{
    if (check_cancel(tls, cancel_fd, err) < 0)
        return -1;
    for (;;) {
        bool closed = false;
        short want = POLLIN;
        ssize_t got = read_here(tls, buffer, size, &want, &closed, err);
        if (got != 0 || closed)
            return got;
        if (wait_for(tls, want, cancel_fd, deadline_ns, err) < 0)
            return -1;
    }
}

int tls_read_full(struct tls *tls, void *buffer, size_t size, int cancel_fd, int64_t deadline_ns,
                  struct error **err)
{
    for (size_t done = 0; done < size;) {
        ssize_t got =
            tls_read(tls, (char *)buffer + done, size - done, cancel_fd, deadline_ns, err);
        if (got < 0)
            return -1;
        if (got == 0)
            return error_set(err, ERROR_UNREACHABLE,
                             "%s: closed by the peer after %zu of %zu bytes", tls->name, done,
                             size);
        done += (size_t)got;
    }
    return 0;
}

/* Encrypts a batch into the empty output buffer, under a new key if the present one has done
 * enough. */
static int encrypt(struct tls *tls, const void *buffer, size_t size, struct error **err)
{
    size_t written = 0;
    ERR_clear_error();
    if (tls->records + TLS_BATCH_RECORDS > tls->record_limit) {
        if (!SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED))
            return tls_error(tls, SSL_ERROR_SSL, err);
        tls->records = 0;
    }
    int result = SSL_write_ex(tls->ssl, buffer, size, &written);
    if (result != 1)
        return tls_error(tls, SSL_get_error(tls->ssl, result), err);
    tls->records += (size + TLS_RECORD_SIZE - 1) / TLS_RECORD_SIZE;
    return 0;
}

/*
 * The kernel no longer takes our bytes. When the peer has refused our key, its alert is here and
 * says more than the broken pipe. Bytes of the peer that are here stay readable.
 */
static int write_error(struct tls *tls, struct error **err)
{
    int errnum = tls->sys_errno;
    CLEANUP_ERROR struct error *problem = NULL;
    tls->write_broken = true;
    tls->sys_errno = 0;
    if (!tls->failed && peek(tls, &problem) < 0 && problem->kind == ERROR_DENIED)
        return error_move(err, STEAL(problem));
    tls->sys_errno = errnum;
    return tls_error(tls, SSL_ERROR_SYSCALL, err);
}

ssize_t tls_try_write(struct tls *tls, const void *buffer, size_t size, short *want,
                      struct error **err)
{
    if (tls->write_broken)
        return failed_before(tls, err);
    if (size < tls->accepted)
        return error_set(err, ERROR_INTERNAL, "%s: a write was not repeated with its bytes",
                         tls->name);
    int flushed = tls_flush(tls);
    if (flushed > 0 && tls->accepted == 0) {
        size_t batch = size < TLS_BATCH_SIZE ? size : TLS_BATCH_SIZE;
        if (encrypt(tls, buffer, batch, err) < 0) {
            tls->write_broken = true;
            return -1;
        }
        tls->accepted = batch;
        flushed = tls_flush(tls);
    }
    if (flushed < 0)
        return write_error(tls, err);
    if (flushed == 0) {
        *want = POLLOUT;
        return 0;
    }
    size_t done = tls->accepted;
    tls->accepted = 0;
    return (ssize_t)done;
}

int tls_write(struct tls *tls, const void *buffer, size_t size, int cancel_fd, int64_t deadline_ns,
              struct error **err)
{
    for (size_t done = 0; done < size;) {
        short want = 0;
        ssize_t written = -1;
        if (check_cancel(tls, cancel_fd, err) == 0)
            written = tls_try_write(tls, (const char *)buffer + done, size - done, &want, err);
        if (written < 0 || (written == 0 && wait_for(tls, want, cancel_fd, deadline_ns, err) < 0)) {
            if (done > 0 || tls->accepted > 0)
                tls->write_broken = true;
            return -1;
        }
        done += (size_t)written;
    }
    return 0;
}

bool tls_pending(struct tls *tls)
{
    if (tls->late || SSL_pending(tls->ssl) > 0)
        return true;
    if (tls->failed || (tls->in_start == tls->in_end && !SSL_has_pending(tls->ssl)))
        return false;
    /* Undecrypted bytes are here; only decrypting tells whether they are a whole record. */
    return peek(tls, &tls->late) != 0;
}

static ssize_t stream_read(void *context, void *buffer, size_t size, int cancel_fd,
                           int64_t deadline_ns, struct error **err)
{
    return tls_read(context, buffer, size, cancel_fd, deadline_ns, err);
}

static int stream_write(void *context, const void *buffer, size_t size, int cancel_fd,
                        int64_t deadline_ns, struct error **err)
{
    return tls_write(context, buffer, size, cancel_fd, deadline_ns, err);
}

static bool stream_pending(void *context)
{
    return tls_pending(context);
}

static int stream_fd(void *context)
{
    return tls_fd(context);
}

static void stream_close(void *context)
{
    tls_close(context);
}

struct varlink_stream tls_varlink_stream(struct tls *tls)
{
    static const struct varlink_stream_ops ops = {
        .read = stream_read,
        .write = stream_write,
        .pending = stream_pending,
        .fd = stream_fd,
        .close = stream_close,
    };
    return (struct varlink_stream){.ops = &ops, .context = tls};
}
