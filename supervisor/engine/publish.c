#include "publish.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include "error.h"
#include "json.h"
#include "log.h"
#include "record.h"
#include "retry.h"

#define FIRST_WINDOW	16u
#define RESEND_MS	5000
#define UNSENT_MAX	(1024u * 1024)
#define AGAIN_MIN_MS	100
#define AGAIN_MAX_MS	10000

struct item {				/* one submitted batch */
	STAILQ_ENTRY(item) link;
	struct em_batch	*batch;
	void		*cookie;
	uint32_t	 next;		/* record to be sent next */
	uint32_t	 left;		/* without result */
};

struct publish_lane {
	TAILQ_ENTRY(publish_lane) link;
	struct publish	*publish;
	struct publish_lane_config config;
	const struct publish_ops *ops;
	void		*ctx;
	STAILQ_HEAD(, item) items;	/* oldest first; all with results left */
	struct item	*sending;	/* NULL: everything was sent */
	uint32_t	 in_flight;
};

enum slot_state { SENT, REFUSED, DONE };

struct slot {
	struct publish_lane *lane;	/* NULL: its lane is gone, nobody waits */
	struct item	*item;
	uint32_t	 index, size_bytes;
	int64_t		 sent_ms;
	enum slot_state	 state;
};

struct publish {
	struct event_base *base;
	const struct mesh_config *mesh;
	struct session	*session;
	struct event	*pump, *again, *tick;
	bool		 ordered, cumulative;
	struct slot	*slots;		/* ring by sequence: slot of seq n is n - first_seq behind first */
	size_t		 first, count, size;
	uint64_t	 first_seq;
	uint64_t	 bytes;
	double		 window;	/* adaptive */
	unsigned	 refusals_in_a_row;
	size_t		 refused_now;
	uint64_t	 resent, refused;
	struct em_buf	 scratch;
	TAILQ_HEAD(, publish_lane) lanes;
};

static void	pump(struct publish *p);

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct slot *
slot_at(const struct publish *p, size_t i)
{
	return &p->slots[p->first + i];
}

static void
push(struct publish *p, const struct slot *s)
{
	if (p->first + p->count == p->size) {
		if (p->first > p->size / 2) {
			memmove(p->slots, slot_at(p, 0), p->count * sizeof(*p->slots));
			p->first = 0;
		} else {
			p->size = p->size > 0 ? em_size_mul(p->size, 2) : 1024;
			p->slots = em_realloc_array(p->slots, p->size, sizeof(*p->slots));
		}
	}
	*slot_at(p, p->count++) = *s;
}

static void
pump_soon(struct publish *p)
{
	event_active(p->pump, EV_TIMEOUT, 0);
}

/* Appends the frame of a record. -1 and *err: it can never be sent. */
static int
encode(struct publish *p, const struct publish_lane *lane, const struct em_record *record, uint64_t seq,
    uint32_t *size_bytes, struct em_error *err)
{
	struct em_buf *b = session_out(p->session);
	uint8_t digits[20], *d = digits + sizeof(digits);
	struct em_mesh_header header = { .command = EM_MESH_ASYNC_MESSAGE_TO_SERVER, .form = lane->config.form };
	size_t begin;

	for (uint64_t rest = seq; rest > 0; rest /= 10)
		*--d = (uint8_t)('0' + rest % 10);
	header.seq = (struct em_span){ d, (size_t)(digits + sizeof(digits) - d) };
	if (lane->config.form == EM_FORM_EVENTMESH) {	/* there the seq is the event's id */
		em_buf_reset(&p->scratch);
		em_event_id(&p->scratch, &lane->config.context, record);
		header.seq = em_buf_view(&p->scratch);
	}
	begin = em_mesh_begin(b, &header);
	if (em_event_encode(b, lane->config.form, &lane->config.context, record, err) != 0) {
		b->len = begin;
		return -1;
	}
	if (em_mesh_end(b, begin, err) != 0)
		return -1;
	*size_bytes = (uint32_t)(b->len - begin);
	return 0;
}

static void
item_done(struct publish_lane *lane, struct item *item, uint32_t count)
{
	item->left -= count;
	if (item->left > 0)
		return;
	STAILQ_REMOVE(&lane->items, item, item, link);
	em_batch_unref(item->batch);
	free(item);
}

