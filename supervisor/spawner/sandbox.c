#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHANNEL_FD	3

struct ground {
	const struct spawnmsg_request *request;
	int	channel, output;
};

static int
own_session(const struct ground *g)
{
	sigset_t none;

	(void)g;
	sigemptyset(&none);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	umask(077);
	return setsid() < 0 || sigprocmask(SIG_SETMASK, &none, NULL) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 ? -1 : 0;
}

/* The two that are given are first moved out of the way of the numbers they shall have. */
static int
descriptors(const struct ground *g)
{
	int channel = fcntl(g->channel, F_DUPFD_CLOEXEC, 10), output = fcntl(g->output, F_DUPFD_CLOEXEC, 10);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (channel < 0 || output < 0 || null < 0)
		return -1;
	if (dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 || dup2(channel, CHANNEL_FD) < 0)
		return -1;
	return close_range(CHANNEL_FD + 1, ~0u, 0);
}

static int
limit(int resource, uint64_t value)
{
	struct rlimit r = { value, value };

	return value == 0 ? 0 : setrlimit((__rlimit_resource_t)resource, &r);
}

static int
limits(const struct ground *g)
{
	struct rlimit no_core = { 0, 0 };

	return setrlimit(RLIMIT_CORE, &no_core) != 0 || limit(RLIMIT_DATA, g->request->memory_bytes) != 0 ||
	    limit(RLIMIT_NOFILE, g->request->files) != 0 || limit(RLIMIT_NPROC, g->request->processes) != 0 ? -1 : 0;
}

static int
identity(const struct ground *g)
{
	uint32_t uid = g->request->uid, gid = g->request->gid;

	if (uid == SPAWNMSG_NO_ID || (uid == geteuid() && gid == getegid()))
		return 0;
	if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
		return -1;
	/* Changing users clears the wish to die with the spawner. */
	return prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static int
privilege(const struct ground *g)
{
	(void)g;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static const struct {
	uint32_t	step;
	int		(*apply)(const struct ground *);
} steps[] = {
	{ SPAWNMSG_STEP_SESSION, own_session },
	{ SPAWNMSG_STEP_LIMITS, limits },
	{ SPAWNMSG_STEP_IDENTITY, identity },
	{ SPAWNMSG_STEP_PRIVILEGE, privilege },
	{ SPAWNMSG_STEP_DESCRIPTORS, descriptors },
};

int
sandbox_apply(const struct spawnmsg_request *request, int channel, int output, uint32_t *step)
{
	struct ground g = { request, channel, output };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		*step = steps[i].step;
		if (steps[i].apply(&g) != 0)
			return -1;
	}
	return 0;
}
