/*
 * spawner: the parent of everything: starts the engine again when it dies, and children when the engine asks.
 *
 * Runs in: spawner (the process that was started). Touches: processes, one socket. Allocates nothing.
 * I1. Parses nothing that comes from outside: only fixed-size requests of the engine, checked first.
 * I2. When the engine dies, its children are killed and reaped before another engine starts, so that no two children
 *     ever do the same task.
 * I3. Sockets it holds (of subscribing sessions) stay open over the engine's death, until they are released.
 * I4. Signals that are meant for the service reach the engine; the service ends as the engine ends on purpose.
 * Errors: travel as codes in reports; what concerns the spawner itself is one line on stderr.
 */
#ifndef SPAWNER_H
#define SPAWNER_H

/* Runs until the service ends; the exit status. engine_main is the engine process, given its end of the socket and how
 * many engines there were before it. */
int	spawner_main(int (*engine_main)(int fd, unsigned generation, void *ctx), void *ctx);

#endif
