#include "pagerd/control/session/overlays.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/base64.h"
#include "fs/io/file.h"

struct reader {
	const struct confine *allowed;
	size_t left; /* bytes that there may be yet */
};

void overlays_release(struct overlays *o)
{
	for (size_t i = 0; i < o->count; i++)
		free((void *)o->pieces[i].data);
	free(o->pieces);
	*o = (struct overlays){0};
}

static int read_path(struct reader *rd, const char *path, uint8_t **ret_bytes,
		     size_t *ret_len)
{
	_cleanup_close_ int fd = -1;
	char why[ERR_TEXT_MAX];
	int r = confine_open(rd->allowed, path, &fd);

	if (r == -EXDEV)
		return err_wrap(r, "an overlay's 'path' must lie below a "
				   "folder of --import");
	if (r == 0) {
		r = file_read_fd(fd, rd->left, ret_bytes, ret_len);
		if (r < 0)
			(void)err_set(r, "'%.256s': %s", path,
				      strerrordesc_np(-r));
	}
	if (r == 0 || r == -ENOMEM)
		return r;
	err_copy(r, why);
	return err_set(-EINVAL, "overlay %s", why);
}

static int read_data(struct reader *rd, const json_t *piece,
		     uint8_t **ret_bytes, size_t *ret_len)
{
	const json_t *data = json_object_get(piece, "data_base64");
	const json_t *path = json_object_get(piece, "path");

	if (json_is_string(data) && !path)
		return base64_decode(json_string_value(data),
				     json_string_length(data), ret_bytes,
				     ret_len);
	if (json_is_string(path) && !data)
		return read_path(rd, json_string_value(path), ret_bytes,
				 ret_len);
	return err_set(-EINVAL, "an overlay has either 'data_base64' or "
				"'path', which is a string");
}

static int read_piece(struct reader *rd, const json_t *piece,
		      struct overlay_piece *ret_piece)
{
	const json_t *offset = json_object_get(piece, "offset");
	uint8_t *bytes;
	size_t len;
	int r;

	if (!json_is_integer(offset) || json_integer_value(offset) < 0)
		return err_set(-EINVAL, "an overlay's 'offset' must be a "
					"number of at least 0");
	if (json_object_size(piece) != 2)
		return err_set(-EINVAL, "an overlay has 'offset' and either "
					"'data_base64' or 'path'");
	r = read_data(rd, piece, &bytes, &len);
	if (r < 0)
		return r;
	*ret_piece = (struct overlay_piece){
		.offset = (uint64_t)json_integer_value(offset),
		.size = len,
		.data = bytes,
	};
	return 0;
}

static int read_all(struct reader *rd, const json_t *list, struct overlays *o)
{
	const json_t *piece;
	size_t i;

	json_array_foreach(list, i, piece)
	{
		int r = read_piece(rd, piece, &o->pieces[i]);

		if (r < 0)
			return r;
		o->count++;
		if (o->pieces[i].size > rd->left)
			return err_set(-EINVAL, "overlays of too many bytes");
		rd->left -= o->pieces[i].size;
	}
	return 0;
}

int overlays_read(const json_t *list, const struct confine *allowed,
		  struct overlays *ret_overlays)
{
	struct reader rd = {allowed, OVERLAY_BYTES_MAX};
	struct overlays o = {0};
	int r;

	if (json_array_size(list) > OVERLAY_PIECES_MAX)
		return err_set(-EINVAL, "%zu overlays: at most %u",
			       json_array_size(list), OVERLAY_PIECES_MAX);
	o.pieces = calloc(json_array_size(list) + 1, sizeof(*o.pieces));
	if (!o.pieces)
		return -ENOMEM;
	r = read_all(&rd, list, &o);
	if (r < 0)
		overlays_release(&o);
	else
		*ret_overlays = o;
	return r;
}
