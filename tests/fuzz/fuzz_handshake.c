/*
 * A VMM's handshake on its way through a socket, an fd with its first piece,
 * for an image of 64 MiB. First byte: how large the pieces are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "pagerd/uffd/connect/handshake.h"
#include "tests/fuzz/fuzz.h"

#define IMAGE_SIZE (64u << 20)

int fuzz_last_result;

static ssize_t send_piece(int to, const uint8_t *data, size_t size, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec from = {(void *)(uintptr_t)data, size};
	struct msghdr m = {.msg_iov = &from, .msg_iovlen = 1};

	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	return sendmsg(to, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int receive(struct handshake *h, const uint8_t *data, size_t size)
{
	size_t step = 1 + (size_t)data[0] * 64, at = 1;
	_cleanup_close_ int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int ours = -1;
	_cleanup_close_ int theirs = -1;
	int pair[2], r = -EAGAIN;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	ours = pair[0];
	theirs = pair[1];
	while (at < size && r == -EAGAIN) {
		size_t left = size - at;
		ssize_t n = send_piece(theirs, data + at,
				       left < step ? left : step,
				       at == 1 ? file : -1);

		if (n < 0)
			abort();
		at += (size_t)n;
		r = handshake_receive(h, ours);
	}
	return r;
}

static int understand(const struct handshake *h)
{
	_cleanup_free_ struct region *list = NULL;
	struct regions regions;
	size_t count;
	int r;

	r = handshake_parse(h->body, h->len, &list, &count);
	if (r == 0)
		r = regions_init(&regions, list, count, IMAGE_SIZE);
	if (r < 0)
		return r;
	for (size_t i = 0; i < regions.count; i++) {
		const struct region *one = &regions.all[i];

		if (regions_find(&regions, one->base) != one ||
		    regions_find(&regions, one->base + one->size - 1) != one)
			abort();
	}
	regions_release(&regions);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char excerpt[HANDSHAKE_EXCERPT_MAX];
	struct handshake h;

	fuzz_last_result = -EPROTO;
	if (size < 1)
		return 0;
	handshake_init(&h);
	fuzz_last_result = receive(&h, data, size);
	if (fuzz_last_result == 0)
		fuzz_last_result = understand(&h);
	(void)handshake_excerpt(&h, excerpt);
	handshake_release(&h);
	return 0;
}
