#include "session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "log.h"
#include "retry.h"
#include "stream.h"

#define HEARTBEAT_S	20
#define SILENCE_S	50
#define CONNECT_S	5
#define BACKOFF_MIN_MS	100
#define BACKOFF_MAX_MS	5000
#define LEAVE_S		2

enum phase { WAITING, CONNECTING, GREETING, UP, LEAVING };

struct session {
	struct event_base *base;
	const struct mesh_config *mesh;
	const struct session_ops *ops;
	void		*ctx;
	char		*name, *group, *redirect;
	bool		 subscriber;
	uint32_t	 window_records, window_bytes;
	enum phase	 phase;
	size_t		 server;		/* index of the one that is or was tried */
	unsigned	 failures;
	int		 fd;			/* while connecting */
	struct event	*connected, *timer, *beat;
	struct em_stream *stream;
	time_t		 heard_s;
	uint32_t	 seq;
};

static void	try_later(struct session *s, const char *why);

static time_t
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static void
arm(struct event *timer, int64_t ms)
{
	struct timeval after = { ms / 1000, ms % 1000 * 1000 };

	event_add(timer, &after);
}

const char *
session_server(const struct session *s)
{
	return s->redirect != NULL ? s->redirect : s->mesh->servers[s->server];
}

bool
session_is_up(const struct session *s)
{
	return s->phase == UP;
}

struct em_buf *
session_out(struct session *s)
{
	em_stream_flush(s->stream);
	return em_stream_out(s->stream);
}

size_t
session_pending(const struct session *s)
{
	return s->stream != NULL ? em_stream_pending(s->stream) : 0;
}

static void
say(struct session *s, enum em_mesh_command command)
{
	char *seq = em_asprintf("s%u", ++s->seq);

	em_mesh_plain(session_out(s), &(struct em_mesh_header){ .command = command, .seq = em_span_str(seq),
	    .form = EM_FORM_UNKNOWN });
	free(seq);
}

static struct em_span
optional(const char *text)
{
	return text != NULL && text[0] != '\0' ? em_span_str(text) : EM_SPAN_NONE;
}

static void
say_hello(struct session *s)
{
	struct em_buf *b = session_out(s);
	size_t begin = em_mesh_begin(b, &(struct em_mesh_header){ .command = EM_MESH_HELLO_REQUEST,
	    .seq = EM_SPAN_LITERAL("hello"), .form = EM_FORM_UNKNOWN,
	    .offer = { s->window_records, s->window_bytes, true, false, false } });

	em_mesh_agent_encode(b, &(struct em_mesh_agent){
	    .env = em_span_str(s->mesh->env), .subsystem = em_span_str(s->mesh->subsystem),
	    .path = EM_SPAN_LITERAL("/"), .host = EM_SPAN_LITERAL("127.0.0.1"), .version = EM_SPAN_LITERAL(EM_VERSION),
	    .username = optional(s->mesh->username), .password = optional(s->mesh->password),
	    .token = optional(s->mesh->token), .idc = em_span_str(s->mesh->idc), .group = em_span_str(s->group),
	    .purpose = em_span_str(s->subscriber ? "sub" : "pub"), .pid = getpid(), .port = 1 });
	(void)em_mesh_end(b, begin, NULL);	/* far below the limit */
}

static void
drop(struct session *s)
{
	if (s->fd >= 0) {
		event_del(s->connected);
		close(s->fd);
	}
	s->fd = -1;
	em_stream_free(s->stream);
	s->stream = NULL;
	event_del(s->beat);
	event_del(s->timer);
}

static void
gone(struct session *s)
{
	drop(s);
	s->phase = WAITING;
	if (s->ops->on_gone != NULL)
		s->ops->on_gone(s->ctx);
}

/* ---- frames ---- */

