#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>


struct em_span
em_span_str(const char *s)
{
	if (s == NULL)
		return EM_SPAN_NONE;
	return (struct em_span){ (const uint8_t *)s, strlen(s) };
}

bool
em_span_eq(struct em_span a, struct em_span b)
{
	if (a.bytes == NULL || b.bytes == NULL)
		return a.bytes == b.bytes;
	return a.len == b.len && memcmp(a.bytes, b.bytes, a.len) == 0;
}

bool
em_span_is(struct em_span a, const char *s)
{
	size_t n = strlen(s);

	return a.bytes != NULL && a.len == n && memcmp(a.bytes, s, n) == 0;
}

bool
em_span_starts(struct em_span a, const char *prefix)
{
	size_t n = strlen(prefix);

	return a.bytes != NULL && a.len >= n && memcmp(a.bytes, prefix, n) == 0;
}

char *
em_span_dup(struct em_span a)
{
	char *s = em_alloc(em_size_add(a.len, 1));

	if (a.len > 0)
		memcpy(s, a.bytes, a.len);
	s[a.len] = '\0';
	return s;
}

void
em_buf_clear(struct em_buf *b)
{
	free(b->data);
	*b = (struct em_buf){ 0 };
}

void
em_buf_reset(struct em_buf *b)
{
	b->len = 0;
}

uint8_t *
em_buf_reserve(struct em_buf *b, size_t n)
{
	size_t need = em_size_add(b->len, n), cap;

	if (need > b->cap || b->data == NULL) {
		cap = b->cap < 128 ? 128 : b->cap;
		while (cap < need)
			cap = em_size_mul(cap, 2);
		b->data = em_realloc_array(b->data, cap, 1);
		b->cap = cap;
	}
	return b->data + b->len;
}

void
em_buf_append(struct em_buf *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	memcpy(em_buf_reserve(b, n), p, n);
	b->len += n;
}

void
em_buf_span(struct em_buf *b, struct em_span s)
{
	em_buf_append(b, s.bytes, s.len);
}

void
em_buf_str(struct em_buf *b, const char *s)
{
	em_buf_append(b, s, strlen(s));
}

void
em_buf_vprintf(struct em_buf *b, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	if (n < 0)
		em_panic("bytes: bad format \"%s\"", fmt);
	vsnprintf((char *)em_buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, again);
	va_end(again);
	b->len += (size_t)n;
}

void
em_buf_printf(struct em_buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	em_buf_vprintf(b, fmt, ap);
	va_end(ap);
}

void
em_buf_u8(struct em_buf *b, uint8_t v)
{
	*em_buf_reserve(b, 1) = v;
	b->len++;
}

void
em_buf_u16(struct em_buf *b, uint16_t v)
{
	uint8_t *p = em_buf_reserve(b, 2);

	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	b->len += 2;
}

static void
put_u32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

void
em_buf_u32(struct em_buf *b, uint32_t v)
{
	put_u32(em_buf_reserve(b, 4), v);
	b->len += 4;
}

void
em_buf_u64(struct em_buf *b, uint64_t v)
{
	em_buf_u32(b, (uint32_t)v);
	em_buf_u32(b, (uint32_t)(v >> 32));
}

void
em_buf_lspan(struct em_buf *b, struct em_span s)
{
	if (s.len > UINT32_MAX)
		em_panic("bytes: a span of %zu bytes has no 32-bit length", s.len);
	em_buf_u32(b, (uint32_t)s.len);
	em_buf_span(b, s);
}

