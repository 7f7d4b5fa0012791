/*
 * cloudevent: record <-> CloudEvents JSON, and the EventMeshMessage form. The only place that knows the mapping.
 *
 * Runs in: engine. Pure.
 * I1. decode(encode(record)) gives the record back bit for bit: data, key, content type, subject, every extension with
 *     its type, whatever EventMesh's server does to the JSON on the way (it parses and rewrites it, replaces bad UTF-8,
 *     destroys data_base64 and every content type but its own).
 * I2. The id of a record that brings none is made of connector, partition and offset, never of chance: the same record
 *     sent again has the same id.
 * I3. The transport's own extensions (protocoltype, req..., rsp...) are stripped on decode; a record's extension whose
 *     name collides with one of them, or with ours, travels as "emx" + name and comes back under its name.
 * I4. Encoding or decoding allocates nothing but room in its output buffer; a failure leaves that as it was.
 * I5. An event of another producer (no em... extensions) decodes to what CloudEvents says: string data to its
 *     characters, any other to its JSON text with datacontenttype application/json; data_base64 to bytes.
 *
 * The mapping, in a CloudEvent: subject = topic, datacontenttype = application/cloudevents+json always, data = JSON
 * value when the record's type is JSON and its text is plain (em_json_is_plain), else a JSON string when it is UTF-8,
 * else base64 text; and extensions
 *   emcontenttype   the record's datacontenttype       emsubject   its subject        emkey   its key (UTF-8)
 *   emkeyencoding   "base64": emkey is                  emdataencoding  "base64" | "text" (a JSON text sent as a string)
 *                                                                      | "none" (no data at all: a tombstone)
 *   emtypes         "name:uri,name2:binary": types of extensions that JSON cannot tell from strings
 *   empartition     the record's partition, emoffset its offset (both percent-encoded where not printable)
 *   emtimestamp     timestamp_ms, as text                ttl         ms until the event may be dropped (text)
 * Source of the format: CloudEvents 1.0.2 JSON format; EventMesh TCP as measured (emeventmesh notes, ARCHITECTURE.md).
 */
#ifndef EM_CLOUDEVENT_H
#define EM_CLOUDEVENT_H

#include "bytes.h"
#include "eventmesh.h"

struct em_error;
struct em_record;

struct em_event_context {		/* what a connector's definition adds to its records */
	struct em_span	connector;	/* its name: id prefix, and source "/emsupervisor/NAME" where the record has none */
	struct em_span	topic;
	struct em_span	type;		/* type where the record has none */
	int64_t		ttl_ms;
};

/* Appends the event's id (unescaped text). */
void	em_event_id(struct em_buf *b, const struct em_event_context *context, const struct em_record *record);
/* Appends the event's source. */
void	em_event_source(struct em_buf *b, const struct em_event_context *context, const struct em_record *record);

/* Appends the body of a publish. EM_EREFUSED: the record cannot be an event (the text says why). */
int	em_event_encode(struct em_buf *b, enum em_mesh_form form, const struct em_event_context *context,
	    const struct em_record *record, struct em_error *err);

/* Appends one encoded record (record.h) for the body of a delivery. id: of the EventMesh form, which has none in its
 * body (the header's seq); absent otherwise. */
int	em_event_decode(struct em_buf *b, enum em_mesh_form form, struct em_span body, struct em_span id,
	    struct em_error *err);

#endif
