/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of asking QEMU what it can do, with the real one behind a script that counts its runs. */
#include "base/test.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "qemu/probe.h"
#include "qemu/probe_cache.h"
#include "qemu/testing.h"

struct fixture {
    char *directory, *emulator, *count, *cache;
};

static void write_file(const char *path, const char *text, mode_t mode)
{
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(file_write_atomic(path, text, strlen(text), mode, &err), err);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    fixture->directory = testing_directory();
    fixture->cache = testing_directory();
    fixture->emulator = text_format("%s/emulator", fixture->directory);
    fixture->count = text_format("%s/count", fixture->directory);
    CLEANUP_FREE char *script = text_format("#!/bin/sh\necho run >>%s\nexec %s \"$@\"\n",
                                            fixture->count, testing_emulator());
    write_file(fixture->emulator, script, 0700);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    testing_directory_remove(fixture->directory);
    testing_directory_remove(fixture->cache);
    free(fixture->emulator);
    free(fixture->count);
    free(fixture);
    return 0;
}

static size_t runs(const struct fixture *fixture)
{
    struct stat file = {0};
    assert_int_equal(stat(fixture->count, &file), 0);
    return (size_t)file.st_size / strlen("run\n");
}

static const struct probe *get(const char *emulator, const char *cache)
{
    CLEANUP_ERROR struct error *err = NULL;
    const struct probe *probe = probe_get(emulator, false, cache, &err);
    assert_ok(probe ? 0 : -1, err);
    return probe;
}

static void test_what_qemu_has(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    const struct probe *probe = get(testing_emulator(), NULL);
    CLEANUP_FREE char *version =
        text_format("%d.%d.", probe_version(probe) / 1000, probe_version(probe) % 1000);
    assert_memory_equal(probe_version_text(probe), version, strlen(version));
    const char *q35 = probe_machine(probe, "q35");
    assert_memory_equal(q35, "pc-q35-", 7);
    assert_ptr_equal(probe_machine(probe, q35), q35);
    assert_string_equal(probe_machine(probe, "pc-q35-7.2"), "pc-q35-7.2");
    assert_string_equal(probe_machine(probe, NULL), probe_machine(probe, "pc"));
    assert_null(probe_machine(probe, "pc-q35-99.0"));
    assert_true(probe_machine_max_cpus(probe, "q35") >= 255);
    assert_int_equal(probe_machine_max_cpus(probe, "pc-q35-99.0"), 0);
    CLEANUP_FREE char *list = probe_machine_list(probe, 2);
    CLEANUP_FREE char *newest = text_format("%s, %s", q35, probe_machine(probe, "pc"));
    assert_string_equal(list, newest);
    assert_true(probe_has_migration_capability(probe, "pause-before-switchover"));
    assert_false(probe_has_migration_capability(probe, "teleport"));
    assert_true(probe_has_device(probe, "virtio-blk-pci"));
    assert_false(probe_has_device(probe, "floppy-robot"));
    CLEANUP(cleanup_strings) char **missing = NULL;
    assert_ok(probe_cpu_unavailable(probe, "qemu64", &missing, &err), err);
    assert_null(missing[0]); /* TCG has all of it */
    assert_int_equal(probe_cpu_unavailable(probe, "Z80", NULL, &err), -1);
    assert_int_equal(err->kind, ERROR_NOT_FOUND);
    CLEANUP(cleanup_strings) char **some = NULL;
    assert_int_equal(probe_cpu_unavailable(probe, "Cascadelake-Server", &some, NULL), 0);
    bool avx512 = false;
    for (char **name = some; *name; name++)
        avx512 = avx512 || strcmp(*name, "avx512f") == 0;
    assert_true(avx512); /* TCG has none of it */
}

static void *get_in_thread(void *argument)
{
    const struct fixture *fixture = argument;
    return (void *)(uintptr_t)probe_get(fixture->emulator, false, NULL, NULL);
}

