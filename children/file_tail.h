/*
 * file_tail: one file of the file source, read line by line, that may grow, shrink, be renamed or be deleted.
 *
 * Runs in: the process of connector "file". Touches: the file.
 * I1. A line is handed over once, whole and unchanged, with the position behind it; order is the file's.
 * I2. A file is the same file after a rename; a file that was truncated or rewritten is another generation of it, read
 *     from its start, with partitions that were never used before.
 * I3. A position is trusted only while the file still begins with the bytes it began with.
 * I4. Memory is bounded by max.line and one read.
 *
 * Partition: IDENTITY.GENERATION. Offset: POSITION-SUM, the byte behind the line in decimal and the CRC-32C of the
 * file's first bytes (256, or as many as lie before the position) in hexadecimal; without -SUM it is trusted as it is
 * (an operator's).
 * Ownership: the descriptor belongs to the tail.
 */
#ifndef FILE_TAIL_H
#define FILE_TAIL_H

#include <sys/queue.h>
#include <sys/stat.h>

#include "file.h"

#define TAIL_HEAD	256u	/* bytes at its start that tell one content of a file from the next */

struct tail_id {		/* what a rename does not change */
	uint32_t	major, minor;
	uint64_t	inode;
	int64_t		born_ns;	/* 0: the file system does not know */
};

struct tail_place {		/* how far a file was read */
	unsigned	generation;
	int64_t		position;
	bool		has_sum;
	uint32_t	sum;
};

struct tail {
	TAILQ_ENTRY(tail) link;
	char		*path;
	char		*subject;	/* path as UTF-8 */
	int		 fd;		/* -1: read to its end and closed */
	int		 watch;		/* of inotify; -1: none */
	struct tail_id	 id;
	char		*partition;
	unsigned	 generation;
	struct em_buf	 buf;
	size_t		 start;		/* of buf: what is before it was sent */
	size_t		 searched;	/* from start: holds no newline */
	int64_t		 position;	/* in the file, of buf.data[start] */
	uint8_t		 head[TAIL_HEAD];
	size_t		 head_len;
	uint32_t	 head_sum;	/* of all of head, once it is full */
	struct em_buf	 offset;	/* the text of the one that is sent */
	int64_t		 quiet_since_ms;	/* at its end since then; 0: it is not */
	bool		 named;		/* the last scan found it under its path */
	bool		 older;		/* found under another name than was asked for: it goes first */
	bool		 touched;	/* there may be more to read */
	bool		 skipping;	/* inside a line that is too long */
	bool		 unended;	/* what was sent last had no newline: one that follows belongs to it */
};

TAILQ_HEAD(tails, tail);

enum tail_result {
	TAIL_FAILED = -1,
	TAIL_QUIET,		/* nothing more now */
	TAIL_FULL,		/* no room for more records */
	TAIL_OVER		/* it is over: nothing will come any more */
};

struct tail_totals {
	uint64_t	lines, size_bytes, skipped;
};

int64_t	tail_now_ms(void);

/* Who a file is: by descriptor (path NULL) or by path. 0, or -1 and errno; *st may be NULL. */
int	tail_identify(int fd, const char *path, struct tail_id *id, struct statx *st);
bool	tail_same(const struct tail_id *a, const struct tail_id *b);
char	*tail_id_text(const struct tail_id *id);
/* Reads an offset; false if it is none. */
bool	tail_place_read(struct em_span offset, struct tail_place *place);

/* Takes fd. place: where to go on, NULL: at the start, or at the end if at_end. */
struct tail *tail_new(struct em_task *t, int fd, const char *path, const struct tail_id *id,
	    const struct tail_place *place, bool at_end);
void	tail_free(struct tail *f);
void	tail_rename(struct tail *f, const char *path);
struct tail_place tail_place(struct tail *f);

enum tail_result tail_read(struct em_task *t, const struct file_config *config, struct tail *f,
	    struct tail_totals *totals, struct em_error *err);

#endif
