#include "pagerd/uffd/recover/vmm.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/text.h"
#include "pager/block.h"
#include "pagerd/uffd/memory/uffd.h"

#define STAT_MAX       4096
#define STAT_STARTTIME 20 /* fields behind the one that ends with ")" */

/* A process with more open files than this is not searched to the end. */
#define NUMBERS_MAX 4096

static void close_folder(DIR *d)
{
	if (d)
		(void)closedir(d);
}
DEFINE_CLEANUP(folder, DIR *, close_folder)

int vmm_start_time(pid_t pid, uint64_t *ret_start)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[32], text[STAT_MAX];
	char *at;
	size_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (n == 0)
		return err_set(-ESRCH, "process %d is dead", (int)pid);
	text[n] = '\0';
	/* Its own choice of a name stands in front, with any bytes. */
	at = strrchr(text, ')');
	for (int i = 0; at && i < STAT_STARTTIME; i++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, " %" SCNu64, ret_start) != 1)
		return err_set(-EIO, "%s is not as expected", path);
	return 0;
}

int vmm_open(pid_t pid, uint64_t start)
{
	_cleanup_close_ int pidfd = pidfd_open(pid, 0);
	uint64_t now = 0;
	int r;

	if (pidfd < 0)
		return err_set(errno == EINVAL ? -ESRCH : -errno,
			       "process %d: %m", (int)pid);
	/* After the pidfd was opened: it cannot become another one now. */
	r = vmm_start_time(pid, &now);
	if (r < 0)
		return r;
	if (now != start)
		return err_set(-ESRCH, "process %d is another one", (int)pid);
	return steal_fd(pidfd);
}

static bool same_file(pid_t pid, int number, int uffd)
{
	return syscall(SYS_kcmp, getpid(), pid, KCMP_FILE, uffd, number) == 0;
}

bool vmm_has_uffd(pid_t pid, int number, int uffd)
{
	return pid > 0 && number >= 0 && same_file(pid, number, uffd);
}

static bool names_uffd(int dirfd, const char *name)
{
	static const char wanted[] = "anon_inode:[userfaultfd]";
	char target[sizeof(wanted)];
	ssize_t n = readlinkat(dirfd, name, target, sizeof(target));

	return n == (ssize_t)sizeof(wanted) - 1 &&
	       memcmp(target, wanted, sizeof(wanted) - 1) == 0;
}

/*
 * Calls `is_it` for each userfaultfd that the process holds, until one says
 * so. Its number, -ENOENT, or -errno where it cannot be looked at.
 */
static int search(pid_t pid, bool (*is_it)(void *arg, int number), void *arg)
{
	DIR *folder cleanup(cleanup_folder) = NULL;
	struct dirent *entry;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	folder = opendir(path);
	if (!folder)
		return -errno;
	for (int i = 0; i < NUMBERS_MAX && (entry = readdir(folder)); i++) {
		uint64_t number;

		if (text_parse_u64(entry->d_name, &number) < 0 ||
		    number > INT32_MAX ||
		    !names_uffd(dirfd(folder), entry->d_name))
			continue;
		if (is_it(arg, (int)number))
			return (int)number;
	}
	return -ENOENT;
}

struct wanted_file {
	pid_t pid;
	int uffd;
};

static bool is_file(void *arg, int number)
{
	const struct wanted_file *w = arg;

	return same_file(w->pid, number, w->uffd);
}

int vmm_find_uffd(pid_t pid, int uffd)
{
	struct wanted_file w = {pid, uffd};
	int number = pid > 0 ? search(pid, is_file, &w) : -1;

	return number < 0 ? -1 : number;
}

/*
 * The kernel refuses to register what another userfaultfd has, and has
 * nothing to do for what is registered in that way already.
 */
static int check_page(int uffd, uint64_t address, uint64_t size)
{
	struct uffdio_register again = {
		.range = {.start = address, .len = size},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	enum uffd_result there = uffd_probe(uffd, address);

	if (there == UFFD_GONE)
		return err_set(-ESRCH, "the address space is gone");
	if (there != UFFD_DONE)
		return 0; /* unmapped since: no matter whose it was */
	if (ioctl(uffd, UFFDIO_REGISTER, &again) < 0)
		return err_set(-ENOENT, "the memory is not registered with it");
	return 1;
}

int vmm_check_uffd(int uffd, const struct regions *regions)
{
	int seen = 0;

	for (size_t i = 0; i < regions->count; i++) {
		const struct region *r = &regions->all[i];
		int head = check_page(uffd, r->base, r->page_size), tail;

		if (head < 0)
			return head;
		tail = check_page(uffd, r->base + r->size - r->page_size,
				  r->page_size);
		if (tail < 0)
			return tail;
		seen += head + tail;
	}
	return seen ? 0 : err_set(-ESRCH, "no region is registered any more");
}

struct wanted_regions {
	int pidfd;
	const struct regions *regions;
	int uffd; /* found */
	int error;
};

static bool serves_regions(void *arg, int number)
{
	struct wanted_regions *w = arg;
	_cleanup_close_ int fd = pidfd_getfd(w->pidfd, number, 0);
	uint64_t features;

	if (fd < 0) {
		w->error = -errno;
		return false;
	}
	if (uffd_check(fd, &features) < 0 || vmm_check_uffd(fd, w->regions) < 0)
		return false;
	w->uffd = steal_fd(fd);
	return true;
}

int vmm_fetch_uffd(int pidfd, pid_t pid, int number,
		   const struct regions *regions, int *ret_uffd)
{
	struct wanted_regions w = {pidfd, regions, -1, -ENOENT};
	int r = 0;

	if (number < 0 || !serves_regions(&w, number))
		r = search(pid, serves_regions, &w);
	if (r == -ENOENT)
		r = w.error;
	if (r < 0)
		return err_set(r,
			       "process %d has no userfaultfd for it that we "
			       "can get: %s",
			       (int)pid, strerrordesc_np(-r));
	*ret_uffd = w.uffd;
	return 0;
}

static bool overlaps_any(const struct regions *regions, uint64_t start,
			 uint64_t end)
{
	const struct region *r = regions_from(regions, start);

	return r && r->base < end;
}

bool vmm_maps_any(pid_t pid, const struct regions *regions)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	uint64_t start, end;
	size_t room = 0;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return true;
	while (getline(&line, &room, f) > 0)
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) == 2 &&
		    overlaps_any(regions, start, end))
			return true;
	return ferror(f);
}
