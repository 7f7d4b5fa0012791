#include "spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox.h"
#include "spawnmsg.h"

#define CHILDREN_MAX	4096u
#define HELD_MAX	1024u
#define RESTART_LEAST_MS 100
#define RESTART_MOST_MS	5000
#define STEADY_S	30		/* an engine that lived this long starts the back-off anew */

struct spawner {
	int	 (*engine_main)(int fd, unsigned generation, void *ctx);
	void	*ctx;
	int	 socket, signals;
	pid_t	 engine;
	unsigned generation;
	time_t	 engine_since;
	int	 restart_ms;
	bool	 leaving;		/* the engine ends on purpose */
	struct {
		pid_t	 pid;		/* 0: free */
		uint64_t child;
	} children[CHILDREN_MAX];
	int	 held[HELD_MAX];
	unsigned held_count;
	struct spawnmsg_request request;
};

static time_t
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static void
report(const struct spawner *s, const struct spawnmsg_report *r)
{
	ssize_t n;

	do {
		n = send(s->socket, r, sizeof(*r), MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);	/* an engine that is gone need not know */
}

static void
failed(const struct spawner *s, uint64_t child, uint32_t step, int errnum)
{
	report(s, &(struct spawnmsg_report){ .type = SPAWNMSG_FAILED, .child = child, .step = step, .errnum = errnum });
}

/* The child says through a pipe that closes on exec which step failed. */
struct trouble {
	uint32_t step;
	int	 errnum;
};

_Noreturn static void
become_child(struct spawner *s, int channel, int output, int status_fd)
{
	char *strings[SPAWNMSG_STRINGS + 2], **env = spawnmsg_strings(&s->request, strings);
	struct trouble trouble = { 0 };
	int keep = fcntl(status_fd, F_DUPFD_CLOEXEC, 100);

	/* close_range would close the status pipe, so the descriptors step comes in a process that may lose it: what fails
	 * after it is only exec, whose error is told by the exit status 126. */
	if (keep >= 0 && sandbox_apply(&s->request, channel, output, &trouble.step) != 0) {
		trouble.errnum = errno;
		if (write(keep, &trouble, sizeof(trouble)) < 0)
			_exit(125);
		_exit(125);
	}
	execve(strings[0], strings, env);
	_exit(errno == ENOENT ? 127 : 126);
}

static int
free_slot(const struct spawner *s)
{
	for (unsigned i = 0; i < CHILDREN_MAX; i++)
		if (s->children[i].pid == 0)
			return (int)i;
	return -1;
}

static void
start_child(struct spawner *s, int channel, int output)
{
	uint64_t child = s->request.child;
	struct trouble trouble;
	int slot = free_slot(s), status[2];
	ssize_t n;
	pid_t pid;

	if (slot < 0 || pipe2(status, O_CLOEXEC) != 0) {
		failed(s, child, SPAWNMSG_STEP_TABLE, slot < 0 ? ENOSPC : errno);
		return;
	}
	pid = fork();
	if (pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		become_child(s, channel, output, status[1]);
	}
	close(status[1]);
	if (pid < 0) {
		failed(s, child, SPAWNMSG_STEP_FORK, errno);
		close(status[0]);
		return;
	}
	do {
		n = read(status[0], &trouble, sizeof(trouble));
	} while (n < 0 && errno == EINTR);
	close(status[0]);
	if (n == (ssize_t)sizeof(trouble)) {
		waitpid(pid, NULL, 0);
		failed(s, child, trouble.step, trouble.errnum);
		return;
	}
	s->children[slot].pid = pid;
	s->children[slot].child = child;
	report(s, &(struct spawnmsg_report){ .type = SPAWNMSG_STARTED, .child = child, .pid = pid });
}

static void
signal_child(const struct spawner *s)
{
	for (unsigned i = 0; i < CHILDREN_MAX; i++)
		if (s->children[i].pid > 0 && s->children[i].child == s->request.child)
			kill(-s->children[i].pid, (int)s->request.signal);
}

static void
release_held(struct spawner *s)
{
	while (s->held_count > 0)
		close(s->held[--s->held_count]);
}

/* Receives one request and up to two descriptors; false when the engine closed its end. */
static bool
receive(struct spawner *s, int fds[2], size_t *size)
{
	union {
		char		buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr	align;
	} control;
	struct iovec iov = { &s->request, sizeof(s->request) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf,
		.msg_controllen = sizeof(control.buf) };
	ssize_t n = recvmsg(s->socket, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	fds[0] = fds[1] = -1;
	*size = 0;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0) < 2 * sizeof(int) ?
			    c->cmsg_len - CMSG_LEN(0) : 2 * sizeof(int));
	*size = (size_t)n;
	return true;
}

