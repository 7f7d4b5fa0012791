/* The way of a sink's records: delivery -> queue of its task -> child -> result -> delivery done. */
#include "route_private.h"

#include <stdlib.h>

#include <event2/event.h>

#include "checksum.h"
#include "config.h"
#include "error.h"
#include "record.h"
#include "retry.h"
#include "subscribe.h"

#define BATCH_BYTES	(256u * 1024)
#define COMPACT_BYTES	(64u * 1024)

static struct route_task *
route_task_of(void *ctx, const struct task *task)
{
	struct route_flow *f = ctx;

	return &f->tasks[task_number(task)];
}

static struct queued *
item(const struct route_task *t, size_t i)
{
	return &t->items[t->items_start + i];
}

static void
push(struct route_task *t, uint64_t delivery, size_t size_bytes)
{
	if (t->items_start + t->count == t->items_size) {
		if (t->items_start > t->items_size / 2) {
			memmove(t->items, item(t, 0), t->count * sizeof(*t->items));
			t->items_start = 0;
		} else {
			t->items_size = t->items_size > 0 ? em_size_mul(t->items_size, 2) : 256;
			t->items = em_realloc_array(t->items, t->items_size, sizeof(*t->items));
		}
	}
	t->count++;
	*item(t, t->count - 1) = (struct queued){ .delivery = delivery, .size_bytes = (uint32_t)size_bytes };
}

/* As many of the first records as fit one batch, at least one. */
static uint32_t
measure(const struct route_task *t, uint32_t most, size_t *size_bytes)
{
	uint32_t n = 0;
	size_t size = 0;

	while (n < most && n < t->count && (n == 0 || size + item(t, n)->size_bytes <= BATCH_BYTES))
		size += item(t, n++)->size_bytes;
	*size_bytes = size;
	return n;
}

static void
feed(struct route_task *t)
{
	struct child *child = t->task != NULL ? task_child(t->task) : NULL;
	uint32_t n;
	size_t size;

	if (child == NULL || t->draining || t->flow->paused || t->count == 0 || t->sent > 0 ||
	    event_pending(t->again, EV_TIMEOUT, NULL))
		return;
	n = measure(t, child_room(child), &size);
	if (n == 0)
		return;
	child_send_records(child, (struct em_span){ t->bytes.data + t->bytes_start, size }, n);
	t->sent = n;
}

static void
on_again(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	feed(ctx);
}

/* Drops the settled ones of the batch that was answered; what is to be tried again moves up, in its order. */
static void
sweep(struct route_task *t)
{
	size_t kept = 0, from = t->bytes_start, to, at;

	for (size_t i = 0; i < t->sent; i++)
		from += item(t, i)->size_bytes;
	/* Backwards, so that the kept ones end up right in front of what was never sent. */
	to = at = from;
	for (size_t i = t->sent; i-- > 0;) {
		struct queued q = *item(t, i);

		at -= q.size_bytes;
		if (q.settled)
			continue;
		to -= q.size_bytes;
		memmove(t->bytes.data + to, t->bytes.data + at, q.size_bytes);
		kept++;
		*item(t, t->sent - kept) = q;
	}
	t->bytes_start = to;
	t->items_start += t->sent - kept;
	t->count -= t->sent - kept;
	t->sent = 0;
	if (t->bytes_start == t->bytes.len || t->bytes_start > COMPACT_BYTES * 16) {
		em_buf_consume(&t->bytes, t->bytes_start);
		t->bytes_start = 0;
	}
}

static size_t
offset_of(const struct route_task *t, size_t index)
{
	size_t at = t->bytes_start;

	for (size_t i = 0; i < index; i++)
		at += item(t, i)->size_bytes;
	return at;
}

/* True when the record is a dead letter (or skipped) and need not be tried again. */
static bool
give_up(struct route_task *t, size_t index, const char *reason)
{
	struct queued *q = item(t, index);
	struct em_span bytes = { t->bytes.data + offset_of(t, index), q->size_bytes };

	return route_refused(t->flow, bytes, reason, q->attempts) == 0;
}

