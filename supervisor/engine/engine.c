#include "engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine_private.h"
#include "error.h"
#include "sink.h"
#include "spawnmsg.h"
#include "systemd.h"

#define STOP_LIMIT_S	30
#define LOCAL_AGAIN_MS	200

struct entry *
engine_find(struct engine *e, const char *name)
{
	struct entry *entry;

	TAILQ_FOREACH(entry, &e->entries, link)
		if (name != NULL && !entry->going && strcmp(connector_name(entry->connector), name) == 0)
			return entry;
	return NULL;
}

/* ---- connectors ---- */

static void
keep_line(struct entry *entry, enum em_level level, const char *subject, const char *text)
{
	struct log_line *line = &entry->lines[entry->lines_count++ % LOG_LINES];

	free(line->subject);
	free(line->text);
	clock_gettime(CLOCK_REALTIME, &line->time);
	line->level = level;
	line->subject = em_strdup(subject);
	line->text = em_strdup(text);
	commands_log(entry->engine, connector_name(entry->connector), line);
}

static void
on_connector_log(void *ctx, struct connector *c, enum em_level level, const char *subject, const char *text)
{
	struct engine *e = ctx;
	struct entry *entry;

	em_log(level, subject, "%s", text);
	if (level < em_log_lowest())
		return;
	TAILQ_FOREACH(entry, &e->entries, link)
		if (entry->connector == c)
			keep_line(entry, level, subject, text);
}

static void
entry_free(struct entry *entry)
{
	TAILQ_REMOVE(&entry->engine->entries, entry, link);
	connector_free(entry->connector);	/* its tasks tell the flow that they go */
	route_detach(entry->flow);
	definition_free(entry->successor);
	for (unsigned i = 0; i < LOG_LINES; i++) {
		free(entry->lines[i].subject);
		free(entry->lines[i].text);
	}
	free(entry);
}

static enum desired
desired_of(struct engine *e, const struct definition *d)
{
	struct em_error err = EM_ERROR_INIT;
	enum desired desired = d->autostart ? DESIRED_RUNNING : DESIRED_STOPPED;
	char *stored = NULL;

	if (registry_desired_get(e->registry, d->name, &stored, &err) == 1)
		(void)desired_by_name(stored, &desired);
	else if (err.code != EM_OK)
		em_log(EM_ERROR, "registry", "%s", em_error_text(&err));
	em_error_clear(&err);
	free(stored);
	return desired;
}

static void
entry_new(struct engine *e, struct definition *d)
{
	struct entry *entry = em_calloc(1, sizeof(*entry));

	entry->engine = e;
	entry->connector = connector_new(&e->world, d, desired_of(e, d));
	TAILQ_INSERT_TAIL(&e->entries, entry, link);
	entry->flow = route_attach(e->route, entry->connector);
	connector_begin(entry->connector);
}

void
engine_install(struct engine *e, struct definition *d)
{
	struct entry *entry = engine_find(e, d->name);

	if (entry == NULL) {
		entry_new(e, d);
		return;
	}
	definition_free(entry->successor);
	entry->successor = d;
	connector_rest(entry->connector);
	event_active(e->reap, EV_TIMEOUT, 0);
}

void
engine_remove(struct engine *e, struct entry *entry)
{
	entry->going = true;
	connector_rest(entry->connector);
	event_active(e->reap, EV_TIMEOUT, 0);
}

static bool
all_rest(const struct engine *e)
{
	const struct entry *entry;

	TAILQ_FOREACH(entry, &e->entries, link)
		if (!connector_is_at_rest(entry->connector))
			return false;
	return true;
}

/* Outside of any call-back of theirs: what rests may be freed or replaced. */
static void
on_reap(evutil_socket_t fd, short what, void *ctx)
{
	struct engine *e = ctx;
	struct entry *entry, *next;

	(void)fd;
	(void)what;
	for (entry = TAILQ_FIRST(&e->entries); entry != NULL; entry = next) {
		struct definition *d = entry->successor;

		next = TAILQ_NEXT(entry, link);
		route_settle(entry->flow);
		if (!connector_is_at_rest(entry->connector) || (d == NULL && !entry->going))
			continue;
		entry->successor = NULL;
		entry_free(entry);
		if (d != NULL)
			entry_new(e, d);
	}
	commands_look(e);
	if (e->stopping && all_rest(e))
		event_base_loopbreak(e->base);
}

static void
on_change(void *ctx, struct connector *c)
{
	struct engine *e = ctx;

	(void)c;
	event_active(e->reap, EV_TIMEOUT, 0);
}

/* ---- files ---- */

