#include "print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

#define COLUMNS_MAX	12u

/* A table is filled cell by cell and printed with columns as wide as their widest cell. */
struct table {
	char	**cells;
	size_t	  count, columns;
};

void
print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

static char *
plain(const char *text)
{
	struct em_buf b = { 0 };

	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
		if (*p < 0x20 || *p == 0x7f)
			em_buf_printf(&b, "\\x%02x", *p);
		else
			em_buf_u8(&b, *p);
	}
	em_buf_u8(&b, 0);
	return (char *)b.data;
}

static char *
cell_text(const json_t *value)
{
	if (value == NULL || json_is_null(value))
		return em_strdup("-");
	if (json_is_string(value))
		return plain(json_string_value(value));
	return json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
}

static void
put(struct table *t, char *cell)
{
	t->cells = em_realloc_array(t->cells, t->count + 1, sizeof(char *));
	t->cells[t->count++] = cell;
}

static void
head(struct table *t, const char *const *names)
{
	*t = (struct table){ 0 };
	for (; *names != NULL; names++, t->columns++)
		put(t, em_strdup(*names));
}

/* Characters, not bytes: continuation bytes take no column. */
static size_t
width(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void
end(struct table *t)
{
	size_t widths[COLUMNS_MAX] = { 0 };

	for (size_t i = 0; i < t->count; i++)
		if (width(t->cells[i]) > widths[i % t->columns])
			widths[i % t->columns] = width(t->cells[i]);
	for (size_t i = 0; i < t->count; i++) {
		bool last = i % t->columns == t->columns - 1;

		printf("%s%*s", t->cells[i], last ? 0 : (int)(widths[i % t->columns] - width(t->cells[i]) + 2), "");
		if (last)
			putchar('\n');
		free(t->cells[i]);
	}
	free(t->cells);
}

static void
fields(struct table *t, const json_t *o, const char *const *names)
{
	for (; *names != NULL; names++)
		put(t, cell_text(json_object_get(o, *names)));
}

void
print_list(const json_t *result)
{
	static const char *const heads[] = { "NAME", "CONNECTOR", "ROLE", "TOPIC", "DESIRED", "STATE", NULL };
	static const char *const names[] = { "name", "connector", "role", "topic", "desired", "state", NULL };
	struct table t;
	json_t *o;
	size_t i;

	head(&t, heads);
	json_array_foreach(json_object_get(result, "connectors"), i, o)
		fields(&t, o, names);
	end(&t);
}

void
print_status(const json_t *result)
{
	static const char *const heads[] = { "NAME", "CONNECTOR", "ROLE", "TOPIC", "STATE", "RECEIVED", "DELIVERED", "RETRIED",
		"DEAD", "IN FLIGHT", "LAST ERROR", NULL };
	static const char *const names[] = { "name", "connector", "role", "topic", "state", NULL };
	static const char *const numbers[] = { "received", "delivered", "retried", "dead_lettered", "in_flight", NULL };
	static const char *const error[] = { "last_error", NULL };
	const json_t *s = json_object_get(result, "supervisor"), *mesh = json_object_get(s, "eventmesh");
	struct table t;
	json_t *o;
	size_t i;

	printf("emsupervisord %s, pid %lld, up %lld s; EventMesh %s %s\n\n", json_string_value(json_object_get(s, "version")),
	    (long long)json_integer_value(json_object_get(s, "pid")),
	    (long long)json_integer_value(json_object_get(s, "uptime_s")), json_string_value(json_object_get(mesh, "state")),
	    json_string_value(json_object_get(mesh, "server")));
	head(&t, heads);
	json_array_foreach(json_object_get(result, "connectors"), i, o) {
		fields(&t, o, names);
		fields(&t, json_object_get(o, "records"), numbers);
		fields(&t, o, error);
	}
	end(&t);
}

void
print_offsets(const json_t *result)
{
	static const char *const heads[] = { "PARTITION", "OFFSET", "TIME", NULL };
	static const char *const names[] = { "partition", "offset", "time", NULL };
	struct table t;
	json_t *o;
	size_t i;

	head(&t, heads);
	json_array_foreach(json_object_get(result, "offsets"), i, o)
		fields(&t, o, names);
	end(&t);
}

void
print_connectors(const json_t *result)
{
	static const char *const heads[] = { "  OPTION", "TYPE", "DEFAULT", "HELP", NULL };
	static const char *const names[] = { "type", "default", "help", NULL };
	json_t *kind, *o;
	struct table t;
	size_t i, k;

	json_array_foreach(json_object_get(result, "connectors"), i, kind) {
		printf("%s%s %s: %s\n", i > 0 ? "\n" : "", json_string_value(json_object_get(kind, "name")),
		    json_string_value(json_object_get(kind, "version")), json_string_value(json_object_get(kind, "help")));
		head(&t, heads);
		json_array_foreach(json_object_get(kind, "options"), k, o) {
			put(&t, em_asprintf("  %s", json_string_value(json_object_get(o, "name"))));
			fields(&t, o, names);
		}
		end(&t);
	}
}

void
print_pairs(const json_t *result)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)result, name, value) {
		char *text = cell_text(value);

		printf("%s: %s\n", name, text);
		free(text);
	}
}

