/* The bodies of EventMesh's frames that are no events: UserAgent, Subscription, RedirectInfo, and what names an event. */
#include "eventmesh.h"

#include <stddef.h>

#include "error.h"
#include "json.h"

static const struct {
	const char	*name;
	size_t		 field;
} texts[] = {
	{ "env", offsetof(struct em_mesh_agent, env) },
	{ "subsystem", offsetof(struct em_mesh_agent, subsystem) },
	{ "path", offsetof(struct em_mesh_agent, path) },
	{ "host", offsetof(struct em_mesh_agent, host) },
	{ "version", offsetof(struct em_mesh_agent, version) },
	{ "username", offsetof(struct em_mesh_agent, username) },
	{ "password", offsetof(struct em_mesh_agent, password) },
	{ "token", offsetof(struct em_mesh_agent, token) },
	{ "idc", offsetof(struct em_mesh_agent, idc) },
	{ "group", offsetof(struct em_mesh_agent, group) },
	{ "purpose", offsetof(struct em_mesh_agent, purpose) },
}, numbers[] = {
	{ "pid", offsetof(struct em_mesh_agent, pid) },
	{ "port", offsetof(struct em_mesh_agent, port) },
	{ "unack", offsetof(struct em_mesh_agent, unack) },
};

#define TEXTS	(sizeof(texts) / sizeof(texts[0]))
#define NUMBERS	(sizeof(numbers) / sizeof(numbers[0]))

void
em_mesh_agent_encode(struct em_buf *b, const struct em_mesh_agent *agent)
{
	const char *base = (const char *)agent;
	char separator = '{';

	for (size_t i = 0; i < TEXTS; i++) {
		const struct em_span *s = (const struct em_span *)(const void *)(base + texts[i].field);

		if (s->bytes == NULL)
			continue;
		em_buf_printf(b, "%c\"%s\":", separator, texts[i].name);
		em_json_string(b, *s);
		separator = ',';
	}
	for (size_t i = 0; i < NUMBERS; i++) {
		em_buf_printf(b, "%c\"%s\":", separator, numbers[i].name);
		em_json_number(b, *(const int64_t *)(const void *)(base + numbers[i].field));
		separator = ',';
	}
	em_buf_u8(b, '}');
}

/* Where the text of every field lies in scratch; made into spans only when scratch does not move any more. */
struct place {
	bool	present;
	size_t	at, len;
};

static void
agent_text(struct place *places, struct em_buf *scratch, const struct em_json *name, const struct em_json *value)
{
	for (size_t i = 0; i < TEXTS; i++) {
		if (!em_json_is(name, texts[i].name) || value->kind == EM_JSON_NULL)
			continue;
		places[i] = (struct place){ true, scratch->len, 0 };
		if (value->kind == EM_JSON_STRING)
			em_json_unescape(scratch, value);
		else
			em_buf_span(scratch, value->text);
		places[i].len = scratch->len - places[i].at;
	}
}

static int
agent_number(struct em_mesh_agent *agent, const struct em_json *name, const struct em_json *value, struct em_error *err)
{
	struct em_json number = *value;

	for (size_t i = 0; i < NUMBERS; i++) {
		int64_t *n = (int64_t *)(void *)((char *)agent + numbers[i].field);

		if (!em_json_is(name, numbers[i].name) || value->kind == EM_JSON_NULL)
			continue;
		number.kind = EM_JSON_NUMBER;	/* a number as a string is taken */
		if (value->text.len == 0 || em_json_int64(&number, n) != 0)
			return em_error_set(err, EM_EPROTO, "UserAgent: \"%s\" is no integer", numbers[i].name);
	}
	return 0;
}

int
em_mesh_agent_decode(struct em_span body, struct em_buf *scratch, struct em_mesh_agent *agent, struct em_error *err)
{
	struct place places[TEXTS] = { 0 };
	struct em_mesh_agent got = { 0 };
	struct em_json whole, name, value;
	struct em_json_cursor c;

	if (em_json_whole(body, &whole, err) != 0)
		return em_error_prefix(err, "UserAgent");
	if (whole.kind != EM_JSON_OBJECT)
		return em_error_set(err, EM_EPROTO, "UserAgent is no object");
	(void)em_json_open(&c, whole.text, NULL);
	while (em_json_next(&c, &name, &value, NULL) > 0) {
		agent_text(places, scratch, &name, &value);
		if (agent_number(&got, &name, &value, err) != 0)
			return -1;
	}
	for (size_t i = 0; i < TEXTS; i++)
		if (places[i].present)
			*(struct em_span *)(void *)((char *)&got + texts[i].field) =
			    (struct em_span){ em_buf_view(scratch).bytes + places[i].at, places[i].len };
	*agent = got;
	return 0;
}

void
em_mesh_subscription_encode(struct em_buf *b, const struct em_mesh_topic *topics, size_t count)
{
	em_buf_str(b, "{\"topicList\":[");
	for (size_t i = 0; i < count; i++) {
		em_buf_str(b, i > 0 ? ",{\"topic\":" : "{\"topic\":");
		em_json_string(b, topics[i].topic);
		em_buf_str(b, topics[i].broadcasting ? ",\"mode\":\"BROADCASTING\"" : ",\"mode\":\"CLUSTERING\"");
		em_buf_str(b, topics[i].sync ? ",\"type\":\"SYNC\"}" : ",\"type\":\"ASYNC\"}");
	}
	em_buf_str(b, "]}");
}

