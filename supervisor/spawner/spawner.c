#include "spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox.h"
#include "spawnmsg.h"

#define CHILDREN_MAX	4096u
#define HELD_MAX	1024u
#define FILES_WANTED	65536u	/* descriptors; the engine inherits it, children have limits of their own */
#define EXEC_LIMIT_MS	5000	/* from fork to exec; a file system that hangs must not hang the service */
#define TERM_LIMIT_MS	3000	/* from SIGTERM to SIGKILL when the service ends */
#define KILL_LIMIT_MS	5000	/* then, who does not even die of SIGKILL is left to the system */
#define STATUS_CONFIG	78	/* EX_CONFIG: starting again cannot help */
#define NEVER		INT64_MAX

struct slot {
	pid_t	 pid;			/* 0: free */
	uint32_t uid;
	uint64_t child;
	int	 status;
	bool	 ended;			/* reaped, EXITED is to be told */
};

struct held {
	int	 fd;
	unsigned engine;		/* which one let hold it */
	uint64_t tag;
};

struct spawner {
	int	 (*engine_main)(int fd, unsigned generation, void *ctx);
	void	*ctx;
	int	 signals, socket;	/* socket: -1 when there is no engine to talk to */
	pid_t	 engine;		/* 0: none */
	unsigned engines;		/* started so far */
	int64_t	 engine_since_ms, start_at_ms;
	const struct spawner_policy *policy;
	int64_t	 restart_ms;
	unsigned deaths;		/* of engines in a row that were not steady */
	bool	 leaving;		/* the end is on purpose */
	bool	 over;			/* no engine comes any more; result is the service's status */
	int	 result;
	int64_t	 term_until_ms, kill_until_ms;
	struct slot slots[CHILDREN_MAX];
	unsigned used, ended;		/* slots that are not free; those to be told */
	struct spawnmsg_report answer;	/* type 0: none waits to be sent */
	struct held held[HELD_MAX];
	unsigned held_count;
	struct spawnmsg_request request;
};

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- reports ---- */