static bool
decide(struct route_task *t, size_t index, const struct em_result *result, const char *reason)
{
	const struct definition *d = connector_definition(t->flow->connector);
	struct queued *q = item(t, index);

	if (q->delivery == 0)	/* of a connection that ended: if it was not written, it comes again */
		return true;
	if (q->attempts < UINT16_MAX)
		q->attempts++;
	if (result->outcome == EM_DELIVERED) {
		t->flow->counters.delivered++;
		return true;
	}
	if (result->outcome == EM_REJECTED || (d->on_error.retries >= 0 && q->attempts > d->on_error.retries))
		return give_up(t, index, reason);
	t->flow->counters.retried++;
	return false;
}

static void
on_result(void *ctx, struct task *task, const struct em_result *result)
{
	struct route_task *t = route_task_of(ctx, task);
	char *reason = result->outcome != EM_DELIVERED ? em_span_dup(result->reason) : NULL;

	for (size_t i = result->first; i < (size_t)result->first + result->count; i++) {
		if (!decide(t, i, result, reason))
			continue;
		item(t, i)->settled = 1;
		subscription_done(t->flow->subscription, item(t, i)->delivery);
	}
	if (reason != NULL) {
		free(t->reason);
		t->reason = reason;
	}
}

static void
on_answered(void *ctx, struct task *task)
{
	struct route_task *t = route_task_of(ctx, task);
	const struct definition *d = connector_definition(t->flow->connector);
	size_t before = t->sent, left = t->count;
	struct timeval after;
	int64_t ms;

	sweep(t);
	if (left - t->count == before) {
		t->failures = 0;
	} else {
		ms = retry_delay_ms(d->on_error.backoff.min_ms, d->on_error.backoff.max_ms, t->failures++,
		    (uint32_t)random());
		after = (struct timeval){ ms / 1000, ms % 1000 * 1000 };
		event_add(t->again, &after);
		em_log(t->failures == 1 ? EM_WARNING : EM_DEBUG, connector_name(t->flow->connector),
		    "%zu records are tried again in %lld ms: %s", before - (left - t->count), (long long)ms,
		    t->reason != NULL ? t->reason : "no reason given");
	}
	connector_poke(t->flow->connector);
	feed(t);
}

static void
on_credit(void *ctx, struct task *task)
{
	feed(route_task_of(ctx, task));
}

/* Records without a key go round by their delivery, the others by their key. */
static struct route_task *
choose(struct route_flow *f, struct em_span key, uint64_t delivery)
{
	if (key.bytes == NULL)
		return &f->tasks[delivery % f->tasks_count];
	return &f->tasks[em_crc32c(0, key.bytes, key.len) % f->tasks_count];
}

/* An event that cannot be read is kept as it came. */
static void
unreadable(struct route_flow *f, uint64_t delivery, struct em_span body, const struct em_error *why)
{
	struct em_record record = { 0 };
	struct em_buf *b = &f->scratch;

	em_buf_reset(b);
	record.field[EM_FIELD_DATA] = body;
	em_record_encode(b, &record);
	if (route_dead_letter(f, em_buf_view(b), em_error_text(why), 1, NULL) == 0)
		subscription_done(f->subscription, delivery);
}

static void
on_deliver(void *ctx, uint64_t delivery, enum em_mesh_form form, struct em_span body, struct em_span id)
{
	struct route_flow *f = ctx;
	struct em_error err = EM_ERROR_INIT;
	struct em_record record;
	struct em_reader r;
	struct route_task *t = &f->tasks[0];
	bool look = f->tasks_count > 1 || !TAILQ_EMPTY(&f->route->taps);
	struct em_buf *b = look ? &f->scratch : &t->bytes;
	size_t before;

	if (look)
		em_buf_reset(b);
	before = b->len;
	f->counters.received++;
	if (em_event_decode(b, form, body, id, &err) != 0) {
		unreadable(f, delivery, body, &err);
		em_error_clear(&err);
		return;
	}
	if (look) {
		r = em_reader(em_buf_view(b));
		if (em_record_decode(&r, &record, NULL) != 0)
			em_panic("route: a record made here cannot be read");
		if (!TAILQ_EMPTY(&f->route->taps))
			route_tap_show(f, &record);
		t = choose(f, record.field[EM_FIELD_KEY], delivery);
		em_buf_span(&t->bytes, em_buf_view(b));
	}
	push(t, delivery, b->len - before);
}

