/* SPDX-License-Identifier: Apache-2.0 */
/* Parser and formatter: what dumpxml prints comes back, everything else is refused by place. */
#include <string.h>

#include "base/text.h"
#include "domain/test_support.h"

static void test_running_comes_back(void **state)
{
    (void)state;
    CLEANUP_FREE char *xml = support_read("q35-running.xml");
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    assert_string_equal(domain->name, "web01");
    assert_string_equal(domain->title, "Web front end");
    assert_int_equal(domain->memory, UINT64_C(2) << 30);
    assert_int_equal(domain->vcpus, 2);
    assert_int_equal(domain->n_disks, 2);
    assert_int_equal(domain->n_interfaces, 1);
    assert_null(domain->interfaces[0].ifname); /* vnet6 was libvirt's */
    CLEANUP_FREE char *text = domain_format(domain);
    assert_string_equal(text, xml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_running_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
