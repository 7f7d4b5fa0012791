#include "file_tail.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "checksum.h"
#include "utf8.h"

#define READ_SIZE	(256u * 1024)

int64_t
tail_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Inode numbers come back after a deletion; together with the time of birth they do not. */
int
tail_identify(int fd, const char *path, struct tail_id *id, struct statx *st)
{
	struct statx got = { 0 };

	if (statx(path != NULL ? AT_FDCWD : fd, path != NULL ? path : "", path != NULL ? 0 : AT_EMPTY_PATH,
	    STATX_TYPE | STATX_INO | STATX_SIZE | STATX_BTIME, &got) != 0)
		return -1;
	*id = (struct tail_id){ got.stx_dev_major, got.stx_dev_minor, got.stx_ino,
	    (got.stx_mask & STATX_BTIME) != 0 ? got.stx_btime.tv_sec * 1000000000 + got.stx_btime.tv_nsec : 0 };
	if (st != NULL)
		*st = got;
	return 0;
}

bool
tail_same(const struct tail_id *a, const struct tail_id *b)
{
	return a->major == b->major && a->minor == b->minor && a->inode == b->inode && a->born_ns == b->born_ns;
}

char *
tail_id_text(const struct tail_id *id)
{
	return em_asprintf("%x:%x.%llx.%llx", id->major, id->minor, (unsigned long long)id->inode,
	    (unsigned long long)id->born_ns);
}

bool
tail_place_read(struct em_span offset, struct tail_place *place)
{
	char *text = em_span_dup(offset), *end, *sum_end = NULL;
	unsigned long sum = 0;
	long long position;
	bool good;

	errno = 0;
	position = strtoll(text, &end, 10);
	if (*end == '-')
		sum = strtoul(end + 1, &sum_end, 16);
	good = errno == 0 && isdigit((unsigned char)text[0]) &&
	    (*end == '\0' || (sum_end != NULL && sum_end == end + 9 && *sum_end == '\0'));
	if (good) {
		place->position = position;
		place->has_sum = sum_end != NULL;
		place->sum = (uint32_t)sum;
	}
	free(text);
	return good;
}

/* A record's subject is UTF-8; a file's name need not be. */
static char *
subject_of(const char *path)
{
	struct em_buf b = { 0 };
	const uint8_t *p = (const uint8_t *)path;
	size_t left = strlen(path), n;
	char *result;

	for (; left > 0; p += n, left -= n) {
		n = em_utf8_sequence(p, left);
		if (n > 0)
			em_buf_append(&b, p, n);
		else
			em_buf_printf(&b, "%%%02X", *p);
		n = n > 0 ? n : 1;
	}
	result = em_strdup(em_buf_cstr(&b));
	em_buf_clear(&b);
	return result;
}

void
tail_rename(struct tail *f, const char *path)
{
	if (f->path != NULL && strcmp(f->path, path) == 0)
		return;
	free(f->path);
	free(f->subject);
	f->path = em_strdup(path);
	f->subject = subject_of(path);
}

static void
set_generation(struct tail *f, unsigned generation)
{
	char *id = tail_id_text(&f->id);

	free(f->partition);
	f->generation = generation;
	f->partition = em_asprintf("%s.%u", id, generation);
	free(id);
}

static uint32_t
sum_before(const struct tail *f, int64_t position)
{
	if (f->head_len == TAIL_HEAD && position >= (int64_t)TAIL_HEAD)
		return f->head_sum;
	return em_crc32c(0, f->head, position < (int64_t)f->head_len ? (size_t)position : f->head_len);
}

static void
set_head(struct tail *f, size_t at, const uint8_t *bytes, size_t n)
{
	if (n > TAIL_HEAD - at)
		n = TAIL_HEAD - at;
	memcpy(f->head + at, bytes, n);
	f->head_len = at + n;
	if (f->head_len == TAIL_HEAD)
		f->head_sum = em_crc32c(0, f->head, TAIL_HEAD);
}

/* Reads the head again: as much of it as lies before position. */
static void
read_head(struct tail *f, int64_t position)
{
	uint8_t bytes[TAIL_HEAD];
	ssize_t n = pread(f->fd, bytes, position < (int64_t)TAIL_HEAD ? (size_t)position : TAIL_HEAD, 0);

	set_head(f, 0, bytes, n > 0 ? (size_t)n : 0);
}

static bool
fits(struct tail *f, const struct tail_place *place)
{
	struct stat st;

	if (fstat(f->fd, &st) != 0 || st.st_size < place->position)
		return false;
	read_head(f, place->position);
	return !place->has_sum || sum_before(f, place->position) == place->sum;
}

/* The end, or the start of a last line that has no newline yet: it is not cut in two. */
static int64_t
end_of_lines(const struct tail *f, int64_t max_line)
{
	off_t end = lseek(f->fd, 0, SEEK_END), low = end > max_line ? end - max_line : 0;
	char bytes[4096];

	for (off_t at = end; at > low;) {
		size_t want = at - low < (off_t)sizeof(bytes) ? (size_t)(at - low) : sizeof(bytes);
		ssize_t n = pread(f->fd, bytes, want, at - (off_t)want);
		const char *newline = n > 0 ? memrchr(bytes, '\n', (size_t)n) : NULL;

		if (newline != NULL)
			return at - (off_t)want + (newline - bytes) + 1;
		if (n <= 0)
			break;
		at -= (off_t)want;
	}
	return low == 0 ? 0 : end;
}

