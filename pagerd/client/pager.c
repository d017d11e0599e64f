#include "pagerd/client/private.h"

#include "pagerd/client/api.h"

int pager_open(const char *runtime, struct pager **ret_pager)
{
	struct pager *p cleanup(cleanup_pager) = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->refs = 1;
	r = api_open(runtime, &p->http);
	if (r < 0)
		return r;
	*ret_pager = steal_ptr(p);
	return 0;
}

void pager_unref(struct pager *p)
{
	if (!p || --p->refs > 0)
		return;
	http_free(p->http);
	free(p);
}

void pager_close(struct pager *p)
{
	pager_unref(p);
}

const char *pager_error(const struct pager *p)
{
	return p->error;
}

int pager_note(struct pager *p, int r)
{
	err_copy(r, p->error);
	return r;
}
