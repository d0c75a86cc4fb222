/* SPDX-License-Identifier: Apache-2.0 */
/* Structured log: the systemd journal, or lines on stderr. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "base/cleanup.h"

static atomic_int log_level = LOG_INFO;

static const char *const level_names[] = {"emerg",   "alert",  "crit", "error",
                                          "warning", "notice", "info", "debug"};

void log_set_level(int priority)
{
    log_level = priority;
}

void log_record(int priority, const char *vm, const char *format, ...)
{
    if (priority > log_level)
        return;
    va_list args;
    va_start(args, format);
    CLEANUP_FREE char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        return;
    if (getenv("JOURNAL_STREAM")) {
        if (vm)
            sd_journal_send("MESSAGE=%s: %s", vm, text, "PRIORITY=%i", priority, "MUDANZA_VM=%s",
                            vm, NULL);
        else
            sd_journal_send("MESSAGE=%s", text, "PRIORITY=%i", priority, NULL);
        return;
    }
    if (vm)
        fprintf(stderr, "%s vm=%s: %s\n", level_names[priority & 7], vm, text);
    else
        fprintf(stderr, "%s: %s\n", level_names[priority & 7], text);
}