static void
on_hello(struct session *s, const struct em_mesh_frame *f)
{
	if (f->header.code != 0) {
		char *why = em_asprintf("HELLO was refused: %.*s",
		    (int)(f->header.desc.len > 200 ? 200 : f->header.desc.len), (const char *)f->header.desc.bytes);

		try_later(s, why);
		free(why);
		return;
	}
	event_del(s->timer);
	s->phase = UP;
	s->failures = 0;
	em_log(EM_INFO, s->name, "connected to %s", session_server(s));
	s->ops->on_up(s->ctx, &f->header.offer);
}

static void
on_redirect(struct session *s, const struct em_mesh_frame *f)
{
	struct em_error err = EM_ERROR_INIT;
	struct em_span ip;
	uint16_t port;

	if (em_mesh_redirect_decode(f->body, &ip, &port, &err) != 0) {
		em_log(EM_WARNING, s->name, "a redirect is ignored: %s", em_error_text(&err));
	} else {
		free(s->redirect);
		s->redirect = em_asprintf("%.*s:%u", (int)ip.len, (const char *)ip.bytes, port);
		try_later(s, "redirected");
	}
	em_error_clear(&err);
}

static void
on_frame(void *ctx, struct em_span whole)
{
	struct session *s = ctx;
	struct em_error err = EM_ERROR_INIT;
	struct em_mesh_frame f;

	s->heard_s = now_s();
	if (em_mesh_decode(whole, &f, &err) != 0) {
		try_later(s, em_error_text(&err));
	} else if (f.header.command == EM_MESH_HELLO_RESPONSE && s->phase == GREETING) {
		on_hello(s, &f);
	} else if (f.header.command == EM_MESH_CLIENT_GOODBYE_RESPONSE && s->phase == LEAVING) {
		arm(s->timer, 0);
	} else if (f.header.command == EM_MESH_SERVER_GOODBYE_REQUEST) {
		try_later(s, "the server said goodbye");
	} else if (f.header.command == EM_MESH_REDIRECT_TO_CLIENT) {
		on_redirect(s, &f);
	} else if (f.header.command != EM_MESH_HEARTBEAT_RESPONSE && s->phase == UP) {
		s->ops->on_frame(s->ctx, &f);
	}
	em_error_clear(&err);
}

static long
on_cut(void *ctx, struct em_span bytes, struct em_error *err)
{
	(void)ctx;
	return em_mesh_cut(bytes, err);
}

static void
on_turn(void *ctx)
{
	struct session *s = ctx;

	if (s->phase == UP && s->ops->on_turn != NULL)
		s->ops->on_turn(s->ctx);
}

static void
on_close(void *ctx, const struct em_error *why)
{
	struct session *s = ctx;

	if (s->phase == LEAVING)
		gone(s);
	else
		try_later(s, em_error_text(why));
}

static const struct em_stream_ops stream_ops = {
	.cut = on_cut, .on_frame = on_frame, .on_turn = on_turn, .on_close = on_close,
};

/* ---- connecting ---- */

static void
on_connected(evutil_socket_t fd, short what, void *ctx)
{
	struct session *s = ctx;
	int problem = 0, one = 1;
	socklen_t len = sizeof(problem);

	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &len) != 0 || problem != 0) {
		try_later(s, strerror(problem));
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	s->stream = em_stream_new(s->base, fd, &stream_ops, s);
	s->fd = -1;
	s->phase = GREETING;
	s->heard_s = now_s();
	arm(s->beat, HEARTBEAT_S * 1000);
	say_hello(s);
}

static int
address_of(const char *server, struct sockaddr_in *address, struct em_error *err)
{
	char *host = em_strdup(server), *colon = strrchr(host, ':');
	int result = 0;

	*address = (struct sockaddr_in){ .sin_family = AF_INET };
	if (colon != NULL)
		*colon = '\0';
	if (colon == NULL || inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
	    &address->sin_addr) != 1)
		result = em_error_set(err, EM_ECONFIG, "server \"%s\" must be an IPv4 address and a port", server);
	else
		address->sin_port = htons((uint16_t)atoi(colon + 1));
	free(host);
	return result;
}

