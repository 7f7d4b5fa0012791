/* emlocald: a small EventMesh for one host; see emlocald(8). */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "log.h"
#include "option.h"
#include "peer.h"
#include "topic.h"

#define PEERS_MAX	10000u

struct settings {
	const char	*listen, *data, *port_file;
	int64_t		 listen_fd, retain_bytes, retain_ms, sync, sync_ms, segment_bytes;
};

enum { SYNC_ALWAYS, SYNC_INTERVAL, SYNC_NEVER };

struct daemon {
	struct broker	 broker;
	struct settings	 settings;
	int64_t		 synced_ms, retained_ms;
};

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
on_pump(evutil_socket_t fd, short what, void *ctx)
{
	struct daemon *d = ctx;

	(void)fd;
	(void)what;
	topics_pump(d->broker.topics);
}

static void
on_tick(evutil_socket_t fd, short what, void *ctx)
{
	struct daemon *d = ctx;
	struct em_error err = EM_ERROR_INIT;
	int64_t now = now_ms();

	(void)fd;
	(void)what;
	if (d->settings.sync == SYNC_INTERVAL && now - d->synced_ms >= d->settings.sync_ms) {
		topics_sync(d->broker.topics, &err);
		d->synced_ms = now;
	}
	if (err.code != EM_OK)
		em_log(EM_ERROR, "broker", "%s", em_error_text(&err));
	em_error_clear(&err);
	if (now - d->retained_ms >= 10000) {
		topics_retain(d->broker.topics);
		peers_expire(&d->broker, now / 1000);
		d->retained_ms = now;
	}
	topics_pump(d->broker.topics);
}

static void
on_acceptable(evutil_socket_t fd, short what, void *ctx)
{
	struct daemon *d = ctx;
	int client, one = 1;

	(void)what;
	while ((client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (d->broker.peers_count >= PEERS_MAX) {
			em_log(EM_WARNING, "broker", "a client was turned away: there are %u", PEERS_MAX);
			close(client);
		} else {
			/* Small acknowledgements must not wait for a full segment. */
			setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			peer_new(&d->broker, client);
		}
	}
}

static void
on_term(evutil_socket_t number, short what, void *ctx)
{
	(void)number;
	(void)what;
	event_base_loopbreak(ctx);
}

static int
listen_at(const struct settings *s, struct em_error *err)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	char *host = em_strdup(s->listen), *colon = strrchr(host, ':');
	int fd = -1, one = 1;

	if (colon != NULL)
		*colon = '\0';
	if (colon == NULL || inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		em_error_set(err, EM_EUSAGE, "--listen must be an IPv4 address and a port such as 127.0.0.1:10000");
	} else {
		address.sin_port = htons((uint16_t)atoi(colon + 1));
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 128) != 0) {
			em_error_errno(err, errno, "listening at %s", s->listen);
			if (fd >= 0)
				close(fd);
			fd = -1;
		}
	}
	free(host);
	return fd;
}

static int
tell_port(int fd, const char *file, struct em_error *err)
{
	struct sockaddr_in address = { 0 };
	socklen_t len = sizeof(address);
	FILE *f;

	if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		return em_error_errno(err, errno, "getsockname");
	em_log(EM_INFO, "broker", "listening on port %u", ntohs(address.sin_port));
	if (file == NULL)
		return 0;
	f = fopen(file, "we");
	if (f == NULL || fprintf(f, "%u\n", ntohs(address.sin_port)) < 0 || fclose(f) != 0)
		return em_error_errno(err, errno, "writing \"%s\"", file);
	return 0;
}

/* Two brokers on one directory would destroy it. */
static int
lock_data(const char *dir, struct em_error *err)
{
	char *path = em_asprintf("%s/lock", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);

	if (fd < 0)
		em_error_errno(err, errno, "opening \"%s\"", path);
	else if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		em_error_set(err, EM_EBUSY, "\"%s\" is used by another emlocald", dir);
	free(path);
	return err->code == EM_OK ? 0 : -1;	/* the descriptor stays open as long as we live */
}

