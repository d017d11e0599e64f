#include "pagerd/uffd/recover/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"
#include "fs/io/text.h"
#include "pager/handshake.h"

#define HEAD_FORMAT "pager-journal %u %016" PRIx64 "\n"
#define HEAD_MAX    64
#define BOOT_MAX    64

DEFINE_CLEANUP(json, json_t *, json_decref)

void journal_release(struct journal *j)
{
	free(j->id);
	free(j->snapshot);
	free(j->regions);
	*j = (struct journal){0};
}

static int read_boot(char ret_boot[BOOT_MAX])
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	_cleanup_fclose_ FILE *f = fopen(path, "re");

	if (!f || !fgets(ret_boot, BOOT_MAX, f))
		return err_set(-EIO, "cannot read %s", path);
	ret_boot[strcspn(ret_boot, "\n")] = '\0';
	return 0;
}

static json_t *regions_to_json(const struct journal *j)
{
	json_t *list = json_array();

	for (size_t i = 0; i < j->region_count; i++) {
		const struct region *r = &j->regions[i];

		(void)json_array_append_new(
			list,
			json_pack("[I, I, I, I]", (json_int_t)r->base,
				  (json_int_t)r->size, (json_int_t)r->offset,
				  (json_int_t)r->page_size));
	}
	return list;
}

static json_t *to_json(const struct journal *j)
{
	char image[2 * sizeof(j->image.bytes) + 1], boot[BOOT_MAX];

	if (read_boot(boot) < 0)
		return NULL;
	text_to_hex(j->image.bytes, sizeof(j->image.bytes), image);
	return json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:I,"
		" s:I, s:I, s:i, s:o}",
		"boot", boot, "id", j->id, "snapshot", j->snapshot, "image",
		image, "policy", session_policy_name(j->policy), "uid",
		(json_int_t)j->uid, "gid", (json_int_t)j->gid, "overlays",
		j->overlays, "served", j->served, "vmm_pid",
		(json_int_t)j->vmm_pid, "vmm_start", (json_int_t)j->vmm_start,
		"peer_uid", (json_int_t)j->peer_uid, "uffd", j->uffd_number,
		"regions", regions_to_json(j));
}

/* Under a name that no reader takes for a journal, then in place at once. */
static int replace(const char *path, const char *head, const char *body)
{
	_cleanup_free_ char *temp = NULL;
	_cleanup_close_ int fd = -1;
	size_t head_len = strlen(head);
	int r;

	if (asprintf(&temp, "%s.new", path) < 0)
		return err_set(-ENOMEM, "no memory for a journal");
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		  0600);
	if (fd < 0)
		return err_set(-errno, "cannot create %s: %m", temp);
	r = file_pwrite(fd, head, head_len, 0, INJECT_JOURNAL_WRITE);
	if (r == 0)
		r = file_pwrite(fd, body, strlen(body), head_len,
				INJECT_JOURNAL_WRITE);
	if (r == 0 && rename(temp, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(temp);
		return err_set(r, "cannot write %s: %s", path,
			       strerrordesc_np(-r));
	}
	return 0;
}

int journal_write(const char *path, const struct journal *j)
{
	json_t *object cleanup(cleanup_json) = to_json(j);
	_cleanup_free_ char *body = NULL;
	char head[HEAD_MAX];

	if (object)
		body = json_dumps(object, JSON_COMPACT);
	if (!body)
		return err_set(-ENOMEM, "no memory for the journal of %s",
			       j->id);
	(void)snprintf(head, sizeof(head), HEAD_FORMAT, JOURNAL_VERSION,
		       XXH3_64bits(body, strlen(body)));
	return replace(path, head, body);
}

/* Where the text behind the head begins, or -errno. */
static int check_head(const char *path, const uint8_t *file, size_t len,
		      size_t *ret_body)
{
	const uint8_t *end = memchr(file, '\n', len);
	char head[HEAD_MAX];
	unsigned int version;
	uint64_t sum;
	size_t at;

	if (!end || (at = (size_t)(end - file)) >= sizeof(head))
		return err_set(-EBADMSG, "%s: no journal", path);
	memcpy(head, file, at);
	head[at++] = '\0';
	if (sscanf(head, "pager-journal %u %" SCNx64, &version, &sum) != 2)
		return err_set(-EBADMSG, "%s: no journal", path);
	if (version > JOURNAL_VERSION)
		return err_set(-ENOTSUP,
			       "%s: of format %u, this daemon knows %u; run "
			       "the newer one",
			       path, version, JOURNAL_VERSION);
	if (version != JOURNAL_VERSION ||
	    XXH3_64bits(file + at, len - at) != sum)
		return err_set(-EBADMSG, "%s: damaged", path);
	*ret_body = at;
	return 0;
}

