/*
 * message: the messages of the record protocol, one row each: who may say them, when, and how long.
 *
 * Runs in: engine, children. Pure.
 * I1. Whatever a peer says is checked here against its row (direction, state, length) before a handler sees it.
 * I2. encode(decode(x)) == x for every message. Decoded spans borrow from the payload.
 * I3. Lists announce their count; a count that cannot fit the payload is refused before anything is allocated.
 * Errors: EM_EPROTO, EM_ELIMIT.  Source of the format: emrecord(5), section MESSAGES.
 *
 * The life of a channel (its states) and who speaks:
 *   GREETING   child: HELLO                          supervisor: CONFIGURE -> CONFIGURED
 *   CONFIGURED child: READY -> RUNNING, LOG, ERROR   supervisor: DRAIN, STOP, PING
 *   RUNNING    everything
 *   DRAINING   (supervisor said DRAIN) as RUNNING; the child answers DRAIN when no more will come of itself
 *   STOPPING   (supervisor said STOP) child: RESULT, METRICS, LOG, ERROR, PONG until it closes; what it had sent before
 *              it read STOP (RECORDS, READY) is let through and ignored
 * A source that has reached its end says DRAIN unasked; the supervisor commits, then says STOP.
 * CREDIT adds to what the receiver of it may send. Records may be sent while both credits are above zero; a batch may
 * not exceed the credit of records, but may overdraw that of bytes (so that a large record passes a small window).
 * A sink has at most one unanswered batch where order matters. A sink that answers RETRY for a record answers RETRY
 * for the later records of the same key in that batch too.
 */
#ifndef EM_MESSAGE_H
#define EM_MESSAGE_H

#include <stdint.h>

#include "bytes.h"
#include "frame.h"

struct em_error;
struct em_record;

#define EM_PROTOCOL_MAJOR	1
#define EM_PROTOCOL_MINOR	0
#define EM_CHANNEL_FD		3	/* the child's end of the channel */

enum em_message {
	EM_HELLO = 1, EM_CONFIGURE, EM_READY, EM_RECORDS, EM_RESULT, EM_COMMITTED, EM_CREDIT, EM_PAUSE, EM_RESUME,
	EM_DRAIN, EM_STOP, EM_PING, EM_PONG, EM_METRICS, EM_LOG, EM_ERROR_MESSAGE, EM_MESSAGES
};

enum em_channel {	/* states of a channel, the same on both sides */
	EM_GREETING, EM_CONFIGURED, EM_RUNNING, EM_DRAINING, EM_STOPPING, EM_CHANNELS
};

enum em_role { EM_SOURCE = 1, EM_SINK = 2 };
enum em_outcome { EM_DELIVERED, EM_RETRY, EM_REJECTED, EM_OUTCOMES };
enum em_class { EM_CLASS_CONFIGURATION, EM_CLASS_TRANSIENT, EM_CLASS_FATAL, EM_CLASSES };

struct em_message_row {
	const char	*name;		/* as in emrecord(5) */
	bool		 from_child, from_supervisor;
	uint32_t	 states;	/* bit n: allowed in channel state n */
	size_t		 min, max;	/* payload bytes, inclusive */
};

/* The row of a message, NULL if there is none. */
const struct em_message_row *em_message_row(unsigned type);

/* 0 if a frame of this type and length may be said now by that side, else -1 and why. */
int	em_message_check(const struct em_frame *frame, bool from_child, enum em_channel state, struct em_error *err);

const char *em_role_name(enum em_role role);		/* "source", "sink" */
const char *em_outcome_name(enum em_outcome outcome);	/* "delivered", "retry", "rejected" */
const char *em_class_name(enum em_class error_class);	/* "configuration", "transient", "fatal" */

struct em_hello {
	uint16_t	major, minor;
	uint32_t	payload_max;	/* the largest payload this child reads */
	uint8_t		roles;		/* EM_SOURCE | EM_SINK */
	struct em_span	name;		/* of the executable: "file" */
	struct em_span	version;
};

struct em_position {			/* a partition and an offset in it */
	struct em_span	partition;
	struct em_span	offset;
};

