/* SPDX-License-Identifier: Apache-2.0 */
/* SIGINT, SIGTERM and SIGHUP as a descriptor to poll. */
#include "cli/signals.h"

#include <errno.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

int signals_open(struct signals *signals, struct error **err)
{
    static const int caught[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(caught); i++) {
        struct sigaction present;
        if (sigaction(caught[i], NULL, &present) == 0 && present.sa_handler != SIG_IGN)
            sigaddset(&set, caught[i]);
    }
    signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals->fd < 0)
        return error_errno(err, errno, "signalfd");
    pthread_sigmask(SIG_BLOCK, &set, &signals->before);
    return 0;
}

int signals_take(const struct signals *signals)
{
    struct signalfd_siginfo info;
    if (read(signals->fd, &info, sizeof(info)) != sizeof(info))
        return 0;
    return (int)info.ssi_signo;
}

void signals_close(struct signals *signals)
{
    while (signals_take(signals))
        ;
    close(signals->fd);
    pthread_sigmask(SIG_SETMASK, &signals->before, NULL);
}
