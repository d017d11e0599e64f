/* Images for tests of publishing: made, written, published, compared. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/store/publish/publish.h"

/*
 * `size` bytes that `seed` decides, of all kinds of pages: zero, compressible,
 * random, 0xFF, repeated ones, and ones that differ in their last byte. The
 * caller frees.
 */
uint8_t *image_make(uint64_t seed, size_t size);

/* Writes a file; zero pages are holes. */
void image_write(const char *path, const uint8_t *image, size_t size);

/*
 * Writes to the pipe behind `fd` from a process of its own, which closes it
 * and ends; image_wait() collects it. `fd` is closed here.
 */
int image_feed(int fd, const uint8_t *image, size_t size);
void image_wait(int pid);

/* Publishes `path` as NAME with the defaults. */
int image_publish(struct store *s, const char *name, const char *path,
		  struct publish_result *ret_result);

/* Fails the test unless the snapshot's file is the image, byte for byte. */
void image_check(struct store *s, const char *name, const char *key,
		 const uint8_t *image, size_t size);

/* The same with the store opened anew, as another process would see it. */
void image_check_at(const char *store, const char *name, const uint8_t *image,
		    size_t size);
