#include "peer.h"

#include <event2/event.h>
#include <stdlib.h>
#include <time.h>

#include "error.h"
#include "json.h"
#include "log.h"
#include "stream.h"
#include "topic.h"

#define SDK_BYTES	(32u * 1024)	/* the Java SDK closes its connection when more of its answers wait */
#define SDK_RECORDS	1024u
#define TOPICS_MAX	1024u
#define HEARTBEAT_S	60
#define HELLO_S		30

struct wait {				/* a topic between SUBSCRIBE and LISTEN */
	char		*topic;
	bool		 broadcasting;
};

struct peer {
	struct peer	*next, **link;
	struct broker	*broker;
	struct em_stream *stream;
	bool		 greeted, listening, ours, cumulative;
	uint32_t	 window_records, window_bytes;
	int64_t		 seen_s;	/* HELLO or heartbeat */
	char		*group;
	struct wait	*waits;
	size_t		 waits_count;
	struct member	**members;
	size_t		 members_count;
	uint64_t	 sequence;	/* of deliveries */
	struct em_buf	 acks;		/* publishes of this turn: u8 command, lspan seq, id, source */
	bool		 closing;
};

static int64_t
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

void
broker_pump_soon(struct broker *b)
{
	event_active(b->pump, EV_TIMEOUT, 0);
}

static struct em_buf *
out(struct peer *p)
{
	em_stream_flush(p->stream);
	return em_stream_out(p->stream);
}

static void
answer(struct peer *p, const struct em_mesh_frame *request, const char *refusal)
{
	enum em_mesh_command command = em_mesh_answer(request->header.command);

	em_mesh_plain(out(p), &(struct em_mesh_header){
	    .command = command == EM_MESH_COMMANDS ? request->header.command : command, .code = refusal != NULL,
	    .desc = em_span_str(refusal != NULL ? refusal : "success"), .seq = request->header.seq,
	    .form = EM_FORM_UNKNOWN });
}

static void
leave_all(struct peer *p)
{
	for (size_t i = 0; i < p->members_count; i++)
		member_leave(p->members[i]);
	for (size_t i = 0; i < p->waits_count; i++)
		free(p->waits[i].topic);
	p->members_count = p->waits_count = 0;
	broker_pump_soon(p->broker);
}

static void
peer_free(struct peer *p)
{
	leave_all(p);
	*p->link = p->next;
	if (p->next != NULL)
		p->next->link = p->link;
	p->broker->peers_count--;
	em_stream_free(p->stream);
	em_buf_clear(&p->acks);
	free(p->members);
	free(p->waits);
	free(p->group);
	free(p);
}

uint64_t
peer_deliver(void *cookie, enum em_mesh_form form, bool broadcast, struct em_span id, struct em_span body)
{
	struct peer *p = cookie;
	struct em_buf *b = out(p);
	uint8_t digits[20], *d = digits + sizeof(digits);
	uint64_t n = ++p->sequence;
	size_t begin;

	for (uint64_t rest = n; rest > 0; rest /= 10)
		*--d = (uint8_t)('0' + rest % 10);
	begin = em_mesh_begin(b, &(struct em_mesh_header){
	    .command = broadcast ? EM_MESH_BROADCAST_MESSAGE_TO_CLIENT : EM_MESH_ASYNC_MESSAGE_TO_CLIENT,
	    .seq = { d, (size_t)(digits + sizeof(digits) - d) }, .form = form });
	(void)id;	/* the event of the other form has none in its body: its first seq is not ours to give away */
	em_buf_span(b, body);
	if (em_mesh_end(b, begin, NULL) != 0)
		em_log(EM_ERROR, "peer", "an event is too large to be delivered");	/* was taken at the same limit */
	return n;
}

/* ---- commands ---- */

static int
do_hello(struct peer *p, const struct em_mesh_frame *f, struct em_error *err)
{
	struct em_buf text = { 0 };
	struct em_mesh_agent agent;
	struct em_mesh_header header = { .command = EM_MESH_HELLO_RESPONSE, .seq = f->header.seq,
		.desc = EM_SPAN_LITERAL("success"), .form = EM_FORM_UNKNOWN };

	if (em_mesh_agent_decode(f->body, &text, &agent, err) != 0) {
		em_buf_clear(&text);
		return -1;
	}
	p->seen_s = now_s();
	if (agent.group.len == 0 || agent.purpose.len == 0 || agent.version.bytes == NULL) {
		answer(p, f, "client group, purpose and version must be given");
		p->closing = true;
	} else if (!p->greeted) {
		p->greeted = true;
		p->group = em_span_dup(agent.group);
		p->ours = f->header.offer.window_records > 0 && f->header.offer.window_bytes > 0;
		p->window_records = p->ours ? f->header.offer.window_records : SDK_RECORDS;
		p->window_bytes = p->ours ? f->header.offer.window_bytes : SDK_BYTES;
		p->cumulative = f->header.offer.cumulative_ack;
	}
	if (!p->closing) {
		header.offer = (struct em_mesh_offer){ .order = true, .redelivery = true, .cumulative_ack = p->cumulative };
		em_mesh_plain(out(p), &header);
	}
	em_buf_clear(&text);
	return 0;
}

