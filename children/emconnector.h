/*
 * emconnector: what the author of a connector writes against.
 *
 * Runs in: a connector's process. The library owns main(), the event loop, the channel to the supervisor, credit,
 * heartbeats, signals and option parsing; a connector is a table of options and a few functions.
 *
 * A source implements poll: it adds what is there, from the committed offset on, while em_task_room says there is room.
 * A sink implements put: it makes a batch durable in its system before it returns.
 * I1. poll is called only while records may be sent; put only with whole, checked records, one batch at a time.
 * I2. committed is called only when EventMesh has the records (or they are dead letters): acknowledge upstream there.
 * I3. A record that put gave no result to is delivered if put returned 0, and tried again if it returned -1.
 * I4. close is called once after open succeeded, whatever ends the task, except SIGKILL.
 * Threads: everything runs in one thread, the loop's. A function should return within a few seconds: heartbeats are
 * answered from the same loop, and a connector that misses three of them is killed.
 * Ownership: what a function is given is borrowed for the call. The config struct belongs to the library.
 * Protocol: emrecord(5). Manual: emconnector(3).
 */
#ifndef EMCONNECTOR_H
#define EMCONNECTOR_H

#include "bytes.h"
#include "error.h"
#include "log.h"
#include "option.h"
#include "record.h"

struct em_task;
struct event_base;

#define EM_ROLE_SOURCE	1u
#define EM_ROLE_SINK	2u

/* What became of a sink's record (values as in emrecord(5), RESULT). */
enum em_put_result { EM_PUT_DELIVERED, EM_PUT_RETRY, EM_PUT_REJECTED };

/* What poll says. */
enum em_poll {
	EM_POLL_FAILED = -1,	/* *err says why; the task ends and is started again */
	EM_POLL_MORE,		/* call again as soon as there is room */
	EM_POLL_IDLE,		/* nothing now: after em_task_wake, or em_task_wake_after */
	EM_POLL_END		/* there will never be more: the task is finished */
};

struct em_connector {
	const char	*name;			/* as in "connector: NAME" */
	const char	*version;
	const char	*help;			/* one sentence */
	unsigned	 roles;			/* EM_ROLE_SOURCE | EM_ROLE_SINK */
	const struct em_option *options;	/* ends with a row without name */
	size_t		 config_size;		/* of the struct the options are put into */

	/* 0, or -1 and *err: EM_ECONFIG for what the operator must mend, anything else is tried again. */
	int		(*open)(struct em_task *task, void *config, struct em_error *err);
	void		(*close)(struct em_task *task);			/* may be NULL */
	enum em_poll	(*poll)(struct em_task *task, struct em_error *err);			/* source */
	void		(*committed)(struct em_task *task, struct em_span partition,
			    struct em_span offset);			/* source; may be NULL */
	int		(*put)(struct em_task *task, const struct em_record *records, uint32_t count,
			    struct em_error *err);			/* sink */
};

/* main() of a connector: return em_connector_main(&connector, argc, argv); */
int	em_connector_main(const struct em_connector *connector, int argc, char **argv);

/* The connector's own state: set in open, asked for anywhere. */
void	em_task_set(struct em_task *task, void *state);
void	*em_task_get(const struct em_task *task);

const char *em_task_name(const struct em_task *task);		/* of the connector: "orders" */
const char *em_task_topic(const struct em_task *task);
unsigned em_task_role(const struct em_task *task);		/* EM_ROLE_SOURCE or EM_ROLE_SINK */
uint32_t em_task_number(const struct em_task *task);		/* from 0 */
uint32_t em_task_count(const struct em_task *task);
struct event_base *em_task_base(const struct em_task *task);	/* for descriptors and timers of your own */

/* Committed offsets at the time of the start: absent if the partition has none. */
struct em_span em_task_offset(const struct em_task *task, struct em_span partition);
size_t	em_task_offsets_count(const struct em_task *task);
struct em_span em_task_offsets_partition(const struct em_task *task, size_t index);

/* Source, inside poll: how many records may still be added (0: return now). */
uint32_t em_task_room(const struct em_task *task);
/* Adds a record; it is encoded at once, nothing is kept. -1 and *err if it breaks the limits of record.h or does not
 * fit a message: such a record was not added. */
int	em_task_add(struct em_task *task, const struct em_record *record, struct em_error *err);

/* Source: poll again, now or in ms (the earlier of several wishes holds). */
void	em_task_wake(struct em_task *task);
void	em_task_wake_after(struct em_task *task, int64_t ms);

/* Sink, inside put: the result of records first .. first + count - 1; reason for what was not delivered. */
void	em_task_result(struct em_task *task, uint32_t first, uint32_t count, enum em_put_result result,
	    const char *reason);

/* A line in the supervisor's log, and a figure in its metrics (names of counters end in _total). */
void	em_task_log(struct em_task *task, enum em_level level, const char *fmt, ...)
	    __attribute__((format(printf, 3, 4)));
void	em_task_metric(struct em_task *task, const char *name, double value);

#endif
