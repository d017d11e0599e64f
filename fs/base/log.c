#include "fs/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static atomic_int max_level = LOG_LEVEL_INFO;

static const struct {
	const char *name;
	int priority; /* syslog's, as sd-daemon(3) wants it in "<N>" */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", 3},
	[LOG_LEVEL_WARN] = {"warning", 4},
	[LOG_LEVEL_INFO] = {"info", 6},
	[LOG_LEVEL_DEBUG] = {"debug", 7},
};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
}

static int prefix(char *buf, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm tm;
	char stamp[32];

	if (getenv("JOURNAL_STREAM"))
		return snprintf(buf, size, "<%d>", levels[level].priority);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	return snprintf(buf, size, "%s.%03ldZ %s: ", stamp,
			now.tv_nsec / 1000000, levels[level].name);
}

/* A peer's text may stand in the line: it must stay one line. */
static void one_line(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = ' ';
}

void log_at(enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	int saved = errno, start, len;
	va_list ap;

	if ((int)level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	start = prefix(line, sizeof(line), level);
	va_start(ap, fmt);
	len = vsnprintf(line + start, sizeof(line) - (size_t)start - 1, fmt,
			ap);
	va_end(ap);
	if (len > (int)sizeof(line) - start - 2)
		len = (int)sizeof(line) - start - 2;
	one_line(line + start);
	line[start + len] = '\n';
	if (write(STDERR_FILENO, line, (size_t)(start + len) + 1) < 0) {
		/* A log that cannot be written has nowhere to say so. */
	}
	errno = saved;
}
