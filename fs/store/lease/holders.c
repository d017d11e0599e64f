/*
 * Only links are read, never what they lead to: a look at an open file of a
 * mount would ask whoever serves that mount, and may wait for ever.
 */
#include "fs/store/lease/holders.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/cleanup.h"

#define SHOWN_MAX  8u
#define MOUNTS_MAX 64u
#define COMM_MAX   32

struct search {
	char manifest[2 * PATH_MAX]; /* as its open files show it */
	char below[NAME_MAX + 16];   /* "/snapshots/NAME/" */
	char *mounts[MOUNTS_MAX];    /* of stores: where they are */
	unsigned int mount_count;
	char *text;
	size_t at;
	unsigned int found;
};

static void search_release(struct search *s)
{
	for (unsigned int i = 0; i < s->mount_count; i++)
		free(s->mounts[i]);
}

static void end_mntent(FILE *f)
{
	if (f)
		(void)endmntent(f);
}

static void close_folder(DIR *d)
{
	if (d)
		(void)closedir(d);
}

DEFINE_CLEANUP(mntent, FILE *, end_mntent)
DEFINE_CLEANUP(folder, DIR *, close_folder)

static void find_mounts(struct search *s)
{
	FILE *f cleanup(cleanup_mntent) = setmntent("/proc/self/mounts", "re");
	char buf[2 * PATH_MAX];
	struct mntent e;

	while (f && s->mount_count < MOUNTS_MAX &&
	       getmntent_r(f, &e, buf, sizeof(buf)))
		if (strcmp(e.mnt_type, "fuse.pagerfs") == 0)
			s->mounts[s->mount_count++] = strdup(e.mnt_dir);
}

static bool begins(const char *text, const char *with)
{
	return with && strncmp(text, with, strlen(with)) == 0;
}

/*
 * Whether an open file's link is one of those that are looked for. We may have
 * a file of a mount open by inheritance, from who has it open anyway.
 */
static bool concerns(const struct search *s, const char *link, bool ours)
{
	if (strcmp(link, s->manifest) == 0)
		return true;
	for (unsigned int i = 0; !ours && i < s->mount_count; i++)
		if (begins(link, s->mounts[i]) &&
		    begins(link + strlen(s->mounts[i]), s->below))
			return true;
	return false;
}

/* Whether a process has such a file open. */
static bool holds(const struct search *s, int proc, const char *pid)
{
	_cleanup_close_ int fd = -1;
	DIR *d cleanup(cleanup_folder) = NULL;
	char path[NAME_MAX + 8], link[2 * PATH_MAX];
	bool ours = strtol(pid, NULL, 10) == getpid();
	const struct dirent *e;

	(void)snprintf(path, sizeof(path), "%s/fd", pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return false;
	(void)steal_fd(fd);
	while ((e = readdir(d))) {
		ssize_t n =
			readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		if (concerns(s, link, ours))
			return true;
	}
	return false;
}

/* The name that a process goes by; "?" where it has gone. */
static void read_comm(int proc, const char *pid, char comm[COMM_MAX])
{
	_cleanup_close_ int fd = -1;
	char path[NAME_MAX + 8];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/comm", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, comm, COMM_MAX - 1);
	if (n <= 0) {
		comm[0] = '?';
		n = 1;
	}
	comm[n] = '\0';
	comm[strcspn(comm, "\n")] = '\0';
}

static void tell(struct search *s, int proc, const char *pid)
{
	size_t room = HOLDERS_TEXT_MAX - s->at;
	const char *comma = s->found ? ", " : "";
	char comm[COMM_MAX];
	int n;

	if (s->found++ >= SHOWN_MAX)
		return;
	read_comm(proc, pid, comm);
	n = snprintf(s->text + s->at, room, "%s%s (process %s)", comma, comm,
		     pid);
	if (n > 0)
		s->at += (size_t)n < room ? (size_t)n : room - 1;
}

/* What our own fd of it is called is what others' are called. */
static int find_manifest(struct store *store, const char *name,
			 struct search *s)
{
	_cleanup_close_ int fd = openat(store_folder_fd(store, STORE_SNAPSHOTS),
					name, O_PATH | O_CLOEXEC | O_NOFOLLOW);
	char path[64];
	ssize_t n;

	if (fd < 0)
		return -errno;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, s->manifest, sizeof(s->manifest) - 1);
	if (n < 0)
		return -errno;
	s->manifest[n] = '\0';
	(void)snprintf(s->below, sizeof(s->below), "/snapshots/%s/", name);
	return 0;
}

void holders_find(struct store *store, const char *name,
		  char ret_text[HOLDERS_TEXT_MAX])
{
	struct search s cleanup(search_release) = {.text = ret_text};
	DIR *proc cleanup(cleanup_folder) = opendir("/proc");
	const struct dirent *e;

	ret_text[0] = '\0';
	if (!proc || find_manifest(store, name, &s) < 0)
		return;
	find_mounts(&s);
	while ((e = readdir(proc)))
		if (isdigit((unsigned char)e->d_name[0]) &&
		    holds(&s, dirfd(proc), e->d_name))
			tell(&s, dirfd(proc), e->d_name);
	if (s.found > SHOWN_MAX)
		(void)snprintf(ret_text + s.at, HOLDERS_TEXT_MAX - s.at,
			       " and %u more", s.found - SHOWN_MAX);
}
