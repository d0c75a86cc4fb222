/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the link is, as the source's relay sees it: what was acknowledged, and whether QEMU had
 * to wait for it. */
#ifndef MIGRATE_RELAY_PACE_H
#define MIGRATE_RELAY_PACE_H

#include "wire/link.h"

struct relay_pace {
    int64_t since_ns;   /* when the present interval began */
    int64_t looked_ns;  /* the last look */
    int64_t waited_ns;  /* of the interval */
    int64_t network_ns; /* the link's wait for the network, at its beginning */
    uint64_t acked;     /* at its beginning */
    double best;        /* the highest rate so far, bytes per second */
    unsigned waits;     /* intervals in a row in which the link was waited for */
    bool far;           /* the end of the move is */
    /* What may be under way: what is queued before the last bytes adds to the downtime. */
    size_t under_way_max;
    /* The same in post-copy, where a page that the guest waits for is behind it. */
    size_t post_copy_max;
};

/* Before the first turn. */
void relay_pace_begin(struct relay_pace *pace);

/*
 * To be called often. `waited`: since the last look nothing was read, as the link had no room.
 * `emitted`: bytes of all blocks given to the link. True at the end of an interval: `*rate` is then
 * what was acknowledged in it, bytes per second, and `*scarce` whether the link was waited for:
 * QEMU by us, and we by a kernel that took nothing more while the other end read. On a busy machine
 * a slow reader looks like a slow network from here, and what would help the one makes the other
 * worse.
 */
bool relay_pace_look(struct relay_pace *pace, bool waited, uint64_t emitted, struct link *link,
                     double *rate, bool *scarce);

/* How many bytes may be under way in pre-copy over such a link. `far`: the end of the move is. For
 * relay_pace_look and tests. */
size_t relay_pace_under_way(const struct link_status *status, bool far);

/* The judgement of one interval: was the link what was scarce, if it was waited for in most of it,
 * or did it only stand still for a moment? For relay_pace_look and tests. */
bool relay_pace_judge(struct relay_pace *pace, bool waited, double rate);

#endif
