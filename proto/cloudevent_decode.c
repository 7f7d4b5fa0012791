/* The reading half of cloudevent.h: one pass over the JSON collects what is there, then the record is written in order. */
#include "cloudevent.h"

#include <stdlib.h>

#include "error.h"
#include "json.h"
#include "map.h"
#include "record.h"

/* What a known member is for. */
enum slot {
	ID, SOURCE, TYPE, SUBJECT, TIME, DATACONTENTTYPE, DATASCHEMA, DATA, DATA_BASE64, SPECVERSION, TTL,
	EM_CONTENTTYPE, EM_SUBJECT, EM_KEY, EM_KEYENCODING, EM_DATAENCODING, EM_TYPES_LIST, EM_PARTITION, EM_OFFSET,
	EM_TIMESTAMP, SLOTS
};

struct slot_row {
	const char	*name;		/* in a CloudEvent */
	const char	*property;	/* in the EventMesh form; NULL: not there */
};

static const struct slot_row slots[] = {
	[ID] = { "id", NULL },
	[SOURCE] = { "source", "emsource" },
	[TYPE] = { "type", "emtype" },
	[SUBJECT] = { "subject", NULL },
	[TIME] = { "time", "emtime" },
	[DATACONTENTTYPE] = { "datacontenttype", NULL },
	[DATASCHEMA] = { "dataschema", "emdataschema" },
	[DATA] = { "data", NULL },
	[DATA_BASE64] = { "data_base64", NULL },
	[SPECVERSION] = { "specversion", NULL },
	[TTL] = { "ttl", "ttl" },
	[EM_CONTENTTYPE] = { "emcontenttype", "emcontenttype" },
	[EM_SUBJECT] = { "emsubject", "emsubject" },
	[EM_KEY] = { "emkey", "emkey" },
	[EM_KEYENCODING] = { "emkeyencoding", "emkeyencoding" },
	[EM_DATAENCODING] = { "emdataencoding", "emdataencoding" },
	[EM_TYPES_LIST] = { "emtypes", "emtypes" },
	[EM_PARTITION] = { "empartition", "empartition" },
	[EM_OFFSET] = { "emoffset", "emoffset" },
	[EM_TIMESTAMP] = { "emtimestamp", "emtimestamp" },
};
_Static_assert(sizeof(slots) / sizeof(slots[0]) == SLOTS, "a row for every slot");

struct pair {
	struct em_json	name, value;
};

#define PAIRS_FEW	24u

struct event {
	struct em_json	known[SLOTS];	/* kind EM_JSON_NONE: absent */
	struct pair	few[PAIRS_FEW];	/* extensions; a rare event has more and pays for it */
	struct pair	*pairs;
	size_t		 count, size;
	bool		 eventmesh;
};

static void
add_pair(struct event *e, const struct em_json *name, const struct em_json *value)
{
	if (e->count == e->size) {
		e->size = em_size_mul(e->size, 2);
		if (e->pairs == e->few) {
			e->pairs = em_realloc_array(NULL, e->size, sizeof(*e->pairs));
			memcpy(e->pairs, e->few, sizeof(e->few));
		} else {
			e->pairs = em_realloc_array(e->pairs, e->size, sizeof(*e->pairs));
		}
	}
	e->pairs[e->count++] = (struct pair){ *name, *value };
}

static void
sort_in(struct event *e, const struct em_json *name, const struct em_json *value)
{
	for (int i = 0; i < SLOTS; i++) {
		const char *known = e->eventmesh ? slots[i].property : slots[i].name;

		if (known != NULL && em_json_is(name, known)) {
			e->known[i] = *value;
			return;
		}
	}
	if (value->kind != EM_JSON_NULL && !name->escaped && name->text.len > 0 && !em_map_is_transport(name->text))
		add_pair(e, name, value);
}

static int
read_members(struct event *e, struct em_span text, struct em_error *err)
{
	struct em_json name, value;
	struct em_json_cursor c;
	int more;

	if (em_json_open(&c, text, err) != 0)
		return -1;
	while ((more = em_json_next(&c, &name, &value, err)) > 0)
		sort_in(e, &name, &value);
	return more;
}

