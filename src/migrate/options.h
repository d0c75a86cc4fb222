/* SPDX-License-Identifier: Apache-2.0 */
/* What a move is asked to do. */
#ifndef MIGRATE_OPTIONS_H
#define MIGRATE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "stream/chooser.h"

enum migrate_mode { MIGRATE_AUTO, MIGRATE_LIVE, MIGRATE_NON_LIVE, MIGRATE_OFFLINE };

/* The highest downtime a live move may plan with when nobody says otherwise: what QEMU itself
 * allows by default. */
#define MIGRATE_DOWNTIME_DEFAULT_MS 300
#define MIGRATE_DOWNTIME_MAX_MS     INT64_C(2000000) /* QEMU's own bound */

/* What the stream engine may use at either end, bytes. The least is what it needs besides slots. */
#define MIGRATE_MEMORY_DEFAULT (INT64_C(768) << 20)
#define MIGRATE_MEMORY_MIN     (INT64_C(128) << 20)
#define MIGRATE_MEMORY_MAX     (INT64_C(64) << 30)

/* TCP connections of one stream. */
#define MIGRATE_CONNECTIONS_MAX 16

struct migrate_options {
    enum migrate_mode mode;
    bool persistent, undefine_source, auto_converge, post_copy, verify;
    char *new_name, *xml; /* owned; NULL when not given */
    int64_t bandwidth;    /* bytes per second; 0: no limit */
    int64_t downtime_ms;  /* the most to plan with */
    int64_t timeout_s;    /* 0: none */
    enum chooser_wish compress;
    int64_t stream_memory; /* bytes, at either end */
    int64_t connections;   /* of the stream; 0: as suits the source's CPUs */
    int64_t channels;      /* that QEMU writes it into; 0: as suits the CPUs and the rest */
};

/* From a MigrateOptions object; ERROR_INVALID names the option. Checks what contradicts itself. */
int migrate_options_parse(const json_t *object, struct migrate_options *options,
                          struct error **err);
void migrate_options_clear(struct migrate_options *options);

const char *migrate_mode_name(enum migrate_mode mode); /* "live", "non_live", "offline" */

#endif
