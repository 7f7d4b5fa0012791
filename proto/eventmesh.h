/*
 * eventmesh: frames, headers and bodies of Apache EventMesh's TCP protocol.
 *
 * Runs in: engine, broker. Pure.
 * I1. A length is believed only between 13 and the limit; more is refused from its first 17 bytes on.
 * I2. Header and body are borrowed from the frame; unknown fields are ignored; "command" is written as a copy of "cmd".
 * I3. encode(decode(x)) has the same meaning as x for every captured frame (tests/conformance).
 * Errors: EM_EPROTO, EM_ELIMIT, EM_ESYNTAX.  Source of the format: EventMesh's runtime, package
 * org.apache.eventmesh.common.protocol.tcp; emeventmesh notes in ARCHITECTURE.md.
 *
 * Frame: "EventMesh" "0000" i32be L i32be H header(H) body(L - 13 - H); the whole is L + 8 <= 4 MiB.
 */
#ifndef EM_EVENTMESH_H
#define EM_EVENTMESH_H

#include "bytes.h"

struct em_error;

#define EM_MESH_FRAME_MAX	(4u * 1024 * 1024)
#define EM_MESH_PREFIX		21u		/* magic, version, two lengths */

enum em_mesh_command {
	EM_MESH_HEARTBEAT_REQUEST, EM_MESH_HEARTBEAT_RESPONSE, EM_MESH_HELLO_REQUEST, EM_MESH_HELLO_RESPONSE,
	EM_MESH_CLIENT_GOODBYE_REQUEST, EM_MESH_CLIENT_GOODBYE_RESPONSE, EM_MESH_SERVER_GOODBYE_REQUEST,
	EM_MESH_SERVER_GOODBYE_RESPONSE, EM_MESH_SUBSCRIBE_REQUEST, EM_MESH_SUBSCRIBE_RESPONSE,
	EM_MESH_UNSUBSCRIBE_REQUEST, EM_MESH_UNSUBSCRIBE_RESPONSE, EM_MESH_LISTEN_REQUEST, EM_MESH_LISTEN_RESPONSE,
	EM_MESH_REQUEST_TO_SERVER, EM_MESH_REQUEST_TO_CLIENT, EM_MESH_REQUEST_TO_CLIENT_ACK, EM_MESH_RESPONSE_TO_SERVER,
	EM_MESH_RESPONSE_TO_CLIENT, EM_MESH_RESPONSE_TO_CLIENT_ACK, EM_MESH_ASYNC_MESSAGE_TO_SERVER,
	EM_MESH_ASYNC_MESSAGE_TO_SERVER_ACK, EM_MESH_ASYNC_MESSAGE_TO_CLIENT, EM_MESH_ASYNC_MESSAGE_TO_CLIENT_ACK,
	EM_MESH_BROADCAST_MESSAGE_TO_SERVER, EM_MESH_BROADCAST_MESSAGE_TO_SERVER_ACK,
	EM_MESH_BROADCAST_MESSAGE_TO_CLIENT, EM_MESH_BROADCAST_MESSAGE_TO_CLIENT_ACK, EM_MESH_SYS_LOG_TO_LOGSERVER,
	EM_MESH_TRACE_LOG_TO_LOGSERVER, EM_MESH_REDIRECT_TO_CLIENT, EM_MESH_REGISTER_REQUEST, EM_MESH_REGISTER_RESPONSE,
	EM_MESH_UNREGISTER_REQUEST, EM_MESH_UNREGISTER_RESPONSE, EM_MESH_RECOMMEND_REQUEST, EM_MESH_RECOMMEND_RESPONSE,
	EM_MESH_COMMANDS
};

enum em_mesh_form { EM_FORM_CLOUDEVENTS, EM_FORM_EVENTMESH, EM_FORM_UNKNOWN };	/* protocoltype */

/* What a peer of our own offers or asks for, as properties of HELLO and its answer; a stock peer ignores them.
 * HELLO_REQUEST:  "windowrecords", "windowbytes" (how much may be unacknowledged), "cumulativeack" ("true": wanted).
 * HELLO_RESPONSE: "order" ("kept"), "redelivery" ("true"), "cumulativeack" ("true": granted).
 * A cumulative acknowledgement is an ordinary _ACK with property "cumulative" "true": it stands for every frame of its
 * kind on this connection up to and including the one with its seq. */
