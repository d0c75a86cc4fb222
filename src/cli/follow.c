/* SPDX-License-Identifier: Apache-2.0 */
/* Follows a move to its end. */
#include "cli/follow.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"
#include "cli/connect.h"
#include "cli/signals.h"

/* One following: the move's connection, and the one on which an abort was asked for. */
struct state {
    const struct follow *follow;
    struct signals signals;
    struct varlink_connection *abort; /* NULL: no answer is awaited on it */
    bool interrupted;
    bool any; /* the agent has taken the call: a progress came */
    json_t *report;
};

/* Sends AbortJob on a connection of its own; its answer comes while the move goes on. */
static void ask_abort(struct state *state)
{
    const struct follow *follow = state->follow;
    CLEANUP_ERROR struct error *err = NULL;
    progress_note(follow->progress,
                  "%s: asking the agent to abort; Ctrl-C again leaves the move "
                  "to itself",
                  follow->vm);
    state->abort = connect_agent(follow->socket, &err);
    if (state->abort &&
        varlink_call_more(state->abort, "io.mudanza.AbortJob", json_pack("{s:s}", "vm", follow->vm),
                          -1, DEADLINE_NEVER, &err) == 0)
        return;
    progress_note(follow->progress, "%s: cannot abort: %s", follow->vm,
                  err ? err->message : "no reason given");
    varlink_connection_free(STEAL(state->abort));
}

/* The agent's answer to the abort. Its report also comes on the move's own connection. */
static void take_abort_answer(struct state *state)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *reply = NULL;
    bool continues = false;
    if (varlink_next(state->abort, &reply, &continues, -1, DEADLINE_NEVER, &err) < 0)
        progress_note(state->follow->progress, "%s: cannot abort: %s", state->follow->vm,
                      err ? err->message : "no reason given");
    varlink_connection_free(STEAL(state->abort));
}

/* A signal came. Returns 0 to go on, -1 with an error to leave. */
static int take_signal(struct state *state, struct error **err)
{
    const struct follow *follow = state->follow;
    int number = signals_take(&state->signals);
    if (number == 0)
        return 0;
    if (number == SIGINT && follow->abort_on_interrupt && !state->interrupted) {
        state->interrupted = true;
        ask_abort(state);
        return 0;
    }
    error_set(err, ERROR_CANCELLED, "%s: left without waiting: the move goes on", follow->vm);
    return error_hint(err, "'mudanza job %s --watch' follows it, 'mudanza abort %s' ends it",
                      follow->vm, follow->vm);
}

/* Takes what one message says. */
static void take_reply(struct state *state, json_t *reply)
{
    json_t *progress = json_object_get(reply, "progress");
    json_t *report = json_object_get(reply, "report");
    state->any = true;
    if (json_is_object(progress))
        progress_show(state->follow->progress, progress);
    if (json_is_object(report)) {
        json_decref(state->report);
        state->report = json_incref(report);
    }
}

/* One message of the agent. Returns 1 when it was the last, 0 to go on, -1 on error. */
static int take_message(struct state *state, struct error **err)
{
    struct varlink_connection *connection = state->follow->connection;
    CLEANUP_JSON json_t *reply = NULL;
    struct error *why = NULL;
    bool continues = false;
    if (varlink_next(connection, &reply, &continues, state->signals.fd, DEADLINE_NEVER, &why) < 0) {
        /* A signal in the middle of a message: the connection keeps the part it has. */
        if (why && why->kind == ERROR_CANCELLED && varlink_connection_awaiting(connection)) {
            error_free(why);
            return take_signal(state, err);
        }
        return error_move(err, why);
    }
    take_reply(state, reply);
    return continues ? 0 : 1;
}

/* Waits for the agent, the user or the abort's answer, and takes what came. As take_message. */
static int step(struct state *state, struct error **err)
{
    if (varlink_connection_pending(state->follow->connection))
        return take_message(state, err);
    struct pollfd polls[] = {
        {.fd = state->signals.fd, .events = POLLIN},
        {.fd = varlink_connection_fd(state->follow->connection), .events = POLLIN},
        {.fd = state->abort ? varlink_connection_fd(state->abort) : -1, .events = POLLIN},
    };
    if (poll(polls, ARRAY_SIZE(polls), -1) < 0)
        return errno == EINTR ? 0 : error_errno(err, errno, "poll");
    if (polls[0].revents && take_signal(state, err) < 0)
        return -1;
    if (polls[2].revents && state->abort)
        take_abort_answer(state);
    return polls[1].revents ? take_message(state, err) : 0;
}

/* What an error means: the agent's own answer, or the end of what we see of the move. */
static enum follow_end judge(const struct state *state, struct error **err)
{
    const struct follow *follow = state->follow;
    if (!state->any && !varlink_connection_awaiting(follow->connection))
        return FOLLOW_REFUSED;
    if (*err && (*err)->kind != ERROR_CANCELLED) {
        error_prefix(err, "%s: how the move ends is not known here", follow->vm);
        error_hint(err, "ask for it: mudanza job %s", follow->vm);
    }
    return FOLLOW_UNKNOWN;
}

enum follow_end follow_run(const struct follow *follow, const char *method, json_t *parameters,
                           json_t **report, struct error **err)
{
    struct state state = {.follow = follow};
    CLEANUP_JSON json_t *owned = parameters;
    *report = NULL;
    if (!owned) {
        error_set(err, ERROR_INVALID, "an argument is not UTF-8 text");
        return FOLLOW_REFUSED;
    }
    /* First the signals: once the call is out, Ctrl-C means the move. */
    if (signals_open(&state.signals, err) < 0)
        return FOLLOW_REFUSED;
    struct error *why = NULL;
    int result =
        varlink_call_more(follow->connection, method, STEAL(owned), -1, DEADLINE_NEVER, &why);
    while (result == 0)
        result = step(&state, &why);
    signals_close(&state.signals);
    varlink_connection_free(state.abort);
    enum follow_end end = result > 0 ? FOLLOW_REPORT : judge(&state, &why);
    error_move(err, why);
    if (end == FOLLOW_REPORT)
        *report = STEAL(state.report);
    json_decref(state.report);
    return end;
}
