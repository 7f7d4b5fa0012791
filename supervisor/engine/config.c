#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "yamltree.h"

#define FILE_MAX_BYTES	(2u * 1024 * 1024)

struct place {
	const char	*file;
	const struct yaml_places *places;
	struct problems	*problems;
	const char	*prefix;
};

void
problems_clear(struct problems *p)
{
	for (size_t i = 0; i < p->count; i++) {
		free(p->items[i].file);
		free(p->items[i].message);
	}
	free(p->items);
	*p = (struct problems){ 0 };
}

static void
problem_add(struct problems *p, const char *file, struct yaml_place at, const char *message)
{
	p->items = em_realloc_array(p->items, p->count + 1, sizeof(*p->items));
	p->items[p->count++] = (struct problem){ em_strdup(file), at.line, at.column, em_strdup(message) };
}

json_t *
problems_json(const struct problems *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->count; i++)
		json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:s}", "file", p->items[i].file, "line",
		    (int)p->items[i].line, "column", (int)p->items[i].column, "message", p->items[i].message));
	return list;
}

void
problems_print(struct em_buf *b, const struct problems *p)
{
	for (size_t i = 0; i < p->count; i++)
		em_buf_printf(b, "%s%s:%u:%u: %s", i > 0 ? "\n" : "", p->items[i].file, p->items[i].line,
		    p->items[i].column, p->items[i].message);
}

/* What option.c found wrong, put at its line. */
static void
on_problem(void *ctx, const char *path, const char *message)
{
	const struct place *p = ctx;
	char *text = em_asprintf("%s %s", path, message);

	problem_add(p->problems, p->file, yaml_place_of(p->places, path), text);
	free(text);
}

