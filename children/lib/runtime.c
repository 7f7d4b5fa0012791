/* The loop of every connector: the child's side of the record protocol (emrecord(5)). */
#include "emconnector.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "describe.h"
#include "message.h"
#include "stream.h"
#include "utf8.h"

#define TEXT_MAX	16384u			/* bytes of a log line or an error */
#define REASON_MAX	1024u			/* bytes of the reason of one record's result */
#define BATCH_RECORDS	1024u
#define BATCH_BYTES	(256u * 1024)
#define UNSENT_MAX	(1024u * 1024)		/* more than this in our buffer: the supervisor is busy, so wait */
#define LIST_HEADER	4u			/* the count in front of the records */
#define WINDOW_RECORDS	4096u			/* what a sink lets the supervisor send ahead */
#define WINDOW_BYTES	(4u * 1024 * 1024)

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_CONFIG = 2, EXIT_ORPHAN = 3 };

struct position {
	struct em_span	partition, offset;
};

struct em_task {
	const struct em_connector *connector;
	void		*config, *state;
	struct event_base *base;
	struct em_stream *stream;
	struct event	*poll, *term;
	enum em_channel	 channel;
	uint32_t	 sent, got;
	uint32_t	 payload_max;
	int64_t		 credit_records, credit_bytes;
	bool		 opened, paused, ended, told_end;
	int		 exit_status;

	struct em_buf	 configure;		/* its payload: name, topic and offsets borrow from it */
	struct em_configure given;
	char		*name, *topic;
	struct position	*offsets;

	struct em_list	 list;			/* source: the batch that poll fills */
	size_t		 list_limit;
	bool		 listing;
	struct em_buf	 held;			/* one encoded record that did not fit the batch: it goes alone, next */
	struct em_buf	 aside;			/* log lines and metrics said meanwhile */

	uint8_t		*results;		/* sink: 1 + enum em_put_result of every record, 0 not said */
	char		**reasons;
	uint32_t	 results_count;
};

static int	do_configure(struct em_task *, const struct em_frame *, struct em_error *);
static int	do_records(struct em_task *, const struct em_frame *, struct em_error *);
static int	do_committed(struct em_task *, const struct em_frame *, struct em_error *);
static int	do_credit(struct em_task *, const struct em_frame *, struct em_error *);
static int	do_pause(struct em_task *, const struct em_frame *, struct em_error *);
static int	do_resume(struct em_task *, const struct em_frame *, struct em_error *);
static int	do_drain(struct em_task *, const struct em_frame *, struct em_error *);
static int	do_stop(struct em_task *, const struct em_frame *, struct em_error *);
static int	do_ping(struct em_task *, const struct em_frame *, struct em_error *);

static int (*const handlers[EM_MESSAGES])(struct em_task *, const struct em_frame *, struct em_error *) = {
	[EM_CONFIGURE] = do_configure,
	[EM_RECORDS] = do_records,
	[EM_COMMITTED] = do_committed,
	[EM_CREDIT] = do_credit,
	[EM_PAUSE] = do_pause,
	[EM_RESUME] = do_resume,
	[EM_DRAIN] = do_drain,
	[EM_STOP] = do_stop,
	[EM_PING] = do_ping,
};

static struct em_buf *
out(struct em_task *t)
{
	em_stream_flush(t->stream);
	return em_stream_out(t->stream);
}

/* Nothing is heard from here on: what the supervisor said behind it is for nobody. */
static void
quit(struct em_task *t, int status)
{
	t->exit_status = status;
	em_stream_pause(t->stream);
	event_base_loopbreak(t->base);
}

/* Text for the supervisor is UTF-8 and short; what a connector says (names of files, words of a server) need not be.
 * The caller frees it. */
static char *
presentable(const char *text, size_t max)
{
	struct em_buf b = { 0 };
	const uint8_t *p = (const uint8_t *)text;
	size_t left = strlen(text), n;
	char *result;

	for (; left > 0 && b.len < max; p += n, left -= n) {
		n = em_utf8_sequence(p, left);
		if (n > 0)
			em_buf_append(&b, p, n);
		else
			em_buf_printf(&b, "\\x%02x", *p);
		n = n > 0 ? n : 1;
	}
	if (left > 0)
		em_buf_str(&b, " ... (cut)");
	result = em_strdup(em_buf_cstr(&b));
	em_buf_clear(&b);
	return result;
}

