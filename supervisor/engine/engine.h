/*
 * engine: makes and joins everything: configuration, registry, sessions, connectors, control; signals and orderly stop.
 *
 * Runs in: engine. Rank 6: the only module that sees all.
 * I1. A bad configuration at start ends the engine with status 78 and every problem named; the spawner ends with it.
 * I2. A bad file at reload changes nothing that runs.
 * I3. SIGTERM: connectors drain, everything settled is committed, then goodbye; within 30 s at the latest.
 */
#ifndef ENGINE_H
#define ENGINE_H

#define ENGINE_EXIT_CONFIG	78	/* as sysexits' EX_CONFIG: starting again cannot help */

/* The engine process; its exit status. file: the configuration. */
int	engine_main(int spawner_fd, unsigned generation, const char *file);
/* Checks files as the engine would; prints problems; 0 or 1. The first is the daemon's own if it ends so. */
int	engine_check(const char *file, char *const *connector_files);

#endif
