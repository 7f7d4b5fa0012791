/*
 * spawner: the parent of everything: starts the engine again when it dies, and children when the engine asks.
 *
 * Runs in: spawner (the process that was started). Touches: processes, one socket. Allocates nothing.
 * I1. Parses nothing that comes from outside: only fixed-size requests of the engine, checked first.
 * I2. When the engine dies, its children are killed and reaped before another engine starts, so that no two children
 *     ever do the same task. When the service ends, they are asked first (SIGTERM).
 * I3. Sockets it holds (of subscribing sessions) stay open over the engine's death, until they are released.
 * I4. SIGTERM, SIGINT and SIGHUP reach the engine; the service ends as the engine ends on purpose, or at once where there
 *     is no engine.
 * I5. Every START is answered, whatever is missing (descriptors, processes, room), and nothing waits for an engine that
 *     does not read: no request is taken before the last answer is sent.
 * I6. An engine that dies is started again, after a delay that doubles; one that was steady begins anew with the least.
 *     When too many in a row were not, the service ends, with status 1.
 * Errors: travel as codes in reports; what concerns the spawner itself is one line on stderr.
 */
#ifndef SPAWNER_H
#define SPAWNER_H

#include <stdint.h>

struct spawner_policy {
	int64_t	 least_ms, most_ms;	/* delay before an engine is started again */
	int64_t	 steady_ms;		/* who lived this long was steady */
	unsigned too_many;
};

#define SPAWNER_POLICY	{ .least_ms = 100, .most_ms = 5000, .steady_ms = 10000, .too_many = 30 }

/* Runs until the service ends; the exit status. engine_main is the engine process, given its end of the socket and how
 * many engines there were before it. Its own exit status 0 and 78 (configuration) mean that it ends on purpose. */
int	spawner_main(int (*engine_main)(int fd, unsigned generation, void *ctx), void *ctx,
	    const struct spawner_policy *policy);

#endif
