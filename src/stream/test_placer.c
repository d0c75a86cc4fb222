/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of the placer: a loader that reads streams as QEMU does stands in for QEMU; RAM is this
 * process's own.
 */
#include "base/test.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "qemu/memory_map.h"
#include "stream/engine_testing.h"
#include "stream/placer.h"
#include "stream/return_path.h"

#define RAM_PAGES 600
#define VGA_PAGES 4
#define AT(page)  ((uint64_t)(page)*RAM_PAGE_SIZE)
#define RAM_BYTES ((size_t)RAM_PAGES * RAM_PAGE_SIZE)
#define VGA_BYTES ((size_t)VGA_PAGES * RAM_PAGE_SIZE)

/* --- streams --- */

/* Header, a command, and the list of two blocks. */
static void begin(struct made_stream *made, bool footer)
{
    made_put32(made, 0x5145564d);
    made_put32(made, 3);
    made_put8(made, 8); /* command 3, the advice that empties RAM, with two numbers */
    made_put32(made, 0x00030010);
    made_put64(made, 4096);
    made_put64(made, 4096);
    made_put8(made, 1);
    made_put32(made, 2);
    made_put_name(made, "ram");
    made_put32(made, 0);
    made_put32(made, 4);
    made_put64(made, (RAM_BYTES + VGA_BYTES) | RAM_RECORD_MEM_SIZE);
    made_put_name(made, "pc.ram");
    made_put64(made, RAM_BYTES);
    made_put_name(made, "vga");
    made_put64(made, VGA_BYTES);
    if (footer)
        made_part_end(made);
    else
        made_put64(made, RAM_RECORD_EOS);
}

/* A round: pages of both blocks, some of zeros, named only when the block changes. */
static void put_round(struct made_stream *made, uint64_t *state, const char **block, uint8_t kind,
                      bool footer)
{
    made_put8(made, kind);
    made_put32(made, 2);
    for (unsigned i = 0; i < 80; i++) {
        uint8_t page[RAM_PAGE_SIZE];
        const char *wanted = made_random(state) % 5 ? "pc.ram" : "vga";
        const char *named = *block && strcmp(*block, wanted) == 0 ? NULL : wanted;
        const uint64_t pages = strcmp(wanted, "vga") == 0 ? VGA_PAGES : RAM_PAGES;
        memset(page, (int)(made_random(state) % 255 + 1), sizeof(page));
        memcpy(page, state, sizeof(*state));
        made_page(made, made_random(state) % pages * RAM_PAGE_SIZE, named,
                  made_random(state) % 4 ? page : NULL);
        *block = wanted;
    }
    if (footer)
        made_part_end(made);
    else
        made_put64(made, RAM_RECORD_EOS);
}

static struct made_stream make_stream(bool footer)
{
    struct made_stream made = {0};
    uint64_t state = 77;
    const char *block = NULL;
    begin(&made, footer);
    for (unsigned round = 0; round < 6; round++)
        put_round(&made, &state, &block, round < 5 ? 2 : 3, footer);
    made_device(&made, "state of a device", 17);
    return made;
}

/* --- what QEMU would make of one --- */

struct loader {
    uint8_t *blocks[2];
    int block;             /* of the latest record; -1: there was none */
    unsigned pages, pings; /* seen: records of pages of pc.ram, and pings */
};

static bool take_name(const uint8_t **at, const char *name)
{
    if (**at != strlen(name) || memcmp(*at + 1, name, strlen(name)) != 0)
        return false;
    *at += 1 + strlen(name);
    return true;
}

static const uint8_t *load_record(struct loader *loader, const uint8_t *at)
{
    const uint64_t word = bytes_get64(at), flags = word % RAM_PAGE_SIZE;
    at += 8;
    if (!(flags & RAM_RECORD_CONTINUE))
        loader->block = take_name(&at, "pc.ram") ? 0 : take_name(&at, "vga") ? 1 : -1;
    if (loader->block < 0)
        fail_msg("record 0x%" PRIx64 " without a block", word);
    uint8_t *to = loader->blocks[loader->block != 0] + (word - flags);
    assert_true(word - flags < (loader->block ? VGA_BYTES : RAM_BYTES));
    loader->pages += loader->block == 0;
    if (flags & RAM_RECORD_PAGE) {
        memcpy(to, at, RAM_PAGE_SIZE);
        return at + RAM_PAGE_SIZE;
    }
    assert_true(flags & RAM_RECORD_ZERO);
    memset(to, *at, RAM_PAGE_SIZE);
    return at + 1;
}