static int
run(struct daemon *d, struct em_error *err)
{
	static const struct topics_ops ops = { .deliver = peer_deliver };
	struct event_base *base = event_base_new();
	struct event *accepting, *tick, *term, *interrupt;
	struct timeval every = { 0, 200000 };
	int fd = d->settings.listen_fd >= 0 ? (int)d->settings.listen_fd : listen_at(&d->settings, err);

	d->broker.base = base;
	d->broker.sync_always = d->settings.sync == SYNC_ALWAYS;
	if (fd < 0)
		return -1;
	evutil_make_socket_nonblocking(fd);
	d->broker.topics = topics_open(&(struct topics_config){ .data_dir = d->settings.data,
	    .segment_bytes = (uint64_t)d->settings.segment_bytes, .retain_bytes = (uint64_t)d->settings.retain_bytes,
	    .retain_s = d->settings.retain_ms / 1000 }, &ops, err);
	if (d->broker.topics == NULL || lock_data(d->settings.data, err) != 0 ||
	    tell_port(fd, d->settings.port_file, err) != 0)
		return -1;
	d->broker.pump = event_new(base, -1, 0, on_pump, d);
	accepting = event_new(base, fd, EV_READ | EV_PERSIST, on_acceptable, d);
	tick = event_new(base, -1, EV_PERSIST, on_tick, d);
	term = evsignal_new(base, SIGTERM, on_term, base);
	interrupt = evsignal_new(base, SIGINT, on_term, base);
	event_add(accepting, NULL);
	event_add(tick, &every);
	event_add(term, NULL);
	event_add(interrupt, NULL);
	event_base_dispatch(base);
	peers_close(&d->broker);
	topics_sync(d->broker.topics, err);
	topics_close(d->broker.topics);
	event_free(accepting);
	event_free(tick);
	event_free(term);
	event_free(interrupt);
	event_free(d->broker.pump);
	event_base_free(base);
	close(fd);
	return err->code == EM_OK ? 0 : -1;
}

static const char *const syncs[] = { "always", "interval", "never", NULL };

static int
choose_sync(const char *text, int64_t *sync)
{
	for (int i = 0; syncs[i] != NULL; i++) {
		if (strcmp(syncs[i], text) == 0) {
			*sync = i;
			return 0;
		}
	}
	return -1;
}

static int
usage(void)
{
	fputs("usage: emlocald --data DIR [--listen ADDRESS:PORT | --listen-fd N] [--port-file FILE]\n"
	    "       [--retain-size SIZE] [--retain-age DURATION] [--segment-size SIZE]\n"
	    "       [--fsync always|interval|never] [--fsync-interval DURATION] [--log-level LEVEL]\n", stderr);
	return 2;
}

static int
parse(int argc, char **argv, struct settings *s)
{
	static const struct option longs[] = {
		{ "listen", required_argument, NULL, 'l' }, { "listen-fd", required_argument, NULL, 'L' },
		{ "data", required_argument, NULL, 'd' }, { "port-file", required_argument, NULL, 'p' },
		{ "retain-size", required_argument, NULL, 's' }, { "retain-age", required_argument, NULL, 'a' },
		{ "segment-size", required_argument, NULL, 'S' }, { "fsync", required_argument, NULL, 'f' },
		{ "fsync-interval", required_argument, NULL, 'i' }, { "log-level", required_argument, NULL, 'v' }, { 0 },
	};
	enum em_level level;
	int c, bad = 0;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'l': s->listen = optarg; break;
		case 'L': s->listen_fd = atoi(optarg); break;
		case 'd': s->data = optarg; break;
		case 'p': s->port_file = optarg; break;
		case 's': bad |= em_parse_size(optarg, &s->retain_bytes); break;
		case 'a': bad |= em_parse_duration(optarg, &s->retain_ms); break;
		case 'S': bad |= em_parse_size(optarg, &s->segment_bytes); break;
		case 'f': bad |= choose_sync(optarg, &s->sync); break;
		case 'i': bad |= em_parse_duration(optarg, &s->sync_ms); break;
		case 'v':
			bad |= em_level_by_name(optarg, &level);
			if (bad == 0)
				em_log_level(level);
			break;
		default: bad = -1;
		}
	}
	return bad == 0 && s->data != NULL && optind == argc && s->segment_bytes > 0 ? 0 : -1;
}

int
main(int argc, char **argv)
{
	struct daemon d = { .settings = { .listen = "127.0.0.1:10000", .listen_fd = -1, .retain_bytes = (int64_t)1 << 30,
		.retain_ms = (int64_t)7 * 86400 * 1000, .sync = SYNC_INTERVAL, .sync_ms = 1000, .segment_bytes = 64 << 20 } };
	struct em_error err = EM_ERROR_INIT;
	int result;

	if (parse(argc, argv, &d.settings) != 0)
		return usage();
	signal(SIGPIPE, SIG_IGN);
	result = run(&d, &err);
	if (result != 0)
		em_log(EM_CRITICAL, "broker", "%s", em_error_text(&err));
	em_error_clear(&err);
	return result == 0 ? 0 : 1;
}
