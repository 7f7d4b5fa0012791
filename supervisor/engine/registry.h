/*
 * registry: what survives: offsets, what operators want, history, dead letters.
 *
 * Runs in: engine. Touches: registry.db in the state directory. Rank 1.
 * I1. A second supervisor on one state directory is refused, by name of the first.
 * I2. A damaged or foreign database is never replaced: EM_ECORRUPT, with what to do.
 * I3. What registry_commit returned 0 for is in the file after any crash of processes; operator's acts (desired state)
 *     are on the disk when their function returns.
 * Errors carry SQLite's words and code.  Ownership: spans are borrowed for the call.
 */
#ifndef REGISTRY_H
#define REGISTRY_H

#include <jansson.h>
#include <stdint.h>

#include "bytes.h"

struct em_error;
struct registry;

struct registry *registry_open(const char *state_dir, struct em_error *err);
void	registry_close(struct registry *r);

/* Offsets, in one transaction. */
int	registry_begin(struct registry *r, struct em_error *err);
int	registry_offset_put(struct registry *r, const char *connector, struct em_span partition, struct em_span offset,
	    struct em_error *err);
int	registry_commit(struct registry *r, struct em_error *err);
void	registry_rollback(struct registry *r);

typedef void registry_offset_each(void *ctx, struct em_span partition, struct em_span offset, int64_t time_ms);
int	registry_offsets(struct registry *r, const char *connector, registry_offset_each *each, void *ctx,
	    struct em_error *err);
/* partition absent: all of the connector. The number removed, or -1. */
int	registry_offsets_reset(struct registry *r, const char *connector, struct em_span partition, struct em_error *err);

/* Desired state: 1 and *desired (to be freed), 0 there is none, -1. */
int	registry_desired_get(struct registry *r, const char *connector, char **desired, struct em_error *err);
int	registry_desired_set(struct registry *r, const char *connector, const char *desired, struct em_error *err);

int	registry_history_put(struct registry *r, const char *connector, uint32_t task, const char *event,
	    const char *reason, struct em_error *err);
json_t	*registry_history(struct registry *r, const char *connector, struct em_error *err);

int	registry_dead_letter_put(struct registry *r, const char *connector, struct em_span record, const char *reason,
	    uint32_t attempts, struct em_error *err);
int64_t	registry_dead_letters_count(struct registry *r, const char *connector, struct em_error *err);

#endif
