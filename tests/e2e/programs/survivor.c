/*
 * A VM that must not notice its daemon's deaths: two threads touch, write and
 * give back random pages of a snapshot's memory, and know what every byte of
 * it must be.
 *
 *   survivor RUNTIME SNAPSHOT|SOCKET IMAGE SEED
 *
 * IMAGE is what the snapshot looks like, with the overlays of a session that
 * was made already and whose socket is named in the snapshot's place.
 *
 * It says "mapped" once its memory is served. With the end of its stdin it
 * checks all of its memory, says "ok OPERATIONS" and exits 0. It exits 1 as
 * soon as a byte is wrong, 3 where it never got its memory.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <pager/pager.h>

#define PAGE	UINT64_C(4096)
#define WORDS	(PAGE / 8)
#define THREADS 2u
#define RUN_MAX 16u

#define PACE	 4u
#define PAUSE_NS 2000000

/* What a page holds: the image's bytes, zeros, or one word all over. */
enum { OF_IMAGE = 0, OF_ZERO = 1 }; /* else the word */

static const uint8_t *image;
static uint8_t *memory;
static uint64_t *model; /* each thread has its own part */
static uint64_t pages;
static atomic_bool stop;
static _Atomic uint64_t operations;

struct half {
	pthread_t thread;
	uint64_t first, count, random;
};

static uint64_t next_random(struct half *h)
{
	h->random ^= h->random << 13;
	h->random ^= h->random >> 7;
	h->random ^= h->random << 17;
	return h->random;
}

static void wrong(uint64_t page, const char *what)
{
	(void)printf("wrong: page %llu is not %s\n", (unsigned long long)page,
		     what);
	(void)fflush(stdout);
	_exit(1);
}

static void check(uint64_t page)
{
	const uint64_t *words = (const uint64_t *)(memory + page * PAGE);
	uint64_t expected = model[page] == OF_ZERO ? 0 : model[page];

	if (model[page] == OF_IMAGE) {
		if (memcmp(words, image + page * PAGE, PAGE) != 0)
			wrong(page, "the image's");
		return;
	}
	for (uint64_t i = 0; i < WORDS; i++)
		if (words[i] != expected)
			wrong(page, expected ? "what was written" : "zero");
}

static void write_page(struct half *h, uint64_t page)
{
	uint64_t *words = (uint64_t *)(memory + page * PAGE);
	uint64_t word = next_random(h) | 2;

	for (uint64_t i = 0; i < WORDS; i++)
		words[i] = word;
	model[page] = word;
}

static void give_back(uint64_t page, uint64_t count)
{
	if (madvise(memory + page * PAGE, count * PAGE, MADV_DONTNEED) < 0)
		wrong(page, "to be given back");
	for (uint64_t i = 0; i < count; i++)
		model[page + i] = OF_ZERO;
}

static void *live(void *arg)
{
	struct half *h = arg;

	while (!atomic_load(&stop)) {
		uint64_t page = h->first + next_random(h) % h->count;
		uint64_t run = 1 + next_random(h) % RUN_MAX;

		if (run > h->first + h->count - page)
			run = h->first + h->count - page;
		switch (next_random(h) % 8) {
		case 0:
			give_back(page, run);
			break;
		case 1:
		case 2:
			write_page(h, page);
			break;
		default:
			check(page);
		}
		/* Many of us share few processors with the daemon. */
		if (atomic_fetch_add(&operations, 1) % PACE == 0)
			(void)nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
	}
	return NULL;
}

static const uint8_t *map_image(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *data;

	if (fd < 0 || fstat(fd, &st) < 0)
		exit(2);
	pages = (uint64_t)st.st_size / PAGE;
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		exit(2);
	return data;
}

static void get_memory(const char *runtime, const char *snapshot)
{
	struct pager_session_options session = PAGER_SESSION_OPTIONS_INIT;
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	/* Held until the process ends, as a VMM's are. */
	static struct pager_session *s;
	static struct pager_map *m;
	static struct pager *p;

	session.snapshot = snapshot;
	options.size = pages * PAGE;
	if (pager_open(runtime, &p) < 0)
		exit(3);
	if ((snapshot[0] == '/' ? pager_session_attach(p, snapshot, &s)
				: pager_session_create(p, &session, &s)) < 0 ||
	    pager_map(s, &options, &m) < 0) {
		(void)fprintf(stderr, "survivor: %s\n", pager_error(p));
		exit(3);
	}
	memory = pager_map_data(m);
}

int main(int argc, char **argv)
{
	struct half halves[THREADS];
	char byte;

	if (argc != 5)
		return 2;
	image = map_image(argv[3]);
	get_memory(argv[1], argv[2]);
	model = calloc(pages, sizeof(*model));
	if (!model)
		return 2;
	(void)puts("mapped");
	(void)fflush(stdout);
	for (unsigned int i = 0; i < THREADS; i++) {
		halves[i].count = pages / THREADS;
		halves[i].first = i * halves[i].count;
		halves[i].random =
			strtoull(argv[4], NULL, 10) * 2654435761u + i + 1;
		if (pthread_create(&halves[i].thread, NULL, live, &halves[i]))
			return 2;
	}
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < THREADS; i++)
		(void)pthread_join(halves[i].thread, NULL);
	for (uint64_t page = 0; page < pages; page++)
		check(page);
	(void)printf("ok %llu\n", (unsigned long long)operations);
	return 0;
}
