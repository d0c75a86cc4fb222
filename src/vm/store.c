/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's durable state, in SQLite. */
#include "vm/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "base/fault.h"
#include "base/text.h"
#include "vm/store_private.h"

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS definition ("
    "  uuid TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, xml TEXT NOT NULL) STRICT;"
    "CREATE TABLE IF NOT EXISTS running ("
    "  uuid TEXT PRIMARY KEY, name TEXT NOT NULL, xml TEXT NOT NULL, pid INTEGER NOT NULL,"
    "  start_time INTEGER NOT NULL, incoming INTEGER NOT NULL) STRICT;"
    "CREATE TABLE IF NOT EXISTS host ("
    "  name TEXT PRIMARY KEY, address TEXT NOT NULL, port INTEGER NOT NULL,"
    "  fingerprint TEXT UNIQUE NOT NULL) STRICT;"
    "CREATE TABLE IF NOT EXISTS journal ("
    "  job TEXT NOT NULL, source INTEGER NOT NULL, uuid TEXT NOT NULL, name TEXT NOT NULL,"
    "  peer_fingerprint TEXT NOT NULL, peer_name TEXT NOT NULL, state TEXT NOT NULL,"
    "  options TEXT NOT NULL, PRIMARY KEY (job, source)) STRICT;"
    "CREATE TABLE IF NOT EXISTS report (name TEXT PRIMARY KEY, report TEXT NOT NULL) STRICT;";

static int store_fail(struct store *store, struct error **err, const char *what)
{
    int code = sqlite3_errcode(store->db);
    error_set(err, ERROR_SYSTEM, "state database: %s: %s", what, sqlite3_errmsg(store->db));
    if (code == SQLITE_FULL || code == SQLITE_IOERR)
        error_hint(err, "make room in, or repair, the file system of the state directory");
    return -1;
}

static int store_lock_directory(struct store *store, const char *directory, struct error **err)
{
    CLEANUP_FREE char *path = text_format("%s/lock", directory);
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0)
        return error_errno(err, errno, "%s", path);
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return error_errno(err, errno, "%s", path);
    error_set(err, ERROR_STATE, "%s: another agent uses this state directory", directory);
    return error_hint(err, "stop that agent, or give this one its own --state-dir");
}

