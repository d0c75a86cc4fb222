/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one difference between source and destination RAM that is not an error: the kernel of a KVM
 * destination marks a guest's kvmclock as not computed yet when QEMU restores the MSR behind it,
 * before the guest runs. docs/ram-digest.md has the evidence and the rule.
 */
#ifndef MIGRATE_KVMCLOCK_H
#define MIGRATE_KVMCLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVMCLOCK_SIZE 32 /* struct pvclock_vcpu_time_info, Linux: asm/pvclock-abi.h */

/*
 * Are all differences between two versions of a page such marks? `size`: of the page, bytes. Adds
 * the number of clocks found to *clocks, also when the answer is false. A clock that crosses the
 * page's end counts as a difference.
 */
bool kvmclock_explains(const uint8_t *source, const uint8_t *destination, size_t size,
                       unsigned *clocks);

#endif
