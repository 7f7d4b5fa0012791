/*
 * control: the control socket: clients, who they are, one JSON request a line, one answer a request.
 *
 * Runs in: engine. Touches: the socket, jansson. Rank 5.
 * I1. Reading commands need membership of the reading group, changing ones of the changing group; root and the
 *     supervisor's own user may do all. Decided from the peer's credentials, never from what it says.
 * I2. A request is bounded (1 MiB), a client's unsent answers too (8 MiB, then it is dropped); 64 clients at most.
 * I3. Every request gets exactly one answer, at once or later; a client that goes away cancels its requests.
 * Protocol: emctl(1), section PROTOCOL: {"id","command","arguments"} -> {"id","ok","result"|"error"}; a streaming
 * command sends {"id","event"} lines before its answer.
 * Ownership: a request belongs to control until it is answered; json values given to it are stolen.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <jansson.h>
#include <sys/types.h>

#include "error.h"

struct control;
struct control_request;
struct event_base;

enum control_access { CONTROL_READ, CONTROL_CHANGE };

struct control_command {		/* a table of these ends with name NULL */
	const char	*name;
	enum control_access access;
	void		(*run)(void *ctx, struct control_request *request, const json_t *arguments);
};

struct control_config {
	const char	*path;		/* of the socket; its directory exists */
	gid_t		 read_group, change_group;	/* (gid_t)-1: none */
};

struct control *control_new(struct event_base *base, const struct control_config *config,
	    const struct control_command *commands, void *ctx, struct em_error *err);
void	control_free(struct control *c);	/* closes clients, removes the socket */

/* Each ends the request. */
void	control_answer(struct control_request *request, json_t *result);
void	control_refuse(struct control_request *request, enum em_code code, const char *fmt, ...)
	    __attribute__((format(printf, 3, 4)));
void	control_refuse_with(struct control_request *request, enum em_code code, const char *message, json_t *errors);

/* Streaming: an event line; the request goes on. */
void	control_event(struct control_request *request, json_t *event);
/* Called when the client goes away before the answer; the request is gone after it. */
void	control_on_cancel(struct control_request *request, void (*cancel)(void *arg), void *arg);
/* Who asks, for the log: "uid 1000". Borrowed. */
const char *control_who(const struct control_request *request);

#endif
