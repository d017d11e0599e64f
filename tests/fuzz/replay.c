/*
 * Replays the inputs of one fuzz target without a fuzzer: replay_NAME TOP
 * NAME, where TOP holds corpus/ and refuse/. See fuzz.h for what is asserted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/io/file.h"
#include "fs/base/cleanup.h"
#include "fs/store/folder.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX ((size_t)16 << 20)

struct replay {
	int dir;
	bool refuse; /* all of them */
	unsigned int inputs, wrong;
};

static const char *fault_of(const struct replay *r, const char *name)
{
	if (r->refuse && fuzz_last_result == 0)
		return "was not refused";
	if (!r->refuse && strncmp(name, "good", 4) == 0 && fuzz_last_result < 0)
		return strerror(-fuzz_last_result);
	return NULL;
}

/* A folder_name_fn. */
static int replay_one(void *arg, const char *name)
{
	struct replay *r = arg;
	_cleanup_free_ uint8_t *data = NULL;
	const char *fault;
	size_t len;
	int result = file_read_all(r->dir, name, INPUT_MAX, &data, &len);

	if (result < 0)
		return result;
	(void)LLVMFuzzerTestOneInput(data, len);
	fault = fault_of(r, name);
	if (fault) {
		(void)fprintf(stderr, "%s: %s\n", name, fault);
		r->wrong++;
	}
	r->inputs++;
	return 0;
}

static int replay_folder(const char *top, const char *kind, const char *name)
{
	struct replay r = {.refuse = strcmp(kind, "refuse") == 0};
	char path[4096];
	int result;

	(void)snprintf(path, sizeof(path), "%s/%s/%s", top, kind, name);
	r.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	result = r.dir < 0 ? -errno : folder_list(r.dir, ".", replay_one, &r);
	close_quietly(r.dir);
	(void)printf("%s: %u inputs, %u wrong\n", path, r.inputs, r.wrong);
	if (result < 0)
		(void)fprintf(stderr, "%s: %s\n", path, strerror(-result));
	return result < 0 || r.wrong || r.inputs == 0;
}

int main(int argc, char **argv)
{
	int wrong;

	if (argc != 3) {
		(void)fprintf(stderr, "usage: %s TOP NAME\n", argv[0]);
		return 2;
	}
	wrong = replay_folder(argv[1], "corpus", argv[2]);
	wrong |= replay_folder(argv[1], "refuse", argv[2]);
	return wrong;
}
