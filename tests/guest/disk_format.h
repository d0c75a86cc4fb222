/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Linux guest writes to a disk, and what must therefore be on it.
 *
 * Blocks are numbered from 0 without end. They fill a ring of files, DISK_FILE_BLOCKS in each,
 * named by their place in the ring; when the ring comes round, the file is emptied and written
 * anew, so that the file system allocates and frees all the time. Each block is synced before the
 * next is begun; then the manifest says so. The manifest is a file of two blocks written in turn,
 * each with a count, so that one is whole whatever happens:
 *
 *    DSK count= seed= files= synced= clean= *CRC      (a line as in beat.h)
 *
 * After `synced` = S, blocks 0..S-1 are on the disk as far as the ring has not overwritten them. S
 * itself may be there in part or whole, unless `clean` is 1: then the file system was unmounted.
 */
#ifndef DISK_FORMAT_H
#define DISK_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#define DISK_BLOCK_SIZE  4096u
#define DISK_FILE_BLOCKS 64u
#define DISK_FILES_MAX   64u
#define DISK_MANIFEST    "manifest"
#define DISK_NAME_SIZE   16u

struct disk_manifest {
    uint32_t count; /* grows by one each time it is written */
    uint32_t seed;
    uint32_t files; /* in the ring */
    uint32_t synced;
    bool clean;
};

/* What block `number` contains: DISK_BLOCK_SIZE bytes. */
void disk_format_block(uint32_t seed, uint32_t number, uint32_t *words);

/* The name of file `index` of the ring, with its NUL. */
void disk_format_name(uint32_t index, char name[DISK_NAME_SIZE]);

/* The manifest as a block: a line, then zeros. */
void disk_format_manifest(const struct disk_manifest *manifest, char block[DISK_BLOCK_SIZE]);

/* The newer whole one of the two blocks of a manifest file; false when neither is whole. */
bool disk_format_read(const char blocks[2 * DISK_BLOCK_SIZE], struct disk_manifest *manifest);

/*
 * What a file of the ring must hold: `blocks` blocks from number `first` on, or no file at all when
 * `blocks` is 0. With `more`, one more block may follow, whole or in part. With `fresh` it may
 * instead have been emptied already, and hold its first new block, whole or in part.
 */
struct disk_expected {
    uint32_t first, blocks;
    bool more, fresh;
};

struct disk_expected disk_format_expected(const struct disk_manifest *manifest, uint32_t index);

#endif
