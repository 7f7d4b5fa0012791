#include "topic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checksum.h"
#include "error.h"
#include "log.h"
#include "segment.h"

#define PUMP_EVENTS	4096u		/* of one group in one turn */

struct flight {				/* one event between delivery and acknowledgement */
	uint64_t	 position, sequence;
	struct member	*member;	/* NULL: waits to be sent again */
	uint32_t	 size_bytes;
	bool		 done;
};

struct group {
	TAILQ_ENTRY(group) link;
	struct topic	*topic;
	char		*name;		/* NULL: one broadcast member */
	int		 fd;		/* of its position; -1: none */
	uint64_t	 stored;	/* position in the file */
	struct em_segment_reader reader, again;
	struct flight	*flights;
	size_t		 first, count, size, waiting;
	TAILQ_HEAD(, member) members;
};

struct member {
	TAILQ_ENTRY(member) link;
	struct group	*group;
	void		*cookie;
	uint32_t	 window_records, window_bytes;
	uint64_t	 records, size_bytes;	/* in flight */
};

struct topic {
	TAILQ_ENTRY(topic) link;
	struct topics	*topics;
	char		*name, *file_name;
	struct em_segment_log *log;
	bool		 appended;
	TAILQ_HEAD(, group) groups;
};

struct topics {
	struct topics_config config;
	char		*data_dir;
	const struct topics_ops *ops;
	TAILQ_HEAD(, topic) topics;
	struct em_buf	 head;		/* scratch of topic_append */
	struct topic	*last;		/* the one asked for last: most publishers use one */
};

static char *
file_name_of(struct em_span name)
{
	struct em_buf b = { 0 };

	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.bytes[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_')
			em_buf_u8(&b, c);
		else
			em_buf_printf(&b, "%%%02X", c);
	}
	em_buf_u8(&b, 0);
	return (char *)b.data;
}

/* ---- positions: 8 bytes and their checksum in a file per group and topic ---- */

static uint64_t
group_position(const struct group *g)
{
	return g->count > 0 ? g->flights[g->first].position : g->reader.position;
}

static void
store_position(struct group *g)
{
	uint64_t position = group_position(g);
	struct em_buf b = { 0 };

	if (g->fd < 0 || position == g->stored)
		return;
	em_buf_u64(&b, position);
	em_buf_u32(&b, em_crc32c(0, b.data, 8));
	if (pwrite(g->fd, b.data, b.len, 0) == (ssize_t)b.len)
		g->stored = position;
	else
		em_log(EM_ERROR, g->topic->name, "the position of group \"%s\" cannot be stored: %s; after a restart it gets "
		    "events again", g->name, strerror(errno));
	em_buf_clear(&b);
}

/* 1 and the position, 0 the group is new here, -1. */
static int
load_position(struct group *g, uint64_t *position, struct em_error *err)
{
	struct em_span name = em_span_str(g->name);
	char *file = file_name_of(name), *path = em_asprintf("%s/groups/%s@%s", g->topic->topics->data_dir, file,
	    g->topic->file_name);
	uint8_t bytes[12];
	struct em_reader r = em_reader((struct em_span){ bytes, sizeof(bytes) });
	ssize_t n;

	g->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (g->fd < 0)
		em_error_errno(err, errno, "opening \"%s\"", path);
	free(file);
	free(path);
	if (g->fd < 0)
		return -1;
	n = pread(g->fd, bytes, sizeof(bytes), 0);
	if (n != (ssize_t)sizeof(bytes))
		return 0;
	*position = em_read_u64(&r);
	if (em_read_u32(&r) == em_crc32c(0, bytes, 8))
		return 1;
	em_log(EM_ERROR, g->topic->name, "the position of group \"%s\" is damaged, it begins at the oldest event", g->name);
	*position = em_segment_first(g->topic->log);
	return 1;
}

/* ---- groups ---- */

