/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands, how one is found, and --help. */
#include "cli/command.h"

#include <string.h>

#include "cli/commands.h"
#include "cli/suggest.h"

/* In the order of --help. */
const struct command *const command_table[] = {
    &command_define,      &command_undefine,    &command_list,    &command_dumpxml,
    &command_start,       &command_shutdown,    &command_destroy, &command_suspend,
    &command_resume,      &command_state,       &command_id,      &command_host_add,
    &command_host_list,   &command_host_remove, &command_migrate, &command_job,
    &command_job_resolve, &command_abort,       &command_demo,    NULL,
};

const struct option_spec command_common[] = {
    [COMMAND_CONNECT] = {"connect", "PATH", option_check_name, "the agent's socket", 'c'},
    [COMMAND_JSON] = {"json", NULL, NULL, "print the result as one JSON object"},
    [COMMAND_HELP] = {"help", NULL, NULL, "print this help", 'h'},
    [COMMAND_VERSION] = {"version", NULL, NULL, "print the version", 'V'},
    {NULL},
};

static bool names(const struct command *command, const char *first, const char *second)
{
    size_t length = strlen(first);
    if (!second)
        return strcmp(command->name, first) == 0;
    return strncmp(command->name, first, length) == 0 && command->name[length] == ' ' &&
           strcmp(command->name + length + 1, second) == 0;
}

bool command_is_group(const char *word)
{
    size_t length = strlen(word);
    bool group = false;
    for (size_t i = 0; command_table[i]; i++) {
        if (strcmp(command_table[i]->name, word) == 0)
            return false;
        group |= strncmp(command_table[i]->name, word, length) == 0 &&
                 command_table[i]->name[length] == ' ';
    }
    return group;
}

/* Sets the error for a command that does not exist, with the nearest one as its hint. */
static void unknown(const char *first, const char *second, struct error **err)
{
    CLEANUP_FREE char *whole =
        second ? text_format("%s %s", first, second) : text_format("%s", first);
    struct suggest suggest;
    suggest_start(&suggest, whole, strlen(whole));
    for (size_t i = 0; command_table[i]; i++) {
        const char *name = command_table[i]->name;
        suggest_offer(&suggest, name, second ? strlen(name) : strcspn(name, " "));
    }
    error_set(err, ERROR_INVALID, "unknown command '%s'", whole);
    if (suggest.best)
        error_hint(err, "did you mean '%.*s'?", (int)suggest.best_length, suggest.best);
    else
        error_hint(err, "mudanza --help lists all commands");
}

const struct command *command_find(int argc, char *const argv[], int *words, struct error **err)
{
    const char *first = argv[0];
    for (size_t i = 0; command_table[i] && argc > 1; i++)
        if (names(command_table[i], first, argv[1])) {
            *words = 2;
            return command_table[i];
        }
    bool group = command_is_group(first);
    const char *second = group && argc > 1 ? argv[1] : NULL;
    *words = group ? 2 : 1;
    if (group && !second) {
        error_set(err, ERROR_INVALID, "'%s' needs a second word", first);
        error_hint(err, "mudanza %s --help lists them", first);
        return NULL;
    }
    for (size_t i = 0; command_table[i]; i++)
        if (names(command_table[i], first, second))
            return command_table[i];
    unknown(first, second, err);
    return NULL;
}

void command_operand_counts(const struct command *command, size_t *least, size_t *most)
{
    *least = *most = 0;
    for (const char *at = command->operands; *at; at += strcspn(at, " "), at += *at == ' ') {
        (*most)++;
        *least += *at != '[';
    }
}

void command_help_all(const char *group, struct text *text)
{
    size_t length = group ? strlen(group) : 0;
    text_append(text, "Usage: mudanza %s%s\n\nCommands:\n", group ? group : "[OPTION]... COMMAND",
                group ? " COMMAND [ARGUMENT]..." : " [ARGUMENT]...");
    for (size_t i = 0; command_table[i]; i++)
        if (!group || (strncmp(command_table[i]->name, group, length) == 0 &&
                       command_table[i]->name[length] == ' '))
            text_append(text, "  %-12s  %s\n", command_table[i]->name, command_table[i]->summary);
    text_append(text, "\nOptions:\n");
    option_help(command_common, text);
    text_append(text, "\nMore: mudanza COMMAND --help, man mudanza, man mudanza-COMMAND\n");
}

void command_help_one(const struct command *command, struct text *text)
{
    text_append(text, "Usage: mudanza %s [OPTION]...%s%s\n\n", command->name,
                *command->operands ? " " : "", command->operands);
    text_append(text, "%s.\n", command->summary);
    if (command->details)
        text_append(text, "%s", command->details);
    text_append(text, "\nOptions:\n");
    option_help(command->options, text);
    option_help(command_common, text);
}
