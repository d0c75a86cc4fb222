/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the codec while a move runs, from what is scarce. */
#include "stream/chooser.h"

#include <math.h>

#include "base/clock.h"

/* What a link is taken for before it was waited for: 10 Gbit/s. A slower one shows itself within
 * milliseconds, and what went uncompressed until then is little; on a faster one compression, and
 * the memory for deltas, would be what takes the time. */
#define START_RATE 1190e6
/* Codecs whose promises differ by less than this are equal: then the one wins that sends fewer
 * bytes, as others use the link, too. What is promised is kept the less the more a processor has to
 * do: for a Debian guest, with both ends on two cores, 0.15 GB/s and 0.22 GB/s took as long. */
#define EQUAL 1.4
/* The present one may be worse by so much before it is given up. */
#define EQUAL_KEEP 1.6
/* Compression that brings no more than this is not worth its work. */
#define LITTLE 0.9
/* Where the destination knows this part of the pages, the rest is so little work that it is worth
 * fewer bytes, whatever is scarce. */
#define MOST_KNOWN 0.5
/* As many pages count for half of what there was before. A dictionary is believed to know as many
 * at first: pages that it knows, and those that it does not, come in long runs. */
#define KNOWN_PAGES 32768
/* How fast measurements replace older ones. */
#define WEIGHT 0.25
/* What a link that keeps up gains in each look at it, when it was as good as filled, and when not:
 * then it shows itself only if it is tried, which costs bytes where it is no faster. */
#define FILLED      0.9
#define GROWTH      1.01
#define GROWTH_SLOW 1.003
/* More is not believed at once: a burst that some queue has taken looks the same. */
#define GROWTH_MOST 1.05
/* The same for a codec that was slower than it promised. */
#define REACH_GROWTH 1.002
/* And while the link is waited for with the present codec, one that sends less would be of use:
 * what it reached while the processor had something else to do is forgotten within a second or two.
 */
#define REACH_GROWTH_WAITED 1.02
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
    for (enum stream_codec codec = 0; codec < STREAM_CODECS; codec++)
        chooser->codecs[codec].reached = INFINITY;
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

void chooser_dictionary(struct chooser *chooser)
{
    chooser_known(chooser, KNOWN_PAGES, KNOWN_PAGES);
}

void chooser_known(struct chooser *chooser, unsigned pages, unsigned known)
{
    chooser->pages += pages;
    chooser->known += known;
    if (chooser->pages > 2 * KNOWN_PAGES) {
        chooser->pages /= 2;
        chooser->known /= 2;
    }
}

static bool little_is_left(const struct chooser *chooser)
{
    return chooser->pages && MOST_KNOWN * chooser->pages < chooser->known;
}

/* What a codec can make of the link as far as its own speed goes. */
static double able(const struct chooser *chooser, enum stream_codec codec)
{
    return fmin(chooser->codecs[codec].speed * chooser->threads,
                chooser->rate * chooser->codecs[codec].ratio);
}

/* The link took what came: so this is what the codec makes with all else that the processor has to
 * do. One look may have met a moment's pause. A codec that was not used meanwhile may have become
 * better. */
static void note_reached(struct chooser *chooser, double rate)
{
    for (enum stream_codec codec = 0; codec < STREAM_CODECS; codec++)
        chooser->codecs[codec].reached *= REACH_GROWTH;
    double *value = &chooser->codecs[chooser->codec].reached;
    if (isinf(*value))
        *value = able(chooser, chooser->codec);
    blend(value, rate * chooser->codecs[chooser->codec].ratio);
}

static void forget_reached(struct chooser *chooser)
{
    for (enum stream_codec codec = 0; codec < STREAM_CODECS; codec++)
        if (chooser->codecs[codec].ratio > chooser->codecs[chooser->codec].ratio)
            chooser->codecs[codec].reached *= REACH_GROWTH_WAITED;
}

void chooser_link(struct chooser *chooser, double rate, bool waited, unsigned peer_busy)
{
    if (!waited || peer_busy > PEER_BUSY) {
        if (rate > chooser->rate * USED && chooser->scarce && !little_is_left(chooser))
            note_reached(chooser, rate);
        const double growth = rate > chooser->rate * FILLED ? GROWTH : GROWTH_SLOW;
        if (rate > chooser->rate * USED)
            chooser->rate = fmin(fmax(chooser->rate * growth, rate), chooser->rate * GROWTH_MOST);
    } else if (rate > 0) {
        if (chooser->scarce)
            blend(&chooser->rate, rate);
        else
            chooser->rate = rate;
        chooser->scarce = true;
        forget_reached(chooser);
    }
}

static double promise(const struct chooser *chooser, enum stream_codec codec)
{
    return fmin(able(chooser, codec), chooser->codecs[codec].reached);
}

static enum stream_codec best(const struct chooser *chooser)
{
    double most = 0;
    if (little_is_left(chooser))
        return STREAM_CODEC_ZSTD;
    for (enum stream_codec codec = 0; codec < STREAM_CODECS; codec++)
        most = fmax(most, promise(chooser, codec));
    if (promise(chooser, STREAM_CODEC_NONE) >= LITTLE * most)
        return STREAM_CODEC_NONE;
    enum stream_codec found = STREAM_CODEC_NONE;
    double ratio = 1 / LITTLE;
    for (enum stream_codec codec = 0; codec < STREAM_CODECS; codec++) {
        const double enough = most / (codec == chooser->codec ? EQUAL_KEEP : EQUAL);
        if (promise(chooser, codec) >= enough && chooser->codecs[codec].ratio > ratio) {
            found = codec;
            ratio = chooser->codecs[codec].ratio;
        }
    }
    return found;
}

enum stream_codec chooser_again(struct chooser *chooser)
{
    static const enum stream_codec wished[] = {
        [CHOOSER_NONE] = STREAM_CODEC_NONE,
        [CHOOSER_LZ4] = STREAM_CODEC_LZ4,
        [CHOOSER_ZSTD] = STREAM_CODEC_ZSTD,
    };
    if (chooser->wish != CHOOSER_AUTO)
        return wished[chooser->wish];
    chooser->codec = best(chooser);
    return chooser->codec;
}

enum stream_codec chooser_next(struct chooser *chooser, bool *reduce)
{
    const enum stream_codec codec = chooser_again(chooser);
    const bool probes = chooser->wish == CHOOSER_AUTO && chooser->scarce;
    *reduce = chooser->scarce;
    return probes && ++chooser->windows % PROBE_WINDOWS == 0 ? STREAM_CODEC_ZSTD : codec;
}
