#include "option.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

struct parse {
	const struct em_option *rows;
	unsigned	 roles;
	void		*target;
	const char	*prefix;
	em_option_report *report;
	void		*ctx;
	size_t		 problems;
};

struct unit {
	const char	*name;
	int64_t		 factor;
};

static const struct unit sizes[] = {
	{ "", 1 }, { "B", 1 }, { "K", 1 << 10 }, { "KiB", 1 << 10 }, { "M", 1 << 20 }, { "MiB", 1 << 20 },
	{ "G", 1 << 30 }, { "GiB", 1 << 30 }, { "T", (int64_t)1 << 40 }, { "TiB", (int64_t)1 << 40 }, { NULL, 0 },
};

static const struct unit durations[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 }, { NULL, 0 },
};

static int
parse_unit(const char *text, const struct unit *units, int64_t *value)
{
	char *end;
	long long n;

	if (!isdigit((unsigned char)text[0]))
		return -1;
	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno != 0)
		return -1;
	for (const struct unit *u = units; u->name != NULL; u++)
		if (strcmp(u->name, end) == 0)
			return __builtin_mul_overflow((int64_t)n, u->factor, value) ? -1 : 0;
	return -1;
}

int
em_parse_size(const char *text, int64_t *bytes)
{
	return parse_unit(text, sizes, bytes);
}

int
em_parse_duration(const char *text, int64_t *ms)
{
	return parse_unit(text, durations, ms);
}

static void
problem(struct parse *p, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void
problem(struct parse *p, const char *name, const char *fmt, ...)
{
	char *path = em_asprintf("%s%s", p->prefix, name), *message;
	va_list ap;

	va_start(ap, fmt);
	message = em_vasprintf(fmt, ap);
	va_end(ap);
	p->report(p->ctx, path, message);
	p->problems++;
	free(path);
	free(message);
}

/* What a value looks like to a person, for an error; a secret is never shown. */
static char *
shown(const struct em_option *row, const json_t *value)
{
	char *text, *cut;

	if (row->secret)
		return em_strdup("(secret)");
	text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	if (text == NULL)
		return em_strdup("(not UTF-8)");
	if (strlen(text) <= 60)
		return text;
	cut = em_asprintf("%.57s...", text);
	free(text);
	return cut;
}

static void
wrong(struct parse *p, const struct em_option *row, const json_t *value, const char *wanted)
{
	char *text = shown(row, value);
	bool yes = json_is_string(value) && row->type == EM_OPTION_BOOL;

	problem(p, row->name, "must be %s, not %s%s", wanted, text,
	    yes ? " (only true and false are booleans in YAML 1.2)" : "");
	free(text);
}

static void *
field(const struct parse *p, const struct em_option *row)
{
	return (char *)p->target + row->field;
}

static void
in_range(struct parse *p, const struct em_option *row, int64_t n)
{
	if ((row->min != 0 || row->max != 0) && (n < row->min || n > row->max))
		problem(p, row->name, "is %lld, allowed are %lld to %lld", (long long)n, (long long)row->min,
		    (long long)row->max);
	else
		*(int64_t *)field(p, row) = n;
}

static void
set_string(struct parse *p, const struct em_option *row, const json_t *value)
{
	char **s = field(p, row);

	if (!json_is_string(value)) {
		wrong(p, row, value, "a string");
		return;
	}
	if (strlen(json_string_value(value)) != json_string_length(value)) {
		problem(p, row->name, "holds a NUL character");
		return;
	}
	free(*s);
	*s = em_strdup(json_string_value(value));
}

static void
set_bool(struct parse *p, const struct em_option *row, const json_t *value)
{
	if (!json_is_boolean(value))
		wrong(p, row, value, "true or false");
	else
		*(bool *)field(p, row) = json_is_true(value);
}

static void
set_int(struct parse *p, const struct em_option *row, const json_t *value)
{
	if (!json_is_integer(value))
		wrong(p, row, value, "a whole number");
	else
		in_range(p, row, json_integer_value(value));
}

static void
set_unit(struct parse *p, const struct em_option *row, const json_t *value, const struct unit *units,
    const char *wanted)
{
	int64_t n;

	if (units == sizes && json_is_integer(value) && json_integer_value(value) >= 0)
		in_range(p, row, json_integer_value(value));
	else if (!json_is_string(value) || parse_unit(json_string_value(value), units, &n) != 0)
		wrong(p, row, value, wanted);
	else
		in_range(p, row, n);
}

static void
set_size(struct parse *p, const struct em_option *row, const json_t *value)
{
	set_unit(p, row, value, sizes, "a size such as 4096, 64K or 4M");
}

static void
set_duration(struct parse *p, const struct em_option *row, const json_t *value)
{
	set_unit(p, row, value, durations, "a duration such as 200ms, 30s, 5m, 2h or 7d");
}

static void
set_choice(struct parse *p, const struct em_option *row, const json_t *value)
{
	struct em_buf list = { 0 };

	for (int64_t i = 0; row->choices[i] != NULL; i++) {
		if (json_is_string(value) && strcmp(json_string_value(value), row->choices[i]) == 0) {
			*(int64_t *)field(p, row) = i;
			em_buf_clear(&list);
			return;
		}
		em_buf_printf(&list, "%s%s", i == 0 ? "one of " : ", ", row->choices[i]);
	}
	wrong(p, row, value, em_buf_cstr(&list));
	em_buf_clear(&list);
}

static void
strings_clear(struct em_strings *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->items[i]);
	free(s->items);
	*s = (struct em_strings){ 0 };
}

