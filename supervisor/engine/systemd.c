#include "systemd.h"

#include <stddef.h>
#include <stdlib.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>
#include <unistd.h>

static const int priorities[] = {
	[EM_DEBUG] = LOG_DEBUG, [EM_INFO] = LOG_INFO, [EM_NOTICE] = LOG_NOTICE, [EM_WARNING] = LOG_WARNING,
	[EM_ERROR] = LOG_ERR, [EM_CRITICAL] = LOG_CRIT,
};
_Static_assert(sizeof(priorities) / sizeof(priorities[0]) == EM_LEVELS, "a priority for every level");

void
systemd_notify(const char *state)
{
	sd_notify(0, state);
}

int64_t
systemd_watchdog_ms(void)
{
	const char *pid = getenv("WATCHDOG_PID");
	uint64_t us = 0;

	/* It names the main process, which is the spawner; the engine answers for it. libsystemd would say no. */
	if (pid != NULL && strtol(pid, NULL, 10) == getppid())
		unsetenv("WATCHDOG_PID");
	return sd_watchdog_enabled(0, &us) > 0 ? (int64_t)(us / 1000) : 0;
}

void
systemd_journal(enum em_level level, const char *subject, const char *text)
{
	sd_journal_send("MESSAGE=%s: %s", subject, text, "PRIORITY=%d", priorities[level],
	    "SYSLOG_IDENTIFIER=emsupervisord", "EMSUPERVISOR_SUBJECT=%s", subject, NULL);
}
