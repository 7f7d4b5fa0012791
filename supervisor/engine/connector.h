/*
 * connector: one connector: its definition, what the operator wants, what is, and its tasks.
 *
 * Runs in: engine. Touches: processes through spawn, timers, the registry. Rank 3; does not know EventMesh.
 * I1. Every decision about a task's process is life's (life.h); this module carries it out and says so in the log.
 * I2. What the operator wants is in the registry before anything else happens, so that it survives.
 * I3. Nothing a child does is seen by another connector: its output, errors and metrics stay with its task.
 * I4. A task is told to stop only after what it handed over is settled, or its time for that is over.
 * Errors: a definition that cannot be started gives state "failed" and a last error, never silence.
 * Ownership: connector_new takes the definition; the options with secrets are made for each start and wiped after.
 */
#ifndef CONNECTOR_H
#define CONNECTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "child.h"
#include "life.h"

struct connector;
struct definition;
struct event_base;
struct kinds;
struct registry;
struct spawn;
struct task;

enum desired { DESIRED_RUNNING, DESIRED_STOPPED, DESIRED_PAUSED, DESIRED_COUNT };

/* What flows through tasks; the router's side of a connector. ctx is what connector_set_flow was given. */
struct connector_flow {
	void	(*on_up)(void *ctx, struct task *task);		/* READY: records may flow */
	void	(*on_down)(void *ctx, struct task *task);	/* its channel is gone */
	void	(*on_records)(void *ctx, struct task *task, struct em_batch *batch);
	void	(*on_result)(void *ctx, struct task *task, const struct em_result *result);
	void	(*on_answered)(void *ctx, struct task *task);
	void	(*on_credit)(void *ctx, struct task *task);
	void	(*on_paused)(void *ctx, bool paused);
	void	(*on_draining)(void *ctx, struct task *task);	/* hand over nothing new */
	bool	(*is_idle)(void *ctx, struct task *task);	/* nothing is in flight for it */
};

struct connector_world {		/* what all connectors share; borrowed for good */
	struct event_base *base;
	struct spawn	*spawn;
	struct registry	*registry;
	const struct kinds *kinds;
	uint32_t	 uid, gid;	/* of the children, where the spawner may change users */
	/* A connector's or task's state changed: who waits for it looks again. */
	void		(*on_change)(void *ctx, struct connector *c);
	/* One line of a connector's log, in whatever way it came. */
	void		(*on_log)(void *ctx, struct connector *c, enum em_level level, const char *subject, const char *text);
	void		*ctx;
};

struct connector *connector_new(struct connector_world *world, struct definition *definition, enum desired desired);
void	connector_free(struct connector *c);	/* all tasks must be at rest */
void	connector_set_flow(struct connector *c, const struct connector_flow *flow, void *ctx);

/* The operator's wish. Written to the registry first; -1 and *err if that fails, and then nothing happens. */
int	connector_want(struct connector *c, enum desired desired, struct em_error *err);
/* Brings all tasks to rest without changing what is wanted (shutdown, reload); connector_is_at_rest tells when. */
void	connector_rest(struct connector *c);
/* Starts what is wanted (after connector_new). */
void	connector_begin(struct connector *c);
bool	connector_is_at_rest(const struct connector *c);
/* Something was settled: a task that drains may be able to go on. */
void	connector_poke(struct connector *c);

const char *connector_name(const struct connector *c);
const struct definition *connector_definition(const struct connector *c);
enum desired connector_desired(const struct connector *c);
enum life_state connector_state(const struct connector *c);	/* the worst of its tasks */
const char *connector_state_text(const struct connector *c);	/* as emctl shows it */
const char *connector_last_error(const struct connector *c);	/* "" if none */
/* The router cannot go on with it: all tasks end, state "failed" with this reason, until an operator starts it again. */
void	connector_give_up(struct connector *c, const char *reason);
json_t	*connector_tasks(const struct connector *c);		/* as in emctl's status */

const char *desired_name(enum desired desired);
int	desired_by_name(const char *name, enum desired *desired);

struct child *task_child(const struct task *task);	/* NULL while it is down */
uint32_t task_number(const struct task *task);

/* What the spawner reports, for all children; false if the child is none of ours. */
bool	connector_started(struct connector *c, uint64_t child, int pid);
bool	connector_exited(struct connector *c, uint64_t child, int pid, int status);
bool	connector_not_started(struct connector *c, uint64_t child, const char *why);
bool	connector_output(struct connector *c, uint64_t child, const char *line);

#endif
