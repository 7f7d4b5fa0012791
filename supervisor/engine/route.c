#include "route.h"

#include <stdlib.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "config.h"
#include "connector.h"
#include "error.h"
#include "ledger.h"
#include "publish.h"
#include "record.h"
#include "registry.h"
#include "route_private.h"
#include "subscribe.h"

#define COMMIT_APART_MS		2	/* transactions are at least this far apart */
#define COMMIT_AGAIN_MS		1000	/* after the registry refused */

static void
commit_soon(struct route *r, int ms)
{
	struct timeval after = { ms / 1000, (ms % 1000) * 1000 };

	if (!event_pending(r->commit, EV_TIMEOUT, NULL))
		event_add(r->commit, &after);
}

void
route_dirty(struct route_task *t)
{
	if (!t->dirty) {
		t->dirty = true;
		TAILQ_INSERT_TAIL(&t->flow->route->dirty, t, dirty_link);
	}
	commit_soon(t->flow->route, COMMIT_APART_MS);
}

/* Puts every advanced position of the task into the open transaction. */
static int
put_positions(struct route_task *t, struct em_error *err)
{
	struct registry *registry = t->flow->route->registry;
	const char *name = connector_name(t->flow->connector);

	t->positions = ledger_collect(t->ledger, &t->positions_count);
	for (size_t i = 0; i < t->positions_count; i++)
		if (registry_offset_put(registry, name, t->positions[i].partition, t->positions[i].offset, err) != 0)
			return -1;
	return 0;
}

static int
put_all(struct route *r, struct em_error *err)
{
	struct route_task *t;

	if (registry_begin(r->registry, err) != 0)
		return -1;
	TAILQ_FOREACH(t, &r->dirty, dirty_link)
		if (put_positions(t, err) != 0)
			break;
	if (t == NULL && registry_commit(r->registry, err) == 0)
		return 0;
	registry_rollback(r->registry);
	return -1;
}

/* What is durable is told to the child, and its credit given back. */
static void
settle(struct route_task *t)
{
	struct child *child = task_child(t->task);
	uint32_t records, size_bytes;

	if (child != NULL && t->positions_count > 0)
		child_committed(child, t->positions, t->positions_count);
	t->positions_count = 0;
	ledger_commit(t->ledger, &records, &size_bytes);
	if (child != NULL && records > 0)
		child_grant(child, records, size_bytes);
}

void
route_commit_now(struct route *r)
{
	struct em_error err = EM_ERROR_INIT;
	struct route_task *t;
	bool good;

	if (TAILQ_EMPTY(&r->dirty))
		return;
	good = put_all(r, &err) == 0;
	if (!good) {
		em_log(EM_ERROR, "registry", "offsets cannot be stored, sources wait: %s", em_error_text(&err));
		TAILQ_FOREACH(t, &r->dirty, dirty_link)
			ledger_revert(t->ledger);
		commit_soon(r, COMMIT_AGAIN_MS);
		em_error_clear(&err);
		return;
	}
	while ((t = TAILQ_FIRST(&r->dirty)) != NULL) {
		TAILQ_REMOVE(&r->dirty, t, dirty_link);
		t->dirty = false;
		settle(t);
		connector_poke(t->flow->connector);
	}
}

static void
on_commit(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	route_commit_now(ctx);
}

struct route *
route_new(const struct route_config *config)
{
	struct route *r = em_calloc(1, sizeof(*r));

	r->base = config->base;
	r->publish = config->publish;
	r->registry = config->registry;
	r->mesh = config->mesh;
	r->group_prefix = config->group_prefix;
	TAILQ_INIT(&r->dirty);
	TAILQ_INIT(&r->taps);
	r->commit = event_new(config->base, -1, 0, on_commit, r);
	if (r->commit == NULL)
		em_panic("route: no timer");
	return r;
}

void
route_free(struct route *r)
{
	if (r == NULL)
		return;
	event_free(r->commit);
	free(r);
}

struct route_tap *
route_tap_open(struct route *r, const char *connector, const char *topic, route_tap_record *each, void *ctx)
{
	struct route_tap *tap = em_calloc(1, sizeof(*tap));

	tap->route = r;
	tap->connector = em_strdup(connector);
	tap->topic = em_strdup(topic);
	tap->each = each;
	tap->ctx = ctx;
	TAILQ_INSERT_TAIL(&r->taps, tap, link);
	return tap;
}

