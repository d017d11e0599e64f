#include "tests/unit/control/daemon_fixture.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/publish/publish.h"

#define SIZE ((size_t)FIXTURE_PAGES * PAGER_PAGE_SIZE)

static void publish_image(const char *folder, const char *store_path)
{
	struct publish_options o = PUBLISH_OPTIONS_INIT;
	uint8_t *image = malloc(SIZE);
	struct publish_result result;
	char path[SCRATCH_PATH_MAX];
	struct store *store;

	assert_non_null(image);
	for (unsigned int i = 0; i < FIXTURE_PAGES; i++)
		scratch_page(i + 1, image + (size_t)i * PAGER_PAGE_SIZE);
	(void)snprintf(path, sizeof(path), "%s", scratch_file(folder, "image"));
	scratch_write(path, image, SIZE);
	free(image);
	assert_int_equal(store_init(store_path, NULL), 0);
	assert_int_equal(store_open(store_path, STORE_WRITE, &store), 0);
	o.name = FIXTURE_SNAPSHOT;
	o.memory = (struct publish_file){"memory", path};
	assert_int_equal(publish(store, &o, &result), 0);
	store_unref(store);
}

int daemon_fixture_set_up(void **state)
{
	struct daemon_fixture *f = calloc(1, sizeof(*f));
	char store[SCRATCH_PATH_MAX], runtime[SCRATCH_PATH_MAX];
	const char *const imports[] = {f->folder};
	const struct daemon_options o = {
		.store = store,
		.runtime = runtime,
		.cache_bytes = 4u << 20,
		.imports = imports,
		.import_count = 1,
		.workers = 2,
		.max_sessions = 4,
		.stuck_after_ns = UINT64_C(5000000000),
	};

	assert_non_null(f);
	scratch_make(f->folder);
	(void)snprintf(store, sizeof(store), "%s",
		       scratch_file(f->folder, "store"));
	(void)snprintf(runtime, sizeof(runtime), "%s",
		       scratch_file(f->folder, "run"));
	publish_image(f->folder, store);
	assert_int_equal(daemon_new(&o, &f->daemon), 0);
	*state = f;
	return 0;
}

/* The eventfd tells each end; no clock is asked. */
static void wait_until_empty(struct registry *r)
{
	int fd = registry_fd(r);

	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	while (registry_count(r) > 0) {
		uint64_t events;

		registry_close_all(r, POOL_CLOSE_IDLE);
		if (registry_count(r) > 0)
			assert_int_equal(read(fd, &events, sizeof(events)),
					 sizeof(events));
	}
}

int daemon_fixture_tear_down(void **state)
{
	struct daemon_fixture *f = *state;

	registry_stop(f->daemon->registry);
	wait_until_empty(f->daemon->registry);
	daemon_free(f->daemon);
	scratch_remove(f->folder);
	free(f);
	return 0;
}

struct session *daemon_fixture_create(struct daemon_fixture *f, const char *id)
{
	const struct registry_request request = {
		.id = id,
		.snapshot = FIXTURE_SNAPSHOT,
		.uid = geteuid(),
		.gid = getegid(),
	};
	struct session *s = NULL;

	assert_int_equal(registry_create(f->daemon->registry, &request, &s), 0);
	return s;
}

static int send_regions(int socket_fd, int uffd, const void *memory)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	char text[256];
	struct iovec io = {.iov_base = text};
	struct msghdr message = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	io.iov_len = (size_t)snprintf(
		text, sizeof(text),
		"[{\"base_host_virt_addr\":%llu,\"size\":%zu,\"offset\":0,"
		"\"page_size\":4096,\"page_size_kib\":4096}]",
		(unsigned long long)(uintptr_t)memory, SIZE);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &uffd, sizeof(uffd));
	return sendmsg(socket_fd, &message, 0) == (ssize_t)io.iov_len ? 0 : -1;
}

/* Registered memory, and the userfaultfd of it; -1. */
static int register_memory(void **ret_memory)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = {.api = UFFD_API,
				 .features = UFFD_FEATURE_EVENT_REMOVE};
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd < 0 || memory == MAP_FAILED || ioctl(fd, UFFDIO_API, &api) < 0)
		return -1;
	range.range.start = (uintptr_t)memory;
	range.range.len = SIZE;
	if (ioctl(fd, UFFDIO_REGISTER, &range) < 0)
		return -1;
	*ret_memory = memory;
	return fd;
}

/*
 * Only system calls from here: the fork came from a process of many threads.
 * The socket is kept, as by Firecracker from 1.12 on.
 */
static void be_vmm(const char *path, const uint8_t *expected, int pipe_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	void *memory = NULL;
	int uffd = register_memory(&memory);
	bool good;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (uffd < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    send_regions(fd, uffd, memory) < 0)
		_exit(1);
	good = memcmp((uint8_t *)memory + PAGER_PAGE_SIZE, expected,
		      PAGER_PAGE_SIZE) == 0;
	if (!good || write(pipe_fd, "", 1) != 1)
		_exit(2);
	for (;;)
		(void)pause();
}

pid_t daemon_fixture_vmm(const char *socket_path)
{
	uint8_t expected[PAGER_PAGE_SIZE];
	int ends[2];
	pid_t pid;
	char byte;

	scratch_page(2, expected);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		be_vmm(socket_path, expected, ends[1]);
	(void)close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	(void)close(ends[0]);
	return pid;
}

int daemon_fixture_reap(pid_t vmm)
{
	int status;

	assert_int_equal(waitpid(vmm, &status, 0), vmm);
	assert_true(WIFSIGNALED(status));
	return WTERMSIG(status);
}

void daemon_fixture_kill(pid_t vmm)
{
	assert_int_equal(kill(vmm, SIGKILL), 0);
	assert_int_equal(daemon_fixture_reap(vmm), SIGKILL);
}
