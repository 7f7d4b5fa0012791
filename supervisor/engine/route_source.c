/* The way of a source's records: child -> ledger and publishing lane -> acknowledgement -> commit. */
#include "route_private.h"

#include <stdlib.h>

#include "config.h"
#include "error.h"
#include "ledger.h"
#include "publish.h"
#include "record.h"

static struct route_task *
route_task_of(void *ctx, const struct task *task)
{
	struct route_flow *f = ctx;

	return &f->tasks[task_number(task)];
}

/* A record EventMesh will never take. One that is not settled stays open: its partition does not advance, the connector
 * stops with the reason, and nothing is lost. */
static bool
refuse(struct route_task *t, const struct em_record *record, const char *reason)
{
	struct em_buf *b = &t->flow->scratch;

	em_buf_reset(b);
	em_record_encode(b, record);
	return route_refused(t->flow, em_buf_view(b), reason, 1) == 0;
}

static void
on_result(void *ctx, void *cookie, uint32_t first, uint32_t count, enum em_outcome outcome, const char *reason)
{
	struct route_task *t = ctx;
	struct ledger_entry *entry = cookie;

	if (outcome == EM_DELIVERED) {
		t->flow->counters.delivered += count;
		ledger_done(t->ledger, entry, first, count);
	} else {
		for (uint32_t i = first; i < first + count; i++)
			if (refuse(t, &ledger_batch(entry)->records[i], reason))
				ledger_done(t->ledger, entry, i, 1);
	}
	route_dirty(t);
}

static const struct publish_ops publish_ops = { .on_result = on_result };

static void
on_up(void *ctx, struct task *task)
{
	struct route_task *t = route_task_of(ctx, task);
	const struct definition *d = connector_definition(t->flow->connector);

	t->positions_count = 0;
	route_source_release(t);
	t->task = task;
	t->ledger = ledger_new();
	t->lane = publish_lane_new(t->flow->route->publish, &(struct publish_lane_config){
	    .context = t->flow->context, .form = d->message_format,
	    .name = connector_name(t->flow->connector) }, &publish_ops, t);
}

static void
on_down(void *ctx, struct task *task)
{
	/* What was acknowledged in this turn counts, so that less comes again. */
	route_commit_now(((struct route_flow *)ctx)->route);
	route_source_release(route_task_of(ctx, task));
}

static void
on_records(void *ctx, struct task *task, struct em_batch *batch)
{
	struct route_task *t = route_task_of(ctx, task);

	t->flow->counters.received += batch->count;
	if (!TAILQ_EMPTY(&t->flow->route->taps))
		for (uint32_t i = 0; i < batch->count; i++)
			route_tap_show(t->flow, &batch->records[i]);
	publish_submit(t->lane, batch, ledger_add(t->ledger, batch));
}

static bool
is_idle(void *ctx, struct task *task)
{
	const struct route_task *t = route_task_of(ctx, task);

	return t->ledger == NULL || ledger_is_empty(t->ledger);
}

void
route_source_release(struct route_task *t)
{
	if (t->dirty)
		TAILQ_REMOVE(&t->flow->route->dirty, t, dirty_link);
	t->dirty = false;
	publish_lane_free(t->lane);
	t->lane = NULL;
	ledger_free(t->ledger);
	t->ledger = NULL;
	t->task = NULL;
}

const struct connector_flow route_source_flow = {
	.on_up = on_up, .on_down = on_down, .on_records = on_records, .is_idle = is_idle,
};
