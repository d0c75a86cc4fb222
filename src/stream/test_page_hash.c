/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the keyed hash of pages. */
#include "base/test.h"

#include <string.h>

#include "base/text.h"
#include "stream/page_hash.h"

static const struct page_hash_key key = {"0123456789abcdef0123456789abcdef0123456789abcdef"};

static void hash_with(const struct page_hash_key *with, const uint8_t *page, uint8_t *hash)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct page_hasher *hasher = page_hasher_new(with, &err);
    assert_ok(hasher ? 0 : -1, err);
    assert_true(page_hash(hasher, page, hash));
    page_hasher_free(hasher);
}

/* Made with: openssl mac -macopt hexkey:(the first 32 bytes) -in PAGE -binary POLY1305 |
 * openssl enc -aes-128-ecb -nopad -K (the last 16), so that both ends of any build agree. */
static void test_the_hash_is_aes_of_poly1305(void **state)
{
    (void)state;
    uint8_t page[PAGE_SIZE_BYTES], hash[PAGE_HASH_SIZE];
    char hex[2 * PAGE_HASH_SIZE + 1];
    for (size_t i = 0; i < sizeof(page); i++)
        page[i] = (uint8_t)(i * 7 + i / 256);
    hash_with(&key, page, hash);
    text_hex(hash, sizeof(hash), hex);
    assert_string_equal(hex, "9c1f6da1878d802d4a9cda7609185e19");
}

static void test_every_bit_of_page_and_key_counts(void **state)
{
    (void)state;
    static const size_t places[] = {0, 15, 16, 2048, 4080, 4095};
    uint8_t page[PAGE_SIZE_BYTES] = {1}, hash[PAGE_HASH_SIZE], other[PAGE_HASH_SIZE];
    hash_with(&key, page, hash);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        page[places[i]] ^= 0x80;
        hash_with(&key, page, other);
        assert_memory_not_equal(hash, other, sizeof(hash));
        page[places[i]] ^= 0x80;
    }
    for (size_t i = 0; i < PAGE_HASH_KEY_SIZE; i += 47) { /* one of Poly1305's, one of AES's */
        struct page_hash_key changed = key;
        changed.bytes[i] ^= 1;
        hash_with(&changed, page, other);
        assert_memory_not_equal(hash, other, sizeof(hash));
    }
}

/* Poly1305 alone gives these pages hashes in an arithmetic progression; whoever makes tables of
 * them would get long chains. */
static void test_chosen_pages_spread_over_a_table(void **state)
{
    (void)state;
    enum { PAGES = 4096, SLOTS = 256 };
    CLEANUP_ERROR struct error *err = NULL;
    struct page_hasher *hasher = page_hasher_new(&key, &err);
    uint8_t page[PAGE_SIZE_BYTES] = {0}, hash[PAGE_HASH_SIZE];
    unsigned chains[PAGE_HASH_SIZE][SLOTS] = {{0}};
    for (uint32_t i = 0; i < PAGES; i++) {
        memcpy(page + PAGE_SIZE_BYTES - 4, &i, sizeof(i));
        assert_true(page_hash(hasher, page, hash));
        for (size_t byte = 0; byte < PAGE_HASH_SIZE; byte++)
            chains[byte][hash[byte]]++;
    }
    for (size_t byte = 0; byte < PAGE_HASH_SIZE; byte++)
        for (size_t slot = 0; slot < SLOTS; slot++)
            assert_in_range(chains[byte][slot], 1, 64); /* 16 expected; the key is fixed */
    page_hasher_free(hasher);
}

static void test_keys_are_fresh(void **state)
{
    (void)state;
    CLEANUP_ERROR struct error *err = NULL;
    struct page_hash_key one, two;
    assert_ok(page_hash_key_make(&one, &err), err);
    assert_ok(page_hash_key_make(&two, &err), err);
    assert_memory_not_equal(one.bytes, two.bytes, sizeof(one.bytes));
}

static void test_a_page_of_zeros(void **state)
{
    (void)state;
    static const size_t places[] = {0, 255, 256, 4095};
    uint8_t page[PAGE_SIZE_BYTES] = {0};
    assert_true(page_is_zero(page));
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        page[places[i]] = 1;
        assert_false(page_is_zero(page));
        page[places[i]] = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_hash_is_aes_of_poly1305),
        cmocka_unit_test(test_every_bit_of_page_and_key_counts),
        cmocka_unit_test(test_chosen_pages_spread_over_a_table),
        cmocka_unit_test(test_keys_are_fresh),
        cmocka_unit_test(test_a_page_of_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