static const uint8_t *load_list(const uint8_t *at)
{
    at += 8;
    assert_true(take_name(&at, "pc.ram"));
    at += 8;
    assert_true(take_name(&at, "vga"));
    return at + 8;
}

static const uint8_t *load_records(struct loader *loader, const uint8_t *at)
{
    for (;;) {
        const uint64_t word = bytes_get64(at);
        if (word == RAM_RECORD_EOS)
            return at + 8;
        at = word & RAM_RECORD_MEM_SIZE ? load_list(at) : load_record(loader, at);
    }
}

/* Whole, up to the device's state, which must be as it was. */
static void load(struct loader *loader, const struct made_stream *stream, bool footer)
{
    const uint8_t *at = stream->bytes + 8;
    loader->block = -1;
    loader->pages = loader->pings = 0;
    while (*at != 4) {
        const uint8_t kind = *at++;
        if (kind == 8) {
            loader->pings += bytes_get16(at) == 2 && bytes_get32(at + 4) == PLACER_PING;
            at += 4 + bytes_get16(at + 2);
            continue;
        }
        assert_in_range(kind, 1, 3);
        assert_int_equal(bytes_get32(at), 2);
        at = load_records(loader, at + (kind == 1 ? 4 + 4 + 8 : 4));
        if (footer) {
            assert_int_equal(*at, 0x7e);
            assert_int_equal(bytes_get32(at + 1), 2);
            at += 5;
        }
    }
    assert_memory_equal(stream->bytes + stream->size - 17, "state of a device", 17);
}

/* --- both, and what must come out the same --- */

struct scene {
    bool footer;
    struct made_stream stream, said; /* whole; what QEMU was given */
    uint8_t *expected[2], *ram, *vga;
    struct placer *placer;
    unsigned awaited;
    bool no_answer;
};

static int hear(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    (void)err;
    made_put(&((struct scene *)context)->said, bytes, size);
    return 0;
}

static int answer(void *context, struct error **err)
{
    struct scene *scene = context;
    scene->awaited++;
    return scene->no_answer ? error_set(err, ERROR_QEMU, "it does not answer") : 0;
}

static struct placer_ram here(uint8_t *ram, size_t size, bool emptied)
{
    struct memory_map *map = malloc(sizeof(*map));
    *map = (struct memory_map){
        .pid = getpid(), .address = (uint64_t)(uintptr_t)ram, .size = size, .pagemap_fd = -1};
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(memory_skip_absent(map, &err), err);
    return (struct placer_ram){
        .map = map, .pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0), .emptied = emptied};
}

static void start(struct scene *scene, bool emptied)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct placer_ram ram = here(scene->ram, RAM_BYTES, emptied);
    scene->said.size = scene->awaited = 0;
    madvise(scene->ram, RAM_BYTES, MADV_DONTNEED);
    memset(scene->vga, 0, VGA_BYTES);
    scene->placer = placer_new(&ram, (struct placer_sink){hear, answer, scene}, &err);
    assert_ok(scene->placer ? 0 : -1, err);
    assert_null(ram.map);
}

static uint8_t *make_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    madvise(memory, size, MADV_NOHUGEPAGE); /* pages are looked at one by one */
    return memory;
}

static void set_up(struct scene *scene, bool footer)
{
    *scene = (struct scene){.footer = footer, .stream = make_stream(footer)};
    scene->expected[0] = make_memory(RAM_BYTES);
    scene->expected[1] = make_memory(VGA_BYTES);
    scene->ram = make_memory(RAM_BYTES);
    scene->vga = make_memory(VGA_BYTES);
    struct loader loader = {.blocks = {scene->expected[0], scene->expected[1]}};
    load(&loader, &scene->stream, footer);
    assert_true(loader.pages > 300);
}

