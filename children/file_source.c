/* The source half of connector "file": lines of files that grow, rotate, shrink, come and go (emconnector-file(7)). */
#include "file.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE	(256u * 1024)
#define SCAN_MS		1000		/* names are looked up this often, should inotify miss something */
#define GRACE_MS	3000		/* a file that lost its name is read this long after it stopped growing */
#define WATCHED		(IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB)

struct file {
	TAILQ_ENTRY(file) link;
	char		*path;
	int		 fd;
	char		*identity;	/* device, inode, birth: what a rename does not change */
	char		*partition;	/* identity and generation */
	unsigned	 generation;	/* counts truncations, so that ids never repeat */
	struct em_buf	 buf;
	size_t		 start;		/* of buf: what is before it was sent */
	int64_t		 offset;	/* in the file, of buf.data[start] */
	int64_t		 quiet_since_ms;	/* at its end since then */
	bool		 named;		/* the last scan found it */
	bool		 skipping;	/* inside a line that is too long */
};

struct source {
	const struct file_config *config;
	TAILQ_HEAD(, file) files;
	int		 inotify;
	struct event	*changed;
	bool		 first_scan, rescan;
	int64_t		 next_scan_ms;
};

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
file_free(struct source *s, struct file *f)
{
	TAILQ_REMOVE(&s->files, f, link);
	close(f->fd);
	em_buf_clear(&f->buf);
	free(f->path);
	free(f->identity);
	free(f->partition);
	free(f);
}

/* Inode numbers come back after a deletion; together with the time of birth they do not. */
static char *
identity_of(int fd)
{
	struct statx st = { 0 };

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) != 0)
		return NULL;
	return em_asprintf("%x:%x.%llx.%llx", st.stx_dev_major, st.stx_dev_minor, (unsigned long long)st.stx_ino,
	    (st.stx_mask & STATX_BTIME) != 0 ? (unsigned long long)st.stx_btime.tv_sec * 1000000000u +
	    st.stx_btime.tv_nsec : 0ull);
}

static struct file *
find(struct source *s, const char *identity)
{
	struct file *f;

	TAILQ_FOREACH(f, &s->files, link)
		if (strcmp(f->identity, identity) == 0)
			return f;
	return NULL;
}

static void
set_generation(struct file *f, unsigned generation)
{
	free(f->partition);
	f->generation = generation;
	f->partition = em_asprintf("%s.%u", f->identity, generation);
}

/* The last committed generation of this file and how far it got; -1 if it was never read. */
static int64_t
committed(struct em_task *t, const char *identity, unsigned *generation)
{
	size_t n = strlen(identity);
	int64_t offset = -1;

	*generation = 0;
	for (size_t i = 0; i < em_task_offsets_count(t); i++) {
		struct em_span p = em_task_offsets_partition(t, i);
		char *number, *text;
		unsigned g;

		if (!em_span_starts(p, identity) || p.len < n + 2 || p.bytes[n] != '.')
			continue;
		number = em_span_dup((struct em_span){ p.bytes + n + 1, p.len - n - 1 });
		g = (unsigned)strtoul(number, NULL, 10);
		free(number);
		if (offset >= 0 && g < *generation)
			continue;
		*generation = g;
		text = em_span_dup(em_task_offset(t, p));
		offset = strtoll(text, NULL, 10);
		free(text);
	}
	return offset;
}

/* A committed offset is behind a newline; if that is not so, the file was rewritten while nobody looked. */
static bool
still_fits(int fd, int64_t offset)
{
	struct stat st;
	char c;

	if (offset == 0)
		return true;
	if (fstat(fd, &st) != 0 || st.st_size < offset)
		return false;
	return st.st_size == offset || (pread(fd, &c, 1, offset - 1) == 1 && c == '\n');
}

static void
place(struct em_task *t, struct source *s, struct file *f)
{
	unsigned generation;
	int64_t offset = committed(t, f->identity, &generation);

	if (offset >= 0 && !still_fits(f->fd, offset)) {
		em_task_log(t, EM_WARNING, "\"%s\" was truncated or rewritten, it is read from its start", f->path);
		generation++;
		offset = 0;
	} else if (offset < 0) {
		offset = s->first_scan && s->config->from == FILE_FROM_END ? lseek(f->fd, 0, SEEK_END) : 0;
	}
	set_generation(f, generation);
	f->offset = offset;
}

