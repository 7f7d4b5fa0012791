/* The source half of connector "file": which files there are, and whose turn it is (emconnector-file(7)). */
#include "file.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "checksum.h"
#include "file_tail.h"

#define SCAN_MS		1000	/* names are looked up this often, should inotify miss something */
#define GATHER_MS	10	/* what is written within this time is read at once */
#define FILE_EVENTS	(IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF)
#define DIR_EVENTS	(IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR)

struct known {			/* how far a file was read that is not open now */
	char		*id;
	struct tail_place place;
};

struct complaint {		/* said once, until it is no longer true */
	TAILQ_ENTRY(complaint) link;
	char		*path;
	int		 errnum;
	bool		 again;
};

struct source {
	const struct file_config *config;
	struct tails	 tails;
	struct known	*known;
	size_t		 known_count;
	TAILQ_HEAD(, complaint) complaints;
	struct tail_totals totals;
	int		 inotify;
	struct event	*changed;
	bool		 first_scan, rescan;
	bool		 crowded;	/* a file could not be opened because too many are */
	int64_t		 next_scan_ms;
};

/* Remembers the furthest place of a file: the newest generation, and what came last in it. */
static void
know(struct source *s, char *id, struct tail_place place)
{
	for (size_t i = 0; i < s->known_count; i++) {
		if (strcmp(s->known[i].id, id) != 0)
			continue;
		if (place.generation >= s->known[i].place.generation)
			s->known[i].place = place;
		free(id);
		return;
	}
	s->known = em_realloc_array(s->known, s->known_count + 1, sizeof(*s->known));
	s->known[s->known_count++] = (struct known){ id, place };
}

/* Committed offsets: partition IDENTITY.GENERATION. */
static void
know_committed(struct em_task *t, struct source *s)
{
	for (size_t i = 0; i < em_task_offsets_count(t); i++) {
		struct em_span partition = em_task_offsets_partition(t, i);
		char *id = em_span_dup(partition), *dot = strrchr(id, '.');
		struct tail_place place = { 0 };

		if (dot == NULL || !tail_place_read(em_task_offset(t, partition), &place)) {
			em_task_log(t, EM_WARNING, "the offset of partition \"%s\" is not one of this connector, it is left "
			    "out", id);
			free(id);
			continue;
		}
		*dot = '\0';
		place.generation = (unsigned)strtoul(dot + 1, NULL, 10);
		know(s, id, place);
	}
}

static const struct tail_place *
known_place(const struct source *s, const struct tail_id *id)
{
	char *text = tail_id_text(id);
	const struct tail_place *place = NULL;

	for (size_t i = 0; i < s->known_count && place == NULL; i++)
		if (strcmp(s->known[i].id, text) == 0)
			place = &s->known[i].place;
	free(text);
	return place;
}

static void
complain(struct em_task *t, struct source *s, const char *path, int errnum, const char *why)
{
	struct complaint *c;

	TAILQ_FOREACH(c, &s->complaints, link) {
		if (c->errnum == errnum && strcmp(c->path, path) == 0) {
			c->again = true;
			return;
		}
	}
	c = em_calloc(1, sizeof(*c));
	c->path = em_strdup(path);
	c->errnum = errnum;
	c->again = true;
	TAILQ_INSERT_TAIL(&s->complaints, c, link);
	em_task_log(t, EM_ERROR, "\"%s\" is not read: %s", path, why);
}

/* Forgets the complaints that did not come again, or all. */
static void
forget_complaints(struct source *s, bool all)
{
	struct complaint *c, *next;

	for (c = TAILQ_FIRST(&s->complaints); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->again && !all) {
			c->again = false;
			continue;
		}
		TAILQ_REMOVE(&s->complaints, c, link);
		free(c->path);
		free(c);
	}
}

static struct tail *
find(struct source *s, const struct tail_id *id)
{
	struct tail *f;

	TAILQ_FOREACH(f, &s->tails, link)
		if (tail_same(&f->id, id))
			return f;
	return NULL;
}

static bool
is_ours(struct em_task *t, const struct tail_id *id)
{
	char *text = tail_id_text(id);
	uint32_t sum = em_crc32c(0, text, strlen(text));

	free(text);
	return sum % em_task_count(t) == em_task_number(t);
}

static struct tail *
open_file(struct em_task *t, struct source *s, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	bool from_end = s->first_scan && s->config->from == FILE_FROM_END;
	struct tail_id id;
	struct tail *f;

	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		s->crowded = true;
		if (s->config->follow)
			complain(t, s, path, errno, "too many files are open, raise limits.files");
		return NULL;
	}
	if (fd < 0) {
		if (errno != ENOENT)
			complain(t, s, path, errno, strerror(errno));
		return NULL;
	}
	if (tail_identify(fd, NULL, &id, NULL) != 0 || find(s, &id) != NULL) {
		close(fd);
		return NULL;
	}
	f = tail_new(t, fd, path, &id, known_place(s, &id), from_end);
	f->watch = inotify_add_watch(s->inotify, path, FILE_EVENTS);
	return f;
}

