/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of the command line, described by tables, so that parsing, --help and completion cannot
 * disagree. Accepted are `--name`, `--name VALUE`, `--name=VALUE`, `-x`, `-x VALUE`; options and
 * operands in any order; `--` ends the options. Names are never abbreviated: a script written today
 * must not change its meaning when an option is added.
 */
#ifndef CLI_OPTION_H
#define CLI_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

/* No table is longer than this. */
#define OPTION_MAX 24

/* Checks a value and turns it into a number. Returns 0, or -1 with an error without a subject. */
typedef int option_check(const char *text, int64_t *number, struct error **err);

/* One option. A table of them ends with one whose name is NULL. */
struct option_spec {
    const char *name;    /* without the dashes */
    const char *value;   /* what the value is, as help shows it; NULL: the option takes none */
    option_check *check; /* NULL: any text, and option_value.number stays 0 */
    const char *help;    /* one line */
    char letter;         /* of the short form; 0: none */
    char group;          /* of the options of one group (not 0) only one may be given */
};

/* What was given for the option of the same index in the table. The last of several counts. */
struct option_value {
    bool given;
    const char *text; /* borrowed from argv; NULL for an option without a value */
    int64_t number;
};

/* A table and where its values go; `values` has OPTION_MAX elements, all zero at first. */
struct option_set {
    const struct option_spec *specs;
    struct option_value *values;
};

/* What stands on the command line besides options. */
struct option_operands {
    const char **items; /* borrowed from argv */
    size_t count, max;
};

/*
 * Parses argv[1..]. With `operands` NULL it stops at the first operand. Returns the index of the
 * first argument not looked at (argc when all were), or -1: ERROR_INVALID with a hint when an
 * option is near to what was written.
 */
int option_parse(int argc, char *const argv[], const struct option_set *sets, size_t n_sets,
                 struct option_operands *operands, struct error **err);

/* Appends one line for each option, as --help prints it. */
void option_help(const struct option_spec *specs, struct text *text);

/* Checks for tables. */
option_check option_check_rate;     /* MiB/s, or with a unit -> bytes a second */
option_check option_check_downtime; /* milliseconds, 1 to 2,000,000 as QEMU takes them */
option_check option_check_seconds;  /* 1 or more */
option_check option_check_compress; /* auto, none, lz4, zstd */
option_check option_check_memory;   /* MiB, or with a unit -> bytes */
option_check option_check_parallel; /* 1 to 16 */
option_check option_check_name;     /* not empty */

#endif