static void
feed_all(void *ctx)
{
	struct route_flow *f = ctx;

	for (size_t i = 0; i < f->tasks_count; i++)
		feed(&f->tasks[i]);
}

static void
on_state(void *ctx, bool listening, const char *why)
{
	struct route_flow *f = ctx;

	if (listening)
		em_log(EM_INFO, connector_name(f->connector), "listening to \"%s\" as group \"%s\"",
		    connector_definition(f->connector)->topic, f->group);
	else
		em_log(EM_WARNING, connector_name(f->connector), "not listening: %s", why);
}

/* The server will send again what was not acknowledged: what waits here would come twice. */
static void
on_reset(void *ctx)
{
	struct route_flow *f = ctx;

	for (size_t n = 0; n < f->tasks_count; n++) {
		struct route_task *t = &f->tasks[n];

		t->bytes.len = offset_of(t, t->sent);
		t->count = t->sent;
		for (size_t i = 0; i < t->sent; i++)
			item(t, i)->delivery = 0;
	}
}

static const struct subscribe_ops subscribe_ops = {
	.on_deliver = on_deliver, .on_turn = feed_all, .on_state = on_state, .on_reset = on_reset,
};

static void
on_up(void *ctx, struct task *task)
{
	struct route_flow *f = ctx;
	struct route_task *t = route_task_of(ctx, task);
	const struct definition *d = connector_definition(f->connector);

	t->task = task;
	t->draining = false;
	t->sent = 0;
	if (t->again == NULL)
		t->again = event_new(f->route->base, -1, 0, on_again, t);
	if (f->subscription == NULL)
		f->subscription = subscribe_open(f->route->base, f->route->mesh, &(struct subscribe_config){
		    .name = connector_name(f->connector), .group = f->group, .topic = d->topic,
		    .window_records = (uint32_t)d->window.records, .window_bytes = (uint32_t)d->window.bytes },
		    &subscribe_ops, f);
	feed(t);
}

static void
on_down(void *ctx, struct task *task)
{
	struct route_task *t = route_task_of(ctx, task);

	/* What it had not answered is sent again to its successor; settled ones were told apart one by one. */
	for (size_t i = 0; i < t->sent; i++)
		if (item(t, i)->delivery == 0)
			item(t, i)->settled = 1;
	sweep(t);
	t->task = NULL;
}

static void
on_paused(void *ctx, bool paused)
{
	((struct route_flow *)ctx)->paused = paused;
	if (!paused)
		feed_all(ctx);
}

static void
on_draining(void *ctx, struct task *task)
{
	route_task_of(ctx, task)->draining = true;
}

static bool
is_idle(void *ctx, struct task *task)
{
	return route_task_of(ctx, task)->sent == 0;
}

static void
on_left(void *ctx)
{
	struct route_flow *f = ctx;

	subscription_free(f->leaving);
	f->leaving = NULL;
}

void
route_sink_release(struct route_task *t)
{
	if (t->again != NULL)
		event_free(t->again);
	t->again = NULL;
	em_buf_clear(&t->bytes);
	free(t->items);
	free(t->reason);
	t->items = NULL;
	t->reason = NULL;
	t->bytes_start = t->items_start = t->items_size = t->count = t->sent = 0;
	t->failures = 0;
}

/* What the queues hold was not acknowledged, so it stays EventMesh's (or the inbox's). */
void
route_sink_close(struct route_flow *f)
{
	for (size_t i = 0; i < f->tasks_count; i++)
		route_sink_release(&f->tasks[i]);
	if (f->subscription == NULL)
		return;
	if (f->leaving != NULL)
		on_left(f);
	f->leaving = f->subscription;
	f->subscription = NULL;
	subscription_close(f->leaving, on_left, f);
}

const struct connector_flow route_sink_flow = {
	.on_up = on_up, .on_down = on_down, .on_result = on_result, .on_answered = on_answered,
	.on_credit = on_credit, .on_paused = on_paused, .on_draining = on_draining, .is_idle = is_idle,
};
