/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands: what the table says about each, and what its function gets.
 *
 * A command is a file that defines one `struct command`, a name in commands.h, a line in
 * command.c's table, and a man page docs/man/mudanza-NAME.1 (one for all that share their first
 * word) with a line in mudanza.1. Usage, --help and shell completion follow from the table.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/option.h"
#include "cli/output.h"

#define COMMAND_OPERANDS_MAX 4

/* The exit status of the program. */
enum command_status {
    COMMAND_DONE = 0,    /* what was asked for is so */
    COMMAND_FAILED = 1,  /* it is not */
    COMMAND_USAGE = 2,   /* the command line makes no sense */
    COMMAND_UNKNOWN = 3, /* a move whose end is not known: in doubt, or nobody waited for it */
};

struct command;

/* One command line, parsed. */
struct invocation {
    const struct command *command;
    const char *operands[COMMAND_OPERANDS_MAX]; /* NULL where none was given */
    struct option_value options[OPTION_MAX];    /* by index in command->options */
    const char *socket;                         /* of the agent */
    enum output output;
};

/*
 * Does it and prints its result. Returns an exit status (COMMAND_FAILED may be -1, so that
 * `return error_set(...)` works); an error left in *err is printed by the caller.
 */
typedef int command_run(const struct invocation *invocation, struct error **err);

struct command {
    const char *name;                  /* "start", "host add" */
    const char *operands;              /* "VM HOST"; one in [brackets] may be left out */
    const char *summary;               /* one line, no full stop */
    const char *details;               /* more for --help, lines ended; NULL */
    const struct option_spec *options; /* NULL: only those of every command */
    command_run *run;
};

/* The table, ended by NULL. */
extern const struct command *const command_table[];

/* The options of every command, and their places in an array of values. */
extern const struct option_spec command_common[];
enum command_common_option {
    COMMAND_CONNECT,
    COMMAND_JSON,
    COMMAND_HELP,
    COMMAND_VERSION,
};

/*
 * The command that argv[0] (and argv[1], for `host add`) names, and in *words how many of them. A
 * command of two words goes before one of its first word alone: after `job`, an operand "resolve"
 * needs `--` before it.
 * NULL with an error and, where one is near, a hint.
 */
const struct command *command_find(int argc, char *const argv[], int *words, struct error **err);

/* True when the word is the first of commands of two words, and no command itself. */
bool command_is_group(const char *word);

/* How many operands a command needs, and may have at most. */
void command_operand_counts(const struct command *command, size_t *least, size_t *most);

/* What --help prints: for the program (`group` NULL), for a group like "host", for a command. */
void command_help_all(const char *group, struct text *text);
void command_help_one(const struct command *command, struct text *text);

#endif
