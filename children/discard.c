/* Connector "discard": counts records and forgets them; can be slow or fail on purpose (emconnector-discard(7)). */
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "emconnector.h"

static const char *const failures[] = { "none", "retry", "reject", NULL };
enum { NONE, RETRY, REJECT };

struct config {
	int64_t	delay_ms, fail, fail_every, fail_for_ms;
};

#define FIELD(name) .field = offsetof(struct config, name)

static const struct em_option options[] = {
	{ .name = "delay", .type = EM_OPTION_DURATION, .fallback = "0ms", .min = 0, .max = 5000, FIELD(delay_ms),
	  .help = "how long each batch takes" },
	{ .name = "fail", .type = EM_OPTION_CHOICE, .choices = failures, .fallback = "none", FIELD(fail),
	  .help = "what is answered for the records that fail.every and fail.for choose" },
	{ .name = "fail.every", .type = EM_OPTION_INT, .fallback = "1", .min = 1, .max = INT64_MAX, FIELD(fail_every),
	  .help = "every how manieth record fails" },
	{ .name = "fail.for", .type = EM_OPTION_DURATION, .fallback = "0ms", FIELD(fail_for_ms),
	  .help = "how long after the start records fail; 0ms: always" },
	{ 0 },
};

struct sink {
	const struct config *config;
	uint64_t	 seen, counted, size_bytes;
	time_t		 started;
};

static int
discard_open(struct em_task *t, void *config, struct em_error *err)
{
	struct sink *s = em_calloc(1, sizeof(*s));

	(void)err;
	s->config = config;
	s->started = time(NULL);
	em_task_set(t, s);
	return 0;
}

static void
discard_close(struct em_task *t)
{
	struct sink *s = em_task_get(t);

	em_task_log(t, EM_INFO, "discarded %llu records with %llu bytes", (unsigned long long)s->counted,
	    (unsigned long long)s->size_bytes);
	free(s);
}

static bool
is_failing(const struct sink *s)
{
	return s->config->fail != NONE &&
	    (s->config->fail_for_ms == 0 || (time(NULL) - s->started) * 1000 < s->config->fail_for_ms);
}

static int
discard_put(struct em_task *t, const struct em_record *records, uint32_t count, struct em_error *err)
{
	struct sink *s = em_task_get(t);
	bool failing = is_failing(s);

	(void)err;
	if (s->config->delay_ms > 0)
		usleep((useconds_t)(s->config->delay_ms * 1000));
	for (uint32_t i = 0; i < count; i++) {
		if (failing && ++s->seen % (uint64_t)s->config->fail_every == 0) {
			em_task_result(t, i, 1, s->config->fail == RETRY ? EM_PUT_RETRY : EM_PUT_REJECTED,
			    "discard was told to fail");
			continue;
		}
		s->counted++;
		s->size_bytes += records[i].field[EM_FIELD_DATA].len;
	}
	em_task_metric(t, "discarded_total", (double)s->counted);
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
