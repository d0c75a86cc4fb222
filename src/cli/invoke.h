/* SPDX-License-Identifier: Apache-2.0 */
/* A whole command line, from argv to the exit status. */
#ifndef CLI_INVOKE_H
#define CLI_INVOKE_H

/* Parses it, runs its command, prints an error if there is one. Returns an enum command_status. */
int invoke_main(int argc, char *const argv[]);

#endif
