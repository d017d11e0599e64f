/*
 * How one block is compressed: zstd, lz4 or not at all, each block by itself,
 * so that each is read by itself. A coder owns its library's contexts and
 * belongs to one thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pager/pack.h"

struct coder;

/* NULL when out of memory. */
struct coder *coder_new(void);
void coder_free(struct coder *c); /* accepts NULL */

/*
 * The calling thread's own coder, made at its first call and freed when the
 * thread ends. NULL when out of memory. For decoding on any thread.
 */
struct coder *coder_of_thread(void);

/* The memory that a thread's own coder takes; 0 when out of memory. */
size_t coder_bytes(void);

/* "zstd", "lz4", "none" and back; -EINVAL for other names. */
int codec_from_name(const char *name, enum pager_codec *ret_codec);
const char *codec_name(enum pager_codec codec);

/*
 * Encodes a page into `out`, which has room for PAGER_PAGE_SIZE bytes. Where
 * the result is not smaller than the page, it is the page itself and
 * `*codec` becomes raw. Returns the length, 1..4096; cannot fail.
 */
uint32_t coder_encode(struct coder *c, enum pager_codec *codec,
		      const uint8_t *page, uint8_t *out);

/* Exactly one page from `len` bytes, or -EBADMSG. Input may be hostile. */
int coder_decode(struct coder *c, enum pager_codec codec, const uint8_t *in,
		 uint32_t len, uint8_t *ret_page);
