#include "cloudevent.h"

#include <strings.h>

#include "error.h"
#include "json.h"
#include "map.h"
#include "record.h"
#include "utf8.h"

#define ID_MAX	4096u

/* Bytes that stand for themselves in ids and positions; the others are percent-encoded (RFC 3986, unreserved and some
 * that are harmless in JSON). "%" itself is encoded, so that the text can be taken back. */
static bool
is_plain(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	    (c != 0 && strchr("-._~:+@=,/", c) != NULL);
}

static void
percent_encode(struct em_buf *b, struct em_span s)
{
	static const char hex[] = "0123456789ABCDEF";
	uint8_t *out = em_buf_reserve(b, em_size_mul(s.len, 3));

	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.bytes[i];

		if (is_plain(c)) {
			*out++ = c;
		} else {
			*out++ = '%';
			*out++ = (uint8_t)hex[c >> 4];
			*out++ = (uint8_t)hex[c & 15];
		}
	}
	b->len = (size_t)(out - b->data);
}

void
em_event_id(struct em_buf *b, const struct em_event_context *context, const struct em_record *record)
{
	if (record->field[EM_FIELD_ID].len > 0) {
		em_buf_span(b, record->field[EM_FIELD_ID]);
		return;
	}
	em_buf_span(b, context->connector);
	em_buf_u8(b, '/');
	percent_encode(b, record->field[EM_FIELD_PARTITION]);
	em_buf_u8(b, '/');
	percent_encode(b, record->field[EM_FIELD_OFFSET]);
}

void
em_event_source(struct em_buf *b, const struct em_event_context *context, const struct em_record *record)
{
	if (record->field[EM_FIELD_SOURCE].len > 0) {
		em_buf_span(b, record->field[EM_FIELD_SOURCE]);
		return;
	}
	em_buf_str(b, "/emsupervisor/");
	em_buf_span(b, context->connector);
}

/* CloudEvents wants a URI reference; the server refuses blanks. */
static int
source_check(struct em_span s, struct em_error *err)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.bytes[i] <= ' ' || s.bytes[i] == 0x7f || strchr("\"<>\\^`{|}", s.bytes[i]) != NULL)
			return em_error_set(err, EM_EREFUSED,
			    "its source is no URI reference: character %zu must be percent-encoded", i + 1);
	return 0;
}

static int
two_digits(const uint8_t *p, int low, int high)
{
	int n;

	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return -1;
	n = (p[0] - '0') * 10 + p[1] - '0';
	return n >= low && n <= high ? n : -1;
}

/* RFC 3339, section 5.6; days per month are left to the calendar. */
static bool
is_timestamp(struct em_span s)
{
	const uint8_t *p = s.bytes;
	size_t at = 19;

	if (s.len < 20 || two_digits(p, 0, 99) < 0 || two_digits(p + 2, 0, 99) < 0 || p[4] != '-' ||
	    two_digits(p + 5, 1, 12) < 0 || p[7] != '-' || two_digits(p + 8, 1, 31) < 0 || (p[10] | 0x20) != 't' ||
	    two_digits(p + 11, 0, 23) < 0 || p[13] != ':' || two_digits(p + 14, 0, 59) < 0 || p[16] != ':' ||
	    two_digits(p + 17, 0, 60) < 0)
		return false;
	if (p[at] == '.') {
		for (at++; at < s.len && p[at] >= '0' && p[at] <= '9'; at++)
			;
		if (at == 20 || at == s.len)
			return false;
	}
	if (s.len - at == 1)
		return (p[at] | 0x20) == 'z';
	return s.len - at == 6 && (p[at] == '+' || p[at] == '-') && two_digits(p + at + 1, 0, 23) >= 0 &&
	    p[at + 3] == ':' && two_digits(p + at + 4, 0, 59) >= 0;
}

