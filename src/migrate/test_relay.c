/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the relay: sockets stand in for both QEMUs, the TLS session is real. */
#include "base/test.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
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
    int source_event, destination_event;
    struct held source_held, destination_held; /* what QEMU would hold */
    pthread_mutex_t lock;                      /* of `destination` */
    struct relay *source, *destination;
    uint8_t stream; /* which one is expected */
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

static void attach(struct scene *scene, struct tls *tls, const struct frame_resume *resume)
{
    LOCK_SCOPE(&scene->lock);
    if (scene->destination)
        relay_attach(scene->destination, tls, resume, NULL);
    else
        tls_close(tls);
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
            attach(scene, tls, &resume);
        else
            tls_close(tls);
    }
    return NULL;
}

static int duplicate(int fd)
{
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* As a new agent would find them. */
static struct held take(const struct held *held)
{
    return (struct held){
        .socket = duplicate(held->socket),
        .from = {.file = duplicate(held->from.file), .pipe = duplicate(held->from.pipe)},
        .to = {.file = duplicate(held->to.file), .pipe = -1},
    };
}

static int make_held(struct held *held, bool spools)
{
    int pair[2];
    *held = HELD_NONE;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    held->socket = pair[1];
    if (spools) {
        held->from =
            (struct spool){.file = memfd_create("from", MFD_CLOEXEC), .pipe = spool_pipe(NULL)};
        held->to.file = memfd_create("to", MFD_CLOEXEC);
    }
    return pair[0];
}

static struct relay_ends ends_of(const struct scene *scene, const struct held *held, int event)
{
    return (struct relay_ends){.link = {.vm = "test",
                                        .peer = "host B",
                                        .job = {scene->stream},
                                        .connections = 2,
                                        .memory_limit = (size_t)16 << 20,
                                        .silence_ms = 20000,
                                        .lost_ms = 60000},
                               .held = take(held),
                               .event_fd = event};
}

static void start_destination(struct scene *scene, bool goes_on, uint64_t from)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct relay_ends ends = ends_of(scene, &scene->destination_held, scene->destination_event);
    ends.goes_on = goes_on;
    ends.from = from;
    struct relay *relay = relay_start_destination(&ends, goes_on ? 0 : 100, NULL, &err);
    assert_ok(relay ? 0 : -1, err);
    LOCK_SCOPE(&scene->lock);
    scene->destination = relay;
}

static void start_source(struct scene *scene, bool goes_on, uint64_t from)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct relay_ends ends = ends_of(scene, &scene->source_held, scene->source_event);
    const struct encoder_options encoder = {
        .threads = 1, .slots = goes_on ? 0 : 100, .middle = goes_on};
    ends.goes_on = goes_on;
    ends.from = from;
    scene->source = relay_start_source(&ends, &encoder, connect_here, scene->testing, &err);
    assert_ok(scene->source ? 0 : -1, err);
}

static int set_up_scene(void **state, bool spools)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    assert_int_equal(testing_setup(&scene->testing), 0);
    pthread_mutex_init(&scene->lock, NULL);
    scene->source_qemu = make_held(&scene->source_held, spools);
    scene->destination_qemu = make_held(&scene->destination_held, spools);
    scene->source_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    scene->destination_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    scene->stream = 1;
    start_destination(scene, false, 0);
    assert_int_equal(pthread_create(&scene->acceptor, NULL, accept_all, scene), 0);
    start_source(scene, false, 0);
    *state = scene;
    return 0;
}

static int set_up(void **state)
{
    return set_up_scene(state, false);
}

