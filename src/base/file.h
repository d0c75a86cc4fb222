/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files: bounded reads, atomic and durable writes, folders. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * Reads a file of at most `max` bytes. Returns its content, NUL-terminated (owned by the caller),
 * and its length in *size (may be NULL); NULL on error, ERROR_INVALID when it is larger.
 */
char *file_read(const char *path, size_t max, size_t *size, struct error **err);

/* Writes a new file beside `path`, syncs it, and renames it over `path`. Returns 0 or -1. */
int file_write_atomic(const char *path, const void *data, size_t size, mode_t mode,
                      struct error **err);

/* Makes `path` and its parents (mode 0755 for parents, `mode` for the last). 0 if it exists. */
int file_make_directory(const char *path, mode_t mode, struct error **err);

#endif
