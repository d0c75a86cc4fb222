/* SPDX-License-Identifier: Apache-2.0 */
/* Text that the user gives in a file or on standard input. */
#include "cli/input.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#define SIZE_LIMIT ((size_t)4 << 20)

static char *read_standard(size_t *size, struct error **err)
{
    CLEANUP_TEXT struct text text = {0};
    char buffer[16384];
    for (;;) {
        ssize_t got = read(STDIN_FILENO, buffer, sizeof(buffer));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            error_errno(err, errno, "standard input");
            return NULL;
        }
        if (got == 0)
            break;
        text_append_bytes(&text, buffer, (size_t)got);
        if (text.length > SIZE_LIMIT) {
            error_set(err, ERROR_INVALID, "standard input: larger than %zu bytes", SIZE_LIMIT);
            return NULL;
        }
    }
    *size = text.length;
    return text.data ? STEAL(text.data) : text_copy("");
}

char *input_read(const char *path, struct error **err)
{
    size_t size = 0;
    CLEANUP_FREE char *data = strcmp(path, "-") == 0 ? read_standard(&size, err)
                                                     : file_read(path, SIZE_LIMIT, &size, err);
    if (!data)
        return NULL;
    CLEANUP_JSON json_t *valid = json_string(data);
    if (!valid || memchr(data, '\0', size)) {
        error_set(err, ERROR_INVALID, "%s: is not UTF-8 text", path);
        return NULL;
    }
    return STEAL(data);
}
