/*
 * sink: where log lines go: stderr, a file, or the journal.
 *
 * Runs in: engine. Touches: stderr, a file, the journal. Rank 2.
 * I1. One line an event; times are UTC with milliseconds.
 */
#ifndef SINK_H
#define SINK_H

#include <stdbool.h>

struct em_error;

/* target: "stderr", "journal", or a path. Sends the log there from now on. */
int	sink_open(const char *target, bool json, struct em_error *err);
/* "2026-01-02T03:04:05.678Z" of a time; the caller frees it. */
struct timespec;
char	*sink_time(const struct timespec *t);

#endif
