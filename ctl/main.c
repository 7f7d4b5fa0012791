/* emctl: what an operator says to the supervisor; see emctl(1). A table of commands, and functions that print. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "client.h"
#include "error.h"
#include "print.h"

#define DEFAULT_SOCKET	EM_RUN_DIR "/emsupervisor/control.sock"

enum { DONE = 0, REFUSED = 1, USAGE = 2, UNREACHABLE = 3 };

struct ctl {
	struct client	*client;
	bool		 json, follow;
	int64_t		 lines, count, timeout_ms;
	char		**words;	/* behind the command */
	int		 words_count;
};

struct command {
	const char	*name, *arguments, *help;
	int		 least, most;	/* words */
	const char	*remote;
	json_t		*(*make)(const struct ctl *);	/* the arguments; NULL: a usage error */
	void		(*print)(const json_t *result);
};

static json_t *
nothing(const struct ctl *c)
{
	(void)c;
	return json_object();
}

static json_t *
name(const struct ctl *c)
{
	return c->words_count > 0 ? json_pack("{s:s}", "name", c->words[0]) : json_object();
}

static json_t *
kind(const struct ctl *c)
{
	return c->words_count > 0 ? json_pack("{s:s}", "kind", c->words[0]) : json_object();
}

static json_t *
names(const struct ctl *c)
{
	json_t *list = json_array();

	for (int i = 0; i < c->words_count; i++)
		json_array_append_new(list, json_string(c->words[i]));
	return json_pack("{s:o, s:I}", "names", list, "timeout_ms", (json_int_t)c->timeout_ms);
}

static char *
read_all(const char *path)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	struct em_buf b = { 0 };
	size_t n;

	if (f == NULL) {
		perror(path);
		return NULL;
	}
	while ((n = fread(em_buf_reserve(&b, 65536), 1, 65536, f)) > 0)
		b.len += n;
	if (f != stdin)
		fclose(f);
	em_buf_u8(&b, 0);
	return (char *)b.data;
}

/* The connector's name is its file's. */
static json_t *
definition(const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
	size_t n = strlen(base);
	char *text = read_all(path), *own;
	json_t *o;

	if (text == NULL)
		return NULL;
	if (n > 5 && strcmp(base + n - 5, ".yaml") == 0)
		n -= 5;
	own = em_span_dup((struct em_span){ (const uint8_t *)base, n });
	o = json_pack("{s:s, s:s, s:s}", "name", own, "file", path, "text", text);
	if (o == NULL)
		fprintf(stderr, "emctl: %s: not UTF-8\n", path);
	free(own);
	free(text);
	return o;
}

static json_t *
file(const struct ctl *c)
{
	return definition(c->words[0]);
}

static json_t *
files(const struct ctl *c)
{
	json_t *list = json_array(), *o;

	for (int i = 0; i < c->words_count; i++) {
		o = definition(c->words[i]);
		if (o == NULL) {
			json_decref(list);
			return NULL;
		}
		json_array_append_new(list, o);
	}
	return json_pack("{s:o}", "files", list);
}

static json_t *
offsets_set(const struct ctl *c)
{
	return json_pack("{s:s, s:s, s:s}", "name", c->words[0], "partition", c->words[1], "offset", c->words[2]);
}

static json_t *
offsets_reset(const struct ctl *c)
{
	return c->words_count > 1 ? json_pack("{s:s, s:s}", "name", c->words[0], "partition", c->words[1]) : name(c);
}

static json_t *
logs(const struct ctl *c)
{
	json_t *o = name(c);

	json_object_set_new(o, "follow", json_boolean(c->follow));
	json_object_set_new(o, "lines", json_integer(c->lines));
	return o;
}

static json_t *
tap(const struct ctl *c)
{
	json_t *o = name(c);

	json_object_set_new(o, "count", json_integer(c->count));
	return o;
}

