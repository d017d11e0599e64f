/*
 * Where a VM has its memory: from an address in the VMM to a page of the
 * image. Addresses and sizes come from the VMM: they are checked here, once,
 * and are never dereferenced by anybody.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct region {
	uint64_t base;	 /* address in the VMM */
	uint64_t size;	 /* bytes */
	uint64_t offset; /* bytes, within the image */
	uint64_t page_size;
};

struct regions {
	struct region *all; /* sorted by base, disjoint */
	size_t count;
};

/*
 * Checks `count` regions, in any order, against each other and against the
 * image's size, and copies them: at least one, page sizes 4096 or 2 MiB, base,
 * size and offset multiples of it, size above 0, no overflow, neither the
 * addresses nor the image's parts overlap, no end past the image rounded up
 * to the region's page. -EPROTO with the reason, -ENOMEM.
 */
int regions_init(struct regions *r, const struct region *list, size_t count,
		 uint64_t image_size);
void regions_release(struct regions *r);

/* NULL where the address is in no region. */
const struct region *regions_find(const struct regions *r, uint64_t address);

/* The first region that ends behind `address`; NULL where there is none. */
const struct region *regions_from(const struct regions *r, uint64_t address);

/* The region that a page of the image is in; NULL where it is in none. */
const struct region *regions_find_page(const struct regions *r, uint64_t page);

/* Whoever waits in any of them looks again. */
void regions_wake(const struct regions *r, int uffd);

/* Pages of 4096 bytes in all regions. */
uint64_t regions_pages(const struct regions *r);

/* The address must lie in the region. */
static inline uint64_t region_page(const struct region *r, uint64_t address)
{
	return (address - r->base + r->offset) / 4096;
}

static inline uint64_t region_address(const struct region *r, uint64_t page)
{
	return page * 4096 - r->offset + r->base;
}
