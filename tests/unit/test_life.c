/* The life of a task: every cell against a list of its own, and long walks against the promises of life.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "life.h"

#define STAYS	-2
#define FOREVER	-1

static const struct life_policy policy = { .min_ms = 1000, .max_ms = 60000, .failures = 3, .window_ms = 600000 };

/* What the events do, written down a second time as a list; what is not in it changes nothing. */
static const struct {
	enum life_state	 state, next;
	enum life_event	 event;
	enum life_action action;
	int64_t		 limit_ms;
} cells[] = {
	{ LIFE_STOPPED, LIFE_STARTING, LIFE_UP, LIFE_START, 30000 },
	{ LIFE_STARTING, LIFE_STOPPING, LIFE_DOWN, LIFE_STOP, 5000 },
	{ LIFE_STARTING, LIFE_RUNNING, LIFE_READY, LIFE_NOTHING, FOREVER },
	{ LIFE_STARTING, LIFE_BACKOFF, LIFE_EXITED, LIFE_NOTHING, 1000 },
	{ LIFE_STARTING, LIFE_BREAKING, LIFE_BROKEN, LIFE_KILL, 5000 },
	{ LIFE_STARTING, LIFE_BREAKING, LIFE_HOPELESS, LIFE_KILL, 5000 },
	{ LIFE_STARTING, LIFE_BREAKING, LIFE_TIME, LIFE_KILL, 5000 },
	{ LIFE_RUNNING, LIFE_DRAINING, LIFE_DOWN, LIFE_DRAIN, 10000 },
	{ LIFE_RUNNING, LIFE_FINISHING, LIFE_ENDED, LIFE_STOP, 5000 },
	{ LIFE_RUNNING, LIFE_BACKOFF, LIFE_EXITED, LIFE_NOTHING, 1000 },
	{ LIFE_RUNNING, LIFE_BREAKING, LIFE_BROKEN, LIFE_KILL, 5000 },
	{ LIFE_RUNNING, LIFE_BREAKING, LIFE_HOPELESS, LIFE_KILL, 5000 },
	{ LIFE_DRAINING, LIFE_STOPPING, LIFE_DRAINED, LIFE_STOP, 5000 },
	{ LIFE_DRAINING, LIFE_STOPPED, LIFE_EXITED, LIFE_NOTHING, FOREVER },
	{ LIFE_DRAINING, LIFE_KILLING, LIFE_BROKEN, LIFE_KILL, 5000 },
	{ LIFE_DRAINING, LIFE_KILLING, LIFE_HOPELESS, LIFE_KILL, 5000 },
	{ LIFE_DRAINING, LIFE_STOPPING, LIFE_TIME, LIFE_STOP, 5000 },
	{ LIFE_STOPPING, LIFE_STOPPED, LIFE_EXITED, LIFE_NOTHING, FOREVER },
	{ LIFE_STOPPING, LIFE_TERMINATING, LIFE_TIME, LIFE_TERM, 3000 },
	{ LIFE_TERMINATING, LIFE_STOPPED, LIFE_EXITED, LIFE_NOTHING, FOREVER },
	{ LIFE_TERMINATING, LIFE_KILLING, LIFE_TIME, LIFE_KILL, 5000 },
	{ LIFE_KILLING, LIFE_STOPPED, LIFE_EXITED, LIFE_NOTHING, FOREVER },
	{ LIFE_KILLING, LIFE_KILLING, LIFE_TIME, LIFE_KILL, 5000 },
	{ LIFE_BREAKING, LIFE_BACKOFF, LIFE_EXITED, LIFE_NOTHING, 1000 },
	{ LIFE_BREAKING, LIFE_KILLING, LIFE_DOWN, LIFE_KILL, 5000 },
	{ LIFE_BREAKING, LIFE_BREAKING, LIFE_TIME, LIFE_KILL, 5000 },
	{ LIFE_FINISHING, LIFE_FINISHED, LIFE_EXITED, LIFE_NOTHING, FOREVER },
	{ LIFE_FINISHING, LIFE_STOPPING, LIFE_DOWN, LIFE_NOTHING, 5000 },
	{ LIFE_FINISHING, LIFE_FINISHING, LIFE_TIME, LIFE_KILL, 5000 },
	{ LIFE_BACKOFF, LIFE_STOPPED, LIFE_DOWN, LIFE_NOTHING, FOREVER },
	{ LIFE_BACKOFF, LIFE_STARTING, LIFE_TIME, LIFE_START, 30000 },
	{ LIFE_BACKOFF, LIFE_FAILED, LIFE_HOPELESS, LIFE_NOTHING, FOREVER },
	{ LIFE_FAILED, LIFE_STARTING, LIFE_UP, LIFE_START, 30000 },
	{ LIFE_FAILED, LIFE_STOPPED, LIFE_DOWN, LIFE_NOTHING, FOREVER },
	{ LIFE_FINISHED, LIFE_STARTING, LIFE_UP, LIFE_START, 30000 },
	{ LIFE_FINISHED, LIFE_STOPPED, LIFE_DOWN, LIFE_NOTHING, FOREVER },
};

