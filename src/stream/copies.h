/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of the guest's main RAM that are equal to one sent before: the destination takes them from
 * there.
 *
 * The encoder finds them by a hash under a secret seed that it draws for itself, and keeps no page
 * to compare with. So both ends digest the contents of all pages of a window that went this way
 * (SHA-256), and the decoder compares: where the hash was wrong, or RAM is not what was sent, the
 * move fails, and no wrong page is ever run. A table of fixed size remembers pages while the stream
 * goes through main RAM for the first time, address after address; with the first page that is sent
 * again there are no copies any more, as what was sent before may be gone.
 */
#ifndef STREAM_COPIES_H
#define STREAM_COPIES_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "stream/ram_record.h"

#define COPIES_DIGEST_SIZE 32

/* The digest of some pages, in order; starts with all zero. */
struct copies_digest {
    EVP_MD_CTX *sha; /* kept from one digest to the next */
    unsigned pages;  /* in it so far */
};

/* False when the library refuses: the pages have no digest then. */
bool copies_digest_add(struct copies_digest *digest, const uint8_t page[RAM_PAGE_SIZE]);
/* The digest of the pages added since the last one. */
bool copies_digest_end(struct copies_digest *digest, uint8_t out[COPIES_DIGEST_SIZE]);
void copies_digest_clear(struct copies_digest *digest);

/* What the encoder remembers. */
struct copies;
struct copies *copies_new(struct error **err);
void copies_free(struct copies *copies);
/* Bytes that it takes. */
size_t copies_memory(void);

/* To be told of every record of main RAM, in order: pages, and zero pages, however they travel. */
void copies_pass(struct copies *copies, uint64_t address);
/* No copies from here on. */
void copies_end(struct copies *copies);
/* Where main RAM has had a page like this one, which is about to be sent for `address`: *from is
 * less than that. Otherwise this one is remembered. */
bool copies_find(struct copies *copies, uint64_t address, const uint8_t page[RAM_PAGE_SIZE],
                 uint64_t *from);

#endif
