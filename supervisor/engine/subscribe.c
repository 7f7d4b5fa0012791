#include "subscribe.h"

#include <event2/event.h>
#include <stdlib.h>

#include "error.h"
#include "json.h"
#include "log.h"

struct flight {
	uint64_t	sequence;	/* the server's */
	enum em_mesh_command answer;
	bool		done;
};

struct subscription {
	const struct subscribe_ops *ops;
	void		*ctx;
	struct session	*session;
	struct event	*flush;
	char		*topic, *name;
	bool		 cumulative, listening;
	struct flight	*flights;	/* delivery n is n - first_delivery behind first */
	size_t		 first, count, size;
	uint64_t	 first_delivery;
	uint64_t	 lost;
	void		(*closed)(void *ctx);
	void		*closed_ctx;
};

static struct flight *
flight(const struct subscription *s, size_t i)
{
	return &s->flights[s->first + i];
}

static void
push(struct subscription *s, struct flight f)
{
	if (s->first + s->count == s->size) {
		if (s->first > s->size / 2) {
			memmove(s->flights, flight(s, 0), s->count * sizeof(*s->flights));
			s->first = 0;
		} else {
			s->size = s->size > 0 ? em_size_mul(s->size, 2) : 1024;
			s->flights = em_realloc_array(s->flights, s->size, sizeof(*s->flights));
		}
	}
	*flight(s, s->count++) = f;
}

static void
acknowledge(struct subscription *s, const struct flight *f)
{
	uint8_t digits[20], *d = digits + sizeof(digits);

	for (uint64_t rest = f->sequence; rest > 0; rest /= 10)
		*--d = (uint8_t)('0' + rest % 10);
	em_mesh_plain(session_out(s->session), &(struct em_mesh_header){ .command = f->answer,
	    .seq = { d, (size_t)(digits + sizeof(digits) - d) }, .form = EM_FORM_UNKNOWN, .cumulative = s->cumulative });
}

/* Cumulative: the contiguous prefix as one. Else every done one, in any order, once. */
static void
flush(struct subscription *s)
{
	size_t n = 0;

	if (!session_is_up(s->session))
		return;
	while (n < s->count && flight(s, n)->done)
		n++;
	if (n == 0)
		return;
	if (s->cumulative)
		acknowledge(s, flight(s, n - 1));
	else
		for (size_t i = 0; i < n; i++)
			acknowledge(s, flight(s, i));
	s->first += n;
	s->count -= n;
	s->first_delivery += n;
}

static void
on_flush(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	flush(ctx);
}

void
subscription_done(struct subscription *s, uint64_t delivery)
{
	if (s == NULL || delivery < s->first_delivery || delivery - s->first_delivery >= s->count)
		return;
	flight(s, (size_t)(delivery - s->first_delivery))->done = true;
	event_active(s->flush, EV_TIMEOUT, 0);
}

static void
on_up(void *ctx, const struct em_mesh_offer *offer)
{
	struct subscription *s = ctx;
	struct em_buf *b = session_out(s->session);
	size_t begin;

	s->cumulative = offer->cumulative_ack;
	if (!offer->redelivery)
		em_log(EM_WARNING, s->name, "this server forgets what is not acknowledged within 3 s: events that the sink takes "
		    "longer for are not sent again after a crash");
	begin = em_mesh_begin(b, &(struct em_mesh_header){ .command = EM_MESH_SUBSCRIBE_REQUEST,
	    .seq = EM_SPAN_LITERAL("subscribe"), .form = EM_FORM_UNKNOWN });
	em_mesh_subscription_encode(b, &(struct em_mesh_topic){ em_span_str(s->topic), false, false }, 1);
	(void)em_mesh_end(b, begin, NULL);	/* a topic's name is short */
}

