/* SPDX-License-Identifier: Apache-2.0 */
/* What became of a move's stream on its way, for people and programs. */
#include "base/clock.h"
#include "migrate/migration_private.h"
#include "stream/codec.h"

static json_t *codecs(const struct migration *m, const struct stream_counts *counts)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < counts->codec_changes; i++) {
        const struct stream_codec_since *change = &counts->history[i];
        int64_t since_ns = change->since_ns - m->started_ns;
        json_array_append_new(list, json_pack("{s:s, s:I}", "codec", codec_name(change->codec),
                                              "since_ms", (json_int_t)(since_ns / NS_PER_MS)));
    }
    return list;
}

/* The peer may say any number. */
static json_int_t peer_memory(const struct relay_status *relayed)
{
    return relayed->peer_memory < INT64_MAX ? (json_int_t)relayed->peer_memory : INT64_MAX;
}

json_t *stream_report_make(const struct migration *m, const struct relay_status *relayed)
{
    const struct stream_counts *counts = &relayed->stream;
    if (!counts->bytes_in)
        return NULL;
    size_t memory = counts->memory + relayed->link.memory_peak;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:i, s:I}",
                     "zero", (json_int_t)counts->zero, "repeated", (json_int_t)counts->repeated,
                     "known", (json_int_t)counts->known, "delta", (json_int_t)counts->delta,
                     "compressed", (json_int_t)counts->compressed, "plain",
                     (json_int_t)counts->plain, "bytes_in", (json_int_t)counts->bytes_in,
                     "bytes_out", (json_int_t)counts->bytes_out, "codecs", codecs(m, counts),
                     "memory", (json_int_t)memory, "destination_memory", peer_memory(relayed),
                     "memory_limit", (json_int_t)m->options.stream_memory, "cuts",
                     (int)relayed->link.cuts, "resent", (json_int_t)relayed->link.resent);
}
