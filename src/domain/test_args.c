/* SPDX-License-Identifier: Apache-2.0 */
/* The command line, argument by argument, against testdata/NAME.args (an option and its values on
 * one line). What QEMU thinks of it is test_qemu's matter. */
#include <string.h>

#include "base/text.h"
#include "domain/test_support.h"

static char **make_args(const struct domain *domain, struct support_fake *fake, bool incoming,
                        struct error **err)
{
    const struct qemu_args_options options = {.emulator = "/usr/bin/qemu-system-x86_64",
                                              .version = 7002,
                                              .monitor_path = "/run/vm/monitor",
                                              .run_directory = "/run/vm",
                                              .incoming = incoming};
    const struct qemu_host host = {.ops = &support_fake_ops, .context = fake};
    return qemu_args(domain, &options, &host, err);
}

static char *lines_of(char *const *argv)
{
    struct text text = {0};
    for (; *argv; argv++)
        text_append(&text, "%s%s", !text.length ? "" : **argv == '-' ? "\n" : " ", *argv);
    text_append(&text, "\n");
    return text.data;
}

static void compare_lines(const char *name, char *actual, char *expected)
{
    char *rest_a = NULL, *rest_e = NULL;
    char *a = strtok_r(actual, "\n", &rest_a), *e = strtok_r(expected, "\n", &rest_e);
    for (int line = 1; a || e; line++) {
        if (!text_equal(a, e))
            fail_msg("%s, line %d:\nis     %s\nshould %s", name, line, a ? a : "(nothing)",
                     e ? e : "(nothing)");
        a = strtok_r(NULL, "\n", &rest_a);
        e = strtok_r(NULL, "\n", &rest_e);
    }
}

static void check_golden(const char *xml, const char *golden, bool incoming)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_DOMAIN struct domain *domain = support_assigned(xml);
    struct support_fake fake = {0};
    char **argv = make_args(domain, &fake, incoming, &err);
    if (!argv)
        fail_msg("%s", err->message);
    CLEANUP_FREE char *actual = lines_of(argv), *expected = support_read(golden);
    compare_lines(golden, actual, expected);
    qemu_args_free(argv);
}

static void test_running(void **state)
{
    (void)state;
    check_golden("q35-running.xml", "q35-running.args", true);
}

static void test_q35(void **state)
{
    (void)state;
    check_golden("qemu-q35.xml", "qemu-q35.args", false);
}

static void test_pc(void **state)
{
    (void)state;
    check_golden("pc-old.xml", "pc-old.args", false);
}

static void test_kernel(void **state)
{
    (void)state;
    check_golden("kernel.xml", "kernel.args", false);
}

/* The same domain gives the same list, whoever builds it. */
static void test_repeatable(void **state)
{
    (void)state;
    CLEANUP_DOMAIN struct domain *domain = support_assigned("qemu-pc.xml");
    CLEANUP_FREE char *xml = domain_format(domain);
    CLEANUP_DOMAIN struct domain *again = support_parse(xml);
    assert_int_equal(domain_assign(again, &support_host, NULL), 0);
    struct support_fake one = {0}, other = {0};
    char **first = make_args(domain, &one, false, NULL);
    char **second = make_args(again, &other, false, NULL);
    assert_non_null(first);
    assert_non_null(second);
    CLEANUP_FREE char *a = lines_of(first), *b = lines_of(second);
    assert_string_equal(a, b);
    qemu_args_free(first);
    qemu_args_free(second);
}

/* Without <boot>, the first hard disk is booted; with strict=on nothing would be, otherwise. */
static void test_default_boot(void **state)
{
    (void)state;
    CLEANUP_FREE char *xml =
        support_wrap("<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>"
                     "<disk type='file'><source file='/a'/><target dev='vda'/></disk>"
                     "<disk type='file'><source file='/b'/><target dev='vdb'/></disk>");
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_int_equal(domain_assign(domain, &support_host, NULL), 0);
    struct support_fake fake = {0};
    char **argv = make_args(domain, &fake, false, NULL);
    assert_non_null(argv);
    CLEANUP_FREE char *lines = lines_of(argv);
    qemu_args_free(argv);
    assert_non_null(strstr(lines, "\"drive\":\"disk-vda\",\"bootindex\":1"));
    assert_null(strstr(lines, "\"drive\":\"disk-vdb\",\"bootindex\""));
    assert_null(strstr(lines, "\"bus\":\"ide.0\",\"bootindex\""));
}

static void test_missing_file(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_DOMAIN struct domain *domain = support_assigned("qemu-q35.xml");
    struct support_fake fake = {.fail_path = "/srv/base2.raw"};
    assert_null(make_args(domain, &fake, false, &err));
    assert_string_equal(err->message,
                        "rich, and odd: disk vda: disk-vda-b2: /srv/base2.raw: no such file");
    assert_int_equal(err->kind, ERROR_NOT_FOUND);
}

static void test_old_emulator(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_DOMAIN struct domain *domain = support_assigned("minimal.xml");
    const struct qemu_args_options options = {.emulator = "/opt/qemu", .version = 6001};
    const struct qemu_host host = {.ops = &support_fake_ops};
    assert_null(qemu_args(domain, &options, &host, &err));
    assert_int_equal(err->kind, ERROR_UNSUPPORTED);
    assert_string_equal(err->message, "tiny: /opt/qemu is QEMU 6.1");
}

static void test_unassigned(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *xml = support_read("qemu-q35.xml");
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    struct support_fake fake = {0};
    assert_null(make_args(domain, &fake, false, &err));
    assert_int_equal(err->kind, ERROR_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_running),      cmocka_unit_test(test_q35),
        cmocka_unit_test(test_pc),           cmocka_unit_test(test_kernel),
        cmocka_unit_test(test_repeatable),   cmocka_unit_test(test_default_boot),
        cmocka_unit_test(test_missing_file), cmocka_unit_test(test_unassigned),
        cmocka_unit_test(test_old_emulator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
