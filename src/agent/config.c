/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's configuration. */
#include "agent/config.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <string.h>
#include <syslog.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"

#define CONFIG_FILE_MAX       65536
#define SECONDS_MAX           ((int64_t)24 * 3600)
#define DICTIONARY_MEMORY_MIN ((int64_t)1 << 20)

/* What holds when nobody says otherwise. Heartbeats come four times in the silence; a busy host
 * misses one now and then, but hardly three. A minute is a switch that restarts its port, or a
 * route that changes; a host that restarts takes longer, and the guest had better stay. */
#define PEER_SILENCE_DEFAULT_S 3
#define PEER_LOST_DEFAULT_S    60

const char config_help[] =
    "Usage: mudanzad [OPTION]...\n"
    "The agent that runs this host's virtual machines and moves them to other hosts.\n"
    "\n"
    "  --name NAME            this host's name (default: its host name)\n"
    "  --listen ADDRESS:PORT  where peers reach this host; not given: it takes no VMs in\n"
    "  --socket PATH          the local socket that `mudanza` uses\n"
    "  --state-dir DIR        database, key, logs, NVRAM\n"
    "  --run-dir DIR          QEMU's monitor sockets\n"
    "  --emulator PATH        QEMU for VMs whose XML names none\n"
    "  --qemu-user NAME       QEMU runs as this user (root only; \"\" for the agent's own)\n"
    "  --peer-silence SECONDS a connection on which nothing came for so long is dropped (3)\n"
    "  --peer-lost SECONDS    a move waits so long for a host that is away (60)\n"
    "  --dedup WHOSE          pages that the destination has already need not travel:\n"
    "                         off, same-vm, or group (default)\n"
    "  --dictionary-memory SIZE  for the index of such pages, of each arrival (default 64M)\n"
    "  --keep-ram SIZE        keep the RAM of VMs that left, for when they come back\n"
    "                         (default: an eighth of the host's memory; 0: none)\n"
    "  --keep-ram-seconds N   for so long (default 600)\n"
    "  --log-level LEVEL      error, warning, info or debug\n"
    "  --config FILE          settings, one `key = value` a line, the keys as above\n"
    "  --help                 this text\n"
    "  --version              the version\n" FAULT_HELP "\n"
    "See mudanzad(8) and mudanzad.conf(5).\n";

static int parse_level(const char *text, int *level, struct error **err)
{
    static const struct {
        const char *name;
        int level;
    } levels[] = {
        {"error", LOG_ERR}, {"warning", LOG_WARNING}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}};
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
        if (strcmp(text, levels[i].name) == 0) {
            *level = levels[i].level;
            return 0;
        }
    return error_set(err, ERROR_INVALID, "log-level '%s': it is error, warning, info or debug",
                     text);
}

static int parse_sharing(const char *text, enum sharing *sharing, struct error **err)
{
    static const char *const names[] = {
        [SHARING_OFF] = "off", [SHARING_SAME_VM] = "same-vm", [SHARING_GROUP] = "group"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(text, names[i]) == 0) {
            *sharing = (enum sharing)i;
            return 0;
        }
    return error_set(err, ERROR_INVALID, "dedup '%s': it is off, same-vm or group", text);
}

/* "0", "512M", "2GiB": whole units, M when none is named. */
static int parse_memory(const char *key, const char *text, int64_t min, int64_t *bytes,
                        struct error **err)
{
    static const struct {
        const char *name;
        int shift;
    } units[] = {{"", 20}, {"M", 20}, {"MiB", 20}, {"G", 30}, {"GiB", 30}, {"T", 40}, {"TiB", 40}};
    const size_t digits = strspn(text, "0123456789");
    CLEANUP_FREE char *number = text_copy(text);
    number[digits] = '\0';
    int64_t value;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (strcmp(text + digits, units[i].name) == 0 &&
            text_parse_int(number, 0, INT64_MAX >> units[i].shift, &value, NULL) == 0 &&
            value << units[i].shift >= min) {
            *bytes = value << units[i].shift;
            return 0;
        }
    error_set(err, ERROR_INVALID, "%s '%s': not a size, or too small", key, text);
    return error_hint(err, "write a whole number of MiB, or with a unit: 512M, 4GiB");
}

static int parse_seconds(const char *key, const char *text, int64_t *seconds, struct error **err)
{
    return text_parse_int(text, 1, SECONDS_MAX, seconds, err) < 0 ? error_prefix(err, "%s", key)
                                                                  : 0;
}