static int set_up_with_spools(void **state)
{
    return set_up_scene(state, true);
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
    held_close(&scene->source_held);
    held_close(&scene->destination_held);
    close(scene->source_event);
    close(scene->destination_event);
    pthread_mutex_destroy(&scene->lock);
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
static struct relay_status await(struct scene *scene, struct relay *relay,
                                 bool (*seen)(const struct relay_status *))
{
    int event = relay == scene->source ? scene->source_event : scene->destination_event;
    for (;;) {
        struct relay_status status = relay_status(relay);
        CLEANUP_ERROR struct error *err = NULL;
        if (seen(&status))
            return status;
        assert_ok(fd_wait(event, POLLIN, -1, TESTING_DEADLINE, &err), err);
        fd_event_clear(event);
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

static bool knows_memory(const struct relay_status *status)
{
    return status->peer_memory != 0;
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
    struct relay_status source = await(scene, scene->source, is_complete);
    assert_int_equal(source.stream_bytes, STREAM_SIZE);
    assert_true(source.wire_bytes >= source.stream.bytes_out);
    assert_int_equal(source.stream.bytes_in, STREAM_SIZE);
    assert_false(source.ended);
    assert_false(relay_status(scene->destination).ended);
    relay_commit(scene->source);
    await(scene, scene->source, is_ended);
    struct relay_status destination = await(scene, scene->destination, is_ended);
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
    await(scene, scene->destination, is_ended);
    assert_int_equal(relay_status(scene->destination).stream_bytes, STREAM_SIZE);
}

static void test_the_destination_tells_what_memory_it_uses(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    char some[sizeof(no_stream)];
    assert_ok(fd_write_full(scene->source_qemu, no_stream, sizeof(no_stream), &err), err);
    assert_ok(fd_read_full(scene->destination_qemu, some, sizeof(some), &err), err);
    struct relay_status status = await(scene, scene->source, knows_memory);
    assert_true(status.peer_memory > sizeof(no_stream)); /* it went through a block */
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
    struct relay_status status = await(scene, scene->destination, is_failed);
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
    await(scene, scene->destination, is_failed);
}

/* --- agents that die in post-copy --- */

static bool is_spooled(const struct relay_status *status)
{
    return status->spooled;
}

/* What dies with an agent: its relay. The other end's is ended too, as Recover does, and both go on
 * where the other side's QEMU stands. */
static void restart(struct scene *scene)
{
    pthread_mutex_lock(&scene->lock);
    struct relay *destination = STEAL(scene->destination);
    pthread_mutex_unlock(&scene->lock);
    relay_stop(STEAL(scene->source));
    relay_stop(destination);
    scene->stream++;
    start_destination(scene, true, spool_position(&scene->source_held.to));
    start_source(scene, true, spool_position(&scene->destination_held.to));
}

#define RESTARTS 40

struct flow {
    int fd;
    size_t size;
    const char *wrong;
};

/* Reads in odd pieces, as QEMU may. */
static void *check_flow(void *argument)
{
    struct flow *flow = argument;
    uint8_t piece[50021];
    for (size_t at = 0; at < flow->size && !flow->wrong;) {
        size_t want = flow->size - at < sizeof(piece) ? flow->size - at : sizeof(piece);
        ssize_t got = read(flow->fd, piece, want);
        if (got <= 0)
            flow->wrong = "it ended";
        for (ssize_t i = 0; i < got; i++)
            if (piece[i] != byte_at(at++))
                flow->wrong = "a byte differs";
    }
    return NULL;
}

/* The answers of the destination's QEMU. */
static void *write_back(void *argument)
{
    struct scene *scene = argument;
    for (size_t at = 0; at < STREAM_SIZE;) {
        uint8_t piece[1237];
        size_t size = STREAM_SIZE - at < sizeof(piece) ? STREAM_SIZE - at : sizeof(piece);
        for (size_t i = 0; i < size; i++)
            piece[i] = byte_at(at + i);
        fd_write_full(scene->destination_qemu, piece, size, NULL);
        at += size;
    }
    return NULL;
}

/* Some bytes before the commit point have arrived, and what comes now is spooled. */
static void switch_to_post_copy(struct scene *scene)
{
    CLEANUP_ERROR struct error *err = NULL;
    char some[sizeof(no_stream)];
    assert_ok(fd_write_full(scene->source_qemu, no_stream, sizeof(no_stream), &err), err);
    relay_post_copy(scene->source);
    await(scene, scene->source, is_spooled);
    assert_ok(fd_read_full(scene->destination_qemu, some, sizeof(some), &err), err);
}

static void test_no_byte_is_lost_when_relays_die_in_post_copy(void **state)
{
    struct scene *scene = *state;
    pthread_t threads[4];
    switch_to_post_copy(scene);
    int source_qemu = duplicate(scene->source_qemu); /* write_stream closes the other */
    struct flow forth = {.fd = scene->destination_qemu, .size = STREAM_SIZE};
    struct flow back = {.fd = source_qemu, .size = STREAM_SIZE};
    pthread_create(&threads[0], NULL, check_flow, &forth);
    pthread_create(&threads[1], NULL, check_flow, &back);
    pthread_create(&threads[2], NULL, write_stream, scene);
    pthread_create(&threads[3], NULL, write_back, scene);
    uint64_t before = 0;
    for (int i = 0; i < RESTARTS; i++) {
        restart(scene);
        uint64_t at = spool_position(&scene->destination_held.to);
        assert_true(at >= before);
        before = at;
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    shutdown(source_qemu, SHUT_WR);
    assert_null(forth.wrong);
    assert_null(back.wrong);
    struct relay_status source = await(scene, scene->source, is_complete);
    assert_int_equal(source.stream_bytes, STREAM_SIZE + sizeof(no_stream));
    relay_commit(scene->source);
    await(scene, scene->destination, is_ended);
    restart(scene); /* the other end's QEMU has all of it */
    assert_int_equal(relay_status(scene->source).stream_bytes, STREAM_SIZE + sizeof(no_stream));
    close(source_qemu);
}

/* The last bytes may be few, and QEMU keeps its end open until they are answered. */
static void test_a_few_bytes_are_not_held_back(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    char some[4];
    switch_to_post_copy(scene);
    restart(scene);
    assert_ok(fd_write_full(scene->source_qemu, "Q", 1, &err), err);
    assert_ok(fd_read_full(scene->destination_qemu, some, 1, &err), err);
    restart(scene);
    assert_ok(fd_write_full(scene->source_qemu, "last", 4, &err), err);
    assert_ok(fd_read_full(scene->destination_qemu, some, 4, &err), err);
}

static void test_a_position_that_cannot_be_is_refused(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    switch_to_post_copy(scene);
    relay_stop(STEAL(scene->source));
    struct relay_ends ends = ends_of(scene, &scene->source_held, scene->source_event);
    ends.goes_on = true;
    ends.from = sizeof(no_stream) + 1; /* more than QEMU ever said */
    assert_null(relay_start_source(&ends, &(struct encoder_options){.threads = 1}, connect_here,
                                   scene->testing, &err));
    assert_int_equal(err->kind, ERROR_CORRUPT);
}

#define SCENE(test)   cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define SPOOLED(test) cmocka_unit_test_setup_teardown(test, set_up_with_spools, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(test_bytes_arrive_and_end_waits_for_commit),
        SCENE(test_commit_before_the_stream_is_complete),
        SCENE(test_the_destination_tells_what_memory_it_uses),
        SCENE(test_answers_flow_back),
        SCENE(test_losing_the_source_without_end_is_a_failure),
        SCENE(test_a_destination_qemu_that_dies_is_a_failure),
        SPOOLED(test_bytes_arrive_and_end_waits_for_commit),
        SPOOLED(test_answers_flow_back),
        SPOOLED(test_no_byte_is_lost_when_relays_die_in_post_copy),
        SPOOLED(test_a_few_bytes_are_not_held_back),
        SPOOLED(test_a_position_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