/* False when the engine does not take it now. One that is gone need not know. */
static bool
send_report(const struct spawner *s, const struct spawnmsg_report *r)
{
	ssize_t n;

	do {
		n = send(s->socket, r, sizeof(*r), MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n >= 0 || errno != EAGAIN;
}

static void
answer(struct spawner *s, const struct spawnmsg_report *r)
{
	s->answer = *r;
	s->answer.child = s->request.child;
	if (send_report(s, &s->answer))
		s->answer.type = 0;
}

static void
failed(struct spawner *s, uint32_t step, int errnum)
{
	answer(s, &(struct spawnmsg_report){ .type = SPAWNMSG_FAILED, .step = step, .errnum = errnum });
}

static void
free_slot(struct spawner *s, struct slot *slot)
{
	s->ended -= slot->ended;
	s->used--;
	*slot = (struct slot){ 0 };
}

static bool
tell_ended(struct spawner *s, struct slot *slot)
{
	if (!send_report(s, &(struct spawnmsg_report){ .type = SPAWNMSG_EXITED, .child = slot->child, .pid = slot->pid,
	    .status = slot->status }))
		return false;
	free_slot(s, slot);
	return true;
}

/* The answer first: a child is never told to be gone before it was told to be there. */
static void
tell(struct spawner *s)
{
	if (s->answer.type != 0 && !send_report(s, &s->answer))
		return;
	s->answer.type = 0;
	for (unsigned i = 0; i < CHILDREN_MAX && s->ended > 0; i++)
		if (s->slots[i].ended && !tell_ended(s, &s->slots[i]))
			return;
}

/* ---- children ---- */

/* The child says through a pipe that closes on exec which step failed. */
struct trouble {
	uint32_t step;
	int	 errnum;
};

_Noreturn static void
become_child(struct spawner *s, int channel, int output, int status_fd, pid_t spawner)
{
	char *strings[SPAWNMSG_STRINGS + 2], **env = spawnmsg_strings(&s->request, strings);
	struct trouble trouble = { SPAWNMSG_STEP_DESCRIPTORS, 0 };
	int aside = fcntl(status_fd, F_DUPFD_CLOEXEC, 10);	/* out of the way of the numbers the child gets */

	if (aside >= 0 && sandbox_apply(&s->request, channel, output, spawner, &trouble.step) == 0) {
		trouble.step = SPAWNMSG_STEP_EXEC;
		execve(strings[0], strings, env);
	}
	trouble.errnum = errno;
	_exit(write(aside >= 0 ? aside : status_fd, &trouble, sizeof(trouble)) < 0 ? 126 : 125);
}

static struct slot *
find_free(struct spawner *s)
{
	for (unsigned i = 0; s->used < CHILDREN_MAX && i < CHILDREN_MAX; i++)
		if (s->slots[i].pid == 0)
			return &s->slots[i];
	return NULL;
}

/* Waits for exec, or for what stopped it: true if the child runs. */
static bool
came_up(int status_fd, struct trouble *trouble)
{
	struct pollfd p = { status_fd, POLLIN, 0 };
	int64_t until = now_ms() + EXEC_LIMIT_MS;
	ssize_t n;

	while (poll(&p, 1, EXEC_LIMIT_MS) <= 0) {
		if (now_ms() >= until) {
			*trouble = (struct trouble){ SPAWNMSG_STEP_EXEC, ETIMEDOUT };
			return false;
		}
	}
	do {
		n = read(status_fd, trouble, sizeof(*trouble));
	} while (n < 0 && errno == EINTR);
	return n != (ssize_t)sizeof(*trouble);
}

static void
start_child(struct spawner *s, int channel, int output)
{
	struct slot *slot = find_free(s);
	struct trouble trouble;
	pid_t pid, self = getpid();
	int status[2];

	if (slot == NULL || channel < 0 || output < 0 || pipe2(status, O_CLOEXEC) != 0) {
		failed(s, SPAWNMSG_STEP_TABLE, slot == NULL ? ENOSPC : EMFILE);
		return;
	}
	pid = fork();
	if (pid == 0)
		become_child(s, channel, output, status[1], self);
	close(status[1]);
	if (pid < 0) {
		failed(s, SPAWNMSG_STEP_FORK, errno);
	} else if (!came_up(status[0], &trouble)) {
		kill(pid, SIGKILL);	/* it is no child in any table: reaped like a stranger */
		failed(s, trouble.step, trouble.errnum);
	} else {
		*slot = (struct slot){ .pid = pid, .uid = s->request.uid, .child = s->request.child };
		s->used++;
		answer(s, &(struct spawnmsg_report){ .type = SPAWNMSG_STARTED, .pid = pid });
	}
	close(status[0]);
}

/* A spawner that is not root may signal another user's process only as that user. Its own real and saved ids stay, so
 * the child cannot turn the tables meanwhile. */
static void
signal_group(const struct slot *slot, int number)
{
	uid_t self = geteuid();

	if (kill(-slot->pid, number) == 0 || errno != EPERM || slot->uid == SPAWNMSG_NO_ID)
		return;
	if (setresuid((uid_t)-1, slot->uid, (uid_t)-1) != 0)
		return;
	kill(-slot->pid, number);
	if (setresuid((uid_t)-1, self, (uid_t)-1) != 0)
		_exit(1);	/* who it is now nobody knows */
}

static void
signal_child(const struct spawner *s)
{
	for (unsigned i = 0; i < CHILDREN_MAX; i++)
		if (s->slots[i].pid > 0 && !s->slots[i].ended && s->slots[i].child == s->request.child)
			signal_group(&s->slots[i], (int)s->request.signal);
}

static void
signal_all(const struct spawner *s, int number)
{
	for (unsigned i = 0; i < CHILDREN_MAX; i++)
		if (s->slots[i].pid > 0 && !s->slots[i].ended)
			signal_group(&s->slots[i], number);
}

/* ---- held sockets ---- */

static void
hold(struct spawner *s, int *fd)
{
	if (s->held_count == HELD_MAX) {
		fprintf(stderr, "warning spawner: %u sockets are held already, one more is not\n", HELD_MAX);
		return;
	}
	s->held[s->held_count++] = (struct held){ *fd, s->engines, s->request.tag };
	*fd = -1;
}

static void
release(struct spawner *s, bool earlier)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->held_count; i++) {
		const struct held *h = &s->held[i];

		if ((h->engine != s->engines) == earlier && (h->tag == s->request.tag || (earlier && s->request.tag == 0)))
			close(h->fd);
		else
			s->held[kept++] = *h;
	}
	s->held_count = kept;
}

/* ---- requests ---- */

