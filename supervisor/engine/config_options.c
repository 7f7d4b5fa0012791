/* The half of config.h about a connector's own options: checking them, their secrets, showing them. */
#include "config.h"

#include <stdlib.h>
#include <strings.h>

#include "error.h"
#include "yamltree.h"

struct complaint {
	struct problems	*problems;
	const struct yaml_places *places;
	const char	*file;
};

static void
on_problem(void *ctx, const char *path, const char *message)
{
	struct complaint *c = ctx;
	struct yaml_place at = yaml_place_of(c->places, path);
	struct problems *p = c->problems;

	p->items = em_realloc_array(p->items, p->count + 1, sizeof(*p->items));
	p->items[p->count++] = (struct problem){ em_strdup(c->file), at.line, at.column,
		em_asprintf("%s %s", path, message) };
}

static enum em_option_type
type_by_name(const char *name)
{
	for (int i = 0; i < EM_OPTION_TYPES; i++)
		if (name != NULL && strcmp(em_option_type_name((enum em_option_type)i), name) == 0)
			return (enum em_option_type)i;
	return EM_OPTION_JSON;
}

/* What a connector said of itself, as a table again; all values go into one scratch field each. */
struct table {
	struct em_option *rows;
	const char	**choices;	/* of all rows, each list ended by NULL */
	void		*values;
};

#define CELL	(2 * sizeof(void *))	/* the largest field an option needs */

static struct table
table_of(const json_t *described)
{
	const json_t *list = json_object_get(described, "options"), *o, *choice, *choices;
	size_t n = json_array_size(list), i, k, used = 0, room = 1;
	struct table t;

	json_array_foreach(list, i, o)
		room += json_array_size(json_object_get(o, "choices")) + 1;
	t.rows = em_calloc(n + 1, sizeof(*t.rows));
	t.choices = em_calloc(room, sizeof(*t.choices));
	t.values = em_calloc(n + 1, CELL);
	json_array_foreach(list, i, o) {
		struct em_option *row = &t.rows[i];

		row->name = json_string_value(json_object_get(o, "name"));
		row->type = type_by_name(json_string_value(json_object_get(o, "type")));
		row->help = json_string_value(json_object_get(o, "help"));
		row->required = json_is_true(json_object_get(o, "required"));
		row->secret = json_is_true(json_object_get(o, "secret"));
		row->field = i * CELL;
		row->min = json_integer_value(json_array_get(json_object_get(o, "range"), 0));
		row->max = json_integer_value(json_array_get(json_object_get(o, "range"), 1));
		json_array_foreach(json_object_get(o, "roles"), k, choice)
			row->roles |= strcmp(json_string_value(choice), "sink") == 0 ? EM_SINK : EM_SOURCE;
		choices = json_object_get(o, "choices");
		if (json_array_size(choices) == 0)
			continue;
		row->choices = &t.choices[used];
		json_array_foreach(choices, k, choice)
			t.choices[used++] = json_string_value(choice);
		used++;
	}
	return t;
}

/* A value that is still ${...} is checked by the connector, when it has it. */
static json_t *
without_secrets(const json_t *options)
{
	json_t *copy = json_copy((json_t *)(uintptr_t)options), *value;
	const char *name;
	void *next;

	json_object_foreach_safe(copy, next, name, value)
		if (json_is_string(value) && strstr(json_string_value(value), "${") != NULL)
			json_object_set_new(copy, name, json_null());
	return copy;
}

static void
drop_requirements(struct table *t, const json_t *options)
{
	for (struct em_option *row = t->rows; row->name != NULL; row++)
		if (json_object_get(options, row->name) != NULL)
			row->required = false;
}

int
definition_check_options(const struct definition *d, const char *text, size_t len, const json_t *described,
    struct problems *problems)
{
	struct complaint c = { problems, NULL, d->file };
	struct em_error err = EM_ERROR_INIT;
	struct yaml_places *places = NULL;
	struct yaml_place where;
	struct table t = table_of(described);
	json_t *tree = yaml_load(text, len, &places, &where, &err), *options = without_secrets(d->options);
	size_t n;

	em_error_clear(&err);
	c.places = places;
	drop_requirements(&t, d->options);
	n = tree == NULL ? 0 : em_options_parse(t.rows, d->role, options, t.values, "options.", on_problem, &c);
	em_options_clear(t.rows, t.values);
	json_decref(tree);
	json_decref(options);
	yaml_places_free(places);
	free(t.rows);
	free(t.choices);
	free(t.values);
	return n == 0 ? 0 : -1;
}

static int
from_file(struct em_buf *b, const char *path, struct em_error *err)
{
	size_t len;
	char *text = config_read_file(path, &len, err);

	if (text == NULL)
		return -1;
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	em_buf_append(b, text, len);
	explicit_bzero(text, len);
	free(text);
	return 0;
}

