/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this folder share: domains from testdata/, a host that needs nothing real. */
#ifndef DOMAIN_TEST_SUPPORT_H
#define DOMAIN_TEST_SUPPORT_H

#include "base/test.h"
#include "domain/domain.h"
#include "domain/qemu_args.h"

/* testdata/NAME, owned by the caller; fails the test when it cannot be read. */
char *support_read(const char *name);

/* Parsed, or parsed and assigned; fails the test with the error's words. */
struct domain *support_parse(const char *xml);
struct domain *support_assigned(const char *name);

/* A host with the machine types of QEMU 7.2. */
extern const struct domain_assign_host support_host;

/* Parses a domain around `devices` (q35, 64 MiB, type qemu). */
char *support_wrap(const char *devices);

/* The message of the error that parsing or assigning gives; fails the test when there is none. */
char *support_parse_error(const char *xml);
char *support_assign_error(const char *xml);

/* Host resources that are only numbers: fd sets count from 1, descriptors from 100. Images whose
 * name starts with "chain" have two images behind them. */
struct support_fake {
    int next_set, next_fd;
    int fds[1024][2];
    const char *fail_path; /* file() fails for this one */
};
extern const struct qemu_host_ops support_fake_ops;

#endif
