/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mudanza demo: makes two hosts of this one, boots a Linux VM on the first, and moves it: live to
 * the second, non-live back, and, shut off, for good.
 *
 * This file tells the story from top to bottom. The hosts are demo_lab.c's, the VM demo_guest.c's.
 * The story goes to standard error, the reports of the moves to standard output.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/demo_guest.h"
#include "cli/migrate.h"
#include "cli/report.h"
#include "cli/shutdown.h"
#include "cli/signals.h"
#include "cli/units.h"
#include "cli/vm.h"

#define KVM_LIFE_MS INT64_C(8000) /* a kernel under a KVM that works needs a tenth of it */
#define TCG_LIFE_MS INT64_C(60000)
#define CHECK_MS    INT64_C(60000)
#define SHUTDOWN_S  30
#define MOVE_S      60

enum {
    KERNEL,
    INITRD,
};

static const struct option_spec options[] = {
    [KERNEL] = {"kernel", "FILE", option_check_name, "the guest's kernel"},
    [INITRD] = {"initrd", "FILE", option_check_name, "the guest's initrd"},
    {NULL},
};

struct demo {
    struct demo_lab lab;
    struct demo_guest guest;
    struct signals signals;
    json_t *reports; /* one for each move that was begun; owned */
};

/* A line of the story. */
static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* --- the VM boots -----------------------------------------------------------------------------*/

static int call_vm(const struct demo *demo, size_t host, const char *method, struct error **err)
{
    return demo_host_call(&demo->lab.hosts[host], method, json_pack("{s:s}", "vm", DEMO_GUEST_NAME),
                          NULL, err);
}

/* Starts it on the first host and waits for a sign of life. */
static int start_guest(struct demo *demo, const char *type, int64_t life_ms, struct error **err)
{
    const struct demo_host *host = &demo->lab.hosts[0];
    CLEANUP_FREE char *xml = demo_guest_xml(&demo->guest, type);
    json_t *start = json_pack("{s:s, s:b}", "vm", DEMO_GUEST_NAME, "paused", 0);
    demo_guest_forget(&demo->guest);
    if (demo_host_call(host, "Define", json_pack("{s:s}", "xml", xml), NULL, err) < 0) {
        json_decref(start);
        return -1;
    }
    if (demo_host_call(host, "Start", start, NULL, err) < 0)
        return -1;
    return demo_guest_await_life(&demo->guest, life_ms, err);
}

/* Returns 1 when it lives under KVM, 0 when it does not, -1 on error. */
static int try_kvm(struct demo *demo, struct error **err)
{
    struct error *why = NULL;
    if (start_guest(demo, "kvm", KVM_LIFE_MS, &why) == 0)
        return 1;
    if (why->kind == ERROR_CANCELLED)
        return error_move(err, why);
    if (why->kind == ERROR_TIMEOUT)
        say("KVM opens here but the guest shows no life: falling back to TCG, software "
            "emulation.");
    else
        say("KVM does not run the guest: falling back to TCG, software emulation.\n  (%s)",
            why->message);
    error_free(why);
    /* How far it came nobody knows; should it still be there, the next definition is refused. */
    call_vm(demo, 0, "Destroy", NULL);
    call_vm(demo, 0, "Undefine", NULL);
    return 0;
}

static int boot(struct demo *demo, struct error **err)
{
    const struct demo_host *host = &demo->lab.hosts[0];
    CLEANUP_CLOSE int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        say("No KVM here (/dev/kvm: %s): TCG it is, software emulation.", strerror(errno));
    say("Booting a Linux VM on %s with %s (QEMU %s, %d MiB, writing %d MiB/s).", host->name,
        kvm < 0 ? "TCG" : "KVM", host->emulator_version ? host->emulator_version : "?",
        DEMO_GUEST_MEMORY_MIB, DEMO_GUEST_RATE_MIB);
    int lives = kvm < 0 ? 0 : try_kvm(demo, err);
    if (lives < 0 || (lives == 0 && start_guest(demo, "qemu", TCG_LIFE_MS, err) < 0) ||
        demo_guest_await_ready(&demo->guest, CHECK_MS, err) < 0)
        return -1;
    say("It is up: a heartbeat every %d ms, and it checks all it wrote, again and again.",
        DEMO_GUEST_HEARTBEAT_MS);
    return 0;
}

/* --- the VM moves -----------------------------------------------------------------------------*/

