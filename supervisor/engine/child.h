/*
 * child: one task's channel: handshake, messages both ways, credit, heartbeat.
 *
 * Runs in: engine. Touches: one socket, timers. Rank 2; does not know EventMesh, connectors or the registry.
 * I1. Nothing a child says reaches a call-back before the message table, its lengths and its credit were checked.
 *     A child that breaks a rule is reported once by on_close and not listened to any more.
 * I2. A source can never have more unanswered records or bytes here than it was granted (plus one batch of bytes).
 * I3. A child that does not answer PING for three heartbeats is reported by on_close with EM_ETIMEOUT.
 * I4. Everything said in a loop turn leaves in one write.
 * Errors: on_close: EM_EPROTO, EM_ELIMIT, EM_ETIMEOUT, EM_ECLOSED, EM_EIO.
 * Ownership: the descriptor belongs to the child object; child_free is allowed in on_close, in no other call-back.
 */
#ifndef CHILD_H
#define CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "log.h"
#include "message.h"

struct child;
struct em_batch;
struct em_error;
struct event_base;

struct child_config {			/* borrowed until child_new returns */
	const char	*name;		/* of the connector, as told to the child */
	const char	*kind;		/* what HELLO must say */
	const char	*topic;
	enum em_role	 role;
	uint32_t	 task, tasks;
	const char	*options;	/* JSON object, secrets resolved; wiped after it was sent */
	const struct em_buf *offsets;	/* encoded positions */
	uint32_t	 offsets_count;
	uint32_t	 heartbeat_ms;
	uint32_t	 credit_records, credit_bytes;	/* a source's window */
};

struct child_ops {
	void	(*on_ready)(void *ctx);
	void	(*on_records)(void *ctx, struct em_batch *batch);	/* borrowed: take a reference to keep it */
	/* records first .. first + count - 1 of the batch that child_send_records numbered; bounds are checked */
	void	(*on_result)(void *ctx, const struct em_result *result);
	void	(*on_answered)(void *ctx);		/* the RESULT message is through: the batch is answered */
	void	(*on_credit)(void *ctx);		/* a sink may be sent more */
	void	(*on_drained)(void *ctx);		/* no more records will come of itself */
	void	(*on_log)(void *ctx, enum em_level level, const char *text);
	void	(*on_metric)(void *ctx, struct em_span name, double value);
	void	(*on_error)(void *ctx, enum em_class class, const char *text);
	void	(*on_close)(void *ctx, const struct em_error *why);
};

struct child *child_new(struct event_base *base, int fd, const struct child_config *config,
	    const struct child_ops *ops, void *ctx);
void	child_free(struct child *c);			/* NULL is fine */

/* Sink: how many records, of how many bytes, may be sent now (0: none). */
uint32_t child_room(const struct child *c);
/* Sends encoded records as one batch; none may be unanswered. */
void	child_send_records(struct child *c, struct em_span encoded, uint32_t count);
bool	child_is_busy(const struct child *c);		/* a batch is unanswered */

/* Source: gives back credit, and tells what is durable. */
void	child_grant(struct child *c, uint32_t records, uint32_t size_bytes);
void	child_committed(struct child *c, const struct em_position *positions, size_t count);

void	child_pause(struct child *c);
void	child_resume(struct child *c);
void	child_drain(struct child *c);
void	child_stop(struct child *c);
bool	child_is_running(const struct child *c);	/* READY was said, STOP was not */

#endif
