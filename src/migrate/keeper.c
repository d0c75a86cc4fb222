/* SPDX-License-Identifier: Apache-2.0 */
/* RAM of VMs that left this host, kept for a while for when they come back. */
#include "migrate/keeper.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/host_memory.h"

/* What must stay available besides, as a part of all memory. */
#define RESERVE_DIVISOR 16
/* Without pressure stall information. */
#define LOOK_MS 1000

struct kept {
    struct kept *next; /* the one that left after it */
    struct kept_ram *ram;
    char *name, *group;
    char uuid[UUID_TEXT_SIZE];
    int64_t left_ns; /* 0: still being copied */
};

struct keeper {
    struct keeper_options options;
    int wake_fd;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    struct kept *first;   /* the oldest */
    bool stopping;
};

/* --- the list; the caller holds the lock --- */

static void kept_free(struct kept *kept)
{
    kept_ram_drop(kept->ram);
    kept_ram_put(kept->ram);
    free(kept->name);
    free(kept->group);
    free(kept);
}

static struct kept *list_take(struct kept **at)
{
    struct kept *kept = *at;
    *at = kept->next;
    return kept;
}

static void drop(struct kept **at, const char *why)
{
    char size[TEXT_SIZE_MAX];
    struct kept *kept = list_take(at);
    log_info(kept->name, "its RAM is no longer kept (%s): %s",
             text_size(kept_ram_size(kept->ram), "", size), why);
    kept_free(kept);
}

static uint64_t total_size(const struct keeper *keeper)
{
    uint64_t sum = 0;
    for (const struct kept *kept = keeper->first; kept; kept = kept->next)
        sum += kept_ram_size(kept->ram);
    return sum;
}

static struct kept **find(struct keeper *keeper, const char *uuid)
{
    struct kept **at = &keeper->first;
    while (*at && strcasecmp((*at)->uuid, uuid) != 0)
        at = &(*at)->next;
    return at;
}

/* --- the thread: what goes by itself --- */

static bool memory_is_short(void)
{
    uint64_t available, total;
    return host_memory(&available, &total, NULL) == 0 && available < total / RESERVE_DIVISOR;
}

static void drop_all(struct keeper *keeper, const char *why)
{
    while (keeper->first)
        drop(&keeper->first, why);
}

/* Returns when the next one is due. */
static int64_t drop_expired(struct keeper *keeper)
{
    const int64_t keep_ns = keeper->options.keep_ms * NS_PER_MS, now_ns = clock_now_ns();
    int64_t next_ns = DEADLINE_NEVER;
    for (struct kept **at = &keeper->first; *at;) {
        if ((*at)->left_ns && (*at)->left_ns + keep_ns <= now_ns) {
            drop(at, "its time is over");
            continue;
        }
        if ((*at)->left_ns && (*at)->left_ns + keep_ns < next_ns)
            next_ns = (*at)->left_ns + keep_ns;
        at = &(*at)->next;
    }
    return next_ns;
}

/* Returns until when to sleep; -1 to end. */
static int64_t look(struct keeper *keeper, bool pressure)
{
    LOCK_SCOPE(&keeper->lock);
    if (keeper->stopping)
        return -1;
    const bool blind = keeper->options.pressure_fd < 0;
    if (keeper->first && (pressure || (blind && memory_is_short())))
        drop_all(keeper, "memory is short");
    const int64_t next_ns = drop_expired(keeper);
    const int64_t look_ns = clock_deadline_ns(LOOK_MS);
    return blind && keeper->first && look_ns < next_ns ? look_ns : next_ns;
}

static void *keeper_thread(void *argument)
{
    struct keeper *keeper = argument;
    struct pollfd polls[] = {{.fd = keeper->wake_fd, .events = POLLIN},
                             {.fd = keeper->options.pressure_fd, .events = POLLPRI}};
    int64_t until_ns = DEADLINE_NEVER;
    while (until_ns >= 0) {
        if (poll(polls, ARRAY_SIZE(polls), clock_poll_ms(until_ns)) < 0)
            continue;
        fd_event_clear(keeper->wake_fd);
        if (polls[1].revents & (POLLERR | POLLHUP | POLLNVAL)) { /* no events any more */
            close(keeper->options.pressure_fd);
            keeper->options.pressure_fd = polls[1].fd = -1;
        }
        until_ns = look(keeper, polls[1].revents & POLLPRI);
    }
    return NULL;
}

