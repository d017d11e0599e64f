#include "tests/unit/uffd/uffd_client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTROL_FD  3
#define SHARED_FD   4
#define PAGE	    4096u
#define MAX_THREADS 512

struct area {
	uint8_t *base;
	uint64_t size;
};

static struct area areas[CLIENT_REGIONS];
static uint8_t *shared;
static int uffd = -1, connection = -1;

static _Thread_local sigjmp_buf on_bus;
static _Thread_local volatile sig_atomic_t expects_bus;

static void bus(int number)
{
	(void)number;
	if (expects_bus)
		siglongjmp(on_bus, 1);
	_exit(9);
}

static int64_t result(int r)
{
	return r < 0 ? -errno : r;
}

static int64_t make_uffd(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd < 0)
		return -errno;
	return result(ioctl(uffd, UFFDIO_API, &api));
}

static int64_t map_area(struct area *a, uint64_t size, uint64_t page_size)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *map;

	if (page_size > PAGE)
		flags |= MAP_HUGETLB;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	if (page_size == PAGE)
		(void)madvise(map, size, MADV_NOHUGEPAGE);
	*a = (struct area){map, size};
	return (int64_t)(uintptr_t)map;
}

static int64_t register_area(const struct area *a)
{
	struct uffdio_register r = {
		.range = {.start = (uintptr_t)a->base, .len = a->size},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return result(ioctl(uffd, UFFDIO_REGISTER, &r));
}

static int64_t connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return result(connect(connection, (struct sockaddr *)&address,
			      sizeof(address)));
}

static unsigned int choose_fds(enum client_fds which, int *fds)
{
	int fresh = -1;

	for (unsigned int i = 0; i < 32; i++)
		fds[i] = uffd;
	switch (which) {
	case CLIENT_NO_FD:
		return 0;
	case CLIENT_THE_UFFD:
		return 1;
	case CLIENT_TWO_FDS:
		return 2;
	case CLIENT_THREE_FDS:
		return 3;
	case CLIENT_MANY_FDS:
		return 32;
	case CLIENT_A_FILE:
		fds[0] = SHARED_FD;
		return 1;
	case CLIENT_FRESH_UFFD:
		fresh = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
		fds[0] = fresh;
		return 1;
	}
	return 0;
}

static int64_t send_piece(const uint8_t *text, size_t len,
			  enum client_fds which)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(32 * sizeof(int))];
	} control = {0};
	struct iovec from = {(void *)(uintptr_t)text, len};
	struct msghdr m = {.msg_iov = &from, .msg_iovlen = 1};
	int fds[32];
	unsigned int count = choose_fds(which, fds);

	if (count) {
		struct cmsghdr *c = &control.align;

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(count * sizeof(int));
	}
	return result((int)sendmsg(connection, &m, MSG_NOSIGNAL));
}

static int64_t send_text(uint64_t len, uint64_t step, enum client_fds which)
{
	if (step == 0)
		step = len;
	for (uint64_t at = 0; at < len;) {
		uint64_t n = len - at < step ? len - at : step;
		int64_t sent = send_piece(shared + at, n,
					  at == 0 ? which : CLIENT_NO_FD);

		if (sent < 0)
			return sent;
		at += (uint64_t)sent;
	}
	return 0;
}

static int64_t touch(const struct area *a, uint64_t offset)
{
	int64_t value;

	expects_bus = 1;
	if (sigsetjmp(on_bus, 1))
		value = -EFAULT;
	else
		value = *(volatile uint8_t *)(a->base + offset);
	expects_bus = 0;
	return value;
}

struct toucher {
	pthread_t thread;
	const struct area *area;
	uint64_t offset;
	uint64_t discards; /* so many bytes; 0: it touches one */
	int64_t value;
};

static int64_t discard(const struct area *a, uint64_t offset, uint64_t len)
{
	return result(madvise(a->base + offset, len, MADV_DONTNEED));
}

static void *run_toucher(void *arg)
{
	struct toucher *t = arg;

	t->value = t->discards ? discard(t->area, t->offset, t->discards)
			       : touch(t->area, t->offset);
	return NULL;
}

/* All at once; the sum of the bytes, or the first error. */
static int64_t touch_by_many(const struct area *a, uint64_t offset,
			     uint64_t step, uint64_t threads)
{
	static struct toucher touchers[MAX_THREADS];
	int64_t sum = 0;

	for (uint64_t i = 0; i < threads; i++) {
		touchers[i] = (struct toucher){
			.area = a,
			.offset = offset + i * step,
		};
		if (pthread_create(&touchers[i].thread, NULL, run_toucher,
				   &touchers[i]) != 0)
			return -ENOMEM;
	}
	for (uint64_t i = 0; i < threads; i++) {
		(void)pthread_join(touchers[i].thread, NULL);
		if (touchers[i].value < 0 && sum >= 0)
			sum = touchers[i].value;
		if (sum >= 0)
			sum += touchers[i].value;
	}
	return sum;
}

static struct toucher started[MAX_THREADS];
static unsigned int start_count, join_count;

static int64_t start_thread(const struct area *a, uint64_t offset,
			    uint64_t discards)
{
	struct toucher *t = &started[start_count++ % MAX_THREADS];

	*t = (struct toucher){
		.area = a,
		.offset = offset,
		.discards = discards,
	};
	return -pthread_create(&t->thread, NULL, run_toucher, t);
}

static int64_t join_touch(void)
{
	struct toucher *t = &started[join_count++ % MAX_THREADS];

	(void)pthread_join(t->thread, NULL);
	return t->value;
}

