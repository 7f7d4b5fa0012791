#include "segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "checksum.h"
#include "error.h"

#define HEADER		8u
#define READ_AHEAD	(256u * 1024)

struct segment {
	uint64_t	base, size;
};

struct em_segment_log {
	char		*dir;
	int		 fd;			/* of the last segment */
	uint64_t	 segment_bytes;
	struct segment	*segments;		/* by base */
	size_t		 count;
	struct em_buf	 pending;
	bool		 dirty;
};

static char *
path_of(const struct em_segment_log *log, uint64_t base)
{
	return em_asprintf("%s/%016llx.log", log->dir, (unsigned long long)base);
}

static int
by_base(const void *a, const void *b)
{
	const struct segment *x = a, *y = b;

	return x->base < y->base ? -1 : x->base > y->base;
}

static void
add(struct em_segment_log *log, uint64_t base, uint64_t size)
{
	log->segments = em_realloc_array(log->segments, log->count + 1, sizeof(*log->segments));
	log->segments[log->count++] = (struct segment){ base, size };
}

static int
list(struct em_segment_log *log, struct em_error *err)
{
	DIR *d = opendir(log->dir);
	struct dirent *e;
	struct stat st;

	if (d == NULL)
		return em_error_errno(err, errno, "opening \"%s\"", log->dir);
	while ((e = readdir(d)) != NULL) {
		char *end;
		uint64_t base = strtoull(e->d_name, &end, 16);

		if (end - e->d_name == 16 && strcmp(end, ".log") == 0 && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
			add(log, base, (uint64_t)st.st_size);
	}
	closedir(d);
	if (log->count > 0)
		qsort(log->segments, log->count, sizeof(*log->segments), by_base);
	return 0;
}

static uint32_t
sum(const uint8_t *header, struct em_span head, struct em_span body)
{
	uint32_t crc = em_crc32c(0, header, 4);

	if (head.len > 0)
		crc = em_crc32c(crc, head.bytes, head.len);
	return body.len > 0 ? em_crc32c(crc, body.bytes, body.len) : crc;
}

/* Length of the whole record at p, 0 if it is not whole or its sum is wrong. */
static size_t
valid(const uint8_t *p, size_t left)
{
	uint32_t n;

	if (left < HEADER)
		return 0;
	n = em_get_u32(p);
	if (n > EM_SEGMENT_RECORD_MAX || left - HEADER < n)
		return 0;
	return sum(p, (struct em_span){ p + HEADER, n }, EM_SPAN_NONE) == em_get_u32(p + 4) ? HEADER + n : 0;
}

/* Anything valid behind a broken record means damage in the middle, not a torn tail. */
static bool
more_follows(const uint8_t *p, size_t left)
{
	uint32_t n = left >= HEADER ? em_get_u32(p) : 0;
	size_t step = em_size_add(HEADER, n);

	return left >= HEADER && n <= EM_SEGMENT_RECORD_MAX && left > step && valid(p + step, left - step) > 0;
}

/* Finds the end of the last segment's good records and cuts off what is behind it. */
static int
recover(struct em_segment_log *log, uint64_t *cut_bytes, struct em_error *err)
{
	struct segment *last = &log->segments[log->count - 1];
	struct em_buf b = { 0 };
	size_t at = 0, n;
	ssize_t got;

	em_buf_reserve(&b, last->size + 1);
	while (b.len < last->size && (got = pread(log->fd, b.data + b.len, last->size - b.len, (off_t)b.len)) > 0)
		b.len += (size_t)got;
	while ((n = valid(b.data + at, b.len - at)) > 0)
		at += n;
	if (at < b.len && more_follows(b.data + at, b.len - at)) {
		em_error_set(err, EM_ECORRUPT, "\"%s/%016llx.log\" is damaged at byte %zu", log->dir,
		    (unsigned long long)last->base, at);
	} else if (at < last->size) {
		*cut_bytes = last->size - at;
		if (ftruncate(log->fd, (off_t)at) != 0)
			em_error_errno(err, errno, "cutting off the torn tail in \"%s\"", log->dir);
		last->size = at;
	}
	em_buf_clear(&b);
	return err != NULL && err->code != EM_OK ? -1 : 0;
}

static int
open_last(struct em_segment_log *log, struct em_error *err)
{
	uint64_t base = log->segments[log->count - 1].base;
	char *path = path_of(log, base);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);

	if (fd < 0)
		em_error_errno(err, errno, "opening \"%s\"", path);
	free(path);
	if (fd < 0)
		return -1;
	if (log->fd >= 0)
		close(log->fd);
	log->fd = fd;
	return 0;
}

