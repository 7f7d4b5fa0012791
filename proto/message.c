#include "message.h"

#include "error.h"
#include "record.h"
#include "utf8.h"

#define IN(state)	(1u << (state))
#define TALKING		(IN(EM_RUNNING) | IN(EM_DRAINING) | IN(EM_STOPPING))
#define AFTER_HELLO	(IN(EM_CONFIGURED) | TALKING)
#define NAME_MAX_SIZE	255u

static const struct em_message_row rows[] = {
	[EM_HELLO] = { "HELLO", true, false, IN(EM_GREETING), 17, 17 + 2 * NAME_MAX_SIZE },
	[EM_CONFIGURE] = { "CONFIGURE", false, true, IN(EM_GREETING), 33, EM_PAYLOAD_MAX },
	[EM_READY] = { "READY", true, false, AFTER_HELLO & ~IN(EM_RUNNING), 0, 0 },
	[EM_RECORDS] = { "RECORDS", true, true, TALKING, 4, EM_PAYLOAD_MAX },
	[EM_RESULT] = { "RESULT", true, false, TALKING, 8, EM_PAYLOAD_MAX },
	[EM_COMMITTED] = { "COMMITTED", false, true, TALKING, 4, EM_PAYLOAD_MAX },
	[EM_CREDIT] = { "CREDIT", true, true, TALKING, 8, 8 },
	[EM_PAUSE] = { "PAUSE", false, true, TALKING, 0, 0 },
	[EM_RESUME] = { "RESUME", false, true, TALKING, 0, 0 },
	[EM_DRAIN] = { "DRAIN", true, true, AFTER_HELLO, 0, 0 },
	[EM_STOP] = { "STOP", false, true, AFTER_HELLO, 0, 0 },
	[EM_PING] = { "PING", false, true, AFTER_HELLO, 8, 8 },
	[EM_PONG] = { "PONG", true, false, AFTER_HELLO, 8, 8 },
	[EM_METRICS] = { "METRICS", true, false, AFTER_HELLO, 4, 64 * 1024 },
	[EM_LOG] = { "LOG", true, false, AFTER_HELLO, 9, 64 * 1024 },
	[EM_ERROR_MESSAGE] = { "ERROR", true, false, IN(EM_GREETING) | AFTER_HELLO, 5, 64 * 1024 },
};
_Static_assert(sizeof(rows) / sizeof(rows[0]) == EM_MESSAGES, "a row for every message");

static const char *const channels[] = {
	[EM_GREETING] = "greeting", [EM_CONFIGURED] = "configured", [EM_RUNNING] = "running",
	[EM_DRAINING] = "draining", [EM_STOPPING] = "stopping",
};
_Static_assert(sizeof(channels) / sizeof(channels[0]) == EM_CHANNELS, "a name for every state");

static const char *const outcomes[] = {
	[EM_DELIVERED] = "delivered", [EM_RETRY] = "retry", [EM_REJECTED] = "rejected",
};
_Static_assert(sizeof(outcomes) / sizeof(outcomes[0]) == EM_OUTCOMES, "a name for every outcome");

static const char *const classes[] = {
	[EM_CLASS_CONFIGURATION] = "configuration", [EM_CLASS_TRANSIENT] = "transient", [EM_CLASS_FATAL] = "fatal",
};
_Static_assert(sizeof(classes) / sizeof(classes[0]) == EM_CLASSES, "a name for every class");

const struct em_message_row *
em_message_row(unsigned type)
{
	return type < EM_MESSAGES && rows[type].name != NULL ? &rows[type] : NULL;
}

int
em_message_check(const struct em_frame *frame, bool from_child, enum em_channel state, struct em_error *err)
{
	const struct em_message_row *row = em_message_row(frame->type);

	if (row == NULL)
		return em_error_set(err, EM_EPROTO, "unknown message %u", frame->type);
	if (!(from_child ? row->from_child : row->from_supervisor))
		return em_error_set(err, EM_EPROTO, "%s is not for the %s to say", row->name,
		    from_child ? "child" : "supervisor");
	if ((row->states >> state & 1) == 0)
		return em_error_set(err, EM_EPROTO, "%s is not allowed while %s", row->name, channels[state]);
	if (frame->payload.len < row->min || frame->payload.len > row->max)
		return em_error_set(err, EM_EPROTO, "%s has %zu bytes, allowed are %zu to %zu", row->name,
		    frame->payload.len, row->min, row->max);
	return 0;
}