/* The settings that are not just text. 1: it was one of them. */
static int set_value(struct config *config, const char *key, const char *value, struct error **err)
{
    int result;
    if (strcmp(key, "log-level") == 0)
        result = parse_level(value, &config->log_level, err);
    else if (strcmp(key, "dedup") == 0)
        result = parse_sharing(value, &config->sharing, err);
    else if (strcmp(key, "dictionary-memory") == 0)
        result = parse_memory(key, value, DICTIONARY_MEMORY_MIN, &config->dictionary_memory, err);
    else if (strcmp(key, "keep-ram") == 0)
        result = parse_memory(key, value, 0, &config->keep_ram, err);
    else if (strcmp(key, "keep-ram-seconds") == 0)
        result = parse_seconds(key, value, &config->keep_ram_seconds, err);
    else if (strcmp(key, "peer-silence") == 0)
        result = parse_seconds(key, value, &config->peer_silence_s, err);
    else if (strcmp(key, "peer-lost") == 0)
        result = parse_seconds(key, value, &config->peer_lost_s, err);
    else
        return 0;
    return result < 0 ? -1 : 1;
}

static int set(struct config *config, const char *key, const char *value, struct error **err)
{
    const struct {
        const char *key;
        char **field;
    } strings[] = {
        {"name", &config->name},           {"state-dir", &config->state_dir},
        {"run-dir", &config->run_dir},     {"socket", &config->socket},
        {"listen", &config->listen},       {"emulator", &config->emulator},
        {"qemu-user", &config->qemu_user},
    };
    const int known = set_value(config, key, value, err);
    if (known)
        return known < 0 ? -1 : 0;
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        if (strcmp(key, strings[i].key) == 0) {
            free(*strings[i].field);
            *strings[i].field = text_copy(value);
            return 0;
        }
    return error_set(err, ERROR_INVALID, "there is no setting '%s'", key);
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return text;
}

int config_parse(struct config *config, char *text, const char *path, struct error **err)
{
    int number = 0;
    for (char *line = text, *next; line; line = next) {
        number++;
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        char *setting = trim(line);
        if (!*setting || *setting == '#')
            continue;
        char *equals = strchr(setting, '=');
        if (!equals)
            return error_set(err, ERROR_INVALID, "%s line %d: not `key = value`", path, number);
        *equals = '\0';
        if (set(config, trim(setting), trim(equals + 1), err) < 0)
            return error_prefix(err, "%s line %d", path, number);
    }
    return 0;
}

static int load_file(struct config *config, const char *path, bool must_exist, struct error **err)
{
    CLEANUP_ERROR struct error *problem = NULL;
    CLEANUP_FREE char *text = file_read(path, CONFIG_FILE_MAX, NULL, &problem);
    if (text)
        return config_parse(config, text, path, err);
    if (problem->sys_errno == ENOENT && !must_exist)
        return 0;
    return error_move(err, STEAL(problem));
}

/* What holds when nobody says otherwise, for root and for ordinary users. */
static void set_default(char **field, char *value)
{
    if (*field)
        free(value);
    else
        *field = value;
}

static void fill_defaults(struct config *config)
{
    bool root = geteuid() == 0;
    const char *state = getenv("XDG_STATE_HOME"), *run = getenv("XDG_RUNTIME_DIR");
    const char *home = getenv("HOME");
    char host[256] = "localhost";
    gethostname(host, sizeof(host) - 1);
    set_default(&config->name, text_copy(host));
    if (root)
        set_default(&config->state_dir, text_copy("/var/lib/mudanza"));
    else if (state)
        set_default(&config->state_dir, text_format("%s/mudanza", state));
    else
        set_default(&config->state_dir, text_format("%s/.local/state/mudanza", home ? home : "."));
    if (root)
        set_default(&config->run_dir, text_copy("/run/mudanza"));
    else if (run)
        set_default(&config->run_dir, text_format("%s/mudanza", run));
    else
        set_default(&config->run_dir, text_format("%s/run", config->state_dir));
    set_default(&config->socket, text_format("%s/mudanza.sock", config->run_dir));
    set_default(&config->emulator, text_copy("/usr/bin/qemu-system-x86_64"));
    if (root)
        set_default(&config->qemu_user, text_copy("mudanza-qemu"));
}

