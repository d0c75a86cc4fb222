/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of frames: the documented bytes, and every bound. */
#include "base/test.h"

#include <string.h>

#include "wire/frame.h"

static void test_the_bytes_are_those_of_the_documentation(void **state)
{
    (void)state;
    const struct frame_header header = {.type = FRAME_DATA,
                                        .kind = 2,
                                        .length = 0x00012345,
                                        .number = UINT64_C(0x1122334455667788)};
    static const uint8_t expected[FRAME_HEADER_SIZE] = {
        1, 2, 0, 0, 0x00, 0x01, 0x23, 0x45, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
    uint8_t bytes[FRAME_HEADER_SIZE];
    frame_encode(&header, bytes);
    assert_memory_equal(bytes, expected, sizeof(bytes));
    struct frame_header decoded;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(frame_decode(bytes, &decoded, &err), err);
    assert_int_equal(decoded.type, FRAME_DATA);
    assert_int_equal(decoded.kind, 2);
    assert_int_equal(decoded.length, header.length);
    assert_int_equal(decoded.number, header.number);
}

static void test_the_outermost_good_frames_pass(void **state)
{
    (void)state;
    static const struct frame_header good[] = {
        {FRAME_DATA, 0, 0, 0},
        {FRAME_DATA, 255, FRAME_DATA_MAX, UINT64_MAX},
        {FRAME_ACK, 0, 0, UINT64_MAX},
        {FRAME_RESUME, 0, FRAME_RESUME_SIZE + 16, 0},
        {FRAME_RESUME, 0, FRAME_RESUME_MAX, 0},
        {FRAME_HAVE, 0, FRAME_HAVE_MAX, (FRAME_SLOTS_MAX - UINT64_C(1)) << 32},
        {FRAME_REFUSED, 0, FRAME_REFUSED_MAX, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        uint8_t bytes[FRAME_HEADER_SIZE];
        struct frame_header decoded;
        CLEANUP_ERROR struct error *err = NULL;
        frame_encode(&good[i], bytes);
        assert_ok(frame_decode(bytes, &decoded, &err), err);
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
        {{0}, "frame of unknown type 0"},
        {{10}, "frame of unknown type 10"},
        {{2, 2}, "ack frame with kind 0x02"},
        {{1, 0, 1, 0}, "frame with reserved bytes 0x0100"},
        {{1, 0, 0, 1}, "frame with reserved bytes 0x0001"},
        {{1, 0, 0, 0, 0, 32, 0, 1}, "data frame with 2097153 bytes: it has 0 to 2097152"},
        {{2, 0, 0, 0, 0, 0, 0, 1}, "ack frame with 1 bytes: it has 0 to 0"},
        {{5, 0, 0, 0, 0, 0, 0, 71}, "resume frame with 71 bytes: it has 72 to 1096"},
        {{7, 0, 0, 0, 0, 0, 4, 17}, "have frame with 1041 bytes: it has 16 to 1040"},
        {{9, 0, 0, 0, 0, 0, 0, 0}, "refused frame with 0 bytes: it has 1 to 512"},
        {{6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16}, "lost frame for connection 16 of 16"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP_ERROR struct error *err = NULL;
        struct frame_header decoded;
        assert_int_equal(frame_decode(bad[i].bytes, &decoded, &err), -1);
        assert_int_equal(err->kind, ERROR_CORRUPT);
        assert_string_equal(err->message, bad[i].message);
    }
}

static void test_what_is_there_survives_the_way(void **state)
{
    (void)state;
    const struct frame_resume resume = {
        .session = {1, 2},
        .job = {3, 4},
        .slot = 3,
        .generation = 7,
        .window = 64 << 20,
        .have = {.taken = 90, .next = 100, .bits = 16, .bitmap = {0x02, 0x80}}};
    uint8_t bytes[FRAME_RESUME_MAX];
    struct frame_resume back;
    CLEANUP_ERROR struct error *err = NULL;
    uint32_t size = frame_encode_resume(&resume, bytes);
    assert_int_equal(size, FRAME_RESUME_SIZE + 16 + 2);
    assert_ok(frame_decode_resume(bytes, size, &back, &err), err);
    assert_memory_equal(&back, &resume, sizeof(back));
    static const uint64_t here[] = {0, 89, 99, 101, 115}, missing[] = {100, 102, 114, 116, 9000};
    for (size_t i = 0; i < ARRAY_SIZE(here); i++) {
        assert_true(frame_has(&back.have, here[i]));
        assert_false(frame_has(&back.have, missing[i]));
    }
}

static void test_nonsense_in_payloads_is_named(void **state)
{
    (void)state;
    static const struct {
        struct frame_resume resume;
        const char *message;
    } bad[] = {
        {{.slot = 16, .generation = 1}, "resume of connection 16, generation 1"},
        {{.slot = 0, .generation = 0}, "resume of connection 0, generation 0"},
        {{.generation = 1, .have = {.taken = 2, .next = 1}},
         "list of blocks from 1, of which all below 2 were taken"},
        {{.generation = 1, .have = {.taken = 0, .next = FRAME_WINDOW + 1}},
         "list of blocks from 8193, of which all below 0 were taken"},
        {{.generation = 1, .have = {.bits = 8, .bitmap = {1}}},
         "list of blocks that has the missing one"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP_ERROR struct error *err = NULL;
        uint8_t bytes[FRAME_RESUME_MAX];
        struct frame_resume back;
        uint32_t size = frame_encode_resume(&bad[i].resume, bytes);
        assert_int_equal(frame_decode_resume(bytes, size, &back, &err), -1);
        assert_string_equal(err->message, bad[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_bytes_are_those_of_the_documentation),
        cmocka_unit_test(test_the_outermost_good_frames_pass),
        cmocka_unit_test(test_each_field_out_of_bounds_is_named),
        cmocka_unit_test(test_what_is_there_survives_the_way),
        cmocka_unit_test(test_nonsense_in_payloads_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
