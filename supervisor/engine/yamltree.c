#include "yamltree.h"

#include <stdlib.h>
#include <yaml.h>

#include "bytes.h"
#include "error.h"

#define DEPTH_MAX	64
#define SIZE_MAX_BYTES	(1024u * 1024)

struct row {
	char		*path;
	struct yaml_place place;
};

struct yaml_places {
	struct row	*rows;
	size_t		 count, size;
};

struct build {
	yaml_document_t	*document;
	struct yaml_places *places;
	struct em_buf	 path;
	bool		*seen;		/* of every node: a second visit is an alias */
	struct yaml_place where;
	struct em_error	*err;
};

static json_t	*build_node(struct build *b, yaml_node_t *node, int depth);

static struct yaml_place
place_of(const yaml_mark_t *mark)
{
	return (struct yaml_place){ (unsigned)mark->line + 1, (unsigned)mark->column + 1 };
}

static json_t *
refuse(struct build *b, const yaml_node_t *node, enum em_code code, const char *what)
{
	b->where = place_of(&node->start_mark);
	em_error_set(b->err, code, "%s", what);
	return NULL;
}

static void
remember(struct build *b, const yaml_node_t *node)
{
	struct yaml_places *p = b->places;

	if (p->count == p->size) {
		p->size = p->size > 0 ? p->size * 2 : 32;
		p->rows = em_realloc_array(p->rows, p->size, sizeof(*p->rows));
	}
	p->rows[p->count++] = (struct row){ em_strdup(em_buf_cstr(&b->path)), place_of(&node->start_mark) };
}

static json_t *
plain_scalar(const char *s)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };
	json_t *value;

	for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++)
		if (strcmp(s, nulls[i]) == 0)
			return json_null();
	if (strcmp(s, "true") == 0 || strcmp(s, "True") == 0 || strcmp(s, "TRUE") == 0)
		return json_true();
	if (strcmp(s, "false") == 0 || strcmp(s, "False") == 0 || strcmp(s, "FALSE") == 0)
		return json_false();
	value = json_loads(s, JSON_DECODE_ANY, NULL);
	if (json_is_number(value))
		return value;
	json_decref(value);
	return json_string(s);
}

static json_t *
build_scalar(struct build *b, const yaml_node_t *node)
{
	const char *s = (const char *)node->data.scalar.value;
	json_t *value;

	if (strlen(s) != node->data.scalar.length)
		return refuse(b, node, EM_ESYNTAX, "a text holds a NUL character");
	value = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_scalar(s) : json_string(s);
	return value != NULL ? value : refuse(b, node, EM_ESYNTAX, "a text is not UTF-8");
}

static size_t
enter(struct build *b, const char *name)
{
	size_t before = b->path.len;

	em_buf_printf(&b->path, before > 0 ? ".%s" : "%s", name);
	return before;
}

static json_t *
build_sequence(struct build *b, const yaml_node_t *node, int depth)
{
	json_t *list = json_array(), *item;
	size_t before, i = 0;
	char *name;

	for (yaml_node_item_t *n = node->data.sequence.items.start; n < node->data.sequence.items.top; n++) {
		name = em_asprintf("%zu", i++);
		before = enter(b, name);
		free(name);
		item = build_node(b, yaml_document_get_node(b->document, *n), depth + 1);
		b->path.len = before;
		if (item == NULL) {
			json_decref(list);
			return NULL;
		}
		json_array_append_new(list, item);
	}
	return list;
}

static int
build_member(struct build *b, json_t *object, const yaml_node_pair_t *pair, int depth)
{
	yaml_node_t *key = yaml_document_get_node(b->document, pair->key);
	const char *name;
	json_t *value;
	size_t before;

	if (key->type != YAML_SCALAR_NODE) {
		refuse(b, key, EM_ESYNTAX, "a key must be a plain name");
		return -1;
	}
	name = (const char *)key->data.scalar.value;
	if (json_object_get(object, name) != NULL) {
		b->where = place_of(&key->start_mark);
		return em_error_set(b->err, EM_ESYNTAX, "\"%s\" is given twice", name);
	}
	before = enter(b, name);
	remember(b, key);
	value = build_node(b, yaml_document_get_node(b->document, pair->value), depth + 1);
	b->path.len = before;
	if (value == NULL)
		return -1;
	return json_object_set_new(object, name, value);
}

