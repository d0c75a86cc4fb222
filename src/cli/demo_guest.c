/* SPDX-License-Identifier: Apache-2.0 */
/* The VM of the demo. */
#include "cli/demo_guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "cli/output.h"

#define LINE_MS 200 /* how often the guest says all about itself */

/* --- its configuration ------------------------------------------------------------------------*/

int demo_guest_open(struct demo_guest *guest, const struct demo_lab *lab,
                    const struct demo_files *files, struct error **err)
{
    *guest = (struct demo_guest){.lab = lab, .fd = -1};
    guest->fd = demo_host_listen(&lab->hosts[0], &guest->port, err);
    if (guest->fd < 0 || !(guest->kernel = demo_lab_copy(lab, files->kernel, "vmlinuz", err)) ||
        !(guest->initrd = demo_lab_copy(lab, files->initrd, "initrd.img", err)))
        return -1;
    return 0;
}

void demo_guest_close(struct demo_guest *guest)
{
    if (guest->fd >= 0)
        close(STEAL_FD(guest->fd));
    free(STEAL(guest->kernel));
    free(STEAL(guest->initrd));
}

char *demo_guest_xml(const struct demo_guest *guest, const char *type)
{
    struct text xml = {0};
    text_append(&xml,
                "<domain type='%s'>\n"
                "  <name>" DEMO_GUEST_NAME "</name>\n"
                "  <memory unit='MiB'>%d</memory>\n"
                "  <vcpu>1</vcpu>\n"
                "  <os>\n"
                "    <type arch='x86_64' machine='q35'>hvm</type>\n"
                "    <kernel>%s</kernel>\n"
                "    <initrd>%s</initrd>\n",
                type, DEMO_GUEST_MEMORY_MIB, guest->kernel, guest->initrd);
    text_append(&xml,
                "    <cmdline>quiet mudanza.heartbeat=%d mudanza.line=%d mudanza.mem=%dM"
                " mudanza.fill=%dM mudanza.rate=%dM</cmdline>\n"
                "  </os>\n",
                DEMO_GUEST_HEARTBEAT_MS, LINE_MS, DEMO_GUEST_WORKSET_MIB, DEMO_GUEST_FILL_MIB,
                DEMO_GUEST_RATE_MIB);
    text_append(&xml,
                "  <features><acpi/></features>\n"
                "  <on_poweroff>destroy</on_poweroff>\n"
                "  <devices>\n"
                "    <serial type='udp'>\n"
                "      <source mode='connect' host='%s' service='%d'/>\n"
                "      <source mode='bind' host='0.0.0.0' service='0'/>\n"
                "    </serial>\n"
                "  </devices>\n"
                "</domain>\n",
                guest->lab->hosts[0].address, guest->port);
    return xml.data;
}

/* --- what it says -----------------------------------------------------------------------------*/

void demo_guest_forget(struct demo_guest *guest)
{
    guest->heart = (struct demo_heart){0};
    guest->silence_ns = 0;
}

/* Keeps the time between heartbeats. The kernel stamps packets with its wall clock only; here two
 * of them are compared and nothing waits for them. */
static void take_time(struct demo_guest *guest, const struct timespec *time, bool first)
{
    int64_t now_ns = time->tv_sec * NS_PER_S + time->tv_nsec;
    if (!first && now_ns - guest->last_ns > guest->silence_ns)
        guest->silence_ns = now_ns - guest->last_ns;
    guest->last_ns = now_ns;
}

static void take_control(struct demo_guest *guest, struct msghdr *message, struct timespec *time)
{
    for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item; item = CMSG_NXTHDR(message, item)) {
        if (item->cmsg_level != SOL_SOCKET)
            continue;
        if (item->cmsg_type == SO_TIMESTAMPNS)
            memcpy(time, CMSG_DATA(item), sizeof(*time));
        else if (item->cmsg_type == SO_RXQ_OVFL)
            memcpy(&guest->overflow, CMSG_DATA(item), sizeof(guest->overflow));
    }
}

/* Which host an address belongs to. */
static size_t host_of(const struct demo_guest *guest, const struct sockaddr_in *from)
{
    char text[INET_ADDRSTRLEN] = "";
    inet_ntop(AF_INET, &from->sin_addr, text, sizeof(text));
    for (size_t i = 0; i < DEMO_SWEEP_HOSTS; i++)
        if (strcmp(guest->lab->hosts[i].address, text) == 0)
            return i;
    return DEMO_SWEEP_HOSTS;
}

