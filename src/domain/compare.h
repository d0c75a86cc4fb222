/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest can see of its hardware, as a list of facts, each a value under a unique name. */
#ifndef DOMAIN_COMPARE_H
#define DOMAIN_COMPARE_H

#include "domain/model.h"

struct compare_fact {
    char *subject;        /* "<disk> vda" */
    const char *property; /* "" says that the subject exists; static, or lent from the domain */
    char *value;
    const xmlNode *node; /* where it comes from, for its position */
};

struct compare_facts {
    struct compare_fact *items;
    size_t count;
};

/* Gathers the facts of an assigned domain. Lends from it; release with compare_release. */
void compare_gather(const struct domain *domain, struct compare_facts *facts);
void compare_release(struct compare_facts *facts);

/* Adds one fact; `subject` is copied. A NULL or empty value adds nothing. */
void compare_note(struct compare_facts *facts, const xmlNode *node, const char *subject,
                  const char *property, const char *value);

#endif
