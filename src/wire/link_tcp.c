/* SPDX-License-Identifier: Apache-2.0 */
/* What TCP itself says of a connection. */
#include <linux/tcp.h> /* glibc's struct tcp_info ends before the times */

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "wire/link_internal.h"

int64_t link_tcp_network_ns(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
        return 0;
    /* The last two are parts of the first. */
    uint64_t others_us = info.tcpi_rwnd_limited + info.tcpi_sndbuf_limited;
    return info.tcpi_busy_time > others_us ? (int64_t)(info.tcpi_busy_time - others_us) * NS_PER_US
                                           : 0;
}
