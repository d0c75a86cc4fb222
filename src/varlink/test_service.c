/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of calls and of a service, over a socket pair with the service in its own thread. */
#include "base/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "varlink/varlink.h"

static const char description[] = "interface org.example.count\n"
                                  "method Add(number: int, unit: ?(one, dozen)) -> (sum: int)\n"
                                  "method Count(to: int) -> (at: int)\n"
                                  "method Fail() -> ()\n"
                                  "method Lie() -> (truth: bool)\n"
                                  "method Wait() -> ()\n"
                                  "method Later() -> ()\n"
                                  "error Failed (kind: string, message: string, hint: ?string)\n";

/* The service's thread, and the caller's side of its connection. */
struct fixture {
    struct varlink_service *service;
    struct varlink_connection *server;
    struct varlink_connection *client;
    int cancel;
    pthread_t thread;
    bool joined;
    int result;
    struct error *problem;
    atomic_int sum;
    int waiting; /* eventfd: Wait has been entered */
};

static int add(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    struct fixture *fixture = context;
    (void)err;
    int number = (int)json_opt_int(call->parameters, "number", 0);
    if (text_equal(json_opt_string(call->parameters, "unit", "one"), "dozen"))
        number *= 12;
    *reply = json_pack("{s:i}", "sum", atomic_fetch_add(&fixture->sum, number) + number);
    return 0;
}

static int count(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)context;
    int to = (int)json_opt_int(call->parameters, "to", 0);
    for (int at = 1; at < to; at++)
        if (varlink_reply_more(call, json_pack("{s:i}", "at", at), err) < 0)
            return -1;
    *reply = json_pack("{s:i}", "at", to);
    return 0;
}

static int fail_method(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)context;
    (void)call;
    (void)reply;
    error_set(err, ERROR_NOT_FOUND, "vm 'x': not defined");
    return error_hint(err, "see mudanza list");
}

static int lie(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    (void)context;
    (void)call;
    (void)err;
    *reply = json_pack("{s:s}", "truth", "yes");
    return 0;
}

/* Returns when the service is cancelled. */
static int wait_method(void *context, struct varlink_call *call, json_t **reply, struct error **err)
{
    const struct fixture *fixture = context;
    (void)reply;
    fd_event_signal(fixture->waiting);
    return fd_wait(call->cancel_fd, 0, call->cancel_fd, DEADLINE_NEVER, err);
}

static const struct varlink_method_entry methods[] = {{"Add", add},          {"Count", count},
                                                      {"Fail", fail_method}, {"Lie", lie},
                                                      {"Wait", wait_method}, {"Later", NULL}};

static void *serve(void *argument)
{
    struct fixture *fixture = argument;
    fixture->result =
        varlink_serve(fixture->service, fixture->server, NULL, fixture->cancel, &fixture->problem);
    /* Closing tells the caller that the service is done with it. */
    varlink_connection_free(fixture->server);
    return NULL;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    fixture->server = varlink_connection_new(varlink_stream_fd(pair[0]));
    fixture->client = varlink_connection_new(varlink_stream_fd(pair[1]));
    fixture->cancel = eventfd(0, EFD_CLOEXEC);
    fixture->waiting = eventfd(0, EFD_CLOEXEC);
    CLEANUP_ERROR struct error *err = NULL;
    fixture->service = varlink_service_new("Counter", "1.2", description, methods,
                                           ARRAY_SIZE(methods), fixture, &err);
    assert_ok(fixture->service ? 0 : -1, err);
    assert_int_equal(pthread_create(&fixture->thread, NULL, serve, fixture), 0);
    *state = fixture;
    return 0;
}

/* Waits for the end of varlink_serve, which the test has brought about. */
static void join(struct fixture *fixture)
{
    pthread_join(fixture->thread, NULL);
    fixture->joined = true;
}

static void client_closes(struct fixture *fixture)
{
    varlink_connection_free(STEAL(fixture->client));
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    if (!fixture->joined) {
        fd_event_signal(fixture->cancel);
        join(fixture);
    }
    varlink_connection_free(fixture->client);
    varlink_service_free(fixture->service);
    error_free(fixture->problem);
    close(fixture->cancel);
    close(fixture->waiting);
    free(fixture);
    return 0;
}

static json_t *call(const struct fixture *fixture, const char *method, json_t *parameters,
                    struct error **err)
{
    json_t *reply = NULL;
    varlink_call(fixture->client, method, parameters, &reply, -1, DEADLINE_NEVER, err);
    return reply;
}

static void say(const struct fixture *fixture, const void *bytes, size_t size)
{
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(fd_write_full(varlink_connection_fd(fixture->client), bytes, size, &err), err);
}

