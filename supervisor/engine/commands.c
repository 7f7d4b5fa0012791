/* What operators ask over the control socket: one row and one function a command (emctl(1)). */
#include "engine_private.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "error.h"
#include "json.h"
#include "record.h"
#include "sink.h"
#include "utf8.h"

#define WAIT_MS		20000

static const char *
argument(const json_t *arguments, const char *name)
{
	return json_string_value(json_object_get(arguments, name));
}

/* The connector a request names; NULL after refusing. */
static struct entry *
named(struct engine *e, struct control_request *r, const json_t *arguments)
{
	const char *name = argument(arguments, "name");
	struct entry *entry = engine_find(e, name);

	if (name == NULL)
		control_refuse(r, EM_EUSAGE, "\"name\" is missing: the name of a connector");
	else if (entry == NULL)
		control_refuse(r, EM_ENOTFOUND, "there is no connector \"%s\"", name);
	return entry;
}

static json_t *
bytes_json(struct em_span s)
{
	struct em_buf b = { 0 };
	json_t *value;

	if (em_is_utf8(s))
		return json_stringn((const char *)s.bytes, s.len);
	em_json_base64(&b, s);
	value = json_sprintf("base64:%.*s", (int)b.len - 2, (const char *)b.data + 1);
	em_buf_clear(&b);
	return value;
}

static json_t *
time_json(int64_t time_ms)
{
	struct timespec t = { time_ms / 1000, time_ms % 1000 * 1000000 };
	char *text = sink_time(&t);
	json_t *value = json_string(text);

	free(text);
	return value;
}

static void
do_version(void *ctx, struct control_request *r, const json_t *arguments)
{
	(void)ctx;
	(void)arguments;
	control_answer(r, json_pack("{s:s, s:i}", "version", EM_VERSION, "protocol", EM_PROTOCOL_MAJOR));
}

static json_t *
connector_json(const struct entry *entry)
{
	const struct definition *d = connector_definition(entry->connector);

	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "name", d->name, "connector", d->kind, "role",
	    em_role_name(d->role), "topic", d->topic, "desired", desired_name(connector_desired(entry->connector)), "state",
	    connector_state_text(entry->connector));
}

static json_t *
status_json(const struct entry *entry)
{
	struct route_counters n;
	json_t *o = connector_json(entry);

	route_counters_get(entry->flow, &n);
	json_object_set_new(o, "tasks", connector_tasks(entry->connector));
	json_object_set_new(o, "records", json_pack("{s:I, s:I, s:I, s:I, s:I}", "received", (json_int_t)n.received,
	    "delivered", (json_int_t)n.delivered, "retried", (json_int_t)n.retried, "dead_lettered",
	    (json_int_t)n.dead_lettered, "in_flight", (json_int_t)n.in_flight));
	json_object_set_new(o, "last_error", json_string(connector_last_error(entry->connector)));
	return o;
}

static void
do_status(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct engine *e = ctx;
	json_t *list = json_array();
	struct publish_status mesh;
	struct entry *entry;

	if (argument(arguments, "name") != NULL) {
		entry = named(e, r, arguments);
		if (entry == NULL) {
			json_decref(list);
			return;
		}
		json_array_append_new(list, status_json(entry));
	} else {
		TAILQ_FOREACH(entry, &e->entries, link)
			json_array_append_new(list, status_json(entry));
	}
	publish_status_get(e->publish, &mesh);
	control_answer(r, json_pack("{s:{s:s, s:i, s:I, s:{s:s, s:s, s:I, s:I, s:I, s:i}, s:i}, s:o}", "supervisor", "version",
	    EM_VERSION, "pid", (int)getppid(), "uptime_s", (json_int_t)(time(NULL) - e->started_s), "eventmesh", "state",
	    mesh.up ? "connected" : "connecting", "server", mesh.server, "in_flight", (json_int_t)mesh.in_flight, "resent",
	    (json_int_t)mesh.resent, "refused", (json_int_t)mesh.refused, "window", (int)mesh.window, "engine_pid",
	    (int)getpid(), "connectors", list));
}