struct store *store_open(const char *directory, struct error **err)
{
    struct store *store = calloc(1, sizeof(*store));
    if (!store) {
        error_set(err, ERROR_SYSTEM, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&store->lock, NULL);
    store->lock_fd = -1;
    CLEANUP_FREE char *path = text_format("%s/mudanza.db", directory);
    if (store_lock_directory(store, directory, err) < 0) {
        store_close(store);
        return NULL;
    }
    if (sqlite3_open_v2(path, &store->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                        NULL) != SQLITE_OK ||
        sqlite3_exec(store->db,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                     "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;",
                     NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(store->db, schema, NULL, NULL, NULL) != SQLITE_OK) {
        store_fail(store, err, path);
        store_close(store);
        return NULL;
    }
    if (fault_skip(FAULT_STORE_OPEN))
        sqlite3_exec(store->db, "PRAGMA synchronous=OFF;", NULL, NULL, NULL);
    store->log_path = text_format("%s-wal", path);
    store_room_init(store);
    return store;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    sqlite3_close(store->db);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    pthread_mutex_destroy(&store->lock);
    free(store->log_path);
    free(store);
}

sqlite3_stmt *store_prepare(struct store *store, struct error **err, const char *sql,
                            const char *types, ...)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK) {
        store_fail(store, err, sql);
        return NULL;
    }
    va_list args;
    va_start(args, types);
    for (int i = 0; types[i]; i++) {
        /* clang-tidy 14 loses track of a va_list in a loop. NOLINTBEGIN(*valist*) */
        if (types[i] == 'i')
            sqlite3_bind_int64(statement, i + 1, va_arg(args, int64_t));
        else
            sqlite3_bind_text(statement, i + 1, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
        /* NOLINTEND(*valist*) */
    }
    va_end(args);
    return statement;
}

int store_step(struct store *store, sqlite3_stmt *statement, struct error **err)
{
    if (!statement)
        return -1;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        return 1;
    if (code == SQLITE_DONE)
        return 0;
    return store_fail(store, err, "write or read failed");
}

int store_run(struct store *store, sqlite3_stmt *statement, struct error **err)
{
    if (store_step(store, statement, err) < 0)
        return -1;
    return sqlite3_changes(store->db);
}

const char *store_text(sqlite3_stmt *statement, int column)
{
    return (const char *)sqlite3_column_text(statement, column);
}

int store_begin(struct store *store, struct error **err)
{
    CLEANUP_STATEMENT sqlite3_stmt *begin = store_prepare(store, err, "BEGIN IMMEDIATE", "");
    return store_step(store, begin, err);
}

int store_end(struct store *store, int result, struct error **err)
{
    if (result == 0) {
        CLEANUP_STATEMENT sqlite3_stmt *commit = store_prepare(store, err, "COMMIT", "");
        result = store_step(store, commit, err);
    }
    if (result < 0 && !sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return result;
}

int store_put_definition(struct store *store, const char *uuid, const char *name, const char *xml,
                         struct error **err)
{
    CLEANUP_STATEMENT sqlite3_stmt *put =
        store_prepare(store, err,
                      "INSERT INTO definition VALUES (?, ?, ?)"
                      " ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, xml = excluded.xml",
                      "sss", uuid, name, xml);
    return store_run(store, put, err) < 0 ? error_prefix(err, "VM %s", name) : 0;
}

int store_define(struct store *store, const char *uuid, const char *name, const char *xml,
                 struct error **err)
{
    LOCK_SCOPE(&store->lock);
    if (store_make_room(store, strlen(xml), 0, err) < 0)
        return error_prefix(err, "VM %s", name);
    return store_put_definition(store, uuid, name, xml, err);
}

int store_undefine(struct store *store, const char *uuid, struct error **err)
{
    LOCK_SCOPE(&store->lock);
    CLEANUP_STATEMENT sqlite3_stmt *drop =
        store_prepare(store, err, "DELETE FROM definition WHERE uuid = ?", "s", uuid);
    return store_run(store, drop, err) < 0 ? -1 : 0;
}

int store_each_definition(struct store *store, store_definition_visit *visit, void *context,
                          struct error **err)
{
    LOCK_SCOPE(&store->lock);
    CLEANUP_STATEMENT sqlite3_stmt *rows =
        store_prepare(store, err, "SELECT uuid, name, xml FROM definition ORDER BY name", "");
    int more;
    while ((more = store_step(store, rows, err)) == 1)
        visit(context, store_text(rows, 0), store_text(rows, 1), store_text(rows, 2));
    return more;
}

int store_put_running(struct store *store, const struct store_running *running, struct error **err)
{
    CLEANUP_STATEMENT sqlite3_stmt *put = store_prepare(
        store, err, "INSERT OR REPLACE INTO running VALUES (?, ?, ?, ?, ?, ?)", "sssiii",
        running->uuid, running->name, running->xml, (int64_t)running->process.pid,
        (int64_t)running->process.start_time, (int64_t)running->incoming);
    return store_run(store, put, err) < 0 ? error_prefix(err, "VM %s", running->name) : 0;
}

int store_running_put(struct store *store, const struct store_running *running, struct error **err)
{
    LOCK_SCOPE(&store->lock);
    if (store_make_room(store, strlen(running->xml), 0, err) < 0)
        return error_prefix(err, "VM %s", running->name);
    return store_put_running(store, running, err);
}

int store_running_delete(struct store *store, const char *uuid, struct error **err)
{
    LOCK_SCOPE(&store->lock);
    CLEANUP_STATEMENT sqlite3_stmt *drop =
        store_prepare(store, err, "DELETE FROM running WHERE uuid = ?", "s", uuid);
    return store_run(store, drop, err) < 0 ? -1 : 0;
}

int store_each_running(struct store *store, store_running_visit *visit, void *context,
                       struct error **err)
{
    LOCK_SCOPE(&store->lock);
    CLEANUP_STATEMENT sqlite3_stmt *rows = store_prepare(
        store, err, "SELECT uuid, name, xml, pid, start_time, incoming FROM running", "");
    int more;
    while ((more = store_step(store, rows, err)) == 1) {
        struct store_running running = {
            .uuid = store_text(rows, 0),
            .name = store_text(rows, 1),
            .xml = store_text(rows, 2),
            .process = {.pid = (pid_t)sqlite3_column_int64(rows, 3),
                        .start_time = (uint64_t)sqlite3_column_int64(rows, 4)},
            .incoming = sqlite3_column_int64(rows, 5) != 0,
        };
        visit(context, &running);
    }
    return more;
}

int store_host_put(struct store *store, const struct store_host *host, struct error **err)
{
    LOCK_SCOPE(&store->lock);
    if (store_make_room(store, 0, 0, err) < 0)
        return error_prefix(err, "host %s", host->name);
    CLEANUP_STATEMENT sqlite3_stmt *put = store_prepare(
        store, err,
        "INSERT INTO host VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
        " address = excluded.address, port = excluded.port, fingerprint = excluded.fingerprint",
        "ssis", host->name, host->address, (int64_t)host->port, host->fingerprint);
    return store_run(store, put, err) < 0 ? error_prefix(err, "host %s", host->name) : 0;
}

int store_host_delete(struct store *store, const char *name, struct error **err)
{
    LOCK_SCOPE(&store->lock);
    CLEANUP_STATEMENT sqlite3_stmt *drop =
        store_prepare(store, err, "DELETE FROM host WHERE name = ?", "s", name);
    int changed = store_run(store, drop, err);
    if (changed == 0) {
        error_set(err, ERROR_NOT_FOUND, "host %s: not known here", name);
        return error_hint(err, "`mudanza host list` shows the known ones");
    }
    return changed < 0 ? -1 : 0;
}

static void host_from_row(sqlite3_stmt *row, struct store_host *host)
{
    host->name = text_copy(store_text(row, 0));
    host->address = text_copy(store_text(row, 1));
    host->port = (uint16_t)sqlite3_column_int64(row, 2);
    host->fingerprint = text_copy(store_text(row, 3));
}

int store_host_find(struct store *store, const char *name, const char *fingerprint,
                    struct store_host *host, struct error **err)
{
    LOCK_SCOPE(&store->lock);
    CLEANUP_STATEMENT sqlite3_stmt *row =
        store_prepare(store, err,
                      "SELECT name, address, port, fingerprint FROM host"
                      " WHERE name = ?1 OR fingerprint = ?2",
                      "ss", name, fingerprint);
    int found = store_step(store, row, err);
    if (found == 1)
        host_from_row(row, host);
    return found;
}

int store_host_list(struct store *store, struct store_host **hosts, size_t *count,
                    struct error **err)
{
    LOCK_SCOPE(&store->lock);
    CLEANUP_STATEMENT sqlite3_stmt *rows = store_prepare(
        store, err, "SELECT name, address, port, fingerprint FROM host ORDER BY name", "");
    *hosts = NULL;
    *count = 0;
    int more;
    while ((more = store_step(store, rows, err)) == 1) {
        struct store_host *larger = reallocarray(*hosts, *count + 1, sizeof(**hosts));
        if (!larger)
            return error_set(err, ERROR_SYSTEM, "out of memory");
        *hosts = larger;
        host_from_row(rows, &larger[(*count)++]);
    }
    return more;
}

void store_host_clear(struct store_host *host)
{
    free(host->name);
    free(host->address);
    free(host->fingerprint);
    memset(host, 0, sizeof(*host));
}

int store_report_put(struct store *store, const char *name, const json_t *report,
                     struct error **err)
{
    CLEANUP_FREE char *text = json_dumps(report, JSON_COMPACT);
    LOCK_SCOPE(&store->lock);
    if (store_make_room(store, strlen(text), 0, err) < 0)
        return -1;
    CLEANUP_STATEMENT sqlite3_stmt *put =
        store_prepare(store, err, "INSERT OR REPLACE INTO report VALUES (?, ?)", "ss", name, text);
    return store_run(store, put, err) < 0 ? -1 : 0;
}

int store_report_get(struct store *store, const char *name, json_t **report, struct error **err)
{
    *report = NULL;
    LOCK_SCOPE(&store->lock);
    CLEANUP_STATEMENT sqlite3_stmt *row =
        store_prepare(store, err, "SELECT report FROM report WHERE name = ?", "s", name);
    int found = store_step(store, row, err);
    if (found == 1) {
        const char *text = store_text(row, 0);
        *report = json_parse(text, strlen(text), err);
        return *report ? 0 : -1;
    }
    return found;
}