static void assert_answer(const struct fixture *fixture, const char *expected)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *message = varlink_receive(fixture->client, -1, DEADLINE_NEVER, &err);
    assert_ok(message ? 0 : -1, err);
    CLEANUP_FREE char *text = json_dumps(message, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, expected);
}

static void test_a_call_is_answered(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *first =
        call(fixture, "org.example.count.Add", json_pack("{s:i}", "number", 2), &err);
    assert_ok(first ? 0 : -1, err);
    CLEANUP_JSON json_t *second = call(fixture, "org.example.count.Add",
                                       json_pack("{s:i, s:s}", "number", 1, "unit", "dozen"), &err);
    assert_ok(second ? 0 : -1, err);
    assert_int_equal(json_opt_int(second, "sum", 0), 14);
    client_closes(fixture);
    join(fixture);
    assert_int_equal(fixture->result, 0);
}

static void test_a_failed_method_gives_kind_message_and_hint(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(call(fixture, "org.example.count.Fail", NULL, &err));
    assert_int_equal(err->kind, ERROR_NOT_FOUND);
    assert_string_equal(err->message, "vm 'x': not defined");
    assert_string_equal(err->hint, "see mudanza list");
}

static void test_a_reply_that_differs_from_the_description_is_an_internal_error(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(call(fixture, "org.example.count.Lie", NULL, &err));
    assert_int_equal(err->kind, ERROR_INTERNAL);
    assert_non_null(strstr(err->message, "truth: must be true or false"));
}

static void test_wrong_calls_get_the_standard_errors(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *call, *answer;
    } cases[] = {
        {"{\"method\":\"org.example.count.Add\"}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":"
         "\"number\"}}"},
        {"{\"method\":\"org.example.count.Add\",\"parameters\":{\"number\":\"1\"}}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":"
         "\"number\"}}"},
        {"{\"method\":\"org.example.count.Add\",\"parameters\":{\"number\":1,\"unit\":\"two\"}}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":"
         "\"unit\"}}"},
        {"{\"method\":\"org.example.count.Add\",\"parameters\":{\"number\":1,\"n\":1}}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":"
         "\"n\"}}"},
        {"{\"method\":\"org.example.count.Sub\"}",
         "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":"
         "\"org.example.count.Sub\"}}"},
        {"{\"method\":\"org.example.Count\"}",
         "{\"error\":\"org.varlink.service.InterfaceNotFound\",\"parameters\":{\"interface\":"
         "\"org.example\"}}"},
        {"{\"method\":\"Count\"}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":"
         "\"method\"}}"},
        {"{\"method\":\"org.example.count.Later\"}",
         "{\"error\":\"org.varlink.service.MethodNotImplemented\",\"parameters\":{\"method\":"
         "\"org.example.count.Later\"}}"},
        {"{\"method\":\"org.example.count.Fail\",\"upgrade\":true}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":"
         "\"upgrade\"}}"},
        {"{\"method\":\"org.example.count.Fail\",\"later\":true}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":"
         "\"later\"}}"},
        {"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{"
         "\"interface\":\"a.b\"}}",
         "{\"error\":\"org.varlink.service.InterfaceNotFound\",\"parameters\":{\"interface\":"
         "\"a.b\"}}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        say(fixture, cases[i].call, strlen(cases[i].call) + 1);
        assert_answer(fixture, cases[i].answer);
    }
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(call(fixture, "org.example.count.Add", NULL, &err));
    assert_int_equal(err->kind, ERROR_INVALID);
    assert_string_equal(err->message, "org.example.count.Add: org.varlink.service.InvalidParameter "
                                      "{\"parameter\":\"number\"}");
}

static void test_the_service_describes_itself(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *info = call(fixture, "org.varlink.service.GetInfo", NULL, &err);
    assert_ok(info ? 0 : -1, err);
    CLEANUP_FREE char *text = json_dumps(info, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, "{\"interfaces\":[\"org.varlink.service\",\"org.example.count\"],"
                              "\"product\":\"Counter\",\"url\":\"\",\"vendor\":\"Counter\","
                              "\"version\":\"1.2\"}");
    CLEANUP_JSON json_t *own = call(fixture, "org.varlink.service.GetInterfaceDescription",
                                    json_pack("{s:s}", "interface", "org.example.count"), &err);
    assert_ok(own ? 0 : -1, err);
    assert_string_equal(json_opt_string(own, "description", NULL), description);
    CLEANUP_JSON json_t *standard =
        call(fixture, "org.varlink.service.GetInterfaceDescription",
             json_pack("{s:s}", "interface", "org.varlink.service"), &err);
    assert_ok(standard ? 0 : -1, err);
    assert_non_null(strstr(json_opt_string(standard, "description", ""), "method GetInfo()"));
}

