/*
 * The agent inside the test guest: it answers one-line requests on a serial
 * port, fills memory with content whose checksum it remembers, and keeps a
 * little state, so that a host can tell a faithful restore from a wrong one.
 *
 * Request:  "N COMMAND [ARGUMENT]...\n", N a decimal number of the caller's.
 * Answer:   "pagerd-agent: N ok KEY=VALUE...\n" or
 *           "pagerd-agent: N error TEXT\n".
 * The number and the prefix let the caller skip noise and late answers. A
 * line with no number gets no answer. On start the agent says
 * "pagerd-agent: 0 ok ready".
 *
 *   ping             nothing
 *   set TOKEN        remembers TOKEN (up to 63 characters)
 *   fill MIB [SEED]  replaces the filling by MIB of memory made from SEED
 *   state            token, count of `state` calls, uptime, and the checksum
 *                    of the filling, computed anew, beside the one remembered
 *   touch            reads one word of each page of the filling
 *   touch all        reads all of the guest's RAM, through /proc/kcore
 *
 * The filling imitates the memory of running guests, of which 4 KiB pages
 * compress to 0.27 of their size at zstd level 1 (five Debian guests, zero
 * pages and duplicates left out): see page_kind(). A page's content depends
 * on the seed and its number only.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PAGE	       4096U
#define LINE_MAX_BYTES 256
#define TOKEN_MAX      63
/* Left free by `fill`, so that the guest never gets to its OOM killer. */
#define SPARE_MIB 24U

struct agent {
	int port;
	char token[TOKEN_MAX + 1];
	uint64_t calls; /* of `state` */
	uint8_t *fill;
	size_t fill_pages;
	uint64_t checksum; /* of the filling, when it was made */
};

struct rng {
	uint64_t s;
};

enum kind { KIND_REPEATED, KIND_TEXT, KIND_HEAP, KIND_SPARSE, KIND_RANDOM };

static const char *const words[] = {
	"accept",  "address", "after",	 "backend", "block",   "buffer",
	"cache",   "channel", "client",	 "close",   "commit",  "config",
	"connect", "cookie",  "created", "default", "delete",  "device",
	"enabled", "entry",   "error",	 "event",   "expired", "failed",
	"file",	   "filter",  "flush",	 "found",   "group",   "handler",
	"header",  "index",   "input",	 "invalid", "kernel",  "length",
	"limit",   "listen",  "loaded",	 "lock",    "memory",  "message",
	"method",  "module",  "mount",	 "network", "object",  "offset",
	"open",	   "packet",  "pending", "policy",  "process", "queue",
	"read",	   "refused", "request", "retry",   "session", "socket",
	"started", "status",  "timeout", "worker",
};

#define WORDS (sizeof(words) / sizeof(words[0]))

/* splitmix64 */
static uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->s += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static struct rng rng_for(uint64_t seed, uint64_t page)
{
	struct rng r = {seed * 0xd1342543de82ef95ULL + page};

	r.s = rng_next(&r);
	return r;
}

/* Shares in percent: 14 repeated, 28 text, 34 heap, 20 sparse, 4 random. */
static enum kind page_kind(struct rng *r)
{
	uint64_t p = rng_next(r) % 100;

	if (p < 14)
		return KIND_REPEATED;
	if (p < 42)
		return KIND_TEXT;
	if (p < 76)
		return KIND_HEAP;
	return p < 96 ? KIND_SPARSE : KIND_RANDOM;
}

static char *put_word(char *at, uint64_t pick)
{
	return stpcpy(at, words[pick % WORDS]);
}

static char *put_number(char *at, uint64_t n, unsigned base, unsigned digits)
{
	for (unsigned i = digits; i-- > 0; n /= base)
		at[i] = "0123456789abcdef"[n % base];
	return at + digits;
}

/*
 * One log line, at most 160 bytes. As in real logs, few statements in a
 * program print most lines, and the ids are those of a few open connections.
 */
static char *put_log_line(char *at, struct rng *r, uint64_t when)
{
	uint64_t a = rng_next(r), b = rng_next(r);
	struct rng statement = rng_for(0, a % 32);
	uint64_t s = rng_next(&statement);

	at = stpcpy(at, "2024-05-17T");
	at = put_number(at, when / 3600000 % 24, 10, 2);
	*at++ = ':';
	at = put_number(at, when / 60000 % 60, 10, 2);
	*at++ = ':';
	at = put_number(at, when / 1000 % 60, 10, 2);
	*at++ = '.';
	at = put_number(at, when % 1000, 10, 3);
	at = stpcpy(at, "Z guest ");
	at = put_word(at, s & 7);
	at = stpcpy(at, "d[");
	at = put_number(at, 1000 + (s & 7) * 37, 10, 4);
	at = stpcpy(at, s & 64 ? "]: INFO " : "]: DEBUG ");
	for (unsigned i = 0; i < 3 + (s >> 8) % 3; i++) {
		at = put_word(at, s >> (16 + 6 * i));
		*at++ = ' ';
	}
	at = put_word(at, s >> 52);
	*at++ = '=';
	at = put_number(at, b & 0xfff, 10, 4);
	at = stpcpy(at, " id=");
	at = put_number(at, when / 60000 * 0x3d1 + (b >> 32 & 15), 16, 6);
	*at++ = '\n';
	return at;
}