/* One packet, if there is one. Returns 1, 0, or -1 on error. */
static int take_packet(struct demo_guest *guest, struct error **err)
{
    char bytes[2048];
    char control[CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(uint32_t))]
        __attribute__((aligned(__alignof__(struct cmsghdr))));
    struct sockaddr_in from = {0};
    struct timespec time = {0};
    struct iovec payload = {bytes, sizeof(bytes)};
    struct msghdr message = {.msg_name = &from,
                             .msg_namelen = sizeof(from),
                             .msg_iov = &payload,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(guest->fd, &message, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR;
    if (got < 0)
        return error_errno(err, errno, "listening to the guest");
    take_control(guest, &message, &time);
    const uint64_t beats = guest->heart.beats;
    demo_heart_feed(&guest->heart, bytes, (size_t)got);
    if (guest->heart.beats != beats)
        take_time(guest, &time, beats == 0);
    guest->host = host_of(guest, &from);
    return 1;
}

int demo_guest_hear(struct demo_guest *guest, struct error **err)
{
    int more;
    while ((more = take_packet(guest, err)) > 0)
        ;
    return more;
}

/* --- waiting for it ---------------------------------------------------------------------------*/

/* What must have been heard; what is zero does not matter. */
struct goal {
    bool alive, ready, bye;
    const struct demo_host *host;
    uint64_t beats, lines, rounds;
};

static bool reached(const struct demo_guest *guest, const struct goal *goal)
{
    const struct demo_heart *heart = &guest->heart;
    return heart->alive >= goal->alive && heart->ready >= goal->ready && heart->bye >= goal->bye &&
           heart->beats >= goal->beats && heart->lines >= goal->lines &&
           heart->rounds >= goal->rounds &&
           (!goal->host ||
            (guest->host < DEMO_SWEEP_HOSTS && &guest->lab->hosts[guest->host] == goal->host));
}

static int await(struct demo_guest *guest, const struct goal *goal, int64_t deadline_ns,
                 struct error **err)
{
    const int cancel_fd = guest->lab->hosts[0].cancel_fd;
    while (!reached(guest, goal)) {
        if (guest->heart.complained)
            return demo_guest_judge(guest, err);
        if (fd_wait(guest->fd, POLLIN, cancel_fd, deadline_ns, err) < 0 ||
            take_packet(guest, err) < 0)
            return -1;
    }
    return 0;
}

/* The same, with words of its own when it takes too long. */
static int await_ms(struct demo_guest *guest, const struct goal *goal, int64_t ms, const char *what,
                    struct error **err)
{
    struct error *why = NULL;
    if (await(guest, goal, clock_deadline_ns(ms), &why) == 0)
        return 0;
    if (why && why->kind != ERROR_TIMEOUT)
        return error_move(err, why);
    error_free(why);
    return error_set(err, ERROR_TIMEOUT, "the guest %s within %" PRId64 " s", what, ms / 1000);
}

int demo_guest_await_life(struct demo_guest *guest, int64_t ms, struct error **err)
{
    return await_ms(guest, &(struct goal){.alive = true}, ms, "shows no life", err);
}

int demo_guest_await_ready(struct demo_guest *guest, int64_t ms, struct error **err)
{
    const struct goal goal = {.ready = true, .lines = 1};
    return await_ms(guest, &goal, ms, "has not filled its memory", err);
}

int demo_guest_await_end(struct demo_guest *guest, int64_t ms, struct error **err)
{
    return await_ms(guest, &(struct goal){.bye = true}, ms, "does not shut down", err);
}

int demo_guest_await_check(struct demo_guest *guest, size_t host, int64_t ms, struct error **err)
{
    struct goal goal = {.host = &guest->lab->hosts[host]};
    if (await_ms(guest, &goal, ms, "is not heard from the host it moved to", err) < 0)
        return -1;
    /* The line that ends now may have been begun before the move, the check under way, too. */
    goal.lines = guest->heart.lines + 2;
    if (await_ms(guest, &goal, ms, "falls silent after the move: nothing more", err) < 0)
        return -1;
    goal.rounds = guest->heart.rounds + 2;
    return await_ms(guest, &goal, ms, "has not checked its memory", err);
}

int demo_guest_judge(const struct demo_guest *guest, struct error **err)
{
    const struct demo_heart *heart = &guest->heart;
    if (heart->complained) {
        CLEANUP_FREE char *complaint = output_clean(heart->complaint);
        return error_set(err, ERROR_CORRUPT, "the guest complains: %s", complaint);
    }
    if (guest->overflow)
        return error_set(err, ERROR_SYSTEM,
                         "this machine had no room for %" PRIu32 " of the guest's packets, so its "
                         "heartbeats cannot be counted",
                         guest->overflow);
    if (heart->wrong)
        return error_set(err, ERROR_CORRUPT,
                         "the guest found %" PRIu64 " wrong words in its memory", heart->wrong);
    if (heart->lost || heart->repeated || heart->damaged)
        return error_set(err, ERROR_CORRUPT,
                         "of the guest's heartbeats %" PRIu64 " were lost, %" PRIu64
                         " repeated, and %" PRIu64 " of its lines damaged",
                         heart->lost, heart->repeated, heart->damaged);
    return 0;
}