static void
complain(const struct place *p, const char *path, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void
complain(const struct place *p, const char *path, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = em_vasprintf(fmt, ap);
	va_end(ap);
	on_problem((void *)(uintptr_t)p, path, text);
	free(text);
}

/* A part of the file that is an object with a table of its own. */
static void
parse_part(const struct place *p, const char *name, const json_t *value, const struct em_option *rows, void *target)
{
	char *prefix = em_asprintf("%s.", name);

	if (value != NULL && !json_is_object(value))
		complain(p, name, "must be a mapping (\"name: value\" lines below it)");
	else
		em_options_parse(rows, 0, value, target, prefix, on_problem, (void *)(uintptr_t)p);
	free(prefix);
}

static const char *const levels[] = { "debug", "info", "notice", "warning", "error", "critical", NULL };
static const char *const log_formats[] = { "text", "json", NULL };
static const char *const inbox_syncs[] = { "always", "none", NULL };

#define C(name) .field = offsetof(struct config, name)
#define M(name) .field = offsetof(struct config, mesh.name)

static const struct em_option config_rows[] = {
	{ .name = "state_dir", .type = EM_OPTION_STRING, .fallback = "/var/lib/emsupervisor", C(state_dir),
	  .help = "directory of the registry, of emlocald's log and of inboxes" },
	{ .name = "run_dir", .type = EM_OPTION_STRING, .fallback = "/run/emsupervisor", C(run_dir),
	  .help = "directory of the control socket" },
	{ .name = "connectors_dir", .type = EM_OPTION_STRING, .fallback = "/etc/emsupervisor/connectors.d",
	  C(connectors_dir), .help = "directory with one file per connector" },
	{ .name = "plugin_dir", .type = EM_OPTION_STRING, .fallback = EM_CONNECTOR_DIR, C(plugin_dir),
	  .help = "directory of the connectors' executables" },
	{ .name = "user", .type = EM_OPTION_STRING, .fallback = "emsupervisor", C(user),
	  .help = "user to run as, when started as root" },
	{ .name = "read_group", .type = EM_OPTION_STRING, C(read_group), .help = "group that may read over the control socket" },
	{ .name = "change_group", .type = EM_OPTION_STRING, C(change_group),
	  .help = "group that may change things over the control socket" },
	{ .name = "log", .type = EM_OPTION_JSON, C(log_json), .help = "target, level and format of the log" },
	{ .name = "http", .type = EM_OPTION_STRING, C(http), .help = "address of metrics and health; absent: off" },
	{ .name = "eventmesh", .type = EM_OPTION_JSON, C(mesh_json), .required = true,
	  .help = "local, or the servers of an EventMesh and how to reach them" },
	{ .name = "registry", .type = EM_OPTION_STRING, .fallback = "sqlite", C(registry), .help = "backend of the registry" },
	{ 0 },
};

static const struct em_option log_rows[] = {
	{ .name = "target", .type = EM_OPTION_STRING, .fallback = "stderr", C(log_target),
	  .help = "journal, stderr, or the path of a file" },
	{ .name = "level", .type = EM_OPTION_CHOICE, .choices = levels, .fallback = "info", C(log_level),
	  .help = "the lowest level that is logged" },
	{ .name = "format", .type = EM_OPTION_CHOICE, .choices = log_formats, .fallback = "text", C(log_format),
	  .help = "how a line looks on stderr and in a file" },
	{ 0 },
};

static const struct em_option mesh_rows[] = {
	{ .name = "servers", .type = EM_OPTION_LIST, M(servers), .help = "addresses, host:port, tried in turn" },
	{ .name = "local", .type = EM_OPTION_JSON, M(local_json), .help = "settings of the embedded broker" },
	{ .name = "env", .type = EM_OPTION_STRING, .fallback = "PRD", M(env), .help = "environment of the UserAgent" },
	{ .name = "idc", .type = EM_OPTION_STRING, .fallback = "DEFAULT", M(idc), .help = "idc of the UserAgent" },
	{ .name = "subsystem", .type = EM_OPTION_STRING, .fallback = "5023", M(subsystem), .help = "subsystem of the UserAgent" },
	{ .name = "group", .type = EM_OPTION_STRING, .fallback = "emsupervisor", M(group),
	  .help = "prefix of consumer groups that no connector names" },
	{ .name = "username", .type = EM_OPTION_STRING, .fallback = "", M(username), .help = "username of the UserAgent" },
	{ .name = "password", .type = EM_OPTION_STRING, .fallback = "", .secret = true, M(password),
	  .help = "password of the UserAgent" },
	{ .name = "token", .type = EM_OPTION_STRING, .fallback = "", .secret = true, M(token), .help = "token of the UserAgent" },
	{ .name = "window", .type = EM_OPTION_JSON, M(window_json), .help = "what may be in flight" },
	{ .name = "connections", .type = EM_OPTION_INT, .fallback = "1", .min = 1, .max = 64, M(connections),
	  .help = "publishing connections to one server" },
	{ .name = "ttl", .type = EM_OPTION_DURATION, .fallback = "7d", .min = 1000, .max = INT64_MAX, M(ttl_ms),
	  .help = "ttl of published events" },
	{ .name = "inbox_sync", .type = EM_OPTION_CHOICE, .choices = inbox_syncs, .fallback = "none", M(inbox_sync),
	  .help = "whether the inbox is synced before a delivery is acknowledged" },
	{ .name = "inbox_size", .type = EM_OPTION_SIZE, .fallback = "1G", .min = 1 << 20, .max = INT64_MAX, M(inbox_size),
	  .help = "largest size of one group's inbox" },
	{ 0 },
};

#define L(name) .field = offsetof(struct config_mesh, name)
static const struct em_option local_rows[] = {
	{ .name = "listen", .type = EM_OPTION_STRING, .fallback = "127.0.0.1:0", L(local_listen),
	  .help = "address of the embedded broker; port 0: any free one" },
	{ .name = "fsync", .type = EM_OPTION_STRING, .fallback = "interval", L(local_fsync),
	  .help = "always, interval or never" },
	{ .name = "retain_size", .type = EM_OPTION_STRING, .fallback = "1G", L(local_retain_size),
	  .help = "largest size of its log" },
	{ .name = "retain_age", .type = EM_OPTION_STRING, .fallback = "7d", L(local_retain_age), .help = "age its log is kept" },
	{ 0 },
};

#define W(name) .field = offsetof(struct config_window, name)
static const struct em_option window_rows[] = {
	{ .name = "records", .type = EM_OPTION_INT, .fallback = "1024", .min = 1, .max = 65536, W(records),
	  .help = "records in flight" },
	{ .name = "bytes", .type = EM_OPTION_SIZE, .fallback = "4M", .min = 1024, .max = 1 << 30, W(bytes),
	  .help = "bytes in flight" },
	{ 0 },
};

char *
config_read_file(const char *path, size_t *len, struct em_error *err)
{
	struct em_buf b = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	while (fd >= 0 && (n = read(fd, em_buf_reserve(&b, 65536), 65536)) > 0) {
		b.len += (size_t)n;
		if (b.len > FILE_MAX_BYTES) {
			em_error_set(err, EM_ELIMIT, "\"%s\" has more than %u bytes", path, FILE_MAX_BYTES);
			break;
		}
	}
	if (n != 0) {
		em_error_errno(err, errno, "reading \"%s\"", path);
		if (fd >= 0)
			close(fd);
		em_buf_clear(&b);
		return NULL;
	}
	close(fd);
	*len = b.len;
	em_buf_u8(&b, 0);
	return (char *)b.data;
}

static int
write_synced(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return -1;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return fsync(fd);
}

static void
sync_directory(const char *path)
{
	char *dir = em_strdup(path), *slash = strrchr(dir, '/');
	int fd;

	if (slash != NULL)
		*slash = '\0';
	fd = open(slash != NULL ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		(void)fsync(fd);	/* a filesystem that cannot says nothing about the file */
		close(fd);
	}
	free(dir);
}

int
config_write_file(const char *path, const char *text, size_t len, struct em_error *err)
{
	char *temporary = em_asprintf("%s.new", path);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640), result = 0;

	if (fd < 0 || write_synced(fd, text, len) != 0 || rename(temporary, path) != 0)
		result = em_error_errno(err, errno, "writing \"%s\"", path);
	else
		sync_directory(path);
	if (fd >= 0)
		close(fd);
	if (result != 0)
		unlink(temporary);
	free(temporary);
	return result;
}

