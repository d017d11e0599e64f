#include "pagerd/control/session/overlays.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"
#include "pagerd/control/session/base64.h"

void overlays_release(struct overlays *o)
{
	for (size_t i = 0; i < o->count; i++)
		free((void *)o->pieces[i].data);
	free(o->pieces);
	*o = (struct overlays){0};
}

static int read_path(const char *path, size_t most, uint8_t **ret_bytes,
		     size_t *ret_len)
{
	int r;

	if (path[0] != '/')
		return err_set(-EINVAL, "overlay '%.256s': no absolute path",
			       path);
	r = file_read_all(AT_FDCWD, path, most, ret_bytes, ret_len);
	if (r == -ENOMEM)
		return r;
	return r < 0 ? err_set(-EINVAL, "overlay '%.256s': %s", path,
			       strerrordesc_np(-r))
		     : 0;
}

static int read_data(const json_t *piece, size_t most, uint8_t **ret_bytes,
		     size_t *ret_len)
{
	const json_t *data = json_object_get(piece, "data_base64");
	const json_t *path = json_object_get(piece, "path");

	if (json_is_string(data) && !path)
		return base64_decode(json_string_value(data),
				     json_string_length(data), ret_bytes,
				     ret_len);
	if (json_is_string(path) && !data)
		return read_path(json_string_value(path), most, ret_bytes,
				 ret_len);
	return err_set(-EINVAL, "an overlay has either 'data_base64' or "
				"'path', which is a string");
}

/* `most`: bytes that it may have yet. */
static int read_piece(const json_t *piece, size_t most,
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
	r = read_data(piece, most, &bytes, &len);
	if (r < 0)
		return r;
	*ret_piece = (struct overlay_piece){
		.offset = (uint64_t)json_integer_value(offset),
		.size = len,
		.data = bytes,
	};
	return 0;
}

static int read_all(const json_t *list, struct overlays *o)
{
	size_t left = OVERLAY_BYTES_MAX, i;
	const json_t *piece;

	json_array_foreach(list, i, piece)
	{
		int r = read_piece(piece, left, &o->pieces[i]);

		if (r < 0)
			return r;
		o->count++;
		if (o->pieces[i].size > left)
			return err_set(-EINVAL, "overlays of too many bytes");
		left -= o->pieces[i].size;
	}
	return 0;
}

int overlays_read(const json_t *list, struct overlays *ret_overlays)
{
	struct overlays o = {0};
	int r;

	if (json_array_size(list) > OVERLAY_PIECES_MAX)
		return err_set(-EINVAL, "%zu overlays: at most %u",
			       json_array_size(list), OVERLAY_PIECES_MAX);
	o.pieces = calloc(json_array_size(list) + 1, sizeof(*o.pieces));
	if (!o.pieces)
		return -ENOMEM;
	r = read_all(list, &o);
	if (r < 0)
		overlays_release(&o);
	else
		*ret_overlays = o;
	return r;
}