/* A name that the pattern matches. */
static void
found(struct em_task *t, struct source *s, const char *path)
{
	struct tail_id id;
	struct statx st;
	struct tail *f;

	if (tail_identify(-1, path, &id, &st) != 0) {
		if (errno != ENOENT)
			complain(t, s, path, errno, strerror(errno));
		return;
	}
	if (!S_ISREG(st.stx_mode)) {
		if (strcmp(path, s->config->path) == 0)
			complain(t, s, path, 0, "it is not a regular file");
		return;
	}
	f = find(s, &id);
	if (f != NULL) {
		f->named = true;
		f->touched = true;
		tail_rename(f, path);
	} else if (is_ours(t, &id) && (f = open_file(t, s, path)) != NULL) {
		TAILQ_INSERT_TAIL(&s->tails, f, link);
	}
}

/* A file that was renamed while nobody looked, and that was not read to its end: a known one under a similar name. */
static void
recover(struct em_task *t, struct source *s, const char *path)
{
	const struct tail_place *place;
	struct tail_id id;
	struct statx st;
	struct tail *f;

	if (tail_identify(-1, path, &id, &st) != 0 || !S_ISREG(st.stx_mode) || find(s, &id) != NULL || !is_ours(t, &id))
		return;
	place = known_place(s, &id);
	if (place == NULL || (int64_t)st.stx_size <= place->position || (f = open_file(t, s, path)) == NULL)
		return;
	f->named = false;
	f->older = true;
	TAILQ_INSERT_HEAD(&s->tails, f, link);
}

/* What a rotation makes of a name: something is put in front of its last suffix, or behind it. */
static char *
rotated_names(const char *pattern)
{
	const char *slash = strrchr(pattern, '/'), *name = slash != NULL ? slash + 1 : pattern;
	const char *dot = strrchr(name, '.');

	if (dot == NULL || dot == name)
		return em_asprintf("%s*", pattern);
	return em_asprintf("%.*s*%s*", (int)(dot - pattern), pattern, dot);
}

static void
each_name(struct em_task *t, struct source *s, const char *pattern,
    void (*with)(struct em_task *, struct source *, const char *))
{
	glob_t g = { 0 };

	if (glob(pattern, 0, NULL, &g) == 0)
		for (size_t i = 0; i < g.gl_pathc; i++)
			with(t, s, g.gl_pathv[i]);
	globfree(&g);
}

static void
say_metrics(struct em_task *t, const struct source *s)
{
	const struct tail *f;
	double open_files = 0, behind = 0;
	struct stat st;

	TAILQ_FOREACH(f, &s->tails, link) {
		if (f->fd < 0 || fstat(f->fd, &st) != 0)
			continue;
		open_files++;
		if (st.st_size > f->position)
			behind += (double)(st.st_size - f->position);
	}
	em_task_metric(t, "lines_total", (double)s->totals.lines);
	em_task_metric(t, "line_bytes_total", (double)s->totals.size_bytes);
	em_task_metric(t, "skipped_lines_total", (double)s->totals.skipped);
	em_task_metric(t, "open_files", open_files);
	em_task_metric(t, "unread_bytes", behind);
}

static void
scan(struct em_task *t, struct source *s)
{
	struct tail *f;
	char *names;

	s->crowded = false;
	TAILQ_FOREACH(f, &s->tails, link) {
		f->named = f->named && f->fd < 0;
		f->touched = true;
		if (f->quiet_since_ms != 0 && f->start == f->buf.len)
			em_buf_clear(&f->buf);
		if (f->buf.data == NULL)
			f->start = 0;
	}
	each_name(t, s, s->config->path, found);
	if (s->first_scan && s->known_count > 0) {
		names = rotated_names(s->config->path);
		each_name(t, s, names, recover);
		free(names);
	}
	if (s->first_scan && TAILQ_EMPTY(&s->tails) && TAILQ_EMPTY(&s->complaints) && em_task_number(t) == 0)
		em_task_log(t, EM_WARNING, "\"%s\" matches no file%s", s->config->path,
		    s->config->follow ? " yet, it is waited for" : "");
	forget_complaints(s, false);
	say_metrics(t, s);
	s->first_scan = s->rescan = false;
	s->next_scan_ms = tail_now_ms() + SCAN_MS;
}

static void
watch_directory(struct source *s, const char *pattern)
{
	char *copy = em_strdup(pattern), *slash = strrchr(copy, '/');
	const char *dir = slash == NULL ? "." : slash == copy ? "/" : copy;

	if (slash != NULL)
		*slash = '\0';
	if (strpbrk(dir, "*?[") == NULL)
		inotify_add_watch(s->inotify, dir, DIR_EVENTS);
	free(copy);
}

static void
on_event(struct source *s, const struct inotify_event *e)
{
	struct tail *f;

	if ((e->mask & ~(uint32_t)IN_MODIFY) != 0)
		s->rescan = true;
	TAILQ_FOREACH(f, &s->tails, link)
		if (f->watch == e->wd)
			f->touched = true;
}