struct em_segment_log *
em_segment_open(const char *dir, uint64_t segment_bytes, uint64_t *cut_bytes, struct em_error *err)
{
	struct em_segment_log *log = em_calloc(1, sizeof(*log));

	*cut_bytes = 0;
	log->dir = em_strdup(dir);
	log->fd = -1;
	log->segment_bytes = segment_bytes;
	if (mkdir(dir, 0750) != 0 && errno != EEXIST) {
		em_error_errno(err, errno, "making \"%s\"", dir);
		goto bad;
	}
	if (list(log, err) != 0)
		goto bad;
	if (log->count == 0)
		add(log, 0, 0);
	if (open_last(log, err) == 0 && recover(log, cut_bytes, err) == 0)
		return log;
bad:
	em_segment_close(log);
	return NULL;
}

void
em_segment_close(struct em_segment_log *log)
{
	if (log == NULL)
		return;
	if (log->fd >= 0)
		close(log->fd);
	em_buf_clear(&log->pending);
	free(log->segments);
	free(log->dir);
	free(log);
}

uint64_t
em_segment_append(struct em_segment_log *log, struct em_span head, struct em_span body)
{
	uint64_t position = em_segment_end(log) + log->pending.len;
	size_t at = log->pending.len;

	em_buf_u32(&log->pending, (uint32_t)em_size_add(head.len, body.len));
	em_buf_u32(&log->pending, 0);
	em_buf_span(&log->pending, head);
	em_buf_span(&log->pending, body);
	em_buf_set_u32(&log->pending, at + 4, sum(log->pending.data + at, head, body));
	return position;
}

static int
roll(struct em_segment_log *log, struct em_error *err)
{
	struct segment *last = &log->segments[log->count - 1];

	if (last->size < log->segment_bytes)
		return 0;
	if (fdatasync(log->fd) != 0)
		return em_error_errno(err, errno, "syncing \"%s\"", log->dir);
	add(log, last->base + last->size, 0);
	if (open_last(log, err) != 0) {
		log->count--;
		return -1;
	}
	return 0;
}