static void test_more_gives_several_replies_and_the_last_ends_it(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(varlink_call_more(fixture->client, "org.example.count.Count",
                                json_pack("{s:i}", "to", 3), -1, DEADLINE_NEVER, &err),
              err);
    struct error *busy = NULL;
    assert_null(call(fixture, "org.example.count.Fail", NULL, &busy));
    assert_int_equal(busy->kind, ERROR_STATE);
    error_free(busy);
    bool continues = true;
    int seen = 0;
    while (continues) {
        CLEANUP_JSON json_t *reply = NULL;
        assert_ok(varlink_next(fixture->client, &reply, &continues, -1, DEADLINE_NEVER, &err), err);
        assert_int_equal(json_opt_int(reply, "at", 0), ++seen);
    }
    assert_int_equal(seen, 3);
    assert_int_equal(varlink_next(fixture->client, NULL, &continues, -1, DEADLINE_NEVER, &err), -1);
    assert_int_equal(err->kind, ERROR_STATE);
}

static void test_several_replies_are_not_sent_unasked(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(call(fixture, "org.example.count.Count", json_pack("{s:i}", "to", 3), &err));
    assert_int_equal(err->kind, ERROR_INTERNAL);
}

static void test_pipelined_calls_are_answered_in_order(void **state)
{
    struct fixture *fixture = *state;
    static const char calls[] =
        "{\"method\":\"org.example.count.Add\",\"parameters\":{\"number\":1}}\0"
        "{\"method\":\"org.example.count.Add\",\"parameters\":{\"number\":10}}\0"
        "{\"method\":\"org.example.count.Count\",\"parameters\":{\"to\":2},\"more\":true}";
    say(fixture, calls, sizeof(calls));
    assert_answer(fixture, "{\"parameters\":{\"sum\":1}}");
    assert_answer(fixture, "{\"parameters\":{\"sum\":11}}");
    assert_answer(fixture, "{\"continues\":true,\"parameters\":{\"at\":1}}");
    assert_answer(fixture, "{\"parameters\":{\"at\":2}}");
}

static void test_oneway_calls_are_carried_out_and_not_answered(void **state)
{
    struct fixture *fixture = *state;
    static const char calls[] =
        "{\"method\":\"org.example.count.Add\",\"parameters\":{\"number\":5},\"oneway\":true}\0"
        "{\"method\":\"org.example.count.Fail\",\"oneway\":true}\0"
        "{\"method\":\"org.example.count.Nope\",\"oneway\":true,\"more\":true}\0"
        "{\"method\":\"org.example.count.Add\",\"parameters\":{\"number\":1}}";
    say(fixture, calls, sizeof(calls));
    assert_answer(fixture, "{\"parameters\":{\"sum\":6}}");
}

static void assert_served_until(struct fixture *fixture, const char *bytes, size_t size,
                                const char *message)
{
    say(fixture, bytes, size);
    join(fixture);
    assert_int_equal(fixture->result, -1);
    assert_int_equal(fixture->problem->kind, ERROR_INVALID);
    assert_non_null(strstr(fixture->problem->message, message));
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(varlink_receive(fixture->client, -1, DEADLINE_NEVER, &err));
    assert_null(err);
}

static void test_malformed_json_ends_the_connection(void **state)
{
    assert_served_until(*state, "{\"method\"}", 11, "malformed message");
}

static void test_a_call_without_method_ends_the_connection(void **state)
{
    assert_served_until(*state, "{\"method\":1}", 13, "no method");
}

static void test_a_flag_of_another_type_ends_the_connection(void **state)
{
    static const char bytes[] = "{\"method\":\"a.b.C\",\"more\":1}";
    assert_served_until(*state, bytes, sizeof(bytes), "'more' is not true or false");
}

static void test_parameters_of_another_type_end_the_connection(void **state)
{
    static const char bytes[] = "{\"method\":\"a.b.C\",\"parameters\":[]}";
    assert_served_until(*state, bytes, sizeof(bytes), "parameters are not an object");
}

static void test_a_caller_that_vanishes_between_replies_ends_the_service(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(varlink_call_more(fixture->client, "org.example.count.Count",
                                json_pack("{s:i}", "to", 100000000), -1, DEADLINE_NEVER, &err),
              err);
    bool continues = false;
    assert_ok(varlink_next(fixture->client, NULL, &continues, -1, DEADLINE_NEVER, &err), err);
    client_closes(fixture);
    join(fixture);
    assert_int_equal(fixture->result, -1);
    assert_int_equal(fixture->problem->kind, ERROR_UNREACHABLE);
}

