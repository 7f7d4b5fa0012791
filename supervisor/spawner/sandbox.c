#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHANNEL_FD	3
#define ASIDE_FD	10	/* above the numbers that are given out */

struct ground {
	const struct spawnmsg_request *request;
	int	channel, output;
	pid_t	spawner;
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
	return setsid() < 0 || sigprocmask(SIG_SETMASK, &none, NULL) != 0 ? -1 : 0;
}

/* What is given is first moved out of the way of the numbers it shall have. All else closes with exec and not now: one
 * of them is the pipe through which the spawner learns of a failure. */
static int
descriptors(const struct ground *g)
{
	int channel = fcntl(g->channel, F_DUPFD_CLOEXEC, ASIDE_FD), output = fcntl(g->output, F_DUPFD_CLOEXEC, ASIDE_FD);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (channel < 0 || output < 0 || null < 0)
		return -1;
	if (dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 || dup2(channel, CHANNEL_FD) < 0)
		return -1;
	return close_range(CHANNEL_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC);
}

static int
limit(int resource, uint64_t value)
{
	struct rlimit r;

	if (value == 0)
		return 0;
	if (getrlimit((__rlimit_resource_t)resource, &r) != 0)
		return -1;
	if (value < r.rlim_max)
		r.rlim_max = value;
	r.rlim_cur = r.rlim_max;
	return setrlimit((__rlimit_resource_t)resource, &r);
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
	return setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0 ? -1 : 0;
}

int
sandbox_drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	if (geteuid() == 0)
		return 0;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
		return -1;
	return (int)syscall(SYS_capset, &header, none);
}

/* Changing users forgets the wish to die with the parent, so it is made here. The kernel lets that signal through only
 * where the spawner may signal the child; where it may not, the child sees its channel end. */
static int
privilege(const struct ground *g)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || sandbox_drop_capabilities() != 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		return -1;
	if (getppid() != g->spawner) {	/* it died meanwhile */
		errno = ESRCH;
		return -1;
	}
	return 0;
}

static const struct {
	uint32_t	step;
	int		(*apply)(const struct ground *);
} steps[] = {
	{ SPAWNMSG_STEP_SESSION, own_session },
	{ SPAWNMSG_STEP_DESCRIPTORS, descriptors },	/* before a limit can be in its way */
	{ SPAWNMSG_STEP_LIMITS, limits },
	{ SPAWNMSG_STEP_IDENTITY, identity },
	{ SPAWNMSG_STEP_PRIVILEGE, privilege },
};

int
sandbox_apply(const struct spawnmsg_request *request, int channel, int output, pid_t spawner, uint32_t *step)
{
	struct ground g = { request, channel, output, spawner };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		*step = steps[i].step;
		if (steps[i].apply(&g) != 0)
			return -1;
	}
	return 0;
}
