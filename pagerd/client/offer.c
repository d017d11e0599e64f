#include "pagerd/client/offer.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"

#define SEND_TIMEOUT_SECONDS 10

DEFINE_CLEANUP(json, json_t *, json_decref)

/* Both keys for the page size, for pagers of any age. */
static json_t *describe(const struct pager_region *region, uint64_t page_size)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "base_host_virt_addr",
			 (json_int_t)(uintptr_t)region->addr, "size",
			 (json_int_t)region->size, "offset",
			 (json_int_t)region->offset, "page_size",
			 (json_int_t)page_size, "page_size_kib",
			 (json_int_t)page_size);
}

/* The caller frees; NULL: out of memory. */
static char *offer_text(const struct pager_region *regions, unsigned int count,
			uint64_t page_size)
{
	json_t *list cleanup(cleanup_json) = json_array();

	for (unsigned int i = 0; i < count; i++)
		if (json_array_append_new(list,
					  describe(&regions[i], page_size)) < 0)
			return NULL;
	return json_dumps(list, JSON_COMPACT);
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = SEND_TIMEOUT_SECONDS};
	_cleanup_close_ int fd = -1;
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(-ENAMETOOLONG,
			       "%s: the path is too long for a socket", path);
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout,
				 sizeof(timeout)) < 0)
		return -errno;
	do
		r = connect(fd, (struct sockaddr *)&address, sizeof(address));
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_set(errno == EAGAIN ? -ETIMEDOUT : -errno,
			       "%s: cannot connect: %s", path,
			       strerrordesc_np(errno));
	return steal_fd(fd);
}

/* The descriptor travels with the first byte. */
static ssize_t send_some(int fd, int uffd, struct iovec *rest, bool first)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct msghdr message = {.msg_iov = rest, .msg_iovlen = 1};
	struct cmsghdr *head;

	if (first) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(head), &uffd, sizeof(int));
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

static int send_all(int fd, int uffd, char *text)
{
	struct iovec rest = {text, strlen(text)};
	bool first = true;

	while (rest.iov_len > 0) {
		ssize_t n = send_some(fd, uffd, &rest, first);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		first = false;
		rest.iov_base = (char *)rest.iov_base + n;
		rest.iov_len -= (size_t)n;
	}
	return 0;
}

int offer_send(const char *socket_path, int uffd,
	       const struct pager_region *regions, unsigned int count,
	       uint64_t page_size)
{
	_cleanup_free_ char *text = offer_text(regions, count, page_size);
	_cleanup_close_ int fd = -1;
	int r;

	if (!text)
		return -ENOMEM;
	fd = connect_to(socket_path);
	if (fd < 0)
		return fd;
	r = send_all(fd, uffd, text);
	if (r < 0)
		return err_set(r, "%s: the handshake was not taken: %s",
			       socket_path, strerrordesc_np(-r));
	return steal_fd(fd);
}