struct tail *
tail_new(struct em_task *t, int fd, const char *path, const struct tail_id *id, const struct tail_place *place,
    bool at_end)
{
	struct tail *f = em_calloc(1, sizeof(*f));
	unsigned generation = place != NULL ? place->generation : 0;
	char before = '\n';

	f->fd = fd;
	f->watch = -1;
	f->id = *id;
	f->named = true;
	f->touched = true;
	tail_rename(f, path);
	if (place != NULL && !fits(f, place)) {
		em_task_log(t, EM_WARNING, "\"%s\" was truncated or rewritten since it was read, it is read from its start",
		    path);
		generation++;
		f->head_len = 0;
	} else if (place != NULL) {
		f->position = place->position;
	} else if (at_end) {
		f->position = end_of_lines(f, READ_SIZE);
		read_head(f, f->position);
	}
	if (f->position > 0)
		f->unended = pread(fd, &before, 1, f->position - 1) == 1 && before != '\n';
	set_generation(f, generation);
	em_task_log(t, EM_INFO, "reading \"%s\" from byte %lld", path, (long long)f->position);
	return f;
}

void
tail_free(struct tail *f)
{
	if (f->fd >= 0)
		close(f->fd);
	em_buf_clear(&f->buf);
	em_buf_clear(&f->offset);
	free(f->path);
	free(f->subject);
	free(f->partition);
	free(f);
}

struct tail_place
tail_place(struct tail *f)
{
	return (struct tail_place){ f->generation, f->position, true, sum_before(f, f->position) };
}

/* Moves on by n bytes of the buffer. */
static void
pass(struct tail *f, size_t n)
{
	f->start += n;
	f->position += (int64_t)n;
	f->searched = 0;
}

static int
too_long(struct em_task *t, const struct file_config *config, struct tail *f, const char *why,
    struct em_error *err)
{
	if (config->oversize == FILE_OVERSIZE_STOP) {
		em_error_clear(err);
		return em_error_set(err, EM_ECONFIG, "\"%s\", byte %lld: %s; raise max.line, or set on.oversize to skip",
		    f->path, (long long)f->position, why);
	}
	em_task_log(t, EM_ERROR, "\"%s\", byte %lld: %s, it is skipped", f->path, (long long)f->position, why);
	em_error_clear(err);
	f->skipping = true;
	return 0;
}

/* Sends len bytes as one line, and passes the newline behind it if there is one. */
static int
send_line(struct em_task *t, struct tail *f, size_t len, size_t newline, struct em_error *err)
{
	int64_t behind = f->position + (int64_t)(len + newline);
	struct em_record record = { 0 };

	em_buf_reset(&f->offset);
	em_buf_printf(&f->offset, "%lld-%08x", (long long)behind, sum_before(f, behind));
	record.field[EM_FIELD_PARTITION] = em_span_str(f->partition);
	record.field[EM_FIELD_OFFSET] = em_buf_view(&f->offset);
	record.field[EM_FIELD_EVENT_TYPE] = EM_SPAN_LITERAL("org.apache.eventmesh.connector.file.line");
	record.field[EM_FIELD_SUBJECT] = em_span_str(f->subject);
	record.field[EM_FIELD_DATACONTENTTYPE] = EM_SPAN_LITERAL("text/plain");
	record.field[EM_FIELD_DATA] = (struct em_span){ f->buf.data + f->start, len };
	if (em_task_add(t, &record, err) != 0)
		return -1;
	pass(f, len + newline);
	f->unended = newline == 0;
	return 0;
}

static int
take_line(struct em_task *t, const struct file_config *config, struct tail *f, size_t len, size_t newline,
    struct tail_totals *totals, struct em_error *err)
{
	if (send_line(t, f, len, newline, err) == 0) {
		totals->lines++;
		totals->size_bytes += len + newline;
		return 0;
	}
	if (err->code != EM_ELIMIT || too_long(t, config, f, em_error_text(err), err) != 0)
		return em_error_prefix(err, "\"%s\"", f->path);
	return 0;
}

static int
check_length(struct em_task *t, const struct file_config *config, struct tail *f, size_t len, struct em_error *err)
{
	char *why;
	int result;

	if (f->skipping || len <= (size_t)config->max_line)
		return 0;
	why = em_asprintf("a line is longer than max.line (%lld bytes)", (long long)config->max_line);
	result = too_long(t, config, f, why, err);
	free(why);
	return result;
}

