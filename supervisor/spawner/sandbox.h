/*
 * sandbox: what happens to a child between fork and exec: a table of steps, each one function.
 *
 * Runs in: spawner's child. No allocation, no library.
 * I1. After the last step the process has its own session, no other descriptor than /dev/null as 0, the output pipe as
 *     1 and 2 and its channel as 3, its limits, its user, no privilege and no way to gain one, and dies with the spawner.
 * I2. Either all steps were done or the child does not run: the first that fails is told.
 * A limit above what this machine allows is the machine's.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <sys/types.h>

#include "spawnmsg.h"

/* Applies all steps: 0, or -1 with *step and errno telling which failed. Descriptors other than 0 to 3 stay open until
 * exec. spawner is the process it shall die with. */
int	sandbox_apply(const struct spawnmsg_request *request, int channel, int output, pid_t spawner, uint32_t *step);

/* Gives up all capabilities, now and after exec; root keeps those of root. */
int	sandbox_drop_capabilities(void);

#endif
