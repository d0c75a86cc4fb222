/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the account of heartbeats: nothing that is wrong with a guest may look right. */
#include "base/test.h"

#include <string.h>

#include "cli/demo_heart.h"

/* As guests send them; the checksums are Python's binascii.crc_hqx, as in heartbeat.py. */
#define HI     "HI guest=linux heartbeat=10 *17e9\n"
#define RDY    "RDY n=1 t=9 *7a30\n"
#define HB_1   "HB n=1 t=0 s=init w=0 c=0 e=0 *bd0f\n"
#define HB_2   "HB n=2 t=10 s=run w=3 c=1 e=0 *6827\n"
#define HB_5   "HB n=5 t=10 s=run w=3 c=4 e=2 *ee3b\n"
#define HB_200 "HB n=200 t=10 s=run w=3 c=1 e=0 *d522\n"
#define BAD    "BAD addr=0x1000 want=0x1 got=0x3 page=1 gen=2 n=7 *ef90\n"
#define ERR    "ERR option=x *5ec6\n"
#define BYE    "BYE n=2 *65ba\n"

static struct demo_heart hear(const char *text)
{
    struct demo_heart heart = {0};
    demo_heart_feed(&heart, text, strlen(text));
    return heart;
}

static void assert_clean(const struct demo_heart *heart)
{
    assert_int_equal(heart->lost, 0);
    assert_int_equal(heart->repeated, 0);
    assert_int_equal(heart->damaged, 0);
    assert_int_equal(heart->wrong, 0);
    assert_false(heart->complained);
}

static void test_a_healthy_guest_is_healthy(void **state)
{
    (void)state;
    struct demo_heart heart = hear("SeaBIOS\r\n" HI HB_1 RDY HB_2 "\x83\x84" BYE "[ 9.1] off\n");
    assert_clean(&heart);
    assert_true(heart.alive && heart.ready && heart.bye);
    assert_int_equal(heart.beats, 4);
    assert_int_equal(heart.last, 4);
    assert_int_equal(heart.lines, 2);
    assert_int_equal(heart.rounds, 1);
}

static void test_bytes_one_by_one_say_the_same(void **state)
{
    (void)state;
    static const char text[] = HI HB_1 HB_2 "\x83";
    struct demo_heart heart = {0};
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        demo_heart_feed(&heart, text + i, 1);
    assert_clean(&heart);
    assert_int_equal(heart.last, 3);
}

static void test_nothing_lives_without_its_hello(void **state)
{
    (void)state;
    struct demo_heart heart = hear("boot\n" HB_1 "\x85\x86");
    assert_false(heart.alive);
    assert_int_equal(heart.beats, 0);
    assert_clean(&heart);
}

/* The seven bits of a short heartbeat go round; the number behind them goes on. */
static void test_numbers_go_on_past_seven_bits(void **state)
{
    (void)state;
    struct demo_heart heart = hear(HI);
    for (unsigned number = 1; number <= 300; number++) {
        unsigned char beat = (unsigned char)(0x80 | (number & 0x7f));
        demo_heart_feed(&heart, &beat, 1);
    }
    assert_clean(&heart);
    assert_int_equal(heart.last, 300);
}

static void test_lost_heartbeats_are_counted(void **state)
{
    (void)state;
    struct demo_heart heart = hear(HI HB_1 "\x82\x85");
    assert_int_equal(heart.lost, 2);
    heart = hear(HI HB_1 HB_200);
    assert_int_equal(heart.lost, 198);
    assert_int_equal(heart.repeated, 0);
}

static void test_repeated_heartbeats_are_counted(void **state)
{
    (void)state;
    struct demo_heart heart = hear(HI HB_1 HB_2 "\x82");
    assert_int_equal(heart.repeated, 1);
    heart = hear(HI HB_1 HB_200 "\xc8\xc7"); /* 200 & 0x7f is 0x48 */
    assert_int_equal(heart.repeated, 2);
    assert_int_equal(heart.last, 200);
    heart = hear(HI HB_1 HB_2 HB_1);
    assert_int_equal(heart.repeated, 1);
    assert_int_equal(heart.lost, 0);
}

static void test_damaged_lines_are_counted(void **state)
{
    (void)state;
    static const char *const damaged[] = {
        HI "HB n=1 t=0 s=init w=0 c=0 e=1 *bd0f\n", /* a digit changed */
        HI "HB n=1 t=0\n",                          /* no checksum */
        HI "\n", HI "HB n=1 \x81t=0 s=init\n", /* a heartbeat within a line, and the rest of it */
    };
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++)
        assert_true(hear(damaged[i]).damaged > 0);
}

static void test_a_line_without_end_is_damage_not_overflow(void **state)
{
    (void)state;
    char text[4 * DEMO_HEART_LINE_MAX + 1];
    struct demo_heart heart = hear(HI);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    demo_heart_feed(&heart, text, sizeof(text) - 1);
    assert_int_equal(heart.damaged, 4);
    demo_heart_feed(&heart, "\n" HB_1, strlen("\n" HB_1));
    assert_int_equal(heart.last, 1);
}

static void test_what_the_guest_found_is_kept(void **state)
{
    (void)state;
    struct demo_heart heart = hear(HI HB_5);
    assert_int_equal(heart.wrong, 2);
    assert_int_equal(heart.rounds, 4);
    heart = hear(HI HB_1 BAD ERR);
    assert_true(heart.complained);
    assert_string_equal(heart.complaint, "BAD addr=0x1000 want=0x1 got=0x3 page=1 gen=2 n=7");
    heart = hear(ERR);
    assert_true(heart.complained);
    assert_false(heart.alive);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_healthy_guest_is_healthy),
        cmocka_unit_test(test_bytes_one_by_one_say_the_same),
        cmocka_unit_test(test_nothing_lives_without_its_hello),
        cmocka_unit_test(test_numbers_go_on_past_seven_bits),
        cmocka_unit_test(test_lost_heartbeats_are_counted),
        cmocka_unit_test(test_repeated_heartbeats_are_counted),
        cmocka_unit_test(test_damaged_lines_are_counted),
        cmocka_unit_test(test_a_line_without_end_is_damage_not_overflow),
        cmocka_unit_test(test_what_the_guest_found_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
