/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --verify: at the handover, before the destination runs, the digests of the whole guest RAM of
 * both QEMU processes are compared. See docs/ram-digest.md.
 */
#ifndef MIGRATE_VERIFY_H
#define MIGRATE_VERIFY_H

#include <stdint.h>

#include "base/error.h"
#include "qemu/memory.h"

struct verify_key; /* one move's: digests of another move say nothing */

struct verify_key *verify_key_parse(const char *hex, struct error **err);
void verify_key_free(struct verify_key *key);

/* Digests of all 1 MiB chunks, of the pages of one chunk, the bytes of one page; hex, owned by the
 * caller; NULL on error. */
char *verify_digests(const struct memory_map *ram, const struct verify_key *key,
                     struct error **err);
char *verify_page_digests(const struct memory_map *ram, const struct verify_key *key, int64_t chunk,
                          struct error **err);
char *verify_read_page(const struct memory_map *ram, int64_t offset, struct error **err);

/* Destination: puts a page right. */
int verify_write_page(const struct memory_map *ram, int64_t offset, const char *hex,
                      struct error **err);

#endif
