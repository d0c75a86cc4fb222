/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to other agents. */
#include "migrate/peer.h"

#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "migrate/job_id.h"

int peer_find(struct store *store, struct tls_context *tls, const char *name, struct peer *peer,
              struct error **err)
{
    memset(peer, 0, sizeof(*peer));
    peer->tls = tls;
    int found = store_host_find(store, name, NULL, &peer->host, err);
    if (found == 0) {
        error_set(err, ERROR_NOT_FOUND, "host %s: not known here", name);
        return error_hint(err,
                          "`mudanza host add %s ADDRESS FINGERPRINT` makes it known; "
                          "`mudanza id` on that host prints its fingerprint",
                          name);
    }
    return found < 0 ? -1 : 0;
}

void peer_clear(struct peer *peer)
{
    store_host_clear(&peer->host);
}

static struct tls *peer_connect(const struct peer *peer, const struct hello *hello, int cancel_fd,
                                int64_t deadline_ns, struct error **err)
{
    struct tls *tls = tls_connect(peer->tls, peer->host.address, peer->host.port,
                                  peer->host.fingerprint, cancel_fd, deadline_ns, err);
    if (tls && hello_send(tls, hello, cancel_fd, deadline_ns, err) == 0)
        return tls;
    tls_close(tls);
    error_prefix(err, "host %s", peer->host.name);
    return NULL;
}

struct varlink_connection *peer_connect_control(const struct peer *peer, int cancel_fd,
                                                struct error **err)
{
    const struct hello hello = {.kind = HELLO_CONTROL};
    int64_t ms = peer->connect_ms ? peer->connect_ms : PEER_CONNECT_MS;
    struct tls *tls = peer_connect(peer, &hello, cancel_fd, clock_deadline_ns(ms), err);
    return tls ? varlink_connection_new(tls_varlink_stream(tls)) : NULL;
}

struct varlink_connection *peer_find_control(struct store *store, const struct peer *known,
                                             int cancel_fd, struct error **err)
{
    struct peer peer = {.tls = known->tls, .connect_ms = known->connect_ms};
    int found = store_host_find(store, NULL, known->host.fingerprint, &peer.host, err);
    if (found == 0) {
        error_set(err, ERROR_NOT_FOUND, "host %s: its key is not known here any more",
                  known->host.name);
        error_hint(err, "`mudanza host add %s ADDRESS %s` makes it known again", known->host.name,
                   known->host.fingerprint);
    }
    struct varlink_connection *control =
        found == 1 ? peer_connect_control(&peer, cancel_fd, err) : NULL;
    peer_clear(&peer);
    return control;
}

struct tls *peer_connect_data(const struct peer *peer, const char *job, int cancel_fd,
                              int64_t deadline_ns, struct error **err)
{
    struct hello hello = {.kind = HELLO_DATA};
    if (job_id_to_bytes(job, hello.job, err) < 0)
        return NULL;
    return peer_connect(peer, &hello, cancel_fd, deadline_ns, err);
}

static int64_t call_deadline_ns(const struct peer *peer)
{
    return clock_deadline_ns(peer->call_ms ? peer->call_ms : PEER_CALL_MS);
}

int peer_call_begin(struct varlink_connection *control, const struct peer *peer, const char *method,
                    json_t *parameters, int cancel_fd, struct error **err)
{
    CLEANUP_FREE char *full = text_format("io.mudanza.Peer.%s", method);
    if (varlink_call_begin(control, full, parameters, cancel_fd, call_deadline_ns(peer), err) < 0)
        return error_prefix(err, "host %s", peer->host.name);
    return 0;
}

int peer_call_end(struct varlink_connection *control, const struct peer *peer, json_t **reply,
                  int cancel_fd, struct error **err)
{
    if (varlink_call_end(control, reply, cancel_fd, call_deadline_ns(peer), err) < 0)
        return error_prefix(err, "host %s", peer->host.name);
    return 0;
}

int peer_call(struct varlink_connection *control, const struct peer *peer, const char *method,
              json_t *parameters, json_t **reply, int cancel_fd, struct error **err)
{
    if (peer_call_begin(control, peer, method, parameters, cancel_fd, err) < 0)
        return -1;
    return peer_call_end(control, peer, reply, cancel_fd, err);
}