static int
record_check(const struct em_event_context *context, const struct em_record *record, struct em_error *err)
{
	if (record->field[EM_FIELD_SOURCE].len > 0 && source_check(record->field[EM_FIELD_SOURCE], err) != 0)
		return -1;
	if (record->field[EM_FIELD_TIME].bytes != NULL && !is_timestamp(record->field[EM_FIELD_TIME]))
		return em_error_set(err, EM_EREFUSED, "its time is no RFC 3339 timestamp");
	if (record->field[EM_FIELD_ID].len > ID_MAX)
		return em_error_set(err, EM_EREFUSED, "its id has %zu bytes, allowed are %u",
		    record->field[EM_FIELD_ID].len, ID_MAX);
	if (record->field[EM_FIELD_ID].len == 0 && record->field[EM_FIELD_OFFSET].bytes == NULL)
		return em_error_set(err, EM_EREFUSED, "it has neither an id nor an offset to make one from");
	if (context->topic.len == 0)
		return em_error_set(err, EM_EREFUSED, "there is no topic to publish it to");
	return 0;
}

/* "application/json", any "+json", with or without parameters. */
bool
em_map_is_json_type(struct em_span type)
{
	size_t n = 0;

	while (n < type.len && type.bytes[n] != ';' && type.bytes[n] != ' ')
		n++;
	return (n == 16 && strncasecmp((const char *)type.bytes, "application/json", 16) == 0) ||
	    (n == 9 && strncasecmp((const char *)type.bytes, "text/json", 9) == 0) ||
	    (n > 5 && strncasecmp((const char *)type.bytes + n - 5, "+json", 5) == 0);
}

/* How the data travels. */
static enum em_map_data
data_form(const struct em_record *record)
{
	struct em_span data = record->field[EM_FIELD_DATA];

	if (data.bytes == NULL)
		return EM_MAP_NONE;
	if (em_map_is_json_type(record->field[EM_FIELD_DATACONTENTTYPE])) {
		if (em_json_is_plain(data))
			return EM_MAP_JSON;
		return em_is_utf8(data) ? EM_MAP_TEXT : EM_MAP_BASE64;
	}
	return em_is_utf8(data) ? EM_MAP_STRING : EM_MAP_BASE64;
}

const char *const em_map_data_names[] = {
	[EM_MAP_STRING] = NULL, [EM_MAP_JSON] = NULL, [EM_MAP_TEXT] = "text", [EM_MAP_BASE64] = "base64",
	[EM_MAP_NONE] = "none",
};

/* Names that EventMesh or this mapping uses; a record's own extension of such a name travels with a prefix. */
bool
em_map_is_transport(struct em_span name)
{
	static const char *const exact[] = {
		"protocoltype", "protocolversion", "protocoldesc", "reqc2eventmeshtimestamp",
		"reqeventmesh2mqtimestamp", "reqmq2eventmeshtimestamp", "reqeventmesh2ctimestamp", "reqsendeventmeship",
		"reqreceiveeventmeship", "rsp0sys", "rsp0group", "rsp0idc", "rsp0ip", "rspc2eventmeshtimestamp",
		"rspeventmesh2mqtimestamp", "rspmq2eventmeshtimestamp", "rspeventmesh2ctimestamp",
		"rspsendeventmeship", "rspreceiveeventmeship", "eventmeshsendbacktimes", "eventmeshsendbackip",
	};

	if (name.bytes[0] != 'p' && name.bytes[0] != 'r' && name.bytes[0] != 'e')
		return false;
	for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
		if (em_span_is(name, exact[i]))
			return true;
	return false;
}

static bool
must_hide(struct em_span name)
{
	static const char *const known[] = {
		"id", "source", "type", "subject", "time", "specversion", "datacontenttype", "dataschema", "data",
		"database64", "ttl", "keys", "cluster", "seq", "uniqueid", "replyto",
	};

	if (em_map_is_transport(name) || em_span_starts(name, "em"))
		return true;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (em_span_is(name, known[i]))
			return true;
	return false;
}

/* ,"name":"value" (or with the EventMesh form's property syntax, which is the same). */
static void
member(struct em_buf *b, const char *name, struct em_span value)
{
	em_buf_str(b, ",\"");
	em_buf_str(b, name);
	em_buf_str(b, "\":");
	em_json_string(b, value);
}

static void
position(struct em_buf *b, const char *name, struct em_span s)
{
	if (s.bytes == NULL)
		return;
	em_buf_str(b, ",\"");
	em_buf_str(b, name);
	em_buf_str(b, "\":\"");
	percent_encode(b, s);
	em_buf_u8(b, '"');
}

