/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured log: to the systemd journal with fields when the service runs under it, else one line
 * per record on stderr (`level vm=NAME: text`). Safe to call from any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <syslog.h>

/* Records above `priority` (LOG_ERR .. LOG_DEBUG) are dropped; the default is LOG_INFO. */
void log_set_level(int priority);

/* One record. `vm` names the VM it is about and may be NULL. `priority` is a syslog one. */
void log_record(int priority, const char *vm, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(vm, ...)   log_record(LOG_ERR, vm, __VA_ARGS__)
#define log_warning(vm, ...) log_record(LOG_WARNING, vm, __VA_ARGS__)
#define log_info(vm, ...)    log_record(LOG_INFO, vm, __VA_ARGS__)
#define log_debug(vm, ...)   log_record(LOG_DEBUG, vm, __VA_ARGS__)

#endif
