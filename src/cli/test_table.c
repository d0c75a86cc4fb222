/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of tables, of the table of VMs, and of what output does to text and JSON. */
#include "base/test.h"

#include <string.h>

#include "cli/output.h"
#include "cli/table.h"
#include "cli/vm.h"

static void test_columns_line_up(void **state)
{
    (void)state;
    static const char *const headings[] = {"Name", "Size", "Note", NULL};
    static const char *const cells[] = {"a", "1",         "x",  "longer", "1000",
                                        "",  "h\xc3\xa9", "22", "z"};
    CLEANUP_TABLE struct table table;
    CLEANUP_TEXT struct text text = {0};
    table_start(&table, headings, TABLE_RIGHT(1));
    for (size_t i = 0; i < ARRAY_SIZE(cells); i++)
        table_add(&table, cells[i]);
    table_render(&table, &text);
    assert_string_equal(text.data, "Name    Size  Note\n"
                                   "a          1  x\n"
                                   "longer  1000\n"
                                   "h\xc3\xa9        22  z\n");
}

static void test_an_empty_table_is_its_headings(void **state)
{
    (void)state;
    static const char *const headings[] = {"Name", "State", NULL};
    CLEANUP_TABLE struct table table;
    CLEANUP_TEXT struct text text = {0};
    table_start(&table, headings, 0);
    table_render(&table, &text);
    assert_string_equal(text.data, "Name  State\n");
}

static void test_names_cannot_drive_the_terminal(void **state)
{
    (void)state;
    CLEANUP_FREE char *clean = output_clean("a\033[2Jb\nc\x7f\xc2\x9b"
                                            "1m\xc3\xa9");
    assert_string_equal(clean, "a?[2Jb?c???1m\xc3\xa9");
    static const char *const headings[] = {"Name", NULL};
    CLEANUP_TABLE struct table table;
    CLEANUP_TEXT struct text text = {0};
    table_start(&table, headings, 0);
    table_add(&table, "x\033]0;owned\007");
    table_render(&table, &text);
    assert_null(strpbrk(text.data, "\033\007"));
}

static void test_vms_read_as_in_virsh(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *vms = json_pack(
        "[{s:s, s:s, s:b, s:s, s:i, s:I}, {s:s, s:s, s:b, s:s, s:i, s:I, s:s}]", "name", "web",
        "state", "shut_off", "persistent", 1, "accelerator", "kvm", "vcpus", 2, "memory",
        (json_int_t)1 << 30, "name", "db", "state", "in_doubt", "persistent", 0, "accelerator",
        "tcg", "vcpus", 16, "memory", (json_int_t)512 << 20, "job", "handover");
    assert_non_null(vms);
    CLEANUP_TEXT struct text text = {0};
    vm_table(vms, &text);
    assert_string_equal(text.data,
                        "Name  State     Persistent     Memory  vCPUs  Accel  Job\n"
                        "web   shut off  yes           1.0 GiB      2  kvm    -\n"
                        "db    in doubt  no          512.0 MiB     16  tcg    handover\n");
}

static void test_json_spells_words_with_hyphens(void **state)
{
    (void)state;
    CLEANUP_JSON json_t *value =
        json_pack("{s:[{s:s, s:s}], s:{s:s, s:s}}", "vms", "state", "shut_off", "name", "my_vm",
                  "report", "outcome", "in_doubt", "mode", "non_live");
    CLEANUP_FREE char *text = json_dumps(output_words(value), JSON_SORT_KEYS | JSON_COMPACT);
    assert_string_equal(text, "{\"report\":{\"mode\":\"non-live\",\"outcome\":\"in-doubt\"},"
                              "\"vms\":[{\"name\":\"my_vm\",\"state\":\"shut-off\"}]}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_line_up),
        cmocka_unit_test(test_an_empty_table_is_its_headings),
        cmocka_unit_test(test_names_cannot_drive_the_terminal),
        cmocka_unit_test(test_vms_read_as_in_virsh),
        cmocka_unit_test(test_json_spells_words_with_hyphens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
