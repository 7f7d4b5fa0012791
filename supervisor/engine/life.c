#include "life.h"

#include <stddef.h>

#include "retry.h"

#define STEADY_MS	10000

static const struct {
	const char	*name;
	int64_t		 limit_ms;	/* -1: none; BACKOFF's is the policy's */
	bool		 process, rest;
} states[] = {
	[LIFE_STOPPED] = { "stopped", -1, false, true },
	[LIFE_STARTING] = { "starting", 30000, true, false },
	[LIFE_RUNNING] = { "running", -1, true, false },
	[LIFE_DRAINING] = { "draining", 10000, true, false },
	[LIFE_STOPPING] = { "draining", 5000, true, false },
	[LIFE_TERMINATING] = { "draining", 3000, true, false },
	[LIFE_KILLING] = { "draining", 5000, true, false },
	[LIFE_BREAKING] = { "backoff", 5000, true, false },
	[LIFE_FINISHING] = { "draining", 5000, true, false },
	[LIFE_BACKOFF] = { "backoff", 0, false, false },
	[LIFE_FAILED] = { "failed", -1, false, true },
	[LIFE_FINISHED] = { "finished", -1, false, true },
};
_Static_assert(sizeof(states) / sizeof(states[0]) == LIFE_STATES, "a row for every state");

struct cell {
	enum life_state	 next;
	enum life_action action;
	bool		 go;		/* false: nothing happens */
};

#define GO(state, action) { LIFE_##state, LIFE_##action, true }

static const struct cell table[LIFE_STATES][LIFE_EVENTS] = {
	[LIFE_STOPPED] = { [LIFE_UP] = GO(STARTING, START) },
	[LIFE_STARTING] = { [LIFE_DOWN] = GO(STOPPING, STOP), [LIFE_READY] = GO(RUNNING, NOTHING),
	    [LIFE_EXITED] = GO(BACKOFF, NOTHING), [LIFE_BROKEN] = GO(BREAKING, KILL),
	    [LIFE_HOPELESS] = GO(BREAKING, KILL), [LIFE_TIME] = GO(BREAKING, KILL) },
	[LIFE_RUNNING] = { [LIFE_DOWN] = GO(DRAINING, DRAIN), [LIFE_ENDED] = GO(FINISHING, STOP),
	    [LIFE_EXITED] = GO(BACKOFF, NOTHING), [LIFE_BROKEN] = GO(BREAKING, KILL),
	    [LIFE_HOPELESS] = GO(BREAKING, KILL) },
	[LIFE_DRAINING] = { [LIFE_DRAINED] = GO(STOPPING, STOP), [LIFE_EXITED] = GO(STOPPED, NOTHING),
	    [LIFE_BROKEN] = GO(KILLING, KILL), [LIFE_HOPELESS] = GO(KILLING, KILL), [LIFE_TIME] = GO(STOPPING, STOP) },
	[LIFE_STOPPING] = { [LIFE_EXITED] = GO(STOPPED, NOTHING), [LIFE_TIME] = GO(TERMINATING, TERM) },
	[LIFE_TERMINATING] = { [LIFE_EXITED] = GO(STOPPED, NOTHING), [LIFE_TIME] = GO(KILLING, KILL) },
	[LIFE_KILLING] = { [LIFE_EXITED] = GO(STOPPED, NOTHING), [LIFE_TIME] = GO(KILLING, KILL) },
	[LIFE_BREAKING] = { [LIFE_EXITED] = GO(BACKOFF, NOTHING), [LIFE_DOWN] = GO(KILLING, KILL),
	    [LIFE_TIME] = GO(BREAKING, KILL) },
	[LIFE_FINISHING] = { [LIFE_EXITED] = GO(FINISHED, NOTHING), [LIFE_DOWN] = GO(STOPPING, NOTHING),
	    [LIFE_TIME] = GO(FINISHING, KILL) },
	[LIFE_BACKOFF] = { [LIFE_DOWN] = GO(STOPPED, NOTHING), [LIFE_TIME] = GO(STARTING, START),
	    [LIFE_HOPELESS] = GO(FAILED, NOTHING) },
	[LIFE_FAILED] = { [LIFE_UP] = GO(STARTING, START), [LIFE_DOWN] = GO(STOPPED, NOTHING) },
	[LIFE_FINISHED] = { [LIFE_UP] = GO(STARTING, START), [LIFE_DOWN] = GO(STOPPED, NOTHING) },
};

static bool
too_many(const struct life *l, const struct life_policy *policy, int64_t now_ms)
{
	int64_t n = 0;

	for (unsigned i = 0; i < LIFE_RECENT && i < l->recent_count; i++)
		n += now_ms - l->recent_ms[i] <= policy->window_ms;
	return n > policy->failures;
}

/* A failure: how long to wait, or -1 to give up. */
static int64_t
failed(struct life *l, const struct life_policy *policy, int64_t now_ms, uint32_t chance)
{
	l->recent_ms[l->recent_count++ % LIFE_RECENT] = now_ms;
	if (l->hopeless || too_many(l, policy, now_ms))
		return -1;
	return retry_delay_ms(policy->min_ms, policy->max_ms, l->in_a_row++, chance);
}

enum life_action
life_step(struct life *l, const struct life_policy *policy, enum life_event event, int64_t now_ms, uint32_t chance,
    int64_t *limit_ms)
{
	const struct cell *cell = &table[l->state][event];
	enum life_action action;

	*limit_ms = -2;		/* the limit that runs stays */
	if (event == LIFE_UP || event == LIFE_DOWN)
		l->up = event == LIFE_UP;
	if (event == LIFE_UP && states[l->state].rest)	/* an operator's start forgives what was */
		l->recent_count = l->in_a_row = 0;
	if (!cell->go)
		return LIFE_NOTHING;
	if (event == LIFE_HOPELESS)
		l->hopeless = true;
	if (l->state == LIFE_RUNNING && now_ms - l->since_ms >= STEADY_MS)
		l->in_a_row = 0;
	l->state = cell->next;
	l->since_ms = now_ms;
	action = cell->action;
	if (l->state == LIFE_STOPPED && l->up) {	/* wanted again while it was ending */
		l->state = LIFE_STARTING;
		action = LIFE_START;
	}
	*limit_ms = states[l->state].limit_ms;
	if (l->state == LIFE_BACKOFF) {
		*limit_ms = failed(l, policy, now_ms, chance);
		l->state = *limit_ms < 0 ? LIFE_FAILED : LIFE_BACKOFF;
	}
	if (action == LIFE_START)
		l->hopeless = false;	/* a new start, a new chance */
	return action;
}

bool
life_is_at_rest(const struct life *l)
{
	return states[l->state].rest;
}

bool
life_has_process(const struct life *l)
{
	return states[l->state].process;
}

const char *
life_state_name(enum life_state state)
{
	return states[state].name;
}
