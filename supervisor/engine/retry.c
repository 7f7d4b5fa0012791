#include "retry.h"

int64_t
retry_delay_ms(int64_t min_ms, int64_t max_ms, unsigned failures_before, uint32_t chance)
{
	int64_t delay = min_ms > 0 ? min_ms : 1;

	for (unsigned i = 0; i < failures_before && delay < max_ms; i++)
		delay = delay > max_ms / 2 ? max_ms : delay * 2;
	return delay - (int64_t)((uint64_t)(delay / 2) * chance / UINT32_MAX);
}

static const struct retry_row rows[] = {
	{ "event size exceeds the limit", RETRY_PERMANENT, "its data is larger than the server's maxEventSize" },
	{ "Tps overload", RETRY_SMALLER, "the server's limit of messages a second is reached" },
	{ "SEND_TOO_FAST", RETRY_SMALLER, "the server's limit of messages in flight is reached" },
	{ "Send message error", RETRY_TRANSIENT, "the server's storage refused it" },
	{ "EventDeserializationException", RETRY_PERMANENT, "the server cannot read the event" },
	{ "ProtocolHandleException", RETRY_PERMANENT, "the server cannot read the event" },
	{ "CloudEventRWException", RETRY_PERMANENT, "the server cannot read the event" },
	{ "event is null", RETRY_PERMANENT, "the server cannot read the event" },
	{ "Cannot find the Protocol adaptor", RETRY_PERMANENT, "the server does not know the message format" },
	{ "ClassCastException", RETRY_PERMANENT, "the server cannot read the event" },
	{ "JsonException", RETRY_PERMANENT, "the server cannot read the event" },
	{ "NullPointerException", RETRY_PERMANENT, "the server cannot read the event" },
	{ "no session is found", RETRY_RECONNECT, "the server has forgotten the session" },
	{ "session will be closed", RETRY_RECONNECT, "the server closes the session" },
	{ "AclException", RETRY_STOP, "the server denies the rights" },
	{ "OutOfMemoryError", RETRY_SMALLER, "the server is out of memory" },
	{ "", RETRY_TRANSIENT, "a refusal that is not known" },
};

const struct retry_row *
retry_classify(struct em_span desc)
{
	const struct retry_row *row = rows;

	while (row->text[0] != '\0' &&
	    (desc.len == 0 || memmem(desc.bytes, desc.len, row->text, strlen(row->text)) == NULL))
		row++;
	return row;
}
