/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hellos: 64 bytes whose layout never changes; docs/protocol.md has the table.
 *
 * The version is judged before anything behind it, since only what the magic and the version mean
 * is sure between two versions. A server answers also when it cannot go on, so that both ends can
 * name both versions: with kind 0, which no hello that asks for something has.
 */
#include "wire/hello.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

#define HELLO_SIZE     64
#define VERSION_AT     8
#define KIND_AT        12
#define RESERVED_1_AT  13
#define JOB_AT         16
#define RESERVED_2_AT  32
#define RESERVED_1_LEN (JOB_AT - RESERVED_1_AT)
#define RESERVED_2_LEN (HELLO_SIZE - RESERVED_2_AT)

static const uint8_t magic[VERSION_AT] = {'M', 'U', 'D', 'A', 'N', 'Z', 'A', '\n'};
static const uint8_t zeros[HELLO_SIZE];

static void encode(const struct hello *hello, uint8_t bytes[HELLO_SIZE])
{
    uint32_t version = htobe32(WIRE_PROTOCOL_VERSION);
    memset(bytes, 0, HELLO_SIZE);
    memcpy(bytes, magic, sizeof(magic));
    memcpy(bytes + VERSION_AT, &version, sizeof(version));
    bytes[KIND_AT] = (uint8_t)hello->kind;
    memcpy(bytes + JOB_AT, hello->job, HELLO_JOB_SIZE);
}

/* What the peer is; without looking behind the version when that is another one. */
static int decode_version(const uint8_t bytes[HELLO_SIZE], struct error **err)
{
    uint32_t version;
    memcpy(&version, bytes + VERSION_AT, sizeof(version));
    version = be32toh(version);
    if (memcmp(bytes, magic, sizeof(magic)) != 0) {
        error_set(err, ERROR_PEER, "the other side is not a Mudanza agent");
        return error_hint(err, "check that the address and port are those of an agent");
    }
    if (version == WIRE_PROTOCOL_VERSION)
        return 0;
    error_set(err, ERROR_PEER, "agent speaks protocol %" PRIu32 ", this one %d", version,
              WIRE_PROTOCOL_VERSION);
    return error_hint(err, "install the same version of mudanzad on both hosts");
}

static int decode(const uint8_t bytes[HELLO_SIZE], struct hello *hello, struct error **err)
{
    if (decode_version(bytes, err) < 0)
        return -1;
    uint8_t kind = bytes[KIND_AT];
    if (kind != HELLO_CONTROL && kind != HELLO_DATA)
        return error_set(err, ERROR_PEER, "hello for a connection of unknown kind %u", kind);
    if (memcmp(bytes + RESERVED_1_AT, zeros, RESERVED_1_LEN) != 0 ||
        memcmp(bytes + RESERVED_2_AT, zeros, RESERVED_2_LEN) != 0)
        return error_set(err, ERROR_PEER, "hello with reserved bytes that are not zero");
    bool has_job = memcmp(bytes + JOB_AT, zeros, HELLO_JOB_SIZE) != 0;
    if (has_job != (kind == HELLO_DATA))
        return error_set(err, ERROR_PEER, "hello for %s",
                         has_job ? "a control connection with a job"
                                 : "a data connection without a job");
    hello->kind = (enum hello_kind)kind;
    memcpy(hello->job, bytes + JOB_AT, HELLO_JOB_SIZE);
    return 0;
}

int hello_send(struct tls *tls, const struct hello *hello, int cancel_fd, int64_t deadline_ns,
               struct error **err)
{
    uint8_t ours[HELLO_SIZE], theirs[HELLO_SIZE];
    encode(hello, ours);
    if (tls_write(tls, ours, sizeof(ours), cancel_fd, deadline_ns, err) < 0 ||
        tls_read_full(tls, theirs, sizeof(theirs), cancel_fd, deadline_ns, err) < 0)
        return -1;
    if (decode_version(theirs, err) < 0)
        return error_prefix(err, "%s", tls_peer_name(tls));
    if (theirs[KIND_AT] == 0)
        return error_set(err, ERROR_PEER, "%s: agent does not accept this connection's hello",
                         tls_peer_name(tls));
    if (memcmp(ours, theirs, sizeof(ours)) != 0)
        return error_set(err, ERROR_PEER, "%s: agent answers another hello than ours",
                         tls_peer_name(tls));
    return 0;
}

int hello_receive(struct tls *tls, struct hello *hello, int cancel_fd, int64_t deadline_ns,
                  struct error **err)
{
    uint8_t ours[HELLO_SIZE], theirs[HELLO_SIZE];
    if (tls_read_full(tls, theirs, sizeof(theirs), cancel_fd, deadline_ns, err) < 0)
        return -1;
    struct hello none = {0};
    CLEANUP_ERROR struct error *problem = NULL;
    int result = decode(theirs, hello, &problem);
    encode(result == 0 ? hello : &none, ours);
    if (tls_write(tls, ours, sizeof(ours), cancel_fd, deadline_ns, err) < 0)
        return -1;
    if (result < 0) {
        error_prefix(&problem, "%s", tls_peer_name(tls));
        return error_move(err, STEAL(problem));
    }
    return 0;
}
