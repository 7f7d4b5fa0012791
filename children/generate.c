/* Connector "generate": records made on the spot, for tests and benchmarks (emconnector-generate(7)). */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "emconnector.h"

static const char *const contents[] = { "text", "json", "binary", NULL };
enum { TEXT, JSON, BINARY };

struct config {
	int64_t	size, rate, count, keys, partitions, content;
};

#define FIELD(name) .field = offsetof(struct config, name)

static const struct em_option options[] = {
	{ .name = "size", .type = EM_OPTION_SIZE, .fallback = "1K", .min = 1, .max = 8 << 20, FIELD(size),
	  .help = "bytes of data of each record, at least what its number needs" },
	{ .name = "rate", .type = EM_OPTION_INT, .fallback = "0", .min = 0, .max = 10000000, FIELD(rate),
	  .help = "records a second; 0: as fast as they are taken" },
	{ .name = "count", .type = EM_OPTION_INT, .fallback = "0", .min = 0, .max = INT64_MAX, FIELD(count),
	  .help = "records in all, then the task is finished; 0: without end" },
	{ .name = "keys", .type = EM_OPTION_INT, .fallback = "0", .min = 0, .max = 1000000000, FIELD(keys),
	  .help = "how many different keys the records have; 0: no keys" },
	{ .name = "partitions", .type = EM_OPTION_INT, .fallback = "1", .min = 1, .max = 100000, FIELD(partitions),
	  .help = "how many partitions the records are spread over" },
	{ .name = "content", .type = EM_OPTION_CHOICE, .choices = contents, .fallback = "text", FIELD(content),
	  .help = "what the data is" },
	{ 0 },
};

struct source {
	const struct config *config;
	int64_t		*next;		/* of each partition: how many it has had */
	int64_t		 made;		/* in all, committed ones included */
	double		 allowance;	/* records that the rate allows now */
	struct timespec	 last;
	struct em_buf	 data;
};

static int
generate_open(struct em_task *t, void *config, struct em_error *err)
{
	struct source *s = em_calloc(1, sizeof(*s));

	(void)err;
	s->config = config;
	s->next = em_calloc((size_t)s->config->partitions, sizeof(*s->next));
	for (int64_t i = 0; i < s->config->partitions; i++) {
		char *partition = em_asprintf("%lld", (long long)i);
		char *offset = em_span_dup(em_task_offset(t, em_span_str(partition)));

		s->next[i] = strtoll(offset, NULL, 10);
		s->made += s->next[i];
		free(offset);
		free(partition);
	}
	clock_gettime(CLOCK_MONOTONIC, &s->last);
	em_task_set(t, s);
	return 0;
}

static void
generate_close(struct em_task *t)
{
	struct source *s = em_task_get(t);

	em_buf_clear(&s->data);
	free(s->next);
	free(s);
}

/* The number of the record, then filler that follows from it. */
static void
fill(struct source *s, int64_t partition, int64_t number)
{
	size_t size = (size_t)s->config->size, quotes = s->config->content == JSON ? 1 : 0;
	uint32_t x = (uint32_t)(partition * 2654435761u + number);

	em_buf_reset(&s->data);
	em_buf_printf(&s->data, quotes > 0 ? "\"%lld:%lld:" : "%lld:%lld:", (long long)partition, (long long)number);
	while (s->data.len + quotes < size) {
		x = x * 1664525u + 1013904223u;
		em_buf_u8(&s->data, s->config->content == BINARY ? (uint8_t)(x >> 24) : (uint8_t)('a' + (x >> 24) % 26));
	}
	if (quotes > 0)
		em_buf_u8(&s->data, '"');
}

static const struct em_span types[] = {
	[TEXT] = EM_SPAN_LITERAL("text/plain"), [JSON] = EM_SPAN_LITERAL("application/json"),
	[BINARY] = EM_SPAN_LITERAL("application/octet-stream"),
};

static int
make(struct em_task *t, struct source *s, struct em_error *err)
{
	int64_t p = s->made % s->config->partitions, number = s->next[p];
	char partition[24], offset[24], key[32];
	struct em_record record = { 0 };

	fill(s, p, number);
	snprintf(partition, sizeof(partition), "%lld", (long long)p);
	snprintf(offset, sizeof(offset), "%lld", (long long)number + 1);
	record.field[EM_FIELD_PARTITION] = em_span_str(partition);
	record.field[EM_FIELD_OFFSET] = em_span_str(offset);
	record.field[EM_FIELD_DATA] = em_buf_view(&s->data);
	record.field[EM_FIELD_DATACONTENTTYPE] = types[s->config->content];
	if (s->config->keys > 0) {
		snprintf(key, sizeof(key), "key-%lld", (long long)(s->made % s->config->keys));
		record.field[EM_FIELD_KEY] = em_span_str(key);
	}
	if (em_task_add(t, &record, err) != 0)
		return -1;
	s->next[p]++;
	s->made++;
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

	for (; may > 0 && em_task_room(t) > 0; may--) {
		if (s->config->count > 0 && s->made >= s->config->count)
			return EM_POLL_END;
		if (make(t, s, err) != 0)
			return EM_POLL_FAILED;
		s->allowance -= 1;
	}
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
