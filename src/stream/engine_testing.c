/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of encoder and decoder. */
#include "base/test.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "stream/engine_testing.h"
#include "stream/stream_block.h"

void made_put(struct made_stream *made, const void *bytes, size_t size)
{
    if (made->capacity - made->size < size) {
        made->capacity = 2 * (made->size + size);
        made->bytes = realloc(made->bytes, made->capacity);
        assert_non_null(made->bytes);
    }
    memcpy(made->bytes + made->size, bytes, size);
    made->size += size;
}

void made_free(struct made_stream *made)
{
    free(made->bytes);
    *made = (struct made_stream){0};
}

void made_put8(struct made_stream *made, uint8_t value)
{
    made_put(made, &value, 1);
}

void made_put32(struct made_stream *made, uint32_t value)
{
    uint8_t bytes[4];
    bytes_put32(bytes, value);
    made_put(made, bytes, sizeof(bytes));
}

void made_put64(struct made_stream *made, uint64_t value)
{
    uint8_t bytes[8];
    bytes_put64(bytes, value);
    made_put(made, bytes, sizeof(bytes));
}

void made_put_name(struct made_stream *made, const char *name)
{
    made_put8(made, (uint8_t)strlen(name));
    made_put(made, name, strlen(name));
}

void made_begin(struct made_stream *made, uint64_t ram)
{
    made_put32(made, 0x5145564d);
    made_put32(made, 3);
    made_put8(made, 1);
    made_put32(made, 2);
    made_put_name(made, "ram");
    made_put32(made, 0);
    made_put32(made, 4);
    made_put64(made, ram | RAM_RECORD_MEM_SIZE);
    made_put_name(made, "pc.ram");
    made_put64(made, ram);
    made_part_end(made);
}

void made_part(struct made_stream *made)
{
    made_put8(made, 2);
    made_put32(made, 2);
}

void made_part_end(struct made_stream *made)
{
    made_put64(made, RAM_RECORD_EOS);
    made_put8(made, 0x7e);
    made_put32(made, 2);
}

void made_page(struct made_stream *made, uint64_t address, const char *name, const uint8_t *page)
{
    uint8_t header[RAM_RECORD_HEADER_MAX];
    made_put(made, header,
             ram_record_header(header, page ? RAM_RECORD_PAGE : RAM_RECORD_ZERO, address, name));
    if (page)
        made_put(made, page, RAM_PAGE_SIZE);
    else
        made_put8(made, 0);
}

void made_device(struct made_stream *made, const void *bytes, size_t size)
{
    made_put8(made, 4);
    made_put32(made, 9);
    made_put_name(made, "device");
    made_put32(made, 0);
    made_put32(made, 1);
    made_put(made, bytes, size);
}

uint64_t made_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, RAM_PAGE_SIZE - 1) == 0;
}

static void fill_page(uint64_t *state, uint8_t *memory, size_t pages, uint8_t *page)
{
    switch (made_random(state) % 8) {
    case 0:
        memset(page, 0, RAM_PAGE_SIZE);
        break;
    case 1:
        memset(page, (int)made_random(state), RAM_PAGE_SIZE);
        break;
    case 2: /* equal to another one */
        memmove(page, memory + made_random(state) % pages * RAM_PAGE_SIZE, RAM_PAGE_SIZE);
        break;
    case 3:
    case 4:
        for (size_t i = 0; i < RAM_PAGE_SIZE; i += 8) {
            uint64_t word = made_random(state);
            memcpy(page + i, &word, 8);
        }
        break;
    default: /* text of a few words */
        for (size_t i = 0; i < RAM_PAGE_SIZE; i++)
            page[i] = (uint8_t)("migrated"[i % 8] + made_random(state) / 3 % 2);
    }
}

/* A few bytes, or a few runs of words. */
static void change_page(uint64_t *state, uint8_t *page)
{
    unsigned changes = (unsigned)(made_random(state) % 40);
    for (unsigned i = 0; i < changes; i++) {
        size_t at = made_random(state) % RAM_PAGE_SIZE;
        size_t size = made_random(state) % 24;
        for (size_t j = at; j < at + size && j < RAM_PAGE_SIZE; j++)
            page[j]++;
    }
}