static void
set_list(struct parse *p, const struct em_option *row, const json_t *value)
{
	struct em_strings *s = field(p, row), got = { 0 };
	size_t n = json_is_array(value) ? json_array_size(value) : 1;

	got.items = em_calloc(n, sizeof(*got.items));
	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;

		if (!json_is_string(item)) {
			wrong(p, row, value, "a string or a list of strings");
			strings_clear(&got);
			return;
		}
		got.items[got.count++] = em_strdup(json_string_value(item));
	}
	strings_clear(s);
	*s = got;
}

static void
set_json(struct parse *p, const struct em_option *row, const json_t *value)
{
	json_t **j = field(p, row);

	json_decref(*j);
	*j = json_deep_copy(value);
}

struct type_row {
	const char	*name;
	void		(*set)(struct parse *, const struct em_option *, const json_t *);
};

static const struct type_row types[] = {
	[EM_OPTION_STRING] = { "string", set_string },
	[EM_OPTION_BOOL] = { "boolean", set_bool },
	[EM_OPTION_INT] = { "integer", set_int },
	[EM_OPTION_SIZE] = { "size", set_size },
	[EM_OPTION_DURATION] = { "duration", set_duration },
	[EM_OPTION_CHOICE] = { "choice", set_choice },
	[EM_OPTION_LIST] = { "list", set_list },
	[EM_OPTION_JSON] = { "any", set_json },
};
_Static_assert(sizeof(types) / sizeof(types[0]) == EM_OPTION_TYPES, "a row for every type");

const char *
em_option_type_name(enum em_option_type type)
{
	return types[type].name;
}

/* A default is written in the table as a user would write it. */
static void
set_fallback(struct parse *p, const struct em_option *row)
{
	json_t *value;

	if (row->fallback == NULL)
		return;
	if (row->type == EM_OPTION_BOOL || row->type == EM_OPTION_INT || row->type == EM_OPTION_JSON)
		value = json_loads(row->fallback, JSON_DECODE_ANY, NULL);
	else
		value = json_string(row->fallback);
	if (value == NULL)
		em_panic("option: the default of \"%s\" is malformed", row->name);
	types[row->type].set(p, row, value);
	json_decref(value);
}

static bool
applies(const struct em_option *row, unsigned roles)
{
	return roles == 0 || row->roles == 0 || (row->roles & roles) != 0;
}

static const struct em_option *
find(const struct parse *p, const char *name)
{
	for (const struct em_option *row = p->rows; row->name != NULL; row++)
		if (strcmp(row->name, name) == 0)
			return row;
	return NULL;
}

static void
unknown(struct parse *p, const char *name)
{
	const char *near = em_option_nearest(p->rows, name);

	if (find(p, name) != NULL)
		problem(p, name, "is not for this role");
	else if (near != NULL)
		problem(p, name, "is unknown, did you mean \"%s\"?", near);
	else
		problem(p, name, "is unknown");
}

size_t
em_options_parse(const struct em_option *rows, unsigned roles, const json_t *object, void *target,
    const char *prefix, em_option_report *report, void *ctx)
{
	struct parse p = { rows, roles, target, prefix, report, ctx, 0 };
	const struct em_option *row;
	const char *name;
	json_t *value;

	for (row = rows; row->name != NULL; row++)
		set_fallback(&p, row);
	json_object_foreach((json_t *)(uintptr_t)object, name, value) {
		row = find(&p, name);
		if (row == NULL || !applies(row, roles))
			unknown(&p, name);
		else if (!json_is_null(value))
			types[row->type].set(&p, row, value);
	}
	for (row = rows; row->name != NULL; row++)
		if (row->required && applies(row, roles) && (json_object_get(object, row->name) == NULL ||
		    json_is_null(json_object_get(object, row->name))))
			problem(&p, row->name, "is required: %s", row->help);
	return p.problems;
}

void
em_options_clear(const struct em_option *rows, void *target)
{
	for (const struct em_option *row = rows; row->name != NULL; row++) {
		void *at = (char *)target + row->field;

		if (row->type == EM_OPTION_STRING) {
			free(*(char **)at);
			*(char **)at = NULL;
		} else if (row->type == EM_OPTION_LIST) {
			strings_clear(at);
		} else if (row->type == EM_OPTION_JSON) {
			json_decref(*(json_t **)at);
			*(json_t **)at = NULL;
		}
	}
}

/* Levenshtein's distance, bounded by the names' small sizes. */
static size_t
distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b), *row = em_calloc(m + 1, sizeof(*row)), result;

	for (size_t j = 0; j <= m; j++)
		row[j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t before = row[0];

		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t kept = row[j], change = before + (a[i - 1] != b[j - 1]);

			row[j] = change;
			if (row[j] > kept + 1)
				row[j] = kept + 1;
			if (row[j] > row[j - 1] + 1)
				row[j] = row[j - 1] + 1;
			before = kept;
		}
	}
	result = row[m];
	free(row);
	return result;
}

const char *
em_option_nearest(const struct em_option *rows, const char *name)
{
	const char *best = NULL;
	size_t least = 4, n = strlen(name);

	if (n > 64)
		return NULL;
	for (; rows->name != NULL; rows++) {
		size_t d = distance(name, rows->name);

		if (d < least && d < n) {
			least = d;
			best = rows->name;
		}
	}
	return best;
}
