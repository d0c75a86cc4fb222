/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the mark that says that a guest may have run. */
#include "base/test.h"

#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "migrate/mark.h"

#define JOB       "33333333-3333-4333-8333-333333333333"
#define LAST_BOOT "44444444-4444-4444-8444-444444444444"

static void count(void *context, const char *job)
{
    assert_string_equal(job, JOB);
    ++*(int *)context;
}

static void test_mark(void **state)
{
    (void)state;
    char run_dir[] = "/tmp/mark-XXXXXX", boot[MARK_BOOT_ID_SIZE], again[MARK_BOOT_ID_SIZE];
    int marks = 0;
    assert_non_null(mkdtemp(run_dir));
    assert_int_equal(mark_init(run_dir, NULL), 0);
    assert_int_equal(mark_boot_id(boot, NULL), 0);
    assert_int_equal(mark_boot_id(again, NULL), 0);
    assert_int_equal(strlen(boot), MARK_BOOT_ID_SIZE - 1);
    assert_string_equal(boot, again);

    assert_false(mark_may_have_run(run_dir, JOB, boot));
    assert_true(mark_may_have_run(run_dir, JOB, LAST_BOOT)); /* what was in /run then is gone */
    mark_remove(run_dir, JOB);
    assert_int_equal(mark_make(run_dir, JOB, NULL), 0);
    assert_true(mark_may_have_run(run_dir, JOB, boot));
    mark_each(run_dir, count, &marks);
    assert_int_equal(marks, 1);
    mark_remove(run_dir, JOB);
    assert_false(mark_may_have_run(run_dir, JOB, boot));
    mark_each(run_dir, count, &marks);
    assert_int_equal(marks, 1);

    CLEANUP_FREE char *folder = text_format("%s/handover", run_dir);
    assert_int_equal(rmdir(folder), 0);
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(mark_make(run_dir, JOB, &err), -1); /* then the guest must not start */
    rmdir(run_dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mark)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
