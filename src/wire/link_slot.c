/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slot of a link: the thread that gets a connection, has it serve, and gets the next one.
 *
 * Both ends begin a connection with FRAME_RESUME, which says what they have. It binds the
 * connection to the job, to the source's session number and, by the link, to the key of the first
 * connection's peer.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "wire/link_internal.h"

/* Between two attempts: none after a cut, then doubled up to the last. */
#define BACKOFF_MIN_MS 25
#define BACKOFF_MAX_MS 250
/* One attempt. TCP repeats a lost SYN after 1 s, later ever more rarely: a new attempt is quicker
 * once the network is back. Where connecting took longer, attempts get several times that. */
#define ATTEMPT_MS       1000
#define ATTEMPT_MAX_MS   10000
#define ATTEMPT_MULTIPLE 4
/* For the listener's side to hear what a connection is. */
#define REPLY_MS 1000

/* --- the first frames --- */

static int send_frame(struct tls *tls, const struct frame_header *header, uint8_t *frame,
                      int cancel_fd, int64_t deadline_ns, struct error **err)
{
    frame_encode(header, frame);
    return tls_write(tls, frame, FRAME_HEADER_SIZE + header->length, cancel_fd, deadline_ns, err);
}

static int send_resume(struct tls *tls, const struct frame_resume *resume, int cancel_fd,
                       int64_t deadline_ns, struct error **err)
{
    uint8_t frame[FRAME_HEADER_SIZE + FRAME_RESUME_MAX];
    const struct frame_header header = {
        .type = FRAME_RESUME, .length = frame_encode_resume(resume, frame + FRAME_HEADER_SIZE)};
    return send_frame(tls, &header, frame, cancel_fd, deadline_ns, err);
}

