/*
 * route: the one place where children and EventMesh meet: batches, results, credit both ways, dead letters.
 *
 * Runs in: engine. Touches: registry (through its interface). Rank 4.
 * I1. A source's offset is committed only when EventMesh acknowledged every record of its partition up to it, or the
 *     record is stored as a dead letter; a child hears COMMITTED only after the registry has it.
 * I2. A delivery is given back to EventMesh as done only when the sink wrote it, or it is stored as a dead letter.
 * I3. A source's credit is returned when its batch is committed, never before: what a task has here is bounded by its
 *     window. A sink's queue is bounded by the window of its subscription.
 * I4. Records of one key go to one task, in order, also when some are retried: one batch is unanswered at a time.
 * I5. All offsets of a loop turn are one transaction.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include <stdbool.h>
#include <stdint.h>

struct connector;
struct em_record;
struct event_base;
struct mesh_config;
struct publish;
struct registry;
struct route;
struct route_flow;

struct route_config {			/* borrowed for good */
	struct event_base *base;
	struct publish	*publish;
	struct registry	*registry;
	const struct mesh_config *mesh;
	const char	*group_prefix;
};

struct route_counters {
	uint64_t	received, delivered, retried, dead_lettered;
	uint64_t	in_flight;
};

/* A listener to records that pass; topic and connector may be NULL: any. */
struct route_tap;
typedef void route_tap_record(void *ctx, const char *connector, const char *topic, const struct em_record *record);

struct route *route_new(const struct route_config *config);
void	route_free(struct route *r);

/* Joins a connector to EventMesh until route_detach (before the connector is freed). */
struct route_flow *route_attach(struct route *r, struct connector *c);
void	route_detach(struct route_flow *f);
/* The connector's state changed: lets go of the subscription once the connector rests. */
void	route_settle(struct route_flow *f);
void	route_counters_get(const struct route_flow *f, struct route_counters *counters);

/* Commits now what would be committed at the end of the turn (orderly shutdown). */
void	route_commit_now(struct route *r);

struct route_tap *route_tap_open(struct route *r, const char *connector, const char *topic, route_tap_record *each,
	    void *ctx);
void	route_tap_close(struct route_tap *tap);

#endif
