/*
 * Pack numbers are never used twice, since caches know blocks by their ids
 * for as long as a process lives. The counter is ahead of every pack that
 * ever got a name. Where it is lost, packs that were removed since are
 * unknown; a jump by MARGIN above the greatest that is left makes up for
 * those.
 */
#include "fs/store/sequence.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/io/file.h"
#include "fs/store/folder.h"
#include "fs/store/pack/pack.h"
#include "pager/superblock.h"

#define MARGIN (UINT64_C(1) << 20)

static uint64_t checksum_of(const struct pager_sequence *seq)
{
	return XXH3_64bits_withSeed(&seq->next, sizeof(seq->next),
				    PAGER_SEQUENCE_SEED);
}

int sequence_write(int top_fd, uint64_t next)
{
	struct pager_sequence seq = {.next = next};
	_cleanup_close_ int fd =
		openat(top_fd, SEQUENCE_FILE_NAME,
		       O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	seq.checksum = checksum_of(&seq);
	r = file_pwrite(fd, &seq, sizeof(seq), 0, INJECT_SEQUENCE_WRITE);
	if (r < 0)
		return r;
	return file_sync(fd, INJECT_POINT_COUNT);
}

/* 0 where the file is lost or damaged. */
static int read_next(int top_fd, uint64_t *ret_next)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	struct pager_sequence seq;
	size_t len;
	int r = file_read_all(top_fd, SEQUENCE_FILE_NAME, sizeof(seq), &bytes,
			      &len);

	*ret_next = 0;
	if (r == -ENOENT || r == -EFBIG || (r == 0 && len != sizeof(seq)))
		return 0;
	if (r < 0)
		return r;
	memcpy(&seq, bytes, sizeof(seq));
	if (seq.checksum == checksum_of(&seq))
		*ret_next = seq.next;
	return 0;
}

static int note_greatest(void *arg, const char *name)
{
	uint64_t *greatest = arg, number;

	if (pack_number_of(name, &number) == 0 && number > *greatest)
		*greatest = number;
	return 0;
}

int sequence_draw(int top_fd, int packs_fd, uint64_t *ret_pack)
{
	uint64_t next, greatest = 0;
	int r = read_next(top_fd, &next);

	if (r == 0)
		r = folder_list(packs_fd, ".", note_greatest, &greatest);
	if (r < 0)
		return r;
	if (next == 0)
		next = greatest + MARGIN;
	else if (next <= greatest)
		next = greatest + 1;
	if (next > PAGER_PACK_NUMBER_MAX)
		return -EOVERFLOW;
	r = sequence_write(top_fd, next + 1);
	if (r < 0)
		return r;
	*ret_pack = next;
	return 0;
}