struct step {
    const char *name, *title;
    size_t from;
    const char *mode; /* of MigrateOptions */
    bool ram;         /* it runs, before and after */
};

static const struct step steps[] = {
    {"Live", "the guest runs on while its memory is copied", 0, "live", true},
    {"Non-live", "the guest stops, all is copied, it runs on", 1, "non_live", true},
    {"Offline", "the guest is shut off, its definition moves for good", 0, "offline", false},
};

/* MigrateOptions, owned by the caller. */
static json_t *step_options(const struct step *step)
{
    if (step->ram)
        return json_pack("{s:s, s:b, s:i}", "mode", step->mode, "verify", 1, "timeout_s", MOVE_S);
    return json_pack("{s:s, s:b, s:b}", "mode", step->mode, "persistent", 1, "undefine_source", 1);
}

/* What each host knows of the VM, in one line. */
static int say_places(const struct demo *demo, struct error **err)
{
    CLEANUP_TEXT struct text line = {0};
    for (size_t i = 0; i < DEMO_SWEEP_HOSTS; i++) {
        const struct demo_host *host = &demo->lab.hosts[i];
        CLEANUP_JSON json_t *reply = NULL;
        if (demo_host_call(host, "List", json_pack("{s:b}", "all", 1), &reply, err) < 0)
            return -1;
        const json_t *vm = json_array_get(json_object_get(reply, "vms"), 0);
        text_append(&line, "%s%s: ", i ? "; " : "", host->name);
        if (vm)
            text_append(&line, "%s %s, %s", DEMO_GUEST_NAME, vm_state(vm),
                        json_opt_bool(vm, "persistent", false) ? "defined" : "transient");
        else
            text_append(&line, "nothing");
    }
    say("   %s.", line.data);
    return 0;
}

/* Waits until the guest has lived on there for a while, and says how it took the move. */
static int say_health(struct demo *demo, const struct step *step, uint64_t beat_before,
                      const json_t *report, struct error **err)
{
    char down[UNITS_DURATION_MAX], silent[UNITS_DURATION_MAX];
    struct demo_guest *guest = &demo->guest;
    if (demo_guest_await_check(guest, 1 - step->from, CHECK_MS, err) < 0 ||
        demo_guest_judge(guest, err) < 0)
        return -1;
    say("   The guest was down for %s (heard from outside: %s of silence).",
        units_duration(json_opt_int(report, "downtime_ms", 0), down),
        units_duration(guest->silence_ns / NS_PER_MS, silent));
    say("   Heartbeats %" PRIu64 " to %" PRIu64
        ": none lost or repeated. Memory checked: no wrong byte.",
        beat_before, guest->heart.last);
    return 0;
}

/* Carries one move out and keeps its report. Returns an exit status, -1 on error. */
static int move(struct demo *demo, const struct step *step, json_t **report, struct error **err)
{
    const struct demo_host *from = &demo->lab.hosts[step->from];
    CLEANUP_JSON json_t *api = step_options(step);
    CLEANUP_CONNECTION struct varlink_connection *connection = connect_agent(from->socket, err);
    if (!connection)
        return -1;
    const struct migrate_request request = {
        .socket = from->socket,
        .vm = DEMO_GUEST_NAME,
        .host = demo->lab.hosts[1 - step->from].name,
        .options = api,
        .style = PROGRESS_AUTO,
    };
    if (migrate_run(connection, &request, report, err) != FOLLOW_REPORT)
        return -1;
    json_array_append_new(demo->reports, *report);
    return (int)report_status(*report);
}

static int shut_off(struct demo *demo, size_t host, struct error **err)
{
    const struct demo_host *at = &demo->lab.hosts[host];
    if (call_vm(demo, host, "Shutdown", err) < 0 ||
        demo_guest_await_end(&demo->guest, SHUTDOWN_S * INT64_C(1000), err) < 0)
        return -1;
    return shutdown_wait(at->agent, DEMO_GUEST_NAME, SHUTDOWN_S, at->cancel_fd, err);
}

