/*
 * Zero pages of 4 KiB: a run of them around a fault by one UFFDIO_ZEROPAGE,
 * which costs little more than a single page, and maps no memory.
 */
#pragma once

#include "fs/cache/cache.h"
#include "pagerd/uffd/memory/uffd.h"

struct fault;

/*
 * Installs an absent page that is zero in the image and has no private bytes,
 * with its like around it, and settles the fault. `leaf` is its leaf node, or
 * NULL where all of that is zero.
 */
void zero_install(struct fault *f, const struct cache_ref *leaf);

/* Just the fault's page; nothing is settled. */
struct uffd_outcome zero_page(struct fault *f);
