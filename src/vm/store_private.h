/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite helpers shared by store.c and journal.c. */
#ifndef VM_STORE_PRIVATE_H
#define VM_STORE_PRIVATE_H

#include <pthread.h>
#include <sqlite3.h>

#include "vm/store.h"

struct store {
    pthread_mutex_t lock;
    sqlite3 *db;
    int lock_fd;
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

static inline void cleanup_statement_function(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}
#define CLEANUP_STATEMENT CLEANUP(cleanup_statement_function)

#endif
