#include "spawn.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "error.h"
#include "log.h"
#include "spawnmsg.h"

#define LINE_MAX_SIZE	8192u
#define LINES_A_SECOND	100u

struct output {
	TAILQ_ENTRY(output) link;
	struct spawn	*spawn;
	uint64_t	 child;
	int		 fd;
	struct event	*readable;
	struct em_buf	 line;
	time_t		 second;
	unsigned	 lines, left_out;
};

struct spawn {
	struct event_base *base;
	const struct spawn_ops *ops;
	void		*ctx;
	int		 fd;
	struct event	*readable;
	uint64_t	 last_child;
	TAILQ_HEAD(, output) outputs;
};

static void
output_free(struct output *o)
{
	TAILQ_REMOVE(&o->spawn->outputs, o, link);
	event_free(o->readable);
	close(o->fd);
	em_buf_clear(&o->line);
	free(o);
}

static void
emit(struct output *o)
{
	time_t now = time(NULL);

	if (now != o->second) {
		if (o->left_out > 0)
			em_log(EM_WARNING, "output", "child %llu: %u lines were left out, it writes more than %u a second",
			    (unsigned long long)o->child, o->left_out, LINES_A_SECOND);
		o->second = now;
		o->lines = o->left_out = 0;
	}
	if (o->lines++ < LINES_A_SECOND)
		o->spawn->ops->on_output(o->spawn->ctx, o->child, em_buf_cstr(&o->line));
	else
		o->left_out++;
	em_buf_reset(&o->line);
}

static void
on_output(evutil_socket_t fd, short what, void *ctx)
{
	struct output *o = ctx;
	char bytes[16384];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	for (ssize_t i = 0; i < n; i++) {
		if (bytes[i] != '\n')
			em_buf_u8(&o->line, (uint8_t)bytes[i]);
		if (bytes[i] == '\n' || o->line.len >= LINE_MAX_SIZE)
			emit(o);
	}
	if (n <= 0) {
		if (o->line.len > 0)
			emit(o);
		output_free(o);
	}
}

static void
on_report(evutil_socket_t fd, short what, void *ctx)
{
	struct spawn *s = ctx;
	struct spawnmsg_report r;
	char *why;
	ssize_t n = recv(fd, &r, sizeof(r), MSG_DONTWAIT);

	(void)what;
	if (n == 0) {	/* without its spawner an engine can start nothing */
		em_log(EM_CRITICAL, "spawn", "the spawner is gone");
		event_base_loopbreak(s->base);
		return;
	}
	if (n != (ssize_t)sizeof(r))
		return;
	if (r.type == SPAWNMSG_STARTED) {
		s->ops->on_started(s->ctx, r.child, r.pid);
	} else if (r.type == SPAWNMSG_EXITED) {
		s->ops->on_exited(s->ctx, r.child, r.pid, r.status);
	} else {
		why = em_asprintf("%s: %s", spawnmsg_step_name(r.step), strerror(r.errnum));
		s->ops->on_failed(s->ctx, r.child, why);
		free(why);
	}
}

struct spawn *
spawn_new(struct event_base *base, int fd, const struct spawn_ops *ops, void *ctx)
{
	struct spawn *s = em_calloc(1, sizeof(*s));

	s->base = base;
	s->ops = ops;
	s->ctx = ctx;
	s->fd = fd;
	TAILQ_INIT(&s->outputs);
	s->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_report, s);
	if (s->readable == NULL)
		em_panic("spawn: no event");
	event_add(s->readable, NULL);
	return s;
}

void
spawn_free(struct spawn *s)
{
	if (s == NULL)
		return;
	while (!TAILQ_EMPTY(&s->outputs))
		output_free(TAILQ_FIRST(&s->outputs));
	event_free(s->readable);
	close(s->fd);
	free(s);
}

