#include "record.h"

#include <stdlib.h>

#include "error.h"
#include "utf8.h"

/* Wire form of a record: u32 length of the rest, u16 presence bits, u64 timestamp, then for every
 * present field u32 length and bytes, in the order of enum em_field. */
#define FIXED_SIZE	10u

struct field_row {
	const char	*name;
	size_t		 max;
	bool		 text;
};

static const struct field_row fields[] = {
	[EM_FIELD_PARTITION] = { "partition", EM_POSITION_MAX, false },
	[EM_FIELD_OFFSET] = { "offset", EM_POSITION_MAX, false },
	[EM_FIELD_KEY] = { "key", EM_KEY_MAX, false },
	[EM_FIELD_ID] = { "id", EM_ATTRIBUTE_MAX, true },
	[EM_FIELD_SOURCE] = { "source", EM_ATTRIBUTE_MAX, true },
	[EM_FIELD_EVENT_TYPE] = { "type", EM_ATTRIBUTE_MAX, true },
	[EM_FIELD_SUBJECT] = { "subject", EM_ATTRIBUTE_MAX, true },
	[EM_FIELD_TIME] = { "time", EM_ATTRIBUTE_MAX, true },
	[EM_FIELD_DATACONTENTTYPE] = { "datacontenttype", EM_ATTRIBUTE_MAX, true },
	[EM_FIELD_DATASCHEMA] = { "dataschema", EM_ATTRIBUTE_MAX, true },
	[EM_FIELD_EXTENSIONS] = { "extensions", EM_RECORD_MAX, false },
	[EM_FIELD_DATA] = { "data", EM_RECORD_MAX, false },
};
_Static_assert(sizeof(fields) / sizeof(fields[0]) == EM_FIELDS, "a row for every field");
_Static_assert(EM_FIELDS <= 16, "presence fits its bits");

struct type_row {
	size_t	min, max;
	bool	text;
};

static const struct type_row types[] = {
	[EM_TYPE_STRING] = { 0, EM_ATTRIBUTE_MAX, true },
	[EM_TYPE_INTEGER] = { 4, 4, false },
	[EM_TYPE_BOOLEAN] = { 1, 1, false },
	[EM_TYPE_URI] = { 0, EM_ATTRIBUTE_MAX, true },
	[EM_TYPE_URIREF] = { 0, EM_ATTRIBUTE_MAX, true },
	[EM_TYPE_TIMESTAMP] = { 0, EM_ATTRIBUTE_MAX, true },
	[EM_TYPE_BINARY] = { 0, EM_ATTRIBUTE_MAX, false },
};
_Static_assert(sizeof(types) / sizeof(types[0]) == EM_TYPES, "a row for every type");

const char *
em_field_name(enum em_field field)
{
	return (unsigned)field < EM_FIELDS ? fields[field].name : "unknown";
}

static bool
is_name(struct em_span name)
{
	if (name.bytes == NULL || name.len == 0 || name.len > 255)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.bytes[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
			return false;
	}
	return true;
}

void
em_attribute_encode(struct em_buf *b, const struct em_attribute *a)
{
	em_buf_u8(b, (uint8_t)a->type);
	em_buf_u8(b, (uint8_t)a->name.len);
	em_buf_span(b, a->name);
	em_buf_lspan(b, a->value);
}

void
em_attribute_string(struct em_buf *b, const char *name, struct em_span value)
{
	em_attribute_encode(b, &(struct em_attribute){ em_span_str(name), EM_TYPE_STRING, value });
}

void
em_attribute_integer(struct em_buf *b, const char *name, int32_t value)
{
	uint8_t four[4];

	for (int i = 0; i < 4; i++)
		four[i] = (uint8_t)((uint32_t)value >> (8 * i));
	em_attribute_encode(b, &(struct em_attribute){ em_span_str(name), EM_TYPE_INTEGER, { four, 4 } });
}

static int
attribute_check(const struct em_attribute *a, struct em_error *err)
{
	const struct type_row *row = &types[a->type];

	if (!is_name(a->name))
		return em_error_set(err, EM_EPROTO,
		    "an extension's name must be 1 to 255 of a-z and 0-9");
	if (a->value.len < row->min || a->value.len > row->max)
		return em_error_set(err, EM_ELIMIT, "extension \"%.*s\" has %zu bytes, allowed are %zu to %zu",
		    (int)a->name.len, (const char *)a->name.bytes, a->value.len, row->min, row->max);
	if (row->text && !em_is_utf8(a->value))
		return em_error_set(err, EM_EPROTO, "extension \"%.*s\" is not UTF-8",
		    (int)a->name.len, (const char *)a->name.bytes);
	if (a->type == EM_TYPE_BOOLEAN && a->value.bytes[0] > 1)
		return em_error_set(err, EM_EPROTO, "extension \"%.*s\" is neither true nor false",
		    (int)a->name.len, (const char *)a->name.bytes);
	return 0;
}

int
em_attribute_next(struct em_reader *r, struct em_attribute *attribute, struct em_error *err)
{
	struct em_attribute a;
	uint8_t type;

	if (!r->bad && r->p == r->end)
		return 0;
	type = em_read_u8(r);
	a.name = em_read_bytes(r, em_read_u8(r));
	a.value = em_read_lspan(r);
	if (r->bad)
		return em_error_set(err, EM_EPROTO, "the list of extensions is cut off");
	if (type >= EM_TYPES)
		return em_error_set(err, EM_EPROTO, "an extension has the unknown type %u", type);
	a.type = (enum em_type)type;
	if (attribute_check(&a, err) != 0)
		return -1;
	*attribute = a;
	return 1;
}

