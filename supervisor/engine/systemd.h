/*
 * systemd: the service manager's protocol and its journal. The only file with libsystemd.
 *
 * Runs in: engine. Rank 1.
 * I1. Without systemd everything here does nothing. The unit has NotifyAccess=all, because the engine is not its main
 *     process.
 */
#ifndef SYSTEMD_H
#define SYSTEMD_H

#include <stdint.h>

#include "log.h"

void	systemd_notify(const char *state);		/* "READY=1", "STOPPING=1", ... */
int64_t	systemd_watchdog_ms(void);			/* 0: not wanted */
void	systemd_journal(enum em_level level, const char *subject, const char *text);

#endif
