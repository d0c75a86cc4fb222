/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory whose every byte can be recomputed: what the test guests write and how they check it.
 *
 * Theory of operation. A region of pages is cut in three: the working set, whose pages are written
 * again and again; the fill, incompressible pages written once; the zero part, pages that must stay
 * zero. A word's value follows from (seed, page, generation of the page, word) alone, so a check
 * needs no second copy: only the generation of each page of the working set, a table at the start
 * of the region that migrates like everything else. A page that is stale, misplaced, torn or
 * flipped differs from what its generation says.
 *
 * All work is done in steps of a bounded number of words, by one thread: init until it is ready,
 * then write and check in turn. So the caller can keep a heartbeat between steps on a machine of
 * any speed. A writer that stops within a page leaves (page, words done) behind, the journal of
 * the one page in flight; the check expects the new generation before that point and the old one
 * after it, and so never reports a false error.
 *
 * Freestanding C, no libc: the bare-metal guest, the Linux guest and the unit test share it.
 */
#ifndef WORKSET_H
#define WORKSET_H

#include <stdbool.h>
#include <stdint.h>

#define WORKSET_PAGE_SIZE 4096u
#define WORKSET_WORDS     1024u /* of 32 bits, in a page */

enum workset_pattern {
    WORKSET_COUNTER, /* pages in random order, one 32-bit counter of eight in a page grows by one */
    WORKSET_RANDOM,  /* pages in random order, every word new and incompressible */
    WORKSET_SWEEP,   /* pages in rising order, every word new and incompressible */
};

struct workset_config {
    uint32_t seed;
    enum workset_pattern pattern;
    uint32_t work_pages, fill_pages, zero_pages;
};

struct workset_error {
    uintptr_t address; /* of the first wrong byte */
    uint8_t want, got;
    uint32_t page; /* counted from the start of the working set */
    uint32_t generation;
};

struct workset {
    struct workset_config config;
    uint32_t *generation; /* of each page of the working set */
    uint32_t *pages;      /* the first word of the first page */
    uint32_t total;       /* pages of all three parts */

    uint32_t init_page; /* next to initialise; `total` once ready */
    uint32_t init_word;

    uint32_t write_page, write_word;
    uint32_t write_turn; /* pages begun, which decides the next page */
    uint64_t written;    /* pages completed since the start */

    uint32_t check_page, check_word;
    uint64_t rounds; /* complete check rounds over all three parts */
    uint64_t errors; /* wrong words seen, each time they were seen */
    struct workset_error first;
};

/* Bytes a region needs for `config`, the table of generations included; 0 when they do not fit
 * an address space of this build. */
uintptr_t workset_size(const struct workset_config *config);

/* Takes a page-aligned region of workset_size() bytes. Writes nothing yet but the table. */
void workset_open(struct workset *set, const struct workset_config *config, void *region);

/* Writes at most `words` words of the initial contents; true once everything is there. Pages of
 * the zero part are read, and only written when they are not zero. */
bool workset_init(struct workset *set, uint32_t words);

/* Writes at most about `words` words, and at most `pages` pages; returns the pages completed. */
uint32_t workset_write(struct workset *set, uint32_t words, uint32_t pages);

/* Checks the next words, at most `words` and at most to the end of a page; returns how many (0 only
 * for an empty set). What was wrong shows in `errors` and, for the first time, in `first`. */
uint32_t workset_check(struct workset *set, uint32_t words);

/* What the word must be now. */
uint32_t workset_expected(const struct workset *set, uint32_t page, uint32_t word);

/* A whole fill page, for those who keep pages elsewhere than in memory: WORKSET_WORDS words. */
void workset_contents(uint32_t seed, uint32_t page, uint32_t *words);

/* Flips one bit: the proof that a check finds it. In the parts that are never written again if
 * there are any, else in the working set, where the writer may cover it up (stop it first). */
void workset_damage(struct workset *set);

#endif
