/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of hellos between two real sessions; the test says raw bytes where an agent would not. */
#include "base/test.h"

#include <string.h>

#include "base/clock.h"
#include "wire/hello.h"
#include "wire/testing.h"

/* docs/protocol.md: a data hello of version 2 for job 01 02 ... 10. */
static const uint8_t documented[64] = {'M', 'U', 'D', 'A', 'N', 'Z', 'A', '\n', 0,  0, 0,
                                       2,   2,   0,   0,   0,   1,   2,   3,    4,  5, 6,
                                       7,   8,   9,   10,  11,  12,  13,  14,   15, 16};

struct server {
    struct tls *tls;
    struct hello hello;
    int result;
    struct error *err;
};

static void *receive_thread(void *argument)
{
    struct server *server = argument;
    server->result = hello_receive(server->tls, &server->hello, -1, TESTING_DEADLINE, &server->err);
    return NULL;
}

static void test_both_sides_agree(void **state)
{
    struct testing *testing = *state;
    testing_connect(testing);
    struct server server = {.tls = testing->server.tls};
    struct hello hello = {.kind = HELLO_DATA};
    memcpy(hello.job, documented + 16, sizeof(hello.job));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, receive_thread, &server), 0);
    CLEANUP_ERROR struct error *err = NULL;
    int sent = hello_send(testing->client.tls, &hello, -1, TESTING_DEADLINE, &err);
    pthread_join(thread, NULL);
    assert_ok(sent, err);
    assert_ok(server.result, server.err);
    assert_int_equal(server.hello.kind, HELLO_DATA);
    assert_memory_equal(server.hello.job, hello.job, sizeof(hello.job));
}

/* What the server answers to `bytes`, and its error (NULL: none), owned by the caller. */
static struct error *server_answers(struct testing *testing, const uint8_t bytes[64],
                                    uint8_t answer[64])
{
    struct server server = {.tls = testing->server.tls};
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(tls_write(testing->client.tls, bytes, 64, -1, TESTING_DEADLINE, &err), err);
    receive_thread(&server);
    assert_ok(tls_read_full(testing->client.tls, answer, 64, -1, TESTING_DEADLINE, &err), err);
    assert_int_equal(server.result, server.err ? -1 : 0);
    return server.err;
}

/* What a client says when the server answers with `bytes`. */
static struct error *client_hears(struct testing *testing, const uint8_t bytes[64])
{
    struct error *err = NULL;
    CLEANUP_ERROR struct error *problem = NULL;
    struct hello hello = {.kind = HELLO_DATA};
    memcpy(hello.job, documented + 16, sizeof(hello.job));
    assert_ok(tls_write(testing->server.tls, bytes, 64, -1, TESTING_DEADLINE, &problem), problem);
    assert_int_equal(hello_send(testing->client.tls, &hello, -1, TESTING_DEADLINE, &err), -1);
    uint8_t sent[64];
    assert_ok(tls_read_full(testing->server.tls, sent, 64, -1, TESTING_DEADLINE, &problem),
              problem);
    assert_memory_equal(sent, documented, sizeof(sent));
    return err;
}

static void test_the_bytes_are_those_of_the_documentation(void **state)
{
    struct testing *testing = *state;
    testing_connect(testing);
    uint8_t answer[64];
    assert_null(server_answers(testing, documented, answer));
    assert_memory_equal(answer, documented, sizeof(answer));
}

static void test_other_versions_are_named_on_both_ends(void **state)
{
    struct testing *testing = *state;
    testing_connect(testing);
    uint8_t later[64], answer[64];
    memset(later, 0xff, sizeof(later)); /* whatever version 258 may mean by the rest */
    memcpy(later, documented, 8);
    memset(later + 8, 0, 4);
    later[10] = 1;
    later[11] = 2;
    CLEANUP_ERROR struct error *server = server_answers(testing, later, answer);
    assert_int_equal(server->kind, ERROR_PEER);
    assert_non_null(strstr(server->message, "127.0.0.1:"));
    assert_non_null(strstr(server->message, "agent speaks protocol 258, this one 2"));
    assert_non_null(server->hint);
    assert_memory_equal(answer, documented, 12); /* so that the other end can name us */
    CLEANUP_ERROR struct error *client = client_hears(testing, later);
    assert_int_equal(client->kind, ERROR_PEER);
    assert_non_null(strstr(client->message, "agent speaks protocol 258, this one 2"));
}

static void test_hellos_with_wrong_bytes_are_refused(void **state)
{
    struct testing *testing = *state;
    testing_connect(testing);
    static const struct {
        size_t at;
        uint8_t byte;
        const char *message;
    } cases[] = {
        {0, 'm', "not a Mudanza agent"}, {12, 0, "unknown kind 0"},
        {12, 3, "unknown kind 3"},       {12, HELLO_CONTROL, "a control connection with a job"},
        {13, 1, "reserved bytes"},       {15, 1, "reserved bytes"},
        {32, 1, "reserved bytes"},       {63, 1, "reserved bytes"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t bytes[64], answer[64];
        memcpy(bytes, documented, sizeof(bytes));
        bytes[cases[i].at] = cases[i].byte;
        CLEANUP_ERROR struct error *err = server_answers(testing, bytes, answer);
        assert_non_null(err);
        assert_int_equal(err->kind, ERROR_PEER);
        assert_non_null(strstr(err->message, cases[i].message));
        assert_int_equal(answer[12], 0);
        CLEANUP_ERROR struct error *heard = client_hears(testing, bytes);
        assert_int_equal(heard->kind, ERROR_PEER);
        CLEANUP_ERROR struct error *refused = client_hears(testing, answer);
        assert_non_null(strstr(refused->message, "does not accept"));
    }
}

static void test_a_data_hello_needs_a_job_and_the_answer_the_same_one(void **state)
{
    struct testing *testing = *state;
    testing_connect(testing);
    uint8_t bytes[64], answer[64];
    memcpy(bytes, documented, sizeof(bytes));
    bytes[16] = 99;
    CLEANUP_ERROR struct error *other = client_hears(testing, bytes);
    assert_non_null(strstr(other->message, "another hello than ours"));
    memset(bytes + 16, 0, 16);
    CLEANUP_ERROR struct error *none = server_answers(testing, bytes, answer);
    assert_non_null(strstr(none->message, "a data connection without a job"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, testing_setup, testing_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_both_sides_agree),
        TEST(test_the_bytes_are_those_of_the_documentation),
        TEST(test_other_versions_are_named_on_both_ends),
        TEST(test_hellos_with_wrong_bytes_are_refused),
        TEST(test_a_data_hello_needs_a_job_and_the_answer_the_same_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
