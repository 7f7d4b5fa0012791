#include "spawn.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
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

#define BYTES_A_TURN	(1u << 20)	/* of one child's output, when it ended */

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

struct pending {			/* a request that the spawner could not take yet */
	TAILQ_ENTRY(pending) link;
	int		 fds[2];	/* its own, -1: none */
	struct spawnmsg_request request;
};

struct spawn {
	struct event_base *base;
	const struct spawn_ops *ops;
	void		*ctx;
	int		 fd;
	struct event	*readable, *writable;
	uint64_t	 last_child;
	TAILQ_HEAD(, output) outputs;
	TAILQ_HEAD(pendings, pending) pendings;
};

/* ---- output ---- */

static time_t
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec;
}

static void
tell_left_out(struct output *o)
{
	char *text;

	if (o->left_out == 0)
		return;
	text = em_asprintf("(%u more lines in one second are left out, %u are shown)", o->left_out, LINES_A_SECOND);
	o->left_out = 0;
	o->spawn->ops->on_output(o->spawn->ctx, o->child, text);
	free(text);
}

static void
emit(struct output *o)
{
	time_t now = now_s();

	if (now != o->second) {
		tell_left_out(o);
		o->second = now;
		o->lines = 0;
	}
	if (o->lines < LINES_A_SECOND) {
		o->lines++;
		o->spawn->ops->on_output(o->spawn->ctx, o->child, em_buf_cstr(&o->line));
	} else {
		o->left_out++;
	}
	em_buf_reset(&o->line);
}

/* Up to the next newline or the longest line allowed; the number of bytes used. */
static size_t
take_line(struct output *o, const char *bytes, size_t n)
{
	size_t room = LINE_MAX_SIZE - o->line.len, part = n < room ? n : room;
	const char *end = memchr(bytes, '\n', part);

	if (end != NULL)
		part = (size_t)(end - bytes);
	for (const char *p = bytes; p < bytes + part; p++)	/* a line is a string from here on */
		em_buf_u8(&o->line, *p == '\0' ? ' ' : (uint8_t)*p);
	if (end != NULL || o->line.len >= LINE_MAX_SIZE)
		emit(o);
	return part + (end != NULL);
}

static void
output_free(struct output *o)
{
	TAILQ_REMOVE(&o->spawn->outputs, o, link);
	event_free(o->readable);
	close(o->fd);
	em_buf_clear(&o->line);
	free(o);
}

/* The bytes that were there; 0 when there are none now. At the end of the pipe o is no more. */
static size_t
read_output(struct output *o)
{
	char bytes[16384];
	ssize_t n = read(o->fd, bytes, sizeof(bytes));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	for (size_t used = 0; n > 0 && used < (size_t)n;)
		used += take_line(o, bytes + used, (size_t)n - used);
	if (n > 0)
		return (size_t)n;
	if (o->line.len > 0)
		emit(o);
	tell_left_out(o);
	output_free(o);
	return 0;
}

static void
on_output(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	read_output(ctx);
}

/* What it said last is what an operator wants to read: before the news that it is gone. */
static void
read_last_output(struct spawn *s, uint64_t child)
{
	struct output *o;
	size_t total = 0, n;

	TAILQ_FOREACH(o, &s->outputs, link)
		if (o->child == child)
			break;
	while (o != NULL && total < BYTES_A_TURN && (n = read_output(o)) > 0)
		total += n;
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
	if (o->readable == NULL)
		em_panic("spawn: no event");
	event_add(o->readable, NULL);
}

/* ---- reports ---- */

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
		read_last_output(s, r.child);
		s->ops->on_exited(s->ctx, r.child, r.pid, r.status);
	} else {
		why = em_asprintf("%s: %s", spawnmsg_step_name(r.step), strerror(r.errnum));
		s->ops->on_failed(s->ctx, r.child, why);
		free(why);
	}
}

/* ---- requests ---- */

/* 0, or -1 and errno. */
static int
send_now(const struct spawn *s, const struct spawnmsg_request *r, const int *fds)
{
	size_t count = fds[0] < 0 ? 0 : fds[1] < 0 ? 1 : 2;
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
	return sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(*r) ? 0 : -1;
}

/* EAGAIN: its queue is full. ETOOMANYREFS: too many descriptors are on their way. Both pass as it reads. */
static bool
is_full(int errnum)
{
	return errnum == EAGAIN || errnum == EINTR || errnum == ENOBUFS || errnum == ETOOMANYREFS;
}

static void
pending_free(struct spawn *s, struct pending *p)
{
	TAILQ_REMOVE(&s->pendings, p, link);
	for (int i = 0; i < 2; i++)
		if (p->fds[i] >= 0)
			close(p->fds[i]);
	free(p);
}

static void
on_writable(evutil_socket_t fd, short what, void *ctx)
{
	struct spawn *s = ctx;
	struct pending *p;

	(void)fd;
	(void)what;
	while ((p = TAILQ_FIRST(&s->pendings)) != NULL) {
		if (send_now(s, &p->request, p->fds) != 0 && is_full(errno))
			return;
		pending_free(s, p);	/* a spawner that is gone is noticed by on_report */
	}
	event_del(s->writable);
}

