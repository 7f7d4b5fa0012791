#include "control.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bytes.h"
#include "log.h"
#include "stream.h"

#define LINE_MAX_SIZE	(1024u * 1024)
#define UNSENT_MAX	(8u * 1024 * 1024)
#define CLIENTS_MAX	64u

struct control_request {
	TAILQ_ENTRY(control_request) link;
	struct client	*client;
	json_t		*id;
	void		(*cancel)(void *arg);
	void		*cancel_arg;
};

struct client {
	TAILQ_ENTRY(client) link;
	struct control	*control;
	struct em_stream *stream;
	bool		 may_read, may_change;
	char		*who;
	TAILQ_HEAD(, control_request) requests;
};

struct control {
	struct event_base *base;
	const struct control_command *commands;
	void		*ctx;
	struct event	*listener;
	int		 fd;
	char		*path;
	gid_t		 read_group, change_group;
	unsigned	 clients_count;
	TAILQ_HEAD(, client) clients;
};

static void
request_free(struct control_request *request)
{
	TAILQ_REMOVE(&request->client->requests, request, link);
	json_decref(request->id);
	free(request);
}

static void
client_free(struct client *client)
{
	struct control_request *request;

	while ((request = TAILQ_FIRST(&client->requests)) != NULL) {
		if (request->cancel != NULL)
			request->cancel(request->cancel_arg);
		request_free(request);
	}
	TAILQ_REMOVE(&client->control->clients, client, link);
	client->control->clients_count--;
	em_stream_free(client->stream);
	free(client->who);
	free(client);
}

static int
append_to(const char *bytes, size_t n, void *ctx)
{
	em_buf_append(ctx, bytes, n);
	return 0;
}

static void
send_line(struct client *client, json_t *line)
{
	struct em_buf *out = em_stream_out(client->stream);

	/* A client that does not read its events is cut off when its stream reports the end. */
	if (em_stream_pending(client->stream) > UNSENT_MAX) {
		shutdown(em_stream_fd(client->stream), SHUT_RDWR);
	} else {
		json_dump_callback(line, append_to, out, JSON_COMPACT | JSON_ENCODE_ANY);
		em_buf_u8(out, '\n');
		em_stream_flush(client->stream);
	}
	json_decref(line);
}

void
control_answer(struct control_request *request, json_t *result)
{
	send_line(request->client, json_pack("{s:O, s:b, s:o}", "id", request->id, "ok", 1, "result",
	    result != NULL ? result : json_object()));
	request_free(request);
}

void
control_refuse_with(struct control_request *request, enum em_code code, const char *message, json_t *errors)
{
	json_t *error = json_pack("{s:s, s:s}", "code", em_code_row(code)->name, "message", message);

	if (error == NULL)	/* a text from outside that is no UTF-8 */
		error = json_pack("{s:s, s:s}", "code", em_code_row(code)->name, "message",
		    "the reason cannot be shown: it is not UTF-8");
	if (errors != NULL)
		json_object_set_new(error, "errors", errors);
	send_line(request->client, json_pack("{s:O, s:b, s:o}", "id", request->id, "ok", 0, "error", error));
	request_free(request);
}

void
control_refuse(struct control_request *request, enum em_code code, const char *fmt, ...)
{
	va_list ap;
	char *message;

	va_start(ap, fmt);
	message = em_vasprintf(fmt, ap);
	va_end(ap);
	control_refuse_with(request, code, message, NULL);
	free(message);
}

void
control_event(struct control_request *request, json_t *event)
{
	send_line(request->client, json_pack("{s:O, s:o}", "id", request->id, "event", event));
}

void
control_on_cancel(struct control_request *request, void (*cancel)(void *arg), void *arg)
{
	request->cancel = cancel;
	request->cancel_arg = arg;
}

const char *
control_who(const struct control_request *request)
{
	return request->client->who;
}

static const struct control_command *
find_command(const struct control *c, const char *name)
{
	for (const struct control_command *row = c->commands; row->name != NULL; row++)
		if (strcmp(row->name, name) == 0)
			return row;
	return NULL;
}

static void
run(struct client *client, struct control_request *request, const json_t *message)
{
	const char *name = json_string_value(json_object_get(message, "command"));
	const json_t *arguments = json_object_get(message, "arguments");
	const struct control_command *row;

	if (name == NULL) {
		control_refuse(request, EM_EUSAGE, "a request needs \"command\", a string");
		return;
	}
	if (arguments != NULL && !json_is_object(arguments)) {
		control_refuse(request, EM_EUSAGE, "\"arguments\" must be an object");
		return;
	}
	row = find_command(client->control, name);
	if (row == NULL) {
		control_refuse(request, EM_EUSAGE, "unknown command \"%s\"", name);
	} else if (row->access == CONTROL_CHANGE ? !client->may_change : !client->may_read) {
		control_refuse(request, EM_EACCESS, "%s may not use \"%s\": it needs the group for %s",
		    client->who, name, row->access == CONTROL_CHANGE ? "changing" : "reading");
	} else {
		if (row->access == CONTROL_CHANGE)
			em_log(EM_NOTICE, "control", "%s asks for \"%s\"", client->who, name);
		row->run(client->control->ctx, request, arguments);
	}
}

