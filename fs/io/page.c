#include "fs/io/page.h"

#include <string.h>

const uint8_t page_zero[PAGER_PAGE_SIZE] __attribute__((aligned(4096)));

bool page_is_zero(const uint8_t page[PAGER_PAGE_SIZE])
{
	/*
	 * Most pages that are not zero show it in their first bytes; the rest
	 * is libc's vectorised compare of the page with itself one on.
	 */
	for (unsigned int i = 0; i < 16; i++)
		if (page[i])
			return false;
	return memcmp(page, page + 16, PAGER_PAGE_SIZE - 16) == 0;
}
