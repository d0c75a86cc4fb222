/* SPDX-License-Identifier: Apache-2.0 */
/* mudanza: the command line of this host's agent. */
#include "cli/invoke.h"

int main(int argc, char *argv[])
{
    return invoke_main(argc, argv);
}
