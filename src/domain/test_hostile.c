/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that were made to hurt: refused, quickly, with a place. */
#include <string.h>

#include "base/text.h"
#include "domain/test_support.h"

static void expect(const char *xml, size_t size, const char *part)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct domain *domain = domain_parse(xml, size, &err);
    domain_free(domain);
    if (domain)
        fail_msg("accepted: %.60s", xml);
    assert_int_equal(err->kind, ERROR_INVALID);
    if (!strstr(err->message, part))
        fail_msg("'%s' is not in '%s'", part, err->message);
}

static void expect_text(const char *xml, const char *part)
{
    expect(xml, strlen(xml), part);
}

static void test_not_xml(void **state)
{
    (void)state;
    expect_text("", "line 1, column 1: the domain XML is empty");
    expect_text("domain", "line 1, column 1: ");
    expect_text("<domain>\n  <name>x</nam>\n</domain>", "line 2, column ");
    expect_text("<domain><name a='1' a='2'/></domain>", "line 1, column ");
    expect_text("<domain type='kvm'>", "line 1, column ");
    expect_text("<network/>", "line 1, column 1: <network> is not a <domain>");
    expect_text("<x:domain xmlns:x='y'/>", "is not a <domain>");
}

static void test_nul(void **state)
{
    (void)state;
    static const char xml[] = "<domain>\n <name>a\0b</name></domain>";
    expect(xml, sizeof(xml) - 1, "line 2, column 9: a NUL byte");
}

static void test_size(void **state)
{
    (void)state;
    CLEANUP_FREE char *xml = malloc(DOMAIN_XML_MAX + 1);
    assert_non_null(xml);
    memset(xml, ' ', DOMAIN_XML_MAX + 1);
    expect(xml, DOMAIN_XML_MAX + 1, "at most 4194304 are read");
}

static void test_encodings(void **state)
{
    (void)state;
    expect_text("<?xml version='1.0' encoding='ISO-8859-1'?><domain/>", "use UTF-8");
    expect_text("<domain><name>\xff</name></domain>", "line 1, column ");
    expect_text("<domain><name>\xed\xa0\x80</name></domain>", "line 1, column ");
}

/* No DOCTYPE, so nothing can be expanded and nothing fetched. */
static void test_entities(void **state)
{
    (void)state;
    CLEANUP_TEXT struct text laughs = {0};
    text_append(&laughs, "<!DOCTYPE domain [<!ENTITY a0 'ha'>");
    for (int i = 1; i < 30; i++)
        text_append(&laughs, "<!ENTITY a%d '&a%d;&a%d;'>", i, i - 1, i - 1);
    text_append(&laughs, "]>\n<domain><name>&a29;</name></domain>");
    expect_text(laughs.data, "a DOCTYPE is not allowed");
    expect_text("<!DOCTYPE domain SYSTEM 'file:///etc/passwd'>\n<domain/>",
                "line 1, column 45: a DOCTYPE is not allowed");
    expect_text("<domain><name>&file;</name></domain>", "line 1, column ");
    expect_text("<domain><name a='&file;'/></domain>", "line 1, column ");
}

static void test_depth(void **state)
{
    (void)state;
    CLEANUP_TEXT struct text xml = {0};
    text_append(&xml, "<domain>");
    for (int i = 0; i < 100000; i++)
        text_append(&xml, "<metadata>");
    expect_text(xml.data, "line 1, column ");
}

static void test_many_devices(void **state)
{
    (void)state;
    CLEANUP_TEXT struct text xml = {0};
    text_append(&xml, "<domain type='kvm'><name>n</name><memory>1024</memory>"
                      "<os><type>hvm</type></os><devices>\n");
    for (int i = 0; i < 50000; i++)
        text_append(&xml, "<input type='mouse' bus='ps2'/>");
    text_append(&xml, "</devices></domain>");
    expect_text(xml.data, "more than 1024 devices");
}

/* One line, so that nothing may look for its start again and again. */
static void test_long_line(void **state)
{
    (void)state;
    CLEANUP_TEXT struct text xml = {0};
    text_append(&xml, "<domain type='kvm'>");
    while (xml.length < DOMAIN_XML_MAX - 100)
        text_append(&xml, "<a b='1' c='2'/>");
    text_append(&xml, "</domain>");
    expect_text(xml.data, "line 1, column 20: <a>: not supported");
}

static void test_numbers(void **state)
{
    (void)state;
    static const char *const numbers[] = {"99999999999999999999",
                                          "-99999999999999999999",
                                          "0xffffffffffffffffff",
                                          "0x",
                                          "",
                                          " 1",
                                          "+1",
                                          "1e3",
                                          "4294967296",
                                          "-1"};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        CLEANUP_FREE char *device = text_format(
            "<controller type='sata' index='%s'/><interface type='user'><boot order='%s'/>"
            "</interface><disk type='file'><source file='/a'/><target dev='sda' bus='scsi'/>"
            "<address type='drive' controller='%s' unit='%s'/></disk>",
            numbers[i], numbers[i], numbers[i], numbers[i]);
        CLEANUP_FREE char *xml = support_wrap(device);
        expect_text(xml, "controller='");
        expect_text(xml, "order='");
        expect_text(xml, "index='");
        expect_text(xml, "unit='");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_xml),      cmocka_unit_test(test_nul),
        cmocka_unit_test(test_size),         cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_entities),     cmocka_unit_test(test_depth),
        cmocka_unit_test(test_many_devices), cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