static void
on_line(void *ctx, struct em_span line)
{
	struct client *client = ctx;
	struct control_request *request;
	json_error_t why;
	json_t *message;

	if (line.len <= 1)
		return;
	request = em_calloc(1, sizeof(*request));
	message = json_loadb((const char *)line.bytes, line.len - 1, JSON_REJECT_DUPLICATES, &why);
	request->client = client;
	request->id = json_is_object(message) && json_object_get(message, "id") != NULL ?
	    json_incref(json_object_get(message, "id")) : json_null();
	TAILQ_INSERT_TAIL(&client->requests, request, link);
	if (message == NULL)
		control_refuse(request, EM_ESYNTAX, "a request must be one line of JSON: %s at byte %d", why.text,
		    why.position);
	else if (!json_is_object(message))
		control_refuse(request, EM_EUSAGE, "a request must be a JSON object");
	else
		run(client, request, message);
	json_decref(message);
}

static long
on_cut(void *ctx, struct em_span bytes, struct em_error *err)
{
	const uint8_t *end = memchr(bytes.bytes, '\n', bytes.len);

	(void)ctx;
	if (end != NULL)
		return end - bytes.bytes + 1;
	if (bytes.len > LINE_MAX_SIZE)
		return em_error_set(err, EM_ELIMIT, "a request of more than %u bytes", LINE_MAX_SIZE);
	return 0;
}

static void
on_close(void *ctx, const struct em_error *why)
{
	struct client *client = ctx;

	if (why->code != EM_ECLOSED)
		em_log(EM_WARNING, "control", "%s: %s", client->who, em_error_text(why));
	client_free(client);
}

static const struct em_stream_ops stream_ops = { .cut = on_cut, .on_frame = on_line, .on_close = on_close };

/* The kernel keeps the groups of a peer; asking the user database could block the loop. */
static bool
is_member(int fd, const struct ucred *peer, gid_t wanted)
{
	gid_t groups[1024];
	socklen_t len = sizeof(groups);

	if (wanted == (gid_t)-1)
		return false;
	if (peer->gid == wanted)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) != 0)
		return false;
	for (size_t i = 0; i < len / sizeof(groups[0]); i++)
		if (groups[i] == wanted)
			return true;
	return false;
}

static void
admit(struct control *c, int fd)
{
	struct client *client;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	bool all;

	if (c->clients_count >= CLIENTS_MAX || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0) {
		em_log(EM_WARNING, "control", "a client was turned away: %s",
		    c->clients_count >= CLIENTS_MAX ? "there are too many" : strerror(errno));
		close(fd);
		return;
	}
	client = em_calloc(1, sizeof(*client));
	all = peer.uid == 0 || peer.uid == geteuid();
	client->control = c;
	client->may_change = all || is_member(fd, &peer, c->change_group);
	client->may_read = client->may_change || is_member(fd, &peer, c->read_group);
	client->who = em_asprintf("uid %u", (unsigned)peer.uid);
	TAILQ_INIT(&client->requests);
	TAILQ_INSERT_TAIL(&c->clients, client, link);
	c->clients_count++;
	client->stream = em_stream_new(c->base, fd, &stream_ops, client);
}

static void
on_acceptable(evutil_socket_t fd, short what, void *ctx)
{
	int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (client >= 0)
		admit(ctx, client);
	else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		em_log(EM_WARNING, "control", "no client can be accepted: %s", strerror(errno));
}

/* Access is decided per command from credentials, so that the socket itself may be open to both groups. */
static int
listen_at(const char *path, struct em_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	int fd;

	if (n >= sizeof(address.sun_path))
		return em_error_set(err, EM_ELIMIT, "the socket's path \"%s\" has %zu bytes, allowed are %zu", path, n,
		    sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, n + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return em_error_errno(err, errno, "control socket");
	unlink(path);	/* a stale one: the lock of the state directory says that no other supervisor runs */
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || chmod(path, 0666) != 0 || listen(fd, 64) != 0) {
		em_error_errno(err, errno, "control socket \"%s\"", path);
		close(fd);
		return -1;
	}
	return fd;
}

struct control *
control_new(struct event_base *base, const struct control_config *config, const struct control_command *commands,
    void *ctx, struct em_error *err)
{
	struct control *c;
	int fd = listen_at(config->path, err);

	if (fd < 0)
		return NULL;
	c = em_calloc(1, sizeof(*c));
	c->base = base;
	c->commands = commands;
	c->ctx = ctx;
	c->fd = fd;
	c->path = em_strdup(config->path);
	c->read_group = config->read_group;
	c->change_group = config->change_group;
	TAILQ_INIT(&c->clients);
	c->listener = event_new(base, fd, EV_READ | EV_PERSIST, on_acceptable, c);
	if (c->listener == NULL)
		em_panic("control: no event");
	event_add(c->listener, NULL);
	return c;
}

void
control_free(struct control *c)
{
	struct client *client;

	if (c == NULL)
		return;
	while ((client = TAILQ_FIRST(&c->clients)) != NULL)
		client_free(client);
	event_free(c->listener);
	close(c->fd);
	unlink(c->path);
	free(c->path);
	free(c);
}
