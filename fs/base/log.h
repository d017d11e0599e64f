/*
 * The log: one line an event on stderr, with systemd's "<N>" priority prefix
 * where stderr is the journal, and with time and level where it is not. Only
 * the layer that gives up, or that tells of a state an operator acts on, logs
 * above debug; library code below the programs does not. Lines carry what
 * they are about as "key=value" pairs at their end. errno is preserved; any
 * thread may log; a line is written with one write(2).
 */
#pragma once

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG
};

#define LOG_LINE_MAX 2048

/* What is less urgent than `level` is dropped. The default is info. */
void log_set_level(enum log_level level);

void log_at(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
