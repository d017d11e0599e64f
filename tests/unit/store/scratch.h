/* A private folder for a test, and small helpers around it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SCRATCH_PATH_MAX 256

struct store;

/* A new empty folder; its path. Aborts where that fails. */
void scratch_make(char path[SCRATCH_PATH_MAX]);

/* Removes the folder with all that it holds. */
void scratch_remove(const char *path);

/* "FOLDER/NAME" into a buffer that the next call on the thread reuses. */
const char *scratch_file(const char *folder, const char *name);

/* How many names a folder has, "." and ".." not counted. */
unsigned int scratch_count(const char *folder);

/* Whole files. The caller frees what is read. */
uint8_t *scratch_read(const char *path, size_t *ret_len);
void scratch_write(const char *path, const void *data, size_t len);

/* Turns one bit of the byte at `offset` over; counted from the end below 0. */
void scratch_flip(const char *path, long offset);

/* A page of half random, half repeated bytes that `seed` decides. */
void scratch_page(uint64_t seed, uint8_t page[4096]);

/* The secret with which the fixtures collide-a and collide-b collide. */
const uint8_t *scratch_colliding_secret(void);

/* One of the fixtures, 4096 bytes. */
void scratch_fixture(const char *name, uint8_t page[4096]);