void
em_buf_consume(struct em_buf *b, size_t n)
{
	if (n > b->len)
		em_panic("bytes: %zu bytes consumed of %zu", n, b->len);
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

void
em_buf_set_u32(struct em_buf *b, size_t at, uint32_t v)
{
	if (b->len < 4 || at > b->len - 4)
		em_panic("bytes: overwrite at %zu of %zu", at, b->len);
	put_u32(b->data + at, v);
}

const char *
em_buf_cstr(struct em_buf *b)
{
	*em_buf_reserve(b, 1) = '\0';
	return (const char *)b->data;
}

struct em_span
em_buf_view(const struct em_buf *b)
{
	return (struct em_span){ b->data != NULL ? b->data : (const uint8_t *)"", b->len };
}

struct em_reader
em_reader(struct em_span s)
{
	const uint8_t *p = s.bytes != NULL ? s.bytes : (const uint8_t *)"";

	return (struct em_reader){ p, p + s.len, false };
}

static const uint8_t *
take(struct em_reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->bad || (size_t)(r->end - r->p) < n) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	return p;
}

uint8_t
em_read_u8(struct em_reader *r)
{
	const uint8_t *p = take(r, 1);

	return p != NULL ? p[0] : 0;
}

uint16_t
em_read_u16(struct em_reader *r)
{
	const uint8_t *p = take(r, 2);

	return p != NULL ? (uint16_t)((unsigned)p[0] | (unsigned)p[1] << 8) : 0;
}

uint32_t
em_read_u32(struct em_reader *r)
{
	const uint8_t *p = take(r, 4);

	return p != NULL ? em_get_u32(p) : 0;
}

uint64_t
em_read_u64(struct em_reader *r)
{
	uint64_t low = em_read_u32(r);

	return low | (uint64_t)em_read_u32(r) << 32;
}

struct em_span
em_read_bytes(struct em_reader *r, size_t n)
{
	const uint8_t *p = take(r, n);

	return p != NULL ? (struct em_span){ p, n } : EM_SPAN_NONE;
}

struct em_span
em_read_lspan(struct em_reader *r)
{
	return em_read_bytes(r, em_read_u32(r));
}

size_t
em_reader_left(const struct em_reader *r)
{
	return r->bad ? 0 : (size_t)(r->end - r->p);
}

bool
em_reader_done(const struct em_reader *r)
{
	return !r->bad && r->p == r->end;
}

uint32_t
em_get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t
em_get_u32be(const uint8_t *p)
{
	return (uint32_t)p[3] | (uint32_t)p[2] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[0] << 24;
}

void
em_put_u32be(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

_Noreturn static void
out_of_memory(size_t n)
{
	/* Ending here is the same path as SIGKILL, which loses nothing. */
	fprintf(stderr, "out of memory: %zu bytes\n", n);
	_exit(71);
}

void *
em_alloc(size_t n)
{
	void *p = malloc(n > 0 ? n : 1);

	if (p == NULL)
		out_of_memory(n);
	return p;
}

void *
em_calloc(size_t count, size_t size)
{
	void *p = calloc(count > 0 ? count : 1, size > 0 ? size : 1);

	if (p == NULL)
		out_of_memory(em_size_mul(count, size));
	return p;
}

void *
em_realloc_array(void *p, size_t count, size_t size)
{
	size_t n = em_size_mul(count, size);
	void *q = realloc(p, n > 0 ? n : 1);

	if (q == NULL)
		out_of_memory(n);
	return q;
}

char *
em_strdup(const char *s)
{
	return s != NULL ? em_span_dup(em_span_str(s)) : NULL;
}

char *
em_vasprintf(const char *fmt, va_list ap)
{
	struct em_buf b = { 0 };

	em_buf_vprintf(&b, fmt, ap);
	em_buf_u8(&b, 0);
	return (char *)b.data;
}

char *
em_asprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = em_vasprintf(fmt, ap);
	va_end(ap);
	return s;
}

size_t
em_size_add(size_t a, size_t b)
{
	size_t n;

	if (__builtin_add_overflow(a, b, &n))
		em_panic("bytes: %zu + %zu overflows", a, b);
	return n;
}

size_t
em_size_mul(size_t a, size_t b)
{
	size_t n;

	if (__builtin_mul_overflow(a, b, &n))
		em_panic("bytes: %zu * %zu overflows", a, b);
	return n;
}

void
em_panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("panic: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}
