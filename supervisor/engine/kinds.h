/*
 * kinds: the connectors that are installed, and what each says about itself (--describe).
 *
 * Runs in: engine, emsupervisord --check. Touches: processes (short-lived, with a time limit), files. Rank 1.
 * I1. Nothing about a connector is known to the supervisor but what its executable says.
 * I2. An executable that says nothing sensible within 3 s is left out, with a warning that names it.
 */
#ifndef KINDS_H
#define KINDS_H

#include <jansson.h>

struct kinds;

struct kinds *kinds_load(const char *plugin_dir);
void	kinds_free(struct kinds *k);
const json_t *kinds_find(const struct kinds *k, const char *name);	/* borrowed; NULL: not installed */
char	*kinds_path(const struct kinds *k, const char *name);
json_t	*kinds_all(const struct kinds *k);			/* {name: description} */

#endif
