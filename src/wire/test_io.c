/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of reading and writing on established sessions. */
#include "base/test.h"

#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "wire/testing.h"
#include "wire/tls_internal.h"

/* More than loopback's buffers can ever hold. */
#define LARGE ((size_t)24 * 1024 * 1024)

static int setup(void **state)
{
    testing_setup(state);
    testing_connect(*state);
    return 0;
}

/* The byte at `position` of a stream in which every position can be told from its neighbours. */
static uint8_t pattern(uint64_t position, uint8_t seed)
{
    return (uint8_t)((position * UINT64_C(0x9e3779b97f4a7c15) >> 56) ^ seed);
}

static void fill(uint8_t *bytes, size_t size, uint64_t position, uint8_t seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = pattern(position + i, seed);
}

static void assert_pattern(const uint8_t *bytes, size_t size, uint64_t position, uint8_t seed)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != pattern(position + i, seed))
            fail_msg("wrong byte at %llu", (unsigned long long)(position + i));
}

/* One end of a transfer in both directions at once. */
struct end {
    struct tls *tls;
    uint8_t seed;
    uint64_t written;
    uint64_t read;
    size_t ready; /* bytes in `out` that are filled for position `written` */
    uint8_t out[300 * 1000], in[100 * 1000];
};

static void end_write(struct end *end, short *want)
{
    CLEANUP_ERROR struct error *err = NULL;
    while (end->written < LARGE) {
        if (end->ready == 0) {
            end->ready = sizeof(end->out);
            if (end->ready > LARGE - end->written)
                end->ready = LARGE - end->written;
            fill(end->out, end->ready, end->written, end->seed);
        }
        short wants = 0;
        ssize_t done = tls_try_write(end->tls, end->out, end->ready, &wants, &err);
        assert_ok((int)done, err);
        *want = (short)(*want | wants);
        if (done == 0)
            return;
        memmove(end->out, end->out + done, end->ready - (size_t)done);
        end->ready -= (size_t)done;
        end->written += (uint64_t)done;
    }
}

static void end_read(struct end *end, uint8_t seed, short *want)
{
    CLEANUP_ERROR struct error *err = NULL;
    while (end->read < LARGE) {
        short wants = 0;
        ssize_t got = tls_try_read(end->tls, end->in, sizeof(end->in), &wants, &err);
        assert_ok((int)got, err);
        *want = (short)(*want | wants);
        if (got == 0)
            return;
        assert_pattern(end->in, (size_t)got, end->read, seed);
        end->read += (uint64_t)got;
    }
}

static void transfer_both_ways(struct tls *one, struct tls *other)
{
    struct end *ends = calloc(2, sizeof(*ends));
    ends[0].tls = one;
    ends[1].tls = other;
    ends[1].seed = 0x55;
    while (ends[0].read < LARGE || ends[1].read < LARGE) {
        struct pollfd polls[2] = {{.fd = tls_fd(one)}, {.fd = tls_fd(other)}};
        for (int i = 0; i < 2; i++) {
            end_write(&ends[i], &polls[i].events);
            end_read(&ends[i], ends[!i].seed, &polls[i].events);
        }
        if (ends[0].read < LARGE || ends[1].read < LARGE)
            assert_true(poll(polls, 2, 60000) > 0);
    }
    free(ends);
}

static void test_both_directions_at_once_without_waiting(void **state)
{
    const struct testing *testing = *state;
    transfer_both_ways(testing->client.tls, testing->server.tls);
}

struct updates {
    uint64_t records; /* since the last update */
    uint64_t most;
    int updates;
};

static void note_update(int sent, int version, int type, const void *bytes, size_t size, SSL *ssl,
                        void *argument)
{
    struct updates *updates = argument;
    (void)version;
    (void)ssl;
    if (!sent || size == 0)
        return;
    if (type == SSL3_RT_INNER_CONTENT_TYPE && ++updates->records > updates->most)
        updates->most = updates->records;
    if (type == SSL3_RT_HANDSHAKE && *(const uint8_t *)bytes == SSL3_MT_KEY_UPDATE) {
        updates->updates++;
        updates->records = 0;
    }
}

