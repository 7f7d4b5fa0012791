/*
 * systemd: the service manager's protocol and its journal. The only file with libsystemd.
 *
 * Runs in: engine. Rank 1.
 * I1. Without systemd everything here does nothing.
 * I2. The watchdog is the one of the spawner, this process's parent: the service manager watches the main process, and the
 *     engine answers for it. Therefore the unit has NotifyAccess=all.
 */
#ifndef SYSTEMD_H
#define SYSTEMD_H

#include <stdint.h>

#include "log.h"

void	systemd_notify(const char *state);		/* "READY=1", "STOPPING=1", ... */
int64_t	systemd_watchdog_ms(void);			/* 0: not wanted */
void	systemd_journal(enum em_level level, const char *subject, const char *text);

#endif