/* A task in the state, wanted there as it would be on the way to it. */
static struct life
in_state(enum life_state state)
{
	return (struct life){ .state = state, .up = state == LIFE_STARTING || state == LIFE_RUNNING ||
	    state == LIFE_BREAKING || state == LIFE_FINISHING || state == LIFE_BACKOFF };
}

static void
test_life_I1_every_cell(void **state)
{
	unsigned found = 0;

	(void)state;
	for (enum life_state s = 0; s < LIFE_STATES; s++) {
		for (enum life_event e = 0; e < LIFE_EVENTS; e++) {
			struct life l = in_state(s), before = l;
			enum life_state next = s;
			enum life_action action = LIFE_NOTHING, got;
			int64_t limit_ms = STAYS, got_ms = 0;

			for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
				if (cells[i].state != s || cells[i].event != e)
					continue;
				found++;
				next = cells[i].next;
				action = cells[i].action;
				limit_ms = cells[i].limit_ms;
			}
			got = life_step(&l, &policy, e, 5000, 0, &got_ms);
			if (l.state != next || got != action || got_ms != limit_ms)
				fail_msg("state %u event %u: state %u action %u limit %lld", s, e, l.state, got,
				    (long long)got_ms);
			if (limit_ms == STAYS) {	/* but for what is wanted */
				before.up = l.up;
				assert_memory_equal(&l, &before, sizeof(l));
			}
		}
	}
	assert_int_equal(found, sizeof(cells) / sizeof(cells[0]));
}

static enum life_action
step_at(struct life *l, enum life_event event, int64_t now_ms, int64_t *limit_ms)
{
	return life_step(l, &policy, event, now_ms, 0, limit_ms);
}

static void
test_life_I2_delay_doubles_up_to_max(void **state)
{
	static const struct life_policy patient = { .min_ms = 1000, .max_ms = 60000, .failures = 60, .window_ms = 1 << 30 };
	static const int64_t expected[] = { 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000 };
	struct life l = { .state = LIFE_STARTING, .up = true };
	int64_t limit_ms, now = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		life_step(&l, &patient, LIFE_EXITED, now += 10, 0, &limit_ms);
		assert_int_equal(l.state, LIFE_BACKOFF);
		assert_int_equal(limit_ms, expected[i]);
		life_step(&l, &patient, LIFE_TIME, now += limit_ms, 0, &limit_ms);
		assert_int_equal(l.state, LIFE_STARTING);
	}
}

static void
test_life_I2_chance_takes_up_to_half(void **state)
{
	(void)state;
	for (unsigned i = 0; i <= 16; i++) {
		struct life l = { .state = LIFE_STARTING, .up = true };
		uint32_t chance = i == 16 ? UINT32_MAX : i << 28;
		int64_t limit_ms, expected = 1000 - (int64_t)i * 500 / 16;

		life_step(&l, &policy, LIFE_EXITED, 0, chance, &limit_ms);
		assert_in_range(limit_ms, expected - 1, expected + 1);
	}
}