static int
do_heartbeat(struct peer *p, const struct em_mesh_frame *f, struct em_error *err)
{
	(void)err;
	p->seen_s = now_s();
	answer(p, f, NULL);
	return 0;
}

static int
do_goodbye(struct peer *p, const struct em_mesh_frame *f, struct em_error *err)
{
	(void)err;
	leave_all(p);
	answer(p, f, NULL);
	return 0;
}

static int
join(struct peer *p, const char *name, bool broadcasting, struct em_error *err)
{
	struct topic *topic = topics_get(p->broker->topics, em_span_str(name), err);
	struct member *m = topic == NULL ? NULL : member_join(topic, broadcasting ? EM_SPAN_NONE : em_span_str(p->group), p,
	    err);

	if (m == NULL)
		return -1;
	p->members = em_realloc_array(p->members, p->members_count + 1, sizeof(struct member *));
	p->members[p->members_count++] = m;
	/* Until LISTEN a member holds its group's place but is given nothing. */
	member_window(m, p->window_records, p->window_bytes);
	broker_pump_soon(p->broker);
	return 0;
}

static int
each_topic(void *ctx, const struct em_mesh_topic *topic, struct em_error *err)
{
	struct peer *p = ctx;
	char *name = em_span_dup(topic->topic);
	int result = 0;

	if (p->waits_count + p->members_count >= TOPICS_MAX) {
		free(name);
		return em_error_set(err, EM_ELIMIT, "more than %u topics", TOPICS_MAX);
	}
	if (p->listening) {
		result = join(p, name, topic->broadcasting, err);
		free(name);
		return result;
	}
	p->waits = em_realloc_array(p->waits, p->waits_count + 1, sizeof(*p->waits));
	p->waits[p->waits_count++] = (struct wait){ name, topic->broadcasting };
	return 0;
}

static int
do_subscribe(struct peer *p, const struct em_mesh_frame *f, struct em_error *err)
{
	struct em_error why = EM_ERROR_INIT;

	if (em_mesh_subscription_decode(f->body, each_topic, p, &why) == 0) {
		answer(p, f, NULL);
	} else if (why.code == EM_EPROTO || why.code == EM_ESYNTAX) {	/* as upstream: what cannot be parsed ends the session */
		em_error_set(err, why.code, "%s", em_error_text(&why));
	} else {
		answer(p, f, em_error_text(&why));
	}
	em_error_clear(&why);
	return err->code == EM_OK ? 0 : -1;
}

static int
do_unsubscribe(struct peer *p, const struct em_mesh_frame *f, struct em_error *err)
{
	(void)err;
	leave_all(p);
	answer(p, f, NULL);
	return 0;
}

static int
do_listen(struct peer *p, const struct em_mesh_frame *f, struct em_error *err)
{
	struct em_error why = EM_ERROR_INIT;

	(void)err;
	for (size_t i = 0; i < p->waits_count && why.code == EM_OK; i++)
		(void)join(p, p->waits[i].topic, p->waits[i].broadcasting, &why);
	for (size_t i = 0; i < p->waits_count; i++)
		free(p->waits[i].topic);
	p->waits_count = 0;
	p->listening = true;
	answer(p, f, why.code == EM_OK ? NULL : em_error_text(&why));
	em_error_clear(&why);
	return 0;
}