static int
read_eventmesh(struct event *e, struct em_span text, struct em_error *err)
{
	struct em_json name, value, header;
	struct em_json_cursor c, headers;
	int more;

	if (em_json_open(&c, text, err) != 0)
		return -1;
	while ((more = em_json_next(&c, &name, &value, err)) > 0) {
		if (em_json_is(&name, "body"))
			e->known[DATA] = value;
		else if (em_json_is(&name, "topic"))
			e->known[SUBJECT] = value;
		else if (em_json_is(&name, "properties") && value.kind == EM_JSON_OBJECT)
			(void)read_members(e, value.text, NULL);
		else if (em_json_is(&name, "headers") && value.kind == EM_JSON_OBJECT) {
			(void)em_json_open(&headers, value.text, NULL);
			while (em_json_next(&headers, &name, &header, NULL) > 0)
				if (em_json_is(&name, "datacontenttype"))
					e->known[DATACONTENTTYPE] = header;
		}
	}
	return more;
}

static bool
has_text(const struct event *e, enum slot s)
{
	return e->known[s].kind == EM_JSON_STRING;
}

/* One field of the record, unescaped from a string member. */
static void
put_text(struct em_record_writer *w, enum em_field field, const struct event *e, enum slot s)
{
	if (!has_text(e, s))
		return;
	em_record_field_begin(w, field);
	em_json_unescape(w->b, &e->known[s]);
	em_record_field_end(w);
}

static void
put_literal(struct em_record_writer *w, enum em_field field, struct em_span s)
{
	em_record_field_begin(w, field);
	em_buf_span(w->b, s);
	em_record_field_end(w);
}

