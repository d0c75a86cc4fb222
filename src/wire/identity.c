/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This host's key, its self-signed certificate, and fingerprints.
 *
 * Only the key is kept on disk. The certificate around it is made anew at each start: TLS wants
 * one, but peers look at nothing in it except the key, so it says nothing else.
 */
#include "wire/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "base/file.h"
#include "base/text.h"
#include "wire/openssl.h"

#define CURVE "prime256v1" /* OpenSSL's name for P-256 */

#define FINGERPRINT_PREFIX "SHA256:"
/* The base64 of 32 bytes without its one "=". */
#define FINGERPRINT_BASE64 43

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
    char fingerprint[FINGERPRINT_MAX];
};

static void cleanup_bio(BIO **bio)
{
    BIO_free(*bio);
}

static void cleanup_file(FILE **file)
{
    if (*file)
        fclose(*file);
}

/* An encrypted key would make OpenSSL ask on the terminal; a service has none. */
static int no_password(char *buffer, int size, int writing, void *context)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)context;
    return 0;
}

/* Makes a rename in `directory` survive a power cut. */
static int directory_sync(const char *directory, struct error **err)
{
    CLEANUP_CLOSE int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_errno(err, errno, "%s", directory);
    return 0;
}

static EVP_PKEY *key_make(const char *directory, const char *path, struct error **err)
{
    EVP_PKEY *key = EVP_EC_gen(CURVE);
    CLEANUP(cleanup_bio) BIO *bio = BIO_new(BIO_s_secmem());
    char *pem = NULL;
    if (!key || !bio || !PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)) {
        openssl_error(err, "cannot make a key");
    } else {
        long size = BIO_get_mem_data(bio, &pem);
        if (file_write_atomic(path, pem, (size_t)size, 0600, err) == 0 &&
            directory_sync(directory, err) == 0)
            return key;
    }
    EVP_PKEY_free(key);
    return NULL;
}

static int key_check_file(int fd, const char *path, struct error **err)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_errno(err, errno, "%s", path);
    if (!S_ISREG(status.st_mode))
        return error_set(err, ERROR_INVALID, "%s: not a regular file", path);
    if (status.st_mode & (S_IRWXG | S_IRWXO)) {
        error_set(err, ERROR_DENIED, "%s: other users may use this key (mode %03o)", path,
                  status.st_mode & 0777);
        return error_hint(err,
                          "chmod 600 %s; if others may have read it, remove it and add the new "
                          "fingerprint on all peers",
                          path);
    }
    if (status.st_uid != geteuid())
        return error_set(err, ERROR_DENIED, "%s: belongs to another user (uid %u)", path,
                         (unsigned)status.st_uid);
    return 0;
}

static int key_check_type(const EVP_PKEY *key, const char *path, struct error **err)
{
    char group[32] = "";
    if (EVP_PKEY_is_a(key, "EC") &&
        EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                       NULL) &&
        strcmp(group, CURVE) == 0)
        return 0;
    ERR_clear_error();
    return error_set(err, ERROR_INVALID, "%s: not an ECDSA P-256 key", path);
}

/* Takes `fd` over. */
static EVP_PKEY *key_load(int fd, const char *path, struct error **err)
{
    CLEANUP(cleanup_file) FILE *file = fdopen(fd, "r");
    if (!file) {
        error_errno(err, errno, "%s", path);
        close(fd);
        return NULL;
    }
    if (key_check_file(fd, path, err) < 0)
        return NULL;
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, no_password, NULL);
    if (!key) {
        ERR_clear_error();
        error_set(err, ERROR_INVALID, "%s: not a private key in PEM form", path);
        error_hint(err, "restore the file; without it, remove it and add this host's new "
                        "fingerprint on all peers");
        return NULL;
    }
    if (key_check_type(key, path, err) < 0) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

static EVP_PKEY *key_open(const char *directory, struct error **err)
{
    CLEANUP_FREE char *path = text_format("%s/host.key", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0)
        return key_load(fd, path, err);
    if (errno == ENOENT)
        return key_make(directory, path, err);
    error_errno(err, errno, "%s", path);
    return NULL;
}

/* No names, no extensions, and RFC 5280's "no date": nothing a stranger could learn from. */
static X509 *certificate_make(EVP_PKEY *key, struct error **err)
{
    X509 *certificate = X509_new();
    if (certificate && X509_set_version(certificate, X509_VERSION_3) &&
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) &&
        ASN1_TIME_set_string_X509(X509_getm_notBefore(certificate), "19700101000000Z") &&
        ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate), "99991231235959Z") &&
        X509_set_pubkey(certificate, key) && X509_sign(certificate, key, EVP_sha256()))
        return certificate;
    openssl_error(err, "cannot make a certificate");
    X509_free(certificate);
    return NULL;
}

struct identity *identity_open(const char *directory, struct error **err)
{
    struct identity *identity = calloc(1, sizeof(*identity));
    if (!identity) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    identity->key = key_open(directory, err);
    if (identity->key)
        identity->certificate = certificate_make(identity->key, err);
    if (!identity->certificate ||
        fingerprint_of(identity->certificate, identity->fingerprint, err) < 0) {
        identity_free(identity);
        return NULL;
    }
    return identity;
}

void identity_free(struct identity *identity)
{
    if (!identity)
        return;
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
    free(identity);
}

const char *identity_fingerprint(const struct identity *identity)
{
    return identity->fingerprint;
}

EVP_PKEY *identity_key(const struct identity *identity)
{
    return identity->key;
}

X509 *identity_certificate(const struct identity *identity)
{
    return identity->certificate;
}

int fingerprint_of(X509 *certificate, char fingerprint[FINGERPRINT_MAX], struct error **err)
{
    unsigned char *der = NULL, digest[SHA256_DIGEST_LENGTH];
    int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    if (size <= 0)
        return openssl_error(err, "certificate without a key");
    SHA256(der, (size_t)size, digest);
    OPENSSL_free(der);
    unsigned char base64[FINGERPRINT_BASE64 + 2];
    EVP_EncodeBlock(base64, digest, sizeof(digest));
    snprintf(fingerprint, FINGERPRINT_MAX, FINGERPRINT_PREFIX "%.*s", FINGERPRINT_BASE64, base64);
    return 0;
}

/* The bits of the last character beyond the 256 must be zero, or two texts would name one key. */
static bool base64_valid(const char *base64)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (strlen(base64) != FINGERPRINT_BASE64 || strspn(base64, letters) != FINGERPRINT_BASE64)
        return false;
    return (strchr(letters, base64[FINGERPRINT_BASE64 - 1]) - letters) % 4 == 0;
}

bool fingerprint_valid(const char *text, struct error **err)
{
    size_t prefix = strlen(FINGERPRINT_PREFIX);
    if (strncmp(text, FINGERPRINT_PREFIX, prefix) != 0)
        error_set(err, ERROR_INVALID, "'%s' is not a fingerprint: it does not begin with %s", text,
                  FINGERPRINT_PREFIX);
    else if (strlen(text + prefix) != FINGERPRINT_BASE64)
        error_set(err, ERROR_INVALID,
                  "'%s' is not a fingerprint: %zu characters after " FINGERPRINT_PREFIX
                  " instead of %d",
                  text, strlen(text + prefix), FINGERPRINT_BASE64);
    else if (!base64_valid(text + prefix))
        error_set(err, ERROR_INVALID, "'%s' is not a fingerprint: a character is wrong", text);
    else
        return true;
    error_hint(err, "`mudanza id` on that host prints it");
    return false;
}