static void
do_list(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct engine *e = ctx;
	json_t *list = json_array();
	struct entry *entry;

	(void)arguments;
	TAILQ_FOREACH(entry, &e->entries, link)
		json_array_append_new(list, connector_json(entry));
	control_answer(r, json_pack("{s:o}", "connectors", list));
}

static json_t *
line_json(const struct log_line *line)
{
	char *time = sink_time(&line->time);
	json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "time", time, "level", em_level_name(line->level), "subject",
	    line->subject, "text", line->text);

	free(time);
	return o != NULL ? o : json_pack("{s:s}", "text", "a line that is no UTF-8");
}

static void
do_describe(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct engine *e = ctx;
	struct entry *entry = named(e, r, arguments);
	struct em_error err = EM_ERROR_INIT;
	const struct definition *d;
	json_t *o;

	if (entry == NULL)
		return;
	d = connector_definition(entry->connector);
	o = status_json(entry);
	json_object_set_new(o, "file", json_string(d->file));
	json_object_set_new(o, "definition", definition_shown(d, kinds_find(e->kinds, d->kind)));
	json_object_set_new(o, "history", registry_history(e->registry, d->name, &err));
	json_object_set_new(o, "dead_letters", json_integer(registry_dead_letters_count(e->registry, d->name, &err)));
	em_error_clear(&err);
	control_answer(r, o);
}

/* ---- start, stop, pause ...: answered when the state is reached ---- */

static void
waiter_free(struct waiter *w)
{
	TAILQ_REMOVE(&w->engine->waiters, w, link);
	event_free(w->limit);
	json_decref(w->names);
	free(w);
}

static bool
has_reached(const struct entry *entry, enum desired desired)
{
	const char *state = connector_state_text(entry->connector);

	if (desired == DESIRED_STOPPED)
		return connector_is_at_rest(entry->connector);
	if (strcmp(state, "finished") == 0)
		return true;
	return strcmp(state, desired == DESIRED_PAUSED ? "paused" : "running") == 0;
}

static void
answer_waiter(struct waiter *w)
{
	json_t *list = json_array(), *name;
	size_t i;

	json_array_foreach(w->names, i, name) {
		struct entry *entry = engine_find(w->engine, json_string_value(name));

		if (entry != NULL)
			json_array_append_new(list, connector_json(entry));
	}
	control_answer(w->request, json_pack("{s:o}", "connectors", list));
	waiter_free(w);
}

/* True when nothing is to be waited for any more. */
static bool
look(struct waiter *w)
{
	struct em_error err = EM_ERROR_INIT;
	bool all = true;
	json_t *name;
	size_t i;

	json_array_foreach(w->names, i, name) {
		struct entry *entry = engine_find(w->engine, json_string_value(name));

		if (entry == NULL)
			continue;
		if (w->again) {
			all = all && connector_is_at_rest(entry->connector);
		} else if (strcmp(connector_state_text(entry->connector), "failed") == 0 && w->desired != DESIRED_STOPPED) {
			control_refuse(w->request, EM_EREFUSED, "%s has failed: %s", connector_name(entry->connector),
			    connector_last_error(entry->connector));
			waiter_free(w);
			return true;
		} else {
			all = all && has_reached(entry, w->desired);
		}
	}
	if (!all)
		return false;
	if (!w->again) {
		answer_waiter(w);
		return true;
	}
	w->again = false;
	json_array_foreach(w->names, i, name) {
		struct entry *entry = engine_find(w->engine, json_string_value(name));

		if (entry != NULL)
			(void)connector_want(entry->connector, w->desired, &err);
	}
	em_error_clear(&err);
	return false;
}

void
commands_look(struct engine *e)
{
	struct waiter *w, *next;

	for (w = TAILQ_FIRST(&e->waiters); w != NULL; w = next) {
		next = TAILQ_NEXT(w, link);
		(void)look(w);
	}
}