/* One step of the story. Returns an exit status, -1 on error. */
static int take_step(struct demo *demo, const struct step *step, struct error **err)
{
    json_t *report = NULL;
    char total[UNITS_DURATION_MAX];
    say("\n%d. %s, %s to %s: %s.", (int)(step - steps) + 1, step->name,
        demo->lab.hosts[step->from].name, demo->lab.hosts[1 - step->from].name, step->title);
    if (!step->ram && shut_off(demo, step->from, err) < 0)
        return -1;
    if (demo_guest_hear(&demo->guest, err) < 0)
        return -1;
    const uint64_t beat_before = demo->guest.heart.last;
    demo->guest.silence_ns = 0;
    int status = move(demo, step, &report, err);
    if (status != COMMAND_DONE)
        return status;
    say("   Moved in %s.", units_duration(json_opt_int(report, "total_ms", 0), total));
    if (step->ram && say_health(demo, step, beat_before, report, err) < 0)
        return -1;
    return say_places(demo, err);
}

/* --- beginning and end ------------------------------------------------------------------------*/

/* Returns an exit status, -1 on error. */
static int tell(struct demo *demo, const struct demo_files *files, struct error **err)
{
    if (demo_lab_open(&demo->lab, files, demo->signals.fd, err) < 0 ||
        demo_guest_open(&demo->guest, &demo->lab, files, err) < 0)
        return -1;
    say("Two hosts on this machine: %s and %s, each with its own network and agent.",
        demo->lab.hosts[0].name, demo->lab.hosts[1].name);
    if (boot(demo, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        int status = take_step(demo, &steps[i], err);
        if (status != COMMAND_DONE)
            return status;
    }
    return COMMAND_DONE;
}

/* Gives everything back. Returns the status, or -1 when that was all right and this is not. */
static int close_all(struct demo *demo, int status, struct error **err)
{
    struct error *why = NULL;
    demo_guest_close(&demo->guest);
    if (demo_lab_close(&demo->lab, &why) == 0)
        return status;
    if (status == COMMAND_DONE)
        return error_move(err, why);
    output_warning(why->message);
    error_free(why);
    return status;
}

/* What the agents had to complain about, while it still can be read. */
static void say_logs(const struct demo *demo)
{
    CLEANUP_TEXT struct text logs = {0};
    for (size_t i = 0; i < DEMO_SWEEP_HOSTS; i++)
        demo_host_log(&demo->lab.hosts[i], &logs);
    fputs(logs.data ? logs.data : "", stderr);
}

/* The table of the moves, and why the last one failed if it did. */
static void print_reports(json_t *reports, enum output output)
{
    CLEANUP_TEXT struct text table = {0}, reason = {0};
    size_t index;
    json_t *report;
    json_array_foreach (reports, index, report) {
        report_reason(report, &reason);
        report_normalize(report);
    }
    if (output == OUTPUT_JSON) {
        CLEANUP_JSON json_t *object = json_pack("{s:O}", "reports", reports);
        output_json(object);
    } else {
        report_table(reports, &table);
        fprintf(stdout, "\n%s", table.data);
    }
    fflush(stdout);
    fputs(reason.data ? reason.data : "", stderr);
}

/* Whoever is interrupted fails in many ways; only one of them is worth telling. */
static int judge(const struct demo *demo, int status, struct error **err)
{
    if (status == COMMAND_DONE)
        return status;
    if (signals_take(&demo->signals) || (*err && (*err)->kind == ERROR_CANCELLED)) {
        say("Interrupted: cleaning up.");
        error_free(STEAL(*err));
        return error_set(err, ERROR_CANCELLED, "interrupted");
    }
    const json_t *last = json_array_get(demo->reports, json_array_size(demo->reports) - 1);
    if (*err || !text_equal(json_opt_string(last, "outcome", NULL), "aborted"))
        say_logs(demo);
    return status;
}

static int run(const struct invocation *invocation, struct error **err)
{
    struct demo demo = {.guest.fd = -1};
    struct error *why = NULL;
    CLEANUP_DEMO_FILES struct demo_files files = {0};
    if (demo_files_find(invocation->options[KERNEL].text, invocation->options[INITRD].text, &files,
                        err) < 0 ||
        signals_open(&demo.signals, err) < 0)
        return -1;
    CLEANUP_JSON json_t *reports = demo.reports = json_array();
    int status = judge(&demo, tell(&demo, &files, &why), &why);
    status = close_all(&demo, status, &why);
    signals_close(&demo.signals);
    if (status >= 0)
        print_reports(reports, invocation->output);
    error_move(err, why);
    return status;
}

const struct command command_demo = {
    .name = "demo",
    .operands = "",
    .summary = "Show it: move a VM between two hosts made of this one",
    .details = "Needs root. Makes two network namespaces with an agent each, boots a Linux VM in\n"
               "one, moves it live, non-live and offline, and removes all of it again.\n",
    .options = options,
    .run = run,
};
