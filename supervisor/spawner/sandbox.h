/*
 * sandbox: what happens to a child between fork and exec: a table of steps, each one function.
 *
 * Runs in: spawner's child. No allocation, no library.
 * I1. After the last step the process has its own session, the channel as descriptor 3, the output pipe as 1 and 2,
 *     no other descriptor, its limits, its user, no way to gain privilege, and dies with the spawner.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include "spawnmsg.h"

/* Applies all steps: 0, or -1 with *step and errno telling which failed. */
int	sandbox_apply(const struct spawnmsg_request *request, int channel, int output, uint32_t *step);

#endif
