/* Connector "file": its options, and which half does what (emconnector-file(7)). */
#include "file.h"

#include <stddef.h>

static const char *const froms[] = { "start", "end", NULL };
static const char *const oversizes[] = { "stop", "skip", NULL };
static const char *const formats[] = { "lines", "data", "cloudevents", NULL };
static const char *const syncs[] = { "batch", "none", NULL };

#define FIELD(name) .field = offsetof(struct file_config, name)

static const struct em_option options[] = {
	{ .name = "path", .type = EM_OPTION_STRING, .required = true, FIELD(path),
	  .help = "source: a file or a glob of files; sink: the file to append to" },
	{ .name = "format", .type = EM_OPTION_CHOICE, .choices = formats, FIELD(format),
	  .help = "source: lines; sink: data (the data and a newline) or cloudevents (one JSON event a line)" },
	{ .name = "follow", .type = EM_OPTION_BOOL, .fallback = "true", .roles = EM_ROLE_SOURCE, FIELD(follow),
	  .help = "wait for more at the end; false: the task is finished there" },
	{ .name = "from", .type = EM_OPTION_CHOICE, .choices = froms, .fallback = "start", .roles = EM_ROLE_SOURCE,
	  FIELD(from), .help = "where files that are there at the first start are read from" },
	{ .name = "max.line", .type = EM_OPTION_SIZE, .fallback = "4M", .min = 1, .max = 6 << 20,
	  .roles = EM_ROLE_SOURCE, FIELD(max_line), .help = "the longest line that is read" },
	{ .name = "on.oversize", .type = EM_OPTION_CHOICE, .choices = oversizes, .fallback = "stop",
	  .roles = EM_ROLE_SOURCE, FIELD(oversize), .help = "what a longer line does: stop the connector, or be skipped and logged" },
	{ .name = "linger", .type = EM_OPTION_DURATION, .fallback = "30s", .min = 0, .max = 86400000,
	  .roles = EM_ROLE_SOURCE, FIELD(linger_ms),
	  .help = "how long a renamed or deleted file is still read after it stopped growing" },
	{ .name = "sync", .type = EM_OPTION_CHOICE, .choices = syncs, .fallback = "batch", .roles = EM_ROLE_SINK,
	  FIELD(sync), .help = "batch: on the disk before a batch is acknowledged; none: left to the system" },
	{ .name = "rotate.size", .type = EM_OPTION_SIZE, .fallback = "0", .roles = EM_ROLE_SINK, FIELD(rotate_size),
	  .help = "a file of this size is renamed and a new one begun; 0: never" },
	{ .name = "rotate.age", .type = EM_OPTION_DURATION, .fallback = "0s", .roles = EM_ROLE_SINK,
	  FIELD(rotate_age_ms), .help = "a file of this age is renamed and a new one begun; 0s: never" },
	{ 0 },
};

/* "format" means different things to the two roles, so its choices are told apart here. */
static int
check_format(struct em_task *t, struct file_config *config, struct em_error *err)
{
	enum { LINES, DATA, CLOUDEVENTS };

	if (em_task_role(t) == EM_ROLE_SOURCE && config->format != LINES)
		return em_error_set(err, EM_ECONFIG, "options.format must be lines for a source");
	config->format = config->format == CLOUDEVENTS ? FILE_CLOUDEVENTS : FILE_DATA;
	return 0;
}

static int
file_open(struct em_task *t, void *state, struct em_error *err)
{
	struct file_config *config = state;

	if (check_format(t, config, err) != 0)
		return -1;
	return em_task_role(t) == EM_ROLE_SOURCE ? file_source_open(t, config, err) : file_sink_open(t, config, err);
}

static void
file_close(struct em_task *t)
{
	if (em_task_role(t) == EM_ROLE_SOURCE)
		file_source_close(t);
	else
		file_sink_close(t);
}

static const struct em_connector connector = {
	.name = "file", .version = EM_VERSION, .help = "lines of files to events, and events to lines of a file",
	.roles = EM_ROLE_SOURCE | EM_ROLE_SINK, .options = options, .config_size = sizeof(struct file_config),
	.open = file_open, .close = file_close, .poll = file_source_poll, .put = file_sink_put,
};

int
main(int argc, char **argv)
{
	return em_connector_main(&connector, argc, argv);
}
