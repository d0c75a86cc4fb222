/* SPDX-License-Identifier: Apache-2.0 */
/* Probes on disk: DIRECTORY/qemu-HASH.json, {"key": what it is valid for, "data": the probe}. */
#include "qemu/probe_cache.h"

#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#define CACHE_MAX       ((size_t)4 * 1024 * 1024)
#define HASH_HEX_SIZE   65
#define CACHE_NAME_SIZE 16 /* hex digits of the hash in a file's name */

static void hash_text(const char *text, size_t size, char hex[HASH_HEX_SIZE])
{
    uint8_t hash[32] = {0};
    size_t length = sizeof(hash);
    EVP_Q_digest(NULL, "SHA256", NULL, text, size, hash, &length);
    text_hex(hash, sizeof(hash), hex);
}

/* Lines of the first processor in /proc/cpuinfo that say what it can do (and not how fast it is
 * right now). */
static void append_cpu(struct text *text)
{
    static const char *const wanted[] = {"vendor_id", "cpu family", "model",
                                         "stepping",  "microcode",  "flags"};
    CLEANUP_FREE char *info = file_read("/proc/cpuinfo", CACHE_MAX, NULL, NULL);
    for (char *line = info, *end; line && *line && *line != '\n'; line = end + 1) {
        end = strchrnul(line, '\n');
        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
            if (strncmp(line, wanted[i], strlen(wanted[i])) == 0)
                text_append_bytes(text, line, (size_t)(end - line));
        if (!*end)
            break;
    }
}

/* What a KVM guest's CPU depends on beside the emulator. */
static void host_signature(char hex[HASH_HEX_SIZE])
{
    static const char *const files[] = {"/sys/module/kvm_intel/parameters/nested",
                                        "/sys/module/kvm_amd/parameters/nested"};
    CLEANUP_TEXT struct text text = {0};
    struct utsname kernel;
    if (uname(&kernel) == 0)
        text_append(&text, "%s %s\n", kernel.release, kernel.version);
    append_cpu(&text);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        CLEANUP_FREE char *value = file_read(files[i], 64, NULL, NULL);
        text_append(&text, "%s\n", value ? value : "-");
    }
    hash_text(text.data, text.length, hex);
}

static json_t *cache_key(const struct probe_key *key)
{
    char host[HASH_HEX_SIZE];
    host_signature(host);
    return json_pack("{s:s, s:s, s:b, s:I, s:I, s:s}", "mudanza", MUDANZA_VERSION, "emulator",
                     key->emulator, "kvm", key->kvm, "mtime-ns", (json_int_t)key->mtime_ns, "size",
                     (json_int_t)key->size, "host", host);
}

static char *cache_path(const char *directory, const struct probe_key *key)
{
    char hex[HASH_HEX_SIZE];
    hash_text(key->emulator, strlen(key->emulator), hex);
    return text_format("%s/qemu-%.*s-%s.json", directory, CACHE_NAME_SIZE, hex,
                       key->kvm ? "kvm" : "tcg");
}

/* "#!" at the start, or nobody can tell. */
static bool is_script(const char *path)
{
    char start[2];
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 || read(fd, start, 2) != 2 || memcmp(start, "#!", 2) == 0;
}

static bool is_probe(const json_t *data)
{
    return json_is_integer(json_object_get(data, "version")) &&
           json_is_string(json_object_get(data, "version-text")) &&
           json_array_size(json_object_get(data, "machines")) > 0 &&
           json_is_object(json_object_get(data, "cpus")) &&
           json_is_object(json_object_get(data, "capabilities")) &&
           json_is_object(json_object_get(data, "devices"));
}

json_t *probe_cache_read(const char *directory, const struct probe_key *key)
{
    size_t size;
    CLEANUP_FREE char *path = cache_path(directory, key);
    CLEANUP_FREE char *text = file_read(path, CACHE_MAX, &size, NULL);
    CLEANUP_JSON json_t *cached = text ? json_parse(text, size, NULL) : NULL;
    CLEANUP_JSON json_t *wanted = cache_key(key);
    if (!cached || !wanted || !json_equal(json_object_get(cached, "key"), wanted))
        return NULL;
    json_t *data = json_object_get(cached, "data");
    return is_probe(data) && !is_script(key->emulator) ? json_incref(data) : NULL;
}

void probe_cache_write(const char *directory, const struct probe_key *key, const json_t *data)
{
    if (is_script(key->emulator))
        return;
    CLEANUP_JSON json_t *wanted = cache_key(key);
    CLEANUP_JSON json_t *file =
        json_pack("{s:O, s:o}", "key", wanted, "data", json_deep_copy(data));
    CLEANUP_FREE char *text = file ? json_dumps(file, JSON_COMPACT) : NULL;
    CLEANUP_FREE char *path = cache_path(directory, key);
    CLEANUP_ERROR struct error *err = NULL;
    if (!text)
        error_set(&err, ERROR_INTERNAL, "%s: cannot be written as JSON", path);
    else if (file_make_directory(directory, 0700, &err) == 0)
        file_write_atomic(path, text, strlen(text), 0600, &err);
    if (err)
        log_warning(NULL, "what %s can do is not remembered: %s", key->emulator, err->message);
}