static void test_keys_are_updated_before_the_limit_of_records(void **state)
{
    const struct testing *testing = *state;
    struct tls *both[] = {testing->client.tls, testing->server.tls};
    struct updates updates[2] = {{0}};
    for (int i = 0; i < 2; i++) {
        both[i]->record_limit = 50;
        SSL_set_msg_callback(both[i]->ssl, note_update);
        SSL_set_msg_callback_arg(both[i]->ssl, &updates[i]);
    }
    transfer_both_ways(both[0], both[1]);
    for (int i = 0; i < 2; i++) {
        assert_true((uint64_t)updates[i].updates >= LARGE / TLS_RECORD_SIZE / 51);
        assert_true(updates[i].most <= 51); /* with the update's own record */
        SSL_set_msg_callback(both[i]->ssl, NULL);
    }
}

static void test_the_limit_of_records_is_below_that_of_aes_gcm(void **state)
{
    const struct testing *testing = *state;
    assert_true(testing->client.tls->record_limit <= UINT64_C(23726566)); /* 2^24.5 */
    assert_int_equal(testing->client.tls->record_limit, testing->server.tls->record_limit);
}

struct writer {
    struct tls *tls;
    int cancel_fd;
    int result;
    struct error *err;
};

static void *write_large(void *argument)
{
    struct writer *writer = argument;
    uint8_t *bytes = malloc(LARGE);
    fill(bytes, LARGE, 0, 0);
    writer->result =
        tls_write(writer->tls, bytes, LARGE, writer->cancel_fd, TESTING_DEADLINE, &writer->err);
    free(bytes);
    return NULL;
}

static pthread_t start_writer(const struct testing *testing, struct writer *writer, int cancel_fd)
{
    writer->tls = testing->server.tls;
    writer->cancel_fd = cancel_fd;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_large, writer), 0);
    return thread;
}

static void test_blocking_calls_carry_every_byte_and_then_the_end(void **state)
{
    struct testing *testing = *state;
    struct writer writer = {0};
    pthread_t thread = start_writer(testing, &writer, -1);
    uint8_t *bytes = malloc(LARGE);
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(tls_read_full(testing->client.tls, bytes, LARGE, -1, TESTING_DEADLINE, &err), err);
    assert_pattern(bytes, LARGE, 0, 0);
    pthread_join(thread, NULL);
    assert_ok(writer.result, writer.err);
    tls_close(STEAL(testing->server.tls));
    assert_int_equal(tls_read(testing->client.tls, bytes, 1, -1, TESTING_DEADLINE, &err), 0);
    assert_int_equal(tls_read(testing->client.tls, bytes, 1, -1, TESTING_DEADLINE, &err), 0);
    short want;
    assert_int_equal(tls_try_read(testing->client.tls, bytes, 1, &want, &err), -1);
    assert_int_equal(err->kind, ERROR_UNREACHABLE);
    assert_non_null(strstr(err->message, "closed by the peer"));
    free(bytes);
}

/* Bytes that the kernel has taken from `tls` and the peer's kernel has not acknowledged. */
static int unacknowledged(const struct tls *tls)
{
    int bytes = 0;
    assert_int_equal(ioctl(tls_fd(tls), SIOCOUTQ, &bytes), 0);
    return bytes;
}

/* Reads and checks what comes until all that `from` has handed to its kernel is here. */
static uint64_t read_all_sent(struct tls *tls, const struct tls *from, uint64_t position)
{
    uint8_t bytes[100000];
    for (;;) {
        CLEANUP_ERROR struct error *err = NULL;
        short want = 0;
        int left = unacknowledged(from);
        ssize_t got = tls_try_read(tls, bytes, sizeof(bytes), &want, &err);
        assert_ok((int)got, err);
        if (got == 0 && left == 0)
            return position;
        assert_pattern(bytes, (size_t)got, position, 0);
        position += (uint64_t)got;
        struct pollfd one = {.fd = tls_fd(tls), .events = POLLIN};
        if (got == 0) /* nothing may come: an acknowledgement can be all that is missing */
            assert_true(poll(&one, 1, 10) >= 0);
    }
}

