/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to other agents: by the name they were added under, with the key they must have. */
#ifndef MIGRATE_PEER_H
#define MIGRATE_PEER_H

#include <stdint.h>

#include "base/error.h"
#include "varlink/varlink.h"
#include "vm/store.h"
#include "wire/hello.h"
#include "wire/tls.h"

/* How long a peer may take to accept a connection and say hello. */
#define PEER_CONNECT_MS 10000
/* How long it may take to answer a call that only looks things up. */
#define PEER_CALL_MS 60000

struct peer {
    struct store_host host;
    int64_t connect_ms, call_ms; /* 0: as above */
    struct tls_context *tls;
};

/* The peer of that name. ERROR_NOT_FOUND says how to add it. */
int peer_find(struct store *store, struct tls_context *tls, const char *name, struct peer *peer,
              struct error **err);
void peer_clear(struct peer *peer);

/* A control connection (io.mudanza.Peer). */
struct varlink_connection *peer_connect_control(const struct peer *peer, int cancel_fd,
                                                struct error **err);
/* The same to the host that has the key of `known`, under whatever name and address by now: the
 * only one whose word on a job counts. Of `known` only tls, name and fingerprint are used. */
struct varlink_connection *peer_find_control(struct store *store, const struct peer *known,
                                             int cancel_fd, struct error **err);
/* A data connection of a job. */
struct tls *peer_connect_data(const struct peer *peer, const char *job, int cancel_fd,
                              int64_t deadline_ns, struct error **err);

/* One call of io.mudanza.Peer; `method` without the interface. `parameters` is taken over. Errors
 * name the host. */
int peer_call(struct varlink_connection *control, const struct peer *peer, const char *method,
              json_t *parameters, json_t **reply, int cancel_fd, struct error **err);
/* The same in two steps, with something else to do between them. */
int peer_call_begin(struct varlink_connection *control, const struct peer *peer, const char *method,
                    json_t *parameters, int cancel_fd, struct error **err);
int peer_call_end(struct varlink_connection *control, const struct peer *peer, json_t **reply,
                  int cancel_fd, struct error **err);

#endif
