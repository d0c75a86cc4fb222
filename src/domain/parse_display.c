/* SPDX-License-Identifier: Apache-2.0 */
/* <graphics>, <video>, <input> */
#include "domain/parse.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/text.h"

static bool is_address(const char *text)
{
    struct in6_addr buffer;
    return inet_pton(AF_INET, text, &buffer) == 1 || inet_pton(AF_INET6, text, &buffer) == 1;
}

static void set_listen(struct reader *reader, struct graphics *graphics, xmlNode *node,
                       const char *name)
{
    const char *address = reader_attribute(node, name);
    if (!address || !*address)
        return;
    if (!is_address(address)) {
        reader_fault(reader, node, name, ERROR_INVALID, "'%s' is not an IP address", address);
        return;
    }
    free(graphics->listen);
    graphics->listen = text_copy(address);
}

static void parse_listen(struct reader *reader, struct graphics *graphics, xmlNode *node)
{
    static const char *const types[] = {"address", NULL};
    set_listen(reader, graphics, node, "listen");
    xmlNode *listen = reader_child(reader, node, "listen");
    if (!listen)
        return;
    reader_choice(reader, listen, "type", types);
    set_listen(reader, graphics, listen, "address");
}

void parse_graphics(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const types[] = {"vnc", NULL};
    static const char *const policies[] = {"allow-exclusive", "force-shared", "ignore", NULL};
    static const char *const secrets[] = {"passwd", "passwdValidTo", "connected"};
    if (!reader_choice(reader, node, "type", types)) {
        if (!xmlHasProp(node, BAD_CAST "type"))
            reader_fault(reader, node, NULL, ERROR_INVALID, "attribute 'type' is missing");
        reader_keep(node);
        return;
    }
    struct graphics *graphics = MODEL_ADD(&domain->private->graphics, &domain->private->n_graphics);
    graphics->node = node;
    graphics->port = -1;
    if (domain->private->n_graphics > 1)
        reader_fault(reader, node, NULL, ERROR_UNSUPPORTED, "a second VNC server is not supported");
    int64_t port = -1, websocket = -1;
    reader_number(reader, node, "port", -1, 65535, &port);
    if (port != -1 && port < 5900)
        reader_fault(reader, node, "port", ERROR_INVALID, "VNC ports start at 5900");
    if (reader_flag(reader, node, "autoport") != 1)
        graphics->port = (int)port;
    if (reader_number(reader, node, "websocket", -1, 65535, &websocket))
        reader_fault(reader, node, "websocket", ERROR_UNSUPPORTED,
                     "VNC over WebSocket is not supported");
    parse_listen(reader, graphics, node);
    graphics->share = reader_choice(reader, node, "sharePolicy", policies);
    for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
        if (reader_attribute(node, secrets[i]))
            reader_fault(reader, node, secrets[i], ERROR_UNSUPPORTED,
                         "a VNC password is not supported; listen on 127.0.0.1 and use a tunnel");
    const char *keymap = reader_attribute(node, "keymap");
    if (keymap && (!*keymap || strlen(keymap) > 16 ||
                   strspn(keymap, "abcdefghijklmnopqrstuvwxyz-") != strlen(keymap)))
        reader_fault(reader, node, "keymap", ERROR_INVALID, "'%s' is no keymap", keymap);
    else
        graphics->keymap = text_copy(keymap);
    static const char *const audio_ids[] = {"1", NULL};
    reader_choice(reader, reader_child(reader, node, "audio"), "id", audio_ids);
}

