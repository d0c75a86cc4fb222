/* SPDX-License-Identifier: Apache-2.0 */
/* Text that the user gives in a file or on standard input. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include "base/error.h"

/* The content of a file, or of standard input for "-": at most 4 MiB of UTF-8 text
 * without a NUL byte. Owned by the caller; NULL on error. */
char *input_read(const char *path, struct error **err);

#endif
