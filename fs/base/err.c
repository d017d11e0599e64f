#include "fs/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct {
	int code;
	char text[ERR_TEXT_MAX];
} last;

void err_note(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(last.text, sizeof(last.text), fmt, ap);
	va_end(ap);
	last.code = code;
}

int err_wrap(int code, const char *fmt, ...)
{
	char inner[ERR_TEXT_MAX], outer[ERR_TEXT_MAX];
	va_list ap;
	size_t len;

	err_copy(code, inner);
	va_start(ap, fmt);
	(void)vsnprintf(outer, sizeof(outer), fmt, ap);
	va_end(ap);
	len = strlen(outer);
	(void)snprintf(outer + len, sizeof(outer) - len, ": %s", inner);
	return err_restore(code, outer);
}

const char *err_text(int code)
{
	if (last.code == code && last.text[0])
		return last.text;
	return strerrordesc_np(-code) ?: "unknown error";
}

void err_clear(void)
{
	last.code = 0;
	last.text[0] = '\0';
}

void err_copy(int code, char buf[ERR_TEXT_MAX])
{
	(void)snprintf(buf, ERR_TEXT_MAX, "%s", err_text(code));
}

int err_restore(int code, const char *text)
{
	return err_set(code, "%s", text);
}
