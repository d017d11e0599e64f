#include "fs/store/snapshot/name.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/io/text.h"
#include "pager/manifest.h"

/* In well-formed UTF-8: C0, DEL, and C1, which is 0xc2 0x80 to 0xc2 0x9f. */
static bool has_control(const char *name)
{
	for (const unsigned char *s = (const unsigned char *)name; *s; s++)
		if (*s < ' ' || *s == 0x7f ||
		    (s[0] == 0xc2 && s[1] >= 0x80 && s[1] <= 0x9f))
			return true;
	return false;
}

/* The name itself is never echoed: what is wrong with it may be its bytes. */
int name_check(const char *what, const char *name)
{
	size_t len = strnlen(name, PAGER_NAME_MAX + 1);

	if (len == 0)
		return err_set(-EINVAL, "%s is empty", what);
	if (len > PAGER_NAME_MAX)
		return err_set(-EINVAL, "%s is longer than %u bytes", what,
			       PAGER_NAME_MAX);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_set(-EINVAL, "%s cannot be '.' or '..'", what);
	if (strchr(name, '/'))
		return err_set(-EINVAL, "%s has a '/' in it", what);
	if (!text_is_utf8(name, len))
		return err_set(-EINVAL, "%s is not UTF-8", what);
	if (has_control(name))
		return err_set(-EINVAL, "%s has a control character in it",
			       what);
	return 0;
}