static void test_cancel_ends_an_idle_service(void **state)
{
    struct fixture *fixture = *state;
    fd_event_signal(fixture->cancel);
    join(fixture);
    assert_int_equal(fixture->result, -1);
    assert_int_equal(fixture->problem->kind, ERROR_CANCELLED);
}

static void test_a_service_that_ends_in_a_call_still_answers_it(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(varlink_call_more(fixture->client, "org.example.count.Wait", NULL, -1, DEADLINE_NEVER,
                                &err),
              err);
    uint64_t entered;
    assert_ok(fd_read_full(fixture->waiting, &entered, sizeof(entered), &err), err);
    fd_event_signal(fixture->cancel);
    bool continues;
    assert_int_equal(varlink_next(fixture->client, NULL, &continues, -1, DEADLINE_NEVER, &err), -1);
    assert_int_equal(err->kind, ERROR_CANCELLED);
    join(fixture);
    assert_int_equal(fixture->result, -1);
    assert_int_equal(fixture->problem->kind, ERROR_CANCELLED);
}

static void test_a_call_ends_at_its_deadline_and_its_late_reply_is_not_taken_for_another(
    void **state)
{
    struct fixture *fixture = *state;
    struct error *late = NULL;
    assert_int_equal(varlink_call(fixture->client, "org.example.count.Wait", NULL, NULL, -1,
                                  clock_deadline_ns(1), &late),
                     -1);
    assert_int_equal(late->kind, ERROR_TIMEOUT);
    assert_non_null(strstr(late->message, "org.example.count.Wait"));
    error_free(late);
    CLEANUP_ERROR struct error *err = NULL;
    assert_null(call(fixture, "org.example.count.Fail", NULL, &err));
    assert_int_equal(err->kind, ERROR_STATE);
}

static struct error *service_error(const char *text, const struct varlink_method_entry *entries,
                                   size_t n)
{
    struct error *err = NULL;
    assert_null(varlink_service_new("p", "v", text, entries, n, NULL, &err));
    return err;
}

static void test_table_and_description_must_agree(void **state)
{
    (void)state;
    static const char text[] = "interface a.b\nmethod One() -> ()\n"
                               "error Failed (kind: string, message: string, hint: ?string)\n";
    static const struct varlink_method_entry one[] = {{"One", lie}, {"One", lie}},
                                             two[] = {{"One", lie}, {"Two", lie}};
    CLEANUP_ERROR struct error *missing = service_error(text, one, 0);
    assert_string_equal(missing->message, "a.b: method One is not implemented");
    assert_int_equal(missing->kind, ERROR_INTERNAL);
    CLEANUP_ERROR struct error *unknown = service_error(text, two, 2);
    assert_string_equal(unknown->message, "a.b: method Two is not described");
    CLEANUP_ERROR struct error *twice = service_error(text, one, 2);
    assert_string_equal(twice->message, "a.b: method One is implemented twice");
    CLEANUP_ERROR struct error *failed = service_error("interface a.b\nmethod One() -> ()", one, 1);
    assert_non_null(strstr(failed->message, "error Failed"));
    CLEANUP_ERROR struct error *broken = service_error("interface", one, 1);
    assert_non_null(strstr(broken->message, "interface description: line 1"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_call_is_answered),
        TEST(test_a_failed_method_gives_kind_message_and_hint),
        TEST(test_a_reply_that_differs_from_the_description_is_an_internal_error),
        TEST(test_wrong_calls_get_the_standard_errors),
        TEST(test_the_service_describes_itself),
        TEST(test_more_gives_several_replies_and_the_last_ends_it),
        TEST(test_several_replies_are_not_sent_unasked),
        TEST(test_pipelined_calls_are_answered_in_order),
        TEST(test_oneway_calls_are_carried_out_and_not_answered),
        TEST(test_malformed_json_ends_the_connection),
        TEST(test_a_call_without_method_ends_the_connection),
        TEST(test_a_flag_of_another_type_ends_the_connection),
        TEST(test_parameters_of_another_type_end_the_connection),
        TEST(test_a_caller_that_vanishes_between_replies_ends_the_service),
        TEST(test_cancel_ends_an_idle_service),
        TEST(test_a_service_that_ends_in_a_call_still_answers_it),
        TEST(test_a_call_ends_at_its_deadline_and_its_late_reply_is_not_taken_for_another),
        cmocka_unit_test(test_table_and_description_must_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
