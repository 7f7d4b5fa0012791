/* The printing half of option.h: everything a person or a program is shown about options comes from the rows. */
#include "option.h"


static const char *
schema_type(enum em_option_type type)
{
	static const char *const names[] = {
		[EM_OPTION_STRING] = "string", [EM_OPTION_BOOL] = "boolean", [EM_OPTION_INT] = "integer",
		[EM_OPTION_SIZE] = NULL, [EM_OPTION_DURATION] = "string", [EM_OPTION_CHOICE] = "string",
		[EM_OPTION_LIST] = NULL, [EM_OPTION_JSON] = NULL,
	};

	return names[type];
}

static json_t *
choices_of(const struct em_option *row)
{
	json_t *list = json_array();

	for (size_t i = 0; row->choices[i] != NULL; i++)
		json_array_append_new(list, json_string(row->choices[i]));
	return list;
}

static json_t *
roles_of(const struct em_option *row)
{
	json_t *list = json_array();

	if (row->roles == 0 || (row->roles & 1) != 0)
		json_array_append_new(list, json_string("source"));
	if (row->roles == 0 || (row->roles & 2) != 0)
		json_array_append_new(list, json_string("sink"));
	return list;
}

json_t *
em_options_describe(const struct em_option *rows)
{
	json_t *list = json_array(), *o;

	for (; rows->name != NULL; rows++) {
		o = json_pack("{s:s, s:s, s:s, s:b, s:b, s:o}", "name", rows->name, "type",
		    em_option_type_name(rows->type), "help", rows->help, "required", rows->required, "secret",
		    rows->secret, "roles", roles_of(rows));
		if (rows->fallback != NULL)
			json_object_set_new(o, "default", json_string(rows->fallback));
		if (rows->choices != NULL)
			json_object_set_new(o, "choices", choices_of(rows));
		if (rows->min != 0 || rows->max != 0)
			json_object_set_new(o, "range", json_pack("[I, I]", (json_int_t)rows->min,
			    (json_int_t)rows->max));
		json_array_append_new(list, o);
	}
	return list;
}

static bool
is_for(const struct em_option *row, unsigned role)
{
	return role == 0 || row->roles == 0 || (row->roles & role) != 0;
}

/* mdoc gives a meaning to lines that begin with a dot or a quote, and to backslashes. */
static void
mdoc_text(struct em_buf *b, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\\')
			em_buf_str(b, "\\e");
		else
			em_buf_u8(b, (uint8_t)*text);
	}
}

void
em_options_man(struct em_buf *b, const struct em_option *rows, unsigned role)
{
	em_buf_str(b, ".Bl -tag -width Ds\n");
	for (; rows->name != NULL; rows++) {
		if (!is_for(rows, role))
			continue;
		em_buf_printf(b, ".It Cm %s Pq %s\n", rows->name, em_option_type_name(rows->type));
		mdoc_text(b, rows->help);
		em_buf_str(b, ".\n");
		if (rows->choices != NULL) {
			em_buf_str(b, "One of");
			for (size_t i = 0; rows->choices[i] != NULL; i++)
				em_buf_printf(b, "%s\n.Cm %s", i > 0 ? " ," : "", rows->choices[i]);
			em_buf_str(b, " .\n");
		}
		if (rows->min != 0 || rows->max != 0)
			em_buf_printf(b, "Allowed are %lld to %lld.\n", (long long)rows->min, (long long)rows->max);
		if (rows->required)
			em_buf_str(b, "Required.\n");
		if (rows->secret)
			em_buf_str(b, "A secret: it is never shown.\n");
		if (rows->fallback != NULL) {
			em_buf_str(b, "The default is\n.Cm ");
			mdoc_text(b, rows->fallback[0] != '\0' ? rows->fallback : "\"\"");
			em_buf_str(b, " .\n");
		}
	}
	em_buf_str(b, ".El\n");
}

void
em_options_help(struct em_buf *b, const struct em_option *rows, unsigned role)
{
	for (; rows->name != NULL; rows++) {
		if (!is_for(rows, role))
			continue;
		em_buf_printf(b, "  %-24s %s (%s%s", rows->name, rows->help, em_option_type_name(rows->type),
		    rows->required ? ", required" : "");
		if (rows->fallback != NULL)
			em_buf_printf(b, ", default %s", rows->fallback);
		em_buf_str(b, ")\n");
	}
}

static json_t *
schema_of(const struct em_option *row)
{
	json_t *o = json_pack("{s:s}", "description", row->help);

	if (schema_type(row->type) != NULL)
		json_object_set_new(o, "type", json_string(schema_type(row->type)));
	else if (row->type == EM_OPTION_SIZE)
		json_object_set_new(o, "type", json_pack("[s, s]", "integer", "string"));
	else if (row->type == EM_OPTION_LIST)
		json_object_set_new(o, "oneOf", json_pack("[{s:s}, {s:s, s:{s:s}}]", "type", "string", "type", "array",
		    "items", "type", "string"));
	if (row->choices != NULL)
		json_object_set_new(o, "enum", choices_of(row));
	if (row->type == EM_OPTION_INT && (row->min != 0 || row->max != 0)) {
		json_object_set_new(o, "minimum", json_integer(row->min));
		json_object_set_new(o, "maximum", json_integer(row->max));
	}
	if (row->secret)
		json_object_set_new(o, "writeOnly", json_true());
	return o;
}

json_t *
em_options_schema(const struct em_option *rows, unsigned role)
{
	json_t *properties = json_object(), *required = json_array();

	for (; rows->name != NULL; rows++) {
		if (!is_for(rows, role))
			continue;
		json_object_set_new(properties, rows->name, schema_of(rows));
		if (rows->required)
			json_array_append_new(required, json_string(rows->name));
	}
	return json_pack("{s:s, s:s, s:o, s:o, s:b}", "$schema", "https://json-schema.org/draft/2020-12/schema", "type",
	    "object", "properties", properties, "required", required, "additionalProperties", 0);
}
