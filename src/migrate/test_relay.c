/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the relay: sockets stand in for both QEMUs, the TLS session is real. */
#include "base/test.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "migrate/relay.h"
#include "wire/testing.h"

#define STREAM_SIZE (5 * 1024 * 1024 + 12345)

struct scene {
    void *testing;
    pthread_t acceptor;
    int source_qemu, destination_qemu; /* QEMU's ends */
    struct relay *source, *destination;
};

/* Nothing that a parser would wait for more of. */
static const char no_stream[] = "this is no stream of QEMU's";

/* A stream whose every position is recognisable. */
static uint8_t byte_at(size_t position)
{
    return (uint8_t)(position ^ position >> 8 ^ position >> 16 ^ 0x5a);
}

static struct tls *connect_here(void *context, int cancel_fd, int64_t deadline_ns,
                                struct error **err)
{
    const struct testing *testing = context;
    return tls_connect(testing->client.context, "127.0.0.1", testing->port,
                       identity_fingerprint(testing->server.identity), cancel_fd, deadline_ns, err);
}

static void *accept_all(void *argument)
{
    struct scene *scene = argument;
    struct testing *testing = scene->testing;
    while (fd_wait(testing->listener, POLLIN, testing->cancel, DEADLINE_NEVER, NULL) == 0) {
        int fd = accept4(testing->listener, NULL, NULL, SOCK_CLOEXEC);
        struct frame_resume resume;
        struct tls *tls =
            tls_accept(testing->server.context, fd, testing->cancel, TESTING_DEADLINE, NULL);
        if (tls && link_greet(tls, &resume, testing->cancel, TESTING_DEADLINE, NULL) == 0)
            relay_attach(scene->destination, tls, &resume, NULL);
        else
            tls_close(tls);
    }
    return NULL;
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    int a[2], b[2];
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(testing_setup(&scene->testing), 0);
    struct testing *testing = scene->testing;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
    scene->source_qemu = a[0];
    scene->destination_qemu = b[0];
    const struct link_options options = {.vm = "test",
                                         .peer = "host B",
                                         .job = {1},
                                         .connections = 2,
                                         .memory_limit = (size_t)16 << 20,
                                         .silence_ms = 20000,
                                         .lost_ms = 60000};
    scene->destination = relay_start_destination(&options, 100, NULL, b[1], &err);
    assert_non_null(scene->destination);
    assert_int_equal(pthread_create(&scene->acceptor, NULL, accept_all, scene), 0);
    scene->source =
        relay_start_source(&options, &(struct encoder_options){.threads = 1, .slots = 100}, a[1],
                           connect_here, testing, &err);
    assert_non_null(scene->source);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    struct testing *testing = scene->testing;
    relay_stop(scene->source);
    fd_event_signal(testing->cancel);
    pthread_join(scene->acceptor, NULL);
    relay_stop(scene->destination);
    if (scene->source_qemu >= 0)
        close(scene->source_qemu);
    close(scene->destination_qemu);
    testing_teardown(&scene->testing);
    free(scene);
    return 0;
}

static void *write_stream(void *argument)
{
    struct scene *scene = argument;
    uint8_t *stream = malloc(STREAM_SIZE);
    for (size_t i = 0; stream && i < STREAM_SIZE; i++)
        stream[i] = byte_at(i);
    fd_write_full(scene->source_qemu, stream, STREAM_SIZE, NULL);
    free(stream);
    close(STEAL_FD(scene->source_qemu));
    return NULL;
}

/* Waits until the flag that `seen` looks at is set; the status then. */
static struct relay_status await(struct relay *relay, bool (*seen)(const struct relay_status *))
{
    for (;;) {
        struct relay_status status = relay_status(relay);
        CLEANUP_ERROR struct error *err = NULL;
        if (seen(&status))
            return status;
        assert_ok(fd_wait(relay_event_fd(relay), POLLIN, -1, TESTING_DEADLINE, &err), err);
        fd_event_clear(relay_event_fd(relay));
    }
}

static bool is_complete(const struct relay_status *status)
{
    return status->complete;
}

static bool is_ended(const struct relay_status *status)
{
    return status->ended;
}

static bool is_failed(const struct relay_status *status)
{
    return status->failed;
}

static void read_stream(struct scene *scene)
{
    CLEANUP_ERROR struct error *err = NULL;
    uint8_t *stream = malloc(STREAM_SIZE);
    assert_non_null(stream);
    assert_ok(fd_read_full(scene->destination_qemu, stream, STREAM_SIZE, &err), err);
    for (size_t i = 0; i < STREAM_SIZE; i++)
        if (stream[i] != byte_at(i))
            fail_msg("byte %zu differs", i);
    free(stream);
}

static void test_bytes_arrive_and_end_waits_for_commit(void **state)
{
    struct scene *scene = *state;
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_stream, scene), 0);
    read_stream(scene);
    pthread_join(writer, NULL);
    struct relay_status source = await(scene->source, is_complete);
    assert_int_equal(source.stream_bytes, STREAM_SIZE);
    assert_true(source.wire_bytes >= source.stream.bytes_out);
    assert_int_equal(source.stream.bytes_in, STREAM_SIZE);
    assert_false(source.ended);
    assert_false(relay_status(scene->destination).ended);
    relay_commit(scene->source);
    await(scene->source, is_ended);
    struct relay_status destination = await(scene->destination, is_ended);
    assert_int_equal(destination.stream_bytes, STREAM_SIZE);
    assert_false(destination.failed);
}

static void test_commit_before_the_stream_is_complete(void **state)
{
    struct scene *scene = *state;
    pthread_t writer;
    relay_commit(scene->source);
    assert_int_equal(pthread_create(&writer, NULL, write_stream, scene), 0);
    read_stream(scene);
    pthread_join(writer, NULL);
    await(scene->destination, is_ended);
    assert_int_equal(relay_status(scene->destination).stream_bytes, STREAM_SIZE);
}

static void test_answers_flow_back(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    char back[6] = {0};
    assert_ok(fd_write_full(scene->destination_qemu, "pages", 5, &err), err);
    assert_ok(fd_read_full(scene->source_qemu, back, 5, &err), err);
    assert_string_equal(back, "pages");
}

static void test_losing_the_source_without_end_is_a_failure(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    char some[sizeof(no_stream)];
    assert_ok(fd_write_full(scene->source_qemu, no_stream, sizeof(no_stream), &err), err);
    assert_ok(fd_read_full(scene->destination_qemu, some, sizeof(some), &err), err);
    relay_stop(STEAL(scene->source));
    struct relay_status status = await(scene->destination, is_failed);
    assert_false(status.ended);
    for (int i = 0; i < 2; i++) { /* whoever asks later is told the same */
        CLEANUP_ERROR struct error *why = NULL;
        assert_int_equal(relay_failure(scene->destination, &why), -1);
        assert_int_equal(why->kind, ERROR_PEER);
    }
}

static void test_a_destination_qemu_that_dies_is_a_failure(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    shutdown(scene->destination_qemu, SHUT_RDWR);
    assert_ok(fd_write_full(scene->source_qemu, no_stream, sizeof(no_stream), &err), err);
    await(scene->destination, is_failed);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(test_bytes_arrive_and_end_waits_for_commit),
        SCENE(test_commit_before_the_stream_is_complete),
        SCENE(test_answers_flow_back),
        SCENE(test_losing_the_source_without_end_is_a_failure),
        SCENE(test_a_destination_qemu_that_dies_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
