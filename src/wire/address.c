/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of agents as people write them. */
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "base/text.h"
#include "wire/tls.h"

static int invalid(const char *text, const char *what, struct error **err)
{
    error_set(err, ERROR_INVALID, "'%s' is not an address: %s", text, what);
    error_hint(err, "write NAME, NAME:PORT, 192.0.2.1:PORT or [2001:db8::1]:PORT");
    return -1;
}

static bool is_v6(const char *address, size_t length)
{
    char copy[INET6_ADDRSTRLEN];
    const char *scope = memchr(address, '%', length);
    size_t bare = scope ? (size_t)(scope - address) : length;
    if (bare >= sizeof(copy))
        return false;
    memcpy(copy, address, bare);
    copy[bare] = '\0';
    struct in6_addr binary;
    return inet_pton(AF_INET6, copy, &binary) == 1;
}

static bool is_name(const char *address, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)address[i]) && !strchr(".-_", address[i]))
            return length == 1 && address[0] == '*';
    return length > 0;
}

int wire_parse_address(const char *text, uint16_t default_port, char **address, uint16_t *port,
                       struct error **err)
{
    const char *start = text, *rest;
    size_t length;
    if (text[0] == '[') {
        rest = strchr(text, ']');
        if (!rest)
            return invalid(text, "']' is missing", err);
        start = text + 1;
        length = (size_t)(rest++ - start);
        if (!is_v6(start, length))
            return invalid(text, "no IPv6 address between '[' and ']'", err);
    } else {
        length = is_v6(text, strlen(text)) ? strlen(text) : strcspn(text, ":");
        rest = text + length;
        if (!is_v6(start, length) && !is_name(start, length))
            return invalid(text, "neither a name nor a number", err);
    }
    int64_t number = default_port;
    if (*rest && *rest != ':')
        return invalid(text, "expected ':' and a port", err);
    if (*rest && text_parse_int(rest + 1, 0, UINT16_MAX, &number, NULL) < 0)
        return invalid(text, "the port must be a number from 0 to 65535", err);
    *address = text_format("%.*s", (int)length, start);
    *port = (uint16_t)number;
    return 0;
}
