#include "frame.h"

#include "error.h"

long
em_frame_cut(struct em_span bytes, size_t payload_max, struct em_error *err)
{
	uint32_t n;

	if (bytes.len < EM_FRAME_HEADER)
		return 0;
	n = em_get_u32(bytes.bytes);
	if (n > payload_max)
		return em_error_set(err, EM_ELIMIT, "a frame announces %u bytes, allowed are %zu", n, payload_max);
	if (bytes.bytes[5] != 0 || bytes.bytes[6] != 0 || bytes.bytes[7] != 0)
		return em_error_set(err, EM_EPROTO, "a frame's reserved bytes are not zero");
	if (bytes.len - EM_FRAME_HEADER < n)
		return 0;
	return (long)(EM_FRAME_HEADER + (size_t)n);
}

struct em_frame
em_frame_decode(struct em_span whole)
{
	return (struct em_frame){
		.type = whole.bytes[4],
		.sequence = em_get_u32(whole.bytes + 8),
		.payload = { whole.bytes + EM_FRAME_HEADER, whole.len - EM_FRAME_HEADER },
	};
}

size_t
em_frame_begin(struct em_buf *b, uint8_t type, uint32_t sequence)
{
	size_t begin = b->len;

	em_buf_u32(b, 0);
	em_buf_u8(b, type);
	em_buf_u8(b, 0);
	em_buf_u16(b, 0);
	em_buf_u32(b, sequence);
	return begin;
}

void
em_frame_end(struct em_buf *b, size_t begin)
{
	em_buf_set_u32(b, begin, (uint32_t)(b->len - begin - EM_FRAME_HEADER));
}
