/* SPDX-License-Identifier: Apache-2.0 */
/* Slots: found by page and by content, and given to others when they run out. */
#include "base/test.h"

#include <string.h>

#include "stream/fast_hash.h"
#include "stream/slot_map.h"

static void make_page(uint8_t page[RAM_PAGE_SIZE], uint64_t number)
{
    memset(page, 0, RAM_PAGE_SIZE);
    memcpy(page, &number, sizeof(number));
}

static uint32_t keep(struct slots *slots, struct slot_map *map, uint64_t number)
{
    uint8_t page[RAM_PAGE_SIZE];
    make_page(page, number);
    uint32_t slot = slot_map_take(map, 0, number * RAM_PAGE_SIZE);
    assert_true(slot <= slots->used && slot < slots->count);
    slots_put(slots, slot, page);
    slot_map_filled(map, slot, fast_hash(page));
    return slot;
}

static uint32_t find_content(struct slot_map *map, uint64_t number)
{
    uint8_t page[RAM_PAGE_SIZE];
    make_page(page, number);
    return slot_map_find_content(map, fast_hash(page), page);
}

static void test_found_by_page_and_content(void **state)
{
    (void)state;
    struct slots slots;
    struct error *err = NULL;
    assert_ok(slots_init(&slots, 1000, &err), err);
    struct slot_map *map = slot_map_new(&slots);
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(keep(&slots, map, i), i);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(slot_map_find(map, 0, i * RAM_PAGE_SIZE), i);
        assert_int_equal(find_content(map, i), i);
        assert_int_equal(slot_map_find(map, 1, i * RAM_PAGE_SIZE), SLOT_NONE);
    }
    assert_int_equal(find_content(map, 1000), SLOT_NONE);
    slot_map_free(map);
    slots_clear(&slots);
}

/* A guest's pages come in order, and none may push out another while there are free slots. */
static void test_a_whole_guest_is_found_again(void **state)
{
    (void)state;
    enum { COUNT = 150000 };
    struct slots slots;
    struct error *err = NULL;
    assert_ok(slots_init(&slots, COUNT, &err), err);
    struct slot_map *map = slot_map_new(&slots);
    for (uint64_t i = 0; i < COUNT; i++) { /* without contents, which would be 600 MB */
        assert_int_equal(slot_map_take(map, 0, i * RAM_PAGE_SIZE), slots.used);
        slots.used++;
    }
    unsigned lost = 0;
    for (uint64_t i = 0; i < COUNT; i++)
        lost += slot_map_find(map, 0, i * RAM_PAGE_SIZE) == SLOT_NONE;
    assert_true(lost < COUNT / 1000);
    slot_map_free(map);
    slots_clear(&slots);
}

/* The pages that are written all the time keep their slots while others pass. */
static void test_useful_slots_stay(void **state)
{
    (void)state;
    enum { COUNT = 100, HOT = 50 };
    struct slots slots;
    struct error *err = NULL;
    assert_ok(slots_init(&slots, COUNT, &err), err);
    struct slot_map *map = slot_map_new(&slots);
    for (uint64_t i = 0; i < COUNT; i++)
        keep(&slots, map, i);
    unsigned lost = 0;
    for (uint64_t round = 1; round < 50; round++) {
        for (uint64_t i = 0; i < HOT; i++)
            lost += slot_map_find(map, 0, i * RAM_PAGE_SIZE) == SLOT_NONE;
        for (uint64_t i = 0; i < COUNT - HOT - 10; i++)
            keep(&slots, map, round * 1000 + i);
    }
    assert_true(lost < 2 * 50); /* a set that overflows may cost one its entry, for good here */
    assert_int_equal(slot_map_find(map, 0, (uint64_t)1000 * RAM_PAGE_SIZE), SLOT_NONE);
    assert_int_equal(find_content(map, 1000), SLOT_NONE);
    slot_map_free(map);
    slots_clear(&slots);
}

/* What was in a slot is not found any more once something else is there. */
static void test_content_follows_the_slot(void **state)
{
    (void)state;
    uint8_t page[RAM_PAGE_SIZE];
    struct slots slots;
    struct error *err = NULL;
    assert_ok(slots_init(&slots, 10, &err), err);
    struct slot_map *map = slot_map_new(&slots);
    uint32_t slot = keep(&slots, map, 7);
    make_page(page, 8);
    slots_put(&slots, slot, page);
    slot_map_filled(map, slot, fast_hash(page));
    assert_int_equal(find_content(map, 7), SLOT_NONE);
    assert_int_equal(find_content(map, 8), slot);
    assert_int_equal(slot_map_find(map, 0, (uint64_t)7 * RAM_PAGE_SIZE), slot);
    slot_map_free(map);
    slots_clear(&slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_by_page_and_content),
        cmocka_unit_test(test_a_whole_guest_is_found_again),
        cmocka_unit_test(test_useful_slots_stay),
        cmocka_unit_test(test_content_follows_the_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
