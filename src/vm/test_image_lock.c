/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the agents' lock on images: who may have it beside whom, and how long it lasts. */
#include "base/test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/text.h"
#include "vm/image_lock.h"

struct scene {
    char directory[64];
    char *image, *nvram;
    struct domain_disk disk;
    struct domain domain; /* a VM with the disk */
};

static void make_file(const char *path)
{
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 4096), 0);
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    strcpy(scene->directory, "/tmp/image-lock-XXXXXX");
    assert_non_null(mkdtemp(scene->directory));
    scene->image = text_format("%s/image", scene->directory);
    scene->nvram = text_format("%s/nvram", scene->directory);
    make_file(scene->image);
    make_file(scene->nvram);
    scene->disk =
        (struct domain_disk){.source = DISK_FILE, .path = scene->image, .target = (char *)"vda"};
    scene->domain = (struct domain){.name = (char *)"vm", .disks = &scene->disk, .n_disks = 1};
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    unlink(scene->image);
    unlink(scene->nvram);
    rmdir(scene->directory);
    free(scene->image);
    free(scene->nvram);
    free(scene);
    return 0;
}

/* The locks of a VM that starts (or arrives), which must succeed. */
static struct image_locks *locked(const struct domain *domain, bool arriving)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct image_locks *locks = image_lock_all(domain, arriving, &err);
    if (!locks)
        fail_msg("%s", err->message);
    return locks;
}

static size_t count(const struct image_locks *locks)
{
    size_t n;
    image_lock_fds(locks, &n);
    return n;
}

static void assert_refused(const struct domain *domain, bool arriving, const char *what)
{
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(image_lock_all(domain, arriving, &err));
    assert_int_equal(err->kind, ERROR_STATE);
    if (!strstr(err->message, what))
        fail_msg("%s", err->message);
    assert_non_null(strstr(err->message, "is locked"));
    assert_non_null(strstr(err->hint, "mudanza list"));
}

static void assert_free(const struct domain *domain)
{
    struct image_locks *locks = locked(domain, false);
    assert_int_equal(count(locks), domain->n_disks);
    image_lock_close(locks);
}

static void test_an_image_is_one_vms(void **state)
{
    struct scene *scene = *state;
    struct image_locks *locks = locked(&scene->domain, false);
    assert_int_equal(count(locks), 1);
    assert_refused(&scene->domain, false, "disk vda: image /tmp/image-lock-");
    image_lock_close(locks);
    assert_free(&scene->domain);
}

static void test_in_a_move_source_and_destination_have_it(void **state)
{
    struct scene *scene = *state;
    struct image_locks *source = locked(&scene->domain, false);
    struct image_locks *destination = locked(&scene->domain, true);
    assert_refused(&scene->domain, false, "disk vda");
    image_lock_close(source);
    assert_refused(&scene->domain, false, "disk vda");
    image_lock_close(destination);
    assert_free(&scene->domain);
}

static void test_a_move_that_failed_leaves_it_to_the_source(void **state)
{
    struct scene *scene = *state;
    struct image_locks *source = locked(&scene->domain, false);
    image_lock_close(locked(&scene->domain, true));
    assert_refused(&scene->domain, false, "disk vda");
    image_lock_close(source);
}

static void test_refused_locks_leave_none_behind(void **state)
{
    struct scene *scene = *state;
    struct image_locks *other = locked(&scene->domain, false);
    struct domain_disk disks[] = {scene->disk, scene->disk};
    disks[0].path = scene->nvram;
    disks[1].target = (char *)"vdb";
    const struct domain both = {.name = (char *)"both", .disks = disks, .n_disks = 2};
    const struct domain first = {.name = (char *)"first", .disks = disks, .n_disks = 1};
    assert_refused(&both, false, "disk vdb");
    assert_free(&first);
    image_lock_close(other);
    assert_free(&both);
}

static void test_who_inherits_it_keeps_it(void **state)
{
    struct scene *scene = *state;
    int end[2];
    struct image_locks *locks = locked(&scene->domain, false);
    assert_int_equal(pipe(end), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char byte;
        close(end[1]);
        _exit(read(end[0], &byte, 1) == 0 ? 0 : 1); /* until we let go */
    }
    close(end[0]);
    image_lock_close(locks);
    assert_refused(&scene->domain, false, "disk vda");
    close(end[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_free(&scene->domain);
}

static void test_nvram_is_locked_too(void **state)
{
    struct scene *scene = *state;
    const struct domain domain = {.name = (char *)"vm", .nvram = scene->nvram};
    struct image_locks *locks = locked(&domain, false);
    assert_int_equal(count(locks), 1);
    assert_refused(&domain, false, "NVRAM: image ");
    image_lock_close(locks);
}

static void test_what_others_may_use_is_not_locked(void **state)
{
    struct scene *scene = *state;
    struct domain_disk disks[] = {scene->disk, scene->disk, {.source = DISK_EMPTY}};
    disks[0].readonly = true;
    disks[1].shareable = true;
    const struct domain domain = {.name = (char *)"vm", .disks = disks, .n_disks = 3};
    struct image_locks *none = locked(&domain, false), *again = locked(&domain, false);
    assert_int_equal(count(none) + count(again), 0);
    image_lock_close(none);
    image_lock_close(again);
    assert_free(&scene->domain);
}

static void test_qemus_bytes_are_left_alone(void **state)
{
    struct scene *scene = *state;
    CLEANUP_CLOSE int fd = open(scene->image, O_RDWR | O_CLOEXEC);
    struct flock low = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 << 20};
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &low), 0);
    assert_free(&scene->domain);
}

static void test_an_image_that_cannot_be_locked_is_passed_over(void **state)
{
    struct scene *scene = *state;
    scene->disk.path = scene->directory; /* cannot be opened for writing, even by root */
    struct image_locks *locks = locked(&scene->domain, false);
    assert_int_equal(count(locks), 0);
    image_lock_close(locks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_image_is_one_vms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_in_a_move_source_and_destination_have_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_move_that_failed_leaves_it_to_the_source, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_refused_locks_leave_none_behind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_inherits_it_keeps_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nvram_is_locked_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_others_may_use_is_not_locked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_qemus_bytes_are_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_image_that_cannot_be_locked_is_passed_over, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