static int
hex_digit(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int
put_position(struct em_record_writer *w, enum em_field field, const struct event *e, enum slot s, struct em_error *err)
{
	struct em_span text = e->known[s].text;

	if (!has_text(e, s))
		return 0;
	em_record_field_begin(w, field);
	for (size_t i = 0; i < text.len; i++) {
		int high, low;

		if (text.bytes[i] != '%') {
			em_buf_u8(w->b, text.bytes[i]);
			continue;
		}
		high = i + 2 < text.len ? hex_digit(text.bytes[i + 1]) : -1;
		low = i + 2 < text.len ? hex_digit(text.bytes[i + 2]) : -1;
		if (high < 0 || low < 0)
			return em_error_set(err, EM_ESYNTAX, "%s is not percent-encoded", slots[s].name);
		em_buf_u8(w->b, (uint8_t)(high << 4 | low));
		i += 2;
	}
	em_record_field_end(w);
	return 0;
}

static int
put_base64(struct em_buf *b, const struct em_json *value, struct em_error *err)
{
	struct em_buf text = { 0 };
	int result;

	if (value->kind != EM_JSON_STRING)
		return em_error_set(err, EM_ESYNTAX, "base64 that is no string");
	if (!value->escaped)
		return em_base64_decode(b, value->text, err);
	em_json_unescape(&text, value);		/* some writers escape the slash */
	result = em_base64_decode(b, em_buf_view(&text), err);
	em_buf_clear(&text);
	return result;
}

static int
put_key(struct em_record_writer *w, const struct event *e, struct em_error *err)
{
	if (!has_text(e, EM_KEY))
		return 0;
	if (!em_json_is(&e->known[EM_KEYENCODING], "base64")) {
		put_text(w, EM_FIELD_KEY, e, EM_KEY);
		return 0;
	}
	em_record_field_begin(w, EM_FIELD_KEY);
	if (put_base64(w->b, &e->known[EM_KEY], err) != 0)
		return em_error_prefix(err, "emkey");
	em_record_field_end(w);
	return 0;
}

static bool
is_own_type(const struct event *e)
{
	return em_json_is(&e->known[DATACONTENTTYPE], "application/cloudevents+json") ||
	    (has_text(e, DATACONTENTTYPE) &&
	    em_span_starts(e->known[DATACONTENTTYPE].text, "application/cloudevents+json;"));
}

/* The content type of the data, absent where nobody said one. */
static struct em_span
content_type(const struct event *e)
{
	if (has_text(e, EM_CONTENTTYPE))
		return e->known[EM_CONTENTTYPE].text;
	if (has_text(e, DATACONTENTTYPE) && !is_own_type(e))
		return e->known[DATACONTENTTYPE].text;
	if (!e->eventmesh && e->known[DATA].kind > EM_JSON_NULL && e->known[DATA].kind != EM_JSON_STRING)
		return EM_SPAN_LITERAL("application/json");
	return EM_SPAN_NONE;
}

static void
put_content_type(struct em_record_writer *w, const struct event *e)
{
	if (has_text(e, EM_CONTENTTYPE))
		put_text(w, EM_FIELD_DATACONTENTTYPE, e, EM_CONTENTTYPE);
	else if (has_text(e, DATACONTENTTYPE) && !is_own_type(e))
		put_text(w, EM_FIELD_DATACONTENTTYPE, e, DATACONTENTTYPE);
	else if (content_type(e).bytes != NULL)
		put_literal(w, EM_FIELD_DATACONTENTTYPE, content_type(e));
}

static int
put_data(struct em_record_writer *w, const struct event *e, struct em_error *err)
{
	const struct em_json *v = &e->known[DATA], *encoding = &e->known[EM_DATAENCODING];
	bool base64 = em_json_is(encoding, "base64");

	if (e->known[DATA_BASE64].kind == EM_JSON_STRING) {
		v = &e->known[DATA_BASE64];
		base64 = true;
	}
	if (em_json_is(encoding, "none") || v->kind == EM_JSON_NONE)
		return 0;
	if (v->kind == EM_JSON_NULL && !em_map_is_json_type(content_type(e)))
		return 0;
	em_record_field_begin(w, EM_FIELD_DATA);
	if (base64) {
		if (put_base64(w->b, v, err) != 0)
			return em_error_prefix(err, "data");
	} else if (v->kind != EM_JSON_STRING) {
		em_buf_span(w->b, v->text);
	} else if (e->eventmesh || em_json_is(encoding, "text") || !em_map_is_json_type(content_type(e))) {
		em_json_unescape(w->b, v);
	} else {
		em_buf_append(w->b, v->text.bytes - 1, v->text.len + 2);	/* with its quotes: it is JSON itself */
	}
	em_record_field_end(w);
	return 0;
}

/* The type that "emtypes" gives to an extension. */
static enum em_type
listed_type(const struct event *e, struct em_span name)
{
	struct em_span list = e->known[EM_TYPES_LIST].text;
	size_t at = 0, end, colon;

	if (!has_text(e, EM_TYPES_LIST))
		return EM_TYPE_STRING;
	while (at < list.len) {
		for (end = at; end < list.len && list.bytes[end] != ','; end++)
			;
		for (colon = at; colon < end && list.bytes[colon] != ':'; colon++)
			;
		if (colon < end && em_span_eq((struct em_span){ list.bytes + at, colon - at }, name))
			for (int i = 0; i < EM_TYPES; i++)
				if (em_span_is((struct em_span){ list.bytes + colon + 1, end - colon - 1 },
				    em_map_type_names[i]))
					return (enum em_type)i;
		at = end + 1;
	}
	return EM_TYPE_STRING;
}

static void
put_boolean(struct em_buf *b, const struct em_json *value)
{
	em_buf_u8(b, value->kind == EM_JSON_TRUE || em_json_is(value, "true"));
}

/* The value as its type wants it; false if the JSON does not fit the type (then it is kept as a string). */
static bool
put_typed(struct em_buf *b, enum em_type type, const struct em_json *value)
{
	struct em_json number = *value;
	int64_t n;

	switch (type) {
	case EM_TYPE_INTEGER:
		number.kind = EM_JSON_NUMBER;
		if (value->text.len == 0 || em_json_int64(&number, &n) != 0 || n < INT32_MIN || n > INT32_MAX)
			return false;
		em_buf_u32(b, (uint32_t)n);
		return true;
	case EM_TYPE_BOOLEAN:
		put_boolean(b, value);
		return true;
	case EM_TYPE_BINARY:
		return put_base64(b, value, NULL) == 0;
	default:
		if (value->kind == EM_JSON_STRING)
			em_json_unescape(b, value);
		else
			em_buf_span(b, value->text);
		return true;
	}
}

static enum em_type
extension_type(const struct event *e, struct em_span name, const struct em_json *value)
{
	if (value->kind == EM_JSON_TRUE || value->kind == EM_JSON_FALSE)
		return EM_TYPE_BOOLEAN;
	if (value->kind == EM_JSON_NUMBER)
		return EM_TYPE_INTEGER;
	return listed_type(e, name);
}

static bool
is_extension_name(struct em_span name)
{
	if (name.len > 255)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!((name.bytes[i] >= 'a' && name.bytes[i] <= 'z') || (name.bytes[i] >= '0' && name.bytes[i] <= '9')))
			return false;
	return true;
}

