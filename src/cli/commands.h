/* SPDX-License-Identifier: Apache-2.0 */
/* Every command there is: each in the file of its name. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/command.h"

extern const struct command command_define, command_undefine, command_list, command_dumpxml;
extern const struct command command_start, command_shutdown, command_destroy, command_suspend;
extern const struct command command_resume, command_state, command_id;
extern const struct command command_host_add, command_host_list, command_host_remove;
extern const struct command command_migrate, command_job, command_job_resolve;
extern const struct command command_abort, command_demo;

#endif