/* --- from outside --- */

struct keeper *keeper_new(const struct keeper_options *options, struct error **err)
{
    struct keeper *keeper = calloc(1, sizeof(*keeper));
    keeper->options = *options;
    keeper->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&keeper->lock, NULL);
    int failed = keeper->wake_fd < 0 ? errno : 0;
    if (!failed)
        failed = pthread_create(&keeper->thread, NULL, keeper_thread, keeper);
    if (!failed)
        return keeper;
    if (keeper->wake_fd >= 0)
        close(keeper->wake_fd);
    if (keeper->options.pressure_fd >= 0)
        close(keeper->options.pressure_fd);
    pthread_mutex_destroy(&keeper->lock);
    free(keeper);
    error_errno(err, failed, "keeper of RAM");
    return NULL;
}

void keeper_free(struct keeper *keeper)
{
    if (!keeper)
        return;
    pthread_mutex_lock(&keeper->lock);
    keeper->stopping = true;
    pthread_mutex_unlock(&keeper->lock);
    fd_event_signal(keeper->wake_fd);
    pthread_join(keeper->thread, NULL);
    while (keeper->first)
        kept_free(list_take(&keeper->first));
    close(keeper->wake_fd);
    if (keeper->options.pressure_fd >= 0)
        close(keeper->options.pressure_fd);
    pthread_mutex_destroy(&keeper->lock);
    free(keeper);
}

/* Makes room below the limit by dropping those that left long ago; false when there is not enough
 * of it, or of memory. fresh: how much of what is needed is not in memory yet. */
static bool may_keep(struct keeper *keeper, uint64_t needed, uint64_t fresh)
{
    uint64_t available, total;
    if (needed > keeper->options.limit || host_memory(&available, &total, NULL) < 0 ||
        available < total / RESERVE_DIVISOR + fresh)
        return false;
    while (keeper->first && total_size(keeper) + needed > keeper->options.limit)
        drop(&keeper->first, "another VM's is kept");
    return true;
}

/* The one that left last: that is the list's order. An older one of the VM goes. Takes `ram`. */
static struct kept *list_add(struct keeper *keeper, const struct domain *vm, struct kept_ram *ram)
{
    struct kept **old = find(keeper, vm->uuid);
    if (*old)
        drop(old, "it leaves again");
    struct kept *kept = calloc(1, sizeof(*kept));
    kept->ram = ram;
    kept->name = text_copy(vm->name);
    kept->group = text_copy(vm->group);
    snprintf(kept->uuid, sizeof(kept->uuid), "%s", vm->uuid);
    struct kept **last = &keeper->first;
    while (*last)
        last = &(*last)->next;
    return *last = kept;
}

struct kept_ram *keeper_begin(struct keeper *keeper, const struct domain *vm, uint64_t needed,
                              struct ram_source *ram)
{
    CLEANUP_ERROR struct error *err = NULL;
    LOCK_SCOPE(&keeper->lock);
    if (!may_keep(keeper, needed, needed)) {
        ram_source_free(ram);
        return NULL;
    }
    struct kept_ram *copy = kept_ram_begin(ram, needed, &err);
    if (!copy) {
        log_warning(vm->name, "its RAM is not kept: %s", err->message);
        return NULL;
    }
    list_add(keeper, vm, copy);
    fd_event_signal(keeper->wake_fd);
    return kept_ram_reference(copy);
}

static void log_kept(const struct kept *kept)
{
    char size[TEXT_SIZE_MAX];
    log_info(kept->name, "%s of its RAM are kept here",
             text_size(kept_ram_size(kept->ram), "", size));
}

