/* SPDX-License-Identifier: Apache-2.0 */
/* Text: numbers with units, checked parsing, a growing buffer. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A whole decimal number in [min, max], nothing around it. ERROR_INVALID otherwise. */
int text_parse_int(const char *text, int64_t min, int64_t max, int64_t *value, struct error **err);

/* "155.0 MiB", "2.1 GiB/s" (suffix "/s"); into a buffer of TEXT_SIZE_MAX, returned. */
#define TEXT_SIZE_MAX 32
const char *text_size(uint64_t bytes, const char *suffix, char buffer[TEXT_SIZE_MAX]);

/* printf into a new string, owned by the caller; never NULL (aborts when memory is out). */
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* strdup that never returns NULL for a non-NULL text. NULL stays NULL. */
char *text_copy(const char *text);

bool text_equal(const char *one, const char *other); /* NULL equals only NULL */

/* A growing, always NUL-terminated text. Start with all zero; free `data`. */
struct text {
    char *data;
    size_t length;
    size_t capacity;
};
void text_append(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_append_bytes(struct text *text, const void *data, size_t size);

static inline void cleanup_text_function(struct text *text)
{
    free(text->data);
}
#define CLEANUP_TEXT CLEANUP(cleanup_text_function)

/* `bytes` as lower-case hex into `hex`, which holds 2 * size + 1. */
void text_hex(const uint8_t *bytes, size_t size, char *hex);
/* Exactly `size` bytes from 2 * size hex digits of either case. */
int text_unhex(const char *hex, uint8_t *bytes, size_t size, struct error **err);

#endif
