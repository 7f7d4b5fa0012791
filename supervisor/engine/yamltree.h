/*
 * yamltree: a YAML file as a JSON tree, with the line and column of every value.
 *
 * Runs in: engine, emsupervisord --check. Pure but for libyaml and jansson (the only file with libyaml). Rank 1.
 * I1. Plain scalars follow YAML 1.2's core schema: true, false, null, numbers; everything else is a string ("yes" too).
 * I2. Aliases, duplicate keys, several documents, a depth above 64 and files above 1 MiB are refused.
 * Errors: EM_ESYNTAX with line and column in *place.  Ownership: the tree and the places belong to the caller.
 */
#ifndef YAMLTREE_H
#define YAMLTREE_H

#include <jansson.h>
#include <stddef.h>

struct em_error;

struct yaml_place {
	unsigned line, column;		/* from 1 */
};

struct yaml_places;

/* The tree (an object; an empty file is an empty one), or NULL, *err and where. */
json_t	*yaml_load(const char *text, size_t len, struct yaml_places **places, struct yaml_place *where,
	    struct em_error *err);
/* Where the value at a path ("options.path", "servers.0") stands; the nearest parent's place if it is not there. */
struct yaml_place yaml_place_of(const struct yaml_places *places, const char *path);
void	yaml_places_free(struct yaml_places *places);

#endif
