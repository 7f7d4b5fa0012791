/*
 * record: one item on its way, and the batch that owns its bytes.
 *
 * Runs in: engine, children. Pure.
 * I1. A decoded record borrows from the bytes it was decoded from: no copy, no allocation.
 * I2. Decoding checks every length and every type; what does not fit exactly is EM_EPROTO or EM_ELIMIT.
 * I3. encode(decode(x)) == x. Absent (bytes == NULL) and empty (len 0) are kept apart in every field.
 * Ownership: struct em_record owns nothing. em_batch owns its bytes and its array and is counted: the last
 * em_batch_unref frees both.
 * Source of the format: emrecord(5), section RECORDS.
 */
#ifndef EM_RECORD_H
#define EM_RECORD_H

#include <stdint.h>

#include "bytes.h"

struct em_error;

#define EM_POSITION_MAX		4096u			/* bytes of a partition, of an offset */
#define EM_KEY_MAX		(64u * 1024)
#define EM_ATTRIBUTE_MAX	(64u * 1024)		/* bytes of one attribute's value */
#define EM_RECORD_MAX		(8u * 1024 * 1024)	/* bytes of one encoded record */
#define EM_BATCH_RECORDS_MAX	65536u

/* The types of CloudEvents 1.0, section 2 "Type System". */
enum em_type {
	EM_TYPE_STRING,		/* UTF-8 */
	EM_TYPE_INTEGER,	/* value: 4 bytes, little-endian, signed */
	EM_TYPE_BOOLEAN,	/* value: 1 byte, 0 or 1 */
	EM_TYPE_URI,		/* UTF-8 */
	EM_TYPE_URIREF,		/* UTF-8 */
	EM_TYPE_TIMESTAMP,	/* RFC 3339 text */
	EM_TYPE_BINARY,		/* any bytes */
	EM_TYPES
};

/* One extension attribute; name is [a-z0-9]{1,255}. */
struct em_attribute {
	struct em_span	name;
	enum em_type	type;
	struct em_span	value;
};

/* The fields of a record in the order of the wire and of its presence bits. */
enum em_field {
	EM_FIELD_PARTITION, EM_FIELD_OFFSET, EM_FIELD_KEY, EM_FIELD_ID, EM_FIELD_SOURCE, EM_FIELD_EVENT_TYPE,
	EM_FIELD_SUBJECT, EM_FIELD_TIME, EM_FIELD_DATACONTENTTYPE, EM_FIELD_DATASCHEMA, EM_FIELD_EXTENSIONS,
	EM_FIELD_DATA, EM_FIELDS
};

struct em_record {
	struct em_span	field[EM_FIELDS];	/* EM_FIELD_EXTENSIONS: encoded, read with em_attribute_next */
	int64_t		timestamp_ms;		/* of the record in its system, ms since 1970; 0: unknown */
};

/* The name of a field as in emrecord(5), e.g. "partition". */
const char *em_field_name(enum em_field field);

/* Appends one encoded record. Its fields must keep the limits above (checked with em_record_check). */
void	em_record_encode(struct em_buf *b, const struct em_record *record);

/* The same field by field, in the order of enum em_field, for who makes the bytes of a field on the way:
 * begin, then for some fields field_begin, append to the buffer, field_end; then end. */
struct em_record_writer {
	struct em_buf	*b;
	size_t		 begin, field_at;
	uint16_t	 present;
};
void	em_record_begin(struct em_record_writer *w, struct em_buf *b, int64_t timestamp_ms);
void	em_record_field_begin(struct em_record_writer *w, enum em_field field);
void	em_record_field_end(struct em_record_writer *w);
void	em_record_end(struct em_record_writer *w);

/* 0, or -1 and why the record may not be sent: limits, UTF-8 of textual attributes, names of extensions. */
int	em_record_check(const struct em_record *record, struct em_error *err);

/* Reads one record (including em_record_check's rules) and moves the reader behind it. */
int	em_record_decode(struct em_reader *r, struct em_record *record, struct em_error *err);

/* Appends one extension to an encoded list (a buffer that becomes EM_FIELD_EXTENSIONS). */
void	em_attribute_encode(struct em_buf *b, const struct em_attribute *attribute);
void	em_attribute_string(struct em_buf *b, const char *name, struct em_span value);
void	em_attribute_integer(struct em_buf *b, const char *name, int32_t value);

/* Walks an encoded list: 1 and *attribute, 0 at the end, -1 and *err. Start with em_reader(list). */
int	em_attribute_next(struct em_reader *r, struct em_attribute *attribute, struct em_error *err);

/* Records of one RECORDS message. */
struct em_batch {
	unsigned	 refs;
	uint32_t	 count;
	struct em_record *records;	/* count of them, borrowing from bytes */
	uint8_t		*bytes;
	size_t		 size_bytes;
};

/* Copies the payload of a RECORDS message and decodes it; a batch with one reference, or NULL and *err. */
struct em_batch *em_batch_decode(struct em_span payload, struct em_error *err);
struct em_batch *em_batch_ref(struct em_batch *batch);
void	em_batch_unref(struct em_batch *batch);		/* NULL is fine */

#endif
