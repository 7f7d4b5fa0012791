/*
 * log: lines with a level and a subject, handed to one sink.
 *
 * Runs in: every program (never called by base/, proto/ or libemconnector themselves: they return errors).
 * I1. Formats, never decides where a line goes: the sink does. The sink is the one global of this project.
 * I2. A line below the level costs one comparison.
 * I3. Control characters of the text reach the sink as "\xNN", so that one event stays one line.
 * Levels: debug for us; info state changes, once; notice operator's acts; warning it goes on by itself;
 * error somebody must act; critical we stop.
 */
#ifndef EM_LOG_H
#define EM_LOG_H

#include <stdint.h>

enum em_level { EM_DEBUG, EM_INFO, EM_NOTICE, EM_WARNING, EM_ERROR, EM_CRITICAL, EM_LEVELS };

/* subject and text are borrowed for the call; subject like "orders/2", "session/publish", "registry". */
typedef void em_log_sink(void *ctx, enum em_level level, const char *subject, const char *text);

void	em_log_to(em_log_sink *sink, void *ctx);	/* NULL: stderr, "LEVEL subject: text" */
void	em_log_level(enum em_level lowest);
enum em_level em_log_lowest(void);
void	em_log(enum em_level level, const char *subject, const char *fmt, ...)
	    __attribute__((format(printf, 3, 4)));

const char *em_level_name(enum em_level level);		/* "debug" ... "critical" */
int	em_level_by_name(const char *name, enum em_level *level);	/* 0, or -1 if there is none */

#endif
