/* SPDX-License-Identifier: Apache-2.0 */
/* TCP sockets below TLS sessions: connecting, listening, options. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "wire/tls_internal.h"

/* A peer from which nothing has come for so long is dead. */
#define PEER_TIMEOUT_S 30
/* Probes of an idle connection: the first after 10 s, then each 5 s; dead after the fourth. */
#define PROBE_IDLE_S 10
#define PROBE_EACH_S 5
#define PROBE_COUNT  4
#define LISTEN_QUEUE 128
/* What may wait unsent in the kernel, beyond what the network has in flight. */
#define UNSENT_MAX (256 * 1024)

static void cleanup_addresses(struct addrinfo **list)
{
    if (*list)
        freeaddrinfo(*list);
}

int tls_tune(int fd, struct error **err)
{
    static const struct {
        int level, option, value;
    } options[] = {
        /* Calls and the end of a stream are small and must not wait for more. */
        {IPPROTO_TCP, TCP_NODELAY, 1},
        /* What is queued in the kernel adds to downtime; the window itself tunes itself. */
        {IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_MAX},
        /* A dead peer while we send: unacknowledged bytes, or no room there, for so long. */
        {IPPROTO_TCP, TCP_USER_TIMEOUT, PEER_TIMEOUT_S * 1000},
        /* A dead peer while we wait for it. */
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, PROBE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, PROBE_EACH_S},
        {IPPROTO_TCP, TCP_KEEPCNT, PROBE_COUNT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (setsockopt(fd, options[i].level, options[i].option, &options[i].value, sizeof(int)) < 0)
            return error_errno(err, errno, "socket option %d", options[i].option);
    return 0;
}

char *tls_socket_name(const char *address, uint16_t port)
{
    bool v6 = strchr(address, ':');
    return text_format("%s%s%s:%u", v6 ? "[" : "", address, v6 ? "]" : "", port);
}

char *tls_socket_peer(int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getpeername(fd, (struct sockaddr *)&address, &size) < 0 ||
        getnameinfo((struct sockaddr *)&address, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return text_copy("peer");
    bool v6 = strchr(host, ':');
    return text_format("%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

static void connect_error(const char *name, int errnum, struct error **err)
{
    error_set(err, ERROR_UNREACHABLE, "%s: %s", name,
              errnum == ETIMEDOUT ? "no answer" : strerror(errnum));
    if (err && *err)
        (*err)->sys_errno = errnum;
    switch (errnum) {
    case ECONNREFUSED:
        error_hint(err, "the host is up, but nothing listens there: is mudanzad running, and does "
                        "its --listen have this address and port?");
        break;
    case EHOSTUNREACH:
    case ENETUNREACH:
        error_hint(err, "check the address (mudanza host list), and that the host is up and "
                        "routed to");
        break;
    case ETIMEDOUT:
        error_hint(err, "the host is down, or a firewall drops this port");
        break;
    default:
        break;
    }
}

static int connect_one(const struct addrinfo *target, const char *name, int cancel_fd,
                       int64_t deadline_ns, struct error **err)
{
    CLEANUP_CLOSE int fd =
        socket(target->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (fd < 0)
        return error_errno(err, errno, "%s: socket", name);
    if (tls_tune(fd, err) < 0)
        return error_prefix(err, "%s", name);
    if (connect(fd, target->ai_addr, target->ai_addrlen) == 0)
        return STEAL_FD(fd);
    int errnum = errno;
    if (errnum == EINPROGRESS) {
        CLEANUP_ERROR struct error *problem = NULL;
        if (fd_wait(fd, POLLOUT, cancel_fd, deadline_ns, &problem) < 0) {
            if (problem->kind != ERROR_TIMEOUT) {
                error_prefix(&problem, "%s", name);
                return error_move(err, STEAL(problem));
            }
            errnum = ETIMEDOUT;
        } else {
            socklen_t size = sizeof(errnum);
            if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &size) < 0)
                errnum = errno;
        }
    }
    if (errnum == 0)
        return STEAL_FD(fd);
    connect_error(name, errnum, err);
    return -1;
}

/* Returns what getaddrinfo(3) returns; *list is NULL then. */
static int resolve(const char *address, uint16_t port, int flags, struct addrinfo **list)
{
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    const struct addrinfo wanted = {.ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_protocol = IPPROTO_TCP,
                                    .ai_flags = flags | AI_NUMERICSERV};
    int result = getaddrinfo(address, service, &wanted, list);
    if (result != 0)
        *list = NULL;
    return result;
}

static int resolve_error(const char *name, int result, struct error **err)
{
    error_set(err, ERROR_UNREACHABLE, "%s: the name cannot be resolved: %s", name,
              result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
    return error_hint(err, "check the spelling, /etc/hosts and DNS, or give the numeric address");
}

/* The deadline for one of `left` addresses: an equal share of what remains. */
static int64_t share_ns(int64_t deadline_ns, int64_t left)
{
    if (deadline_ns == DEADLINE_NEVER)
        return DEADLINE_NEVER;
    int64_t now_ns = clock_now_ns();
    return now_ns + (deadline_ns - now_ns) / left;
}

int tls_socket_connect(const char *address, uint16_t port, const char *name, int cancel_fd,
                       int64_t deadline_ns, struct error **err)
{
    if (port == 0)
        return error_set(err, ERROR_INVALID, "%s: port 0 is none to connect to", name);
    CLEANUP(cleanup_addresses) struct addrinfo *list = NULL;
    int result = resolve(address, port, 0, &list);
    if (result != 0)
        return resolve_error(name, result, err);
    int64_t left = 0;
    for (const struct addrinfo *target = list; target; target = target->ai_next)
        left++;
    for (const struct addrinfo *target = list; target; target = target->ai_next, left--) {
        CLEANUP_ERROR struct error *problem = NULL;
        int fd = connect_one(target, name, cancel_fd, share_ns(deadline_ns, left), &problem);
        if (fd >= 0)
            return fd;
        if (left == 1 || problem->kind == ERROR_CANCELLED)
            return error_move(err, STEAL(problem));
    }
    return error_set(err, ERROR_UNREACHABLE, "%s: the name has no address", name);
}

static int listen_on(const struct sockaddr *address, socklen_t size, bool both, struct error **err)
{
    CLEANUP_CLOSE int fd =
        socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (fd < 0)
        return error_errno(err, errno, "socket");
    const int on = 1, off = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return error_errno(err, errno, "SO_REUSEADDR");
    if (both && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
        return error_errno(err, errno, "IPV6_V6ONLY");
    if (bind(fd, address, size) < 0 || listen(fd, LISTEN_QUEUE) < 0) {
        int errnum = errno;
        error_errno(err, errnum, "cannot listen");
        if (errnum == EADDRINUSE)
            error_hint(err, "another program, or another mudanzad, has that port: ss -ltnp shows "
                            "which");
        else if (errnum == EADDRNOTAVAIL)
            error_hint(err, "no interface of this host has that address: ip address shows them");
        return -1;
    }
    return STEAL_FD(fd);
}

/* One IPv6 socket takes both families; a kernel without IPv6 gets an IPv4 one. */
static int listen_everywhere(uint16_t port, struct error **err)
{
    const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    const struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    CLEANUP_ERROR struct error *problem = NULL;
    int fd = listen_on((const struct sockaddr *)&v6, sizeof(v6), true, &problem);
    if (fd >= 0)
        return fd;
    if (problem->sys_errno != EAFNOSUPPORT)
        return error_move(err, STEAL(problem));
    return listen_on((const struct sockaddr *)&v4, sizeof(v4), false, err);
}

int tls_listen(const char *address, uint16_t port, struct error **err)
{
    CLEANUP_FREE char *name = tls_socket_name(address, port);
    CLEANUP(cleanup_addresses) struct addrinfo *list = NULL;
    int fd;
    if (strcmp(address, "*") == 0) {
        fd = listen_everywhere(port, err);
    } else if (resolve(address, port, AI_NUMERICHOST, &list) != 0) {
        error_set(err, ERROR_INVALID, "%s: not a numeric address", name);
        return error_hint(err, "give the address of one of this host's interfaces, or * for all");
    } else {
        fd = listen_on(list->ai_addr, list->ai_addrlen, false, err);
    }
    return fd >= 0 ? fd : error_prefix(err, "%s", name);
}
