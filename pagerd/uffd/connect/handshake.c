#include "pagerd/uffd/connect/handshake.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pager/block.h"

#define MAX_DEPTH 16u

/* Reads a turn, so that a peer that never stops cannot hold its thread. */
#define READS_A_TURN 16

void handshake_init(struct handshake *h)
{
	*h = (struct handshake){.fd = -1};
}

void handshake_release(struct handshake *h)
{
	free(h->body);
	close_quietly(h->fd);
	handshake_init(h);
}

int handshake_leave_in(struct handshake *h, int socket)
{
	int from = 0;

	if (setsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from)) <
	    0)
		return -errno;
	h->leaves = true;
	return 0;
}

void handshake_take_out(const struct handshake *h, int socket)
{
	char bytes[4096];

	for (size_t left = h->leaves ? h->received : 0; left > 0;) {
		size_t most = left < sizeof(bytes) ? left : sizeof(bytes);
		/* Without room for them, fds are not received. */
		ssize_t n = recv(socket, bytes, most, MSG_DONTWAIT);

		if (n <= 0)
			return;
		left -= (size_t)n;
	}
}

bool handshake_is_piecemeal(const struct handshake *h)
{
	return h->leaves && h->pieces >= READS_A_TURN;
}

int handshake_take_fd(struct handshake *h)
{
	return steal_fd(h->fd);
}

const char *handshake_lacks(const struct handshake *h)
{
	if (h->len == 0 && h->fd < 0)
		return "it said nothing";
	if (!h->complete)
		return "the text is not complete";
	return "no fd came";
}

static bool is_filler(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\0';
}

static void scan_in_string(struct handshake *h, char c)
{
	if (h->escaped)
		h->escaped = false;
	else if (c == '\\')
		h->escaped = true;
	else if (c == '"')
		h->in_string = false;
}

static int scan_structure(struct handshake *h, char c)
{
	switch (c) {
	case '"':
		h->in_string = true;
		return 0;
	case '[':
	case '{':
		if (++h->depth > MAX_DEPTH)
			return err_set(-EPROTO, "the text is nested too deep");
		return 0;
	case ']':
	case '}':
		h->complete = --h->depth == 0;
		return 0;
	default:
		return 0;
	}
}

/*
 * Follows brackets and strings only, to see where the text ends; whether it
 * is JSON is for the parser. `carrier`: the last byte came with an fd, which
 * needs a byte to ride on. The kernel may have glued that one to the text
 * before it, so one byte behind the text is let pass with the fd.
 */
static int scan(struct handshake *h, bool carrier)
{
	int r;

	for (; h->scanned < h->len && !h->complete; h->scanned++) {
		char c = h->body[h->scanned];

		if (h->in_string) {
			scan_in_string(h, c);
			continue;
		}
		if (h->depth == 0 && !is_filler(c) && c != '[' && c != '{')
			return err_set(-EPROTO, "the text is no JSON array");
		r = scan_structure(h, c);
		if (r < 0)
			return r;
	}
	if (carrier && h->len - h->scanned == 1)
		h->len--;
	for (size_t i = h->scanned; i < h->len; i++)
		if (!is_filler(h->body[i]))
			return err_set(-EPROTO, "bytes behind the text");
	if (h->complete)
		h->len = h->scanned;
	return 0;
}

/*
 * Takes the fds of one message: the first that ever came is kept, all others
 * are closed at once. Returns how many there were.
 */
static unsigned int take_fds(struct handshake *h, struct msghdr *m)
{
	unsigned int count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++, count++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (h->fd < 0)
				h->fd = fd;
			else
				close_quietly(fd);
		}
	}
	return count;
}

static int receive_some(struct handshake *h, int socket)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(PAGER_HANDSHAKE_FDS_MAX * sizeof(int))];
	} control;
	/* One more than allowed, so that too much shows. */
	struct iovec to = {h->body + h->len,
			   PAGER_HANDSHAKE_BODY_MAX + 1 - h->len};
	struct msghdr m = {
		.msg_iov = &to,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	bool had_fd = h->fd >= 0;
	unsigned int fds;
	ssize_t n;

	n = recvmsg(socket, &m,
		    MSG_DONTWAIT | MSG_CMSG_CLOEXEC |
			    (h->leaves ? MSG_PEEK : 0));
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	fds = take_fds(h, &m);
	if (m.msg_flags & MSG_CTRUNC)
		return err_set(-EPROTO,
			       "a truncated control message: more "
			       "than %u fds, or no room for them",
			       PAGER_HANDSHAKE_FDS_MAX);
	if (fds + had_fd > 1)
		return err_set(-EPROTO, "%u fds where one is expected",
			       fds + had_fd);
	if (n == 0)
		return -ENODATA;
	h->pieces++;
	h->received += (size_t)n;
	h->len += (size_t)n;
	if (h->len > PAGER_HANDSHAKE_BODY_MAX)
		return err_set(-EPROTO, "the text is over %u bytes",
			       PAGER_HANDSHAKE_BODY_MAX);
	return scan(h, fds > 0);
}

