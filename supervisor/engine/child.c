#include "child.h"

#include <event2/event.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "error.h"
#include "record.h"
#include "stream.h"

#define HEARTBEATS_MISSED	3u
#define PAYLOAD_LEAST		(64u * 1024)	/* a child that cannot read this much is refused */

struct child {
	const struct child_ops *ops;
	void		*ctx;
	struct em_stream *stream;
	struct event	*heartbeat;
	enum em_channel	 state;
	uint32_t	 payload_max;
	uint32_t	 sent, got;		/* sequences of the two directions */
	uint32_t	 heartbeat_ms;
	unsigned	 unanswered;		/* PINGs since the last PONG */
	int64_t		 credit_records, credit_bytes;	/* source: what it may send; sink: what we may */
	uint32_t	 batch, batch_count;	/* sink: the unanswered one, its records still open */
	uint32_t	 batch_open;
	uint8_t		*answered;		/* one byte a record of the batch */
	char		*kind;
	enum em_role	 role;
	struct em_buf	 configure;		/* the CONFIGURE frame, until HELLO came */
	size_t		 payload_max_at;	/* where in it the negotiated size goes */
	bool		 failed;
};

static int	do_hello(struct child *, struct em_span, struct em_error *);
static int	do_ready(struct child *, struct em_span, struct em_error *);
static int	do_records(struct child *, struct em_span, struct em_error *);
static int	do_result(struct child *, struct em_span, struct em_error *);
static int	do_credit(struct child *, struct em_span, struct em_error *);
static int	do_drain(struct child *, struct em_span, struct em_error *);
static int	do_pong(struct child *, struct em_span, struct em_error *);
static int	do_metrics(struct child *, struct em_span, struct em_error *);
static int	do_log(struct child *, struct em_span, struct em_error *);
static int	do_error(struct child *, struct em_span, struct em_error *);

static int (*const handlers[EM_MESSAGES])(struct child *, struct em_span, struct em_error *) = {
	[EM_HELLO] = do_hello,
	[EM_READY] = do_ready,
	[EM_RECORDS] = do_records,
	[EM_RESULT] = do_result,
	[EM_CREDIT] = do_credit,
	[EM_DRAIN] = do_drain,
	[EM_PONG] = do_pong,
	[EM_METRICS] = do_metrics,
	[EM_LOG] = do_log,
	[EM_ERROR_MESSAGE] = do_error,
};

/* Where b grows by one frame; the caller flushes. */
static struct em_buf *
out(struct child *c)
{
	em_stream_flush(c->stream);
	return em_stream_out(c->stream);
}

/* From now on the channel is deaf; the owner hears why, from the loop. */
static void
fail(struct child *c, const struct em_error *why)
{
	if (c->failed)
		return;
	c->failed = true;
	em_stream_pause(c->stream);
	event_del(c->heartbeat);
	c->ops->on_close(c->ctx, why);
}

static int
do_hello(struct child *c, struct em_span payload, struct em_error *err)
{
	struct em_hello hello;

	if (em_decode_hello(payload, &hello, err) != 0)
		return -1;
	if (hello.major != EM_PROTOCOL_MAJOR)
		return em_error_set(err, EM_EPROTO, "it speaks version %u of the record protocol, this is version %u",
		    hello.major, EM_PROTOCOL_MAJOR);
	if (!em_span_is(hello.name, c->kind))
		return em_error_set(err, EM_EPROTO, "it calls itself \"%.*s\", not \"%s\"",
		    (int)(hello.name.len > 64 ? 64 : hello.name.len), (const char *)hello.name.bytes, c->kind);
	if ((hello.roles & c->role) == 0)
		return em_error_set(err, EM_ECONFIG, "connector \"%s\" cannot be a %s", c->kind, em_role_name(c->role));
	if (hello.payload_max < PAYLOAD_LEAST)
		return em_error_set(err, EM_EPROTO, "it reads at most %u bytes a message, needed are %u",
		    hello.payload_max, PAYLOAD_LEAST);
	if (hello.payload_max < c->payload_max)
		c->payload_max = hello.payload_max;
	em_buf_set_u32(&c->configure, c->payload_max_at, c->payload_max);
	em_buf_span(out(c), em_buf_view(&c->configure));
	explicit_bzero(c->configure.data, c->configure.len);
	em_buf_clear(&c->configure);
	c->state = EM_CONFIGURED;
	return 0;
}

