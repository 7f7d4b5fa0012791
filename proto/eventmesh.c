#include "eventmesh.h"

#include "error.h"
#include "json.h"

#define MAGIC		"EventMesh0000"
#define MAGIC_SIZE	13u
#define LENGTHS		8u		/* the two length fields, which L does not count */

struct command_row {
	const char	*name;
	enum em_mesh_command answer;	/* EM_MESH_COMMANDS: none */
	bool		 publish;	/* carries all three protocol properties */
	bool		 deliver;	/* carries protocoltype */
};

#define NO_ANSWER	EM_MESH_COMMANDS
#define ROW(name, answer, publish, deliver) [EM_MESH_##name] = { #name, answer, publish, deliver }

static const struct command_row commands[] = {
	ROW(HEARTBEAT_REQUEST, EM_MESH_HEARTBEAT_RESPONSE, false, false),
	ROW(HEARTBEAT_RESPONSE, NO_ANSWER, false, false),
	ROW(HELLO_REQUEST, EM_MESH_HELLO_RESPONSE, false, false),
	ROW(HELLO_RESPONSE, NO_ANSWER, false, false),
	ROW(CLIENT_GOODBYE_REQUEST, EM_MESH_CLIENT_GOODBYE_RESPONSE, false, false),
	ROW(CLIENT_GOODBYE_RESPONSE, NO_ANSWER, false, false),
	ROW(SERVER_GOODBYE_REQUEST, EM_MESH_SERVER_GOODBYE_RESPONSE, false, false),
	ROW(SERVER_GOODBYE_RESPONSE, NO_ANSWER, false, false),
	ROW(SUBSCRIBE_REQUEST, EM_MESH_SUBSCRIBE_RESPONSE, false, false),
	ROW(SUBSCRIBE_RESPONSE, NO_ANSWER, false, false),
	ROW(UNSUBSCRIBE_REQUEST, EM_MESH_UNSUBSCRIBE_RESPONSE, false, false),
	ROW(UNSUBSCRIBE_RESPONSE, NO_ANSWER, false, false),
	ROW(LISTEN_REQUEST, EM_MESH_LISTEN_RESPONSE, false, false),
	ROW(LISTEN_RESPONSE, NO_ANSWER, false, false),
	ROW(REQUEST_TO_SERVER, EM_MESH_RESPONSE_TO_CLIENT, true, false),
	ROW(REQUEST_TO_CLIENT, EM_MESH_REQUEST_TO_CLIENT_ACK, false, true),
	ROW(REQUEST_TO_CLIENT_ACK, NO_ANSWER, false, false),
	ROW(RESPONSE_TO_SERVER, NO_ANSWER, true, false),
	ROW(RESPONSE_TO_CLIENT, EM_MESH_RESPONSE_TO_CLIENT_ACK, false, true),
	ROW(RESPONSE_TO_CLIENT_ACK, NO_ANSWER, false, false),
	ROW(ASYNC_MESSAGE_TO_SERVER, EM_MESH_ASYNC_MESSAGE_TO_SERVER_ACK, true, false),
	ROW(ASYNC_MESSAGE_TO_SERVER_ACK, NO_ANSWER, false, false),
	ROW(ASYNC_MESSAGE_TO_CLIENT, EM_MESH_ASYNC_MESSAGE_TO_CLIENT_ACK, false, true),
	ROW(ASYNC_MESSAGE_TO_CLIENT_ACK, NO_ANSWER, false, false),
	ROW(BROADCAST_MESSAGE_TO_SERVER, EM_MESH_BROADCAST_MESSAGE_TO_SERVER_ACK, true, false),
	ROW(BROADCAST_MESSAGE_TO_SERVER_ACK, NO_ANSWER, false, false),
	ROW(BROADCAST_MESSAGE_TO_CLIENT, EM_MESH_BROADCAST_MESSAGE_TO_CLIENT_ACK, false, true),
	ROW(BROADCAST_MESSAGE_TO_CLIENT_ACK, NO_ANSWER, false, false),
	ROW(SYS_LOG_TO_LOGSERVER, NO_ANSWER, false, false),
	ROW(TRACE_LOG_TO_LOGSERVER, NO_ANSWER, false, false),
	ROW(REDIRECT_TO_CLIENT, NO_ANSWER, false, false),
	ROW(REGISTER_REQUEST, EM_MESH_REGISTER_RESPONSE, false, false),
	ROW(REGISTER_RESPONSE, NO_ANSWER, false, false),
	ROW(UNREGISTER_REQUEST, EM_MESH_UNREGISTER_RESPONSE, false, false),
	ROW(UNREGISTER_RESPONSE, NO_ANSWER, false, false),
	ROW(RECOMMEND_REQUEST, EM_MESH_RECOMMEND_RESPONSE, false, false),
	ROW(RECOMMEND_RESPONSE, NO_ANSWER, false, false),
};
_Static_assert(sizeof(commands) / sizeof(commands[0]) == EM_MESH_COMMANDS, "a row for every command");

