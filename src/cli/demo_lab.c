/* SPDX-License-Identifier: Apache-2.0 */
/* Two hosts on this machine. */
#include "cli/demo_lab.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "qemu/child.h"
#include "wire/tls.h"

#define DIRECTORY "/tmp/mudanza-demo-%d-XXXXXX"
#define IP_MS     10000
#define IP_OUTPUT 65536
#define IMAGE_MAX ((size_t)256 << 20)

/* Reserved for documentation (RFC 5737), so in use nowhere; and these are networks of their own. */
static const char *const addresses[DEMO_SWEEP_HOSTS] = {"192.0.2.1", "192.0.2.2"};
#define PREFIX_LENGTH "/24"

/* --- the network ------------------------------------------------------------------------------*/

static int ip(const char *const *argv, struct error **err)
{
    CLEANUP_FREE char *said = child_output(argv, IP_OUTPUT, clock_deadline_ns(IP_MS), err);
    return said ? 0 : -1;
}
#define IP(err, ...) ip((const char *const[]){"ip", __VA_ARGS__, NULL}, err)

static int make_namespaces(const struct demo_lab *lab, struct error **err)
{
    for (size_t i = 0; i < DEMO_SWEEP_HOSTS; i++) {
        const char *namespace = lab->hosts[i].namespace;
        if (IP(err, "netns", "add", namespace) < 0 ||
            IP(err, "-n", namespace, "link", "set", "lo", "up") < 0) {
            error_prefix(err, "host %s", lab->hosts[i].name);
            return error_hint(err, "a container must be allowed to make network namespaces");
        }
    }
    return 0;
}

/* One cable from host to host; nothing of it touches this machine's own network. */
static int plug_cable(const struct demo_lab *lab, struct error **err)
{
    const struct demo_host *one = &lab->hosts[0], *other = &lab->hosts[1];
    if (IP(err, "-n", one->namespace, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0",
           "netns", other->namespace) < 0)
        return -1;
    for (size_t i = 0; i < DEMO_SWEEP_HOSTS; i++) {
        const struct demo_host *host = &lab->hosts[i];
        CLEANUP_FREE char *address = text_format("%s" PREFIX_LENGTH, host->address);
        if (IP(err, "-n", host->namespace, "addr", "add", address, "dev", "eth0") < 0 ||
            IP(err, "-n", host->namespace, "link", "set", "eth0", "up") < 0)
            return error_prefix(err, "host %s", host->name);
    }
    return 0;
}

/* --- the hosts --------------------------------------------------------------------------------*/

/* The directory and who removes it, before anything else is there. */
static int make_directory(struct demo_lab *lab, struct error **err)
{
    CLEANUP_FREE char *path = text_format(DIRECTORY, (int)getpid());
    if (!mkdtemp(path))
        return error_errno(err, errno, "%s", path);
    if (demo_watcher_start(&lab->watcher, path, err) < 0) {
        rmdir(path);
        return -1;
    }
    lab->directory = STEAL(path);
    if (chmod(lab->directory, 0711) < 0)
        return error_errno(err, errno, "%s", lab->directory);
    return 0;
}

static int prepare_hosts(struct demo_lab *lab, int cancel_fd, struct error **err)
{
    for (size_t i = 0; i < DEMO_SWEEP_HOSTS; i++) {
        const char *name = demo_sweep_hosts[i];
        lab->hosts[i] = (struct demo_host){
            .name = name,
            .address = addresses[i],
            .namespace = demo_sweep_namespace(lab->directory, name),
            .directory = text_format("%s/%s", lab->directory, name),
            .cancel_fd = cancel_fd,
        };
        if (file_make_directory(lab->hosts[i].directory, 0700, err) < 0)
            return -1;
    }
    return 0;
}

/* What `mudanza host add` does, in both directions. */
static int introduce(const struct demo_lab *lab, struct error **err)
{
    for (size_t i = 0; i < DEMO_SWEEP_HOSTS; i++) {
        const struct demo_host *other = &lab->hosts[1 - i];
        json_t *parameters =
            json_pack("{s:s, s:s, s:i, s:s}", "name", other->name, "address", other->address,
                      "port", WIRE_DEFAULT_PORT, "fingerprint", other->fingerprint);
        if (demo_host_call(&lab->hosts[i], "AddHost", parameters, NULL, err) < 0)
            return -1;
    }
    return 0;
}

int demo_lab_open(struct demo_lab *lab, const struct demo_files *files, int cancel_fd,
                  struct error **err)
{
    *lab = (struct demo_lab){.watcher.lifeline = -1};
    if (make_directory(lab, err) < 0 || prepare_hosts(lab, cancel_fd, err) < 0 ||
        make_namespaces(lab, err) < 0 || plug_cable(lab, err) < 0)
        return -1;
    for (size_t i = 0; i < DEMO_SWEEP_HOSTS; i++)
        if (demo_host_start(&lab->hosts[i], files->agent, err) < 0)
            return -1;
    return introduce(lab, err);
}

/* Ends the VMs as their agent would, so that it has nothing left when it goes. What it does not end
 * the sweep does. */
static void destroy_vms(struct demo_host *host)
{
    CLEANUP_JSON json_t *reply = NULL;
    size_t index;
    json_t *vm;
    host->cancel_fd = -1; /* from here on nothing is to be cut short */
    if (!host->agent || varlink_connection_awaiting(host->agent) ||
        demo_host_call(host, "List", json_pack("{s:b}", "all", 0), &reply, NULL) < 0)
        return;
    json_array_foreach (json_object_get(reply, "vms"), index, vm) {
        json_t *parameters = json_pack("{s:O}", "vm", json_object_get(vm, "name"));
        demo_host_call(host, "Destroy", parameters, NULL, NULL);
    }
}

int demo_lab_close(struct demo_lab *lab, struct error **err)
{
    if (!lab->directory)
        return 0;
    for (size_t i = 0; i < DEMO_SWEEP_HOSTS; i++)
        destroy_vms(&lab->hosts[i]);
    for (size_t i = 0; i < DEMO_SWEEP_HOSTS; i++)
        demo_host_clear(&lab->hosts[i]);
    int result = demo_sweep(lab->directory, err);
    demo_watcher_stop(&lab->watcher, result == 0);
    free(STEAL(lab->directory));
    return result;
}

char *demo_lab_copy(const struct demo_lab *lab, const char *path, const char *name,
                    struct error **err)
{
    size_t size;
    CLEANUP_FREE char *content = file_read(path, IMAGE_MAX, &size, err);
    if (!content)
        return NULL;
    CLEANUP_FREE char *copy = text_format("%s/%s", lab->directory, name);
    if (file_write_atomic(copy, content, size, 0644, err) < 0)
        return NULL;
    if (chmod(copy, 0644) < 0) { /* whatever the umask took away */
        error_errno(err, errno, "%s", copy);
        return NULL;
    }
    return STEAL(copy);
}
