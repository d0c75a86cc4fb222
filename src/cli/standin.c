/* SPDX-License-Identifier: Apache-2.0 */
/* A stand-in for the agent, for tests of the program. */
#include "cli/standin.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "varlink/varlink.h"

#define CONNECTIONS_MAX 64 /* in one test */

struct standin {
    char directory[64];
    struct sockaddr_un address;
    int listener;
    int stop;    /* eventfd: everything ends */
    int aborted; /* eventfd: AbortJob of "slow" came */
    struct varlink_service *service;
    pthread_t acceptor;
    pthread_t threads[CONNECTIONS_MAX]; /* one for each connection there was */
    size_t n_threads;
    pthread_mutex_t lock;
    pthread_cond_t called; /* one more is in `calls` */
    json_t *calls;         /* {method: parameters}, copies of its own, under the lock */
};

/* The one whose folder is there. cmocka skips the teardown of a test that fails, and a test that
 * hangs is killed: the folder goes at the end of the process in any case. */
static struct standin *present;

static void remove_folder(void)
{
    if (!present)
        return;
    unlink(present->address.sun_path);
    rmdir(present->directory);
    present = NULL;
}

static void remove_and_die(int number)
{
    remove_folder();
    signal(number, SIG_DFL);
    raise(number);
}

static void remove_at_the_end(struct standin *standin)
{
    static bool registered;
    remove_folder(); /* of a test that failed */
    present = standin;
    if (registered)
        return;
    registered = true;
    atexit(remove_folder);
    static const int deadly[] = {SIGTERM, SIGINT, SIGABRT};
    for (size_t i = 0; i < ARRAY_SIZE(deadly); i++)
        signal(deadly[i], remove_and_die);
}

/* One connection, handed to its thread. */
struct session {
    struct standin *standin;
    int fd;
};

static void check(int result, const char *what)
{
    if (result >= 0)
        return;
    fprintf(stderr, "stand-in: %s: %s\n", what, strerror(errno));
    abort();
}

static void record(struct standin *standin, const struct varlink_call *call)
{
    LOCK_SCOPE(&standin->lock);
    json_object_set_new(standin->calls, strrchr(call->method, '.') + 1,
                        json_deep_copy(call->parameters));
    pthread_cond_broadcast(&standin->called);
}

void standin_await(struct standin *standin, const char *method)
{
    LOCK_SCOPE(&standin->lock);
    while (!json_object_get(standin->calls, method))
        pthread_cond_wait(&standin->called, &standin->lock);
}

json_t *standin_call(struct standin *standin, const char *method)
{
    LOCK_SCOPE(&standin->lock);
    return json_deep_copy(json_object_get(standin->calls, method));
}

/* The VM that a call is about, after noting the call. NULL with an error for "nobody". */
static const char *enter(void *context, const struct varlink_call *call, struct error **err)
{
    record(context, call);
    const char *vm = json_opt_string(call->parameters, "vm", "");
    if (strcmp(vm, "nobody") != 0)
        return vm;
    error_set(err, ERROR_NOT_FOUND, "nobody: no such VM");
    error_hint(err, "mudanza list --all shows those there are");
    return NULL;
}

static json_t *make_vm(const char *name, const char *state)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:s, s:i, s:I}", "name", name, "uuid",
                     "7d2cd3c5-4b4c-4b6e-9f0e-2f3a3e6f7a01", "state", state, "persistent", 1,
                     "accelerator", "kvm", "vcpus", 2, "memory", (json_int_t)1 << 30);
}

static json_t *make_progress(const char *vm, const char *phase, double percent)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:f, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "vm",
                     vm, "source", "alpha", "destination", "beta", "mode", "live", "phase", phase,
                     "percent", percent, "elapsed_ms", 100, "ram_total", 1 << 30, "ram_bytes",
                     1 << 20, "ram_remaining", 1 << 29, "wire_bytes", 1 << 20, "rate", 1 << 27,
                     "dirty_rate", 0, "round", 1);
}

