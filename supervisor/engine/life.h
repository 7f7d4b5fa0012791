/*
 * life: what happens next to one task: a table of states and events.
 *
 * Runs in: engine. Pure: time and chance are arguments. Rank 0.
 * I1. Every pair of state and event has a cell; a cell that cannot be reached changes nothing.
 * I2. A task that fails is started again after a delay that doubles from min to max (chance takes up to half of it away);
 *     one that stayed up for 10 s begins anew at min; more than `failures` in `window_ms` end in "failed", as does a
 *     hopeless one at once. An operator's start forgives what was.
 * I3. A stop goes drain -> STOP -> SIGTERM -> SIGKILL, each with a time limit of its own. What is wanted again meanwhile
 *     starts when that is through.
 * I4. One task has at most one process: START comes only when none is there.
 *
 *   stopped --up--> starting --ready--> running --down--> draining --drained--> stopping --exited--> stopped
 *                      |                   |                  \--time--> stopping --time--> terminating --time--> killing
 *                      +--exited, broken---+--> backoff --time--> starting        (broken: killing, then backoff)
 *                                               backoff --too many--> failed --up--> starting
 *   running --ended--> finishing --exited--> finished
 */
#ifndef LIFE_H
#define LIFE_H

#include <stdbool.h>
#include <stdint.h>

enum life_state { LIFE_STOPPED, LIFE_STARTING, LIFE_RUNNING, LIFE_DRAINING, LIFE_STOPPING, LIFE_TERMINATING,
	LIFE_KILLING, LIFE_BREAKING, LIFE_FINISHING, LIFE_BACKOFF, LIFE_FAILED, LIFE_FINISHED, LIFE_STATES };

enum life_event {
	LIFE_UP,		/* it shall run */
	LIFE_DOWN,		/* it shall rest */
	LIFE_READY,		/* READY was said */
	LIFE_DRAINED,		/* nothing is in flight any more */
	LIFE_ENDED,		/* a source has no more, and all is committed */
	LIFE_EXITED,		/* the process is gone */
	LIFE_BROKEN,		/* it broke the protocol, hangs, or said ERROR */
	LIFE_HOPELESS,		/* its configuration is wrong: starting again cannot help */
	LIFE_TIME,		/* the time limit of this state is over */
	LIFE_EVENTS
};

enum life_action { LIFE_NOTHING, LIFE_START, LIFE_DRAIN, LIFE_STOP, LIFE_TERM, LIFE_KILL };

struct life_policy {
	int64_t	min_ms, max_ms;		/* of the back-off */
	int64_t	failures, window_ms;	/* too many: more than this, within that */
};

#define LIFE_RECENT	64u		/* failures remembered; policy.failures is less than this */

struct life {
	enum life_state	 state;
	bool		 up;		/* what is wanted */
	bool		 hopeless;
	unsigned	 in_a_row;	/* failures since it was last steady */
	int64_t		 since_ms;	/* in this state */
	int64_t		 recent_ms[LIFE_RECENT];
	unsigned	 recent_count;	/* ever; the last LIFE_RECENT are kept */
};

/* Takes the event, changes the state, says what to do. *limit_ms: LIFE_TIME is due in this many ms; -1 never; -2 the
 * limit that runs stays. */
enum life_action life_step(struct life *l, const struct life_policy *policy, enum life_event event, int64_t now_ms,
	    uint32_t chance, int64_t *limit_ms);

bool	life_is_at_rest(const struct life *l);		/* no process, and none will come of itself */
bool	life_has_process(const struct life *l);
const char *life_state_name(enum life_state state);	/* as emctl shows it */

#endif