static void make_text(uint8_t *page, struct rng *r)
{
	char lines[PAGE + 256];
	char *at = lines;
	uint64_t when = rng_next(r) % 86400000;

	while (at < lines + PAGE) {
		at = put_log_line(at, r, when);
		when += rng_next(r) % 2000;
	}
	memcpy(page, lines, PAGE);
}

/* Objects as an allocator lays them out: pointers, counts, a short name. */
static void make_heap(uint8_t *page, struct rng *r)
{
	uint64_t shape = rng_next(r);
	size_t size = (size_t)32 << (shape & 1) | (shape & 2) << 3;
	uint64_t heap = 0x00007f3a40000000ULL | (shape & 0xff) << 20;

	memset(page, 0, PAGE);
	for (size_t at = 0; at + size <= PAGE; at += size) {
		uint64_t a = rng_next(r);
		uint64_t head[3] = {
			0x000055d0c8a41000ULL + (a & 7) * 0x140,
			a & 0x300 ? heap + (a >> 12 & 0xffff) * size : 0,
			(a >> 32 & 3) | (a >> 36 & 0x3f) << 32,
		};

		memcpy(page + at, head, sizeof(head));
		if (size > 32)
			(void)put_word((char *)page + at + 24, a >> 48);
	}
}

static void make_sparse(uint8_t *page, struct rng *r)
{
	memset(page, 0, PAGE);
	for (unsigned i = 0; i < 24; i++) {
		uint64_t a = rng_next(r);

		memcpy(page + (a >> 32) % (PAGE / 8) * 8, &a, i < 16 ? 2 : 8);
	}
}

static void make_random(uint8_t *page, struct rng *r)
{
	for (size_t at = 0; at < PAGE; at += 8) {
		uint64_t a = rng_next(r);

		memcpy(page + at, &a, 8);
	}
}

static void make_page(uint8_t *page, uint64_t seed, uint64_t number)
{
	struct rng r = rng_for(seed, number);
	enum kind kind = page_kind(&r);

	if (kind == KIND_REPEATED) {
		uint64_t one_of = rng_next(&r) % 128;

		r = rng_for(seed, UINT64_MAX - one_of);
		kind = one_of & 1 ? KIND_TEXT : KIND_HEAP;
	}
	if (kind == KIND_TEXT)
		make_text(page, &r);
	else if (kind == KIND_HEAP)
		make_heap(page, &r);
	else if (kind == KIND_SPARSE)
		make_sparse(page, &r);
	else
		make_random(page, &r);
}

/* Each step is a bijection of h, so that no single wrong word goes unseen. */
static uint64_t checksum(const uint8_t *p, size_t pages)
{
	const uint64_t *w = (const uint64_t *)p;
	uint64_t h = 0x243f6a8885a308d3ULL;

	for (size_t i = 0; i < pages * (PAGE / 8); i++) {
		h = (h ^ w[i]) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 32;
	}
	return h;
}

static void write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			exit(1); /* no port, no agent: init ends the guest */
		p += done;
		n -= (size_t)done;
	}
}

__attribute__((format(printf, 3, 4))) static void
answer(const struct agent *a, unsigned long number, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES * 2];
	va_list ap;
	int n = snprintf(line, sizeof(line), "pagerd-agent: %lu ", number);

	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	write_all(a->port, line, (size_t)n);
}

static uint64_t free_mib(void)
{
	struct sysinfo si;

	if (sysinfo(&si) < 0)
		return 0;
	return (uint64_t)si.freeram * si.mem_unit >> 20;
}

static void fill_drop(struct agent *a)
{
	if (a->fill)
		munmap(a->fill, a->fill_pages * PAGE);
	a->fill = NULL;
	a->fill_pages = 0;
	a->checksum = 0;
}

static void cmd_fill(struct agent *a, unsigned long number, const char *arg)
{
	unsigned long mib = 0, seed = 1, room;
	size_t pages;
	void *p;

	if (sscanf(arg, "%lu %lu", &mib, &seed) < 1 || mib == 0) {
		answer(a, number, "error fill takes MIB [SEED]");
		return;
	}
	room = free_mib() + (a->fill_pages >> 8);
	if (mib > room || room - mib < SPARE_MIB) {
		answer(a, number, "error no room for %lu MiB: %lu MiB free",
		       mib, room);
		return;
	}
	fill_drop(a);
	pages = mib << 8;
	p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		answer(a, number, "error mmap: %s", strerror(errno));
		return;
	}
	for (size_t i = 0; i < pages; i++)
		make_page((uint8_t *)p + i * PAGE, seed, i);
	a->fill = p;
	a->fill_pages = pages;
	a->checksum = checksum(p, pages);
	answer(a, number, "ok mib=%lu pages=%zu checksum=%016lx", mib, pages,
	       a->checksum);
}