static void test_a_cancelled_write_is_followed_by_no_quiet_end(void **state)
{
    struct testing *testing = *state;
    struct writer writer = {0};
    pthread_t thread = start_writer(testing, &writer, testing->cancel);
    uint8_t bytes[1000];
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(tls_read_full(testing->client.tls, bytes, sizeof(bytes), -1, TESTING_DEADLINE, &err),
              err);
    fd_event_signal(testing->cancel);
    pthread_join(thread, NULL);
    assert_int_equal(writer.result, -1);
    assert_int_equal(writer.err->kind, ERROR_CANCELLED);
    error_free(writer.err);
    /* Now the kernel would take the rest and a goodbye; but the caller was told of no whole write.
     */
    uint64_t all = read_all_sent(testing->client.tls, testing->server.tls, sizeof(bytes));
    assert_true(all < LARGE);
    tls_close(STEAL(testing->server.tls));
    assert_int_equal(tls_read(testing->client.tls, bytes, 1, -1, TESTING_DEADLINE, &err), -1);
    assert_int_equal(err->kind, ERROR_UNREACHABLE);
}

static void test_a_write_nobody_takes_ends_at_its_deadline(void **state)
{
    const struct testing *testing = *state;
    uint8_t *bytes = calloc(1, LARGE);
    CLEANUP_ERROR struct error *late = NULL;
    assert_int_equal(tls_write(testing->client.tls, bytes, LARGE, -1, clock_deadline_ns(50), &late),
                     -1);
    assert_int_equal(late->kind, ERROR_TIMEOUT);
    CLEANUP_ERROR struct error *after = NULL;
    assert_int_equal(tls_write(testing->client.tls, bytes, 1, -1, TESTING_DEADLINE, &after), -1);
    assert_int_equal(after->kind, ERROR_UNREACHABLE);
    free(bytes);
}

static void test_reads_end_at_their_deadline_and_when_cancelled(void **state)
{
    const struct testing *testing = *state;
    char byte;
    for (int full = 0; full < 2; full++) {
        CLEANUP_ERROR struct error *late = NULL, *cancelled = NULL;
        int64_t deadline_ns = clock_deadline_ns(10);
        struct tls *tls = testing->client.tls;
        int result = full ? tls_read_full(tls, &byte, 1, -1, deadline_ns, &late)
                          : (int)tls_read(tls, &byte, 1, -1, deadline_ns, &late);
        assert_int_equal(result, -1);
        assert_int_equal(late->kind, ERROR_TIMEOUT);
        fd_event_signal(testing->cancel);
        result = full ? tls_read_full(tls, &byte, 1, testing->cancel, TESTING_DEADLINE, &cancelled)
                      : (int)tls_read(tls, &byte, 1, testing->cancel, TESTING_DEADLINE, &cancelled);
        assert_int_equal(result, -1);
        assert_int_equal(cancelled->kind, ERROR_CANCELLED);
        fd_event_clear(testing->cancel);
    }
    /* Neither harms the session. */
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(tls_write(testing->server.tls, "x", 1, -1, TESTING_DEADLINE, &err), err);
    assert_ok(tls_read_full(testing->client.tls, &byte, 1, -1, TESTING_DEADLINE, &err), err);
}

static void test_cancel_is_seen_although_bytes_are_there(void **state)
{
    const struct testing *testing = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(tls_write(testing->server.tls, "xy", 2, -1, TESTING_DEADLINE, &err), err);
    char byte;
    assert_ok(tls_read_full(testing->client.tls, &byte, 1, -1, TESTING_DEADLINE, &err), err);
    fd_event_signal(testing->cancel);
    CLEANUP_ERROR struct error *read = NULL, *write = NULL;
    struct tls *tls = testing->client.tls;
    assert_int_equal(tls_read(tls, &byte, 1, testing->cancel, TESTING_DEADLINE, &read), -1);
    assert_int_equal(read->kind, ERROR_CANCELLED);
    assert_int_equal(tls_write(tls, "x", 1, testing->cancel, TESTING_DEADLINE, &write), -1);
    assert_int_equal(write->kind, ERROR_CANCELLED);
    /* Nothing went out, so the session is still whole. */
    assert_ok(tls_write(tls, "x", 1, -1, TESTING_DEADLINE, &err), err);
}

static void test_a_cut_is_an_error_after_the_last_bytes(void **state)
{
    const struct testing *testing = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(tls_write(testing->server.tls, "last", 4, -1, TESTING_DEADLINE, &err), err);
    assert_int_equal(shutdown(tls_fd(testing->server.tls), SHUT_WR), 0);
    char bytes[16];
    assert_ok(fd_wait(tls_fd(testing->client.tls), POLLRDHUP, -1, TESTING_DEADLINE, &err), err);
    assert_int_equal(
        tls_read(testing->client.tls, bytes, sizeof(bytes), -1, TESTING_DEADLINE, &err), 4);
    assert_memory_equal(bytes, "last", 4);
    assert_true(tls_pending(testing->client.tls));
    for (int i = 0; i < 2; i++) {
        CLEANUP_ERROR struct error *cut = NULL;
        assert_int_equal(
            tls_read(testing->client.tls, bytes, sizeof(bytes), -1, TESTING_DEADLINE, &cut), -1);
        assert_int_equal(cut->kind, ERROR_UNREACHABLE);
        assert_non_null(strstr(cut->message, i ? "has failed before" : "without a goodbye"));
    }
}