static const char *const forms[] = {
	[EM_FORM_CLOUDEVENTS] = "cloudevents", [EM_FORM_EVENTMESH] = "eventmeshmessage",
};

const char *
em_mesh_command_name(enum em_mesh_command command)
{
	return (unsigned)command < EM_MESH_COMMANDS ? commands[command].name : "unknown";
}

enum em_mesh_command
em_mesh_answer(enum em_mesh_command request)
{
	return (unsigned)request < EM_MESH_COMMANDS ? commands[request].answer : NO_ANSWER;
}

long
em_mesh_cut(struct em_span bytes, struct em_error *err)
{
	size_t seen = bytes.len < MAGIC_SIZE ? bytes.len : MAGIC_SIZE;
	uint32_t whole;

	if (memcmp(bytes.bytes, MAGIC, seen) != 0)
		return em_error_set(err, EM_EPROTO, "this is no EventMesh frame of version 0000");
	if (bytes.len < MAGIC_SIZE + 4)
		return 0;
	whole = em_get_u32be(bytes.bytes + MAGIC_SIZE);
	if (whole < MAGIC_SIZE || whole > EM_MESH_FRAME_MAX - LENGTHS)
		return em_error_set(err, EM_ELIMIT, "a frame announces %u bytes, allowed are %u to %u", whole,
		    MAGIC_SIZE, EM_MESH_FRAME_MAX - LENGTHS);
	return bytes.len - LENGTHS >= whole && bytes.len >= EM_MESH_PREFIX ? (long)whole + (long)LENGTHS : 0;
}

static int
command_by_name(struct em_span name, enum em_mesh_command *command)
{
	for (unsigned i = 0; i < EM_MESH_COMMANDS; i++) {
		if (em_span_is(name, commands[i].name)) {
			*command = (enum em_mesh_command)i;
			return 0;
		}
	}
	return -1;
}

static int
read_command(const struct em_json *value, struct em_mesh_header *header, struct em_error *err)
{
	struct em_json number = *value;
	int64_t n;

	if (value->kind == EM_JSON_STRING && command_by_name(value->text, &header->command) == 0)
		return 0;
	number.kind = EM_JSON_NUMBER;	/* the server takes a number as text, too */
	if ((value->kind == EM_JSON_NUMBER || (value->kind == EM_JSON_STRING && value->text.len > 0 &&
	    value->text.bytes[0] >= '0' && value->text.bytes[0] <= '9')) && em_json_int64(&number, &n) == 0 &&
	    n >= 0 && n < EM_MESH_COMMANDS) {
		header->command = (enum em_mesh_command)n;
		return 0;
	}
	return em_error_set(err, EM_EPROTO, "a frame's header has the unknown command \"%.*s\"",
	    (int)(value->text.len > 40 ? 40 : value->text.len), (const char *)value->text.bytes);
}

static int
read_code(const struct em_json *value, struct em_mesh_header *header, struct em_error *err)
{
	int64_t n;

	if (value->kind == EM_JSON_NULL)
		return 0;
	if (em_json_int64(value, &n) != 0 || n < INT32_MIN || n > INT32_MAX)
		return em_error_set(err, EM_EPROTO, "a frame's header has a code that is no integer");
	header->code = (int)n;
	return 0;
}