static void
on_wait_limit(evutil_socket_t fd, short what, void *ctx)
{
	struct waiter *w = ctx;
	struct entry *entry = engine_find(w->engine, json_string_value(json_array_get(w->names, 0)));

	(void)fd;
	(void)what;
	control_refuse(w->request, EM_ETIMEOUT, "the state is not reached yet, it is %s%s%s; it goes on",
	    entry != NULL ? connector_state_text(entry->connector) : "gone",
	    entry != NULL && connector_last_error(entry->connector)[0] != '\0' ? ": " : "",
	    entry != NULL ? connector_last_error(entry->connector) : "");
	waiter_free(w);
}

static void
on_wait_cancel(void *arg)
{
	waiter_free(arg);
}

static void
want(struct engine *e, struct control_request *r, const json_t *arguments, enum desired desired, bool again)
{
	const json_t *names = json_object_get(arguments, "names"), *name;
	int64_t ms = json_integer_value(json_object_get(arguments, "timeout_ms"));
	struct em_error err = EM_ERROR_INIT;
	struct timeval limit;
	struct waiter *w;
	size_t i;

	if (!json_is_array(names) || json_array_size(names) == 0) {
		control_refuse(r, EM_EUSAGE, "\"names\" is missing: a list of connectors");
		return;
	}
	json_array_foreach(names, i, name) {
		if (engine_find(e, json_string_value(name)) == NULL) {
			control_refuse(r, EM_ENOTFOUND, "there is no connector \"%s\"",
			    json_is_string(name) ? json_string_value(name) : "");
			return;
		}
	}
	json_array_foreach(names, i, name) {
		struct entry *entry = engine_find(e, json_string_value(name));

		if (again)
			connector_rest(entry->connector);
		else if (connector_want(entry->connector, desired, &err) != 0)
			break;
	}
	if (err.code != EM_OK) {
		control_refuse(r, err.code, "%s", em_error_text(&err));
		em_error_clear(&err);
		return;
	}
	w = em_calloc(1, sizeof(*w));
	w->engine = e;
	w->request = r;
	w->names = json_deep_copy(names);
	w->desired = desired;
	w->again = again;
	w->limit = event_new(e->base, -1, 0, on_wait_limit, w);
	ms = ms > 0 && ms < 600000 ? ms : WAIT_MS;
	limit = (struct timeval){ ms / 1000, ms % 1000 * 1000 };
	event_add(w->limit, &limit);
	TAILQ_INSERT_TAIL(&e->waiters, w, link);
	control_on_cancel(r, on_wait_cancel, w);
	event_active(e->reap, EV_TIMEOUT, 0);
}

static void
do_start(void *ctx, struct control_request *r, const json_t *arguments)
{
	want(ctx, r, arguments, DESIRED_RUNNING, false);
}

static void
do_stop(void *ctx, struct control_request *r, const json_t *arguments)
{
	want(ctx, r, arguments, DESIRED_STOPPED, false);
}

static void
do_restart(void *ctx, struct control_request *r, const json_t *arguments)
{
	want(ctx, r, arguments, DESIRED_RUNNING, true);
}

static void
do_pause(void *ctx, struct control_request *r, const json_t *arguments)
{
	want(ctx, r, arguments, DESIRED_PAUSED, false);
}

/* ---- definitions ---- */

static struct definition *
read_definition(struct engine *e, const json_t *o, struct problems *problems)
{
	const char *name = argument(o, "name"), *text = argument(o, "text"), *file = argument(o, "file");
	struct definition *d;

	if (name == NULL || text == NULL)
		return NULL;
	d = definition_parse(name, file != NULL ? file : name, text, strlen(text), e->config, problems);
	if (d != NULL && engine_check_definition(e, d, text, strlen(text), problems) != 0) {
		definition_free(d);
		d = NULL;
	}
	return d;
}

static void
refuse_problems(struct control_request *r, struct problems *problems)
{
	struct em_buf text = { 0 };

	problems_print(&text, problems);
	control_refuse_with(r, EM_ECONFIG, text.len > 0 ? em_buf_cstr(&text) : "\"name\" and \"text\" are needed",
	    problems_json(problems));
	em_buf_clear(&text);
	problems_clear(problems);
}

static char *
file_of(const struct engine *e, const char *name)
{
	return em_asprintf("%s/%s.yaml", e->config->connectors_dir, name);
}

