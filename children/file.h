/*
 * file: what the two halves of connector "file" share: its options.
 *
 * Runs in: the connector's process.
 */
#ifndef FILE_H
#define FILE_H

#include "emconnector.h"

enum { FILE_FROM_START, FILE_FROM_END };
enum { FILE_OVERSIZE_STOP, FILE_OVERSIZE_SKIP };
enum { FILE_DATA, FILE_CLOUDEVENTS };
enum { FILE_SYNC_BATCH, FILE_SYNC_NONE };

struct file_config {
	char	*path;
	bool	 follow;
	int64_t	 from, max_line, oversize, linger_ms;
	int64_t	 format, sync, rotate_size, rotate_age_ms;
};

int	file_source_open(struct em_task *t, const struct file_config *config, struct em_error *err);
void	file_source_close(struct em_task *t);
enum em_poll file_source_poll(struct em_task *t, struct em_error *err);

int	file_sink_open(struct em_task *t, const struct file_config *config, struct em_error *err);
void	file_sink_close(struct em_task *t);
int	file_sink_put(struct em_task *t, const struct em_record *records, uint32_t count, struct em_error *err);

#endif