static void tear_down(struct scene *scene)
{
    placer_free(scene->placer);
    made_free(&scene->stream);
    made_free(&scene->said);
    munmap(scene->expected[0], RAM_BYTES);
    munmap(scene->expected[1], VGA_BYTES);
    munmap(scene->ram, RAM_BYTES);
    munmap(scene->vga, VGA_BYTES);
}

/* In pieces of random size, up to `end`. */
static void feed(struct scene *scene, size_t from, size_t end, uint64_t *state)
{
    CLEANUP_ERROR struct error *err = NULL;
    while (from < end) {
        size_t piece = made_random(state) % 20000 + 1;
        if (piece > end - from)
            piece = end - from;
        uint8_t *copy = malloc(piece); /* nothing may be used of it later */
        memcpy(copy, scene->stream.bytes + from, piece);
        assert_ok(placer_feed(scene->placer, copy, piece, &err), err);
        free(copy);
        from += piece;
    }
}

/* What QEMU was given, on top of what was placed, is what the whole stream makes. */
static struct loader check(struct scene *scene)
{
    struct loader loader = {.blocks = {scene->ram, scene->vga}};
    load(&loader, &scene->said, scene->footer);
    assert_memory_equal(scene->ram, scene->expected[0], RAM_BYTES);
    assert_memory_equal(scene->vga, scene->expected[1], VGA_BYTES);
    return loader;
}

static void pages_go_into_ram(void **unused)
{
    (void)unused;
    struct scene scene;
    uint64_t state = 5;
    set_up(&scene, true);
    for (unsigned i = 0; i < 20; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        start(&scene, false);
        feed(&scene, 0, scene.stream.size, &state);
        assert_int_equal(placer_position(scene.placer), scene.stream.size);
        assert_ok(placer_end(scene.placer, &err), err);
        assert_true(placer_pages(scene.placer) > 300);
        const struct loader loader = check(&scene);
        assert_int_equal(loader.pages, 0);
        assert_int_equal(loader.pings, 0);
        placer_free(STEAL(scene.placer));
    }
    tear_down(&scene);
}

/* Zero pages where nothing was take no memory; where something was, it goes. */
static void zeros(void **unused)
{
    (void)unused;
    CLEANUP_ERROR struct error *err = NULL;
    struct scene scene;
    struct made_stream made = {0};
    uint8_t page[RAM_PAGE_SIZE], read[RAM_PAGE_SIZE];
    set_up(&scene, true);
    start(&scene, false);
    scene.ram[AT(7) + 100] = 1; /* before the stream */
    memset(page, 3, sizeof(page));
    begin(&made, true);
    made_part(&made);
    made_page(&made, AT(5), "pc.ram", page);
    for (unsigned i = 5; i < 20; i++)
        made_page(&made, AT(i), NULL, NULL);
    made_page(&made, AT(9), NULL, page);
    assert_ok(placer_feed(scene.placer, made.bytes, made.size, &err), err);

    assert_ok(placer_read(scene.placer, AT(9), read, &err), err);
    assert_memory_equal(read, page, sizeof(page));
    bool present[MEMORY_CHUNK_PAGES];
    struct placer_ram ram = here(scene.ram, RAM_BYTES, false);
    memory_map_presence(ram.map, 0, present);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(present[i], i == 5 || i == 7 || i == 9);
    placer_ram_clear(&ram);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(bytes_are_zero(scene.ram + (size_t)i * RAM_PAGE_SIZE, RAM_PAGE_SIZE),
                         i != 9);
    made_free(&made);
    tear_down(&scene);
}

