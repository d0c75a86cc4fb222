/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM of the demo: its XML, and what it says on its serial port. Each byte of it is a packet to
 * a socket on one of the hosts, so where a packet comes from tells where the guest runs.
 */
#ifndef CLI_DEMO_GUEST_H
#define CLI_DEMO_GUEST_H

#include "cli/demo_heart.h"
#include "cli/demo_lab.h"

#define DEMO_GUEST_NAME         "demo"
#define DEMO_GUEST_MEMORY_MIB   512
#define DEMO_GUEST_WORKSET_MIB  64 /* written again and again */
#define DEMO_GUEST_FILL_MIB     64 /* written once, incompressible */
#define DEMO_GUEST_RATE_MIB     20 /* a second */
#define DEMO_GUEST_HEARTBEAT_MS 10

struct demo_guest {
    const struct demo_lab *lab;
    char *kernel, *initrd; /* copies that QEMU can read */
    int fd;                /* what it says arrives here */
    uint16_t port;
    struct demo_heart heart;
    size_t host;        /* whose address the newest byte came from */
    int64_t last_ns;    /* when the newest heartbeat came, by the kernel's clock */
    int64_t silence_ns; /* the longest time between two heartbeats since it was last set to 0 */
    uint32_t overflow;  /* packets that the kernel had no room for */
};

/* Opens the socket and copies the images into the lab. To be closed after a failure, too. */
int demo_guest_open(struct demo_guest *guest, const struct demo_lab *lab,
                    const struct demo_files *files, struct error **err);
void demo_guest_close(struct demo_guest *guest);

/* Its domain XML with type='kvm' or 'qemu', owned by the caller. */
char *demo_guest_xml(const struct demo_guest *guest, const char *type);

/* Forgets what was heard: another boot begins. */
void demo_guest_forget(struct demo_guest *guest);

/* Takes what has come in, without waiting. */
int demo_guest_hear(struct demo_guest *guest, struct error **err);

/* Waits for something to be heard, at most so long: ERROR_TIMEOUT then. */
int demo_guest_await_life(struct demo_guest *guest, int64_t ms, struct error **err);
int demo_guest_await_ready(struct demo_guest *guest, int64_t ms, struct error **err);
int demo_guest_await_end(struct demo_guest *guest, int64_t ms, struct error **err);
/* A heartbeat from that host, and after it a complete check of all memory by the guest. */
int demo_guest_await_check(struct demo_guest *guest, size_t host, int64_t ms, struct error **err);

/* ERROR_CORRUPT when a heartbeat was lost or repeated or a byte of memory was wrong. */
int demo_guest_judge(const struct demo_guest *guest, struct error **err);

#endif