static int
do_ready(struct child *c, struct em_span payload, struct em_error *err)
{
	(void)payload;
	(void)err;
	if (c->state != EM_CONFIGURED)
		return 0;	/* it was told to drain or stop before it was ready */
	c->state = EM_RUNNING;
	if (c->role == EM_SOURCE)
		em_encode_credit(out(c), &c->sent, (uint32_t)c->credit_records, (uint32_t)c->credit_bytes);
	c->ops->on_ready(c->ctx);
	return 0;
}

static int
do_records(struct child *c, struct em_span payload, struct em_error *err)
{
	struct em_batch *batch;

	if (c->role != EM_SOURCE)
		return em_error_set(err, EM_EPROTO, "a sink sent RECORDS");
	if (c->state == EM_STOPPING)
		return 0;	/* sent before it read STOP: not acknowledged, so it will come again */
	if (c->credit_records <= 0 || c->credit_bytes <= 0)
		return em_error_set(err, EM_EPROTO, "it sent records without credit");
	batch = em_batch_decode(payload, err);
	if (batch == NULL)
		return em_error_prefix(err, "RECORDS");
	if (batch->count > c->credit_records) {
		em_error_set(err, EM_EPROTO, "it sent %u records with credit for %lld", batch->count,
		    (long long)c->credit_records);
		em_batch_unref(batch);
		return -1;
	}
	c->credit_records -= batch->count;
	c->credit_bytes -= (int64_t)payload.len;
	c->ops->on_records(c->ctx, batch);
	em_batch_unref(batch);
	return 0;
}

/* Marks a range as answered; each record may be answered once. */
static int
answer(struct child *c, const struct em_result *result, struct em_error *err)
{
	if (result->first > c->batch_count || result->count > c->batch_count - result->first)
		return em_error_set(err, EM_EPROTO, "RESULT: records %u to %u of a batch of %u", result->first,
		    result->first + result->count - 1, c->batch_count);
	for (uint32_t i = 0; i < result->count; i++) {
		if (c->answered[result->first + i])
			return em_error_set(err, EM_EPROTO, "RESULT: record %u is answered twice", result->first + i);
		c->answered[result->first + i] = 1;
	}
	c->batch_open -= result->count;
	c->ops->on_result(c->ctx, result);
	return 0;
}

static int
do_result(struct child *c, struct em_span payload, struct em_error *err)
{
	struct em_result result;
	struct em_reader items;
	uint32_t batch, count;

	if (em_decode_result(payload, &batch, &count, &items, err) != 0)
		return -1;
	if (c->batch_open == 0 || batch != c->batch)
		return em_error_set(err, EM_EPROTO, "RESULT for batch %u, unanswered is %u", batch, c->batch);
	for (uint32_t i = 0; i < count; i++)
		if (em_result_next(&items, &result, err) != 0 || answer(c, &result, err) != 0)
			return -1;
	if (!em_reader_done(&items))
		return em_error_set(err, EM_EPROTO, "RESULT: bytes are left behind the last item");
	if (c->batch_open == 0)
		c->ops->on_answered(c->ctx);
	return 0;
}

static int
do_credit(struct child *c, struct em_span payload, struct em_error *err)
{
	uint32_t records, size_bytes;

	if (em_decode_credit(payload, &records, &size_bytes, err) != 0)
		return -1;
	if (c->role != EM_SINK)
		return em_error_set(err, EM_EPROTO, "a source sent CREDIT");
	c->credit_records += records;
	c->credit_bytes += size_bytes;
	if (c->credit_records > UINT32_MAX || c->credit_bytes > UINT32_MAX)
		return em_error_set(err, EM_EPROTO, "CREDIT adds up to more than 2^32 - 1");
	c->ops->on_credit(c->ctx);
	return 0;
}

static int
do_drain(struct child *c, struct em_span payload, struct em_error *err)
{
	(void)payload;
	(void)err;
	c->ops->on_drained(c->ctx);
	return 0;
}

