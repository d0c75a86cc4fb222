/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the agent's configuration. */
#include "base/test.h"

#include <string.h>
#include <syslog.h>

#include "agent/config.h"
#include "base/fault.h"
#include "base/text.h"

static int parse(struct config *config, const char *text, struct error **err)
{
    CLEANUP_FREE char *copy = text_copy(text);
    return config_parse(config, copy, "mudanzad.conf", err);
}

static void test_keys_comments_and_spaces(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct config config = {0};
    assert_ok(parse(&config,
                    "# a comment\n\n  name =  hostA \nlisten=10.0.0.1:7\nlog-level = debug\n"
                    "peer-silence = 2\npeer-lost = 90",
                    &err),
              err);
    assert_string_equal(config.name, "hostA");
    assert_string_equal(config.listen, "10.0.0.1:7");
    assert_int_equal(config.log_level, LOG_DEBUG);
    assert_int_equal(config.peer_silence_s, 2);
    assert_int_equal(config.peer_lost_s, 90);
    config_clear(&config);
}

static void test_errors_name_file_and_line(void **state)
{
    (void)state;
    static const char *const bad[] = {"name = a\nnonsense\n",    "name = a\ncolour = red\n",
                                      "\nlog-level = loud",      "\ndedup = all",
                                      "\nkeep-ram = -1",         "\nkeep-ram = 1.5G",
                                      "\nkeep-ram = 2X",         "\nkeep-ram = 99999999T",
                                      "\nkeep-ram = ",           "\nkeep-ram-seconds = 0",
                                      "\ndictionary-memory = 0", "\npeer-lost = 0",
                                      "\npeer-silence = 3s"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP_ERROR struct error *err = NULL;
        struct config config = {0};
        assert_int_equal(parse(&config, bad[i], &err), -1);
        assert_non_null(strstr(err->message, "mudanzad.conf line 2"));
        config_clear(&config);
    }
}

static void test_what_is_shared_and_kept(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct config config = {0};
    assert_ok(parse(&config,
                    "dedup = same-vm\nkeep-ram = 2G\nkeep-ram-seconds = 90\n"
                    "dictionary-memory = 16MiB\n",
                    &err),
              err);
    assert_int_equal(config.sharing, SHARING_SAME_VM);
    assert_int_equal(config.keep_ram, INT64_C(2) << 30);
    assert_int_equal(config.keep_ram_seconds, 90);
    assert_int_equal(config.dictionary_memory, 16 << 20);
    assert_ok(parse(&config, "dedup = off\nkeep-ram = 0\n", &err), err);
    assert_int_equal(config.sharing, SHARING_OFF);
    assert_int_equal(config.keep_ram, 0);
    assert_ok(parse(&config, "dedup = group\nkeep-ram = 100\n", &err), err);
    assert_int_equal(config.sharing, SHARING_GROUP);
    assert_int_equal(config.keep_ram, 100 << 20);
    config_clear(&config);
}

static void test_the_command_line_wins_over_the_file(void **state)
{
    (void)state;
    char path[] = "/tmp/config-XXXXXX";
    CLEANUP_CLOSE int fd = mkstemp(path);
    CLEANUP_ERROR struct error *err = NULL;
    assert_int_equal(write(fd, "name = file\nlisten = 1.2.3.4\n", 29), 29);
    char *argv[] = {(char *)"mudanzad",
                    (char *)"--name",
                    (char *)"line",
                    (char *)"--config",
                    path,
                    (char *)"--qemu-user",
                    (char *)"",
                    NULL};
    struct config config;
    enum config_action action;
    assert_ok(config_load(7, argv, &config, &action, &err), err);
    unlink(path);
    assert_int_equal(action, CONFIG_RUN);
    assert_string_equal(config.name, "line");
    assert_string_equal(config.listen, "1.2.3.4");
    assert_null(config.qemu_user);
    config_clear(&config);
}

static void test_faults(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    char *argv[] = {(char *)"mudanzad",
                    (char *)"--fault",
                    (char *)"source-copy:kill",
                    (char *)"--fault",
                    (char *)"source-plan:stop",
                    (char *)"--fault-socket",
                    (char *)"/run/x",
                    (char *)"--qemu-user",
                    (char *)"",
                    NULL};
    struct config config;
    enum config_action action;
    assert_ok(config_load(9, argv, &config, &action, &err), err);
    assert_string_equal(config.faults, "source-copy:kill,source-plan:stop");
    assert_string_equal(config.fault_socket, "/run/x");
#ifndef MUDANZA_FAULTS
    assert_int_equal(fault_arm(config.faults, &err), -1);
    assert_int_equal(err->kind, ERROR_UNSUPPORTED);
    assert_non_null(strstr(err->message, "without fault injection"));
#endif
    config_clear(&config);
}

static void test_json_goes_with_a_list_only(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    char *argv[] = {(char *)"mudanzad", (char *)"--json", (char *)"--list-faults", NULL};
    struct config config;
    enum config_action action;
    assert_ok(config_load(3, argv, &config, &action, &err), err);
    assert_int_equal(action, CONFIG_LIST_FAULTS);
    assert_true(config.json);
    config_clear(&config);
    assert_int_equal(config_load(2, argv, &config, &action, &err), -1);
    assert_non_null(strstr(err->message, "--list-faults"));
    config_clear(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_comments_and_spaces),
        cmocka_unit_test(test_errors_name_file_and_line),
        cmocka_unit_test(test_what_is_shared_and_kept),
        cmocka_unit_test(test_the_command_line_wins_over_the_file),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_json_goes_with_a_list_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