static void test_an_end_in_the_middle_of_a_full_read_is_an_error(void **state)
{
    struct testing *testing = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(tls_write(testing->server.tls, "abc", 3, -1, TESTING_DEADLINE, &err), err);
    tls_close(STEAL(testing->server.tls));
    char bytes[8];
    assert_int_equal(
        tls_read_full(testing->client.tls, bytes, sizeof(bytes), -1, TESTING_DEADLINE, &err), -1);
    assert_int_equal(err->kind, ERROR_UNREACHABLE);
    assert_non_null(strstr(err->message, "closed by the peer after 3 of 8 bytes"));
}

/* Bytes that wait in the kernel, since the peer's has no room for them. */
static int unsent(const struct tls *tls)
{
    int bytes = 0;
    assert_int_equal(ioctl(tls_fd(tls), SIOCOUTQNSD, &bytes), 0);
    return bytes;
}

static void test_bytes_arrive_although_the_closer_had_some_unread(void **state)
{
    struct testing *testing = *state;
    struct tls *server = testing->server.tls;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(tls_write(testing->client.tls, "unread", 6, -1, TESTING_DEADLINE, &err), err);
    assert_ok(fd_wait(tls_fd(server), POLLIN, -1, TESTING_DEADLINE, &err), err);
    /* More than the client's kernel takes while nobody reads there. */
    uint8_t bytes[10000];
    uint64_t written = 0, read = 0;
    for (; unsent(server) < 100000; written += sizeof(bytes)) {
        fill(bytes, sizeof(bytes), written, 0);
        assert_ok(tls_write(server, bytes, sizeof(bytes), -1, TESTING_DEADLINE, &err), err);
    }
    tls_close(STEAL(testing->server.tls));
    ssize_t got;
    while ((got = tls_read(testing->client.tls, bytes, sizeof(bytes), -1, TESTING_DEADLINE, &err)) >
           0) {
        assert_pattern(bytes, (size_t)got, read, 0);
        read += (uint64_t)got;
    }
    assert_ok((int)got, err);
    assert_int_equal(read, written);
}

static void test_changed_bytes_are_corrupt(void **state)
{
    const struct testing *testing = *state;
    static const uint8_t record[] = {23, 3,  3,  0,  24, 1,  2,  3,  4,  5,  6,  7,  8,  9, 10,
                                     11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24};
    assert_int_equal(send(tls_fd(testing->server.tls), record, sizeof(record), 0), sizeof(record));
    char byte;
    CLEANUP_ERROR struct error *err = NULL, *told = NULL;
    assert_int_equal(tls_read(testing->client.tls, &byte, 1, -1, TESTING_DEADLINE, &err), -1);
    assert_int_equal(err->kind, ERROR_CORRUPT);
    assert_int_equal(tls_read(testing->server.tls, &byte, 1, -1, TESTING_DEADLINE, &told), -1);
    assert_int_equal(told->kind, ERROR_CORRUPT);
}

static void test_writing_to_a_peer_that_is_gone_is_unreachable(void **state)
{
    struct testing *testing = *state;
    tls_close(STEAL(testing->server.tls));
    uint8_t *bytes = calloc(1, LARGE);
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(tls_write(testing->client.tls, bytes, LARGE, -1, TESTING_DEADLINE, &err), -1);
    assert_int_equal(err->kind, ERROR_UNREACHABLE);
    assert_non_null(strstr(err->message, "127.0.0.1:"));
    free(bytes);
}

static void test_a_write_must_be_repeated_with_its_bytes(void **state)
{
    const struct testing *testing = *state;
    uint8_t *bytes = calloc(1, LARGE);
    CLEANUP_ERROR struct error *err = NULL;
    short want = 0;
    ssize_t done;
    while ((done = tls_try_write(testing->client.tls, bytes, LARGE, &want, &err)) > 0)
        ;
    assert_int_equal(done, 0);
    assert_int_equal(want, POLLOUT);
    assert_int_equal(tls_try_write(testing->client.tls, bytes, 1, &want, &err), -1);
    assert_int_equal(err->kind, ERROR_INTERNAL);
    free(bytes);
}