/* Says why and ends: this process is started again, or the operator mends what is wrong. */
static void
fail(struct em_task *t, enum em_class class, const char *text)
{
	char *clean = presentable(text, TEXT_MAX);

	em_encode_failure(out(t), &t->sent, &(struct em_failure){ class, em_span_str(clean) });
	free(clean);
	quit(t, class == EM_CLASS_CONFIGURATION ? EXIT_CONFIG : EXIT_FAILED);
}

static enum em_class
class_of(const struct em_error *err)
{
	return err->code == EM_ECONFIG || err->code == EM_EUSAGE ? EM_CLASS_CONFIGURATION : EM_CLASS_TRANSIENT;
}

static void
poll_soon(struct em_task *t)
{
	if (t->opened && t->connector->poll != NULL && em_task_role(t) == EM_ROLE_SOURCE)
		event_active(t->poll, EV_TIMEOUT, 0);
}

static bool
may_send(const struct em_task *t)
{
	return t->channel == EM_RUNNING && !t->paused && t->credit_records > 0 && t->credit_bytes > 0 &&
	    em_stream_pending(t->stream) <= UNSENT_MAX;
}

static void
send_held(struct em_task *t)
{
	struct em_list l = em_list_begin(out(t), &t->sent, EM_RECORDS);

	em_list_encoded(&l, em_buf_view(&t->held), 1);
	em_buf_clear(&t->held);
	t->credit_records--;
	t->credit_bytes -= (int64_t)em_list_size(&l);
	em_list_end(&l);
}

static void
end_list(struct em_task *t)
{
	struct em_buf *b = em_stream_out(t->stream);

	t->listing = false;
	if (t->list.count == 0) {
		b->len = t->list.begin;
		t->sent--;
		return;
	}
	t->credit_records -= t->list.count;
	t->credit_bytes -= (int64_t)em_list_size(&t->list);
	em_list_end(&t->list);
	em_stream_flush(t->stream);
}

static void	say_aside(struct em_task *);

static void
say_end(struct em_task *t)
{
	if (t->told_end)
		return;
	t->told_end = true;
	em_encode_empty(out(t), &t->sent, EM_DRAIN);
}

/* What poll left to do. A loop turn lies between two polls, so that heartbeats are answered whatever it does. */
static void
after_poll(struct em_task *t, enum em_poll result, const struct em_error *err)
{
	static const struct timeval at_once = { 0, 0 };

	if (result == EM_POLL_FAILED)
		fail(t, class_of(err), em_error_text(err));
	else if (result == EM_POLL_MORE || t->held.len > 0)
		event_add(t->poll, &at_once);
	if (result == EM_POLL_END)
		t->ended = true;
	if (t->ended && t->held.len == 0)
		say_end(t);
}

static void
on_poll(evutil_socket_t fd, short what, void *ctx)
{
	struct em_task *t = ctx;
	struct em_error err = EM_ERROR_INIT;
	enum em_poll result = EM_POLL_IDLE;

	(void)fd;
	(void)what;
	if (!may_send(t))
		return;		/* credit, RESUME or a drained buffer calls again */
	if (t->held.len > 0)
		send_held(t);
	if (!t->ended && may_send(t)) {
		t->list = em_list_begin(em_stream_out(t->stream), &t->sent, EM_RECORDS);
		t->list_limit = t->credit_records < (int64_t)BATCH_RECORDS ? (size_t)t->credit_records : BATCH_RECORDS;
		t->listing = true;
		result = t->connector->poll(t, &err);
		end_list(t);
		say_aside(t);
	}
	after_poll(t, result, &err);
	em_error_clear(&err);
}

uint32_t
em_task_room(const struct em_task *t)
{
	if (!t->listing || t->held.len > 0 || t->list.count >= t->list_limit ||
	    em_list_size(&t->list) >= BATCH_BYTES || (int64_t)em_list_size(&t->list) >= t->credit_bytes)
		return 0;
	return (uint32_t)(t->list_limit - t->list.count);
}

