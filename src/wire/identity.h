/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This host's identity: one private key, made at the first start, and its fingerprint.
 *
 * The key is ECDSA P-256 (fast to verify, FIPS-approved, in every TLS 1.3 library). It carries a
 * self-signed certificate without names or dates that matter: peers pin the key itself. The
 * fingerprint is "SHA256:" and the unpadded base64 of the SHA-256 of the DER SubjectPublicKeyInfo.
 */
#ifndef WIRE_IDENTITY_H
#define WIRE_IDENTITY_H

#include <openssl/types.h>
#include <stdbool.h>

#include "base/error.h"

#define FINGERPRINT_MAX 64 /* with its NUL */

struct identity;

/* Loads DIRECTORY/host.key, or makes it (mode 0600, durable). NULL on error; a key readable by
 * others is refused. */
struct identity *identity_open(const char *directory, struct error **err);
void identity_free(struct identity *identity);

/* Borrowed. */
const char *identity_fingerprint(const struct identity *identity);
EVP_PKEY *identity_key(const struct identity *identity);
X509 *identity_certificate(const struct identity *identity);

/* The fingerprint of a peer's certificate. Returns 0 or -1. */
int fingerprint_of(X509 *certificate, char fingerprint[FINGERPRINT_MAX], struct error **err);

/* True when the text has a fingerprint's form; the error says what is wrong with it. */
bool fingerprint_valid(const char *text, struct error **err);

#endif