static void
on_deliver(struct subscription *s, const struct em_mesh_frame *f)
{
	struct em_json number = { EM_JSON_NUMBER, false, f->header.seq };
	struct flight flight = { .answer = em_mesh_answer(f->header.command) };
	int64_t sequence;

	if (f->header.seq.len == 0 || em_json_int64(&number, &sequence) != 0 || sequence <= 0) {
		session_again(s->session, "a delivery has no usable seq");
		return;
	}
	flight.sequence = (uint64_t)sequence;
	if (f->header.code != 0 || f->body.len == 0) {
		s->lost++;
		em_log(EM_ERROR, s->name, "the server could not deliver an event (%llu so far): %.*s",
		    (unsigned long long)s->lost, (int)(f->header.desc.len > 200 ? 200 : f->header.desc.len),
		    (const char *)f->header.desc.bytes);
		flight.done = true;
	}
	push(s, flight);
	if (!flight.done)
		s->ops->on_deliver(s->ctx, s->first_delivery + s->count - 1, f->header.form, f->body, f->header.seq);
}

static void
on_answer(struct subscription *s, const struct em_mesh_frame *f)
{
	if (f->header.code != 0) {
		char *why = em_asprintf("%s was refused: %.*s", em_mesh_command_name(f->header.command),
		    (int)(f->header.desc.len > 200 ? 200 : f->header.desc.len), (const char *)f->header.desc.bytes);

		session_again(s->session, why);
		free(why);
	} else if (f->header.command == EM_MESH_SUBSCRIBE_RESPONSE) {
		em_mesh_plain(session_out(s->session), &(struct em_mesh_header){ .command = EM_MESH_LISTEN_REQUEST,
		    .seq = EM_SPAN_LITERAL("listen"), .form = EM_FORM_UNKNOWN });
	} else {
		s->listening = true;
		s->ops->on_state(s->ctx, true, "");
	}
}

static void
on_frame(void *ctx, const struct em_mesh_frame *f)
{
	switch (f->header.command) {
	case EM_MESH_ASYNC_MESSAGE_TO_CLIENT:
	case EM_MESH_BROADCAST_MESSAGE_TO_CLIENT:
	case EM_MESH_REQUEST_TO_CLIENT:
		on_deliver(ctx, f);
		break;
	case EM_MESH_SUBSCRIBE_RESPONSE:
	case EM_MESH_LISTEN_RESPONSE:
		on_answer(ctx, f);
		break;
	default:
		break;
	}
}

static void
on_turn(void *ctx)
{
	struct subscription *s = ctx;

	s->ops->on_turn(s->ctx);
	flush(s);
}

static void
on_down(void *ctx, const char *why)
{
	struct subscription *s = ctx;

	s->first_delivery += s->count;
	s->first = s->count = 0;
	s->listening = false;
	s->ops->on_state(s->ctx, false, why);
	s->ops->on_reset(s->ctx);
}

static void
on_gone(void *ctx)
{
	struct subscription *s = ctx;

	if (s->closed != NULL)
		s->closed(s->closed_ctx);
}

static const struct session_ops session_ops = { .on_up = on_up, .on_frame = on_frame, .on_turn = on_turn,
	.on_down = on_down, .on_gone = on_gone };

struct subscription *
subscribe_open(struct event_base *base, const struct mesh_config *mesh, const struct subscribe_config *config,
    const struct subscribe_ops *ops, void *ctx)
{
	struct subscription *s = em_calloc(1, sizeof(*s));

	s->ops = ops;
	s->ctx = ctx;
	s->topic = em_strdup(config->topic);
	s->name = em_strdup(config->name);
	s->first_delivery = 1;
	s->flush = event_new(base, -1, 0, on_flush, s);
	if (s->flush == NULL)
		em_panic("subscribe: no event");
	s->session = session_new(base, &(struct session_config){ .mesh = mesh, .name = config->name, .group = config->group,
	    .subscriber = true, .window_records = config->window_records, .window_bytes = config->window_bytes },
	    &session_ops, s);
	return s;
}

void
subscription_close(struct subscription *s, void (*closed)(void *ctx), void *ctx)
{
	flush(s);
	s->closed = closed;
	s->closed_ctx = ctx;
	session_leave(s->session);
}

void
subscription_free(struct subscription *s)
{
	if (s == NULL)
		return;
	session_free(s->session);
	event_free(s->flush);
	free(s->flights);
	free(s->topic);
	free(s->name);
	free(s);
}