static void
found(struct em_task *t, struct source *s, const char *path)
{
	struct stat st;
	struct file *f;
	char *identity;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (identity = identity_of(fd)) == NULL) {
		if (fd < 0 && errno != ENOENT)
			em_task_log(t, EM_WARNING, "\"%s\" cannot be opened: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	f = find(s, identity);
	if (f != NULL || em_crc32c(0, identity, strlen(identity)) % em_task_count(t) != em_task_number(t)) {
		if (f != NULL)
			f->named = true;
		close(fd);
		free(identity);
		return;
	}
	f = em_calloc(1, sizeof(*f));
	f->path = em_strdup(path);
	f->fd = fd;
	f->identity = identity;
	f->named = true;
	place(t, s, f);
	TAILQ_INSERT_TAIL(&s->files, f, link);
	inotify_add_watch(s->inotify, path, WATCHED);
	em_task_log(t, EM_INFO, "reading \"%s\" from byte %lld", path, (long long)f->offset);
}

static void
watch_directory(struct source *s, const char *pattern)
{
	char *copy = em_strdup(pattern), *slash = strrchr(copy, '/');

	if (slash != NULL && slash != copy)
		*slash = '\0';
	if (strpbrk(copy, "*?[") == NULL)
		inotify_add_watch(s->inotify, slash == NULL ? "." : slash == copy ? "/" : copy, WATCHED);
	free(copy);
}

static void
scan(struct em_task *t, struct source *s)
{
	struct file *f;
	glob_t g = { 0 };

	TAILQ_FOREACH(f, &s->files, link)
		f->named = false;
	if (glob(s->config->path, 0, NULL, &g) == 0)
		for (size_t i = 0; i < g.gl_pathc; i++)
			found(t, s, g.gl_pathv[i]);
	globfree(&g);
	s->first_scan = s->rescan = false;
	s->next_scan_ms = now_ms() + SCAN_MS;
}

static void
on_changed(evutil_socket_t fd, short what, void *ctx)
{
	struct em_task *t = ctx;
	struct source *s = em_task_get(t);
	_Alignas(struct inotify_event) char events[16384];
	ssize_t n;

	(void)what;
	while ((n = read(fd, events, sizeof(events))) > 0) {
		for (char *p = events; p < events + n;) {
			const struct inotify_event *e = (const void *)p;

			if ((e->mask & ~(uint32_t)IN_MODIFY) != 0)
				s->rescan = true;
			p += sizeof(*e) + e->len;
		}
	}
	em_task_wake(t);
}

int
file_source_open(struct em_task *t, const struct file_config *config, struct em_error *err)
{
	struct source *s = em_calloc(1, sizeof(*s));

	s->config = config;
	s->first_scan = true;
	TAILQ_INIT(&s->files);
	s->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->inotify < 0) {
		free(s);
		return em_error_errno(err, errno, "inotify");
	}
	s->changed = event_new(em_task_base(t), s->inotify, EV_READ | EV_PERSIST, on_changed, t);
	event_add(s->changed, NULL);
	watch_directory(s, config->path);
	em_task_set(t, s);
	return 0;
}

void
file_source_close(struct em_task *t)
{
	struct source *s = em_task_get(t);

	while (!TAILQ_EMPTY(&s->files))
		file_free(s, TAILQ_FIRST(&s->files));
	event_free(s->changed);
	close(s->inotify);
	free(s);
}

static int
send_line(struct em_task *t, struct file *f, size_t len, size_t newline, struct em_error *err)
{
	struct em_record record = { 0 };
	char *offset = em_asprintf("%lld", (long long)(f->offset + (int64_t)(len + newline)));

	record.field[EM_FIELD_PARTITION] = em_span_str(f->partition);
	record.field[EM_FIELD_OFFSET] = em_span_str(offset);
	record.field[EM_FIELD_EVENT_TYPE] = EM_SPAN_LITERAL("org.apache.eventmesh.connector.file.line");
	record.field[EM_FIELD_SUBJECT] = em_span_str(f->path);
	record.field[EM_FIELD_DATACONTENTTYPE] = EM_SPAN_LITERAL("text/plain");
	record.field[EM_FIELD_DATA] = (struct em_span){ f->buf.data + f->start, len };
	if (em_task_add(t, &record, err) != 0) {
		em_error_prefix(err, "\"%s\", byte %lld", f->path, (long long)f->offset);
		free(offset);
		return -1;
	}
	free(offset);
	f->start += len + newline;
	f->offset += (int64_t)(len + newline);
	return 0;
}

static int
too_long(struct em_task *t, const struct source *s, struct file *f, struct em_error *err)
{
	if (s->config->oversize == FILE_OVERSIZE_STOP)
		return em_error_set(err, EM_ECONFIG, "\"%s\", byte %lld: a line is longer than max.line (%lld bytes); raise it, "
		    "or set on.oversize to skip", f->path, (long long)f->offset, (long long)s->config->max_line);
	em_task_log(t, EM_ERROR, "\"%s\", byte %lld: a line longer than max.line (%lld bytes) is skipped", f->path,
	    (long long)f->offset, (long long)s->config->max_line);
	f->skipping = true;
	return 0;
}

