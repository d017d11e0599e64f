/*
 * Each page is a frame of its own. Contexts are made once and used again:
 * making them costs more than a page does. Decoding writes into exactly one
 * page and takes nothing else for an answer, so hostile bytes cost time
 * bounded by their own length (at most 4096) and no memory.
 */
#include "fs/store/pack/codec.h"

#include <errno.h>
#include <lz4.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "fs/base/err.h"

#define ZSTD_LEVEL 1

struct coder {
	ZSTD_CCtx *zstd_in;
	ZSTD_DCtx *zstd_out;
	void *lz4;
};

struct coder *coder_new(void)
{
	struct coder *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->zstd_in = ZSTD_createCCtx();
	c->zstd_out = ZSTD_createDCtx();
	c->lz4 = malloc((size_t)LZ4_sizeofState());
	if (!c->zstd_in || !c->zstd_out || !c->lz4) {
		coder_free(c);
		return NULL;
	}
	return c;
}

void coder_free(struct coder *c)
{
	if (!c)
		return;
	(void)ZSTD_freeCCtx(c->zstd_in);
	(void)ZSTD_freeDCtx(c->zstd_out);
	free(c->lz4);
	free(c);
}

/* Decoding makes none of these grow. */
size_t coder_bytes(void)
{
	struct coder *c = coder_new();
	size_t bytes = 0;

	if (c)
		bytes = sizeof(*c) + ZSTD_sizeof_CCtx(c->zstd_in) +
			ZSTD_sizeof_DCtx(c->zstd_out) +
			(size_t)LZ4_sizeofState();
	coder_free(c);
	return bytes;
}

static pthread_key_t thread_key;
static pthread_once_t thread_key_once = PTHREAD_ONCE_INIT;
static int thread_key_result;

static void free_of_thread(void *c)
{
	coder_free(c);
}

static void make_thread_key(void)
{
	thread_key_result = pthread_key_create(&thread_key, free_of_thread);
}

struct coder *coder_of_thread(void)
{
	struct coder *c;

	if (pthread_once(&thread_key_once, make_thread_key) ||
	    thread_key_result)
		return NULL;
	c = pthread_getspecific(thread_key);
	if (c)
		return c;
	c = coder_new();
	if (c && pthread_setspecific(thread_key, c) != 0) {
		coder_free(c);
		return NULL;
	}
	return c;
}

static const struct {
	const char *name;
	enum pager_codec codec;
} codecs[] = {
	{"zstd", PAGER_CODEC_ZSTD},
	{"lz4", PAGER_CODEC_LZ4},
	{"none", PAGER_CODEC_RAW},
};

int codec_from_name(const char *name, enum pager_codec *ret_codec)
{
	for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
		if (strcmp(name, codecs[i].name) == 0) {
			*ret_codec = codecs[i].codec;
			return 0;
		}
	}
	return err_set(-EINVAL, "unknown codec '%s': zstd, lz4 or none", name);
}

const char *codec_name(enum pager_codec codec)
{
	for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++)
		if (codec == codecs[i].codec)
			return codecs[i].name;
	return "gone";
}

/* Less room than the page takes: what does not fit is not worth it. */
#define ENCODED_MAX (PAGER_PAGE_SIZE - 1)

static uint32_t encode_zstd(struct coder *c, const uint8_t *page, uint8_t *out)
{
	size_t n = ZSTD_compressCCtx(c->zstd_in, out, ENCODED_MAX, page,
				     PAGER_PAGE_SIZE, ZSTD_LEVEL);

	return ZSTD_isError(n) ? 0 : (uint32_t)n;
}

static uint32_t encode_lz4(struct coder *c, const uint8_t *page, uint8_t *out)
{
	int n = LZ4_compress_fast_extState(c->lz4, (const char *)page,
					   (char *)out, (int)PAGER_PAGE_SIZE,
					   (int)ENCODED_MAX, 1);

	return n < 0 ? 0 : (uint32_t)n;
}

uint32_t coder_encode(struct coder *c, enum pager_codec *codec,
		      const uint8_t *page, uint8_t *out)
{
	uint32_t n = 0;

	if (*codec == PAGER_CODEC_ZSTD)
		n = encode_zstd(c, page, out);
	else if (*codec == PAGER_CODEC_LZ4)
		n = encode_lz4(c, page, out);
	if (n)
		return n;
	*codec = PAGER_CODEC_RAW;
	memcpy(out, page, PAGER_PAGE_SIZE);
	return PAGER_PAGE_SIZE;
}

static bool decode_zstd(struct coder *c, const uint8_t *in, uint32_t len,
			uint8_t *page)
{
	return ZSTD_decompressDCtx(c->zstd_out, page, PAGER_PAGE_SIZE, in,
				   len) == PAGER_PAGE_SIZE;
}

static bool decode_lz4(const uint8_t *in, uint32_t len, uint8_t *page)
{
	return LZ4_decompress_safe((const char *)in, (char *)page, (int)len,
				   (int)PAGER_PAGE_SIZE) ==
	       (int)PAGER_PAGE_SIZE;
}

int coder_decode(struct coder *c, enum pager_codec codec, const uint8_t *in,
		 uint32_t len, uint8_t *ret_page)
{
	bool good = false;

	if (len == 0 || len > PAGER_PAGE_SIZE)
		return err_set(-EBADMSG, "a stored length of %u", len);
	if (codec == PAGER_CODEC_ZSTD) {
		good = decode_zstd(c, in, len, ret_page);
	} else if (codec == PAGER_CODEC_LZ4) {
		good = decode_lz4(in, len, ret_page);
	} else if (codec == PAGER_CODEC_RAW && len == PAGER_PAGE_SIZE) {
		memcpy(ret_page, in, PAGER_PAGE_SIZE);
		good = true;
	}
	if (!good)
		return err_set(-EBADMSG, "stored bytes do not decode as %s",
			       codec_name(codec));
	return 0;
}
