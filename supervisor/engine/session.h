/*
 * session: one TCP session with an EventMesh server, kept up: connect, HELLO, heartbeat, fail-over, goodbye.
 *
 * Runs in: engine. Touches: one socket, timers. Rank 1; does not know records.
 * I1. Servers are tried in turn, with back-off and jitter once all were tried; a redirect is followed once.
 * I2. A heartbeat goes out every 20 s whatever else is sent; a server silent for 50 s is left.
 * I3. What was readable is handed over before the end of a connection is told.
 * I4. A server that says goodbye is left for a new session at once.
 * Source of the format: eventmesh.h.
 */
#ifndef SESSION_H
#define SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "eventmesh.h"

struct em_error;
struct event_base;
struct session;

struct mesh_config {
	const char *const *servers;	/* "host:port", NULL-terminated; host is numeric or localhost */
	const char	*env, *idc, *subsystem, *username, *password, *token;
	uint32_t	 window_records, window_bytes;
	int64_t		 ttl_ms;
};

struct session_ops {
	void	(*on_up)(void *ctx, const struct em_mesh_offer *offer);		/* HELLO was accepted */
	void	(*on_frame)(void *ctx, const struct em_mesh_frame *frame);	/* all that is not the session's own */
	void	(*on_turn)(void *ctx);
	void	(*on_down)(void *ctx, const char *why);		/* it is tried again by itself */
	void	(*on_gone)(void *ctx);				/* session_leave is through; free it */
};

struct session_config {			/* mesh is borrowed for good, the rest for the call */
	const struct mesh_config *mesh;
	const char	*name;		/* for the log */
	const char	*group;
	bool		 subscriber;
	uint32_t	 window_records, window_bytes;	/* announced */
};

struct session *session_new(struct event_base *base, const struct session_config *config, const struct session_ops *ops,
	    void *ctx);
void	session_free(struct session *s);
void	session_leave(struct session *s);		/* goodbye; on_gone comes from the loop, in 2 s at the latest */
void	session_again(struct session *s, const char *why);	/* drop this connection, make another */
bool	session_is_up(const struct session *s);
struct em_buf *session_out(struct session *s);		/* append frames; they leave at the end of the turn */
size_t	session_pending(const struct session *s);
const char *session_server(const struct session *s);	/* "host:port" of now */

#endif