static void
group_free(struct group *g)
{
	store_position(g);
	TAILQ_REMOVE(&g->topic->groups, g, link);
	if (g->fd >= 0)
		close(g->fd);
	em_segment_reader_clear(&g->reader);
	em_segment_reader_clear(&g->again);
	free(g->flights);
	free(g->name);
	free(g);
}

static struct group *
group_new(struct topic *topic, struct em_span name, struct em_error *err)
{
	struct group *g = em_calloc(1, sizeof(*g));
	uint64_t position = em_segment_end(topic->log);
	int known = 0;

	g->topic = topic;
	g->fd = -1;
	g->name = name.bytes != NULL ? em_span_dup(name) : NULL;
	g->stored = UINT64_MAX;
	TAILQ_INIT(&g->members);
	TAILQ_INSERT_TAIL(&topic->groups, g, link);
	if (g->name != NULL)
		known = load_position(g, &position, err);
	if (position > em_segment_end(topic->log))
		position = em_segment_end(topic->log);	/* the log lost its end in a power cut, the position did not */
	em_segment_reader_init(&g->reader, topic->log, position);
	em_segment_reader_init(&g->again, topic->log, position);
	if (known < 0) {
		group_free(g);
		return NULL;
	}
	store_position(g);
	return g;
}

static struct group *
group_get(struct topic *topic, struct em_span name, struct em_error *err)
{
	struct group *g;

	TAILQ_FOREACH(g, &topic->groups, link)
		if (g->name != NULL && em_span_is(name, g->name))
			return g;
	return group_new(topic, name, err);
}

/* Groups seen before keep their place though nobody listens; retention asks for the slowest of them. */
static int
load_groups(struct topics *t, struct em_error *err)
{
	char *path = em_asprintf("%s/groups", t->data_dir);
	int result = mkdir(path, 0750) != 0 && errno != EEXIST ? em_error_errno(err, errno, "making \"%s\"", path) : 0;

	free(path);
	return result;
}

static void
push(struct group *g, struct flight flight)
{
	if (g->first + g->count == g->size) {
		if (g->first > g->size / 2) {
			memmove(g->flights, g->flights + g->first, g->count * sizeof(*g->flights));
			g->first = 0;
		} else {
			g->size = g->size > 0 ? em_size_mul(g->size, 2) : 64;
			g->flights = em_realloc_array(g->flights, g->size, sizeof(*g->flights));
		}
	}
	g->flights[g->first + g->count++] = flight;
}

static void
pop_done(struct group *g)
{
	while (g->count > 0 && g->flights[g->first].done) {
		g->first++;
		g->count--;
	}
}

static bool
has_room(const struct member *m, size_t size)
{
	return m->records == 0 || (m->records < m->window_records && m->size_bytes + size <= m->window_bytes);
}

/* The member with the fewest in flight that has room. */
static struct member *
choose(const struct group *g, size_t size)
{
	struct member *m, *best = NULL;

	TAILQ_FOREACH(m, &g->members, link)
		if (has_room(m, size) && (best == NULL || m->records < best->records))
			best = m;
	return best;
}

/* A stored event: u8 form, lspan id, body. */
static uint64_t
send_to(const struct group *g, struct member *m, struct em_span stored)
{
	struct em_reader r = em_reader(stored);
	enum em_mesh_form form = (enum em_mesh_form)em_read_u8(&r);
	struct em_span id = em_read_lspan(&r), body = em_read_bytes(&r, em_reader_left(&r));

	m->records++;
	m->size_bytes += stored.len;
	return g->topic->topics->ops->deliver(m->cookie, form, g->name == NULL, id, body);
}

/* First what somebody left behind, in its order. */
static bool
pump_waiting(struct group *g, struct em_error *err)
{
	for (size_t i = 0; i < g->count && g->waiting > 0; i++) {
		struct flight *f = &g->flights[g->first + i];
		struct em_span stored;
		struct member *m;

		if (f->member != NULL || f->done)
			continue;
		m = choose(g, f->size_bytes);
		if (m == NULL)
			return false;
		em_segment_reader_seek(&g->again, f->position);
		if (em_segment_next(&g->again, &stored, err) != 1)
			return false;
		f->member = m;
		f->sequence = send_to(g, m, stored);
		g->waiting--;
	}
	return true;
}

