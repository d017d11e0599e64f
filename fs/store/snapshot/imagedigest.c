#include "fs/store/snapshot/imagedigest.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "fs/io/page.h"

struct imagedigest {
	XXH3_state_t *state;
	uint64_t units; /* added so far, gaps counted */
};

static void canonical(XXH128_hash_t hash, struct pager_digest *ret_digest)
{
	XXH128_canonical_t c;

	_Static_assert(sizeof(c) == sizeof(*ret_digest), "layout");
	XXH128_canonicalFromHash(&c, hash);
	memcpy(ret_digest->bytes, c.digest, sizeof(c));
}

void imagedigest_unit(const struct store *s, const struct pager_digest *pages,
		      unsigned int count, struct pager_digest *ret_digest)
{
	canonical(XXH3_128bits_withSecret(pages, count * sizeof(*pages),
					  store_secret(s), PAGER_SECRET_SIZE),
		  ret_digest);
}

struct imagedigest *imagedigest_new(const struct store *s)
{
	struct imagedigest *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->state = XXH3_createState();
	if (!d->state) {
		free(d);
		return NULL;
	}
	(void)XXH3_128bits_reset_withSecret(d->state, store_secret(s),
					    PAGER_SECRET_SIZE);
	return d;
}

void imagedigest_free(struct imagedigest *d)
{
	if (!d)
		return;
	(void)XXH3_freeState(d->state);
	free(d);
}

/* A page of zeros is the digests of 256 zero units: 1 TiB takes 1 ms. */
static void add_zeros(struct imagedigest *d, uint64_t units)
{
	const uint64_t most = sizeof(page_zero) / PAGER_DIGEST_SIZE;

	d->units += units;
	while (units) {
		uint64_t n = units < most ? units : most;

		(void)XXH3_128bits_update(d->state, page_zero,
					  n * PAGER_DIGEST_SIZE);
		units -= n;
	}
}

void imagedigest_add(struct imagedigest *d, uint64_t unit,
		     const struct pager_digest *digest)
{
	assert(unit >= d->units);
	add_zeros(d, unit - d->units);
	(void)XXH3_128bits_update(d->state, digest, sizeof(*digest));
	d->units++;
}

void imagedigest_finish(struct imagedigest *d, uint64_t size,
			struct pager_digest *ret_digest)
{
	const uint64_t unit_size = PAGER_NODE_ENTRIES * PAGER_PAGE_SIZE;
	uint64_t units = size / unit_size + (size % unit_size != 0);
	uint64_t size_le = htole64(size);

	assert(units >= d->units);
	add_zeros(d, units - d->units);
	(void)XXH3_128bits_update(d->state, &size_le, sizeof(size_le));
	canonical(XXH3_128bits_digest(d->state), ret_digest);
}