static int
do_pong(struct child *c, struct em_span payload, struct em_error *err)
{
	uint64_t token;

	if (em_decode_u64(payload, &token, err) != 0)
		return -1;
	c->unanswered = 0;
	return 0;
}

static int
do_metrics(struct child *c, struct em_span payload, struct em_error *err)
{
	struct em_metric metric;
	struct em_reader items;
	uint32_t count;

	if (em_decode_list(payload, &count, &items, err) != 0)
		return em_error_prefix(err, "METRICS");
	for (uint32_t i = 0; i < count; i++) {
		if (em_metric_next(&items, &metric, err) != 0)
			return -1;
		c->ops->on_metric(c->ctx, metric.name, metric.value);
	}
	return 0;
}

static int
do_log(struct child *c, struct em_span payload, struct em_error *err)
{
	struct em_log_line line;
	struct em_buf text = { 0 };
	struct em_reader pairs;

	if (em_decode_log(payload, &line, err) != 0)
		return -1;
	em_buf_span(&text, line.text);
	pairs = em_reader(line.pairs);
	for (uint32_t i = 0; i < line.pairs_count; i++) {
		em_buf_u8(&text, ' ');
		em_buf_span(&text, em_read_lspan(&pairs));
		em_buf_u8(&text, '=');
		em_buf_span(&text, em_read_lspan(&pairs));
	}
	c->ops->on_log(c->ctx, line.level < EM_LEVELS ? (enum em_level)line.level : EM_ERROR, em_buf_cstr(&text));
	em_buf_clear(&text);
	return 0;
}

static int
do_error(struct child *c, struct em_span payload, struct em_error *err)
{
	struct em_failure failure;
	char *text;

	if (em_decode_failure(payload, &failure, err) != 0)
		return -1;
	text = em_span_dup(failure.text);
	c->ops->on_error(c->ctx, failure.class, text);
	free(text);
	return 0;
}

static long
on_cut(void *ctx, struct em_span bytes, struct em_error *err)
{
	const struct child *c = ctx;

	return em_frame_cut(bytes, c->payload_max, err);
}

static void
on_frame(void *ctx, struct em_span whole)
{
	struct child *c = ctx;
	struct em_frame frame = em_frame_decode(whole);
	struct em_error err = EM_ERROR_INIT;

	if (c->failed)
		return;
	if (frame.sequence != ++c->got)
		em_error_set(&err, EM_EPROTO, "frame %u came where %u was due", frame.sequence, c->got);
	else if (em_message_check(&frame, true, c->state, &err) == 0)
		(void)handlers[frame.type](c, frame.payload, &err);
	if (err.code != EM_OK)
		fail(c, &err);
	em_error_clear(&err);
}

static void
on_stream_close(void *ctx, const struct em_error *why)
{
	fail(ctx, why);
}

static const struct em_stream_ops stream_ops = {
	.cut = on_cut, .on_frame = on_frame, .on_close = on_stream_close,
};

static void
on_heartbeat(evutil_socket_t fd, short what, void *ctx)
{
	struct child *c = ctx;
	struct em_error err = EM_ERROR_INIT;

	(void)fd;
	(void)what;
	if (c->unanswered >= HEARTBEATS_MISSED) {
		em_error_set(&err, EM_ETIMEOUT, "no sign of life for %u ms", c->heartbeat_ms * HEARTBEATS_MISSED);
		fail(c, &err);
		em_error_clear(&err);
		return;
	}
	c->unanswered++;
	/* Before HELLO there is nobody to ask; a child that never greets runs into the same limit. */
	if (c->state != EM_GREETING)
		em_encode_u64(out(c), &c->sent, EM_PING, c->got);
}

static void
make_configure(struct child *c, const struct child_config *config)
{
	em_encode_configure(&c->configure, &c->sent, &(struct em_configure){
	    .role = (uint8_t)config->role, .task = config->task, .tasks = config->tasks,
	    .payload_max = c->payload_max, .heartbeat_ms = config->heartbeat_ms,
	    .name = em_span_str(config->name), .topic = em_span_str(config->topic),
	    .options = em_span_str(config->options),
	    .offsets_count = config->offsets_count, .offsets = em_buf_view(config->offsets) });
	c->payload_max_at = EM_FRAME_HEADER + 1 + 4 + 4;
}