static void
test_life_I2_who_stayed_up_begins_anew(void **state)
{
	struct life l = { .state = LIFE_STARTING, .up = true };
	int64_t limit_ms, now = 0;

	(void)state;
	step_at(&l, LIFE_EXITED, now, &limit_ms);
	step_at(&l, LIFE_TIME, now += limit_ms, &limit_ms);
	step_at(&l, LIFE_READY, now += 20000, &limit_ms);	/* a long start is not a long life */
	step_at(&l, LIFE_EXITED, now += 9999, &limit_ms);
	assert_int_equal(limit_ms, 2000);
	step_at(&l, LIFE_TIME, now += limit_ms, &limit_ms);
	step_at(&l, LIFE_READY, now += 10, &limit_ms);
	step_at(&l, LIFE_BROKEN, now += 10000, &limit_ms);
	step_at(&l, LIFE_EXITED, now += 10, &limit_ms);
	assert_int_equal(l.state, LIFE_BACKOFF);
	assert_int_equal(limit_ms, 1000);
}

/* The policy allows 3 in 10 minutes. */
static void
test_life_I2_too_many_in_the_window_fail(void **state)
{
	struct life l = { .state = LIFE_STARTING, .up = true };
	int64_t limit_ms, now = 0;

	(void)state;
	for (int i = 0; i < 3; i++) {
		step_at(&l, LIFE_EXITED, now += 100, &limit_ms);
		assert_int_equal(l.state, LIFE_BACKOFF);
		step_at(&l, LIFE_TIME, now += limit_ms, &limit_ms);
	}
	step_at(&l, LIFE_EXITED, now += 100, &limit_ms);
	assert_int_equal(l.state, LIFE_FAILED);
	assert_int_equal(limit_ms, FOREVER);
	assert_true(life_is_at_rest(&l));
	assert_int_equal(step_at(&l, LIFE_UP, now += 100, &limit_ms), LIFE_START);	/* the operator forgives */
	step_at(&l, LIFE_EXITED, now += 100, &limit_ms);
	assert_int_equal(l.state, LIFE_BACKOFF);
	assert_int_equal(limit_ms, 1000);
}

static void
test_life_I2_failures_outside_the_window_do_not_count(void **state)
{
	struct life l = { .state = LIFE_STARTING, .up = true };
	int64_t limit_ms, now = 0;

	(void)state;
	for (int i = 0; i < 500; i++) {		/* more than are remembered, three in any 600001 ms */
		step_at(&l, LIFE_EXITED, now, &limit_ms);
		assert_int_equal(l.state, LIFE_BACKOFF);
		step_at(&l, LIFE_TIME, now + limit_ms, &limit_ms);
		now += 200001;
	}
}

static void
test_life_I2_largest_number_of_failures_still_counts(void **state)
{
	static const struct life_policy most = { 1, 1, LIFE_RECENT - 1, 1 << 30 };
	struct life l = { .state = LIFE_STARTING, .up = true };
	int64_t limit_ms, now = 0;
	unsigned failures = 0;

	(void)state;
	for (; l.state == LIFE_STARTING && failures < 1000; failures++) {
		life_step(&l, &most, LIFE_EXITED, now += 1, 0, &limit_ms);
		if (l.state == LIFE_BACKOFF)
			life_step(&l, &most, LIFE_TIME, now += 1, 0, &limit_ms);
	}
	assert_int_equal(l.state, LIFE_FAILED);
	assert_int_equal(failures, LIFE_RECENT);
}

static void
test_life_I2_hopeless_fails_at_once_and_a_start_forgives(void **state)
{
	static const enum life_state from[] = { LIFE_STARTING, LIFE_RUNNING };
	int64_t limit_ms;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct life l = in_state(from[i]);

		assert_int_equal(step_at(&l, LIFE_HOPELESS, 0, &limit_ms), LIFE_KILL);
		step_at(&l, LIFE_EXITED, 1, &limit_ms);
		assert_int_equal(l.state, LIFE_FAILED);
		step_at(&l, LIFE_UP, 2, &limit_ms);
		step_at(&l, LIFE_EXITED, 3, &limit_ms);
		assert_int_equal(l.state, LIFE_BACKOFF);
	}
}