/* Tells the results of slots from .. to that are neighbours in one batch as one range. */
static void
tell(struct publish_lane *lane, struct item *item, uint32_t first, uint32_t count, enum em_outcome outcome,
    const char *reason)
{
	lane->ops->on_result(lane->ctx, item->cookie, first, count, outcome, reason);
	item_done(lane, item, count);
}

static void
pop_done(struct publish *p)
{
	while (p->count > 0 && slot_at(p, 0)->state == DONE) {
		p->first++;
		p->count--;
		p->first_seq++;
	}
}

static void
settle(struct publish *p, struct slot *s)
{
	if (s->state == REFUSED)
		p->refused_now--;
	s->state = DONE;
	p->bytes -= s->size_bytes;
	if (s->lane != NULL)
		s->lane->in_flight--;
	if (!p->ordered && p->window < p->mesh->window_records)
		p->window += 1.0 / p->window;
}

/* All slots before `end` are acknowledged. */
static void
acknowledge_to(struct publish *p, size_t end)
{
	struct publish_lane *lane = NULL;
	struct item *item = NULL;
	uint32_t first = 0, n = 0;

	for (size_t i = 0; i < end; i++) {
		struct slot *s = slot_at(p, i);

		if (s->state == DONE)
			continue;
		settle(p, s);
		if (s->lane == NULL)
			continue;
		if (n > 0 && s->item == item && s->index == first + n) {
			n++;
			continue;
		}
		if (n > 0)
			tell(lane, item, first, n, EM_DELIVERED, NULL);
		lane = s->lane;
		item = s->item;
		first = s->index;
		n = 1;
	}
	if (n > 0)
		tell(lane, item, first, n, EM_DELIVERED, NULL);
	pop_done(p);
}

static void
finish_one(struct publish *p, struct slot *s, enum em_outcome outcome, const char *reason)
{
	struct slot copy = *s;

	settle(p, s);
	if (copy.lane != NULL)
		tell(copy.lane, copy.item, copy.index, 1, outcome, reason);
	pop_done(p);
}

/* The slot an acknowledgement is about: by the id in its body, else by its seq. */
static struct slot *
find(struct publish *p, const struct em_mesh_frame *f)
{
	struct em_mesh_identity identity = { 0 };
	struct em_json number = { EM_JSON_NUMBER, false, f->header.seq };
	int64_t seq;
	struct slot *s = NULL;

	if (f->header.seq.len > 0 && em_json_int64(&number, &seq) == 0 && seq >= (int64_t)p->first_seq &&
	    (uint64_t)seq - p->first_seq < p->count)
		s = slot_at(p, (size_t)((uint64_t)seq - p->first_seq));
	if (s == NULL && f->header.seq.len > 0)		/* the EventMesh form: its seq is the id */
		identity.id = f->header.seq;
	else if (f->body.len == 0 || em_mesh_identify(f->body, &identity, NULL) != 0 || identity.id.len == 0)
		return s != NULL && s->state != DONE ? s : NULL;
	for (size_t i = 0; i < p->count + 1; i++) {	/* the one its seq names first: it mostly is */
		struct slot *t = i == 0 ? s : slot_at(p, i - 1);

		if (t == NULL || t->state == DONE || t->lane == NULL)
			continue;
		em_buf_reset(&p->scratch);
		em_event_id(&p->scratch, &t->lane->config.context, &t->item->batch->records[t->index]);
		if (em_span_eq(identity.id, em_buf_view(&p->scratch)))
			return t;
	}
	return NULL;
}

static void
refused(struct publish *p, struct slot *s, const struct em_mesh_frame *f)
{
	const struct retry_row *row = retry_classify(f->header.desc);
	char *desc = em_span_dup((struct em_span){ f->header.desc.bytes,
	    f->header.desc.len > 300 ? 300 : f->header.desc.len });

	p->refused++;
	if (row->verdict == RETRY_PERMANENT) {
		char *reason = em_asprintf("%s: %s", row->meaning, desc);

		finish_one(p, s, EM_REJECTED, reason);
		free(reason);
	} else {
		if (p->refusals_in_a_row++ % 100 == 0)
			em_log(EM_WARNING, "publish", "refused, it is tried again (%s): %s", row->meaning, desc);
		if (row->verdict == RETRY_SMALLER && p->window > 2)
			p->window /= 2;
		if (s->state == SENT)
			p->refused_now++;
		s->state = REFUSED;
		if (row->verdict == RETRY_RECONNECT)
			session_again(p->session, desc);
		else if (!event_pending(p->again, EV_TIMEOUT, NULL)) {
			int64_t ms = retry_delay_ms(AGAIN_MIN_MS, AGAIN_MAX_MS, p->refusals_in_a_row / 16, (uint32_t)random());
			struct timeval after = { ms / 1000, ms % 1000 * 1000 };

			event_add(p->again, &after);
		}
	}
	free(desc);
}

