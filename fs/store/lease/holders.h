/*
 * Who has a snapshot open, for people: by what the kernel tells of the files
 * that processes have open, as far as we may look.
 */
#pragma once

#include "fs/store/store.h"

#define HOLDERS_TEXT_MAX 400

/*
 * "pagerfs (process 12), less (process 34)": who has the manifest open, and
 * who a file of the snapshot in a mount. "" where nobody can be seen. Leaves
 * err_text() alone.
 */
void holders_find(struct store *s, const char *name,
		  char ret_text[HOLDERS_TEXT_MAX]);