static void
try_now(struct session *s)
{
	struct em_error err = EM_ERROR_INIT;
	struct sockaddr_in address;

	s->phase = CONNECTING;
	if (address_of(session_server(s), &address, &err) != 0) {
		try_later(s, em_error_text(&err));
		em_error_clear(&err);
		return;
	}
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || (connect(s->fd, (struct sockaddr *)&address, sizeof(address)) != 0 && errno != EINPROGRESS)) {
		try_later(s, strerror(errno));
		return;
	}
	event_assign(s->connected, s->base, s->fd, EV_WRITE, on_connected, s);
	event_add(s->connected, NULL);
	arm(s->timer, CONNECT_S * 1000);
}

/* The next server at once, as long as there are untried ones; then with back-off. */
static void
try_later(struct session *s, const char *why)
{
	bool was_up = s->phase == UP, redirected = s->redirect != NULL && strcmp(why, "redirected") == 0;
	size_t servers = 0;
	char *reason;

	if (s->phase == LEAVING) {
		gone(s);
		return;
	}
	reason = em_strdup(why);	/* it may belong to what is dropped now */
	drop(s);
	s->phase = WAITING;
	while (s->mesh->servers[servers] != NULL)
		servers++;
	if (was_up || s->failures % 20 == 0)
		em_log(EM_WARNING, s->name, "%s: %s; it is tried again", session_server(s), reason);
	if (!redirected) {
		free(s->redirect);
		s->redirect = NULL;
		s->server = (s->server + 1) % servers;
	}
	arm(s->timer, was_up || redirected || ++s->failures % servers != 0 ? 10 :
	    retry_delay_ms(BACKOFF_MIN_MS, BACKOFF_MAX_MS, s->failures / (unsigned)servers, (uint32_t)random()));
	if (was_up)
		s->ops->on_down(s->ctx, reason);
	free(reason);
}

static void
on_timer(evutil_socket_t fd, short what, void *ctx)
{
	struct session *s = ctx;

	(void)fd;
	(void)what;
	if (s->phase == LEAVING)
		gone(s);
	else if (s->phase == WAITING)
		try_now(s);
	else
		try_later(s, "no answer in time");
}

static void
on_beat(evutil_socket_t fd, short what, void *ctx)
{
	struct session *s = ctx;

	(void)fd;
	(void)what;
	if (now_s() - s->heard_s > SILENCE_S) {
		try_later(s, "the server is silent");
		return;
	}
	say(s, EM_MESH_HEARTBEAT_REQUEST);
	arm(s->beat, HEARTBEAT_S * 1000);
}

struct session *
session_new(struct event_base *base, const struct session_config *config, const struct session_ops *ops, void *ctx)
{
	struct session *s = em_calloc(1, sizeof(*s));

	s->base = base;
	s->mesh = config->mesh;
	s->ops = ops;
	s->ctx = ctx;
	s->name = em_strdup(config->name);
	s->group = em_strdup(config->group);
	s->subscriber = config->subscriber;
	s->window_records = config->window_records;
	s->window_bytes = config->window_bytes;
	s->fd = -1;
	s->connected = event_new(base, -1, EV_WRITE, on_connected, s);
	s->timer = event_new(base, -1, 0, on_timer, s);
	s->beat = event_new(base, -1, 0, on_beat, s);
	if (s->connected == NULL || s->timer == NULL || s->beat == NULL)
		em_panic("session: no events");
	arm(s->timer, 0);
	return s;
}

void
session_free(struct session *s)
{
	if (s == NULL)
		return;
	drop(s);
	event_free(s->connected);
	event_free(s->timer);
	event_free(s->beat);
	free(s->name);
	free(s->group);
	free(s->redirect);
	free(s);
}

void
session_leave(struct session *s)
{
	if (s->phase == UP) {
		say(s, EM_MESH_CLIENT_GOODBYE_REQUEST);
		s->phase = LEAVING;
		arm(s->timer, LEAVE_S * 1000);
	} else {
		drop(s);
		s->phase = LEAVING;
		arm(s->timer, 0);
	}
}

void
session_again(struct session *s, const char *why)
{
	try_later(s, why);
}