static json_t *
build_mapping(struct build *b, const yaml_node_t *node, int depth)
{
	json_t *object = json_object();

	for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
		if (build_member(b, object, p, depth) != 0) {
			em_error_set(b->err, EM_ESYNTAX, "a key is not UTF-8");
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static json_t *
build_node(struct build *b, yaml_node_t *node, int depth)
{
	size_t index = (size_t)(node - b->document->nodes.start);

	if (b->seen[index])
		return refuse(b, node, EM_ESYNTAX, "aliases are not supported, write the value again");
	if (depth > DEPTH_MAX)
		return refuse(b, node, EM_ELIMIT, "it is nested too deeply");
	b->seen[index] = true;
	if (node->type == YAML_SCALAR_NODE)
		return build_scalar(b, node);
	return node->type == YAML_SEQUENCE_NODE ? build_sequence(b, node, depth) : build_mapping(b, node, depth);
}

static json_t *
build_document(yaml_document_t *document, struct yaml_places *places, struct yaml_place *where, struct em_error *err)
{
	struct build b = { .document = document, .places = places, .err = err };
	yaml_node_t *root = yaml_document_get_root_node(document);
	json_t *tree;

	if (root == NULL)
		return json_object();
	b.seen = em_calloc((size_t)(document->nodes.top - document->nodes.start), sizeof(*b.seen));
	tree = build_node(&b, root, 0);
	if (tree != NULL && !json_is_object(tree)) {
		json_decref(tree);
		tree = refuse(&b, root, EM_ESYNTAX, "the file must be a mapping (\"name: value\" lines)");
	}
	if (tree == NULL)
		*where = b.where;
	free(b.seen);
	em_buf_clear(&b.path);
	return tree;
}

static json_t *
parse(yaml_parser_t *parser, struct yaml_places *places, struct yaml_place *where, struct em_error *err)
{
	yaml_document_t document, more;
	json_t *tree = NULL;

	if (yaml_parser_load(parser, &document) == 0) {
		*where = place_of(&parser->problem_mark);
		em_error_set(err, EM_ESYNTAX, "%s", parser->problem != NULL ? parser->problem : "no YAML");
		return NULL;
	}
	tree = build_document(&document, places, where, err);
	yaml_document_delete(&document);
	if (tree != NULL && yaml_parser_load(parser, &more) != 0) {
		if (yaml_document_get_root_node(&more) != NULL) {
			*where = place_of(&more.start_mark);
			em_error_set(err, EM_ESYNTAX, "a second document begins here, only one is allowed");
			json_decref(tree);
			tree = NULL;
		}
		yaml_document_delete(&more);
	} else if (tree != NULL) {
		*where = place_of(&parser->problem_mark);
		em_error_set(err, EM_ESYNTAX, "%s", parser->problem != NULL ? parser->problem : "no YAML");
		json_decref(tree);
		tree = NULL;
	}
	return tree;
}

json_t *
yaml_load(const char *text, size_t len, struct yaml_places **places, struct yaml_place *where, struct em_error *err)
{
	struct yaml_places *p;
	yaml_parser_t parser;
	json_t *tree;

	*where = (struct yaml_place){ 1, 1 };
	if (len > SIZE_MAX_BYTES) {
		em_error_set(err, EM_ELIMIT, "the file has %zu bytes, allowed are %u", len, SIZE_MAX_BYTES);
		return NULL;
	}
	if (yaml_parser_initialize(&parser) == 0)
		em_panic("yaml: no parser");
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	p = em_calloc(1, sizeof(*p));
	tree = parse(&parser, p, where, err);
	yaml_parser_delete(&parser);
	if (tree == NULL)
		yaml_places_free(p);
	else
		*places = p;
	return tree;
}

struct yaml_place
yaml_place_of(const struct yaml_places *places, const char *path)
{
	char *p = em_strdup(path), *dot;
	struct yaml_place found = { 1, 1 };

	for (;;) {
		for (size_t i = 0; i < places->count; i++) {
			if (strcmp(places->rows[i].path, p) == 0) {
				found = places->rows[i].place;
				free(p);
				return found;
			}
		}
		dot = strrchr(p, '.');
		if (dot == NULL)
			break;
		*dot = '\0';
	}
	free(p);
	return found;
}

void
yaml_places_free(struct yaml_places *places)
{
	if (places == NULL)
		return;
	for (size_t i = 0; i < places->count; i++)
		free(places->rows[i].path);
	free(places->rows);
	free(places);
}