int
em_task_add(struct em_task *t, const struct em_record *record, struct em_error *err)
{
	struct em_buf *b = em_stream_out(t->stream);
	size_t before = b->len, size, allowed = t->payload_max - LIST_HEADER;

	if (em_task_room(t) == 0)
		return em_error_set(err, EM_EFULL, "a record was added where there is no room");
	if (em_record_check(record, err) != 0)
		return -1;
	em_list_record(&t->list, record);
	size = b->len - before;
	if (size <= allowed && size <= EM_RECORD_MAX + 4 && em_list_size(&t->list) <= t->payload_max)
		return 0;
	t->list.count--;
	b->len = before;
	if (size > allowed || size > EM_RECORD_MAX + 4)
		return em_error_set(err, EM_ELIMIT, "a record has %zu bytes, a message of this channel holds %zu",
		    size, allowed < EM_RECORD_MAX + 4 ? allowed : EM_RECORD_MAX + 4);
	em_buf_append(&t->held, b->data + before, size);
	return 0;
}

void
em_task_wake(struct em_task *t)
{
	poll_soon(t);
}

void
em_task_wake_after(struct em_task *t, int64_t ms)
{
	struct timeval after = { ms / 1000, ms % 1000 * 1000 }, pending, now;

	if (event_pending(t->poll, EV_TIMEOUT, &pending)) {
		evutil_gettimeofday(&now, NULL);
		evutil_timeradd(&now, &after, &now);
		if (evutil_timercmp(&pending, &now, <))
			return;
	}
	event_add(t->poll, &after);
}

/* Problems of options are gathered into one text, so that the operator mends them all at once. */
static void
on_problem(void *ctx, const char *path, const char *message)
{
	struct em_buf *b = ctx;

	em_buf_printf(b, "%s%s %s", b->len > 0 ? "; " : "", path, message);
}

static int
parse_options(struct em_task *t, struct em_error *err)
{
	struct em_buf problems = { 0 };
	json_error_t why;
	json_t *options = json_loadb((const char *)t->given.options.bytes, t->given.options.len, JSON_ALLOW_NUL, &why);
	size_t n;

	if (options == NULL)
		return em_error_set(err, EM_EPROTO, "CONFIGURE: the options are no JSON: %s", why.text);
	t->config = em_calloc(1, t->connector->config_size);
	n = em_options_parse(t->connector->options, t->given.role, options, t->config, "options.", on_problem, &problems);
	json_decref(options);
	if (n > 0)
		em_error_set(err, EM_ECONFIG, "%s", em_buf_cstr(&problems));
	em_buf_clear(&problems);
	return n > 0 ? -1 : 0;
}

static void
index_offsets(struct em_task *t)
{
	struct em_reader r = em_reader(t->given.offsets);
	struct em_position p;

	t->offsets = em_calloc(t->given.offsets_count, sizeof(*t->offsets));
	for (uint32_t i = 0; i < t->given.offsets_count; i++) {
		(void)em_position_next(&r, &p, NULL);	/* checked by em_decode_configure */
		t->offsets[i] = (struct position){ p.partition, p.offset };
	}
}

static int
do_configure(struct em_task *t, const struct em_frame *frame, struct em_error *err)
{
	em_buf_span(&t->configure, frame->payload);
	if (em_decode_configure(em_buf_view(&t->configure), &t->given, err) != 0)
		return -1;
	t->channel = EM_CONFIGURED;
	t->payload_max = t->given.payload_max;
	t->name = em_span_dup(t->given.name);
	t->topic = em_span_dup(t->given.topic);
	index_offsets(t);
	if ((em_task_role(t) & t->connector->roles) == 0)
		return em_error_set(err, EM_ECONFIG, "connector \"%s\" cannot be a %s", t->connector->name,
		    em_role_name(t->given.role));
	if (parse_options(t, err) != 0 || t->connector->open(t, t->config, err) != 0)
		return -1;
	t->opened = true;
	em_encode_empty(out(t), &t->sent, EM_READY);
	t->channel = EM_RUNNING;
	if (em_task_role(t) == EM_ROLE_SINK)
		em_encode_credit(out(t), &t->sent, WINDOW_RECORDS, WINDOW_BYTES);
	return 0;
}

