/*
 * map: names and tables that the two halves of the CloudEvents mapping share (cloudevent.c, cloudevent_decode.c).
 *
 * Runs in: engine. Pure. Nothing else includes this.
 */
#ifndef EM_MAP_H
#define EM_MAP_H

#include "bytes.h"
#include "record.h"

/* How data travels; the names are those of extension "emdataencoding", NULL where none is needed. */
enum em_map_data { EM_MAP_STRING, EM_MAP_JSON, EM_MAP_TEXT, EM_MAP_BASE64, EM_MAP_NONE };
extern const char *const em_map_data_names[];

extern const char *const em_map_type_names[EM_TYPES];	/* as in "emtypes" */

bool	em_map_is_json_type(struct em_span type);
bool	em_map_is_transport(struct em_span name);	/* an extension that EventMesh adds on the way */

#endif
