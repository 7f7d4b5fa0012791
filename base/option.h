/*
 * option: tables of options, and everything that is derived from one: parsing, checks, defaults, help, schema, man page.
 *
 * Runs in: engine (configuration), children (connector options), emctl. Pure but for jansson (the only base file with it).
 * I1. A value reaches its field only after type, range and choices were checked; all errors are reported, not the first.
 * I2. An unknown name is refused with the nearest known one ("did you mean").
 * I3. A secret's value never appears in an error, a listing or a sample.
 * I4. What is printed (help, schema, man, sample) comes from the rows and from nowhere else.
 * Ownership: strings in the target struct are copies, freed by em_options_clear.
 */
#ifndef EM_OPTION_H
#define EM_OPTION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"

enum em_option_type {
	EM_OPTION_STRING,	/* char * */
	EM_OPTION_BOOL,		/* bool */
	EM_OPTION_INT,		/* int64_t, with min and max */
	EM_OPTION_SIZE,		/* int64_t bytes: 4096, 64K, 4M, 1G (powers of 1024) */
	EM_OPTION_DURATION,	/* int64_t ms: 200ms, 30s, 5m, 2h, 7d */
	EM_OPTION_CHOICE,	/* int64_t index into choices */
	EM_OPTION_LIST,		/* struct em_strings: a sequence of strings, or one string */
	EM_OPTION_JSON,		/* json_t *: any value, checked by its owner */
	EM_OPTION_TYPES
};

struct em_strings {
	char	**items;
	size_t	  count;
};

struct em_option {
	const char	*name;		/* as its users know it: "bootstrap.servers" */
	enum em_option_type type;
	const char	*help;		/* one line, lower case, no full stop */
	const char	*fallback;	/* default in the text form of a user; NULL: none (zero, NULL, empty) */
	bool		 required;
	bool		 secret;
	unsigned	 roles;		/* bits of those it is for (enum em_role); 0: all */
	int64_t		 min, max;	/* INT, SIZE, DURATION, inclusive; both 0: unbounded */
	const char *const *choices;	/* CHOICE: NULL-terminated */
	size_t		 field;		/* offsetof in the target struct */
};

/* Tables end with a row whose name is NULL. */

/* Receives one problem; path is the option's place ("options.path", "limits.memory"). */
typedef void em_option_report(void *ctx, const char *path, const char *message);

/* Fills target (zeroed by the caller) from a JSON object, defaults first. NULL object acts as {}. Returns the number of
 * problems reported. prefix goes in front of paths ("options."). roles selects the rows that apply (0: all rows). */
size_t	em_options_parse(const struct em_option *rows, unsigned roles, const json_t *object, void *target,
	    const char *prefix, em_option_report *report, void *ctx);
void	em_options_clear(const struct em_option *rows, void *target);

const char *em_option_type_name(enum em_option_type type);
json_t	*em_options_describe(const struct em_option *rows);		/* array of objects, for emctl and tests */
void	em_options_man(struct em_buf *b, const struct em_option *rows, unsigned role);	/* mdoc .It list */
void	em_options_help(struct em_buf *b, const struct em_option *rows, unsigned role);	/* plain text */
json_t	*em_options_schema(const struct em_option *rows, unsigned role);	/* JSON Schema, draft 2020-12 */

/* The nearest of the rows' names within edit distance 3, or NULL. */
const char *em_option_nearest(const struct em_option *rows, const char *name);

int	em_parse_size(const char *text, int64_t *bytes);		/* 0 or -1 */
int	em_parse_duration(const char *text, int64_t *ms);

#endif
