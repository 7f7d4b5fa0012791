/*
 * stream: a non-blocking stream socket, cut into frames, written once a turn.
 *
 * Runs in: engine, children, broker, emctl-free. Touches: the socket, libevent (the only base file that does).
 * I1. on_frame sees whole frames only, in order, borrowed for the call.
 * I2. Output is appended to em_stream_out() at any time and leaves in one write per loop turn (em_stream_flush
 *     arranges it; calling it many times in a turn is cheap). Nothing blocks.
 * I3. Paused, nothing more is read (frames cut but not yet handed over stay inside); resume goes on with them.
 * I4. Input memory is bounded by the largest frame the cut function admits plus one read (256 KiB).
 * I5. on_close comes at most once, after everything readable was handed over, and never from inside a call of the
 *     owner (it comes from the loop). The owner then calls em_stream_free. em_stream_free is allowed in any
 *     call-back of the stream itself.
 * I6. A turn hands over at most 1 MiB, then lets others run.
 * Errors: given to on_close: EM_EPROTO/EM_ELIMIT from the cut function, EM_EIO from the system, EM_ECLOSED at end of
 * file or reset.  Ownership: the descriptor and the buffers belong to the stream.
 */
#ifndef EM_STREAM_H
#define EM_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "bytes.h"

struct em_error;
struct em_stream;
struct event_base;

struct em_stream_ops {
	/* Length of the first frame of bytes, 0 if its end is not there yet, -1 and *err if it cannot become one. */
	long	(*cut)(void *ctx, struct em_span bytes, struct em_error *err);
	void	(*on_frame)(void *ctx, struct em_span frame);
	void	(*on_turn)(void *ctx);		/* may be NULL: after the frames of one read */
	void	(*on_drain)(void *ctx);		/* may be NULL: output fell below the low-water mark */
	void	(*on_close)(void *ctx, const struct em_error *why);
};

/* Takes fd (made non-blocking). Reading starts at once. */
struct em_stream *em_stream_new(struct event_base *base, int fd, const struct em_stream_ops *ops, void *ctx);
void	em_stream_free(struct em_stream *s);		/* NULL is fine; unsent output is dropped */

struct em_buf *em_stream_out(struct em_stream *s);	/* append here, then em_stream_flush */
void	em_stream_flush(struct em_stream *s);		/* write at the end of this turn */
size_t	em_stream_pending(const struct em_stream *s);	/* bytes not yet taken by the kernel */
void	em_stream_low_water(struct em_stream *s, size_t bytes);	/* for on_drain; default 64 KiB */
void	em_stream_pause(struct em_stream *s);
void	em_stream_resume(struct em_stream *s);
bool	em_stream_is_paused(const struct em_stream *s);
int	em_stream_fd(const struct em_stream *s);	/* borrowed */

#endif
