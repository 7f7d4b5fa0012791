/*
 * bytes: bounded reading and writing of memory, a growing buffer, and allocation that does not fail.
 *
 * Runs in: everywhere. Pure, but for ending the process when memory ends.
 * I1. A reader never looks beyond its span: a short read gives zeros and sets "bad" for good, so that a
 *     decoder reads all its fields and asks once, with em_reader_done.
 * I2. Length arithmetic is done here and checked here; an overflow ends the process (em_panic).
 * I3. em_alloc and its kin never return NULL; sizes chosen by a peer must be bounded before.
 * All integers are little-endian unless the name says be.
 * Ownership: a span borrows; a buffer owns its memory until em_buf_clear.
 */
#ifndef EM_BYTES_H
#define EM_BYTES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes. bytes == NULL means absent; len 0 with bytes set means present and empty. */
struct em_span {
	const uint8_t	*bytes;
	size_t		 len;
};

#define EM_SPAN_LITERAL(s) ((struct em_span){ (const uint8_t *)(s), sizeof(s) - 1 })
#define EM_SPAN_NONE ((struct em_span){ NULL, 0 })

struct em_span em_span_str(const char *s);	/* NULL gives an absent span */
bool	em_span_eq(struct em_span a, struct em_span b);	/* absent equals only absent */
bool	em_span_is(struct em_span a, const char *s);
bool	em_span_starts(struct em_span a, const char *prefix);
char	*em_span_dup(struct em_span a);		/* NUL-terminated copy, owned by the caller; "" if absent */

/* Growing buffer. Zero-initialised is valid and empty. */
struct em_buf {
	uint8_t	*data;
	size_t	 len;
	size_t	 cap;
};

void	 em_buf_clear(struct em_buf *b);		/* frees; can be used again */
void	 em_buf_reset(struct em_buf *b);		/* len = 0, keeps the memory */
uint8_t	*em_buf_reserve(struct em_buf *b, size_t n);	/* room for n more; returns data + len */
void	 em_buf_append(struct em_buf *b, const void *p, size_t n);
void	 em_buf_span(struct em_buf *b, struct em_span s);
void	 em_buf_str(struct em_buf *b, const char *s);
void	 em_buf_printf(struct em_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void	 em_buf_vprintf(struct em_buf *b, const char *fmt, va_list ap);
void	 em_buf_u8(struct em_buf *b, uint8_t v);
void	 em_buf_u16(struct em_buf *b, uint16_t v);
void	 em_buf_u32(struct em_buf *b, uint32_t v);
void	 em_buf_u64(struct em_buf *b, uint64_t v);
void	 em_buf_lspan(struct em_buf *b, struct em_span s);	/* u32 length, then the bytes */
void	 em_buf_consume(struct em_buf *b, size_t n);	/* drops n bytes in front (moves the rest) */
void	 em_buf_set_u32(struct em_buf *b, size_t at, uint32_t v);	/* overwrites, at + 4 <= len */
const char *em_buf_cstr(struct em_buf *b);		/* NUL behind len; borrowed until the next change */
struct em_span em_buf_view(const struct em_buf *b);	/* borrowed, never absent */

/* Bounded reader. */
struct em_reader {
	const uint8_t	*p;
	const uint8_t	*end;
	bool		 bad;
};

struct em_reader em_reader(struct em_span s);
uint8_t	 em_read_u8(struct em_reader *r);
uint16_t em_read_u16(struct em_reader *r);
uint32_t em_read_u32(struct em_reader *r);
uint64_t em_read_u64(struct em_reader *r);
struct em_span em_read_bytes(struct em_reader *r, size_t n);
struct em_span em_read_lspan(struct em_reader *r);	/* u32 length, then the bytes */
size_t	 em_reader_left(const struct em_reader *r);
bool	 em_reader_done(const struct em_reader *r);	/* nothing bad and nothing left over */

uint32_t em_get_u32(const uint8_t *p);			/* unaligned */
uint32_t em_get_u32be(const uint8_t *p);
void	 em_put_u32be(uint8_t *p, uint32_t v);

void	*em_alloc(size_t n);				/* uninitialised */
void	*em_calloc(size_t count, size_t size);
void	*em_realloc_array(void *p, size_t count, size_t size);
char	*em_strdup(const char *s);			/* NULL gives NULL */
char	*em_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char	*em_vasprintf(const char *fmt, va_list ap);
size_t	 em_size_add(size_t a, size_t b);		/* checked */
size_t	 em_size_mul(size_t a, size_t b);

/* A broken invariant of our own: says which on stderr and aborts. */
_Noreturn void em_panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
