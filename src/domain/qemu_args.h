/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QEMU command line of a domain.
 *
 * Present-day form only: -nodefaults, -no-user-config, -blockdev, -device JSON or key=value,
 * -netdev, -chardev, -sandbox on with its denials. Host resources come from an ops table, so that
 * this folder opens nothing itself and tests see every argument.
 */
#ifndef DOMAIN_QEMU_ARGS_H
#define DOMAIN_QEMU_ARGS_H

#include <stdbool.h>

#include "base/error.h"
#include "domain/domain.h"

/* A layer of a disk: the image itself, or one of the images behind it. */
struct qemu_layer {
    char *path;
    char *format; /* "raw", "qcow2" */
};

struct qemu_host_ops {
    /* Opens `path` for QEMU and puts it into a new fd set (for reading, and for writing too if
     * `writable`; `append` for log-like files, created when missing). `direct`: O_DIRECT is wanted
     * (cache none, directsync). Returns the fd set's number. */
    int (*file)(void *context, const char *path, bool writable, bool append, bool direct,
                struct error **err);
    /* The fds that belong to a set, for the -add-fd arguments; count in *n, borrowed. */
    const int *(*set_fds)(void *context, int set, size_t *n);
    /* The images behind `path`, nearest first, without itself; *n may be 0. Owned by the caller. */
    int (*backing)(void *context, const char *path, const char *format, struct qemu_layer **layers,
                   size_t *n, struct error **err);
    /* A tap device for the interface, attached and up. Returns its descriptor; *vhost_fd is one of
     * /dev/vhost-net or -1. Names the bridge when it is missing. */
    int (*tap)(void *context, const struct domain_interface *interface, bool kvm, int *vhost_fd,
               struct error **err);
    /* A listening UNIX socket at `path` (an old socket file there is replaced). */
    int (*listen)(void *context, const char *path, struct error **err);
};

struct qemu_host {
    const struct qemu_host_ops *ops;
    void *context;
};

struct qemu_args_options {
    const char *emulator;      /* argv[0] */
    int version;               /* major * 1000 + minor of that emulator */
    const char *monitor_path;  /* the QMP socket, made through ops->listen */
    const char *run_directory; /* for sockets that the XML leaves to us (guest agent channels) */
    bool incoming;             /* -incoming defer */
};

/* Always with -S: the agent starts the vCPUs. Returns argv, NULL-terminated, owned by the caller
 * (qemu_args_free); NULL on error. */
char **qemu_args(const struct domain *domain, const struct qemu_args_options *options,
                 const struct qemu_host *host, struct error **err);
void qemu_args_free(char **argv);

#endif
