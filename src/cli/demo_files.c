/* SPDX-License-Identifier: Apache-2.0 */
/* What a demo needs of this machine. */
#include "cli/demo_files.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

#define SETUP "in a clone of Mudanza, 'scripts/setup demo && make' gets it"

/* The folder of this program, owned by the caller. NULL when the kernel does not say. */
static char *own_folder(void)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (length <= 0)
        return NULL;
    path[length] = '\0';
    char *slash = strrchr(path, '/');
    return slash ? text_format("%.*s", (int)(slash - path), path) : NULL;
}

/* A program that PATH leads to, owned by the caller; else NULL. */
static char *find_program(const char *name)
{
    const char *path = getenv("PATH");
    while (path && *path) {
        const size_t length = strcspn(path, ":");
        CLEANUP_FREE char *candidate = text_format("%.*s/%s", (int)length, path, name);
        if (access(candidate, X_OK) == 0)
            return STEAL(candidate);
        path += length + (path[length] == ':');
    }
    return NULL;
}

static int find_agent(const char *folder, struct demo_files *files, struct error **err)
{
    files->agent = text_format("%s/mudanzad", folder);
    if (access(files->agent, X_OK) == 0)
        return 0;
    free(files->agent);
    files->agent = find_program("mudanzad");
    if (files->agent)
        return 0;
    error_set(err, ERROR_NOT_FOUND, "mudanzad is neither in %s nor in PATH", folder);
    return error_hint(err, SETUP);
}

static int check_programs(struct error **err)
{
    static const char *const helpers[] = {"ip", "setsid", "env"};
    if (access(DEMO_EMULATOR, X_OK) < 0) {
        error_set(err, ERROR_NOT_FOUND, "there is no QEMU at " DEMO_EMULATOR);
        return error_hint(err, SETUP);
    }
    for (size_t i = 0; i < ARRAY_SIZE(helpers); i++) {
        CLEANUP_FREE char *path = find_program(helpers[i]);
        if (path)
            continue;
        error_set(err, ERROR_NOT_FOUND, "the program '%s' is not in PATH", helpers[i]);
        return error_hint(err, SETUP);
    }
    return 0;
}

/* The image that was given, else the one of the build folder. */
static int find_image(const char *given, const char *folder, const char *place, const char *what,
                      char **path, struct error **err)
{
    *path = given ? text_copy(given) : text_format("%s/%s", folder, place);
    if (access(*path, R_OK) == 0)
        return 0;
    error_set(err, ERROR_NOT_FOUND, "the guest's %s: %s cannot be read", what, *path);
    if (!given)
        error_hint(err, SETUP ", or give another one with --%s FILE", what);
    return -1;
}

int demo_files_find(const char *kernel, const char *initrd, struct demo_files *files,
                    struct error **err)
{
    if (geteuid() != 0) {
        error_set(err, ERROR_DENIED, "only root can make the two hosts (network namespaces)");
        return error_hint(err, "run it with sudo; it leaves nothing behind");
    }
    CLEANUP_FREE char *folder = own_folder();
    if (!folder)
        return error_set(err, ERROR_SYSTEM, "/proc/self/exe does not say where this program is");
    if (check_programs(err) < 0 || find_agent(folder, files, err) < 0)
        return -1;
    if (find_image(kernel, folder, "linux/vmlinuz", "kernel", &files->kernel, err) < 0)
        return -1;
    return find_image(initrd, folder, "tests/guest/initrd.img", "initrd", &files->initrd, err);
}

void demo_files_clear(struct demo_files *files)
{
    free(files->agent);
    free(files->kernel);
    free(files->initrd);
    *files = (struct demo_files){0};
}