static int check(struct config *config, struct error **err)
{
    if (config->peer_silence_s > config->peer_lost_s)
        return error_set(err, ERROR_INVALID, "peer-silence is longer than peer-lost");
    if (config->listen && !*config->listen)
        free(STEAL(config->listen));
    if (config->qemu_user && !*config->qemu_user)
        free(STEAL(config->qemu_user));
    if (!config->qemu_user)
        return 0;
    if (geteuid() != 0)
        return error_set(err, ERROR_INVALID, "qemu-user: only root can start QEMU as another user");
    if (getpwnam(config->qemu_user))
        return 0;
    error_set(err, ERROR_NOT_FOUND, "qemu-user: there is no user '%s'", config->qemu_user);
    return error_hint(err, "`useradd --system --shell /usr/sbin/nologin %s` makes it",
                      config->qemu_user);
}

static const struct option options[] = {
    {"name", required_argument, NULL, 's'},
    {"state-dir", required_argument, NULL, 's'},
    {"run-dir", required_argument, NULL, 's'},
    {"socket", required_argument, NULL, 's'},
    {"listen", required_argument, NULL, 's'},
    {"emulator", required_argument, NULL, 's'},
    {"qemu-user", required_argument, NULL, 's'},
    {"peer-silence", required_argument, NULL, 's'},
    {"peer-lost", required_argument, NULL, 's'},
    {"dedup", required_argument, NULL, 's'},
    {"dictionary-memory", required_argument, NULL, 's'},
    {"keep-ram", required_argument, NULL, 's'},
    {"keep-ram-seconds", required_argument, NULL, 's'},
    {"log-level", required_argument, NULL, 's'},
    {"config", required_argument, NULL, 'c'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {"fault", required_argument, NULL, 'f'},
    {"fault-socket", required_argument, NULL, 'F'},
    {"list-faults", no_argument, NULL, 'l'},
    {"json", no_argument, NULL, 'j'},
    {NULL, 0, NULL, 0},
};

/* Several --fault count as one with commas. */
static void take_fault_option(struct config *config, int option, enum config_action *action)
{
    char *before = config->faults;
    if (option == 'f') {
        config->faults = before ? text_format("%s,%s", before, optarg) : text_copy(optarg);
        free(before);
    } else if (option == 'F') {
        free(config->fault_socket);
        config->fault_socket = text_copy(optarg);
    } else if (option == 'l') {
        *action = CONFIG_LIST_FAULTS;
    } else if (option == 'j') {
        config->json = true;
    }
}

/* The file first, whatever the order on the command line. */
static int find_file(int argc, char **argv, struct config *config, enum config_action *action,
                     struct error **err)
{
    const char *path = NULL;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?')
            return error_set(err, ERROR_INVALID, "see `mudanzad --help`");
        if (option == 'c')
            path = optarg;
        else if (option == 'h')
            *action = CONFIG_HELP;
        else if (option == 'v')
            *action = CONFIG_VERSION;
        else
            take_fault_option(config, option, action);
    }
    if (optind < argc)
        return error_set(err, ERROR_INVALID, "'%s': mudanzad takes options only", argv[optind]);
    if (config->json && *action != CONFIG_LIST_FAULTS)
        return error_set(err, ERROR_INVALID, "--json goes with --list-faults");
    if (path)
        return load_file(config, path, true, err);
    return geteuid() == 0 ? load_file(config, "/etc/mudanza/mudanzad.conf", false, err) : 0;
}

int config_load(int argc, char **argv, struct config *config, enum config_action *action,
                struct error **err)
{
    memset(config, 0, sizeof(*config));
    config->log_level = LOG_INFO;
    config->peer_silence_s = PEER_SILENCE_DEFAULT_S;
    config->peer_lost_s = PEER_LOST_DEFAULT_S;
    config->sharing = SHARING_GROUP;
    config->dictionary_memory = (int64_t)64 << 20;
    config->keep_ram = -1;
    config->keep_ram_seconds = 600;
    *action = CONFIG_RUN;
    if (find_file(argc, argv, config, action, err) < 0)
        return -1;
    if (*action != CONFIG_RUN)
        return 0;
    int option, index = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, &index)) != -1)
        if (option == 's' && set(config, options[index].name, optarg, err) < 0)
            return -1;
    fill_defaults(config);
    return check(config, err);
}

void config_clear(struct config *config)
{
    free(config->name);
    free(config->state_dir);
    free(config->run_dir);
    free(config->socket);
    free(config->listen);
    free(config->emulator);
    free(config->qemu_user);
    free(config->faults);
    free(config->fault_socket);
    memset(config, 0, sizeof(*config));
}