void keeper_adopt(struct keeper *keeper, const struct domain *vm, int fd)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct kept_ram *ram = kept_ram_adopt(fd, &err);
    if (!ram) {
        log_warning(vm->name, "its RAM is not kept: %s", err->message);
        return;
    }
    pthread_mutex_lock(&keeper->lock);
    const bool keep = may_keep(keeper, kept_ram_size(ram), 0);
    if (keep) {
        struct kept *kept = list_add(keeper, vm, ram);
        kept->left_ns = clock_now_ns();
        log_kept(kept);
    }
    pthread_mutex_unlock(&keeper->lock);
    if (keep)
        fd_event_signal(keeper->wake_fd);
    else
        kept_ram_put(ram); /* gives the memory back, which takes its time */
}

static struct kept **find_ram(struct keeper *keeper, const struct kept_ram *ram)
{
    struct kept **at = &keeper->first;
    while (*at && (*at)->ram != ram)
        at = &(*at)->next;
    return at;
}

void keeper_finish(struct keeper *keeper, struct kept_ram *ram, int64_t deadline_ns)
{
    kept_ram_finish(ram, deadline_ns);
    pthread_mutex_lock(&keeper->lock);
    struct kept *kept = *find_ram(keeper, ram); /* NULL: dropped meanwhile */
    if (kept) {
        kept->left_ns = clock_now_ns();
        log_kept(kept);
    }
    pthread_mutex_unlock(&keeper->lock);
    fd_event_signal(keeper->wake_fd);
    kept_ram_put(ram);
}

void keeper_cancel(struct keeper *keeper, struct kept_ram *ram)
{
    if (!ram)
        return;
    pthread_mutex_lock(&keeper->lock);
    struct kept **at = find_ram(keeper, ram);
    if (*at)
        kept_free(list_take(at));
    pthread_mutex_unlock(&keeper->lock);
    kept_ram_put(ram);
}

size_t keeper_sources(struct keeper *keeper, const struct domain *vm, bool group,
                      struct ram_source **sources, size_t max)
{
    LOCK_SCOPE(&keeper->lock);
    size_t n = 0;
    for (int own = 1; own >= 0; own--)
        for (const struct kept *kept = keeper->first; kept && n < max; kept = kept->next) {
            const bool same = strcasecmp(kept->uuid, vm->uuid) == 0;
            const bool sibling = group && vm->group && text_equal(kept->group, vm->group);
            if (!kept->left_ns || same != (own == 1) || !(same || sibling))
                continue;
            sources[n] = kept_ram_source(kept->ram);
            n += sources[n] != NULL;
        }
    return n;
}

void keeper_forget(struct keeper *keeper, const char *uuid)
{
    LOCK_SCOPE(&keeper->lock);
    struct kept **at = find(keeper, uuid);
    if (*at)
        drop(at, "the VM is here");
}

void keeper_make_room(struct keeper *keeper, uint64_t bytes, const char *uuid)
{
    LOCK_SCOPE(&keeper->lock);
    for (;;) {
        uint64_t available, total;
        if (!keeper->first || host_memory(&available, &total, NULL) < 0 || available >= bytes)
            return;
        struct kept **at = &keeper->first;
        if (uuid && strcasecmp((*at)->uuid, uuid) == 0 && (*at)->next)
            at = &(*at)->next;
        drop(at, "a VM needs the memory");
    }
}

uint64_t keeper_size(struct keeper *keeper)
{
    LOCK_SCOPE(&keeper->lock);
    return total_size(keeper);
}

json_t *keeper_describe(struct keeper *keeper)
{
    json_t *array = json_array();
    const int64_t now_ns = clock_now_ns();
    LOCK_SCOPE(&keeper->lock);
    for (const struct kept *kept = keeper->first; kept; kept = kept->next)
        if (kept->left_ns)
            json_array_append_new(
                array, json_pack("{s:s, s:s, s:I, s:I}", "vm", kept->name, "uuid", kept->uuid,
                                 "bytes", (json_int_t)kept_ram_size(kept->ram), "age_ms",
                                 (json_int_t)((now_ns - kept->left_ns) / NS_PER_MS)));
    return array;
}
