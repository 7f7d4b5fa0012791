/*
 * engine_private: the engine's context, shared by engine.c (life of the whole) and commands.c (what operators ask).
 *
 * Runs in: engine. Nothing else may include this.
 */
#ifndef ENGINE_PRIVATE_H
#define ENGINE_PRIVATE_H

#include <jansson.h>
#include <sys/queue.h>
#include <time.h>

#include "config.h"
#include "connector.h"
#include "control.h"
#include "kinds.h"
#include "publish.h"
#include "registry.h"
#include "route.h"
#include "session.h"
#include "spawn.h"

#define LOG_LINES	200u		/* of each connector, kept for emctl logs */

struct log_line {
	struct timespec	 time;
	enum em_level	 level;
	char		*subject, *text;
};

struct entry {				/* one connector and what belongs to it */
	TAILQ_ENTRY(entry) link;
	struct engine	*engine;
	struct connector *connector;
	struct route_flow *flow;
	struct log_line	 lines[LOG_LINES];
	unsigned	 lines_count;	/* ever */
	struct definition *successor;	/* starts when the present one rests */
	bool		 going;		/* is freed when it rests */
};

struct waiter {				/* a request that waits for states */
	TAILQ_ENTRY(waiter) link;
	struct engine	*engine;
	struct control_request *request;
	json_t		*names;
	enum desired	 desired;
	bool		 again;		/* restart: rest first */
	struct event	*limit;
};

struct follower {			/* logs -f, tap */
	TAILQ_ENTRY(follower) link;
	struct engine	*engine;
	struct control_request *request;
	char		*name;		/* NULL: all */
	struct route_tap *tap;
	int64_t		 left;		/* events still to be sent; -1: no end */
};

struct engine {
	struct event_base *base;
	const char	*file;
	struct config	*config;
	struct spawn	*spawn;
	struct registry	*registry;
	struct kinds	*kinds;
	struct control	*control;
	struct publish	*publish;
	struct route	*route;
	struct mesh_config mesh;
	const char	**servers;
	char		*local_server;
	int		 local_fd;
	uint64_t	 local_process;
	struct event	*local_again, *term, *interrupt, *hangup, *reap, *stop_limit, *watchdog;
	struct connector_world world;
	TAILQ_HEAD(, entry) entries;
	TAILQ_HEAD(, waiter) waiters;
	TAILQ_HEAD(, follower) followers;
	time_t		 started_s;
	bool		 stopping;
	int		 status;
};

struct entry *engine_find(struct engine *e, const char *name);
/* Reads all connector files and does what changed; problems leave the named ones as they were. */
void	engine_reload(struct engine *e, struct problems *problems, json_t *summary);
/* A checked definition becomes (or replaces) a connector. */
void	engine_install(struct engine *e, struct definition *d);
void	engine_remove(struct engine *e, struct entry *entry);
int	engine_check_definition(struct engine *e, const struct definition *d, const char *text, size_t len,
	    struct problems *problems);

extern const struct control_command engine_commands[];		/* commands.c */
void	commands_look(struct engine *e);			/* states changed: who waits? */
void	commands_log(struct engine *e, const char *name, const struct log_line *line);
void	commands_free(struct engine *e);

#endif