static void
test_life_I3_the_ladder_of_a_stop(void **state)
{
	static const enum life_action ladder[] = { LIFE_STOP, LIFE_TERM, LIFE_KILL, LIFE_KILL, LIFE_KILL };
	static const int64_t limits_ms[] = { 5000, 3000, 5000, 5000, 5000 };
	struct life l = in_state(LIFE_RUNNING);
	int64_t limit_ms;

	(void)state;
	assert_int_equal(step_at(&l, LIFE_DOWN, 0, &limit_ms), LIFE_DRAIN);
	assert_int_equal(limit_ms, 10000);
	for (size_t i = 0; i < sizeof(ladder) / sizeof(ladder[0]); i++) {
		assert_int_equal(step_at(&l, LIFE_TIME, 0, &limit_ms), ladder[i]);
		assert_int_equal(limit_ms, limits_ms[i]);
		assert_string_equal(life_state_name(l.state), "draining");
	}
	step_at(&l, LIFE_EXITED, 0, &limit_ms);
	assert_int_equal(l.state, LIFE_STOPPED);
}

static void
test_life_I3_wanted_again_while_it_ends(void **state)
{
	static const enum life_state ending[] = { LIFE_DRAINING, LIFE_STOPPING, LIFE_TERMINATING, LIFE_KILLING };
	int64_t limit_ms;

	(void)state;
	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++) {
		struct life l = in_state(ending[i]);

		assert_int_equal(step_at(&l, LIFE_UP, 0, &limit_ms), LIFE_NOTHING);
		assert_int_equal(l.state, ending[i]);
		assert_int_equal(limit_ms, STAYS);
		assert_int_equal(step_at(&l, LIFE_EXITED, 0, &limit_ms), LIFE_START);
		assert_int_equal(l.state, LIFE_STARTING);
		assert_int_equal(limit_ms, 30000);
		l = in_state(ending[i]);
		step_at(&l, LIFE_UP, 0, &limit_ms);
		step_at(&l, LIFE_DOWN, 0, &limit_ms);	/* and changed one's mind */
		step_at(&l, LIFE_EXITED, 0, &limit_ms);
		assert_int_equal(l.state, LIFE_STOPPED);
	}
}

/* A world around the machine: one process that may be there, one timer. Only possible events are told. */
struct world {
	struct life	 life;
	bool		 process, up;
	int64_t		 now_ms, due_ms;	/* due: -1 never */
	int64_t		 failures_ms[4096];
	unsigned	 failures, starts;
};

static void
apply(struct world *w, enum life_event event)
{
	enum life_state before = w->life.state;
	int64_t limit_ms;
	enum life_action action;

	if (event == LIFE_EXITED)
		w->process = false;
	if (event == LIFE_UP || event == LIFE_DOWN)
		w->up = event == LIFE_UP;
	action = life_step(&w->life, &policy, event, w->now_ms, (uint32_t)rand(), &limit_ms);
	if (limit_ms != STAYS)
		w->due_ms = limit_ms < 0 ? -1 : w->now_ms + limit_ms;
	else
		assert_int_equal(action, LIFE_NOTHING);
	if (action == LIFE_START) {
		assert_false(w->process);	/* I4 */
		assert_true(w->up);
		w->process = true;
		w->starts++;
	} else if (action != LIFE_NOTHING) {
		assert_true(w->process);	/* nobody is signalled who is not there */
	}
	assert_int_equal(life_has_process(&w->life), w->process);
	if (life_is_at_rest(&w->life))
		assert_int_equal(w->due_ms, -1);
	else
		assert_true(w->due_ms >= 0 || w->life.state == LIFE_RUNNING);	/* it does not get stuck */
	if (w->life.state == LIFE_BACKOFF && before != LIFE_BACKOFF) {
		assert_in_range(w->due_ms - w->now_ms, policy.min_ms / 2, policy.max_ms);
		w->failures_ms[w->failures++ % 4096] = w->now_ms;
		if (w->failures > 3)
			assert_true(w->now_ms - w->failures_ms[(w->failures - 4) % 4096] > policy.window_ms);
	}
	if (event == LIFE_UP && (before == LIFE_STOPPED || before == LIFE_FAILED || before == LIFE_FINISHED))
		w->failures = 0;
}