static void test_threads_that_ask_at_once_share_one_run(void **state)
{
    struct fixture *fixture = *state;
    pthread_t threads[4];
    void *probes[4];
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_in_thread, fixture), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        pthread_join(threads[i], &probes[i]);
        assert_non_null(probes[i]);
        assert_ptr_equal(probes[i], probes[0]);
    }
    assert_int_equal(runs(fixture), 1);
}

static void test_a_changed_emulator_is_asked_again(void **state)
{
    struct fixture *fixture = *state;
    const struct probe *before = get(fixture->emulator, NULL);
    assert_ptr_equal(get(fixture->emulator, NULL), before);
    assert_int_equal(runs(fixture), 1);
    CLEANUP_FREE char *script = file_read(fixture->emulator, 4096, NULL, NULL);
    CLEANUP_FREE char *changed = text_format("%s# changed\n", script);
    write_file(fixture->emulator, changed, 0700);
    assert_ptr_not_equal(get(fixture->emulator, NULL), before);
    assert_int_equal(runs(fixture), 2);
    assert_int_equal(probe_version(before), probe_version(get(fixture->emulator, NULL)));
}

static void test_an_emulator_that_fails_is_quoted(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    write_file(fixture->emulator, "#!/bin/sh\necho warning >&2\necho no such luck >&2\nexit 1\n",
               0700);
    assert_null(probe_get(fixture->emulator, false, NULL, &err));
    assert_int_equal(err->kind, ERROR_QEMU);
    assert_non_null(strstr(err->message, "the QEMU process ended: no such luck"));
    error_free(STEAL(err));
    assert_null(probe_get("/nonexistent/qemu", false, NULL, &err));
    assert_int_equal(err->kind, ERROR_NOT_FOUND);
    assert_non_null(err->hint);
}

static int count_files(const char *directory)
{
    int n = 0;
    DIR *list = opendir(directory);
    for (const struct dirent *entry; list && (entry = readdir(list));)
        n += entry->d_name[0] != '.';
    if (list)
        closedir(list);
    return n;
}

static void test_a_script_is_not_kept_on_disk(void **state)
{
    struct fixture *fixture = *state;
    get(fixture->emulator, fixture->cache);
    assert_int_equal(count_files(fixture->cache), 0);
}

static const char *const sample =
    "{\"version\": 7002, \"version-text\": \"7.2.99\", \"machines\": [{\"name\": \"m-1\"}], "
    "\"cpus\": {}, \"capabilities\": {}, \"devices\": {}}";

static void test_the_disk_cache_is_valid_for_one_file_only(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_JSON json_t *data = json_parse(sample, strlen(sample), NULL);
    struct probe_key key = {.emulator = (char *)(uintptr_t) "/bin/true", .size = 10, .mtime_ns = 7};
    probe_cache_write(fixture->cache, &key, data);
    CLEANUP_JSON json_t *same = probe_cache_read(fixture->cache, &key);
    assert_true(json_equal(same, data));
    struct probe_key other = key;
    other.mtime_ns++;
    assert_null(probe_cache_read(fixture->cache, &other));
    other = key;
    other.size++;
    assert_null(probe_cache_read(fixture->cache, &other));
    other = key;
    other.kvm = true;
    assert_null(probe_cache_read(fixture->cache, &other));
}

/* The one file in the cache directory; owned by the caller. */
static char *cache_file(const struct fixture *fixture)
{
    char *path = NULL;
    DIR *list = opendir(fixture->cache);
    for (const struct dirent *entry; list && (entry = readdir(list));)
        if (entry->d_name[0] != '.' && !path)
            path = text_format("%s/%s", fixture->cache, entry->d_name);
    if (list)
        closedir(list);
    assert_non_null(path);
    return path;
}

