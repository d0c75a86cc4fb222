/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for what must not fail.
 *
 * Theory of operation. SQLite appends each commit to its write-ahead log, and begins that file anew
 * once all of it has been copied into the database. So a commit needs no space of the file system
 * as long as the log has its size already. Before each write that may be refused (a definition, a
 * VM that starts, a new job), the log is made large enough for that write and, on top, for
 * everything the jobs of the journal may still have to write. What those write is then not checked:
 * it has its place, however full the file system has become. Two things end that promise: a file
 * system that takes new space for overwriting old bytes (copy on write), or has no fallocate(2).
 */
#include <errno.h>
#include <fcntl.h>

#include "base/text.h"
#include "vm/store_private.h"

/* After so many pages the log is copied into the database, and begins anew. */
#define LOG_PAGES 64
/* A write's own, besides its content: tables, indexes, what stands above them. */
#define WRITE_PAGES 16
/* What one job may still write: its states, the VM that runs, its definition, its report. */
#define JOB_PAGES        64
#define LOG_HEADER       32
#define LOG_FRAME_HEADER 24

static int on_commit(void *context, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    struct store *store = context;
    store->log_pages = pages;
    return SQLITE_OK;
}

static int64_t query_number(struct store *store, const char *sql)
{
    CLEANUP_STATEMENT sqlite3_stmt *row = store_prepare(store, NULL, sql, "");
    return store_step(store, row, NULL) == 1 ? sqlite3_column_int64(row, 0) : 0;
}

/* Copies the log into the database, so that it begins anew. Fails when the database cannot grow or
 * somebody is reading: then the log goes on. */
static void restart_log(struct store *store)
{
    int left = 0, copied = 0;
    int code =
        sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_RESTART, &left, &copied);
    if (code == SQLITE_OK)
        store->log_pages = 0;
    else if (left > 0)
        store->log_pages = left;
}

void store_room_init(struct store *store)
{
    int keep = 1;
    sqlite3_wal_hook(store->db, on_commit, store); /* also ends SQLite's own way of doing it */
    sqlite3_file_control(store->db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
    int64_t page_size = query_number(store, "PRAGMA page_size");
    store->page_size = page_size ? page_size : 4096;
    restart_log(store);
}

int store_make_room(struct store *store, size_t bytes, unsigned jobs, struct error **err)
{
    int64_t pages = (int64_t)bytes / store->page_size + WRITE_PAGES;
    if (store->log_pages + pages > LOG_PAGES)
        restart_log(store);
    pages += store->log_pages;
    pages += JOB_PAGES * (query_number(store, "SELECT count(*) FROM journal") + jobs);
    int64_t size = LOG_HEADER + pages * (store->page_size + LOG_FRAME_HEADER);
    CLEANUP_CLOSE int log = open(store->log_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (log < 0)
        return error_errno(err, errno, "state database: %s", store->log_path);
    if (fallocate(log, 0, 0, size) == 0 || errno == EOPNOTSUPP)
        return 0;
    int reason = errno;
    if (reason == ENOSPC || reason == EDQUOT)
        error_set(err, ERROR_SYSTEM, "state database: the file system of %s is full",
                  store->log_path);
    else
        error_errno(err, reason, "state database: %s", store->log_path);
    return error_hint(err, "make room in, or repair, the file system of the state directory");
}
