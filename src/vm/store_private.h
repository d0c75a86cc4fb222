/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite helpers shared by store.c, store_room.c and journal.c. */
#ifndef VM_STORE_PRIVATE_H
#define VM_STORE_PRIVATE_H

#include <pthread.h>
#include <sqlite3.h>

#include "vm/store.h"

struct store {
    pthread_mutex_t lock;
    sqlite3 *db;
    int lock_fd;
    /* store_room.c */
    char *log_path; /* SQLite's write-ahead log */
    int64_t page_size;
    int log_pages; /* in use */
};

/*
 * Prepares `sql` and binds its parameters: one letter each in `types`, s text (NULL allowed),
 * i int64_t. NULL on error. Finalized by the caller (CLEANUP_STATEMENT).
 */
sqlite3_stmt *store_prepare(struct store *store, struct error **err, const char *sql,
                            const char *types, ...);
/* Runs a statement without rows. Returns the number of rows it changed, or -1. */
int store_run(struct store *store, sqlite3_stmt *statement, struct error **err);
/* 1: a row is there, 0: no more, -1: error. */
int store_step(struct store *store, sqlite3_stmt *statement, struct error **err);
/* The column's text, or NULL; borrowed until the next step. */
const char *store_text(sqlite3_stmt *statement, int column);

/* Several statements as one: all of them, or none. The lock is the caller's. */
int store_begin(struct store *store, struct error **err);
/* Commits when `result` is 0, else takes everything back. Returns `result`, or -1. */
int store_end(struct store *store, int result, struct error **err);

/* Without a lock and without a look at the room there is. */
int store_put_definition(struct store *store, const char *uuid, const char *name, const char *xml,
                         struct error **err);
int store_put_running(struct store *store, const struct store_running *running, struct error **err);

/* store_room.c. Before a write of `bytes` of content that may be refused: room for it, and for what
 * the jobs of the journal, and `jobs` more, still have to write. The lock is the caller's. */
int store_make_room(struct store *store, size_t bytes, unsigned jobs, struct error **err);
void store_room_init(struct store *store);

static inline void cleanup_statement_function(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}
#define CLEANUP_STATEMENT CLEANUP(cleanup_statement_function)

#endif
