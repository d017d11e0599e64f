#include "pagerd/uffd/recover/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pagerd/sandbox/sandbox.h"
#include "pagerd/uffd/memory/uffd.h"

#define LISTEN_FD 3
#define LOOK_MS	  1000

/* An address that the probe does not mind; see uffd_probe(). */
#define ANY_ADDRESS (UINT64_C(1) << 20)

struct held {
	char name[VAULT_NAME_MAX + 1];
	int fd;
};

struct holder {
	int client; /* -1: no daemon runs */
	unsigned int count;
	struct held held[HOLDER_FDS_MAX];
};

int holder_send(int socket, enum holder_op op, const char *name, int fd)
{
	struct holder_message m = {.op = (char)op};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec data = {&m, sizeof(m)};
	struct msghdr h = {.msg_iov = &data, .msg_iovlen = 1};

	(void)snprintf(m.name, sizeof(m.name), "%s", name);
	if (fd >= 0) {
		h.msg_control = &control;
		h.msg_controllen = sizeof(control);
		CMSG_FIRSTHDR(&h)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&h)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&h)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), &fd, sizeof(fd));
	}
	return sendmsg(socket, &h, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int holder_receive(int socket, struct holder_message *ret_message, int *ret_fd)
{
	struct holder_message m;
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec data = {&m, sizeof(m)};
	struct msghdr h = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	int fd = -1;
	ssize_t n;

	do
		n = recvmsg(socket, &h, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : -ECONNRESET;
	c = CMSG_FIRSTHDR(&h);
	if (c && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	if (n != sizeof(m) || m.name[VAULT_NAME_MAX] != '\0') {
		close_quietly(fd);
		return -EPROTO;
	}
	*ret_message = m;
	*ret_fd = fd;
	return 0;
}

static void let_go(struct holder *h, unsigned int i)
{
	close_quietly(h->held[i].fd);
	h->held[i] = h->held[--h->count];
}

static void drop(struct holder *h, const char *name)
{
	for (unsigned int i = 0; i < h->count; i++)
		if (strcmp(h->held[i].name, name) == 0)
			let_go(h, i--);
}

static int keep(struct holder *h, const char *name, int fd)
{
	drop(h, name);
	if (fd < 0 || h->count == HOLDER_FDS_MAX)
		return -1;
	memcpy(h->held[h->count].name, name, VAULT_NAME_MAX + 1);
	h->held[h->count++].fd = fd;
	return 0;
}

static int list(const struct holder *h)
{
	for (unsigned int i = 0; i < h->count; i++)
		if (holder_send(h->client, HOLDER_FD, h->held[i].name,
				h->held[i].fd) < 0)
			return -1;
	return 0;
}

static int find(const struct holder *h, const char *name)
{
	for (unsigned int i = 0; i < h->count; i++)
		if (strcmp(h->held[i].name, name) == 0)
			return h->held[i].fd;
	return -1;
}

/* The connection is held before the daemon hears of it. */
static int accept_for(struct holder *h, const char *id)
{
	char name[VAULT_NAME_MAX + 1];
	enum holder_op answer = HOLDER_OK;
	int fd, r;

	vault_name(VAULT_LISTENER, id, name);
	fd = accept4(find(h, name), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return holder_send(h->client, HOLDER_FAILED, id, -1);
	vault_name(VAULT_CONNECTION, id, name);
	if (keep(h, name, fd) < 0)
		answer = HOLDER_FD;
	r = holder_send(h->client, answer, id, fd);
	if (answer == HOLDER_FD)
		close_quietly(fd);
	return r;
}

static int obey(struct holder *h)
{
	struct holder_message m;
	int fd = -1, r = holder_receive(h->client, &m, &fd);

	if (r < 0)
		return r;
	if (m.op == HOLDER_ACCEPT) {
		close_quietly(fd);
		return accept_for(h, m.name);
	}
	switch (m.op) {
	case HOLDER_KEEP:
		r = keep(h, m.name, fd);
		break;
	case HOLDER_DROP:
		drop(h, m.name);
		break;
	case HOLDER_LIST:
		r = list(h);
		break;
	default:
		r = -EPROTO;
	}
	if (r < 0 || m.op != HOLDER_KEEP)
		close_quietly(fd);
	return holder_send(h->client, r < 0 ? HOLDER_FAILED : HOLDER_OK, m.name,
			   -1);
}

static void let_go_of_the_dead(struct holder *h)
{
	for (unsigned int i = 0; i < h->count; i++)
		if (uffd_probe(h->held[i].fd, ANY_ADDRESS) == UFFD_GONE)
			let_go(h, i--);
}

static void welcome(struct holder *h, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
	    (peer.uid != geteuid() && peer.uid != 0)) {
		close_quietly(fd);
		return;
	}
	/* Daemons exclude each other: one before this has died. */
	close_quietly(h->client);
	h->client = fd;
}

static void hold(struct holder *h, int listener, const char *path)
{
	bool begun = false;

	while (!begun || h->client >= 0 || h->count > 0) {
		struct pollfd fds[] = {{listener, POLLIN, 0},
				       {h->client, POLLIN, 0}};
		int n = poll(fds, 2, h->client < 0 ? LOOK_MS : -1);

		if (n == 0 && access(path, F_OK) < 0)
			return;
		if (n == 0)
			let_go_of_the_dead(h);
		if (fds[1].revents && obey(h) < 0)
			close_quietly(steal_fd(h->client));
		if (fds[0].revents)
			welcome(h, listener);
		begun |= h->client >= 0 || n == 0;
	}
}

/* Nothing of the daemon's is kept but the socket: its locks, above all. */
static void child(int listener, const char *path, bool sandbox)
{
	static struct holder h = {.client = -1};
	sigset_t none;
	int null;

	(void)setsid();
	(void)prctl(PR_SET_NAME, "pagerd-holder");
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	/* What ends the daemon, a terminal's Ctrl-C say, is not for it. */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	if (listener != LISTEN_FD)
		(void)dup2(listener, LISTEN_FD);
	(void)close_range(LISTEN_FD + 1, ~0u, 0);
	null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		(void)dup2(null, fd);
	close_quietly(null);
	if (chdir("/") < 0)
		_exit(1);
	if (sandbox)
		(void)sandbox_holder(); /* the daemon warns for both */
	hold(&h, LISTEN_FD, path);
	_exit(0);
}

static int make_address(const char *runtime, struct sockaddr_un *ret)
{
	int n;

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s", runtime,
		     HOLDER_SOCKET);
	return n < (int)sizeof(ret->sun_path)
		       ? 0
		       : err_set(-ENAMETOOLONG,
				 "%s: too long a path for a "
				 "socket in it",
				 runtime);
}

static int make_listener(const struct sockaddr_un *address)
{
	_cleanup_close_ int fd =
		socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0 || (unlink(address->sun_path) < 0 && errno != ENOENT) ||
	    fchmod(fd, 0600) < 0 ||
	    bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    listen(fd, 4) < 0)
		return err_set(-errno, "%s: %m", address->sun_path);
	return steal_fd(fd);
}

/* Two forks: the holder is not the daemon's child, nor its zombie. */
static int begin(int listener, const char *path, bool sandbox)
{
	pid_t pid = fork();

	if (pid < 0)
		return err_set(-errno, "cannot fork: %m");
	if (pid == 0) {
		if (fork() == 0)
			child(listener, path, sandbox);
		_exit(0);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

int holder_connect(const char *runtime, bool sandbox)
{
	_cleanup_close_ int fd =
		socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	_cleanup_close_ int listener = -1;
	struct sockaddr_un address;
	int r = make_address(runtime, &address);

	if (r < 0)
		return r;
	if (fd < 0)
		return err_set(-errno, "cannot make a socket: %m");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return steal_fd(fd);
	listener = make_listener(&address);
	if (listener < 0)
		return listener;
	r = begin(listener, address.sun_path, sandbox);
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return err_set(-errno, "%s: %m", address.sun_path);
	return steal_fd(fd);
}
