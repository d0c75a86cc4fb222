/* SPDX-License-Identifier: Apache-2.0 */
/* mudanzad: starts the agent's parts from the bottom up, waits for a signal, takes them down again.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

#include "agent/agent.h"
#include "agent/api.h"
#include "agent/local_socket.h"
#include "agent/peer_port.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "migrate/host_memory.h"
#include "migrate/peer_service.h"
#include "migrate/recover.h"
#include "wire/block.h"

static bool peer_allowed(void *context, const char *fingerprint)
{
    struct store_host host = {0};
    bool known = store_host_find(context, NULL, fingerprint, &host, NULL) == 1;
    store_host_clear(&host);
    return known;
}

static int make_directories(const struct config *config, struct error **err)
{
    /* QEMU's own user passes through the run directory only by descriptors it inherits. */
    if (file_make_directory(config->state_dir, 0700, err) < 0 ||
        file_make_directory(config->run_dir, 0755, err) < 0)
        return -1;
    CLEANUP_FREE char *socket_dir = text_copy(config->socket);
    char *slash = strrchr(socket_dir, '/');
    if (!slash || slash == socket_dir)
        return 0;
    *slash = '\0';
    return file_make_directory(socket_dir, 0755, err);
}

static struct keeper *open_keeper(const struct config *config, struct error **err)
{
    uint64_t available, total;
    if (host_memory(&available, &total, err) < 0)
        return NULL;
    const struct keeper_options options = {
        .limit = config->keep_ram < 0 ? total / 8 : (uint64_t)config->keep_ram,
        .keep_ms = config->keep_ram_seconds * 1000,
        .pressure_fd = host_memory_pressure(),
    };
    return keeper_new(&options, err);
}

/* What needs no network: database, key, VMs. */
static int agent_open(struct agent *agent, struct error **err)
{
    const struct config *config = agent->config;
    if (make_directories(config, err) < 0 || !(agent->store = store_open(config->state_dir, err)) ||
        !(agent->identity = identity_open(config->state_dir, err)) ||
        !(agent->tls = tls_context_new(agent->identity, peer_allowed, agent->store, err)) ||
        !(agent->vms = vm_host_new(agent->store, config->state_dir, config->run_dir,
                                   config->emulator, config->qemu_user, err)))
        return -1;
    agent->migrate = (struct migrate_context){
        .vms = agent->vms,
        .store = agent->store,
        .tls = agent->tls,
        .host_name = config->name,
        .fingerprint = identity_fingerprint(agent->identity),
        .peer_silence_ms = config->peer_silence_s * 1000,
        .peer_lost_ms = config->peer_lost_s * 1000,
        .known_pages = {.sharing = config->sharing,
                        .memory_limit = (size_t)config->dictionary_memory},
    };
    agent->migrate.keeper = open_keeper(config, err);
    if (!agent->migrate.keeper)
        return -1;
    return migrate_context_init(&agent->migrate, err);
}

static void agent_close(struct agent *agent)
{
    keeper_free(agent->migrate.keeper);
    vm_host_free(agent->vms);
    tls_context_free(agent->tls);
    identity_free(agent->identity);
    store_close(agent->store);
}

/* Until SIGTERM or SIGINT; feeds the watchdog meanwhile. */
static void wait_for_end(int signal_fd)
{
    uint64_t watchdog_us = 0;
    int wait_ms = sd_watchdog_enabled(0, &watchdog_us) > 0 ? (int)(watchdog_us / 2000) : -1;
    struct pollfd ready = {.fd = signal_fd, .events = POLLIN};
    while (poll(&ready, 1, wait_ms) <= 0)
        sd_notify(0, "WATCHDOG=1");
}

static int agent_serve(struct agent *agent, int signal_fd, struct error **err)
{
    struct varlink_service *api = api_new(agent, err);
    struct varlink_service *peers = api ? peer_service_new(&agent->migrate, err) : NULL;
    struct peer_port *port = NULL;
    struct listener *local = NULL;
    int result = -1;
    if (peers && vm_host_load(agent->vms, err) == 0 && recover_jobs(&agent->migrate, err) == 0 &&
        (!agent->config->listen || (port = peer_port_start(agent, peers, err))) &&
        (local = local_socket_start(agent->config->socket, api, err))) {
        log_info(NULL, "host %s ready, key %s", agent->config->name,
                 identity_fingerprint(agent->identity));
        sd_notify(0, "READY=1");
        wait_for_end(signal_fd);
        sd_notify(0, "STOPPING=1");
        result = 0;
    }
    /* Moves end first, as their callers wait for the reports; VMs run on. */
    migrate_context_end(&agent->migrate);
    listener_stop(local);
    if (local)
        unlink(agent->config->socket);
    peer_port_stop(port);
    varlink_service_free(peers);
    varlink_service_free(api);
    migrate_context_clear(&agent->migrate);
    return result;
}

static int arm_faults(const struct config *config, struct error **err)
{
    if (!config->faults && !config->fault_socket)
        return 0;
    fault_set_socket(config->fault_socket);
    return fault_arm(config->faults, err);
}

/* One line a point, or all of it as JSON. */
static int list_faults(const struct config *config, struct error **err)
{
    CLEANUP_JSON json_t *list = fault_list(err);
    if (!list)
        return -1;
    if (config->json) {
        CLEANUP_FREE char *text = json_dumps(list, JSON_INDENT(1));
        puts(text);
        return 0;
    }
    size_t i;
    const json_t *point;
    json_array_foreach (list, i, point)
        printf("%3d  %-28s %-9s %s\n", (int)json_opt_int(point, "number", 0),
               json_opt_string(point, "name", ""), json_opt_string(point, "phase", ""),
               json_opt_string(point, "what", ""));
    return 0;
}

static int run(const struct config *config, struct error **err)
{
    if (arm_faults(config, err) < 0)
        return -1;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    block_memory_keep();
    CLEANUP_CLOSE int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    if (signal_fd < 0)
        return error_errno(err, errno, "signalfd");
    log_set_level(config->log_level);
    struct agent agent = {.config = config};
    int result = agent_open(&agent, err) < 0 ? -1 : agent_serve(&agent, signal_fd, err);
    agent_close(&agent);
    return result;
}

int main(int argc, char **argv)
{
    struct config config;
    enum config_action action;
    CLEANUP_ERROR struct error *err = NULL;
    int result = config_load(argc, argv, &config, &action, &err);
    if (result == 0 && action == CONFIG_HELP)
        fputs(config_help, stdout);
    else if (result == 0 && action == CONFIG_VERSION)
        puts("mudanzad " MUDANZA_VERSION);
    else if (result == 0 && action == CONFIG_LIST_FAULTS)
        result = list_faults(&config, &err);
    else if (result == 0)
        result = run(&config, &err);
    if (result < 0) {
        log_error(NULL, "%s", err ? err->message : "cannot start");
        if (err && err->hint)
            log_error(NULL, "%s", err->hint);
    }
    config_clear(&config);
    return result < 0 ? 1 : 0;
}
