/* SPDX-License-Identifier: Apache-2.0 */
/* From argv to an exit status: options, the command, its operands, errors. */
#include "cli/invoke.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/connect.h"

#ifndef MUDANZA_VERSION
#error "the build says the version"
#endif

/* Options that were given before or after the command's name. */
struct common {
    struct option_value values[OPTION_MAX];
};

static int print_help(const struct command *command, const char *group)
{
    CLEANUP_TEXT struct text text = {0};
    if (command)
        command_help_one(command, &text);
    else
        command_help_all(group, &text);
    fputs(text.data, stdout);
    return COMMAND_DONE;
}

static int print_version(const struct common *common)
{
    if (!common->values[COMMAND_JSON].given) {
        puts("mudanza " MUDANZA_VERSION);
        return COMMAND_DONE;
    }
    CLEANUP_JSON json_t *object = json_pack("{s:s}", "version", MUDANZA_VERSION);
    output_json(object);
    return COMMAND_DONE;
}

/* Operands and options of one command into *invocation. Returns 0 or -1 for a usage error. */
static int parse_command(const struct command *command, int argc, char *const argv[],
                         struct common *common, struct invocation *invocation, struct error **err)
{
    size_t least, most;
    command_operand_counts(command, &least, &most);
    struct option_operands operands = {.items = invocation->operands, .max = most};
    const struct option_set sets[] = {{command->options, invocation->options},
                                      {command_common, common->values}};
    invocation->command = command;
    if (option_parse(argc, argv, sets, ARRAY_SIZE(sets), &operands, err) < 0)
        return -1;
    if (operands.count >= least || common->values[COMMAND_HELP].given)
        return 0;
    error_set(err, ERROR_INVALID, "too few arguments");
    return error_hint(err, "usage: mudanza %s [OPTION]... %s", command->name, command->operands);
}

static int run_command(const struct command *command, struct invocation *invocation,
                       const struct common *common, struct error **err)
{
    if (common->values[COMMAND_HELP].given)
        return print_help(command, NULL);
    if (common->values[COMMAND_VERSION].given)
        return print_version(common);
    CLEANUP_FREE char *socket = connect_socket(common->values[COMMAND_CONNECT].text);
    invocation->socket = socket;
    invocation->output = common->values[COMMAND_JSON].given ? OUTPUT_JSON : OUTPUT_TEXT;
    return command->run(invocation, err);
}

/* The rest of the command line from the command's name on. */
static int run_from(int argc, char *const argv[], struct common *common, struct error **err)
{
    if (command_is_group(argv[0]) &&
        (common->values[COMMAND_HELP].given || (argc > 1 && strcmp(argv[1], "--help") == 0) ||
         (argc > 1 && strcmp(argv[1], "-h") == 0)))
        return print_help(NULL, argv[0]);
    int words = 0;
    const struct command *command = command_find(argc, argv, &words, err);
    if (!command)
        return COMMAND_USAGE;
    struct invocation invocation = {0};
    if (parse_command(command, argc - words + 1, argv + words - 1, common, &invocation, err) < 0) {
        error_prefix(err, "%s", command->name);
        if (*err && !(*err)->hint)
            error_hint(err, "mudanza %s --help", command->name);
        return COMMAND_USAGE;
    }
    return run_command(command, &invocation, common, err);
}

static int run_line(int argc, char *const argv[], struct common *common, struct error **err)
{
    const struct option_set global = {command_common, common->values};
    int first = option_parse(argc, argv, &global, 1, NULL, err);
    if (first < 0)
        return COMMAND_USAGE;
    if (first < argc)
        return run_from(argc - first, argv + first, common, err);
    if (common->values[COMMAND_VERSION].given)
        return print_version(common);
    if (common->values[COMMAND_HELP].given)
        return print_help(NULL, NULL);
    error_set(err, ERROR_INVALID, "a command is missing");
    error_hint(err, "mudanza --help lists all commands");
    return COMMAND_USAGE;
}

/* After a usage error `common` may be incomplete: was --json meant anywhere? */
static bool wants_json(int argc, char *const argv[])
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

int invoke_main(int argc, char *const argv[])
{
    struct common common = {0};
    CLEANUP_ERROR struct error *err = NULL;
    int status = run_line(argc, argv, &common, &err);
    if (status < 0)
        status = COMMAND_FAILED;
    if (err)
        output_error(wants_json(argc, argv) ? OUTPUT_JSON : OUTPUT_TEXT, err);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "mudanza: standard output: %s\n", strerror(errno));
        status = status == COMMAND_DONE ? COMMAND_FAILED : status;
    }
    return status;
}
