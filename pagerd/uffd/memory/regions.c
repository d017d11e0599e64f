#include "pagerd/uffd/memory/regions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pager/block.h"
#include "pager/handshake.h"
#include "pagerd/uffd/memory/uffd.h"

static int by_base(const void *a, const void *b)
{
	const struct region *x = a, *y = b;

	return (x->base > y->base) - (x->base < y->base);
}

static int by_offset(const void *a, const void *b)
{
	const struct region *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

static int refuse(const struct region *r, const char *why)
{
	return err_set(-EPROTO,
		       "region at 0x%" PRIx64 ", %" PRIu64
		       " bytes, offset %" PRIu64 ", pages of %" PRIu64 ": %s",
		       r->base, r->size, r->offset, r->page_size, why);
}

static int check_one(const struct region *r, uint64_t image_size)
{
	uint64_t end, limit;

	if (r->page_size != PAGER_PAGE_SIZE &&
	    r->page_size != PAGER_HUGE_PAGE_SIZE)
		return refuse(r, "the page size is neither 4096 nor 2097152");
	if (r->size == 0)
		return refuse(r, "it is empty");
	if ((r->base | r->size | r->offset) & (r->page_size - 1))
		return refuse(r, "it is not aligned to its page size");
	if (__builtin_add_overflow(r->base, r->size, &end) ||
	    __builtin_add_overflow(r->offset, r->size, &end))
		return refuse(r, "its end is past 2^64");
	if (__builtin_add_overflow(image_size, r->page_size - 1, &limit))
		return refuse(r, "the image is too large for that page size");
	if (end > (limit & ~(r->page_size - 1)))
		return refuse(r, "it ends past the image");
	return 0;
}

/* `list` is sorted by offset. */
static int check_image_parts(const struct region *list, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (list[i].offset < list[i - 1].offset + list[i - 1].size)
			return refuse(
				&list[i],
				"another shows the same part of the image");
	return 0;
}

/* `list` is sorted by base. */
static int check_addresses(const struct region *list, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (list[i].base < list[i - 1].base + list[i - 1].size)
			return refuse(&list[i], "it overlaps another");
	return 0;
}

int regions_init(struct regions *r, const struct region *list, size_t count,
		 uint64_t image_size)
{
	_cleanup_free_ struct region *all = NULL;
	int e;

	if (count == 0)
		return err_set(-EPROTO, "no regions");
	all = calloc(count, sizeof(*all));
	if (!all)
		return err_set(-ENOMEM, "no memory for %zu regions", count);
	memcpy(all, list, count * sizeof(*all));
	for (size_t i = 0; i < count; i++) {
		e = check_one(&all[i], image_size);
		if (e < 0)
			return e;
	}
	qsort(all, count, sizeof(*all), by_offset);
	e = check_image_parts(all, count);
	if (e < 0)
		return e;
	qsort(all, count, sizeof(*all), by_base);
	e = check_addresses(all, count);
	if (e < 0)
		return e;
	r->all = steal_ptr(all);
	r->count = count;
	return 0;
}

void regions_release(struct regions *r)
{
	free(r->all);
	*r = (struct regions){0};
}

const struct region *regions_from(const struct regions *r, uint64_t address)
{
	size_t low = 0, high = r->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (r->all[mid].base + r->all[mid].size > address)
			high = mid;
		else
			low = mid + 1;
	}
	return low < r->count ? &r->all[low] : NULL;
}

const struct region *regions_find(const struct regions *r, uint64_t address)
{
	const struct region *found = regions_from(r, address);

	return found && found->base <= address ? found : NULL;
}

const struct region *regions_find_page(const struct regions *r, uint64_t page)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct region *region = &r->all[i];
		uint64_t first = region->offset / PAGER_PAGE_SIZE;

		if (page >= first &&
		    page - first < region->size / PAGER_PAGE_SIZE)
			return region;
	}
	return NULL;
}

void regions_wake(const struct regions *r, int uffd)
{
	for (size_t i = 0; i < r->count; i++)
		uffd_wake(uffd, r->all[i].base, r->all[i].size);
}

uint64_t regions_pages(const struct regions *r)
{
	uint64_t pages = 0;

	/* No overflow: the regions are disjoint parts of one image. */
	for (size_t i = 0; i < r->count; i++)
		pages += r->all[i].size / PAGER_PAGE_SIZE;
	return pages;
}
