/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the durable state and of the handover journal. */
#include "base/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <string.h>

#include "base/text.h"
#include "vm/store.h"

#define UUID_A "11111111-1111-4111-8111-111111111111"
#define UUID_B "22222222-2222-4222-8222-222222222222"
#define JOB    "33333333-3333-4333-8333-333333333333"

struct scene {
    char directory[64];
    struct store *store;
};

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    CLEANUP_ERROR struct error *err = NULL;
    strcpy(scene->directory, "/tmp/store-XXXXXX");
    assert_non_null(mkdtemp(scene->directory));
    scene->store = store_open(scene->directory, &err);
    assert_non_null(scene->store);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    store_close(scene->store);
    DIR *directory = opendir(scene->directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    rmdir(scene->directory);
    free(scene);
    return 0;
}

static void reopen(struct scene *scene)
{
    store_close(scene->store);
    scene->store = store_open(scene->directory, NULL);
    assert_non_null(scene->store);
}

static void collect(void *context, const char *uuid, const char *name, const char *xml)
{
    text_append(context, "%s %s %s;", uuid, name, xml);
}

static void test_definitions_survive_and_names_are_unique(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(store_define(scene->store, UUID_A, "web", "<one/>", &err), err);
    assert_ok(store_define(scene->store, UUID_A, "web", "<two/>", &err), err);
    assert_int_equal(store_define(scene->store, UUID_B, "web", "<x/>", NULL), -1);
    reopen(scene);
    CLEANUP_TEXT struct text all = {0};
    assert_ok(store_each_definition(scene->store, collect, &all, &err), err);
    assert_string_equal(all.data, UUID_A " web <two/>;");
    assert_ok(store_undefine(scene->store, UUID_A, &err), err);
    all.length = 0;
    assert_ok(store_each_definition(scene->store, collect, &all, &err), err);
    assert_int_equal(all.length, 0);
}

static void test_one_agent_a_directory(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(store_open(scene->directory, &err));
    assert_int_equal(err->kind, ERROR_STATE);
}

static void test_hosts_by_name_and_by_key(void **state)
{
    struct scene *scene = *state;
    struct store_host host = {.name = (char *)"b",
                              .address = (char *)"10.0.0.2",
                              .fingerprint = (char *)"SHA256:x",
                              .port = 7};
    struct store_host found = {0};
    assert_int_equal(store_host_put(scene->store, &host, NULL), 0);
    assert_int_equal(store_host_find(scene->store, NULL, "SHA256:x", &found, NULL), 1);
    assert_string_equal(found.name, "b");
    assert_int_equal(found.port, 7);
    store_host_clear(&found);
    assert_int_equal(store_host_find(scene->store, "c", NULL, &found, NULL), 0);
    assert_int_equal(store_host_delete(scene->store, "b", NULL), 0);
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(store_host_delete(scene->store, "b", &err), -1);
    assert_int_equal(err->kind, ERROR_NOT_FOUND);
}

static int put_prepared(struct scene *scene, const char *job, const char *uuid, bool source)
{
    CLEANUP_JSON json_t *options = json_pack("{s:b}", "undefine_source", true);
    const struct journal_entry entry = {.job = (char *)job,
                                        .uuid = (char *)uuid,
                                        .name = (char *)"web",
                                        .source = source,
                                        .peer_fingerprint = (char *)"SHA256:x",
                                        .peer_name = (char *)"b",
                                        .state = JOURNAL_PREPARED,
                                        .options = options};
    return journal_put(scene->store, &entry, NULL);
}

static int put_job(struct scene *scene, bool source)
{
    return put_prepared(scene, JOB, UUID_A, source);
}

static void check_state(struct scene *scene, bool source, enum journal_state state)
{
    struct journal_entry entry;
    assert_int_equal(journal_find(scene->store, JOB, source, &entry, NULL), 1);
    assert_int_equal(entry.state, state);
    journal_entry_clear(&entry);
}

/* Its record could not be written when the older move ended: it must not be undone in this one. */
static void test_a_new_move_ends_the_older_one(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(put_job(scene, true), 0);
    assert_int_equal(put_job(scene, false), 0);
    assert_int_equal(put_prepared(scene, UUID_B, UUID_B, true), 0);
    check_state(scene, true, JOURNAL_PREPARED); /* that was another VM's */
    assert_int_equal(put_prepared(scene, UUID_A, UUID_A, true), 0);
    check_state(scene, true, JOURNAL_ABORTED);
    check_state(scene, false, JOURNAL_PREPARED);
    struct journal_entry found;
    assert_int_equal(journal_find(scene->store, UUID_A, true, &found, NULL), 1);
    assert_int_equal(found.state, JOURNAL_PREPARED);
    journal_entry_clear(&found);
    assert_int_equal(put_prepared(scene, UUID_A, UUID_A, false), 0);
    assert_int_equal(put_prepared(scene, UUID_A, UUID_A, false), -1); /* not by itself */
    assert_int_equal(journal_find(scene->store, JOB, false, &found, NULL), 0);
}

