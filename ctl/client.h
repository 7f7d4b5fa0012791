/*
 * client: one connection to the supervisor's control socket.
 *
 * Runs in: emctl. Touches: the socket; blocks, with a time limit.
 * I1. What cannot be reached is told apart (EM_ECLOSED) from what was refused.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <jansson.h>

struct client;
struct em_error;

struct client *client_open(const char *path, struct em_error *err);
void	client_close(struct client *c);
int	client_ask(struct client *c, const char *command, json_t *arguments, struct em_error *err);	/* steals arguments */
/* The next line: 1 and an event, 0 and the answer (of which the caller takes a reference), -1. */
int	client_next(struct client *c, json_t **line, struct em_error *err);

#endif
