/*
 * Writing a run in one pass: the entries go to their place as they come, and
 * are counted by their first two bytes on the way; then come the tables, and
 * the header last, so that a file which was not finished has none.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "fs/base/err.h"
#include "fs/io/file.h"
#include "fs/store/folder.h"
#include "fs/store/index/run.h"
#include "fs/store/pack/digests.h"

#define ENTRIES_AT_ONCE 8192u

struct writer {
	struct store *store;
	const struct run_recipe *recipe;
	int fd;
	struct run_layout at;
	uint64_t entries;
	uint64_t *fan;			    /* PAGER_RUN_FANOUT counts */
	struct pager_digest_entry *buffer;  /* ENTRIES_AT_ONCE */
	struct pager_digest_entry previous; /* meaningful after the first */
};

static int write_part(const struct writer *w, const void *data, size_t len,
		      uint64_t offset)
{
	return file_pwrite(w->fd, data, len, offset, INJECT_RUN_WRITE);
}

/* The next entry, counted and known to be in order. 1, 0 at the end. */
static int pull(struct writer *w, struct pager_digest_entry *ret_entry)
{
	int r = w->recipe->next(w->recipe->arg, ret_entry);

	if (r <= 0)
		return r;
	if (w->entries && digests_compare(&w->previous, ret_entry) >= 0)
		return err_set(-EBADMSG, "index entries are out of order");
	w->previous = *ret_entry;
	w->entries++;
	w->fan[digests_fan(&ret_entry->digest) + 1]++;
	return 1;
}

static int write_entries(struct writer *w)
{
	uint64_t offset = w->at.entries;
	int r = 1;

	while (r > 0) {
		size_t n = 0, len;

		while (n < ENTRIES_AT_ONCE && (r = pull(w, &w->buffer[n])) > 0)
			n++;
		if (r < 0)
			return r;
		len = n * sizeof(*w->buffer);
		r = r > 0;
		if (n) {
			int written = write_part(w, w->buffer, len, offset);

			if (written < 0)
				return written;
		}
		offset += len;
	}
	return 0;
}

/* Packs, fan-out and their padding as they stand in the file. */
static int write_tables(struct writer *w, uint64_t *ret_checksum)
{
	size_t len = w->at.entries - w->at.packs;
	_cleanup_free_ uint8_t *tables = calloc(1, len);
	uint64_t *fan;

	if (!tables)
		return -ENOMEM;
	if (w->recipe->pack_count)
		memcpy(tables, w->recipe->packs,
		       w->recipe->pack_count * sizeof(uint64_t));
	fan = (uint64_t *)(void *)(tables + (w->at.fan - w->at.packs));
	fan[0] = 0;
	for (uint32_t i = 1; i < PAGER_RUN_FANOUT; i++)
		fan[i] = fan[i - 1] + w->fan[i];
	*ret_checksum = XXH3_64bits(tables, len);
	return write_part(w, tables, len, w->at.packs);
}

static int write_header(const struct writer *w, uint64_t tables_checksum)
{
	struct pager_run_header h = {
		.magic = PAGER_RUN_MAGIC,
		.version = PAGER_RUN_VERSION,
		.packs = w->recipe->pack_count,
		.entries = w->entries,
		.tables_checksum = tables_checksum,
	};

	memcpy(h.store, store_id(w->store), sizeof(h.store));
	h.checksum =
		XXH3_64bits(&h, offsetof(struct pager_run_header, checksum));
	return write_part(w, &h, sizeof(h), 0);
}

static int write_run(struct writer *w)
{
	uint64_t checksum;
	int r;

	if (!w->fan || !w->buffer)
		return -ENOMEM;
	w->at = run_layout(w->recipe->pack_count, 0);
	r = write_entries(w);
	if (r == 0)
		r = write_tables(w, &checksum);
	if (r == 0)
		r = write_header(w, checksum);
	if (r == 0)
		r = file_sync(w->fd, INJECT_POINT_COUNT);
	return r;
}

static int note_greatest(void *arg, const char *name)
{
	uint64_t *greatest = arg, number;

	if (run_number_of(name, &number) == 0 && number > *greatest)
		*greatest = number;
	return 0;
}

/* Another publisher may take a number first: then the next is tried. */
static int name_file(struct store *s, const char *temp, char *ret_name)
{
	int index = store_folder_fd(s, STORE_INDEX);
	int r = inject_pass(INJECT_RUN_RENAME, NULL);
	uint64_t number = 0;

	if (r == 0)
		r = folder_list(index, ".", note_greatest, &number);
	if (r < 0)
		return r;
	do {
		if (number == UINT64_MAX)
			return -EOVERFLOW;
		numbered_name(++number, RUN_SUFFIX, ret_name);
		r = renameat2(store_folder_fd(s, STORE_TMP), temp, index,
			      ret_name, RENAME_NOREPLACE);
	} while (r < 0 && errno == EEXIST);
	return r < 0 ? -errno : 0;
}

int run_write(struct store *s, const struct run_recipe *recipe,
	      char ret_name[RUN_NAME_MAX])
{
	int tmp = store_folder_fd(s, STORE_TMP), r;
	struct writer w = {.store = s, .recipe = recipe};
	char temp[FILE_TEMP_NAME_MAX], name[RUN_NAME_MAX];

	w.fd = file_create_temp(tmp, "run", temp);
	if (w.fd < 0)
		return err_set(w.fd, "cannot make an index run: %s",
			       strerror(-w.fd));
	w.fan = calloc(PAGER_RUN_FANOUT, sizeof(*w.fan));
	w.buffer = malloc(ENTRIES_AT_ONCE * sizeof(*w.buffer));
	r = write_run(&w);
	free(w.fan);
	free(w.buffer);
	close_quietly(w.fd);
	if (r == 0)
		r = name_file(s, temp, name);
	if (r < 0) {
		(void)unlinkat(tmp, temp, 0); /* a sweep would do it, too */
		return err_wrap(r, "cannot write an index run");
	}
	memcpy(ret_name, name, sizeof(name));
	return 0;
}