static int
extensions_check(struct em_span list, struct em_error *err)
{
	struct em_reader r = em_reader(list);
	struct em_attribute a;
	int more;

	do {
		more = em_attribute_next(&r, &a, err);
	} while (more > 0);
	return more;
}

int
em_record_check(const struct em_record *record, struct em_error *err)
{
	for (int i = 0; i < EM_FIELDS; i++) {
		struct em_span s = record->field[i];

		if (s.len > fields[i].max)
			return em_error_set(err, EM_ELIMIT, "%s has %zu bytes, allowed are %zu",
			    fields[i].name, s.len, fields[i].max);
		if (fields[i].text && !em_is_utf8(s))
			return em_error_set(err, EM_EPROTO, "%s is not UTF-8", fields[i].name);
	}
	return extensions_check(record->field[EM_FIELD_EXTENSIONS], err);
}

void
em_record_begin(struct em_record_writer *w, struct em_buf *b, int64_t timestamp_ms)
{
	*w = (struct em_record_writer){ .b = b, .begin = b->len };
	em_buf_u32(b, 0);
	em_buf_u16(b, 0);
	em_buf_u64(b, (uint64_t)timestamp_ms);
}

void
em_record_field_begin(struct em_record_writer *w, enum em_field field)
{
	if (w->present >> field != 0)
		em_panic("record: field %s comes out of order", em_field_name(field));
	w->present |= (uint16_t)(1u << field);
	w->field_at = w->b->len;
	em_buf_u32(w->b, 0);
}

void
em_record_field_end(struct em_record_writer *w)
{
	em_buf_set_u32(w->b, w->field_at, (uint32_t)(w->b->len - w->field_at - 4));
}

void
em_record_end(struct em_record_writer *w)
{
	em_buf_set_u32(w->b, w->begin, (uint32_t)(w->b->len - w->begin - 4));
	w->b->data[w->begin + 4] = (uint8_t)w->present;
	w->b->data[w->begin + 5] = (uint8_t)(w->present >> 8);
}

void
em_record_encode(struct em_buf *b, const struct em_record *record)
{
	struct em_record_writer w;

	em_record_begin(&w, b, record->timestamp_ms);
	for (int i = 0; i < EM_FIELDS; i++) {
		if (record->field[i].bytes == NULL)
			continue;
		em_record_field_begin(&w, (enum em_field)i);
		em_buf_span(b, record->field[i]);
		em_record_field_end(&w);
	}
	em_record_end(&w);
}

int
em_record_decode(struct em_reader *r, struct em_record *record, struct em_error *err)
{
	struct em_span whole = em_read_lspan(r);
	struct em_reader in = em_reader(whole);
	struct em_record got = { 0 };
	uint16_t present;

	if (r->bad)
		return em_error_set(err, EM_EPROTO, "a record is cut off");
	if (whole.len < FIXED_SIZE || whole.len > EM_RECORD_MAX)
		return em_error_set(err, EM_ELIMIT, "a record has %zu bytes, allowed are %u to %u",
		    whole.len, FIXED_SIZE, EM_RECORD_MAX);
	present = em_read_u16(&in);
	if (present >> EM_FIELDS != 0)
		return em_error_set(err, EM_EPROTO, "a record has unknown fields (presence 0x%x)", present);
	got.timestamp_ms = (int64_t)em_read_u64(&in);
	for (int i = 0; i < EM_FIELDS; i++)
		if (present >> i & 1)
			got.field[i] = em_read_lspan(&in);
	if (!em_reader_done(&in))
		return em_error_set(err, EM_EPROTO, "a record's fields do not fill its %zu bytes", whole.len);
	if (em_record_check(&got, err) != 0)
		return -1;
	*record = got;
	return 0;
}

struct em_batch *
em_batch_decode(struct em_span payload, struct em_error *err)
{
	struct em_batch *batch;
	struct em_reader r;
	uint32_t count = payload.len >= 4 ? em_get_u32(payload.bytes) : 0;

	if (count == 0 || count > EM_BATCH_RECORDS_MAX || count > payload.len / (4 + FIXED_SIZE)) {
		em_error_set(err, EM_EPROTO, "a batch of %zu bytes claims %u records", payload.len, count);
		return NULL;
	}
	batch = em_calloc(1, sizeof(*batch));
	batch->refs = 1;
	batch->count = count;
	batch->records = em_realloc_array(NULL, count, sizeof(*batch->records));
	batch->bytes = em_alloc(payload.len);
	batch->size_bytes = payload.len;
	memcpy(batch->bytes, payload.bytes, payload.len);
	r = em_reader((struct em_span){ batch->bytes + 4, payload.len - 4 });
	for (uint32_t i = 0; i < count; i++) {
		if (em_record_decode(&r, &batch->records[i], err) != 0) {
			em_error_prefix(err, "record %u of %u", i + 1, count);
			em_batch_unref(batch);
			return NULL;
		}
	}
	if (!em_reader_done(&r)) {
		em_error_set(err, EM_EPROTO, "bytes are left behind the last of %u records", count);
		em_batch_unref(batch);
		return NULL;
	}
	return batch;
}

struct em_batch *
em_batch_ref(struct em_batch *batch)
{
	batch->refs++;
	return batch;
}

void
em_batch_unref(struct em_batch *batch)
{
	if (batch == NULL || --batch->refs > 0)
		return;
	free(batch->records);
	free(batch->bytes);
	free(batch);
}
