/* SPDX-License-Identifier: Apache-2.0 */
/* Waits for a guest that was asked to shut down, as the commands shutdown and demo do it. */
#ifndef CLI_SHUTDOWN_H
#define CLI_SHUTDOWN_H

#include <stdint.h>

#include "varlink/varlink.h"

/* Returns 0 once the VM is shut off or, a transient one, gone; -1 with ERROR_TIMEOUT after so many
 * seconds, with ERROR_CANCELLED when `cancel_fd` (-1: none) becomes readable. */
int shutdown_wait(struct varlink_connection *agent, const char *vm, int64_t seconds, int cancel_fd,
                  struct error **err);

#endif