static void
tree(const json_t *value, int indent)
{
	const char *name;
	json_t *item;
	size_t i;

	if (json_is_object(value)) {
		json_object_foreach((json_t *)(uintptr_t)value, name, item) {
			bool nested = json_object_size(item) > 0 || json_array_size(item) > 0;
			char *text = nested ? em_strdup("") : cell_text(item);

			printf("%*s%s:%s%s\n", indent, "", name, nested ? "" : " ", text);
			free(text);
			if (nested)
				tree(item, indent + 2);
		}
	} else {
		json_array_foreach(value, i, item) {
			bool nested = json_is_object(item) || json_is_array(item);
			char *text = nested ? em_strdup("") : cell_text(item);

			printf("%*s- %s\n", indent, "", text);
			free(text);
			if (nested)
				tree(item, indent + 2);
		}
	}
}

void
print_tree(const json_t *result)
{
	tree(result, 0);
}

void
print_event(const json_t *event)
{
	const char *text = json_string_value(json_object_get(event, "text")), *name;
	json_t *value;
	bool first = true;
	char *cell;

	if (text != NULL) {
		cell = plain(text);
		printf("%s %-8s %s: %s\n", json_string_value(json_object_get(event, "time")),
		    json_string_value(json_object_get(event, "level")), json_string_value(json_object_get(event, "subject")), cell);
		free(cell);
		return;
	}
	json_object_foreach((json_t *)(uintptr_t)event, name, value) {
		cell = cell_text(value);
		printf("%s%s=%s", first ? "" : " ", name, cell);
		first = false;
		free(cell);
	}
	putchar('\n');
}

static json_int_t
counter(const json_t *connector, const char *name)
{
	return json_integer_value(json_object_get(json_object_get(connector, "records"), name));
}

static const json_t *
same(const json_t *result, const char *name)
{
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(result, "connectors"), i, o)
		if (strcmp(json_string_value(json_object_get(o, "name")), name) == 0)
			return o;
	return NULL;
}

void
print_top(const json_t *before, const json_t *now)
{
	static const char *const heads[] = { "NAME", "STATE", "RECEIVED/s", "DELIVERED/s", "DELIVERED", "IN FLIGHT", NULL };
	static const char *const names[] = { "name", "state", NULL };
	struct table t;
	json_t *o;
	size_t i;

	head(&t, heads);
	json_array_foreach(json_object_get(now, "connectors"), i, o) {
		const json_t *old = same(before, json_string_value(json_object_get(o, "name")));

		fields(&t, o, names);
		put(&t, em_asprintf("%lld", (long long)(counter(o, "received") - counter(old, "received"))));
		put(&t, em_asprintf("%lld", (long long)(counter(o, "delivered") - counter(old, "delivered"))));
		put(&t, em_asprintf("%lld", (long long)counter(o, "delivered")));
		put(&t, em_asprintf("%lld", (long long)counter(o, "in_flight")));
	}
	end(&t);
}
