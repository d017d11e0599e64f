#include "tests/unit/client/stub_daemon.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_MAX	(1u << 16)
#define HANDSHAKE_MAX	(1u << 18)
#define CONNECTIONS_MAX 8
#define PAGE_MAX	(2u << 20)
#define REMOVED_MAX	64

struct region {
	uint64_t start, size, offset, page_size;
};

struct connection {
	int socket, uffd; /* -1: free; not yet */
	unsigned int count;
	struct region regions[STUB_REGIONS_MAX];
	uint64_t removed[REMOVED_MAX][2]; /* start and end, in the client */
	unsigned int removed_count;
};

struct stub_daemon {
	char folder[SCRATCH_PATH_MAX];
	int control, sessions;
	int stop, forget, forgotten; /* eventfds */
	pthread_t http_thread, page_thread;

	_Atomic(const char *) answer;
	_Atomic bool refuse, got_uffd;
	_Atomic unsigned int requests, served, installed, removes;
	unsigned int created, served_before; /* of the HTTP thread */
	char request[REQUEST_MAX];	     /* of the HTTP thread */
	char handshake[HANDSHAKE_MAX];	     /* of the page thread */

	/* The last whole ones; protected by lock, and copied for the test. */
	pthread_mutex_t lock;
	char last_request[REQUEST_MAX], last_handshake[HANDSHAKE_MAX];
	char shown_request[REQUEST_MAX], shown_handshake[HANDSHAKE_MAX];

	/* Of the page thread. */
	struct connection connections[CONNECTIONS_MAX];
	uint8_t *page;
};

static int listen_at(const char *folder, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s",
		       folder, name);
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 16) < 0)
		abort();
	return fd;
}

static void copy(struct stub_daemon *d, char *to, const char *from)
{
	(void)pthread_mutex_lock(&d->lock);
	memcpy(to, from, strlen(from) + 1);
	(void)pthread_mutex_unlock(&d->lock);
}

/* True when the whole of a request is there. */
static bool is_whole(const char *request)
{
	const char *end = strstr(request, "\r\n\r\n");
	const char *length = strstr(request, "Content-Length: ");

	if (!end)
		return false;
	if (!length || length > end)
		return true;
	return strlen(end + 4) >= strtoul(length + 16, NULL, 10);
}

static bool read_request(struct stub_daemon *d, int fd)
{
	struct pollfd fds[2] = {{d->stop, POLLIN, 0}, {fd, POLLIN, 0}};
	size_t length = 0;

	do {
		ssize_t n;

		/* A client that failed a test keeps its connection. */
		if (poll(fds, 2, -1) < 0 || fds[0].revents)
			return false;
		n = read(fd, d->request + length,
			 sizeof(d->request) - length - 1);
		if (n <= 0)
			return false;
		length += (size_t)n;
		d->request[length] = '\0';
	} while (!is_whole(d->request));
	copy(d, d->last_request, d->request);
	return true;
}

static void send_json(int fd, const char *status, const char *body)
{
	char text[1024];
	int n = snprintf(text, sizeof(text),
			 "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", status,
			 strlen(body), body);

	(void)send(fd, text, (size_t)n, MSG_NOSIGNAL);
}

/*
 * What a daemon would say. Clients map a session before they make the next,
 * so the newest one is served when a handshake came after it was made.
 */
static void answer_well(struct stub_daemon *d, int fd)
{
	char body[512];

	if (strncmp(d->request, "POST /v1/sessions ", 18) == 0) {
		d->served_before = d->served;
		(void)snprintf(body, sizeof(body),
			       "{\"id\": \"s%u\", \"socket_path\": "
			       "\"%s/s.sock\"}",
			       ++d->created, d->folder);
		send_json(fd, "201 Created", body);
	} else if (strncmp(d->request, "GET /v1/sessions/s", 18) == 0) {
		(void)snprintf(body, sizeof(body), "{\"state\": \"%s\"}",
			       d->served > d->served_before ? "serving"
							    : "listening");
		send_json(fd, "200 OK", body);
	} else if (strncmp(d->request, "DELETE ", 7) == 0) {
		send_json(fd, "204 No Content", "");
	} else {
		send_json(fd, "404 Not Found",
			  "{\"error\": {\"code\": \"not_found\", \"message\": "
			  "\"no such thing\"}}");
	}
}

static void serve_http(struct stub_daemon *d, int fd)
{
	while (read_request(d, fd)) {
		const char *answer = d->answer;

		d->requests++;
		if (answer) {
			(void)send(fd, answer, strlen(answer), MSG_NOSIGNAL);
			return;
		}
		answer_well(d, fd);
	}
}

