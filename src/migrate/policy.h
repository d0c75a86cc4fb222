/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convergence policy: what downtime-limit to give QEMU.
 *
 * QEMU switches over as soon as what remains fits into `bandwidth x downtime-limit`, so that a high
 * limit costs downtime even when a little patience would have needed less. The policy starts low
 * and doubles the limit only when a round did not shrink, or when rounds have become so short that
 * more of them bring little, up to what the user allows.
 */
#ifndef MIGRATE_POLICY_H
#define MIGRATE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define POLICY_START_MS 2
/* Between two looks, a tenth of a second: each takes no longer than a guest's stop. They may shrink
 * and grow for a long time before one happens to fit. */
#define POLICY_SHORT_ROUNDS 3

struct policy {
    int64_t limit_ms, max_ms;
    uint64_t last_remaining; /* bytes at the start of the last round */
    int last_round;
    bool exhausted; /* the limit is at its maximum and rounds still do not shrink */
};

void policy_init(struct policy *policy, int64_t max_ms);

/*
 * A new look: `round` as QEMU counts them, `remaining` bytes dirty. Returns true when the limit
 * changed.
 */
bool policy_look(struct policy *policy, int round, uint64_t remaining);

#endif