int
engine_check_definition(struct engine *e, const struct definition *d, const char *text, size_t len,
    struct problems *problems)
{
	const json_t *described = kinds_find(e->kinds, d->kind);
	struct em_buf names = { 0 };
	const char *name;
	json_t *all, *kind;

	if (described != NULL)
		return definition_check_options(d, text, len, described, problems);
	all = kinds_all(e->kinds);
	json_object_foreach(all, name, kind)
		em_buf_printf(&names, "%s%s", names.len > 0 ? ", " : "", name);
	json_decref(all);
	problems->items = em_realloc_array(problems->items, problems->count + 1, sizeof(*problems->items));
	problems->items[problems->count++] = (struct problem){ em_strdup(d->file), 1, 1,
		em_asprintf("connector \"%s\" is not installed, there are: %s", d->kind,
		    names.len > 0 ? em_buf_cstr(&names) : "none") };
	em_buf_clear(&names);
	return -1;
}

static char *
name_of(const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
	size_t n = strlen(base);

	return em_span_dup((struct em_span){ (const uint8_t *)base, n > 5 ? n - 5 : n });
}

static void
load_one(struct engine *e, const char *path, struct problems *problems, json_t *summary, json_t *seen)
{
	struct em_error err = EM_ERROR_INIT;
	size_t len, before = problems->count;
	char *name = name_of(path), *text = config_read_file(path, &len, &err);
	struct entry *entry = engine_find(e, name);
	struct definition *d = NULL;

	json_object_set_new(seen, name, json_true());
	if (text == NULL) {
		problems->items = em_realloc_array(problems->items, problems->count + 1, sizeof(*problems->items));
		problems->items[problems->count++] = (struct problem){ em_strdup(path), 1, 1,
			em_strdup(em_error_text(&err)) };
	} else {
		d = definition_parse(name, path, text, len, e->config, problems);
	}
	if (d != NULL && engine_check_definition(e, d, text, len, problems) == 0 && problems->count == before) {
		if (entry != NULL && definition_same(connector_definition(entry->connector), d)) {
			json_object_set_new(summary, "unchanged",
			    json_integer(json_integer_value(json_object_get(summary, "unchanged")) + 1));
			definition_free(d);
		} else {
			json_array_append_new(json_object_get(summary, entry != NULL ? "changed" : "added"), json_string(name));
			engine_install(e, d);
		}
	} else {
		definition_free(d);
	}
	em_error_clear(&err);
	free(name);
	free(text);
}

void
engine_reload(struct engine *e, struct problems *problems, json_t *summary)
{
	char *pattern = em_asprintf("%s/*.yaml", e->config->connectors_dir);
	struct entry *entry, *next;
	json_t *seen = json_object();
	glob_t g = { 0 };

	if (glob(pattern, 0, NULL, &g) == 0)
		for (size_t i = 0; i < g.gl_pathc; i++)
			load_one(e, g.gl_pathv[i], problems, summary, seen);
	globfree(&g);
	for (entry = TAILQ_FIRST(&e->entries); entry != NULL; entry = next) {
		next = TAILQ_NEXT(entry, link);
		if (entry->going || json_object_get(seen, connector_name(entry->connector)) != NULL)
			continue;
		json_array_append_new(json_object_get(summary, "removed"), json_string(connector_name(entry->connector)));
		engine_remove(e, entry);
	}
	json_decref(seen);
	free(pattern);
}

static void
log_problems(const struct problems *problems)
{
	for (size_t i = 0; i < problems->count; i++)
		em_log(EM_ERROR, "config", "%s:%u:%u: %s", problems->items[i].file, problems->items[i].line,
		    problems->items[i].column, problems->items[i].message);
}

static void
reload(struct engine *e)
{
	struct problems problems = { 0 };
	json_t *summary = json_pack("{s:[], s:[], s:[], s:i}", "added", "changed", "removed", "unchanged", 0);

	systemd_notify("RELOADING=1");
	engine_reload(e, &problems, summary);
	log_problems(&problems);
	problems_clear(&problems);
	json_decref(summary);
	systemd_notify("READY=1");
}

/* ---- signals ---- */

static void
on_hangup(evutil_socket_t number, short what, void *ctx)
{
	(void)number;
	(void)what;
	em_log(EM_NOTICE, "engine", "reloading");
	reload(ctx);
}

static void
on_term(evutil_socket_t number, short what, void *ctx)
{
	struct engine *e = ctx;
	struct timeval limit = { STOP_LIMIT_S, 0 };
	struct entry *entry;

	(void)number;
	(void)what;
	if (e->stopping)
		return;
	em_log(EM_NOTICE, "engine", "stopping");
	systemd_notify("STOPPING=1");
	e->stopping = true;
	spawn_leave(e->spawn);
	event_add(e->stop_limit, &limit);
	TAILQ_FOREACH(entry, &e->entries, link)
		connector_rest(entry->connector);
	event_active(e->reap, EV_TIMEOUT, 0);
}

