/*
 * The page-state file: RUNTIME/sessions/ID.pages, two bits a page, shared by
 * the daemon and whoever takes a session over. Page n stands in byte n / 4 of
 * the body, in bits 2 * (n % 4) and the next.
 *
 *   header  64 bytes
 *   inbox   126 messages of the userfaultfd, 32 bytes each
 *   body    (pages + 3) / 4 bytes, from byte 4096 on
 *
 * The inbox is where the daemon reads the userfaultfd's messages to. What a
 * dead daemon had read stands there, whether it came to act on it or not.
 */
#pragma once

#include <stdint.h>

#define PAGER_PAGESTATE_MAGIC	"PAGRPGST"
#define PAGER_PAGESTATE_VERSION 1
#define PAGER_PAGESTATE_HEADER	4096u /* with the inbox */
#define PAGER_PAGESTATE_INBOX	64u
#define PAGER_INBOX_MESSAGES	126u

enum pager_page_state {
	PAGER_PAGE_ABSENT = 0,	/* never installed: its bytes are the image's */
	PAGER_PAGE_PRESENT = 1, /* installed once */
	PAGER_PAGE_REMOVED = 2, /* the guest gave it back: zero for ever */
	PAGER_PAGE_POISONED = 3,
};

struct pager_pagestate_header {
	uint8_t magic[8];
	uint32_t version;
	uint32_t reserved0;
	uint64_t pages;
	uint8_t image_digest[16];
	uint8_t reserved[24]; /* zero */
};

_Static_assert(sizeof(struct pager_pagestate_header) == 64, "layout");
