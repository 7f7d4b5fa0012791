/*
 * topic: the broker's topics, the groups that read them, and what is in flight to whom.
 *
 * Runs in: broker. Touches: the data directory. Does not know sockets: a member is told what to send.
 * I1. Every group gets every event; members of a group share; an event is in flight to one member at a time.
 * I2. What a member had not acknowledged when it left goes to the others first, in the old order.
 * I3. A group's position is that of its oldest unacknowledged event, and is in a file before the broker's turn ends;
 *     a broker that is killed sends again what lies behind it, and loses nothing.
 * I4. A group that is new to a topic begins at the topic's end; one that was there goes on where it stopped.
 * I5. A member never has more in flight than its window of records and bytes (but always at least one event).
 * Errors: EM_EIO, EM_EFULL, EM_ECORRUPT.
 */
#ifndef TOPIC_H
#define TOPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "eventmesh.h"

struct em_error;
struct member;
struct topic;
struct topics;

struct topics_config {
	const char	*data_dir;
	uint64_t	 segment_bytes, retain_bytes;
	int64_t		 retain_s;
};

struct topics_ops {
	/* Send this to the member (borrowed); cookie as in member_join. Returns its sequence number. */
	uint64_t (*deliver)(void *cookie, enum em_mesh_form form, bool broadcast, struct em_span id, struct em_span body);
};

struct topics *topics_open(const struct topics_config *config, const struct topics_ops *ops, struct em_error *err);
void	topics_close(struct topics *t);

/* The topic of that name, made if need be; NULL and *err. */
struct topic *topics_get(struct topics *t, struct em_span name, struct em_error *err);
void	topic_append(struct topic *topic, enum em_mesh_form form, struct em_span id, struct em_span body);
/* Writes what was appended to all topics; -1: none of it is there. */
int	topics_flush(struct topics *t, bool sync, struct em_error *err);
void	topics_pump(struct topics *t);			/* delivers what may be delivered now */
void	topics_sync(struct topics *t, struct em_error *err);	/* to the disk, by the clock */
void	topics_retain(struct topics *t);

/* A session that listens to a topic as a member of a group (group absent: broadcast, alone). */
struct member *member_join(struct topic *topic, struct em_span group, void *cookie, struct em_error *err);
void	member_leave(struct member *m);
void	member_window(struct member *m, uint32_t records, uint32_t size_bytes);
/* The sequence number was acknowledged (cumulative: and all before it); false if it is not in flight here. */
bool	member_ack(struct member *m, uint64_t sequence, bool cumulative);

#endif
