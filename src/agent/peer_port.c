/* SPDX-License-Identifier: Apache-2.0 */
/* The one TCP port: control and data connections of other agents. */
#include "agent/peer_port.h"

#include "base/clock.h"
#include "base/log.h"
#include "migrate/arrival.h"
#include "migrate/job_id.h"
#include "wire/hello.h"

/* For the handshake and the hello together: a stranger holds a thread no longer than that. */
#define GREETING_MS 10000

struct peer_port {
    struct agent *agent;
    struct varlink_service *service;
    struct listener *listener;
};

static void serve_control(struct peer_port *port, struct tls *tls, struct store_host *host,
                          int stop_fd)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct varlink_connection *connection = varlink_connection_new(tls_varlink_stream(tls));
    if (varlink_serve(port->service, connection, host, stop_fd, &err) < 0)
        log_debug(NULL, "control connection of %s: %s", host->name, err->message);
    varlink_connection_free(connection);
}

/* Connections come late and come twice where a network breaks: nothing to warn of. */
static void serve_data(struct peer_port *port, struct tls *tls, const struct hello *hello,
                       const struct store_host *host, int64_t deadline_ns, int stop_fd)
{
    char job[JOB_ID_SIZE];
    struct frame_resume resume;
    CLEANUP_ERROR struct error *err = NULL;
    job_id_from_bytes(hello->job, job);
    if (link_greet(tls, &resume, stop_fd, deadline_ns, &err) < 0)
        tls_close(tls);
    else
        arrival_attach(&port->agent->migrate, job, host->fingerprint, tls, &resume, &err);
    if (err)
        log_info(NULL, "host %s: data connection of job %s: %s", host->name, job, err->message);
}

static void serve_hello(struct peer_port *port, struct tls *tls, struct store_host *host,
                        int64_t deadline_ns, int stop_fd)
{
    struct hello hello;
    CLEANUP_ERROR struct error *err = NULL;
    if (hello_receive(tls, &hello, stop_fd, deadline_ns, &err) < 0) {
        log_warning(NULL, "host %s: %s", host->name, err->message);
        tls_close(tls);
    } else if (hello.kind == HELLO_CONTROL) {
        serve_control(port, tls, host, stop_fd);
    } else {
        serve_data(port, tls, &hello, host, deadline_ns, stop_fd);
    }
}

static void serve(void *context, int fd, int stop_fd)
{
    struct peer_port *port = context;
    CLEANUP_ERROR struct error *err = NULL;
    int64_t deadline_ns = clock_deadline_ns(GREETING_MS);
    struct tls *tls = tls_accept(port->agent->tls, fd, stop_fd, deadline_ns, &err);
    if (!tls) {
        /* One that breaks before it is known is a network's, or a port scanner's. */
        log_record(err->kind == ERROR_UNREACHABLE ? LOG_INFO : LOG_WARNING, NULL,
                   "a connection was refused: %s", err->message);
        return;
    }
    struct store_host host = {0};
    if (store_host_find(port->agent->store, NULL, tls_peer_fingerprint(tls), &host, &err) == 1)
        serve_hello(port, tls, &host, deadline_ns, stop_fd);
    else
        tls_close(tls); /* removed a moment ago */
    store_host_clear(&host);
}

struct peer_port *peer_port_start(struct agent *agent, struct varlink_service *service,
                                  struct error **err)
{
    CLEANUP_FREE char *address = NULL;
    uint16_t number;
    if (wire_parse_address(agent->config->listen, WIRE_DEFAULT_PORT, &address, &number, err) < 0)
        return NULL;
    int fd = tls_listen(address, number, err);
    if (fd < 0)
        return NULL;
    struct peer_port *port = calloc(1, sizeof(*port));
    if (!port) {
        close(fd);
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    port->agent = agent;
    port->service = service;
    port->listener = listener_start(fd, serve, port, err);
    if (port->listener)
        return port;
    free(port);
    return NULL;
}

void peer_port_stop(struct peer_port *port)
{
    if (!port)
        return;
    listener_stop(port->listener);
    free(port);
}