static int
publish(struct peer *p, const struct em_mesh_frame *f, struct em_error *err)
{
	struct em_mesh_identity identity;
	struct em_buf name = { 0 };
	struct em_span topic_name;
	struct topic *topic;

	if (f->header.form == EM_FORM_UNKNOWN)
		return em_error_set(err, EM_EUSAGE, "Cannot find the Protocol adaptor");
	if (em_mesh_identify(f->body, &identity, err) != 0)
		return em_error_prefix(err, "EventDeserializationException");
	if (identity.topic.len == 0 || (f->header.form == EM_FORM_CLOUDEVENTS &&
	    (identity.id.bytes == NULL || identity.source.bytes == NULL)))
		return em_error_set(err, EM_EUSAGE, "CloudEventRWException: the event needs id, source and subject (the topic)");
	topic_name = identity.topic;
	if (memchr(topic_name.bytes, '\\', topic_name.len) != NULL) {
		em_json_unescape(&name, &(struct em_json){ EM_JSON_STRING, true, identity.topic });
		topic_name = em_buf_view(&name);
	}
	topic = topics_get(p->broker->topics, topic_name, err);
	em_buf_clear(&name);
	if (topic == NULL)
		return -1;
	topic_append(topic, f->header.form, f->header.form == EM_FORM_EVENTMESH ? f->header.seq : EM_SPAN_NONE, f->body);
	em_buf_u8(&p->acks, (uint8_t)em_mesh_answer(f->header.command));
	em_buf_lspan(&p->acks, f->header.seq);
	em_buf_lspan(&p->acks, identity.id);
	em_buf_lspan(&p->acks, identity.source);
	return 0;
}

static void	settle_publishes(struct peer *p);

static int
do_publish(struct peer *p, const struct em_mesh_frame *f, struct em_error *err)
{
	struct em_error why = EM_ERROR_INIT;

	(void)err;
	if (publish(p, f, &why) != 0) {
		settle_publishes(p);	/* a cumulative answer to earlier ones must not cover this one */
		answer(p, f, em_error_text(&why));
	}
	em_error_clear(&why);
	return 0;
}

static int
do_ack(struct peer *p, const struct em_mesh_frame *f, struct em_error *err)
{
	struct em_json number = { EM_JSON_NUMBER, false, f->header.seq };
	int64_t sequence;
	bool found = false;

	(void)err;
	if (f->header.seq.len == 0 || em_json_int64(&number, &sequence) != 0 || sequence <= 0)
		return 0;
	for (size_t i = 0; i < p->members_count && (!found || f->header.cumulative); i++)
		found |= member_ack(p->members[i], (uint64_t)sequence, f->header.cumulative);
	if (found)
		broker_pump_soon(p->broker);
	return 0;
}

static int
do_nothing(struct peer *p, const struct em_mesh_frame *f, struct em_error *err)
{
	(void)p;
	(void)f;
	(void)err;
	return 0;
}

static int (*const commands[EM_MESH_COMMANDS])(struct peer *, const struct em_mesh_frame *, struct em_error *) = {
	[EM_MESH_HELLO_REQUEST] = do_hello,
	[EM_MESH_HEARTBEAT_REQUEST] = do_heartbeat,
	[EM_MESH_CLIENT_GOODBYE_REQUEST] = do_goodbye,
	[EM_MESH_SERVER_GOODBYE_RESPONSE] = do_nothing,
	[EM_MESH_SUBSCRIBE_REQUEST] = do_subscribe,
	[EM_MESH_UNSUBSCRIBE_REQUEST] = do_unsubscribe,
	[EM_MESH_LISTEN_REQUEST] = do_listen,
	[EM_MESH_ASYNC_MESSAGE_TO_SERVER] = do_publish,
	[EM_MESH_BROADCAST_MESSAGE_TO_SERVER] = do_publish,
	[EM_MESH_ASYNC_MESSAGE_TO_CLIENT_ACK] = do_ack,
	[EM_MESH_BROADCAST_MESSAGE_TO_CLIENT_ACK] = do_ack,
	[EM_MESH_REQUEST_TO_CLIENT_ACK] = do_ack,
	[EM_MESH_RESPONSE_TO_CLIENT_ACK] = do_nothing,
	[EM_MESH_RESPONSE_TO_SERVER] = do_nothing,
};

/* ---- the stream ---- */

static void
acknowledge(struct peer *p, struct em_reader *r, const char *refusal)
{
	enum em_mesh_command command = (enum em_mesh_command)em_read_u8(r);
	struct em_span seq = em_read_lspan(r), id = em_read_lspan(r), source = em_read_lspan(r);
	bool last = em_reader_left(r) == 0;
	struct em_buf *b;
	size_t begin;

	if (p->cumulative && refusal == NULL && !last)
		return;
	b = out(p);
	begin = em_mesh_begin(b, &(struct em_mesh_header){ .command = command, .code = refusal != NULL,
	    .desc = em_span_str(refusal != NULL ? refusal : "success"), .seq = seq, .form = EM_FORM_UNKNOWN,
	    .cumulative = p->cumulative && refusal == NULL });
	if (!p->cumulative && id.len > 0) {	/* raw: still escaped as it came */
		em_buf_str(b, "{\"id\":\"");
		em_buf_span(b, id);
		em_buf_str(b, "\",\"source\":\"");
		em_buf_span(b, source);
		em_buf_str(b, "\"}");
	}
	(void)em_mesh_end(b, begin, NULL);	/* smaller than the publish it answers */
}