/* Printable characters only: the text ends up in messages. */
static int refused(const struct tls *tls, char *text, uint32_t length, struct error **err)
{
    for (uint32_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            text[i] = '?';
    return error_set(err, ERROR_STATE, "%s: %.*s", tls_peer_name(tls), (int)length, text);
}

int link_greet(struct tls *tls, struct frame_resume *resume, int cancel_fd, int64_t deadline_ns,
               struct error **err)
{
    uint8_t header[FRAME_HEADER_SIZE], body[FRAME_RESUME_MAX];
    struct frame_header frame;
    if (tls_read_full(tls, header, sizeof(header), cancel_fd, deadline_ns, err) < 0)
        return -1;
    if (frame_decode(header, &frame, err) < 0)
        return error_prefix(err, "%s", tls_peer_name(tls));
    if (frame.type != FRAME_RESUME && frame.type != FRAME_REFUSED)
        return error_set(err, ERROR_CORRUPT, "%s: it begins with a frame of type %u",
                         tls_peer_name(tls), frame.type);
    if (tls_read_full(tls, body, frame.length, cancel_fd, deadline_ns, err) < 0)
        return -1;
    if (frame.type == FRAME_REFUSED)
        return refused(tls, (char *)body, frame.length, err);
    if (frame_decode_resume(body, frame.length, resume, err) < 0)
        return error_prefix(err, "%s", tls_peer_name(tls));
    return 0;
}

void link_refuse(struct tls *tls, const char *reason, int64_t deadline_ns)
{
    uint8_t frame[FRAME_HEADER_SIZE + FRAME_REFUSED_MAX];
    size_t length = strlen(reason);
    if (length > FRAME_REFUSED_MAX)
        length = FRAME_REFUSED_MAX;
    memcpy(frame + FRAME_HEADER_SIZE, reason, length); // NOLINT: no terminator on the wire
    const struct frame_header header = {.type = FRAME_REFUSED, .length = (uint32_t)length};
    send_frame(tls, &header, frame, -1, deadline_ns, NULL);
    tls_close(tls);
}

static void fill_resume(struct slot *slot, struct frame_resume *resume)
{
    struct link *link = slot->link;
    memset(resume, 0, sizeof(*resume));
    memcpy(resume->session, link->session, FRAME_ID_SIZE);
    memcpy(resume->job, link->options.job, FRAME_ID_SIZE);
    resume->slot = slot->index;
    resume->generation = slot->serving;
    resume->window = link->options.memory_limit;
    inbox_have(&link->in, &resume->have);
    slot->told = resume->have.taken;
}

/* The same peer as ever? The caller holds the lock. */
static int check_key(struct link *link, const struct tls *tls, struct error **err)
{
    const char *fingerprint = tls_peer_fingerprint(tls);
    if (!link->fingerprint[0])
        snprintf(link->fingerprint, sizeof(link->fingerprint), "%s", fingerprint);
    if (strcmp(link->fingerprint, fingerprint) == 0)
        return 0;
    return error_set(err, ERROR_DENIED, "%s: key %s, but the stream began with %s", link->peer,
                     fingerprint, link->fingerprint);
}

/* What the other end said is taken: from here on the connection carries blocks. Holds the lock. */
static int accept_resume(struct slot *slot, const struct tls *tls,
                         const struct frame_resume *resume, struct error **err)
{
    struct link *link = slot->link;
    if (resume->window < QUEUE_WINDOW_MIN)
        return error_set(err, ERROR_STATE, "window of %" PRIu64 " bytes", resume->window);
    link->out.window = resume->window;
    if (link_settle(slot, slot->serving - 1, &resume->have, err) < 0) {
        if (err && *err)
            (*err)->kind = ERROR_STATE;
        return -1;
    }
    link_slot_up(slot, tls_fd(tls));
    return 0;
}

/* --- the source's way to a connection --- */

static int64_t attempt_deadline_ns(struct link *link)
{
    LOCK_SCOPE(&link->lock);
    int64_t ms = link->connect_ns * ATTEMPT_MULTIPLE / NS_PER_MS;
    if (ms < ATTEMPT_MS)
        ms = ATTEMPT_MS;
    if (ms > ATTEMPT_MAX_MS || !link->connect_ns)
        ms = ATTEMPT_MAX_MS;
    int64_t deadline_ns = clock_deadline_ns(ms);
    int64_t lost_ns = link->lost_since_ns + link->options.lost_ms * NS_PER_MS;
    return link->alive || lost_ns > deadline_ns ? deadline_ns : lost_ns;
}

/* The other end's answer to our FRAME_RESUME. */
static int agree(struct slot *slot, const struct tls *tls, const struct frame_resume *ours,
                 const struct frame_resume *theirs, struct error **err)
{
    struct link *link = slot->link;
    LOCK_SCOPE(&link->lock);
    if (memcmp(ours->session, theirs->session, FRAME_ID_SIZE) != 0 ||
        memcmp(ours->job, theirs->job, FRAME_ID_SIZE) != 0 || ours->slot != theirs->slot ||
        ours->generation != theirs->generation)
        return error_set(err, ERROR_STATE, "the answer is about another connection");
    return accept_resume(slot, tls, theirs, err);
}

/* ERROR_STATE: it was refused, or told nonsense. That will not change, so the link ends. */
static void judge(struct slot *slot, struct error *why, struct error **err)
{
    struct link *link = slot->link;
    error_set(err, why->kind, "%s", why->message);
    if (why->kind != ERROR_STATE) {
        error_free(why);
        return;
    }
    LOCK_SCOPE(&link->lock);
    error_prefix(&why, "%s", link->peer);
    why->kind = ERROR_PEER;
    link_fail(link, why);
}

static struct tls *connect_once(struct slot *slot, struct error **err)
{
    struct link *link = slot->link;
    int64_t begin_ns = clock_now_ns(), deadline_ns = attempt_deadline_ns(link);
    struct tls *tls = link->connect(link->context, link->stop_fd, deadline_ns, err);
    if (!tls)
        return NULL;
    struct frame_resume ours, theirs = {0};
    pthread_mutex_lock(&link->lock);
    int result = check_key(link, tls, err);
    slot->serving = ++slot->generation;
    fill_resume(slot, &ours);
    pthread_mutex_unlock(&link->lock);
    struct error *problem = NULL;
    if (result == 0 && send_resume(tls, &ours, link->stop_fd, deadline_ns, &problem) == 0 &&
        link_greet(tls, &theirs, link->stop_fd, deadline_ns, &problem) == 0 &&
        agree(slot, tls, &ours, &theirs, &problem) == 0) {
        pthread_mutex_lock(&link->lock);
        if (!link->connect_ns)
            link->connect_ns = clock_now_ns() - begin_ns;
        pthread_mutex_unlock(&link->lock);
        return tls;
    }
    tls_close(tls);
    if (problem)
        judge(slot, problem, err);
    return NULL;
}

/* --- the destination's --- */

static int check_attach(struct link *link, const struct tls *tls, const struct frame_resume *resume,
                        struct error **err)
{
    static const uint8_t none[FRAME_ID_SIZE];
    if (link->error)
        return error_set(err, link->error->kind, "%s", link->error->message);
    if (link->stopping || link->source)
        return error_set(err, ERROR_STATE, "the job's stream is over");
    if (check_key(link, tls, err) < 0)
        return -1;
    if (memcmp(resume->job, link->options.job, FRAME_ID_SIZE) != 0)
        return error_set(err, ERROR_PEER, "it is for another job");
    if (memcmp(link->session, none, FRAME_ID_SIZE) == 0)
        memcpy(link->session, resume->session, FRAME_ID_SIZE);
    if (memcmp(link->session, resume->session, FRAME_ID_SIZE) != 0)
        return error_set(err, ERROR_PEER, "the source has begun anew");
    if (resume->slot >= link->options.connections)
        return error_set(err, ERROR_PEER, "connection %u of %u", resume->slot + 1,
                         link->options.connections);
    if (resume->generation <= link->slots[resume->slot].generation)
        return error_set(err, ERROR_EXISTS, "a newer connection has taken its place");
    return 0;
}

int link_attach(struct link *link, struct tls *tls, const struct frame_resume *resume,
                struct error **err)
{
    CLEANUP_ERROR struct error *why = NULL;
    pthread_mutex_lock(&link->lock);
    int result = check_attach(link, tls, resume, &why);
    struct tls *replaced = NULL;
    if (result == 0) {
        struct slot *slot = &link->slots[resume->slot];
        replaced = slot->next_tls;
        slot->next_tls = tls;
        slot->next_resume = *resume;
        slot->generation = resume->generation;
        slot->drop = slot->serving != 0;
        fd_event_signal(slot->wake_fd);
    }
    pthread_mutex_unlock(&link->lock);
    tls_close(replaced);
    if (result == 0)
        return 0;
    /* An old connection that comes late must not end the job: it is only closed. */
    if (why->kind == ERROR_EXISTS)
        tls_close(tls);
    else
        link_refuse(tls, why->message, clock_deadline_ns(REPLY_MS));
    return error_move(err, STEAL(why));
}

/* What link_attach brought: NULL, nothing. */
static struct tls *take_attached(struct slot *slot, struct frame_resume *theirs)
{
    LOCK_SCOPE(&slot->link->lock);
    if (!slot->next_tls)
        return NULL;
    *theirs = slot->next_resume;
    slot->serving = theirs->generation;
    return STEAL(slot->next_tls);
}

static struct tls *take_once(struct slot *slot, struct error **err)
{
    struct link *link = slot->link;
    struct frame_resume ours, theirs;
    struct tls *tls = take_attached(slot, &theirs);
    if (!tls)
        return NULL;
    pthread_mutex_lock(&link->lock);
    fill_resume(slot, &ours);
    struct error *problem = NULL;
    int result = accept_resume(slot, tls, &theirs, &problem);
    if (problem) {
        error_set(err, problem->kind, "%s", problem->message);
        link_fail(link, problem);
    }
    pthread_mutex_unlock(&link->lock);
    if (result == 0 &&
        send_resume(tls, &ours, link->stop_fd, clock_deadline_ns(REPLY_MS), err) == 0)
        return tls;
    tls_close(tls);
    return NULL;
}

/* --- the thread --- */

/* Source: before the next attempt. */
static void back_off(const struct slot *slot, int64_t *ms)
{
    *ms = *ms ? *ms * 2 : BACKOFF_MIN_MS;
    if (*ms > BACKOFF_MAX_MS)
        *ms = BACKOFF_MAX_MS;
    fd_wait(slot->link->stop_fd, POLLIN, -1, clock_deadline_ns(*ms), NULL);
}

/* Destination: until a connection is brought, the link ends, or the time for that is over. */
static void await_attach(const struct slot *slot, int64_t until_ns)
{
    fd_wait(slot->wake_fd, POLLIN, -1, until_ns, NULL);
    fd_event_clear(slot->wake_fd);
}

static void note_trouble(struct slot *slot, const struct error *why)
{
    struct link *link = slot->link;
    LOCK_SCOPE(&link->lock);
    if (!why || !link_lives(link))
        return;
    error_free(STEAL(link->trouble));
    error_set(&link->trouble, why->kind, "%s", why->message);
}

/* The connection is over, whoever ended it. */
static void put_down(struct slot *slot, struct tls *tls, const struct error *why)
{
    struct link *link = slot->link;
    tls_close(tls);
    note_trouble(slot, why);
    pthread_mutex_lock(&link->lock);
    uint32_t generation = slot->serving;
    bool goes_on = link_lives(link);
    link_slot_down(slot);
    pthread_mutex_unlock(&link->lock);
    if (goes_on)
        log_info(link->vm, "%s: connection %u.%u is closed: %s", link->peer, slot->index,
                 generation, why ? why->message : "a newer one takes its place");
}

/* Without a connection: until when nothing has to be done; false: the link is over. */
static bool idle_until(struct slot *slot, int64_t *until_ns)
{
    struct link *link = slot->link;
    LOCK_SCOPE(&link->lock);
    link_check_lost(link, clock_now_ns());
    *until_ns =
        link->alive ? DEADLINE_NEVER : link->lost_since_ns + link->options.lost_ms * NS_PER_MS;
    return link_lives(link);
}

void *link_slot_run(void *argument)
{
    struct slot *slot = argument;
    struct link *link = slot->link;
    int64_t until_ns, backoff_ms = 0;
    while (idle_until(slot, &until_ns)) {
        CLEANUP_ERROR struct error *why = NULL;
        struct tls *tls = link->source ? connect_once(slot, &why) : take_once(slot, &why);
        if (tls) {
            CLEANUP_ERROR struct error *broke = NULL;
            link_serve(slot, tls, &broke);
            put_down(slot, tls, broke);
            backoff_ms = 0;
            continue;
        }
        note_trouble(slot, why);
        pthread_mutex_lock(&link->lock);
        if (slot->serving)
            link_slot_down(slot);
        pthread_mutex_unlock(&link->lock);
        if (link->source)
            back_off(slot, &backoff_ms);
        else
            await_attach(slot, until_ns);
    }
    return NULL;
}