const char *
em_role_name(enum em_role role)
{
	return role == EM_SOURCE ? "source" : "sink";
}

const char *
em_outcome_name(enum em_outcome outcome)
{
	return (unsigned)outcome < EM_OUTCOMES ? outcomes[outcome] : "unknown";
}

const char *
em_class_name(enum em_class error_class)
{
	return (unsigned)error_class < EM_CLASSES ? classes[error_class] : "unknown";
}

static size_t
begin(struct em_buf *b, uint32_t *sequence, enum em_message type)
{
	return em_frame_begin(b, (uint8_t)type, ++*sequence);
}

void
em_encode_hello(struct em_buf *b, uint32_t *sequence, const struct em_hello *m)
{
	size_t at = begin(b, sequence, EM_HELLO);

	em_buf_u16(b, m->major);
	em_buf_u16(b, m->minor);
	em_buf_u32(b, m->payload_max);
	em_buf_u8(b, m->roles);
	em_buf_lspan(b, m->name);
	em_buf_lspan(b, m->version);
	em_frame_end(b, at);
}

void
em_encode_configure(struct em_buf *b, uint32_t *sequence, const struct em_configure *m)
{
	size_t at = begin(b, sequence, EM_CONFIGURE);

	em_buf_u8(b, m->role);
	em_buf_u32(b, m->task);
	em_buf_u32(b, m->tasks);
	em_buf_u32(b, m->payload_max);
	em_buf_u32(b, m->heartbeat_ms);
	em_buf_lspan(b, m->name);
	em_buf_lspan(b, m->topic);
	em_buf_lspan(b, m->options);
	em_buf_u32(b, m->offsets_count);
	em_buf_span(b, m->offsets);
	em_frame_end(b, at);
}

void
em_encode_empty(struct em_buf *b, uint32_t *sequence, enum em_message type)
{
	em_frame_end(b, begin(b, sequence, type));
}

void
em_encode_u64(struct em_buf *b, uint32_t *sequence, enum em_message type, uint64_t v)
{
	size_t at = begin(b, sequence, type);

	em_buf_u64(b, v);
	em_frame_end(b, at);
}

void
em_encode_credit(struct em_buf *b, uint32_t *sequence, uint32_t records, uint32_t size_bytes)
{
	size_t at = begin(b, sequence, EM_CREDIT);

	em_buf_u32(b, records);
	em_buf_u32(b, size_bytes);
	em_frame_end(b, at);
}

void
em_encode_log(struct em_buf *b, uint32_t *sequence, const struct em_log_line *m)
{
	size_t at = begin(b, sequence, EM_LOG);

	em_buf_u8(b, m->level);
	em_buf_lspan(b, m->text);
	em_buf_u32(b, m->pairs_count);
	em_buf_span(b, m->pairs);
	em_frame_end(b, at);
}

void
em_encode_failure(struct em_buf *b, uint32_t *sequence, const struct em_failure *m)
{
	size_t at = begin(b, sequence, EM_ERROR_MESSAGE);

	em_buf_u8(b, (uint8_t)m->class);
	em_buf_lspan(b, m->text);
	em_frame_end(b, at);
}

struct em_list
em_list_begin(struct em_buf *b, uint32_t *sequence, enum em_message type)
{
	struct em_list l = { .b = b, .begin = begin(b, sequence, type), .count_at = b->len };

	em_buf_u32(b, 0);
	return l;
}

struct em_list
em_result_begin(struct em_buf *b, uint32_t *sequence, uint32_t batch)
{
	struct em_list l = { .b = b, .begin = begin(b, sequence, EM_RESULT) };

	em_buf_u32(b, batch);
	l.count_at = b->len;
	em_buf_u32(b, 0);
	return l;
}

void
em_list_record(struct em_list *l, const struct em_record *record)
{
	em_record_encode(l->b, record);
	l->count++;
}

void
em_list_encoded(struct em_list *l, struct em_span records, uint32_t count)
{
	em_buf_span(l->b, records);
	l->count += count;
}

void
em_position_encode(struct em_buf *b, const struct em_position *position)
{
	em_buf_lspan(b, position->partition);
	em_buf_lspan(b, position->offset);
}

void
em_list_position(struct em_list *l, const struct em_position *position)
{
	em_position_encode(l->b, position);
	l->count++;
}

