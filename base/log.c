#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

static const char *const names[] = {
	[EM_DEBUG] = "debug", [EM_INFO] = "info", [EM_NOTICE] = "notice",
	[EM_WARNING] = "warning", [EM_ERROR] = "error", [EM_CRITICAL] = "critical",
};
_Static_assert(sizeof(names) / sizeof(names[0]) == EM_LEVELS, "a name for every level");

static void
to_stderr(void *ctx, enum em_level level, const char *subject, const char *text)
{
	(void)ctx;
	fprintf(stderr, "%s %s: %s\n", em_level_name(level), subject, text);
}

static struct {
	em_log_sink	*sink;
	void		*ctx;
	enum em_level	 lowest;
} target = { to_stderr, NULL, EM_INFO };

void
em_log_to(em_log_sink *sink, void *ctx)
{
	target.sink = sink != NULL ? sink : to_stderr;
	target.ctx = ctx;
}

void
em_log_level(enum em_level lowest)
{
	target.lowest = lowest;
}

enum em_level
em_log_lowest(void)
{
	return target.lowest;
}

static void
append_plain(struct em_buf *b, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
		if (*p < 0x20 || *p == 0x7f)
			em_buf_printf(b, "\\x%02x", *p);
		else
			em_buf_u8(b, *p);
	}
}

void
em_log(enum em_level level, const char *subject, const char *fmt, ...)
{
	struct em_buf line = { 0 };
	va_list ap;
	char *text;

	if (level < target.lowest)
		return;
	va_start(ap, fmt);
	text = em_vasprintf(fmt, ap);
	va_end(ap);
	append_plain(&line, text);
	free(text);
	target.sink(target.ctx, level, subject, em_buf_cstr(&line));
	em_buf_clear(&line);
}

const char *
em_level_name(enum em_level level)
{
	return (unsigned)level < EM_LEVELS ? names[level] : "unknown";
}

int
em_level_by_name(const char *name, enum em_level *level)
{
	for (int i = 0; i < EM_LEVELS; i++) {
		if (strcmp(names[i], name) == 0) {
			*level = (enum em_level)i;
			return 0;
		}
	}
	return -1;
}
