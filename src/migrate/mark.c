/* SPDX-License-Identifier: Apache-2.0 */
/* The mark of a job at its destination. */
#include "migrate/mark.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"

static char *folder_of(const char *run_dir)
{
    return text_format("%s/handover", run_dir);
}

static char *path_of(const char *run_dir, const char *job)
{
    return text_format("%s/handover/%s", run_dir, job);
}

int mark_init(const char *run_dir, struct error **err)
{
    CLEANUP_FREE char *folder = folder_of(run_dir);
    return file_make_directory(folder, 0700, err);
}

int mark_make(const char *run_dir, const char *job, struct error **err)
{
    CLEANUP_FREE char *path = path_of(run_dir, job);
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    return fd < 0 ? error_errno(err, errno, "%s", path) : 0;
}

void mark_remove(const char *run_dir, const char *job)
{
    CLEANUP_FREE char *path = path_of(run_dir, job);
    unlink(path);
}

bool mark_may_have_run(const char *run_dir, const char *job, const char *boot_id)
{
    char now[MARK_BOOT_ID_SIZE];
    CLEANUP_FREE char *path = path_of(run_dir, job);
    if (access(path, F_OK) == 0 || errno != ENOENT)
        return true;
    return mark_boot_id(now, NULL) < 0 || strcmp(now, boot_id) != 0;
}

void mark_each(const char *run_dir, void (*visit)(void *context, const char *job), void *context)
{
    CLEANUP_FREE char *folder = folder_of(run_dir);
    DIR *directory = opendir(folder);
    if (!directory)
        return;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            visit(context, entry->d_name);
    closedir(directory);
}

int mark_boot_id(char text[MARK_BOOT_ID_SIZE], struct error **err)
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "%s", path);
    text[MARK_BOOT_ID_SIZE - 1] = '\0';
    return fd_read_full(fd, text, MARK_BOOT_ID_SIZE - 1, err);
}
