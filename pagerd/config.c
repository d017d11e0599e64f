#include "pagerd/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return s;
}

static int read_line(char *line, const char *origin, config_fn *fn, void *ctx)
{
	char *equals, *key, *value;

	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return err_set(-EINVAL, "%s: not of the form key = value",
			       origin);
	*equals = '\0';
	key = trim(line);
	value = trim(equals + 1);
	if (!*key || !*value)
		return err_set(-EINVAL, "%s: the key or the value is empty",
			       origin);
	return fn(ctx, key, value, origin);
}

int config_read(const char *path, config_fn *fn, void *ctx)
{
	_cleanup_free_ uint8_t *data = NULL;
	char origin[PATH_MAX + 32], *rest, *line;
	unsigned int number = 0;
	size_t len;
	int r;

	r = file_read_all(AT_FDCWD, path, CONFIG_SIZE_MAX, &data, &len);
	if (r < 0)
		return err_set(r, "%s: %s", path, strerrordesc_np(-r));
	if (memchr(data, '\0', len))
		return err_set(-EINVAL, "%s: not a text file", path);
	rest = (char *)data;
	while ((line = strsep(&rest, "\n")) != NULL) {
		(void)snprintf(origin, sizeof(origin), "%s:%u", path, ++number);
		r = read_line(line, origin, fn, ctx);
		if (r < 0)
			return r;
	}
	return 0;
}
