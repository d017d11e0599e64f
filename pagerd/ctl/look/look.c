#include "pagerd/ctl/look/look.h"

#include <errno.h>

#include "fs/base/err.h"
#include "fs/store/snapshot/pagetable.h"

int look_read_node(void *arg, uint64_t block, uint8_t *ret_page,
		   uint8_t *ret_kind)
{
	char text[ERR_TEXT_MAX];
	int r = pagetable_read_source(arg, block, ret_page, ret_kind);

	if (r != -ENOENT)
		return r;
	err_copy(r, text);
	return err_restore(-EBADMSG, text);
}
