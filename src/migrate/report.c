/* SPDX-License-Identifier: Apache-2.0 */
/* What people and programs get to see of a move: progress while it runs, a report at its end. */
#include "base/clock.h"
#include "base/text.h"
#include "migrate/migration_private.h"

static const char *const phase_names[] = {"plan", "prepare", "copy", "handover", "confirm"};
static const char *const outcome_names[] = {"completed", "aborted", "failed", "in_doubt"};

static int64_t ms_between(int64_t from_ns, int64_t to_ns)
{
    return from_ns && to_ns > from_ns ? (to_ns - from_ns + NS_PER_MS / 2) / NS_PER_MS : 0;
}

static struct relay_status relayed(const struct migration *m)
{
    return m->relay ? relay_status(m->relay) : m->relayed;
}

/* That the stream has no connection; NULL: it has one. */
static char *lost_note(const struct migration *m, int64_t now_ns)
{
    int64_t since_ns = m->relay ? relay_status(m->relay).link.lost_since_ns : 0;
    /* Less is what making the first one takes. */
    if (!since_ns || now_ns - since_ns < NS_PER_S)
        return NULL;
    return text_format("connection to %s lost for %d s, trying again", m->peer.host.name,
                       (int)((now_ns - since_ns) / NS_PER_S));
}

json_t *progress_make(const struct migration *m)
{
    int64_t now_ns = clock_now_ns();
    const struct relay_status status = relayed(m);
    json_t *progress = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i}", "vm", m->vm->name,
        "source", m->context->host_name, "destination", m->peer.host.name, "mode",
        migrate_mode_name(m->options.mode), "phase", phase_names[m->phase], "percent", m->percent,
        "elapsed_ms", (json_int_t)ms_between(m->started_ns, now_ns), "ram_total",
        (json_int_t)m->ram_total, "ram_bytes", (json_int_t)m->ram_bytes, "ram_remaining",
        (json_int_t)m->ram_remaining, "wire_bytes", (json_int_t)status.wire_bytes, "rate",
        (json_int_t)m->rate, "dirty_rate", (json_int_t)m->dirty_rate, "round", m->rounds);
    /* Only a rate above the guest's own makes an end foreseeable. */
    if (m->phase == PHASE_COPY && m->rate > m->dirty_rate)
        json_object_set_new(
            progress, "remaining_ms",
            json_integer((json_int_t)(m->ram_remaining * 1000 / (m->rate - m->dirty_rate))));
    if (m->downtime_estimate_ms >= 0)
        json_object_set_new(progress, "downtime_estimate_ms",
                            json_integer(m->downtime_estimate_ms));
    if (m->in_doubt)
        json_object_set_new(progress, "in_doubt", json_true());
    CLEANUP_FREE char *lost = lost_note(m, now_ns);
    if (lost || m->note)
        json_object_set_new(progress, "note", json_string(lost ? lost : m->note));
    json_t *stream = stream_report_make(m, &status);
    if (stream)
        json_object_set_new(progress, "stream", stream);
    return progress;
}

static int64_t phase_ms(const struct migration *m, enum migrate_phase phase)
{
    int64_t end_ns = 0;
    for (int next = (int)phase + 1; next <= PHASE_COUNT && !end_ns; next++)
        end_ns = m->phase_ns[next];
    return ms_between(m->phase_ns[phase], end_ns);
}

json_t *report_make(const struct migration *m, enum migrate_outcome outcome,
                    const struct error *why)
{
    const struct relay_status status = relayed(m);
    bool counted = m->was_running && m->stopped_ns && m->remote.running_ns;
    json_t *report = json_pack(
        "{s:s, s:s, s:s, s:s*, s:s*, s:O, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:b, s:b,"
        " s:I, s:I, s:I, s:I, s:I, s:I, s:O}",
        "vm", m->vm->name, "mode", migrate_mode_name(m->options.mode), "outcome",
        outcome_names[outcome], "reason", why ? why->message : NULL, "hint", why ? why->hint : NULL,
        "problems", m->problems, "phase", phase_names[m->phase], "source", m->context->host_name,
        "destination", m->peer.host.name, "total_ms",
        (json_int_t)ms_between(m->started_ns, m->phase_ns[PHASE_COUNT]), "downtime_ms",
        (json_int_t)(counted ? ms_between(m->stopped_ns, m->remote.running_ns) : 0), "ram_bytes",
        (json_int_t)m->ram_bytes, "wire_bytes", (json_int_t)status.wire_bytes, "rounds", m->rounds,
        "verified", m->verified, "post_copy", m->post_copy_started, "plan_ms",
        (json_int_t)phase_ms(m, PHASE_PLAN), "prepare_ms", (json_int_t)phase_ms(m, PHASE_PREPARE),
        "copy_ms", (json_int_t)phase_ms(m, PHASE_COPY), "handover_ms",
        (json_int_t)phase_ms(m, PHASE_HANDOVER), "confirm_ms",
        (json_int_t)phase_ms(m, PHASE_CONFIRM), "mended_pages", (json_int_t)m->mended_pages,
        "warnings", m->warnings);
    json_t *stream = stream_report_make(m, &status);
    if (stream)
        json_object_set_new(report, "stream", stream);
    return report;
}