static void
set_result(struct em_task *t, uint32_t i, enum em_put_result result, const char *reason)
{
	t->results[i] = (uint8_t)(1 + result);
	free(t->reasons[i]);
	t->reasons[i] = NULL;
	if (result != EM_PUT_DELIVERED)
		t->reasons[i] = presentable(reason != NULL ? reason : "no reason given", REASON_MAX);
}

void
em_task_result(struct em_task *t, uint32_t first, uint32_t count, enum em_put_result result, const char *reason)
{
	if (first > t->results_count || count > t->results_count - first)
		em_panic("%s: a result for records %u + %u of %u", t->connector->name, first, count, t->results_count);
	for (uint32_t i = first; i < first + count; i++)
		set_result(t, i, result, reason);
}

static bool
same_result(const struct em_task *t, uint32_t i, uint32_t k)
{
	if (t->results[i] != t->results[k])
		return false;
	return t->reasons[i] == NULL ? t->reasons[k] == NULL :
	    t->reasons[k] != NULL && strcmp(t->reasons[i], t->reasons[k]) == 0;
}

/* Neighbours with the same outcome travel as one range. */
static void
send_results(struct em_task *t, uint32_t batch)
{
	struct em_list l = em_result_begin(out(t), &t->sent, batch);

	for (uint32_t i = 0, k; i < t->results_count; i = k) {
		for (k = i + 1; k < t->results_count && same_result(t, i, k); k++)
			;
		em_list_result(&l, &(struct em_result){ i, k - i, (enum em_outcome)(t->results[i] - 1),
		    em_span_str(t->reasons[i] != NULL ? t->reasons[i] : "") });
	}
	em_list_end(&l);
}

static void
clear_results(struct em_task *t)
{
	for (uint32_t i = 0; i < t->results_count; i++)
		free(t->reasons[i]);
	free(t->reasons);
	free(t->results);
	t->reasons = NULL;
	t->results = NULL;
	t->results_count = 0;
}

static int
do_records(struct em_task *t, const struct em_frame *frame, struct em_error *err)
{
	struct em_error why = EM_ERROR_INIT;
	struct em_batch *batch;
	int done;

	if (em_task_role(t) != EM_ROLE_SINK)
		return em_error_set(err, EM_EPROTO, "a source was sent RECORDS");
	batch = em_batch_decode(frame->payload, err);
	if (batch == NULL)
		return -1;
	t->results_count = batch->count;
	t->results = em_calloc(batch->count, 1);
	t->reasons = em_calloc(batch->count, sizeof(*t->reasons));
	done = t->connector->put(t, batch->records, batch->count, &why);
	for (uint32_t i = 0; i < batch->count; i++)
		if (t->results[i] == 0)
			set_result(t, i, done == 0 ? EM_PUT_DELIVERED : EM_PUT_RETRY, em_error_text(&why));
	send_results(t, frame->sequence);
	em_encode_credit(out(t), &t->sent, batch->count, (uint32_t)frame->payload.len);
	clear_results(t);
	em_error_clear(&why);
	em_batch_unref(batch);
	return 0;
}

static int
do_committed(struct em_task *t, const struct em_frame *frame, struct em_error *err)
{
	struct em_reader items;
	struct em_position p;
	uint32_t count;

	if (em_decode_list(frame->payload, &count, &items, err) != 0)
		return -1;
	for (uint32_t i = 0; i < count; i++) {
		if (em_position_next(&items, &p, err) != 0)
			return -1;
		if (t->connector->committed != NULL)
			t->connector->committed(t, p.partition, p.offset);
	}
	return 0;
}

static int
do_credit(struct em_task *t, const struct em_frame *frame, struct em_error *err)
{
	uint32_t records, size_bytes;

	if (em_decode_credit(frame->payload, &records, &size_bytes, err) != 0)
		return -1;
	t->credit_records += records;
	t->credit_bytes += size_bytes;
	poll_soon(t);
	return 0;
}