int handshake_receive(struct handshake *h, int socket)
{
	int r, reads = 0;

	if (!h->body) {
		h->body = malloc(PAGER_HANDSHAKE_BODY_MAX + 1);
		if (!h->body)
			return err_set(-ENOMEM, "no memory for a handshake");
	}
	/*
	 * Until the socket is empty, also when all is there: a second fd that
	 * is queued already must be seen. Whoever has sent all sends no more
	 * to wake us by, so the last read of a turn may be the last of all.
	 */
	do
		r = receive_some(h, socket);
	while (r == 0 && ++reads < READS_A_TURN);
	if (h->complete && h->fd >= 0 &&
	    (r == 0 || r == -EAGAIN || r == -ENODATA || r == -ECONNRESET))
		return 0;
	if (r == 0)
		return -EAGAIN;
	if (r == -ENODATA || r == -ECONNRESET)
		return err_set(-EPROTO, "the peer closed after %zu bytes: %s",
			       h->len, handshake_lacks(h));
	if (r != -EAGAIN && r != -EPROTO && r != -ENOMEM)
		return err_set(-EPROTO, "cannot receive: %s",
			       strerrordesc_np(-r));
	return r;
}

static int read_number(json_t *region, const char *key, bool needed,
		       uint64_t *ret_value)
{
	json_t *value = json_object_get(region, key);

	if (!value && !needed)
		return 0;
	if (!value)
		return err_set(-EPROTO, "a region without '%s'", key);
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return err_set(-EPROTO, "'%s' is no number from 0 on", key);
	*ret_value = (uint64_t)json_integer_value(value);
	return 0;
}

static int read_region(json_t *object, struct region *ret)
{
	struct region r = {.page_size = PAGER_PAGE_SIZE};
	/* Later ones win: page_size over page_size_kib, which is bytes too. */
	const struct {
		const char *key;
		bool needed;
		uint64_t *value;
	} fields[] = {
		{"base_host_virt_addr", true, &r.base},
		{"size", true, &r.size},
		{"offset", true, &r.offset},
		{"page_size_kib", false, &r.page_size},
		{"page_size", false, &r.page_size},
	};

	if (!json_is_object(object))
		return err_set(-EPROTO, "a region that is no object");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		int e = read_number(object, fields[i].key, fields[i].needed,
				    fields[i].value);

		if (e < 0)
			return e;
	}
	*ret = r;
	return 0;
}

static int read_regions(json_t *list, struct region **ret_regions,
			size_t *ret_count)
{
	_cleanup_free_ struct region *regions = NULL;
	size_t count = json_array_size(list);

	if (!json_is_array(list))
		return err_set(-EPROTO, "no array of regions");
	if (count == 0 || count > PAGER_HANDSHAKE_REGIONS_MAX)
		return err_set(-EPROTO, "%zu regions, which must be 1 to %u",
			       count, PAGER_HANDSHAKE_REGIONS_MAX);
	regions = calloc(count, sizeof(*regions));
	if (!regions)
		return err_set(-ENOMEM, "no memory for %zu regions", count);
	for (size_t i = 0; i < count; i++) {
		int r = read_region(json_array_get(list, i), &regions[i]);

		if (r < 0)
			return r;
	}
	*ret_regions = steal_ptr(regions);
	*ret_count = count;
	return 0;
}

int handshake_parse(const char *text, size_t len, struct region **ret_regions,
		    size_t *ret_count)
{
	json_error_t error;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	int r;

	if (!root)
		return err_set(-EPROTO, "byte %d: %s", error.position,
			       error.text);
	if (json_is_object(root))
		r = read_regions(json_object_get(root, "mappings"), ret_regions,
				 ret_count);
	else
		r = read_regions(root, ret_regions, ret_count);
	json_decref(root);
	return r;
}

const char *handshake_excerpt(const struct handshake *h,
			      char buf[HANDSHAKE_EXCERPT_MAX])
{
	size_t n = h->len < HANDSHAKE_EXCERPT_MAX - 1
			   ? h->len
			   : HANDSHAKE_EXCERPT_MAX - 1;

	for (size_t i = 0; i < n; i++)
		buf[i] = h->body[i] >= ' ' && h->body[i] < 0x7f ? h->body[i]
								: '.';
	buf[n] = '\0';
	return buf;
}