struct child *
child_new(struct event_base *base, int fd, const struct child_config *config, const struct child_ops *ops, void *ctx)
{
	struct child *c = em_calloc(1, sizeof(*c));
	struct timeval every = { config->heartbeat_ms / 1000, (config->heartbeat_ms % 1000) * 1000 };

	c->ops = ops;
	c->ctx = ctx;
	c->kind = em_strdup(config->kind);
	c->role = config->role;
	c->payload_max = EM_PAYLOAD_DEFAULT;
	c->heartbeat_ms = config->heartbeat_ms;
	if (config->role == EM_SOURCE) {
		c->credit_records = config->credit_records;
		c->credit_bytes = config->credit_bytes;
	}
	make_configure(c, config);
	c->stream = em_stream_new(base, fd, &stream_ops, c);
	c->heartbeat = event_new(base, -1, EV_PERSIST, on_heartbeat, c);
	if (c->heartbeat == NULL)
		em_panic("child: no timer");
	event_add(c->heartbeat, &every);
	return c;
}

void
child_free(struct child *c)
{
	if (c == NULL)
		return;
	event_free(c->heartbeat);
	em_stream_free(c->stream);
	if (c->configure.data != NULL)
		explicit_bzero(c->configure.data, c->configure.len);
	em_buf_clear(&c->configure);
	free(c->answered);
	free(c->kind);
	free(c);
}

bool
child_is_running(const struct child *c)
{
	return !c->failed && (c->state == EM_RUNNING || c->state == EM_DRAINING);
}

bool
child_is_busy(const struct child *c)
{
	return c->batch_open > 0;
}

uint32_t
child_room(const struct child *c)
{
	if (!child_is_running(c) || c->batch_open > 0 || c->credit_records <= 0 || c->credit_bytes <= 0)
		return 0;
	return (uint32_t)(c->credit_records < EM_BATCH_RECORDS_MAX ? c->credit_records : EM_BATCH_RECORDS_MAX);
}

void
child_send_records(struct child *c, struct em_span encoded, uint32_t count)
{
	struct em_list l;

	if (c->batch_open > 0)
		em_panic("child: a batch is still unanswered");
	l = em_list_begin(out(c), &c->sent, EM_RECORDS);
	em_list_encoded(&l, encoded, count);
	c->credit_records -= count;
	c->credit_bytes -= (int64_t)em_list_size(&l);
	em_list_end(&l);
	c->batch = c->sent;
	c->batch_count = c->batch_open = count;
	c->answered = em_realloc_array(c->answered, count, 1);
	memset(c->answered, 0, count);
}

void
child_grant(struct child *c, uint32_t records, uint32_t size_bytes)
{
	if (c->failed || c->state == EM_GREETING || c->state == EM_CONFIGURED)
		return;
	c->credit_records += records;
	c->credit_bytes += size_bytes;
	em_encode_credit(out(c), &c->sent, records, size_bytes);
}

void
child_committed(struct child *c, const struct em_position *positions, size_t count)
{
	struct em_list l;

	if (c->failed || c->state == EM_GREETING || c->state == EM_CONFIGURED)
		return;
	l = em_list_begin(out(c), &c->sent, EM_COMMITTED);
	for (size_t i = 0; i < count; i++)
		em_list_position(&l, &positions[i]);
	em_list_end(&l);
}

/* Says a message without payload, if the channel's state allows it. */
static void
say(struct child *c, enum em_message message, enum em_channel then)
{
	if (c->failed || (em_message_row(message)->states >> c->state & 1) == 0)
		return;
	em_encode_empty(out(c), &c->sent, message);
	if (then > c->state)
		c->state = then;
}

void
child_pause(struct child *c)
{
	say(c, EM_PAUSE, EM_GREETING);
}

void
child_resume(struct child *c)
{
	say(c, EM_RESUME, EM_GREETING);
}

void
child_drain(struct child *c)
{
	say(c, EM_DRAIN, EM_DRAINING);
}

void
child_stop(struct child *c)
{
	say(c, EM_STOP, EM_STOPPING);
}
