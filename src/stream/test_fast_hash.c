/* SPDX-License-Identifier: Apache-2.0 */
/* The fast hash is XXH3, at any alignment, whatever this processor can do. */
#include "base/test.h"

#include <string.h>
#include <xxhash.h>

#include "stream/engine_testing.h"
#include "stream/fast_hash.h"

static void test_same_as_the_library(void **test_state)
{
    (void)test_state;
    uint8_t bytes[RAM_PAGE_SIZE + 64];
    uint64_t state = 1;
    for (unsigned shift = 0; shift < 64; shift++) {
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)made_random(&state);
        assert_true(fast_hash(bytes + shift) == XXH3_64bits(bytes + shift, RAM_PAGE_SIZE));
    }
}

/* Both ends must agree, also with what other builds of the library made. */
static void test_known_value(void **test_state)
{
    (void)test_state;
    uint8_t page[RAM_PAGE_SIZE];
    for (size_t i = 0; i < sizeof(page); i++)
        page[i] = (uint8_t)(i * 7);
    assert_true(fast_hash(page) == UINT64_C(0x8fb047a89e810965));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_the_library),
        cmocka_unit_test(test_known_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
