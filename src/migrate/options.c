/* SPDX-License-Identifier: Apache-2.0 */
/* What a move is asked to do. */
#include "migrate/options.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "domain/domain.h"
#include "stream/multifd_merge.h"

static const char *const mode_names[] = {[MIGRATE_AUTO] = "auto",
                                         [MIGRATE_LIVE] = "live",
                                         [MIGRATE_NON_LIVE] = "non_live",
                                         [MIGRATE_OFFLINE] = "offline"};

/* In the order of enum chooser_wish. */
static const char *const compress_names[] = {"auto", "none", "lz4", "zstd"};

const char *migrate_mode_name(enum migrate_mode mode)
{
    return mode_names[mode];
}

static int in_range(const char *name, int64_t value, int64_t min, int64_t max, struct error **err)
{
    if (value >= min && value <= max)
        return 0;
    return error_set(err, ERROR_INVALID, "%s %" PRId64 " is not between %" PRId64 " and %" PRId64,
                     name, value, min, max);
}

/* The index of a word, or ERROR_INVALID. */
static int find_word(const char *what, const char *word, const char *const *words, size_t n,
                     struct error **err)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, words[i]) == 0)
            return (int)i;
    return error_set(err, ERROR_INVALID, "%s '%s' is not known", what, word);
}

static int check_offline(const struct migrate_options *options, struct error **err)
{
    if (!options->persistent) {
        error_set(err, ERROR_INVALID,
                  "an offline move without --persistent would leave nothing at the destination");
        return error_hint(err, "add --persistent");
    }
    if (options->post_copy || options->auto_converge || options->verify || options->bandwidth ||
        options->timeout_s) {
        error_set(err, ERROR_INVALID, "an offline move copies no memory");
        return error_hint(err, "leave out --post-copy, --auto-converge, --verify, --bandwidth and "
                               "--timeout");
    }
    return 0;
}

static int check(const struct migrate_options *options, struct error **err)
{
    if (in_range("bandwidth", options->bandwidth, 0, INT64_C(1) << 50, err) < 0 ||
        in_range("downtime", options->downtime_ms, 1, MIGRATE_DOWNTIME_MAX_MS, err) < 0 ||
        in_range("timeout", options->timeout_s, 0, INT64_C(7) * 24 * 3600, err) < 0)
        return -1;
    if (in_range("stream memory", options->stream_memory, MIGRATE_MEMORY_MIN, MIGRATE_MEMORY_MAX,
                 err) < 0)
        return -1;
    if (in_range("connections", options->connections, 0, MIGRATE_CONNECTIONS_MAX, err) < 0)
        return -1;
    if (in_range("channels", options->channels, 0, MULTIFD_CHANNELS_MAX, err) < 0)
        return -1;
    if (options->new_name && !domain_name_valid(options->new_name))
        return error_set(err, ERROR_INVALID, "'%s' cannot be a VM's name", options->new_name);
    if (options->mode == MIGRATE_OFFLINE)
        return check_offline(options, err);
    if (options->mode == MIGRATE_NON_LIVE && (options->post_copy || options->auto_converge)) {
        error_set(err, ERROR_INVALID, "a non-live move has nothing to converge: the guest stands");
        return error_hint(err, "leave out --post-copy and --auto-converge");
    }
    if (options->post_copy && options->channels > 1) {
        error_set(err, ERROR_INVALID, "QEMU does not do post-copy over several channels");
        return error_hint(err, "leave out one of --post-copy and --channels");
    }
    if (options->post_copy && options->verify) {
        error_set(err, ERROR_INVALID,
                  "--verify compares memory before the guest runs on, --post-copy lets it run "
                  "before its memory is there");
        return error_hint(err, "leave out one of the two");
    }
    return 0;
}

int migrate_options_parse(const json_t *object, struct migrate_options *options, struct error **err)
{
    memset(options, 0, sizeof(*options));
    int mode = find_word("mode", json_opt_string(object, "mode", "auto"), mode_names,
                         ARRAY_SIZE(mode_names), err);
    int compress = find_word("compression", json_opt_string(object, "compress", "auto"),
                             compress_names, ARRAY_SIZE(compress_names), mode < 0 ? NULL : err);
    if (mode < 0 || compress < 0)
        return -1;
    options->mode = (enum migrate_mode)mode;
    options->compress = (enum chooser_wish)compress;
    options->connections = json_opt_int(object, "connections", 0);
    options->channels = json_opt_int(object, "channels", 0);
    options->stream_memory = json_opt_int(object, "stream_memory", MIGRATE_MEMORY_DEFAULT);
    options->persistent = json_opt_bool(object, "persistent", false);
    options->undefine_source = json_opt_bool(object, "undefine_source", false);
    options->auto_converge = json_opt_bool(object, "auto_converge", false);
    options->post_copy = json_opt_bool(object, "post_copy", false);
    options->verify = json_opt_bool(object, "verify", false);
    options->new_name = text_copy(json_opt_string(object, "new_name", NULL));
    options->xml = text_copy(json_opt_string(object, "xml", NULL));
    options->bandwidth = json_opt_int(object, "bandwidth", 0);
    options->downtime_ms = json_opt_int(object, "downtime_ms", MIGRATE_DOWNTIME_DEFAULT_MS);
    options->timeout_s = json_opt_int(object, "timeout_s", 0);
    if (check(options, err) == 0)
        return 0;
    migrate_options_clear(options);
    return -1;
}

void migrate_options_clear(struct migrate_options *options)
{
    free(STEAL(options->new_name));
    free(STEAL(options->xml));
}