static void *http_main(void *arg)
{
	struct stub_daemon *d = arg;
	struct pollfd fds[2] = {{d->stop, POLLIN, 0}, {d->control, POLLIN, 0}};

	while (poll(fds, 2, -1) >= 0 && !fds[0].revents) {
		int fd = accept4(d->control, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		serve_http(d, fd);
		(void)close(fd);
	}
	return NULL;
}

static uint64_t number(const json_t *region, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(region, key));
}

/* False where the text is not whole yet. */
static bool parse_handshake(struct stub_daemon *d, struct connection *c)
{
	json_t *list = json_loads(d->handshake, 0, NULL), *region;
	size_t i;

	if (!list)
		return false;
	json_array_foreach(list, i, region)
		c->regions[c->count++] = (struct region){
		number(region, "base_host_virt_addr"), number(region, "size"),
		number(region, "offset"), number(region, "page_size")};
	json_decref(list);
	return true;
}

static int take_fd(struct msghdr *message)
{
	struct cmsghdr *head = CMSG_FIRSTHDR(message);
	int fd = -1;

	if (head && head->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	return fd;
}

static bool is_uffd(int fd)
{
	char path[64], target[64] = "";

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, target, sizeof(target) - 1) < 0)
		return false;
	return strcmp(target, "anon_inode:[userfaultfd]") == 0 &&
	       fcntl(fd, F_GETFL) & O_NONBLOCK;
}