static void test_a_damaged_cache_file_is_made_again(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_JSON json_t *data = json_parse(sample, strlen(sample), NULL);
    const struct probe_key key = {.emulator = (char *)(uintptr_t) "/bin/true", .size = 10};
    static const char *const damaged[] = {"", "{", "[]", "{\"key\": 1, \"data\": {}}"};
    for (size_t i = 0; i < ARRAY_SIZE(damaged); i++) {
        probe_cache_write(fixture->cache, &key, data);
        CLEANUP_FREE char *path = cache_file(fixture);
        write_file(path, damaged[i], 0600);
        assert_null(probe_cache_read(fixture->cache, &key));
        probe_cache_write(fixture->cache, &key, data);
        CLEANUP_JSON json_t *again = probe_cache_read(fixture->cache, &key);
        assert_true(json_equal(again, data));
    }
    CLEANUP_JSON json_t *poor = json_pack("{s:i}", "version", 1);
    probe_cache_write(fixture->cache, &key, poor);
    assert_null(probe_cache_read(fixture->cache, &key)); /* the key is right, the rest missing */
}

static void test_the_real_emulator_is_kept_on_disk(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->emulator); /* under another path, as it is in memory already */
    assert_int_equal(symlink(testing_emulator(), fixture->emulator), 0);
    get(fixture->emulator, fixture->cache);
    assert_int_equal(count_files(fixture->cache), 1);
    CLEANUP_FREE char *path = cache_file(fixture);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
}

static bool feature(const json_t *features, const char *name)
{
    const json_t *value = json_object_get(features, name);
    assert_non_null(value);
    return json_is_true(value);
}

static void test_a_cpu_gets_what_the_host_can_give(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *props = json_pack("{s:b, s:b}", "avx512f", 1, "aes", 0);
    CLEANUP_JSON json_t *changed =
        probe_cpu_expand(testing_emulator(), false, "q35", "Skylake-Client", props, &err);
    assert_ok(changed ? 0 : -1, err);
    assert_true(feature(changed, "sse4.1"));
    assert_true(feature(changed, "sse4_1"));
    assert_false(feature(changed, "aes"));     /* taken away */
    assert_false(feature(changed, "pcid"));    /* of the model, but not of TCG */
    assert_false(feature(changed, "avx512f")); /* asked for, but not of TCG */
    CLEANUP_JSON json_t *plain =
        probe_cpu_expand(testing_emulator(), false, "q35", "Skylake-Client", NULL, &err);
    assert_ok(plain ? 0 : -1, err);
    assert_true(feature(plain, "aes"));
}

static void test_cpus_that_cannot_be_are_refused(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(probe_cpu_expand(testing_emulator(), false, "q35", "Z80", NULL, &err));
    assert_non_null(strstr(err->message, "unable to find CPU model 'Z80'"));
    error_free(STEAL(err));
    assert_null(probe_cpu_expand(testing_emulator(), false, "q35,x=1", "qemu64", NULL, &err));
    assert_int_equal(err->kind, ERROR_INVALID);
    error_free(STEAL(err));
    CLEANUP_JSON json_t *props = json_pack("{s:s}", "vendor", "a,b=c");
    assert_null(probe_cpu_expand(testing_emulator(), false, "q35", "qemu64", props, &err));
    assert_int_equal(err->kind, ERROR_INVALID);
}

int main(void)
{
    if (!testing_emulator())
        return 77;
#define PROBE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_qemu_has),
        PROBE_TEST(test_threads_that_ask_at_once_share_one_run),
        PROBE_TEST(test_a_changed_emulator_is_asked_again),
        PROBE_TEST(test_an_emulator_that_fails_is_quoted),
        PROBE_TEST(test_a_script_is_not_kept_on_disk),
        PROBE_TEST(test_the_disk_cache_is_valid_for_one_file_only),
        PROBE_TEST(test_a_damaged_cache_file_is_made_again),
        PROBE_TEST(test_the_real_emulator_is_kept_on_disk),
        cmocka_unit_test(test_a_cpu_gets_what_the_host_can_give),
        cmocka_unit_test(test_cpus_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