static void
on_frame(void *ctx, const struct em_mesh_frame *f)
{
	struct publish *p = ctx;
	struct slot *s;

	if (f->header.command != EM_MESH_ASYNC_MESSAGE_TO_SERVER_ACK)
		return;
	s = find(p, f);
	if (s == NULL)
		return;		/* a stranger's, or one that came twice */
	if (f->header.cumulative && f->header.code == 0 && p->cumulative) {
		p->refusals_in_a_row = 0;
		acknowledge_to(p, (size_t)(s - slot_at(p, 0)) + 1);
		return;
	}
	if (f->header.code != 0) {
		refused(p, s, f);
		return;
	}
	p->refusals_in_a_row = 0;
	finish_one(p, s, EM_DELIVERED, NULL);
}

static void
on_turn(void *ctx)
{
	pump(ctx);
}

/* Everything that has no result yet goes out again, oldest first. */
static void
resend(struct publish *p, bool only_refused)
{
	int64_t now = now_ms();

	for (size_t i = 0; i < p->count; i++) {
		struct slot *s = slot_at(p, i);
		struct em_error err = EM_ERROR_INIT;

		if (s->state == DONE || (only_refused && s->state != REFUSED))
			continue;
		if (s->lane == NULL) {		/* nobody waits for it any more */
			settle(p, s);
			continue;
		}
		if (s->state == REFUSED)
			p->refused_now--;
		s->state = SENT;
		s->sent_ms = now;
		p->resent++;
		if (encode(p, s->lane, &s->item->batch->records[s->index], p->first_seq + i, &s->size_bytes, &err) != 0)
			em_log(EM_ERROR, "publish", "a record that was sent before cannot be sent: %s", em_error_text(&err));
		em_error_clear(&err);
	}
	pop_done(p);
}

static void
on_up(void *ctx, const struct em_mesh_offer *offer)
{
	struct publish *p = ctx;

	p->ordered = offer->order;
	p->cumulative = offer->cumulative_ack;
	p->window = p->ordered ? p->mesh->window_records : FIRST_WINDOW;
	resend(p, false);
	pump_soon(p);
}

static void
on_down(void *ctx, const char *why)
{
	(void)ctx;
	(void)why;
}

static const struct session_ops session_ops = { .on_up = on_up, .on_frame = on_frame, .on_turn = on_turn,
	.on_down = on_down };

/* Sends one record of the lane; false if the lane has none or may not. */
static bool
send_one(struct publish *p, struct publish_lane *lane, int64_t now)
{
	struct item *item = lane->sending;
	struct slot s = { .lane = lane, .item = item, .sent_ms = now, .state = SENT };
	struct em_error err = EM_ERROR_INIT;

	if (item == NULL || (!p->ordered && lane->in_flight > 0))
		return false;
	s.index = item->next++;
	if (item->next == item->batch->count)
		lane->sending = STAILQ_NEXT(item, link);
	if (encode(p, lane, &item->batch->records[s.index], p->first_seq + p->count, &s.size_bytes, &err) != 0) {
		tell(lane, item, s.index, 1, EM_REJECTED, em_error_text(&err));
		em_error_clear(&err);
		return true;
	}
	lane->in_flight++;
	p->bytes += s.size_bytes;
	push(p, &s);
	return true;
}

static bool
has_room(const struct publish *p)
{
	return session_is_up(p->session) && p->refused_now == 0 && (double)p->count < p->window &&
	    (p->bytes < p->mesh->window_bytes || p->count == 0) && session_pending(p->session) < UNSENT_MAX;
}

/* Lanes take turns of up to 64 records. */
static void
pump(struct publish *p)
{
	int64_t now = now_ms();
	bool any = true;

	while (any && has_room(p)) {
		struct publish_lane *lane, *next;

		any = false;
		for (lane = TAILQ_FIRST(&p->lanes); lane != NULL; lane = next) {
			next = TAILQ_NEXT(lane, link);
			for (int n = 0; n < 64 && has_room(p) && send_one(p, lane, now); n++)
				any = true;
		}
	}
}