void
em_list_result(struct em_list *l, const struct em_result *result)
{
	em_buf_u32(l->b, result->first);
	em_buf_u32(l->b, result->count);
	em_buf_u8(l->b, (uint8_t)result->outcome);
	em_buf_lspan(l->b, result->reason);
	l->count++;
}

void
em_list_metric(struct em_list *l, const struct em_metric *metric)
{
	uint64_t bits;

	memcpy(&bits, &metric->value, sizeof(bits));
	em_buf_lspan(l->b, metric->name);
	em_buf_u64(l->b, bits);
	l->count++;
}

size_t
em_list_size(const struct em_list *l)
{
	return l->b->len - l->begin - EM_FRAME_HEADER;
}

void
em_list_end(struct em_list *l)
{
	em_buf_set_u32(l->b, l->count_at, l->count);
	em_frame_end(l->b, l->begin);
}

static int
malformed(struct em_error *err, const char *what)
{
	return em_error_set(err, EM_EPROTO, "%s is malformed: its fields do not fill its payload", what);
}

int
em_decode_hello(struct em_span payload, struct em_hello *m, struct em_error *err)
{
	struct em_reader r = em_reader(payload);
	struct em_hello got;

	got.major = em_read_u16(&r);
	got.minor = em_read_u16(&r);
	got.payload_max = em_read_u32(&r);
	got.roles = em_read_u8(&r);
	got.name = em_read_lspan(&r);
	got.version = em_read_lspan(&r);
	if (!em_reader_done(&r))
		return malformed(err, "HELLO");
	if (!em_is_utf8(got.name) || !em_is_utf8(got.version))
		return em_error_set(err, EM_EPROTO, "HELLO: name and version must be UTF-8");
	if (got.roles == 0 || got.roles > (EM_SOURCE | EM_SINK))
		return em_error_set(err, EM_EPROTO, "HELLO: roles are %u, allowed are 1 to 3", got.roles);
	*m = got;
	return 0;
}

/* Walks the list once so that later steps cannot fail. */
static int
positions_check(struct em_span list, uint32_t count, struct em_error *err)
{
	struct em_reader r = em_reader(list);
	struct em_position p;

	if (count > list.len / 8)
		return em_error_set(err, EM_EPROTO, "%u positions cannot be in %zu bytes", count, list.len);
	for (uint32_t i = 0; i < count; i++)
		if (em_position_next(&r, &p, err) != 0)
			return -1;
	return em_reader_done(&r) ? 0 : malformed(err, "a list of positions");
}

int
em_decode_configure(struct em_span payload, struct em_configure *m, struct em_error *err)
{
	struct em_reader r = em_reader(payload);
	struct em_configure got;

	got.role = em_read_u8(&r);
	got.task = em_read_u32(&r);
	got.tasks = em_read_u32(&r);
	got.payload_max = em_read_u32(&r);
	got.heartbeat_ms = em_read_u32(&r);
	got.name = em_read_lspan(&r);
	got.topic = em_read_lspan(&r);
	got.options = em_read_lspan(&r);
	got.offsets_count = em_read_u32(&r);
	got.offsets = em_read_bytes(&r, em_reader_left(&r));
	if (!em_reader_done(&r))
		return malformed(err, "CONFIGURE");
	if (got.role != EM_SOURCE && got.role != EM_SINK)
		return em_error_set(err, EM_EPROTO, "CONFIGURE: role is %u, allowed are 1 and 2", got.role);
	if (got.tasks == 0 || got.task >= got.tasks)
		return em_error_set(err, EM_EPROTO, "CONFIGURE: task %u of %u", got.task, got.tasks);
	if (positions_check(got.offsets, got.offsets_count, err) != 0)
		return em_error_prefix(err, "CONFIGURE");
	*m = got;
	return 0;
}

int
em_decode_u64(struct em_span payload, uint64_t *v, struct em_error *err)
{
	struct em_reader r = em_reader(payload);
	uint64_t got = em_read_u64(&r);

	if (!em_reader_done(&r))
		return malformed(err, "PING or PONG");
	*v = got;
	return 0;
}

int
em_decode_credit(struct em_span payload, uint32_t *records, uint32_t *size_bytes, struct em_error *err)
{
	struct em_reader r = em_reader(payload);
	uint32_t n = em_read_u32(&r), size = em_read_u32(&r);

	if (!em_reader_done(&r))
		return malformed(err, "CREDIT");
	*records = n;
	*size_bytes = size;
	return 0;
}

