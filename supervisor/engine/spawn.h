/*
 * spawn: the engine's view of the spawner.
 *
 * Runs in: engine. Touches: the socket to the spawner, output pipes. Rank 1.
 * I1. Every child has a number that is never used again in this engine's life; reports carry it.
 * I2. A child's output comes line by line, at most 8 KiB each, at most 100 lines a second (what is left out is counted).
 * Ownership: the engine's end of the channel belongs to the caller of spawn_start.
 */
#ifndef SPAWN_H
#define SPAWN_H

#include <stdint.h>

struct em_error;
struct event_base;
struct spawn;

struct spawn_ops {
	void	(*on_started)(void *ctx, uint64_t child, int pid);
	void	(*on_failed)(void *ctx, uint64_t child, const char *why);
	void	(*on_exited)(void *ctx, uint64_t child, int pid, int status);
	void	(*on_output)(void *ctx, uint64_t child, const char *line);
};

struct spawn_request {			/* borrowed for the call */
	const char *const *argv;	/* NULL-terminated; argv[0] is the absolute path */
	const char *const *env;
	uint64_t	memory_bytes, files, processes;		/* 0: not limited */
	uint32_t	uid, gid;	/* SPAWNMSG_NO_ID: the spawner's own */
	int		give;		/* the child's descriptor 3; -1: a new channel is made */
};

struct spawn *spawn_new(struct event_base *base, int fd, const struct spawn_ops *ops, void *ctx);
void	spawn_free(struct spawn *s);

/* Asks for a child; its number, or 0 and *err. *channel is the engine's end where a channel was made. */
uint64_t spawn_start(struct spawn *s, const struct spawn_request *request, int *channel, struct em_error *err);
void	spawn_signal(struct spawn *s, uint64_t child, int number);	/* to its whole process group */
void	spawn_hold(struct spawn *s, int fd);		/* a duplicate outlives this engine */
void	spawn_release_held(struct spawn *s);		/* closes what was held for earlier engines */
void	spawn_leave(struct spawn *s);			/* this engine ends on purpose */

#endif