static void
pump_group(struct group *g)
{
	struct em_error err = EM_ERROR_INIT;
	struct em_span stored;
	unsigned n = 0;

	if (TAILQ_EMPTY(&g->members) || !pump_waiting(g, &err))
		goto out;
	while (n++ < PUMP_EVENTS && g->reader.position < em_segment_end(g->topic->log)) {
		struct flight f = { 0 };

		if (choose(g, 0) == NULL || em_segment_next(&g->reader, &stored, &err) != 1)
			break;
		f.position = g->reader.position - stored.len - 8;
		f.size_bytes = (uint32_t)stored.len;
		f.member = choose(g, stored.len);
		if (f.member == NULL) {		/* it does not fit now: it is the next one again */
			em_segment_reader_seek(&g->reader, f.position);
			break;
		}
		f.sequence = send_to(g, f.member, stored);
		push(g, f);
	}
out:
	if (err.code != EM_OK)
		em_log(EM_ERROR, g->topic->name, "group \"%s\" stands still: %s", g->name != NULL ? g->name : "broadcast",
		    em_error_text(&err));
	em_error_clear(&err);
	store_position(g);
}

void
topics_pump(struct topics *t)
{
	struct topic *topic;
	struct group *g;

	TAILQ_FOREACH(topic, &t->topics, link)
		TAILQ_FOREACH(g, &topic->groups, link)
			pump_group(g);
}

struct member *
member_join(struct topic *topic, struct em_span group, void *cookie, struct em_error *err)
{
	struct group *g = group.bytes != NULL ? group_get(topic, group, err) : group_new(topic, group, err);
	struct member *m;

	if (g == NULL)
		return NULL;
	m = em_calloc(1, sizeof(*m));
	m->group = g;
	m->cookie = cookie;
	TAILQ_INSERT_TAIL(&g->members, m, link);
	return m;
}

void
member_window(struct member *m, uint32_t records, uint32_t size_bytes)
{
	m->window_records = records;
	m->window_bytes = size_bytes;
}

void
member_leave(struct member *m)
{
	struct group *g = m->group;

	for (size_t i = 0; i < g->count; i++) {
		struct flight *f = &g->flights[g->first + i];

		if (f->member == m && !f->done) {
			f->member = NULL;
			g->waiting++;
		} else if (f->member == m) {
			f->member = NULL;
		}
	}
	TAILQ_REMOVE(&g->members, m, link);
	free(m);
	if (g->name == NULL)
		group_free(g);
}

bool
member_ack(struct member *m, uint64_t sequence, bool cumulative)
{
	struct group *g = m->group;
	bool found = false;

	for (size_t i = 0; i < g->count; i++) {
		struct flight *f = &g->flights[g->first + i];

		if (f->member != m || f->done || (cumulative ? f->sequence > sequence : f->sequence != sequence))
			continue;
		f->done = true;
		m->records--;
		m->size_bytes -= f->size_bytes;
		found = true;
		if (!cumulative || f->sequence == sequence)
			break;
	}
	pop_done(g);
	return found;
}

/* ---- topics ---- */

static struct topic *
topic_open(struct topics *t, struct em_span name, struct em_error *err)
{
	struct topic *topic = em_calloc(1, sizeof(*topic));
	uint64_t cut = 0;
	char *dir;

	topic->topics = t;
	topic->name = em_span_dup(name);
	topic->file_name = file_name_of(name);
	TAILQ_INIT(&topic->groups);
	dir = em_asprintf("%s/topics/%s", t->data_dir, topic->file_name);
	topic->log = em_segment_open(dir, t->config.segment_bytes, &cut, err);
	free(dir);
	if (topic->log == NULL) {
		free(topic->name);
		free(topic->file_name);
		free(topic);
		return NULL;
	}
	if (cut > 0)
		em_log(EM_WARNING, topic->name, "the log ended in a record that was not written whole, %llu bytes were cut off",
		    (unsigned long long)cut);
	TAILQ_INSERT_TAIL(&t->topics, topic, link);
	return topic;
}

