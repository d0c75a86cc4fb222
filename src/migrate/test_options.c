/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of a move's options and of job ids. */
#include "base/test.h"

#include <string.h>

#include "migrate/job_id.h"
#include "migrate/options.h"

static int parse(const char *text, struct migrate_options *options, struct error **err)
{
    CLEANUP_JSON json_t *object = json_parse(text, strlen(text), err);
    return migrate_options_parse(object, options, err);
}

static void test_defaults(void **state)
{
    (void)state;
    struct migrate_options options;
    assert_int_equal(parse("{}", &options, NULL), 0);
    assert_int_equal(options.mode, MIGRATE_AUTO);
    assert_int_equal(options.downtime_ms, MIGRATE_DOWNTIME_DEFAULT_MS);
    assert_int_equal(options.compress, CHOOSER_AUTO);
    assert_int_equal(options.stream_memory, MIGRATE_MEMORY_DEFAULT);
    assert_false(options.persistent || options.undefine_source || options.post_copy);
    migrate_options_clear(&options);
}

static void test_contradictions_are_refused_with_advice(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"{\"mode\":\"offline\"}", "--persistent"},
        {"{\"mode\":\"offline\",\"persistent\":true,\"verify\":true}", "copies no memory"},
        {"{\"mode\":\"non_live\",\"post_copy\":true}", "non-live"},
        {"{\"post_copy\":true,\"verify\":true}", "--verify"},
        {"{\"mode\":\"fast\"}", "not known"},
        {"{\"downtime_ms\":0}", "downtime"},
        {"{\"bandwidth\":-1}", "bandwidth"},
        {"{\"timeout_s\":-5}", "timeout"},
        {"{\"compress\":\"gzip\"}", "compression 'gzip'"},
        {"{\"stream_memory\":1000}", "stream memory 1000"},
        {"{\"connections\":17}", "connections 17"},
        {"{\"channels\":17}", "channels 17"},
        {"{\"channels\":2,\"post_copy\":true}", "post-copy over several channels"},
        {"{\"new_name\":\"a/b\"}", "name"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_ERROR struct error *err = NULL;
        struct migrate_options options;
        assert_int_equal(parse(cases[i].text, &options, &err), -1);
        assert_int_equal(err->kind, ERROR_INVALID);
        assert_non_null(strstr(err->message, cases[i].word));
    }
}

static void test_job_ids_are_unique_and_survive_the_wire(void **state)
{
    (void)state;
    char one[JOB_ID_SIZE], other[JOB_ID_SIZE], back[JOB_ID_SIZE];
    uint8_t bytes[16];
    assert_int_equal(job_id_make(one, NULL), 0);
    assert_int_equal(job_id_make(other, NULL), 0);
    assert_string_not_equal(one, other);
    assert_int_equal(one[14], '4'); /* version 4 */
    assert_int_equal(job_id_to_bytes(one, bytes, NULL), 0);
    job_id_from_bytes(bytes, back);
    assert_string_equal(back, one);
    static const char *const bad[] = {"", "x", "00000000-0000-4000-8000-00000000000",
                                      "00000000-0000-4000-8000-00000000000g",
                                      "00000000-0000-4000-8000-0000000000000"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(job_id_to_bytes(bad[i], bytes, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_contradictions_are_refused_with_advice),
        cmocka_unit_test(test_job_ids_are_unique_and_survive_the_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