static void
put_extension(struct em_buf *b, const struct event *e, const struct pair *p)
{
	struct em_span name = p->name.text;
	enum em_type type;
	size_t begin = b->len, value_at;

	if (name.len > 3 && em_span_starts(name, "emx"))
		name = (struct em_span){ name.bytes + 3, name.len - 3 };
	if (!is_extension_name(name))
		return;		/* not possible in CloudEvents; only a broken producer makes it */
	type = extension_type(e, name, &p->value);
	for (;;) {
		em_buf_u8(b, (uint8_t)type);
		em_buf_u8(b, (uint8_t)name.len);
		em_buf_span(b, name);
		value_at = b->len;
		em_buf_u32(b, 0);
		if (put_typed(b, type, &p->value))
			break;
		b->len = begin;
		type = EM_TYPE_STRING;
	}
	em_buf_set_u32(b, value_at, (uint32_t)(b->len - value_at - 4));
}

static void
put_extensions(struct em_record_writer *w, const struct event *e)
{
	if (e->count == 0)
		return;
	em_record_field_begin(w, EM_FIELD_EXTENSIONS);
	for (size_t i = 0; i < e->count; i++)
		put_extension(w->b, e, &e->pairs[i]);
	em_record_field_end(w);
}

static int64_t
timestamp(const struct event *e)
{
	struct em_json number = e->known[EM_TIMESTAMP];
	int64_t n;

	number.kind = EM_JSON_NUMBER;
	return has_text(e, EM_TIMESTAMP) && number.text.len > 0 && em_json_int64(&number, &n) == 0 ? n : 0;
}

static int
write_record(struct em_buf *b, const struct event *e, struct em_span id, struct em_error *err)
{
	struct em_record_writer w;

	em_record_begin(&w, b, timestamp(e));
	if (put_position(&w, EM_FIELD_PARTITION, e, EM_PARTITION, err) != 0 ||
	    put_position(&w, EM_FIELD_OFFSET, e, EM_OFFSET, err) != 0 || put_key(&w, e, err) != 0)
		return -1;
	if (id.bytes != NULL)
		put_literal(&w, EM_FIELD_ID, id);
	else
		put_text(&w, EM_FIELD_ID, e, ID);
	put_text(&w, EM_FIELD_SOURCE, e, SOURCE);
	put_text(&w, EM_FIELD_EVENT_TYPE, e, TYPE);
	put_text(&w, EM_FIELD_SUBJECT, e, EM_SUBJECT);
	put_text(&w, EM_FIELD_TIME, e, TIME);
	put_content_type(&w, e);
	put_text(&w, EM_FIELD_DATASCHEMA, e, DATASCHEMA);
	put_extensions(&w, e);
	if (put_data(&w, e, err) != 0)
		return -1;
	em_record_end(&w);
	return 0;
}

/* A record made from outside must keep the limits of its own format, or the child would refuse it. */
static int
verify(struct em_buf *b, size_t begin, struct em_error *err)
{
	struct em_reader r = em_reader((struct em_span){ b->data + begin, b->len - begin });
	struct em_record record;

	return em_record_decode(&r, &record, err);
}

int
em_event_decode(struct em_buf *b, enum em_mesh_form form, struct em_span body, struct em_span id, struct em_error *err)
{
	struct event e = { .size = PAIRS_FEW, .eventmesh = form == EM_FORM_EVENTMESH };
	size_t before = b->len;
	int result;

	e.pairs = e.few;
	result = e.eventmesh ? read_eventmesh(&e, body, err) : read_members(&e, body, err);
	if (result == 0 && e.known[SUBJECT].kind != EM_JSON_STRING)
		result = em_error_set(err, EM_ESYNTAX, "the event has no %s", e.eventmesh ? "topic" : "subject");
	if (result == 0)
		result = write_record(b, &e, id, err);
	if (result == 0)
		result = verify(b, before, err);
	if (result != 0)
		b->len = before;
	if (e.pairs != e.few)
		free(e.pairs);
	return result;
}
