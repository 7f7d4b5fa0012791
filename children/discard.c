/* Connector "discard": counts records and forgets them; slow or failing on request (emconnector-discard(7)). */
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "emconnector.h"
#include "pattern.h"

static const char *const failures[] = { "none", "retry", "reject", NULL };
enum { NONE, RETRY, REJECT };

struct config {
	int64_t	delay_ms, fail, fail_every, fail_for_ms;
	bool	verify;
};

#define FIELD(name) .field = offsetof(struct config, name)

static const struct em_option options[] = {
	{ .name = "delay", .type = EM_OPTION_DURATION, .fallback = "0ms", .min = 0, .max = 5000, FIELD(delay_ms),
	  .help = "how long each batch takes" },
	{ .name = "fail", .type = EM_OPTION_CHOICE, .choices = failures, .fallback = "none", FIELD(fail),
	  .help = "what is answered for the records that fail.every and fail.for choose" },
	{ .name = "fail.every", .type = EM_OPTION_INT, .fallback = "1", .min = 1, .max = INT64_MAX,
	  FIELD(fail_every), .help = "every how manieth record fails" },
	{ .name = "fail.for", .type = EM_OPTION_DURATION, .fallback = "0ms", FIELD(fail_for_ms),
	  .help = "how long after the start records fail; 0ms: always" },
	{ .name = "verify", .type = EM_OPTION_BOOL, .fallback = "false", FIELD(verify),
	  .help = "reject records whose data is not as the connector \"generate\" made it" },
	{ 0 },
};

struct sink {
	const struct config *config;
	uint64_t	 seen, counted, failed, wrong, size_bytes;
	struct timespec	 started;
	struct em_buf	 scratch;
};

static int
discard_open(struct em_task *t, void *config, struct em_error *err)
{
	struct sink *s = em_calloc(1, sizeof(*s));

	(void)err;
	s->config = config;
	clock_gettime(CLOCK_MONOTONIC, &s->started);
	em_task_set(t, s);
	return 0;
}

static void
discard_close(struct em_task *t)
{
	struct sink *s = em_task_get(t);

	em_task_log(t, EM_INFO, "discarded %llu records with %llu bytes, failed %llu on request, %llu were wrong",
	    (unsigned long long)s->counted, (unsigned long long)s->size_bytes, (unsigned long long)s->failed,
	    (unsigned long long)s->wrong);
	em_buf_clear(&s->scratch);
	free(s);
}

static bool
is_failing(const struct sink *s)
{
	struct timespec now;

	if (s->config->fail == NONE || s->config->fail_for_ms == 0)
		return s->config->fail != NONE;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - s->started.tv_sec) * 1000 + (now.tv_nsec - s->started.tv_nsec) / 1000000 <
	    s->config->fail_for_ms;
}

static bool
is_wrong(struct sink *s, const struct em_record *record)
{
	struct em_span type = record->field[EM_FIELD_DATACONTENTTYPE];
	enum pattern_content content = PATTERN_TEXT;

	if (!s->config->verify)
		return false;
	while (content < PATTERN_CONTENTS && !em_span_is(type, pattern_rows[content].type))
		content++;
	return content == PATTERN_CONTENTS || !pattern_check(record->field[EM_FIELD_DATA], content, &s->scratch);
}

/* Whether an earlier record of this batch with the same key is to be tried again: then this one must wait, too. */
static bool
is_behind(const struct em_record *records, const bool *again, uint32_t i)
{
	struct em_span key = records[i].field[EM_FIELD_KEY];

	for (uint32_t k = 0; key.bytes != NULL && k < i; k++)
		if (again[k] && em_span_eq(records[k].field[EM_FIELD_KEY], key))
			return true;
	return false;
}

static int
discard_put(struct em_task *t, const struct em_record *records, uint32_t count, struct em_error *err)
{
	struct sink *s = em_task_get(t);
	bool failing = is_failing(s), *again = em_calloc(count, sizeof(*again));

	(void)err;
	if (s->config->delay_ms > 0)
		usleep((useconds_t)(s->config->delay_ms * 1000));
	for (uint32_t i = 0; i < count; i++) {
		bool fails = failing && ++s->seen % (uint64_t)s->config->fail_every == 0;

		again[i] = failing && s->config->fail == RETRY && (fails || is_behind(records, again, i));
		if (again[i]) {
			s->failed++;
			em_task_result(t, i, 1, EM_PUT_RETRY, fails ? "discard was told to fail" :
			    "an earlier record of its key is to be tried again");
		} else if (fails) {
			s->failed++;
			em_task_result(t, i, 1, EM_PUT_REJECTED, "discard was told to fail");
		} else if (is_wrong(s, &records[i])) {
			s->wrong++;
			em_task_result(t, i, 1, EM_PUT_REJECTED, "it is not as \"generate\" made it");
		} else {
			s->counted++;
			s->size_bytes += records[i].field[EM_FIELD_DATA].len;
		}
	}
	free(again);
	em_task_metric(t, "discarded_total", (double)s->counted);
	em_task_metric(t, "discarded_bytes_total", (double)s->size_bytes);
	return 0;
}

static const struct em_connector connector = {
	.name = "discard", .version = EM_VERSION, .help = "counts records and forgets them, for tests and benchmarks",
	.roles = EM_ROLE_SINK, .options = options, .config_size = sizeof(struct config),
	.open = discard_open, .close = discard_close, .put = discard_put,
};

int
main(int argc, char **argv)
{
	return em_connector_main(&connector, argc, argv);
}
