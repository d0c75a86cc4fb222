/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks: what they hold stays when they are cut to size. */
#include "base/test.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "wire/block.h"

enum { ROOM = 1 << 20 };

static struct block *filled(uint32_t size)
{
    struct block *block = block_new(7, ROOM);
    assert_non_null(block);
    for (uint32_t i = 0; i < size; i++)
        block->data[i] = (uint8_t)(i * 31);
    block->size = size;
    return block;
}

static void check(const struct block *block, uint32_t size)
{
    assert_int_equal(block->kind, 7);
    assert_int_equal(block->size, size);
    for (uint32_t i = 0; i < size; i++)
        assert_int_equal(block->data[i], (uint8_t)(i * 31));
}

static void test_much_is_given_back(void **state)
{
    (void)state;
    CLEANUP_FREE struct block *block = block_fit(filled(1000), ROOM);
    check(block, 1000);
    assert_true(malloc_usable_size(block) < ROOM / 2);
}

/* Else nothing as large would fit where it was. */
static void test_little_is_kept(void **state)
{
    (void)state;
    struct block *before = filled(ROOM - 5000);
    CLEANUP_FREE struct block *block = block_fit(before, ROOM);
    assert_ptr_equal(block, before);
    check(block, ROOM - 5000);
    assert_true(malloc_usable_size(block) >= ROOM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_much_is_given_back),
        cmocka_unit_test(test_little_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
