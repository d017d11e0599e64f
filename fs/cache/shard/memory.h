/*
 * Memory that is reserved as addresses first and used as the cache fills.
 * Reserved pages read as zero, cost nothing until they are written, and can
 * be given back, after which they read as zero again. Guests' memory has no
 * place in a core file: none of it is dumped.
 */
#pragma once

#include <stddef.h>

/* NULL, with the error noted, where there is not so much to be had. */
void *memory_reserve(size_t bytes);
void memory_unreserve(void *memory, size_t bytes); /* accepts NULL */

/* Gives back the pages that lie wholly within. */
void memory_give_back(void *memory, size_t bytes);