struct em_mesh_offer {
	uint32_t	window_records, window_bytes;	/* 0: not said */
	bool		cumulative_ack, order, redelivery;
};

struct em_mesh_header {
	enum em_mesh_command command;
	int		 code;		/* 0 success, 1 fail */
	struct em_span	 desc;		/* unescaped only when it has no escapes; absent: not sent */
	struct em_span	 seq;		/* absent: not sent. Never escaped (a seq with a backslash is refused) */
	enum em_mesh_form form;		/* protocoltype; EM_FORM_UNKNOWN: not sent or another */
	bool		 cumulative;
	struct em_mesh_offer offer;
	struct em_span	 properties;	/* the object's text, absent: not sent; ignored by the encoder */
};

struct em_mesh_frame {
	struct em_mesh_header header;
	struct em_span	 body;		/* maybe empty */
};

const char *em_mesh_command_name(enum em_mesh_command command);
/* The answer a request wants (…_RESPONSE, …_ACK), or EM_MESH_COMMANDS if none. */
enum em_mesh_command em_mesh_answer(enum em_mesh_command request);

/* Length of the first frame of bytes, 0 if it is not whole yet, -1 and *err if refused. */
long	em_mesh_cut(struct em_span bytes, struct em_error *err);
int	em_mesh_decode(struct em_span whole, struct em_mesh_frame *frame, struct em_error *err);

/* Appends a frame up to its body; append the body, then em_mesh_end. For commands of publishing form
 * EM_FORM_CLOUDEVENTS writes protocoltype/protocolversion/protocoldesc, in deliveries protocoltype alone. */
size_t	em_mesh_begin(struct em_buf *b, const struct em_mesh_header *header);
/* Writes the lengths; -1 (EM_ELIMIT) if the frame became too large: b is then cut back to begin. */
int	em_mesh_end(struct em_buf *b, size_t begin, struct em_error *err);
/* begin and end with no body; cannot fail for a header of ours. */
void	em_mesh_plain(struct em_buf *b, const struct em_mesh_header *header);

struct em_mesh_agent {			/* UserAgent; spans unescaped, absent where not sent */
	struct em_span	env, subsystem, path, host, version, username, password, token, idc, group, purpose;
	int64_t		pid, port, unack;
};
void	em_mesh_agent_encode(struct em_buf *b, const struct em_mesh_agent *agent);
/* scratch receives unescaped text that agent then borrows; it must outlive it. */
int	em_mesh_agent_decode(struct em_span body, struct em_buf *scratch, struct em_mesh_agent *agent,
	    struct em_error *err);

struct em_mesh_topic {
	struct em_span	topic;
	bool		broadcasting;		/* mode; else CLUSTERING */
	bool		sync;			/* type; else ASYNC */
};
void	em_mesh_subscription_encode(struct em_buf *b, const struct em_mesh_topic *topics, size_t count);
/* Calls each(ctx, topic) for every topic, stops at its first -1. Missing topicList or a topic without name: -1. */
int	em_mesh_subscription_decode(struct em_span body, int (*each)(void *ctx, const struct em_mesh_topic *topic,
	    struct em_error *err), void *ctx, struct em_error *err);

void	em_mesh_redirect_encode(struct em_buf *b, struct em_span ip, uint16_t port);
int	em_mesh_redirect_decode(struct em_span body, struct em_span *ip, uint16_t *port, struct em_error *err);

/* What identifies the event of a publish acknowledgement's body (a dump, or {"id","source"}), or of an event in either
 * form (topic: subject or "topic"). Spans borrow from body and are raw (still escaped). Absent where missing.
 * In the EventMesh form the id is the header's seq and therefore absent here. */
struct em_mesh_identity {
	struct em_span	id, source, topic;
};
int	em_mesh_identify(struct em_span body, struct em_mesh_identity *identity, struct em_error *err);

#endif
