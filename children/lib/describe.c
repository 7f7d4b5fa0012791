#include "describe.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *
roles(const struct em_connector *c)
{
	json_t *list = json_array();

	if (c->roles & EM_ROLE_SOURCE)
		json_array_append_new(list, json_string("source"));
	if (c->roles & EM_ROLE_SINK)
		json_array_append_new(list, json_string("sink"));
	return list;
}

static int
print_json(json_t *json)
{
	int result = json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);

	json_decref(json);
	putchar('\n');
	return result == 0 && fflush(stdout) == 0 ? 0 : 1;
}

static int
describe(const struct em_connector *c, unsigned role)
{
	(void)role;
	return print_json(json_pack("{s:s, s:s, s:s, s:i, s:o, s:o}", "name", c->name, "version", c->version, "help",
	    c->help, "protocol", 1, "roles", roles(c), "options", em_options_describe(c->options)));
}

static int
schema(const struct em_connector *c, unsigned role)
{
	return print_json(em_options_schema(c->options, role));
}

static int
print_text(struct em_buf *b)
{
	size_t n = fwrite(b->data, 1, b->len, stdout);
	int result = n == b->len && fflush(stdout) == 0 ? 0 : 1;

	em_buf_clear(b);
	return result;
}

static int
man(const struct em_connector *c, unsigned role)
{
	struct em_buf b = { 0 };

	em_options_man(&b, c->options, role);
	return print_text(&b);
}

/* A value of the option's type, for who fills it in. */
static const char *
placeholder(const struct em_option *row)
{
	if (row->choices != NULL)
		return row->choices[0];
	return row->type == EM_OPTION_LIST ? "[]" : row->type == EM_OPTION_STRING ? "\"\"" : "0";
}

static int
sample(const struct em_connector *c, unsigned role)
{
	struct em_buf b = { 0 };

	em_buf_printf(&b, "# %s: %s\nconnector: %s\nrole: %s\ntopic: TOPIC\noptions:\n", c->name, c->help, c->name,
	    role == EM_ROLE_SINK ? "sink" : "source");
	for (const struct em_option *row = c->options; row->name != NULL; row++)
		if (row->roles == 0 || (row->roles & role) != 0)
			em_buf_printf(&b, "  # %s\n  %s%s: %s\n", row->help, row->required ? "" : "# ", row->name,
			    row->fallback != NULL && row->fallback[0] != '\0' ? row->fallback : placeholder(row));
	return print_text(&b);
}

static const struct {
	const char	*name;
	int		(*print)(const struct em_connector *, unsigned role);
} commands[] = {
	{ "--describe", describe }, { "--schema", schema }, { "--man-options", man }, { "--sample", sample },
};

static int
usage(const struct em_connector *c)
{
	struct em_buf b = { 0 };

	fprintf(stderr, "%s %s: %s\n\n"
	    "A connector of emsupervisor. It is started by emsupervisord, not by hand; this prints something:\n"
	    "  %s --describe | --schema [source|sink] | --man-options [source|sink] | --sample [source|sink]\n\n"
	    "options in its connector file:\n", c->name, c->version, c->help, c->name);
	em_options_help(&b, c->options, 0);
	fputs(em_buf_cstr(&b), stderr);
	em_buf_clear(&b);
	return 2;
}

int
em_describe(const struct em_connector *c, int argc, char **argv)
{
	unsigned role = c->roles & EM_ROLE_SOURCE ? EM_ROLE_SOURCE : EM_ROLE_SINK;

	if (argc > 2 && strcmp(argv[2], "sink") == 0)
		role = EM_ROLE_SINK;
	else if (argc > 2 && strcmp(argv[2], "source") != 0)
		return usage(c);
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].print(c, role);
	return usage(c);
}
