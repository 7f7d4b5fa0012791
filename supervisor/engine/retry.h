/*
 * retry: how long to wait, and what an error of EventMesh means.
 *
 * Runs in: engine. Pure: chance is an argument. Rank 0.
 * I1. Delays double from min to max; chance takes up to half of one away, so that many do not come at once.
 * I2. Every refusal of EventMesh falls into one row; one that is not known is transient (it is tried again, and said).
 */
#ifndef RETRY_H
#define RETRY_H

#include <stdint.h>

#include "bytes.h"

int64_t	retry_delay_ms(int64_t min_ms, int64_t max_ms, unsigned failures_before, uint32_t chance);

enum retry_verdict {
	RETRY_PERMANENT,	/* this event will never be taken */
	RETRY_TRANSIENT,	/* later, under the same id */
	RETRY_SMALLER,		/* later, with fewer in flight */
	RETRY_RECONNECT,	/* the session is over */
	RETRY_STOP		/* rights: only the operator can help */
};

struct retry_row {
	const char	*text;		/* the description contains it */
	enum retry_verdict verdict;
	const char	*meaning;	/* for the operator */
};

/* The row for the description of a refused request; never NULL. */
const struct retry_row *retry_classify(struct em_span desc);

#endif
