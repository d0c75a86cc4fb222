/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this folder share. */
#include "domain/test_support.h"

#include <string.h>

#include "base/file.h"
#include "base/text.h"

char *support_read(const char *name)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *path = text_format("%s/%s", DOMAIN_TESTDATA, name);
    char *text = file_read(path, DOMAIN_XML_MAX, NULL, &err);
    if (!text)
        fail_msg("%s", err->message);
    return text;
}

struct domain *support_parse(const char *xml)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct domain *domain = domain_parse(xml, strlen(xml), &err);
    if (!domain)
        fail_msg("%s", err->message);
    return domain;
}

struct domain *support_assigned(const char *name)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *xml = support_read(name);
    struct domain *domain = support_parse(xml);
    assert_ok(domain_assign(domain, &support_host, &err), err);
    return domain;
}

static const char *find_machine(void *context, const char *machine)
{
    (void)context;
    if (!machine || strcmp(machine, "pc") == 0)
        return "pc-i440fx-7.2";
    if (strcmp(machine, "q35") == 0)
        return "pc-q35-7.2";
    return strstr(machine, "-99.") ? NULL : machine;
}

const struct domain_assign_host support_host = {.machine = find_machine};

char *support_wrap(const char *devices)
{
    return text_format("<domain type='qemu'>\n"
                       "<name>t</name><memory unit='MiB'>64</memory>\n"
                       "<os><type machine='q35'>hvm</type></os>\n"
                       "<features><acpi/></features>\n"
                       "<devices>\n%s\n</devices>\n</domain>\n",
                       devices);
}

char *support_parse_error(const char *xml)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_DOMAIN struct domain *domain = domain_parse(xml, strlen(xml), &err);
    if (domain)
        fail_msg("accepted: %s", xml);
    return STEAL(err->message);
}

char *support_assign_error(const char *xml)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_DOMAIN struct domain *domain = support_parse(xml);
    if (domain_assign(domain, &support_host, &err) == 0)
        fail_msg("assigned: %s", xml);
    return STEAL(err->message);
}

static int fake_file(void *context, const char *path, bool writable, bool append, bool direct,
                     struct error **err)
{
    (void)direct;
    (void)append;
    struct support_fake *fake = context;
    if (fake->fail_path && strcmp(path, fake->fail_path) == 0)
        return error_set(err, ERROR_NOT_FOUND, "%s: no such file", path);
    int set = ++fake->next_set % 1024;
    fake->fds[set][0] = 100 + fake->next_fd++;
    fake->fds[set][1] = writable ? 100 + fake->next_fd++ : -1;
    return set;
}

static const int *fake_set_fds(void *context, int set, size_t *n)
{
    struct support_fake *fake = context;
    *n = fake->fds[set][1] < 0 ? 1 : 2;
    return fake->fds[set];
}

static int fake_backing(void *context, const char *path, const char *format,
                        struct qemu_layer **layers, size_t *n, struct error **err)
{
    (void)context;
    (void)format;
    (void)err;
    *n = strstr(path, "chain") ? 2 : 0;
    *layers = *n ? calloc(*n, sizeof(**layers)) : NULL;
    for (size_t i = 0; i < *n; i++) {
        const char *format_behind = i == 0 ? "qcow2" : "raw";
        (*layers)[i].path = text_format("/srv/base%zu.%s", i + 1, format_behind);
        (*layers)[i].format = text_copy(format_behind);
    }
    return 0;
}

static int fake_tap(void *context, const struct domain_interface *interface, bool kvm,
                    int *vhost_fd, struct error **err)
{
    (void)interface;
    (void)err;
    struct support_fake *fake = context;
    *vhost_fd = kvm ? 100 + fake->next_fd++ : -1;
    return 100 + fake->next_fd++;
}

static int fake_listen(void *context, const char *path, struct error **err)
{
    (void)path;
    (void)err;
    struct support_fake *fake = context;
    return 100 + fake->next_fd++;
}

const struct qemu_host_ops support_fake_ops = {.file = fake_file,
                                               .set_fds = fake_set_fds,
                                               .backing = fake_backing,
                                               .tap = fake_tap,
                                               .listen = fake_listen};
