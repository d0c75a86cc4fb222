/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of links over real TLS sessions, through a relay of plain TCP that cuts, freezes and
 * refuses. Where it cuts is random, from a seed that is printed: MUDANZA_TEST_SEED repeats a run.
 */
#include "base/test.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "wire/link.h"
#include "wire/testing.h"

/* --- what lies between the two ends --- */

#define PAIRS_MAX 64

struct pair {
    int ends[2];   /* the client's and the server's side */
    uint64_t left; /* bytes until it is cut */
};

struct between {
    int listener, stop_fd;
    uint16_t port, target;
    pthread_t thread;
    pthread_mutex_t lock;
    uint64_t seed;
    /* Guarded by lock. */
    uint64_t cut_after;   /* at most so many bytes, at random; 0: never */
    bool frozen;          /* nothing passes */
    bool refusing;        /* new connections are reset */
    unsigned reset_asked; /* so many of the oldest are to be reset now */
    unsigned cuts;
    struct pair pairs[PAIRS_MAX];
    size_t count;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void reset(int fd)
{
    const struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

static void drop_pair(struct between *between, size_t index)
{
    reset(between->pairs[index].ends[0]);
    reset(between->pairs[index].ends[1]);
    between->count--;
    memmove(&between->pairs[index], &between->pairs[index + 1],
            (between->count - index) * sizeof(between->pairs[0]));
}

static int dial(uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void accept_pair(struct between *between)
{
    int fd = accept4(between->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (between->refusing || between->count == PAIRS_MAX) {
        reset(fd);
        return;
    }
    between->pairs[between->count++] = (struct pair){
        .ends = {fd, dial(between->target)},
        .left =
            between->cut_after ? 1 + next_random(&between->seed) % between->cut_after : UINT64_MAX};
}

/* Passes on what is at one end of a pair. False: it is over, or is to be cut. */
static bool pass(struct pair *pair, int from)
{
    uint8_t buffer[65536];
    size_t most = pair->left < sizeof(buffer) ? (size_t)pair->left : sizeof(buffer);
    ssize_t got = recv(pair->ends[from], buffer, most, MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN;
    if (got == 0 || fd_write_full(pair->ends[!from], buffer, (size_t)got, NULL) < 0)
        return false;
    pair->left -= (uint64_t)got;
    return pair->left > 0;
}

static void between_turn(struct between *between, const struct pollfd *polls, size_t count)
{
    LOCK_SCOPE(&between->lock);
    while (between->reset_asked && between->count) {
        drop_pair(between, 0);
        between->cuts++;
        between->reset_asked--;
        count = 0; /* what was polled is no longer what is there */
    }
    for (size_t i = count; i-- > 0 && !between->frozen;)
        for (int end = 0; end < 2; end++)
            if (polls[2 + 2 * i + (size_t)end].revents && !pass(&between->pairs[i], end)) {
                between->cuts += between->pairs[i].left == 0;
                drop_pair(between, i);
                break;
            }
    if (polls[0].revents && !between->frozen)
        accept_pair(between);
}

static void *between_run(void *argument)
{
    struct between *between = argument;
    for (;;) {
        struct pollfd polls[2 + 2 * PAIRS_MAX];
        pthread_mutex_lock(&between->lock);
        bool frozen = between->frozen;
        size_t count = between->count;
        polls[0] = (struct pollfd){.fd = frozen ? -1 : between->listener, .events = POLLIN};
        polls[1] = (struct pollfd){.fd = between->stop_fd, .events = POLLIN};
        for (size_t i = 0; i < 2 * count; i++)
            polls[2 + i] = (struct pollfd){.fd = frozen ? -1 : between->pairs[i / 2].ends[i % 2],
                                           .events = POLLIN};
        pthread_mutex_unlock(&between->lock);
        poll(polls, 2 + 2 * count, -1);
        if (polls[1].revents) {
            fd_event_clear(between->stop_fd);
            LOCK_SCOPE(&between->lock);
            if (between->port == 0)
                return NULL;
        }
        between_turn(between, polls, count);
    }
}

static void between_open(struct between *between, uint16_t target, uint64_t seed)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct sockaddr_in address = {0};
    socklen_t size = sizeof(address);
    between->listener = tls_listen("127.0.0.1", 0, &err);
    assert_ok(between->listener, err);
    assert_int_equal(getsockname(between->listener, (struct sockaddr *)&address, &size), 0);
    between->port = ntohs(address.sin_port);
    between->target = target;
    between->seed = seed;
    between->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&between->lock, NULL);
    assert_int_equal(pthread_create(&between->thread, NULL, between_run, between), 0);
}

static void between_close(struct between *between)
{
    pthread_mutex_lock(&between->lock);
    between->port = 0;
    pthread_mutex_unlock(&between->lock);
    fd_event_signal(between->stop_fd);
    pthread_join(between->thread, NULL);
    while (between->count)
        drop_pair(between, 0);
    close(between->listener);
    close(between->stop_fd);
    pthread_mutex_destroy(&between->lock);
}

/* --- the scene --- */

struct scene {
    void *testing;
    struct between between;
    uint16_t port; /* of between */
    struct link *source, *destination;
    struct link_options options;
    pthread_t acceptor;
    int accept_stop;
    bool refuse; /* the listener knows no such job */
    uint64_t seed;
};

static void *accept_all(void *argument)
{
    struct scene *scene = argument;
    struct testing *testing = scene->testing;
    while (fd_wait(testing->listener, POLLIN, scene->accept_stop, DEADLINE_NEVER, NULL) == 0) {
        int fd = accept4(testing->listener, NULL, NULL, SOCK_CLOEXEC);
        struct frame_resume resume;
        struct tls *tls = fd < 0 ? NULL
                                 : tls_accept(testing->server.context, fd, scene->accept_stop,
                                              clock_deadline_ns(10000), NULL);
        if (!tls)
            continue;
        if (link_greet(tls, &resume, scene->accept_stop, clock_deadline_ns(10000), NULL) < 0)
            tls_close(tls);
        else if (scene->refuse)
            link_refuse(tls, "no such job here", TESTING_DEADLINE);
        else
            link_attach(scene->destination, tls, &resume, NULL);
    }
    return NULL;
}

static struct tls *connect_between(void *context, int cancel_fd, int64_t deadline_ns,
                                   struct error **err)
{
    const struct scene *scene = context;
    const struct testing *testing = scene->testing;
    return tls_connect(testing->client.context, "127.0.0.1", scene->port,
                       identity_fingerprint(testing->server.identity), cancel_fd, deadline_ns, err);
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    assert_int_equal(testing_setup(&scene->testing), 0);
    const char *seed = getenv("MUDANZA_TEST_SEED");
    scene->seed = seed ? strtoull(seed, NULL, 10) : (uint64_t)clock_now_ns() | 1;
    between_open(&scene->between, ((struct testing *)scene->testing)->port, scene->seed);
    scene->port = scene->between.port;
    scene->accept_stop = eventfd(0, EFD_CLOEXEC);
    scene->options = (struct link_options){.vm = "test",
                                           .peer = "host B",
                                           .job = {1, 2, 3},
                                           .connections = 1,
                                           .memory_limit = (size_t)16 << 20,
                                           .silence_ms = 20000,
                                           .lost_ms = 60000};
    *state = scene;
    return 0;
}

static void open_links(struct scene *scene)
{
    CLEANUP_ERROR struct error *err = NULL;
    scene->destination = link_new_destination(&scene->options, &err);
    assert_non_null(scene->destination);
    assert_int_equal(pthread_create(&scene->acceptor, NULL, accept_all, scene), 0);
    scene->source = link_new_source(&scene->options, connect_between, scene, &err);
    assert_non_null(scene->source);
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    link_stop(scene->source);
    fd_event_signal(scene->accept_stop);
    pthread_join(scene->acceptor, NULL);
    link_stop(scene->destination);
    between_close(&scene->between);
    close(scene->accept_stop);
    testing_teardown(&scene->testing);
    free(scene);
    return 0;
}

/* Waits until the link says so. */
static struct link_status await(struct link *link, bool (*seen)(const struct link_status *))
{
    for (;;) {
        struct link_status status = link_status(link);
        CLEANUP_ERROR struct error *err = NULL;
        if (seen(&status))
            return status;
        assert_ok(fd_wait(link_event_fd(link), POLLIN, -1, TESTING_DEADLINE, &err), err);
        fd_event_clear(link_event_fd(link));
    }
}

static bool is_connected(const struct link_status *status)
{
    return status->connections > 0;
}

static bool is_doubly_connected(const struct link_status *status)
{
    return status->connections == 2;
}

static bool was_cut_and_is_back(const struct link_status *status)
{
    return status->cuts == 1 && status->connections == 1;
}

static bool is_lost(const struct link_status *status)
{
    return status->lost_since_ns != 0;
}

static bool is_failed(const struct link_status *status)
{
    return status->failed;
}

/* --- blocks whose every byte tells where it belongs --- */

static uint8_t byte_of(uint64_t number, uint32_t at)
{
    return (uint8_t)(number * 131 + at + (at >> 8) + (at >> 16));
}

static struct block *make_block(uint64_t number, uint32_t size)
{
    struct block *block = block_new((uint8_t)(number % 251), size);
    assert_non_null(block);
    for (uint32_t i = 0; i < size; i++)
        block->data[i] = byte_of(number, i);
    return block;
}

static void check_block(const struct block *block, uint64_t number, uint32_t size)
{
    if (block->kind != number % 251 || block->size != size)
        fail_msg("block %" PRIu64 ": kind %u and %u bytes", number, block->kind, block->size);
    for (uint32_t i = 0; i < size; i++)
        if (block->data[i] != byte_of(number, i))
            fail_msg("block %" PRIu64 " differs at %u", number, i);
}

struct flow {
    struct link *link;
    uint64_t count, seed;
    uint32_t size_max;
    struct error *error;
};

/* Sizes from nothing to the largest, small ones more often. */
static uint32_t size_of(const struct flow *flow, uint64_t number)
{
    uint64_t seed = flow->seed + number * 7919 + 1;
    next_random(&seed);
    uint32_t bound = flow->size_max >> next_random(&seed) % 12;
    return (uint32_t)(next_random(&seed) % (bound + 1));
}

static void *send_flow(void *argument)
{
    struct flow *flow = argument;
    for (uint64_t i = 0; i < flow->count; i++)
        if (link_send(flow->link, make_block(i, size_of(flow, i)), -1, &flow->error) < 0)
            return NULL;
    link_flush(flow->link, -1, TESTING_DEADLINE, &flow->error);
    return NULL;
}

static void receive_flow(struct flow *flow, struct link *from)
{
    for (uint64_t i = 0; i < flow->count; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        CLEANUP_FREE struct block *block = NULL;
        int got = link_receive(from, &block, -1, TESTING_DEADLINE, &err);
        assert_ok(got, err);
        assert_int_equal(got, 1);
        check_block(block, i, size_of(flow, i));
    }
}

/* `count` blocks each way at the same time, each once and in order. */
static void flow_both_ways(struct scene *scene, uint64_t count, uint32_t size_max)
{
    struct flow there = {scene->source, count, scene->seed, size_max, NULL};
    struct flow back = {scene->destination, count / 4, scene->seed + 1, size_max / 8, NULL};
    pthread_t senders[2];
    assert_int_equal(pthread_create(&senders[0], NULL, send_flow, &there), 0);
    assert_int_equal(pthread_create(&senders[1], NULL, send_flow, &back), 0);
    receive_flow(&there, scene->destination);
    receive_flow(&back, scene->source);
    pthread_join(senders[0], NULL);
    pthread_join(senders[1], NULL);
    if (there.error || back.error)
        print_error("%s\n", (there.error ? there.error : back.error)->message);
    assert_null(there.error);
    assert_null(back.error);
    assert_int_equal(link_status(scene->source).repeated, 0);
    assert_int_equal(link_status(scene->destination).repeated, 0);
}

/* --- the tests --- */

static void test_blocks_arrive_in_order_both_ways(void **state)
{
    struct scene *scene = *state;
    open_links(scene);
    flow_both_ways(scene, 300, BLOCK_SIZE_MAX);
    assert_int_equal(link_status(scene->source).resent, 0);
    assert_true(link_status(scene->source).rate > 0);
}

static void test_several_connections_keep_the_order(void **state)
{
    struct scene *scene = *state;
    scene->options.connections = 4;
    open_links(scene);
    flow_both_ways(scene, 600, 300000);
    assert_int_equal(link_status(scene->source).resent, 0);
}

static void cut_at_random(struct scene *scene, unsigned connections, uint64_t cut_after)
{
    scene->options.connections = connections;
    scene->between.cut_after = cut_after;
    print_message("MUDANZA_TEST_SEED=%" PRIu64 "\n", scene->seed);
    open_links(scene);
    flow_both_ways(scene, 400, 100000);
    pthread_mutex_lock(&scene->between.lock);
    assert_true(scene->between.cuts > 0);
    pthread_mutex_unlock(&scene->between.lock);
}

static void test_cuts_anywhere_lose_and_repeat_nothing(void **state)
{
    cut_at_random(*state, 1, 300000);
}

static void test_cuts_of_several_connections(void **state)
{
    cut_at_random(*state, 4, 150000);
}

/* Most of these do not even get through their handshake. */
static void test_cuts_within_the_first_frames(void **state)
{
    struct scene *scene = *state;
    scene->options.connections = 2;
    scene->between.cut_after = 6000;
    print_message("MUDANZA_TEST_SEED=%" PRIu64 "\n", scene->seed);
    open_links(scene);
    flow_both_ways(scene, 60, 2000);
}

static void between_set(struct scene *scene, bool frozen, bool refusing, unsigned resets)
{
    pthread_mutex_lock(&scene->between.lock);
    scene->between.frozen = frozen;
    scene->between.refusing = refusing;
    scene->between.reset_asked = resets;
    pthread_mutex_unlock(&scene->between.lock);
    fd_event_signal(scene->between.stop_fd);
}

static void test_others_carry_on_for_a_connection_that_stays_away(void **state)
{
    struct scene *scene = *state;
    scene->options.connections = 2;
    open_links(scene);
    await(scene->source, is_doubly_connected);
    await(scene->destination, is_doubly_connected);
    struct flow flow = {scene->source, 200, scene->seed, 200000, NULL};
    pthread_t sender;
    assert_int_equal(pthread_create(&sender, NULL, send_flow, &flow), 0);
    between_set(scene, false, true, 1);
    receive_flow(&flow, scene->destination);
    pthread_join(sender, NULL);
    assert_null(flow.error);
    assert_int_equal(link_status(scene->source).connections, 1);
    assert_int_equal(link_status(scene->destination).repeated, 0);
    between_set(scene, false, false, 0);
    await(scene->source, is_doubly_connected);
}

static void test_a_renewed_link_goes_on_over_another_connection(void **state)
{
    struct scene *scene = *state;
    open_links(scene);
    await(scene->source, is_connected);
    struct flow flow = {scene->source, 200, scene->seed, 200000, NULL};
    pthread_t sender;
    assert_int_equal(pthread_create(&sender, NULL, send_flow, &flow), 0);
    link_renew(scene->source);
    receive_flow(&flow, scene->destination);
    pthread_join(sender, NULL);
    assert_null(flow.error);
    await(scene->source, was_cut_and_is_back);
    assert_int_equal(link_status(scene->destination).repeated, 0);
}

static void test_a_frozen_network_is_noticed_and_survived(void **state)
{
    struct scene *scene = *state;
    scene->options.silence_ms = 200;
    open_links(scene);
    await(scene->source, is_connected);
    struct flow flow = {scene->source, 100, scene->seed, 400000, NULL};
    pthread_t sender;
    between_set(scene, true, false, 0);
    assert_int_equal(pthread_create(&sender, NULL, send_flow, &flow), 0);
    await(scene->source, is_lost);
    await(scene->destination, is_lost);
    between_set(scene, false, false, 0);
    receive_flow(&flow, scene->destination);
    pthread_join(sender, NULL);
    assert_null(flow.error);
    assert_int_equal(link_status(scene->destination).repeated, 0);
}

static void assert_failure(struct link *link, const char *words)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct block *block = NULL;
    await(link, is_failed);
    assert_int_equal(link_receive(link, &block, -1, TESTING_DEADLINE, &err), -1);
    if (!strstr(err->message, words))
        fail_msg("'%s' is not in '%s'", words, err->message);
    assert_int_equal(link_send(link, make_block(0, 1), -1, NULL), -1);
    assert_int_equal(link_flush(link, -1, TESTING_DEADLINE, NULL), 0); /* nothing was sent */
}

static void test_a_network_that_stays_away_is_a_failure(void **state)
{
    struct scene *scene = *state;
    scene->options.silence_ms = 200;
    scene->options.lost_ms = 500;
    open_links(scene);
    await(scene->source, is_connected);
    await(scene->destination, is_connected);
    between_set(scene, true, false, 0);
    assert_failure(scene->source, "host B: no connection for 0.5 s: ");
    assert_failure(scene->destination, "host B: no connection for 0.5 s: nothing came for 0.2 s");
}

static void test_the_end_of_one_side_is_told(void **state)
{
    struct scene *scene = *state;
    open_links(scene);
    await(scene->source, is_connected);
    await(scene->destination, is_connected);
    link_stop(STEAL(scene->source));
    assert_failure(scene->destination, "ended by the other side");
}

static void test_a_refusal_ends_the_attempts(void **state)
{
    struct scene *scene = *state;
    scene->refuse = true;
    open_links(scene);
    assert_failure(scene->source, "no such job here");
}

static void test_memory_is_bounded_when_nobody_takes(void **state)
{
    struct scene *scene = *state;
    scene->options.memory_limit = (size_t)8 << 20;
    open_links(scene);
    struct flow flow = {scene->source, 40, 1, 0, NULL};
    struct testing *testing = scene->testing;
    CLEANUP_ERROR struct error *err = NULL;
    uint64_t sent = 0;
    fd_event_signal(testing->cancel); /* so that it does not wait for ever */
    while (sent < flow.count &&
           link_send(scene->source, make_block(sent, 1 << 20), testing->cancel, &err) == 0)
        sent++;
    assert_int_equal(err->kind, ERROR_CANCELLED);
    assert_int_equal(sent, 7); /* and their overhead */
    for (uint64_t i = 0; i < sent; i++) {
        CLEANUP_FREE struct block *block = NULL;
        assert_int_equal(link_receive(scene->destination, &block, -1, TESTING_DEADLINE, NULL), 1);
        check_block(block, i, 1 << 20);
    }
    assert_int_equal(link_flush(scene->source, -1, TESTING_DEADLINE, NULL), 0);
    assert_true(link_status(scene->source).memory_peak <= scene->options.memory_limit);
    assert_true(link_status(scene->destination).memory_peak <= scene->options.memory_limit);
    assert_int_equal(link_status(scene->source).queued, 0);
}

/* --- connections that are not what they should be --- */

/* A connection of its own to the listener, which has said `resume`; what the answer is. */
static int attach_by_hand(struct scene *scene, const struct frame_resume *resume,
                          struct frame_resume *answer, struct error **err)
{
    const struct testing *testing = scene->testing;
    uint8_t frame[FRAME_HEADER_SIZE + FRAME_RESUME_MAX];
    struct tls *tls = connect_between(scene, -1, TESTING_DEADLINE, err);
    assert_non_null(tls);
    const struct frame_header header = {
        .type = FRAME_RESUME, .length = frame_encode_resume(resume, frame + FRAME_HEADER_SIZE)};
    frame_encode(&header, frame);
    assert_int_equal(tls_write(tls, frame, FRAME_HEADER_SIZE + header.length, testing->cancel,
                               TESTING_DEADLINE, NULL),
                     0);
    int result = link_greet(tls, answer, testing->cancel, TESTING_DEADLINE, err);
    tls_close(tls);
    return result;
}

static void test_only_a_fresh_connection_of_the_job_is_taken(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    scene->destination = link_new_destination(&scene->options, &err);
    assert_non_null(scene->destination);
    assert_int_equal(pthread_create(&scene->acceptor, NULL, accept_all, scene), 0);
    struct frame_resume first = {
        .session = {7}, .job = {1, 2, 3}, .generation = 5, .window = (size_t)16 << 20};
    struct frame_resume answer;
    assert_ok(attach_by_hand(scene, &first, &answer, &err), err);
    assert_int_equal(answer.generation, 5);
    assert_int_equal(answer.window, scene->options.memory_limit);

    struct frame_resume wrong[] = {first, first, first, first};
    static const char *const words[] = {"closed by the peer", "has begun anew", "another job",
                                        "connection 2 of 1"};
    wrong[1].session[0] = 8;
    wrong[2].job[0] = 8;
    wrong[3].slot = 1;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        CLEANUP_ERROR struct error *problem = NULL;
        wrong[i].generation = i == 0 ? 5 : 6;
        assert_int_equal(attach_by_hand(scene, &wrong[i], &answer, &problem), -1);
        if (!strstr(problem->message, words[i]))
            fail_msg("'%s' is not in '%s'", words[i], problem->message);
    }
    first.generation = 6;
    assert_ok(attach_by_hand(scene, &first, &answer, &err), err);
    assert_int_equal(answer.generation, 6);
    assert_false(link_status(scene->destination).failed);
}

static void test_having_what_was_never_sent_ends_the_link(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    scene->destination = link_new_destination(&scene->options, &err);
    assert_int_equal(pthread_create(&scene->acceptor, NULL, accept_all, scene), 0);
    const struct frame_resume resume = {.session = {7},
                                        .job = {1, 2, 3},
                                        .generation = 1,
                                        .window = (size_t)16 << 20,
                                        .have = {.next = 1}};
    struct frame_resume answer;
    assert_int_equal(attach_by_hand(scene, &resume, &answer, &err), -1);
    assert_failure(scene->destination, "block 0 is there, but only 0 were sent");
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(test_blocks_arrive_in_order_both_ways),
        SCENE(test_several_connections_keep_the_order),
        SCENE(test_cuts_anywhere_lose_and_repeat_nothing),
        SCENE(test_cuts_of_several_connections),
        SCENE(test_cuts_within_the_first_frames),
        SCENE(test_others_carry_on_for_a_connection_that_stays_away),
        SCENE(test_a_renewed_link_goes_on_over_another_connection),
        SCENE(test_a_frozen_network_is_noticed_and_survived),
        SCENE(test_a_network_that_stays_away_is_a_failure),
        SCENE(test_the_end_of_one_side_is_told),
        SCENE(test_a_refusal_ends_the_attempts),
        SCENE(test_memory_is_bounded_when_nobody_takes),
        SCENE(test_only_a_fresh_connection_of_the_job_is_taken),
        SCENE(test_having_what_was_never_sent_ends_the_link),
    };
    log_set_level(LOG_WARNING); /* connections break all the time here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