static int64_t wake(const struct area *a, uint64_t offset, uint64_t len)
{
	struct uffdio_range range = {
		.start = (uintptr_t)a->base + offset,
		.len = len,
	};

	return result(ioctl(uffd, UFFDIO_WAKE, &range));
}

static int64_t stripe(const struct area *a, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i += 2) {
		int64_t r = discard(a, i * PAGE, PAGE);

		if (r < 0)
			return r;
	}
	return 0;
}

struct churner {
	pthread_t thread;
	const struct area *area;
	uint64_t pages, rounds, seed;
	bool discards;
};

static void *churn(void *arg)
{
	struct churner *c = arg;

	for (uint64_t i = 0; i < c->rounds; i++) {
		uint64_t page;

		c->seed = c->seed * 6364136223846793005u + 1442695040888963407u;
		page = (c->seed >> 33) % c->pages;
		if (c->discards)
			(void)discard(c->area, page * PAGE, PAGE);
		else
			(void)touch(c->area, page * PAGE);
	}
	return NULL;
}

static int64_t churn_by_many(const struct area *a, uint64_t pages,
			     uint64_t rounds)
{
	struct churner churners[6];

	for (unsigned int i = 0; i < 6; i++) {
		churners[i] = (struct churner){
			.area = a,
			.pages = pages,
			.rounds = rounds,
			.seed = i + 1,
			.discards = i < 2,
		};
		if (pthread_create(&churners[i].thread, NULL, churn,
				   &churners[i]) != 0)
			return -ENOMEM;
	}
	for (unsigned int i = 0; i < 6; i++)
		(void)pthread_join(churners[i].thread, NULL);
	return 0;
}

static int64_t move_area(struct area *a)
{
	void *to = mmap(NULL, a->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	to = mremap(a->base, a->size, a->size, MREMAP_MAYMOVE | MREMAP_FIXED,
		    to);
	if (to == MAP_FAILED)
		return -errno;
	a->base = to;
	return 0;
}

static int64_t populate(const struct area *a, uint64_t offset)
{
	static uint8_t page[PAGE] __attribute__((aligned(4096)));
	struct uffdio_copy c = {
		.dst = (uintptr_t)a->base + offset,
		.src = (uintptr_t)page,
		.len = PAGE,
		.mode = UFFDIO_COPY_MODE_DONTWAKE,
	};

	memset(page, 0xaa, sizeof(page));
	return result(ioctl(uffd, UFFDIO_COPY, &c));
}

static void serve(void);

static int go_on(void *arg)
{
	(void)arg;
	serve();
	_exit(0);
}

static int64_t moult(void)
{
	static uint8_t stack[1 << 20] __attribute__((aligned(16)));

	if (clone(go_on, stack + sizeof(stack), CLONE_VM | CLONE_FILES, NULL) <
	    0)
		return -errno;
	_exit(0);
}

static int64_t obey_memory(const struct client_command *c, struct area *a)
{
	switch (c->op) {
	case CLIENT_MAP:
		return map_area(a, c->a, c->b);
	case CLIENT_REGISTER:
		return register_area(a);
	case CLIENT_READ:
		memcpy(shared, a->base + c->a, c->b);
		return 0;
	case CLIENT_TOUCH:
		return touch(a, c->a);
	case CLIENT_TOUCHES:
		return touch_by_many(a, c->a, c->b, c->c);
	case CLIENT_START:
		return start_thread(a, c->a, 0);
	case CLIENT_START_DISCARD:
		return start_thread(a, c->a, c->b);
	case CLIENT_WAKE:
		return wake(a, c->a, c->b);
	case CLIENT_JOIN:
		return join_touch();
	case CLIENT_WRITE:
		a->base[c->a] = (uint8_t)c->b;
		return 0;
	case CLIENT_DISCARD:
		return discard(a, c->a, c->b);
	case CLIENT_STRIPE:
		return stripe(a, c->a);
	case CLIENT_CHURN:
		return churn_by_many(a, c->a, c->b);
	case CLIENT_UNMAP:
		return result(munmap(a->base + c->a, c->b));
	case CLIENT_MOVE:
		return move_area(a);
	case CLIENT_POPULATE:
		return populate(a, c->a);
	default:
		return -ENOSYS;
	}
}

static int64_t obey(const struct client_command *c)
{
	switch (c->op) {
	case CLIENT_UFFD:
		return make_uffd(c->a);
	case CLIENT_CONNECT:
		return connect_to((const char *)shared + CLIENT_PATH);
	case CLIENT_SEND:
		return send_text(c->a, c->b, (enum client_fds)c->c);
	case CLIENT_HANG_UP:
		return result(close(connection));
	case CLIENT_BLOCKING:
		return result(fcntl(uffd, F_SETFL, 0));
	case CLIENT_CLOSE_UFFD:
		return result(close(uffd));
	case CLIENT_BECOME:
		return result(setuid((uid_t)c->a));
	case CLIENT_MOULT:
		return moult();
	case CLIENT_EXIT:
		_exit(0);
	default:
		return obey_memory(c, &areas[c->region]);
	}
}

static void serve(void)
{
	struct client_command c;

	while (recv(CONTROL_FD, &c, sizeof(c), 0) == (ssize_t)sizeof(c)) {
		struct client_reply reply = {.result = obey(&c)};

		if (send(CONTROL_FD, &reply, sizeof(reply), MSG_NOSIGNAL) < 0)
			return;
	}
}

int main(void)
{
	struct sigaction on = {.sa_handler = bus};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigaction(SIGBUS, &on, NULL);
	shared = mmap(NULL, CLIENT_SHARED, PROT_READ | PROT_WRITE, MAP_SHARED,
		      SHARED_FD, 0);
	if (shared == MAP_FAILED)
		return 1;
	serve();
	return 0;
}
