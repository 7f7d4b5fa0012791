/*
 * config: the daemon's configuration and the definitions of connectors: read, checked whole, written.
 *
 * Runs in: engine, emsupervisord --check. Touches: files. Rank 2.
 * I1. All problems of a file are reported, each with file, line, column, and what would be right.
 * I2. A secret's value is in no error and no listing; it is resolved only by definition_options_resolved, just before
 *     it is handed to the child.
 * I3. A file is replaced whole or not at all.
 * Source of the format: emsupervisord.yaml(5).
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cloudevent.h"
#include "life.h"
#include "log.h"
#include "message.h"
#include "option.h"

struct problem {
	char		*file;
	unsigned	 line, column;
	char		*message;
};

struct problems {
	struct problem	*items;
	size_t		 count;
};

void	problems_clear(struct problems *p);
json_t	*problems_json(const struct problems *p);
/* "file:line:column: message" lines. */
void	problems_print(struct em_buf *b, const struct problems *p);

struct config_window {
	int64_t	records, bytes;
};

enum inbox_sync { INBOX_SYNC_ALWAYS, INBOX_SYNC_NONE };

struct config_mesh {
	bool		 local;
	struct em_strings servers;
	char		*env, *idc, *subsystem, *group, *username, *password, *token;
	struct config_window window;
	int64_t		 connections, ttl_ms, inbox_sync, inbox_size;
	json_t		*window_json, *local_json;
	char		*local_listen, *local_fsync, *local_retain_size, *local_retain_age;
};

struct config {
	char		*state_dir, *run_dir, *connectors_dir, *plugin_dir, *user, *http, *registry;
	char		*read_group, *change_group;
	char		*log_target, *log_file;
	int64_t		 log_level, log_format;
	json_t		*log_json, *mesh_json;
	struct config_mesh mesh;
};

enum order { ORDER_PARTITION, ORDER_KEY, ORDER_NONE };
enum then { THEN_DEAD_LETTER, THEN_STOP, THEN_SKIP };

struct definition {
	char		*name, *file, *kind, *topic, *group;
	int64_t		 role_index;		/* 0 source, 1 sink */
	enum em_role	 role;
	int64_t		 tasks;
	int64_t		 order_index, format_index;
	enum order	 order;
	enum em_mesh_form message_format;
	bool		 autostart;
	json_t		*options, *on_error_json, *restart_json, *limits_json, *window_json;
	struct {
		int64_t	retries;		/* -1: without end */
		struct { int64_t min_ms, max_ms; } backoff;
		int64_t	then;
		char	*backoff_text;
	} on_error;
	struct {
		struct life_policy policy;
		char	*backoff_text, *max_text;
	} restart;
	struct {
		int64_t	memory, files, processes;
	} limits;
	struct config_window window;
	json_t		*tree;			/* the whole file, for comparing and showing */
};

/* NULL and problems if the file is bad. */
struct config *config_load(const char *file, struct problems *problems);
void	config_free(struct config *c);

/* file is what errors call it; name is checked. */
struct definition *definition_parse(const char *name, const char *file, const char *text, size_t len,
	    const struct config *config, struct problems *problems);
void	definition_free(struct definition *d);
bool	definition_same(const struct definition *a, const struct definition *b);

/* Checks the options against what the connector says of itself (--describe); problems are placed in text. */
int	definition_check_options(const struct definition *d, const char *text, size_t len, const json_t *described,
	    struct problems *problems);

/* The options as JSON text with ${credential:..}, ${env:..}, ${file:..} resolved; the caller wipes and frees it. */
char	*definition_options_resolved(const struct definition *d, struct em_error *err);
/* The definition as configured, secrets as "***". */
json_t	*definition_shown(const struct definition *d, const json_t *described);

char	*config_read_file(const char *path, size_t *len, struct em_error *err);
int	config_write_file(const char *path, const char *text, size_t len, struct em_error *err);

#endif
