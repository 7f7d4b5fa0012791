/*
 * utf8: is it well-formed UTF-8?
 *
 * Runs in: everywhere. Pure.
 * I1. Accepts exactly RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
 */
#ifndef EM_UTF8_H
#define EM_UTF8_H

#include "bytes.h"

/* Bytes of the sequence that starts at p (n > 0 bytes are there); 0 if it is not well-formed. */
size_t	em_utf8_sequence(const uint8_t *p, size_t n);
bool	em_is_utf8(struct em_span s);	/* absent and empty are */

#endif
