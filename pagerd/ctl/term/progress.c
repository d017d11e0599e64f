#include "pagerd/ctl/term/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "fs/io/text.h"

#define INTERVAL_NS    UINT64_C(100000000)
#define BAR_MAX	       40
#define LINE_MAX_BYTES 512

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void progress_init(struct progress *p, const char *what, bool quiet)
{
	*p = (struct progress){
		.shown = !quiet && isatty(STDERR_FILENO) == 1,
		.what = what,
		.began_ns = now_ns(),
	};
	lock_init(&p->lock, "progress");
}

static int terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return 80;
	return size.ws_col;
}

static void print_bar(char *bar, int width, double share)
{
	int full = (int)(share * width);

	memset(bar, '#', (size_t)full);
	memset(bar + full, '.', (size_t)(width - full));
	bar[width] = '\0';
}

/* "publish [####....]  42 %  1.2 GiB  512.0 MiB/s  3 s left" */
static void compose(const struct progress *p, uint64_t done, uint64_t total,
		    char line[LINE_MAX_BYTES])
{
	double seconds = (double)(now_ns() - p->began_ns) / 1e9;
	double rate = seconds > 0 ? (double)done / seconds : 0;
	char size[TEXT_SIZE_MAX], speed[TEXT_SIZE_MAX], bar[BAR_MAX + 1];
	int width = terminal_width() - 60;
	double share;

	if (total > 0 && done > total)
		done = total;
	(void)text_size(done, size);
	(void)text_size((uint64_t)rate, speed);
	if (total == 0) {
		(void)snprintf(line, LINE_MAX_BYTES, "%s  %s  %s/s", p->what,
			       size, speed);
		return;
	}
	share = (double)done / (double)total;
	print_bar(bar,
		  width < 0	    ? 0
		  : width > BAR_MAX ? BAR_MAX
				    : width,
		  share);
	(void)snprintf(line, LINE_MAX_BYTES,
		       "%s [%s] %3.0f %%  %s  %s/s  %.0f s left", p->what, bar,
		       share * 100, size, speed,
		       rate > 0 ? (double)(total - done) / rate : 0.0);
}

void progress_report(void *progress, uint64_t done, uint64_t total)
{
	struct progress *p = progress;
	char line[LINE_MAX_BYTES];
	uint64_t now;

	if (!p->shown)
		return;
	LOCK_GUARD(&p->lock);
	now = now_ns();
	if (p->drawn_ns && now - p->drawn_ns < INTERVAL_NS)
		return;
	p->drawn_ns = now;
	compose(p, done, total, line);
	(void)fprintf(stderr, "\r\033[K%.*s", terminal_width() - 1, line);
}

void progress_release(struct progress *p)
{
	if (p->drawn_ns)
		(void)fputs("\r\033[K", stderr);
	lock_release(&p->lock);
}
