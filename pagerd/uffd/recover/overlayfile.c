#include "pagerd/uffd/recover/overlayfile.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"

#define MAGIC "PAGROVLY"

struct head {
	char magic[8];
	uint64_t count, bytes, sum;
};

struct place {
	uint64_t offset, size;
};

#define FILE_MAX                                                           \
	(sizeof(struct head) + OVERLAY_PIECES_MAX * sizeof(struct place) + \
	 OVERLAY_BYTES_MAX)

/* The whole file's bytes; the caller frees. */
static int encode(const struct overlay *o, uint8_t **ret_file, size_t *ret_len)
{
	size_t count, bytes = 0, len;
	const struct overlay_piece *pieces = overlay_pieces(o, &count);
	struct head *h;
	struct place *places;
	uint8_t *at;

	for (size_t i = 0; i < count; i++)
		bytes += pieces[i].size;
	len = sizeof(*h) + count * sizeof(*places) + bytes;
	h = malloc(len);
	if (!h)
		return err_set(-ENOMEM, "no memory for overlays");
	places = (void *)(h + 1);
	at = (uint8_t *)(places + count);
	for (size_t i = 0; i < count; at += pieces[i++].size) {
		places[i].offset = htole64(pieces[i].offset);
		places[i].size = htole64(pieces[i].size);
		memcpy(at, pieces[i].data, pieces[i].size);
	}
	memcpy(h->magic, MAGIC, sizeof(h->magic));
	h->count = htole64(count);
	h->bytes = htole64(bytes);
	h->sum = htole64(XXH3_64bits(places, len - sizeof(*h)));
	*ret_file = (uint8_t *)h;
	*ret_len = len;
	return 0;
}

/* In place: until the journal is there, nobody looks. */
int overlayfile_write(const char *path, const struct overlay *o)
{
	_cleanup_free_ uint8_t *file = NULL;
	_cleanup_close_ int fd = -1;
	size_t len = 0;
	int r = encode(o, &file, &len);

	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		  0600);
	r = fd < 0 ? -errno
		   : file_pwrite(fd, file, len, 0, INJECT_JOURNAL_WRITE);
	return r < 0 ? err_set(r, "cannot write %s: %s", path,
			       strerrordesc_np(-r))
		     : 0;
}

int overlayfile_decode(const uint8_t *file, size_t len, uint64_t image_size,
		       struct overlay **ret_overlay)
{
	_cleanup_free_ struct overlay_piece *pieces = NULL;
	const struct place *places = (const void *)(file + sizeof(struct head));
	struct head h;
	uint64_t count, at;

	if (len < sizeof(h))
		return -EBADMSG;
	memcpy(&h, file, sizeof(h));
	count = le64toh(h.count);
	at = sizeof(h) + count * sizeof(*places);
	if (memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0 ||
	    count > OVERLAY_PIECES_MAX || at > len ||
	    len - at != le64toh(h.bytes) ||
	    XXH3_64bits(places, len - sizeof(h)) != le64toh(h.sum))
		return -EBADMSG;
	pieces = calloc(count + 1, sizeof(*pieces));
	if (!pieces)
		return -ENOMEM;
	for (uint64_t i = 0; i < count; at += pieces[i++].size) {
		pieces[i].offset = le64toh(places[i].offset);
		pieces[i].size = le64toh(places[i].size);
		pieces[i].data = file + at;
		if (pieces[i].size > len - at)
			return -EBADMSG;
	}
	return overlay_new(pieces, count, image_size, ret_overlay);
}

int overlayfile_read(const char *path, uint64_t image_size,
		     struct overlay **ret_overlay)
{
	_cleanup_free_ uint8_t *file = NULL;
	size_t len = 0;
	int r = file_read_all(AT_FDCWD, path, FILE_MAX, &file, &len);

	if (r == 0)
		r = overlayfile_decode(file, len, image_size, ret_overlay);
	if (r == -EINVAL)
		r = -EBADMSG;
	return r < 0 ? err_set(r, "%s: %s", path, strerrordesc_np(-r)) : 0;
}