static void
do_apply(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct engine *e = ctx;
	struct problems problems = { 0 };
	struct em_error err = EM_ERROR_INIT;
	struct definition *d = read_definition(e, arguments, &problems);
	const char *change, *text = argument(arguments, "text");
	struct entry *entry;
	char *path;

	if (d == NULL) {
		refuse_problems(r, &problems);
		return;
	}
	entry = engine_find(e, d->name);
	change = entry == NULL ? "added" :
	    definition_same(connector_definition(entry->connector), d) ? "unchanged" : "changed";
	path = file_of(e, d->name);
	if (config_write_file(path, text, strlen(text), &err) != 0) {
		control_refuse(r, err.code, "%s", em_error_text(&err));
		definition_free(d);
	} else {
		control_answer(r, json_pack("{s:s, s:s}", "name", d->name, "change", change));
		free(d->file);
		d->file = em_strdup(path);
		if (strcmp(change, "unchanged") == 0)
			definition_free(d);
		else
			engine_install(e, d);
	}
	free(path);
	em_error_clear(&err);
}

static void
do_delete(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct engine *e = ctx;
	struct entry *entry = named(e, r, arguments);

	if (entry == NULL)
		return;
	if (unlink(connector_definition(entry->connector)->file) != 0) {
		control_refuse(r, EM_EIO, "its file \"%s\" cannot be removed", connector_definition(entry->connector)->file);
		return;
	}
	control_answer(r, json_pack("{s:s}", "name", connector_name(entry->connector)));
	engine_remove(e, entry);
}

static void
do_validate(void *ctx, struct control_request *r, const json_t *arguments)
{
	const json_t *files = json_object_get(arguments, "files"), *file;
	json_t *list = json_array();
	size_t i;

	json_array_foreach(files, i, file) {
		struct problems problems = { 0 };
		struct definition *d = read_definition(ctx, file, &problems);

		json_array_append_new(list, json_pack("{s:s, s:b, s:o}", "file",
		    argument(file, "file") != NULL ? argument(file, "file") : "", "ok", d != NULL, "errors",
		    problems_json(&problems)));
		definition_free(d);
		problems_clear(&problems);
	}
	control_answer(r, json_pack("{s:o}", "files", list));
}

static void
do_reload(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct problems problems = { 0 };
	json_t *summary = json_pack("{s:[], s:[], s:[], s:i}", "added", "changed", "removed", "unchanged", 0);

	(void)arguments;
	engine_reload(ctx, &problems, summary);
	if (problems.count == 0) {
		control_answer(r, summary);
		return;
	}
	json_decref(summary);
	refuse_problems(r, &problems);
}

static void
do_connectors(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct engine *e = ctx;
	json_t *all = kinds_all(e->kinds), *list = json_array(), *kind;
	const char *wanted = argument(arguments, "kind"), *name;

	json_object_foreach(all, name, kind)
		if (wanted == NULL || strcmp(wanted, name) == 0)
			json_array_append(list, kind);
	json_decref(all);
	if (wanted != NULL && json_array_size(list) == 0) {
		json_decref(list);
		control_refuse(r, EM_ENOTFOUND, "connector \"%s\" is not installed", wanted);
		return;
	}
	control_answer(r, json_pack("{s:o}", "connectors", list));
}

/* ---- offsets ---- */

static void
each_offset(void *ctx, struct em_span partition, struct em_span offset, int64_t time_ms)
{
	json_array_append_new(ctx, json_pack("{s:o, s:o, s:i, s:o}", "partition", bytes_json(partition), "offset",
	    bytes_json(offset), "epoch", 0, "time", time_json(time_ms)));
}

static void
do_offsets_show(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct engine *e = ctx;
	struct entry *entry = named(e, r, arguments);
	struct em_error err = EM_ERROR_INIT;
	json_t *list;

	if (entry == NULL)
		return;
	list = json_array();
	if (registry_offsets(e->registry, connector_name(entry->connector), each_offset, list, &err) != 0) {
		control_refuse(r, err.code, "%s", em_error_text(&err));
		json_decref(list);
	} else {
		control_answer(r, json_pack("{s:o}", "offsets", list));
	}
	em_error_clear(&err);
}

