/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noise: pages that are compressed or encrypted already, told from a few of their bytes.
 *
 * A guess, for a tenth of what it costs a codec to find out. It errs on the side of trying: text,
 * programs, tables and pointers have far fewer different bytes than noise. What it cannot see is
 * noise that was there before at another place in a page.
 */
#ifndef STREAM_NOISE_H
#define STREAM_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stream/ram_record.h"

/* Are at least 63 of 64 of these pages noise? False when there are none. */
bool noise_fills(const uint8_t *pages, size_t count);

#endif
