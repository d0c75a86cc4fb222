/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of "the same file, not only the same path". */
#include "base/test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "migrate/disk_identity.h"

struct scene {
    char directory[64];
    char *image, *copy, *link;
};

static void make_file(const char *path, off_t size)
{
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    strcpy(scene->directory, "/tmp/disk-identity-XXXXXX");
    assert_non_null(mkdtemp(scene->directory));
    scene->image = text_format("%s/image", scene->directory);
    scene->copy = text_format("%s/copy", scene->directory);
    scene->link = text_format("%s/link", scene->directory);
    make_file(scene->image, 1 << 20);
    make_file(scene->copy, 1 << 20);
    assert_int_equal(link(scene->image, scene->link), 0);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    unlink(scene->image);
    unlink(scene->copy);
    unlink(scene->link);
    rmdir(scene->directory);
    free(scene->image);
    free(scene->copy);
    free(scene->link);
    free(scene);
    return 0;
}

static int look(const char *path, const json_t *source, struct error **err)
{
    const struct domain_disk disk = {
        .source = DISK_FILE, .path = (char *)path, .target = (char *)"vda"};
    return disk_identity_check(&disk, source, err);
}

static void test_same_file_under_another_path_is_the_same(void **state)
{
    struct scene *scene = *state;
    struct domain_disk disk = {.source = DISK_FILE, .path = scene->image, .target = (char *)"vda"};
    const struct domain domain = {.disks = &disk, .n_disks = 1};
    CLEANUP_ERROR struct error *err = NULL;
    struct disk_identity *identity = disk_identity_mark(&domain, &err);
    assert_non_null(identity);
    CLEANUP_JSON json_t *facts = disk_identity_describe(identity);
    const json_t *fact = json_array_get(facts, 0);
    assert_ok(look(scene->image, fact, &err), err);
    assert_ok(look(scene->link, fact, &err), err);
    disk_identity_free(identity);
}

static void test_an_equal_copy_is_another_file(void **state)
{
    struct scene *scene = *state;
    struct domain_disk disk = {.source = DISK_FILE, .path = scene->image, .target = (char *)"vda"};
    const struct domain domain = {.disks = &disk, .n_disks = 1};
    CLEANUP_ERROR struct error *err = NULL;
    struct disk_identity *identity = disk_identity_mark(&domain, NULL);
    CLEANUP_JSON json_t *facts = disk_identity_describe(identity);
    assert_int_equal(look(scene->copy, json_array_get(facts, 0), &err), -1);
    assert_int_equal(err->kind, ERROR_CORRUPT);
    assert_non_null(strstr(err->message, "is not the file that the source has"));
    disk_identity_free(identity);
}

static void test_the_mark_goes_with_its_owner(void **state)
{
    struct scene *scene = *state;
    struct domain_disk disk = {.source = DISK_FILE, .path = scene->image, .target = (char *)"vda"};
    const struct domain domain = {.disks = &disk, .n_disks = 1};
    struct disk_identity *identity = disk_identity_mark(&domain, NULL);
    CLEANUP_JSON json_t *facts = disk_identity_describe(identity);
    disk_identity_free(identity);
    assert_int_equal(look(scene->image, json_array_get(facts, 0), NULL), -1);
}

static void test_an_image_may_grow_meanwhile(void **state)
{
    struct scene *scene = *state;
    struct domain_disk disk = {.source = DISK_FILE, .path = scene->image, .target = (char *)"vda"};
    const struct domain domain = {.disks = &disk, .n_disks = 1};
    CLEANUP_ERROR struct error *err = NULL;
    struct disk_identity *identity = disk_identity_mark(&domain, NULL);
    CLEANUP_JSON json_t *facts = disk_identity_describe(identity);
    assert_int_equal(truncate(scene->image, 2 << 20), 0);
    assert_ok(look(scene->image, json_array_get(facts, 0), &err), err);
    disk_identity_free(identity);
}

static void test_missing_and_resized_files_say_so(void **state)
{
    struct scene *scene = *state;
    struct domain_disk disk = {.source = DISK_FILE, .path = scene->image, .target = (char *)"vda"};
    const struct domain domain = {.disks = &disk, .n_disks = 1};
    struct disk_identity *identity = disk_identity_mark(&domain, NULL);
    CLEANUP_JSON json_t *facts = disk_identity_describe(identity);
    struct error *err = NULL;
    assert_int_equal(look("/nowhere/at/all", json_array_get(facts, 0), &err), -1);
    assert_non_null(strstr(err->message, "No such file"));
    assert_non_null(err->hint);
    error_free(err);
    err = NULL;
    assert_int_equal(truncate(scene->copy, 4096), 0);
    assert_int_equal(look(scene->copy, json_array_get(facts, 0), &err), -1);
    assert_non_null(strstr(err->message, "4096"));
    error_free(err);
    disk_identity_free(identity);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_file_under_another_path_is_the_same, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_an_equal_copy_is_another_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_mark_goes_with_its_owner, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_image_may_grow_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing_and_resized_files_say_so, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
