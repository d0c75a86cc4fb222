/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is below a TLS session: an OpenSSL BIO with large buffers between it and the socket.
 *
 * OpenSSL gives each record of 16 KiB to the kernel in its own write(2), which raises SIGPIPE when
 * the peer is gone. Here up to 16 records are encrypted first and leave in one send(2). It also
 * means that SSL_write never stops half way, so there is always a record boundary at which the key
 * can be updated. On the way in, OpenSSL's own read-ahead would do, but it moves all it has read
 * ahead to the front of its buffer for each record.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "wire/openssl.h"
#include "wire/tls_internal.h"

/* Input in one call of the kernel; output of a batch with each record's overhead, and room for what
 * the protocol itself has to say. */
#define IN_CAPACITY  ((size_t)256 * 1024)
#define OUT_CAPACITY (TLS_BATCH_SIZE + TLS_BATCH_RECORDS * (size_t)256 + TLS_RECORD_SIZE)

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int bio_write(BIO *bio, const char *data, int size)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (OUT_CAPACITY - tls->out_end < (size_t)size) {
        BIO_set_retry_write(bio);
        return -1;
    }
    memcpy(tls->out + tls->out_end, data, (size_t)size);
    tls->out_end += (size_t)size;
    return size;
}

/* Fills the empty input buffer. Returns what recv(2) does. */
static ssize_t receive(struct tls *tls)
{
    ssize_t got;
    do
        got = recv(tls->fd, tls->in, IN_CAPACITY, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    tls->in_start = 0;
    tls->in_end = got > 0 ? (size_t)got : 0;
    return got;
}

static int bio_read(BIO *bio, char *data, int size)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t got = tls->in_start < tls->in_end ? 1 : receive(tls);
    if (got <= 0) {
        if (got == 0)
            tls->eof = true;
        else if (errno == EAGAIN)
            BIO_set_retry_read(bio);
        else
            tls->sys_errno = errno;
        return (int)got;
    }
    size_t have = tls->in_end - tls->in_start;
    if (have > (size_t)size)
        have = (size_t)size;
    memcpy(data, tls->in + tls->in_start, have);
    tls->in_start += have;
    return (int)have;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    const struct tls *tls = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_FLUSH) /* tls_flush does it, when it may wait */
        return 1;
    return command == BIO_CTRL_EOF && tls->eof;
}

static void method_make(void)
{
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    if (made && BIO_meth_set_write(made, bio_write) && BIO_meth_set_read(made, bio_read) &&
        BIO_meth_set_ctrl(made, bio_control))
        method = made;
    else
        BIO_meth_free(made);
}

int tls_bio_attach(struct tls *tls, struct error **err)
{
    pthread_once(&method_once, method_make);
    tls->in = malloc(IN_CAPACITY);
    tls->out = malloc(OUT_CAPACITY);
    BIO *bio = method ? BIO_new(method) : NULL;
    if (!tls->in || !tls->out || !bio) {
        BIO_free(bio);
        return error_set(err, ERROR_SYSTEM, "out of memory");
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio); /* both uses share the one reference */
    return 0;
}

int tls_flush(struct tls *tls)
{
    while (tls->out_start < tls->out_end) {
        ssize_t sent = send(tls->fd, tls->out + tls->out_start, tls->out_end - tls->out_start,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) {
            tls->out_start += (size_t)sent;
        } else if (errno == EAGAIN) {
            return 0;
        } else if (errno != EINTR) {
            tls->sys_errno = errno;
            return -1;
        }
    }
    tls->out_start = tls->out_end = 0;
    return 1;
}