static void
handle_request(struct spawner *s)
{
	int fds[2];
	size_t size;

	if (!receive(s, fds, &size) || size == 0)
		return;		/* the engine's end itself is seen by waitpid */
	if (spawnmsg_check(&s->request, size) != 0) {
		fprintf(stderr, "error spawner: a malformed request of the engine is ignored\n");
	} else if (s->request.type == SPAWNMSG_START && fds[0] >= 0 && fds[1] >= 0) {
		start_child(s, fds[0], fds[1]);
	} else if (s->request.type == SPAWNMSG_SIGNAL) {
		signal_child(s);
	} else if (s->request.type == SPAWNMSG_HOLD && fds[0] >= 0 && s->held_count < HELD_MAX) {
		s->held[s->held_count++] = fds[0];
		fds[0] = -1;
	} else if (s->request.type == SPAWNMSG_RELEASE) {
		release_held(s);
	} else if (s->request.type == SPAWNMSG_LEAVE) {
		s->leaving = true;
	}
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void
child_exited(struct spawner *s, pid_t pid, int status)
{
	for (unsigned i = 0; i < CHILDREN_MAX; i++) {
		if (s->children[i].pid != pid)
			continue;
		kill(-pid, SIGKILL);	/* whatever it left in its group goes with it */
		s->children[i].pid = 0;
		report(s, &(struct spawnmsg_report){ .type = SPAWNMSG_EXITED, .child = s->children[i].child,
		    .pid = pid, .status = status });
	}
}

static void
kill_children(struct spawner *s)
{
	for (unsigned i = 0; i < CHILDREN_MAX; i++)
		if (s->children[i].pid > 0)
			kill(-s->children[i].pid, SIGKILL);
	for (unsigned i = 0; i < CHILDREN_MAX; i++) {
		if (s->children[i].pid > 0)
			while (waitpid(s->children[i].pid, NULL, 0) < 0 && errno == EINTR)
				;
		s->children[i].pid = 0;
	}
}

static int
start_engine(struct spawner *s)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		fprintf(stderr, "critical spawner: socketpair: %s\n", strerror(errno));
		return -1;
	}
	s->engine = fork();
	if (s->engine < 0) {
		fprintf(stderr, "critical spawner: fork: %s\n", strerror(errno));
		return -1;
	}
	if (s->engine == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		close(pair[0]);
		close(s->signals);
		for (unsigned i = 0; i < s->held_count; i++)
			close(s->held[i]);
		_exit(s->engine_main(pair[1], s->generation, s->ctx));
	}
	close(pair[1]);
	s->socket = pair[0];
	s->engine_since = now_s();
	s->generation++;
	return 0;
}

/* True if the service is over; *result is its status. */
static bool
engine_exited(struct spawner *s, int status, int *result)
{
	close(s->socket);
	kill_children(s);
	if (s->leaving || (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 78))) {
		*result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		return true;
	}
	if (WIFSIGNALED(status))
		fprintf(stderr, "error spawner: the engine was killed by signal %d, it is started again\n", WTERMSIG(status));
	else
		fprintf(stderr, "error spawner: the engine exited with status %d, it is started again\n",
		    WEXITSTATUS(status));
	if (now_s() - s->engine_since >= STEADY_S)
		s->restart_ms = RESTART_LEAST_MS;
	poll(NULL, 0, s->restart_ms);
	s->restart_ms = s->restart_ms * 2 > RESTART_MOST_MS ? RESTART_MOST_MS : s->restart_ms * 2;
	*result = 1;
	return start_engine(s) != 0;
}

static bool
reap(struct spawner *s, int *result)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != s->engine)
			child_exited(s, pid, status);
		else if (engine_exited(s, status, result))
			return true;
	}
	return false;
}

static bool
handle_signal(struct spawner *s, int *result)
{
	struct signalfd_siginfo info;

	if (read(s->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return false;
	if (info.ssi_signo == SIGCHLD)
		return reap(s, result);
	kill(s->engine, (int)info.ssi_signo);
	return false;
}

static int
catch_signals(void)
{
	static const int wanted[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaddset(&set, wanted[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int
loop(struct spawner *s)
{
	int result = 1;

	for (;;) {
		struct pollfd fds[2] = { { s->signals, POLLIN, 0 }, { s->socket, POLLIN, 0 } };

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return 1;
		if ((fds[1].revents & POLLIN) != 0)
			handle_request(s);
		else if (fds[1].revents != 0)
			poll(NULL, 0, 10);	/* its socket closed, its death is about to be told */
		if (fds[0].revents != 0 && handle_signal(s, &result))
			return result;
	}
}

int
spawner_main(int (*engine_main)(int fd, unsigned generation, void *ctx), void *ctx)
{
	static struct spawner s;	/* too large for the stack; the one context of this process */

	s.engine_main = engine_main;
	s.ctx = ctx;
	s.restart_ms = RESTART_LEAST_MS;
	s.signals = catch_signals();
	if (s.signals < 0 || start_engine(&s) != 0)
		return 1;
	return loop(&s);
}