static const struct command commands[] = {
	{ "status", "[NAME]", "state of everything, or of one connector", 0, 1, "status", name, print_status },
	{ "list", "", "the connectors", 0, 0, "list", nothing, print_list },
	{ "describe", "NAME", "definition, state and history of a connector", 1, 1, "describe", name, print_tree },
	{ "start", "NAME...", "start connectors and wait until they run", 1, 999, "start", names, print_list },
	{ "stop", "NAME...", "drain and stop connectors", 1, 999, "stop", names, print_list },
	{ "restart", "NAME...", "stop and start connectors", 1, 999, "restart", names, print_list },
	{ "pause", "NAME...", "let nothing flow, keep the processes", 1, 999, "pause", names, print_list },
	{ "resume", "NAME...", "let it flow again", 1, 999, "resume", names, print_list },
	{ "apply", "[-f] FILE", "add or change a connector", 1, 1, "apply", file, print_pairs },
	{ "delete", "NAME", "stop a connector and remove its file", 1, 1, "delete", name, print_pairs },
	{ "validate", "FILE...", "check connector files, change nothing", 1, 999, "validate", files, print_tree },
	{ "reload", "", "read all connector files again", 0, 0, "reload", nothing, print_tree },
	{ "offsets show", "NAME", "committed offsets", 1, 1, "offsets.show", name, print_offsets },
	{ "offsets set", "NAME PARTITION OFFSET", "change one", 3, 3, "offsets.set", offsets_set, print_pairs },
	{ "offsets reset", "NAME [PARTITION]", "forget them", 1, 2, "offsets.reset", offsets_reset, print_pairs },
	{ "logs", "[-f] [-n LINES] [NAME]", "log lines of connectors", 0, 1, "logs", logs, NULL },
	{ "tap", "[--count N] NAME|TOPIC", "records as they pass", 1, 1, "tap", tap, NULL },
	{ "top", "[--count N]", "records a second, each second", 0, 0, "status", nothing, NULL },
	{ "connectors", "[KIND]", "installed connectors and their options", 0, 1, "connectors", kind, print_connectors },
	{ "version", "", "version of the supervisor", 0, 0, "version", nothing, print_pairs },
};
#define COMMANDS	(sizeof(commands) / sizeof(commands[0]))

static int
usage(FILE *out)
{
	fputs("usage: emctl [--socket PATH] [--json] [--timeout SECONDS] COMMAND\n\n", out);
	for (size_t i = 0; i < COMMANDS; i++) {
		char *both = em_asprintf("%s %s", commands[i].name, commands[i].arguments);

		fprintf(out, "  %-36s %s\n", both, commands[i].help);
		free(both);
	}
	return out == stdout ? DONE : USAGE;
}

/* The row whose name the words begin with; *used words of it. */
static const struct command *
find(char **words, int count, int *used)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		const char *space = strchr(commands[i].name, ' ');
		size_t n = space != NULL ? (size_t)(space - commands[i].name) : strlen(commands[i].name);

		if (count < 1 || strlen(words[0]) != n || strncmp(words[0], commands[i].name, n) != 0)
			continue;
		if (space != NULL && (count < 2 || strcmp(words[1], space + 1) != 0))
			continue;
		*used = space != NULL ? 2 : 1;
		return &commands[i];
	}
	return NULL;
}

static int
fail(const struct em_error *err)
{
	fprintf(stderr, "emctl: %s\n", em_error_text(err));
	return err->code == EM_ECLOSED ? UNREACHABLE : REFUSED;
}

static int
refused(const struct ctl *c, const json_t *answer)
{
	const json_t *error = json_object_get(answer, "error");

	if (c->json)
		print_json(answer);
	fprintf(stderr, "emctl: %s\n", json_string_value(json_object_get(error, "message")));
	return REFUSED;
}

static bool
has_bad_file(const json_t *result)
{
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(result, "files"), i, o)
		if (json_is_false(json_object_get(o, "ok")))
			return true;
	return false;
}

