/*
 * The configuration file: a line is "key = value", or blank, or a comment
 * that starts with '#'. Spaces around key and value do not count.
 */
#pragma once

#define CONFIG_SIZE_MAX (64u << 10)

/*
 * Called a line in the file's order. `origin` is "PATH:LINE", for messages.
 * The strings live until it returns. A negative errno ends the reading.
 */
typedef int config_fn(void *ctx, const char *key, const char *value,
		      const char *origin);

/*
 * -EINVAL with the line that is wrong; what opening or reading gave, with
 * the path; or what `fn` returned.
 */
int config_read(const char *path, config_fn *fn, void *ctx);
