#include "fs/store/superblock.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "fs/base/err.h"

static uint64_t checksum_of(const struct pager_superblock *sb)
{
	return XXH3_64bits(sb, offsetof(struct pager_superblock, checksum));
}

void superblock_seal(struct pager_superblock *sb)
{
	memcpy(sb->magic, PAGER_STORE_MAGIC, sizeof(sb->magic));
	sb->version = PAGER_STORE_VERSION;
	sb->checksum = checksum_of(sb);
}

static bool reserved_is_zero(const struct pager_superblock *sb)
{
	static const uint8_t zeros[sizeof(sb->reserved)];

	return sb->reserved0 == 0 &&
	       memcmp(sb->reserved, zeros, sizeof(zeros)) == 0;
}

int superblock_decode(const char *path, const uint8_t *bytes, size_t len,
		      struct pager_superblock *ret_sb)
{
	const size_t versioned = offsetof(struct pager_superblock, reserved0);
	struct pager_superblock sb = {0};

	memcpy(&sb, bytes, len < sizeof(sb) ? len : sizeof(sb));
	/* What a crash or a bad disk leaves of ours: nothing, or zeros. */
	if (len < sizeof(sb.magic) || !sb.magic[0])
		return err_set(-EBADMSG,
			       "store %s: file `format` is damaged: cut short",
			       path);
	if (memcmp(sb.magic, PAGER_STORE_MAGIC, sizeof(sb.magic)) != 0)
		return err_set(-EMEDIUMTYPE,
			       "%s is not a pagerd store: its file `format` "
			       "is another program's",
			       path);
	/* Before all else: a newer format may have another size. */
	if (len >= versioned && sb.version > PAGER_STORE_VERSION)
		return err_set(-ENOTSUP,
			       "store %s has format %u, this program reads %d: "
			       "use a newer pagerd",
			       path, sb.version, PAGER_STORE_VERSION);
	if (len != sizeof(sb))
		return err_set(-EBADMSG,
			       "store %s: file `format` is damaged: %zu bytes "
			       "and not %zu",
			       path, len, sizeof(sb));
	if (sb.checksum != checksum_of(&sb))
		return err_set(-EBADMSG,
			       "store %s: file `format` is damaged: its "
			       "checksum does not match",
			       path);
	if (sb.version != PAGER_STORE_VERSION || !reserved_is_zero(&sb))
		return err_set(-EBADMSG,
			       "store %s: file `format` is damaged: fields "
			       "that no program writes",
			       path);
	*ret_sb = sb;
	return 0;
}