/* Receives one request and up to two descriptors; 0 bytes when there is none. */
static size_t
receive(struct spawner *s, int fds[2])
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
	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR)) {	/* its death will be told by waitid */
			close(s->socket);
			s->socket = -1;
		}
		return 0;
	}
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
		size_t len = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			memcpy(fds, CMSG_DATA(c), len < 2 * sizeof(int) ? len : 2 * sizeof(int));
	}
	return (size_t)n;
}

static void
handle_request(struct spawner *s)
{
	int fds[2];
	size_t size = receive(s, fds);

	if (size == 0)
		return;
	if (spawnmsg_check(&s->request, size) != 0)
		fprintf(stderr, "error spawner: a malformed request of the engine is ignored\n");
	else if (s->request.type == SPAWNMSG_START)
		start_child(s, fds[0], fds[1]);
	else if (s->request.type == SPAWNMSG_SIGNAL)
		signal_child(s);
	else if (s->request.type == SPAWNMSG_HOLD && fds[0] >= 0)
		hold(s, &fds[0]);
	else if (s->request.type == SPAWNMSG_RELEASE || s->request.type == SPAWNMSG_RELEASE_EARLIER)
		release(s, s->request.type == SPAWNMSG_RELEASE_EARLIER);
	else if (s->request.type == SPAWNMSG_LEAVE)
		s->leaving = true;
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* ---- the engine ---- */

_Noreturn static void
become_engine(struct spawner *s, int fd, int others_fd, pid_t spawner)
{
	sigset_t none;

	/* Until it has handlers of its own: "reload" must not kill it; it is about to load anyway. */
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	close(others_fd);
	close(s->signals);
	for (unsigned i = 0; i < s->held_count; i++)
		close(s->held[i].fd);
	if (getppid() != spawner || sandbox_drop_capabilities() != 0)
		_exit(1);
	_exit(s->engine_main(fd, s->engines - 1, s->ctx));
}

static int
start_engine(struct spawner *s)
{
	pid_t self = getpid();
	int pair[2];

	s->start_at_ms = NEVER;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		fprintf(stderr, "critical spawner: socketpair: %s\n", strerror(errno));
		return -1;
	}
	s->engines++;
	s->engine = fork();
	if (s->engine == 0)
		become_engine(s, pair[1], pair[0], self);
	close(pair[1]);
	if (s->engine < 0) {
		fprintf(stderr, "critical spawner: fork: %s\n", strerror(errno));
		s->engine = 0;
		close(pair[0]);
		return -1;
	}
	s->socket = pair[0];
	s->engine_since_ms = now_ms();
	return 0;
}

static void
end_service(struct spawner *s, int result)
{
	s->over = true;
	s->result = result;
	s->start_at_ms = NEVER;
	s->term_until_ms = now_ms() + TERM_LIMIT_MS;
	s->kill_until_ms = s->term_until_ms + KILL_LIMIT_MS;
	signal_all(s, SIGTERM);
}

static void
plan_restart(struct spawner *s)
{
	if (++s->deaths >= s->policy->too_many) {
		fprintf(stderr, "critical spawner: %u engines in a row died early, giving up\n", s->deaths);
		end_service(s, 1);
		return;
	}
	s->start_at_ms = now_ms() + s->restart_ms;
	s->restart_ms = s->restart_ms * 2 > s->policy->most_ms ? s->policy->most_ms : s->restart_ms * 2;
}

/* What nobody is there to be told any more is forgotten. */
static void
forget_engine(struct spawner *s)
{
	if (s->socket >= 0)
		close(s->socket);
	s->socket = -1;
	s->engine = 0;
	s->answer.type = 0;
	for (unsigned i = 0; i < CHILDREN_MAX && s->ended > 0; i++)
		if (s->slots[i].ended)
			free_slot(s, &s->slots[i]);
	if (now_ms() - s->engine_since_ms >= s->policy->steady_ms) {
		s->restart_ms = s->policy->least_ms;
		s->deaths = 0;
	}
}

static void
engine_exited(struct spawner *s, int status)
{
	bool asked = WIFSIGNALED(status) && (WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGINT);
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;

	forget_engine(s);
	if (s->leaving || code == 0 || code == STATUS_CONFIG) {
		end_service(s, s->leaving && asked ? 0 : code);	/* asked before it could listen */
		return;
	}
	if (WIFSIGNALED(status))
		fprintf(stderr, "error spawner: the engine was killed by signal %d, it is started again\n", WTERMSIG(status));
	else
		fprintf(stderr, "error spawner: the engine exited with status %d, it is started again\n", code);
	signal_all(s, SIGKILL);
	plan_restart(s);
}