/* What is not there would be what post-copy waits for. */
static void zeros_before_post_copy(void **unused)
{
    (void)unused;
    CLEANUP_ERROR struct error *err = NULL;
    struct scene scene;
    struct made_stream made = {0};
    set_up(&scene, true);
    start(&scene, true);
    begin(&made, true);
    made_part(&made);
    made_page(&made, AT(5), "pc.ram", NULL);
    for (unsigned i = 6; i < 20; i++)
        made_page(&made, AT(i), NULL, NULL);
    assert_ok(placer_feed(scene.placer, made.bytes, made.size, &err), err);
    bool present[MEMORY_CHUNK_PAGES];
    struct placer_ram ram = here(scene.ram, RAM_BYTES, true);
    memory_map_presence(ram.map, 0, present);
    for (unsigned i = 5; i < 20; i++)
        assert_true(present[i]);
    placer_ram_clear(&ram);
    made_free(&made);
    tear_down(&scene);
}

static void end_everywhere(bool footer)
{
    struct scene scene;
    uint64_t state = 9;
    unsigned ended = 0;
    set_up(&scene, footer);
    for (size_t at = 0; at < scene.stream.size; at += made_random(&state) % 9000 + 1) {
        CLEANUP_ERROR struct error *err = NULL;
        start(&scene, false);
        feed(&scene, 0, at, &state);
        const size_t position = placer_position(scene.placer);
        placer_free(STEAL(scene.placer));
        start(&scene, false);
        feed(&scene, 0, position, &state); /* as the source sees to: not inside of a record */
        if (placer_end(scene.placer, &err) == 0) {
            made_put(&scene.said, scene.stream.bytes + position, scene.stream.size - position);
            check(&scene);
            ended++;
        }
        placer_free(STEAL(scene.placer));
    }
    assert_true(ended > 150);
    tear_down(&scene);
}

/* Wherever the stream goes to QEMU as it is from, that QEMU makes the same of it; old machines'
 * streams have no footers. */
static void ends_anywhere(void **unused)
{
    (void)unused;
    end_everywhere(true);
    end_everywhere(false);
}

/* The three places in which QEMU's loader may be, each of them. */
static void ends_between(void **unused)
{
    (void)unused;
    static const size_t before_end[] = {13, 5, 0}; /* of a part: its end, its footer */
    struct scene scene;
    uint64_t state = 3;
    set_up(&scene, true);
    struct made_stream first = {0};
    const char *block = NULL;
    begin(&first, true);
    put_round(&first, &(uint64_t){77}, &block, 2, true);
    for (unsigned i = 0; i < 3; i++) {
        CLEANUP_ERROR struct error *err = NULL;
        const size_t at = first.size - before_end[i];
        start(&scene, false);
        feed(&scene, 0, at, &state);
        assert_ok(placer_end(scene.placer, &err), err);
        made_put(&scene.said, scene.stream.bytes + at, scene.stream.size - at);
        assert_true(check(&scene).pages > 200);
        placer_free(STEAL(scene.placer));
    }
    made_free(&first);
    tear_down(&scene);
}

/* What empties RAM is over before the first page is placed. */
static void awaits_emptying(void **unused)
{
    (void)unused;
    CLEANUP_ERROR struct error *err = NULL;
    struct scene scene;
    uint64_t state = 4;
    set_up(&scene, true);
    start(&scene, true);
    feed(&scene, 0, scene.stream.size, &state);
    assert_int_equal(scene.awaited, 1);
    assert_int_equal(check(&scene).pings, 1);
    placer_free(STEAL(scene.placer));

    scene.no_answer = true;
    start(&scene, true);
    assert_int_equal(placer_feed(scene.placer, scene.stream.bytes, scene.stream.size, &err), -1);
    assert_int_equal(err->kind, ERROR_QEMU);
    assert_int_equal(placer_pages(scene.placer), 0);
    tear_down(&scene);
}

