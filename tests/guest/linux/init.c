/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Linux test guest: the one process of a Linux that writes and checks memory, speaks on a
 * serial port and, when asked to, on the network and to a disk.
 *
 * The kernel's command line tells it what to do: the words of options.h with the prefix "mudanza.",
 * and mudanza.port=, mudanza.ip=, mudanza.disk=, mudanza.root=.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../loop.h"
#include "../timer.h"
#include "button.h"
#include "disk.h"
#include "modules.h"
#include "network.h"
#include "root.h"
#include "tty.h"

#define PREFIX           "mudanza."
#define COMMAND_LINE_MAX 4096u
#define VALUE_MAX        64u
#define REFUSE_PERIOD_MS 50u
#define KLOG_CONSOLE_OFF 6 /* syslog(2), SYSLOG_ACTION_CONSOLE_OFF */

static struct engine engine;
static char command_line[COMMAND_LINE_MAX];

/* Nothing works without these; they fail only when they are there already. */
static void init_mounts(void)
{
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
}

_Noreturn static void init_power_off(void)
{
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

/* `word` may be a number, an errno or a word of the command line. */
_Noreturn static void init_refuse(const char *what, const char *word)
{
    timer_open(REFUSE_PERIOD_MS);
    loop_refuse(what, word);
    init_power_off();
}

static void init_command_line(void)
{
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, command_line, sizeof(command_line) - 1) < 0)
        init_refuse("cmdline", strerrorname_np(errno));
    close(fd);
}

static void init_load(const char *module)
{
    if (modules_load(module) < 0)
        init_refuse("module", module);
}

/* Empties the part of the command line that is not the engine's, so that options_parse does not
 * refuse it: the words that init itself takes. */
static bool init_text(const char *name, char *value)
{
    char *word;

    if (!options_text(command_line, name, value, VALUE_MAX))
        return false;
    word = strstr(command_line, name);
    while (word != NULL && *word != 0 && *word != ' ' && *word != '\n')
        *word++ = ' ';
    return true;
}

static void init_port(void)
{
    char port[VALUE_MAX] = "ttyS0";

    init_text(PREFIX "port", port);
    if (strncmp(port, "hvc", 3) == 0)
        modules_load("virtio_console");
    tty_open(port);
}

static void init_network(void)
{
    char address[VALUE_MAX];
    const char *wrong;

    if (!init_text(PREFIX "ip", address))
        return;
    init_load("virtio_net");
    wrong = network_open("eth0", address);
    if (wrong != NULL)
        init_refuse(PREFIX "ip", wrong);
}

/* Takes mudanza.disk= and loads what it needs: "vda" is a virtio disk, "sda" one on a virtio SCSI
 * controller. False when there is to be none. */
static bool init_disk(char *name)
{
    if (!init_text(PREFIX "disk", name))
        return false;
    if (strncmp(name, "vd", 2) == 0) {
        init_load("virtio_blk");
    } else {
        init_load("virtio_scsi");
        init_load("sd_mod");
    }
    return true;
}

/* A system's root on a virtio disk, whose services run beside the engine. */
static void init_root(void)
{
    char name[VALUE_MAX];
    const char *wrong;

    if (!init_text(PREFIX "root", name))
        return;
    init_load("virtio_blk");
    wrong = root_start(name);
    if (wrong != NULL)
        init_refuse(PREFIX "root", wrong);
}

static void init_engine(void)
{
    struct options options;
    const char *wrong;
    uintptr_t size;
    void *region;

    options_default(&options);
    wrong = options_parse(&options, command_line, PREFIX);
    if (wrong != NULL)
        init_refuse("option", wrong);
    size = workset_size(&options.work);
    region = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (size == 0 || region == MAP_FAILED)
        init_refuse("memory", "too-small-for-mem+fill+zero");
    engine_open(&engine, &options, region);
}

int main(void)
{
    char disk[VALUE_MAX];
    bool with_disk;

    init_mounts();
    klogctl(KLOG_CONSOLE_OFF, NULL, 0);
    init_command_line();
    init_load("virtio_pci");
    init_port();
    init_load("evdev");
    init_load("button");
    button_open();
    init_network();
    with_disk = init_disk(disk);
    init_root();
    init_engine();
    if (with_disk) {
        const char *wrong = disk_open(disk, engine.options.work.seed);

        if (wrong != NULL)
            init_refuse(PREFIX "disk", wrong);
        engine.synced = &disk_synced;
    }
    timer_open(engine.options.heartbeat_ms);
    loop_run(&engine, "linux");
    disk_close();
    init_power_off();
}
