/*
 * Errors: a function returns a negative errno, and may leave one line that
 * says which thing failed, why, and what to do about it.
 *
 * The line belongs to the calling thread and is replaced by the next
 * err_set() there. Whoever gives up prints or logs err_text(code) once; a
 * layer that passes an error on adds nothing unless it knows more, and then
 * wraps with err_wrap(). A code that crosses to another thread takes its
 * text along by err_copy() and err_restore().
 *
 * Codes that this project gives a meaning of its own:
 *   -EBADMSG   bytes that fail their checksum or their format: damage
 *   -EPROTO    a peer speaks what is not the protocol
 *   -ENOTUNIQ  the name is taken
 *   -EBUSY     in use by somebody: a lease, a lock, a running session
 *   -EMEDIUMTYPE  not a store (or not a file of ours) at all
 *   -ENOTSUP   a format or feature newer than this program
 */
#pragma once

#define ERR_TEXT_MAX 512

/*
 * Notes the line for `code` (a negative errno) and returns `code`: a macro,
 * so that a compiler or an analyzer that looks at one file sees as much.
 */
#define err_set(code, ...)                            \
	({                                            \
		int err_set_code_ = (code);           \
		err_note(err_set_code_, __VA_ARGS__); \
		err_set_code_;                        \
	})
void err_note(int code, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* As err_set(), with ": " and the present text of `code` behind it. */
int err_wrap(int code, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * The line noted last for `code` by this thread; where the last line noted
 * was for another code, the C library's words for it. Never NULL; valid
 * until the thread's next err_*() call.
 */
const char *err_text(int code);

/* Forgets the line, so that a stale one cannot describe a later failure. */
void err_clear(void);

/* For crossing threads: the text of `code` into `buf`, and back. */
void err_copy(int code, char buf[ERR_TEXT_MAX]);
int err_restore(int code, const char *text);
