/*
 * print: the supervisor's answers for people: tables with aligned columns, pairs, lines.
 *
 * Runs in: emctl. Touches: stdout.
 * I1. Control characters from outside reach the terminal escaped.
 */
#ifndef PRINT_H
#define PRINT_H

#include <jansson.h>

void	print_json(const json_t *value);
void	print_status(const json_t *result);
void	print_list(const json_t *result);
void	print_offsets(const json_t *result);
void	print_connectors(const json_t *result);
void	print_pairs(const json_t *result);		/* name: value lines */
void	print_tree(const json_t *result);		/* nested, indented */
void	print_event(const json_t *event);		/* a log line or a record */
void	print_top(const json_t *before, const json_t *now);

#endif