int
em_decode_log(struct em_span payload, struct em_log_line *m, struct em_error *err)
{
	struct em_reader r = em_reader(payload), pairs;
	struct em_log_line got;

	got.level = em_read_u8(&r);
	got.text = em_read_lspan(&r);
	got.pairs_count = em_read_u32(&r);
	got.pairs = em_read_bytes(&r, em_reader_left(&r));
	pairs = em_reader(got.pairs);
	for (uint32_t i = 0; i < got.pairs_count && !pairs.bad; i++)
		if (!em_is_utf8(em_read_lspan(&pairs)) || !em_is_utf8(em_read_lspan(&pairs)))
			return em_error_set(err, EM_EPROTO, "LOG: field %u is not UTF-8", i + 1);
	if (!em_reader_done(&r) || !em_reader_done(&pairs))
		return malformed(err, "LOG");
	if (!em_is_utf8(got.text))
		return em_error_set(err, EM_EPROTO, "LOG: the text is not UTF-8");
	*m = got;
	return 0;
}

int
em_decode_failure(struct em_span payload, struct em_failure *m, struct em_error *err)
{
	struct em_reader r = em_reader(payload);
	uint8_t class = em_read_u8(&r);
	struct em_span text = em_read_lspan(&r);

	if (!em_reader_done(&r))
		return malformed(err, "ERROR");
	if (class >= EM_CLASSES || !em_is_utf8(text))
		return em_error_set(err, EM_EPROTO, "ERROR: class %u or text is not known or not UTF-8", class);
	*m = (struct em_failure){ (enum em_class)class, text };
	return 0;
}

int
em_decode_list(struct em_span payload, uint32_t *count, struct em_reader *items, struct em_error *err)
{
	struct em_reader r = em_reader(payload);
	uint32_t n = em_read_u32(&r);

	if (r.bad || n > em_reader_left(&r))
		return em_error_set(err, EM_EPROTO, "a list of %u items cannot be in %zu bytes", n, payload.len);
	*count = n;
	*items = r;
	return 0;
}

int
em_decode_result(struct em_span payload, uint32_t *batch, uint32_t *count, struct em_reader *items,
    struct em_error *err)
{
	struct em_reader r = em_reader(payload);
	uint32_t seq = em_read_u32(&r);

	if (r.bad)
		return malformed(err, "RESULT");
	if (em_decode_list((struct em_span){ r.p, em_reader_left(&r) }, count, items, err) != 0)
		return em_error_prefix(err, "RESULT");
	*batch = seq;
	return 0;
}

int
em_position_next(struct em_reader *items, struct em_position *position, struct em_error *err)
{
	struct em_span partition = em_read_lspan(items), offset = em_read_lspan(items);

	if (items->bad)
		return malformed(err, "a position");
	if (partition.len > EM_POSITION_MAX || offset.len > EM_POSITION_MAX)
		return em_error_set(err, EM_ELIMIT, "a position has %zu and %zu bytes, allowed are %u",
		    partition.len, offset.len, EM_POSITION_MAX);
	*position = (struct em_position){ partition, offset };
	return 0;
}

int
em_result_next(struct em_reader *items, struct em_result *result, struct em_error *err)
{
	struct em_result got;
	uint8_t outcome;

	got.first = em_read_u32(items);
	got.count = em_read_u32(items);
	outcome = em_read_u8(items);
	got.reason = em_read_lspan(items);
	if (items->bad)
		return malformed(err, "a result");
	if (outcome >= EM_OUTCOMES)
		return em_error_set(err, EM_EPROTO, "RESULT: unknown outcome %u", outcome);
	if (!em_is_utf8(got.reason))
		return em_error_set(err, EM_EPROTO, "RESULT: a reason is not UTF-8");
	got.outcome = (enum em_outcome)outcome;
	*result = got;
	return 0;
}

int
em_metric_next(struct em_reader *items, struct em_metric *metric, struct em_error *err)
{
	struct em_span name = em_read_lspan(items);
	uint64_t bits = em_read_u64(items);

	if (items->bad)
		return malformed(err, "a metric");
	if (name.len == 0 || name.len > NAME_MAX_SIZE || !em_is_utf8(name))
		return em_error_set(err, EM_EPROTO, "METRICS: a name of %zu bytes or not UTF-8", name.len);
	metric->name = name;
	memcpy(&metric->value, &bits, sizeof(bits));
	return 0;
}
