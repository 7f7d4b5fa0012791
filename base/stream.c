#include "stream.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"

#define READ_SIZE	(256u * 1024)
#define TURN_LIMIT	(1024u * 1024)
#define LOW_WATER	(64u * 1024)
#define KEEP_SIZE	(1024u * 1024)	/* an empty buffer larger than this gives its memory back */

struct em_stream {
	const struct em_stream_ops *ops;
	void		*ctx;
	int		 fd;
	struct event	*readable;
	struct event	*writable;
	struct event	*soon;		/* go on with frames already read, or flush, in the next turn */
	struct em_buf	 in;
	size_t		 in_start;	/* frames before this were handed over */
	struct em_buf	 out;
	size_t		 out_start;
	size_t		 low_water;
	bool		 paused;
	bool		 over;		/* the other side ended or a frame was bad */
	bool		 flush_wanted;
	bool		 was_high;
	bool		 busy;		/* inside a call-back: free must wait */
	bool		 told;		/* on_close was called */
	bool		 dead;
	struct em_error	 why;
};

static void
release(struct em_stream *s)
{
	event_free(s->readable);
	event_free(s->writable);
	event_free(s->soon);
	close(s->fd);
	em_buf_clear(&s->in);
	em_buf_clear(&s->out);
	em_error_clear(&s->why);
	free(s);
}

static void
end(struct em_stream *s)
{
	s->over = true;
	event_del(s->readable);
	event_active(s->soon, EV_TIMEOUT, 0);
}

static void
write_out(struct em_stream *s)
{
	while (s->out_start < s->out.len) {
		ssize_t n = send(s->fd, s->out.data + s->out_start, s->out.len - s->out_start,
		    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			event_add(s->writable, NULL);
			return;
		}
		if (n < 0) {
			/* What the peer sent before it went may still be readable: reading reports the end. */
			em_buf_reset(&s->out);
			s->out_start = 0;
			return;
		}
		s->out_start += (size_t)n;
	}
	if (s->out.cap > KEEP_SIZE)
		em_buf_clear(&s->out);
	em_buf_reset(&s->out);
	s->out_start = 0;
}

static void
drain(struct em_stream *s)
{
	write_out(s);
	if (em_stream_pending(s) > s->low_water) {
		s->was_high = true;
	} else if (s->was_high) {
		s->was_high = false;
		if (s->ops->on_drain != NULL)
			s->ops->on_drain(s->ctx);
	}
}

/* Moves what is left to the front once it costs little, so that a frame is always contiguous. */
static void
compact(struct em_stream *s)
{
	size_t left = s->in.len - s->in_start;

	if (left == 0 && s->in.cap > KEEP_SIZE)
		em_buf_clear(&s->in);
	else if (s->in_start > 0)
		em_buf_consume(&s->in, s->in_start);
	s->in_start = 0;
}

/* Hands over the whole frames that are here; true if the turn's share was used up. */
static bool
hand_over(struct em_stream *s)
{
	size_t done = 0;

	while (!s->paused && !s->dead && done < TURN_LIMIT && s->in_start < s->in.len) {
		struct em_span rest = { s->in.data + s->in_start, s->in.len - s->in_start };
		long n = s->ops->cut(s->ctx, rest, &s->why);

		if (n == 0)
			break;
		if (n < 0) {
			em_buf_reset(&s->in);
			s->in_start = 0;
			end(s);
			break;
		}
		s->in_start += (size_t)n;
		done += (size_t)n;
		s->ops->on_frame(s->ctx, (struct em_span){ rest.bytes, (size_t)n });
	}
	if (done > 0 && !s->dead && s->ops->on_turn != NULL)
		s->ops->on_turn(s->ctx);
	if (!s->dead)
		compact(s);
	return done >= TURN_LIMIT;
}

/* Runs whatever is due; the only place that calls the owner, so that it may free the stream inside. */
static void
run(struct em_stream *s)
{
	bool more;

	s->busy = true;
	more = hand_over(s);
	if (!s->dead && s->flush_wanted) {
		s->flush_wanted = false;
		drain(s);
	}
	if (!s->dead && more) {
		event_active(s->soon, EV_TIMEOUT, 0);
	} else if (!s->dead && s->over && !s->paused && !s->told) {
		s->told = true;
		s->ops->on_close(s->ctx, &s->why);
	}
	s->busy = false;
	if (s->dead)
		release(s);
}

static void
on_soon(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	run(ctx);
}

static void
on_writable(evutil_socket_t fd, short what, void *ctx)
{
	struct em_stream *s = ctx;

	s->flush_wanted = true;
	on_soon(fd, what, ctx);
}

static void
on_readable(evutil_socket_t fd, short what, void *ctx)
{
	struct em_stream *s = ctx;
	ssize_t n;

	(void)what;
	do {
		n = recv(fd, em_buf_reserve(&s->in, READ_SIZE), READ_SIZE, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		s->in.len += (size_t)n;
	} else if (n == 0) {
		em_error_set(&s->why, EM_ECLOSED, "closed by the other side");
		end(s);
	} else if (errno == ECONNRESET || errno == EPIPE) {
		em_error_set(&s->why, EM_ECLOSED, "reset by the other side");
		end(s);
	} else if (errno != EAGAIN && errno != EWOULDBLOCK) {
		em_error_errno(&s->why, errno, "reading");
		end(s);
	}
	run(s);
}

struct em_stream *
em_stream_new(struct event_base *base, int fd, const struct em_stream_ops *ops, void *ctx)
{
	struct em_stream *s = em_calloc(1, sizeof(*s));

	s->ops = ops;
	s->ctx = ctx;
	s->fd = fd;
	s->low_water = LOW_WATER;
	evutil_make_socket_nonblocking(fd);
	s->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, s);
	s->writable = event_new(base, fd, EV_WRITE, on_writable, s);
	s->soon = event_new(base, -1, 0, on_soon, s);
	if (s->readable == NULL || s->writable == NULL || s->soon == NULL)
		em_panic("stream: no event for descriptor %d", fd);
	event_add(s->readable, NULL);
	return s;
}

void
em_stream_free(struct em_stream *s)
{
	if (s == NULL)
		return;
	s->dead = true;
	if (!s->busy)
		release(s);
}

struct em_buf *
em_stream_out(struct em_stream *s)
{
	return &s->out;
}

void
em_stream_flush(struct em_stream *s)
{
	if (s->flush_wanted)
		return;
	s->flush_wanted = true;
	event_active(s->soon, EV_TIMEOUT, 0);
}

size_t
em_stream_pending(const struct em_stream *s)
{
	return s->out.len - s->out_start;
}

void
em_stream_low_water(struct em_stream *s, size_t bytes)
{
	s->low_water = bytes;
}

void
em_stream_pause(struct em_stream *s)
{
	if (s->paused)
		return;
	s->paused = true;
	event_del(s->readable);
}

void
em_stream_resume(struct em_stream *s)
{
	if (!s->paused)
		return;
	s->paused = false;
	if (!s->over)
		event_add(s->readable, NULL);
	event_active(s->soon, EV_TIMEOUT, 0);
}

bool
em_stream_is_paused(const struct em_stream *s)
{
	return s->paused;
}

int
em_stream_fd(const struct em_stream *s)
{
	return s->fd;
}
