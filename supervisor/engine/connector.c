#include "connector.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/wait.h>
#include <time.h>

#include "config.h"
#include "error.h"
#include "kinds.h"
#include "registry.h"
#include "spawn.h"

#define HEARTBEAT_MS	10000

struct task {
	struct connector *connector;
	uint32_t	 number;
	struct life	 life;
	struct child	*child;
	struct event	*limit;
	uint64_t	 process;	/* spawn's number, 0: none */
	int		 pid;
	unsigned	 restarts;
	bool		 drained, up;
	bool		 explained;	/* last_error says why it ends: its exit status adds nothing */
	char		*last_error;
};

struct connector {
	struct connector_world *world;
	struct definition *definition;
	enum desired	 desired;
	const struct connector_flow *flow;
	void		*flow_ctx;
	struct task	*tasks;
	size_t		 tasks_count;
	char		*last_error;
};

static const char *const desireds[] = {
	[DESIRED_RUNNING] = "running", [DESIRED_STOPPED] = "stopped", [DESIRED_PAUSED] = "paused",
};
_Static_assert(sizeof(desireds) / sizeof(desireds[0]) == DESIRED_COUNT, "a name for each");

static void	step(struct task *t, enum life_event event);

const char *
desired_name(enum desired desired)
{
	return desireds[desired];
}