static bool readable(const struct tls *tls)
{
    struct pollfd one = {.fd = tls_fd(tls), .events = POLLIN};
    return poll(&one, 1, 0) > 0;
}

static void test_pending_tells_whole_records_from_parts(void **state)
{
    const struct testing *testing = *state;
    struct tls *client = testing->client.tls, *server = testing->server.tls;
    CLEANUP_ERROR struct error *err = NULL;
    assert_false(tls_pending(client));
    /* Two records in one segment: reading the first takes both from the kernel. */
    size_t size;
    char byte;
    assert_int_equal(SSL_write_ex(server->ssl, "ab", 2, &size), 1);
    assert_int_equal(SSL_write_ex(server->ssl, "c", 1, &size), 1);
    assert_int_equal(tls_flush(server), 1);
    for (const char *expected = "abc"; *expected; expected++) {
        assert_ok(tls_read_full(client, &byte, 1, -1, TESTING_DEADLINE, &err), err);
        assert_int_equal(byte, *expected);
        assert_false(readable(client));
        assert_int_equal(tls_pending(client), expected[1] != '\0');
    }
    /* A part of a record does not count, though it is in memory. */
    assert_int_equal(SSL_write_ex(server->ssl, "d", 1, &size), 1);
    size_t all = server->out_end;
    server->out_end = 10;
    assert_int_equal(tls_flush(server), 1);
    assert_ok(fd_wait(tls_fd(client), POLLIN, -1, TESTING_DEADLINE, &err), err);
    short want = 0;
    assert_int_equal(tls_try_read(client, &byte, 1, &want, &err), 0);
    assert_int_equal(want, POLLIN);
    assert_false(tls_pending(client));
    assert_int_equal(send(tls_fd(server), server->out + 10, all - 10, 0), all - 10);
    assert_ok(tls_read_full(client, &byte, 1, -1, TESTING_DEADLINE, &err), err);
    assert_int_equal(byte, 'd');
}

static void test_varlink_messages_travel(void **state)
{
    struct testing *testing = *state;
    struct varlink_connection *client =
        varlink_connection_new(tls_varlink_stream(STEAL(testing->client.tls)));
    struct varlink_connection *server =
        varlink_connection_new(tls_varlink_stream(STEAL(testing->server.tls)));
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *message = json_pack("{s:i}", "a", 1);
    assert_ok(varlink_send(client, message, -1, TESTING_DEADLINE, &err), err);
    assert_ok(varlink_send(client, message, -1, TESTING_DEADLINE, &err), err);
    for (int i = 0; i < 2; i++) {
        CLEANUP_JSON json_t *received = varlink_receive(server, -1, TESTING_DEADLINE, &err);
        assert_ok(received ? 0 : -1, err);
        assert_true(json_equal(received, message));
    }
    varlink_connection_free(client);
    assert_null(varlink_receive(server, -1, TESTING_DEADLINE, &err));
    assert_null(err);
    varlink_connection_free(server);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, testing_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_both_directions_at_once_without_waiting),
        TEST(test_keys_are_updated_before_the_limit_of_records),
        TEST(test_the_limit_of_records_is_below_that_of_aes_gcm),
        TEST(test_blocking_calls_carry_every_byte_and_then_the_end),
        TEST(test_a_cancelled_write_is_followed_by_no_quiet_end),
        TEST(test_a_write_nobody_takes_ends_at_its_deadline),
        TEST(test_reads_end_at_their_deadline_and_when_cancelled),
        TEST(test_cancel_is_seen_although_bytes_are_there),
        TEST(test_a_cut_is_an_error_after_the_last_bytes),
        TEST(test_an_end_in_the_middle_of_a_full_read_is_an_error),
        TEST(test_bytes_arrive_although_the_closer_had_some_unread),
        TEST(test_changed_bytes_are_corrupt),
        TEST(test_writing_to_a_peer_that_is_gone_is_unreachable),
        TEST(test_a_write_must_be_repeated_with_its_bytes),
        TEST(test_pending_tells_whole_records_from_parts),
        TEST(test_varlink_messages_travel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
