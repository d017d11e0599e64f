#include "tests/bench/bench.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"

struct bench_options bench_with_arg(const struct bench_options *options,
				    const char *arg)
{
	struct bench_options o = *options;
	int i = 0;

	while (o.daemon_args[i])
		i++;
	assert(i < BENCH_DAEMON_ARGS);
	o.daemon_args[i] = arg;
	return o;
}

uint64_t bench_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *values, unsigned int count)
{
	qsort(values, count, sizeof(*values), compare_doubles);
	return count % 2 ? values[count / 2]
			 : (values[count / 2 - 1] + values[count / 2]) / 2;
}

int bench_spawn(const char *const argv[], int stream, const char *to,
		pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, stream, to,
					 O_WRONLY | O_CREAT | O_TRUNC, 0600);
	/* posix_spawn() changes none of the words; its type is older. */
	r = posix_spawnp(ret_pid, argv[0], &actions, NULL, (char *const *)argv,
			 environ);
	posix_spawn_file_actions_destroy(&actions);
	return r ? err_set(-r, "%s: %s", argv[0], strerror(r)) : 0;
}

int bench_run(const char *const argv[], double *ret_seconds)
{
	uint64_t begin = bench_now();
	int status = 0, r;
	pid_t pid;

	r = bench_spawn(argv, STDOUT_FILENO, "/dev/null", &pid);
	if (r < 0)
		return r;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return err_set(-EIO, "%s failed with status %d", argv[0],
			       status);
	if (ret_seconds)
		*ret_seconds = (double)(bench_now() - begin) / 1e9;
	return 0;
}

static int count_resident(int fd, size_t size, double *ret_percent)
{
	size_t pages = (size + 4095) / 4096, there = 0;
	_cleanup_free_ unsigned char *which = calloc(1, pages + 1);
	void *map;

	if (!which)
		return -ENOMEM;
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	if (mincore(map, size, which) < 0) {
		(void)munmap(map, size);
		return -errno;
	}
	(void)munmap(map, size);
	for (size_t i = 0; i < pages; i++)
		there += which[i] & 1;
	*ret_percent = 100.0 * (double)there / (double)pages;
	return 0;
}

int bench_chill_file(const char *path, double *ret_resident)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0 || fdatasync(fd) < 0)
		return err_set(-errno, "%s: %s", path, strerror(errno));
	r = -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (r < 0)
		return err_set(r, "%s: %s", path, strerror(-r));
	*ret_resident = 0;
	return st.st_size ? count_resident(fd, (size_t)st.st_size, ret_resident)
			  : 0;
}

int bench_make_folder(const struct bench_options *options, char **ret_path)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/pagerbench.XXXXXX", options->folder) < 0)
		return -ENOMEM;
	if (!mkdtemp(path))
		return err_set(-errno, "%s: %s", path, strerror(errno));
	*ret_path = steal_ptr(path);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)remove(path);
	return 0;
}

void bench_remove_folder(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
