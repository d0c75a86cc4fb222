/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the link is, as the source's relay sees it. */
#include "migrate/relay_pace.h"

#include "base/clock.h"

#define INTERVAL_NS (20 * NS_PER_MS)
/* Waiting for this share of an interval makes the link what is scarce. */
#define SCARCE 0.5
/* A link that has been this much faster is waited for so many intervals before that
 * counts: a processor that served others for a moment looks the same. Taking that for a slow link
 * costs half a second of compression, and copying the RAM that is left behind. */
#define FASTER     1.33
#define SURE_WAITS 5
/* What may be under way: what the link takes in this time beside its round trip, ... */
#define QUEUE_NS (10 * NS_PER_MS)
/* ... and at least so many bytes, so that a long link can show what it takes: while they are on
 * their way, no more than that is acknowledged in a round trip. Twice the round trip lets it grow.
 */
#define UNDER_WAY_MIN ((size_t)2 << 20)
/* While the end is far: the other end's processors serve guests, too, and what it takes comes in
 * fits and starts. With less before it the link runs dry meanwhile. */
#define FAR_QUEUE_NS (60 * NS_PER_MS)
/* A fast link would only fill memory. */
#define FAR_MAX ((size_t)8 << 20)
/* In post-copy. */
#define POST_COPY_QUEUE_NS (2 * NS_PER_MS)
#define POST_COPY_MIN      ((size_t)256 << 10)

static size_t under_way(const struct link_status *status, int64_t queue_ns, size_t least)
{
    double seconds = (double)(queue_ns + 2 * status->rtt_ns) / (double)NS_PER_S;
    double bytes = (double)status->rate * seconds;
    return bytes > (double)least ? (size_t)bytes : least;
}

size_t relay_pace_under_way(const struct link_status *status, bool far)
{
    size_t near_max = under_way(status, QUEUE_NS, UNDER_WAY_MIN);
    size_t far_max = under_way(status, FAR_QUEUE_NS, UNDER_WAY_MIN);
    if (far_max > FAR_MAX)
        far_max = FAR_MAX;
    return far && far_max > near_max ? far_max : near_max;
}

void relay_pace_begin(struct relay_pace *pace)
{
    *pace = (struct relay_pace){.under_way_max = UNDER_WAY_MIN, .post_copy_max = POST_COPY_MIN};
}

bool relay_pace_judge(struct relay_pace *pace, bool waited, double rate)
{
    pace->waits = waited ? pace->waits + 1 : 0;
    if (rate > pace->best)
        pace->best = rate;
    return waited && rate > 0 && (rate * FASTER >= pace->best || pace->waits >= SURE_WAITS);
}

bool relay_pace_look(struct relay_pace *pace, bool waited, uint64_t emitted, struct link *link,
                     double *rate, bool *scarce)
{
    int64_t now_ns = clock_now_ns();
    if (waited && pace->looked_ns)
        pace->waited_ns += now_ns - pace->looked_ns;
    pace->looked_ns = now_ns;
    int64_t passed_ns = now_ns - pace->since_ns;
    if (pace->since_ns && passed_ns < INTERVAL_NS)
        return false;
    const struct link_status status = link_status(link);
    uint64_t acked = emitted > status.queued ? emitted - status.queued : 0;
    bool first = !pace->since_ns;
    *rate = acked > pace->acked
                ? (double)(acked - pace->acked) * (double)NS_PER_S / (double)passed_ns
                : 0;
    bool most = (double)pace->waited_ns > SCARCE * (double)passed_ns &&
                (double)(status.network_ns - pace->network_ns) > SCARCE * (double)passed_ns;
    *scarce = relay_pace_judge(pace, most, *rate);
    pace->network_ns = status.network_ns;
    pace->under_way_max = relay_pace_under_way(&status, pace->far);
    pace->post_copy_max = under_way(&status, POST_COPY_QUEUE_NS, POST_COPY_MIN);
    pace->since_ns = now_ns;
    pace->waited_ns = 0;
    pace->acked = acked;
    return !first;
}