static json_t *make_report(const char *vm, const char *outcome, const char *reason)
{
    json_t *report = json_pack(
        "{s:s, s:s, s:s, s:[], s:[], s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:b, s:b}", "vm", vm,
        "mode", "non_live", "outcome", outcome, "problems", "warnings", "phase", "confirm",
        "source", "alpha", "destination", "beta", "total_ms", 612, "downtime_ms", 18, "ram_bytes",
        162529280, "wire_bytes", 146800640, "rounds", 3, "verified", 1, "post_copy", 0);
    static const char *const times[] = {"plan_ms",     "prepare_ms", "copy_ms",
                                        "handover_ms", "confirm_ms", "mended_pages"};
    for (size_t i = 0; i < ARRAY_SIZE(times); i++)
        json_object_set_new(report, times[i], json_integer((json_int_t)i));
    if (reason)
        json_object_set_new(report, "reason", json_string(reason));
    return report;
}

static int done(json_t **reply, json_t *parameters)
{
    *reply = parameters;
    return 0;
}

/* For methods that only take a name and say nothing. */
static int act(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)reply;
    return enter(context, call, err) ? 0 : -1;
}

static int get_agent(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)err;
    record(context, call);
    return done(reply, json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:[{s:s, s:s, s:i, s:i}]}", "name",
                                 "alpha", "fingerprint",
                                 "SHA256:abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", "version",
                                 "0.1.0", "protocol", 2, "listen", "*:16517", "emulator",
                                 "/usr/bin/qemu-system-x86_64", "kept_ram", "vm", "web", "uuid",
                                 "6a1f3b9e-5f0c-4c7e-9d0a-0c1b2a3d4e5f", "bytes", 162529280,
                                 "age_ms", 61500));
}

static int list(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)err;
    record(context, call);
    return done(reply, json_pack("{s:[o, o]}", "vms", make_vm("web", "running"),
                                 make_vm("doubtful", "in_doubt")));
}

static int get(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const char *vm = enter(context, call, err);
    /* After a shutdown "web" is off at once; "stubborn" never is. */
    CLEANUP_JSON json_t *asked = standin_call(context, "Shutdown");
    bool off = asked && vm && strcmp(vm, "web") == 0;
    return vm ? done(reply, json_pack("{s:o}", "vm", make_vm(vm, off ? "shut_off" : "running")))
              : -1;
}

static int define(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    record(context, call);
    if (!strstr(json_opt_string(call->parameters, "xml", ""), "<domain"))
        return error_set(err, ERROR_INVALID, "line 1: <domain> expected");
    return done(reply, json_pack("{s:o, s:[s]}", "vm", make_vm("web", "shut_off"), "warnings",
                                 "<seclabel> is kept without effect"));
}

static int dump_xml(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    if (!enter(context, call, err))
        return -1;
    return done(reply, json_pack("{s:s}", "xml", "<domain type='kvm'>\n</domain>\n"));
}

static int start(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const char *vm = enter(context, call, err);
    return vm ? done(reply, json_pack("{s:o}", "vm", make_vm(vm, "running"))) : -1;
}

static int list_hosts(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)err;
    record(context, call);
    bool probe = json_opt_bool(call->parameters, "probe", false);
    json_t *host = json_pack("{s:s, s:s, s:i, s:s}", "name", "beta", "address", "10.0.0.2", "port",
                             16517, "fingerprint", "SHA256:x");
    if (probe)
        json_object_update_new(
            host, json_pack("{s:b, s:s}", "reachable", 0, "problem", "connection refused"));
    return done(reply, json_pack("{s:[o]}", "hosts", host));
}

/* Ends the connection under the caller, as if the agent had died. */
static int break_off(const struct varlink_call *call, struct error **err)
{
    shutdown(varlink_connection_fd(call->connection), SHUT_RDWR);
    return error_set(err, ERROR_INTERNAL, "nobody can read this");
}

static int reply_progress(struct varlink_call *call, const char *vm, const char *phase,
                          double percent, struct error **err)
{
    return varlink_reply_more(
        call, json_pack("{s:o}", "progress", make_progress(vm, phase, percent)), err);
}

static int reply_report(json_t **reply, json_t *report)
{
    return done(reply, json_pack("{s:o}", "report", report));
}

