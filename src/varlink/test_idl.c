/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the interface description parser and of the checks against it. */
#include "base/test.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "varlink/idl.h"

static const char shop[] = "# A shop.\r\n"
                           "interface org.example.shop-2\n"
                           "type Item (name: string, price: float, colour: ?(red, green))\n"
                           "type Size (small, large) # an enum\n"
                           "type Tree (children: []Tree)\n"
                           "method Buy(items: []Item, sizes: ?[string]Size, gift: bool,\n"
                           "  count: int, # how many\n"
                           "  note: ?object, tree: ?Tree) -> (left: [][]?int)\n"
                           "method Close() -> ()\n"
                           "error SoldOut (item: Item)\n";

static struct idl *shop_parse(void)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct idl *idl = idl_parse(shop, &err);
    assert_ok(idl ? 0 : -1, err);
    return idl;
}

static void test_members_are_found(void **state)
{
    (void)state;
    struct idl *idl = shop_parse();
    assert_string_equal(idl_name(idl), "org.example.shop-2");
    assert_string_equal(idl_method_name(idl, 0), "Buy");
    assert_string_equal(idl_method_name(idl, 1), "Close");
    assert_null(idl_method_name(idl, 2));
    assert_true(idl_has_method(idl, "Close"));
    assert_false(idl_has_method(idl, "Item"));
    assert_true(idl_has_error(idl, "SoldOut"));
    assert_false(idl_has_error(idl, "Buy"));
    idl_free(idl);
}

static void test_malformed_descriptions_are_refused_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "line 1 column 1: expected 'interface'"},
        {"interfaces a.b", "line 1 column 1: expected 'interface'"},
        {"interface ab", "line 1 column 11: expected the name of an interface, such as "
                         "org.example.name"},
        {"interface a..b", "line 1 column 11: expected the name of an interface, such as "
                           "org.example.name"},
        {"interface a.b-", "line 1 column 11: expected the name of an interface, such as "
                           "org.example.name"},
        {"interface a.b\nmethod", "line 2 column 7: expected a name that begins with a capital "
                                  "letter"},
        {"interface a.b\nmethod foo() -> ()",
         "line 2 column 8: expected a name that begins with a capital letter"},
        {"interface a.b\nmethodFoo() -> ()", "line 2 column 1: expected 'type', 'method' or "
                                             "'error'"},
        {"interface a.b\nmethod Foo() ()", "line 2 column 14: expected '->'"},
        {"interface a.b\nmethod Foo(a, b) -> ()", "line 2 column 17: parameters need types"},
        {"interface a.b\ntype T (a: int, b)", "line 2 column 18: either all members have a type or "
                                              "none"},
        {"interface a.b\ntype T (a: int,)", "line 2 column 16: expected the name of a member"},
        {"interface a.b\ntype T (a__b: int)", "line 2 column 9: expected the name of a member"},
        {"interface a.b\ntype T (a_: int)", "line 2 column 9: expected the name of a member"},
        {"interface a.b\ntype T (a: int", "line 2 column 15: expected ',' or ')'"},
        {"interface a.b\ntype T (a: integer)", "line 2 column 12: expected a type"},
        {"interface a.b\ntype T (a: ??int)", "line 2 column 13: expected a type"},
        {"interface a.b\ntype T (a: [int]int)", "line 2 column 12: expected a type"},
        {"interface a.b\ntype T int", "line 2 column 8: expected '('"},
        {"interface a.b\ntype T (a: int, a: int)", "line 2: member 'a' appears twice"},
        {"interface a.b\ntype T (a: U)\n", "line 2: type 'U' is not declared"},
        {"interface a.b\nerror E ()\ntype E ()\n", "line 3: 'E' is declared twice"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_ERROR struct error *err = NULL;
        assert_null(idl_parse(cases[i].text, &err));
        assert_string_equal(err->message, cases[i].message);
        assert_int_equal(err->kind, ERROR_INVALID);
    }
}

static void test_nesting_has_a_limit(void **state)
{
    (void)state;
    for (int depth = IDL_DEPTH_MAX - 2; depth <= IDL_DEPTH_MAX - 1; depth++) {
        CLEANUP_TEXT struct text text = {0};
        text_append(&text, "interface a.b\ntype T (a: ");
        for (int i = 0; i < depth; i++)
            text_append(&text, "[]");
        text_append(&text, "int)");
        CLEANUP_ERROR struct error *err = NULL;
        struct idl *idl = idl_parse(text.data, &err);
        if (depth == IDL_DEPTH_MAX - 2)
            assert_non_null(idl);
        else
            assert_non_null(strstr(err->message, "nested too deeply"));
        idl_free(idl);
    }
}

/* Checks Buy's parameters; returns the error's message (NULL: fine), owned by the caller. */
static char *buy_problem(const struct idl *idl, const char *json, char **path)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *value = json_parse(json, strlen(json), &err);
    assert_non_null(value);
    if (idl_check_call(idl, "Buy", value, path, &err) == 0)
        return NULL;
    assert_int_equal(err->kind, ERROR_INVALID);
    return STEAL(err->message);
}

static void test_good_parameters_pass(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{\"items\": [], \"gift\": true, \"count\": 1}",
        "{\"items\": [{\"name\": \"a\", \"price\": 1, \"colour\": \"red\"}], \"gift\": false, "
        "\"count\": -1, \"sizes\": {\"any key\": \"small\"}, \"note\": {\"x\": [1]}}",
        "{\"items\": [{\"name\": \"a\", \"price\": 1.5, \"colour\": null}], \"gift\": false, "
        "\"count\": 0, \"sizes\": null, \"tree\": {\"children\": [{\"children\": []}]}}",
    };
    struct idl *idl = shop_parse();
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        CLEANUP_FREE char *problem = buy_problem(idl, good[i], NULL);
        assert_null(problem);
    }
    idl_free(idl);
}

