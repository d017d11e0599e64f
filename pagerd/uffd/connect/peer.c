#include "pagerd/uffd/connect/peer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static bool belongs_to(pid_t pid, uid_t uid)
{
	char path[32];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return stat(path, &st) == 0 && st.st_uid == uid;
}

static bool has_hung_up(int socket)
{
	struct pollfd p = {.fd = socket, .events = POLLRDHUP};

	return poll(&p, 1, 0) != 0;
}

/* While the connection stands, its maker most likely does. */
static int open_by_number(int socket, const struct ucred *cred)
{
	_cleanup_close_ int pidfd = pidfd_open(cred->pid, 0);

	if (pidfd < 0 || !belongs_to(cred->pid, cred->uid) ||
	    has_hung_up(socket))
		return -1;
	return steal_fd(pidfd);
}

int peer_identify(int socket, struct peer *ret_peer)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int pidfd = -1;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return err_set(-errno, "cannot ask who the peer is: %m");
	len = sizeof(pidfd);
	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) < 0)
		pidfd = -1;
	if (pidfd < 0 && cred.pid > 0)
		pidfd = open_by_number(socket, &cred);
	*ret_peer = (struct peer){
		.pid = cred.pid,
		.uid = cred.uid,
		.pidfd = pidfd,
	};
	return 0;
}

bool peer_exited(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

int peer_kill(int pidfd)
{
	return pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}
