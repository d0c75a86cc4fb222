/* SPDX-License-Identifier: Apache-2.0 */
/* What TCP itself says of a connection. */
#include <linux/tcp.h> /* glibc's struct tcp_info ends before the times */

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "wire/link_internal.h"

int64_t link_tcp_peer_ns(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
        return 0;
    return (int64_t)info.tcpi_rwnd_limited * NS_PER_US;
}