int
em_segment_flush(struct em_segment_log *log, struct em_error *err)
{
	struct segment *last;
	size_t done = 0;

	if (log->pending.len == 0)
		return 0;
	if (roll(log, err) != 0) {
		em_buf_reset(&log->pending);
		return -1;
	}
	last = &log->segments[log->count - 1];
	while (done < log->pending.len) {
		ssize_t n = pwrite(log->fd, log->pending.data + done, log->pending.len - done, (off_t)(last->size + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			em_error_errno(err, errno, "writing \"%s\"", log->dir);
			if (ftruncate(log->fd, (off_t)last->size) != 0)
				em_error_prefix(err, "what was written of it could not be cut off");
			em_buf_reset(&log->pending);
			return -1;
		}
		done += (size_t)n;
	}
	last->size += done;
	log->dirty = true;
	if (log->pending.cap > 4u * 1024 * 1024)
		em_buf_clear(&log->pending);
	em_buf_reset(&log->pending);
	return 0;
}

int
em_segment_sync(struct em_segment_log *log, struct em_error *err)
{
	if (log->dirty && fdatasync(log->fd) != 0)
		return em_error_errno(err, errno, "syncing \"%s\"", log->dir);
	log->dirty = false;
	return 0;
}

bool
em_segment_is_dirty(const struct em_segment_log *log)
{
	return log->dirty;
}

uint64_t
em_segment_first(const struct em_segment_log *log)
{
	return log->segments[0].base;
}

uint64_t
em_segment_end(const struct em_segment_log *log)
{
	const struct segment *last = &log->segments[log->count - 1];

	return last->base + last->size;
}

uint64_t
em_segment_size(const struct em_segment_log *log)
{
	return em_segment_end(log) - em_segment_first(log);
}

void
em_segment_trim(struct em_segment_log *log, uint64_t before)
{
	while (log->count > 1 && log->segments[1].base <= before) {
		char *path = path_of(log, log->segments[0].base);

		unlink(path);	/* one that stays is removed at the next trim after a restart */
		free(path);
		memmove(log->segments, log->segments + 1, --log->count * sizeof(*log->segments));
	}
}

uint64_t
em_segment_retain(const struct em_segment_log *log, uint64_t size_bytes, int64_t age_s)
{
	uint64_t before = em_segment_first(log), left = em_segment_size(log);
	struct stat st;

	for (size_t i = 0; i + 1 < log->count; i++) {
		char *path = path_of(log, log->segments[i].base);
		bool old = age_s > 0 && stat(path, &st) == 0 && time(NULL) - st.st_mtime > age_s;

		free(path);
		if (!old && (size_bytes == 0 || left <= size_bytes))
			break;
		left -= log->segments[i].size;
		before = log->segments[i + 1].base;
	}
	return before;
}

void
em_segment_reader_init(struct em_segment_reader *r, struct em_segment_log *log, uint64_t position)
{
	*r = (struct em_segment_reader){ .log = log, .fd = -1 };
	em_segment_reader_seek(r, position);
}

void
em_segment_reader_clear(struct em_segment_reader *r)
{
	if (r->fd >= 0)
		close(r->fd);
	em_buf_clear(&r->buf);
	r->fd = -1;
}

void
em_segment_reader_seek(struct em_segment_reader *r, uint64_t position)
{
	r->position = position < em_segment_first(r->log) ? em_segment_first(r->log) : position;
	if (r->position < r->buf_position || r->position > r->buf_position + r->buf.len)
		em_buf_reset(&r->buf);
	if (r->buf.len == 0)
		r->buf_position = r->position;
}

/* The file that holds the position. */
static int
reader_open(struct em_segment_reader *r, struct em_error *err)
{
	size_t i = r->log->count - 1;
	char *path;

	while (i > 0 && r->log->segments[i].base > r->position)
		i--;
	r->fd_end = i + 1 < r->log->count ? r->log->segments[i + 1].base : UINT64_MAX;
	if (r->fd >= 0 && r->fd_base == r->log->segments[i].base)
		return 0;
	path = path_of(r->log, r->log->segments[i].base);
	if (r->fd >= 0)
		close(r->fd);
	r->fd_base = r->log->segments[i].base;
	r->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (r->fd < 0)
		em_error_errno(err, errno, "opening \"%s\"", path);
	free(path);
	return r->fd >= 0 ? 0 : -1;
}

/* Reads so that at least `want` bytes from position on are in the buffer: 1, 0 there are not so many, -1. */
static int
ahead(struct em_segment_reader *r, size_t want, struct em_error *err)
{
	uint64_t end = em_segment_end(r->log), at;
	size_t have = r->buf.len - (size_t)(r->position - r->buf_position), more;
	ssize_t n;

	if (have >= want)
		return 1;
	if (reader_open(r, err) != 0)
		return -1;
	if (end > r->fd_end)
		end = r->fd_end;
	if (end - r->position < want)
		return end == r->position ? 0 :
		    em_error_set(err, EM_ECORRUPT, "\"%s\": a record is cut off at position %llu", r->log->dir,
		    (unsigned long long)r->position);
	em_buf_consume(&r->buf, (size_t)(r->position - r->buf_position));
	r->buf_position = r->position;
	at = r->position + have;
	more = want - have < READ_AHEAD ? READ_AHEAD : want - have;
	if (more > end - at)
		more = (size_t)(end - at);
	while (have < want) {
		n = pread(r->fd, em_buf_reserve(&r->buf, more), more, (off_t)(at - r->fd_base));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return em_error_errno(err, n < 0 ? errno : EIO, "reading \"%s\"", r->log->dir);
		r->buf.len += (size_t)n;
		have += (size_t)n;
		at += (uint64_t)n;
		more -= (size_t)n;
	}
	return 1;
}

int
em_segment_next(struct em_segment_reader *r, struct em_span *record, struct em_error *err)
{
	const uint8_t *p;
	size_t n;
	int there;

	if (r->position < em_segment_first(r->log))
		em_segment_reader_seek(r, em_segment_first(r->log));	/* retention was faster than this reader */
	there = ahead(r, HEADER, err);
	if (there <= 0)
		return there;
	n = em_get_u32(r->buf.data + (r->position - r->buf_position));
	if (n > EM_SEGMENT_RECORD_MAX || ahead(r, HEADER + n, err) != 1)
		return em_error_set(err, EM_ECORRUPT, "\"%s\": no record at position %llu", r->log->dir,
		    (unsigned long long)r->position);
	p = r->buf.data + (r->position - r->buf_position);
	if (valid(p, HEADER + n) == 0)
		return em_error_set(err, EM_ECORRUPT, "\"%s\": the record at position %llu does not match its checksum",
		    r->log->dir, (unsigned long long)r->position);
	*record = (struct em_span){ p + HEADER, n };
	r->position += HEADER + n;
	return 1;
}