static int
do_pause(struct em_task *t, const struct em_frame *frame, struct em_error *err)
{
	(void)frame;
	(void)err;
	t->paused = true;
	return 0;
}

static int
do_resume(struct em_task *t, const struct em_frame *frame, struct em_error *err)
{
	(void)frame;
	(void)err;
	t->paused = false;
	poll_soon(t);
	return 0;
}

static int
do_drain(struct em_task *t, const struct em_frame *frame, struct em_error *err)
{
	(void)frame;
	(void)err;
	t->channel = EM_DRAINING;	/* put is synchronous, so a sink has nothing left either */
	say_end(t);
	return 0;
}

static int
do_stop(struct em_task *t, const struct em_frame *frame, struct em_error *err)
{
	(void)frame;
	(void)err;
	quit(t, EXIT_DONE);
	return 0;
}

static int
do_ping(struct em_task *t, const struct em_frame *frame, struct em_error *err)
{
	uint64_t token;

	if (em_decode_u64(frame->payload, &token, err) != 0)
		return -1;
	em_encode_u64(out(t), &t->sent, EM_PONG, token);
	return 0;
}

static long
on_cut(void *ctx, struct em_span bytes, struct em_error *err)
{
	const struct em_task *t = ctx;

	return em_frame_cut(bytes, t->payload_max, err);
}

static void
on_frame(void *ctx, struct em_span whole)
{
	struct em_task *t = ctx;
	struct em_frame frame = em_frame_decode(whole);
	struct em_error err = EM_ERROR_INIT;

	if (frame.sequence != ++t->got)
		em_error_set(&err, EM_EPROTO, "frame %u came where %u was due", frame.sequence, t->got);
	else if (em_message_check(&frame, false, t->channel, &err) == 0)
		(void)handlers[frame.type](t, &frame, &err);
	if (err.code != EM_OK)
		fail(t, class_of(&err), em_error_text(&err));
	em_error_clear(&err);
}

static void
on_drained(void *ctx)
{
	poll_soon(ctx);
}

static void
on_close(void *ctx, const struct em_error *why)
{
	(void)why;	/* nobody is left to tell; the exit status says it */
	quit(ctx, EXIT_ORPHAN);
}

static const struct em_stream_ops stream_ops = {
	.cut = on_cut, .on_frame = on_frame, .on_drain = on_drained, .on_close = on_close,
};

static void
on_term(evutil_socket_t number, short what, void *ctx)
{
	(void)number;
	(void)what;
	quit(ctx, EXIT_DONE);
}

static void
start(struct em_task *t)
{
	const struct em_connector *c = t->connector;

	signal(SIGPIPE, SIG_IGN);
	t->base = event_base_new();
	if (t->base == NULL)
		em_panic("%s: no event loop", c->name);
	t->payload_max = EM_PAYLOAD_DEFAULT;
	t->stream = em_stream_new(t->base, EM_CHANNEL_FD, &stream_ops, t);
	t->poll = event_new(t->base, -1, 0, on_poll, t);
	t->term = evsignal_new(t->base, SIGTERM, on_term, t);
	if (t->poll == NULL || t->term == NULL)
		em_panic("%s: no events", c->name);
	event_add(t->term, NULL);
	em_encode_hello(out(t), &t->sent, &(struct em_hello){ EM_PROTOCOL_MAJOR, EM_PROTOCOL_MINOR, EM_PAYLOAD_DEFAULT,
	    (uint8_t)c->roles, em_span_str(c->name), em_span_str(c->version) });
}

/* What is still in our buffer (the last words of a failure) leaves with a short, bounded wait. */
static void
last_words(struct em_task *t)
{
	for (int i = 0; i < 50 && em_stream_pending(t->stream) > 0; i++) {
		em_stream_flush(t->stream);
		event_base_loop(t->base, EVLOOP_NONBLOCK);
		if (em_stream_pending(t->stream) > 0)
			usleep(10000);
	}
}

