/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records in a "ram" section of QEMU's migration stream.
 *
 * Each begins with a big-endian word, the page's address in its block | what the record is. Unless
 * RAM_RECORD_CONTINUE is set, the length of the block's name (one byte) and the name follow. Then
 * comes what the kind asks for. See save_page_header() and ram_load() in QEMU's migration/ram.c.
 */
#ifndef STREAM_RAM_RECORD_H
#define STREAM_RAM_RECORD_H

#include <stddef.h>
#include <stdint.h>

#define RAM_PAGE_SIZE      4096
#define RAM_BLOCK_NAME_MAX 255

#define RAM_RECORD_ZERO          0x002 /* the byte that fills the page */
#define RAM_RECORD_MEM_SIZE      0x004 /* the list of blocks; the address is the sum of their sizes */
#define RAM_RECORD_PAGE          0x008 /* the page */
#define RAM_RECORD_EOS           0x010 /* the section's last record */
#define RAM_RECORD_CONTINUE      0x020 /* added to a kind: same block as before, no name */
#define RAM_RECORD_XBZRLE        0x040 /* 1, a 16-bit length, so many bytes */
#define RAM_RECORD_HOOK          0x080 /* RDMA */
#define RAM_RECORD_COMPRESSED    0x100 /* a 32-bit length, so many bytes of zlib (until QEMU 9.0) */
#define RAM_RECORD_MULTIFD_FLUSH 0x200 /* from QEMU 8.1 */

/* The first byte of a section's head when there was another before, and of its footer. */
#define RAM_SECTION_PART   0x02
#define RAM_SECTION_FOOTER 0x7e
#define RAM_SECTION_EDGE   5 /* the size of either */

/* A word, a length and a name. */
#define RAM_RECORD_HEADER_MAX (8 + 1 + RAM_BLOCK_NAME_MAX)

/*
 * Writes the header of a record of `kind` (RAM_RECORD_PAGE, RAM_RECORD_ZERO, ...) for the page at
 * `address`, a multiple of RAM_PAGE_SIZE. `name` is the block's, at most RAM_BLOCK_NAME_MAX bytes,
 * or NULL for "as before". Returns the bytes written.
 */
size_t ram_record_header(uint8_t out[RAM_RECORD_HEADER_MAX], uint64_t kind, uint64_t address,
                         const char *name);

/* Writes what begins (RAM_SECTION_PART) or ends (RAM_SECTION_FOOTER) the section with this id. */
void ram_section_edge(uint8_t out[RAM_SECTION_EDGE], uint8_t type, uint32_t section);

#endif