static int
read_desc(const struct em_json *value, struct em_mesh_header *header, struct em_error *err)
{
	(void)err;
	if (value->kind == EM_JSON_STRING)
		header->desc = value->text;
	return 0;
}

static int
read_seq(const struct em_json *value, struct em_mesh_header *header, struct em_error *err)
{
	if (value->kind == EM_JSON_NULL)
		return 0;
	if ((value->kind != EM_JSON_STRING && value->kind != EM_JSON_NUMBER) || value->escaped)
		return em_error_set(err, EM_EPROTO, "a frame's header has a seq that is no plain text");
	header->seq = value->text;
	return 0;
}

static uint32_t
window_of(const struct em_json *value)
{
	struct em_json number = *value;
	int64_t n;

	number.kind = EM_JSON_NUMBER;
	if (value->text.len == 0 || value->text.len > 10 || em_json_int64(&number, &n) != 0 || n < 0)
		return 0;
	return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void
read_property(const struct em_json *name, const struct em_json *value, struct em_mesh_header *header)
{
	bool yes = em_json_is(value, "true") || value->kind == EM_JSON_TRUE;

	if (em_json_is(name, "protocoltype")) {
		header->form = em_json_is(value, forms[EM_FORM_CLOUDEVENTS]) ? EM_FORM_CLOUDEVENTS :
		    em_json_is(value, forms[EM_FORM_EVENTMESH]) ? EM_FORM_EVENTMESH : EM_FORM_UNKNOWN;
	} else if (em_json_is(name, "cumulative")) {
		header->cumulative = yes;
	} else if (em_json_is(name, "windowrecords")) {
		header->offer.window_records = window_of(value);
	} else if (em_json_is(name, "windowbytes")) {
		header->offer.window_bytes = window_of(value);
	} else if (em_json_is(name, "cumulativeack")) {
		header->offer.cumulative_ack = yes;
	} else if (em_json_is(name, "order")) {
		header->offer.order = em_json_is(value, "kept");
	} else if (em_json_is(name, "redelivery")) {
		header->offer.redelivery = yes;
	}
}

static int
read_properties(const struct em_json *value, struct em_mesh_header *header, struct em_error *err)
{
	struct em_json_cursor c;
	struct em_json name, property;
	int more;

	if (value->kind == EM_JSON_NULL)
		return 0;
	if (value->kind != EM_JSON_OBJECT)
		return em_error_set(err, EM_EPROTO, "a frame's header has properties that are no object");
	header->properties = value->text;
	if (em_json_open(&c, value->text, err) != 0)
		return -1;
	while ((more = em_json_next(&c, &name, &property, err)) > 0)
		read_property(&name, &property, header);
	return more;
}

static const struct {
	const char	*name;
	int		(*read)(const struct em_json *, struct em_mesh_header *, struct em_error *);
} fields[] = {
	{ "cmd", read_command }, { "code", read_code }, { "desc", read_desc }, { "seq", read_seq },
	{ "properties", read_properties },
};

static int
read_header(struct em_span text, struct em_mesh_header *header, struct em_error *err)
{
	struct em_json_cursor c;
	struct em_json name, value;
	int more;

	*header = (struct em_mesh_header){ .command = EM_MESH_COMMANDS, .form = EM_FORM_UNKNOWN };
	if (em_json_open(&c, text, err) != 0)
		return -1;
	while ((more = em_json_next(&c, &name, &value, err)) > 0)
		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
			if (em_json_is(&name, fields[i].name) && fields[i].read(&value, header, err) != 0)
				return -1;
	if (more == 0 && header->command == EM_MESH_COMMANDS)
		return em_error_set(err, EM_EPROTO, "a frame's header has no command");
	return more;
}

int
em_mesh_decode(struct em_span whole, struct em_mesh_frame *frame, struct em_error *err)
{
	uint32_t header_len = em_get_u32be(whole.bytes + MAGIC_SIZE + 4);
	size_t rest = whole.len - EM_MESH_PREFIX;
	struct em_mesh_frame got;

	if (header_len == 0 || header_len > rest)
		return em_error_set(err, EM_EPROTO, "a frame of %zu bytes has a header of %u", whole.len, header_len);
	if (read_header((struct em_span){ whole.bytes + EM_MESH_PREFIX, header_len }, &got.header, err) != 0)
		return em_error_prefix(err, "EventMesh header");
	got.body = (struct em_span){ whole.bytes + EM_MESH_PREFIX + header_len, rest - header_len };
	*frame = got;
	return 0;
}

static void
property(struct em_buf *b, bool *first, const char *name, const char *value)
{
	em_buf_str(b, *first ? ",\"properties\":{\"" : ",\"");
	em_buf_str(b, name);
	em_buf_str(b, "\":\"");
	em_buf_str(b, value);
	em_buf_u8(b, '"');
	*first = false;
}

static void
window_property(struct em_buf *b, bool *first, const char *name, uint32_t value)
{
	if (value == 0)
		return;
	em_buf_str(b, *first ? ",\"properties\":{\"" : ",\"");
	em_buf_str(b, name);
	em_buf_str(b, "\":\"");
	em_json_number(b, value);
	em_buf_u8(b, '"');
	*first = false;
}

static void
write_properties(struct em_buf *b, const struct em_mesh_header *header)
{
	const struct command_row *row = &commands[header->command];
	bool first = true;

	if ((row->publish || row->deliver) && header->form != EM_FORM_UNKNOWN)
		property(b, &first, "protocoltype", forms[header->form]);
	if (row->publish && header->form != EM_FORM_UNKNOWN) {
		property(b, &first, "protocolversion", "1.0");
		property(b, &first, "protocoldesc", "tcp");
	}
	if (header->cumulative)
		property(b, &first, "cumulative", "true");
	window_property(b, &first, "windowrecords", header->offer.window_records);
	window_property(b, &first, "windowbytes", header->offer.window_bytes);
	if (header->offer.cumulative_ack)
		property(b, &first, "cumulativeack", "true");
	if (header->offer.order)
		property(b, &first, "order", "kept");
	if (header->offer.redelivery)
		property(b, &first, "redelivery", "true");
	if (!first)
		em_buf_u8(b, '}');
}

size_t
em_mesh_begin(struct em_buf *b, const struct em_mesh_header *header)
{
	size_t begin = b->len;
	const char *name = commands[header->command].name;

	em_buf_append(b, MAGIC "\0\0\0\0\0\0\0\0{\"cmd\":\"", EM_MESH_PREFIX + 8);
	em_buf_str(b, name);
	em_buf_str(b, "\",\"code\":");
	em_json_number(b, header->code);
	if (header->desc.bytes != NULL) {
		em_buf_str(b, ",\"desc\":");
		em_json_string(b, header->desc);
	}
	if (header->seq.bytes != NULL) {
		em_buf_str(b, ",\"seq\":");
		em_json_string(b, header->seq);
	}
	write_properties(b, header);
	em_buf_str(b, ",\"command\":\"");
	em_buf_str(b, name);
	em_buf_str(b, "\"}");
	em_put_u32be(b->data + begin + MAGIC_SIZE + 4, (uint32_t)(b->len - begin - EM_MESH_PREFIX));
	return begin;
}

int
em_mesh_end(struct em_buf *b, size_t begin, struct em_error *err)
{
	size_t whole = b->len - begin;

	if (whole > EM_MESH_FRAME_MAX) {
		b->len = begin;
		return em_error_set(err, EM_ELIMIT, "the event makes a frame of %zu bytes, EventMesh takes at most %u",
		    whole, EM_MESH_FRAME_MAX);
	}
	em_put_u32be(b->data + begin + MAGIC_SIZE, (uint32_t)(whole - LENGTHS));
	return 0;
}

void
em_mesh_plain(struct em_buf *b, const struct em_mesh_header *header)
{
	struct em_error err = EM_ERROR_INIT;

	if (em_mesh_end(b, em_mesh_begin(b, header), &err) != 0)
		em_panic("eventmesh: %s", em_error_text(&err));
}
