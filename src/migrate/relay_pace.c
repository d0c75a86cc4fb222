/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the link is, as the source's relay sees it. */
#include "migrate/relay_pace.h"

#include "base/clock.h"

#define INTERVAL_NS (20 * NS_PER_MS)
/* Waiting for this share of an interval makes the link what is scarce. */
#define SCARCE 0.5

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
    size_t queued = link_status(link).queued;
    uint64_t acked = emitted > queued ? emitted - queued : 0;
    bool first = !pace->since_ns;
    *rate = acked > pace->acked
                ? (double)(acked - pace->acked) * (double)NS_PER_S / (double)passed_ns
                : 0;
    *scarce = (double)pace->waited_ns > SCARCE * (double)passed_ns;
    pace->since_ns = now_ns;
    pace->waited_ns = 0;
    pace->acked = acked;
    return !first;
}
