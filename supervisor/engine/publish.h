/*
 * publish: records out to EventMesh: lanes, one window over all of them, acknowledgements, resending.
 *
 * Runs in: engine. Rank 2; does not know connectors or children.
 * I1. Every record of a submitted batch gets exactly one result: delivered (EventMesh acknowledged it) or rejected
 *     (it never will be taken); what is transient is tried again here, for ever, under the same id.
 * I2. An acknowledgement counts only for the event whose id it names, or, without a body, whose seq it repeats.
 * I3. Records of one lane leave in order. A server that does not promise to keep order gets one at a time of each lane.
 * I4. After a reconnect everything unacknowledged is sent again, oldest first, before anything new.
 * I5. What is in flight is bounded by the window; towards a server that announces none it adapts: 16 at first, one more
 *     per window acknowledged, half when the server complains.
 * Ownership: a submitted batch is referenced until its last result.
 */
#ifndef PUBLISH_H
#define PUBLISH_H

#include "cloudevent.h"
#include "message.h"
#include "session.h"

struct em_batch;
struct publish;
struct publish_lane;

struct publish_ops {
	void	(*on_result)(void *ctx, void *cookie, uint32_t first, uint32_t count, enum em_outcome outcome,
		    const char *reason);
};

struct publish_lane_config {
	struct em_event_context context;	/* its spans are borrowed until publish_lane_free */
	enum em_mesh_form form;
	const char	*name;
};

struct publish_status {
	bool		 up;
	const char	*server;
	uint64_t	 in_flight, resent, refused;
	uint32_t	 window;
};

struct publish *publish_new(struct event_base *base, const struct mesh_config *mesh, const char *group);
void	publish_free(struct publish *p);
void	publish_status_get(const struct publish *p, struct publish_status *status);

struct publish_lane *publish_lane_new(struct publish *p, const struct publish_lane_config *config,
	    const struct publish_ops *ops, void *ctx);
void	publish_lane_free(struct publish_lane *lane);	/* no result comes any more */
void	publish_submit(struct publish_lane *lane, struct em_batch *batch, void *cookie);

#endif
