/* SPDX-License-Identifier: Apache-2.0 */
/* Whose RAM stands in for pages of a VM that arrives. */
#include "migrate/known_pages.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "qemu/memory_file.h"

/* Siblings have most in common with each of the others: more of them add little. */
#define SOURCES_MAX 4
/* An old index is of no use once most pages have travelled. */
#define BUILD_LIMIT_MS 5000

struct ram_source *known_pages_ram(struct vm *vm, struct error **err)
{
    /* The descriptor first: whatever is found under the number afterwards is this process, or the
     * descriptor says that it is gone. */
    CLEANUP_CLOSE int pidfd = process_open(&vm->process, err);
    if (pidfd < 0)
        return NULL;
    struct memory_map *map = memory_locate(vm->qmp, vm->process.pid, vm->live->memory, err);
    if (map && memory_skip_absent(map, err) == 0)
        return ram_source_process(map, STEAL_FD(pidfd));
    memory_free(map);
    return NULL;
}

int known_pages_file(struct vm *vm)
{
    CLEANUP_CLOSE int pidfd = vm->live ? process_open(&vm->process, NULL) : -1;
    return pidfd < 0 ? -1 : memory_file_find(vm->process.pid, pidfd, vm->live->memory, NULL, NULL);
}

/* --- siblings that run here --- */

struct candidate {
    struct vm *vm;
    int score;
};

/* How much two VMs of a group are likely to have in common. */
static int likeness(const struct domain *one, const struct domain *other)
{
    int score = 0;
    for (size_t i = 0; i < one->n_disks; i++)
        for (size_t j = 0; j < other->n_disks; j++)
            score +=
                4 * (one->disks[i].path && text_equal(one->disks[i].path, other->disks[j].path));
    score += 2 * (one->kernel && text_equal(one->kernel, other->kernel));
    score += 2 * (one->title && text_equal(one->title, other->title));
    score += text_equal(one->machine, other->machine) + (one->memory == other->memory);
    return score;
}

static int compare_candidates(const void *left, const void *right)
{
    return ((const struct candidate *)right)->score - ((const struct candidate *)left)->score;
}

/* -1: not of its group, not running, or itself. */
static int judge(struct vm *vm, const struct domain *arriving)
{
    LOCK_SCOPE(&vm->lock);
    if (!vm->live || vm->incoming || vm->claim || strcasecmp(vm->uuid, arriving->uuid) == 0 ||
        !vm->live->group || !text_equal(vm->live->group, arriving->group))
        return -1;
    return likeness(arriving, vm->live);
}

/* The RAM of a VM, unless it is busy: then it is not worth waiting for. */
static struct ram_source *try_vm(struct vm *vm)
{
    CLEANUP_ERROR struct error *err = NULL;
    if (pthread_mutex_trylock(&vm->operation) != 0)
        return NULL;
    struct ram_source *source =
        vm->live && !vm->claim && vm->qmp ? known_pages_ram(vm, &err) : NULL;
    pthread_mutex_unlock(&vm->operation);
    if (err)
        log_warning(vm->name, "its RAM cannot serve as a dictionary: %s", err->message);
    return source;
}

static size_t add_siblings(struct vm_host *vms, const struct domain *arriving,
                           struct ram_source **sources, size_t max)
{
    size_t count, n_candidates = 0, n = 0;
    CLEANUP_FREE struct vm **list = vm_list(vms, &count);
    CLEANUP_FREE struct candidate *candidates = calloc(count + 1, sizeof(*candidates));
    for (size_t i = 0; list && candidates && i < count; i++) {
        const int score = judge(list[i], arriving);
        if (score >= 0)
            candidates[n_candidates++] = (struct candidate){list[i], score};
    }
    if (n_candidates)
        qsort(candidates, n_candidates, sizeof(*candidates), compare_candidates);
    for (size_t i = 0; i < n_candidates && n < max; i++) {
        sources[n] = try_vm(candidates[i].vm);
        n += sources[n] != NULL;
    }
    for (size_t i = 0; list && i < count; i++)
        vm_put(list[i]);
    return n;
}

int known_pages_begin(struct vm_host *vms, struct keeper *keeper,
                      const struct known_pages_options *options, const struct domain *arriving,
                      const char *key_hex, struct dictionary **dictionary, struct error **err)
{
    struct page_hash_key key;
    struct ram_source *sources[SOURCES_MAX];
    *dictionary = NULL;
    if (text_unhex(key_hex, key.bytes, sizeof(key.bytes), err) < 0)
        return error_prefix(err, "dictionary_key");
    if (options->sharing == SHARING_OFF)
        return 0;
    const bool group = options->sharing == SHARING_GROUP && arriving->group;
    size_t n = keeper_sources(keeper, arriving, group, sources, SOURCES_MAX);
    if (group)
        n += add_siblings(vms, arriving, sources + n, SOURCES_MAX - n);
    if (n == 0)
        return 0;
    const struct dictionary_options limits = {.memory_limit = options->memory_limit,
                                              .time_limit_ms = BUILD_LIMIT_MS};
    *dictionary = dictionary_new(&limits, &key, sources, n, err);
    explicit_bzero(&key, sizeof(key));
    if (!*dictionary)
        return -1;
    log_debug(arriving->name, "RAM of %zu VMs here may spare it the way", n);
    return 0;
}