/* A move whose per cent, against the rules, fall from one phase to the next. */
static int move_well(struct varlink_call *call, const char *vm, json_t **reply, struct error **err)
{
    if (call->more && (reply_progress(call, vm, "plan", 10, err) < 0 ||
                       reply_progress(call, vm, "prepare", 40, err) < 0 ||
                       reply_progress(call, vm, "copy", 20, err) < 0 ||
                       reply_progress(call, vm, "handover", 60, err) < 0 ||
                       reply_progress(call, vm, "confirm", 250, err) < 0))
        return -1;
    return reply_report(reply, make_report(vm, "completed", NULL));
}

static int chatter(struct varlink_call *call, const char *vm, json_t **reply, struct error **err)
{
    for (int i = 0; i < 200; i++)
        if (reply_progress(call, vm, "copy", i / 2.0, err) < 0)
            return -1;
    return reply_report(reply, make_report(vm, "completed", NULL));
}

static int move_badly(const char *vm, json_t **reply)
{
    json_t *report = make_report(vm, "failed", "beta cannot take it");
    json_object_set_new(report, "problems",
                        json_pack("[{s:s, s:s, s:s}, {s:s, s:s}]", "check", "bridge", "message",
                                  "bridge 'br0' is missing", "hint", "create it", "check", "memory",
                                  "message", "too little RAM"));
    return reply_report(reply, report);
}

/* Both ways to follow a move, Migrate and GetJob, behave the same here. */
static int follow(struct standin *standin, struct varlink_call *call, const char *vm,
                  json_t **reply, struct error **err)
{
    if (strcmp(vm, "broken") == 0)
        return move_badly(vm, reply);
    if (strcmp(vm, "doubtful") == 0)
        return reply_report(reply, make_report(vm, "in_doubt", "beta does not answer"));
    if (strcmp(vm, "web") == 0)
        return move_well(call, vm, reply, err);
    if (strcmp(vm, "chatty") == 0)
        return chatter(call, vm, reply, err);
    if (call->more && reply_progress(call, vm, "copy", 5, err) < 0)
        return -1;
    if (strcmp(vm, "rude") == 0)
        return error_set(err, ERROR_INTERNAL, "rude: no report");
    if (strcmp(vm, "fatal") == 0)
        return break_off(call, err);
    bool slow = strcmp(vm, "slow") == 0;
    if (fd_wait(slow ? standin->aborted : call->cancel_fd, POLLIN, call->cancel_fd, DEADLINE_NEVER,
                err) < 0)
        return -1;
    return reply_report(reply, make_report(vm, "aborted", "the user asked for it"));
}

static int migrate(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const char *vm = enter(context, call, err);
    return vm ? follow(context, call, vm, reply, err) : -1;
}

static int get_job(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const char *vm = enter(context, call, err);
    if (!vm)
        return -1;
    if (strcmp(vm, "old") == 0)
        return reply_report(reply, make_report(vm, "failed", "beta refused"));
    if (call->more)
        return follow(context, call, vm, reply, err);
    return done(reply, strcmp(vm, "web") == 0
                           ? json_object()
                           : json_pack("{s:o}", "progress", make_progress(vm, "copy", 43)));
}

static int abort_job(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const struct standin *standin = context;
    const char *vm = enter(context, call, err);
    if (!vm)
        return -1;
    if (strcmp(vm, "stubborn") == 0)
        return error_set(err, ERROR_STATE, "stubborn: the destination has it already");
    if (strcmp(vm, "slow") == 0)
        fd_event_signal(standin->aborted);
    const char *outcome = strcmp(vm, "web") == 0        ? "completed"
                          : strcmp(vm, "doubtful") == 0 ? "in_doubt"
                                                        : "aborted";
    return reply_report(reply, make_report(vm, outcome, NULL));
}

