#include "fs/store/origin/origin.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/base/err.h"
#include "fs/store/snapshot/snapshot.h"

#define NS_A_SECOND UINT64_C(1000000000)

/* Longer than a tick of any kernel's clock of files. */
#define SETTLED_NS UINT64_C(20000000)

int origin_of(int fd, struct manifest_origin *ret_origin)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_dev > INT64_MAX ||
	    st.st_ino > INT64_MAX || st.st_mtim.tv_sec < 0 ||
	    (uint64_t)st.st_mtim.tv_sec >= INT64_MAX / NS_A_SECOND)
		return -EINVAL;
	*ret_origin = (struct manifest_origin){
		.device = st.st_dev,
		.inode = st.st_ino,
		.size = (uint64_t)st.st_size,
		.mtime = (uint64_t)st.st_mtim.tv_sec * NS_A_SECOND +
			 (uint64_t)st.st_mtim.tv_nsec,
	};
	return 0;
}

bool origin_equal(const struct manifest_origin *a,
		  const struct manifest_origin *b)
{
	return a->device == b->device && a->inode == b->inode &&
	       a->size == b->size && a->mtime == b->mtime;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_A_SECOND + (uint64_t)now.tv_nsec;
}

bool origin_settle(const struct manifest_origin *o)
{
	uint64_t now = now_ns();
	struct timespec rest = {0};

	if (now < o->mtime)
		return false;
	if (now - o->mtime < SETTLED_NS) {
		rest.tv_nsec = (long)(SETTLED_NS - (now - o->mtime));
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, NULL);
		now = now_ns();
	}
	return now >= o->mtime && now - o->mtime >= SETTLED_NS;
}

static bool has_origin(struct store *s, const char *name,
		       const struct manifest_origin *o)
{
	struct snapshot *snap cleanup(cleanup_snapshot) = NULL;
	const struct manifest *m;

	if (snapshot_open(s, name, &snap) < 0)
		return false;
	m = snapshot_manifest(snap);
	return m->has_origin && origin_equal(&m->origin, o);
}

int origin_find(struct store *s, const struct manifest_origin *o,
		char ret_name[PAGER_NAME_MAX + 1])
{
	char **names;
	size_t count;
	int r = snapshot_list(s, &names, &count);

	if (r < 0)
		return r;
	r = -ENOENT;
	for (size_t i = 0; r < 0 && i < count; i++) {
		if (!has_origin(s, names[i], o))
			continue;
		memcpy(ret_name, names[i], strlen(names[i]) + 1);
		r = 0;
	}
	snapshot_names_free(names, count);
	return r;
}
