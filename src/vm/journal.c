/* SPDX-License-Identifier: Apache-2.0 */
/* The handover journal's rows. */
#include <string.h>

#include "base/text.h"
#include "vm/store_private.h"

static const char *const state_names[] = {
    [JOURNAL_PREPARED] = "prepared", [JOURNAL_COMMITTED] = "committed",
    [JOURNAL_ABORTED] = "aborted",   [JOURNAL_DONE] = "done",
    [JOURNAL_OWNER] = "owner",       [JOURNAL_STORED] = "stored",
};

/* A new move of a VM says that an older one, of which its record knows nothing yet, has ended: else
 * a restarted agent would undo the old one in the middle of the new one, or when it is over. A
 * source still has to tell the destination; a destination has nothing more to do. */
static int end_older(struct store *store, const struct journal_entry *entry, struct error **err)
{
    if (!entry->source) {
        CLEANUP_STATEMENT sqlite3_stmt *drop = store_prepare(
            store, err,
            "DELETE FROM journal WHERE uuid = ? AND source = 0 AND state = ? AND job != ?", "sss",
            entry->uuid, state_names[JOURNAL_PREPARED], entry->job);
        return store_run(store, drop, err) < 0 ? -1 : 0;
    }
    CLEANUP_STATEMENT sqlite3_stmt *end = store_prepare(
        store, err,
        "UPDATE journal SET state = ? WHERE uuid = ? AND source = 1 AND "
        "state = ?",
        "sss", state_names[JOURNAL_ABORTED], entry->uuid, state_names[JOURNAL_PREPARED]);
    return store_run(store, end, err) < 0 ? -1 : 0;
}

static int insert(struct store *store, const struct journal_entry *entry, const char *options,
                  struct error **err)
{
    CLEANUP_STATEMENT sqlite3_stmt *put = store_prepare(
        store, err, "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?)", "sissssss", entry->job,
        (int64_t)entry->source, entry->uuid, entry->name, entry->peer_fingerprint, entry->peer_name,
        state_names[entry->state], options);
    return store_run(store, put, err) < 0 ? -1 : 0;
}

int journal_put(struct store *store, const struct journal_entry *entry, struct error **err)
{
    CLEANUP_FREE char *options = json_dumps(entry->options, JSON_COMPACT);
    LOCK_SCOPE(&store->lock);
    if (store_make_room(store, strlen(options), 1, err) < 0 || store_begin(store, err) < 0)
        return error_prefix(err, "journal of VM %s", entry->name);
    int result = end_older(store, entry, err);
    if (result == 0)
        result = insert(store, entry, options, err);
    return store_end(store, result, err) < 0 ? error_prefix(err, "journal of VM %s", entry->name)
                                             : 0;
}

static int move_on(struct store *store, const char *job, bool source, enum journal_state from,
                   enum journal_state to, struct error **err)
{
    CLEANUP_STATEMENT sqlite3_stmt *move = store_prepare(
        store, err, "UPDATE journal SET state = ? WHERE job = ? AND source = ? AND state = ?",
        "ssis", state_names[to], job, (int64_t)source, state_names[from]);
    int changed = store_run(store, move, err);
    if (changed == 0)
        return error_set(err, ERROR_STATE, "journal of job %s: it is not '%s', so not '%s'", job,
                         state_names[from], state_names[to]);
    return changed < 0 ? -1 : 0;
}

int journal_move(struct store *store, const char *job, bool source, enum journal_state from,
                 enum journal_state to, struct error **err)
{
    LOCK_SCOPE(&store->lock);
    return move_on(store, job, source, from, to, err);
}

int journal_close(struct store *store, const char *job, const char *undefined, struct error **err)
{
    LOCK_SCOPE(&store->lock);
    if (store_begin(store, err) < 0)
        return -1;
    int result = move_on(store, job, true, JOURNAL_COMMITTED, JOURNAL_DONE, err);
    if (result == 0 && undefined) {
        CLEANUP_STATEMENT sqlite3_stmt *drop =
            store_prepare(store, err, "DELETE FROM definition WHERE uuid = ?", "s", undefined);
        result = store_run(store, drop, err) < 0 ? -1 : 0;
    }
    return store_end(store, result, err);
}