static json_t *
load_tree(const char *file, const char *text, size_t len, struct yaml_places **places, struct problems *problems)
{
	struct em_error err = EM_ERROR_INIT;
	struct yaml_place where;
	json_t *tree = yaml_load(text, len, places, &where, &err);

	if (tree == NULL)
		problem_add(problems, file, where, em_error_text(&err));
	em_error_clear(&err);
	return tree;
}

static void
parse_mesh(const struct place *p, struct config *c)
{
	if (c->mesh_json == NULL)
		return;
	if (json_is_string(c->mesh_json) && strcmp(json_string_value(c->mesh_json), "local") == 0) {
		c->mesh.local = true;
		em_options_parse(mesh_rows, 0, NULL, c, "eventmesh.", on_problem, (void *)(uintptr_t)p);
	} else if (!json_is_object(c->mesh_json)) {
		complain(p, "eventmesh", "must be local or a mapping with servers");
		return;
	} else {
		parse_part(p, "eventmesh", c->mesh_json, mesh_rows, c);
		c->mesh.local = c->mesh.local_json != NULL;
		if (c->mesh.servers.count == 0 && !c->mesh.local)
			complain(p, "eventmesh.servers", "is required: a list of host:port");
	}
	parse_part(p, "eventmesh.window", c->mesh.window_json, window_rows, &c->mesh.window);
	parse_part(p, "eventmesh.local", c->mesh.local_json, local_rows, &c->mesh);
}

struct config *
config_load(const char *file, struct problems *problems)
{
	struct em_error err = EM_ERROR_INIT;
	struct yaml_places *places = NULL;
	struct config *c = NULL;
	size_t len, before = problems->count;
	char *text = config_read_file(file, &len, &err);
	json_t *tree = NULL;

	if (text == NULL)
		problem_add(problems, file, (struct yaml_place){ 1, 1 }, em_error_text(&err));
	else
		tree = load_tree(file, text, len, &places, problems);
	if (tree != NULL) {
		struct place p = { file, places, problems, "" };

		c = em_calloc(1, sizeof(*c));
		em_options_parse(config_rows, 0, tree, c, "", on_problem, &p);
		parse_part(&p, "log", c->log_json, log_rows, c);
		parse_mesh(&p, c);
		if (strcmp(c->registry, "sqlite") != 0)
			complain(&p, "registry", "must be sqlite, not \"%s\"", c->registry);
	}
	if (problems->count > before) {
		config_free(c);
		c = NULL;
	}
	json_decref(tree);
	yaml_places_free(places);
	free(text);
	em_error_clear(&err);
	return c;
}

void
config_free(struct config *c)
{
	if (c == NULL)
		return;
	em_options_clear(config_rows, c);
	em_options_clear(log_rows, c);
	em_options_clear(mesh_rows, c);
	em_options_clear(local_rows, &c->mesh);
	free(c);
}