static int32_t
integer(struct em_span value)
{
	return (int32_t)em_get_u32(value.bytes);
}

static void
extension_value(struct em_buf *b, const struct em_attribute *a, bool all_strings)
{
	switch (a->type) {
	case EM_TYPE_INTEGER:
		if (all_strings)
			em_buf_printf(b, "\"%d\"", integer(a->value));
		else
			em_json_number(b, integer(a->value));
		break;
	case EM_TYPE_BOOLEAN:
		em_buf_str(b, all_strings ? "\"" : "");
		em_buf_str(b, a->value.bytes[0] ? "true" : "false");
		em_buf_str(b, all_strings ? "\"" : "");
		break;
	case EM_TYPE_BINARY:
		em_json_base64(b, a->value);
		break;
	default:
		em_json_string(b, a->value);
	}
}

const char *const em_map_type_names[EM_TYPES] = {
	[EM_TYPE_STRING] = "string", [EM_TYPE_INTEGER] = "integer", [EM_TYPE_BOOLEAN] = "boolean", [EM_TYPE_URI] = "uri",
	[EM_TYPE_URIREF] = "uriref", [EM_TYPE_TIMESTAMP] = "timestamp", [EM_TYPE_BINARY] = "binary",
};

/* The extensions themselves, then "emtypes" for those whose type the JSON does not show. */
static void
extensions(struct em_buf *b, struct em_span list, bool all_strings)
{
	struct em_attribute a;
	struct em_reader r = em_reader(list);
	bool first = true;

	while (em_attribute_next(&r, &a, NULL) > 0) {
		em_buf_str(b, must_hide(a.name) ? ",\"emx" : ",\"");
		em_buf_span(b, a.name);
		em_buf_str(b, "\":");
		extension_value(b, &a, all_strings);
	}
	r = em_reader(list);
	while (em_attribute_next(&r, &a, NULL) > 0) {
		bool shown = a.type == EM_TYPE_STRING ||
		    (!all_strings && (a.type == EM_TYPE_INTEGER || a.type == EM_TYPE_BOOLEAN));

		if (shown)
			continue;
		em_buf_str(b, first ? ",\"emtypes\":\"" : ",");
		em_buf_span(b, a.name);
		em_buf_u8(b, ':');
		em_buf_str(b, em_map_type_names[a.type]);
		first = false;
	}
	if (!first)
		em_buf_u8(b, '"');
}

/* Everything of ours that both forms carry, each with a comma in front. */
static void
ours(struct em_buf *b, const struct em_event_context *context, const struct em_record *record, enum em_map_data form,
    bool all_strings)
{
	const struct em_span *f = record->field;

	em_buf_str(b, ",\"ttl\":\"");
	em_json_number(b, context->ttl_ms);
	em_buf_u8(b, '"');
	if (f[EM_FIELD_DATACONTENTTYPE].bytes != NULL)
		member(b, "emcontenttype", f[EM_FIELD_DATACONTENTTYPE]);
	if (f[EM_FIELD_SUBJECT].bytes != NULL)
		member(b, "emsubject", f[EM_FIELD_SUBJECT]);
	if (f[EM_FIELD_KEY].bytes != NULL && em_is_utf8(f[EM_FIELD_KEY])) {
		member(b, "emkey", f[EM_FIELD_KEY]);
	} else if (f[EM_FIELD_KEY].bytes != NULL) {
		em_buf_str(b, ",\"emkey\":");
		em_json_base64(b, f[EM_FIELD_KEY]);
		em_buf_str(b, ",\"emkeyencoding\":\"base64\"");
	}
	position(b, "empartition", f[EM_FIELD_PARTITION]);
	position(b, "emoffset", f[EM_FIELD_OFFSET]);
	if (record->timestamp_ms != 0) {
		em_buf_str(b, ",\"emtimestamp\":\"");
		em_json_number(b, record->timestamp_ms);
		em_buf_u8(b, '"');
	}
	if (em_map_data_names[form] != NULL)
		member(b, "emdataencoding", em_span_str(em_map_data_names[form]));
	extensions(b, f[EM_FIELD_EXTENSIONS], all_strings);
}

