/*
 * json: the JSON of the hot path: a writer into a buffer and a validating scanner that allocates nothing.
 *
 * Runs in: engine, broker. Pure.
 * I1. What em_json_skip and em_json_next accept is exactly RFC 8259 with well-formed UTF-8 (lone surrogate escapes and
 *     duplicate names are accepted, raw control characters are not), nested at most EM_JSON_DEPTH deep.
 * I2. A token borrows from the text; nothing is copied until em_json_unescape.
 * I3. write(scan(x)) has the same meaning as x; jansson agrees on every input (tests/fuzz/fuzz_json).
 * Errors: EM_ESYNTAX with the byte offset.  Ownership: everything borrowed.
 */
#ifndef EM_JSON_H
#define EM_JSON_H

#include "bytes.h"

struct em_error;

#define EM_JSON_DEPTH	512

enum em_json_kind { EM_JSON_NONE, EM_JSON_NULL, EM_JSON_FALSE, EM_JSON_TRUE, EM_JSON_NUMBER, EM_JSON_STRING,
	EM_JSON_ARRAY, EM_JSON_OBJECT };

struct em_json {		/* one value where it stands */
	enum em_json_kind kind;
	bool		 escaped;	/* a string with at least one backslash */
	struct em_span	 text;		/* as written; of a string without its quotes */
};

struct em_json_cursor {		/* walks the members of one object, or the items of one array */
	struct em_span	 text;
	size_t		 at;
	bool		 started;
};

/* Scans one value from *at (skipping blanks before it) and moves *at behind it; validates all of it. */
int	em_json_value(struct em_span text, size_t *at, struct em_json *value, struct em_error *err);

/* As em_json_value, but the value must be all there is (blanks allowed around it). */
int	em_json_whole(struct em_span text, struct em_json *value, struct em_error *err);

/* Walks an object's text: each call gives name (a string) and value: 1, 0 at the end, -1 and *err.
 * em_json_open wants the whole text with its braces; what lies behind the closing one is not looked at. */
int	em_json_open(struct em_json_cursor *c, struct em_span text, struct em_error *err);
int	em_json_next(struct em_json_cursor *c, struct em_json *name, struct em_json *value, struct em_error *err);
int	em_json_item(struct em_json_cursor *c, struct em_json *value, struct em_error *err);	/* of an array */

/* Appends a string's characters without escapes (a lone surrogate becomes U+FFFD). Cannot fail on a scanned token. */
void	em_json_unescape(struct em_buf *b, const struct em_json *string);
bool	em_json_is(const struct em_json *string, const char *s);	/* its characters equal s */
/* 0, or -1: not an integer in the range. */
int	em_json_int64(const struct em_json *number, int64_t *v);

/* True for a text that every JSON processor writes back byte for byte the same: no blanks, only the short escapes,
 * numbers as Java's and ECMAScript's writers print them (see cloudevent.c for why this matters). */
bool	em_json_is_plain(struct em_span text);

/* Writer: appends to b. Strings must be UTF-8; they are quoted and escaped. */
void	em_json_string(struct em_buf *b, struct em_span s);
void	em_json_cstr(struct em_buf *b, const char *s);
void	em_json_number(struct em_buf *b, int64_t v);
void	em_json_base64(struct em_buf *b, struct em_span s);	/* as a string, RFC 4648 section 4 */
/* Appends the bytes; -1 if the text is no base64. */
int	em_base64_decode(struct em_buf *b, struct em_span text, struct em_error *err);

#endif
