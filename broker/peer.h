/*
 * peer: one client's session with emlocald: a table of commands.
 *
 * Runs in: broker. Touches: one socket.
 * I1. Answers carry the request's seq and go to the connection that asked.
 * I2. A publish is acknowledged after it was written (fsync always: after it is on the disk), all of a turn at once.
 * I3. Bad input ends this connection only.
 * I4. A session without a heartbeat for a minute, and a connection without HELLO for half of one, is closed.
 * Protocol: EventMesh's TCP protocol; what it announces beyond that: eventmesh.h, struct em_mesh_offer.
 */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "eventmesh.h"

struct broker;
struct event_base;
struct peer;
struct topics;

struct broker {				/* the one context of emlocald */
	struct event_base *base;
	struct topics	*topics;
	bool		 sync_always;
	struct event	*pump;		/* something may be delivered: at the end of this turn */
	struct peer	*peers;		/* a list through peer's own links */
	unsigned	 peers_count;
};

void	peer_new(struct broker *b, int fd);
void	peers_expire(struct broker *b, int64_t now_s);	/* I4, by the clock */
void	peers_close(struct broker *b);			/* says goodbye to all and frees them */
void	broker_pump_soon(struct broker *b);

/* topics_ops.deliver; cookie is a peer. */
uint64_t peer_deliver(void *cookie, enum em_mesh_form form, bool broadcast, struct em_span id, struct em_span body);

#endif