static int
show(const struct ctl *c, const struct command *row, const json_t *answer)
{
	const json_t *result = json_object_get(answer, "result");

	if (!json_is_true(json_object_get(answer, "ok")))
		return refused(c, answer);
	if (c->json)
		print_json(result);
	else if (row->print != NULL)
		row->print(result);
	return has_bad_file(result) ? REFUSED : DONE;
}

static int
run(struct ctl *c, const struct command *row, struct em_error *err)
{
	json_t *arguments = row->make(c), *line = NULL;
	int more, status;

	if (arguments == NULL)
		return USAGE;
	if (client_ask(c->client, row->remote, arguments, err) != 0)
		return fail(err);
	while ((more = client_next(c->client, &line, err)) > 0) {
		if (c->json)
			print_json(json_object_get(line, "event"));
		else
			print_event(json_object_get(line, "event"));
		fflush(stdout);
		json_decref(line);
	}
	if (more < 0)
		return fail(err);
	status = show(c, row, line);
	json_decref(line);
	return status;
}

/* Once a second what changed since the last time. */
static int
top(struct ctl *c, struct em_error *err)
{
	json_t *before = NULL, *now;
	bool terminal = isatty(STDOUT_FILENO) != 0;

	for (int64_t i = 0; c->count <= 0 || i <= c->count; i++) {
		if (client_ask(c->client, "status", json_object(), err) != 0 || client_next(c->client, &now, err) < 0) {
			json_decref(before);
			return fail(err);
		}
		if (before != NULL) {
			if (terminal)
				fputs("\033[H\033[2J", stdout);
			print_top(json_object_get(before, "result"), json_object_get(now, "result"));
			fflush(stdout);
		}
		json_decref(before);
		before = now;
		sleep(1);
	}
	json_decref(before);
	return DONE;
}

static int
parse(int argc, char **argv, struct ctl *c, const char **socket_path)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, 's' }, { "json", no_argument, NULL, 'j' },
		{ "timeout", required_argument, NULL, 't' }, { "count", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "fn:hV", longs, NULL)) != -1) {
		switch (option) {
		case 's': *socket_path = optarg; break;
		case 'j': c->json = true; break;
		case 't': c->timeout_ms = atoll(optarg) * 1000; break;
		case 'c': c->count = atoll(optarg); break;
		case 'n': c->lines = atoll(optarg); break;
		case 'f': c->follow = true; break;
		case 'h': exit(usage(stdout));
		case 'V': puts("emctl " EM_VERSION); exit(DONE);
		default: return -1;
		}
	}
	c->words = argv + optind;
	c->words_count = argc - optind;
	return 0;
}

int
main(int argc, char **argv)
{
	const char *socket_path = getenv("EMSUPERVISOR_SOCKET") != NULL ? getenv("EMSUPERVISOR_SOCKET") : DEFAULT_SOCKET;
	struct ctl c = { .lines = 20, .timeout_ms = 20000 };
	struct em_error err = EM_ERROR_INIT;
	const struct command *row;
	int used = 0, status;

	if (parse(argc, argv, &c, &socket_path) != 0)
		return usage(stderr);
	row = find(c.words, c.words_count, &used);
	if (row == NULL) {
		if (c.words_count > 0)
			fprintf(stderr, "emctl: there is no command \"%s\"\n", c.words[0]);
		return usage(stderr);
	}
	c.words += used;
	c.words_count -= used;
	if (c.words_count < row->least || c.words_count > row->most) {
		fprintf(stderr, "usage: emctl %s %s\n", row->name, row->arguments);
		return USAGE;
	}
	c.client = client_open(socket_path, &err);
	if (c.client == NULL)
		status = fail(&err);
	else
		status = strcmp(row->name, "top") == 0 ? top(&c, &err) : run(&c, row, &err);
	client_close(c.client);
	em_error_clear(&err);
	return status;
}
