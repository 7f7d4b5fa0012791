/*
 * route_private: the structs that the files of the router share: route.c (commits), route_source.c, route_sink.c.
 *
 * Runs in: engine. Nothing else may include this.
 */
#ifndef ROUTE_PRIVATE_H
#define ROUTE_PRIVATE_H

#include <sys/queue.h>

#include "bytes.h"
#include "connector.h"
#include "cloudevent.h"
#include "route.h"

struct ledger;
struct publish_lane;
struct subscription;

struct queued {				/* a record that waits for its sink, or for its sink's answer */
	uint64_t	delivery;	/* the subscription's number */
	uint32_t	size_bytes;	/* encoded */
	uint16_t	attempts;
	uint8_t		settled;	/* written or a dead letter; else it is tried again */
};

struct route_task {
	struct route_flow *flow;
	struct task	*task;		/* NULL while it is down */
	bool		 draining;

	/* source */
	struct publish_lane *lane;
	struct ledger	*ledger;
	const struct em_position *positions;	/* between put and settle */
	size_t		 positions_count;
	bool		 dirty;
	TAILQ_ENTRY(route_task) dirty_link;

	/* sink: bytes and items of the queue; the first `sent` of them are with the child */
	struct em_buf	 bytes;
	size_t		 bytes_start;
	struct queued	*items;
	size_t		 items_start, items_size, count, sent;
	struct event	*again;		/* pending: a retry waits for its time */
	unsigned	 failures;	/* retries in a row, for the back-off */
	char		*reason;	/* of the last retry */
};

struct route_flow {
	struct route	*route;
	struct connector *connector;
	struct em_event_context context;
	char		*type;		/* context.type */
	struct route_counters counters;
	struct route_task *tasks;
	size_t		 tasks_count;
	struct subscription *subscription;	/* sink: while any task may want records */
	struct subscription *leaving;		/* says goodbye */
	struct em_buf	 scratch;
	char		*group;
	bool		 paused;
};

struct route_tap {
	TAILQ_ENTRY(route_tap) link;
	struct route	*route;
	char		*connector, *topic;
	route_tap_record *each;
	void		*ctx;
};

struct route {
	struct event_base *base;
	struct publish	*publish;
	struct registry	*registry;
	const struct mesh_config *mesh;
	const char	*group_prefix;
	struct event	*commit;
	TAILQ_HEAD(, route_task) dirty;
	TAILQ_HEAD(, route_tap) taps;
};

void	route_dirty(struct route_task *t);		/* something may be committed at the end of the turn */
void	route_tap_show(struct route_flow *f, const struct em_record *record);
/* Stores a dead letter; the caller may count the record as settled only on 0. */
int	route_dead_letter(struct route_flow *f, struct em_span record, const char *reason, uint32_t attempts,
	    struct em_error *err);
/* What the definition says is done with a record that is refused for good: 0 when it is settled, else -1: it stays. */
int	route_refused(struct route_flow *f, struct em_span record, const char *reason, uint32_t attempts);

extern const struct connector_flow route_source_flow;	/* route_source.c */
extern const struct connector_flow route_sink_flow;	/* route_sink.c */

void	route_source_release(struct route_task *t);
void	route_sink_release(struct route_task *t);
void	route_sink_close(struct route_flow *f);		/* gives the subscription up */

#endif
