/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose RAM stands in for pages of a VM that arrives: the choice behind the dictionary
 * (stream/dictionary.h), and who may share with whom.
 */
#ifndef MIGRATE_KNOWN_PAGES_H
#define MIGRATE_KNOWN_PAGES_H

#include "migrate/keeper.h"
#include "stream/dictionary.h"
#include "vm/vm.h"

/* Setting `dedup`. Sharing lets one VM find out, by the time that its move takes, whether another
 * one holds certain pages: so it ends at the group. */
enum sharing {
    SHARING_OFF,     /* every page travels */
    SHARING_SAME_VM, /* a VM that comes back */
    SHARING_GROUP,   /* and those of its group, if it has one */
};

struct known_pages_options {
    enum sharing sharing;
    size_t memory_limit; /* of one dictionary, bytes */
};

/*
 * Begins to index what this host has of `arriving`: RAM that was kept of it, then that of its
 * group, kept or running. key: PAGE_HASH_KEY_SIZE bytes in hex, as in Prepare. *dictionary is NULL
 * when there is nothing to look into. ERROR_INVALID for a bad key; what cannot be read is left out.
 */
int known_pages_begin(struct vm_host *vms, struct keeper *keeper,
                      const struct known_pages_options *options, const struct domain *arriving,
                      const char *key, struct dictionary **dictionary, struct error **err);

/* The RAM of a running VM, for the one who holds its operation lock or its claim. NULL when it
 * cannot be found. */
struct ram_source *known_pages_ram(struct vm *vm, struct error **err);
/* The file that its RAM is in, the caller's, where it is shared memory (qemu/memory_file.h); -1.
 * For the same. */
int known_pages_file(struct vm *vm);

#endif