static void test_journal_moves_only_the_way_it_may(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(put_job(scene, true), 0);
    assert_int_equal(put_job(scene, true), -1); /* one entry a job and role */
    assert_int_equal(put_job(scene, false), 0);
    assert_int_equal(
        journal_move(scene->store, JOB, true, JOURNAL_PREPARED, JOURNAL_COMMITTED, NULL), 0);
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(
        journal_move(scene->store, JOB, true, JOURNAL_PREPARED, JOURNAL_COMMITTED, &err), -1);
    assert_int_equal(err->kind, ERROR_STATE);
    reopen(scene);
    struct journal_entry entry;
    assert_int_equal(journal_find(scene->store, JOB, true, &entry, NULL), 1);
    assert_int_equal(entry.state, JOURNAL_COMMITTED);
    assert_true(json_opt_bool(entry.options, "undefine_source", false));
    journal_entry_clear(&entry);
    assert_int_equal(journal_find(scene->store, JOB, false, &entry, NULL), 1);
    assert_int_equal(entry.state, JOURNAL_PREPARED);
    journal_entry_clear(&entry);
    assert_int_equal(journal_delete(scene->store, JOB, true, NULL), 0);
    assert_int_equal(journal_find(scene->store, JOB, true, &entry, NULL), 0);
}

static void move(struct scene *scene, bool source, enum journal_state from, enum journal_state to)
{
    assert_int_equal(journal_move(scene->store, JOB, source, from, to, NULL), 0);
}

static void check_definitions(struct scene *scene, const char *expected)
{
    CLEANUP_TEXT struct text found = {0};
    assert_int_equal(store_each_definition(scene->store, collect, &found, NULL), 0);
    assert_string_equal(found.data ? found.data : "", expected);
}

static void test_source_closes_record_and_definition_together(void **state)
{
    struct scene *scene = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(store_define(scene->store, UUID_A, "a", "<a/>", NULL), 0);
    assert_int_equal(put_job(scene, true), 0);
    assert_int_equal(journal_close(scene->store, JOB, UUID_A, &err), -1);
    assert_int_equal(err->kind, ERROR_STATE);
    check_definitions(scene, UUID_A " a <a/>;"); /* not committed: nothing happened */
    move(scene, true, JOURNAL_PREPARED, JOURNAL_COMMITTED);
    assert_int_equal(journal_close(scene->store, JOB, UUID_A, NULL), 0);
    reopen(scene);
    check_definitions(scene, "");
    check_state(scene, true, JOURNAL_DONE);
}

static void note_incoming(void *context, const struct store_running *running)
{
    *(int *)context = running->incoming;
}

static void test_destination_settles_all_or_nothing(void **state)
{
    struct scene *scene = *state;
    const struct store_running vm = {
        .uuid = UUID_A, .name = "a", .xml = "<live/>", .process = {.pid = 1}};
    struct store_running incoming = vm;
    int is_incoming = -1;
    incoming.incoming = true;
    assert_int_equal(put_job(scene, false), 0);
    assert_int_equal(store_running_put(scene->store, &incoming, NULL), 0);
    assert_int_equal(journal_settle(scene->store, JOB, &vm, true, "<a/>", NULL), -1);
    check_state(scene, false, JOURNAL_PREPARED); /* not the owner: nothing happened */
    check_definitions(scene, "");
    store_each_running(scene->store, note_incoming, &is_incoming, NULL);
    assert_int_equal(is_incoming, 1);
    move(scene, false, JOURNAL_PREPARED, JOURNAL_OWNER);
    assert_int_equal(journal_settle(scene->store, JOB, &vm, true, "<a/>", NULL), 0);
    reopen(scene);
    check_state(scene, false, JOURNAL_STORED);
    check_definitions(scene, UUID_A " a <a/>;");
    store_each_running(scene->store, note_incoming, &is_incoming, NULL);
    assert_int_equal(is_incoming, 0);
}

static long long log_size(const struct scene *scene)
{
    CLEANUP_FREE char *path = text_format("%s/mudanza.db-wal", scene->directory);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_true((long long)status.st_blocks * 512 >= status.st_size); /* no holes */
    return status.st_size;
}

static void test_job_needs_no_new_space(void **state)
{
    struct scene *scene = *state;
    CLEANUP_FREE char *xml = calloc(1, 50001);
    memset(xml, 'x', 50000);
    const struct store_running vm = {.uuid = UUID_A, .name = "a", .xml = xml};
    for (int i = 0; i < 20; i++) { /* wherever in the log a job begins */
        assert_int_equal(put_job(scene, false), 0);
        long long before = log_size(scene);
        assert_true(before > 100000); /* both texts */
        move(scene, false, JOURNAL_PREPARED, JOURNAL_OWNER);
        assert_int_equal(journal_settle(scene->store, JOB, &vm, true, xml, NULL), 0);
        assert_int_equal(store_running_delete(scene->store, UUID_A, NULL), 0);
        assert_int_equal(journal_delete(scene->store, JOB, false, NULL), 0);
        assert_int_equal(log_size(scene), before);
        assert_true(before < 1000000); /* it begins anew, again and again */
    }
}

static void test_reports_are_kept_by_name(void **state)
{
    struct scene *scene = *state;
    CLEANUP_JSON json_t *report = json_pack("{s:s}", "outcome", "completed");
    CLEANUP_JSON json_t *back = NULL;
    assert_int_equal(store_report_put(scene->store, "web", report, NULL), 0);
    assert_int_equal(store_report_get(scene->store, "web", &back, NULL), 0);
    assert_true(json_equal(report, back));
    json_t *none = NULL;
    assert_int_equal(store_report_get(scene->store, "db", &none, NULL), 0);
    assert_null(none);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(test_definitions_survive_and_names_are_unique),
        SCENE(test_one_agent_a_directory),
        SCENE(test_hosts_by_name_and_by_key),
        SCENE(test_a_new_move_ends_the_older_one),
        SCENE(test_journal_moves_only_the_way_it_may),
        SCENE(test_source_closes_record_and_definition_together),
        SCENE(test_destination_settles_all_or_nothing),
        SCENE(test_job_needs_no_new_space),
        SCENE(test_reports_are_kept_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
