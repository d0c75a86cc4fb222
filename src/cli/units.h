/* SPDX-License-Identifier: Apache-2.0 */
/* Durations and rates as people write and read them. */
#ifndef CLI_UNITS_H
#define CLI_UNITS_H

#include <stdint.h>

#include "base/error.h"

#define UNITS_DURATION_MAX 32

/* "18 ms", "6.21 s", "2 min 5 s", "1 h 5 min"; into the buffer, which is returned. */
const char *units_duration(int64_t ms, char buffer[UNITS_DURATION_MAX]);

/*
 * A rate: "100" is 100 MiB/s (as virsh means it); "512K", "100MiB/s", "1.5G" are binary bytes;
 * "800Mbit", "10Gbit/s" are decimal bits, as links are sold. Into bytes a second, at least 1.
 * Returns 0, or -1 with ERROR_INVALID.
 */
int units_parse_rate(const char *text, int64_t *bytes_per_s, struct error **err);

/* A size: "100" is 100 MiB; "512K", "1.5GiB", "800B". Into bytes, at least 1. */
int units_parse_size(const char *text, int64_t *bytes, struct error **err);

#endif
