/* The frame stream over a real socketpair and a real event loop: what stream.h promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "stream.h"

#define FRAME_MAX 1000000u

struct side {
	struct event_base *base;
	struct em_stream *stream;
	unsigned	 frames, drains, closes;
	size_t		 bytes;
	enum em_code	 why;
	bool		 free_in_frame;
};

static long
cut(void *ctx, struct em_span bytes, struct em_error *err)
{
	uint32_t n;

	(void)ctx;
	if (bytes.len < 4)
		return 0;
	n = em_get_u32(bytes.bytes);
	if (n > FRAME_MAX)
		return em_error_set(err, EM_ELIMIT, "too large");
	return bytes.len >= n ? (long)n : 0;
}

static void
on_frame(void *ctx, struct em_span frame)
{
	struct side *s = ctx;

	s->frames++;
	s->bytes += frame.len;
	assert_int_equal(em_get_u32(frame.bytes), frame.len);
	if (s->free_in_frame) {
		em_stream_free(s->stream);
		s->stream = NULL;
		event_base_loopbreak(s->base);
	}
}

static void
on_drain(void *ctx)
{
	((struct side *)ctx)->drains++;
}

static void
on_close(void *ctx, const struct em_error *why)
{
	struct side *s = ctx;

	s->closes++;
	s->why = why->code;
	event_base_loopbreak(s->base);
}

static const struct em_stream_ops ops = { cut, on_frame, NULL, on_drain, on_close };

static void
put_frame(struct em_buf *b, uint32_t n)
{
	em_buf_u32(b, n);
	memset(em_buf_reserve(b, n - 4), 'x', n - 4);
	b->len += n - 4;
}

static struct event_base *
pair(struct side *a, int *other)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	a->base = event_base_new();
	a->stream = em_stream_new(a->base, fd[0], &ops, a);
	*other = fd[1];
	return a->base;
}

static void
done(struct side *a)
{
	em_stream_free(a->stream);
	event_base_free(a->base);
}

static void
test_stream_I1_frames_come_whole_in_any_cut(void **state)
{
	struct side a = { 0 };
	struct em_buf b = { 0 };
	int fd;

	(void)state;
	pair(&a, &fd);
	for (uint32_t i = 0; i < 50; i++)
		put_frame(&b, 4 + i * 7);
	for (size_t i = 0; i < b.len; i++) {	/* the hardest cut: byte by byte */
		assert_int_equal(write(fd, b.data + i, 1), 1);
		event_base_loop(a.base, EVLOOP_NONBLOCK);
	}
	assert_int_equal(a.frames, 50);
	assert_int_equal(a.bytes, b.len);
	close(fd);
	event_base_dispatch(a.base);
	assert_int_equal(a.closes, 1);
	assert_int_equal(a.why, EM_ECLOSED);
	event_base_loop(a.base, EVLOOP_NONBLOCK);
	assert_int_equal(a.closes, 1);		/* I5: at most once */
	em_buf_clear(&b);
	done(&a);
}

static void
test_stream_I4_a_frame_too_large_ends_it(void **state)
{
	struct side a = { 0 };
	struct em_buf b = { 0 };
	int fd;

	(void)state;
	pair(&a, &fd);
	put_frame(&b, 100);
	em_buf_u32(&b, FRAME_MAX + 1);
	assert_int_equal(write(fd, b.data, b.len), b.len);
	event_base_dispatch(a.base);
	assert_int_equal(a.frames, 1);
	assert_int_equal(a.why, EM_ELIMIT);
	em_buf_clear(&b);
	close(fd);
	done(&a);
}

static void
test_stream_I2_megabytes_arrive_and_drain_is_told(void **state)
{
	struct side a = { 0 }, z = { 0 };
	int fd;

	(void)state;
	pair(&a, &fd);
	z.base = a.base;
	z.stream = em_stream_new(a.base, fd, &ops, &z);
	for (int i = 0; i < 40; i++)
		put_frame(em_stream_out(a.stream), 200000);
	em_stream_flush(a.stream);
	em_stream_flush(a.stream);
	while (z.frames < 40)
		event_base_loop(a.base, EVLOOP_ONCE);
	assert_int_equal(z.bytes, 40 * 200000);
	assert_int_equal(em_stream_pending(a.stream), 0);
	assert_int_equal(a.drains, 1);
	em_stream_free(z.stream);
	event_base_dispatch(a.base);
	assert_int_equal(a.closes, 1);
	done(&a);
}

static void
test_stream_I3_paused_reads_nothing_and_loses_nothing(void **state)
{
	struct side a = { 0 };
	struct em_buf b = { 0 };
	int fd;

	(void)state;
	pair(&a, &fd);
	for (int i = 0; i < 10; i++)
		put_frame(&b, 64);
	em_stream_pause(a.stream);
	assert_int_equal(write(fd, b.data, b.len), b.len);
	close(fd);
	for (int i = 0; i < 5; i++)
		event_base_loop(a.base, EVLOOP_NONBLOCK);
	assert_int_equal(a.frames, 0);
	assert_int_equal(a.closes, 0);
	em_stream_resume(a.stream);
	event_base_dispatch(a.base);
	assert_int_equal(a.frames, 10);		/* what was readable comes before the end */
	assert_int_equal(a.closes, 1);
	em_buf_clear(&b);
	done(&a);
}

static void
test_stream_I5_may_be_freed_in_its_own_callback(void **state)
{
	struct side a = { .free_in_frame = true };
	struct em_buf b = { 0 };
	int fd;

	(void)state;
	pair(&a, &fd);
	put_frame(&b, 64);
	put_frame(&b, 64);
	assert_int_equal(write(fd, b.data, b.len), b.len);
	event_base_dispatch(a.base);
	assert_int_equal(a.frames, 1);
	em_buf_clear(&b);
	close(fd);
	done(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream_I1_frames_come_whole_in_any_cut),
		cmocka_unit_test(test_stream_I4_a_frame_too_large_ends_it),
		cmocka_unit_test(test_stream_I2_megabytes_arrive_and_drain_is_told),
		cmocka_unit_test(test_stream_I3_paused_reads_nothing_and_loses_nothing),
		cmocka_unit_test(test_stream_I5_may_be_freed_in_its_own_callback),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
