/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of spools: what a process that is killed at any moment leaves behind. */
#include "base/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "migrate/spool.h"

#define STREAM_SIZE ((size_t)24 << 20)
/* The stream begins here, in the middle of a page. */
#define BEGIN 70001

struct scene {
    struct spool spool;
    int qemu, ours;
    unsigned seed;
};

static uint8_t byte_at(uint64_t position)
{
    return (uint8_t)(position ^ position >> 8 ^ position >> 16 ^ 0x5a);
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    scene->qemu = pair[0];
    scene->ours = pair[1];
    scene->spool =
        (struct spool){.file = memfd_create("spool", MFD_CLOEXEC), .pipe = spool_pipe(NULL)};
    scene->seed = (unsigned)time(NULL);
    print_message("seed %u\n", scene->seed);
    assert_int_equal(fd_set_nonblocking(scene->ours, true, NULL), 0);
    assert_int_equal(fd_set_nonblocking(scene->qemu, true, NULL), 0);
    assert_int_equal(spool_begin(&scene->spool, BEGIN, NULL), 0);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    spool_close(&scene->spool);
    close(scene->qemu);
    close(scene->ours);
    free(scene);
    return 0;
}

/* Has a child run `work` for ever, and kills it at a moment that the seed draws. */
static void run_and_kill(struct scene *scene, void (*work)(struct scene *scene))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        for (;;)
            work(scene);
    const struct timespec moment = {.tv_nsec = rand_r(&scene->seed) % 2000000};
    nanosleep(&moment, NULL);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void fill(struct scene *scene)
{
    bool open = true;
    if (spool_fill(&scene->spool, scene->ours, &open, NULL) < 0)
        _exit(1);
}

/* QEMU says what its socket takes. */
static size_t say(int fd, uint64_t at, uint64_t end)
{
    uint8_t piece[30011];
    size_t size = end - at < sizeof(piece) ? (size_t)(end - at) : sizeof(piece);
    for (size_t i = 0; i < size; i++)
        piece[i] = byte_at(at + i);
    ssize_t put = send(fd, piece, size, MSG_NOSIGNAL);
    return put < 0 ? 0 : (size_t)put;
}

static void test_nothing_that_qemu_said_is_lost(void **state)
{
    struct scene *scene = *state;
    uint64_t said = BEGIN;
    while (said < BEGIN + STREAM_SIZE) {
        for (int i = 0; i < 6; i++)
            said += say(scene->qemu, said, BEGIN + STREAM_SIZE);
        run_and_kill(scene, fill);
    }
    uint64_t before;
    do { /* the next agent: each time it takes what the pipe has room for */
        before = spool_position(&scene->spool);
        fill(scene);
    } while (spool_position(&scene->spool) > before);
    assert_int_equal(before, said);
    for (uint64_t at = BEGIN; at < said;) {
        uint8_t piece[65536];
        size_t size = said - at < sizeof(piece) ? (size_t)(said - at) : sizeof(piece);
        CLEANUP_ERROR struct error *err = NULL;
        assert_ok(spool_read(&scene->spool, at, piece, size, &err), err);
        for (size_t i = 0; i < size; i++)
            if (piece[i] != byte_at(at++))
                fail_msg("byte %llu differs", (unsigned long long)at - 1);
    }
}

static void drain(struct scene *scene)
{
    if (spool_drain(&scene->spool, scene->ours, BEGIN + STREAM_SIZE, NULL) < 0)
        _exit(1);
    spool_release_taken(&scene->spool, scene->ours);
}

/* QEMU reads some, or all there is. */
static uint64_t hear(int fd, uint64_t at, int pieces)
{
    uint8_t piece[30011];
    while (pieces--) {
        ssize_t got = recv(fd, piece, sizeof(piece), 0);
        if (got <= 0)
            break;
        for (ssize_t i = 0; i < got; i++)
            if (piece[i] != byte_at(at++))
                fail_msg("byte %llu differs", (unsigned long long)at - 1);
    }
    return at;
}

static void test_qemu_gets_each_byte_once(void **state)
{
    struct scene *scene = *state;
    uint8_t *stream = malloc(STREAM_SIZE);
    for (size_t i = 0; stream && i < STREAM_SIZE; i++)
        stream[i] = byte_at(BEGIN + i);
    CLEANUP_ERROR struct error *err = NULL;
    assert_non_null(stream);
    assert_ok(spool_put(&scene->spool, BEGIN, stream, STREAM_SIZE, &err), err);
    free(stream);
    uint64_t heard = BEGIN;
    while (spool_position(&scene->spool) < BEGIN + STREAM_SIZE) {
        run_and_kill(scene, drain);
        heard = hear(scene->qemu, heard, 6);
    }
    heard = hear(scene->qemu, heard, INT32_MAX);
    assert_int_equal(heard, BEGIN + STREAM_SIZE);
}

static void test_what_is_released_cannot_be_asked_for(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    const size_t size = (size_t)3 << 20;
    for (uint64_t said = BEGIN; said < BEGIN + size;) {
        said += say(scene->qemu, said, BEGIN + size);
        fill(scene);
    }
    assert_ok(spool_check(&scene->spool, BEGIN, &err), err);
    assert_ok(spool_check(&scene->spool, BEGIN + size, &err), err);
    spool_release(&scene->spool, BEGIN + size / 2);
    assert_ok(spool_check(&scene->spool, BEGIN + size / 2, &err), err);
    assert_int_equal(spool_check(&scene->spool, BEGIN, &err), -1);
    assert_int_equal(err->kind, ERROR_CORRUPT);
    error_free(STEAL(err));
    assert_int_equal(spool_check(&scene->spool, BEGIN + size + 1, &err), -1);
    assert_int_equal(err->kind, ERROR_CORRUPT);
    assert_int_equal(spool_position(&scene->spool), BEGIN + size);
}

static void test_the_end_comes_behind_the_last_byte(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    bool open = true;
    uint64_t said = BEGIN + say(scene->qemu, BEGIN, BEGIN + 1000);
    shutdown(scene->qemu, SHUT_WR);
    assert_ok(spool_fill(&scene->spool, scene->ours, &open, &err), err);
    assert_int_equal(spool_position(&scene->spool), said);
    assert_ok(spool_fill(&scene->spool, scene->ours, &open, &err), err);
    assert_false(open);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(test_nothing_that_qemu_said_is_lost),
        SCENE(test_qemu_gets_each_byte_once),
        SCENE(test_what_is_released_cannot_be_asked_for),
        SCENE(test_the_end_comes_behind_the_last_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
