#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bytes.h"
#include "error.h"

struct client {
	int		fd;
	struct em_buf	in;
	size_t		start;
};

struct client *
client_open(const char *path, struct em_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct client *c = em_calloc(1, sizeof(*c));

	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(path) >= sizeof(address.sun_path)) {
		em_error_set(err, EM_EUSAGE, "the socket's path \"%s\" is too long", path);
	} else {
		memcpy(address.sun_path, path, strlen(path) + 1);
		if (connect(c->fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return c;
		em_error_set(err, EM_ECLOSED, "emsupervisord cannot be reached at \"%s\": %s", path, strerror(errno));
	}
	client_close(c);
	return NULL;
}

void
client_close(struct client *c)
{
	if (c == NULL)
		return;
	close(c->fd);
	em_buf_clear(&c->in);
	free(c);
}

int
client_ask(struct client *c, const char *command, json_t *arguments, struct em_error *err)
{
	json_t *request = json_pack("{s:i, s:s, s:o}", "id", 1, "command", command, "arguments", arguments);
	char *text = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL, *line;
	size_t n, done = 0;
	int result = 0;

	json_decref(request);
	if (text == NULL)
		return em_error_set(err, EM_EUSAGE, "an argument is not UTF-8");
	line = em_asprintf("%s\n", text);
	n = strlen(line);
	while (done < n && result == 0) {
		ssize_t sent = send(c->fd, line + done, n - done, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR)
			result = em_error_set(err, EM_ECLOSED, "the supervisor went away: %s", strerror(errno));
		else if (sent > 0)
			done += (size_t)sent;
	}
	free(text);
	free(line);
	return result;
}

int
client_next(struct client *c, json_t **line, struct em_error *err)
{
	uint8_t *end;
	json_t *o;
	size_t n;
	ssize_t got;

	while (c->in.len == c->start || (end = memchr(c->in.data + c->start, '\n', c->in.len - c->start)) == NULL) {
		em_buf_consume(&c->in, c->start);
		c->start = 0;
		got = recv(c->fd, em_buf_reserve(&c->in, 65536), 65536, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return em_error_set(err, EM_ECLOSED, "the supervisor went away");
		c->in.len += (size_t)got;
	}
	n = (size_t)(end - (c->in.data + c->start));
	o = json_loadb((const char *)c->in.data + c->start, n, 0, NULL);
	c->start += n + 1;
	if (o == NULL)
		return em_error_set(err, EM_EPROTO, "the supervisor's answer is no JSON");
	*line = o;
	return json_object_get(o, "event") != NULL;
}
