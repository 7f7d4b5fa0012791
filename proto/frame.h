/*
 * frame: the header in front of every message of the record protocol.
 *
 * Runs in: engine, children. Pure.
 * I1. A header that announces more than the allowed payload is refused before a byte of it is waited for.
 * Layout, 12 bytes, little-endian: u32 payload length, u8 message type, u8 flags (0), u16 zero, u32 sequence.
 * The sequence counts the frames of one direction from 1 and never skips; a gap is EM_EPROTO.
 * Source of the format: emrecord(5), section FRAME.
 */
#ifndef EM_FRAME_H
#define EM_FRAME_H

#include <stdint.h>

#include "bytes.h"

struct em_error;

#define EM_FRAME_HEADER		12u
#define EM_PAYLOAD_MAX		(16u * 1024 * 1024)	/* what a negotiation may not exceed */
#define EM_PAYLOAD_DEFAULT	(8u * 1024 * 1024 + 64u * 1024)	/* holds one record of EM_RECORD_MAX */

struct em_frame {
	uint8_t		type;
	uint32_t	sequence;
	struct em_span	payload;
};

/* Length of the first frame of bytes, 0 if it is not whole yet, -1 and *err if it is refused. */
long	em_frame_cut(struct em_span bytes, size_t payload_max, struct em_error *err);

/* Takes a whole frame (as cut) apart; cannot fail. */
struct em_frame em_frame_decode(struct em_span whole);

/* Starts a frame at the end of b; the payload is appended by the caller; em_frame_end writes its length.
 * Returns where the frame starts, for em_frame_end. */
size_t	em_frame_begin(struct em_buf *b, uint8_t type, uint32_t sequence);
void	em_frame_end(struct em_buf *b, size_t begin);

#endif