static void cmd_state(struct agent *a, unsigned long number)
{
	struct timespec up = {0};

	(void)clock_gettime(CLOCK_MONOTONIC, &up); /* cannot fail on Linux */
	answer(a, number,
	       "ok token=%s count=%lu uptime_ms=%lu pages=%zu "
	       "checksum=%016lx expected=%016lx",
	       a->token[0] ? a->token : "-", ++a->calls,
	       (unsigned long)up.tv_sec * 1000 + up.tv_nsec / 1000000,
	       a->fill_pages, a->fill ? checksum(a->fill, a->fill_pages) : 0,
	       a->checksum);
}

static void cmd_set(struct agent *a, unsigned long number, const char *arg)
{
	size_t n = strlen(arg);

	if (n == 0 || n > TOKEN_MAX || strchr(arg, ' ')) {
		answer(a, number, "error set takes one word of up to %d bytes",
		       TOKEN_MAX);
		return;
	}
	memcpy(a->token, arg, n + 1);
	answer(a, number, "ok token=%s", a->token);
}

/* Reads [offset, offset + bytes) of kcore page by page, adds pages read. */
static int read_segment(int kcore, uint64_t offset, uint64_t bytes,
			size_t *pages)
{
	static uint8_t page[PAGE];

	for (uint64_t at = 0; at + PAGE <= bytes; at += PAGE) {
		if (pread(kcore, page, PAGE, (off_t)(offset + at)) != PAGE)
			return errno ? -errno : -EIO;
		++*pages;
	}
	return 0;
}

/*
 * /proc/kcore is an ELF file whose segments with a physical address are the
 * RAM that the kernel knows of, free pages included, and the kernel's text,
 * which lies above the direct map and is the same RAM again.
 */
static int touch_ram(size_t *pages)
{
	const uint64_t text_start = 0xffffffff80000000ULL;
	int kcore = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr eh;
	int err = 0;

	if (kcore < 0)
		return -errno;
	if (pread(kcore, &eh, sizeof(eh), 0) != sizeof(eh))
		err = -EIO;
	for (unsigned i = 0; err == 0 && i < eh.e_phnum; i++) {
		Elf64_Phdr ph;
		off_t at = (off_t)(eh.e_phoff + i * sizeof(ph));

		if (pread(kcore, &ph, sizeof(ph), at) != sizeof(ph))
			err = -EIO;
		else if (ph.p_type == PT_LOAD && ph.p_paddr != UINT64_MAX &&
			 ph.p_vaddr < text_start)
			err = read_segment(kcore, ph.p_offset, ph.p_filesz,
					   pages);
	}
	close(kcore);
	return err;
}

static void cmd_touch(struct agent *a, unsigned long number, const char *arg)
{
	size_t pages = 0;
	int err = 0;

	if (strcmp(arg, "all") == 0) {
		err = touch_ram(&pages);
	} else {
		for (; pages < a->fill_pages; pages++)
			(void)*(volatile uint64_t *)(a->fill + pages * PAGE);
	}
	if (err < 0)
		answer(a, number, "error after %zu pages: %s", pages,
		       strerror(-err));
	else
		answer(a, number, "ok pages=%zu", pages);
}

static void serve(struct agent *a, char *line)
{
	char *end, *arg;
	unsigned long number = strtoul(line, &end, 10);

	if (end == line || *end != ' ')
		return;
	line = end + 1;
	arg = line + strcspn(line, " ");
	if (*arg)
		*arg++ = '\0';
	if (strcmp(line, "ping") == 0)
		answer(a, number, "ok");
	else if (strcmp(line, "set") == 0)
		cmd_set(a, number, arg);
	else if (strcmp(line, "fill") == 0)
		cmd_fill(a, number, arg);
	else if (strcmp(line, "state") == 0)
		cmd_state(a, number);
	else if (strcmp(line, "touch") == 0)
		cmd_touch(a, number, arg);
	else
		answer(a, number, "error unknown command %.32s", line);
}

static int open_port(const char *path)
{
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios t;

	if (fd < 0 || tcgetattr(fd, &t) < 0)
		return -1;
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL | CREAD;
	cfsetspeed(&t, B115200);
	return tcsetattr(fd, TCSANOW, &t) < 0 ? -1 : fd;
}

/* Reads one line. A line that is too long is dropped whole. */
static bool read_line(int fd, char *line)
{
	size_t n = 0;
	char c;

	while (read(fd, &c, 1) == 1) {
		if (c == '\n' && n < LINE_MAX_BYTES) {
			line[n] = '\0';
			return true;
		}
		if (c == '\n')
			n = 0;
		else if (n < LINE_MAX_BYTES)
			line[n++] = c;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct agent a = {0};
	char line[LINE_MAX_BYTES + 1];

	if (argc != 2) {
		fprintf(stderr, "usage: agent PORT\n");
		return 2;
	}
	a.port = open_port(argv[1]);
	if (a.port < 0) {
		fprintf(stderr, "agent: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	answer(&a, 0, "ok ready");
	while (read_line(a.port, line))
		serve(&a, line);
	fprintf(stderr, "agent: %s: no more input\n", argv[1]);
	return 1;
}
