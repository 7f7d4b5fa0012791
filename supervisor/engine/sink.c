#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "error.h"
#include "log.h"
#include "systemd.h"

char *
sink_time(const struct timespec *t)
{
	char date[32];
	struct tm tm;

	gmtime_r(&t->tv_sec, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	return em_asprintf("%s.%03ldZ", date, t->tv_nsec / 1000000);
}

static void
write_line(void *ctx, const char *line, size_t len)
{
	if (write((int)(intptr_t)ctx, line, len) < 0)
		return;		/* a log that cannot be written has nobody to tell */
}

static char *
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return sink_time(&t);
}

static void
as_text(void *ctx, enum em_level level, const char *subject, const char *text)
{
	char *time = now(), *line = em_asprintf("%s %-8s %s: %s\n", time, em_level_name(level), subject, text);

	write_line(ctx, line, strlen(line));
	free(line);
	free(time);
}

static void
as_json(void *ctx, enum em_level level, const char *subject, const char *text)
{
	char *time = now(), *dump, *line;
	json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "time", time, "level", em_level_name(level), "subject", subject,
	    "text", text);

	dump = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
	line = em_asprintf("%s\n", dump != NULL ? dump : "{\"text\":\"a line that is no UTF-8\"}");
	write_line(ctx, line, strlen(line));
	free(line);
	free(dump);
	json_decref(o);
	free(time);
}

static void
to_journal(void *ctx, enum em_level level, const char *subject, const char *text)
{
	(void)ctx;
	systemd_journal(level, subject, text);
}

int
sink_open(const char *target, bool json, struct em_error *err)
{
	int fd = STDERR_FILENO;

	if (target != NULL && strcmp(target, "journal") == 0) {
		em_log_to(to_journal, NULL);
		return 0;
	}
	if (target != NULL && strcmp(target, "stderr") != 0)
		fd = open(target, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (fd < 0)
		return em_error_errno(err, errno, "opening the log \"%s\"", target);
	em_log_to(json ? as_json : as_text, (void *)(intptr_t)fd);
	return 0;
}