static void
finish(struct em_task *t)
{
	if (t->opened && t->connector->close != NULL)
		t->connector->close(t);
	last_words(t);
	if (t->config != NULL)
		em_options_clear(t->connector->options, t->config);
	free(t->config);
	if (t->configure.data != NULL)
		explicit_bzero(t->configure.data, t->configure.len);
	em_buf_clear(&t->held);
	em_buf_clear(&t->aside);
	em_buf_clear(&t->configure);
	free(t->name);
	free(t->topic);
	free(t->offsets);
	event_free(t->poll);
	event_free(t->term);
	em_stream_free(t->stream);
	event_base_free(t->base);
}

static bool
has_channel(void)
{
	struct stat st;

	return fstat(EM_CHANNEL_FD, &st) == 0 && S_ISSOCK(st.st_mode);
}

int
em_connector_main(const struct em_connector *connector, int argc, char **argv)
{
	struct em_task t = { .connector = connector };

	if (argc > 1 || !has_channel())
		return em_describe(connector, argc, argv);
	start(&t);
	event_base_dispatch(t.base);
	finish(&t);
	return t.exit_status;
}

void
em_task_set(struct em_task *t, void *state)
{
	t->state = state;
}

void *
em_task_get(const struct em_task *t)
{
	return t->state;
}

const char *
em_task_name(const struct em_task *t)
{
	return t->name;
}

const char *
em_task_topic(const struct em_task *t)
{
	return t->topic;
}

unsigned
em_task_role(const struct em_task *t)
{
	return t->given.role;
}

uint32_t
em_task_number(const struct em_task *t)
{
	return t->given.task;
}

uint32_t
em_task_count(const struct em_task *t)
{
	return t->given.tasks;
}

struct event_base *
em_task_base(const struct em_task *t)
{
	return t->base;
}

struct em_span
em_task_offset(const struct em_task *t, struct em_span partition)
{
	for (uint32_t i = 0; i < t->given.offsets_count; i++)
		if (em_span_eq(t->offsets[i].partition, partition))
			return t->offsets[i].offset;
	return EM_SPAN_NONE;
}

size_t
em_task_offsets_count(const struct em_task *t)
{
	return t->given.offsets_count;
}

struct em_span
em_task_offsets_partition(const struct em_task *t, size_t i)
{
	return i < t->given.offsets_count ? t->offsets[i].partition : EM_SPAN_NONE;
}

static void
say_log(struct em_task *t, uint8_t level, struct em_span text)
{
	em_encode_log(out(t), &t->sent, &(struct em_log_line){ .level = level, .text = text });
}

static void
say_metric(struct em_task *t, struct em_span name, uint64_t bits)
{
	struct em_metric metric = { .name = name };
	struct em_list l;

	memcpy(&metric.value, &bits, sizeof(bits));
	l = em_list_begin(out(t), &t->sent, EM_METRICS);
	em_list_metric(&l, &metric);
	em_list_end(&l);
}

/* What was said while poll's batch stood open at the end of the buffer. */
static void
say_aside(struct em_task *t)
{
	struct em_reader r = em_reader(em_buf_view(&t->aside));

	while (em_reader_left(&r) > 0) {
		uint8_t level = em_read_u8(&r);
		struct em_span text = em_read_lspan(&r);

		if (level < EM_LEVELS)
			say_log(t, level, text);
		else
			say_metric(t, text, em_read_u64(&r));
	}
	em_buf_reset(&t->aside);
}

void
em_task_log(struct em_task *t, enum em_level level, const char *fmt, ...)
{
	struct em_span text;
	va_list ap;
	char *said, *clean;

	va_start(ap, fmt);
	said = em_vasprintf(fmt, ap);
	va_end(ap);
	clean = presentable(said, TEXT_MAX);
	free(said);
	text = em_span_str(clean);
	if (t->listing) {
		em_buf_u8(&t->aside, (uint8_t)level);
		em_buf_lspan(&t->aside, text);
	} else {
		say_log(t, (uint8_t)level, text);
	}
	free(clean);
}

void
em_task_metric(struct em_task *t, const char *name, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	if (t->listing) {
		em_buf_u8(&t->aside, EM_LEVELS);
		em_buf_lspan(&t->aside, em_span_str(name));
		em_buf_u64(&t->aside, bits);
	} else {
		say_metric(t, em_span_str(name), bits);
	}
}
