/* Connector "generate": records made on the spot, for tests and benchmarks (emconnector-generate(7)). */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "emconnector.h"
#include "pattern.h"

static const char *const contents[] = { "text", "json", "binary", NULL };
_Static_assert(sizeof(contents) / sizeof(contents[0]) == PATTERN_CONTENTS + 1, "a name for every content");

struct config {
	int64_t	size, rate, count, keys, partitions, content;
};

#define FIELD(name) .field = offsetof(struct config, name)

static const struct em_option options[] = {
	{ .name = "size", .type = EM_OPTION_SIZE, .fallback = "1K", .min = 1, .max = 8 << 20, FIELD(size),
	  .help = "bytes of data of each record, at least what its number needs" },
	{ .name = "rate", .type = EM_OPTION_INT, .fallback = "0", .min = 0, .max = 10000000, FIELD(rate),
	  .help = "records a second of each task; 0: as fast as they are taken" },
	{ .name = "count", .type = EM_OPTION_INT, .fallback = "0", .min = 0, .max = INT64_MAX, FIELD(count),
	  .help = "records in all, then the task is finished; 0: without end" },
	{ .name = "keys", .type = EM_OPTION_INT, .fallback = "0", .min = 0, .max = 1000000000, FIELD(keys),
	  .help = "how many different keys the records have; 0: no keys" },
	{ .name = "partitions", .type = EM_OPTION_INT, .fallback = "1", .min = 1, .max = 100000,
	  FIELD(partitions), .help = "how many partitions the records are spread over" },
	{ .name = "content", .type = EM_OPTION_CHOICE, .choices = contents, .fallback = "text", FIELD(content),
	  .help = "what the data is" },
	{ 0 },
};

struct partition {
	int64_t	number;		/* it has had as many records */
	int64_t	quota;		/* it gets as many in all */
};

struct source {
	const struct config *config;
	struct partition *partitions;	/* all; those of other tasks have nothing left */
	int64_t		 left;		/* records of all partitions of this task */
	int64_t		 turn;		/* the partition that is next */
	double		 allowance;	/* records that the rate allows now */
	struct timespec	 last;
	struct em_buf	 data;
};

/* A task makes the partitions whose number modulo the tasks is its own, so that no record is made twice. */
static void
place(struct em_task *t, struct source *s, int64_t i)
{
	const struct config *c = s->config;
	struct partition *p = &s->partitions[i];
	char *name, *offset;

	if (i % em_task_count(t) != em_task_number(t))
		return;
	name = em_asprintf("%lld", (long long)i);
	offset = em_span_dup(em_task_offset(t, em_span_str(name)));
	p->number = strtoll(offset, NULL, 10);
	p->quota = c->count == 0 ? INT64_MAX : c->count / c->partitions + (i < c->count % c->partitions);
	if (p->quota > p->number && s->left < INT64_MAX - (p->quota - p->number))
		s->left += p->quota - p->number;
	else if (p->quota > p->number)
		s->left = INT64_MAX;
	free(offset);
	free(name);
}

static int
generate_open(struct em_task *t, void *config, struct em_error *err)
{
	struct source *s = em_calloc(1, sizeof(*s));

	(void)err;
	s->config = config;
	s->partitions = em_calloc((size_t)s->config->partitions, sizeof(*s->partitions));
	for (int64_t i = 0; i < s->config->partitions; i++)
		place(t, s, i);
	clock_gettime(CLOCK_MONOTONIC, &s->last);
	em_task_set(t, s);
	return 0;
}

static void
generate_close(struct em_task *t)
{
	struct source *s = em_task_get(t);

	em_buf_clear(&s->data);
	free(s->partitions);
	free(s);
}

/* The next partition in turn that still gets records; there is one while any are left. */
static int64_t
take_turn(struct source *s)
{
	int64_t i;

	do {
		i = s->turn;
		s->turn = (s->turn + 1) % s->config->partitions;
	} while (s->partitions[i].number >= s->partitions[i].quota);
	return i;
}

static int
make(struct em_task *t, struct source *s, struct em_error *err)
{
	const struct config *c = s->config;
	int64_t i = take_turn(s), number = s->partitions[i].number;
	char partition[24], offset[24], key[32];
	struct em_record record = { 0 };

	pattern_fill(&s->data, (enum pattern_content)c->content, (size_t)c->size, i, number);
	snprintf(partition, sizeof(partition), "%lld", (long long)i);
	snprintf(offset, sizeof(offset), "%lld", (long long)number + 1);
	record.field[EM_FIELD_PARTITION] = em_span_str(partition);
	record.field[EM_FIELD_OFFSET] = em_span_str(offset);
	record.field[EM_FIELD_DATA] = em_buf_view(&s->data);
	record.field[EM_FIELD_DATACONTENTTYPE] = em_span_str(pattern_rows[c->content].type);
	if (c->keys > 0) {	/* follows from the record, so that a repeated record has the same */
		snprintf(key, sizeof(key), "key-%lld", (long long)((number * c->partitions + i) % c->keys));
		record.field[EM_FIELD_KEY] = em_span_str(key);
	}
	if (em_task_add(t, &record, err) != 0)
		return em_error_prefix(err, "record %lld of partition %lld", (long long)number, (long long)i);
	s->partitions[i].number++;
	s->left--;
	return 0;
}

/* How many records may be made now. */
static int64_t
allowed(struct source *s)
{
	struct timespec now;

	if (s->config->rate == 0)
		return INT64_MAX;
	clock_gettime(CLOCK_MONOTONIC, &now);
	s->allowance += ((double)(now.tv_sec - s->last.tv_sec) + (double)(now.tv_nsec - s->last.tv_nsec) / 1e9) *
	    (double)s->config->rate;
	s->last = now;
	if (s->allowance > (double)s->config->rate)
		s->allowance = (double)s->config->rate;
	return (int64_t)s->allowance;
}

static enum em_poll
generate_poll(struct em_task *t, struct em_error *err)
{
	struct source *s = em_task_get(t);
	int64_t may = allowed(s);

	for (; s->left > 0 && may > 0 && em_task_room(t) > 0; may--) {
		if (make(t, s, err) != 0)
			return EM_POLL_FAILED;
		s->allowance -= 1;
	}
	if (s->left == 0)
		return EM_POLL_END;
	if (may > 0)
		return EM_POLL_MORE;
	em_task_wake_after(t, s->config->rate >= 100 ? 10 : 1000 / s->config->rate);
	return EM_POLL_IDLE;
}

static const struct em_connector connector = {
	.name = "generate", .version = EM_VERSION, .help = "records made on the spot, for tests and benchmarks",
	.roles = EM_ROLE_SOURCE, .options = options, .config_size = sizeof(struct config),
	.open = generate_open, .close = generate_close, .poll = generate_poll,
};

int
main(int argc, char **argv)
{
	return em_connector_main(&connector, argc, argv);
}
