#include "tests/bench/fault/bare.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"
#include "pager/block.h"

struct bare {
	uint8_t *data;
	uint64_t size;
	pid_t handler;
};

struct handler {
	int uffd, image;
	const uint8_t *copy; /* the whole image; else NULL */
	uint8_t *room;	     /* for what is read */
	enum bare_source source;
	uint8_t *base;
	uint64_t size;
};

static int zero(const struct handler *h, uint64_t offset)
{
	struct uffdio_zeropage zero = {
		.range = {(uintptr_t)h->base + offset, PAGER_PAGE_SIZE},
	};

	return ioctl(h->uffd, UFFDIO_ZEROPAGE, &zero) < 0 ? -errno : 0;
}

static int serve(const struct handler *h, uint64_t address)
{
	uint64_t offset = (address - (uintptr_t)h->base) &
			  ~(uint64_t)(PAGER_PAGE_SIZE - 1);
	struct uffdio_copy copy = {
		.dst = (uintptr_t)h->base + offset,
		.src = (uintptr_t)h->room,
		.len = PAGER_PAGE_SIZE,
	};

	if (h->source == BARE_ZEROPAGE)
		return zero(h, offset);
	if (h->source == BARE_MEMORY)
		copy.src = (uintptr_t)h->copy + offset;
	else if (pread(h->image, h->room, PAGER_PAGE_SIZE, (off_t)offset) !=
		 PAGER_PAGE_SIZE)
		return -EIO;
	return ioctl(h->uffd, UFFDIO_COPY, &copy) < 0 ? -errno : 0;
}

static int handle(const struct handler *h)
{
	struct pollfd poll_fd = {.fd = h->uffd, .events = POLLIN};
	struct uffd_msg msg;

	while (poll(&poll_fd, 1, -1) >= 0) {
		ssize_t n = read(h->uffd, &msg, sizeof(msg));

		if (n < 0 && errno == EAGAIN)
			continue;
		if (n != sizeof(msg) || msg.event != UFFD_EVENT_PAGEFAULT)
			return -EPROTO;
		if (serve(h, msg.arg.pagefault.address) < 0)
			return -EIO;
	}
	return -errno;
}

static int read_image(struct handler *h)
{
	uint8_t *copy = mmap(NULL, h->size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (copy == MAP_FAILED)
		return -errno;
	h->copy = copy;
	return file_pread(h->image, copy, h->size, 0, INJECT_POINT_COUNT);
}

static int run_handler(struct handler *h)
{
	/* Of the child's alone. */
	static _Alignas(PAGER_PAGE_SIZE) uint8_t room[PAGER_PAGE_SIZE];
	int r = 0;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	h->room = room;
	if (h->source == BARE_MEMORY && !h->copy)
		r = read_image(h);
	return r < 0 ? r : handle(h);
}

static int register_memory(uint8_t *data, uint64_t size, int *ret_uffd)
{
	_cleanup_close_ int uffd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {
		.range = {.start = (uintptr_t)data, .len = size},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0 ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg) < 0)
		return -errno;
	*ret_uffd = steal_fd(uffd);
	return 0;
}

static int start(struct handler *h, struct bare **ret_bare)
{
	_cleanup_free_ struct bare *b = calloc(1, sizeof(*b));
	_cleanup_close_ int uffd = -1;
	int r;

	if (!b)
		return -ENOMEM;
	b->size = h->size;
	b->data = mmap(NULL, b->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b->data == MAP_FAILED)
		return -errno;
	h->base = b->data;
	r = register_memory(b->data, b->size, &uffd);
	if (r < 0) {
		(void)munmap(b->data, b->size);
		return err_set(r, "userfaultfd: %s", strerror(-r));
	}
	h->uffd = uffd;
	b->handler = fork();
	if (b->handler == 0)
		_exit(run_handler(h) < 0);
	*ret_bare = steal_ptr(b);
	return 0;
}

int bare_start(const char *image, enum bare_source source,
	       struct bare **ret_bare)
{
	_cleanup_close_ int fd = open(image, O_RDONLY | O_CLOEXEC);
	struct handler h = {.image = fd, .source = source};
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(-errno, "%s: %s", image, strerror(errno));
	h.size = (uint64_t)st.st_size;
	return start(&h, ret_bare);
}

int bare_start_from(const uint8_t *image, uint64_t size, struct bare **ret_bare)
{
	struct handler h = {
		.image = -1,
		.source = BARE_MEMORY,
		.copy = image,
		.size = size,
	};

	return start(&h, ret_bare);
}

uint8_t *bare_data(const struct bare *b)
{
	return b->data;
}

void bare_stop(struct bare *b)
{
	if (!b)
		return;
	(void)kill(b->handler, SIGKILL);
	(void)waitpid(b->handler, NULL, 0);
	(void)munmap(b->data, b->size);
	free(b);
}
