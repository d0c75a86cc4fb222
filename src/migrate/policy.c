/* SPDX-License-Identifier: Apache-2.0 */
/* Convergence policy: a downtime limit that starts low and grows only when it must. */
#include "migrate/policy.h"

void policy_init(struct policy *policy, int64_t max_ms)
{
    *policy = (struct policy){.limit_ms = max_ms < POLICY_START_MS ? max_ms : POLICY_START_MS,
                              .max_ms = max_ms};
}

bool policy_look(struct policy *policy, int round, uint64_t remaining)
{
    if (round <= policy->last_round)
        return false;
    /* A round shrank when a tenth less is left than at the start of the one before. */
    bool first = policy->last_remaining == 0;
    bool shrank = remaining < policy->last_remaining - policy->last_remaining / 10;
    bool are_short = round - policy->last_round >= POLICY_SHORT_ROUNDS;
    policy->last_round = round;
    policy->last_remaining = remaining;
    if (first || (shrank && !are_short))
        return false;
    if (policy->limit_ms >= policy->max_ms) {
        policy->exhausted |= !shrank;
        return false;
    }
    policy->limit_ms *= 2;
    if (policy->limit_ms > policy->max_ms)
        policy->limit_ms = policy->max_ms;
    return true;
}
