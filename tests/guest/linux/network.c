/* SPDX-License-Identifier: Apache-2.0 */
/* TCP services that show a lost, repeated or changed byte; see network.h. */
#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE 16384
#define RECORD_SIZE 16
#define STACK_SIZE  65536u
#define BACKLOG     64

struct service {
    int listener;
    void *(*serve)(void *connection); /* the connection's descriptor, as a pointer */
};

static bool network_send(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);

        if (sent < 0)
            return false;
        bytes += sent;
        size -= (size_t)sent;
    }
    return true;
}

static void *network_echo(void *connection)
{
    int fd = (int)(intptr_t)connection;
    char buffer[BUFFER_SIZE];
    ssize_t size;

    while ((size = recv(fd, buffer, sizeof(buffer), 0)) > 0)
        if (!network_send(fd, buffer, (size_t)size))
            break;
    close(fd);
    return NULL;
}

static void *network_stream(void *connection)
{
    int fd = (int)(intptr_t)connection;
    unsigned long long number = 0;
    char buffer[BUFFER_SIZE + 1];

    do {
        for (size_t at = 0; at < BUFFER_SIZE; at += RECORD_SIZE)
            (void)snprintf(buffer + at, RECORD_SIZE + 1, "%015llx\n", number++);
    } while (network_send(fd, buffer, BUFFER_SIZE));
    close(fd);
    return NULL;
}

static bool network_thread(void *(*function)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    bool started;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    started = pthread_create(&thread, &attributes, function, argument) == 0;
    pthread_attr_destroy(&attributes);
    return started;
}

static void *network_accept(void *argument)
{
    const struct service *service = argument;

    for (;;) {
        int fd = accept4(service->listener, NULL, NULL, SOCK_CLOEXEC), on = 1;

        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (!network_thread(service->serve, (void *)(intptr_t)fd))
            close(fd);
    }
    __builtin_unreachable();
}

static const char *network_serve(struct service *service, uint16_t port)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};

    service->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (service->listener < 0 ||
        bind(service->listener, (struct sockaddr *)&any, sizeof(any)) < 0 ||
        listen(service->listener, BACKLOG) < 0)
        return "listen";
    return network_thread(network_accept, service) ? NULL : "thread";
}

/* One request about `name`'s addresses and flags; `address` may be NULL. */
static bool network_set(const char *name, unsigned long request, const struct in_addr *address)
{
    struct ifreq ifreq = {.ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), status;

    (void)snprintf(ifreq.ifr_name, sizeof(ifreq.ifr_name), "%s", name);
    if (address != NULL) {
        struct sockaddr_in value = {.sin_family = AF_INET, .sin_addr = *address};

        memcpy(&ifreq.ifr_addr, &value, sizeof(value));
    }
    status = ioctl(fd, request, &ifreq);
    close(fd);
    return status == 0;
}

const char *network_open(const char *interface, const char *address)
{
    static struct service echo = {.serve = network_echo}, stream = {.serve = network_stream};
    char text[INET_ADDRSTRLEN + 4], *slash;
    struct in_addr ip, mask;
    const char *wrong;
    long prefix;

    (void)snprintf(text, sizeof(text), "%s", address);
    slash = strchr(text, '/');
    prefix = slash == NULL ? -1 : strtol(slash + 1, NULL, 10);
    if (slash != NULL)
        *slash = 0;
    if (prefix < 1 || prefix > 32 || inet_pton(AF_INET, text, &ip) != 1)
        return "not-ADDRESS/PREFIX";
    mask.s_addr = htonl(UINT32_MAX << (32 - prefix));
    if (!network_set("lo", SIOCSIFFLAGS, NULL) || !network_set(interface, SIOCSIFADDR, &ip) ||
        !network_set(interface, SIOCSIFNETMASK, &mask) ||
        !network_set(interface, SIOCSIFFLAGS, NULL))
        return strerrorname_np(errno);
    wrong = network_serve(&echo, NETWORK_ECHO);
    return wrong != NULL ? wrong : network_serve(&stream, NETWORK_STREAM);
}