/* ---- definitions ---- */

static const char *const roles[] = { "source", "sink", NULL };
static const char *const orders[] = { "partition", "key", "none", NULL };
static const char *const formats[] = { "cloudevents", "eventmesh", NULL };
static const char *const thens[] = { "dead-letter", "stop", "skip", NULL };

#define D(name) .field = offsetof(struct definition, name)

static const struct em_option definition_rows[] = {
	{ .name = "connector", .type = EM_OPTION_STRING, .required = true, D(kind), .help = "the connector's executable" },
	{ .name = "role", .type = EM_OPTION_CHOICE, .choices = roles, .required = true, D(role_index),
	  .help = "source or sink" },
	{ .name = "topic", .type = EM_OPTION_STRING, .required = true, D(topic), .help = "EventMesh topic" },
	{ .name = "group", .type = EM_OPTION_STRING, D(group), .help = "sinks: consumer group (default: prefix and name)" },
	{ .name = "tasks", .type = EM_OPTION_INT, .fallback = "1", .min = 1, .max = 256, D(tasks),
	  .help = "processes that share the work" },
	{ .name = "order", .type = EM_OPTION_CHOICE, .choices = orders, .fallback = "partition", D(order_index),
	  .help = "within what records keep their order" },
	{ .name = "message_format", .type = EM_OPTION_CHOICE, .choices = formats, .fallback = "cloudevents", D(format_index),
	  .help = "the form of published events" },
	{ .name = "autostart", .type = EM_OPTION_BOOL, .fallback = "true", D(autostart),
	  .help = "whether a new connector is started" },
	{ .name = "options", .type = EM_OPTION_JSON, D(options), .help = "the connector's own options" },
	{ .name = "on_error", .type = EM_OPTION_JSON, D(on_error_json), .help = "what is done with records that fail" },
	{ .name = "restart", .type = EM_OPTION_JSON, D(restart_json), .help = "when a failed task is started again" },
	{ .name = "limits", .type = EM_OPTION_JSON, D(limits_json), .help = "limits of its processes" },
	{ .name = "window", .type = EM_OPTION_JSON, D(window_json), .help = "what may be in flight" },
	{ 0 },
};

static const struct em_option on_error_rows[] = {
	{ .name = "retries", .type = EM_OPTION_INT, .fallback = "-1", .min = -1, .max = 60000, D(on_error.retries),
	  .help = "how often a record is tried again before \"then\"; -1: without end" },
	{ .name = "backoff", .type = EM_OPTION_STRING, .fallback = "200ms..30s", D(on_error.backoff_text),
	  .help = "delay between tries, from..to" },
	{ .name = "then", .type = EM_OPTION_CHOICE, .choices = thens, .fallback = "dead-letter", D(on_error.then),
	  .help = "what becomes of a record that is refused" },
	{ 0 },
};

static const struct em_option restart_rows[] = {
	{ .name = "backoff", .type = EM_OPTION_STRING, .fallback = "100ms..1m", D(restart.backoff_text),
	  .help = "delay before a restart, from..to" },
	{ .name = "max", .type = EM_OPTION_STRING, .fallback = "10 in 10m", D(restart.max_text),
	  .help = "more failures than this are too many" },
	{ 0 },
};

static const struct em_option limits_rows[] = {
	{ .name = "memory", .type = EM_OPTION_SIZE, .fallback = "0", D(limits.memory), .help = "data memory; 0: unlimited" },
	{ .name = "files", .type = EM_OPTION_INT, .fallback = "1024", .min = 16, .max = 1 << 20, D(limits.files),
	  .help = "open files" },
	{ .name = "processes", .type = EM_OPTION_INT, .fallback = "0", .min = 0, .max = 1 << 20, D(limits.processes),
	  .help = "processes of its user; 0: unlimited" },
	{ 0 },
};

/* "200ms..30s" */
static void
parse_backoff(const struct place *p, const char *path, const char *text, int64_t *min_ms, int64_t *max_ms)
{
	const char *dots = strstr(text, "..");
	char *low = em_span_dup((struct em_span){ (const uint8_t *)text,
	    dots != NULL ? (size_t)(dots - text) : strlen(text) });

	if (dots == NULL || em_parse_duration(low, min_ms) != 0 || em_parse_duration(dots + 2, max_ms) != 0 ||
	    *min_ms < 1 || *max_ms < *min_ms)
		complain(p, path, "must be two durations such as 200ms..30s, not \"%s\"", text);
	free(low);
}

