/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's configuration: defaults, then the file, then the command line. */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "migrate/known_pages.h"

struct config {
    char *name;             /* this host's, for people and peers */
    char *state_dir;        /* database, key, logs, NVRAM */
    char *run_dir;          /* monitor sockets */
    char *socket;           /* the local Varlink socket */
    char *listen;           /* ADDRESS[:PORT] for peers; NULL: this host only sends */
    char *emulator;         /* for domains without <emulator> */
    char *qemu_user;        /* QEMU runs as; NULL: as the agent's own user */
    int log_level;          /* syslog priority */
    int64_t peer_silence_s; /* a connection on which nothing came for so long is dropped */
    int64_t peer_lost_s;    /* a host that is away in a move is waited for so long */

    enum sharing sharing;      /* whose pages may stand in for a VM's that moves */
    int64_t dictionary_memory; /* for that, bytes a move; 0 before config_load */
    int64_t keep_ram;          /* of VMs that left, bytes; -1: an eighth of all memory */
    int64_t keep_ram_seconds;

    /* On the command line only; see base/fault.h. */
    char *faults, *fault_socket; /* NULL: none */
    bool json;                   /* of --list-faults */
};

enum config_action { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION, CONFIG_LIST_FAULTS };

/* Reads the command line and the file it names (or the default one, if it is there). ERROR_INVALID
 * names the option, or the file and line. Filled strings are the caller's (config_clear). */
int config_load(int argc, char **argv, struct config *config, enum config_action *action,
                struct error **err);
void config_clear(struct config *config);

/* One file's settings: `text` is changed. For config_load and the tests. */
int config_parse(struct config *config, char *text, const char *path, struct error **err);

extern const char config_help[];

#endif