/* Of "slow" nothing is in doubt; of the others it is, until now. */
static int resolve_job(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const char *vm = enter(context, call, err);
    if (!vm)
        return -1;
    if (strcmp(vm, "slow") == 0)
        return error_set(err, ERROR_STATE, "slow: its move is not in doubt");
    bool here = json_opt_bool(call->parameters, "runs_here", false);
    bool answered = strcmp(vm, "late") == 0; /* the destination did, in the last moment */
    return reply_report(
        reply, make_report(vm, here == answered ? "completed" : "failed", "decided by hand"));
}

static const struct varlink_method_entry methods[] = {
    {"GetAgent", get_agent},
    {"List", list},
    {"Get", get},
    {"Define", define},
    {"Undefine", act},
    {"DumpXml", dump_xml},
    {"Start", start},
    {"Shutdown", act},
    {"Destroy", act},
    {"Suspend", act},
    {"Resume", act},
    {"AddHost", act},
    {"RemoveHost", act},
    {"ListHosts", list_hosts},
    {"Migrate", migrate},
    {"GetJob", get_job},
    {"AbortJob", abort_job},
    {"ResolveJob", resolve_job},
};

static void *serve(void *argument)
{
    struct session session = *(struct session *)argument;
    free(argument);
    struct varlink_connection *connection = varlink_connection_new(varlink_stream_fd(session.fd));
    /* An error here is a caller that went away in the middle of something: what tests provoke. */
    varlink_serve(session.standin->service, connection, NULL, session.standin->stop, NULL);
    varlink_connection_free(connection);
    return NULL;
}

static void *accept_all(void *argument)
{
    struct standin *standin = argument;
    while (standin->n_threads < CONNECTIONS_MAX &&
           fd_wait(standin->listener, POLLIN, standin->stop, DEADLINE_NEVER, NULL) == 0) {
        struct session *session = malloc(sizeof(*session));
        *session = (struct session){standin, accept4(standin->listener, NULL, NULL, SOCK_CLOEXEC)};
        check(session->fd, "accept");
        check(-pthread_create(&standin->threads[standin->n_threads++], NULL, serve, session),
              "thread");
    }
    return NULL;
}

static struct varlink_service *make_service(struct standin *standin)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *description =
        file_read(SOURCE_ROOT "/src/agent/io.mudanza.varlink", (size_t)1 << 20, NULL, &err);
    struct varlink_service *service =
        description ? varlink_service_new("stand-in", "0", description, methods,
                                          ARRAY_SIZE(methods), standin, &err)
                    : NULL;
    if (!service) {
        fprintf(stderr, "stand-in: %s\n", err->message);
        abort();
    }
    return service;
}

struct standin *standin_start(void)
{
    struct standin *standin = calloc(1, sizeof(*standin));
    *standin = (struct standin){
        .directory = "/tmp/mudanza-standin-XXXXXX",
        .address.sun_family = AF_UNIX,
        .stop = eventfd(0, EFD_CLOEXEC),
        .aborted = eventfd(0, EFD_CLOEXEC),
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .called = PTHREAD_COND_INITIALIZER,
        .calls = json_object(),
    };
    check(mkdtemp(standin->directory) ? 0 : -1, "folder");
    snprintf(standin->address.sun_path, sizeof(standin->address.sun_path), "%s/socket",
             standin->directory);
    remove_at_the_end(standin);
    standin->service = make_service(standin);
    standin->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(bind(standin->listener, (const struct sockaddr *)&standin->address,
               sizeof(standin->address)),
          "bind");
    check(listen(standin->listener, CONNECTIONS_MAX), "listen");
    check(-pthread_create(&standin->acceptor, NULL, accept_all, standin), "thread");
    return standin;
}

void standin_stop(struct standin *standin)
{
    fd_event_signal(standin->stop);
    pthread_join(standin->acceptor, NULL);
    for (size_t i = 0; i < standin->n_threads; i++)
        pthread_join(standin->threads[i], NULL);
    close(standin->listener);
    close(standin->stop);
    close(standin->aborted);
    remove_folder();
    varlink_service_free(standin->service);
    json_decref(standin->calls);
    pthread_cond_destroy(&standin->called);
    pthread_mutex_destroy(&standin->lock);
    free(standin);
}

const char *standin_socket(const struct standin *standin)
{
    return standin->address.sun_path;
}