static int region_from_json(json_t *row, struct region *ret)
{
	json_int_t base, size, offset, page_size;

	if (json_unpack(row, "[I, I, I, I]", &base, &size, &offset,
			&page_size) < 0 ||
	    base < 0 || size < 0 || offset < 0 || page_size < 0)
		return -EBADMSG;
	*ret = (struct region){
		.base = (uint64_t)base,
		.size = (uint64_t)size,
		.offset = (uint64_t)offset,
		.page_size = (uint64_t)page_size,
	};
	return 0;
}

static int regions_from_json(json_t *list, struct journal *j)
{
	size_t count = json_array_size(list);

	if (!json_is_array(list) || count > PAGER_HANDSHAKE_REGIONS_MAX)
		return -EBADMSG;
	j->regions = calloc(count + 1, sizeof(*j->regions));
	if (!j->regions)
		return -ENOMEM;
	for (; j->region_count < count; j->region_count++) {
		int r = region_from_json(json_array_get(list, j->region_count),
					 &j->regions[j->region_count]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int copy_texts(struct journal *j, const char *id, const char *snapshot)
{
	j->id = strdup(id);
	j->snapshot = strdup(snapshot);
	return j->id && j->snapshot ? 0 : -ENOMEM;
}

static bool fits(json_int_t value, json_int_t max)
{
	return value >= 0 && value <= max;
}

static int from_json(json_t *object, struct journal *j)
{
	const char *boot, *id, *snapshot, *image, *policy;
	json_int_t uid, gid, pid, start, peer;
	char now[BOOT_MAX];
	json_t *regions;
	int overlays, served, r;

	if (json_unpack(object,
			"{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:I,"
			" s:I, s:I, s:i, s:o}",
			"boot", &boot, "id", &id, "snapshot", &snapshot,
			"image", &image, "policy", &policy, "uid", &uid, "gid",
			&gid, "overlays", &overlays, "served", &served,
			"vmm_pid", &pid, "vmm_start", &start, "peer_uid", &peer,
			"uffd", &j->uffd_number, "regions", &regions) < 0 ||
	    !fits(uid, UINT32_MAX) || !fits(gid, UINT32_MAX) ||
	    !fits(peer, UINT32_MAX) || !fits(pid, INT32_MAX) || start < 0 ||
	    session_id_check(id) < 0 ||
	    session_policy_parse(policy, &j->policy) < 0 ||
	    text_from_hex(image, sizeof(j->image.bytes), j->image.bytes) < 0)
		return -EBADMSG;
	r = read_boot(now);
	if (r < 0)
		return r;
	j->same_boot = strcmp(boot, now) == 0;
	j->uid = (uid_t)uid;
	j->gid = (gid_t)gid;
	j->overlays = overlays;
	j->served = served;
	j->vmm_pid = (pid_t)pid;
	j->vmm_start = (uint64_t)start;
	j->peer_uid = (uid_t)peer;
	r = copy_texts(j, id, snapshot);
	return r < 0 ? r : regions_from_json(regions, j);
}

int journal_decode(const char *path, const uint8_t *file, size_t len,
		   struct journal *ret_journal)
{
	json_t *object cleanup(cleanup_json) = NULL;
	struct journal j = {0};
	size_t body = 0;
	int r = check_head(path, file, len, &body);

	if (r < 0)
		return r;
	object = json_loadb((const char *)file + body, len - body,
			    JSON_REJECT_DUPLICATES, NULL);
	r = object ? from_json(object, &j) : -EBADMSG;
	if (r < 0) {
		journal_release(&j);
		return err_set(r, "%s: not to be understood", path);
	}
	*ret_journal = j;
	return 0;
}

int journal_read(const char *path, struct journal *ret_journal)
{
	_cleanup_free_ uint8_t *file = NULL;
	size_t len;
	int r = file_read_all(AT_FDCWD, path, JOURNAL_MAX, &file, &len);

	if (r < 0)
		return err_set(r, "%s: %s", path, strerrordesc_np(-r));
	return journal_decode(path, file, len, ret_journal);
}
