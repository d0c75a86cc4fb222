/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merges captured streams of one migration with multifd into the one that it would have been
 * without, reading them in pieces of random size, in random order.
 *
 *   merge_streams SEED MAIN CHANNEL... > MERGED
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "stream/multifd_merge.h"

#define PIECE_MAX 65536

static int files[1 + MULTIFD_CHANNELS_MAX];

static size_t random_size(size_t most)
{
    return 1 + (size_t)random() % most;
}

static int put(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    (void)context;
    return fd_write_full(STDOUT_FILENO, bytes, size, err);
}

static ssize_t read_some(void *context, unsigned channel, uint8_t *buffer, size_t size,
                         struct error **err)
{
    (void)context;
    const ssize_t got = read(files[1 + channel], buffer, random_size(size));
    return got < 0 ? error_errno(err, errno, "channel %u", channel) : got;
}

static int merge_all(struct multifd_merge *merge, unsigned channels, struct error **err)
{
    uint8_t piece[PIECE_MAX];
    for (;;) {
        const unsigned channel = (unsigned)random() % (channels + 1);
        if (channel < channels) {
            if (!multifd_merge_waits(merge, channel) &&
                multifd_merge_channel(merge, channel, err) < 0)
                return -1;
            continue;
        }
        const ssize_t got = read(files[0], piece, random_size(sizeof(piece)));
        if (got <= 0)
            return got < 0 ? error_errno(err, errno, "main") : multifd_merge_finish(merge, err);
        if (multifd_merge_main(merge, piece, (size_t)got, err) < 0)
            return -1;
    }
}

int main(int argc, char **argv)
{
    CLEANUP_ERROR struct error *err = NULL;
    const int channels = argc - 3;
    if (channels < 1 || channels > MULTIFD_CHANNELS_MAX) {
        fprintf(stderr, "usage: merge_streams SEED MAIN CHANNEL...\n");
        return 2;
    }
    srandom((unsigned)strtoul(argv[1], NULL, 0));
    for (int i = 0; i <= channels; i++)
        if ((files[i] = open(argv[2 + i], O_RDONLY | O_CLOEXEC)) < 0) {
            perror(argv[2 + i]);
            return 1;
        }
    struct multifd_merge *merge = multifd_merge_new(
        (unsigned)channels, (struct multifd_merge_ends){.put = put, .read = read_some}, &err);
    const int status = merge ? merge_all(merge, (unsigned)channels, &err) : -1;
    multifd_merge_free(merge);
    if (status < 0)
        fprintf(stderr, "merge_streams: %s\n", err->message);
    return status < 0;
}