static void
on_pump(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	pump(ctx);
}

static void
on_again(evutil_socket_t fd, short what, void *ctx)
{
	struct publish *p = ctx;

	(void)fd;
	(void)what;
	if (session_is_up(p->session))
		resend(p, true);
	pump(p);
}

/* What is not acknowledged in time: on a server of our kind the connection is to blame, on another the answer strayed. */
static void
on_tick(evutil_socket_t fd, short what, void *ctx)
{
	struct publish *p = ctx;
	int64_t now = now_ms();

	(void)fd;
	(void)what;
	if (!session_is_up(p->session))
		return;
	for (size_t i = 0; i < p->count; i++) {
		struct slot *s = slot_at(p, i);

		if (s->state != SENT || now - s->sent_ms < (p->ordered ? 4 * RESEND_MS : RESEND_MS))
			continue;
		if (p->ordered) {
			session_again(p->session, "a publish was not acknowledged in time");
			return;
		}
		s->state = REFUSED;
		p->refused_now++;
	}
	if (p->refused_now > 0 && !event_pending(p->again, EV_TIMEOUT, NULL))
		resend(p, true);
	pump(p);
}

struct publish *
publish_new(struct event_base *base, const struct mesh_config *mesh, const char *group)
{
	struct publish *p = em_calloc(1, sizeof(*p));
	struct timeval second = { 1, 0 };

	p->base = base;
	p->mesh = mesh;
	p->window = FIRST_WINDOW;
	p->first_seq = 1;
	TAILQ_INIT(&p->lanes);
	p->pump = event_new(base, -1, 0, on_pump, p);
	p->again = event_new(base, -1, 0, on_again, p);
	p->tick = event_new(base, -1, EV_PERSIST, on_tick, p);
	if (p->pump == NULL || p->again == NULL || p->tick == NULL)
		em_panic("publish: no events");
	event_add(p->tick, &second);
	p->session = session_new(base, &(struct session_config){ .mesh = mesh, .name = "session/publish", .group = group,
	    .window_records = mesh->window_records, .window_bytes = mesh->window_bytes }, &session_ops, p);
	return p;
}

void
publish_free(struct publish *p)
{
	if (p == NULL)
		return;
	while (!TAILQ_EMPTY(&p->lanes))
		publish_lane_free(TAILQ_FIRST(&p->lanes));
	session_free(p->session);
	event_free(p->pump);
	event_free(p->again);
	event_free(p->tick);
	em_buf_clear(&p->scratch);
	free(p->slots);
	free(p);
}

void
publish_status_get(const struct publish *p, struct publish_status *status)
{
	*status = (struct publish_status){ .up = session_is_up(p->session), .server = session_server(p->session),
		.in_flight = p->count, .resent = p->resent, .refused = p->refused, .window = (uint32_t)p->window };
}

struct publish_lane *
publish_lane_new(struct publish *p, const struct publish_lane_config *config, const struct publish_ops *ops, void *ctx)
{
	struct publish_lane *lane = em_calloc(1, sizeof(*lane));

	lane->publish = p;
	lane->config = *config;
	lane->ops = ops;
	lane->ctx = ctx;
	STAILQ_INIT(&lane->items);
	TAILQ_INSERT_TAIL(&p->lanes, lane, link);
	return lane;
}

void
publish_lane_free(struct publish_lane *lane)
{
	struct item *item;

	if (lane == NULL)
		return;
	for (size_t i = 0; i < lane->publish->count; i++)
		if (slot_at(lane->publish, i)->lane == lane)
			slot_at(lane->publish, i)->lane = NULL;
	while ((item = STAILQ_FIRST(&lane->items)) != NULL) {
		STAILQ_REMOVE_HEAD(&lane->items, link);
		em_batch_unref(item->batch);
		free(item);
	}
	TAILQ_REMOVE(&lane->publish->lanes, lane, link);
	free(lane);
}

void
publish_submit(struct publish_lane *lane, struct em_batch *batch, void *cookie)
{
	struct item *item = em_calloc(1, sizeof(*item));

	item->batch = em_batch_ref(batch);
	item->cookie = cookie;
	item->left = batch->count;
	STAILQ_INSERT_TAIL(&lane->items, item, link);
	if (lane->sending == NULL)
		lane->sending = item;
	pump_soon(lane->publish);
}
