/*
 * The client's half of the handshake; pager/handshake.h has what is said.
 */
#pragma once

#include "pager/pager.h"

/*
 * Connects to a session's socket and hands the regions and the userfaultfd
 * over. Returns the connection, which is to stay open for as long as the
 * memory is used. -ENOENT, -ECONNREFUSED, -EACCES, -ENAMETOOLONG, -EPIPE,
 * -ETIMEDOUT.
 */
int offer_send(const char *socket_path, int uffd,
	       const struct pager_region *regions, unsigned int count,
	       uint64_t page_size);