static void
data(struct em_buf *b, struct em_span s, enum em_map_data form)
{
	switch (form) {
	case EM_MAP_NONE:
		em_buf_str(b, "null");
		break;
	case EM_MAP_JSON:
		em_buf_span(b, s);
		break;
	case EM_MAP_BASE64:
		em_json_base64(b, s);
		break;
	default:
		em_json_string(b, s);
	}
}

/* The id and source as JSON strings; both are made of characters of ours, or were checked. */
static void
identity(struct em_buf *b, const struct em_event_context *context, const struct em_record *record)
{
	em_buf_str(b, "\"id\":");
	if (record->field[EM_FIELD_ID].len > 0) {
		em_json_string(b, record->field[EM_FIELD_ID]);
	} else {
		em_buf_u8(b, '"');
		em_event_id(b, context, record);
		em_buf_u8(b, '"');
	}
	em_buf_str(b, ",\"source\":\"");
	em_event_source(b, context, record);
	em_buf_u8(b, '"');
}

static void
encode_cloudevent(struct em_buf *b, const struct em_event_context *context, const struct em_record *record)
{
	const struct em_span *f = record->field;
	enum em_map_data form = data_form(record);

	em_buf_str(b, "{\"specversion\":\"1.0\",");
	identity(b, context, record);
	member(b, "type", f[EM_FIELD_EVENT_TYPE].len > 0 ? f[EM_FIELD_EVENT_TYPE] : context->type);
	member(b, "subject", context->topic);
	em_buf_str(b, ",\"datacontenttype\":\"application/cloudevents+json\"");
	if (f[EM_FIELD_TIME].bytes != NULL)
		member(b, "time", f[EM_FIELD_TIME]);
	if (f[EM_FIELD_DATASCHEMA].bytes != NULL)
		member(b, "dataschema", f[EM_FIELD_DATASCHEMA]);
	ours(b, context, record, form, false);
	em_buf_str(b, ",\"data\":");
	data(b, f[EM_FIELD_DATA], form);
	em_buf_u8(b, '}');
}

/* What has no place of its own in the other form travels among the properties, under names of this mapping. */
static void
encode_eventmesh(struct em_buf *b, const struct em_event_context *context, const struct em_record *record)
{
	const struct em_span *f = record->field;
	enum em_map_data form = data_form(record);
	size_t begin;

	em_buf_str(b, "{\"topic\":");
	em_json_string(b, context->topic);
	em_buf_str(b, ",\"headers\":{},\"properties\":{");
	begin = b->len;
	em_buf_str(b, ",\"emsource\":\"");
	em_event_source(b, context, record);
	em_buf_u8(b, '"');
	member(b, "emtype", f[EM_FIELD_EVENT_TYPE].len > 0 ? f[EM_FIELD_EVENT_TYPE] : context->type);
	if (f[EM_FIELD_TIME].bytes != NULL)
		member(b, "emtime", f[EM_FIELD_TIME]);
	if (f[EM_FIELD_DATASCHEMA].bytes != NULL)
		member(b, "emdataschema", f[EM_FIELD_DATASCHEMA]);
	ours(b, context, record, form == EM_MAP_JSON ? EM_MAP_TEXT : form, true);
	memmove(b->data + begin, b->data + begin + 1, b->len - begin - 1);	/* the first comma */
	b->len--;
	em_buf_str(b, "},\"body\":");
	if (form == EM_MAP_NONE)
		em_buf_str(b, "\"\"");
	else
		data(b, f[EM_FIELD_DATA], form == EM_MAP_JSON ? EM_MAP_TEXT : form);
	em_buf_u8(b, '}');
}

int
em_event_encode(struct em_buf *b, enum em_mesh_form form, const struct em_event_context *context,
    const struct em_record *record, struct em_error *err)
{
	if (record_check(context, record, err) != 0)
		return -1;
	if (form == EM_FORM_EVENTMESH)
		encode_eventmesh(b, context, record);
	else
		encode_cloudevent(b, context, record);
	return 0;
}
