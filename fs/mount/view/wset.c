#include "fs/mount/view/wset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "fs/base/err.h"
#include "fs/store/workingset/wsfile.h"

static int print_pages(const struct workingset *w, struct wset *ret_wset)
{
	FILE *f = open_memstream(&ret_wset->text, &ret_wset->len);

	if (!f)
		return -ENOMEM;
	for (size_t i = 0; i < w->count; i++)
		(void)fprintf(f, "%llu\n",
			      (unsigned long long)w->entries[i].page);
	if (fclose(f) == 0)
		return 0;
	free(ret_wset->text);
	return -ENOMEM;
}

int wset_read(const struct view *v, const struct snap *snap,
	      struct wset *ret_wset)
{
	const struct manifest_file *image = &snap->manifest.image;
	struct workingset w cleanup(workingset_release) = {0};
	struct wset made = {0};
	struct stat st;
	int r = wsfile_stat(v->store, &image->digest, &st);

	if (r == 0)
		r = wsfile_load(v->store, &image->digest, image->pages, &w);
	/* The name says that it is of this image; to a reader of the mount
	 * -ESTALE means another thing. */
	if (r == -ESTALE)
		return err_set(-EBADMSG, "damaged working set: its header is "
					 "of another image");
	if (r == 0)
		r = print_pages(&w, &made);
	if (r < 0)
		return r;
	made.hash = XXH3_64bits(made.text, made.len);
	made.recorded = st.st_mtim;
	*ret_wset = made;
	return 0;
}

bool wset_exists(const struct view *v, const struct snap *snap)
{
	struct stat st;

	return wsfile_stat(v->store, &snap->manifest.image.digest, &st) == 0;
}
