/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of identities: the key on disk, the certificate, fingerprints. */
#include "base/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/file.h"
#include "base/text.h"
#include "wire/identity.h"

struct fixture {
    char directory[32];
    char key[48];
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/mudanza-identity-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->key, sizeof(fixture->key), "%s/host.key", fixture->directory);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->key);
    rmdir(fixture->directory);
    free(fixture);
    return 0;
}

static struct identity *open_good(const struct fixture *fixture)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct identity *identity = identity_open(fixture->directory, &err);
    assert_ok(identity ? 0 : -1, err);
    return identity;
}

static struct error *open_bad(const struct fixture *fixture)
{
    struct error *err = NULL;
    assert_null(identity_open(fixture->directory, &err));
    assert_non_null(err);
    assert_non_null(strstr(err->message, "host.key"));
    return err;
}

static void test_the_key_is_made_once_and_private(void **state)
{
    const struct fixture *fixture = *state;
    struct identity *first = open_good(fixture), *second = open_good(fixture);
    assert_string_equal(identity_fingerprint(first), identity_fingerprint(second));
    struct stat status;
    assert_int_equal(stat(fixture->key, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    CLEANUP_ERROR struct error *err = NULL;
    assert_true(fingerprint_valid(identity_fingerprint(first), &err));
    identity_free(first);
    identity_free(second);
}

/* The fingerprint as the documentation defines it, computed here by other means. */
static void test_the_fingerprint_is_of_the_public_key_alone(void **state)
{
    const struct fixture *fixture = *state;
    struct identity *identity = open_good(fixture);
    CLEANUP_FREE char *command =
        text_format("openssl pkey -in %s -pubout -outform DER | openssl dgst -sha256 -binary | "
                    "openssl base64 -A",
                    fixture->key);
    FILE *output = popen(command, "r"); /* NOLINT(cert-env33-c): fixed command, own file */
    char line[64] = "";
    assert_non_null(fgets(line, sizeof(line), output));
    assert_int_equal(pclose(output), 0);
    line[strcspn(line, "=")] = '\0';
    CLEANUP_FREE char *expected = text_format("SHA256:%s", line);
    assert_string_equal(identity_fingerprint(identity), expected);
    identity_free(identity);
}

static void test_the_certificate_tells_nothing(void **state)
{
    struct identity *identity = open_good(*state);
    X509 *certificate = identity_certificate(identity);
    assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(certificate)), 0);
    assert_int_equal(X509_NAME_entry_count(X509_get_issuer_name(certificate)), 0);
    assert_int_equal(X509_get_ext_count(certificate), 0);
    assert_int_equal(ASN1_INTEGER_get(X509_get0_serialNumber(certificate)), 1);
    const ASN1_TIME *from = X509_get0_notBefore(certificate);
    assert_memory_equal(ASN1_STRING_get0_data(from), "700101000000Z", 13);
    identity_free(identity);
}

static void test_a_key_that_others_may_use_is_refused(void **state)
{
    const struct fixture *fixture = *state;
    identity_free(open_good(fixture));
    assert_int_equal(chmod(fixture->key, 0640), 0);
    CLEANUP_ERROR struct error *err = open_bad(fixture);
    assert_int_equal(err->kind, ERROR_DENIED);
    assert_non_null(strstr(err->message, "mode 640"));
    assert_non_null(strstr(err->hint, "chmod 600"));
}

static void test_what_is_not_a_key_is_refused_and_left_alone(void **state)
{
    const struct fixture *fixture = *state;
    CLEANUP_ERROR struct error *err = NULL;
    assert_ok(file_write_atomic(fixture->key, "no key\n", 7, 0600, &err), err);
    CLEANUP_ERROR struct error *refused = open_bad(fixture);
    assert_int_equal(refused->kind, ERROR_INVALID);
    CLEANUP_FREE char *content = file_read(fixture->key, 100, NULL, &err);
    assert_string_equal(content, "no key\n");
}

static void test_a_key_of_another_kind_is_refused(void **state)
{
    const struct fixture *fixture = *state;
    EVP_PKEY *key = EVP_EC_gen("secp384r1");
    FILE *file = fopen(fixture->key, "w");
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    EVP_PKEY_free(key);
    CLEANUP_ERROR struct error *err = open_bad(fixture);
    assert_non_null(strstr(err->message, "not an ECDSA P-256 key"));
}

static void test_an_encrypted_key_is_refused_without_asking(void **state)
{
    const struct fixture *fixture = *state;
    EVP_PKEY *key = EVP_EC_gen("prime256v1");
    FILE *file = fopen(fixture->key, "w");
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    unsigned char password[] = "secret";
    assert_int_equal(PEM_write_PrivateKey(file, key, EVP_aes_128_cbc(), password, 6, NULL, NULL),
                     1);
    assert_int_equal(fclose(file), 0);
    EVP_PKEY_free(key);
    CLEANUP_ERROR struct error *err = open_bad(fixture);
    assert_int_equal(err->kind, ERROR_INVALID);
}

static void test_a_link_in_place_of_the_key_is_refused(void **state)
{
    const struct fixture *fixture = *state;
    assert_int_equal(symlink("/dev/null", fixture->key), 0);
    CLEANUP_ERROR struct error *err = open_bad(fixture);
    assert_int_equal(err->kind, ERROR_SYSTEM);
}

static void test_fingerprints_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "SHA256:",
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF",
        "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSu-U",
        "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV", /* bits beyond the 256th */
    };
    assert_true(fingerprint_valid("SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", NULL));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP_ERROR struct error *err = NULL;
        assert_false(fingerprint_valid(bad[i], &err));
        assert_int_equal(err->kind, ERROR_INVALID);
        assert_non_null(err->hint);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_key_is_made_once_and_private),
        TEST(test_the_fingerprint_is_of_the_public_key_alone),
        TEST(test_the_certificate_tells_nothing),
        TEST(test_a_key_that_others_may_use_is_refused),
        TEST(test_what_is_not_a_key_is_refused_and_left_alone),
        TEST(test_a_key_of_another_kind_is_refused),
        TEST(test_an_encrypted_key_is_refused_without_asking),
        TEST(test_a_link_in_place_of_the_key_is_refused),
        cmocka_unit_test(test_fingerprints_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
