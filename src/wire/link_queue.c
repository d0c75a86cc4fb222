/* SPDX-License-Identifier: Apache-2.0 */
/* The bookkeeping of a link: which blocks are where. */
#include "wire/link_queue.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static size_t cost(uint32_t size)
{
    return (size_t)size + QUEUE_OVERHEAD;
}

static struct outbox_entry *entry_at(const struct outbox *outbox, uint64_t number)
{
    return &outbox->ring[number % FRAME_WINDOW];
}

int outbox_init(struct outbox *outbox, struct error **err)
{
    memset(outbox, 0, sizeof(*outbox));
    outbox->window = QUEUE_WINDOW_MIN;
    outbox->ring = calloc(FRAME_WINDOW, sizeof(*outbox->ring));
    return outbox->ring ? 0 : error_set(err, ERROR_SYSTEM, "out of memory");
}

void outbox_clear(struct outbox *outbox)
{
    for (; outbox->acked < outbox->next; outbox->acked++)
        free(entry_at(outbox, outbox->acked)->block);
    free(STEAL(outbox->ring));
}

bool outbox_full(const struct outbox *outbox)
{
    return outbox->next - outbox->acked == FRAME_WINDOW;
}

size_t outbox_bytes(const struct outbox *outbox)
{
    return (size_t)(outbox->next_end - outbox->acked_end);
}

void outbox_push(struct outbox *outbox, struct block *block)
{
    outbox->next_end += cost(block->size);
    outbox->unsent += cost(block->size);
    *entry_at(outbox, outbox->next++) =
        (struct outbox_entry){.block = block, .end = outbox->next_end};
}

struct outbox_entry *outbox_take(struct outbox *outbox, uint32_t slot, uint32_t generation,
                                 uint64_t *number)
{
    while (outbox->scan < outbox->next && entry_at(outbox, outbox->scan)->state != OUTBOX_QUEUED)
        outbox->scan++;
    if (outbox->scan == outbox->next)
        return NULL;
    struct outbox_entry *entry = entry_at(outbox, outbox->scan);
    if (entry->end - outbox->acked_end > outbox->window)
        return NULL;
    *number = outbox->scan++;
    entry->state = OUTBOX_SENDING;
    entry->slot = slot;
    entry->generation = generation;
    outbox->unsent -= cost(entry->block->size);
    outbox->resent += entry->again;
    return entry;
}

void outbox_sent(struct outbox *outbox, struct block *block, uint64_t number)
{
    if (number < outbox->acked)
        free(block);
    else
        entry_at(outbox, number)->state = OUTBOX_SENT;
}

int outbox_ack(struct outbox *outbox, uint64_t number, struct error **err)
{
    if (number > outbox->next)
        return error_set(err, ERROR_CORRUPT,
                         "block %" PRIu64 " is acknowledged, but only %" PRIu64 " were sent",
                         number - 1, outbox->next);
    for (; outbox->acked < number; outbox->acked++) {
        struct outbox_entry *entry = entry_at(outbox, outbox->acked);
        if (entry->state == OUTBOX_QUEUED)
            return error_set(err, ERROR_CORRUPT,
                             "block %" PRIu64 " is acknowledged before it was sent", outbox->acked);
        outbox->acked_end = entry->end;
        if (entry->state != OUTBOX_SENDING)
            free(entry->block);
        entry->block = NULL;
    }
    if (outbox->scan < outbox->acked)
        outbox->scan = outbox->acked;
    return 0;
}

static bool on_connection(const struct outbox_entry *entry, uint32_t slot, uint32_t generation)
{
    return entry->state == OUTBOX_SENT && entry->slot == slot && entry->generation <= generation;
}

int outbox_settle(struct outbox *outbox, uint32_t slot, uint32_t generation,
                  const struct frame_have *have, struct error **err)
{
    if (have->next > outbox->next)
        return error_set(err, ERROR_CORRUPT,
                         "block %" PRIu64 " is there, but only %" PRIu64 " were sent",
                         have->next - 1, outbox->next);
    for (uint64_t number = outbox->acked; number < outbox->next; number++) {
        struct outbox_entry *entry = entry_at(outbox, number);
        if (!on_connection(entry, slot, generation))
            continue;
        if (frame_has(have, number)) {
            entry->state = OUTBOX_THERE;
            continue;
        }
        entry->state = OUTBOX_QUEUED;
        entry->again = true;
        outbox->unsent += cost(entry->block->size);
        if (number < outbox->scan)
            outbox->scan = number;
    }
    return 0;
}

bool outbox_uses(const struct outbox *outbox, uint32_t slot, uint32_t generation)
{
    for (uint64_t number = outbox->acked; number < outbox->next; number++)
        if (on_connection(entry_at(outbox, number), slot, generation))
            return true;
    return false;
}

int inbox_init(struct inbox *inbox, size_t window, struct error **err)
{
    memset(inbox, 0, sizeof(*inbox));
    inbox->window = window;
    inbox->ring = calloc(FRAME_WINDOW, sizeof(struct block *));
    return inbox->ring ? 0 : error_set(err, ERROR_SYSTEM, "out of memory");
}

void inbox_clear(struct inbox *inbox)
{
    for (size_t i = 0; inbox->ring && i < FRAME_WINDOW; i++)
        free(inbox->ring[i]);
    free(STEAL(inbox->ring));
}

int inbox_reserve(struct inbox *inbox, uint64_t number, uint32_t size, struct error **err)
{
    if (number >= inbox->taken + FRAME_WINDOW)
        return error_set(err, ERROR_CORRUPT, "block %" PRIu64 " comes while %" PRIu64 " is due",
                         number, inbox->taken);
    if (cost(size) > inbox->window - inbox->bytes)
        return error_set(err, ERROR_CORRUPT, "block %" PRIu64 " is more than the window of %zu",
                         number, inbox->window);
    inbox->bytes += cost(size);
    return 0;
}

void inbox_release(struct inbox *inbox, uint32_t size)
{
    inbox->bytes -= cost(size);
}

void inbox_put(struct inbox *inbox, uint64_t number, struct block *block)
{
    struct block **place = &inbox->ring[number % FRAME_WINDOW];
    if (number < inbox->taken || *place) {
        inbox->repeated++;
        inbox->bytes -= cost(block->size);
        free(block);
        return;
    }
    *place = block;
    if (inbox->top <= number)
        inbox->top = number + 1;
    while (inbox->next < inbox->top && inbox->ring[inbox->next % FRAME_WINDOW])
        inbox->next++;
}

bool inbox_ready(const struct inbox *inbox)
{
    return inbox->taken < inbox->next;
}

struct block *inbox_take(struct inbox *inbox)
{
    struct block **place = &inbox->ring[inbox->taken++ % FRAME_WINDOW];
    struct block *block = STEAL(*place);
    inbox->bytes -= cost(block->size);
    return block;
}

void inbox_have(const struct inbox *inbox, struct frame_have *have)
{
    memset(have, 0, sizeof(*have));
    have->taken = inbox->taken;
    have->next = inbox->next;
    have->bits = (uint32_t)((inbox->top - inbox->next + 7) / 8 * 8);
    for (uint64_t number = inbox->next; number < inbox->top; number++)
        if (inbox->ring[number % FRAME_WINDOW])
            have->bitmap[(number - inbox->next) / 8] |= (uint8_t)(1u << (number - inbox->next) % 8);
}
