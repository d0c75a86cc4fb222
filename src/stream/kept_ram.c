/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's RAM, kept as a dictionary.
 *
 * Why not the stopped QEMU process: docs/dictionary.md. Why a memfd that is written and read rather
 * than mapped: its memory can be given back while others still read, who then find nothing, and it
 * does not count as memory that the agent works with. A copy is given back by cutting the file off;
 * QEMU's file is sealed against that, so that a hole is made of it.
 */
#include "stream/kept_ram.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "qemu/memory_file.h"
#include "stream/page_hash.h"

#define CHUNK_SIZE ((size_t)RAM_SOURCE_CHUNK_PAGES * PAGE_SIZE_BYTES)
#define STAT_BLOCK 512 /* bytes of a block of st_blocks */

struct kept_ram {
    int fd;
    uint64_t adopted; /* bytes of the file, if it was the guest's; what follows is a copy's */
    struct ram_source *from; /* NULL: adopted */
    uint64_t pages_max;
    _Atomic uint64_t next_chunk;
    _Atomic uint64_t pages; /* room taken in the file */
    atomic_bool stop;
    pthread_t thread;
    pthread_mutex_t lock; /* dropping and writing, so that nothing is written afterwards */
    bool dropped;
    atomic_uint references;
};

/* --- copying --- */

/* Moves the pages worth keeping to the front of the buffer. Returns how many. */
static size_t pack(uint8_t *buffer, const bool present[RAM_SOURCE_CHUNK_PAGES])
{
    size_t kept = 0;
    for (size_t page = 0; page < RAM_SOURCE_CHUNK_PAGES; page++) {
        const uint8_t *from = buffer + page * PAGE_SIZE_BYTES;
        if (!present[page] || page_is_zero(from))
            continue;
        if (page != kept)
            memcpy(buffer + kept * PAGE_SIZE_BYTES, from, PAGE_SIZE_BYTES);
        kept++;
    }
    return kept;
}

/* False when nothing more can be kept. */
static bool append(struct kept_ram *kept, const uint8_t *buffer, size_t pages)
{
    LOCK_SCOPE(&kept->lock);
    const uint64_t at = kept->pages;
    if (kept->dropped || at + pages > kept->pages_max)
        return false;
    const size_t size = pages * PAGE_SIZE_BYTES;
    for (size_t done = 0; done < size;) {
        ssize_t put =
            pwrite(kept->fd, buffer + done, size - done, (off_t)(at * PAGE_SIZE_BYTES + done));
        if (put < 0 && errno != EINTR)
            return false;
        done += put > 0 ? (size_t)put : 0;
    }
    kept->pages = at + pages;
    return true;
}

static void copy_chunks(struct kept_ram *kept, int64_t deadline_ns)
{
    bool present[RAM_SOURCE_CHUNK_PAGES];
    CLEANUP_FREE uint8_t *buffer = aligned_alloc(PAGE_SIZE_BYTES, CHUNK_SIZE);
    while (buffer && !atomic_load(&kept->stop) && clock_now_ns() < deadline_ns) {
        const uint64_t chunk = atomic_fetch_add(&kept->next_chunk, 1);
        if (chunk * RAM_SOURCE_CHUNK_PAGES >= kept->from->pages)
            return;
        if (kept->from->ops->read_chunk(kept->from->context, chunk, buffer, present) < 0 ||
            !append(kept, buffer, pack(buffer, present)))
            atomic_store(&kept->stop, true);
    }
}

static void *copy_thread(void *argument)
{
    copy_chunks(argument, DEADLINE_NEVER);
    return NULL;
}

/* The guest, and whoever moves it, come first: only what no other thread wants of a processor is
 * the copying thread's, until its end is waited for. The way back needs RLIMIT_NICE. */
static void set_policy(const struct kept_ram *kept, int policy)
{
    const struct sched_param none = {0};
    int failed = pthread_setschedparam(kept->thread, policy, &none);
    if (failed && failed != ESRCH) /* else it has ended */
        log_debug(NULL, "priority of the thread that keeps RAM: %s", strerror(failed));
}

static int start(struct kept_ram *kept, struct error **err)
{
    kept->fd = memfd_create("mudanza-kept-ram", MFD_CLOEXEC);
    if (kept->fd < 0)
        return error_errno(err, errno, "memfd");
    int failed = pthread_create(&kept->thread, NULL, copy_thread, kept);
    if (!failed) {
        set_policy(kept, SCHED_IDLE);
        return 0;
    }
    close(kept->fd);
    return error_errno(err, failed, "thread");
}

static struct kept_ram *make(struct error **err)
{
    struct kept_ram *kept = calloc(1, sizeof(*kept));
    if (!kept) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&kept->lock, NULL);
    atomic_init(&kept->references, 1);
    return kept;
}

struct kept_ram *kept_ram_begin(struct ram_source *from, uint64_t limit, struct error **err)
{
    struct kept_ram *kept = make(err);
    if (!kept) {
        ram_source_free(from);
        return NULL;
    }
    kept->from = from;
    kept->pages_max = limit / PAGE_SIZE_BYTES;
    if (start(kept, err) == 0)
        return kept;
    pthread_mutex_destroy(&kept->lock);
    ram_source_free(from);
    free(kept);
    return NULL;
}