/* One of two words (or UNRECOGNIZED, or null) into a flag. */
static int
read_choice(const struct em_json *value, const char *no, const char *yes, bool *flag, struct em_error *err)
{
	if (value->kind == EM_JSON_NULL || em_json_is(value, no) || em_json_is(value, "UNRECOGNIZED"))
		*flag = false;
	else if (em_json_is(value, yes))
		*flag = true;
	else
		return em_error_set(err, EM_EPROTO, "Subscription: \"%.*s\" is neither %s nor %s",
		    (int)(value->text.len > 40 ? 40 : value->text.len), (const char *)value->text.bytes, no, yes);
	return 0;
}

static int
topic_decode(struct em_span text, struct em_buf *name_text, struct em_mesh_topic *topic, struct em_error *err)
{
	struct em_json_cursor c;
	struct em_json name, value;
	bool named = false;
	int more;

	if (em_json_open(&c, text, err) != 0)
		return -1;
	em_buf_reset(name_text);
	while ((more = em_json_next(&c, &name, &value, err)) > 0) {
		if (em_json_is(&name, "topic") && value.kind == EM_JSON_STRING) {
			em_json_unescape(name_text, &value);
			named = name_text->len > 0;
		} else if (em_json_is(&name, "mode")) {
			if (read_choice(&value, "CLUSTERING", "BROADCASTING", &topic->broadcasting, err) != 0)
				return -1;
		} else if (em_json_is(&name, "type")) {
			if (read_choice(&value, "ASYNC", "SYNC", &topic->sync, err) != 0)
				return -1;
		}
	}
	if (more == 0 && !named)
		return em_error_set(err, EM_EUSAGE, "Subscription: a topic has no name");
	topic->topic = em_buf_view(name_text);
	return more;
}

int
em_mesh_subscription_decode(struct em_span body, int (*each)(void *ctx, const struct em_mesh_topic *topic,
    struct em_error *err), void *ctx, struct em_error *err)
{
	struct em_json whole, name, value, item;
	struct em_json_cursor c, items;
	struct em_buf text = { 0 };
	bool found = false;
	int more = 0, result = -1;

	if (em_json_whole(body, &whole, err) != 0 || whole.kind != EM_JSON_OBJECT) {
		em_error_set(err, EM_EPROTO, "Subscription is no object");
		return -1;
	}
	(void)em_json_open(&c, whole.text, NULL);
	while (em_json_next(&c, &name, &value, NULL) > 0) {
		if (!em_json_is(&name, "topicList") || value.kind != EM_JSON_ARRAY)
			continue;
		found = true;
		(void)em_json_open(&items, value.text, NULL);
		while ((more = em_json_item(&items, &item, err)) > 0) {
			struct em_mesh_topic topic = { 0 };

			if (item.kind != EM_JSON_OBJECT) {
				em_error_set(err, EM_EPROTO, "Subscription: a topic is no object");
				goto out;
			}
			if (topic_decode(item.text, &text, &topic, err) != 0 || each(ctx, &topic, err) != 0)
				goto out;
		}
	}
	if (!found)
		em_error_set(err, EM_EUSAGE, "Subscription has no topicList");
	else
		result = more;
out:
	em_buf_clear(&text);
	return result;
}

void
em_mesh_redirect_encode(struct em_buf *b, struct em_span ip, uint16_t port)
{
	em_buf_str(b, "{\"ip\":");
	em_json_string(b, ip);
	em_buf_printf(b, ",\"port\":%u}", port);
}

int
em_mesh_redirect_decode(struct em_span body, struct em_span *ip, uint16_t *port, struct em_error *err)
{
	struct em_json whole, name, value;
	struct em_json_cursor c;
	struct em_span address = EM_SPAN_NONE;
	int64_t n = -1;

	if (em_json_whole(body, &whole, err) != 0)
		return em_error_prefix(err, "RedirectInfo");
	if (whole.kind != EM_JSON_OBJECT)
		return em_error_set(err, EM_EPROTO, "RedirectInfo is no object");
	(void)em_json_open(&c, whole.text, NULL);
	while (em_json_next(&c, &name, &value, NULL) > 0) {
		if (em_json_is(&name, "ip") && value.kind == EM_JSON_STRING && !value.escaped)
			address = value.text;
		else if (em_json_is(&name, "port") && em_json_int64(&value, &n) != 0)
			n = -1;
	}
	if (address.len == 0 || n <= 0 || n > UINT16_MAX)
		return em_error_set(err, EM_EPROTO, "RedirectInfo names no address and port");
	*ip = address;
	*port = (uint16_t)n;
	return 0;
}

int
em_mesh_identify(struct em_span body, struct em_mesh_identity *identity, struct em_error *err)
{
	struct em_mesh_identity got = { 0 };
	struct em_json name, value;
	struct em_json_cursor c;

	if (em_json_open(&c, body, err) != 0)
		return -1;
	for (;;) {
		int more = em_json_next(&c, &name, &value, err);

		if (more < 0)
			return -1;
		if (more == 0)
			break;
		if (value.kind != EM_JSON_STRING)
			continue;
		if (em_json_is(&name, "id"))
			got.id = value.text;
		else if (em_json_is(&name, "source"))
			got.source = value.text;
		else if (em_json_is(&name, "subject") || em_json_is(&name, "topic"))
			got.topic = value.text;
	}
	*identity = got;
	return 0;
}