/* "10 in 10m" */
static void
parse_max(const struct place *p, const char *path, const char *text, struct life_policy *policy)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || strncmp(end, " in ", 4) != 0 || em_parse_duration(end + 4, &policy->window_ms) != 0 || n < 1 ||
	    n >= (long)LIFE_RECENT)
		complain(p, path, "must be a number and a duration such as 10 in 10m (at most %u), not \"%s\"",
		    LIFE_RECENT - 1, text);
	policy->failures = n;
}

static void
parse_definition(const struct place *p, struct definition *d, const json_t *tree, const struct config *config)
{
	em_options_parse(definition_rows, 0, tree, d, "", on_problem, (void *)(uintptr_t)p);
	d->role = d->role_index == 0 ? EM_SOURCE : EM_SINK;
	d->order = (enum order)d->order_index;
	d->message_format = d->format_index == 0 ? EM_FORM_CLOUDEVENTS : EM_FORM_EVENTMESH;
	parse_part(p, "on_error", d->on_error_json, on_error_rows, d);
	parse_part(p, "restart", d->restart_json, restart_rows, d);
	parse_part(p, "limits", d->limits_json, limits_rows, d);
	parse_part(p, "window", d->window_json, window_rows, &d->window);
	if (d->window_json == NULL && config != NULL)
		d->window = config->mesh.window;
	if (d->options != NULL && !json_is_object(d->options))
		complain(p, "options", "must be a mapping (\"name: value\" lines below it)");
	if (d->kind != NULL && (strchr(d->kind, '/') != NULL || d->kind[0] == '.'))
		complain(p, "connector", "must be the name of an executable in plugin_dir, not a path");
	if (d->group != NULL && d->role == EM_SOURCE)
		complain(p, "group", "is for sinks only: a source publishes, it consumes nothing");
	if (d->on_error.backoff_text != NULL)
		parse_backoff(p, "on_error.backoff", d->on_error.backoff_text, &d->on_error.backoff.min_ms,
		    &d->on_error.backoff.max_ms);
	if (d->restart.backoff_text != NULL)
		parse_backoff(p, "restart.backoff", d->restart.backoff_text, &d->restart.policy.min_ms,
		    &d->restart.policy.max_ms);
	if (d->restart.max_text != NULL)
		parse_max(p, "restart.max", d->restart.max_text, &d->restart.policy);
}

static bool
is_name(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	return n > 0 && n <= 63 && name[n] == '\0' && name[0] != '-' && name[0] != '_';
}

struct definition *
definition_parse(const char *name, const char *file, const char *text, size_t len, const struct config *config,
    struct problems *problems)
{
	struct yaml_places *places = NULL;
	struct definition *d;
	size_t before = problems->count;
	json_t *tree;

	if (!is_name(name)) {
		problem_add(problems, file, (struct yaml_place){ 1, 1 }, "a connector's name (its file's) must be 1 to 63 of "
		    "a-z, 0-9, \"-\" and \"_\", beginning with a letter or digit");
		return NULL;
	}
	tree = load_tree(file, text, len, &places, problems);
	if (tree == NULL)
		return NULL;
	d = em_calloc(1, sizeof(*d));
	d->name = em_strdup(name);
	d->file = em_strdup(file);
	d->tree = tree;
	parse_definition(&(struct place){ file, places, problems, "" }, d, tree, config);
	if (d->options == NULL)
		d->options = json_object();
	yaml_places_free(places);
	if (problems->count > before) {
		definition_free(d);
		return NULL;
	}
	return d;
}

void
definition_free(struct definition *d)
{
	if (d == NULL)
		return;
	em_options_clear(definition_rows, d);
	em_options_clear(on_error_rows, d);
	em_options_clear(restart_rows, d);
	em_options_clear(limits_rows, d);
	json_decref(d->tree);
	free(d->name);
	free(d->file);
	free(d);
}

bool
definition_same(const struct definition *a, const struct definition *b)
{
	return json_equal(a->tree, b->tree) && a->window.records == b->window.records && a->window.bytes == b->window.bytes;
}