/* Drops what belongs to a line that is too long. */
static void
skip(struct file *f, const uint8_t *newline)
{
	size_t n = newline != NULL ? (size_t)(newline - (f->buf.data + f->start)) + 1 : f->buf.len - f->start;

	f->start += n;
	f->offset += (int64_t)n;
	f->skipping = newline == NULL;
}

/* Sends the whole lines that are in the buffer: 1 there is no room for more, 0 the buffer has no whole line, -1. */
static int
send_lines(struct em_task *t, const struct source *s, struct file *f, struct em_error *err)
{
	for (;;) {
		const uint8_t *from = f->buf.data + f->start, *newline;
		size_t left = f->buf.len - f->start, len;

		if (em_task_room(t) == 0)
			return 1;
		newline = left > 0 ? memchr(from, '\n', left) : NULL;
		len = newline != NULL ? (size_t)(newline - from) : left;
		if (!f->skipping && len > (size_t)s->config->max_line && too_long(t, s, f, err) != 0)
			return -1;
		if (f->skipping)
			skip(f, newline);
		else if (newline != NULL && send_line(t, f, len, 1, err) != 0)
			return -1;
		if (newline == NULL)
			return 0;
	}
}

static void
truncated(struct em_task *t, struct file *f)
{
	em_task_log(t, EM_NOTICE, "\"%s\" was truncated, it is read from its start", f->path);
	set_generation(f, f->generation + 1);
	em_buf_clear(&f->buf);
	f->start = 0;
	f->offset = 0;
	f->skipping = false;
}

/* Reads on: bytes read, 0 at the end, -1. */
static ssize_t
fill(struct em_task *t, struct file *f, struct em_error *err)
{
	int64_t at = f->offset + (int64_t)(f->buf.len - f->start);
	struct stat st;
	ssize_t n;

	em_buf_consume(&f->buf, f->start);
	f->start = 0;
	n = pread(f->fd, em_buf_reserve(&f->buf, READ_SIZE), READ_SIZE, at);
	if (n < 0)
		return em_error_errno(err, errno, "reading \"%s\" at byte %lld", f->path, (long long)at);
	f->buf.len += (size_t)n;
	if (n == 0 && fstat(f->fd, &st) == 0 && st.st_size < at)
		truncated(t, f);
	if (n == 0 && f->buf.len == 0)
		em_buf_clear(&f->buf);
	return n;
}

/* At its end: true if the file need not be read any more. A last line without newline is whole when nobody will add to
 * it: at the end of a file that is not followed, or that lost its name and stopped growing. */
static bool
is_over(struct em_task *t, const struct source *s, struct file *f)
{
	if (f->quiet_since_ms == 0)
		f->quiet_since_ms = now_ms();
	if (s->config->follow && (f->named || now_ms() - f->quiet_since_ms < GRACE_MS))
		return false;
	if (f->buf.len > f->start && !f->skipping)
		return em_task_room(t) > 0 && send_line(t, f, f->buf.len - f->start, 0, NULL) == 0;
	return true;
}

/* One file's turn: 1 no room, 0 nothing more now, 2 it is over, -1. */
static int
read_file(struct em_task *t, const struct source *s, struct file *f, struct em_error *err)
{
	for (;;) {
		int sent = send_lines(t, s, f, err);
		ssize_t n;

		if (sent != 0)
			return sent;
		n = fill(t, f, err);
		if (n < 0)
			return -1;
		if (n == 0)
			return is_over(t, s, f) ? 2 : 0;
		f->quiet_since_ms = 0;
	}
}

enum em_poll
file_source_poll(struct em_task *t, struct em_error *err)
{
	struct source *s = em_task_get(t);
	struct file *f, *next;
	int result;

	if (s->first_scan || s->rescan || now_ms() >= s->next_scan_ms)
		scan(t, s);
	for (f = TAILQ_FIRST(&s->files); f != NULL; f = next) {
		next = TAILQ_NEXT(f, link);
		result = read_file(t, s, f, err);
		if (result < 0)
			return EM_POLL_FAILED;
		if (result == 1) {	/* the next poll begins with the others, so that a large file starves none */
			TAILQ_REMOVE(&s->files, f, link);
			TAILQ_INSERT_TAIL(&s->files, f, link);
			return EM_POLL_MORE;
		}
		if (result == 2 && s->config->follow)
			file_free(s, f);
	}
	if (!s->config->follow)
		return EM_POLL_END;
	em_task_wake_after(t, SCAN_MS);
	return EM_POLL_IDLE;
}