void made_rounds(struct made_stream *made, uint64_t *state, uint8_t *memory, size_t pages,
                 unsigned rounds)
{
    for (unsigned round = 0; round < rounds; round++) {
        bool named = true;
        made_part(made);
        for (size_t i = 0; i < pages; i++) {
            uint8_t *page = memory + i * RAM_PAGE_SIZE;
            if (round && made_random(state) % 3)
                continue;
            if (!round || made_random(state) % 8 == 0)
                fill_page(state, memory, pages, page);
            else
                change_page(state, page);
            made_page(made, i * RAM_PAGE_SIZE, named ? "pc.ram" : NULL,
                      is_zero(page) ? NULL : page);
            named = false;
        }
        made_part_end(made);
    }
}

/* --- both ends --- */

static int on_write(void *context, const uint8_t *bytes, size_t size, struct error **err)
{
    struct engine *engine = context;
    (void)err;
    made_put(&engine->out, bytes, size);
    return 0;
}

static int on_answer(void *context, struct block *block, struct error **err)
{
    struct engine *engine = context;
    (void)err;
    LOCK_SCOPE(&engine->lock);
    assert_true(engine->answer_count < ARRAY_SIZE(engine->answers));
    engine->answers[engine->answer_count++] = block;
    return 0;
}

static int on_block(void *context, struct block *block, struct error **err)
{
    struct engine *engine = context;
    engine->wire += block->size;
    int status = decoder_take(engine->decoder, block, err);
    free(block);
    return status;
}

void engine_start(struct engine *engine, const struct encoder_options *encoder,
                  const struct decoder_options *decoder)
{
    struct error *err = NULL;
    *engine = (struct engine){0};
    pthread_mutex_init(&engine->lock, NULL);
    engine->decoder =
        decoder_new(decoder, (struct decoder_sink){on_write, on_answer, engine}, &err);
    assert_ok(engine->decoder ? 0 : -1, err);
    engine->encoder = encoder_new(encoder, (struct stream_sink){on_block, engine}, &err);
    assert_ok(engine->encoder ? 0 : -1, err);
    if (!encoder->copies)
        encoder_keep(engine->encoder);
}

void engine_answer(struct engine *engine)
{
    for (;;) {
        struct error *err = NULL;
        pthread_mutex_lock(&engine->lock);
        struct block *block = engine->answer_count ? engine->answers[0] : NULL;
        if (block)
            memmove(engine->answers, engine->answers + 1,
                    --engine->answer_count * sizeof(struct block *));
        pthread_mutex_unlock(&engine->lock);
        if (!block)
            return;
        assert_ok(encoder_answer(engine->encoder, block, &err), err);
        free(block);
    }
}

static void disturb(struct engine *engine, uint64_t *state)
{
    struct error *err = NULL;
    switch (made_random(state) % 16) {
    case 0:
        assert_ok(encoder_push(engine->encoder, &err), err);
        break;
    case 1:
        assert_ok(encoder_flush(engine->encoder, &err), err);
        break;
    case 2:
        assert_ok(encoder_urgent(engine->encoder, made_random(state) % 2, &err), err);
        break;
    case 3:
        encoder_link(engine->encoder, (double)(made_random(state) % 1000000000),
                     made_random(state) % 2);
        break;
    default:
        break;
    }
}

void engine_carry(struct engine *engine, const struct made_stream *stream, size_t piece,
                  uint64_t *state)
{
    struct error *err = NULL;
    for (size_t done = 0; done < stream->size;) {
        size_t size = piece ? piece : made_random(state) % 20000;
        size = size < stream->size - done ? size : stream->size - done;
        assert_ok(encoder_write(engine->encoder, stream->bytes + done, size, &err), err);
        done += size;
        if (!engine->hold_answers)
            engine_answer(engine);
        if (!piece)
            disturb(engine, state);
    }
    assert_ok(encoder_finish(engine->encoder, &err), err);
    assert_int_equal(engine->out.size, stream->size);
    assert_memory_equal(engine->out.bytes, stream->bytes, stream->size);
}

void engine_stop(struct engine *engine)
{
    encoder_free(engine->encoder);
    decoder_free(engine->decoder);
    for (unsigned i = 0; i < engine->answer_count; i++)
        free(engine->answers[i]);
    made_free(&engine->out);
    pthread_mutex_destroy(&engine->lock);
}