static void test_bad_parameters_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *json, *path, *message;
    } cases[] = {
        {"{}", "items", "items: is missing"},
        {"[]", "parameters", "parameters: must be an object"},
        {"{\"items\": null, \"gift\": true, \"count\": 1}", "items", "items: must be an array"},
        {"{\"items\": {}, \"gift\": true, \"count\": 1}", "items", "items: must be an array"},
        {"{\"items\": [], \"gift\": 1, \"count\": 1}", "gift", "gift: must be true or false"},
        {"{\"items\": [], \"gift\": true, \"count\": 1.0}", "count",
         "count: must be a whole number"},
        {"{\"items\": [], \"gift\": true, \"count\": \"1\"}", "count",
         "count: must be a whole number"},
        {"{\"items\": [], \"gift\": true, \"count\": 1, \"gif\": 1}", "gif", "gif: is unknown"},
        {"{\"items\": [{\"name\": \"a\", \"price\": 1}, {\"name\": 1, \"price\": 1}], \"gift\": "
         "true, \"count\": 1}",
         "items[1].name", "items[1].name: must be a string"},
        {"{\"items\": [{\"name\": \"a\", \"price\": \"1\"}], \"gift\": true, \"count\": 1}",
         "items[0].price", "items[0].price: must be a number"},
        {"{\"items\": [{\"name\": \"a\", \"price\": 1, \"colour\": \"blue\"}], \"gift\": true, "
         "\"count\": 1}",
         "items[0].colour", "items[0].colour: must be one of red, green"},
        {"{\"items\": [], \"gift\": true, \"count\": 1, \"sizes\": {\"a\": \"large\", \"b\": 1}}",
         "sizes.b", "sizes.b: must be one of small, large"},
        {"{\"items\": [], \"gift\": true, \"count\": 1, \"sizes\": []}", "sizes",
         "sizes: must be an object"},
        {"{\"items\": [], \"gift\": true, \"count\": 1, \"note\": \"x\"}", "note",
         "note: must be an object"},
        {"{\"items\": [], \"gift\": true, \"count\": 1, \"tree\": {\"children\": [{}]}}",
         "tree.children[0].children", "tree.children[0].children: is missing"},
    };
    struct idl *idl = shop_parse();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FREE char *problem = buy_problem(idl, cases[i].json, &path);
        assert_non_null(problem);
        assert_string_equal(problem, cases[i].message);
        assert_string_equal(path, cases[i].path);
    }
    idl_free(idl);
}

static void test_replies_and_errors_are_checked(void **state)
{
    (void)state;
    struct idl *idl = shop_parse();
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_JSON json_t *reply = json_pack("{s:[[i, n]]}", "left", 1);
    assert_ok(idl_check_reply(idl, "Buy", reply, NULL, &err), err);
    CLEANUP_JSON json_t *error = json_pack("{s:{s:s, s:i}}", "item", "name", "a", "price", 1);
    assert_ok(idl_check_error(idl, "SoldOut", error, NULL, &err), err);
    assert_int_equal(idl_check_reply(idl, "Close", reply, NULL, &err), -1);
    assert_string_equal(err->message, "left: is unknown");
    struct error *missing = NULL;
    assert_int_equal(idl_check_error(idl, "Gone", error, NULL, &missing), -1);
    assert_int_equal(missing->kind, ERROR_NOT_FOUND);
    error_free(missing);
    idl_free(idl);
}

static void test_long_names_from_the_wire_are_cut_between_characters(void **state)
{
    (void)state;
    struct idl *idl = shop_parse();
    CLEANUP_TEXT struct text json = {0};
    text_append(&json, "{\"items\": [], \"gift\": true, \"count\": 1, \"x");
    for (int i = 0; i < 200; i++)
        text_append(&json, "\xc3\xa4");
    text_append(&json, "\": 1}");
    CLEANUP_FREE char *path = NULL;
    CLEANUP_FREE char *problem = buy_problem(idl, json.data, &path);
    assert_non_null(problem);
    assert_int_equal(strlen(path), 127); /* 'x' and 63 whole characters */
    CLEANUP_JSON json_t *text = json_string(path);
    assert_non_null(text);
    idl_free(idl);
}

static void test_the_agents_own_interface_parses(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE char *text =
        file_read(SOURCE_ROOT "/src/agent/io.mudanza.varlink", 1 << 20, NULL, &err);
    assert_ok(text ? 0 : -1, err);
    struct idl *idl = idl_parse(text, &err);
    assert_ok(idl ? 0 : -1, err);
    assert_true(idl_has_method(idl, "Migrate"));
    idl_free(idl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_are_found),
        cmocka_unit_test(test_malformed_descriptions_are_refused_with_their_place),
        cmocka_unit_test(test_nesting_has_a_limit),
        cmocka_unit_test(test_good_parameters_pass),
        cmocka_unit_test(test_bad_parameters_are_named),
        cmocka_unit_test(test_replies_and_errors_are_checked),
        cmocka_unit_test(test_long_names_from_the_wire_are_cut_between_characters),
        cmocka_unit_test(test_the_agents_own_interface_parses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