/* The bytes of a partition or offset as an operator writes them; to be freed. */
static struct em_buf
bytes_of(const char *text)
{
	struct em_buf b = { 0 };

	em_buf_reserve(&b, 1);
	if (strncmp(text, "base64:", 7) != 0 || em_base64_decode(&b, em_span_str(text + 7), NULL) != 0)
		em_buf_str(&b, text);
	return b;
}

/* Offsets may be changed only while nobody uses them. */
static struct entry *
at_rest(struct engine *e, struct control_request *r, const json_t *arguments)
{
	struct entry *entry = named(e, r, arguments);

	if (entry == NULL || connector_is_at_rest(entry->connector))
		return entry;
	control_refuse(r, EM_EBUSY, "%s is %s: offsets can be changed only when it is stopped or has failed (emctl stop %s)",
	    connector_name(entry->connector), connector_state_text(entry->connector), connector_name(entry->connector));
	return NULL;
}

static void
do_offsets_set(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct engine *e = ctx;
	const char *partition = argument(arguments, "partition"), *offset = argument(arguments, "offset");
	struct entry *entry = at_rest(e, r, arguments);
	struct em_error err = EM_ERROR_INIT;
	struct em_buf p, o;

	if (entry == NULL)
		return;
	if (partition == NULL || offset == NULL) {
		control_refuse(r, EM_EUSAGE, "\"partition\" and \"offset\" are needed");
		return;
	}
	p = bytes_of(partition);
	o = bytes_of(offset);
	if (registry_begin(e->registry, &err) == 0 && registry_offset_put(e->registry, connector_name(entry->connector),
	    em_buf_view(&p), em_buf_view(&o), &err) == 0 && registry_commit(e->registry, &err) == 0)
		control_answer(r, json_pack("{s:s, s:s, s:s}", "name", connector_name(entry->connector), "partition", partition,
		    "offset", offset));
	else
		control_refuse(r, err.code, "%s", em_error_text(&err));
	registry_rollback(e->registry);
	em_buf_clear(&p);
	em_buf_clear(&o);
	em_error_clear(&err);
}

static void
do_offsets_reset(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct engine *e = ctx;
	const char *partition = argument(arguments, "partition");
	struct entry *entry = at_rest(e, r, arguments);
	struct em_error err = EM_ERROR_INIT;
	struct em_buf p = { 0 };
	int n;

	if (entry == NULL)
		return;
	if (partition != NULL)
		p = bytes_of(partition);
	n = registry_offsets_reset(e->registry, connector_name(entry->connector),
	    partition != NULL ? em_buf_view(&p) : EM_SPAN_NONE, &err);
	if (n < 0)
		control_refuse(r, err.code, "%s", em_error_text(&err));
	else
		control_answer(r, json_pack("{s:s, s:i}", "name", connector_name(entry->connector), "removed", n));
	em_buf_clear(&p);
	em_error_clear(&err);
}

/* ---- logs and tap ---- */

static void
follower_free(struct follower *f)
{
	TAILQ_REMOVE(&f->engine->followers, f, link);
	route_tap_close(f->tap);
	free(f->name);
	free(f);
}

static void
on_follow_cancel(void *arg)
{
	follower_free(arg);
}

static struct follower *
follow(struct engine *e, struct control_request *r, const char *name, int64_t left)
{
	struct follower *f = em_calloc(1, sizeof(*f));

	f->engine = e;
	f->request = r;
	f->name = em_strdup(name);
	f->left = left;
	TAILQ_INSERT_TAIL(&e->followers, f, link);
	control_on_cancel(r, on_follow_cancel, f);
	return f;
}

void
commands_log(struct engine *e, const char *name, const struct log_line *line)
{
	struct follower *f;

	TAILQ_FOREACH(f, &e->followers, link)
		if (f->tap == NULL && (f->name == NULL || strcmp(f->name, name) == 0))
			control_event(f->request, line_json(line));
}

static void
send_lines(struct control_request *r, const struct entry *entry, unsigned wanted)
{
	unsigned n = entry->lines_count < LOG_LINES ? entry->lines_count : LOG_LINES;

	if (n > wanted)
		n = wanted;
	for (unsigned i = entry->lines_count - n; i != entry->lines_count; i++)
		control_event(r, line_json(&entry->lines[i % LOG_LINES]));
}