static void
read_events(struct source *s)
{
	_Alignas(struct inotify_event) char events[16384];
	ssize_t n;

	while ((n = read(s->inotify, events, sizeof(events))) > 0) {
		for (const char *p = events; p < events + n;) {
			const struct inotify_event *e = (const void *)p;

			on_event(s, e);
			p += sizeof(*e) + e->len;
		}
	}
}

/* A busy writer makes one event a line: they are left to gather until the next poll reads them all. */
static void
on_changed(evutil_socket_t fd, short what, void *ctx)
{
	struct em_task *t = ctx;
	struct source *s = em_task_get(t);

	(void)fd;
	(void)what;
	event_del(s->changed);
	em_task_wake_after(t, GATHER_MS);
}

int
file_source_open(struct em_task *t, const struct file_config *config, struct em_error *err)
{
	struct source *s = em_calloc(1, sizeof(*s));

	s->config = config;
	s->first_scan = true;
	TAILQ_INIT(&s->tails);
	TAILQ_INIT(&s->complaints);
	s->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->inotify < 0) {
		free(s);
		return em_error_errno(err, errno, "inotify");
	}
	s->changed = event_new(em_task_base(t), s->inotify, EV_READ | EV_PERSIST, on_changed, t);
	know_committed(t, s);
	watch_directory(s, config->path);
	em_task_set(t, s);
	return 0;
}

static void
drop(struct source *s, struct tail *f)
{
	TAILQ_REMOVE(&s->tails, f, link);
	tail_free(f);
}

void
file_source_close(struct em_task *t)
{
	struct source *s = em_task_get(t);

	while (!TAILQ_EMPTY(&s->tails))
		drop(s, TAILQ_FIRST(&s->tails));
	for (size_t i = 0; i < s->known_count; i++)
		free(s->known[i].id);
	free(s->known);
	forget_complaints(s, true);
	event_free(s->changed);
	close(s->inotify);
	free(s);
}

/* A file is over. When files are not followed its entry stays, so that it is not found again. */
static void
retire(struct source *s, struct tail *f)
{
	know(s, tail_id_text(&f->id), tail_place(f));
	if (f->watch >= 0)
		inotify_rm_watch(s->inotify, f->watch);
	f->watch = -1;
	s->rescan |= s->crowded;
	if (s->config->follow) {
		drop(s, f);
		return;
	}
	close(f->fd);
	f->fd = -1;
	em_buf_clear(&f->buf);
	f->start = 0;
}

/* After a rotation the old file is read to its end before the new one of the same name is begun. */
static bool
must_wait(const struct source *s, const struct tail *f)
{
	const struct tail *g;

	if (!f->named)
		return false;
	TAILQ_FOREACH(g, &s->tails, link)
		if (!g->named && g->fd >= 0 && g->quiet_since_ms == 0 && (g->older || strcmp(g->path, f->path) == 0))
			return true;
	return false;
}

/* The turn of every file that has something: TAIL_QUIET when none has any more. */
static enum tail_result
read_files(struct em_task *t, struct source *s, struct em_error *err)
{
	struct tail *f, *next;
	bool waits = false;

	for (f = TAILQ_FIRST(&s->tails); f != NULL; f = next) {
		enum tail_result result;

		next = TAILQ_NEXT(f, link);
		if (f->fd < 0 || !f->touched)
			continue;
		if (must_wait(s, f)) {
			waits = true;
			continue;
		}
		result = tail_read(t, s->config, f, &s->totals, err);
		if (result == TAIL_FAILED)
			return result;
		if (result == TAIL_FULL) {	/* the others are next, so that a large file starves none */
			TAILQ_REMOVE(&s->tails, f, link);
			TAILQ_INSERT_TAIL(&s->tails, f, link);
			return result;
		}
		f->touched = false;
		if (result == TAIL_OVER)
			retire(s, f);
	}
	return waits ? TAIL_FULL : TAIL_QUIET;
}

/* Files that are not followed were all found by the first scan, but for those that could not be opened yet. */
static enum em_poll
finish(struct em_task *t, struct source *s, struct em_error *err)
{
	if (s->crowded && s->rescan)
		return EM_POLL_MORE;
	if (s->crowded) {
		em_error_set(err, EM_EUNAVAILABLE, "too many files are open, raise limits.files");
		return EM_POLL_FAILED;
	}
	say_metrics(t, s);
	return EM_POLL_END;
}

static bool
is_scan_due(const struct source *s)
{
	if (s->first_scan || !s->config->follow)
		return s->first_scan || (s->rescan && s->crowded);
	return s->rescan || tail_now_ms() >= s->next_scan_ms;
}

enum em_poll
file_source_poll(struct em_task *t, struct em_error *err)
{
	struct source *s = em_task_get(t);
	enum tail_result result;

	read_events(s);
	if (is_scan_due(s))
		scan(t, s);
	result = read_files(t, s, err);
	if (result != TAIL_QUIET)
		return result == TAIL_FULL ? EM_POLL_MORE : EM_POLL_FAILED;
	if (!s->config->follow)
		return finish(t, s, err);
	event_add(s->changed, NULL);
	em_task_wake_after(t, SCAN_MS);
	return EM_POLL_IDLE;
}
