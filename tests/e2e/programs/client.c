/*
 * A second VMM for the end-to-end tests: maps a snapshot through libpager in
 * one of several layouts, touches every page in a scattered order, and
 * compares all of its memory with the image.
 *
 *   e2e_client RUNTIME SNAPSHOT IMAGE whole|descending|holes|huge
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pager/pager.h>

#define HUGE	    (UINT64_C(2) << 20)
#define SMALL	    UINT64_C(4096)
#define REGIONS_MAX 8

struct layout {
	const char *name;
	unsigned int regions;
	int descending; /* the first region has the highest image offset */
	int holes; /* a piece of the image in no region, between each two */
	uint64_t page_size;
};

static const struct layout layouts[] = {
	{"whole", 1, 0, 0, SMALL},
	{"descending", 5, 1, 0, SMALL},
	{"holes", 4, 0, 1, SMALL},
	{"huge", 3, 1, 0, HUGE},
};

static void fail(const char *what, const char *why)
{
	(void)fprintf(stderr, "e2e_client: %s: %s\n", what, why);
	exit(1);
}

static const struct layout *find_layout(const char *name)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		if (strcmp(layouts[i].name, name) == 0)
			return &layouts[i];
	fail(name, "no such layout");
	return NULL;
}

/* Cuts the image into regions of about the same size. */
static void cut(const struct layout *l, uint64_t size,
		struct pager_region *regions)
{
	uint64_t pages = size / l->page_size, step = pages / l->regions;

	for (unsigned int i = 0; i < l->regions; i++) {
		struct pager_region *r =
			&regions[l->descending ? l->regions - 1 - i : i];
		uint64_t first = i * step;
		uint64_t end = i + 1 < l->regions ? first + step : pages;

		r->addr = NULL;
		r->offset = first * l->page_size;
		r->size = (end - first - (uint64_t)l->holes) * l->page_size;
	}
}

/* One page in every 61 at a time, so that neighbours do not fault in order. */
static void touch(const struct pager_region *r)
{
	const volatile uint8_t *data = r->addr;
	uint64_t pages = r->size / SMALL;

	for (uint64_t start = 0; start < 61; start++)
		for (uint64_t page = start; page < pages; page += 61)
			(void)data[page * SMALL];
}

static void compare(const struct pager_region *r, const uint8_t *image)
{
	const uint8_t *data = r->addr;

	for (uint64_t at = 0; at < r->size; at += SMALL)
		if (memcmp(data + at, image + r->offset + at, SMALL) != 0) {
			(void)fprintf(stderr, "page at %llu of the image\n",
				      (unsigned long long)(r->offset + at));
			fail("compare", "memory is not the image's");
		}
}

static const uint8_t *map_image(const char *path, uint64_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *data;

	if (fd < 0 || fstat(fd, &st) < 0)
		fail(path, strerror(errno));
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		fail(path, strerror(errno));
	*ret_size = (uint64_t)st.st_size;
	return data;
}

int main(int argc, char **argv)
{
	struct pager_session_options session = PAGER_SESSION_OPTIONS_INIT;
	struct pager_map_options map = PAGER_MAP_OPTIONS_INIT;
	struct pager_region regions[REGIONS_MAX];
	const struct layout *layout;
	struct pager_session *s;
	const uint8_t *image;
	struct pager_map *m;
	struct pager *p;
	uint64_t size;

	if (argc != 5)
		fail("usage", "e2e_client RUNTIME SNAPSHOT IMAGE LAYOUT");
	layout = find_layout(argv[4]);
	image = map_image(argv[3], &size);
	cut(layout, size, regions);
	session.snapshot = argv[2];
	map.page_size = layout->page_size;
	if (pager_open(argv[1], &p) < 0)
		fail(argv[1], "pager_open");
	if (pager_session_create(p, &session, &s) < 0 ||
	    pager_map_regions(s, regions, layout->regions, &map, &m) < 0)
		fail(argv[2], pager_error(p));
	for (unsigned int i = 0; i < layout->regions; i++)
		touch(&regions[i]);
	for (unsigned int i = 0; i < layout->regions; i++)
		compare(&regions[i], image);
	pager_unmap(m);
	if (pager_session_close(s) < 0)
		fail("close", pager_error(p));
	pager_close(p);
	return 0;
}