/* Writes what this turn brought, then tells everybody. */
static void
settle_publishes(struct peer *p)
{
	struct em_error err = EM_ERROR_INIT;
	struct em_reader r = em_reader(em_buf_view(&p->acks));
	char *refusal = NULL;

	if (p->acks.len == 0)
		return;
	if (topics_flush(p->broker->topics, p->broker->sync_always, &err) != 0) {
		em_log(EM_ERROR, "broker", "%s", em_error_text(&err));
		refusal = em_asprintf("Send message error, %s", em_error_text(&err));
	}
	while (em_reader_left(&r) > 0)
		acknowledge(p, &r, refusal);
	em_buf_reset(&p->acks);
	free(refusal);
	em_error_clear(&err);
	broker_pump_soon(p->broker);
}

static int
dispatch(struct peer *p, const struct em_mesh_frame *f, struct em_error *err)
{
	if (!p->greeted && f->header.command != EM_MESH_HELLO_REQUEST) {
		answer(p, f, "java.lang.Exception: no session is found");
	} else if (commands[f->header.command] == NULL) {
		em_mesh_plain(out(p), &(struct em_mesh_header){ .command = f->header.command, .code = 1, .seq = f->header.seq,
		    .desc = EM_SPAN_LITERAL("emlocald does not handle this command"), .form = EM_FORM_UNKNOWN });
	} else {
		return commands[f->header.command](p, f, err);
	}
	return 0;
}

static void
end(struct peer *p, const struct em_error *why)
{
	if (why->code != EM_ECLOSED)
		em_log(EM_WARNING, "peer", "group \"%s\": %s", p->group != NULL ? p->group : "", em_error_text(why));
	settle_publishes(p);
	peer_free(p);
}

static void
on_frame(void *ctx, struct em_span whole)
{
	struct peer *p = ctx;
	struct em_error err = EM_ERROR_INIT;
	struct em_mesh_frame frame;

	if (p->closing)
		return;
	if (em_mesh_decode(whole, &frame, &err) != 0 || dispatch(p, &frame, &err) != 0)
		end(p, &err);
	em_error_clear(&err);
}

static long
on_cut(void *ctx, struct em_span bytes, struct em_error *err)
{
	(void)ctx;
	return em_mesh_cut(bytes, err);
}

static void
on_turn(void *ctx)
{
	settle_publishes(ctx);
}

static void
on_close(void *ctx, const struct em_error *why)
{
	end(ctx, why);
}

static const struct em_stream_ops stream_ops = {
	.cut = on_cut, .on_frame = on_frame, .on_turn = on_turn, .on_close = on_close,
};

void
peer_new(struct broker *b, int fd)
{
	struct peer *p = em_calloc(1, sizeof(*p));

	p->broker = b;
	p->seen_s = now_s();
	p->next = b->peers;
	p->link = &b->peers;
	if (p->next != NULL)
		p->next->link = &p->next;
	b->peers = p;
	b->peers_count++;
	p->stream = em_stream_new(b->base, fd, &stream_ops, p);
}

void
peers_expire(struct broker *b, int64_t now)
{
	struct peer *p, *next;

	for (p = b->peers; p != NULL; p = next) {
		next = p->next;
		if (now - p->seen_s <= (p->greeted ? HEARTBEAT_S * 2 : HELLO_S))
			continue;
		em_log(EM_INFO, "peer", "group \"%s\": closed, %s", p->group != NULL ? p->group : "",
		    p->greeted ? "no heartbeat came" : "it never said HELLO");
		peer_free(p);
	}
}

void
peers_close(struct broker *b)
{
	while (b->peers != NULL) {
		struct peer *p = b->peers;

		em_mesh_plain(em_stream_out(p->stream), &(struct em_mesh_header){ .command = EM_MESH_SERVER_GOODBYE_REQUEST,
		    .desc = EM_SPAN_LITERAL("graceful normal quit"), .form = EM_FORM_UNKNOWN });
		peer_free(p);
	}
}
