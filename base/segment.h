/*
 * segment: an append-only log of checksummed records in a directory of files.
 *
 * Runs in: broker (topics), engine (inbox). Touches: files. No loop, no log lines.
 * I1. What em_segment_flush returned 0 for is read back after any crash of processes; after em_segment_sync also after
 *     a power cut.
 * I2. Opening cuts off a torn tail (a record that was not written whole) and says how many bytes; damage before the
 *     tail is EM_ECORRUPT with file and byte, and nothing is changed.
 * I3. A write that fails (full disk) leaves the log as it was before the flush.
 * I4. Appending and flushing cost one write for all records since the last flush; reading one read per 256 KiB.
 * Positions are byte positions of records since the log's birth; they never go back.
 * Format: DIR/%016x.log, named by the position of its first record; a record is u32 length, u32 CRC-32C of length and
 * bytes, then the bytes, little-endian.
 */
#ifndef EM_SEGMENT_H
#define EM_SEGMENT_H

#include <stdint.h>

#include "bytes.h"

struct em_error;
struct em_segment_log;

#define EM_SEGMENT_RECORD_MAX (16u * 1024 * 1024)

/* Opens or creates. *cut_bytes: size of the torn tail that was cut off. */
struct em_segment_log *em_segment_open(const char *dir, uint64_t segment_bytes, uint64_t *cut_bytes, struct em_error *err);
void	em_segment_close(struct em_segment_log *log);	/* NULL is fine; what was not flushed is dropped */

/* Adds a record made of two parts; it is written by the next flush. Returns its position. */
uint64_t em_segment_append(struct em_segment_log *log, struct em_span head, struct em_span body);
int	em_segment_flush(struct em_segment_log *log, struct em_error *err);
int	em_segment_sync(struct em_segment_log *log, struct em_error *err);
bool	em_segment_is_dirty(const struct em_segment_log *log);	/* flushed but not synced */

uint64_t em_segment_first(const struct em_segment_log *log);	/* position of the oldest record */
uint64_t em_segment_end(const struct em_segment_log *log);	/* behind the last flushed record */
uint64_t em_segment_size(const struct em_segment_log *log);	/* bytes on disk */

/* Removes whole files whose records all lie before the position. */
void	em_segment_trim(struct em_segment_log *log, uint64_t before);
/* Position before which retention wants to trim: files beyond size_bytes (0: none) or older than age_s (0: none). */
uint64_t em_segment_retain(const struct em_segment_log *log, uint64_t size_bytes, int64_t age_s);

struct em_segment_reader {
	struct em_segment_log *log;
	uint64_t	 position;	/* of the next record */
	struct em_buf	 buf;		/* what was read ahead */
	uint64_t	 buf_position;	/* of its first byte */
	int		 fd;
	uint64_t	 fd_base, fd_end;
};

void	em_segment_reader_init(struct em_segment_reader *r, struct em_segment_log *log, uint64_t position);
void	em_segment_reader_clear(struct em_segment_reader *r);
void	em_segment_reader_seek(struct em_segment_reader *r, uint64_t position);
/* 1 and the next record (borrowed until the next call), 0 at the end, -1 and *err. */
int	em_segment_next(struct em_segment_reader *r, struct em_span *record, struct em_error *err);

#endif
