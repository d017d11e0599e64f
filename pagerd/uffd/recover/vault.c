#include "pagerd/uffd/recover/vault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/io/inject.h"
#include "fs/io/text.h"
#include "pagerd/uffd/recover/holder.h"

struct kept {
	char *name;
	int fd;
};

struct vault {
	bool systemd;
	bool certain; /* protected by lock: no keep has failed */

	struct lock lock;
	int holder; /* protected by lock: one request at a time; -1: none */
	struct kept *kept; /* likewise: found at the start, not taken yet */
	size_t count;	   /* likewise */
};

void vault_name(char kind, const char *id, char ret_name[VAULT_NAME_MAX + 1])
{
	(void)snprintf(ret_name, VAULT_NAME_MAX + 1, "%c%s", kind, id);
}

static int remember(struct vault *v, const char *name, int fd)
{
	_cleanup_close_ int owned = fd;
	struct kept *grown = realloc(v->kept, (v->count + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	v->kept = grown;
	v->kept[v->count].name = strdup(name);
	if (!v->kept[v->count].name)
		return -ENOMEM;
	v->kept[v->count++].fd = steal_fd(owned);
	return 0;
}

static int open_systemd(struct vault *v)
{
	char **names = NULL;
	const char *room = getenv("FDSTORE");
	uint64_t places = 0;
	int n = sd_listen_fds_with_names(1, &names), r = 0;

	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = remember(v, names[i], SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	free(names);
	v->certain = room && text_parse_u64(room, &places) == 0 && places > 0;
	return r;
}

static int list_held(struct vault *v)
{
	struct holder_message m;
	int fd, r = holder_send(v->holder, HOLDER_LIST, "", -1);

	while (r == 0) {
		r = holder_receive(v->holder, &m, &fd);
		if (r < 0 || m.op != HOLDER_FD)
			break;
		r = remember(v, m.name, fd);
	}
	return r;
}

/* One that was just about to end may have let us in before it did. */
static int open_holder(struct vault *v, const char *runtime, bool sandbox)
{
	int r = -ECONNRESET;

	for (int i = 0; i < 3 && (r == -ECONNRESET || r == -EPIPE); i++) {
		close_quietly(steal_fd(v->holder));
		r = holder_connect(runtime, sandbox);
		if (r < 0)
			break;
		v->holder = r;
		r = list_held(v);
	}
	v->certain = r >= 0;
	if (r < 0)
		log_warn("no process holds descriptors for us: %s",
			 err_text(r));
	return r == -ENOMEM ? r : 0;
}

int vault_open(const char *runtime, bool sandbox, struct vault **ret_vault)
{
	struct vault *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	lock_init(&v->lock, "vault");
	v->holder = -1;
	v->systemd = getenv("NOTIFY_SOCKET");
	r = v->systemd ? open_systemd(v) : open_holder(v, runtime, sandbox);
	if (r < 0) {
		vault_close(v);
		return r;
	}
	*ret_vault = v;
	return 0;
}

void vault_close(struct vault *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->count; i++) {
		close_quietly(v->kept[i].fd);
		free(v->kept[i].name);
	}
	free(v->kept);
	close_quietly(v->holder);
	lock_release(&v->lock);
	free(v);
}

int vault_take(struct vault *v, const char *name)
{
	if (!v)
		return -1;
	LOCK_GUARD(&v->lock);
	for (size_t i = 0; i < v->count; i++)
		if (v->kept[i].fd >= 0 && strcmp(v->kept[i].name, name) == 0)
			return steal_fd(v->kept[i].fd);
	return -1;
}

static int ask_holder(struct vault *v, enum holder_op op, const char *name,
		      int fd)
{
	struct holder_message m;
	int r, none = -1;

	if (v->holder < 0)
		return -ENOTCONN;
	r = holder_send(v->holder, op, name, fd);
	if (r == 0)
		r = holder_receive(v->holder, &m, &none);
	close_quietly(none);
	if (r == 0 && m.op != HOLDER_OK)
		r = -ENOSPC;
	return r;
}

/* The connection, or -1 where the holder gave none. */
static int accept_by_holder(struct vault *v, const char *id, bool *ret_kept)
{
	struct holder_message m;
	int fd = -1;

	LOCK_GUARD(&v->lock);
	if (v->holder < 0 ||
	    holder_send(v->holder, HOLDER_ACCEPT, id, -1) < 0 ||
	    inject_pass(INJECT_HANDSHAKE, NULL) < 0 ||
	    holder_receive(v->holder, &m, &fd) < 0)
		return -1;
	if (fd >= 0)
		*ret_kept = m.op == HOLDER_OK;
	return fd;
}

/* Not polled: a userfaultfd that was made blocking looks like an error. */
static void store_in_systemd(const char *name, int fd)
{
	char text[sizeof("FDSTORE=1\nFDPOLL=0\nFDNAME=") + VAULT_NAME_MAX];

	(void)snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s",
		       name);
	(void)sd_pid_notify_with_fds(0, 0, text, &fd, 1);
}

void vault_keep(struct vault *v, const char *name, int fd)
{
	int r = 0;

	if (!v)
		return;
	LOCK_GUARD(&v->lock);
	if (v->systemd)
		store_in_systemd(name, fd);
	else
		r = ask_holder(v, HOLDER_KEEP, name, fd);
	if (r == 0 || !v->certain)
		return;
	v->certain = false;
	log_warn("a descriptor is not kept beside us: %s name=%s",
		 strerrordesc_np(-r), name);
}

int vault_accept(struct vault *v, const char *id, int listener, bool *ret_kept)
{
	char name[VAULT_NAME_MAX + 1];
	bool kept = false;
	int fd = -1;

	if (v && !v->systemd)
		fd = accept_by_holder(v, id, &kept);
	if (fd < 0)
		fd = accept4(listener, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (v && v->systemd) {
		vault_name(VAULT_CONNECTION, id, name);
		store_in_systemd(name, fd);
		kept = true;
	}
	*ret_kept = kept;
	return fd;
}

static void drop_locked(struct vault *v, const char *name)
{
	lock_assert_held(&v->lock);
	if (v->systemd)
		(void)sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
	else
		(void)ask_holder(v, HOLDER_DROP, name, -1);
}

void vault_drop(struct vault *v, const char *name)
{
	if (!v)
		return;
	LOCK_GUARD(&v->lock);
	drop_locked(v, name);
}

void vault_settle(struct vault *v)
{
	if (!v)
		return;
	LOCK_GUARD(&v->lock);
	for (size_t i = 0; i < v->count; i++)
		if (v->kept[i].fd >= 0) {
			close_quietly(steal_fd(v->kept[i].fd));
			drop_locked(v, v->kept[i].name);
		}
}

bool vault_is_certain(struct vault *v)
{
	if (!v)
		return false;
	LOCK_GUARD(&v->lock);
	return v->certain;
}
