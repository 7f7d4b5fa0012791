/*
 * pattern: the data of connector "generate", made again by who wants to verify it.
 *
 * Runs in: the processes of connectors generate and discard. Pure.
 * I1. The bytes follow from content, size, partition and number alone, on every machine.
 * I2. pattern_check accepts exactly what pattern_fill made.
 * Layout: "PARTITION:NUMBER:" and filler up to size bytes; for JSON all of it inside one pair of quotes.
 */
#ifndef PATTERN_H
#define PATTERN_H

#include "bytes.h"

enum pattern_content { PATTERN_TEXT, PATTERN_JSON, PATTERN_BINARY, PATTERN_CONTENTS };

struct pattern_row {
	const char	*name;		/* as in the option "content" */
	const char	*type;		/* datacontenttype */
};

/* One row for each content, then a row without name. */
extern const struct pattern_row pattern_rows[PATTERN_CONTENTS + 1];

/* Replaces b by the data of one record: size bytes, or more if its number needs more. */
void	pattern_fill(struct em_buf *b, enum pattern_content content, size_t size, int64_t partition,
	    int64_t number);

/* True if data is what pattern_fill makes for the numbers that stand in it; scratch is overwritten. */
bool	pattern_check(struct em_span data, enum pattern_content content, struct em_buf *scratch);

#endif