static int
send_later(struct spawn *s, const struct spawnmsg_request *r, const int *fds, struct em_error *err)
{
	struct pending *p = em_alloc(sizeof(*p));
	bool bad = false;

	p->request = *r;
	for (int i = 0; i < 2; i++) {
		p->fds[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		bad |= fds[i] >= 0 && p->fds[i] < 0;
	}
	TAILQ_INSERT_TAIL(&s->pendings, p, link);
	if (bad) {
		em_error_errno(err, errno, "keeping a request for the spawner");
		pending_free(s, p);
		return -1;
	}
	event_add(s->writable, NULL);
	return 0;
}

static int
request_send(struct spawn *s, const struct spawnmsg_request *r, int first, int second, struct em_error *err)
{
	int fds[2] = { first, second };

	if (TAILQ_EMPTY(&s->pendings)) {
		if (send_now(s, r, fds) == 0)
			return 0;
		if (!is_full(errno))
			return em_error_errno(err, errno, "asking the spawner");
	}
	return send_later(s, r, fds, err);
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

/* The pipe of its output and, where it gets none, the pair of its channel; [0] is ours, [1] the child's. */
static int
make_ends(const struct spawn_request *request, int output[2], int channel[2], struct em_error *err)
{
	if (pipe2(output, O_CLOEXEC) != 0)
		return em_error_errno(err, errno, "pipe");
	fcntl(output[0], F_SETFL, O_NONBLOCK);
	channel[0] = -1;
	channel[1] = request->give;
	if (request->give < 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0) {
		em_error_errno(err, errno, "socketpair");
		close(output[0]);
		close(output[1]);
		return -1;
	}
	return 0;
}

uint64_t
spawn_start(struct spawn *s, const struct spawn_request *request, int *channel, struct em_error *err)
{
	struct spawnmsg_request r = { .type = SPAWNMSG_START, .child = s->last_child + 1, .uid = request->uid,
		.gid = request->gid, .memory_bytes = request->memory_bytes, .files = request->files,
		.processes = request->processes };
	int output[2], ends[2], sent;

	if (fill(&r, request, err) != 0 || make_ends(request, output, ends, err) != 0)
		return 0;
	sent = request_send(s, &r, ends[1], output[1], err);
	close(output[1]);
	if (request->give < 0)
		close(ends[1]);
	if (sent != 0) {
		close(output[0]);
		if (ends[0] >= 0)
			close(ends[0]);
		return 0;
	}
	listen_to(s, ++s->last_child, output[0]);
	if (request->give < 0)
		*channel = ends[0];
	return s->last_child;
}

/* A request that needs no answer; that it cannot be sent is in the log. */
static void
tell(struct spawn *s, const struct spawnmsg_request *r, int fd)
{
	struct em_error err = EM_ERROR_INIT;

	if (request_send(s, r, fd, -1, &err) != 0)
		em_log(EM_ERROR, "spawn", "%s", em_error_text(&err));
	em_error_clear(&err);
}

void
spawn_signal(struct spawn *s, uint64_t child, int number)
{
	tell(s, &(struct spawnmsg_request){ .type = SPAWNMSG_SIGNAL, .child = child, .signal = (uint32_t)number }, -1);
}

void
spawn_hold(struct spawn *s, int fd, uint64_t tag)
{
	tell(s, &(struct spawnmsg_request){ .type = SPAWNMSG_HOLD, .tag = tag }, fd);
}

void
spawn_release(struct spawn *s, uint64_t tag)
{
	tell(s, &(struct spawnmsg_request){ .type = SPAWNMSG_RELEASE, .tag = tag }, -1);
}

void
spawn_release_earlier(struct spawn *s, uint64_t tag)
{
	tell(s, &(struct spawnmsg_request){ .type = SPAWNMSG_RELEASE_EARLIER, .tag = tag }, -1);
}

void
spawn_leave(struct spawn *s)
{
	tell(s, &(struct spawnmsg_request){ .type = SPAWNMSG_LEAVE }, -1);
}

/* ---- the whole ---- */

struct spawn *
spawn_new(struct event_base *base, int fd, const struct spawn_ops *ops, void *ctx)
{
	struct spawn *s = em_calloc(1, sizeof(*s));

	s->base = base;
	s->ops = ops;
	s->ctx = ctx;
	s->fd = fd;
	TAILQ_INIT(&s->outputs);
	TAILQ_INIT(&s->pendings);
	s->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_report, s);
	s->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, s);
	if (s->readable == NULL || s->writable == NULL)
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
	while (!TAILQ_EMPTY(&s->pendings))
		pending_free(s, TAILQ_FIRST(&s->pendings));
	event_free(s->readable);
	event_free(s->writable);
	close(s->fd);
	free(s);
}