static void parse_video_model(struct reader *reader, struct video *video, xmlNode *node)
{
    static const char *const models[] = {"virtio", "vga", "bochs", "cirrus", "none", NULL};
    xmlNode *model = reader_child(reader, node, "model");
    if (!model) {
        reader_fault(reader, node, NULL, ERROR_INVALID, "<model type=...> is missing");
        return;
    }
    video->model = reader_choice(reader, model, "type", models);
    if (!video->model) {
        if (!xmlHasProp(model, BAD_CAST "type"))
            reader_fault(reader, model, NULL, ERROR_INVALID, "attribute 'type' is missing");
        reader_keep(model);
        return;
    }
    reader_number(reader, model, "vram", 1, 1 << 20, &video->vram);
    if (video->vram && (video->vram < 1024 || (video->vram & (video->vram - 1))))
        reader_fault(reader, model, "vram", ERROR_INVALID,
                     "vram is in KiB, a power of two from 1024 on");
    int64_t heads_max = strcmp(video->model, "virtio") == 0 ? 16 : 1;
    reader_number(reader, model, "heads", 1, heads_max, &video->heads);
    if (reader_flag(reader, model, "primary") == 0)
        reader_fault(reader, model, "primary", ERROR_INVALID, "the only video card is primary");
    xmlNode *acceleration = reader_child(reader, model, "acceleration");
    if (reader_flag(reader, acceleration, "accel3d") == 1 ||
        reader_flag(reader, acceleration, "accel2d") == 1)
        reader_fault(reader, acceleration, NULL, ERROR_UNSUPPORTED,
                     "a guest with acceleration cannot be migrated");
    xmlNode *resolution = reader_child(reader, model, "resolution");
    reader_number(reader, resolution, "x", 64, 16384, &video->xres);
    reader_number(reader, resolution, "y", 64, 16384, &video->yres);
    if (resolution && (strcmp(video->model, "cirrus") == 0 || !video->xres || !video->yres))
        reader_fault(reader, resolution, NULL, ERROR_INVALID,
                     "needs x and y, and a model other than cirrus");
}

void parse_video(struct reader *reader, struct domain *domain, xmlNode *node)
{
    struct video *video = MODEL_ADD(&domain->private->videos, &domain->private->n_videos);
    video->device.node = node;
    if (domain->private->n_videos > 1)
        reader_fault(reader, node, NULL, ERROR_UNSUPPORTED, "a second video card is not supported");
    parse_video_model(reader, video, node);
    parse_device(reader, node, &video->device.alias, &video->device.pci);
}

/* "1" or, behind hubs, "1.2": we have no hubs, but keep what is there readable. */
static bool is_usb_port(const char *text)
{
    return *text && strlen(text) <= 3 && strspn(text, "0123456789") == strlen(text) && *text != '0';
}

static void parse_usb_address(struct reader *reader, struct input *input, xmlNode *node)
{
    static const char *const types[] = {"usb", NULL};
    xmlNode *address = reader_child(reader, node, "address");
    int64_t bus = 0;
    if (!address || !reader_choice(reader, address, "type", types))
        return;
    reader_number(reader, address, "bus", 0, 255, &bus);
    const char *port = reader_attribute(address, "port");
    if (port && !is_usb_port(port)) {
        reader_fault(reader, address, "port", ERROR_UNSUPPORTED,
                     "port='%s' is not supported: no USB hubs here", port);
        return;
    }
    input->usb_bus = (int)bus;
    input->usb_port = text_copy(port);
}

void parse_input(struct reader *reader, struct domain *domain, xmlNode *node)
{
    static const char *const types[] = {"tablet", "mouse", "keyboard", NULL};
    static const char *const buses[] = {"usb", "virtio", "ps2", NULL};
    struct input *input = MODEL_ADD(&domain->private->inputs, &domain->private->n_inputs);
    input->device.node = node;
    input->type = reader_choice(reader, node, "type", types);
    input->bus = reader_choice(reader, node, "bus", buses);
    if (!input->type || (!input->bus && xmlHasProp(node, BAD_CAST "bus"))) {
        if (!xmlHasProp(node, BAD_CAST "type"))
            reader_fault(reader, node, NULL, ERROR_INVALID, "attribute 'type' is missing");
        reader_keep(node);
        return;
    }
    bool tablet = strcmp(input->type, "tablet") == 0;
    if (!input->bus)
        input->bus = tablet ? "usb" : "ps2";
    if (tablet && strcmp(input->bus, "ps2") == 0)
        reader_fault(reader, node, "bus", ERROR_INVALID, "there is no PS/2 tablet");
    if (strcmp(input->bus, "virtio") == 0) {
        parse_device(reader, node, &input->device.alias, &input->device.pci);
        return;
    }
    parse_alias(reader, node, &input->device.alias);
    if (strcmp(input->bus, "usb") == 0)
        parse_usb_address(reader, input, node);
}
