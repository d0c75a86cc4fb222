/* SPDX-License-Identifier: Apache-2.0 */
/* A job's identity: a random UUID. */
#include "migrate/job_id.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/text.h"

static const size_t dash_after[] = {4, 6, 8, 10, 16}; /* bytes */

void job_id_from_bytes(const uint8_t bytes[16], char text[JOB_ID_SIZE])
{
    size_t from = 0;
    for (size_t i = 0; i < ARRAY_SIZE(dash_after); i++) {
        text_hex(bytes + from, dash_after[i] - from, text);
        text += 2 * (dash_after[i] - from);
        from = dash_after[i];
        *text++ = from == 16 ? '\0' : '-';
    }
}

int job_id_to_bytes(const char *text, uint8_t bytes[16], struct error **err)
{
    char hex[33];
    size_t length = 0;
    for (const char *c = text; *c; c++) {
        if (*c == '-')
            continue;
        if (length == 32)
            return error_set(err, ERROR_INVALID, "'%.40s' is not a job's UUID", text);
        hex[length++] = *c;
    }
    hex[length] = '\0';
    if (text_unhex(hex, bytes, 16, NULL) < 0 || strlen(text) != JOB_ID_SIZE - 1)
        return error_set(err, ERROR_INVALID, "'%.40s' is not a job's UUID", text);
    return 0;
}

int job_id_make(char text[JOB_ID_SIZE], struct error **err)
{
    uint8_t bytes[16];
    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        return error_errno(err, errno, "getrandom");
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
    job_id_from_bytes(bytes, text);
    return 0;
}
