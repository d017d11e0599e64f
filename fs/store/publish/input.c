#include "fs/store/publish/input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/io/file.h"
#include "fs/io/page.h"
#include "fs/store/publish/cancel.h"
#include "pager/manifest.h"

struct input {
	const struct publish_file *file;
	const volatile int *cancelled;
	int fd;
	bool owned; /* fd is ours to close */
	bool pipe;
	struct lock lock;
	uint64_t size;	 /* of a pipe protected by lock, else constant */
	uint64_t unit;	 /* to look at next; protected by lock */
	uint64_t ticket; /* to give out next; protected by lock */
	bool ended;	 /* of a pipe; protected by lock */
};

/* How long a reader of a pipe may miss that it was cancelled. */
#define CANCEL_POLL_MS 200

static int fail(const struct input *in, int code, const char *why)
{
	return err_set(code, "%s file '%s' %s", in->file->key, in->file->path,
		       why);
}

static int fail_errno(const struct input *in, int code)
{
	return err_set(code, "cannot read %s file '%s': %s", in->file->key,
		       in->file->path, strerrordesc_np(-code));
}

/*
 * Only a named pipe is opened in the blocking way, since it reads as empty
 * before its writer has come; a device may hang for ever.
 */
static int open_path(struct input *in)
{
	struct stat st;
	bool fifo = stat(in->file->path, &st) == 0 && S_ISFIFO(st.st_mode);

	in->fd = open(in->file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY |
					      (fifo ? 0 : O_NONBLOCK));
	in->owned = in->fd >= 0;
	return in->owned ? 0 : fail_errno(in, -errno);
}

static int inspect(struct input *in)
{
	struct stat st;

	if (fstat(in->fd, &st) < 0)
		return fail_errno(in, -errno);
	if (S_ISDIR(st.st_mode))
		return fail(in, -EINVAL, "is a directory");
	/* Standard input starts where its giver stands, as a pipe does. */
	in->pipe =
		S_ISFIFO(st.st_mode) ||
		(!in->owned && (S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode)));
	if (in->pipe)
		return 0;
	if (!S_ISREG(st.st_mode))
		return fail(in, -EINVAL, "is no regular file and no pipe");
	in->size = (uint64_t)st.st_size;
	if (in->size > PAGER_IMAGE_SIZE_MAX)
		return fail(in, -EFBIG, "is too large");
	return 0;
}

int input_open(const struct publish_file *file, const volatile int *cancelled,
	       struct input **ret_input)
{
	struct input *in cleanup(cleanup_input) = calloc(1, sizeof(*in));
	int r;

	if (!in)
		return -ENOMEM;
	lock_init(&in->lock, "publish input");
	in->file = file;
	in->cancelled = cancelled;
	if (strcmp(file->path, "-") == 0)
		in->fd = STDIN_FILENO;
	else if ((r = open_path(in)) < 0)
		return r;
	r = inspect(in);
	if (r < 0)
		return r;
	*ret_input = steal_ptr(in);
	return 0;
}

void input_free(struct input *in)
{
	if (!in)
		return;
	if (in->owned)
		close_quietly(in->fd);
	lock_release(&in->lock);
	free(in);
}

uint64_t input_size(struct input *in)
{
	LOCK_GUARD(&in->lock);
	return in->size;
}

bool input_is_pipe(const struct input *in)
{
	return in->pipe;
}

int input_origin(const struct input *in, struct manifest_origin *ret_origin)
{
	return in->pipe ? -EINVAL : origin_of(in->fd, ret_origin);
}

static void pad(struct input_unit *unit, size_t bytes)
{
	unit->pages = (unsigned int)page_count(bytes);
	memset(unit->data + bytes, 0,
	       unit->pages * (size_t)PAGER_PAGE_SIZE - bytes);
}

/*
 * A file that was cut off ends in what looks like a hole: never take that for
 * zeros.
 */
static int check_not_shorter(const struct input *in)
{
	struct stat st;

	if (fstat(in->fd, &st) < 0)
		return fail_errno(in, -errno);
	if ((uint64_t)st.st_size < in->size)
		return fail(in, -ENODATA, "became shorter while it was read");
	return 0;
}

/* The offset of the next unit with data: 1; 0 where only holes are left. */
static int claim(struct input *in, struct input_unit *unit,
		 uint64_t *ret_offset)
{
	LOCK_GUARD(&in->lock);
	uint64_t offset = in->unit * INPUT_UNIT_SIZE;
	off_t data;

	if (offset >= in->size)
		return 0;
	data = lseek(in->fd, (off_t)offset, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		data = (off_t)in->size;
	/* Where holes are not known all is data. */
	if (data >= 0)
		in->unit = (uint64_t)data / INPUT_UNIT_SIZE;
	if ((uint64_t)data >= in->size && data >= 0) {
		in->unit = in->size / INPUT_UNIT_SIZE + 1;
		return 0;
	}
	*ret_offset = in->unit * INPUT_UNIT_SIZE;
	unit->number = in->unit++;
	unit->ticket = in->ticket++;
	return 1;
}

static int next_of_file(struct input *in, struct input_unit *unit)
{
	uint64_t offset;
	size_t bytes = INPUT_UNIT_SIZE;
	int r = claim(in, unit, &offset);

	if (r == 0)
		return check_not_shorter(in);
	if (in->size - offset < bytes)
		bytes = (size_t)(in->size - offset);
	r = file_pread(in->fd, unit->data, bytes, offset, INJECT_IMAGE_READ);
	if (r == -ENODATA)
		return fail(in, r, "became shorter while it was read");
	if (r < 0)
		return fail_errno(in, r);
	pad(unit, bytes);
	return 1;
}

static int wait_readable(const struct input *in)
{
	struct pollfd p = {.fd = in->fd, .events = POLLIN};

	for (;;) {
		if (cancel_is_set(in->cancelled))
			return -ECANCELED;
		if (poll(&p, 1, in->cancelled ? CANCEL_POLL_MS : -1) > 0)
			return 0;
	}
}

/* Reads once: bytes, 0 at the end, or what happened. */
static ssize_t read_some(const struct input *in, uint8_t *to, size_t most)
{
	ssize_t n = inject_pass(INJECT_IMAGE_READ, &most);
	int r;

	if (n < 0)
		return n;
	do {
		r = wait_readable(in);
		if (r < 0)
			return r;
		n = read(in->fd, to, most);
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	return n < 0 ? -errno : n;
}

static int next_of_pipe(struct input *in, struct input_unit *unit)
{
	LOCK_GUARD(&in->lock);
	size_t bytes = 0;

	while (!in->ended && bytes < INPUT_UNIT_SIZE) {
		ssize_t n = read_some(in, unit->data + bytes,
				      INPUT_UNIT_SIZE - bytes);

		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n < 0)
			return n == -ECANCELED ? (int)n
					       : fail_errno(in, (int)n);
		in->ended = n == 0;
		bytes += (size_t)n;
	}
	if (bytes == 0)
		return 0;
	if (in->size + bytes > PAGER_IMAGE_SIZE_MAX)
		return fail(in, -EFBIG, "is too large");
	in->size += bytes;
	unit->number = in->unit++;
	unit->ticket = in->ticket++;
	pad(unit, bytes);
	return 1;
}

int input_next(struct input *in, struct input_unit *unit)
{
	return in->pipe ? next_of_pipe(in, unit) : next_of_file(in, unit);
}
