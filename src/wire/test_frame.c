/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of frame headers: the documented bytes, and every bound. */
#include "base/test.h"

#include <string.h>

#include "wire/frame.h"

static void test_the_bytes_are_those_of_the_documentation(void **state)
{
    (void)state;
    const struct frame_header header = {
        .type = FRAME_BYTES, .length = 0x00012345, .offset = UINT64_C(0x1122334455667788)};
    static const uint8_t expected[FRAME_HEADER_SIZE] = {
        1, 0, 0, 0, 0x00, 0x01, 0x23, 0x45, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
    uint8_t bytes[FRAME_HEADER_SIZE];
    frame_encode(&header, bytes);
    assert_memory_equal(bytes, expected, sizeof(bytes));
    struct frame_header decoded;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(frame_decode(bytes, header.offset, &decoded, &err), err);
    assert_int_equal(decoded.type, FRAME_BYTES);
    assert_int_equal(decoded.length, header.length);
    assert_int_equal(decoded.offset, header.offset);
}

static void test_the_outermost_good_frames_pass(void **state)
{
    (void)state;
    static const struct frame_header good[] = {
        {FRAME_BYTES, 1, 0}, {FRAME_BYTES, FRAME_PAYLOAD_MAX, 0}, {FRAME_BYTES, 1, UINT64_MAX - 1},
        {FRAME_END, 0, 0},   {FRAME_END, 0, UINT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        uint8_t bytes[FRAME_HEADER_SIZE];
        struct frame_header decoded;
        CLEANUP_ERROR struct error *err = NULL;
        frame_encode(&good[i], bytes);
        assert_ok(frame_decode(bytes, good[i].offset, &decoded, &err), err);
        assert_int_equal(decoded.type, good[i].type);
    }
}

static void test_each_field_out_of_bounds_is_named(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[FRAME_HEADER_SIZE];
        const char *message;
    } bad[] = {
        {{0, 0, 0, 0, 0, 0, 0, 1}, "frame of unknown type 0"},
        {{3, 0, 0, 0, 0, 0, 0, 1}, "frame of unknown type 3"},
        {{1, 2, 0, 0, 0, 0, 0, 1}, "frame with unknown flags 0x02"},
        {{1, 0, 1, 0, 0, 0, 0, 1}, "frame with reserved bytes 0x0100"},
        {{1, 0, 0, 1, 0, 0, 0, 1}, "frame with reserved bytes 0x0001"},
        {{1, 0, 0, 0, 0, 16, 0, 1}, "frame of 1048577 bytes is larger than 1048576"},
        {{1, 0, 0, 0, 255, 255, 255, 255}, "frame of 4294967295 bytes is larger than 1048576"},
        {{1, 0, 0, 0, 0, 0, 0, 0}, "frame of bytes without any"},
        {{2, 0, 0, 0, 0, 0, 0, 1}, "end frame with a payload of 1 bytes"},
        {{1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, "frame at offset 1 instead of 0"},
        {{1, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255, 255, 255, 255, 255},
         "frame at offset 18446744073709551615 runs past the largest offset"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP_ERROR struct error *err = NULL;
        struct frame_header decoded;
        assert_int_equal(frame_decode(bad[i].bytes, 0, &decoded, &err), -1);
        assert_int_equal(err->kind, ERROR_CORRUPT);
        assert_string_equal(err->message, bad[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_bytes_are_those_of_the_documentation),
        cmocka_unit_test(test_the_outermost_good_frames_pass),
        cmocka_unit_test(test_each_field_out_of_bounds_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
