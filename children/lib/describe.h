/*
 * describe: what a connector prints about itself when it is asked on a command line.
 *
 * Runs in: children. Touches: stdout.
 * I1. Everything printed comes from the connector's own table, so that nothing is documented twice.
 * --describe (JSON, read by the supervisor), --schema (JSON Schema), --man-options (mdoc), --sample (a connector file).
 */
#ifndef DESCRIBE_H
#define DESCRIBE_H

#include "emconnector.h"

/* The exit status: 0, 1 if stdout failed, 2 usage. */
int	em_describe(const struct em_connector *c, int argc, char **argv);

#endif
