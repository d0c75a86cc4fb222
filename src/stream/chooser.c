/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the codec while a move runs, from what is scarce. */
#include "stream/chooser.h"

#include <math.h>

#include "base/clock.h"

/* What a link is taken for before it was waited for: 10 Gbit/s. A slower one shows itself within
 * milliseconds, and what went uncompressed until then is little; on a faster one compression, and
 * the memory for deltas, would be what takes the time. */
#define START_RATE 1190e6
/* Another codec must promise so much more than the present one. */
#define GAIN 1.15
/* Compression that brings no more than this is not worth its work. */
#define LITTLE 0.9
/* How fast measurements replace older ones. */
#define WEIGHT 0.25
/* What a link that keeps up gains in each look at it. */
#define GROWTH 1.01
/* Less than this share of its rate tells nothing about a link: nobody had more to send. */
#define USED 0.25
/* A peer that was busy for more than this is what was waited for. */
#define PEER_BUSY 700
/* Each so manieth window tells what compressing better would bring: a codec that was slow while the
 * move began, with so much else to do, may be the best a moment later. */
#define PROBE_WINDOWS 64

void chooser_init(struct chooser *chooser, enum chooser_wish wish, unsigned threads)
{
    *chooser = (struct chooser){.wish = wish, .threads = threads ? threads : 1};
    /* Of a Debian guest on one core of a small machine. */
    chooser->codecs[STREAM_CODEC_NONE].speed = INFINITY;
    chooser->codecs[STREAM_CODEC_NONE].ratio = 1;
    chooser->codecs[STREAM_CODEC_LZ4].speed = 0.75e9;
    chooser->codecs[STREAM_CODEC_LZ4].ratio = 2.3;
    chooser->codecs[STREAM_CODEC_ZSTD].speed = 0.35e9;
    chooser->codecs[STREAM_CODEC_ZSTD].ratio = 3.2;
    chooser->rate = START_RATE;
    chooser->codec = STREAM_CODEC_NONE;
}

static void blend(double *value, double measured)
{
    *value += (measured - *value) * WEIGHT;
}

void chooser_measured(struct chooser *chooser, enum stream_codec codec, uint64_t in, uint64_t out,
                      int64_t spent_ns)
{
    if (codec == STREAM_CODEC_NONE || !in || !out || spent_ns <= 0)
        return;
    blend(&chooser->codecs[codec].speed, (double)in * (double)NS_PER_S / (double)spent_ns);
    blend(&chooser->codecs[codec].ratio, (double)in / (double)out);
}

void chooser_link(struct chooser *chooser, double rate, bool waited, unsigned peer_busy)
{
    if (!waited || peer_busy > PEER_BUSY) {
        if (rate > chooser->rate * USED)
            chooser->rate = fmax(chooser->rate * GROWTH, rate);
    } else if (rate > 0) {
        if (chooser->scarce)
            blend(&chooser->rate, rate);
        else
            chooser->rate = rate;
        chooser->scarce = true;
    }
}

static double promise(const struct chooser *chooser, enum stream_codec codec)
{
    return fmin(chooser->codecs[codec].speed * chooser->threads,
                chooser->rate * chooser->codecs[codec].ratio);
}

static enum stream_codec best(const struct chooser *chooser)
{
    enum stream_codec found = chooser->codec;
    double least = promise(chooser, found) * GAIN;
    for (enum stream_codec codec = 0; codec < STREAM_CODECS; codec++)
        if (promise(chooser, codec) > least) {
            found = codec;
            least = promise(chooser, codec);
        }
    if (promise(chooser, STREAM_CODEC_NONE) >= LITTLE * promise(chooser, found))
        return STREAM_CODEC_NONE;
    return found;
}

enum stream_codec chooser_next(struct chooser *chooser, bool *reduce)
{
    static const enum stream_codec wished[] = {
        [CHOOSER_NONE] = STREAM_CODEC_NONE,
        [CHOOSER_LZ4] = STREAM_CODEC_LZ4,
        [CHOOSER_ZSTD] = STREAM_CODEC_ZSTD,
    };
    chooser->windows++;
    *reduce = chooser->scarce;
    if (chooser->wish != CHOOSER_AUTO)
        return wished[chooser->wish];
    chooser->codec = best(chooser);
    if (chooser->scarce && chooser->windows % PROBE_WINDOWS == 0)
        return STREAM_CODEC_ZSTD;
    return chooser->codec;
}