struct topics *
topics_open(const struct topics_config *config, const struct topics_ops *ops, struct em_error *err)
{
	struct topics *t = em_calloc(1, sizeof(*t));
	char *dir = em_asprintf("%s/topics", config->data_dir);

	t->config = *config;
	t->data_dir = em_strdup(config->data_dir);
	t->ops = ops;
	TAILQ_INIT(&t->topics);
	if ((mkdir(config->data_dir, 0750) != 0 && errno != EEXIST) || (mkdir(dir, 0750) != 0 && errno != EEXIST))
		em_error_errno(err, errno, "making \"%s\"", dir);
	free(dir);
	if (err->code == EM_OK && load_groups(t, err) == 0)
		return t;
	topics_close(t);
	return NULL;
}

void
topics_close(struct topics *t)
{
	struct topic *topic;
	struct group *g;

	if (t == NULL)
		return;
	while ((topic = TAILQ_FIRST(&t->topics)) != NULL) {
		while ((g = TAILQ_FIRST(&topic->groups)) != NULL) {
			struct member *m;

			while ((m = TAILQ_FIRST(&g->members)) != NULL) {
				TAILQ_REMOVE(&g->members, m, link);
				free(m);
			}
			group_free(g);
		}
		TAILQ_REMOVE(&t->topics, topic, link);
		em_segment_close(topic->log);
		free(topic->name);
		free(topic->file_name);
		free(topic);
	}
	em_buf_clear(&t->head);
	free(t->data_dir);
	free(t);
}

struct topic *
topics_get(struct topics *t, struct em_span name, struct em_error *err)
{
	struct topic *topic;

	if (t->last != NULL && em_span_is(name, t->last->name))
		return t->last;
	if (name.len == 0 || name.len > 200) {
		em_error_set(err, EM_EUSAGE, "a topic's name must have 1 to 200 bytes, not %zu", name.len);
		return NULL;
	}
	TAILQ_FOREACH(topic, &t->topics, link)
		if (em_span_is(name, topic->name))
			break;
	if (topic == NULL)
		topic = topic_open(t, name, err);
	t->last = topic;
	return topic;
}

void
topic_append(struct topic *topic, enum em_mesh_form form, struct em_span id, struct em_span body)
{
	struct em_buf *head = &topic->topics->head;

	em_buf_reset(head);
	em_buf_u8(head, (uint8_t)form);
	em_buf_lspan(head, id);
	em_segment_append(topic->log, em_buf_view(head), body);
	topic->appended = true;
}

int
topics_flush(struct topics *t, bool sync, struct em_error *err)
{
	struct topic *topic;

	TAILQ_FOREACH(topic, &t->topics, link) {
		if (!topic->appended)
			continue;
		topic->appended = false;
		if (em_segment_flush(topic->log, err) != 0 || (sync && em_segment_sync(topic->log, err) != 0))
			em_error_prefix(err, "topic \"%s\"", topic->name);
	}
	return err->code == EM_OK ? 0 : -1;
}

void
topics_sync(struct topics *t, struct em_error *err)
{
	struct topic *topic;

	TAILQ_FOREACH(topic, &t->topics, link)
		if (em_segment_is_dirty(topic->log))
			(void)em_segment_sync(topic->log, err);
}

void
topics_retain(struct topics *t)
{
	struct topic *topic;
	struct group *g;

	TAILQ_FOREACH(topic, &t->topics, link) {
		uint64_t before = em_segment_retain(topic->log, t->config.retain_bytes, t->config.retain_s);

		TAILQ_FOREACH(g, &topic->groups, link)
			if (g->name != NULL && group_position(g) < before)
				em_log(EM_WARNING, topic->name, "group \"%s\" is too slow: events it has not had go by retention",
				    g->name);
		em_segment_trim(topic->log, before);
	}
}
