/*
 * spawn: the engine's view of the spawner.
 *
 * Runs in: engine. Touches: the socket to the spawner, output pipes. Rank 1.
 * I1. Every child has a number that is never used again in this engine's life; reports carry it.
 * I2. A child's output comes line by line, at most 8 KiB each (longer ones in pieces), at most 100 lines a second; what is
 *     left out is counted and told in a line of its own. All it wrote before it ended comes before on_exited.
 * I3. Nothing here waits for the spawner: what it cannot take now leaves later, in order.
 * I4. After spawn_start gave a number, exactly one on_started or on_failed comes for it, from the loop, and one on_exited
 *     after on_started.
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

/* A duplicate of fd stays open over the end of this engine. The tag (not 0) says what for, and means the same to the next
 * engine: it makes a new session for the same purpose first, then lets go what the earlier ones had. */
void	spawn_hold(struct spawn *s, int fd, uint64_t tag);
void	spawn_release(struct spawn *s, uint64_t tag);	/* what this engine let hold under the tag */
void	spawn_release_earlier(struct spawn *s, uint64_t tag);	/* what earlier engines did; 0: all of it */
void	spawn_leave(struct spawn *s);			/* this engine ends on purpose */

#endif