void
route_tap_close(struct route_tap *tap)
{
	if (tap == NULL)
		return;
	TAILQ_REMOVE(&tap->route->taps, tap, link);
	free(tap->connector);
	free(tap->topic);
	free(tap);
}

void
route_tap_show(struct route_flow *f, const struct em_record *record)
{
	const char *connector = connector_name(f->connector), *topic = connector_definition(f->connector)->topic;
	struct route_tap *tap, *next;

	for (tap = TAILQ_FIRST(&f->route->taps); tap != NULL; tap = next) {
		next = TAILQ_NEXT(tap, link);	/* a tap may close itself when it has seen enough */
		if ((tap->connector == NULL || strcmp(tap->connector, connector) == 0) &&
		    (tap->topic == NULL || strcmp(tap->topic, topic) == 0))
			tap->each(tap->ctx, connector, topic, record);
	}
}

int
route_dead_letter(struct route_flow *f, struct em_span record, const char *reason, uint32_t attempts,
    struct em_error *err)
{
	const char *name = connector_name(f->connector);

	if (registry_dead_letter_put(f->route->registry, name, record, reason, attempts, err) != 0)
		return em_error_prefix(err, "a dead letter cannot be stored");
	f->counters.dead_lettered++;
	em_log(EM_WARNING, name, "a record became a dead letter: %s", reason);
	return 0;
}

/* What the definition says about a record that is refused: how each "then" settles it, or does not. */
int
route_refused(struct route_flow *f, struct em_span record, const char *reason, uint32_t attempts)
{
	const struct definition *d = connector_definition(f->connector);
	struct em_error err = EM_ERROR_INIT;
	int result = -1;

	if (d->on_error.then == THEN_SKIP) {
		em_log(EM_WARNING, d->name, "a record was skipped: %s", reason);
		return 0;
	}
	if (d->on_error.then == THEN_DEAD_LETTER)
		result = route_dead_letter(f, record, reason, attempts, &err);
	if (result != 0)
		connector_give_up(f->connector, err.code != EM_OK ? em_error_text(&err) : reason);
	em_error_clear(&err);
	return result;
}

struct route_flow *
route_attach(struct route *r, struct connector *c)
{
	const struct definition *d = connector_definition(c);
	struct route_flow *f = em_calloc(1, sizeof(*f));

	f->route = r;
	f->connector = c;
	f->tasks_count = (size_t)d->tasks;
	f->tasks = em_calloc(f->tasks_count, sizeof(*f->tasks));
	for (size_t i = 0; i < f->tasks_count; i++)
		f->tasks[i].flow = f;
	f->type = em_asprintf("org.apache.eventmesh.connector.%s", d->kind);
	f->group = d->group != NULL ? em_strdup(d->group) : em_asprintf("%s-%s", r->group_prefix, d->name);
	f->context = (struct em_event_context){ .connector = em_span_str(d->name), .topic = em_span_str(d->topic),
		.type = em_span_str(f->type), .ttl_ms = r->mesh->ttl_ms };
	connector_set_flow(c, d->role == EM_SOURCE ? &route_source_flow : &route_sink_flow, f);
	return f;
}

void
route_detach(struct route_flow *f)
{
	if (f == NULL)
		return;
	for (size_t i = 0; i < f->tasks_count; i++) {
		route_source_release(&f->tasks[i]);
		route_sink_release(&f->tasks[i]);
	}
	subscription_free(f->subscription);
	subscription_free(f->leaving);
	em_buf_clear(&f->scratch);
	free(f->tasks);
	free(f->type);
	free(f->group);
	free(f);
}

void
route_settle(struct route_flow *f)
{
	if (connector_is_at_rest(f->connector))
		route_sink_close(f);
}

void
route_counters_get(const struct route_flow *f, struct route_counters *counters)
{
	*counters = f->counters;
	for (size_t i = 0; i < f->tasks_count; i++)
		counters->in_flight += f->tasks[i].ledger != NULL ? ledger_open(f->tasks[i].ledger) :
		    f->tasks[i].count;
}