static enum life_event
possible_event(const struct world *w)
{
	switch (rand() % 8) {
	case 0:
		return LIFE_UP;
	case 1:
		return LIFE_DOWN;
	case 2:
		return w->process ? LIFE_EXITED : LIFE_UP;
	case 3:
		return w->life.state == LIFE_STARTING ? LIFE_READY : LIFE_TIME;
	case 4:
		return w->life.state == LIFE_DRAINING ? LIFE_DRAINED : LIFE_TIME;
	case 5:
		return w->process && rand() % 4 == 0 ? LIFE_BROKEN : LIFE_TIME;
	case 6:
		return w->process && rand() % 16 == 0 ? LIFE_HOPELESS : LIFE_TIME;
	default:
		return w->life.state == LIFE_RUNNING && rand() % 8 == 0 ? LIFE_ENDED : LIFE_TIME;
	}
}

static void
settle(struct world *w)
{
	for (int i = 0; i < 100 && !life_is_at_rest(&w->life); i++) {
		w->now_ms = w->due_ms >= 0 ? w->due_ms : w->now_ms + 1;
		apply(w, w->process && w->life.state == LIFE_KILLING ? LIFE_EXITED : w->due_ms >= 0 ? LIFE_TIME : LIFE_DOWN);
	}
}

static void
test_life_random_walks(void **state)
{
	unsigned starts = 0;

	(void)state;
	for (unsigned seed = 1; seed <= 300; seed++) {
		struct world w = { .due_ms = -1 };

		srand(seed);
		for (int i = 0; i < 2000; i++) {
			enum life_event event = possible_event(&w);

			if (event == LIFE_TIME && w.due_ms < 0)
				continue;
			w.now_ms = event == LIFE_TIME ? w.due_ms : w.now_ms + rand() % (w.due_ms >= w.now_ms ?
			    (int)(w.due_ms - w.now_ms) + 1 : rand() % 100 == 0 ? 900000 : 15000);
			apply(&w, event);
		}
		apply(&w, LIFE_DOWN);	/* from wherever it is, a stop ends at rest without a process */
		settle(&w);
		assert_true(life_is_at_rest(&w.life));
		assert_false(w.process);
		starts += w.starts;
	}
	assert_true(starts > 10000);
}

static void
test_life_names_are_those_of_the_control_protocol(void **state)
{
	static const char *const names[] = { "stopped", "starting", "running", "draining", "draining", "draining",
		"draining", "backoff", "draining", "backoff", "failed", "finished" };

	(void)state;
	for (enum life_state s = 0; s < LIFE_STATES; s++)
		assert_string_equal(life_state_name(s), names[s]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life_I1_every_cell),
		cmocka_unit_test(test_life_I2_delay_doubles_up_to_max),
		cmocka_unit_test(test_life_I2_chance_takes_up_to_half),
		cmocka_unit_test(test_life_I2_who_stayed_up_begins_anew),
		cmocka_unit_test(test_life_I2_too_many_in_the_window_fail),
		cmocka_unit_test(test_life_I2_failures_outside_the_window_do_not_count),
		cmocka_unit_test(test_life_I2_largest_number_of_failures_still_counts),
		cmocka_unit_test(test_life_I2_hopeless_fails_at_once_and_a_start_forgives),
		cmocka_unit_test(test_life_I3_the_ladder_of_a_stop),
		cmocka_unit_test(test_life_I3_wanted_again_while_it_ends),
		cmocka_unit_test(test_life_random_walks),
		cmocka_unit_test(test_life_names_are_those_of_the_control_protocol),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
