/* One page of guest memory: 4 KiB, the unit of everything here. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pager/block.h"

/* 4096 zero bytes, page-aligned, for comparing and for copying. */
extern const uint8_t page_zero[PAGER_PAGE_SIZE];

/* Any alignment. */
bool page_is_zero(const uint8_t page[PAGER_PAGE_SIZE]);

/* The pages that `bytes` take, the last partial one counted; 0 for 0. */
static inline uint64_t page_count(uint64_t bytes)
{
	return bytes / PAGER_PAGE_SIZE + (bytes % PAGER_PAGE_SIZE != 0);
}