static bool read_handshake(struct stub_daemon *d, struct connection *c)
{
	size_t length = 0;

	do {
		union {
			char bytes[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} control;
		struct iovec rest = {d->handshake + length,
				     sizeof(d->handshake) - length - 1};
		struct msghdr message = {.msg_iov = &rest,
					 .msg_iovlen = 1,
					 .msg_control = control.bytes,
					 .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(c->socket, &message, MSG_CMSG_CLOEXEC);

		if (n <= 0)
			return false;
		if (length == 0)
			c->uffd = take_fd(&message);
		length += (size_t)n;
		d->handshake[length] = '\0';
	} while (!parse_handshake(d, c));
	copy(d, d->last_handshake, d->handshake);
	d->got_uffd = is_uffd(c->uffd);
	return true;
}

static void drop(struct connection *c)
{
	if (c->socket >= 0)
		(void)close(c->socket);
	if (c->uffd >= 0)
		(void)close(c->uffd);
	*c = (struct connection){.socket = -1, .uffd = -1};
}

static void take_connection(struct stub_daemon *d)
{
	struct connection *c = d->connections;

	while (c->socket >= 0)
		c++;
	assert(c < d->connections + CONNECTIONS_MAX);
	c->socket = accept4(d->sessions, NULL, NULL, SOCK_CLOEXEC);
	if (!read_handshake(d, c) || d->refuse)
		drop(c);
	else
		d->served++;
}

static bool is_removed(const struct connection *c, uint64_t address)
{
	for (unsigned int i = 0; i < c->removed_count; i++)
		if (address >= c->removed[i][0] && address < c->removed[i][1])
			return true;
	return false;
}

static void install(struct stub_daemon *d, struct connection *c,
		    const struct region *r, uint64_t address)
{
	uint64_t offset;
	struct uffdio_copy copy;

	address &= ~(r->page_size - 1);
	offset = r->offset + (address - r->start);
	for (uint64_t i = 0; i < r->page_size; i++)
		d->page[i] = stub_byte(offset + i);
	if (is_removed(c, address))
		memset(d->page, 0, r->page_size);
	copy = (struct uffdio_copy){
		.dst = address, .src = (uintptr_t)d->page, .len = r->page_size};
	/* Before: whom the copy wakes may look at once. */
	d->installed++;
	if (ioctl(c->uffd, UFFDIO_COPY, &copy) < 0)
		d->installed--;
}

static void serve_event(struct stub_daemon *d, struct connection *c)
{
	struct uffd_msg message;

	if (read(c->uffd, &message, sizeof(message)) !=
	    (ssize_t)sizeof(message))
		return;
	if (message.event == UFFD_EVENT_REMOVE) {
		assert(c->removed_count < REMOVED_MAX);
		c->removed[c->removed_count][0] = message.arg.remove.start;
		c->removed[c->removed_count++][1] = message.arg.remove.end;
		d->removes++;
		return;
	}
	for (unsigned int i = 0; i < c->count; i++) {
		const struct region *r = &c->regions[i];
		uint64_t address = message.arg.pagefault.address;

		if (address >= r->start && address - r->start < r->size)
			install(d, c, r, address);
	}
}

static void serve_connection(struct stub_daemon *d, struct connection *c)
{
	struct pollfd fds[2] = {{c->uffd, POLLIN, 0}, {c->socket, POLLIN, 0}};

	if (poll(fds, 2, 0) <= 0)
		return;
	if (fds[0].revents & POLLIN)
		serve_event(d, c);
	if (fds[1].revents & POLLHUP)
		drop(c);
}

static void forget_all(struct stub_daemon *d)
{
	eventfd_t count;

	(void)eventfd_read(d->forget, &count);
	for (int i = 0; i < CONNECTIONS_MAX; i++)
		drop(&d->connections[i]);
	(void)eventfd_write(d->forgotten, 1);
}

static void *page_main(void *arg)
{
	struct stub_daemon *d = arg;

	for (;;) {
		struct pollfd fds[3 + 2 * CONNECTIONS_MAX] = {
			{d->stop, POLLIN, 0},
			{d->forget, POLLIN, 0},
			{d->sessions, POLLIN, 0}};

		for (int i = 0; i < CONNECTIONS_MAX; i++) {
			struct connection *c = &d->connections[i];

			fds[3 + 2 * i] = (struct pollfd){c->uffd, POLLIN, 0};
			fds[4 + 2 * i] = (struct pollfd){c->socket, POLLIN, 0};
		}
		if (poll(fds, 3 + 2 * CONNECTIONS_MAX, -1) < 0 ||
		    fds[0].revents)
			return NULL;
		if (fds[1].revents)
			forget_all(d);
		if (fds[2].revents)
			take_connection(d);
		for (int i = 0; i < CONNECTIONS_MAX; i++)
			if (d->connections[i].socket >= 0)
				serve_connection(d, &d->connections[i]);
	}
}

struct stub_daemon *stub_start(const char *runtime)
{
	struct stub_daemon *d = calloc(1, sizeof(*d));

	if (!d)
		abort();
	(void)snprintf(d->folder, sizeof(d->folder), "%s", runtime);
	(void)pthread_mutex_init(&d->lock, NULL);
	d->page = aligned_alloc(4096, PAGE_MAX);
	d->stop = eventfd(0, EFD_CLOEXEC);
	d->forget = eventfd(0, EFD_CLOEXEC);
	d->forgotten = eventfd(0, EFD_CLOEXEC);
	d->control = listen_at(runtime, "control.sock");
	d->sessions = listen_at(runtime, "s.sock");
	for (int i = 0; i < CONNECTIONS_MAX; i++)
		d->connections[i].socket = d->connections[i].uffd = -1;
	if (!d->page || pthread_create(&d->http_thread, NULL, http_main, d) ||
	    pthread_create(&d->page_thread, NULL, page_main, d))
		abort();
	return d;
}

void stub_stop(struct stub_daemon *d)
{
	(void)eventfd_write(d->stop, 1);
	(void)pthread_join(d->http_thread, NULL);
	(void)pthread_join(d->page_thread, NULL);
	for (int i = 0; i < CONNECTIONS_MAX; i++)
		drop(&d->connections[i]);
	(void)close(d->stop);
	(void)close(d->forget);
	(void)close(d->forgotten);
	(void)close(d->control);
	(void)close(d->sessions);
	free(d->page);
	free(d);
}

void stub_answer(struct stub_daemon *d, const char *bytes)
{
	d->answer = bytes;
}

const char *stub_request(struct stub_daemon *d)
{
	copy(d, d->shown_request, d->last_request);
	return d->shown_request;
}

unsigned int stub_requests(struct stub_daemon *d)
{
	return d->requests;
}

void stub_refuse(struct stub_daemon *d, bool refuse)
{
	d->refuse = refuse;
}

const char *stub_handshake(struct stub_daemon *d)
{
	copy(d, d->shown_handshake, d->last_handshake);
	return d->shown_handshake;
}

bool stub_got_uffd(struct stub_daemon *d)
{
	return d->got_uffd;
}

void stub_forget(struct stub_daemon *d)
{
	eventfd_t count;

	(void)eventfd_write(d->forget, 1);
	(void)eventfd_read(d->forgotten, &count);
}

unsigned int stub_installed(struct stub_daemon *d)
{
	return d->installed;
}

unsigned int stub_removes(struct stub_daemon *d)
{
	return d->removes;
}
