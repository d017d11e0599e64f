/*
 * The body of a request for a session, overlays and all; with no folder that
 * a path may lead to.
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/io/confine.h"
#include "pagerd/control/http/body.h"
#include "pagerd/control/session/overlays.h"
#include "tests/fuzz/fuzz.h"

int fuzz_last_result;

struct values {
	const char *snapshot, *id;
	uint32_t uid;
	uint64_t number;
	bool prefetch;
	const json_t *overlays;
};

static const struct body_field fields[] = {
	{"snapshot", BODY_STRING, true, offsetof(struct values, snapshot)},
	{"id", BODY_STRING, false, offsetof(struct values, id)},
	{"uid", BODY_ID32, false, offsetof(struct values, uid)},
	{"number", BODY_NUMBER, false, offsetof(struct values, number)},
	{"prefetch", BODY_FLAG, false, offsetof(struct values, prefetch)},
	{"overlays", BODY_LIST, false, offsetof(struct values, overlays)},
	{0},
};

static int read_overlays(const struct values *v)
{
	struct overlays overlays = {0};
	struct confine *none cleanup(cleanup_confine) = NULL;
	int r = confine_new(NULL, 0, &none);

	if (r == 0)
		r = overlays_read(v->overlays, none, &overlays);
	for (size_t i = 0; r == 0 && i < overlays.count; i++)
		if (overlays.pieces[i].size > OVERLAY_BYTES_MAX)
			abort();
	overlays_release(&overlays);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct values v = {0};
	json_t *object = NULL;

	fuzz_last_result =
		body_read((const char *)data, size, fields, &v, &object);
	if (fuzz_last_result == 0)
		fuzz_last_result = read_overlays(&v);
	json_decref(object);
	return 0;
}
