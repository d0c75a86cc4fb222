/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The images behind a disk image, as qemu-img tells them.
 *
 * One image at a time instead of with --backing-chain: so each name is checked before anything is
 * opened under it, and no image can send qemu-img to a server. A layer of unrecorded format is
 * refused: QEMU would guess it from content that a guest may have written.
 */
#include "qemu/backing.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "qemu/child.h"

#define INFO_MAX        ((size_t)1024 * 1024)
#define INFO_TIMEOUT_MS 30000

/* What qemu-img says about one image, without looking at what is behind it. */
static json_t *backing_info(const char *path, const char *format, struct error **err)
{
    const char *const argv[] = {"qemu-img", "info", "--output=json", "-U", "-f", format,
                                path,       NULL};
    CLEANUP_FREE char *output =
        child_output(argv, INFO_MAX, clock_deadline_ns(INFO_TIMEOUT_MS), err);
    if (output)
        return json_parse(output, strlen(output), err);
    if (err && *err && (*err)->sys_errno == ENOENT)
        error_hint(err, "install qemu-img (package qemu-utils)");
    return NULL;
}

static int backing_check_path(const char *path, struct error **err)
{
    struct stat file;
    if (path[0] != '/') {
        error_set(err, ERROR_UNSUPPORTED, "%s is not a local file or block device", path);
        return error_hint(err, "copy that image to a local or mounted path, and name it there "
                               "(qemu-img rebase -u -b PATH)");
    }
    if (stat(path, &file) < 0 && errno == ENOENT) {
        error_set(err, ERROR_NOT_FOUND, "%s: No such file or directory", path);
        return error_hint(err, "create it, or mount the storage it lies on at the same path");
    }
    if (stat(path, &file) < 0)
        return error_errno(err, errno, "%s", path);
    if (!S_ISREG(file.st_mode) && !S_ISBLK(file.st_mode))
        return error_set(err, ERROR_INVALID, "%s is neither a file nor a block device", path);
    return 0;
}

/* What else an image may have that cannot be passed on as one descriptor per layer. */
static int backing_check_image(const json_t *info, const char *path, struct error **err)
{
    const json_t *specific = json_object_get(json_object_get(info, "format-specific"), "data");
    const char *data_file = json_opt_string(specific, "data-file", NULL);
    if (data_file)
        return error_set(err, ERROR_UNSUPPORTED,
                         "%s keeps its data in another file, %s, which is not supported", path,
                         data_file);
    if (json_opt_bool(info, "encrypted", false))
        return error_set(err, ERROR_UNSUPPORTED, "%s is encrypted, which is not supported", path);
    return 0;
}

/* The layer below `path`. 1: *layer is filled; 0: there is none. */
static int backing_next(const char *path, const char *format, struct qemu_layer *layer,
                        struct error **err)
{
    if (text_equal(format, "raw"))
        return 0;
    CLEANUP_JSON json_t *info = backing_info(path, format, err);
    if (!info)
        return -1;
    if (backing_check_image(info, path, err) < 0)
        return -1;
    const char *name = json_opt_string(info, "backing-filename", NULL);
    if (!name)
        return 0;
    const char *below = json_opt_string(info, "full-backing-filename", name);
    const char *below_format = json_opt_string(info, "backing-filename-format", NULL);
    if (backing_check_path(below, err) < 0)
        return error_prefix(err, "the image behind %s", path);
    if (!below_format) {
        error_set(err, ERROR_UNSUPPORTED,
                  "%s does not record the format of the image behind it, %s", path, below);
        return error_hint(err, "qemu-img rebase -u -F FORMAT -b %s %s", name, path);
    }
    if (!text_equal(below_format, "raw") && !text_equal(below_format, "qcow2"))
        return error_set(err, ERROR_UNSUPPORTED,
                         "the image behind %s, %s, has format %s; raw and qcow2 are supported",
                         path, below, below_format);
    *layer = (struct qemu_layer){.path = text_copy(below), .format = text_copy(below_format)};
    return 1;
}

int backing_chain(const char *path, const char *format, struct qemu_layer **layers, size_t *n,
                  struct error **err)
{
    *n = 0;
    *layers = NULL;
    if (backing_check_path(path, err) < 0)
        return error_prefix(err, "disk image");
    struct qemu_layer *chain = calloc(BACKING_MAX, sizeof(*chain));
    if (!chain)
        return error_set(err, ERROR_SYSTEM, "out of memory");
    size_t length = 0;
    int more;
    while ((more = backing_next(path, format, &chain[length], err)) > 0) {
        path = chain[length].path;
        format = chain[length].format;
        if (++length == BACKING_MAX) {
            more = error_set(err, ERROR_INVALID, "more than %d images in a row, or a loop",
                             BACKING_MAX - 1);
            break;
        }
    }
    if (more < 0 || length == 0) {
        backing_free(chain, length);
        return more < 0 ? error_prefix(err, "disk image") : 0;
    }
    *layers = chain;
    *n = length;
    return 0;
}

void backing_free(struct qemu_layer *layers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(layers[i].path);
        free(layers[i].format);
    }
    free(layers);
}
