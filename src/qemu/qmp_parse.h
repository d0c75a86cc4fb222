/* SPDX-License-Identifier: Apache-2.0 */
/* QMP messages as JSON. */
#ifndef QEMU_QMP_PARSE_H
#define QEMU_QMP_PARSE_H

#include "base/json.h"

/*
 * One message. QEMU's integers reach 2^64 - 1, which jansson does not take: one that does not fit
 * int64_t becomes a real number (such as the CPU property "memory" of "no limit"). ERROR_INVALID
 * otherwise; owned by the caller.
 */
json_t *qmp_parse(const char *message, size_t size, struct error **err);

#endif
