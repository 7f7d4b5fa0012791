/*
 * subscribe: events in from EventMesh: one session per consumer group and topic, acknowledgement when they are done.
 *
 * Runs in: engine. Rank 2; does not know connectors or children.
 * I1. An event is acknowledged only after subscription_done.
 * I2. Never more than the window is delivered and not done (the window is announced in HELLO).
 * I3. Numbers are never used again; those of an ended connection are ignored quietly, their events come again.
 * I4. Acknowledgements of a turn leave in one write; as one frame where the server takes cumulative ones.
 */
#ifndef SUBSCRIBE_H
#define SUBSCRIBE_H

#include "session.h"

struct subscription;

struct subscribe_ops {
	void	(*on_deliver)(void *ctx, uint64_t delivery, enum em_mesh_form form, struct em_span body,
		    struct em_span id);
	void	(*on_turn)(void *ctx);
	void	(*on_state)(void *ctx, bool listening, const char *why);
	void	(*on_reset)(void *ctx);		/* the connection ended: what is not done will come again */
};

struct subscribe_config {
	const char	*name, *group, *topic;
	uint32_t	 window_records, window_bytes;
};

struct subscription *subscribe_open(struct event_base *base, const struct mesh_config *mesh,
	    const struct subscribe_config *config, const struct subscribe_ops *ops, void *ctx);
void	subscription_done(struct subscription *s, uint64_t delivery);
/* Acknowledges what is done and says goodbye; closed is called from the loop. */
void	subscription_close(struct subscription *s, void (*closed)(void *ctx), void *ctx);
void	subscription_free(struct subscription *s);

#endif
