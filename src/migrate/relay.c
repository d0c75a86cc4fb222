/* SPDX-License-Identifier: Apache-2.0 */
/* The relay, seen from outside: its start, what becomes of it, its end. */
#include "migrate/relay.h"

#include <sys/eventfd.h>

#include "base/fd.h"
#include "migrate/relay_private.h"

static void relay_free(struct relay *relay)
{
    encoder_free(relay->encoder);
    decoder_free(relay->decoder);
    placer_free(relay->placer);
    link_stop(relay->link);
    relay_channels_free(relay->channels);
    relay_qemu_close(&relay->qemu);
    close(relay->wake_fd);
    close(relay->stop_fd);
    close(relay->quit_fd);
    pthread_mutex_destroy(&relay->lock);
    error_free(relay->error);
    free(relay);
}

static void look_up(void *context, const uint8_t *hashes, size_t n, uint8_t *const *to, bool *found)
{
    const struct relay *relay = context;
    dictionary_lookup_many(relay->dictionary, hashes, n, to, found);
}

/* The source copies nothing any more when the placer has ended, as its guest stands. */
static int read_ram(void *context, uint64_t address, uint8_t *page, struct error **err)
{
    const struct relay *relay = context;
    return relay->placer ? placer_read(relay->placer, address, page, err)
                         : error_set(err, ERROR_CORRUPT, "a copy from RAM that QEMU fills");
}

static int start_encoder(struct relay *relay, const struct encoder_options *options,
                         struct error **err)
{
    relay->encoder = encoder_new(options, (struct stream_sink){relay_send_block, relay}, err);
    return relay->encoder ? 0 : -1;
}

static int start_channels(struct relay *relay, struct error **err)
{
    if (!relay->qemu.held.channel_count)
        return 0;
    relay->channels =
        relay_channels_new(&relay->qemu.held, relay->stop_fd, relay_take_merged, relay, err);
    return relay->channels ? 0 : -1;
}

static int start_decoder(struct relay *relay, uint32_t slots, struct dictionary *dictionary,
                         struct error **err)
{
    const struct decoder_options options = {.slots = slots,
                                            .lookup = dictionary ? look_up : NULL,
                                            .read_ram = relay->placer ? read_ram : NULL,
                                            .context = relay};
    relay->dictionary = dictionary;
    relay->decoder = decoder_new(
        &options, (struct decoder_sink){relay_write_stream, relay_send_block, relay}, err);
    return relay->decoder ? 0 : -1;
}

static int start_placer(struct relay *relay, struct placer_ram *ram, struct error **err)
{
    if (!ram->map)
        return 0;
    relay->answers.awaited = PLACER_PING;
    relay->placer =
        placer_new(ram, (struct placer_sink){relay_write_rest, relay_await_pong, relay}, err);
    return relay->placer ? 0 : -1;
}

/* What a relay without spools would have sent directly is spooled from the start, or goes on: the
 * answers are so few that they may always be. */
static int start_spools(struct relay *relay, const struct relay_ends *ends, struct error **err)
{
    if (!held_has_spools(&relay->qemu.held))
        return 0;
    if (ends->goes_on) {
        if (relay_qemu_go_on(&relay->qemu, ends->from, err) < 0)
            return -1;
        relay->status.spooled = true;
        relay->status.stream_bytes = relay->source ? relay->qemu.taken : relay->qemu.given;
        return 0;
    }
    return relay->source ? relay_qemu_spool_to(&relay->qemu, 0, err)
                         : relay_qemu_spool_from(&relay->qemu, NULL, 0, err);
}

/* Takes ends->held over, also on error. Its engine and link are not there yet. */
static struct relay *relay_new(struct relay_ends *ends, bool source, struct error **err)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    if (!relay) {
        held_close(&ends->held);
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    relay->source = source;
    relay->event_fd = ends->event_fd;
    relay->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&relay->lock, NULL);
    if (relay_qemu_init(&relay->qemu, &ends->held, err) == 0 && start_spools(relay, ends, err) == 0)
        return relay;
    relay_free(relay);
    return NULL;
}

/* The link is there: the thread begins. Frees the relay on error. */
static struct relay *relay_begin(struct relay *relay, struct error **err)
{
    int failed = relay->link ? pthread_create(&relay->thread, NULL, relay_run, relay) : 0;
    if (failed)
        error_errno(err, failed, "relay thread");
    if (relay->link && !failed)
        return relay;
    relay_free(relay);
    return NULL;
}

struct relay *relay_start_source(struct relay_ends *ends, const struct encoder_options *encoder,
                                 link_connect *connect, void *context, struct error **err)
{
    struct relay *relay = relay_new(ends, true, err);
    if (!relay)
        return NULL;
    if (start_encoder(relay, encoder, err) == 0 && start_channels(relay, err) == 0)
        relay->link = link_new_source(&ends->link, connect, context, err);
    relay_pace_begin(&relay->pace);
    relay->post_copy = relay->urgent = ends->goes_on;
    if (relay->link) {
        link_urgent(relay->link, ends->goes_on);
        link_limit(relay->link,
                   ends->goes_on ? relay->pace.post_copy_max : relay->pace.under_way_max);
    }
    return relay_begin(relay, err);
}

struct relay *relay_start_destination(struct relay_ends *ends, uint32_t slots,
                                      struct dictionary *dictionary, struct error **err)
{
    struct relay *relay = relay_new(ends, false, err);
    if (!relay) {
        placer_ram_clear(&ends->ram);
        return NULL;
    }
    if (start_placer(relay, &ends->ram, err) == 0 &&
        start_decoder(relay, slots, dictionary, err) == 0)
        relay->link = link_new_destination(&ends->link, err);
    return relay_begin(relay, err);
}

int relay_attach(struct relay *relay, struct tls *tls, const struct frame_resume *resume,
                 struct error **err)
{
    return link_attach(relay->link, tls, resume, err);
}

struct relay_status relay_status(struct relay *relay)
{
    LOCK_SCOPE(&relay->lock);
    struct relay_status status = relay->status;
    status.link = link_status(relay->link);
    status.wire_bytes = status.link.wire_out + status.link.wire_in;
    if (relay->encoder)
        status.stream = encoder_counts(relay->encoder);
    return status;
}

int relay_failure(struct relay *relay, struct error **err)
{
    LOCK_SCOPE(&relay->lock);
    if (!relay->status.failed)
        return 0;
    return relay->error ? error_copy(err, relay->error)
                        : error_set(err, ERROR_STATE, "the stream was ended here");
}

int relay_trouble(struct relay *relay, struct error **err)
{
    return link_error(relay->link, err);
}

void relay_urgent(struct relay *relay)
{
    relay->urgent = true;
    link_urgent(relay->link, true);
    fd_event_signal(relay->wake_fd);
}

void relay_post_copy(struct relay *relay)
{
    relay->post_copy = true;
    relay_urgent(relay);
}

void relay_far(struct relay *relay, bool far)
{
    relay->far = far;
}

void relay_keep(struct relay *relay)
{
    relay->keeps = true;
}

void relay_renew(struct relay *relay)
{
    link_renew(relay->link);
}

void relay_commit(struct relay *relay)
{
    relay->committed = true;
    fd_event_signal(relay->wake_fd);
}

void relay_discard(struct relay *relay)
{
    fd_event_signal(relay->stop_fd);
}

void relay_stop(struct relay *relay)
{
    if (!relay)
        return;
    fd_event_signal(relay->stop_fd);
    fd_event_signal(relay->quit_fd);
    pthread_join(relay->thread, NULL);
    relay_free(relay);
}