int
desired_by_name(const char *name, enum desired *desired)
{
	for (int i = 0; i < DESIRED_COUNT; i++) {
		if (strcmp(desireds[i], name) == 0) {
			*desired = (enum desired)i;
			return 0;
		}
	}
	return -1;
}

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
say(struct task *t, enum em_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* A line of the connector's log: the subject is its name, with the task's number where there are several. */
static void
say(struct task *t, enum em_level level, const char *fmt, ...)
{
	struct connector *c = t->connector;
	char *text, *subject = c->tasks_count > 1 ? em_asprintf("%s/%u", c->definition->name, t->number) :
	    em_strdup(c->definition->name);
	va_list ap;

	va_start(ap, fmt);
	text = em_vasprintf(fmt, ap);
	va_end(ap);
	c->world->on_log(c->world->ctx, c, level, subject, text);
	free(subject);
	free(text);
}

static void
set_error(struct task *t, const char *text)
{
	struct connector *c = t->connector;

	free(t->last_error);
	free(c->last_error);
	t->last_error = em_strdup(text);
	c->last_error = em_strdup(text);
}

static void
remember(struct task *t, const char *event, const char *reason)
{
	struct em_error err = EM_ERROR_INIT;

	if (registry_history_put(t->connector->world->registry, t->connector->definition->name, t->number, event, reason,
	    &err) != 0)
		em_log(EM_WARNING, "registry", "history is not kept: %s", em_error_text(&err));
	em_error_clear(&err);
}

/* ---- what the child says ---- */

static void
on_ready(void *ctx)
{
	struct task *t = ctx;
	struct connector *c = t->connector;

	t->up = true;
	remember(t, "ready", "");
	c->flow->on_up(c->flow_ctx, t);
	if (c->desired == DESIRED_PAUSED)
		child_pause(t->child);
	step(t, LIFE_READY);
}

static void
on_records(void *ctx, struct em_batch *batch)
{
	struct task *t = ctx;

	if (t->up)
		t->connector->flow->on_records(t->connector->flow_ctx, t, batch);
}

static void
on_result(void *ctx, const struct em_result *result)
{
	struct task *t = ctx;

	t->connector->flow->on_result(t->connector->flow_ctx, t, result);
}

static void
on_answered(void *ctx)
{
	struct task *t = ctx;

	t->connector->flow->on_answered(t->connector->flow_ctx, t);
}

static void
on_credit(void *ctx)
{
	struct task *t = ctx;

	if (t->up && t->connector->flow->on_credit != NULL)
		t->connector->flow->on_credit(t->connector->flow_ctx, t);
}

/* A source is through when what it sent is settled as well. */
static void
look_again(struct task *t)
{
	if (!t->drained || t->child == NULL || !t->connector->flow->is_idle(t->connector->flow_ctx, t))
		return;
	if (t->life.state == LIFE_DRAINING) {
		step(t, LIFE_DRAINED);
	} else if (t->life.state == LIFE_RUNNING && t->connector->definition->role == EM_SOURCE) {
		say(t, EM_INFO, "finished, everything is delivered");
		remember(t, "finished", "");
		step(t, LIFE_ENDED);
	}
}

static void
on_drained(void *ctx)
{
	struct task *t = ctx;

	t->drained = true;
	look_again(t);
}

static void
on_log(void *ctx, enum em_level level, const char *text)
{
	say(ctx, level, "%s", text);
}

static void
on_metric(void *ctx, struct em_span name, double value)
{
	say(ctx, EM_DEBUG, "%.*s = %g", (int)name.len, (const char *)name.bytes, value);
}

static void
on_error(void *ctx, enum em_class class, const char *text)
{
	struct task *t = ctx;

	set_error(t, text);
	t->explained = true;
	say(t, EM_ERROR, "%s error: %s", em_class_name(class), text);
	if (class == EM_CLASS_CONFIGURATION)
		t->life.hopeless = true;	/* acted upon when it is gone, which is at once */
}

static void
take_down(struct task *t)
{
	struct connector *c = t->connector;

	if (t->up)
		c->flow->on_down(c->flow_ctx, t);
	t->up = false;
	child_free(t->child);
	t->child = NULL;
}

static void
on_close(void *ctx, const struct em_error *why)
{
	struct task *t = ctx;
	bool broken = why->code != EM_ECLOSED;

	if (broken) {
		set_error(t, em_error_text(why));
		say(t, EM_ERROR, "it is ended: %s", em_error_text(why));
	}
	take_down(t);
	if (broken)
		step(t, LIFE_BROKEN);
}

static const struct child_ops child_ops = {
	.on_ready = on_ready, .on_records = on_records, .on_result = on_result, .on_answered = on_answered,
	.on_credit = on_credit, .on_drained = on_drained, .on_log = on_log, .on_metric = on_metric,
	.on_error = on_error, .on_close = on_close,
};

/* ---- what life decides ---- */

struct offsets {
	struct em_buf	list;
	uint32_t	count;
};

static void
each_offset(void *ctx, struct em_span partition, struct em_span offset, int64_t time_ms)
{
	struct offsets *o = ctx;

	(void)time_ms;
	em_position_encode(&o->list, &(struct em_position){ partition, offset });
	o->count++;
}

static int
start_process(struct task *t, const char *options, const struct offsets *offsets, struct em_error *err)
{
	struct connector *c = t->connector;
	const struct definition *d = c->definition;
	char *path = kinds_path(c->world->kinds, d->kind);
	const char *argv[] = { path, NULL }, *env[] = { "PATH=/usr/bin:/bin", "LANG=C.UTF-8", NULL };
	int channel = -1;

	t->process = spawn_start(c->world->spawn, &(struct spawn_request){ .argv = argv, .env = env,
	    .memory_bytes = (uint64_t)d->limits.memory, .files = (uint64_t)d->limits.files,
	    .processes = (uint64_t)d->limits.processes, .uid = c->world->uid, .gid = c->world->gid, .give = -1 },
	    &channel, err);
	free(path);
	if (t->process == 0)
		return -1;
	t->child = child_new(c->world->base, channel, &(struct child_config){ .name = d->name, .kind = d->kind,
	    .topic = d->topic, .role = d->role, .task = t->number, .tasks = (uint32_t)d->tasks, .options = options,
	    .offsets = &offsets->list, .offsets_count = offsets->count, .heartbeat_ms = HEARTBEAT_MS,
	    .credit_records = (uint32_t)d->window.records, .credit_bytes = (uint32_t)d->window.bytes }, &child_ops, t);
	return 0;
}

static void
do_start(struct task *t)
{
	struct connector *c = t->connector;
	struct em_error err = EM_ERROR_INIT;
	struct offsets offsets = { 0 };
	char *options = NULL;

	t->drained = t->explained = false;
	if (kinds_find(c->world->kinds, c->definition->kind) == NULL)
		em_error_set(&err, EM_ECONFIG, "connector \"%s\" is not installed", c->definition->kind);
	else if ((options = definition_options_resolved(c->definition, &err)) != NULL &&
	    registry_offsets(c->world->registry, c->definition->name, each_offset, &offsets, &err) == 0)
		(void)start_process(t, options, &offsets, &err);
	if (options != NULL)
		explicit_bzero(options, strlen(options));
	free(options);
	em_buf_clear(&offsets.list);
	if (err.code != EM_OK) {
		set_error(t, em_error_text(&err));
		say(t, EM_ERROR, "it cannot be started: %s", em_error_text(&err));
		t->life.hopeless = err.code == EM_ECONFIG;
		t->process = 0;
		step(t, LIFE_EXITED);
	}
	em_error_clear(&err);
}

static void
do_drain(struct task *t)
{
	struct connector *c = t->connector;

	if (c->flow->on_draining != NULL)
		c->flow->on_draining(c->flow_ctx, t);
	if (t->child != NULL)
		child_drain(t->child);
	look_again(t);
}

static void
do_stop(struct task *t)
{
	if (t->child != NULL)
		child_stop(t->child);
}

static void
do_term(struct task *t)
{
	say(t, EM_WARNING, "it does not stop, SIGTERM");
	spawn_signal(t->connector->world->spawn, t->process, SIGTERM);
}

static void
do_kill(struct task *t)
{
	if (t->process != 0)
		spawn_signal(t->connector->world->spawn, t->process, SIGKILL);
}

static void (*const actions[])(struct task *) = {
	[LIFE_NOTHING] = NULL, [LIFE_START] = do_start, [LIFE_DRAIN] = do_drain, [LIFE_STOP] = do_stop,
	[LIFE_TERM] = do_term, [LIFE_KILL] = do_kill,
};

static void
step(struct task *t, enum life_event event)
{
	enum life_state before = t->life.state;
	int64_t limit_ms;
	enum life_action action = life_step(&t->life, &t->connector->definition->restart.policy, event, now_ms(),
	    (uint32_t)random(), &limit_ms);

	if (limit_ms >= 0) {
		struct timeval after = { limit_ms / 1000, limit_ms % 1000 * 1000 };

		event_add(t->limit, &after);
	} else if (limit_ms == -1) {
		event_del(t->limit);
	}
	if (t->life.state != before) {
		say(t, EM_INFO, "%s%s%s", life_state_name(t->life.state),
		    t->life.state == LIFE_FAILED ? ": " : "", t->life.state == LIFE_FAILED && t->last_error != NULL ?
		    t->last_error : "");
		if (t->life.state == LIFE_FAILED)
			remember(t, "failed", t->last_error != NULL ? t->last_error : "");
		if (t->life.state == LIFE_STARTING && before == LIFE_BACKOFF)
			t->restarts++;
	}
	if (actions[action] != NULL)
		actions[action](t);
	if (t->life.state != before)
		t->connector->world->on_change(t->connector->world->ctx, t->connector);
}

static void
on_limit(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	step(ctx, LIFE_TIME);
}

/* ---- what the spawner reports ---- */

static struct task *
task_of(struct connector *c, uint64_t process)
{
	for (size_t i = 0; i < c->tasks_count; i++)
		if (process != 0 && c->tasks[i].process == process)
			return &c->tasks[i];
	return NULL;
}

bool
connector_started(struct connector *c, uint64_t process, int pid)
{
	struct task *t = task_of(c, process);

	if (t == NULL)
		return false;
	t->pid = pid;
	return true;
}

static void
gone(struct task *t, const char *how)
{
	bool expected = t->life.state != LIFE_RUNNING && t->life.state != LIFE_STARTING;

	if (!expected) {
		if (!t->explained && !t->life.hopeless)
			set_error(t, how);
		say(t, EM_WARNING, "the process %s", how);
	}
	remember(t, "exited", how);
	t->process = 0;
	t->pid = 0;
	take_down(t);
	step(t, LIFE_EXITED);
}

bool
connector_exited(struct connector *c, uint64_t process, int pid, int status)
{
	struct task *t = task_of(c, process);
	char *how;

	(void)pid;
	if (t == NULL)
		return false;
	if (WIFSIGNALED(status))
		how = em_asprintf("was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == 127 || WEXITSTATUS(status) == 126)
		how = em_asprintf("could not be executed");
	else
		how = em_asprintf("exited with status %d", WEXITSTATUS(status));
	gone(t, how);
	free(how);
	return true;
}

bool
connector_not_started(struct connector *c, uint64_t process, const char *why)
{
	struct task *t = task_of(c, process);
	char *how;

	if (t == NULL)
		return false;
	how = em_asprintf("could not be started: %s", why);
	gone(t, how);
	free(how);
	return true;
}

bool
connector_output(struct connector *c, uint64_t process, const char *line)
{
	struct task *t = task_of(c, process);

	if (t == NULL)
		return false;
	say(t, EM_NOTICE, "output: %s", line);
	return true;
}

/* ---- the whole ---- */

struct connector *
connector_new(struct connector_world *world, struct definition *definition, enum desired desired)
{
	struct connector *c = em_calloc(1, sizeof(*c));

	c->world = world;
	c->definition = definition;
	c->desired = desired;
	c->tasks_count = (size_t)definition->tasks;
	c->tasks = em_calloc(c->tasks_count, sizeof(*c->tasks));
	for (size_t i = 0; i < c->tasks_count; i++) {
		c->tasks[i].connector = c;
		c->tasks[i].number = (uint32_t)i;
		c->tasks[i].limit = event_new(world->base, -1, 0, on_limit, &c->tasks[i]);
	}
	return c;
}

void
connector_free(struct connector *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->tasks_count; i++) {
		take_down(&c->tasks[i]);
		event_free(c->tasks[i].limit);
		free(c->tasks[i].last_error);
	}
	definition_free(c->definition);
	free(c->tasks);
	free(c->last_error);
	free(c);
}

void
connector_set_flow(struct connector *c, const struct connector_flow *flow, void *ctx)
{
	c->flow = flow;
	c->flow_ctx = ctx;
}

static void
step_all(struct connector *c, enum life_event event)
{
	for (size_t i = 0; i < c->tasks_count; i++)
		step(&c->tasks[i], event);
}

static void
apply_pause(struct connector *c)
{
	bool paused = c->desired == DESIRED_PAUSED;

	if (c->flow->on_paused != NULL)
		c->flow->on_paused(c->flow_ctx, paused);
	for (size_t i = 0; i < c->tasks_count; i++) {
		if (c->tasks[i].child == NULL)
			continue;
		if (paused)
			child_pause(c->tasks[i].child);
		else
			child_resume(c->tasks[i].child);
	}
}

void
connector_begin(struct connector *c)
{
	apply_pause(c);
	step_all(c, c->desired == DESIRED_STOPPED ? LIFE_DOWN : LIFE_UP);
}

int
connector_want(struct connector *c, enum desired desired, struct em_error *err)
{
	if (registry_desired_set(c->world->registry, c->definition->name, desireds[desired], err) != 0)
		return -1;
	c->desired = desired;
	connector_begin(c);
	c->world->on_change(c->world->ctx, c);
	return 0;
}

void
connector_rest(struct connector *c)
{
	step_all(c, LIFE_DOWN);
}

bool
connector_is_at_rest(const struct connector *c)
{
	for (size_t i = 0; i < c->tasks_count; i++)
		if (!life_is_at_rest(&c->tasks[i].life))
			return false;
	return true;
}

void
connector_poke(struct connector *c)
{
	for (size_t i = 0; i < c->tasks_count; i++)
		look_again(&c->tasks[i]);
}

void
connector_give_up(struct connector *c, const char *reason)
{
	for (size_t i = 0; i < c->tasks_count; i++) {
		set_error(&c->tasks[i], reason);
		step(&c->tasks[i], LIFE_HOPELESS);
	}
}

const char *
connector_name(const struct connector *c)
{
	return c->definition->name;
}

const struct definition *
connector_definition(const struct connector *c)
{
	return c->definition;
}

enum desired
connector_desired(const struct connector *c)
{
	return c->desired;
}

/* The more an operator wants to know of it, the further back in the list. */
static const enum life_state by_weight[] = { LIFE_STOPPED, LIFE_FINISHED, LIFE_RUNNING, LIFE_FINISHING, LIFE_STARTING,
	LIFE_STOPPING, LIFE_TERMINATING, LIFE_KILLING, LIFE_DRAINING, LIFE_BREAKING, LIFE_BACKOFF, LIFE_FAILED };
_Static_assert(sizeof(by_weight) / sizeof(by_weight[0]) == LIFE_STATES, "every state has a weight");

enum life_state
connector_state(const struct connector *c)
{
	for (size_t w = LIFE_STATES; w-- > 0;)
		for (size_t i = 0; i < c->tasks_count; i++)
			if (c->tasks[i].life.state == by_weight[w])
				return by_weight[w];
	return LIFE_STOPPED;
}

const char *
connector_last_error(const struct connector *c)
{
	return c->last_error != NULL ? c->last_error : "";
}

const char *
connector_state_text(const struct connector *c)
{
	enum life_state state = connector_state(c);

	return state == LIFE_RUNNING && c->desired == DESIRED_PAUSED ? "paused" : life_state_name(state);
}

json_t *
connector_tasks(const struct connector *c)
{
	json_t *list = json_array();

	for (size_t i = 0; i < c->tasks_count; i++) {
		const struct task *t = &c->tasks[i];

		json_array_append_new(list, json_pack("{s:i, s:i, s:s, s:i, s:s}", "task", (int)t->number, "pid", t->pid,
		    "state", t->life.state == LIFE_RUNNING && c->desired == DESIRED_PAUSED ? "paused" :
		    life_state_name(t->life.state), "restarts", (int)t->restarts, "last_error",
		    t->last_error != NULL ? t->last_error : ""));
	}
	return list;
}

struct child *
task_child(const struct task *t)
{
	return t->child;
}

uint32_t
task_number(const struct task *t)
{
	return t->number;
}