static int
request_send(struct spawn *s, const struct spawnmsg_request *r, const int *fds, size_t count, struct em_error *err)
{
	union {
		char		buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr	align;
	} control = { { 0 } };
	struct iovec iov = { (void *)(uintptr_t)r, sizeof(*r) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (count > 0) {
		m.msg_control = control.buf;
		m.msg_controllen = CMSG_SPACE(count * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	/* The spawner reads at once; a full socket means that it hangs, which is worth an error, not a wait. */
	if (sendmsg(s->fd, &m, MSG_NOSIGNAL) != (ssize_t)sizeof(*r))
		return em_error_errno(err, errno, "asking the spawner");
	return 0;
}

static void
listen_to(struct spawn *s, uint64_t child, int fd)
{
	struct output *o = em_calloc(1, sizeof(*o));

	o->spawn = s;
	o->child = child;
	o->fd = fd;
	TAILQ_INSERT_TAIL(&s->outputs, o, link);
	o->readable = event_new(s->base, fd, EV_READ | EV_PERSIST, on_output, o);
	event_add(o->readable, NULL);
}

static int
fill(struct spawnmsg_request *r, const struct spawn_request *request, struct em_error *err)
{
	for (size_t i = 0; request->argv[i] != NULL; i++)
		if (spawnmsg_put(r, request->argv[i], &r->argc) != 0)
			return em_error_set(err, EM_ELIMIT, "its command line is too long");
	for (size_t i = 0; request->env != NULL && request->env[i] != NULL; i++)
		if (spawnmsg_put(r, request->env[i], &r->envc) != 0)
			return em_error_set(err, EM_ELIMIT, "its environment is too long");
	return 0;
}

uint64_t
spawn_start(struct spawn *s, const struct spawn_request *request, int *channel, struct em_error *err)
{
	struct spawnmsg_request r = { .type = SPAWNMSG_START, .child = s->last_child + 1, .uid = request->uid,
		.gid = request->gid, .memory_bytes = request->memory_bytes, .files = request->files,
		.processes = request->processes };
	int pair[2] = { -1, -1 }, pipes[2], give[2], sent;

	if (fill(&r, request, err) != 0)
		return 0;
	if (pipe2(pipes, O_CLOEXEC) != 0) {
		em_error_errno(err, errno, "pipe");
		return 0;
	}
	fcntl(pipes[0], F_SETFL, O_NONBLOCK);
	if (request->give < 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
		em_error_errno(err, errno, "socketpair");
		close(pipes[0]);
		close(pipes[1]);
		return 0;
	}
	give[0] = request->give < 0 ? pair[1] : request->give;
	give[1] = pipes[1];
	sent = request_send(s, &r, give, 2, err);
	close(pipes[1]);
	if (pair[1] >= 0)
		close(pair[1]);
	if (sent != 0) {
		close(pipes[0]);
		if (pair[0] >= 0)
			close(pair[0]);
		return 0;
	}
	s->last_child++;
	listen_to(s, s->last_child, pipes[0]);
	if (request->give < 0)
		*channel = pair[0];
	return s->last_child;
}

/* A request that needs no answer; that it cannot be sent is in the log. */
static void
tell(struct spawn *s, const struct spawnmsg_request *r, const int *fd)
{
	struct em_error err = EM_ERROR_INIT;

	if (request_send(s, r, fd, fd != NULL ? 1 : 0, &err) != 0)
		em_log(EM_ERROR, "spawn", "%s", em_error_text(&err));
	em_error_clear(&err);
}

void
spawn_signal(struct spawn *s, uint64_t child, int number)
{
	tell(s, &(struct spawnmsg_request){ .type = SPAWNMSG_SIGNAL, .child = child, .signal = (uint32_t)number }, NULL);
}

void
spawn_hold(struct spawn *s, int fd)
{
	tell(s, &(struct spawnmsg_request){ .type = SPAWNMSG_HOLD }, &fd);
}

void
spawn_release_held(struct spawn *s)
{
	tell(s, &(struct spawnmsg_request){ .type = SPAWNMSG_RELEASE }, NULL);
}

void
spawn_leave(struct spawn *s)
{
	tell(s, &(struct spawnmsg_request){ .type = SPAWNMSG_LEAVE }, NULL);
}