/* Sends the whole lines that are in the buffer: TAIL_FULL, or TAIL_QUIET when the buffer has no whole line. */
static enum tail_result
send_lines(struct em_task *t, const struct file_config *config, struct tail *f, struct tail_totals *totals,
    struct em_error *err)
{
	for (;;) {
		const uint8_t *from = f->buf.data + f->start, *newline = NULL;
		size_t left = f->buf.len - f->start, len;

		if (em_task_room(t) == 0)
			return TAIL_FULL;
		if (left > f->searched)
			newline = memchr(from + f->searched, '\n', left - f->searched);
		len = newline != NULL ? (size_t)(newline - from) : left;
		if (check_length(t, config, f, len, err) != 0)
			return TAIL_FAILED;
		if (newline == NULL) {
			if (f->skipping)
				pass(f, left);
			f->searched = f->buf.len - f->start;
			return TAIL_QUIET;
		}
		if (f->skipping || (f->unended && len == 0)) {
			totals->skipped += f->skipping;
			f->skipping = f->unended = false;
			pass(f, len + 1);
		} else if (take_line(t, config, f, len, 1, totals, err) != 0) {
			return TAIL_FAILED;
		}
	}
}

/* What is left in the buffer is a last line without newline: TAIL_QUIET when it is sent. */
static enum tail_result
send_rest(struct em_task *t, const struct file_config *config, struct tail *f, struct tail_totals *totals,
    struct em_error *err)
{
	size_t left = f->buf.len - f->start;

	if (left == 0 || f->skipping)
		return TAIL_QUIET;
	if (em_task_room(t) == 0)
		return TAIL_FULL;
	return take_line(t, config, f, left, 0, totals, err) == 0 ? TAIL_QUIET : TAIL_FAILED;
}

/* Whether the file is not what was read so far: shorter, or with another beginning. */
static bool
is_another(const struct tail *f, int64_t at)
{
	uint8_t bytes[TAIL_HEAD];
	struct stat st;

	if (fstat(f->fd, &st) != 0)
		return false;
	if (st.st_size < at)
		return true;
	return f->head_len > 0 && (pread(f->fd, bytes, f->head_len, 0) != (ssize_t)f->head_len ||
	    memcmp(bytes, f->head, f->head_len) != 0);
}

static enum tail_result
begin_again(struct em_task *t, const struct file_config *config, struct tail *f, struct tail_totals *totals,
    struct em_error *err)
{
	enum tail_result sent = send_rest(t, config, f, totals, err);

	if (sent != TAIL_QUIET)
		return sent;
	em_task_log(t, EM_NOTICE, "\"%s\" was truncated or rewritten, it is read from its start", f->path);
	set_generation(f, f->generation + 1);
	em_buf_reset(&f->buf);
	f->start = f->searched = f->head_len = 0;
	f->position = 0;
	f->quiet_since_ms = 0;
	f->skipping = f->unended = false;
	return TAIL_QUIET;
}

/* Reads on at byte "at" of the file: bytes read, 0 at the end, -1. */
static ssize_t
fill(struct tail *f, int64_t at, struct em_error *err)
{
	ssize_t n;

	em_buf_consume(&f->buf, f->start);
	f->start = 0;
	n = pread(f->fd, em_buf_reserve(&f->buf, READ_SIZE), READ_SIZE, at);
	if (n < 0)
		return em_error_errno(err, errno, "reading \"%s\" at byte %lld", f->path, (long long)at);
	if (at < (int64_t)TAIL_HEAD && n > 0)
		set_head(f, (size_t)at, f->buf.data + f->buf.len, (size_t)n);
	f->buf.len += (size_t)n;
	return n;
}

/* At its end. A last line without newline is whole when nobody will add to it: at the end of a file that is not
 * followed, or that lost its name and stopped growing. */
static enum tail_result
at_end(struct em_task *t, const struct file_config *config, struct tail *f, struct tail_totals *totals,
    struct em_error *err)
{
	enum tail_result sent;

	if (f->quiet_since_ms == 0)
		f->quiet_since_ms = tail_now_ms();
	if (config->follow && (f->named || tail_now_ms() - f->quiet_since_ms < config->linger_ms))
		return TAIL_QUIET;
	sent = send_rest(t, config, f, totals, err);
	return sent == TAIL_QUIET ? TAIL_OVER : sent;
}

enum tail_result
tail_read(struct em_task *t, const struct file_config *config, struct tail *f, struct tail_totals *totals,
    struct em_error *err)
{
	bool check = f->quiet_since_ms != 0;	/* it may have been rewritten while it was not looked at */
	bool checked = false;

	for (;;) {
		enum tail_result sent = send_lines(t, config, f, totals, err);
		int64_t at = f->position + (int64_t)(f->buf.len - f->start);
		ssize_t n;

		if (sent != TAIL_QUIET)
			return sent;
		if (check && is_another(f, at)) {
			sent = begin_again(t, config, f, totals, err);
			if (sent != TAIL_QUIET)
				return sent;
			at = 0;
		}
		checked |= check;
		check = false;
		n = fill(f, at, err);
		if (n < 0)
			return TAIL_FAILED;
		if (n == 0 && (checked || !is_another(f, at)))
			return at_end(t, config, f, totals, err);
		check = n == 0;
		if (n > 0)
			f->quiet_since_ms = 0;
	}
}