static void
do_logs(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct engine *e = ctx;
	const json_t *lines = json_object_get(arguments, "lines");
	unsigned wanted = json_is_integer(lines) && json_integer_value(lines) >= 0 ? (unsigned)json_integer_value(lines) : 20;
	struct entry *entry = NULL;

	if (argument(arguments, "name") != NULL && (entry = named(e, r, arguments)) == NULL)
		return;
	if (entry != NULL)
		send_lines(r, entry, wanted);
	else
		TAILQ_FOREACH(entry, &e->entries, link)
			send_lines(r, entry, wanted);
	if (json_is_true(json_object_get(arguments, "follow")))
		(void)follow(e, r, argument(arguments, "name"), -1);
	else
		control_answer(r, NULL);
}

static void
on_tap(void *ctx, const char *connector, const char *topic, const struct em_record *record)
{
	static const enum em_field shown[] = { EM_FIELD_ID, EM_FIELD_SOURCE, EM_FIELD_EVENT_TYPE, EM_FIELD_SUBJECT,
		EM_FIELD_KEY, EM_FIELD_DATACONTENTTYPE, EM_FIELD_PARTITION, EM_FIELD_OFFSET, EM_FIELD_DATA };
	struct follower *f = ctx;
	struct timespec now;
	json_t *o;

	if (f->left == 0)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	o = json_pack("{s:o, s:s, s:s}", "time", time_json((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000), "connector",
	    connector, "topic", topic);
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		if (record->field[shown[i]].bytes != NULL)
			json_object_set_new(o, em_field_name(shown[i]), bytes_json(record->field[shown[i]]));
	control_event(f->request, o);
	if (f->left > 0 && --f->left == 0) {
		control_answer(f->request, NULL);
		follower_free(f);
	}
}

static void
do_tap(void *ctx, struct control_request *r, const json_t *arguments)
{
	struct engine *e = ctx;
	const char *name = argument(arguments, "name"), *topic = argument(arguments, "topic");
	int64_t count = json_integer_value(json_object_get(arguments, "count"));
	struct follower *f;

	if (name == NULL && topic == NULL) {
		control_refuse(r, EM_EUSAGE, "\"name\" or \"topic\" is needed");
		return;
	}
	if (name != NULL && engine_find(e, name) == NULL) {
		topic = name;		/* emctl tap NAME|TOPIC */
		name = NULL;
	}
	f = follow(e, r, name, count > 0 ? count : -1);
	f->tap = route_tap_open(e->route, name, topic, on_tap, f);
}

void
commands_free(struct engine *e)
{
	while (!TAILQ_EMPTY(&e->waiters))
		on_wait_limit(-1, 0, TAILQ_FIRST(&e->waiters));
}

const struct control_command engine_commands[] = {
	{ "version", CONTROL_READ, do_version },
	{ "status", CONTROL_READ, do_status },
	{ "list", CONTROL_READ, do_list },
	{ "describe", CONTROL_READ, do_describe },
	{ "start", CONTROL_CHANGE, do_start },
	{ "stop", CONTROL_CHANGE, do_stop },
	{ "restart", CONTROL_CHANGE, do_restart },
	{ "pause", CONTROL_CHANGE, do_pause },
	{ "resume", CONTROL_CHANGE, do_start },
	{ "apply", CONTROL_CHANGE, do_apply },
	{ "delete", CONTROL_CHANGE, do_delete },
	{ "validate", CONTROL_READ, do_validate },
	{ "reload", CONTROL_CHANGE, do_reload },
	{ "offsets.show", CONTROL_READ, do_offsets_show },
	{ "offsets.set", CONTROL_CHANGE, do_offsets_set },
	{ "offsets.reset", CONTROL_CHANGE, do_offsets_reset },
	{ "logs", CONTROL_READ, do_logs },
	{ "tap", CONTROL_READ, do_tap },
	{ "connectors", CONTROL_READ, do_connectors },
	{ NULL, CONTROL_READ, NULL },
};