struct em_configure {
	uint8_t		role;		/* enum em_role */
	uint32_t	task, tasks;	/* this task's number from 0, and how many there are */
	uint32_t	payload_max;	/* the smaller of both sides: holds for both directions from now on */
	uint32_t	heartbeat_ms;	/* a PING comes this often; no PONG for three of them ends the child */
	struct em_span	name;		/* of the connector: "orders" */
	struct em_span	topic;
	struct em_span	options;	/* a JSON object, secrets resolved */
	uint32_t	offsets_count;	/* committed offsets, read with em_position_next */
	struct em_span	offsets;
};

struct em_result {			/* outcome of records first .. first + count - 1 of one batch */
	uint32_t	first, count;
	enum em_outcome	outcome;
	struct em_span	reason;		/* empty when delivered */
};

struct em_metric {
	struct em_span	name;		/* [a-z_]+, counters end in _total */
	double		value;
};

struct em_log_line {
	uint8_t		level;		/* enum em_level */
	struct em_span	text;
	uint32_t	pairs_count;	/* structured fields, read as lspan name, lspan value */
	struct em_span	pairs;
};

struct em_failure {			/* ERROR */
	enum em_class	class;
	struct em_span	text;
};

/* Encoders append one whole frame. sequence is incremented. */
void	em_encode_hello(struct em_buf *b, uint32_t *sequence, const struct em_hello *m);
void	em_encode_configure(struct em_buf *b, uint32_t *sequence, const struct em_configure *m);
void	em_encode_empty(struct em_buf *b, uint32_t *sequence, enum em_message type);	/* READY PAUSE RESUME DRAIN STOP */
void	em_encode_u64(struct em_buf *b, uint32_t *sequence, enum em_message type, uint64_t v);	/* PING PONG */
void	em_encode_credit(struct em_buf *b, uint32_t *sequence, uint32_t records, uint32_t size_bytes);
void	em_encode_log(struct em_buf *b, uint32_t *sequence, const struct em_log_line *m);
void	em_encode_failure(struct em_buf *b, uint32_t *sequence, const struct em_failure *m);

/* Lists: begin, then items, then end. */
struct em_list {
	struct em_buf	*b;
	size_t		 begin;		/* of the frame */
	size_t		 count_at;
	uint32_t	 count;
};
struct em_list em_list_begin(struct em_buf *b, uint32_t *sequence, enum em_message type);
struct em_list em_result_begin(struct em_buf *b, uint32_t *sequence, uint32_t batch);	/* batch: the RECORDS frame's sequence */
void	em_list_record(struct em_list *l, const struct em_record *record);		/* RECORDS */
void	em_list_encoded(struct em_list *l, struct em_span records, uint32_t count);	/* RECORDS, already encoded */
void	em_list_position(struct em_list *l, const struct em_position *position);	/* COMMITTED */
void	em_list_result(struct em_list *l, const struct em_result *result);		/* RESULT */
void	em_list_metric(struct em_list *l, const struct em_metric *metric);		/* METRICS */
size_t	em_list_size(const struct em_list *l);			/* payload bytes so far */
void	em_list_end(struct em_list *l);

/* Decoders: 0 and *m, or -1 and *err. */
int	em_decode_hello(struct em_span payload, struct em_hello *m, struct em_error *err);
int	em_decode_configure(struct em_span payload, struct em_configure *m, struct em_error *err);
int	em_decode_u64(struct em_span payload, uint64_t *v, struct em_error *err);
int	em_decode_credit(struct em_span payload, uint32_t *records, uint32_t *size_bytes, struct em_error *err);
int	em_decode_log(struct em_span payload, struct em_log_line *m, struct em_error *err);
int	em_decode_failure(struct em_span payload, struct em_failure *m, struct em_error *err);
int	em_decode_result(struct em_span payload, uint32_t *batch, uint32_t *count, struct em_reader *items,
	    struct em_error *err);
int	em_decode_list(struct em_span payload, uint32_t *count, struct em_reader *items, struct em_error *err);

/* Items of a list, count times; em_reader_done(items) must hold behind the last. */
int	em_position_next(struct em_reader *items, struct em_position *position, struct em_error *err);
int	em_result_next(struct em_reader *items, struct em_result *result, struct em_error *err);
int	em_metric_next(struct em_reader *items, struct em_metric *metric, struct em_error *err);
/* For em_configure.offsets and em_log_line.pairs: */
void	em_position_encode(struct em_buf *b, const struct em_position *position);

#endif