int journal_settle(struct store *store, const char *job, const struct store_running *vm, bool runs,
                   const char *definition, struct error **err)
{
    LOCK_SCOPE(&store->lock);
    if (store_begin(store, err) < 0)
        return -1;
    int result = move_on(store, job, false, JOURNAL_OWNER, JOURNAL_STORED, err);
    if (result == 0 && runs)
        result = store_put_running(store, vm, err);
    if (result == 0 && definition)
        result = store_put_definition(store, vm->uuid, vm->name, definition, err);
    return store_end(store, result, err);
}

int journal_delete(struct store *store, const char *job, bool source, struct error **err)
{
    LOCK_SCOPE(&store->lock);
    CLEANUP_STATEMENT sqlite3_stmt *drop = store_prepare(
        store, err, "DELETE FROM journal WHERE job = ? AND source = ?", "si", job, (int64_t)source);
    return store_run(store, drop, err) < 0 ? -1 : 0;
}

static int entry_from_row(sqlite3_stmt *row, struct journal_entry *entry, struct error **err)
{
    const char *state = store_text(row, 6), *options = store_text(row, 7);
    *entry = (struct journal_entry){
        .job = text_copy(store_text(row, 0)),
        .source = sqlite3_column_int64(row, 1) != 0,
        .uuid = text_copy(store_text(row, 2)),
        .name = text_copy(store_text(row, 3)),
        .peer_fingerprint = text_copy(store_text(row, 4)),
        .peer_name = text_copy(store_text(row, 5)),
        .options = json_parse(options, strlen(options), err),
    };
    size_t i = 0;
    while (i < ARRAY_SIZE(state_names) && strcmp(state, state_names[i]) != 0)
        i++;
    entry->state = (enum journal_state)i;
    if (entry->options && i < ARRAY_SIZE(state_names))
        return 0;
    journal_entry_clear(entry);
    return error_set(err, ERROR_CORRUPT, "journal: a row cannot be read");
}

#define ENTRY_COLUMNS "job, source, uuid, name, peer_fingerprint, peer_name, state, options"

int journal_find(struct store *store, const char *job, bool source, struct journal_entry *entry,
                 struct error **err)
{
    LOCK_SCOPE(&store->lock);
    CLEANUP_STATEMENT sqlite3_stmt *row = store_prepare(
        store, err, "SELECT " ENTRY_COLUMNS " FROM journal WHERE job = ? AND source = ?", "si", job,
        (int64_t)source);
    int found = store_step(store, row, err);
    if (found == 1 && entry_from_row(row, entry, err) < 0)
        return -1;
    return found;
}

int journal_list(struct store *store, struct journal_entry **entries, size_t *count,
                 struct error **err)
{
    LOCK_SCOPE(&store->lock);
    CLEANUP_STATEMENT sqlite3_stmt *rows =
        store_prepare(store, err, "SELECT " ENTRY_COLUMNS " FROM journal ORDER BY rowid", "");
    *entries = NULL;
    *count = 0;
    int more;
    while ((more = store_step(store, rows, err)) == 1) {
        struct journal_entry *larger = reallocarray(*entries, *count + 1, sizeof(**entries));
        if (!larger)
            return error_set(err, ERROR_SYSTEM, "out of memory");
        *entries = larger;
        if (entry_from_row(rows, &larger[*count], err) < 0)
            return -1;
        (*count)++;
    }
    return more;
}

void journal_entry_clear(struct journal_entry *entry)
{
    free(entry->job);
    free(entry->uuid);
    free(entry->name);
    free(entry->peer_fingerprint);
    free(entry->peer_name);
    json_decref(entry->options);
    memset(entry, 0, sizeof(*entry));
}