static int
from_credential(struct em_buf *b, const char *name, struct em_error *err)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char *path;
	int result;

	if (dir == NULL)
		return em_error_set(err, EM_ECONFIG, "there are no credentials: CREDENTIALS_DIRECTORY is not set (systemd sets it "
		    "for LoadCredential=)");
	if (strchr(name, '/') != NULL)
		return em_error_set(err, EM_ECONFIG, "\"%s\" is no name of a credential", name);
	path = em_asprintf("%s/%s", dir, name);
	result = from_file(b, path, err);
	free(path);
	return result;
}

static int
from_env(struct em_buf *b, const char *name, struct em_error *err)
{
	const char *value = getenv(name);

	if (value == NULL)
		return em_error_set(err, EM_ECONFIG, "environment variable %s is not set", name);
	em_buf_str(b, value);
	return 0;
}

static const struct {
	const char	*prefix;
	int		(*resolve)(struct em_buf *, const char *, struct em_error *);
} sources[] = { { "credential:", from_credential }, { "env:", from_env }, { "file:", from_file } };

static int
resolve_one(struct em_buf *b, const char *reference, struct em_error *err)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		if (strncmp(reference, sources[i].prefix, strlen(sources[i].prefix)) == 0)
			return sources[i].resolve(b, reference + strlen(sources[i].prefix), err);
	return em_error_set(err, EM_ECONFIG, "\"${%s}\" must be ${credential:..}, ${env:..} or ${file:..}", reference);
}

static int
resolve_text(struct em_buf *b, const char *text, struct em_error *err)
{
	const char *from, *end;
	char *reference;
	int result;

	while ((from = strstr(text, "${")) != NULL && (end = strchr(from, '}')) != NULL) {
		em_buf_append(b, text, (size_t)(from - text));
		reference = em_span_dup((struct em_span){ (const uint8_t *)from + 2, (size_t)(end - from) - 2 });
		result = resolve_one(b, reference, err);
		free(reference);
		if (result != 0)
			return -1;
		text = end + 1;
	}
	em_buf_str(b, text);
	return 0;
}

static json_t *
resolve_value(const json_t *value, struct em_error *err)
{
	struct em_buf b = { 0 };
	json_t *copy, *item, *made;
	const char *name;
	size_t i;

	if (json_is_string(value)) {
		copy = resolve_text(&b, json_string_value(value), err) == 0 ?
		    json_stringn((const char *)em_buf_view(&b).bytes, b.len) : NULL;
		if (b.data != NULL)
			explicit_bzero(b.data, b.len);
		em_buf_clear(&b);
		return copy;
	}
	if (!json_is_object(value) && !json_is_array(value))
		return json_incref((json_t *)(uintptr_t)value);
	copy = json_is_object(value) ? json_object() : json_array();
	if (json_is_object(value)) {
		json_object_foreach((json_t *)(uintptr_t)value, name, item) {
			made = resolve_value(item, err);
			if (made == NULL) {
				em_error_prefix(err, "%s", name);
				goto bad;
			}
			json_object_set_new(copy, name, made);
		}
	} else {
		json_array_foreach(value, i, item) {
			made = resolve_value(item, err);
			if (made == NULL)
				goto bad;
			json_array_append_new(copy, made);
		}
	}
	return copy;
bad:
	json_decref(copy);
	return NULL;
}

char *
definition_options_resolved(const struct definition *d, struct em_error *err)
{
	json_t *options = resolve_value(d->options, err);
	char *text;

	if (options == NULL) {
		em_error_prefix(err, "%s: options", d->file);
		return NULL;
	}
	text = json_dumps(options, JSON_COMPACT);
	json_decref(options);
	if (text == NULL)
		em_error_set(err, EM_ECONFIG, "%s: an option's secret is not UTF-8", d->file);
	return text;
}

static bool
is_secret(const json_t *described, const char *name)
{
	const json_t *o;
	size_t i;

	json_array_foreach(json_object_get(described, "options"), i, o)
		if (strcmp(json_string_value(json_object_get(o, "name")), name) == 0)
			return json_is_true(json_object_get(o, "secret"));
	return false;
}

json_t *
definition_shown(const struct definition *d, const json_t *described)
{
	json_t *copy = json_deep_copy(d->tree), *options = json_object_get(copy, "options"), *value;
	const char *name;
	void *next;

	json_object_foreach_safe(options, next, name, value)
		if (is_secret(described, name) ||
		    (json_is_string(value) && strstr(json_string_value(value), "${") != NULL))
			json_object_set_new(options, name, json_string("***"));
	return copy;
}
