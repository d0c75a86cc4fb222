/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel modules from the initramfs. */
#ifndef MODULES_H
#define MODULES_H

/* Loads `name` and what it needs: the files /modules/NAME.list names, in its order. Those that are
 * loaded already count as loaded. Returns 0, or -1 with errno. */
int modules_load(const char *name);

#endif