/* ---- the loop ---- */

static void
child_exited(struct spawner *s, pid_t pid)
{
	for (unsigned i = 0; i < CHILDREN_MAX; i++) {
		struct slot *slot = &s->slots[i];

		if (slot->pid != pid || slot->ended)
			continue;
		signal_group(slot, SIGKILL);	/* whatever it left in its group goes with it */
		waitpid(pid, &slot->status, 0);
		slot->ended = true;
		s->ended++;
		if (s->socket < 0)
			free_slot(s, slot);
		return;
	}
	waitpid(pid, NULL, 0);
}

/* Looks before it reaps: as long as the number is not free, its group can be no one else's. */
static void
reap(struct spawner *s)
{
	siginfo_t info = { 0 };
	int status;

	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
		if (info.si_pid != s->engine)
			child_exited(s, info.si_pid);
		else if (waitpid(s->engine, &status, 0) == s->engine)
			engine_exited(s, status);
		info.si_pid = 0;
	}
}

static void
handle_signals(struct spawner *s)
{
	struct signalfd_siginfo info;

	while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD) {
			reap(s);
			continue;
		}
		if (info.ssi_signo != SIGHUP)
			s->leaving = true;
		if (s->engine > 0)
			kill(s->engine, (int)info.ssi_signo);
		else if (s->leaving && !s->over)
			end_service(s, 0);
	}
}

/* What is due by time; true if the service is over. */
static bool
act(struct spawner *s, int64_t now)
{
	if (s->over && now >= s->term_until_ms) {
		signal_all(s, SIGKILL);
		s->term_until_ms = NEVER;
	}
	if (s->over && (s->used == 0 || now >= s->kill_until_ms))
		return true;
	if (now >= s->start_at_ms && s->used == 0 && start_engine(s) != 0)
		plan_restart(s);
	return false;
}

static int
wait_ms(const struct spawner *s, int64_t now)
{
	int64_t until = s->over ? (s->term_until_ms < s->kill_until_ms ? s->term_until_ms : s->kill_until_ms) :
	    s->used == 0 ? s->start_at_ms : NEVER;

	return until == NEVER ? -1 : until <= now ? 0 : (int)(until - now);
}

static int
loop(struct spawner *s)
{
	while (!act(s, now_ms())) {
		bool full = s->answer.type != 0 || s->ended > 0;
		struct pollfd fds[2] = { { s->signals, POLLIN, 0 }, { s->socket, full ? POLLOUT : POLLIN, 0 } };

		if (poll(fds, 2, wait_ms(s, now_ms())) < 0 && errno != EINTR)
			return 1;
		if ((fds[1].revents & POLLIN) != 0)
			handle_request(s);
		if (fds[0].revents != 0)
			handle_signals(s);
		if (s->socket >= 0)
			tell(s);
	}
	return s->result;
}

static int
catch_signals(void)
{
	static const int wanted[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaddset(&set, wanted[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Numbers 0 to 2 must be taken, or a socket would become somebody's stdout; and each held socket takes one. */
static int
prepare_descriptors(void)
{
	struct rlimit files;
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd < 0)
		return -1;
	close(fd);
	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		return -1;
	if (files.rlim_cur < FILES_WANTED)
		files.rlim_cur = files.rlim_max < FILES_WANTED ? files.rlim_max : FILES_WANTED;
	return setrlimit(RLIMIT_NOFILE, &files);
}

int
spawner_main(int (*engine_main)(int fd, unsigned generation, void *ctx), void *ctx,
    const struct spawner_policy *policy)
{
	static struct spawner s;	/* too large for the stack; the one context of this process */

	s.engine_main = engine_main;
	s.ctx = ctx;
	s.socket = -1;
	s.policy = policy;
	s.restart_ms = policy->least_ms;
	s.signals = prepare_descriptors() == 0 ? catch_signals() : -1;
	if (s.signals < 0) {
		fprintf(stderr, "critical spawner: %s\n", strerror(errno));
		return 1;
	}
	return start_engine(&s) != 0 ? 1 : loop(&s);
}