static void
on_stop_limit(evutil_socket_t fd, short what, void *ctx)
{
	struct engine *e = ctx;

	(void)fd;
	(void)what;
	em_log(EM_WARNING, "engine", "not everything could be drained within %d s, it comes again after the next start",
	    STOP_LIMIT_S);
	event_base_loopbreak(e->base);
}

static void
on_watchdog(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	(void)ctx;
	systemd_notify("WATCHDOG=1");
}

/* ---- emlocald ---- */

static int
local_listen(struct engine *e, struct em_error *err)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	const char *listen_at = e->config->mesh.local_listen != NULL ? e->config->mesh.local_listen : "127.0.0.1:0";
	char *host = em_strdup(listen_at), *colon = strrchr(host, ':');
	socklen_t len = sizeof(address);
	int one = 1;

	if (colon != NULL)
		*colon = '\0';
	if (colon == NULL || inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		free(host);
		return em_error_set(err, EM_ECONFIG, "eventmesh.local.listen must be an IPv4 address and a port, not \"%s\"",
		    listen_at);
	}
	address.sin_port = htons((uint16_t)atoi(colon + 1));
	free(host);
	e->local_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(e->local_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (e->local_fd < 0 || bind(e->local_fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(e->local_fd, 128) != 0 || getsockname(e->local_fd, (struct sockaddr *)&address, &len) != 0)
		return em_error_errno(err, errno, "listening for the embedded broker at %s", listen_at);
	e->local_server = em_asprintf("127.0.0.1:%u", ntohs(address.sin_port));
	return 0;
}

static const char *
text_or(const char *text, const char *otherwise)
{
	return text != NULL ? text : otherwise;
}

/* The listening socket is ours and outlives the broker: clients that come while it starts again just wait. */
static void
local_start(struct engine *e)
{
	const struct config_mesh *m = &e->config->mesh;
	char *data = em_asprintf("%s/emlocald", e->config->state_dir);
	const char *program = getenv("EM_LOCALD") != NULL ? getenv("EM_LOCALD") : EM_SBIN_DIR "/emlocald";
	const char *argv[] = { program, "--listen-fd", "3", "--data", data, "--fsync", text_or(m->local_fsync, "interval"),
		"--retain-size", text_or(m->local_retain_size, "1G"), "--retain-age", text_or(m->local_retain_age, "7d"), NULL };
	const char *env[] = { "LANG=C.UTF-8", NULL };
	struct em_error err = EM_ERROR_INIT;
	struct timeval after = { 0, LOCAL_AGAIN_MS * 1000 };

	e->local_process = spawn_start(e->spawn, &(struct spawn_request){ .argv = argv, .env = env, .files = 16384,
	    .uid = e->world.uid, .gid = e->world.gid, .give = e->local_fd }, NULL, &err);
	if (e->local_process == 0) {
		em_log(EM_ERROR, "emlocald", "%s", em_error_text(&err));
		event_add(e->local_again, &after);
	}
	em_error_clear(&err);
	free(data);
}

static void
on_local_again(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	local_start(ctx);
}

/* ---- the spawner's reports ---- */

static void
on_started(void *ctx, uint64_t child, int pid)
{
	struct engine *e = ctx;
	struct entry *entry;

	if (child == e->local_process)
		em_log(EM_INFO, "emlocald", "started, pid %d, at %s", pid, e->local_server);
	TAILQ_FOREACH(entry, &e->entries, link)
		if (connector_started(entry->connector, child, pid))
			return;
}

static void
local_gone(struct engine *e, const char *how)
{
	struct timeval after = { 0, LOCAL_AGAIN_MS * 1000 };

	e->local_process = 0;
	if (e->stopping)
		return;
	em_log(EM_ERROR, "emlocald", "%s, it is started again", how);
	event_add(e->local_again, &after);
}

static void
on_failed(void *ctx, uint64_t child, const char *why)
{
	struct engine *e = ctx;
	struct entry *entry;

	if (child == e->local_process)
		local_gone(e, why);
	TAILQ_FOREACH(entry, &e->entries, link)
		if (connector_not_started(entry->connector, child, why))
			return;
}

static void
on_exited(void *ctx, uint64_t child, int pid, int status)
{
	struct engine *e = ctx;
	struct entry *entry;

	if (child == e->local_process)
		local_gone(e, "it ended");
	TAILQ_FOREACH(entry, &e->entries, link)
		if (connector_exited(entry->connector, child, pid, status))
			return;
}

static void
on_output(void *ctx, uint64_t child, const char *line)
{
	struct engine *e = ctx;
	struct entry *entry;

	if (child == e->local_process)
		em_log(EM_INFO, "emlocald", "%s", line);
	TAILQ_FOREACH(entry, &e->entries, link)
		if (connector_output(entry->connector, child, line))
			return;
}

static const struct spawn_ops spawn_ops = {
	.on_started = on_started, .on_failed = on_failed, .on_exited = on_exited, .on_output = on_output,
};

/* ---- start ---- */

static int
make_directory(const char *path, struct em_error *err)
{
	if (mkdir(path, 0750) == 0 || errno == EEXIST)
		return 0;
	return em_error_errno(err, errno, "making \"%s\"", path);
}

static gid_t
group_of(const char *name)
{
	const struct group *g = name != NULL ? getgrnam(name) : NULL;

	if (name != NULL && g == NULL)
		em_log(EM_ERROR, "config", "there is no group \"%s\"", name);
	return g != NULL ? g->gr_gid : (gid_t)-1;
}

static void
fill_mesh(struct engine *e)
{
	const struct config_mesh *m = &e->config->mesh;
	size_t n = 0;

	e->servers = em_calloc(m->servers.count + 2, sizeof(*e->servers));
	for (; n < m->servers.count; n++)
		e->servers[n] = m->servers.items[n];
	if (m->local)
		e->servers[0] = e->local_server;
	e->mesh = (struct mesh_config){ .servers = e->servers, .env = m->env, .idc = m->idc, .subsystem = m->subsystem,
		.username = m->username, .password = m->password, .token = m->token,
		.window_records = (uint32_t)m->window.records, .window_bytes = (uint32_t)m->window.bytes, .ttl_ms = m->ttl_ms };
}

static void
make_events(struct engine *e)
{
	struct timeval beat;
	int64_t watchdog_ms = systemd_watchdog_ms();

	e->term = evsignal_new(e->base, SIGTERM, on_term, e);
	e->interrupt = evsignal_new(e->base, SIGINT, on_term, e);
	e->hangup = evsignal_new(e->base, SIGHUP, on_hangup, e);
	e->reap = event_new(e->base, -1, 0, on_reap, e);
	e->stop_limit = event_new(e->base, -1, 0, on_stop_limit, e);
	e->local_again = event_new(e->base, -1, 0, on_local_again, e);
	e->watchdog = event_new(e->base, -1, EV_PERSIST, on_watchdog, e);
	event_add(e->term, NULL);
	event_add(e->interrupt, NULL);
	event_add(e->hangup, NULL);
	if (watchdog_ms > 0) {
		beat = (struct timeval){ watchdog_ms / 2000, watchdog_ms / 2 % 1000 * 1000 };
		event_add(e->watchdog, &beat);
	}
}

static int
open_parts(struct engine *e, int spawner_fd, struct em_error *err)
{
	char *socket_path;

	if (make_directory(e->config->state_dir, err) != 0 || make_directory(e->config->run_dir, err) != 0)
		return -1;
	e->registry = registry_open(e->config->state_dir, err);
	if (e->registry == NULL || (e->config->mesh.local && local_listen(e, err) != 0))
		return -1;
	e->spawn = spawn_new(e->base, spawner_fd, &spawn_ops, e);
	e->kinds = kinds_load(e->config->plugin_dir);
	fill_mesh(e);
	socket_path = em_asprintf("%s/control.sock", e->config->run_dir);
	e->control = control_new(e->base, &(struct control_config){ .path = socket_path,
	    .read_group = group_of(e->config->read_group), .change_group = group_of(e->config->change_group) },
	    engine_commands, e, err);
	free(socket_path);
	if (e->control == NULL)
		return -1;
	e->publish = publish_new(e->base, &e->mesh, e->config->mesh.group);
	e->route = route_new(&(struct route_config){ .base = e->base, .publish = e->publish, .registry = e->registry,
	    .mesh = &e->mesh, .group_prefix = e->config->mesh.group });
	e->world = (struct connector_world){ .base = e->base, .spawn = e->spawn, .registry = e->registry, .kinds = e->kinds,
		.uid = geteuid() == 0 ? SPAWNMSG_NO_ID : geteuid(), .gid = geteuid() == 0 ? SPAWNMSG_NO_ID : getegid(),
		.on_change = on_change, .on_log = on_connector_log, .ctx = e };
	return 0;
}

static void
close_parts(struct engine *e)
{
	struct entry *entry;

	commands_free(e);
	control_free(e->control);
	if (e->route != NULL)
		route_commit_now(e->route);
	while ((entry = TAILQ_FIRST(&e->entries)) != NULL)
		entry_free(entry);
	route_free(e->route);
	publish_free(e->publish);
	kinds_free(e->kinds);
	registry_close(e->registry);
	if (e->local_process != 0)
		spawn_signal(e->spawn, e->local_process, SIGTERM);
	spawn_free(e->spawn);
	free(e->servers);
	free(e->local_server);
}

/* The service's user, from the privilege it was started with; nothing to do without any. */
static int
engine_confine(const struct config *c, struct em_error *err)
{
	const struct passwd *pw;

	if (geteuid() != 0)
		return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : em_error_errno(err, errno, "no-new-privileges");
	pw = getpwnam(c->user);
	if (pw == NULL) {
		em_log(EM_WARNING, "engine", "there is no user \"%s\": running as root", c->user);
		return 0;
	}
	if (make_directory(c->state_dir, err) != 0 || make_directory(c->run_dir, err) != 0)
		return -1;
	if (chown(c->state_dir, pw->pw_uid, pw->pw_gid) != 0 || chown(c->run_dir, pw->pw_uid, pw->pw_gid) != 0 ||
	    initgroups(pw->pw_name, pw->pw_gid) != 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0)
		return em_error_errno(err, errno, "becoming user \"%s\"", c->user);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : em_error_errno(err, errno, "no-new-privileges");
}

int
engine_main(int spawner_fd, unsigned generation, const char *file)
{
	struct engine e = { .file = file, .local_fd = -1, .started_s = time(NULL) };
	struct em_error err = EM_ERROR_INIT;
	struct problems problems = { 0 };
	int status = ENGINE_EXIT_CONFIG;

	TAILQ_INIT(&e.entries);
	TAILQ_INIT(&e.waiters);
	TAILQ_INIT(&e.followers);
	srandom((unsigned)time(NULL) ^ (unsigned)getpid());
	signal(SIGPIPE, SIG_IGN);
	e.config = config_load(file, &problems);
	log_problems(&problems);
	problems_clear(&problems);
	if (e.config == NULL)
		return ENGINE_EXIT_CONFIG;
	if (sink_open(e.config->log_target, e.config->log_format == 1, &err) == 0 && engine_confine(e.config, &err) == 0) {
		em_log_level((enum em_level)e.config->log_level);
		em_log(generation == 0 ? EM_INFO : EM_WARNING, "engine", "emsupervisord " EM_VERSION " %s",
		    generation == 0 ? "starts" : "starts again");
		e.base = event_base_new();
		make_events(&e);
		if (open_parts(&e, spawner_fd, &err) == 0) {
			if (e.config->mesh.local)
				local_start(&e);
			reload(&e);
			event_base_dispatch(e.base);
			status = e.stopping ? 0 : 1;
		} else if (err.code != EM_EBUSY && err.code != EM_ECONFIG && err.code != EM_ECORRUPT) {
			status = 1;
		}
	}
	if (err.code != EM_OK)
		em_log(EM_CRITICAL, "engine", "%s", em_error_text(&err));
	if (e.base != NULL && err.code == EM_OK)
		close_parts(&e);
	em_error_clear(&err);
	config_free(e.config);
	return status;
}

int
engine_check(const char *file, char *const *connector_files)
{
	struct engine e = { .file = file };
	struct problems problems = { 0 };
	struct em_buf text = { 0 };
	struct em_error err = EM_ERROR_INIT;
	bool bad;

	e.config = config_load(file, &problems);
	e.kinds = kinds_load(e.config != NULL ? e.config->plugin_dir : EM_CONNECTOR_DIR);
	for (; *connector_files != NULL; connector_files++) {
		size_t len;
		char *name = name_of(*connector_files), *body = config_read_file(*connector_files, &len, &err);
		struct definition *d = body == NULL ? NULL :
		    definition_parse(name, *connector_files, body, len, e.config, &problems);

		if (body == NULL)
			em_buf_printf(&text, "%s\n", em_error_text(&err));
		if (d != NULL)
			(void)engine_check_definition(&e, d, body, len, &problems);
		definition_free(d);
		free(body);
		free(name);
		em_error_clear(&err);
	}
	problems_print(&text, &problems);
	bad = text.len > 0;
	if (bad)
		fprintf(stderr, "%s\n", em_buf_cstr(&text));
	kinds_free(e.kinds);
	config_free(e.config);
	problems_clear(&problems);
	em_buf_clear(&text);
	return bad ? 1 : 0;
}
