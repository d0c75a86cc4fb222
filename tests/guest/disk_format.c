/* SPDX-License-Identifier: Apache-2.0 */
/* What the Linux guest writes to a disk; see disk_format.h. */
#include "disk_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "beat.h"
#include "workset.h"

#define DISK_MAGIC 0x4b5a444du /* "MDZK" on the disk */

_Static_assert(DISK_BLOCK_SIZE == WORKSET_PAGE_SIZE, "a block is a page of the working set");

void disk_format_block(uint32_t seed, uint32_t number, uint32_t *words)
{
    workset_contents(seed, number, words);
    words[0] = DISK_MAGIC;
    words[1] = seed;
    words[2] = number;
}

void disk_format_name(uint32_t index, char name[DISK_NAME_SIZE])
{
    (void)snprintf(name, DISK_NAME_SIZE, "ring%04" PRIu32, index);
}

void disk_format_manifest(const struct disk_manifest *manifest, char block[DISK_BLOCK_SIZE])
{
    struct beat_line line;

    beat_begin(&line, "DSK");
    beat_number(&line, "count", manifest->count);
    beat_number(&line, "seed", manifest->seed);
    beat_number(&line, "files", manifest->files);
    beat_number(&line, "synced", manifest->synced);
    beat_number(&line, "clean", manifest->clean);
    beat_end(&line);
    memset(block, 0, DISK_BLOCK_SIZE);
    memcpy(block, line.text, line.length);
}

/* Reads one block: what it parses to must give the same block back, checksum and zeros included. */
static bool disk_format_parse(const char *block, struct disk_manifest *manifest)
{
    char text[BEAT_LINE_MAX], again[DISK_BLOCK_SIZE];
    unsigned clean;

    memcpy(text, block, sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    if (sscanf(text, /* NOLINT(cert-err34-c): the comparison below finds what overflows */
               "DSK count=%" SCNu32 " seed=%" SCNu32 " files=%" SCNu32 " synced=%" SCNu32
               " clean=%u",
               &manifest->count, &manifest->seed, &manifest->files, &manifest->synced, &clean) != 5)
        return false;
    manifest->clean = clean == 1;
    disk_format_manifest(manifest, again);
    return manifest->files > 0 && manifest->files <= DISK_FILES_MAX &&
           memcmp(block, again, sizeof(again)) == 0;
}

bool disk_format_read(const char blocks[2 * DISK_BLOCK_SIZE], struct disk_manifest *manifest)
{
    struct disk_manifest other;
    bool one = disk_format_parse(blocks, manifest);
    bool two = disk_format_parse(blocks + DISK_BLOCK_SIZE, &other);

    if (two && (!one || other.count > manifest->count))
        *manifest = other;
    return one || two;
}

struct disk_expected disk_format_expected(const struct disk_manifest *manifest, uint32_t index)
{
    uint32_t total = manifest->files * DISK_FILE_BLOCKS, start = index * DISK_FILE_BLOCKS;
    uint32_t next = manifest->synced % total, round = manifest->synced - next;
    struct disk_expected expected = {.first = round + start, .blocks = DISK_FILE_BLOCKS};

    if (start + DISK_FILE_BLOCKS <= next)
        return expected;
    if (start < next) {
        expected.blocks = next - start;
        expected.more = !manifest->clean;
        return expected;
    }
    /* Not written in this round: still as the last round left it, if there was one. */
    expected.fresh = start == next && !manifest->clean;
    if (round == 0) {
        expected.blocks = 0;
        return expected;
    }
    expected.first -= total;
    return expected;
}
