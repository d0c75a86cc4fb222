/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parsers of the parts of a domain. Each takes the element it is named after (which may be
 * NULL when missing), fills the domain's fields, and leaves complaints with the reader: none stops,
 * so that one run finds everything.
 */
#ifndef DOMAIN_PARSE_H
#define DOMAIN_PARSE_H

#include "domain/model.h"
#include "domain/reader.h"

void parse_memory_backing(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_metadata(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_pm(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_os(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_features(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_clock(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_cpu(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_devices(struct reader *reader, struct domain *domain, xmlNode *node);

/* One device each. */
void parse_disk(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_interface(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_controller(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_serial(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_console(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_channel(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_graphics(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_video(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_input(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_rng(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_balloon(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_watchdog(struct reader *reader, struct domain *domain, xmlNode *node);
void parse_panic(struct reader *reader, struct domain *domain, xmlNode *node);

/* <alias>, and <address type='pci'> if there is one. Devices with other addresses read those
 * first. */
void parse_device(struct reader *reader, xmlNode *node, char **alias, struct domain_pci *pci);
/* <alias> only: for a device without an address of its own. */
void parse_alias(struct reader *reader, xmlNode *node, char **alias);

/* A size in bytes from text and the unit in `unit` (NULL: KiB); false with a finding at `node`. */
bool parse_size(struct reader *reader, const xmlNode *node, const char *text, const char *unit,
                uint64_t *bytes);

/* An absolute path; a finding and NULL otherwise. */
char *parse_path(struct reader *reader, const xmlNode *node, const char *text);

/* Copies an optional attribute that must be one of `choices`. */
char *parse_choice(struct reader *reader, xmlNode *node, const char *name,
                   const char *const *choices);

#endif
