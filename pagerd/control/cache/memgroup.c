#include "pagerd/control/cache/memgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/io/text.h"

#define MACHINE	 "/proc/pressure/memory"
#define TEXT_MAX 16384
#define TRIGGER	 "some 100000 1000000" /* us */

/* Version 1 writes "no limit" as the largest number of whole pages. */
#define NO_LIMIT (UINT64_C(1) << 62)

struct memgroup_files {
	const char *root, *line; /* where groups are, ours in /proc/self */
	const char *limits[2], *used;
	const char *file_bytes[2]; /* in memory.stat */
};

static const struct memgroup_files versions[] = {
	{
		.root = "/sys/fs/cgroup",
		.line = "0::",
		.limits = {"memory.max", "memory.high"},
		.used = "memory.current",
		.file_bytes = {"\ninactive_file ", "\nactive_file "},
	},
	{
		.root = "/sys/fs/cgroup/memory",
		.line = ":memory:",
		.limits = {"memory.limit_in_bytes", NULL},
		.used = "memory.usage_in_bytes",
		.file_bytes = {"\ntotal_inactive_file ",
			       "\ntotal_active_file "},
	},
};
#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

/* The text of a small file; the caller frees. */
static int read_text(const char *folder, const char *name, char **ret_text)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *text = calloc(1, TEXT_MAX);
	ssize_t n;

	if (!text)
		return -ENOMEM;
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, TEXT_MAX - 1);
	if (n < 0)
		return -errno;
	*ret_text = steal_ptr(text);
	return 0;
}

void memgroup_open(const char *folder, struct memgroup *ret_group)
{
	*ret_group = (struct memgroup){.files = &versions[0]};
	(void)snprintf(ret_group->folder, sizeof(ret_group->folder), "%s",
		       folder);
	for (size_t i = 0; i < VERSIONS; i++) {
		_cleanup_free_ char *text = NULL;

		if (read_text(folder, versions[i].used, &text) < 0)
			continue;
		ret_group->files = &versions[i];
		return;
	}
}

/* "0::/system.slice/pagerd.service", "4:memory:/system.slice/..." */
static void join(const struct memgroup_files *files, const char *groups,
		 char folder[PATH_MAX])
{
	const char *path = strstr(groups, files->line);

	folder[0] = '\0';
	if (!path)
		return;
	path += strlen(files->line);
	(void)snprintf(folder, PATH_MAX, "%s%.*s", files->root,
		       (int)strcspn(path, "\n"), path);
}

void memgroup_find(struct memgroup *ret_group)
{
	_cleanup_free_ char *groups = NULL;

	*ret_group = (struct memgroup){.files = &versions[0]};
	if (read_text("/proc/self", "cgroup", &groups) < 0)
		return;
	for (size_t i = 0; i < VERSIONS; i++) {
		_cleanup_free_ char *text = NULL;
		char folder[PATH_MAX];

		join(&versions[i], groups, folder);
		if (!*folder || read_text(folder, versions[i].used, &text) < 0)
			continue;
		memgroup_open(folder, ret_group);
		return;
	}
}

/* "max", or a number of bytes; 0: none. */
static uint64_t read_bytes(const char *folder, const char *name)
{
	_cleanup_free_ char *text = NULL;
	uint64_t bytes = 0;

	if (!name || read_text(folder, name, &text) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	if (text_parse_u64(text, &bytes) < 0 || bytes > NO_LIMIT)
		return 0;
	return bytes;
}

static uint64_t number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static uint64_t file_bytes(const struct memgroup *group)
{
	_cleanup_free_ char *text = NULL;

	if (read_text(group->folder, "memory.stat", &text) < 0)
		return 0;
	return number_after(text, group->files->file_bytes[0]) +
	       number_after(text, group->files->file_bytes[1]);
}

void memgroup_read(const struct memgroup *group,
		   struct memgroup_figures *ret_figures)
{
	struct memgroup_figures f = {0};
	uint64_t files;

	*ret_figures = f;
	if (!*group->folder)
		return;
	f.used = read_bytes(group->folder, group->files->used);
	files = file_bytes(group);
	f.used = f.used > files ? f.used - files : 0;
	for (int i = 0; i < 2; i++) {
		uint64_t limit =
			read_bytes(group->folder, group->files->limits[i]);

		if (limit && (!f.limit || limit < f.limit))
			f.limit = limit;
	}
	*ret_figures = f;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345" */
int memgroup_stalled(const struct memgroup *group, uint64_t *ret_us)
{
	_cleanup_free_ char *text = NULL;
	const char *some;
	int r = *group->folder
			? read_text(group->folder, "memory.pressure", &text)
			: -ENOENT;

	if (r < 0)
		r = read_text("", MACHINE, &text);
	if (r < 0)
		return -ENOENT;
	some = strstr(text, "some ");
	if (!some || !strstr(some, "total="))
		return -ENOENT;
	*ret_us = number_after(some, "total=");
	return 0;
}

int memgroup_trigger(const struct memgroup *group)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX + 32];

	(void)snprintf(path, sizeof(path), "%s/memory.pressure", group->folder);
	if (*group->folder)
		fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		fd = open(MACHINE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || write(fd, TRIGGER, sizeof(TRIGGER)) < 0)
		return -1;
	return steal_fd(fd);
}