/* From something unknown on QEMU gets everything, and knows of which block. */
static void unknown_section(void **unused)
{
    (void)unused;
    CLEANUP_ERROR struct error *err = NULL;
    struct scene scene;
    struct made_stream made = {0};
    uint8_t page[RAM_PAGE_SIZE];
    set_up(&scene, true);
    start(&scene, false);
    memset(page, 3, sizeof(page));
    begin(&made, true);
    made_part(&made);
    made_page(&made, AT(5), "pc.ram", page);
    made_part_end(&made);
    made_device(&made, "state", 5);
    const size_t behind = made.size;
    made_part(&made);
    made_page(&made, AT(6), NULL, page);
    made_part_end(&made);
    assert_ok(placer_feed(scene.placer, made.bytes, made.size, &err), err);
    assert_memory_equal(scene.said.bytes + scene.said.size - (made.size - behind),
                        made.bytes + behind, made.size - behind);
    scene.said.size -= made.size - behind + 5; /* the loader wants to know where devices end */
    made_put(&scene.said, "state of a device", 17);
    memset(scene.expected[0], 0, RAM_BYTES);
    memset(scene.expected[1], 0, VGA_BYTES);
    memcpy(scene.expected[0] + AT(5), page, sizeof(page));
    const struct loader loader = check(&scene);
    assert_int_equal(loader.pages, 1);
    assert_int_equal(loader.block, 0);
    made_free(&made);
    tear_down(&scene);
}

/* RAM that is not what the stream calls so. */
static void left_to_qemu(void **unused)
{
    (void)unused;
    CLEANUP_ERROR struct error *err = NULL;
    struct scene scene;
    uint64_t state = 4;
    set_up(&scene, true);
    struct placer_ram ram = here(scene.ram, RAM_BYTES - RAM_PAGE_SIZE, false);
    scene.placer = placer_new(&ram, (struct placer_sink){hear, answer, &scene}, &err);
    assert_ok(scene.placer ? 0 : -1, err);
    feed(&scene, 0, scene.stream.size, &state);
    assert_int_equal(scene.said.size, scene.stream.size);
    assert_memory_equal(scene.said.bytes, scene.stream.bytes, scene.stream.size);
    assert_int_equal(placer_pages(scene.placer), 0);
    tear_down(&scene);
}

/* Its number may be another process's by then. */
static void process_is_gone(void **unused)
{
    (void)unused;
    CLEANUP_ERROR struct error *err = NULL;
    struct scene scene;
    set_up(&scene, true);
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    struct placer_ram ram = here(scene.ram, RAM_BYTES, false);
    close(ram.pidfd);
    ram.pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    assert_true(ram.pidfd >= 0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    scene.placer = placer_new(&ram, (struct placer_sink){hear, answer, &scene}, &err);
    assert_ok(scene.placer ? 0 : -1, err);
    assert_int_equal(placer_feed(scene.placer, scene.stream.bytes, scene.stream.size, &err), -1);
    assert_int_equal(err->kind, ERROR_QEMU);
    assert_int_equal(waitpid(child, NULL, 0), child);
    tear_down(&scene);
}

/* --- answers --- */

static void answers(void **unused)
{
    (void)unused;
    static const uint8_t said[] = {0, 2, 0, 4, 0,    0,    0,    1, /* a pong of QEMU's own */
                                   0, 4, 0, 2, 0,    2,             /* a request with "pong" */
                                   0, 3, 0, 0,                      /* and one without anything */
                                   0, 2, 0, 4, 0x4d, 0x44, 0x5a, 0x41, /* ours */
                                   0, 1, 0, 4, 0,    0,    0,    0};
    const size_t ours = sizeof(said) - 8;
    for (size_t cut = 0; cut <= sizeof(said); cut++) {
        struct return_path path = {.awaited = PLACER_PING};
        return_path_see(&path, said, cut);
        assert_int_equal(path.answered, cut >= ours);
        return_path_see(&path, said + cut, sizeof(said) - cut);
        assert_true(path.answered);
    }
    struct return_path path = {.awaited = PLACER_PING + 1};
    return_path_see(&path, said, sizeof(said));
    assert_false(path.answered);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_go_into_ram),      cmocka_unit_test(zeros),
        cmocka_unit_test(zeros_before_post_copy), cmocka_unit_test(ends_anywhere),
        cmocka_unit_test(ends_between),           cmocka_unit_test(awaits_emptying),
        cmocka_unit_test(unknown_section),        cmocka_unit_test(left_to_qemu),
        cmocka_unit_test(process_is_gone),        cmocka_unit_test(answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
