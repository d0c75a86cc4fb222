/* SPDX-License-Identifier: Apache-2.0 */
/* What a test guest is told on its command line; the same words for both guests. Freestanding. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "workset.h"

#define OPTIONS_NO_LIMIT UINT32_MAX

struct options {
    struct workset_config work; /* mem=, fill=, zero=, pattern=, seed= */
    uint32_t heartbeat_ms;      /* heartbeat=: one each so many milliseconds */
    uint32_t line_ms;           /* line=: a heartbeat is a whole line at least each so many */
    uint32_t rate;              /* rate=: pages written a second */
    uint32_t check;             /* check=: pages checked a second */
};

void options_default(struct options *options);

/*
 * Reads the words of `line` that begin with `prefix` ("" for all of them). A size is a number of
 * MiB, or has a suffix K, M or G; a rate is a number of pages a second, or of bytes with such a
 * suffix, or "max". Returns NULL, or the first word that is unknown or out of range: it points
 * into `line` and ends at a space.
 */
const char *options_parse(struct options *options, const char *line, const char *prefix);

/* Copies the value of the word `name`=VALUE (VALUE up to the next space); false when there is
 * none or it does not fit `size` bytes with its NUL. */
bool options_text(const char *line, const char *name, char *value, uint32_t size);

#endif