void kept_ram_finish(struct kept_ram *kept, int64_t deadline_ns)
{
    set_policy(kept, SCHED_OTHER);
    copy_chunks(kept, deadline_ns);
    atomic_store(&kept->stop, true);
}

struct kept_ram *kept_ram_adopt(int fd, struct error **err)
{
    CLEANUP_CLOSE int own = fd;
    struct stat about;
    if (fstat(own, &about) < 0) {
        error_errno(err, errno, "fstat");
        return NULL;
    }
    struct kept_ram *kept = make(err);
    if (!kept)
        return NULL;
    kept->fd = STEAL_FD(own);
    kept->adopted = (uint64_t)about.st_size;
    return kept;
}

/* --- what is kept --- */

struct kept_ram *kept_ram_reference(struct kept_ram *kept)
{
    atomic_fetch_add(&kept->references, 1);
    return kept;
}

void kept_ram_put(struct kept_ram *kept)
{
    if (!kept || atomic_fetch_sub(&kept->references, 1) > 1)
        return;
    atomic_store(&kept->stop, true);
    if (kept->from) {
        set_policy(kept, SCHED_OTHER);
        pthread_join(kept->thread, NULL);
    }
    close(kept->fd);
    ram_source_free(kept->from);
    pthread_mutex_destroy(&kept->lock);
    free(kept);
}

uint64_t kept_ram_size(const struct kept_ram *kept)
{
    struct stat about;
    if (!kept->adopted)
        return atomic_load(&kept->pages) * PAGE_SIZE_BYTES;
    return fstat(kept->fd, &about) == 0 ? (uint64_t)about.st_blocks * STAT_BLOCK : 0;
}

void kept_ram_drop(struct kept_ram *kept)
{
    atomic_store(&kept->stop, true);
    LOCK_SCOPE(&kept->lock);
    kept->dropped = true;
    while ((kept->adopted ? fallocate(kept->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                      (off_t)kept->adopted)
                          : ftruncate(kept->fd, 0)) < 0 &&
           errno == EINTR)
        ;
}

static bool read_at(const struct kept_ram *kept, uint64_t page, uint8_t *to, size_t pages)
{
    const size_t size = pages * PAGE_SIZE_BYTES;
    return pread(kept->fd, to, size, (off_t)(page * PAGE_SIZE_BYTES)) == (ssize_t)size;
}

static int kept_read_chunk(void *context, size_t chunk, uint8_t *buffer,
                           bool present[RAM_SOURCE_CHUNK_PAGES])
{
    const struct kept_ram *kept = context;
    const uint64_t first = (uint64_t)chunk * RAM_SOURCE_CHUNK_PAGES, left = kept->pages - first;
    const size_t pages = left < RAM_SOURCE_CHUNK_PAGES ? (size_t)left : RAM_SOURCE_CHUNK_PAGES;
    for (size_t page = 0; page < RAM_SOURCE_CHUNK_PAGES; page++)
        present[page] = page < pages;
    return read_at(kept, first, buffer, pages) ? 0 : -1;
}

static bool kept_read_pages(void *context, const uint32_t *pages, size_t n, uint8_t *const *to)
{
    const struct kept_ram *kept = context;
    for (size_t i = 0; i < n; i++)
        if (!read_at(kept, pages[i], to[i], 1))
            return false;
    return true;
}

static int adopted_read_chunk(void *context, size_t chunk, uint8_t *buffer,
                              bool present[RAM_SOURCE_CHUNK_PAGES])
{
    const struct kept_ram *kept = context;
    size_t pages;
    if (memory_file_read_chunk(kept->fd, kept->adopted, chunk, buffer, present, &pages, NULL) < 0)
        return -1;
    for (; pages < RAM_SOURCE_CHUNK_PAGES; pages++)
        present[pages] = false;
    return 0;
}

static bool adopted_read_pages(void *context, const uint32_t *pages, size_t n, uint8_t *const *to)
{
    const struct kept_ram *kept = context;
    return memory_file_read_pages(kept->fd, kept->adopted, pages, n, to);
}

static void kept_release(void *context)
{
    kept_ram_put(context);
}

struct ram_source *kept_ram_source(struct kept_ram *kept)
{
    static const struct ram_source_ops copied = {.read_chunk = kept_read_chunk,
                                                 .read_pages = kept_read_pages,
                                                 .release = kept_release},
                                       adopted = {.read_chunk = adopted_read_chunk,
                                                  .read_pages = adopted_read_pages,
                                                  .release = kept_release};
    struct ram_source *source = malloc(sizeof(*source));
    if (!source)
        return NULL;
    *source =
        (struct ram_source){.ops = kept->adopted ? &adopted : &copied,
                            .context = kept_ram_reference(kept),
                            .pages = kept->adopted ? kept->adopted / PAGE_SIZE_BYTES : kept->pages};
    return source;
}
